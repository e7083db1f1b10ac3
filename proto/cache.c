/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One table of flows (cache.h): the records (slab.c), the chains that find them by hash (table.c),
 * the lists that order them, the bookmarks of the version list (marks.c) and the digest sums
 * (PROTOCOL.md, "Digest item"). Records know each other by 32-bit numbers, callers hold pointers; a
 * number is found on the hash chain, which the look-up before brought into the processor's cache.
 *
 * Invariants (cache_check verifies them): every record is on the chain of its hash, chains ascend
 * by hash; a record is on at most one list; the version list ascends strictly; a bucket's sum is
 * that of the items of its flows, tombstones left out.
 *
 * A change is mostly a new body and then a new version. So that its item is computed once,
 * cache_put takes the old one out of the sums and leaves the flow *open*: its item goes in with the
 * new version, or when another record is put. What reads the sums adds it.
 */
#include "cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cache_priv.h"

#define BODY_AT offsetof(struct rec, body)
#define SHARE 2u        /* buckets for each record, so that most look-ups meet one record or none */
#define SHARE_MAX 8u    /* shrink when there are more */
#define BUCKET_SHIFT 22 /* bits of a hash below those that name the digest bucket */
#define GROW_STEPS 4u   /* buckets split in one insert, at most */
#define SHRINK_STEPS 16u /* buckets joined in one removal, at most */

static_assert(BODY_AT + 21 <= SLAB_UNIT, "a plain TCP/IPv4 flow fits the smallest cell");
static_assert(BODY_AT + FLOW_PACKED_MAX <= SLAB_CELL_MAX, "every flow fits some cell");
static_assert(CACHE_NONE == SLAB_NONE, "one word for no record");
static_assert(CACHE_LIST_COUNT <= 16, "rec.list has four bits");

/* ---- Digest sums ---- */

static uint64_t item(const struct cache *c, const struct rec *r)
{
	return digest_item(c->digest_key, r->version, r->body, r->len);
}

static void sums_add(struct cache *c, const struct rec *r)
{
	uint64_t add = item(c, r);

	c->sums[cache_bucket(r->hash)].digest += add;
	c->total += add;
}

/* Takes the item of a flow out of the sums, where an open one is not. */
static void sums_del(struct cache *c, uint32_t at, const struct rec *r)
{
	uint64_t del;

	if (c->open == at) {
		c->open = CACHE_NONE;
		return;
	}
	del = item(c, r);
	c->sums[cache_bucket(r->hash)].digest -= del;
	c->total -= del;
}

static void close_open(struct cache *c)
{
	if (c->open != CACHE_NONE)
		sums_add(c, cache_rec(c, c->open));
	c->open = CACHE_NONE;
}

static void raise_last(struct cache *c, uint32_t hash, uint64_t version)
{
	cache_bucket_touch(c, cache_bucket(hash), version);
}

uint64_t cache_digest(const struct cache *c)
{
	return c->total + (c->open != CACHE_NONE ? item(c, cache_rec(c, c->open)) : 0);
}

uint64_t cache_bucket_digest(const struct cache *c, unsigned int bucket)
{
	const struct rec *r = c->open != CACHE_NONE ? cache_rec(c, c->open) : NULL;

	assert(bucket < WIRE_BUCKETS);
	return c->sums[bucket].digest + (r && cache_bucket(r->hash) == bucket ? item(c, r) : 0);
}

uint64_t cache_bucket_last(const struct cache *c, unsigned int bucket)
{
	assert(bucket < WIRE_BUCKETS);
	return c->sums[bucket].last;
}

void cache_bucket_touch(struct cache *c, unsigned int bucket, uint64_t version)
{
	assert(bucket < WIRE_BUCKETS);
	if (version > c->sums[bucket].last)
		c->sums[bucket].last = version;
}

static uint32_t bucket_first(unsigned int bucket)
{
	assert(bucket < WIRE_BUCKETS);
	return (uint32_t)bucket << BUCKET_SHIFT;
}

static uint32_t bucket_end(unsigned int bucket)
{
	return bucket_first(bucket) | ((1u << BUCKET_SHIFT) - 1);
}

bool cache_scrub(struct cache *c, unsigned int bucket)
{
	uint32_t hi = bucket_end(bucket), end;
	uint64_t digest = 0, was;

	close_open(c);
	for (uint32_t pos = bucket_first(bucket);; pos = end + 1) {
		for (struct rec *r = cache_chain(c, pos, &end); r; r = cache_chain_next(c, r))
			if (!r->tomb && cache_bucket(r->hash) == bucket)
				digest += item(c, r);
		cache_prefetch_walk(c, end);
		if (end >= hi)
			break;
	}
	was = c->sums[bucket].digest;
	c->sums[bucket].digest = digest;
	c->total += digest - was;
	return digest == was;
}

static bool is_broken(const struct cache *c, uint32_t at, const struct rec *r)
{
	size_t room = SLAB_UNIT * (slab_class_of(&c->slab, at) + 1) - BODY_AT;

	return r->len > room || r->len > FLOW_PACKED_MAX || !r->keylen || r->keylen > r->len ||
	       (r->tomb && r->len != r->keylen) || cache_hash(c, r->body, r->keylen) != r->hash;
}

struct rec *cache_broken(struct cache *c, unsigned int bucket)
{
	uint32_t hi = bucket_end(bucket), end;

	for (uint32_t pos = bucket_first(bucket);; pos = end + 1) {
		uint32_t at = *table_head(&c->table, pos);

		end = table_last(&c->table, pos);
		for (; at != CACHE_NONE; at = cache_rec(c, at)->hnext) {
			struct rec *r = cache_rec(c, at);

			if (!is_broken(c, at, r))
				continue;
			r->hash = pos;
			r->keylen = 1;
			r->len = 1;
			return r;
		}
		cache_prefetch_walk(c, end);
		if (end >= hi)
			return NULL;
	}
}

/* ---- Lists ---- */

static void list_unlink(struct cache *c, struct rec *r)
{
	struct cache_fifo *l = &c->lists[r->list];

	if (r->list == CACHE_LIST_NONE)
		return;
	if (r->list == CACHE_LIST_VERSION)
		marks_leave(&c->marks, &c->slab, r);
	if (r->prev != CACHE_NONE)
		cache_rec(c, r->prev)->next = r->next;
	else
		l->first = r->next;
	if (r->next != CACHE_NONE)
		cache_rec(c, r->next)->prev = r->prev;
	else
		l->last = r->prev;
	assert(l->count);
	l->count--;
	r->prev = CACHE_NONE;
	r->next = CACHE_NONE;
	r->list = CACHE_LIST_NONE;
}

static void list_append(struct cache *c, uint32_t at, struct rec *r, enum cache_list list)
{
	struct cache_fifo *l = &c->lists[list];

	assert(r->list == CACHE_LIST_NONE && list != CACHE_LIST_NONE && list < CACHE_LIST_COUNT);
	r->prev = l->last;
	r->next = CACHE_NONE;
	if (l->last != CACHE_NONE)
		cache_rec(c, l->last)->next = at;
	else
		l->first = at;
	l->last = at;
	l->count++;
	r->list = list & 0xf;
}

/* ---- Finding ---- */

uint32_t cache_hash(const struct cache *c, const uint8_t *key, size_t keylen)
{
	return (uint32_t)(digest_hash(c->hash_key, key, keylen) >> 32);
}

static uint32_t find(const struct cache *c, const uint8_t *key, size_t keylen, uint32_t hash)
{
	uint32_t at = *table_head(&c->table, hash);

	while (at != CACHE_NONE) {
		const struct rec *r = cache_rec(c, at);

		if (r->hash > hash)
			return CACHE_NONE;
		if (r->hash == hash && r->keylen == keylen && !memcmp(r->body, key, keylen))
			return at;
		at = r->hnext;
	}
	return CACHE_NONE;
}

/* The place in the chain that holds the number of r: what leads to it, and its number. */
static uint32_t *link_of(const struct cache *c, const struct rec *r)
{
	uint32_t *link = table_head(&c->table, r->hash);

	for (;;) {
		struct rec *at;

		assert(*link != CACHE_NONE); /* else r is no record of c, or no longer */
		at = cache_rec(c, *link);
		if (at == r)
			return link;
		link = &at->hnext;
	}
}

struct rec *cache_find(struct cache *c, const uint8_t *key, size_t keylen, uint32_t hash)
{
	uint32_t at = find(c, key, keylen, hash);
	struct rec *r;

	if (at == CACHE_NONE)
		return NULL;
	r = cache_rec(c, at);
	if (r->list == CACHE_LIST_VERSION) { /* a stamp is likely to follow */
		if (r->prev != CACHE_NONE)
			__builtin_prefetch(cache_rec(c, r->prev), 1);
		if (r->next != CACHE_NONE)
			__builtin_prefetch(cache_rec(c, r->next), 1);
	}
	return r;
}

/* ---- Records come, change and go ---- */

static void count(struct cache *c, const struct rec *r, int n) /* comes: 1, goes: -1 */
{
	c->flows += (uint32_t)n;
	if (flow_is_expect(r->body) && (n > 0 || c->expects)) /* a bit may have flipped */
		c->expects += (uint32_t)n;
}

static void grow(struct cache *c)
{
	uint64_t records = (uint64_t)c->flows + c->tombs + 1;

	for (unsigned int i = 0; i < GROW_STEPS && table_buckets(&c->table) < SHARE * records; i++)
		table_grow(&c->table, &c->slab);
}

static void shrink(struct cache *c)
{
	uint64_t records = (uint64_t)c->flows + c->tombs;

	for (unsigned int i = 0; i < SHRINK_STEPS && table_buckets(&c->table) > SHARE_MAX * records;
	     i++)
		table_shrink(&c->table, &c->slab);
}

static void chain_in(struct cache *c, uint32_t at, struct rec *r)
{
	uint32_t *link = table_head(&c->table, r->hash);

	while (*link != CACHE_NONE && cache_rec(c, *link)->hash <= r->hash)
		link = &cache_rec(c, *link)->hnext;
	r->hnext = *link;
	*link = at;
}

static uint32_t insert(struct cache *c, const uint8_t *body, size_t len, size_t keylen,
		       uint32_t hash)
{
	uint32_t at = slab_alloc(&c->slab, BODY_AT + len);
	struct rec *r;

	if (at == CACHE_NONE)
		return CACHE_NONE;
	grow(c);
	r = cache_rec(c, at);
	memset(r, 0, BODY_AT);
	r->prev = r->next = CACHE_NONE;
	r->hash = hash;
	r->len = (uint8_t)len;
	r->keylen = (uint8_t)keylen;
	memcpy(r->body, body, len);
	chain_in(c, at, r);
	return at;
}

/* Gives the record at *link a cell for len bytes of body, and moves it there. Returns false when
 * out of memory. */
static bool move(struct cache *c, uint32_t *link, size_t len)
{
	uint32_t from = *link, to = slab_alloc(&c->slab, BODY_AT + len);
	struct rec *old = cache_rec(c, from), *r;

	if (to == CACHE_NONE)
		return false;
	r = cache_rec(c, to);
	memcpy(r, old, BODY_AT);
	memcpy(r->body, old->body, old->len < len ? old->len : len);
	*link = to;
	if (r->list != CACHE_LIST_NONE) {
		*(r->prev != CACHE_NONE ? &cache_rec(c, r->prev)->next : &c->lists[r->list].first) =
			to;
		*(r->next != CACHE_NONE ? &cache_rec(c, r->next)->prev : &c->lists[r->list].last) =
			to;
	}
	if (r->mark)
		marks_move(&c->marks, r, to);
	slab_free(&c->slab, from);
	return true;
}

/* Sees to it that the record at *link, not open, has a cell of the right class for len bytes; a
 * larger one will do when out of memory. */
static bool fit(struct cache *c, uint32_t *link, size_t len)
{
	unsigned int need = slab_class(BODY_AT + len), has = slab_class_of(&c->slab, *link);

	assert(c->open != *link);
	return need == has || move(c, link, len) || need < has;
}

static struct rec *replace(struct cache *c, uint32_t at, const uint8_t *packed, size_t len)
{
	struct rec *r = cache_rec(c, at);
	uint32_t *link;

	if (!r->tomb && r->len == len && !memcmp(r->body, packed, len))
		return r;
	if (!r->tomb)
		sums_del(c, at, r);
	close_open(c);
	link = link_of(c, r);
	if (!fit(c, link, len)) {
		if (!r->tomb)
			c->open = at;
		return NULL;
	}
	at = *link;
	r = cache_rec(c, at);
	if (r->tomb) {
		c->tombs--;
		count(c, r, 1);
		r->tomb = 0;
	}
	memcpy(r->body, packed, len);
	r->len = (uint8_t)len;
	c->open = at;
	raise_last(c, r->hash, r->version);
	return r;
}

struct rec *cache_put(struct cache *c, const uint8_t *packed, size_t len, size_t keylen,
		      uint32_t hash)
{
	uint32_t at;

	assert(keylen && keylen <= FLOW_KEY_MAX && keylen <= len && len <= FLOW_PACKED_MAX);
	at = find(c, packed, keylen, hash);
	if (at != CACHE_NONE)
		return replace(c, at, packed, len);
	at = insert(c, packed, len, keylen, hash);
	if (at == CACHE_NONE)
		return NULL;
	close_open(c);
	c->open = at;
	count(c, cache_rec(c, at), 1);
	return cache_rec(c, at);
}

struct rec *cache_put_tomb(struct cache *c, const uint8_t *key, size_t keylen, uint32_t hash,
			   uint8_t type)
{
	struct rec *r;
	uint32_t at;

	assert(keylen && keylen <= FLOW_KEY_MAX && type && type < 16);
	assert(find(c, key, keylen, hash) == CACHE_NONE);
	at = insert(c, key, keylen, keylen, hash);
	if (at == CACHE_NONE)
		return NULL;
	c->tombs++;
	r = cache_rec(c, at);
	r->tomb = type & 0xfu;
	return r;
}

struct rec *cache_tomb(struct cache *c, struct rec *r, uint8_t type)
{
	uint32_t *link = link_of(c, r);

	assert(!r->tomb && type && type < 16);
	sums_del(c, *link, r);
	raise_last(c, r->hash, r->version);
	r->tomb = type & 0xfu;
	r->len = r->keylen;
	count(c, r, -1);
	c->tombs++;
	(void)fit(c, link, r->len); /* cannot fail: its present cell is large enough */
	return cache_rec(c, *link);
}

void cache_del(struct cache *c, struct rec *r)
{
	uint32_t *link = link_of(c, r), at = *link;

	if (r->tomb) {
		c->tombs--;
	} else {
		sums_del(c, at, r);
		raise_last(c, r->hash, r->version);
		count(c, r, -1);
	}
	list_unlink(c, r);
	*link = r->hnext;
	slab_free(&c->slab, at);
	shrink(c);
}

static void change_version(struct cache *c, uint32_t at, struct rec *r, uint64_t version)
{
	if (!r->tomb) {
		sums_del(c, at, r);
		r->version = version;
		sums_add(c, r);
	}
	r->version = version;
	raise_last(c, r->hash, version);
}

void cache_stamp(struct cache *c, struct rec *r, uint64_t version)
{
	uint32_t at = *link_of(c, r), last = c->lists[CACHE_LIST_VERSION].last;

	assert(last == CACHE_NONE || version > cache_rec(c, last)->version);
	list_unlink(c, r);
	change_version(c, at, r, version);
	list_append(c, at, r, CACHE_LIST_VERSION);
	marks_append(&c->marks, &c->slab, at, c->lists[CACHE_LIST_VERSION].count);
}

void cache_set_version(struct cache *c, struct rec *r, uint64_t version)
{
	assert(r->list != CACHE_LIST_VERSION);
	if (r->version != version)
		change_version(c, *link_of(c, r), r, version);
}

bool cache_mend_version(struct cache *c, struct rec *r)
{
	uint32_t at = *link_of(c, r);
	uint64_t low = r->prev != CACHE_NONE ? cache_rec(c, r->prev)->version : 0;
	uint64_t version = r->mark ? marks_version_of(&c->marks, at) : r->version;

	assert(r->list == CACHE_LIST_VERSION);
	if (version <= low || (r->next != CACHE_NONE && version >= cache_rec(c, r->next)->version))
		version = low + 1; /* it was there: else the two would not be neighbours */
	if (version == r->version)
		return false;
	if (!r->tomb)
		sums_del(c, at, r);
	r->version = version;
	if (!r->tomb)
		sums_add(c, r);
	return true;
}

/* ---- Walking ---- */

struct rec *cache_seek(struct cache *c, uint64_t v)
{
	const struct cache_fifo *l = &c->lists[CACHE_LIST_VERSION];
	uint32_t at = marks_seek(&c->marks, &c->slab, l->first, l->last, v);

	return at != CACHE_NONE ? cache_rec(c, at) : NULL;
}

void cache_list_add(struct cache *c, struct rec *r, enum cache_list list)
{
	uint32_t at = *link_of(c, r);

	assert(list != CACHE_LIST_VERSION);
	list_unlink(c, r);
	list_append(c, at, r, list);
}

void cache_list_del(struct cache *c, struct rec *r)
{
	list_unlink(c, r);
}

struct rec *cache_list_first(const struct cache *c, enum cache_list list)
{
	assert(list != CACHE_LIST_NONE && list < CACHE_LIST_COUNT);
	return c->lists[list].first != CACHE_NONE ? cache_rec(c, c->lists[list].first) : NULL;
}

struct rec *cache_list_next(const struct cache *c, const struct rec *r)
{
	struct rec *next;

	assert(r->list != CACHE_LIST_NONE);
	if (r->next == CACHE_NONE)
		return NULL;
	next = cache_rec(c, r->next);
	if (next->next != CACHE_NONE)
		__builtin_prefetch(cache_rec(c, next->next));
	return next;
}

uint32_t cache_list_count(const struct cache *c, enum cache_list list)
{
	assert(list != CACHE_LIST_NONE && list < CACHE_LIST_COUNT);
	return c->lists[list].count;
}

struct rec *cache_chain(const struct cache *c, uint32_t pos, uint32_t *end)
{
	uint32_t at = *table_head(&c->table, pos);

	*end = table_last(&c->table, pos);
	return at != CACHE_NONE ? cache_rec(c, at) : NULL;
}

struct rec *cache_chain_next(const struct cache *c, const struct rec *r)
{
	return r->hnext != CACHE_NONE ? cache_rec(c, r->hnext) : NULL;
}

/* ---- The whole ---- */

/* Everything but keys and table. */
static void init(struct cache *c)
{
	slab_init(&c->slab, c->table.pages);
	marks_init(&c->marks);
	for (unsigned int i = 0; i < CACHE_LIST_COUNT; i++)
		c->lists[i] = (struct cache_fifo){ .first = CACHE_NONE, .last = CACHE_NONE };
	c->flows = c->expects = c->tombs = 0;
	c->open = CACHE_NONE;
	c->total = 0;
	memset(c->sums, 0, sizeof(c->sums));
}

struct cache *cache_new(const struct pages *pages, const uint8_t *hash_key,
			const uint8_t *digest_key)
{
	struct cache *c = malloc(sizeof(*c));

	if (!c)
		return NULL;
	if (!table_init(&c->table, pages ? pages : &pages_malloc)) {
		free(c);
		return NULL;
	}
	init(c);
	memcpy(c->hash_key, hash_key, DIGEST_KEY_LEN);
	memcpy(c->digest_key, digest_key, DIGEST_KEY_LEN);
	return c;
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	table_fini(&c->table);
	marks_fini(&c->marks);
	slab_fini(&c->slab);
	free(c);
}

void cache_clear(struct cache *c)
{
	table_clear(&c->table);
	marks_fini(&c->marks);
	slab_fini(&c->slab);
	init(c);
}

/* Takes all records off their chains, onto one. */
static uint32_t unchain(struct cache *c)
{
	uint32_t all = CACHE_NONE;

	for (uint32_t pos = 0, end;; pos = end + 1) {
		uint32_t at = *table_head(&c->table, pos);

		end = table_last(&c->table, pos);
		while (at != CACHE_NONE) {
			struct rec *r = cache_rec(c, at);
			uint32_t next = r->hnext;

			r->hnext = all;
			all = at;
			at = next;
		}
		if (end == UINT32_MAX)
			return all;
	}
}

void cache_rehash(struct cache *c, const uint8_t *hash_key, const uint8_t *digest_key)
{
	uint32_t at = unchain(c), next;
	uint64_t last = 0;

	table_clear(&c->table);
	memcpy(c->hash_key, hash_key, DIGEST_KEY_LEN);
	memcpy(c->digest_key, digest_key, DIGEST_KEY_LEN);
	c->open = CACHE_NONE;
	c->total = 0;
	for (unsigned int i = 0; i < WIRE_BUCKETS; i++)
		last = c->sums[i].last > last ? c->sums[i].last : last;
	for (unsigned int i = 0; i < WIRE_BUCKETS; i++)
		c->sums[i] = (struct cache_sum){ .last = last };
	for (; at != CACHE_NONE; at = next) {
		struct rec *r = cache_rec(c, at);

		next = r->hnext;
		grow(c);
		r->hash = cache_hash(c, r->body, r->keylen);
		chain_in(c, at, r);
		if (!r->tomb)
			sums_add(c, r);
	}
}

uint32_t cache_flows(const struct cache *c)
{
	return c->flows;
}

uint32_t cache_expects(const struct cache *c)
{
	return c->expects;
}

uint32_t cache_tombs(const struct cache *c)
{
	return c->tombs;
}

size_t cache_memory(const struct cache *c)
{
	return sizeof(*c) + c->slab.memory + c->table.memory +
	       c->marks.capacity * sizeof(*c->marks.mark);
}
