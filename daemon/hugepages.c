/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages are taken from the first region that has one, so that what is used lies dense and the last
 * regions empty first. The first region is not huge and never given back: a small table takes no
 * more than it touches, and one that breathes does not call the kernel.
 */
#include "hugepages.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, len) ((void)(p), (void)(len))
#define ASAN_UNPOISON_MEMORY_REGION(p, len) ((void)(p), (void)(len))
#endif

#define CAPACITY_MIN 16u

struct region {
	char *base;    /* NULL: not mapped */
	uint32_t used; /* a bit for each page */
};

struct hugepages {
	struct pages pages;
	struct region *regions;
	uint32_t count, capacity;
	uint32_t vacant; /* regions before this one are full */
};

static bool region_map(struct region *r, bool huge)
{
	static_assert(HUGEPAGE_LEN == 32 * PAGE_LEN, "a bit of used for each page");
	char *p = mmap(NULL, 2 * HUGEPAGE_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	size_t before;

	if (p == MAP_FAILED)
		return false;
	before = -(uintptr_t)p % HUGEPAGE_LEN;
	if (before)
		(void)munmap(p, before);
	r->base = p + before;
	(void)munmap(r->base + HUGEPAGE_LEN, HUGEPAGE_LEN - before);
	if (huge) /* refused where the kernel has none: small pages do as well */
		(void)madvise(r->base, HUGEPAGE_LEN, MADV_HUGEPAGE);
	ASAN_POISON_MEMORY_REGION(r->base, HUGEPAGE_LEN);
	return true;
}

static void region_unmap(struct region *r)
{
	ASAN_UNPOISON_MEMORY_REGION(r->base, HUGEPAGE_LEN);
	(void)munmap(r->base, HUGEPAGE_LEN);
	r->base = NULL;
}

static bool region_add(struct hugepages *h)
{
	if (h->count == h->capacity) {
		uint32_t more = h->capacity ? h->capacity * 2 : CAPACITY_MIN;
		struct region *grown = realloc(h->regions, more * sizeof(*grown));

		if (!grown)
			return false;
		h->regions = grown;
		h->capacity = more;
	}
	h->regions[h->count++] = (struct region){ 0 };
	return true;
}

/* The first one with room that can be mapped. */
static struct region *region_find(struct hugepages *h)
{
	bool refused = false;

	while (h->vacant < h->count && h->regions[h->vacant].used == UINT32_MAX)
		h->vacant++;
	if (h->vacant == h->count && !region_add(h))
		return NULL;
	for (uint32_t i = h->vacant; i < h->count; i++) {
		struct region *r = &h->regions[i];

		if (!r->base && !refused)
			refused = !region_map(r, i != 0);
		if (r->base && r->used != UINT32_MAX)
			return r;
	}
	return NULL;
}

static void *take(void *source)
{
	struct region *r = region_find(source);
	unsigned int n;

	if (!r)
		return NULL;
	n = (unsigned int)__builtin_ctz(~r->used);
	r->used |= 1u << n;
	ASAN_UNPOISON_MEMORY_REGION(r->base + (size_t)n * PAGE_LEN, PAGE_LEN);
	return r->base + (size_t)n * PAGE_LEN;
}

static void give(void *source, void *page)
{
	struct hugepages *h = source;
	size_t at = (uintptr_t)page % HUGEPAGE_LEN;
	char *base = (char *)page - at;
	uint32_t i = 0, bit = 1u << at / PAGE_LEN;

	while (i < h->count && h->regions[i].base != base)
		i++;
	assert(i < h->count && at % PAGE_LEN == 0 && h->regions[i].used & bit);
	h->regions[i].used &= ~bit;
	ASAN_POISON_MEMORY_REGION(page, PAGE_LEN);
	if (i < h->vacant)
		h->vacant = i;
	if (i && !h->regions[i].used)
		region_unmap(&h->regions[i]);
}

struct pages *hugepages_new(void)
{
	struct hugepages *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->pages = (struct pages){ .take = take, .give = give, .source = h };
	return &h->pages;
}

void hugepages_free(struct pages *p)
{
	struct hugepages *h = p ? p->source : NULL;

	if (!h)
		return;
	for (uint32_t i = 0; i < h->count; i++) {
		assert(!h->regions[i].used);
		if (h->regions[i].base)
			region_unmap(&h->regions[i]);
	}
	free(h->regions);
	free(h);
}
