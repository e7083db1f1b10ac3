/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Read-only windows into the engine for the oracle (peek.h). It owns nothing. Casts drop const only
 * where the cache's lookups ask for a mutable pointer; nothing is changed.
 */
#include "peek.h"

#include <string.h>

#include "engine_priv.h"

static uint64_t sum(const uint8_t *p, size_t len)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3ULL;
	return h ^ (h >> 29);
}

void peek_key(const struct engine *e, const struct flow_key *key, struct peek_key *out)
{
	*out = (struct peek_key){ 0 };
	out->len = (uint8_t)flow_key_pack(key, out->body);
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
		.flows = cache_flows(e->local),
		.tombs = cache_tombs(e->local),
		.strays = cache_flows(e->strays),
		.complete = e->complete,
		.role = e->role,
	};
}

static bool find(struct cache *c, const struct peek_key *key, struct peek_rec *out)
{
	const struct rec *r = cache_find(c, key->body, key->len, key->hash);

	if (!r)
		return false;
	out->version = r->version;
	out->sum = sum(r->body, r->len);
	out->tomb = r->tomb;
	out->flags = r->flags;
	out->current = true;
	out->mute = (r->flags & F_MUTE) != 0;
	return true;
}

bool peek_local(const struct engine *e, const struct peek_key *key, struct peek_rec *r)
{
	return find(e->local, key, r);
}

bool peek_stray(const struct engine *e, const struct peek_key *key, struct peek_rec *r)
{
	return find(e->strays, key, r);
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
		.flows = cache_flows(p->mirror),
		.old_count = p->old_count,
		.in_sync = p->in_sync,
		.complete = p->complete,
	};
	for (unsigned int k = 0; k < p->range_count && k < PEEK_RANGES_MAX; k++) {
		out->ranges[k].from = p->ranges[k].from;
		out->ranges[k].to = p->ranges[k].to;
	}
	return true;
}

bool peek_mirror(const struct engine *e, unsigned int i, const struct peek_key *key,
		 struct peek_rec *r)
{
	const struct peer *p = &e->peers[i];
	const struct rec *rec;

	if (!find(p->mirror, key, r) || r->tomb)
		return false;
	rec = cache_find(p->mirror, key->body, key->len, key->hash);
	r->current = rec->gen == p->gen;
	return true;
}

uint64_t peek_fingerprint(const struct engine *e)
{
	uint64_t h = cache_digest(e->local) ^ e->head * 0x9e3779b97f4a7c15ULL;

	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		const struct peer *p = &e->peers[i];

		if (!p->used || !p->mirror)
			continue;
		h = h * 31 + cache_digest(p->mirror);
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

unsigned int peek_kinds(const struct engine *e, const struct peek_key *key)
{
	struct peek_rec r;
	unsigned int kinds = peek_local(e, key, &r) && !r.tomb;

	kinds += peek_stray(e, key, &r) && !r.tomb && (r.flags & F_KERN);
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		kinds += e->peers[i].used && find(e->peers[i].mirror, key, &r) && !r.tomb &&
			 (r.flags & F_KERN);
	return kinds;
}
