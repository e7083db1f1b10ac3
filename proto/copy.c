/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copies and strays: the entries of our kernel that are not ours to announce (own.c says which they
 * are and why), and what a peer's word on a flow, or its silence, makes of them. A key is a copy of
 * one mirror at most; when another node's mirror takes it over, the copy moves there with the timer
 * that we wrote. A copy whose key lives on translated otherwise (F_REBORN) has to be replaced,
 * because ctnetlink changes no tuple of an existing entry, and unsets no SEEN_REPLY or ASSURED.
 */
#include "engine_priv.h"

#include <assert.h>
#include <string.h>

#define LOST_TIMER_S 86400 /* written where neither packets nor we can refresh it (R35) */

struct rec_timer rec_timer(const struct engine *e, const struct rec *r)
{
	uint32_t now_s = to_s(e->now), generic = e->conf.timeouts.generic;
	struct rec_timer t = { .full_s = generic, .write_s = generic };
	struct flow f;

	if (!flow_unpack(r->body, r->len, &f)) {
		f.has |= FLOW_HAS_TIMEOUT;
		f.timeout_s = r->expire_s > now_s ? r->expire_s - now_s : 1;
		t.kind = flow_timer(&f);
		t.full_s = flow_full_timeout(&e->conf.timeouts, &f);
		t.write_s = t.kind == FLOW_TIMER_LOST ? LOST_TIMER_S : t.full_s;
	}
	t.hold_s = t.write_s;
	if (t.kind == FLOW_TIMER_LIVE)
		t.hold_s = (uint32_t)min_u64(t.full_s, e->conf.hold_s);
	return t;
}

/* Is b another life of a's key: translated otherwise? An update cannot make it of the same entry.
 * Of an expectation it can change nothing. */
bool copy_reborn(const struct rec *a, const uint8_t *body, size_t len)
{
	struct flow x, y;

	if (flow_is_expect(body))
		return a->len != len || memcmp(a->body, body, len) != 0;
	if (flow_unpack(a->body, a->len, &x) || flow_unpack(body, len, &y))
		return false;
	return memcmp(&x.reply, &y.reply, sizeof(x.reply)) != 0;
}

/* Or has it a status that the entry of a lives beyond: an update cannot take that away. */
static bool must_replace(const struct rec *a, const uint8_t *body, size_t len)
{
	struct flow x, y;

	return copy_reborn(a, body, len) ||
	       (!flow_unpack(a->body, a->len, &x) && !flow_unpack(body, len, &y) &&
		(x.status & ~y.status & FLOW_STATUS_LASTING));
}

void copy_word(struct rec *r, const uint8_t *body, size_t len)
{
	if ((r->flags & F_KERN) && !(r->flags & F_REBORN) && must_replace(r, body, len))
		r->flags |= F_REBORN;
}

void copy_set(struct engine *e, struct peer *p, struct rec *r, uint32_t deadline_s)
{
	struct peer *q;
	struct rec *other;

	if (!(r->flags & F_KERN)) {
		other = mirror_find(e, r->body, r->keylen, r->hash, false, &q);
		if (other) /* a key is a copy of one mirror at most */
			copy_clear(q, other);
		p->copies++;
		p->expect_copies += flow_is_expect(r->body);
	}
	if (r->flags & F_REFUSED)
		e->refused--;
	if (r->list == CACHE_LIST_LATER)
		cache_list_del(p->mirror, r);
	r->flags = (uint16_t)((r->flags & ~(F_STALE | F_CHECK | F_REFUSED | F_REBORN)) | F_KERN);
	r->written_s = deadline_s;
	r->aux = e->dump.gen;
	if (deadline_s > to_s(e->now))
		patrol_hold_set(e, deadline_s - to_s(e->now));
}

uint8_t entry_gen(struct engine *e, const struct rec *r)
{
	return stray_find(e, r->body, r->keylen, r->hash) == r ? r->gen : (uint8_t)r->aux;
}

void copy_move(struct engine *e, struct peer *p, struct rec *r, const struct rec *from)
{
	bool reborn = must_replace(from, r->body, r->len) || (from->flags & F_REBORN);
	bool same = from->len == r->len && !memcmp(from->body, r->body, r->len);
	bool due = from->list == CACHE_LIST_WORK || /* AGE of a stray says nothing of an update */
		   (from->list == CACHE_LIST_AGE &&
		    stray_find(e, from->body, from->keylen, from->hash) != from);
	uint8_t gen = entry_gen(e, from);

	copy_set(e, p, r, from->written_s); /* clears from */
	r->aux = gen;
	if (reborn)
		r->flags |= F_REBORN;
	if ((!same || due) && r->list == CACHE_LIST_NONE)
		cache_list_add(p->mirror, r, CACHE_LIST_WORK);
}

void copy_clear(struct peer *p, struct rec *r)
{
	assert(r->flags & F_KERN);
	r->flags &= (uint16_t) ~(F_KERN | F_REBORN);
	p->copies--;
	p->expect_copies -= flow_is_expect(r->body);
	if (r->list == CACHE_LIST_AGE) /* there is no update left to try again */
		cache_list_del(p->mirror, r);
}

void copy_wanted(struct engine *e, const struct peer *p, const struct rec *r)
{
	struct peer *q;
	struct rec *other = own_injects(e) ? also_claimed(e, p, r, &q) : NULL;

	if (other && other->list == CACHE_LIST_NONE && !(other->flags & F_KERN))
		cache_list_add(q->mirror, other, CACHE_LIST_WORK);
}

void stray_del(struct engine *e, struct rec *r)
{
	e->absent -= !(r->flags & F_KERN) && !flow_is_expect(r->body);
	if (r->flags & F_UNKNOWN)
		e->unclaimed--;
	cache_del(e->strays, r);
}

void stray_missing(struct engine *e, struct rec *r)
{
	if (!(r->flags & F_FORCED) || r->list != CACHE_LIST_LATER) {
		stray_del(e, r);
		return;
	}
	e->absent += (r->flags & F_KERN) && !flow_is_expect(r->body); /* a promote makes it */
	r->flags = F_FORCED | F_PASSED;
	r->written_s = 0;
}

/* Does our kernel have an entry for it whose provenance nobody knows? */
struct rec *unknown_find(struct engine *e, const struct rec *r)
{
	struct rec *s = stray_find(e, r->body, r->keylen, r->hash);

	return s && (s->flags & F_UNKNOWN) ? s : NULL;
}

struct rec *stray_put(struct engine *e, const struct rec *r, uint16_t flags, uint32_t deadline_s)
{
	struct rec *s = stray_find(e, r->body, r->keylen, r->hash);

	if (s)
		stray_del(e, s);
	s = cache_put(e->strays, r->body, r->len, r->keylen, r->hash);
	if (!s) {
		e->count.flows_limit++;
		return NULL;
	}
	cache_list_del(e->strays, s);
	s->flags = flags;
	s->written_s = deadline_s;
	s->expire_s = r->expire_s;
	s->gen = e->dump.gen;
	s->aux = 0;
	e->absent += !(flags & F_KERN) && !flow_is_expect(r->body);
	if (flags & F_UNKNOWN)
		e->unclaimed++;
	return s;
}

void stray_wait(struct engine *e, struct rec *s, enum cache_list list, usec_t due)
{
	if (!s)
		return;
	s->aux = to_s(due) + 1;
	cache_list_add(e->strays, s, list);
}

void stray_age(struct engine *e, struct rec *s, usec_t now)
{
	stray_wait(e, s, CACHE_LIST_AGE, now + e->conf.orphan_s * USEC_PER_SEC);
}

void own_dump_forget(struct engine *e, const uint8_t *key, size_t keylen, uint32_t hash,
		     uint32_t id)
{
	struct rec *s;

	if (!e->dump.running)
		return;
	s = cache_find(e->strays, key, keylen, hash);
	if (s && !s->tomb) {
		s->flags |= F_WENT;
		s->gen = e->dump.gen;
		return;
	}
	if (s && s->aux != id) /* two lives ended: no message tells of one that is there */
		id = 0;
	if (!s && cache_tombs(e->strays) < e->conf.flows_max)
		s = cache_put_tomb(e->strays, key, keylen, hash, WIRE_REC_DEAD);
	if (!s) {
		e->dump.spoilt = true;
		return;
	}
	s->aux = id;
	cache_list_add(e->strays, s, CACHE_LIST_TOMB);
}

/* ---- What peers announce and withdraw ---- */

void own_stale_later(struct engine *e, struct peer *p, struct rec *r, usec_t now)
{
	if ((e->role == ROLE_PRIMARY && !e->conf.active_active) ||
	    (r->flags & (F_STALE | F_KERN)) ||
	    (r->list == CACHE_LIST_LATER && claim_stands(e, p, r)))
		return;
	r->flags &= (uint16_t)~F_AWAITED;
	r->aux = claim_date_s(e, p, r, now);
	cache_list_add(p->mirror, r, CACHE_LIST_LATER);
}

/* What was deleted by force waits for a promote, covered as long as it waits, whatever other nodes
 * say of the flow that cannot take its place, or may be older than its end. */
static bool is_awaited_still(const struct engine *e, const struct peer *p, const struct rec *stray,
			     const struct rec *r)
{
	struct flow f;

	if (!(stray->flags & F_FORCED) || flow_unpack(r->body, r->len, &f))
		return false;
	return !active_injectable(e, &f) || (!p->primary && !copy_reborn(stray, r->body, r->len) &&
					     ((stray->flags & F_KERN) || !own_injects(e)));
}

/* Another peer's record of the key. NULL: none. */
static struct rec *word_of(const struct peer *q, const struct peer *p, const struct rec *r)
{
	struct rec *x = q->used && q != p && cache_flows(q->mirror)
				? cache_find(q->mirror, r->body, r->keylen, r->hash)
				: NULL;

	return x && !x->tomb ? x : NULL;
}

void copy_told(struct engine *e, struct peer *p, struct rec *r)
{
	r->flags &= (uint16_t) ~(F_PASSED | F_LED);
	r->flags |= p->primary ? F_LED : 0;
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct rec *x = word_of(&e->peers[i], p, r);

		if (x)
			x->flags |= F_PASSED;
	}
}

static unsigned int rank(const struct peer *p, const struct rec *r)
{
	return p->led ? 2 : r->flags & F_LED ? 1 : 0;
}

bool copy_goes_before(const struct peer *q, const struct rec *x, const struct peer *p,
		      const struct rec *r)
{
	unsigned int a = rank(q, x), b = rank(p, r);

	return a != b ? a > b : (r->flags & ~x->flags & F_PASSED);
}

struct rec *copy_before(struct engine *e, const struct peer *p, const struct rec *r,
			struct peer **q)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct rec *x = word_of(&e->peers[i], p, r);
		struct flow f;

		*q = &e->peers[i];
		if (x && copy_goes_before(*q, x, p, r) && !(x->flags & F_SPENT) &&
		    !refusal_counts(e, x) && !flow_unpack(x->body, x->len, &f) &&
		    active_injectable(e, &f))
			return x;
	}
	return NULL;
}

void own_mirror_set(struct engine *e, struct peer *p, struct rec *r, usec_t now)
{
	struct rec *other;
	struct peer *q;
	struct flow f;

	if (own_find(e, r->body, r->keylen, r->hash)) {
		if (e->conf.active_active)
			cache_list_add(p->mirror, r, CACHE_LIST_WORK); /* R72 */
		else if (e->role == ROLE_PRIMARY)
			claim_rival(e, p, r, now);
		else if (p->primary || !peer_primary_known(e))
			own_stale_later(e, p, r, now);
		return;
	}
	other = stray_find(e, r->body, r->keylen, r->hash);
	if (other && (other->flags & F_UNKNOWN)) {
		other->flags &= (uint16_t)~F_DOOM;
		cache_list_del(e->strays, other);
		own_stale_later(e, p, r, now);
		return;
	}
	if (other && (other->flags & F_CHECK)) /* an event told of it: it is read, and ours then */
		return;
	if (other && is_awaited_still(e, p, other, r)) { /* by a promote, beside what is a copy */
		if (!(r->flags & F_KERN))
			return;
	} else if (other) {
		if (other->flags & F_KERN)
			copy_move(e, p, r, other);
		stray_del(e, other);
	}
	if (!(r->flags & F_KERN) &&
	    (other = mirror_find(e, r->body, r->keylen, r->hash, false, &q))) {
		if (copy_before(e, p, r, &q))
			return;
		copy_move(e, p, r, other);
	}
	if (!own_injects(e) && !(r->flags & F_KERN))
		return;
	if (flow_unpack(r->body, r->len, &f) || (!(r->flags & F_KERN) && !active_injectable(e, &f)))
		return;
	if (r->list == CACHE_LIST_NONE || r->list == CACHE_LIST_AGE)
		cache_list_add(p->mirror, r, CACHE_LIST_WORK);
}

/* Another peer's record of the key, in a state that can be carried on, whose word counts of them.
 */
struct rec *also_claimed(struct engine *e, const struct peer *p, const struct rec *r,
			 struct peer **q)
{
	struct rec *found = NULL;

	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct rec *x = word_of(&e->peers[i], p, r);
		struct flow f;

		if (!x || (found && !copy_goes_before(&e->peers[i], x, *q, found)) ||
		    flow_unpack(x->body, x->len, &f) || !active_injectable(e, &f))
			continue;
		found = x;
		*q = &e->peers[i];
	}
	return found;
}

/* The copy r is to go. Not as its peer says, if beside it the wait of a forced end stands (R47), or
 * a leftover, of which that says nothing (R42). */
static enum gone_how how_beside(struct engine *e, const struct rec *r, enum gone_how how,
				usec_t *wait_to)
{
	const struct rec *s = stray_find(e, r->body, r->keylen, r->hash);

	if (!s || copy_reborn(s, r->body, r->len) || (how != GONE_DEAD && how != GONE_FORCED))
		return how;
	if (!(s->flags & F_FORCED))
		return GONE_OLD;
	if (how == GONE_FORCED)
		return how;
	*wait_to = (s->aux - 1) * USEC_PER_SEC; /* stray_wait */
	return GONE_FORCED;
}

/* In no kernel, and not dead: a promote commits it, before what peers say of the key unless one of
 * them goes before it. */
static void orphan_put(struct engine *e, const struct peer *p, const struct rec *r,
		       enum gone_how how, usec_t wait_to, usec_t now)
{
	struct peer *q;
	struct rec *x = also_claimed(e, p, r, &q), *s;
	uint16_t passed = x && copy_goes_before(q, x, p, r) ? F_PASSED : 0;

	s = stray_put(e, r, (uint16_t)((how == GONE_FORCED ? F_FORCED : 0) | passed), 0);
	if (how == GONE_FORCED)
		stray_wait(e, s, CACHE_LIST_LATER, wait_to);
	else
		stray_age(e, s, now);
}

/* Is the entry of a copy that of the life before, for the one at hand cannot be carried on yet? */
static bool is_young(const struct engine *e, const struct rec *r)
{
	struct flow f;

	return !flow_unpack(r->body, r->len, &f) && !active_injectable(e, &f);
}

/* Does the copy r, which leaves a mirror, become that of q's record of the key? What an address
 * that moves may need again is not turned into an earlier life of it, nor into the word of one who
 * may have lost it, unheard, not yet read, or of an earlier run; nor what nobody says has ended
 * into what was known before, but by a primary's word. */
static bool takes_over(const struct engine *e, const struct peer *q, const struct rec *other,
		       const struct peer *p, const struct rec *r, enum gone_how how)
{
	if (how == GONE_OLD)
		return (q->primary && peer_hears(e, q)) || !copy_goes_before(p, r, q, other);
	return how != GONE_FORCED || (q->primary && peer_hears(e, q) && other->gen == q->gen &&
				      !copy_reborn(r, other->body, other->len));
}

/* Is the word r, which leaves unended, newer than the other, whose copy the entry is then? An
 * orphan beside it remembers. */
static bool is_news(const struct rec *r, const struct rec *other, enum gone_how how)
{
	return how == GONE_OLD && (other->flags & ~r->flags & F_PASSED) && !flow_is_expect(r->body);
}

struct rec *orphan_inherits(struct engine *e, const struct rec *r, uint32_t deadline_s, uint8_t gen)
{
	struct rec *s = stray_find(e, r->body, r->keylen, r->hash);

	if (!s || s->flags & (F_KERN | F_FLIGHT) || !copy_reborn(s, r->body, r->len))
		return NULL;
	if (s->flags & F_FORCED)
		s->flags |= F_DOOM;
	else
		cache_list_del(e->strays, s);
	s->flags = (uint16_t)((s->flags & ~F_PASSED) | F_KERN | F_REBORN);
	s->written_s = deadline_s;
	s->gen = gen;
	e->absent -= !flow_is_expect(s->body);
	return s;
}

static void copy_left(struct engine *e, struct peer *p, struct rec *r, enum gone_how how,
		      usec_t now)
{
	uint32_t deadline_s = r->written_s;
	uint16_t reborn = r->flags & F_REBORN;
	uint8_t gen = entry_gen(e, r);
	struct rec *other, *s = NULL;
	struct peer *q;
	usec_t wait_to = now + e->conf.forced_wait_ms * USEC_PER_MS;
	bool revives;

	other = also_claimed(e, p, r, &q);
	if (other && takes_over(e, q, other, p, r, how)) {
		copy_move(e, q, other, r);
		if (is_news(r, other, how) && !stray_find(e, r->body, r->keylen, r->hash))
			orphan_put(e, p, r, how, 0, now);
		return;
	}
	copy_clear(p, r);
	how = how_beside(e, r, how, &wait_to);
	if (deadline_s && is_young(e, r)) /* its entry was to go (R48) */
		how = GONE_DEAD;
	revives = e->role == ROLE_PRIMARY && (how == GONE_FORCED || how == GONE_OLD);
	/* Let go, so the kernel's own and not as the peer said; or about to be, which must not be
	 * to the record that leaves. */
	if (!deadline_s || (revives && !scope_wants_body(e, r->body, r->len))) {
		copy_wanted(e, p, r);
		if (flow_is_expect(r->body))
			expect_wait(e, r->body, r->len, r->keylen, r->hash);
		else if (!own_injects(e) && how != GONE_DEAD)
			orphan_put(e, p, r, how, wait_to, now);
		return;
	}
	if (revives) {
		e->count.revived += how == GONE_FORCED;
		s = own_adopt(e, r->body, r->len, r->keylen, r->hash, deadline_s, false, now);
		if (s)
			lift_later(e, s, now);
	} else if (how == GONE_DEAD) {
		if (orphan_inherits(e, r, deadline_s, gen))
			return;
		s = stray_put(e, r, F_KERN | F_DOOM, deadline_s);
		if (s)
			cache_list_add(e->strays, s, CACHE_LIST_WORK);
	} else if (how == GONE_FORCED) {
		s = stray_put(e, r, F_KERN | F_DOOM | F_FORCED, deadline_s);
		stray_wait(e, s, CACHE_LIST_LATER, wait_to);
	} else if (flow_is_expect(r->body) ||              /* until its master is included (R84) */
		   scope_wants_body(e, r->body, r->len)) { /* else its end may go untold (R66) */
		s = stray_put(e, r, F_KERN, deadline_s);
	}
	if (!s)
		return;
	s->gen = gen;
	if (!revives)
		s->flags |= reborn;
}

bool looks_held(const struct engine *e, const struct rec *s, usec_t now)
{
	struct rec_timer t = rec_timer(e, s);

	return t.kind == FLOW_TIMER_LIVE && t.full_s > t.hold_s &&
	       s->written_s <= to_s(now) + t.hold_s + 1;
}

bool entry_was_touched(const struct engine *e, const struct rec *s, usec_t now)
{
	struct rec_timer t = rec_timer(e, s);

	return t.kind == FLOW_TIMER_LIVE && t.full_s > t.hold_s &&
	       s->written_s > to_s(now) + t.hold_s + 1;
}

/* An entry of unknown origin, whose claim was not settled yet: it goes when the claim would have
 * been settled, if no packet shows until then that it is our own (R40). */
static void unknown_dies(struct engine *e, const struct peer *p, const struct rec *r, usec_t now)
{
	struct rec *s = stray_find(e, r->body, r->keylen, r->hash);
	struct peer *q;

	if (!s || !(s->flags & F_UNKNOWN) || !looks_held(e, s, now) || also_claimed(e, p, r, &q))
		return;
	s->flags |= F_DOOM;
	stray_wait(e, s, CACHE_LIST_LATER, now + CLAIM_WAIT_S * USEC_PER_SEC);
}

/* Does the entry of r's flow wait for a promote, by an earlier end? */
static bool waits_already(const struct rec *s, const struct rec *r)
{
	return (s->flags & (F_KERN | F_FORCED | F_FLIGHT)) == (F_KERN | F_FORCED) &&
	       !copy_reborn(s, r->body, r->len);
}

void own_mirror_gone(struct engine *e, struct peer *p, struct rec *r, enum gone_how how, usec_t now)
{
	struct peer *q;
	struct rec *s, *x;

	if (r->flags & F_REFUSED)
		e->refused--;
	r->flags &= (uint16_t)~F_REFUSED;
	if (r->flags & F_KERN) {
		copy_left(e, p, r, how, now);
		return;
	}
	copy_wanted(e, p, r);
	if (how == GONE_DEAD)
		unknown_dies(e, p, r, now);
	else if (how != GONE_RELEASE || unknown_find(e, r) ||
		 (e->role == ROLE_PRIMARY && !p->primary)) /* settled as it is heard so */
		claim_left(e, p, r);
	s = stray_find(e, r->body, r->keylen, r->hash);
	if (how == GONE_FORCED && s && waits_already(s, r))
		stray_wait(e, s, CACHE_LIST_LATER, now + e->conf.forced_wait_ms * USEC_PER_MS);
	if (how == GONE_DEAD || expect_is_spent(r) || own_find(e, r->body, r->keylen, r->hash) ||
	    (s && (s->flags & F_KERN) && (how == GONE_FORCED || !(s->flags & F_FORCED))) ||
	    (how != GONE_FORCED && (x = also_claimed(e, p, r, &q)) &&
	     takes_over(e, q, x, p, r, how) && !is_news(r, x, how)))
		return;
	if (s && how != GONE_FORCED) { /* who leaves says nothing of its end */
		if (s->flags & F_KERN)
			cache_list_del(e->strays, s);
		else
			stray_age(e, s, now);
		s->flags &= (uint16_t) ~(F_FORCED | F_DOOM);
		return;
	}
	orphan_put(e, p, r, how, now + e->conf.forced_wait_ms * USEC_PER_MS, now);
}
