/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hash table of a cache: heads of chains of records, indexed by the top bits of the hash, so
 * that buckets in ascending order are hash ranges in ascending order. Grows and shrinks by one
 * bucket at a time.
 */
#ifndef CTSYNCD_TABLE_H
#define CTSYNCD_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "slab.h"

#define TABLE_BITS_MIN 10 /* never fewer buckets than these */
#define TABLE_BITS_MAX 24 /* nor more; chains grow longer from there on */
#define TABLE_SEGMENT_BITS 14
#define TABLE_SEGMENTS_MAX (1u << (TABLE_BITS_MAX - TABLE_SEGMENT_BITS))

struct table {
	const struct pages *pages; /* where segments come from */
	unsigned int bits;
	uint32_t split; /* 1 to 2^bits; see table.c */
	size_t memory;  /* bytes held */
	uint32_t *segment[TABLE_SEGMENTS_MAX];
};

/* Returns false when out of memory. */
bool table_init(struct table *t, const struct pages *pages);
void table_fini(struct table *t);

/* As after table_init. Never fails. */
void table_clear(struct table *t);

static inline uint32_t table_buckets(const struct table *t)
{
	return (2u << t->bits) - t->split;
}

/* The slot of the bucket of hash: the number of its first record, or SLAB_NONE. */
static inline uint32_t *table_head(const struct table *t, uint32_t hash)
{
	uint32_t i = hash >> (32 - t->bits);

	if (i >= t->split)
		i = hash >> (31 - t->bits);
	return &t->segment[i >> TABLE_SEGMENT_BITS][i & ((1u << TABLE_SEGMENT_BITS) - 1)];
}

/* The last hash of the bucket that holds hash. */
static inline uint32_t table_last(const struct table *t, uint32_t hash)
{
	unsigned int shift = 32 - t->bits;

	if (hash >> shift >= t->split)
		shift--;
	return hash | ((1u << shift) - 1);
}

/* One bucket more, one less. Nothing happens at the limits, or when out of memory (chains then grow
 * longer). Chains are relinked, records do not move. */
void table_grow(struct table *t, const struct slab *s);
void table_shrink(struct table *t, const struct slab *s);

/* As slab_save and slab_load; t is as after table_init. */
void table_save(const struct table *t, struct blob *b);
void table_load(struct table *t, struct blob *b);

#endif
