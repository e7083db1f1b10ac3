/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Active-active: several nodes carry packets, also of one flow. What differs then from a pair of
 * which one is idle: PROTOCOL.md, R70-R75; what one node learns of a flow from another: join.c.
 */
#include "engine_priv.h"

/* linux/netfilter/nf_conntrack_tcp.h */
#define TCP_BE_LIBERAL 0x8
enum { TCP_SYN_SENT = 1 };

bool active_injectable(const struct engine *e, const struct flow *f)
{
	return flow_is_injectable(f) || (e->conf.active_active && f->key.proto == 6 &&
					 f->tcp.state == TCP_SYN_SENT); /* R70 */
}

void active_liberal(struct flow *f)
{
	if (f->key.proto != 6)
		return;
	f->tcp.flags[0] |= TCP_BE_LIBERAL;
	f->tcp.flags[1] |= TCP_BE_LIBERAL;
}

const uint8_t *active_liberal_body(const uint8_t *body, size_t len, uint8_t *liberal)
{
	struct flow f;

	if (flow_unpack(body, len, &f))
		return body; /* was checked before it was stored */
	active_liberal(&f);
	(void)flow_pack(&f, liberal); /* as long as before */
	return liberal;
}

bool active_is_older(const struct rec *r, const struct flow *f)
{
	struct flow cur;

	return f->key.proto == 6 && (f->has & FLOW_HAS_TCP) && f->id == r->aux &&
	       !flow_unpack(r->body, r->len, &cur) &&
	       (cur.tcp.flags[0] & cur.tcp.flags[1] & TCP_BE_LIBERAL) &&
	       !(f->tcp.flags[0] & f->tcp.flags[1] & TCP_BE_LIBERAL);
}

bool active_takes_over(const struct engine *e, const struct peer *p)
{
	return !e->conf.active_active || !peer_hears(e, p);
}

bool active_op(struct engine *e, struct peer *p, struct rec *r, struct rec *own,
	       struct engine_op *op)
{
	struct flow ours, theirs, joined;

	if (flow_unpack(own->body, own->len, &ours) || flow_unpack(r->body, r->len, &theirs))
		return false; /* were checked before they were stored */
	if (theirs.key.proto == 6 && theirs.tcp.state == TCP_SYN_SENT && flow_is_over(&ours)) {
		r->flags |= F_STALE;
		r->aux = claim_date_s(e, p, r, e->now);
		return claim_replace(e, p, r, own, op);
	}
	if (!flow_join(&ours, &theirs, &joined) ||
	    !visit_make(op, OP_JOIN, own, TABLE_LOCAL, TAG_PLAIN, 0, 0))
		return false;
	op->flow.has = theirs.has | FLOW_HAS_TIMEOUT | (own->aux ? FLOW_HAS_ID : 0);
	op->flow.id = own->aux;
	op->flow.status = theirs.status;
	op->flow.tcp = theirs.tcp;
	op->flow.timeout_s = rec_timer(e, r).full_s;
	return true;
}
