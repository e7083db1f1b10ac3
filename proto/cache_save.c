/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A cache as bytes and back: cells, chains, bookmarks and sums as they lie in memory, so that the
 * copy behaves as the original would, to the last tie. For the flight recorder (save.c) only: no
 * format that another build could read. Changes nothing.
 */
#include "cache.h"

#include <stdlib.h>

#include "blob.h"
#include "cache_priv.h"

static void marks_save(const struct marks *m, struct blob *b)
{
	struct marks plain = *m;

	plain.mark = NULL;
	blob_put(b, &plain, sizeof(plain));
	blob_put(b, m->mark, m->count * sizeof(*m->mark));
}

static void marks_load(struct marks *m, struct blob *b)
{
	struct marks plain;

	blob_get(b, &plain, sizeof(plain));
	b->err |= plain.count > plain.capacity || plain.vacant > plain.count;
	if (!blob_has(b, plain.count * sizeof(*m->mark)) || !plain.capacity)
		return;
	plain.mark = calloc(plain.capacity, sizeof(*m->mark));
	if (!plain.mark) {
		b->err = true;
		return;
	}
	*m = plain;
	blob_get(b, m->mark, m->count * sizeof(*m->mark));
}

/* What is neither cells, chains nor bookmarks. */
static void sums_save(const struct cache *c, struct blob *b)
{
	blob_put(b, c->lists, sizeof(c->lists));
	blob_put(b, &c->flows, sizeof(c->flows));
	blob_put(b, &c->expects, sizeof(c->expects));
	blob_put(b, &c->tombs, sizeof(c->tombs));
	blob_put(b, &c->open, sizeof(c->open));
	blob_put(b, &c->total, sizeof(c->total));
	blob_put(b, c->sums, sizeof(c->sums));
}

static void sums_load(struct cache *c, struct blob *b)
{
	blob_get(b, c->lists, sizeof(c->lists));
	blob_get(b, &c->flows, sizeof(c->flows));
	blob_get(b, &c->expects, sizeof(c->expects));
	blob_get(b, &c->tombs, sizeof(c->tombs));
	blob_get(b, &c->open, sizeof(c->open));
	blob_get(b, &c->total, sizeof(c->total));
	blob_get(b, c->sums, sizeof(c->sums));
}

void cache_save(const struct cache *c, struct blob *b)
{
	blob_put(b, c->hash_key, sizeof(c->hash_key));
	blob_put(b, c->digest_key, sizeof(c->digest_key));
	sums_save(c, b);
	marks_save(&c->marks, b);
	table_save(&c->table, b);
	slab_save(&c->slab, b);
}

struct cache *cache_load(struct blob *b)
{
	uint8_t hash_key[DIGEST_KEY_LEN], digest_key[DIGEST_KEY_LEN];
	struct cache *c;

	blob_get(b, hash_key, sizeof(hash_key));
	blob_get(b, digest_key, sizeof(digest_key));
	c = b->err ? NULL : cache_new(NULL, hash_key, digest_key);
	if (!c) {
		b->err = true;
		return NULL;
	}
	sums_load(c, b);
	marks_load(&c->marks, b);
	table_load(&c->table, b);
	slab_load(&c->slab, b);
	if (!b->err)
		return c;
	cache_free(c);
	return NULL;
}
