/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One table of flows: the local half, or the mirror of one peer. Packed records in slabs, found by
 * keyed hash, indexed by the top bits of the hash so that a hash range is a walk; grows a few
 * buckets at a time (no pause). The local half keeps one list in version order with bookmarks for
 * seeking; any record is on at most one list. Digests (bucket sums, total) follow every change,
 * because body and version change only through these calls.
 *
 * A struct rec * stays valid until that record is removed, or moved by cache_put or cache_tomb of
 * its own key: records do not move for the sake of others.
 */
#ifndef CTSYNCD_CACHE_H
#define CTSYNCD_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "flow.h"
#include "pages.h"
#include "wire.h"

#define CACHE_NONE UINT32_MAX

enum cache_list {
	CACHE_LIST_NONE,
	CACHE_LIST_VERSION, /* local half: flows and tombstones in version order */
	CACHE_LIST_WORK,    /* kernel writes to do */
	CACHE_LIST_TOMB,    /* mirror: remembered deletions */
	CACHE_LIST_LATER,   /* due after a fixed wait */
	CACHE_LIST_AGE,     /* due after another fixed wait */
	CACHE_LIST_COUNT
};

struct rec {
	uint32_t hnext, prev, next; /* indices, CACHE_NONE = end; the cache's own */
	uint32_t hash;              /* upper 32 bits of the key hash; read only */
	uint64_t version;   /* read only: change by cache_stamp or cache_set_version. 0 = of an old
			       epoch or none */
	uint32_t expire_s;  /* user: instant, monotonic seconds */
	uint32_t written_s; /* user: instant */
	uint32_t aux;       /* user */
	uint16_t flags;     /* user */
	uint8_t gen;        /* user */
	uint8_t list : 4;   /* read only: enum cache_list */
	uint8_t tomb : 4; /* read only: 0 = a flow; else the wire_record type of a tombstone (body =
			     key only) */
	uint8_t mark;     /* the cache's own */
	uint8_t len;      /* bytes of body; read only */
	uint8_t keylen;   /* bytes of key at the start of body; read only */
	uint8_t body[];   /* packed flow, or packed key of a tombstone; read only */
}; /* 43 bytes before body: a plain TCP/IPv4 flow of 21 bytes fills one cache line */

struct cache; /* layout in cache.c is private; embed by pointer */

/* pages: NULL = of malloc. hash_key for the table, digest_key for the sums; both DIGEST_KEY_LEN
 * bytes, copied. NULL when out of memory. */
struct cache *cache_new(const struct pages *pages, const uint8_t *hash_key,
			const uint8_t *digest_key);
void cache_free(struct cache *c);

/* Upper 32 bits of the key's hash. The same for all caches of a group. */
uint32_t cache_hash(const struct cache *c, const uint8_t *key, size_t keylen);

/* Digest bucket of a hash: its top 10 bits. */
static inline unsigned int cache_bucket(uint32_t hash)
{
	return hash >> 22;
}

/* Hints that hash will be looked up soon, for a batch: first the heads of all, then all (their
 * records), then find each. */
void cache_prefetch_head(const struct cache *c, uint32_t hash);
void cache_prefetch(const struct cache *c, uint32_t hash);

/* Likewise for a walk in the order of hashes that is done with the table bucket that ends there. */
void cache_prefetch_walk(const struct cache *c, uint32_t end);

struct rec *cache_find(struct cache *c, const uint8_t *key, size_t keylen, uint32_t hash);

/* Inserts a flow, or replaces the body of the one (or of the tombstone) with the same key. A new
 * record: all user fields 0, version 0, no list. An existing one keeps user fields, version and
 * list (a tombstone becomes a flow). Returns NULL when out of memory. */
struct rec *cache_put(struct cache *c, const uint8_t *packed, size_t len, size_t keylen,
		      uint32_t hash);

/* Turns a flow into a tombstone of the given wire_record type: the body shrinks to the key; keeps
 * version, list and user fields. The record may move. Never fails (a tombstone is never larger). */
struct rec *cache_tomb(struct cache *c, struct rec *r, uint8_t type);

/* Inserts a tombstone for a key that is not held. NULL when out of memory. */
struct rec *cache_put_tomb(struct cache *c, const uint8_t *key, size_t keylen, uint32_t hash,
			   uint8_t type);

/* Removes the record altogether, from its list too. */
void cache_del(struct cache *c, struct rec *r);

/* Removes everything; as after cache_new, bucket_last included. */
void cache_clear(struct cache *c);

/* Hashes everything anew, under other keys. Records do not move, lists and versions stay; of every
 * bucket the last change counts as the newest of all. Takes as long as the table is large. */
void cache_rehash(struct cache *c, const uint8_t *hash_key, const uint8_t *digest_key);

/* Gives r the version (> every version on the list) and moves it to the tail of the version list.
 */
void cache_stamp(struct cache *c, struct rec *r, uint64_t version);

/* Changes the version without list (mirrors). */
void cache_set_version(struct cache *c, struct rec *r, uint64_t version);

/* First record of the version list with a version > v, NULL if none. Cost: logarithmic plus a
 * bounded walk. */
struct rec *cache_seek(struct cache *c, uint64_t v);

/* Lists: FIFO. cache_list_add removes r from its present list first. Not for CACHE_LIST_VERSION
 * (cache_stamp does that). */
void cache_list_add(struct cache *c, struct rec *r, enum cache_list list);
void cache_list_del(struct cache *c, struct rec *r);
struct rec *cache_list_first(const struct cache *c, enum cache_list list);
struct rec *cache_list_next(const struct cache *c,
			    const struct rec *r); /* the one behind r on its list */
uint32_t cache_list_count(const struct cache *c, enum cache_list list);

/* The chain of records (flows and tombstones) in the table bucket that holds `pos`; *end = last
 * hash of that bucket. Buckets ascend by hash, so a walk is: for (pos = lo;; pos = end + 1) {
 * chain...; if (end >= hi_incl) break; }. First record or NULL.
 * The chain itself ascends by hash too, so a walk that pauses within it may go on behind the last
 * hash it met, whatever came, went, split or joined meanwhile (records of equal hash, a rare thing,
 * stay in the order in which they came). */
struct rec *cache_chain(const struct cache *c, uint32_t pos, uint32_t *end);
struct rec *cache_chain_next(const struct cache *c, const struct rec *r);

uint32_t cache_flows(const struct cache *c);   /* flows and expectations, tombstones not counted */
uint32_t cache_expects(const struct cache *c); /* of these, expectations */
uint32_t cache_tombs(const struct cache *c);
size_t cache_memory(const struct cache *c); /* bytes */

uint64_t
cache_digest(const struct cache *c); /* total over all flows (not tombstones), version 0 included */
uint64_t cache_bucket_digest(const struct cache *c, unsigned int bucket);
uint64_t cache_bucket_last(
	const struct cache *c,
	unsigned int bucket); /* highest version that changed it (stamp, set_version, tomb, del) */
void cache_bucket_touch(struct cache *c, unsigned int bucket, uint64_t version); /* raise that */

/* Recomputes the digest of one bucket from its records. Returns false if it was not what the sums
 * said (memory flipped); the sums then follow the records. */
bool cache_scrub(struct cache *c, unsigned int bucket);

/* Writes the whole table, byte by byte. */
struct blob;
void cache_save(const struct cache *c, struct blob *b);
/* Reads what this build on this kind of machine wrote. NULL, and b->err, when it cannot be. The
 * content is not verified: see cache_check. */
struct cache *cache_load(struct blob *b);

/* The first record on the chains of the bucket that cannot be what was put there: its key does not
 * hash to its place, or its lengths cannot be (memory flipped). NULL if all can. Its hash and
 * lengths are mended as far as cache_del needs it: take it out before anything else is done with
 * c, and let cache_scrub make the sums follow. */
struct rec *cache_broken(struct cache *c, unsigned int bucket);

/* Puts the version of r, which is on the version list, back into its order if it has left it.
 * Returns whether it had. */
bool cache_mend_version(struct cache *c, struct rec *r);

/* Verifies every invariant by walking over everything: for tests and the simulator. NULL, or what
 * is wrong. */
const char *cache_check(const struct cache *c);

#endif
