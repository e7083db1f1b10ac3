/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Policies: what the nodes of a run leave out. Drawn from a sequence of their own, so that a seed
 * without a policy runs as if there were none. The oracle judges a flow rule by rule and bit by
 * bit, and the kernel's filter here withholds all that PROTOCOL.md allows it to (R66), which is
 * more than the real one does.
 */
#include <string.h>

#include "sim.h"

#define ST_EXPECTED 0x1u
#define ST_ASSURED 0x4u
#define SYN_SENT 1

static void draw_prefix(struct policy_conf *c, struct rng *r)
{
	struct policy_prefix *x = &c->prefix[c->prefix_count++];
	unsigned int bits = (unsigned int)rng_below(r, 8); /* of the last byte */

	x->rule = (uint8_t)(c->rule_count - 1);
	x->side = (uint8_t)rng_below(r, POLICY_SIDES);
	x->l3 = rng_chance(r, 7000) ? 4 : 6;
	if (x->l3 == 4) {
		x->addr[0] = x->side == POLICY_DESTINATION ? 192 : 10;
		x->addr[3] = x->side == POLICY_DESTINATION ? 1 : (uint8_t)rng_below(r, 256);
		x->addr[3] &= (uint8_t)(0xff00u >> bits);
		x->len = (uint8_t)(24 + bits);
	} else {
		x->addr[0] = 0xfd;
		x->addr[15] = (uint8_t)(rng_below(r, 256) & (0xff00u >> bits));
		x->len = (uint8_t)(120 + bits);
	}
	c->rule[x->rule].sides |= (uint8_t)(1u << x->side);
}

static void draw_rule(struct policy_conf *c, struct rng *r)
{
	static const uint8_t protos[3] = { 6, 17, 1 };
	struct policy_rule *rule = &c->rule[c->rule_count++];

	rule->class = (uint8_t)rng_below(r, POLICY_CLASSES);
	rule->has_proto = rng_chance(r, 5000);
	if (rule->has_proto)
		rule->proto = protos[rng_below(r, 3)];
	rule->has_zone = rng_chance(r, 1500);
	if (rule->has_zone)
		rule->zone = rng_chance(r, 5000) ? 7 : 0;
	if (rng_chance(r, 2500))
		rule->tcp_states = (uint16_t)rng_below(r, 512);
	if (rng_chance(r, 2500)) {
		rule->mark_mask = (uint32_t)rng_range(r, 1, 3);
		rule->mark = (uint32_t)rng_below(r, 4) & rule->mark_mask;
	}
	for (unsigned int n = rng_chance(r, 5000) ? (unsigned int)rng_range(r, 1, 3) : 0; n; n--)
		draw_prefix(c, r);
}

static void draw(const struct sim *s, struct policy_conf *c, struct rng *r)
{
	memset(c, 0, sizeof(*c));
	c->syn_sent = rng_chance(r, 1500) || s->p.active_active;
	if (rng_chance(r, 2000))
		return; /* nothing is left out */
	for (unsigned int n = (unsigned int)rng_range(r, 1, 4); n; n--)
		draw_rule(c, r);
}

void scope_init(struct sim *s)
{
	s->policy_rng.s = s->seed * 0x9e6c63d0676a9a99ULL + 3;
	for (unsigned int n = 0; n < s->p.nodes; n++)
		s->node[n].policy.syn_sent = s->p.active_active;
	if (!rng_chance(&s->policy_rng, 4000))
		return;
	s->policy_us = rng_range(&s->policy_rng, 1, 15) * USEC_PER_SEC;
	s->alike = rng_chance(&s->policy_rng, 6000);
	draw(s, &s->node[0].policy, &s->policy_rng);
	for (unsigned int n = 1; n < s->p.nodes; n++) {
		s->node[n].policy = s->node[0].policy;
		if (!s->alike)
			draw(s, &s->node[n].policy, &s->policy_rng);
	}
	world_act(s, ACT_POLICY, 0, 0, s->now + rng_below(&s->policy_rng, s->policy_us));
}

void scope_start(struct sim *s, int n)
{
	if (!engine_policy(s->node[n].e, &s->node[n].policy, s->now))
		sim_fail(s, "node %d: no memory for a policy", n);
}

/* ---- The oracle ---- */

static bool covers(const struct policy_prefix *x, const uint8_t *addr, uint8_t l3)
{
	if (x->l3 != l3)
		return false;
	for (unsigned int i = 0; i < x->len; i++)
		if ((x->addr[i / 8] ^ addr[i / 8]) >> (7 - i % 8) & 1)
			return false;
	return true;
}

static bool side_matches(const struct policy_conf *c, unsigned int i, unsigned int side,
			 const struct flow *f)
{
	if (!(c->rule[i].sides & 1u << side))
		return true;
	for (unsigned int k = 0; k < c->prefix_count; k++) {
		const struct policy_prefix *x = &c->prefix[k];

		if (x->rule != i || x->side != side)
			continue;
		if ((side != POLICY_DESTINATION && covers(x, f->key.orig.src, f->key.l3)) ||
		    (side != POLICY_SOURCE && covers(x, f->key.orig.dst, f->key.l3)))
			return true;
	}
	return false;
}

/* As far as it looks at what never changes. */
static bool key_matches(const struct policy_conf *c, unsigned int i, const struct flow *f)
{
	const struct policy_rule *r = &c->rule[i];

	if ((r->has_proto && r->proto != f->key.proto) || (r->tcp_states && f->key.proto != 6) ||
	    (r->has_zone && r->zone != f->key.zone))
		return false;
	for (unsigned int side = 0; side < POLICY_SIDES; side++)
		if (!side_matches(c, i, side, f))
			return false;
	return true;
}

static bool is_early(const struct flow *f)
{
	return f->key.proto == 6 && f->tcp.state == SYN_SENT && !(f->status & ST_EXPECTED);
}

bool scope_excludes(const struct sim *s, int n, const struct flow *f)
{
	const struct policy_conf *c = &s->node[n].policy;
	int key = world_key(s, &f->key);

	if (key >= 0 && s->node[n].poison[key]) /* R98 */
		return true;
	if (f->key.expect) { /* as its master */
		const struct kent *master = &s->node[n].k.ent[key - 1];

		return key < 0 || !master->present || scope_excludes(s, n, &master->f);
	}
	return (!c->syn_sent && is_early(f)) || scope_rules_out(s, n, f);
}

bool scope_rules_out(const struct sim *s, int n, const struct flow *f)
{
	const struct policy_conf *c = &s->node[n].policy;

	for (unsigned int i = 0; i < c->rule_count; i++) {
		const struct policy_rule *r = &c->rule[i];

		if (!key_matches(c, i, f) || (f->mark & r->mark_mask) != r->mark ||
		    (r->tcp_states && !(r->tcp_states & 1u << f->tcp.state)))
			continue;
		return r->class == POLICY_NEVER ||
		       (r->class == POLICY_ASSURED && !(f->status & ST_ASSURED));
	}
	return false;
}

bool scope_is_fluid(const struct sim *s, int n)
{
	const struct policy_conf *c = &s->node[n].policy;

	for (unsigned int i = 0; i < c->rule_count; i++)
		if (c->rule[i].tcp_states || c->rule[i].mark_mask ||
		    c->rule[i].class == POLICY_ASSURED)
			return true;
	return false;
}

bool scope_withholds(struct sim *s, int n, enum engine_kern_event event, const struct flow *f,
		     uint32_t portid)
{
	const struct policy_conf *c = &s->node[n].policy;
	bool drop = event == KERN_NEW && !portid && !c->syn_sent && is_early(f);

	if (f->key.expect)
		return false;
	for (unsigned int i = 0; i < c->rule_count; i++) {
		const struct policy_rule *r = &c->rule[i];

		if (!key_matches(c, i, f))
			continue;
		if (!r->tcp_states && !r->mark_mask)
			drop |= r->class == POLICY_NEVER ||
				(r->class == POLICY_ASSURED && !(f->status & ST_ASSURED));
		break;
	}
	s->count.withheld += drop;
	return drop;
}

/* ---- Reloads ---- */

/* What a peer was promised to hold, its owner may withdraw now. */
static void forget_promises(struct sim *s, int n)
{
	for (unsigned int m = 0; m < s->p.nodes; m++)
		for (unsigned int i = 0; i < s->p.keys; i++)
			if (s->node[m].failover.armed && s->node[m].failover.from == n)
				s->node[m].failover.expire_at[i] = 0;
}

void scope_reload(struct sim *s)
{
	struct policy_conf c;
	int only = (int)rng_below(&s->policy_rng, s->p.nodes);

	draw(s, &c, &s->policy_rng);
	for (int n = 0; n < (int)s->p.nodes; n++) {
		if (n != only && !s->alike)
			continue;
		s->count.policies++;
		s->node[n].policy = c;
		sim_trace(s, "node %d: another policy, %u rules", n, c.rule_count);
		forget_promises(s, n);
		for (unsigned int i = 0; i < s->p.keys; i++) /* judged by the policy before */
			s->node[n].expect[0][i].early.at = 0;
		if (!s->node[n].e)
			continue;
		scope_start(s, n);
		oracle_owner(s, n);
		world_kick(s, n);
	}
	world_act(s, ACT_POLICY, 0, 0, s->now + rng_below(&s->policy_rng, 2 * s->policy_us));
}
