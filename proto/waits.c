/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What waits for a time: strays whose flow was forced to end and may come back with the address
 * (R47), orphans that age (R42), entries of unknown origin that follow their claim (R40), claims
 * that must stand for a while before they take an entry over (R38), and children whose master may
 * come yet (R60).
 */
#include "engine_priv.h"

#define WAIT_BATCH 1024 /* due waits handled in one call */

void lift_later(struct engine *e, struct rec *own, usec_t now)
{
	own->flags |= F_LIFT;
	patrol_hold_set(e, own->written_s > to_s(now) ? own->written_s - to_s(now) : 0);
}

/* An entry of ours as it was read, not written by this run: did an earlier one write its timer? */
void own_lift_held(struct engine *e, struct rec *own, usec_t now)
{
	own->written_s = own->expire_s;
	if (!looks_held(e, own, now)) {
		own->written_s = 0;
		return;
	}
	own->flags |= F_ADOPTED;
	lift_later(e, own, now);
}

void own_adopt_again(struct engine *e, const struct flow *f, const struct key *k, usec_t now)
{
	struct rec *own = own_adopt_flow(e, f, k, 0, false, now);

	if (!own)
		return;
	own_lift_held(e, own, now);
	own_maybe_mute(e, own);
}

/* A stray that is made, in the place of an entry of another life, or of one whose time has run out,
 * of which the kernel's word may come a minute late. */
static bool stray_is_made(struct engine *e, struct rec *r, usec_t now)
{
	bool over = e->role == ROLE_PRIMARY && !(r->flags & F_UNKNOWN) &&
		    r->written_s <= to_s(now) && !flow_is_expect(r->body);

	if (stray_find(e, r->body, r->keylen, r->hash) != r || !(over || r->flags & F_REBORN))
		return false;
	if (over) {
		e->absent += (r->flags & F_KERN) != 0;
		r->flags &= (uint16_t) ~(F_KERN | F_REBORN | F_DOOM);
	}
	cache_list_add(e->strays, r, CACHE_LIST_WORK);
	return true;
}

void patrol_adopt(struct engine *e, struct rec *r, usec_t now)
{
	bool unknown = r->flags & F_UNKNOWN;
	uint32_t end_s = r->written_s, deadline_s = unknown ? 0 : end_s;
	uint8_t gen = entry_gen(e, r);
	struct rec *own;

	if (copy_is_not_ours(r) ||
	    expect_is_spent(r)) /* what the peer says of it need not be so here */
		return;
	if (stray_is_made(e, r, now))
		return;
	own = own_adopt(e, r->body, r->len, r->keylen, r->hash, deadline_s, false, now);
	if (!own)
		return;
	own->gen = gen;
	if (deadline_s)
		lift_later(e, own, now);
	if (!unknown)
		return;
	own->expire_s = end_s; /* as it was read */
	own_lift_held(e, own, now);
	own_maybe_mute(e, own);
}

static void stray_due(struct engine *e, struct rec *r, usec_t now)
{
	struct peer *p;
	struct rec *other = also_claimed(e, NULL, r, &p);

	cache_list_del(e->strays, r);
	if (r->flags & F_KERN && e->role == ROLE_PRIMARY) {
		e->count.revived += (r->flags & F_FORCED) != 0;
		patrol_adopt(e, r, now);
	} else if (r->flags & F_KERN && other) { /* its word waited too (R47) */
		copy_move(e, p, other, r);
		stray_del(e, r);
	} else if (r->flags & F_KERN || e->role == ROLE_PRIMARY) {
		cache_list_add(e->strays, r, CACHE_LIST_WORK);
	} else {
		stray_del(e, r);
	}
}

static void strays_due(struct engine *e, enum cache_list list, usec_t now)
{
	for (unsigned int i = 0; i < WAIT_BATCH; i++) {
		struct rec *r = cache_list_first(e->strays, list);

		if (!r || r->aux > to_s(now))
			return;
		stray_due(e, r, now);
	}
}

/* While nobody is primary, or the claimer is silent, a claim stays undecided: the address is on its
 * way, and a promote of this node settles it. Dropped, our entry would be taken for current though
 * packets passed elsewhere. */
static void claims_due(struct engine *e, struct peer *p, usec_t now)
{
	uint64_t most = min_u64(WAIT_BATCH, cache_list_count(p->mirror, CACHE_LIST_LATER));
	bool undecided = !peer_primary_known(e) || !peer_hears(e, p);

	if (e->role == ROLE_PRIMARY && !e->conf.active_active) {
		bool over = !p->primary || !peer_hears(e, p);

		claims_settle(e, p, WAIT_BATCH, over ? UINT32_MAX : e->settle_s);
		return;
	}
	for (uint64_t i = 0; i < most; i++) {
		struct rec *r = cache_list_first(p->mirror, CACHE_LIST_LATER);
		bool stands, waits;

		if (r->aux + CLAIM_WAIT_S > to_s(now))
			return;
		stands = claim_stands(e, p, r);
		if (stands)
			r->flags |= F_STALE;
		waits = undecided && !stands && own_find(e, r->body, r->keylen, r->hash);
		cache_list_add(p->mirror, r, waits ? CACHE_LIST_LATER : CACHE_LIST_WORK);
	}
}

void waits_tick(struct engine *e, usec_t now)
{
	strays_due(e, CACHE_LIST_LATER, now);
	strays_due(e, CACHE_LIST_AGE, now);
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used)
			claims_due(e, &e->peers[i], now);
}
