/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The scrub: finds memory that flipped. Digests follow every change, so they tell of a table what
 * was put into it; the scrub recomputes each bucket from the records that are there, in an endless
 * round of conf.scrub_s over the local half, the mirrors and the strays, a bounded slice a tick.
 * Where the two differ the sums follow the records, and the bucket is healed in its own scope
 * (PROTOCOL.md, R76):
 *
 * - a record whose key no longer hashes to its place is no flow of anybody, and leaves;
 * - of a mirror the bucket is asked for by LIST, which is the owner's whole word on it;
 * - of the local half each flow is read from the kernel, whose flows they are; what had changed
 * gets a new version. For a key that was lost the whole table is read, since only that tells the
 * name. Until both are done nothing is compared with us (COMPLETE is not said), so that no peer
 * takes what is lost here for ended.
 *
 * What the digests do not cover (timers, flags, links) is not looked at.
 */
#include "engine_priv.h"

#include <assert.h>
#include <errno.h>

#define TABLES (1 + ENGINE_PEERS_MAX + 1) /* local, mirrors, strays */

static struct cache *table_of(struct engine *e, unsigned int table)
{
	return patrol_table(e, table == 0                  ? TABLE_LOCAL
			       : table <= ENGINE_PEERS_MAX ? table - 1
							   : TABLE_STRAYS);
}

bool scrub_heals(const struct engine *e)
{
	return e->scrub.doubts || e->scrub.reread != REREAD_NO;
}

bool scrub_busy(const struct engine *e)
{
	return e->count.scrub_rounds < e->scrub.all_to;
}

void scrub_all(struct engine *e)
{
	e->scrub.table = e->scrub.bucket = 0;
	e->scrub.all_to = e->count.scrub_rounds + 1;
}

void scrub_undoubt(struct engine *e, struct rec *r)
{
	if (!(r->flags & F_CHECK))
		return;
	assert(e->scrub.doubts);
	e->scrub.doubts--;
	r->flags &= (uint16_t)~F_CHECK;
}

/* ---- The local half ---- */

static void local_throw(struct engine *e, struct rec *r)
{
	scrub_undoubt(e, r);
	if (!r->tomb && (r->flags & F_MUTE))
		e->mute--;
	if (r->tomb) /* what ended is no longer told: peers that lack it compare buckets (R4) */
		e->dropped = max_u64(e->dropped, min_u64(r->version, e->head));
	cache_del(e->local, r);
	e->count.broken++;
}

/* Every flow of the bucket is to be read again. Returns how many. */
static uint32_t local_doubt(struct engine *e, unsigned int bucket)
{
	uint32_t n = 0, end;

	for (uint32_t pos = bucket << 22;; pos = end + 1) {
		for (struct rec *r = cache_chain(e->local, pos, &end); r;
		     r = cache_chain_next(e->local, r)) {
			if (r->list == CACHE_LIST_VERSION)
				(void)cache_mend_version(e->local, r);
			if (r->tomb || (r->flags & F_CHECK))
				continue;
			r->flags |= F_CHECK;
			e->scrub.doubts++;
			n++;
		}
		if (cache_bucket(end + 1) != bucket)
			return n;
	}
}

static void table_reread(struct engine *e)
{
	e->scrub.reread = REREAD_WANTED;
	if (!e->dump.wanted)
		e->dump.at = e->now;
	e->dump.wanted = true;
}

void scrub_local(struct engine *e, unsigned int bucket)
{
	uint32_t broken = 0, doubts;
	bool equal;
	struct rec *r;

	for (; (r = cache_broken(e->local, bucket)); broken++)
		local_throw(e, r);
	equal = cache_scrub(e->local, bucket);
	e->count.scrubbed++;
	if (equal && !broken)
		return;
	e->count.flips++;
	doubts = local_doubt(e, bucket);
	if (broken)
		table_reread(e);
	patrol_urgent(e);
	note_put(e, NOTE_FLIP, NULL, bucket, doubts + broken);
}

bool scrub_sound(struct engine *e, struct rec *r)
{
	uint64_t version = r->version;
	struct flow f;

	if (r->tomb || !flow_unpack(r->body, r->len, &f))
		return true;
	scrub_local(e, cache_bucket(r->hash));
	r = cache_seek(e->local, version - 1);
	if (r && r->version == version) /* its state flipped: it is sent when it was read */
		stream_changed(e, r);
	return false;
}

bool scrub_op(struct rec *r, struct engine_op *op)
{
	*op = (struct engine_op){ .type = OP_GET, .peer = TABLE_LOCAL, .tag = TAG_HEAL };
	if (!flow_key_unpack(r->body, r->keylen, &op->flow.key))
		return false; /* a new flip: the next round finds it */
	r->flags |= F_FLIGHT;
	return true;
}

void scrub_result(struct engine *e, struct rec *r, int err, const struct flow *got, usec_t now)
{
	struct flow end = { .has = 0 };

	scrub_undoubt(e, r);
	e->count.reread++;
	if (!err && got && !scope_includes(e, got)) /* by a policy that could not read it */
		scope_withdraw(e, r);
	else if (!err && got)
		e->count.healed += own_reread(e, r, got, now);
	else if (err == -ENOENT)
		own_gone(e, r, &end, true, now);
}

/* ---- The mirrors and the strays ---- */

static void mirror_throw(struct engine *e, struct peer *p, struct rec *r)
{
	if (!r->tomb) {
		if (r->flags & F_KERN) /* the entry ages, or is read when its flow comes again */
			copy_clear(p, r);
		if (r->flags & F_REFUSED)
			e->refused--;
		if (r->gen != p->gen)
			p->old_count--;
	}
	cache_del(p->mirror, r);
	e->count.broken++;
}

bool scrub_mirror(struct engine *e, struct peer *p, unsigned int bucket)
{
	uint32_t broken = 0;
	bool equal;
	struct rec *r;

	for (; (r = cache_broken(p->mirror, bucket)); broken++)
		mirror_throw(e, p, r);
	equal = cache_scrub(p->mirror, bucket);
	e->count.scrubbed++;
	if (equal && !broken)
		return true;
	e->count.flips++;
	p->in_sync = false;
	p->want_vector = true;
	p->proof[bucket] = 0;
	note_put(e, NOTE_FLIP, p, bucket, broken);
	return false;
}

static void scrub_strays(struct engine *e, unsigned int bucket)
{
	uint32_t broken = 0;
	bool equal;
	struct rec *r;

	for (; (r = cache_broken(e->strays, bucket)); broken++) {
		if (r->tomb)
			cache_del(e->strays, r);
		else
			stray_del(e, r);
		e->count.broken++;
	}
	equal = cache_scrub(e->strays, bucket);
	e->count.scrubbed++;
	if (equal && !broken)
		return;
	e->count.flips++;
	if (broken) /* an entry of the kernel may be nobody's now */
		table_reread(e);
	note_put(e, NOTE_FLIP, NULL, bucket, broken);
}

/* ---- Pace ---- */

static void scrub_bucket(struct engine *e, unsigned int table, unsigned int bucket)
{
	struct peer *p = &e->peers[(table - 1) % ENGINE_PEERS_MAX];

	if (table == 0)
		scrub_local(e, bucket);
	else if (table > ENGINE_PEERS_MAX)
		scrub_strays(e, bucket);
	else if (!scrub_mirror(e, p, bucket))
		repair_list_want(p, bucket);
}

static void next_bucket(struct engine *e)
{
	struct scrub *s = &e->scrub;

	if (++s->bucket < WIRE_BUCKETS)
		return;
	s->bucket = 0;
	if (++s->table < TABLES)
		return;
	s->table = 0;
	e->count.scrub_rounds++;
}

void scrub_tables(struct engine *e)
{
	for (unsigned int table = 0; table < TABLES; table++)
		for (unsigned int i = 0; table_of(e, table) && i < WIRE_BUCKETS; i++)
			scrub_bucket(e, table, i);
}

/* How many buckets are due. All tables have their share, those of peers that do not exist too. */
static uint64_t due(struct engine *e, usec_t now)
{
	usec_t each = e->conf.scrub_s * USEC_PER_SEC / (TABLES * WIRE_BUCKETS);
	uint64_t n;

	if (scrub_busy(e)) {
		e->scrub.at = now;
		return SCRUB_BUCKETS_MAX;
	}
	if (!each) {
		e->scrub.at = now;
		return 0;
	}
	n = min_u64((now - e->scrub.at) / each, SCRUB_BUCKETS_MAX);
	e->scrub.at = n == SCRUB_BUCKETS_MAX ? now : e->scrub.at + n * each;
	return n;
}

void scrub_tick(struct engine *e, usec_t now)
{
	uint64_t n = due(e, now), looked = 0;

	for (; n && looked < SCRUB_STEP_MAX; n--) {
		struct cache *c = table_of(e, e->scrub.table);

		if (c) {
			scrub_bucket(e, e->scrub.table, e->scrub.bucket);
			looked += cache_flows(c) / WIRE_BUCKETS + 1;
		}
		next_bucket(e);
	}
}
