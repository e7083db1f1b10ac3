/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The slab allocator of a cache. A chunk holds cells of one class; its book-keeping lies apart from
 * it, so that looking for room touches no record. Free cells of a chunk are chained through their
 * first two bytes; cells behind `fresh` were never used, so that a new chunk is not touched before
 * it is needed.
 *
 * Invariants: a chunk is on its class's partial list exactly if it has room; a chunk without any
 * used cell is given back, unless it is the only one with room in its class (one spare, so that a
 * table that breathes does not call malloc).
 */
#include "slab.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, len) ((void)(p), (void)(len))
#define ASAN_UNPOISON_MEMORY_REGION(p, len) ((void)(p), (void)(len))
#endif

#define CELL_NONE UINT16_MAX
#define CAPACITY_MIN 16u

struct slab_chunk {
	uint32_t prev, next; /* partial list of the class, or (next) the list of free numbers */
	uint16_t used;       /* cells */
	uint16_t free;       /* first free cell, as its first unit */
	uint16_t fresh;      /* first unit never used */
	uint8_t class;
};

static size_t cell_len(unsigned int class)
{
	return (size_t)(class + 1) * SLAB_UNIT;
}

static bool chunk_has_room(const struct slab_chunk *k)
{
	return k->free != CELL_NONE || k->fresh + k->class + 1u <= SLAB_CHUNK_UNITS;
}

static void *take(void *source)
{
	(void)source;
	return aligned_alloc(SLAB_UNIT, PAGE_LEN);
}

static void give(void *source, void *page)
{
	(void)source;
	free(page);
}

const struct pages pages_malloc = { .take = take, .give = give };

void slab_init(struct slab *s, const struct pages *pages)
{
	static_assert(SLAB_CHUNK_LEN == PAGE_LEN, "a chunk is a page");
	*s = (struct slab){ .pages = pages, .spare = SLAB_NONE };
	for (unsigned int i = 0; i < SLAB_CLASSES; i++)
		s->partial[i] = SLAB_NONE;
}

static void chunk_release(struct slab *s, uint32_t n)
{
	s->pages->give(s->pages->source, s->base[n]);
	s->base[n] = NULL;
	s->memory -= SLAB_CHUNK_LEN;
}

void slab_fini(struct slab *s)
{
	for (uint32_t n = 0; n < s->count; n++)
		if (s->base[n])
			chunk_release(s, n);
	free(s->base);
	free(s->chunk);
	slab_init(s, s->pages);
}

static void partial_add(struct slab *s, uint32_t n)
{
	struct slab_chunk *k = &s->chunk[n];

	k->prev = SLAB_NONE;
	k->next = s->partial[k->class];
	if (k->next != SLAB_NONE)
		s->chunk[k->next].prev = n;
	s->partial[k->class] = n;
}

static void partial_del(struct slab *s, uint32_t n)
{
	struct slab_chunk *k = &s->chunk[n];

	if (k->prev != SLAB_NONE)
		s->chunk[k->prev].next = k->next;
	else
		s->partial[k->class] = k->next;
	if (k->next != SLAB_NONE)
		s->chunk[k->next].prev = k->prev;
}

/* Room for one more chunk number. The arrays take 28 bytes a chunk: copying them is no pause. */
static bool numbers_grow(struct slab *s)
{
	uint32_t capacity = s->capacity ? s->capacity * 2 : CAPACITY_MIN;
	struct slab_chunk *chunk;
	char **base;

	if (capacity > SLAB_CHUNKS_MAX)
		return false;
	base = realloc(s->base, capacity * sizeof(*base));
	if (!base)
		return false;
	s->base = base;
	chunk = realloc(s->chunk, capacity * sizeof(*chunk));
	if (!chunk)
		return false;
	s->chunk = chunk;
	s->memory += (capacity - s->capacity) * (sizeof(*base) + sizeof(*chunk));
	s->capacity = capacity;
	return true;
}

/* A new chunk, the only one of its class with room. Returns its number or SLAB_NONE. */
static uint32_t chunk_new(struct slab *s, unsigned int class)
{
	uint32_t n = s->spare;
	char *base;

	if (n == SLAB_NONE && s->count == s->capacity && !numbers_grow(s))
		return SLAB_NONE;
	base = s->pages->take(s->pages->source);
	if (!base)
		return SLAB_NONE;
	if (n == SLAB_NONE)
		n = s->count++;
	else
		s->spare = s->chunk[n].next;
	ASAN_POISON_MEMORY_REGION(base, SLAB_CHUNK_LEN);
	s->base[n] = base;
	s->chunk[n] = (struct slab_chunk){ .free = CELL_NONE, .class = (uint8_t) class };
	s->memory += SLAB_CHUNK_LEN;
	partial_add(s, n);
	return n;
}

uint32_t slab_alloc(struct slab *s, size_t len)
{
	unsigned int class = slab_class(len);
	struct slab_chunk *k;
	uint32_t n, unit;
	void *cell;

	assert(len > 0 && len <= SLAB_CELL_MAX);
	n = s->partial[class];
	if (n == SLAB_NONE)
		n = chunk_new(s, class);
	if (n == SLAB_NONE)
		return SLAB_NONE;
	k = &s->chunk[n];
	assert(k->class == class && chunk_has_room(k));
	unit = k->free != CELL_NONE ? k->free : k->fresh;
	cell = s->base[n] + (size_t)unit * SLAB_UNIT;
	ASAN_UNPOISON_MEMORY_REGION(cell, cell_len(class));
	if (k->free != CELL_NONE)
		memcpy(&k->free, cell, sizeof(k->free));
	else
		k->fresh = (uint16_t)(k->fresh + class + 1);
	k->used++;
	if (!chunk_has_room(k))
		partial_del(s, n);
	return n << SLAB_CHUNK_BITS | unit;
}

void slab_free(struct slab *s, uint32_t at)
{
	uint32_t n = at >> SLAB_CHUNK_BITS, unit = at & (SLAB_CHUNK_UNITS - 1);
	struct slab_chunk *k = &s->chunk[n];
	void *cell = slab_at(s, at);
	bool had_room = chunk_has_room(k);

	assert(n < s->count && s->base[n] && k->used && unit < k->fresh &&
	       unit % (k->class + 1u) == 0);
	memcpy(cell, &k->free, sizeof(k->free));
	ASAN_POISON_MEMORY_REGION(cell, cell_len(k->class));
	k->free = (uint16_t)unit;
	k->used--;
	if (!had_room)
		partial_add(s, n);
	if (k->used || (s->partial[k->class] == n && k->next == SLAB_NONE))
		return;
	partial_del(s, n);
	chunk_release(s, n);
	k->next = s->spare;
	s->spare = n;
}

unsigned int slab_class_of(const struct slab *s, uint32_t at)
{
	return s->chunk[at >> SLAB_CHUNK_BITS].class;
}

/* ---- Saving and restoring (save.c) ---- */

/* Only the cells of a chunk that are in use may be touched. */
static void chunk_guard(const struct slab_chunk *k, char *base)
{
	size_t used = (size_t)k->fresh * SLAB_UNIT;

	(void)base;
	(void)used;
	ASAN_POISON_MEMORY_REGION(base + used, SLAB_CHUNK_LEN - used);
#ifdef __SANITIZE_ADDRESS__
	for (uint16_t unit = k->free, next; unit != CELL_NONE; unit = next) {
		memcpy(&next, base + (size_t)unit * SLAB_UNIT, sizeof(next));
		ASAN_POISON_MEMORY_REGION(base + (size_t)unit * SLAB_UNIT, cell_len(k->class));
	}
#endif
}

void slab_save(const struct slab *s, struct blob *b)
{
	blob_put(b, &s->count, sizeof(s->count));
	blob_put(b, &s->capacity, sizeof(s->capacity));
	blob_put(b, &s->spare, sizeof(s->spare));
	blob_put(b, s->partial, sizeof(s->partial));
	blob_put(b, s->chunk, s->count * sizeof(*s->chunk));
	for (uint32_t n = 0; n < s->count; n++) {
		uint8_t there = s->base[n] != NULL;

		blob_put(b, &there, 1);
		if (!there)
			continue;
		ASAN_UNPOISON_MEMORY_REGION(s->base[n], SLAB_CHUNK_LEN);
		blob_put(b, s->base[n], (size_t)s->chunk[n].fresh * SLAB_UNIT);
		chunk_guard(&s->chunk[n], s->base[n]);
	}
}

static void chunk_load(struct slab *s, uint32_t n, struct blob *b)
{
	const struct slab_chunk *k = &s->chunk[n];
	uint8_t there = 0;

	blob_get(b, &there, 1);
	if (b->err || !there)
		return;
	b->err = k->fresh > SLAB_CHUNK_UNITS || k->class >= SLAB_CLASSES;
	if (!b->err)
		s->base[n] = s->pages->take(s->pages->source);
	if (!s->base[n]) {
		b->err = true;
		return;
	}
	s->memory += SLAB_CHUNK_LEN;
	blob_get(b, s->base[n], (size_t)k->fresh * SLAB_UNIT);
	if (!b->err)
		chunk_guard(k, s->base[n]);
}

void slab_load(struct slab *s, struct blob *b)
{
	uint32_t count, capacity;

	blob_get(b, &count, sizeof(count));
	blob_get(b, &capacity, sizeof(capacity));
	blob_get(b, &s->spare, sizeof(s->spare));
	blob_get(b, s->partial, sizeof(s->partial));
	b->err |= count > capacity || capacity > SLAB_CHUNKS_MAX;
	if (!blob_has(b, count * sizeof(*s->chunk)) || !capacity)
		return;
	s->base = calloc(capacity, sizeof(*s->base));
	s->chunk = calloc(capacity, sizeof(*s->chunk));
	if (!s->base || !s->chunk) {
		b->err = true;
		return;
	}
	s->memory += capacity * (sizeof(*s->base) + sizeof(*s->chunk));
	s->capacity = capacity;
	s->count = count;
	blob_get(b, s->chunk, count * sizeof(*s->chunk));
	for (uint32_t n = 0; n < count && !b->err; n++)
		chunk_load(s, n, b);
}
