/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ownership: which entries of our kernel are ours to announce, which are copies of a peer's flows,
 * and which are strays. Kept apart from replication (PROTOCOL.md, section 7). Three kinds of tables
 * hold what our kernel tracks:
 *
 * - the local half: own flows, announced in our stream;
 * - mirrors: a record with F_KERN has a copy in our kernel (at most one mirror has it so),
 * rec.written_s is the timer that we wrote;
 * - strays: entries that nobody announces: leftovers that age, deletions that wait, entries of
 * unknown origin after a restart; and orphans that are in no kernel but that a promote would commit
 * (in cache mode, and what was forced to end). During a dump they also remember what ended
 * meanwhile (tombstones), because a dump's message may be older than the event that we have read.
 *
 * An entry of the kernel is own, copy or stray, never two of them.
 */
#include "engine_priv.h"

#include <assert.h>
#include <string.h>

#define END_NEAR_S 3    /* two timers that end so near to each other are one */
#define FORCED_LEFT_S 5 /* a flow that ends with more than this left did not expire */
#define EXPECT_LATER_S                                                                             \
	2            /* an expectation that ends so much later than was told is told anew (R86) */
#define GC_LATE_S 62 /* the kernel's DESTROY may come so long after the expiry */

void key_pack(const struct engine *e, const struct flow_key *key, struct key *k)
{
	k->len = flow_key_pack(key, k->p);
	k->hash = cache_hash(e->local, k->p, k->len);
}

bool own_injects(const struct engine *e)
{
	return e->conf.hot || e->role == ROLE_PRIMARY;
}

struct rec *own_find(struct engine *e, const uint8_t *key, size_t keylen, uint32_t hash)
{
	struct rec *r = cache_find(e->local, key, keylen, hash);

	return r && !r->tomb ? r : NULL;
}

struct rec *stray_find(struct engine *e, const uint8_t *key, size_t keylen, uint32_t hash)
{
	struct rec *r;

	if (!cache_flows(e->strays))
		return NULL;
	r = cache_find(e->strays, key, keylen, hash);
	return r && !r->tomb ? r : NULL;
}

struct rec *mirror_find(struct engine *e, const uint8_t *key, size_t keylen, uint32_t hash,
			bool any, struct peer **p)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct rec *r;

		if (!e->peers[i].used || !cache_flows(e->peers[i].mirror))
			continue;
		r = cache_find(e->peers[i].mirror, key, keylen, hash);
		if (!r || r->tomb || (!any && !(r->flags & F_KERN)))
			continue;
		*p = &e->peers[i];
		return r;
	}
	return NULL;
}

/* ---- Own ---- */

/* Learnt by reading, not by an event: it may never send one. */
void own_maybe_mute(struct engine *e, struct rec *r)
{
	if (!(r->flags & F_MUTE))
		e->mute++;
	r->flags |= F_MUTE;
}

static void not_mute(struct engine *e, struct rec *r)
{
	if (r->flags & F_MUTE)
		e->mute--;
	r->flags &= (uint16_t)~F_MUTE;
}

/* The key stops being a copy or a stray, because it becomes ours. */
static bool others_clear(struct engine *e, const uint8_t *key, size_t keylen, uint32_t hash)
{
	struct peer *p;
	struct rec *r = NULL;

	if (cache_flows(e->strays) || cache_tombs(e->strays))
		r = cache_find(e->strays, key, keylen, hash);
	if (r && r->tomb)
		cache_del(e->strays, r);
	else if (r)
		stray_del(e, r);
	r = mirror_find(e, key, keylen, hash, false, &p);
	if (!r)
		return false;
	copy_clear(p, r);
	r->flags &= (uint16_t) ~(F_STALE | F_CHECK);
	cache_list_del(p->mirror, r);
	return true;
}

/* The body of an entry that we wrote, if we did (deadline_s), as it is in our kernel (R71). */
static const uint8_t *written_body(const struct engine *e, const uint8_t *body, size_t len,
				   uint32_t deadline_s, uint8_t *liberal)
{
	return e->conf.active_active && deadline_s ? active_liberal_body(body, len, liberal) : body;
}

static struct rec *adopt(struct engine *e, const uint8_t *body, size_t len, const struct key *k,
			 uint32_t deadline_s, bool touched)
{
	struct rec *r = cache_find(e->local, k->p, k->len, k->hash);
	uint16_t sent = r ? r->flags & F_SENT : 0;

	assert(!r || r->tomb);
	if (others_clear(e, k->p, k->len, k->hash))
		e->count.adopted++;
	r = cache_flows(e->local) < e->conf.flows_max
		    ? cache_put(e->local, body, len, k->len, k->hash)
		    : NULL;
	if (!r) { /* when there is room again the table is read (engine.c) */
		limit_reached(e, &e->limited, NULL);
		return NULL;
	}
	r->flags = (uint16_t)(sent | (deadline_s ? F_ADOPTED : 0) | (touched ? F_TOUCHED : 0));
	r->written_s = deadline_s;
	r->expire_s = deadline_s;
	r->gen = e->dump.gen;
	r->aux = 0;
	if (deadline_s)
		outcome_take(e, r);
	master_note(r);
	stream_changed(e, r);
	return r;
}

void own_let_go(struct engine *e, const uint8_t *body, size_t len, size_t keylen, uint32_t hash)
{
	uint8_t key[FLOW_PACKED_MAX]; /* and what follows it; the record may go */
	struct rec *r = stray_find(e, body, keylen, hash);
	struct peer *p;

	memcpy(key, body, len);
	if (r)
		stray_del(e, r);
	r = mirror_find(e, key, keylen, hash, false, &p);
	if (!r && own_injects(e))
		r = mirror_find(e, key, keylen, hash, true, &p);
	if (r)
		copy_set(e, p, r, 0);
	else if (flow_is_expect(key))
		expect_wait(e, key, len, keylen, hash);
}

void own_let_go_flow(struct engine *e, const struct flow *f, const struct key *k)
{
	uint8_t body[FLOW_PACKED_MAX];

	e->count.excluded++;
	own_let_go(e, body, flow_pack(f, body), k->len, k->hash);
}

/* What may be mute, for nobody knows where it comes from, may become ours in any TCP state (R65).
 */
static bool wants(struct engine *e, const struct flow *f, const struct key *k)
{
	const struct rec *r;

	if (scope_wants(e, f))
		return true;
	if (!policy_is_early(f) || !scope_includes(e, f))
		return false;
	r = stray_find(e, k->p, k->len, k->hash);
	return r && (r->flags & F_UNKNOWN);
}

struct rec *own_adopt(struct engine *e, const uint8_t *body, size_t len, size_t keylen,
		      uint32_t hash, uint32_t deadline_s, bool touched, usec_t now)
{
	uint8_t copy[FLOW_PACKED_MAX], liberal[FLOW_PACKED_MAX];
	struct key k = { .len = keylen, .hash = hash };
	struct flow f;

	assert(len <= sizeof(copy) && keylen <= sizeof(k.p));
	memcpy(copy, body, len); /* body may lie in a record that goes away now */
	memcpy(k.p, body, keylen);
	(void)now;
	if (!flow_unpack(copy, len, &f) && wants(e, &f, &k))
		return adopt(e, written_body(e, copy, len, deadline_s, liberal), len, &k,
			     deadline_s, touched);
	e->count.excluded++;
	own_let_go(e, copy, len, keylen, hash);
	return NULL;
}

struct rec *own_adopt_included(struct engine *e, const struct flow *f, const struct key *k,
			       uint32_t deadline_s, bool touched, usec_t now)
{
	bool whole = f->has & FLOW_HAS_ALL; /* as it is; an event tells a part */
	uint8_t body[FLOW_PACKED_MAX], liberal[FLOW_PACKED_MAX];
	size_t len = flow_pack(f, body);
	struct rec *r = adopt(e, written_body(e, body, len, whole ? 0 : deadline_s, liberal), len,
			      k, deadline_s, touched);

	if (!r)
		return NULL;
	r->aux = f->id;
	if (f->has & FLOW_HAS_TIMEOUT)
		r->expire_s = to_s(now) + f->timeout_s;
	return r;
}

struct rec *own_adopt_flow(struct engine *e, const struct flow *f, const struct key *k,
			   uint32_t deadline_s, bool touched, usec_t now)
{
	if (wants(e, f, k))
		return own_adopt_included(e, f, k, deadline_s, touched, now);
	own_let_go_flow(e, f, k);
	return NULL;
}

/* Returns whether the body is another one; then it has the next version. */
static bool own_body(struct engine *e, struct rec *r, const uint8_t *body, size_t len)
{
	if (len == r->len && !memcmp(body, r->body, len))
		return false;
	r = cache_put(e->local, body, len, r->keylen, r->hash);
	if (!r) {
		e->count.flows_limit++;
		return true;
	}
	master_note(r);
	stream_changed(e, r);
	return true;
}

/* Does f tell of a later life of the key than was, its beginning unheard? We know no id of what we
 * wrote ourselves, but what has seen replies, or is assured, stays so to its end. */
static bool other_life(const struct rec *r, const struct flow *was, const struct flow *f)
{
	if ((f->has & FLOW_HAS_ID) && r->aux)
		return f->id != r->aux;
	return (f->has & FLOW_HAS_ALL) && (was->status & ~f->status & FLOW_STATUS_LASTING);
}

void own_update(struct engine *e, struct rec *r, const struct flow *f, bool fresh, usec_t now)
{
	uint8_t body[FLOW_PACKED_MAX];
	bool later = flow_is_expect(r->body) && (f->has & FLOW_HAS_TIMEOUT) &&
		     to_s(now) + f->timeout_s > r->expire_s + EXPECT_LATER_S;
	struct flow cur;
	bool unread;
	size_t len;

	r->flags &= (uint16_t)~F_MISSED;
	if (fresh || (f->has & FLOW_HAS_ALL) || !e->dump.lossy)
		r->gen = e->dump.gen; /* else what was lost before is still unknown */
	unread = flow_unpack(r->body, r->len, &cur) != 0; /* its memory flipped */
	fresh = unread || fresh || other_life(r, &cur, f);
	if (fresh) {
		flow_copy(&cur, f);
		r->flags &= (uint16_t)~F_ADOPTED;
	} else {
		flow_merge(&cur, f);
	}
	if (f->has & FLOW_HAS_ID)
		r->aux = f->id;
	if (f->has & FLOW_HAS_TIMEOUT)
		r->expire_s = to_s(now) + f->timeout_s;
	if (scope_lost(e, r, &cur) || (unread && !scope_includes(e, &cur))) {
		e->count.excluded++;
		scope_withdraw(e, r);
		return;
	}
	len = flow_pack(&cur, body);
	if (!own_body(e, r, body, len) && later)
		stream_changed(e, r);
}

void own_look(const struct engine *e, struct rec *r, const struct flow *f, usec_t now)
{
	uint32_t end_s = to_s(now) + f->timeout_s;
	bool longer = end_s > r->written_s + 1;
	bool shorter = to_s(now) >= e->inexact_to_s && end_s + ENGINE_EXACT_S < r->written_s;

	if ((r->flags & (F_ADOPTED | F_HEIR)) != F_ADOPTED || !(longer || shorter) ||
	    rec_timer(e, r).kind != FLOW_TIMER_LIVE)
		return;
	r->flags |= F_TOUCHED;
	r->flags &= (uint16_t)~F_LIFT;
}

bool own_reread(struct engine *e, struct rec *r, const struct flow *f, usec_t now)
{
	uint8_t body[FLOW_PACKED_MAX];
	size_t len = flow_pack(f, body);

	own_look(e, r, f, now);
	r->aux = f->id;
	r->expire_s = to_s(now) + f->timeout_s;
	r->gen = e->dump.gen;
	return own_body(e, r, body, len);
}

void own_yield(struct engine *e, struct rec *r)
{
	e->count.released++;
	outcome_left(e, r);
	stream_ended(e, r, WIRE_REC_RELEASE);
}

void own_inherit(struct engine *e, struct rec *own, const struct rec *r, uint32_t limit_s)
{
	own->flags = (uint16_t)((own->flags & ~(F_TOUCHED | F_LIFT)) | F_ADOPTED | F_HEIR);
	own->written_s = limit_s;
	if (!own_body(e, own, r->body, r->len) && e->role == ROLE_PRIMARY)
		stream_changed(e, own); /* the claimer's entry is the old one now */
}

/* Ended by the kernel before its time, in a state in which flows go on. */
static bool was_forced(const struct rec *r, const struct flow *f)
{
	struct flow last;

	if (!f || !(f->has & FLOW_HAS_TIMEOUT) || f->timeout_s <= FORCED_LEFT_S ||
	    flow_unpack(r->body, r->len, &last))
		return false;
	flow_merge(&last, f);
	return !flow_is_closing(&last);
}

/* Does a peer that is heard say that it has the flow? What it said before it started anew it may
 * not say again. */
static bool claimed_by_living(struct engine *e, const struct rec *r)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct peer *p = &e->peers[i];
		struct rec *x = p->used && peer_hears(e, p)
					? cache_find(p->mirror, r->body, r->keylen, r->hash)
					: NULL;

		if (x && !x->tomb && x->gen == p->gen)
			return true;
	}
	return false;
}

static uint8_t end_type(struct engine *e, const struct rec *r, const struct flow *f, bool organic,
			usec_t now)
{
	bool forced = was_forced(r, f);

	if (!organic)
		return WIRE_REC_DEAD;
	if (flow_is_expect(r->body))
		return expect_fell(e, r) ? WIRE_REC_FORCED : WIRE_REC_DEAD;
	if ((r->flags & F_ADOPTED) && !(r->flags & F_TOUCHED) &&
	    to_s(now) <= r->written_s + GC_LATE_S && (!forced || claimed_by_living(e, r)))
		return WIRE_REC_RELEASE;
	return forced ? WIRE_REC_FORCED : WIRE_REC_DEAD;
}

/* A peer's flow that our kernel lost while the mirror has it: bring it back (R43). */
static void reinject(struct engine *e, struct peer *p, struct rec *r)
{
	if (own_injects(e) && !expect_is_spent(r) &&
	    (r->list == CACHE_LIST_NONE || r->list == CACHE_LIST_LATER))
		cache_list_add(p->mirror, r, CACHE_LIST_WORK);
	copy_wanted(e, p, r); /* if that one cannot be carried on */
}

void own_gone(struct engine *e, struct rec *r, const struct flow *f, bool organic, usec_t now)
{
	uint8_t key[FLOW_KEY_MAX];
	size_t keylen = r->keylen;
	uint32_t hash = r->hash;
	bool used = flow_is_expect(r->body) && expect_is_ours(e, r);
	struct peer *p;

	memcpy(key, r->body, keylen);
	stream_ended(e, r, end_type(e, r, f, organic, now));
	if (used)
		expect_ended(e, key, keylen, hash);
	r = mirror_find(e, key, keylen, hash, true, &p);
	if (r)
		reinject(e, p, r);
}

static void stray_gone(struct engine *e, struct rec *r)
{
	uint8_t key[FLOW_KEY_MAX];
	size_t keylen = r->keylen;
	uint32_t hash = r->hash;
	struct peer *p;

	memcpy(key, r->body, keylen);
	stray_missing(e, r);
	r = mirror_find(e, key, keylen, hash, true, &p);
	if (r)
		reinject(e, p, r);
}

/* ---- Events ---- */

/* May it be another incarnation that ended? Ids tell same from other, not older from newer: an
 * event that was read after our own write speaks of what was there before. And of what we wrote we
 * know no id: did rather an entry end that had expired and was in our way? */
static bool end_is_doubtful(const struct rec *r, const struct flow *f, usec_t now)
{
	uint64_t end_s = to_s(now) + f->timeout_s;

	if (!(f->has & FLOW_HAS_ID))
		return false;
	if (r->aux)
		return f->id != r->aux;
	return (r->flags & F_ADOPTED) && (f->has & FLOW_HAS_TIMEOUT) &&
	       end_s + END_NEAR_S < r->expire_s;
}

/* Of a copy we know no id: did rather an entry end that was there before we wrote it? */
static bool copy_stands(const struct rec *r, const struct flow *f, usec_t now)
{
	return (f->has & FLOW_HAS_TIMEOUT) && to_s(now) + f->timeout_s + END_NEAR_S < r->written_s;
}

static void event_end(struct engine *e, const struct flow *f, const struct key *k, uint32_t portid,
		      usec_t now)
{
	struct rec *r = own_find(e, k->p, k->len, k->hash);
	/* Of a life that began, or changed, since the dump did: whatever it tells of the key is
	 * older. */
	bool any_life = r && r->version > e->dump.start_version;
	uint32_t id = (f->has & FLOW_HAS_ID) && !any_life ? f->id : 0;
	struct peer *p;

	if (r && end_is_doubtful(r, f, now)) {
		if (!reread_put(e, r, TAG_SWEEP, now))
			e->dump.wanted = true;
	} else if (r) {
		own_gone(e, r, f, portid == 0, now);
	} else if ((r = stray_find(e, k->p, k->len, k->hash)) && (r->flags & F_KERN)) {
		stray_gone(e, r);
	} else if ((r = mirror_find(e, k->p, k->len, k->hash, false, &p))) {
		if (!copy_stands(r, f, now) || !reread_put(e, r, TAG_SWEEP, now)) {
			copy_clear(p, r);
			reinject(e, p, r);
		}
	} else {
		e->count.events_unknown++;
		r = mirror_find(e, k->p, k->len, k->hash, true, &p);
		if (r) /* our own, and our record of it was lost (R76) */
			reinject(e, p, r);
	}
	own_dump_forget(e, k->p, k->len, k->hash, id);
}

/* NULL: no room, or no memory. */
struct rec *stray_room(struct engine *e, const uint8_t *body, size_t len, const struct key *k)
{
	if (cache_flows(e->strays) >= e->conf.flows_max)
		return NULL;
	return cache_put(e->strays, body, len, k->len, k->hash);
}

/* A flow that no message showed as a whole is read first. An expectation that comes before its
 * master (of TFTP: with the first packet) is read a little later: R84. */
static void event_partial(struct engine *e, const struct flow *f, const struct key *k, usec_t now)
{
	uint8_t body[FLOW_PACKED_MAX];
	size_t len = flow_pack(f, body);
	struct rec *s = stray_find(e, k->p, k->len, k->hash);

	e->count.events_unknown++;
	claim_refuted(e, k);
	if (s)
		stray_del(e, s);
	s = cache_flows(e->local) < e->conf.flows_max ? stray_room(e, body, len, k) : NULL;
	if (!s) {
		limit_reached(e, &e->limited, NULL);
		return;
	}
	cache_list_del(e->strays, s); /* of what ended as a dump ran */
	s->flags = F_KERN | F_CHECK;
	s->gen = e->dump.gen;
	if (!f->key.expect || !reread_put(e, s, TAG_PARTIAL, now))
		cache_list_add(e->strays, s, CACHE_LIST_WORK);
}

/* Soon, or with all others. */
static void event_read(struct engine *e, const struct rec *r, usec_t now)
{
	if (!reread_put(e, r, TAG_REREAD, now))
		e->dump.wanted = true;
}

static void event_own(struct engine *e, enum engine_kern_event event, const struct flow *f,
		      struct rec *r, uint32_t portid, usec_t now)
{
	if (event == KERN_UPDATE && r->flags & F_MUTE && !r->aux)
		event_read(e, r, now); /* of a life that it does not tell from this one (R66) */
	not_mute(e, r);
	if (event == KERN_NEW && (r->flags & F_TAKEN))
		outcome_ended(e, r); /* the tuple is used again */
	if (!portid) {
		r->flags |= F_TOUCHED;
		if (r->flags & F_HEIR)
			event_read(e, r, now);
		r->flags &= (uint16_t) ~(F_LIFT | F_HEIR);
	}
	if (e->conf.active_active && active_is_older(r, f))
		(void)reread_put(e, r, TAG_REREAD, now);
	/* Newer than the dump, even if it tells nothing new. */
	if (e->dump.running && e->dump.lossy)
		stream_changed(e, r);
	own_update(e, r, f, event == KERN_NEW, now);
}

/* Ours by an event. What is excluded as the event has it may not be so as a dump under way read it
 * before. */
static void event_adopt(struct engine *e, enum engine_kern_event event, const struct flow *f,
			const struct key *k, uint32_t deadline_s, usec_t now)
{
	struct rec *r = own_adopt_flow(e, f, k, deadline_s, true, now);

	claim_refuted(e, k);
	if (!r)
		own_dump_forget(e, k->p, k->len, k->hash, f->id);
	else if (event == KERN_UPDATE && e->dump.lossy)
		r->gen = dump_gen_other(e);
	/* What we wrote to a copy as this life had begun unheard met this one. And what the event
	 * did not tell is as a peer had it, in memory that may have flipped (R76). */
	if (r && event == KERN_UPDATE)
		(void)reread_put(e, r, TAG_REREAD, now);
}

static void event_set(struct engine *e, enum engine_kern_event event, const struct flow *f,
		      const struct key *k, uint32_t portid, usec_t now)
{
	struct rec *r = own_find(e, k->p, k->len, k->hash);
	struct peer *p = NULL;
	bool unlike = false;
	struct flow cur;

	if (event == KERN_NEW && !portid && (f->has & FLOW_HAS_MASTER) && !f->key.expect)
		expect_used(e, f);
	if (r) {
		if (!portid && e->role == ROLE_PRIMARY) /* a rival's claim is older */
			claim_refuted(e, k);
		event_own(e, event, f, r, portid, now);
		return;
	}
	r = stray_find(e, k->p, k->len, k->hash);
	if (!r || !(r->flags & F_KERN))
		r = mirror_find(e, k->p, k->len, k->hash, false, &p);
	if (r && portid && event == KERN_UPDATE && !(p && copy_is_not_ours(r)))
		return; /* somebody's tool wrote to a copy: no traffic */
	if (r && event == KERN_UPDATE && (!p || r->written_s)) {
		if (flow_unpack(r->body, r->len, &cur))
			return; /* was checked before it was stored */
		/* Of an earlier life, whose end a filter may have withheld (R66), or which was
		 * mute, or the peer's newest word was not written yet? */
		unlike = e->fluid || e->had_policy || (r->flags & F_UNKNOWN) ||
			 ((f->has & FLOW_HAS_STATUS) &&
			  (cur.status & ~f->status & FLOW_STATUS_LASTING)) ||
			 (p && (r->list == CACHE_LIST_WORK || r->list == CACHE_LIST_AGE));
		flow_merge(&cur, f);
		if (!unlike) {
			event_adopt(e, event, &cur, k, r->written_s, now);
			return;
		}
	}
	if (event == KERN_UPDATE && (unlike || flow_is_partial(f))) {
		if (p) /* let_go: the peer's word is not what our kernel has */
			copy_clear(p, r);
		event_partial(e, f, k, now);
		return;
	}
	if (f->key.expect && !r && !expect_has_master(e, f)) {
		event_partial(e, f, k, now);
		return;
	}
	event_adopt(e, event, f, k, 0, now);
}

void engine_kern_soon(struct engine *e, const struct flow *flow)
{
	struct soon *s = &e->soon;
	unsigned int i = (s->first + s->count) % ENGINE_SOON_MAX;

	if (s->count == ENGINE_SOON_MAX)
		return;
	s->count++;
	s->of[i].flow = flow;
	key_pack(e, &flow->key, &s->of[i].key);
	cache_prefetch_head(e->local, s->of[i].key.hash);
}

/* The key of f. That of an event halfway behind it has had time for its table head to come. */
static void event_key(struct engine *e, const struct flow *f, struct key *k)
{
	struct soon *s = &e->soon;

	if (!s->count || s->of[s->first].flow != f) {
		s->count = 0;
		key_pack(e, &f->key, k);
		return;
	}
	*k = s->of[s->first].key;
	s->first = (s->first + 1) % ENGINE_SOON_MAX;
	if (--s->count >= ENGINE_SOON_MAX / 2)
		cache_prefetch(
			e->local,
			s->of[(s->first + ENGINE_SOON_MAX / 2 - 1) % ENGINE_SOON_MAX].key.hash);
}

void own_event(struct engine *e, enum engine_kern_event event, const struct flow *f,
	       uint32_t portid, usec_t now)
{
	struct key k;

	event_key(e, f, &k);
	if (scope_ignores(e, f)) {
		e->count.events_ignored++;
		return;
	}
	if (quarantine_event(e, k.p, k.len))
		return;
	if (portid)
		e->count.events_foreign++;
	audit_touch(e, k.p, k.len, k.hash);
	mark_begin(e->mark, WORK_EVENT, k.p, k.len);
	if (event == KERN_DESTROY)
		event_end(e, f, &k, portid, now);
	else
		event_set(e, event, f, &k, portid, now);
	mark_end(e);
}

/* ---- Time ---- */

void own_claims(struct engine *e)
{
	if (e->role == ROLE_BACKUP)
		patrol_urgent(e);
}

/* Entries of unknown origin are ours when nobody is there who could claim them. */
void own_tick(struct engine *e, usec_t now)
{
	if (e->unclaimed_own || !e->unclaimed || !e->complete)
		return;
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used)
			return;
	if (now < e->started_at + e->conf.unclaimed_ms * USEC_PER_MS)
		return;
	e->unclaimed_own = true;
	patrol_urgent(e);
}
