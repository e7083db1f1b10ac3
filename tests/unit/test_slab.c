/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The slab allocator: cells that do not overlap, keep their content, and go back in whole chunks.
 */
#include "cache_bed.h"

#include "slab.h"

static void test_cells(void **state)
{
	enum { COUNT = 5000 };
	uint32_t *at = calloc(COUNT, sizeof(*at));
	uint64_t seed = 7;
	struct slab s;

	(void)state;
	assert_non_null(at);
	slab_init(&s, &pages_malloc);
	for (uint32_t i = 0; i < COUNT; i++) {
		size_t len = 1 + bed_below(&seed, SLAB_CELL_MAX);

		at[i] = slab_alloc(&s, len);
		assert_true(at[i] != SLAB_NONE);
		assert_int_equal(slab_class_of(&s, at[i]), (len - 1) / SLAB_UNIT);
		assert_int_equal((uintptr_t)slab_at(&s, at[i]) % SLAB_UNIT, 0);
		memset(slab_at(&s, at[i]), (int)(i % 251),
		       (slab_class_of(&s, at[i]) + 1) * SLAB_UNIT);
	}
	for (uint32_t i = 0; i < COUNT; i++) {
		const uint8_t *p = slab_at(&s, at[i]);

		for (size_t k = 0; k < (slab_class_of(&s, at[i]) + 1) * SLAB_UNIT; k++)
			assert_int_equal(p[k], i % 251);
		slab_free(&s, at[i]);
	}
	slab_fini(&s);
	assert_int_equal(s.memory, 0);
	free(at);
}

static void test_reuse(void **state)
{
	struct slab s;
	uint32_t a, b;

	(void)state;
	slab_init(&s, &pages_malloc);
	a = slab_alloc(&s, 64);
	b = slab_alloc(&s, 64);
	assert_true(a != b);
	slab_free(&s, a);
	assert_int_equal(slab_alloc(&s, 1), a);
	slab_fini(&s);
}

/* Chunks come as they are needed and go when they are empty; one of a class stays; their numbers
 * are used again. */
static void test_chunks(void **state)
{
	enum { CHUNKS = 40, COUNT = CHUNKS * SLAB_CHUNK_UNITS };
	uint32_t *at = calloc(COUNT, sizeof(*at));
	struct slab s;
	size_t books;

	(void)state;
	assert_non_null(at);
	slab_init(&s, &pages_malloc);
	for (unsigned int round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < COUNT; i++)
			at[i] = slab_alloc(&s, 64);
		books = s.memory - CHUNKS * SLAB_CHUNK_LEN;
		assert_true(books < 4096);
		assert_int_equal(s.count, CHUNKS);
		for (uint32_t i = 0; i < COUNT; i++)
			slab_free(&s, at[i]);
		assert_int_equal(s.memory - books, SLAB_CHUNK_LEN);
	}
	slab_fini(&s);
	free(at);
}

/* A class whose cells do not divide the chunk wastes its end and nothing else. */
static void test_odd_class(void **state)
{
	uint32_t per_chunk = SLAB_CHUNK_UNITS / SLAB_CLASSES;
	struct slab s;

	(void)state;
	slab_init(&s, &pages_malloc);
	for (uint32_t i = 0; i <= per_chunk; i++)
		assert_int_equal(slab_alloc(&s, SLAB_CELL_MAX) >> SLAB_CHUNK_BITS, i / per_chunk);
	slab_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cells),
		cmocka_unit_test(test_reuse),
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_odd_class),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
