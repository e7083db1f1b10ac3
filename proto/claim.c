/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Claims: what a peer announces of a key of which our kernel has an entry already, of our own or of
 * unknown origin. Packets passed elsewhere since, so that the entry's TCP window is an old one, and
 * no message resets it: the entry is replaced, unless packets have met it since the claim (R38,
 * R46). A claim stands for CLAIM_WAIT_S before that is done (waits.c), or until a promote. One that
 * leaves before, with the daemon that made it say, has told all the same that our entry is old: our
 * flow goes on as the claim had it, and its entry is replaced as if the claim stood. Of two
 * primaries neither yields; when one of them is a backup again, or silent, what it claimed is
 * settled so.
 */
#include "engine_priv.h"

static bool is_unsettled(const struct rec *r)
{
	return r->list == CACHE_LIST_LATER || (r->flags & F_STALE);
}

/* NULL: none that waits. */
static struct rec *claim_of(const struct peer *q, const struct rec *r)
{
	struct rec *x = q->used ? cache_find(q->mirror, r->body, r->keylen, r->hash) : NULL;

	return x && !x->tomb && is_unsettled(x) ? x : NULL;
}

/* Not of a new life that is too young to be carried on: its next word counts. */
static bool is_fit(const struct engine *e, const struct rec *r)
{
	struct flow f;

	return !flow_unpack(r->body, r->len, &f) && active_injectable(e, &f);
}

uint32_t claim_date_s(const struct engine *e, const struct peer *p, const struct rec *r, usec_t now)
{
	/* It cannot have said so since. */
	return to_s(r->gen != p->gen ? p->told_to : peer_hears(e, p) ? now : p->heard_at);
}

/* Ours yields to a primary alone; what nobody knows is the claimer's in any case. */
bool claim_stands(struct engine *e, const struct peer *p, const struct rec *r)
{
	if (e->conf.active_active)
		return unknown_find(e, r);
	if (e->role == ROLE_PRIMARY)
		return false;
	if (own_find(e, r->body, r->keylen, r->hash))
		return p->primary && peer_hears(e, p);
	return unknown_find(e, r);
}

/* Does another peer's claim settle the key: one whose word counts, or one that does so in this very
 * batch? */
static bool is_outdone(struct engine *e, const struct peer *p, const struct rec *r)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		const struct peer *q = &e->peers[i];
		const struct rec *x = q != p ? claim_of(q, r) : NULL;

		if (!x || !is_fit(e, x) || !((x->flags & F_STALE) || claim_stands(e, q, x)))
			continue;
		if (copy_goes_before(q, x, p, r) || (x->flags & F_FLIGHT))
			return true;
	}
	return false;
}

const struct rec *claim_entry(struct engine *e, const struct peer *p, const struct rec *r)
{
	const struct rec *ours = own_find(e, r->body, r->keylen, r->hash);

	if (!is_fit(e, r) || is_outdone(e, p, r))
		return NULL;
	return ours ? ours : unknown_find(e, r);
}

/* The latest end of a timer that no packet has met since the claim of r. It runs by the state that
 * our kernel knows, which may be an older one. */
static uint32_t untouched_s(const struct engine *e, const struct rec *r, const struct rec *ours)
{
	struct rec_timer old = rec_timer(e, ours);
	uint32_t limit_s = r->aux + old.full_s;

	if (old.kind == FLOW_TIMER_LIVE && (ours->flags & (F_ADOPTED | F_TOUCHED)) != F_ADOPTED)
		return limit_s;
	if (old.kind == FLOW_TIMER_LIVE) /* lifted since, perhaps (R37) */
		return (uint32_t)max_u64(limit_s, ours->written_s);
	/* no packet tells; our own writes may have set it higher */
	return (uint32_t)max_u64(limit_s, max_u64(ours->expire_s, ours->written_s));
}

/* It is never just deleted, for an idle connection of our own (a session with this very node) may
 * live in it. */
bool claim_replace(struct engine *e, struct peer *p, struct rec *r, const struct rec *ours,
		   struct engine_op *op)
{
	bool refreshed = e->conf.hot && e->role == ROLE_BACKUP;
	struct rec_timer t = rec_timer(e, r);

	return visit_make(op, OP_REPLACE, r, p->index, TAG_STALE, refreshed ? t.hold_s : t.write_s,
			  untouched_s(e, r, ours));
}

void claim_done(struct engine *e, const struct peer *p, const struct rec *r)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		const struct peer *q = &e->peers[i];
		struct rec *x = q != p ? claim_of(q, r) : NULL;

		if (!x || copy_goes_before(q, x, p, r))
			continue;
		x->flags &= (uint16_t)~F_STALE;
		if (x->list == CACHE_LIST_LATER)
			cache_list_del(q->mirror, x);
	}
}

bool claim_replaces(struct engine *e, const struct rec *own)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		const struct rec *x = claim_of(&e->peers[i], own);

		if (x && (x->flags & F_STALE))
			return true;
	}
	return false;
}

/* Does another peer's claim of the key wait? What is held of one who was not primary is none. */
static bool claim_waits(struct engine *e, const struct peer *p, const struct rec *r)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		if (&e->peers[i] != p && claim_of(&e->peers[i], r))
			return true;
	}
	return false;
}

/* Of the two states a primary takes the one that is further on: the claim may have been made with
 * what its node knew long before, and our own before what we learnt is old. Of two lives it keeps
 * its own; so it does if theirs closes, which may have been the life before. */
static const struct rec *heritage(const struct engine *e, const struct rec *own,
				  const struct rec *r)
{
	struct flow ours, theirs;

	if (e->role != ROLE_PRIMARY)
		return r;
	if (flow_unpack(own->body, own->len, &ours) || flow_unpack(r->body, r->len, &theirs))
		return own; /* were checked before they were stored */
	if (copy_reborn(own, r->body, r->len) ||
	    (flow_is_closing(&theirs) && !flow_is_closing(&ours)))
		return own;
	return flow_is_further(&ours, &theirs) ? r : own;
}

void claim_left(struct engine *e, struct peer *p, const struct rec *r)
{
	const struct rec *ours = is_unsettled(r) ? claim_entry(e, p, r) : NULL;
	struct rec *own;
	uint32_t limit_s;

	if (!ours || e->conf.active_active || flow_is_expect(r->body) || claim_waits(e, p, r) ||
	    !scope_wants_body(e, r->body, r->len))
		return;
	limit_s = untouched_s(e, r, ours);
	own = own_find(e, r->body, r->keylen, r->hash);
	if (!own && !scope_wants_body(e, ours->body, ours->len)) /* as it is in our kernel */
		return;
	if (!own) /* of unknown origin, and claimed by nobody else */
		own = own_adopt(e, ours->body, ours->len, ours->keylen, ours->hash, 0, false,
				e->now);
	if (!own)
		return;
	own_inherit(e, own, heritage(e, own, r), limit_s);
	e->patrol.hurry = true; /* not from here: this may be a step of the walk itself */
}

void claim_rival(struct engine *e, struct peer *p, struct rec *r, usec_t now)
{
	if (!p->primary || r->body[1] != 6 || (r->flags & (F_STALE | F_KERN | F_FLIGHT)))
		return;
	refusal_forget(e, r);
	r->flags &= (uint16_t)~F_AWAITED;
	r->aux = claim_date_s(e, p, r, now); /* its newest word counts */
	cache_list_add(p->mirror, r, CACHE_LIST_LATER);
}

void claims_settle(struct engine *e, struct peer *p, unsigned int most, uint32_t to_s)
{
	struct rec *r;

	while (most-- && (r = cache_list_first(p->mirror, CACHE_LIST_LATER)) && r->aux <= to_s) {
		claim_left(e, p, r);
		cache_list_del(p->mirror, r);
	}
}

bool claim_heir_op(struct engine *e, struct rec *r, struct engine_op *op)
{
	return visit_make(op, OP_REPLACE, r, TABLE_LOCAL, TAG_STALE, rec_timer(e, r).write_s,
			  r->written_s);
}

/* The patrol's next round asks again. An event that waited while we stood still may be older than
 * the claim: the timer will tell. */
void claim_refuted(struct engine *e, const struct key *k)
{
	if (lead_wakes(e, e->now))
		return;
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		const struct peer *p = &e->peers[i];
		struct rec *r = p->used && cache_list_count(p->mirror, CACHE_LIST_LATER)
					? cache_find(p->mirror, k->p, k->len, k->hash)
					: NULL;

		if (r && r->list == CACHE_LIST_LATER)
			cache_list_del(p->mirror, r);
	}
}
