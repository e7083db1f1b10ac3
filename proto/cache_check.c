/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Verifies the whole of a cache against its invariants (cache.c, marks.c, table.c). Costs a walk
 * over everything: for tests, the simulator and a debugger, not for the daemon's normal work.
 * Changes nothing.
 */
#include "cache.h"

#include <stdlib.h>
#include <string.h>

#include "cache_priv.h"

/* What a walk over all chains found. */
struct census {
	uint32_t flows, tombs, marked, listed[CACHE_LIST_COUNT];
	uint64_t digest[WIRE_BUCKETS];
};

static const char *check_record(const struct cache *c, const struct rec *r)
{
	if (!r->keylen || r->keylen > r->len || (r->tomb && r->keylen != r->len))
		return "lengths of a record";
	if (cache_hash(c, r->body, r->keylen) != r->hash)
		return "hash of a record";
	if (r->mark > 1 || (r->mark && r->list != CACHE_LIST_VERSION))
		return "a bookmark out of place";
	if (r->list >= CACHE_LIST_COUNT)
		return "unknown list";
	if (r->list == CACHE_LIST_NONE && (r->prev != CACHE_NONE || r->next != CACHE_NONE))
		return "links of a record on no list";
	return NULL;
}

static const char *count_chain(const struct cache *c, uint32_t pos, uint32_t end, struct census *n)
{
	uint32_t ignored, hash = pos;

	for (struct rec *r = cache_chain(c, pos, &ignored); r; r = cache_chain_next(c, r)) {
		const char *wrong = check_record(c, r);

		if (wrong)
			return wrong;
		if (r->hash < pos || r->hash > end)
			return "a record on a foreign chain";
		if (r->hash < hash)
			return "order of a chain";
		hash = r->hash;
		if (r->tomb) {
			n->tombs++;
		} else {
			n->flows++;
			n->digest[cache_bucket(r->hash)] +=
				digest_item(c->digest_key, r->version, r->body, r->len);
		}
		n->marked += r->mark;
		n->listed[r->list]++;
	}
	return NULL;
}

static const char *check_chains(const struct cache *c, struct census *n)
{
	uint32_t pos, end, buckets = 0;

	for (pos = 0;; pos = end + 1) {
		const char *wrong;

		(void)cache_chain(c, pos, &end); /* for its end */
		if (end < pos)
			return "a bucket ends before it begins";
		wrong = count_chain(c, pos, end, n);
		if (wrong)
			return wrong;
		buckets++;
		if (end == UINT32_MAX)
			break;
	}
	return buckets == table_buckets(&c->table) ? NULL : "number of buckets";
}

static const char *check_sums(const struct cache *c, const struct census *n)
{
	uint64_t total = 0;

	for (unsigned int i = 0; i < WIRE_BUCKETS; i++) {
		total += n->digest[i];
		if (n->digest[i] != cache_bucket_digest(c, i))
			return "digest of a bucket";
	}
	return total == cache_digest(c) ? NULL : "total digest";
}

static const char *check_list(const struct cache *c, enum cache_list list, uint32_t listed)
{
	uint32_t prev = CACHE_NONE, count = 0;

	for (uint32_t at = c->lists[list].first; at != CACHE_NONE; at = cache_rec(c, at)->next) {
		const struct rec *r = cache_rec(c, at);

		if (r->list != list || r->prev != prev)
			return "links of a list";
		if (list == CACHE_LIST_VERSION && prev != CACHE_NONE &&
		    cache_rec(c, prev)->version >= r->version)
			return "order of the version list";
		prev = at;
		if (++count > listed)
			return "a list runs in a circle";
	}
	if (c->lists[list].last != prev)
		return "end of a list";
	return count == c->lists[list].count && count == listed ? NULL : "length of a list";
}

/* Every live bookmark is met on the way along the list, in order, within the gap. */
static const char *check_marks(const struct cache *c, uint32_t marked)
{
	const struct marks *m = &c->marks;
	uint32_t gap = 0, i = 0, seen = 0;

	for (uint32_t at = c->lists[CACHE_LIST_VERSION].first; at != CACHE_NONE;
	     at = cache_rec(c, at)->next) {
		const struct rec *r = cache_rec(c, at);

		gap++;
		if (gap > MARKS_GAP)
			return "gap between bookmarks";
		if (!r->mark)
			continue;
		while (i < m->count && m->mark[i].at == SLAB_NONE)
			i++;
		if (i == m->count || m->mark[i].at != at || m->mark[i].version != r->version)
			return "a bookmark and its record";
		i++;
		seen++;
		gap = 0;
	}
	for (uint32_t k = 1; k < m->count; k++)
		if (m->mark[k - 1].version > m->mark[k].version)
			return "order of bookmarks";
	if (m->count && m->mark[m->count - 1].at == SLAB_NONE)
		return "last bookmark is vacant";
	if (gap != m->tail_count)
		return "records behind the last bookmark";
	return seen == marked && seen == m->count - m->vacant ? NULL : "number of bookmarks";
}

static const char *check_all(const struct cache *c, struct census *n)
{
	const char *wrong = check_chains(c, n);

	if (!wrong && (n->flows != c->flows || n->tombs != c->tombs))
		wrong = "number of records";
	if (!wrong)
		wrong = check_sums(c, n);
	for (unsigned int l = CACHE_LIST_NONE + 1; !wrong && l < CACHE_LIST_COUNT; l++)
		wrong = check_list(c, l, n->listed[l]);
	return wrong ? wrong : check_marks(c, n->marked);
}

const char *cache_check(const struct cache *c)
{
	struct census *n = calloc(1, sizeof(*n));
	const char *wrong;

	if (!n)
		return "out of memory";
	wrong = check_all(c, n);
	free(n);
	return wrong;
}
