/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Expectations. In some worlds every sixteenth connection is one: the connection before it is its
 * master, the one behind it is the child that it announces, which opens by it alone. The kernel
 * ends it with its master and by the child's first packet; its helper moves its timer now and then
 * without an event, and some helpers announce before the master's own event (TFTP).
 *
 * Drawn from a sequence of their own, so that other seeds run as if there were none.
 */
#include <errno.h>
#include <string.h>

#include "sim.h"

#define ST_EXPECTED 0x1u
#define EXPECT_S 40
#define EACH 16      /* connections, of which one is an expectation, */
#define EXPECT_AT 13 /* this one */

bool expect_is(const struct sim *s, unsigned int i)
{
	return s->expects && i % EACH == EXPECT_AT && i + 1 < s->p.keys;
}

bool expect_is_master(unsigned int i)
{
	return i % EACH == EXPECT_AT - 1;
}

bool expect_is_child(const struct sim *s, unsigned int i)
{
	return i && expect_is(s, i - 1);
}

static void set_master(struct sim *s, unsigned int i, const struct flow_key *master)
{
	struct flow *f = &s->conn[i].flow;

	memset(&f->ext, 0, sizeof(f->ext));
	f->has |= FLOW_HAS_MASTER;
	f->ext.master.proto = master->proto;
	f->ext.master.orig = master->orig;
	f->key.l3 = master->l3;
	f->key.zone = master->zone;
	s->conn[i].carrier = s->conn[i - 1].carrier;
	s->conn[i].doubled = false;
}

void expect_init(struct sim *s)
{
	s->expect_rng.s = s->seed * 0xd1342543de82ef95ULL + 5;
	s->expects = (rng_chance(&s->expect_rng, 4000) || s->rough.tftp) && !s->p.asym &&
		     !s->p.active_active;
	for (unsigned int i = 0; i < s->p.keys; i++) {
		const struct flow_key *master = i ? &s->conn[i - 1].flow.key : NULL;
		struct flow *f = &s->conn[i].flow;
		struct flow_key *child;

		if (!expect_is(s, i))
			continue;
		child = &s->conn[i + 1].flow.key;
		set_master(s, i, master);
		set_master(s, i + 1, master);
		traffic_key(s, i + 1);
		f->key = *child;
		f->key.expect = 1;
		f->key.orig.sport = 0;
		memset(&f->reply, 0, sizeof(f->reply));
		f->has |= FLOW_HAS_EXPECT | FLOW_HAS_TIMEOUT;
		memset(f->ext.expect.mask_src, 0xff, sizeof(f->ext.expect.mask_src));
		f->timeout_s = EXPECT_S;
	}
}

/* The master of entry i of node n is there. */
bool expect_master_lives(const struct sim *s, int n, unsigned int i)
{
	return fk_alive(s, n, i - 1);
}

/* Entry i of node n, which has ended, was a master. */
void expect_master_ended(struct sim *s, int n, unsigned int i)
{
	if (i + 1 >= s->p.keys || !expect_is(s, i + 1) || !s->node[n].k.ent[i + 1].present)
		return;
	if (traffic_carrier(s, i + 1) == n)
		s->conn[i + 1].open = false;
	fk_destroy(s, n, i + 1, 0);
}

static void announce(struct sim *s, unsigned int i, int n)
{
	struct conn *c = &s->conn[i];

	fk_destroy(s, n, i, 0); /* the kernel keeps one of a kind */
	s->count.expects++;
	c->open = true;
	c->used_version = 0;
	c->opened_at = c->moved_at = s->now;
	sim_trace(s, "node %d: connection %u is announced", n, i + 1);
	fk_create(s, n, i, &c->flow, EXPECT_S, 0);
}

void expect_early(struct sim *s, unsigned int i, int n)
{
	if (i + 1 >= s->p.keys || !expect_is(s, i + 1) || !rng_chance(&s->expect_rng, 3000))
		return;
	s->count.expects_early++;
	announce(s, i + 1, n);
}

/* Changes with each word of a peer that a mirror of node n holds of it; 0 if none does. */
static uint64_t held_versions(const struct sim *s, int n, unsigned int i)
{
	uint64_t versions = 0;
	struct peek_rec r;

	for (unsigned int k = 0; s->node[n].e && k < s->p.nodes - 1; k++)
		if (peek_mirror(s->node[n].e, k, &s->conn[i].key, &r))
			versions += r.version;
	return versions;
}

void expect_check(struct sim *s, int n, unsigned int i)
{
	const struct conn *c = &s->conn[i];

	if (!c->used_version || c->used_on != n || held_versions(s, n, i) != c->used_version ||
	    s->now < s->node[n].unheard_to || s->node[n].k.overrun)
		return;
	/* Of what is set aside nothing is looked at, not what announced it either. */
	if (s->node[n].poison[i + 1] || s->flipped)
		return;
	if (fk_overtakes(s, n, i + 1))
		return; /* it has not read yet what came */
	sim_fail(s, "node %d: makes expectation %u anew, which was used here (R87)", n, i);
}

bool expect_is_known(const struct sim *s, int n, unsigned int i)
{
	const struct peek_key *key = &s->conn[i].key;
	struct peek_rec r;

	if (peek_local(s->node[n].e, key, &r) && !r.tomb)
		return true;
	if (peek_stray(s->node[n].e, key, &r) && !r.tomb && r.in_kernel)
		return true;
	for (unsigned int k = 0; k < s->p.nodes - 1; k++)
		if (peek_mirror(s->node[n].e, k, key, &r) && r.in_kernel)
			return true;
	return false;
}

/* The end of an own expectation tells whether it went with its master (R85). */
void expect_feed(struct sim *s, int n, const struct kev *ev)
{
	struct engine *e = s->node[n].e;
	int i = world_key(s, &ev->f.key);
	const struct peek_key *key = i < 0 ? NULL : &s->conn[i].key;
	bool ends = key && ev->event == KERN_DESTROY && !ev->portid && ev->f.key.expect, known;
	struct peek_rec r;

	ends = ends && peek_local(e, key, &r) && !r.tomb && !s->flipped;
	known = ends && expect_is_known(s, n, (unsigned int)i - 1);
	expect_was_read(s, n, ev);
	engine_kern(e, ev->event, &ev->f, ev->portid, s->now);
	if (ends && peek_local(e, key, &r) && r.tomb &&
	    r.tomb != (known ? WIRE_REC_DEAD : WIRE_REC_FORCED))
		sim_fail(s,
			 "node %d: expectation %u ended %s its master, and it says otherwise (R85)",
			 n, i, known ? "before" : "with");
}

/* In each turn of node n: what a peer has announced anew meanwhile may be made again. */
void expect_watch(struct sim *s, int n)
{
	for (unsigned int i = EXPECT_AT; i < s->p.keys; i += EACH)
		if (s->conn[i].used_version && s->conn[i].used_on == n &&
		    held_versions(s, n, i) != s->conn[i].used_version)
			s->conn[i].used_version = 0;
}

void expect_forget(struct sim *s)
{
	for (unsigned int i = 0; i < s->p.keys; i++)
		s->conn[i].used_version = 0;
}

static void use(struct sim *s, unsigned int i, int n)
{
	if (s->conn[i + 1].open || s->node[n].k.ent[i + 1].present ||
	    s->node[n].k.count >= s->p.table_max)
		return;
	s->count.expects_used++;
	sim_trace(s, "node %d: connection %u comes, which was announced", n, i + 1);
	fk_destroy(s, n, i, 0);
	s->conn[i].open = false;
	s->conn[i].used_on = n;
	s->conn[i].used_version = s->node[n].policy.rule_count /* may keep from it what comes */
					  ? 0
					  : held_versions(s, n, i);
	traffic_open_child(s, i + 1, n);
}

void expect_step(struct sim *s, unsigned int i)
{
	struct kent *t;
	struct conn *c = &s->conn[i];
	int n = traffic_carrier(s, i);

	if (n < 0)
		return;
	t = &s->node[n].k.ent[i];
	if (!fk_alive(s, n, i)) {
		c->open = false;
		if (s->conn[i - 1].open && fk_alive(s, n, i - 1))
			announce(s, i, n);
	} else if (rng_chance(&s->expect_rng, 5000)) {
		use(s, i, n);
	} else if (rng_chance(&s->expect_rng, 3000)) {
		s->count.expects_moved++;
		sim_trace(s, "node %d: the timer of expectation %u is moved", n, i);
		c->moved_at = s->now;
		t->expire_at = s->now + EXPECT_S * USEC_PER_SEC;
	}
}
