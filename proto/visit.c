/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a record needs of the kernel, when it stands on a work list or the patrol (patrol.c) comes
 * by: a create, a change, a replacement, a deletion; a timer refreshed (R35) or lifted (R37), a
 * refused write tried again, an entry that a dump did not show read, a flow adopted after a
 * promote, a silent owner's flow dropped (R45). answer.c has what the kernel's answer means.
 */
#include "engine_priv.h"

bool visit_make(struct engine_op *op, enum engine_op_type type, struct rec *r, unsigned int table,
		enum op_tag tag, uint32_t timeout_s, uint32_t limit_s)
{
	*op = (struct engine_op){
		.type = type, .limit_s = limit_s, .peer = (uint8_t)table, .tag = (uint8_t)tag
	};
	if (flow_unpack(r->body, r->len, &op->flow))
		return false; /* was checked before it was stored */
	op->flow.timeout_s = timeout_s;
	op->flow.has |= FLOW_HAS_TIMEOUT;
	r->flags |= F_FLIGHT;
	return true;
}

/* On an entry that we wrote: its timer ends when we said, unless packets pass (R35). Not if we
 * stood still between writing and looking at the clock. */
static bool op_exact(const struct engine *e, struct engine_op *op, enum engine_op_type type,
		     struct rec *r, unsigned int table, uint32_t timeout_s)
{
	bool made = visit_make(op, type, r, table, TAG_PLAIN, timeout_s, r->written_s);

	op->exact = made && to_s(e->now) >= e->inexact_to_s;
	return made;
}

static bool injectable(const struct engine *e, const struct rec *r)
{
	struct flow f;

	return !flow_unpack(r->body, r->len, &f) && active_injectable(e, &f);
}

bool visit_stray(struct engine *e, struct rec *r, struct engine_op *op)
{
	if (r->flags & F_CHECK)
		return visit_make(op, OP_GET, r, TABLE_STRAYS, TAG_PARTIAL, 0, 0);
	if ((r->flags & F_REBORN) && (r->flags & (F_DOOM | F_FORCED)) != F_DOOM && /* not dead */
	    e->role == ROLE_PRIMARY && injectable(e, r))
		return op_exact(e, op, OP_REPLACE, r, TABLE_STRAYS, rec_timer(e, r).write_s);
	if (r->flags & F_DOOM)
		return op_exact(e, op, OP_DELETE, r, TABLE_STRAYS, 0);
	if (!(r->flags & F_KERN) && injectable(e, r))
		return master_inject(e, r, TABLE_STRAYS, op);
	return false;
}

/* A fixed timer cannot be written, and of an expectation nothing but its timer can: R86. */
static bool update_op(struct engine *e, struct peer *p, struct rec *r, struct engine_op *op)
{
	struct rec_timer t = rec_timer(e, r);

	if (flow_is_expect(r->body))
		return r->expire_s > r->written_s + 1 &&
		       op_exact(e, op, OP_REFRESH, r, p->index, t.write_s);
	if (!visit_make(op, OP_UPDATE, r, p->index, TAG_PLAIN, t.hold_s, UINT32_MAX))
		return false;
	if (t.kind == FLOW_TIMER_LIVE)
		return true;
	op->flow.has &= ~(uint32_t)FLOW_HAS_TIMEOUT;
	op->flow.timeout_s = 0;
	return true;
}

/* Does an entry stand here whose origin nobody knows, or that waits for a promote? */
static bool stray_stands(struct engine *e, const struct rec *r)
{
	const struct rec *s = stray_find(e, r->body, r->keylen, r->hash);

	return s && (s->flags & F_KERN) && (s->flags & (F_UNKNOWN | F_FORCED));
}

/* An entry that nobody announces any more, and that ages (R42). */
static bool is_leftover(const struct rec *s)
{
	return (s->flags & (F_KERN | F_UNKNOWN | F_FORCED | F_CHECK | F_DOOM | F_FLIGHT)) == F_KERN;
}

/* A peer's flow that no table of ours has in our kernel. */
static bool absent_op(struct engine *e, struct peer *p, struct rec *r, struct engine_op *op)
{
	struct peer *q;
	struct rec *x, *s;

	x = mirror_find(e, r->body, r->keylen, r->hash, false, &q);
	if (x) { /* another mirror's copy */
		if (copy_goes_before(q, x, p, r))
			refusal_forget(e, r);
		return false;
	}
	if ((!own_injects(e) && !e->commit.running && !(r->flags & F_REFUSED)) || !injectable(e, r))
		return false;
	s = stray_find(e, r->body, r->keylen, r->hash);
	if (s && is_leftover(s)) {
		if (!p->led) /* a promote takes that first (R42) */
			return false;
		copy_move(e, p, r, s);
		stray_del(e, s);
		if (round_has(e, e->patrol.adopt_to) && active_takes_over(e, p) &&
		    r->list == CACHE_LIST_NONE)
			patrol_adopt(e, r, e->now);
		return false;
	}
	if (s && round_has(e, e->patrol.adopt_to) && !(s->flags & (F_KERN | F_PASSED)) &&
	    !(p->led && r->gen == p->gen) && injectable(e, s)) { /* an orphan, and newer */
		cache_list_add(e->strays, s, CACHE_LIST_WORK);
		return false;
	}
	x = copy_before(e, p, r, &q);
	if (!x)
		return master_inject(e, r, p->index, op);
	/* It has its turn instead. What it claimed has gone. */
	if (!(x->flags & F_FLIGHT) && (x->list == CACHE_LIST_NONE ||
				       (x->list == CACHE_LIST_LATER && !(x->flags & F_AWAITED))))
		cache_list_add(q->mirror, x, CACHE_LIST_WORK);
	return false;
}

bool visit_mirror(struct engine *e, struct peer *p, struct rec *r, struct engine_op *op)
{
	struct rec *own = own_find(e, r->body, r->keylen, r->hash);

	if (r->flags & F_CHECK)
		return visit_make(op, OP_GET, r, p->index, TAG_CHECK, 0, 0);
	if (r->flags & F_SPENT)
		return (r->flags & F_KERN) && op_exact(e, op, OP_DELETE, r, p->index, 0);
	if (r->flags & F_STALE) {
		const struct rec *ours = claim_entry(e, p, r);

		if (ours)
			return claim_replace(e, p, r, ours, op);
		r->flags &= (uint16_t)~F_STALE;
	}
	if (own && e->conf.active_active && !flow_is_expect(r->body))
		return active_op(e, p, r, own, op);
	if (own || stray_stands(e, r) || copy_is_not_ours(r))
		return false;
	if ((r->flags & F_KERN) && !injectable(e, r)) /* a new life, too young to be carried on */
		return op_exact(e, op, OP_DELETE, r, p->index, 0);
	if (r->flags & F_REBORN)
		return op_exact(e, op, OP_REPLACE, r, p->index, rec_timer(e, r).hold_s);
	return r->flags & F_KERN ? update_op(e, p, r, op) : absent_op(e, p, r, op);
}

/* ---- By the patrol ---- */

static bool sweep_missed(const struct engine *e, uint32_t gen)
{
	return round_has(e, e->patrol.sweep_to) && e->dump.sweeping && (uint8_t)gen != e->dump.gen;
}

/* What was forced to end yields to the word of a peer that was heard as a primary since: packets
 * met that one's entry (R47). */
static bool stray_yields(struct engine *e, struct rec *r, usec_t now)
{
	struct peer *p;
	struct rec *x = also_claimed(e, NULL, r, &p);

	if (!(r->flags & F_FORCED) || !x || !p->led || x->gen != p->gen || (x->flags & F_FLIGHT) ||
	    !active_takes_over(e, p))
		return false;
	copy_move(e, p, x, r);
	stray_del(e, r);
	if (x->list == CACHE_LIST_NONE) /* else the answer adopts it */
		patrol_adopt(e, x, now);
	return true;
}

static bool walk_stray(struct engine *e, struct rec *r, struct engine_op *op, usec_t now)
{
	bool kern = r->flags & F_KERN, follows;

	if (kern && sweep_missed(e, r->gen) && !(r->flags & F_CHECK))
		return visit_make(op, OP_GET, r, TABLE_STRAYS, TAG_SWEEP, 0, 0);
	follows = expect_follows(e, r);
	if (follows && copy_is_not_ours(r)) { /* it waited; its entry may be another by now */
		r->flags |= F_CHECK;
		return visit_make(op, OP_GET, r, TABLE_STRAYS, TAG_PARTIAL, 0, 0);
	}
	if (((r->flags & F_UNKNOWN) && e->unclaimed_own) || follows) {
		patrol_adopt(e, r, now);
		return false;
	}
	if (!round_has(e, e->patrol.adopt_to))
		return false;
	if (kern && stray_yields(e, r, now))
		return false;
	if (kern) {
		e->count.revived += (r->flags & F_FORCED) != 0;
		patrol_adopt(e, r, now);
	} else {
		r->flags &= (uint16_t)~F_REFUSED;
		cache_list_add(e->strays, r, CACHE_LIST_WORK);
	}
	return false;
}

static bool silent_over(const struct engine *e, const struct peer *p, const struct rec *r,
			usec_t now)
{
	struct rec_timer t;

	if (peer_hears(e, p) || now < p->heard_at + 10 * USEC_PER_SEC)
		return false;
	t = rec_timer(e, r);
	if (t.kind == FLOW_TIMER_GIVEN)
		return to_s(now) > r->expire_s;
	return now > p->heard_at + t.full_s * USEC_PER_SEC;
}

/* May the copy become that of r? Not for what has no place here, nor, replaced, for what the kernel
 * has refused: it would be in no kernel then. */
static bool may_take(const struct rec *r, const struct rec *copy)
{
	return !(r->flags & F_SPENT) &&
	       !((r->flags & F_REFUSED) && copy_reborn(copy, r->body, r->len));
}

static bool walk_copy(struct engine *e, struct peer *p, struct rec *r, struct engine_op *op,
		      usec_t now)
{
	struct rec_timer t;
	uint32_t hold, left;
	struct peer *q;
	struct rec *x;

	if (sweep_missed(e, r->aux))
		return visit_make(op, OP_GET, r, p->index, TAG_SWEEP, 0, 0);
	if (round_has(e, e->patrol.adopt_to) && active_takes_over(e, p) && !copy_is_not_ours(r)) {
		x = copy_before(e, p, r, &q);
		if (x && (!active_takes_over(e, q) || !may_take(x, r)))
			x = NULL;
		if (x)
			copy_move(e, q, x, r);
		if (!x || x->list == CACHE_LIST_NONE) /* else the answer adopts it */
			patrol_adopt(e, x ? x : r, now);
		return false;
	}
	if (copy_is_not_ours(r)) /* no event tells of its end (R66) */
		return (round_has(e, e->patrol.adopt_to) || patrol_token(e)) &&
		       visit_make(op, OP_GET, r, p->index, TAG_SWEEP, 0, 0);
	if (!own_injects(e) || r->list != CACHE_LIST_NONE)
		return false;
	t = rec_timer(e, r);
	if (t.kind != FLOW_TIMER_LIVE) /* cannot be refreshed; made again when it ran out */
		return flow_is_expect(r->body) && update_op(e, p, r, op);
	hold = t.hold_s;
	left = r->written_s > to_s(now) ? r->written_s - to_s(now) : 0;
	patrol_hold_set(e, hold);
	if (left > hold / 2 &&
	    left > (hold < PATROL_HOLD_SHORT_S ? PATROL_ROUND_SHORT_S : PATROL_ROUND_S) + 2)
		return false;
	if (left + 1 >= hold || !patrol_token(e))
		return false;
	return op_exact(e, op, OP_REFRESH, r, p->index, hold);
}

void refusal_forget(struct engine *e, struct rec *r)
{
	if (r->flags & F_REFUSED)
		e->refused--;
	r->flags &= (uint16_t)~F_REFUSED;
}

static bool walk_mirror(struct engine *e, struct peer *p, struct rec *r, struct engine_op *op,
			usec_t now)
{
	struct rec *copy;
	struct peer *q;

	if (silent_over(e, p, r, now)) {
		e->count.expired_silent++;
		peer_drop_flow(e, p, r);
		return false;
	}
	if (r->flags & F_KERN)
		return walk_copy(e, p, r, op, now);
	if (r->list != CACHE_LIST_NONE)
		return false;
	if (own_find(e, r->body, r->keylen, r->hash) || unknown_find(e, r)) {
		refusal_forget(e, r);
		if ((p->primary && r->gen == p->gen && !e->conf.active_active) ||
		    unknown_find(e, r))
			own_stale_later(e, p, r, now);
		return false;
	}
	if (p->primary && own_injects(e) &&
	    (copy = mirror_find(e, r->body, r->keylen, r->hash, false, &q)) &&
	    !(copy->flags & F_FLIGHT) && copy_goes_before(p, r, q, copy) && injectable(e, r) &&
	    may_take(r, copy)) {
		copy_move(e, p, r, copy); /* it became primary since it spoke (R36) */
		return r->list == CACHE_LIST_NONE && walk_copy(e, p, r, op, now);
	}
	if (!own_injects(e) && round_has(e, e->patrol.forget_to))
		refusal_forget(e, r);
	if (!commit_walks(e) && (!(r->flags & F_REFUSED) || !patrol_token(e)))
		return false;
	return visit_mirror(e, p, r, op);
}

static bool lift_op(struct engine *e, struct rec *r, struct engine_op *op)
{
	struct rec_timer t = rec_timer(e, r);

	if (t.kind != FLOW_TIMER_LIVE) {
		r->flags &= (uint16_t)~F_LIFT;
		return false;
	}
	/* To a claim that replaces the entry our lift would look like a packet. The next round has
	 * to be in time for it. */
	if (claim_replaces(e, r) || !patrol_token(e)) {
		patrol_hold_set(e, r->written_s > to_s(e->now) ? r->written_s - to_s(e->now) : 0);
		return false;
	}
	if (!op_exact(e, op, OP_REFRESH, r, TABLE_LOCAL, t.full_s))
		return false;
	op->tag = TAG_LIFT;
	return true;
}

static bool walk_own(struct engine *e, struct rec *r, struct engine_op *op)
{
	struct peer *q;

	if (r->flags & F_CHECK)
		return scrub_op(r, op);
	if (expect_visit(e, r))
		return false;
	if (r->flags & F_HEIR)
		return claim_heir_op(e, r, op);
	if (sweep_missed(e, r->gen))
		return visit_make(op, OP_GET, r, TABLE_LOCAL,
				  e->dump.lossy ? TAG_SWEEP_LOSSY : TAG_SWEEP, 0, 0);
	/* The kernel's word on what expired may come a minute late. A claim must not wait for it
	 * now. */
	if (round_has(e, e->patrol.adopt_to) && r->expire_s <= to_s(e->now) &&
	    also_claimed(e, NULL, r, &q))
		return visit_make(op, OP_GET, r, TABLE_LOCAL, TAG_SWEEP, 0, 0);
	return r->flags & F_LIFT ? lift_op(e, r, op) : master_read_helped(e, r, op);
}

bool visit_patrol(struct engine *e, unsigned int table, struct rec *r, struct engine_op *op,
		  usec_t now)
{
	outcome_visit(e, table, r);
	audit_visit(e, table, r);
	if (scope_leaves_out(e, table, r))
		return scope_visit(e, table, r, op);
	if (r->tomb || (r->flags & F_FLIGHT) ||
	    r->list == CACHE_LIST_WORK) /* what waits for it tells as much */
		return false;
	if (table == TABLE_STRAYS)
		return walk_stray(e, r, op, now);
	if (table == TABLE_LOCAL)
		return walk_own(e, r, op);
	return walk_mirror(e, &e->peers[table], r, op, now);
}
