/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hints to the processor: in a large table a look-up waits for memory twice, for the head of the
 * chain and for the record, and a walk for every record. Who knows what comes next says so early.
 */
#include "cache_priv.h"

#define WALK_AHEAD 64 /* buckets between the one that a walk is at and the one that is fetched */

void cache_prefetch_head(const struct cache *c, uint32_t hash)
{
	__builtin_prefetch(table_head(&c->table, hash), 1);
}

void cache_prefetch(const struct cache *c, uint32_t hash)
{
	uint32_t at = *table_head(&c->table, hash);

	if (at != CACHE_NONE)
		__builtin_prefetch(cache_rec(c, at));
}

void cache_prefetch_walk(const struct cache *c, uint32_t end)
{
	unsigned int shift = 31 - c->table.bits;
	uint64_t first = end + ((uint64_t)WALK_AHEAD << shift);
	uint64_t second = end + ((uint64_t)WALK_AHEAD << shift) / 2;
	uint32_t at;

	if (first > UINT32_MAX)
		return;
	cache_prefetch(c, (uint32_t)first);
	at = *table_head(&c->table, (uint32_t)second);
	if (at != CACHE_NONE)
		at = cache_rec(c, at)->hnext;
	if (at != CACHE_NONE)
		__builtin_prefetch(cache_rec(c, at));
}
