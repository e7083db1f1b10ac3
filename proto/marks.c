/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bookmarks in the version list. Records are appended at the tail and leave from anywhere; hot
 * flows leave and come back at the tail without end while cold ones stay, so neither a bookmark per
 * so many versions nor per so many appends would keep gaps and memory bounded. Instead:
 *
 * - the tail gets a bookmark when MARKS_GAP records that are still there lie behind the last one;
 * - when a record with a bookmark leaves, its bookmark goes to the next record (the last one of the
 * list: to the previous), and vanishes if that has one already. So leaving never makes a gap
 * longer;
 * - when there are many more bookmarks than the list needs, some pairs of neighbouring gaps are
 * measured whenever a bookmark is made, and joined where the sum stays within MARKS_GAP.
 *
 * Invariants: no gap is longer than MARKS_GAP steps (longer only after an allocation failed, until
 * the next one succeeds); rec.mark is 1 exactly on records with a bookmark; versions ascend along
 * the array.
 *
 * A bookmark that vanishes leaves a vacant entry, squeezed out later in one go. The order survives:
 * an entry becomes vacant when nothing is left between its record and the next bookmark, so no
 * neighbour can move past its version. Joining gaps keeps that too: the entry that stays takes the
 * later of the two places.
 */
#include "marks.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 64u
#define THIN_SHARE 64u /* thin when there are more bookmarks than one for so many records, */
#define THIN_SLACK 64u /* and these */
#define THIN_PROBES 4u /* pairs of gaps measured for each new bookmark */

static struct rec *rec_at(const struct slab *s, uint32_t at)
{
	return slab_at(s, at);
}

void marks_init(struct marks *m)
{
	*m = (struct marks){ 0 };
}

void marks_fini(struct marks *m)
{
	free(m->mark);
	marks_init(m);
}

/* How many entries have a version <= v. */
static uint32_t rank(const struct marks *m, uint64_t v)
{
	const struct mark *base = m->mark;
	uint32_t n = m->count;

	if (!n)
		return 0;
	while (n > 1) {
		uint32_t half = n / 2;

		base = base[half].version <= v ? base + half : base;
		n -= half;
	}
	return (uint32_t)(base - m->mark) + (base->version <= v);
}

/* The entry of r, which bears a bookmark. Entries of equal version before it are vacant. */
static uint32_t entry_of(const struct marks *m, const struct rec *r)
{
	uint32_t i = rank(m, r->version);

	assert(r->mark && i);
	i--;
	assert(m->mark[i].version == r->version && m->mark[i].at != SLAB_NONE);
	return i;
}

static void squeeze(struct marks *m)
{
	uint32_t to = 0;

	if (m->vacant <= (m->count - m->vacant) / 4 + CAPACITY_MIN)
		return;
	for (uint32_t i = 0; i < m->count; i++)
		if (m->mark[i].at != SLAB_NONE)
			m->mark[to++] = m->mark[i];
	m->count = to;
	m->vacant = 0;
	if (m->capacity > CAPACITY_MIN && m->count < m->capacity / 4) {
		struct mark *mark = realloc(m->mark, m->capacity / 2 * sizeof(*mark));

		if (mark) {
			m->mark = mark;
			m->capacity /= 2;
		}
	}
}

static bool reserve(struct marks *m)
{
	uint32_t capacity = m->capacity ? m->capacity * 2 : CAPACITY_MIN;
	struct mark *mark;

	if (m->count < m->capacity)
		return true;
	mark = realloc(m->mark, capacity * sizeof(*mark));
	if (!mark)
		return false;
	m->mark = mark;
	m->capacity = capacity;
	return true;
}

/* The next entry behind i that is not vacant, count if none. */
static uint32_t next_live(const struct marks *m, uint32_t i)
{
	for (i++; i < m->count && m->mark[i].at == SLAB_NONE; i++)
		;
	return i;
}

/* Are there at most MARKS_GAP steps from record a to record b, behind it? */
static bool gap_fits(const struct slab *s, uint32_t a, uint32_t b)
{
	for (unsigned int steps = 0; steps < MARKS_GAP; steps++) {
		a = rec_at(s, a)->next;
		if (a == b)
			return true;
	}
	return false;
}

/* Measures the two gaps behind the entry at the probe and joins them if that is allowed. The last
 * bookmark always stays. */
static void thin_one(struct marks *m, const struct slab *s)
{
	uint32_t a, b, c;

	if (m->probe >= m->count)
		m->probe = 0;
	a = m->mark[m->probe].at != SLAB_NONE ? m->probe : next_live(m, m->probe);
	b = next_live(m, a);
	c = next_live(m, b);
	if (c >= m->count) {
		m->probe = 0;
		return;
	}
	m->probe = b;
	if (!gap_fits(s, m->mark[a].at, m->mark[c].at))
		return;
	rec_at(s, m->mark[b].at)->mark = 0;
	m->mark[b] = m->mark[a];
	for (uint32_t i = a; i < b; i++)
		m->mark[i] = (struct mark){ m->mark[b].version, SLAB_NONE };
	m->vacant++;
}

void marks_append(struct marks *m, const struct slab *s, uint32_t at, uint32_t count)
{
	struct rec *r = rec_at(s, at);

	assert(!r->mark && (!m->count || m->mark[m->count - 1].version < r->version));
	if (++m->tail_count < MARKS_GAP || !reserve(m))
		return;
	m->mark[m->count++] = (struct mark){ r->version, at };
	r->mark = 1;
	m->tail_count = 0;
	if (m->count - m->vacant > count / THIN_SHARE + THIN_SLACK)
		for (unsigned int i = 0; i < THIN_PROBES; i++)
			thin_one(m, s);
	squeeze(m);
}

/* The last record of the list bears the last bookmark and leaves. */
static void leave_tail(struct marks *m, const struct slab *s, uint32_t prev)
{
	/* Vacant entries go first: the bookmark may move back past their versions. */
	m->count--;
	while (m->count && m->mark[m->count - 1].at == SLAB_NONE) {
		m->count--;
		m->vacant--;
	}
	assert(m->tail_count == 0);
	if (prev == SLAB_NONE || rec_at(s, prev)->mark)
		return;
	rec_at(s, prev)->mark = 1;
	m->mark[m->count++] = (struct mark){ rec_at(s, prev)->version, prev };
}

void marks_leave(struct marks *m, const struct slab *s, struct rec *r)
{
	struct rec *next;
	uint32_t i;

	if (!r->mark) {
		if (!m->count || r->version > m->mark[m->count - 1].version)
			m->tail_count--;
		return;
	}
	i = entry_of(m, r);
	r->mark = 0;
	if (r->next == SLAB_NONE) {
		assert(i == m->count - 1);
		leave_tail(m, s, r->prev);
		return;
	}
	next = rec_at(s, r->next);
	if (next->mark) {
		m->mark[i].at = SLAB_NONE;
		m->vacant++;
		squeeze(m);
		return;
	}
	if (i == m->count - 1)
		m->tail_count--;
	next->mark = 1;
	m->mark[i] = (struct mark){ next->version, r->next };
}

void marks_move(struct marks *m, const struct rec *r, uint32_t at)
{
	m->mark[entry_of(m, r)].at = at;
}

uint64_t marks_version_of(const struct marks *m, uint32_t at)
{
	for (uint32_t i = 0; i < m->count; i++)
		if (m->mark[i].at == at)
			return m->mark[i].version;
	return 0;
}

static uint32_t walk_up(const struct slab *s, uint32_t at, uint64_t v)
{
	while (rec_at(s, at)->version <= v)
		at = rec_at(s, at)->next;
	return at;
}

static uint32_t walk_down(const struct slab *s, uint32_t at, uint64_t v)
{
	for (;;) {
		uint32_t prev = rec_at(s, at)->prev;

		if (prev == SLAB_NONE || rec_at(s, prev)->version <= v)
			return at;
		at = prev;
	}
}

uint32_t marks_seek(const struct marks *m, const struct slab *s, uint32_t first, uint32_t last,
		    uint64_t v)
{
	uint32_t above, below;

	if (last == SLAB_NONE || rec_at(s, last)->version <= v)
		return SLAB_NONE;
	if (rec_at(s, first)->version > v)
		return first;
	below = rank(m, v);
	above = below;
	while (above < m->count && m->mark[above].at == SLAB_NONE)
		above++;
	while (below && m->mark[below - 1].at == SLAB_NONE)
		below--;
	if (below)
		first = m->mark[below - 1].at;
	if (above < m->count)
		last = m->mark[above].at;
	/* From the nearer end. Live traffic seeks close to the tail. */
	if (v - rec_at(s, first)->version < rec_at(s, last)->version - v)
		return walk_up(s, first, v);
	return walk_down(s, last, v);
}
