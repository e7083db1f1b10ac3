/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hash table of a cache: linear hashing on the top bits of the hash. At level `bits` there are
 * 2^bits buckets; those at and above `split` have been split in two already, from the highest down,
 * so that bucket i becomes 2i and 2i + 1 of the next level. Both lie above everything that is not
 * yet split: the table grows in place. Slots in use are [0, split) and [2 split, 2^(bits + 1)).
 * When split reaches 0 the next level begins. Shrinking is the same backwards.
 *
 * A chain ascends by hash, so that the table as a whole does and its order tells nothing of its
 * history. Splitting and joining keep that; a walk along a chain that is joined with its neighbour
 * in the meantime loses nothing.
 *
 * One insert splits at most a few buckets: no insert ever pays for the size of the table. The slots
 * lie in segments that never move, and one is made when the first bucket in it is.
 */
#include "table.h"

#include <assert.h>
#include <string.h>

#include "cache.h"

#define SEGMENT_SLOTS (1u << TABLE_SEGMENT_BITS)
#define AHEAD 32u /* buckets between the one that is split and the one that is fetched */
#define SEGMENT_LEN (SEGMENT_SLOTS * sizeof(uint32_t))

static uint32_t *slot(const struct table *t, uint32_t i)
{
	return &t->segment[i >> TABLE_SEGMENT_BITS][i & (SEGMENT_SLOTS - 1)];
}

static bool segment_ensure(struct table *t, uint32_t n)
{
	if (t->segment[n])
		return true;
	t->segment[n] = t->pages->take(t->pages->source);
	if (!t->segment[n])
		return false;
	t->memory += SEGMENT_LEN;
	return true;
}

static void segment_free(struct table *t, uint32_t n)
{
	if (!t->segment[n])
		return;
	t->pages->give(t->pages->source, t->segment[n]);
	t->segment[n] = NULL;
	t->memory -= SEGMENT_LEN;
}

bool table_init(struct table *t, const struct pages *pages)
{
	static_assert(TABLE_BITS_MIN <= TABLE_SEGMENT_BITS,
		      "the smallest table lies in one segment");
	static_assert(SEGMENT_LEN == PAGE_LEN, "a segment is a page");
	*t = (struct table){ .pages = pages };
	if (!segment_ensure(t, 0))
		return false;
	table_clear(t);
	return true;
}

void table_clear(struct table *t)
{
	for (uint32_t n = 1; n < TABLE_SEGMENTS_MAX; n++)
		segment_free(t, n);
	t->bits = TABLE_BITS_MIN;
	t->split = 1u << TABLE_BITS_MIN;
	for (uint32_t i = 0; i < t->split; i++)
		*slot(t, i) = SLAB_NONE;
}

void table_fini(struct table *t)
{
	for (uint32_t n = 0; n < TABLE_SEGMENTS_MAX; n++)
		segment_free(t, n);
}

void table_grow(struct table *t, const struct slab *s)
{
	uint32_t i = t->split - 1, at, half[2], *end[2] = { &half[0], &half[1] };
	unsigned int shift = 31 - t->bits;

	assert(t->split >= 1 && t->split <= 1u << t->bits);
	if (t->bits >= TABLE_BITS_MAX || !segment_ensure(t, (2 * i + 1) >> TABLE_SEGMENT_BITS))
		return;
	for (at = *slot(t, i); at != SLAB_NONE;) {
		struct rec *r = slab_at(s, at);
		uint32_t bit = r->hash >> shift & 1;

		assert(r->hash >> shift >> 1 == i);
		*end[bit] = at;
		end[bit] = &r->hnext;
		at = r->hnext;
	}
	*end[0] = SLAB_NONE;
	*end[1] = SLAB_NONE;
	*slot(t, 2 * i) = half[0];
	*slot(t, 2 * i + 1) = half[1];
	t->split = i;
	if (!t->split)
		t->split = 1u << ++t->bits;
	if (t->split > AHEAD) { /* of those to be split soon the first records, then the second */
		at = *slot(t, t->split - 1 - AHEAD);
		if (at != SLAB_NONE)
			__builtin_prefetch(slab_at(s, at), 1);
		at = *slot(t, t->split - 1 - AHEAD / 2);
		if (at != SLAB_NONE)
			at = ((const struct rec *)slab_at(s, at))->hnext;
		if (at != SLAB_NONE)
			__builtin_prefetch(slab_at(s, at), 1);
	}
}

void table_shrink(struct table *t, const struct slab *s)
{
	uint32_t i, at, *link;

	if (t->split == 1u << t->bits) {
		if (t->bits == TABLE_BITS_MIN)
			return;
		t->bits--;
		t->split = 0;
	}
	i = t->split++;
	at = *slot(t, 2 * i);
	link = &at;
	while (*link != SLAB_NONE)
		link = &((struct rec *)slab_at(s, *link))->hnext;
	*link = *slot(t, 2 * i + 1);
	*slot(t, i) = at;
	/* Slots 2i and 2i + 1 are vacant now. Those of the upper half are the table's only while
	 * this level is split. */
	i = 2 * i + 2;
	if (i % SEGMENT_SLOTS == 0 && i - SEGMENT_SLOTS >= 1u << t->bits)
		segment_free(t, (i - 1) >> TABLE_SEGMENT_BITS);
}

/* ---- Saving and restoring (save.c) ---- */

void table_save(const struct table *t, struct blob *b)
{
	blob_put(b, &t->bits, sizeof(t->bits));
	blob_put(b, &t->split, sizeof(t->split));
	for (uint32_t n = 0; n < TABLE_SEGMENTS_MAX; n++) {
		uint8_t there = t->segment[n] != NULL;

		blob_put(b, &there, 1);
		if (there)
			blob_put(b, t->segment[n], SEGMENT_LEN);
	}
}

void table_load(struct table *t, struct blob *b)
{
	blob_get(b, &t->bits, sizeof(t->bits));
	blob_get(b, &t->split, sizeof(t->split));
	if (t->bits < TABLE_BITS_MIN || t->bits > TABLE_BITS_MAX || !t->split ||
	    t->split > 1u << t->bits)
		b->err = true;
	for (uint32_t n = 0; n < TABLE_SEGMENTS_MAX && !b->err; n++) {
		uint8_t there = 0;

		blob_get(b, &there, 1);
		if (!there || !blob_has(b, SEGMENT_LEN))
			continue;
		b->err = !segment_ensure(t, n);
		if (!b->err)
			blob_get(b, t->segment[n], SEGMENT_LEN);
	}
}
