/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of the cache share: numbers of chance with a seed that is told, keys and bodies.
 * The cache does not look into a body, so bodies here are a key and noise; keys have the lengths of
 * real ones.
 */
#ifndef CTSYNCD_TEST_CACHE_BED_H
#define CTSYNCD_TEST_CACHE_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "cache.h"
#include "cache_priv.h"

static const uint8_t bed_hash_key[DIGEST_KEY_LEN] = { 1, 2, 3 };
static const uint8_t bed_digest_key[DIGEST_KEY_LEN] = { 4, 5, 6 };

/* TEST_SEED of the environment, else the clock's; said either way. */
static inline uint64_t bed_seed(void)
{
	const char *env = getenv("TEST_SEED");
	uint64_t seed = env ? strtoull(env, NULL, 0)
			    : (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;

	print_message("TEST_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

/* splitmix64 */
static inline uint64_t bed_random(uint64_t *seed)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static inline uint32_t bed_below(uint64_t *seed, uint32_t n)
{
	return (uint32_t)(bed_random(seed) % n);
}

/* The i-th key: of plain IPv4, IPv6, or either with a zone. Returns its length. */
static inline size_t bed_key(uint32_t i, uint8_t key[FLOW_KEY_MAX])
{
	static const uint8_t lens[4] = { 14, 38, 17, 41 };
	unsigned int shape = i % 8 < 5 ? 0 : i % 4;

	memset(key, 0, FLOW_KEY_MAX);
	key[0] = (uint8_t)shape;
	key[1] = 6;
	memcpy(key + 2, &i, sizeof(i));
	return lens[shape];
}

static inline uint32_t bed_hash(const struct cache *c, uint32_t i)
{
	uint8_t key[FLOW_KEY_MAX];
	size_t keylen = bed_key(i, key);

	return cache_hash(c, key, keylen);
}

static inline struct rec *bed_find(struct cache *c, uint32_t i)
{
	uint8_t key[FLOW_KEY_MAX];
	size_t keylen = bed_key(i, key);

	return cache_find(c, key, keylen, cache_hash(c, key, keylen));
}

/* A body of the i-th key and `more` bytes of fill behind it. Returns its length. */
static inline size_t bed_body(uint32_t i, size_t more, uint8_t fill, uint8_t body[FLOW_PACKED_MAX])
{
	size_t keylen = bed_key(i, body);

	memset(body + keylen, fill, more);
	return keylen + more;
}

static inline struct rec *bed_put(struct cache *c, uint32_t i, size_t more, uint8_t fill)
{
	uint8_t key[FLOW_KEY_MAX], body[FLOW_PACKED_MAX];
	size_t keylen = bed_key(i, key);

	return cache_put(c, body, bed_body(i, more, fill, body), keylen,
			 cache_hash(c, key, keylen));
}

static inline struct rec *bed_put_tomb(struct cache *c, uint32_t i, uint8_t type)
{
	uint8_t key[FLOW_KEY_MAX];
	size_t keylen = bed_key(i, key);

	return cache_put_tomb(c, key, keylen, cache_hash(c, key, keylen), type);
}

static inline struct cache *bed_new(void)
{
	struct cache *c = cache_new(NULL, bed_hash_key, bed_digest_key);

	assert_non_null(c);
	return c;
}

static inline void bed_check(const struct cache *c)
{
	const char *wrong = cache_check(c);

	if (wrong)
		fail_msg("cache_check: %s", wrong);
}

#endif
