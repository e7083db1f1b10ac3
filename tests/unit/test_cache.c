/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cache, function by function, and the patterns that would break its bookmarks. */
#include "cache_bed.h"

static void test_put_find(void **state)
{
	struct cache *c = bed_new();
	struct rec *r;

	(void)state;
	assert_null(bed_find(c, 1));
	r = bed_put(c, 1, 7, 0xaa);
	assert_ptr_equal(bed_find(c, 1), r);
	assert_int_equal(r->len, 21);
	assert_int_equal(r->keylen, 14);
	assert_int_equal(r->body[20], 0xaa);
	assert_int_equal(r->hash, bed_hash(c, 1));
	assert_int_equal(r->version | r->expire_s | r->written_s | r->aux | r->flags | r->gen, 0);
	assert_int_equal(r->list, CACHE_LIST_NONE);
	assert_int_equal(r->tomb, 0);
	assert_null(bed_find(c, 2));
	assert_int_equal(cache_flows(c), 1);
	bed_check(c);
	cache_free(c);
	cache_free(NULL);
}

/* The class of the cell of the i-th key. */
static unsigned int cell_of(struct cache *c, uint32_t i)
{
	const struct rec *r = bed_find(c, i);
	uint32_t at = *table_head(&c->table, r->hash);

	while (cache_rec(c, at) != r)
		at = cache_rec(c, at)->hnext;
	return slab_class_of(&c->slab, at);
}

static void test_first_cell(void **state)
{
	struct cache *c = bed_new();

	(void)state;
	bed_put(c, 0, 7, 1);
	assert_int_equal(cell_of(c, 0), 0);
	cache_free(c);
}

/* User fields, version and place in the list stay when a body grows into another cell and shrinks
 * back. */
static void test_replace_moves(void **state)
{
	static const size_t more[] = { 7, 200, 60, 7, 120, 12 };
	struct cache *c = bed_new();
	struct rec *r;

	(void)state;
	for (uint32_t i = 0; i < 3; i++)
		cache_stamp(c, bed_put(c, i, 7, 1), i + 1);
	r = bed_find(c, 1);
	r->expire_s = 11;
	r->written_s = 12;
	r->aux = 13;
	r->flags = 14;
	r->gen = 15;
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		r = bed_put(c, 1, more[i], (uint8_t)i);
		assert_int_equal(r->len, 14 + more[i]);
		assert_int_equal(r->body[13 + more[i]], i);
		assert_int_equal(r->expire_s, 11);
		assert_int_equal(r->written_s, 12);
		assert_int_equal(r->aux, 13);
		assert_int_equal(r->flags, 14);
		assert_int_equal(r->gen, 15);
		assert_int_equal(r->version, 2);
		assert_int_equal(cell_of(c, 1),
				 slab_class(offsetof(struct rec, body) + 14 + more[i]));
		assert_ptr_equal(cache_list_next(c, cache_list_first(c, CACHE_LIST_VERSION)), r);
		bed_check(c);
	}
	assert_int_equal(cache_flows(c), 3);
	cache_free(c);
}

static void test_same_hash(void **state)
{
	struct cache *c = bed_new();
	uint8_t body[FLOW_PACKED_MAX];
	struct rec *r[4];

	(void)state;
	for (uint32_t i = 0; i < 4; i++) {
		size_t len = bed_body(i, 7, 0, body);

		r[i] = cache_put(c, body, len, 14, 0xdeadbeef);
	}
	for (uint32_t i = 0; i < 4; i++) {
		bed_body(i, 7, 0, body);
		assert_ptr_equal(cache_find(c, body, 14, 0xdeadbeef), r[i]);
	}
	cache_del(c, r[1]);
	bed_body(1, 7, 0, body);
	assert_null(cache_find(c, body, 14, 0xdeadbeef));
	bed_body(2, 7, 0, body);
	assert_ptr_equal(cache_find(c, body, 14, 0xdeadbeef), r[2]);
	cache_free(c);
}

static void test_tomb(void **state)
{
	struct cache *c = bed_new();
	struct rec *r = bed_put(c, 1, 100, 1);

	(void)state;
	cache_stamp(c, r, 5);
	r->aux = 9;
	r = cache_tomb(c, r, WIRE_REC_RELEASE);
	assert_int_equal(r->tomb, WIRE_REC_RELEASE);
	assert_int_equal(r->len, r->keylen);
	assert_int_equal(r->version, 5);
	assert_int_equal(r->aux, 9);
	assert_int_equal(r->list, CACHE_LIST_VERSION);
	assert_int_equal(cache_flows(c), 0);
	assert_int_equal(cache_tombs(c), 1);
	assert_int_equal(cache_digest(c), 0);
	assert_ptr_equal(bed_find(c, 1), r);
	bed_check(c);
	r = bed_put(c, 1, 100, 2);
	assert_int_equal(r->tomb, 0);
	assert_int_equal(r->version, 5);
	assert_int_equal(cache_flows(c), 1);
	assert_int_equal(cache_tombs(c), 0);
	bed_check(c);
	r = bed_put_tomb(c, 2, WIRE_REC_DEAD);
	assert_int_equal(r->tomb, WIRE_REC_DEAD);
	assert_int_equal(r->version, 0);
	bed_check(c);
	cache_del(c, r);
	cache_del(c, bed_find(c, 1));
	assert_int_equal(cache_flows(c) + cache_tombs(c), 0);
	assert_int_equal(cache_digest(c), 0);
	assert_null(cache_list_first(c, CACHE_LIST_VERSION));
	bed_check(c);
	cache_free(c);
}

/* Whether a sum is read between put and stamp must not matter. */
static void test_digest(void **state)
{
	struct cache *a = bed_new(), *b = bed_new();
	struct rec *r;

	(void)state;
	for (uint32_t i = 0; i < 50; i++) {
		cache_stamp(a, bed_put(a, i, 7, 1), i + 1);
		r = bed_put(b, 49 - i, 7, 2);
		(void)cache_digest(b);
		cache_set_version(b, r, 99);
		bed_check(b);
	}
	assert_int_not_equal(cache_digest(a), cache_digest(b));
	for (uint32_t i = 0; i < 50; i++) {
		r = bed_put(b, i, 7, 1);
		(void)cache_bucket_digest(b, cache_bucket(r->hash)); /* open or not */
		cache_set_version(b, r, i + 1);
	}
	assert_int_equal(cache_digest(a), cache_digest(b));
	for (unsigned int i = 0; i < WIRE_BUCKETS; i++)
		assert_int_equal(cache_bucket_digest(a, i), cache_bucket_digest(b, i));
	cache_free(a);
	cache_free(b);
}

static void test_digest_item(void **state)
{
	struct cache *c = bed_new();
	uint8_t body[FLOW_PACKED_MAX];
	size_t len = bed_body(5, 9, 3, body);
	struct rec *r = bed_put(c, 5, 9, 3);

	(void)state;
	assert_int_equal(cache_digest(c), digest_item(bed_digest_key, 0, body, len));
	cache_stamp(c, r, 77);
	assert_int_equal(cache_digest(c), digest_item(bed_digest_key, 77, body, len));
	assert_int_equal(cache_bucket_digest(c, cache_bucket(r->hash)), cache_digest(c));
	cache_free(c);
}

static void test_bucket_last(void **state)
{
	struct cache *c = bed_new();
	struct rec *r = bed_put(c, 1, 7, 1);
	unsigned int b = cache_bucket(r->hash);

	(void)state;
	assert_int_equal(cache_bucket_last(c, b), 0);
	cache_stamp(c, r, 10);
	assert_int_equal(cache_bucket_last(c, b), 10);
	cache_list_add(c, r, CACHE_LIST_WORK);
	cache_set_version(c, r, 4);
	assert_int_equal(cache_bucket_last(c, b), 10);
	cache_bucket_touch(c, b, 12);
	cache_bucket_touch(c, b, 11);
	assert_int_equal(cache_bucket_last(c, b), 12);
	cache_set_version(c, r, 20);
	r = cache_tomb(c, r, WIRE_REC_DEAD);
	assert_int_equal(cache_bucket_last(c, b), 20);
	cache_stamp(c, r, 21);
	assert_int_equal(cache_bucket_last(c, b), 21);
	cache_clear(c);
	assert_int_equal(cache_bucket_last(c, b), 0);
	cache_free(c);
}

static void test_scrub(void **state)
{
	struct cache *c = bed_new();
	uint64_t was;
	unsigned int b;
	struct rec *r;

	(void)state;
	for (uint32_t i = 0; i < 3000; i++)
		cache_stamp(c, bed_put(c, i, 7, 1), i + 1);
	was = cache_digest(c);
	r = bed_find(c, 1234);
	b = cache_bucket(r->hash);
	for (unsigned int i = 0; i < WIRE_BUCKETS; i++)
		assert_true(cache_scrub(c, i));
	r->body[r->len - 1] ^= 0x10;
	for (unsigned int i = 0; i < WIRE_BUCKETS; i++)
		assert_int_equal(cache_scrub(c, i), i != b);
	assert_int_not_equal(cache_digest(c), was);
	assert_true(cache_scrub(c, b));
	bed_check(c);
	r->body[r->len - 1] ^= 0x10;
	assert_false(cache_scrub(c, b));
	assert_int_equal(cache_digest(c), was);
	cache_free(c);
}

static void test_lists(void **state)
{
	struct cache *c = bed_new();
	struct rec *r[5];

	(void)state;
	for (uint32_t i = 0; i < 5; i++) {
		r[i] = bed_put(c, i, 7, 1);
		cache_list_add(c, r[i], i < 4 ? CACHE_LIST_WORK : CACHE_LIST_AGE);
	}
	assert_int_equal(cache_list_count(c, CACHE_LIST_WORK), 4);
	cache_list_add(c, r[0], CACHE_LIST_WORK); /* to the end */
	cache_list_add(c, r[2], CACHE_LIST_AGE);
	cache_list_del(c, r[3]);
	cache_list_del(c, r[3]); /* on no list: nothing happens */
	assert_ptr_equal(cache_list_first(c, CACHE_LIST_WORK), r[1]);
	assert_ptr_equal(cache_list_next(c, r[1]), r[0]);
	assert_null(cache_list_next(c, r[0]));
	assert_ptr_equal(cache_list_first(c, CACHE_LIST_AGE), r[4]);
	assert_ptr_equal(cache_list_next(c, r[4]), r[2]);
	assert_int_equal(cache_list_count(c, CACHE_LIST_AGE), 2);
	assert_int_equal(r[3]->list, CACHE_LIST_NONE);
	cache_stamp(c, r[4], 1);
	assert_int_equal(cache_list_count(c, CACHE_LIST_AGE), 1);
	cache_del(c, r[2]);
	assert_int_equal(cache_list_count(c, CACHE_LIST_AGE), 0);
	assert_null(cache_list_first(c, CACHE_LIST_AGE));
	bed_check(c);
	cache_free(c);
}

static void test_seek(void **state)
{
	struct cache *c = bed_new();

	(void)state;
	assert_null(cache_seek(c, 0));
	for (uint32_t i = 0; i < 5000; i++)
		cache_stamp(c, bed_put(c, i, 7, 1), 10 * (i + 1));
	for (uint64_t v = 0; v < 50000; v += 7)
		assert_int_equal(cache_seek(c, v)->version, v / 10 * 10 + 10);
	assert_null(cache_seek(c, 50000));
	assert_null(cache_seek(c, UINT64_MAX));
	bed_check(c);
	cache_free(c);
}

/* Neither many nor distant bookmarks. cache_check watches the distance. */
static void check_marks(const struct cache *c)
{
	uint32_t nodes = cache_list_count(c, CACHE_LIST_VERSION);

	bed_check(c);
	assert_in_range(c->marks.count - c->marks.vacant, 0, nodes / 64 + 64 + 16);
	assert_in_range(c->marks.vacant, 0, (c->marks.count - c->marks.vacant) / 4 + 64);
}

/* Cold flows arrive one at a time between bursts of `hot` flows that change for ever. */
static void hot_and_cold(uint32_t hot, uint32_t burst, uint32_t cold)
{
	struct cache *c = bed_new();
	uint64_t version = 0, seed = hot;

	for (uint32_t i = 0; i < cold; i++) {
		for (uint32_t k = 0; k < burst; k++)
			cache_stamp(c, bed_put(c, bed_below(&seed, hot), 7, (uint8_t)k), ++version);
		cache_stamp(c, bed_put(c, hot + i, 7, 1), ++version);
		if (i % (cold / 4) == 0)
			check_marks(c);
	}
	check_marks(c);
	cache_free(c);
}

static void test_marks_hot_and_cold(void **state)
{
	(void)state;
	hot_and_cold(1, 300, 2000);
	hot_and_cold(300, 300, 2000);
	hot_and_cold(2000, 300, 2000);
	hot_and_cold(5000, 20, 20000);
}

/* The newest flow always changes again at once: the record at the tail, often with a bookmark,
 * leaves. */
static void test_marks_tail(void **state)
{
	struct cache *c = bed_new();
	uint64_t version = 0;

	(void)state;
	for (uint32_t i = 0; i < 20000; i++)
		for (unsigned int k = 0; k < 3; k++)
			cache_stamp(c, bed_put(c, i, 7, (uint8_t)k), ++version);
	check_marks(c);
	for (uint32_t i = 20000; i-- > 0;) {
		cache_del(c, bed_find(c, i));
		if (i % 512 == 0)
			check_marks(c);
	}
	assert_int_equal(c->marks.count, 0);
	cache_free(c);
}

/* Of each stretch one record stays: gaps grow empty, bookmarks meet, thinning has to join them. */
static void test_marks_sparse(void **state)
{
	enum { COUNT = 30000 };
	struct cache *c = bed_new();
	uint64_t version = 0;

	(void)state;
	for (uint32_t i = 0; i < COUNT; i++)
		cache_stamp(c, bed_put(c, i, 7, 0), ++version);
	for (unsigned int round = 1; round < 12; round++) {
		for (uint32_t i = 0; i < COUNT; i++)
			if (i % 200 >= round)
				cache_stamp(c, bed_put(c, i, 7, (uint8_t)round), ++version);
		check_marks(c);
	}
	cache_free(c);
}

/* Walks all chains, while `grow` or its opposite happens between any two buckets. Returns how often
 * a record that was there all the time was seen more than once. */
static uint32_t walk(struct cache *c, uint32_t keep, uint32_t more, bool grow)
{
	uint8_t *seen = calloc(keep, 1);
	uint32_t pos, end, twice = 0, i = 0;

	assert_non_null(seen);
	for (pos = 0;; pos = end + 1) {
		for (struct rec *r = cache_chain(c, pos, &end); r; r = cache_chain_next(c, r)) {
			uint32_t n;

			memcpy(&n, r->body + 2, sizeof(n));
			assert_true(r->hash <= end);
			if (n < keep)
				twice += seen[n]++ != 0;
		}
		assert_true(end >= pos);
		if (end == UINT32_MAX)
			break;
		for (unsigned int k = 0; k < 20 && i < more; k++, i++) {
			if (grow)
				assert_non_null(bed_put(c, keep + i, 7, 1));
			else
				cache_del(c, bed_find(c, keep + i));
		}
	}
	assert_int_equal(i, more);
	for (uint32_t n = 0; n < keep; n++)
		assert_true(seen[n]);
	free(seen);
	return twice;
}

static void test_chain_walk(void **state)
{
	struct cache *c = bed_new();
	uint32_t keep = 2000, more = 40000, buckets;

	(void)state;
	for (uint32_t i = 0; i < keep; i++)
		bed_put(c, i, 7, 1);
	buckets = table_buckets(&c->table);
	assert_int_equal(walk(c, keep, more, true), 0);
	assert_true(table_buckets(&c->table) > 8 * buckets);
	bed_check(c);
	(void)walk(c, keep, more, false); /* joined buckets may be met again: never missed */
	assert_true(table_buckets(&c->table) <= 8 * keep);
	bed_check(c);
	cache_free(c);
}

static void test_clear(void **state)
{
	struct cache *c = bed_new();
	size_t empty = cache_memory(c);

	(void)state;
	for (uint32_t i = 0; i < 100000; i++)
		cache_stamp(c, bed_put(c, i, i % 150, 1), i + 1);
	cache_clear(c);
	assert_int_equal(cache_memory(c), empty);
	assert_int_equal(cache_flows(c), 0);
	assert_int_equal(cache_digest(c), 0);
	bed_check(c);
	cache_stamp(c, bed_put(c, 1, 7, 1), 1);
	bed_check(c);
	cache_free(c);
}

/* What flows took is given back when they leave one by one, but for one chunk per size and the
 * books. */
static void test_memory_follows(void **state)
{
	struct cache *c = bed_new();
	size_t empty = cache_memory(c), books;

	(void)state;
	for (uint32_t i = 0; i < 100000; i++)
		cache_stamp(c, bed_put(c, i, 7, 1), i + 1);
	books = c->slab.capacity * 32;
	for (uint32_t i = 0; i < 100000; i++)
		cache_del(c, bed_find(c, i));
	assert_in_range(cache_memory(c), empty, empty + 2 * SLAB_CHUNK_LEN + books + 16384);
	bed_check(c);
	cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_find),       cmocka_unit_test(test_first_cell),
		cmocka_unit_test(test_replace_moves),  cmocka_unit_test(test_same_hash),
		cmocka_unit_test(test_tomb),           cmocka_unit_test(test_digest),
		cmocka_unit_test(test_digest_item),    cmocka_unit_test(test_bucket_last),
		cmocka_unit_test(test_scrub),          cmocka_unit_test(test_lists),
		cmocka_unit_test(test_seek),           cmocka_unit_test(test_marks_hot_and_cold),
		cmocka_unit_test(test_marks_tail),     cmocka_unit_test(test_marks_sparse),
		cmocka_unit_test(test_chain_walk),     cmocka_unit_test(test_clear),
		cmocka_unit_test(test_memory_follows),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
