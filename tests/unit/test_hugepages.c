/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages of the daemon: aligned, each its own; the first hole is filled first; a region goes back to
 * the kernel with its last page, all but the first one, and the kernel was asked for huge pages for
 * the others. Where no region can be mapped any more, those that are serve to the last page.
 */
#include "cache_bed.h"

#include <inttypes.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "hugepages.h"

#define REGION_PAGES (HUGEPAGE_LEN / PAGE_LEN)
#define REGIONS 3
#define PAGES (REGIONS * REGION_PAGES)

static unsigned char *page[PAGES];
static struct pages *pages;

static int setup(void **state)
{
	(void)state;
	pages = hugepages_new();
	return pages ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	hugepages_free(pages);
	return 0;
}

static void take_all(void)
{
	for (size_t i = 0; i < PAGES; i++) {
		page[i] = pages->take(pages->source);
		assert_non_null(page[i]);
		assert_int_equal((uintptr_t)page[i] % PAGE_LEN, 0);
		memset(page[i], (int)i, PAGE_LEN);
	}
}

static void give_all(void)
{
	for (size_t i = 0; i < PAGES; i++)
		pages->give(pages->source, page[i]);
}

static bool is_mapped(void *p)
{
	unsigned char in[PAGE_LEN / 4096];

	return mincore(p, PAGE_LEN, in) == 0;
}

/* Of the mapping that holds p: was MADV_HUGEPAGE said (flag hg in /proc/PID/smaps)? */
static bool is_advised(const void *p)
{
	uintptr_t from, to, at = (uintptr_t)p;
	bool here = false, advised = false;
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[512];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
			here = at >= from && at < to;
		else if (here && !strncmp(line, "VmFlags:", 8))
			advised = strstr(line, " hg") != NULL;
	}
	fclose(f);
	return advised;
}

static void test_own(void **state)
{
	(void)state;
	take_all();
	for (size_t i = 0; i < PAGES; i++) {
		assert_int_equal(page[i][0], (unsigned char)i);
		assert_memory_equal(page[i], page[i] + 1, PAGE_LEN - 1);
	}
	give_all();
}

static void test_first_hole(void **state)
{
	void *hole[] = { NULL, NULL, NULL };

	(void)state;
	take_all();
	for (size_t i = 0; i < 3; i++) {
		hole[i] = page[i * REGION_PAGES + 7];
		pages->give(pages->source, hole[i]);
	}
	for (size_t i = 0; i < 3; i++)
		assert_ptr_equal(pages->take(pages->source), hole[i]);
	give_all();
}

static void test_given_back(void **state)
{
	(void)state;
	take_all();
	give_all();
	assert_true(is_mapped(page[0]));
	for (size_t i = REGION_PAGES; i < PAGES; i++)
		assert_false(is_mapped(page[i]));
	take_all();
	for (size_t i = 1; i < PAGES; i++)
		pages->give(pages->source, page[i]);
	assert_false(is_mapped(page[REGION_PAGES]));
	assert_int_equal(page[0][PAGE_LEN - 1], 0);
	pages->give(pages->source, page[0]);
}

static void test_huge(void **state)
{
	(void)state;
	take_all();
	assert_false(is_advised(page[0]));
	for (size_t i = REGION_PAGES; i < PAGES; i += REGION_PAGES)
		assert_true(is_advised(page[i]));
	give_all();
}

static void test_refused(void **state)
{
	struct rlimit old, none;
	void *got, *more;

	(void)state;
	take_all();
	for (size_t i = REGION_PAGES; i <= 2 * REGION_PAGES; i++)
		pages->give(pages->source, page[i]);
	assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
	none = old;
	none.rlim_cur = 4096;
	assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
	got = pages->take(pages->source);
	more = pages->take(pages->source);
	assert_int_equal(setrlimit(RLIMIT_AS, &old), 0);
	assert_ptr_equal(got, page[2 * REGION_PAGES]);
	assert_null(more);
	for (size_t i = REGION_PAGES; i < 2 * REGION_PAGES; i++) {
		page[i] = pages->take(pages->source);
		assert_non_null(page[i]);
	}
	give_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_own, setup, teardown),
		cmocka_unit_test_setup_teardown(test_first_hole, setup, teardown),
		cmocka_unit_test_setup_teardown(test_given_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_huge, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
