/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a played tape has changed: two engines side by side, flow by flow, and the part of a mirror
 * that a LIST repaired. Finds records by their place, not by look-up: memory that flipped in a key
 * is found by no look-up.
 */
#include "player.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- Two engines ---- */

void player_keys_add(struct player_keys *k, const uint8_t *key, size_t keylen)
{
	for (unsigned int i = 0; i < k->count; i++)
		if (k->len[i] == keylen && !memcmp(k->key[i], key, keylen))
			return;
	if (k->count == PLAYER_KEYS_MAX || keylen > FLOW_KEY_MAX)
		return;
	memcpy(k->key[k->count], key, keylen);
	k->len[k->count++] = (uint8_t)keylen;
}

struct diff {
	FILE *f;
	const char *table;
	uint64_t count;
	struct player_keys *keys;
};

static void hex(FILE *f, const struct rec *r)
{
	for (unsigned int i = 0; i < r->len; i++)
		fprintf(f, "%02x", r->body[i]);
}

static void diff_print(struct diff *d, const struct rec *was, const struct rec *is)
{
	const struct rec *r = is ? is : was;
	char text[320];

	d->count++;
	if (d->keys->count == PLAYER_KEYS_MAX)
		return;
	player_keys_add(d->keys, r->body, r->keylen);
	if (was)
		player_keys_add(d->keys, was->body, was->keylen);
	player_flow(text, sizeof(text), r->body, r->len);
	fprintf(d->f, "%s, bucket %u: %s: ", d->table, cache_bucket(r->hash), text);
	if (!was || !is) {
		fprintf(d->f, "%s\n", was ? "gone" : "has come");
		return;
	}
	fprintf(d->f, "version %" PRIu64 " and %" PRIu64 "\n    ", was->version, is->version);
	hex(d->f, was);
	fprintf(d->f, "\n    ");
	hex(d->f, is);
	fputc('\n', d->f);
}

static struct rec *by_key(struct cache *c, const struct rec *r)
{
	uint32_t end;
	struct rec *at;

	for (at = cache_chain(c, r->hash, &end); at; at = cache_chain_next(c, at))
		if (at->hash == r->hash && at->keylen == r->keylen &&
		    !memcmp(at->body, r->body, r->keylen))
			return at;
	return NULL;
}

/* What r, a record of c, is in the other table. One whose key flipped stands where its hash says,
 * and nobody else there has its key. */
static struct rec *partner(struct cache *c, struct cache *other, const struct rec *r)
{
	struct rec *at = by_key(other, r);
	uint32_t end;

	if (at)
		return at;
	for (at = cache_chain(other, r->hash, &end); at; at = cache_chain_next(other, at))
		if (at->hash == r->hash && at->keylen == r->keylen && !(c && by_key(c, at)))
			return at;
	return NULL;
}

static bool same(const struct rec *a, const struct rec *b)
{
	return a->version == b->version && a->tomb == b->tomb && a->len == b->len &&
	       !memcmp(a->body, b->body, a->len);
}

static void diff_cache(struct diff *d, struct cache *was, struct cache *is)
{
	for (uint32_t pos = 0, end;; pos = end + 1) {
		for (struct rec *r = cache_chain(was, pos, &end); r; r = cache_chain_next(was, r)) {
			struct rec *to = partner(was, is, r);

			if (!to || !same(r, to))
				diff_print(d, r, to);
		}
		if (end == UINT32_MAX)
			break;
	}
	for (uint32_t pos = 0, end;; pos = end + 1) {
		for (struct rec *r = cache_chain(is, pos, &end); r; r = cache_chain_next(is, r))
			if (!partner(is, was, r))
				diff_print(d, NULL, r);
		if (end == UINT32_MAX)
			break;
	}
}

uint64_t player_diff(FILE *f, struct engine *was, struct engine *is, struct player_keys *keys)
{
	struct diff d = { .f = f, .keys = keys, .table = "local" };
	char name[WIRE_NAME_MAX + 32];

	diff_cache(&d, was->local, is->local);
	d.table = "strays";
	diff_cache(&d, was->strays, is->strays);
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		if (!was->peers[i].used || !is->peers[i].used)
			continue;
		(void)snprintf(name, sizeof(name), "mirror of %s", was->peers[i].name);
		d.table = name;
		diff_cache(&d, was->peers[i].mirror, is->peers[i].mirror);
	}
	return d.count;
}

/* ---- What a LIST changes ---- */

#define REC_LEN (sizeof(struct rec) + FLOW_PACKED_MAX)

static struct rec *range_rec(const struct player_range *r, uint32_t i)
{
	return (void *)(r->recs + (size_t)i * ((REC_LEN + 7) & ~(size_t)7));
}

static bool in_range(const struct player_range *r, const struct rec *rec)
{
	return !rec->tomb && rec->hash >= r->lo && rec->hash <= r->hi_incl;
}

/* Counts what lies in the range, and copies it when there is room. */
static uint32_t range_walk(const struct player_range *r)
{
	uint32_t count = 0;

	for (uint32_t pos = r->lo, end;; pos = end + 1) {
		for (struct rec *at = cache_chain(r->mirror, pos, &end); at;
		     at = cache_chain_next(r->mirror, at)) {
			if (!in_range(r, at))
				continue;
			if (r->recs)
				memcpy(range_rec(r, count), at,
				       offsetof(struct rec, body) + at->len);
			count++;
		}
		if (end >= r->hi_incl)
			return count;
	}
}

void player_range_take(struct player_range *r, struct engine *e, const struct tape_entry *en)
{
	uint8_t pkt[WIRE_DGRAM_MAX];
	struct wire_head h;
	struct wire_list m;
	struct wire_buf b;
	struct peer *p;

	*r = (struct player_range){ 0 };
	if (en->door != TAPE_RECV || en->len > sizeof(pkt))
		return;
	memcpy(pkt, en + 1, en->len);
	wire_init(&b, pkt, en->len);
	if (wire_get_head(&b, &h) || wire_get_u8(&b) != WIRE_LIST)
		return;
	(void)wire_get_u8(&b);
	wire_get_list(&b, &m);
	p = peer_find(e, h.sender);
	if (b.err || !p || p->epoch != h.epoch || m.lo > m.hi_incl)
		return;
	r->mirror = p->mirror;
	r->lo = m.lo;
	r->hi_incl = m.hi_incl;
	memcpy(r->peer, p->name, sizeof(r->peer));
	r->count = range_walk(r);
	r->recs = calloc(r->count + 1, (REC_LEN + 7) & ~(size_t)7);
	if (r->recs)
		(void)range_walk(r);
	else
		r->mirror = NULL;
}

void player_range_tell(struct player_range *r, FILE *f, struct player_keys *keys)
{
	struct diff d = { .f = f, .keys = keys };
	char name[WIRE_NAME_MAX + 32];
	uint32_t end;

	(void)snprintf(name, sizeof(name), "mirror of %s", r->peer);
	d.table = name;
	for (uint32_t i = 0; i < r->count; i++) {
		struct rec *was = range_rec(r, i), *is = partner(NULL, r->mirror, was);

		if (!is || is->tomb || !same(was, is))
			diff_print(&d, was, is && !is->tomb ? is : NULL);
	}
	for (uint32_t pos = r->lo;; pos = end + 1) {
		for (struct rec *at = cache_chain(r->mirror, pos, &end); at;
		     at = cache_chain_next(r->mirror, at)) {
			uint32_t i = 0;

			while (i < r->count && range_rec(r, i)->hash != at->hash)
				i++;
			if (in_range(r, at) && i == r->count)
				diff_print(&d, NULL, at);
		}
		if (end >= r->hi_incl)
			break;
	}
	if (!d.count)
		fprintf(f, "%s: the LIST of buckets %u to %u changed nothing\n", name,
			cache_bucket(r->lo), cache_bucket(r->hi_incl));
}

void player_range_free(struct player_range *r)
{
	free(r->recs);
	r->recs = NULL;
}
