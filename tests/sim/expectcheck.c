/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Expectations and their masters, looked at in each turn of a daemon: one whose master is left out
 * is not announced for longer than the patrol needs (R83), and one whose master is our own is not
 * kept as a stray for longer (R84); what waited 10 ms for the event of its master is announced then
 * (R84); and what our kernel has is known to some table, or nobody would announce it ever. Rounds
 * of the patrol are counted, not seconds: how long one takes is its own affair.
 */
#include "sim.h"

#define ROUNDS 3 /* one is under way at full speed, one at ease goes on behind it */
#define WAIT_US (10 * USEC_PER_MS)
#define LATE_US (200 * USEC_PER_MS)
#define LOOKS 5 /* turns in which it could have been done */

/* What node n holds of flow i, in the order in which the engine looks for a master. */
static bool find(const struct sim *s, int n, unsigned int i, struct peek_rec *r)
{
	const struct engine *e = s->node[n].e;
	const struct peek_key *key = &s->conn[i].key;

	if ((peek_local(e, key, r) && !r->tomb) || (peek_stray(e, key, r) && !r->tomb))
		return true;
	for (unsigned int in_kernel = 2; in_kernel--;)
		for (unsigned int k = 0; k < ENGINE_PEERS_MAX; k++)
			if (peek_mirror(e, k, key, r) && r->in_kernel == in_kernel)
				return true;
	return false;
}

/* Is the master of expectation i known, and does the policy let it in? own: and is it ours? */
static bool has_master(const struct sim *s, int n, unsigned int i, bool own)
{
	struct peek_rec r;
	struct flow f;

	if (own ? !peek_local(s->node[n].e, &s->conn[i - 1].key, &r) || r.tomb
		: !find(s, n, i - 1, &r))
		return false;
	return !flow_unpack(r.body, r.len, &f) && !scope_rules_out(s, n, &f);
}

/* odd: it is what it must not stay. Rounds count from the end of the turn in which it was seen to
 * be so: in the course of that it may be right, and odd again. */
static bool is_stuck(struct expect_seen *x, bool odd, uint64_t rounds)
{
	if (!odd)
		x->odd_turns = 0;
	else if (x->odd_turns < 2 && ++x->odd_turns == 2)
		x->odd_since = rounds;
	return x->odd_turns == 2 && rounds >= x->odd_since + ROUNDS;
}

static void check_rounds(struct sim *s, int n, unsigned int i, uint64_t rounds)
{
	struct node *node = &s->node[n];
	struct peek_rec r;

	if (peek_local(node->e, &s->conn[i].key, &r) && !r.tomb) {
		if (is_stuck(&node->expect[0][i], !has_master(s, n, i, false), rounds))
			sim_fail(
				s,
				"node %d: expectation %u is its own, and its master left out (R83)",
				n, i);
		node->expect[1][i].odd_turns = 0;
		return;
	}
	node->expect[0][i].odd_turns = 0;
	if (is_stuck(&node->expect[1][i],
		     peek_stray(node->e, &s->conn[i].key, &r) && !r.tomb && r.waits &&
			     r.in_kernel && fk_alive(s, n, i) && has_master(s, n, i, true),
		     rounds))
		sim_fail(s, "node %d: expectation %u is nobody's, and its master is its own (R84)",
			 n, i);
}

void expect_was_read(struct sim *s, int n, const struct kev *ev)
{
	int i = world_key(s, &ev->f.key);
	struct peek_rec r;

	if (i < 0 || ev->event != KERN_NEW || ev->portid || !ev->f.key.expect ||
	    find(s, n, (unsigned int)i, &r) || find(s, n, (unsigned int)i - 1, &r))
		return;
	s->node[n].expect[0][i].early = (struct expect_early){ .at = s->now, .id = ev->f.id };
}

static void check_early(struct sim *s, int n, unsigned int i)
{
	struct expect_early *x = &s->node[n].expect[0][i].early;
	const struct kent *t = &s->node[n].k.ent[i];
	bool master = has_master(s, n, i, true);
	struct peek_rec r;

	if (!x->at)
		return;
	if (s->now <= x->at + WAIT_US) /* as it is when it is read, not as it was before */
		x->in_time = master;
	if (!fk_alive(s, n, i) || t->f.id != x->id || s->now < s->node[n].unheard_to ||
	    (s->now > x->at + WAIT_US && (!x->in_time || !master)) ||
	    (peek_local(s->node[n].e, &s->conn[i].key, &r) && !r.tomb)) {
		x->at = 0;
		return;
	}
	if (s->now > x->at + LATE_US && ++x->looks > LOOKS)
		sim_fail(s, "node %d: expectation %u is not announced, its master has come (R84)",
			 n, i);
}

/* Does no table know it, though its event was read? */
static void check_known(struct sim *s, int n, unsigned int i, bool reads)
{
	struct expect_seen *x = &s->node[n].expect[0][i];
	const struct kent *t = &s->node[n].k.ent[i];

	if (reads || !fk_alive(s, n, i) || t->mute || t->overtook || t->raced || t->withheld ||
	    !s->node[n].dumped_at || s->node[n].k.unheard[i] || s->now < s->node[n].unheard_to ||
	    fk_overtakes(s, n, i) || expect_is_known(s, n, i))
		x->lost = 0;
	else if (++x->lost > LOOKS)
		sim_fail(s, "node %d: expectation %u is in its kernel and in no table (R84)", n, i);
}

void expect_check_all(struct sim *s, int n)
{
	struct peek_owner o;

	if (!s->expects || s->flipped || s->failed || s->node[n].conf.flows_max < s->p.keys)
		return;
	peek_owner(s->node[n].e, &o);
	for (unsigned int i = 1; i < s->p.keys && !s->failed; i++) {
		if (!expect_is(s, i) || s->node[n].poison[i] || s->node[n].poison[i - 1])
			continue;
		check_rounds(s, n, i, o.rounds);
		check_early(s, n, i);
		check_known(s, n, i, o.reads);
	}
}
