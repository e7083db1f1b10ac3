/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What of our kernel's table is left out: loopback and the sync links' own flows for good, and what
 * the node's policy excludes (PROTOCOL.md, R62 to R66). Whatever makes a flow our own asks
 * scope_wants first, so that excluded ones never come in; here is also how they leave when the
 * policy changes under them. policy.c judges, and knows nothing of the engine.
 */
#include <string.h>

#include "engine_priv.h"
#include "tape.h"

/* Loopback and the sync links' own flows belong to no other node. */
bool scope_ignores(const struct engine *e, const struct flow *f)
{
	const struct flow_tuple *t = &f->key.orig;
	static const uint8_t loop6[16] = { [15] = 1 };

	if (f->key.l3 == 4 ? t->src[0] == 127 : !memcmp(t->src, loop6, 16))
		return true;
	if (f->key.proto != 17)
		return false;
	for (unsigned int i = 0; i < e->conf.ignore_count; i++) {
		const struct engine_ignore *g = &e->conf.ignore[i];

		if (g->l3 != f->key.l3 || (g->port != t->dport && g->port != t->sport))
			continue;
		if (((g->group || !memcmp(g->a, t->src, 16)) && !memcmp(g->b, t->dst, 16)) ||
		    (!memcmp(g->b, t->src, 16) && !memcmp(g->a, t->dst, 16)))
			return true;
	}
	return false;
}

bool engine_ignores(const struct engine *e, const struct flow *f)
{
	return scope_ignores(e, f);
}

bool scope_wants_body(struct engine *e, const uint8_t *body, size_t len)
{
	struct flow f;

	return !flow_unpack(body, len, &f) && scope_wants(e, &f);
}

/* What we wrote and nobody touched says nothing of the flow's life: another may carry it. */
void scope_withdraw(struct engine *e, struct rec *r)
{
	bool seen = !(r->flags & F_ADOPTED) || (r->flags & F_TOUCHED);
	uint8_t body[FLOW_PACKED_MAX];
	size_t len = r->len, keylen = r->keylen;
	uint32_t hash = r->hash, id = r->aux;

	memcpy(body, r->body, len);
	e->count.withdrawn++;
	outcome_left(e, r);
	stream_ended(e, r, seen ? WIRE_REC_DEAD : WIRE_REC_RELEASE);
	own_let_go(e, body, len, keylen, hash);
	own_dump_forget(e, body, keylen, hash, id); /* as it was before */
}

bool scope_leaves_out(struct engine *e, unsigned int table, const struct rec *r)
{
	bool ours = table == TABLE_LOCAL || (table == TABLE_STRAYS && (r->flags & F_UNKNOWN));
	struct flow f;

	return ours && !r->tomb && e->patrol.round < e->patrol.policy_to &&
	       !flow_unpack(r->body, r->len, &f) && !scope_includes(e, &f);
}

bool scope_visit(struct engine *e, unsigned int table, struct rec *r, struct engine_op *op)
{
	bool own = table == TABLE_LOCAL, expect = flow_is_expect(r->body);

	if (own && e->fluid && !expect && !(r->flags & F_HEIR)) /* an answer under way tells, too */
		return !(r->flags & F_FLIGHT) &&
		       visit_make(op, OP_GET, r, TABLE_LOCAL, TAG_SCOPE, 0, 0);
	if (own)
		scope_withdraw(e, r);
	else if (expect) /* it waits for its master (R84) */
		own_let_go(e, r->body, r->len, r->keylen, r->hash);
	else
		stray_del(e, r);
	return false;
}

bool engine_policy(struct engine *e, const struct policy_conf *conf, usec_t now)
{
	struct policy *p = conf->rule_count ? policy_new(conf) : NULL;

	if (conf->rule_count && !p)
		return false;
	tape_put_more(e->tape,
		      &(struct tape_entry){ .door = TAPE_POLICY,
					    .len = (uint32_t)policy_conf_len(conf),
					    .now = now },
		      conf);
	e->had_policy |= e->policy != NULL;
	policy_free(e->policy);
	e->policy = p;
	e->fluid = p && policy_is_fluid(p);
	e->syn_sent = conf->syn_sent || e->conf.active_active; /* R70 */
	e->now = now;
	patrol_urgent(e);
	e->patrol.policy_to = e->patrol.urgent_to;
	audit_restart(e);
	if (!e->dump.wanted)
		e->dump.at = now;
	e->dump.wanted = true;
	e->dump.drain = true; /* what was queued before the filter changed is older than the dump */
	return true;
}
