/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A million plain TCP/IPv4 flows: bytes for each, by the cache's own count and by the kernel's
 * count of resident pages, at the end and at the worst moment on the way (the table grows all the
 * time). The limit is the budget of the whole daemon; the cache alone must leave half of it. The
 * speeds are printed, not judged: the machine may be busy; they are CPU time.
 */
#include "cache_bed.h"
#include "hugepages.h"

#include <malloc.h>

#define FLOWS 1000000u
#define BUDGET 160.0 /* bytes per flow */
#define PLAIN 7u     /* bytes behind the key of a plain TCP flow */

#if defined(__SANITIZE_ADDRESS__)
#define RESIDENT false /* a sanitizer's shadow and redzones are counted too */
#else
#define RESIDENT true
#endif

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static size_t resident(void)
{
	size_t size, pages;
	FILE *f = fopen("/proc/self/statm", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%zu %zu", &size, &pages), 2);
	fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static size_t plain_key(uint32_t i, uint8_t *body)
{
	memset(body, 0, 14 + PLAIN);
	body[1] = 6;
	memcpy(body + 2, &i, sizeof(i));
	return 14;
}

static struct rec *put_plain(struct cache *c, uint32_t i, uint8_t state)
{
	uint8_t body[14 + PLAIN];
	size_t keylen = plain_key(i, body);

	body[17] = state;
	return cache_put(c, body, sizeof(body), keylen, cache_hash(c, body, keylen));
}

/* Bytes per flow: now, and the most at any time since 64 k flows were held, but for a region of
 * pages: the kernel may have backed all of the last one. */
static double fill(struct cache *c, double *worst)
{
	size_t start = resident();

	*worst = 0;
	for (uint32_t i = 0; i < FLOWS; i++) {
		cache_stamp(c, put_plain(c, i, 0), i + 1);
		if (i % 65536 == 65535) {
			double each = ((double)(resident() - start) - HUGEPAGE_LEN) / (i + 1);

			*worst = each > *worst ? each : *worst;
		}
	}
	return (double)(resident() - start) / FLOWS;
}

static void test_memory(void **state)
{
	struct pages *pages = hugepages_new();
	struct cache *c = cache_new(pages, bed_hash_key, bed_digest_key);
	double worst, each, began = cpu_ns(), own;
	size_t start = resident();

	(void)state;
	each = fill(c, &worst);
	own = (double)cache_memory(c) / FLOWS;
	print_message(
		"%u flows: %.1f B each by the cache's count, %.1f B resident, %.1f B at worst; "
		"%.0f ns a new flow\n",
		FLOWS, own, each, worst, (cpu_ns() - began) / FLOWS);
	assert_true(own < BUDGET / 2);
	assert_true(own > 64); /* else the count forgets something */
	if (RESIDENT)
		assert_true(each < BUDGET / 2 && worst < BUDGET / 2);
	began = cpu_ns();
	for (uint32_t i = 0; i < FLOWS; i++)
		cache_stamp(c, put_plain(c, (uint32_t)((uint64_t)i * 7919 % FLOWS), 1),
			    FLOWS + i + 1);
	print_message("%.0f ns a change, in scattered order\n", (cpu_ns() - began) / FLOWS);
	assert_int_equal(cache_flows(c), FLOWS);
	for (uint32_t i = 0; i < FLOWS; i++)
		cache_del(c, cache_list_first(c, CACHE_LIST_VERSION));
	print_message("all gone: %zu B held by the cache, %zu B resident,", cache_memory(c),
		      resident() - start);
	malloc_trim(0);
	print_message(" %zu B after malloc_trim\n", resident() - start);
	assert_true(cache_memory(c) < 1u << 20);
	cache_free(c);
	hugepages_free(pages);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
