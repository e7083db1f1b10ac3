/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cache against a model of arrays: random calls on both, all answers compared, and from time to
 * time the whole. What a record must hold, its place on its list, the sums and the buckets are
 * worked out anew from the model, the simple way.
 */
#include "cache_bed.h"

#include <dlfcn.h>

#define KEYS 4000

struct model_rec {
	bool held;
	uint8_t tomb, list, len, fill;
	uint64_t version, order; /* order: when it came to its list */
	uint32_t aux;
	uint16_t flags;
};

struct bed {
	struct cache *c;
	struct model_rec recs[KEYS];
	uint64_t last[WIRE_BUCKETS];
	uint64_t seed, version, order;
	uint32_t flows, tombs;
	uint32_t keys; /* in use in this phase */
	bool starve;   /* for every other 500 calls there is no memory */
	bool dry;      /* now */
	uint32_t starved;
};

/* ---- No memory ---- */

static unsigned int starving; /* calls of the cache that get no memory from now on */

void *aligned_alloc(size_t align, size_t len)
{
	void *p;

	if (starving || posix_memalign(&p, align, len))
		return NULL;
	return p;
}

void *realloc(void *p, size_t len)
{
	static void *(*next)(void *, size_t);

	if (!next) {
		void *symbol = dlsym(RTLD_NEXT, "realloc");

		memcpy(&next, &symbol, sizeof(next));
	}
	return starving ? NULL : next(p, len);
}

/* ---- Comparing ---- */

static uint64_t model_item(const struct bed *b, uint32_t i)
{
	const struct model_rec *m = &b->recs[i];
	uint8_t key[FLOW_KEY_MAX], body[FLOW_PACKED_MAX];
	size_t len = bed_body(i, m->len - bed_key(i, key), m->fill, body);

	return digest_item(bed_digest_key, m->version, body, len);
}

static void compare_rec(const struct bed *b, uint32_t i, const struct rec *r)
{
	const struct model_rec *m = &b->recs[i];
	uint8_t key[FLOW_KEY_MAX], body[FLOW_PACKED_MAX];
	size_t keylen = bed_key(i, key);

	assert_int_equal(r != NULL, m->held);
	if (!r)
		return;
	assert_int_equal(r->tomb, m->tomb);
	assert_int_equal(r->list, m->list);
	assert_int_equal(r->version, m->version);
	assert_int_equal(r->aux, m->aux);
	assert_int_equal(r->flags, m->flags);
	assert_int_equal(r->keylen, keylen);
	assert_int_equal(r->len, m->tomb ? keylen : m->len);
	bed_body(i, r->len - keylen, m->fill, body);
	assert_memory_equal(r->body, body, r->len);
}

static int by_order(const void *a, const void *b)
{
	const struct model_rec *x = *(struct model_rec *const *)a,
			       *y = *(struct model_rec *const *)b;

	return x->order < y->order ? -1 : x->order > y->order;
}

static void compare_list(struct bed *b, enum cache_list list)
{
	static struct model_rec *on[KEYS];
	struct rec *r = cache_list_first(b->c, list);
	size_t count = 0;

	for (uint32_t i = 0; i < KEYS; i++)
		if (b->recs[i].held && b->recs[i].list == list)
			on[count++] = &b->recs[i];
	qsort(on, count, sizeof(on[0]), by_order);
	assert_int_equal(cache_list_count(b->c, list), count);
	for (size_t k = 0; k < count; k++) {
		assert_non_null(r);
		compare_rec(b, (uint32_t)(on[k] - b->recs), r);
		r = cache_list_next(b->c, r);
	}
	assert_null(r);
}

static void compare_sums(struct bed *b)
{
	uint64_t sums[WIRE_BUCKETS] = { 0 }, total = 0;

	for (uint32_t i = 0; i < KEYS; i++) {
		if (!b->recs[i].held || b->recs[i].tomb)
			continue;
		sums[cache_bucket(bed_hash(b->c, i))] += model_item(b, i);
		total += model_item(b, i);
	}
	assert_int_equal(cache_digest(b->c), total);
	for (unsigned int k = 0; k < WIRE_BUCKETS; k++) {
		assert_int_equal(cache_bucket_digest(b->c, k), sums[k]);
		assert_int_equal(cache_bucket_last(b->c, k), b->last[k]);
	}
}

static void compare_all(struct bed *b)
{
	if (!b->starve)
		bed_check(b->c);
	assert_int_equal(cache_flows(b->c), b->flows);
	assert_int_equal(cache_tombs(b->c), b->tombs);
	compare_sums(b);
	for (uint32_t i = 0; i < KEYS; i++)
		compare_rec(b, i, bed_find(b->c, i));
	for (unsigned int l = CACHE_LIST_NONE + 1; l < CACHE_LIST_COUNT; l++)
		compare_list(b, l);
}

/* ---- Calls on both ---- */

static void raise_last(struct bed *b, uint32_t i)
{
	uint64_t *last = &b->last[cache_bucket(bed_hash(b->c, i))];

	if (b->recs[i].version > *last)
		*last = b->recs[i].version;
}

static void do_put(struct bed *b, uint32_t i)
{
	static const uint8_t more[] = { 7, 7, 7, 7, 19, 23, 43, 90, 150, 209 };
	struct model_rec *m = &b->recs[i];
	uint8_t key[FLOW_KEY_MAX];
	size_t extra = more[bed_below(&b->seed, sizeof(more))];
	uint8_t fill = (uint8_t)bed_below(&b->seed, 3);
	struct rec *r;

	starving = b->dry;
	r = bed_put(b->c, i, extra, fill);
	if (!r) {
		assert_true(starving);
		b->starved++;
		starving = 0;
		compare_rec(b, i, bed_find(b->c, i));
		return;
	}
	starving = 0;
	b->flows += !m->held || m->tomb;
	b->tombs -= m->held && m->tomb;
	if (!m->held) {
		r->aux = bed_below(&b->seed, 1000);
		r->flags = (uint16_t)bed_below(&b->seed, 1000);
		*m = (struct model_rec){ .held = true, .aux = r->aux, .flags = r->flags };
	}
	m->tomb = 0;
	m->fill = fill;
	m->len = (uint8_t)(bed_key(i, key) + extra);
	compare_rec(b, i, r);
}

static void do_tomb(struct bed *b, uint32_t i)
{
	struct model_rec *m = &b->recs[i];
	struct rec *r = bed_find(b->c, i);
	uint8_t type = (uint8_t)(WIRE_REC_DEAD + bed_below(&b->seed, 3));

	if (m->held && m->tomb)
		return;
	starving = b->dry;
	if (m->held) {
		r = cache_tomb(b->c, r, type);
		assert_non_null(r);
		b->flows--;
	} else {
		r = bed_put_tomb(b->c, i, type);
		if (r)
			*m = (struct model_rec){ .held = true };
	}
	assert_true(r || starving);
	starving = 0;
	if (!r)
		return;
	m->tomb = type;
	b->tombs++;
	compare_rec(b, i, r);
}

static void do_del(struct bed *b, uint32_t i)
{
	struct model_rec *m = &b->recs[i];

	if (!m->held)
		return;
	cache_del(b->c, bed_find(b->c, i));
	b->flows -= !m->tomb;
	b->tombs -= m->tomb != 0;
	*m = (struct model_rec){ 0 };
}

static void do_stamp(struct bed *b, uint32_t i)
{
	struct model_rec *m = &b->recs[i];

	if (!m->held)
		return;
	b->version += 1 + bed_below(&b->seed, 3);
	starving = b->dry;
	cache_stamp(b->c, bed_find(b->c, i), b->version);
	starving = 0;
	m->version = b->version;
	m->list = CACHE_LIST_VERSION;
	m->order = ++b->order;
	raise_last(b, i);
}

static void do_version(struct bed *b, uint32_t i)
{
	struct model_rec *m = &b->recs[i];

	if (!m->held || m->list == CACHE_LIST_VERSION)
		return;
	m->version = bed_below(&b->seed, 4) ? bed_below(&b->seed, 100000) : 0;
	cache_set_version(b->c, bed_find(b->c, i), m->version);
	raise_last(b, i);
}

static void do_list(struct bed *b, uint32_t i)
{
	struct model_rec *m = &b->recs[i];
	unsigned int list = bed_below(&b->seed, CACHE_LIST_COUNT);

	if (!m->held || list == CACHE_LIST_VERSION)
		return;
	if (list == CACHE_LIST_NONE)
		cache_list_del(b->c, bed_find(b->c, i));
	else
		cache_list_add(b->c, bed_find(b->c, i), list);
	m->list = (uint8_t)list;
	m->order = ++b->order;
}

static void do_seek(struct bed *b)
{
	uint64_t v = bed_random(&b->seed) % (b->version + 2), best = UINT64_MAX;
	const struct rec *r = cache_seek(b->c, v);

	for (uint32_t i = 0; i < KEYS; i++)
		if (b->recs[i].held && b->recs[i].list == CACHE_LIST_VERSION &&
		    b->recs[i].version > v && b->recs[i].version < best)
			best = b->recs[i].version;
	assert_int_equal(r ? r->version : UINT64_MAX, best);
}

/* A bit flips in a record: found in its bucket, once, and gone with it when it flips back. */
static void do_flip(struct bed *b, uint32_t i)
{
	struct rec *r = bed_find(b->c, i);
	unsigned int bucket = cache_bucket(bed_hash(b->c, i));
	size_t bit = bed_below(&b->seed, 8);

	if (!r || r->tomb)
		return;
	assert_true(cache_scrub(b->c, bucket));
	r->body[r->len - 1] ^= (uint8_t)(1u << bit);
	assert_false(cache_scrub(b->c, bucket));
	assert_true(cache_scrub(b->c, bucket));
	r->body[r->len - 1] ^= (uint8_t)(1u << bit);
	assert_false(cache_scrub(b->c, bucket));
}

/* Everything in [lo, hi] is met, in ascending buckets. */
static void do_walk(struct bed *b)
{
	uint32_t lo = (uint32_t)bed_random(&b->seed), end, met = 0, held = 0;
	uint32_t hi = lo + (uint32_t)(bed_random(&b->seed) % ((uint64_t)UINT32_MAX - lo + 1));

	for (uint32_t pos = lo;; pos = end + 1) {
		for (struct rec *r = cache_chain(b->c, pos, &end); r;
		     r = cache_chain_next(b->c, r)) {
			assert_true(r->hash <= end && (pos == lo || r->hash >= pos));
			met += r->hash >= lo && r->hash <= hi;
		}
		if (end >= hi)
			break;
	}
	for (uint32_t i = 0; i < KEYS; i++)
		held += b->recs[i].held && bed_hash(b->c, i) >= lo && bed_hash(b->c, i) <= hi;
	assert_int_equal(met, held);
}

/* weight: how many of 64 calls put; the rest is shared out. */
static void step(struct bed *b, unsigned int weight)
{
	uint32_t i = bed_below(&b->seed, bed_below(&b->seed, 2) ? b->keys : b->keys / 16);
	unsigned int what = bed_below(&b->seed, 64 + weight);

	if (what < weight)
		do_put(b, i);
	else if (what - weight < 24)
		do_stamp(b, i);
	else if (what - weight < 34)
		do_del(b, i);
	else if (what - weight < 44)
		do_tomb(b, i);
	else if (what - weight < 54)
		do_list(b, i);
	else
		do_version(b, i);
	if (!bed_below(&b->seed, 200)) {
		do_seek(b);
		do_walk(b);
		do_flip(b, bed_below(&b->seed, b->keys));
	}
}

static void run(struct bed *b, unsigned int steps)
{
	b->c = bed_new();
	for (unsigned int n = 1; n <= steps; n++) {
		if (n % 5000 == 1)
			b->keys = 100 + bed_below(&b->seed, KEYS - 100);
		b->dry = b->starve && n / 500 % 2 == 0;
		step(b, n / 10000 % 2 ? 10 : 120);
		if (n % 2000 == 0)
			compare_all(b);
	}
	for (uint32_t i = 0; i < KEYS; i++)
		do_del(b, i);
	compare_all(b);
	assert_int_equal(cache_digest(b->c), 0);
	cache_free(b->c);
}

static void test_random(void **state)
{
	struct bed *b = calloc(1, sizeof(*b));

	(void)state;
	assert_non_null(b);
	b->seed = bed_seed();
	run(b, 120000);
	free(b);
}

static void test_starving(void **state)
{
	struct bed *b = calloc(1, sizeof(*b));

	(void)state;
	assert_non_null(b);
	b->seed = bed_seed();
	b->starve = true;
	run(b, 60000);
	print_message("%u calls failed for want of memory\n", b->starved);
	assert_true(b->starved > 0);
	free(b);
}

/* Puts that fail leave everything as it was; tombstones, and bodies that would fit as well, never
 * fail. */
static void test_no_memory(void **state)
{
	struct cache *c = bed_new();
	uint8_t body[FLOW_PACKED_MAX], first[FLOW_PACKED_MAX];
	uint64_t digest;
	uint32_t i = 8;
	struct rec *r;

	(void)state;
	cache_stamp(c, bed_put(c, 0, 200, 1), 1);
	cache_stamp(c, bed_put(c, 1, 200, 1), 2);
	bed_put(c, 2, 7, 1);
	starving = 1;
	while (bed_put(c, i, 7, 1))
		i += 8;
	assert_true(i > 8);
	assert_null(bed_put_tomb(c, i, WIRE_REC_DEAD));
	bed_check(c);
	digest = cache_digest(c);
	bed_body(2, 7, 1, first);
	for (unsigned int round = 0; round < 2; round++) { /* the sums hold it, and not yet */
		assert_null(bed_put(c, 2, 90, 1));
		r = bed_find(c, 2);
		assert_int_equal(r->len, 21);
		assert_memory_equal(r->body, first, 21);
		assert_int_equal(cache_digest(c), digest);
		bed_check(c);
		cache_set_version(c, r, 1 - round);
		digest = cache_digest(c);
		assert_non_null(bed_put(c, 0, 199 + round, 1));
		assert_non_null(bed_put(c, 2, 7, 1));
		digest = cache_digest(c);
	}
	r = cache_tomb(c, bed_find(c, 0), WIRE_REC_DEAD);
	assert_int_equal(r->len, 14);
	r = bed_put(c, 1, 7, 9);
	assert_non_null(r);
	assert_int_equal(r->len, 7 + bed_key(1, body));
	bed_check(c);
	starving = 0;
	assert_non_null(bed_put(c, 1, 8, 9));
	bed_check(c);
	cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_starving),
		cmocka_unit_test(test_no_memory),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
