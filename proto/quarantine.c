/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Quarantine: keys whose record or entry killed the daemon twice (PROTOCOL.md, R96 to R99). The
 * engine cannot know that it died; the caller does, from the mark that an earlier run left, and
 * names the keys before the first input.
 *
 * What a peer says of such a key is set aside: a slot for each key and peer holds the version and
 * the bytes, of which nothing but the key is ever looked at. No table has it, so nothing that walks
 * tables, injects, or looks flows up meets it. For replication it counts as held, so its rules are
 * those of a mirror (R9 to R12, R19, R20) in small, and its digest is added to the mirror's.
 */
#include "quarantine.h"

#include "engine_priv.h"

static struct poison *find(const struct engine *e, const uint8_t *key, size_t keylen)
{
	for (unsigned int i = 0; i < e->quarantine.count; i++) {
		const struct poison *x = &e->quarantine.poison[i];

		if (x->len == keylen && !memcmp(x->key, key, keylen))
			return (struct poison *)(uintptr_t)x;
	}
	return NULL;
}

bool quarantine_knows(const struct engine *e, const uint8_t *key, size_t keylen)
{
	return find(e, key, keylen) != NULL;
}

uint64_t quarantine_kernel_id(const struct engine *e)
{
	return e->quarantine.count ? 0 : e->conf.kernel_id;
}

static void count(struct engine *e, struct poison *x, const struct peer *p, enum engine_work work)
{
	e->count.quarantined++;
	if (!x->told)
		note_put(e, NOTE_QUARANTINED, p, (uint64_t)(x - e->quarantine.poison), work);
	x->told = true;
}

bool quarantine_event(struct engine *e, const uint8_t *key, size_t keylen)
{
	struct poison *x = find(e, key, keylen);

	if (x)
		count(e, x, NULL, WORK_EVENT);
	return x != NULL;
}

/* ---- What is set aside ---- */

static uint64_t version_of(const struct aside *a)
{
	return a->old ? 0 : a->version; /* R10 */
}

/* The new word on it: alive, or ended. */
static void set(struct peer *p, struct aside *a, const struct item *it, bool alive)
{
	uint64_t *changed = &p->changed[cache_bucket(it->hash)];

	*changed = max_u64(*changed, it->version);
	p->old_count -= a->held && a->old;
	a->held = alive;
	a->old = false;
	a->version = it->version;
	a->len = (uint8_t)it->rec.body_len;
	memcpy(a->body, it->rec.body, a->len);
}

/* The place of what p says in it; NULL if its key is not quarantined. */
static struct aside *place(struct engine *e, struct peer *p, const struct item *it)
{
	struct poison *x = find(e, it->rec.body, flow_key_len(it->rec.body, it->rec.body_len));

	if (!x)
		return NULL;
	count(e, x, p, WORK_RECORD);
	return &x->aside[p->index];
}

bool quarantine_take(struct engine *e, struct peer *p, const struct item *it)
{
	struct aside *a = place(e, p, it);

	if (a && it->version > version_of(a))
		set(p, a, it, it->rec.type == WIRE_REC_FLOW);
	return a != NULL;
}

/* The bytes at a version held already are taken too: there are no others (R19). */
bool quarantine_list(struct engine *e, struct peer *p, const struct item *it)
{
	struct aside *a = place(e, p, it);

	if (!a)
		return false;
	if (it->version >= version_of(a))
		set(p, a, it, true);
	a->named = true;
	return true;
}

void quarantine_sweep(struct engine *e, struct peer *p, const struct wire_list *m)
{
	for (unsigned int i = 0; i < e->quarantine.count; i++) {
		struct poison *x = &e->quarantine.poison[i];
		struct aside *a = &x->aside[p->index];
		struct item end = { .version = m->version };
		bool named = a->named;

		a->named = false;
		end.hash = cache_hash(p->mirror, x->key, x->len);
		if (!a->held || named || end.hash < m->lo || end.hash > m->hi_incl ||
		    (version_of(a) > m->version && version_of(a) <= p->maxhead))
			continue;
		end.rec = (struct wire_rec){ .body = x->key, .body_len = x->len };
		set(p, a, &end, false);
	}
}

void quarantine_age(struct engine *e, const struct peer *p)
{
	for (unsigned int i = 0; i < e->quarantine.count; i++) {
		struct aside *a = &e->quarantine.poison[i].aside[p->index];

		a->old = a->held;
		if (!a->held)
			a->version = 0;
	}
}

void quarantine_proven(struct engine *e, struct peer *p, unsigned int bucket)
{
	for (unsigned int i = 0; i < e->quarantine.count; i++) {
		struct poison *x = &e->quarantine.poison[i];
		struct aside *a = &x->aside[p->index];

		if (!a->held || !a->old ||
		    cache_bucket(cache_hash(p->mirror, x->key, x->len)) != bucket)
			continue;
		a->old = false;
		p->old_count--;
	}
}

void quarantine_forget(struct engine *e, const struct peer *p)
{
	for (unsigned int i = 0; i < e->quarantine.count; i++)
		e->quarantine.poison[i].aside[p->index] = (struct aside){ 0 };
}

uint32_t quarantine_held(const struct engine *e, const struct peer *p)
{
	uint32_t n = 0;

	for (unsigned int i = 0; i < e->quarantine.count; i++)
		n += e->quarantine.poison[i].aside[p->index].held;
	return n;
}

/* Made when it is asked for: tables may change their keys meanwhile. */
static uint64_t digest(const struct engine *e, const struct peer *p, bool all, unsigned int bucket)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < e->quarantine.count; i++) {
		const struct poison *x = &e->quarantine.poison[i];
		const struct aside *a = &x->aside[p->index];

		if (a->held &&
		    (all || cache_bucket(cache_hash(p->mirror, x->key, x->len)) == bucket))
			sum += digest_item(e->seal.digest, a->version, a->body, a->len);
	}
	return sum;
}

uint64_t quarantine_digest(const struct engine *e, const struct peer *p)
{
	return digest(e, p, true, 0);
}

uint64_t quarantine_bucket_digest(const struct engine *e, const struct peer *p, unsigned int bucket)
{
	return digest(e, p, false, bucket);
}

/* ---- Who is named ---- */

void engine_mark(struct engine *e, struct engine_mark *m)
{
	e->mark = m ? m : &e->no_mark;
	e->mark->work = WORK_NONE;
}

bool engine_quarantine(struct engine *e, const uint8_t *key, size_t len)
{
	struct quarantine *q = &e->quarantine;
	struct poison *x = &q->poison[q->count];

	if (q->count == ENGINE_QUARANTINE_MAX || !len || flow_key_len(key, len) != len)
		return false;
	x->len = (uint8_t)len;
	memcpy(x->key, key, len);
	q->count++;
	return true;
}

bool engine_suspect(struct engine *e, enum engine_work work, const uint8_t *key, size_t len)
{
	struct quarantine *q = &e->quarantine;
	struct suspect *x = &q->suspect[q->suspect_count];

	if (q->suspect_count == ENGINE_SUSPECTS_MAX || !len || flow_key_len(key, len) != len)
		return false;
	x->work = (uint8_t)work;
	x->len = (uint8_t)len;
	memcpy(x->key, key, len);
	q->suspect_count++;
	q->watched++;
	return true;
}

void quarantine_cleared(struct engine *e)
{
	const struct engine_mark *m = e->mark;

	for (unsigned int i = 0; i < e->quarantine.suspect_count; i++) {
		struct suspect *x = &e->quarantine.suspect[i];

		if (x->work == WORK_NONE || x->work != m->work || x->len != m->len ||
		    memcmp(x->key, m->key, x->len) != 0)
			continue;
		x->work = WORK_NONE;
		e->quarantine.watched--;
		note_put(e, NOTE_INNOCENT, NULL, i, 0);
	}
}
