/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copies and strays: the entries of our kernel that are not ours to announce (own.c says which they
 * are and why). A key is a copy of one mirror at most; when another node's mirror takes it over,
 * the copy moves there with the timer that we wrote. A copy whose key lives on translated otherwise
 * (F_REBORN) has to be replaced, because ctnetlink changes no tuple of an existing entry.
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
 */
bool copy_reborn(const struct rec *a, const uint8_t *body, size_t len)
{
	struct flow x, y;

	if (flow_unpack(a->body, a->len, &x) || flow_unpack(body, len, &y))
		return false;
	return memcmp(&x.reply, &y.reply, sizeof(x.reply)) != 0;
}

void copy_word(struct rec *r, const uint8_t *body, size_t len)
{
	if ((r->flags & F_KERN) && !(r->flags & F_REBORN) && copy_reborn(r, body, len))
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
	}
	if (r->flags & F_REFUSED)
		e->refused--;
	if (r->list == CACHE_LIST_LATER)
		cache_list_del(p->mirror, r);
	r->flags = (uint16_t)((r->flags & ~(F_STALE | F_CHECK | F_REFUSED | F_REBORN)) | F_KERN);
	r->written_s = deadline_s;
	r->aux = e->dump.gen;
}

void copy_move(struct engine *e, struct peer *p, struct rec *r, const struct rec *from)
{
	bool other_life = copy_reborn(from, r->body, r->len);
	bool same = from->len == r->len && !memcmp(from->body, r->body, r->len);

	copy_set(e, p, r, from->written_s);
	if (other_life || (from->flags & F_REBORN))
		r->flags |= F_REBORN;
	if (!same && r->list == CACHE_LIST_NONE)
		cache_list_add(p->mirror, r, CACHE_LIST_WORK);
}

void copy_clear(struct peer *p, struct rec *r)
{
	assert(r->flags & F_KERN);
	r->flags &= (uint16_t) ~(F_KERN | F_REBORN);
	p->copies--;
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
	if (r->flags & F_UNKNOWN)
		e->unclaimed--;
	cache_del(e->strays, r);
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

void own_dump_forget(struct engine *e, const uint8_t *key, size_t keylen, uint32_t hash,
		     uint32_t id)
{
	struct rec *s;

	if (!e->dump.running)
		return;
	s = cache_find(e->strays, key, keylen, hash);
	if (s && !s->tomb)
		return;
	if (!s)
		s = cache_put_tomb(e->strays, key, keylen, hash, WIRE_REC_DEAD);
	if (!s)
		return;
	s->aux = id;
	cache_list_add(e->strays, s, CACHE_LIST_TOMB);
}
