/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Windows into the engine for the oracle (peek.h), read-only but for the one that flips bits. It
 * owns nothing. Casts drop const only where the cache's lookups ask for a mutable pointer; nothing
 * else is changed.
 */
#include "peek.h"

#include <string.h>

#include "engine_priv.h"

static uint64_t word(const uint8_t *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

/* The oracle's own, and quick: it is taken of every flow at every step. */
static uint64_t sum(const uint8_t *p, size_t len)
{
	uint64_t h = len;
	size_t at = 0;

	for (; at + 8 < len; at += 8)
		h = ((h ^ word(p + at)) * 0x9e3779b97f4a7c15ULL) ^ (h >> 29);
	h = (h ^ word(p + len - 8)) * 0xbf58476d1ce4e5b9ULL; /* no key is shorter */
	return h ^ (h >> 29);
}

void peek_tables(const struct engine_conf *conf, uint8_t tables[WIRE_TABLES_LEN])
{
	struct seal s;

	seal_init(&s, conf->key, conf->key_count);
	seal_tables(&s, tables);
	seal_fini(&s);
}

unsigned int peek_bucket(const uint8_t tables[WIRE_TABLES_LEN], const struct flow_key *key)
{
	uint8_t body[FLOW_KEY_MAX];
	size_t len = flow_key_pack(key, body);

	return cache_bucket((uint32_t)(digest_hash(tables, body, len) >> 32));
}

void peek_key(const struct engine *e, const struct flow_key *key, struct peek_key *out)
{
	*out = (struct peek_key){ 0 };
	out->len = (uint8_t)flow_key_pack(key, out->body);
	memcpy(out->hash_key, e->seal.group, sizeof(out->hash_key));
	out->hash = cache_hash(e->local, out->body, out->len);
}

uint64_t peek_flow_sum(const struct flow *f)
{
	uint8_t body[FLOW_PACKED_MAX];

	return sum(body, flow_pack(f, body));
}

void peek_owner(const struct engine *e, struct peek_owner *o)
{
	*o = (struct peek_owner){
		.id = e->id,
		.epoch = e->epoch,
		.head = e->head,
		.dropped = e->dropped,
		.counter = e->counter,
		.rounds = e->patrol.round,
		.flows = cache_flows(e->local),
		.tombs = cache_tombs(e->local),
		.strays = cache_flows(e->strays),
		.work = cache_list_count(e->strays, CACHE_LIST_WORK),
		.complete = e->complete,
		.reads = e->dump.wanted || e->dump.running,
		.late = e->patrol.late,
		.role = e->role,
	};
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used)
			o->work += patrol_backlog(&e->peers[i]);
}

usec_t peek_audit_begun(const struct engine *e)
{
	return e->inquiry.begun_at;
}

/* After an exchange of the sealing key nodes hash differently for a while. */
uint32_t peek_hash(const struct engine *e, const struct peek_key *key)
{
	if (memcmp(key->hash_key, e->seal.group, sizeof(key->hash_key)) != 0)
		return cache_hash(e->local, key->body, key->len);
	return key->hash;
}

static const struct rec *find(const struct engine *e, struct cache *c, const struct peek_key *key)
{
	return cache_find(c, key->body, key->len, peek_hash(e, key));
}

bool peek_list_wanted(const struct engine *e, unsigned int i, uint32_t hash)
{
	const struct peer *p = &e->peers[i];
	unsigned int bucket = cache_bucket(hash);

	for (unsigned int k = 0; k < LISTS_MAX; k++)
		if (p->lists[k].lo <= p->lists[k].hi_incl && cache_bucket(p->lists[k].lo) == bucket)
			return true;
	return p->list_map[bucket / 64] >> (bucket % 64) & 1;
}

static bool look(const struct rec *r, bool current, struct peek_rec *out)
{
	if (!r)
		return false;
	*out = (struct peek_rec){
		.version = r->version,
		.body = r->body,
		.len = r->len,
		.tomb = r->tomb,
		.flags = r->flags,
		.current = current,
		.id = r->aux,
		.mute = (r->flags & F_MUTE) != 0,
		.heir = (r->flags & F_HEIR) != 0,
		.in_kernel = (r->flags & F_KERN) != 0,
		.expect = flow_is_expect(r->body),
		.spent = flow_is_expect(r->body) && (r->flags & F_SPENT),
		.waits = !(r->flags & (F_DOOM | F_CHECK | F_FLIGHT)),
		.let_go = (r->flags & F_KERN) && !r->written_s,
		.work = r->list == CACHE_LIST_WORK,
		.claims = r->list == CACHE_LIST_LATER || (r->flags & F_STALE),
		.since = r->aux,
	};
	return true;
}

uint64_t peek_sum(const struct peek_rec *r)
{
	return sum(r->body, r->len);
}

bool peek_local(const struct engine *e, const struct peek_key *key, struct peek_rec *r)
{
	return look(find(e, e->local, key), true, r);
}

bool peek_stray(const struct engine *e, const struct peek_key *key, struct peek_rec *r)
{
	return look(find(e, e->strays, key), true, r);
}

bool peek_peer(const struct engine *e, unsigned int i, struct peek_peer *out)
{
	const struct peer *p = i < ENGINE_PEERS_MAX ? &e->peers[i] : NULL;

	if (!p || !p->used || !p->epoch || !p->mirror)
		return false;
	*out = (struct peek_peer){
		.id = p->id,
		.epoch = p->epoch,
		.covered = p->covered,
		.maxhead = p->maxhead,
		.debt = p->debt,
		.verified = p->verified,
		.verified_at = p->verified_at,
		.index = i,
		.range_count = p->range_count,
		.deletions = cache_tombs(p->mirror),
		.flows = cache_flows(p->mirror) + quarantine_held(e, p),
		.old_count = p->old_count,
		.in_sync = p->in_sync,
		.complete = p->complete,
		.primary = p->primary,
		.led = p->led,
	};
	for (unsigned int k = 0; k < p->range_count && k < PEEK_RANGES_MAX; k++) {
		out->ranges[k].from = p->ranges[k].from;
		out->ranges[k].to = p->ranges[k].to;
	}
	return true;
}

/* What was set aside counts as held (R97), and to nobody as lacking in the kernel. */
static bool look_aside(const struct engine *e, const struct peer *p, const struct peek_key *key,
		       struct peek_rec *r)
{
	for (unsigned int i = 0; i < e->quarantine.count; i++) {
		const struct poison *x = &e->quarantine.poison[i];
		const struct aside *a = &x->aside[p->index];

		if (x->len != key->len || memcmp(x->key, key->body, x->len) != 0)
			continue;
		*r = (struct peek_rec){ .version = a->version,
					.body = a->body,
					.len = a->len,
					.current = !a->old,
					.in_kernel = true };
		return a->held;
	}
	return false;
}

bool peek_mirror(const struct engine *e, unsigned int i, const struct peek_key *key,
		 struct peek_rec *r)
{
	const struct peer *p = &e->peers[i];
	const struct rec *rec = p->used ? find(e, p->mirror, key) : NULL;

	if (p->used && !rec && look_aside(e, p, key, r))
		return true;
	return rec && !rec->tomb && look(rec, rec->gen == p->gen, r);
}

uint64_t peek_proof(const struct engine *e, unsigned int i, const struct peek_key *key)
{
	const struct peer *p = &e->peers[i];

	return p->proof[cache_bucket(peek_hash(e, key))];
}

uint64_t peek_mirror_print(const struct engine *e, unsigned int i)
{
	const struct peer *p = &e->peers[i];
	const uint64_t part[] = { cache_digest(p->mirror) + quarantine_digest(e, p),
				  p->covered,
				  p->maxhead,
				  p->epoch,
				  p->debt,
				  p->range_count,
				  cache_tombs(p->mirror),
				  p->complete,
				  mirror_top(p),
				  p->old_count };
	uint64_t h = i;

	for (unsigned int k = 0; k < ARRAY_LEN(part); k++)
		h = ((h ^ part[k]) * 0x9e3779b97f4a7c15ULL) ^ (h >> 29);
	return h;
}

uint64_t peek_kinds_print(const struct engine *e)
{
	uint64_t h = cache_flows(e->local) * 0x9e3779b97f4a7c15ULL + cache_flows(e->strays);

	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used)
			h = h * 0x100000001b3ULL + e->peers[i].copies * 0x10001 +
			    cache_flows(e->peers[i].mirror);
	return h;
}

uint64_t peek_fingerprint(const struct engine *e)
{
	uint64_t h = cache_digest(e->local) ^ e->head * 0x9e3779b97f4a7c15ULL ^ e->epoch;

	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		const struct peer *p = &e->peers[i];

		if (!p->used || !p->mirror)
			continue;
		h = h * 31 + cache_digest(p->mirror) + quarantine_digest(e, p);
		h = h * 31 + p->covered;
		h = h * 31 + p->maxhead;
		h = h * 31 + p->epoch;
		h = h * 31 + p->debt;
		h = h * 31 + p->verified_at;
		h = h * 31 + p->range_count;
		h = h * 31 + cache_tombs(p->mirror);
	}
	return h;
}

uint64_t peek_total(const struct engine *e, unsigned int i)
{
	const struct peer *p = &e->peers[i];
	uint64_t total = quarantine_digest(e, p);

	for (uint32_t pos = 0, end;; pos = end + 1) {
		for (struct rec *r = cache_chain(p->mirror, pos, &end); r;
		     r = cache_chain_next(p->mirror, r))
			total += r->tomb ? 0
					 : digest_item(e->seal.digest, r->version, r->body, r->len);
		if (end == UINT32_MAX)
			return total;
	}
}

static bool in_kernel(const struct engine *e, struct cache *c, const struct peek_key *key)
{
	const struct rec *r = find(e, c, key);

	return r && !r->tomb && (r->flags & F_KERN);
}

/* The flow at or behind a hash, NULL if none. */
static struct rec *flow_at(struct cache *c, uint32_t pos)
{
	uint32_t end;

	for (;; pos = end + 1) {
		for (struct rec *r = cache_chain(c, pos, &end); r; r = cache_chain_next(c, r))
			if (!r->tomb)
				return r;
		if (end == UINT32_MAX)
			return NULL;
	}
}

static bool is_misplaced(const struct cache *c, const struct rec *r)
{
	return cache_hash(c, r->body, r->keylen) != r->hash;
}

/* Not one that undoes another: a record that nobody found meanwhile would be back beside what has
 * taken its place, and no sum would tell. */
bool peek_flip(struct engine *e, unsigned int table, uint64_t chance)
{
	struct cache *c = table ? e->peers[table - 1].mirror : e->local;
	uint32_t bit = (uint32_t)(chance >> 32);
	bool misplaced;
	struct rec *r;

	if (!c || (table && !e->peers[table - 1].used) || !cache_flows(c))
		return false;
	r = flow_at(c, (uint32_t)chance);
	if (!r)
		r = flow_at(c, 0);
	if (table && bit % 8 == 0) {
		r->version ^= 1ULL << (bit / 8 % 64);
		return true;
	}
	bit = bit / 8 % (r->len * 8U);
	misplaced = is_misplaced(c, r);
	r->body[bit / 8] ^= (uint8_t)(1U << bit % 8);
	if (!misplaced || is_misplaced(c, r))
		return true;
	r->body[bit / 8] ^= (uint8_t)(1U << bit % 8);
	return false;
}

const char *peek_check(const struct engine *e)
{
	const char *wrong = cache_check(e->local);

	if (!wrong)
		wrong = cache_check(e->strays);
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX && !wrong; i++)
		if (e->peers[i].used)
			wrong = cache_check(e->peers[i].mirror);
	return wrong;
}

unsigned int peek_kinds(const struct engine *e, const struct peek_key *key)
{
	const struct rec *own = find(e, e->local, key);
	unsigned int kinds = own && !own->tomb;

	if (cache_flows(e->strays))
		kinds += in_kernel(e, e->strays, key);
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used && e->peers[i].copies)
			kinds += in_kernel(e, e->peers[i].mirror, key);
	return kinds;
}

static void head_of(uint8_t *pkt, struct wire_head *h)
{
	struct wire_buf b;

	wire_init(&b, pkt, WIRE_HEAD_LEN);
	(void)wire_get_head(&b, h);
}

size_t peek_open(const struct engine *e, uint8_t *pkt, size_t len)
{
	struct wire_head h;
	int rc;

	head_of(pkt, &h);
	rc = seal_open(&e->seal, NULL, &h, pkt, len);
	return rc > 0 ? (size_t)rc : 0;
}

size_t peek_close(const struct engine *e, uint8_t *pkt, size_t len)
{
	struct seal s = e->seal;
	struct wire_head h;

	head_of(pkt, &h);
	return seal_close(&s, &h, pkt, len);
}
