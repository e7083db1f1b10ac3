/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The layout of a cache: for cache.c, and for cache_check.c which verifies it. */
#ifndef CTSYNCD_CACHE_PRIV_H
#define CTSYNCD_CACHE_PRIV_H

#include "cache.h"
#include "marks.h"
#include "slab.h"
#include "table.h"

struct cache_fifo { /* one list, FIFO */
	uint32_t first, last, count;
};

struct cache_sum { /* one digest bucket */
	uint64_t digest, last;
};

struct cache {
	uint8_t hash_key[DIGEST_KEY_LEN], digest_key[DIGEST_KEY_LEN];
	struct slab slab;
	struct table table;
	struct marks marks;
	struct cache_fifo lists[CACHE_LIST_COUNT];
	uint32_t flows, expects, tombs; /* flows: expectations too */
	uint32_t open; /* the flow whose item is not yet in the sums, CACHE_NONE if none */
	uint64_t total;
	struct cache_sum sums[WIRE_BUCKETS];
};

static inline struct rec *cache_rec(const struct cache *c, uint32_t at)
{
	return slab_at(&c->slab, at);
}

#endif
