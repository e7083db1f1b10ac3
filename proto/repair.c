/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Repair, the receiver's half: what a mirror asks its owner for and how the answers to the rarer
 * questions are applied. A REPORT names the gaps in the covered versions (they come back as DATA,
 * peer.c); an ASK wants the digests of the buckets (VECTOR) or the flows of a hash range (LIST),
 * after tombstones were lost, after a restart of the owner, or when the digests differ at rest.
 * Rules R14, R17 to R24 and R27, R28 of PROTOCOL.md.
 */
#include "engine_priv.h"

#include <string.h>

/* ---- LIST and VECTOR ---- */

static int list_check(struct engine *e, const struct peer *p, const struct wire_list *m,
		      struct wire_buf b)
{
	uint32_t fresh = 0;
	struct wire_rec w;

	while (wire_get_rec(&b, &w)) {
		size_t keylen = flow_key_len(w.body, w.body_len);
		uint32_t hash;
		int rc = mirror_rec_look(e, &w);

		if (w.type != WIRE_REC_FLOW || w.delta >= m->version)
			return -DROP_VALUE;
		if (rc)
			return rc;
		hash = cache_hash(p->mirror, w.body, keylen);
		if (hash < m->lo || hash > m->hi_incl)
			return -DROP_VALUE; /* the sweep would not meet it */
		fresh += !cache_find(p->mirror, w.body, keylen, hash);
	}
	if (cache_flows(p->mirror) + fresh > e->conf.flows_max)
		return -DROP_FLOWS;
	return b.err ? mirror_drop_of(b.err) : 0;
}

/* A LIST is the owner's whole word on the range: at its version the flow was at it->version, and so
 * it was at no later one that we know of. A record that contradicts this was not told us (R19):
 * memory flipped. */
static bool cannot_be(const struct peer *p, const struct wire_list *m, const struct rec *r,
		      const struct item *it)
{
	if (r->tomb || r->gen != p->gen)
		return false;
	if (r->version == it->version)
		return r->len != it->rec.body_len || memcmp(r->body, it->rec.body, r->len) != 0;
	return r->version > it->version && (r->version <= m->version || r->version > p->maxhead);
}

/* Applies and marks what the LIST names. Returns how many covered versions it had to repair. */
static uint64_t list_named(struct engine *e, struct peer *p, const struct wire_list *m,
			   struct wire_buf *b, usec_t now)
{
	uint64_t repaired = 0;
	struct item it;

	while (wire_get_rec(b, &it.rec)) {
		const uint8_t *key = it.rec.body;
		size_t keylen = flow_key_len(key, it.rec.body_len);
		struct rec *r;

		it.version = m->version - it.rec.delta;
		it.hash = cache_hash(p->mirror, key, keylen);
		if (quarantine_list(e, p, &it))
			continue;
		mark_begin(e->mark, WORK_RECORD, key, keylen);
		r = cache_find(p->mirror, key, keylen, it.hash);
		if (r && cannot_be(p, m, r, &it))
			cache_set_version(p->mirror, r, 0);
		if (!r || it.version > mirror_held_version(p, r)) {
			repaired += it.version <= p->covered && !(r && r->gen != p->gen);
			mirror_set(e, p, &it, now);
			r = cache_find(p->mirror, key, keylen, it.hash);
		}
		if (r)
			r->flags |= F_NAMED;
		mark_end(e);
	}
	return repaired;
}

/* Was the flow told us at a version that the LIST knows of, or at one that never was (it flipped)?
 */
static bool list_knows(const struct peer *p, const struct wire_list *m, const struct rec *r)
{
	uint64_t held = mirror_held_version(p, r);

	return held <= m->version || held > p->maxhead;
}

static struct rec *list_unnamed(struct peer *p, const struct wire_list *m, uint32_t pos,
				uint32_t *end)
{
	struct rec *r;

	for (r = cache_chain(p->mirror, pos, end); r; r = cache_chain_next(p->mirror, r))
		if (!r->tomb && !(r->flags & F_NAMED) && r->hash >= m->lo &&
		    r->hash <= m->hi_incl && list_knows(p, m, r))
			return r;
	return NULL;
}

/* How did a flow end that its owner no longer names? A restarted primary owns all that its kernel
 * has; a backup leaves out what it cannot tell from our injections, though it may live (R42), and
 * so does every node in active-active (R74). A backup that ran on may have yielded it (R38). */
static enum gone_how unnamed_end(const struct engine *e, const struct peer *p, bool old)
{
	if (old && (!(p->old_dead && p->primary) || e->conf.active_active))
		return GONE_OLD;
	return p->primary || e->conf.active_active ? GONE_DEAD : GONE_RELEASE;
}

/* Removes what the LIST does not name (R19, R20) and takes the marks off. Returns how many of
 * covered versions. */
static uint64_t list_sweep(struct engine *e, struct peer *p, const struct wire_list *m, bool room,
			   usec_t now)
{
	uint64_t repaired = 0;
	struct rec *r;

	for (uint32_t pos = m->lo, end;; pos = end + 1) {
		while ((r = list_unnamed(p, m, pos, &end)) && room) {
			bool old = r->gen != p->gen;

			/* Its end may lie between the prefix and the LIST: no divergence. */
			repaired += !old && m->version == p->covered && r->version <= m->version;
			e->count.list_removed++;
			mirror_remove(e, p, r, unnamed_end(e, p, old), m->version,
				      m->version > p->covered, now);
		}
		for (r = cache_chain(p->mirror, pos, &end); r; r = cache_chain_next(p->mirror, r))
			r->flags &= (uint16_t)~F_NAMED;
		if (end >= m->hi_incl)
			return repaired;
	}
}

static void list_answered(struct peer *p, const struct wire_list *m)
{
	for (unsigned int i = 0; i < LISTS_MAX; i++) {
		struct list_slot *s = &p->lists[i];

		if (s->lo > s->hi_incl || s->lo != m->lo)
			continue;
		s->asked_at = 0;
		if (m->hi_incl < s->hi_incl) {
			s->lo = m->hi_incl + 1;
			continue;
		}
		*s = (struct list_slot){ .lo = 1 };
		p->list_todo--;
	}
}

int peer_list(struct engine *e, struct peer *p, struct wire_buf *b, usec_t now)
{
	struct wire_list m;
	uint64_t repaired;
	bool room;
	int rc;

	wire_get_list(b, &m);
	if (b->err)
		return mirror_drop_of(b->err);
	if (!p->complete || m.version < max_u64(p->covered, p->proof[cache_bucket(m.lo)]) ||
	    cache_bucket(m.lo) != cache_bucket(m.hi_incl))
		return -DROP_STALE;
	mark_peer(e, p);
	rc = list_check(e, p, &m, *b);
	e->mark->work = WORK_NONE;
	if (rc)
		return rc;
	p->maxhead = max_u64(p->maxhead, m.version);
	room = m.version == p->covered ||
	       cache_list_count(p->mirror, CACHE_LIST_TOMB) <=
		       e->conf.deletions_max - e->conf.deletions_max / LIST_ROOM;
	repaired = list_named(e, p, &m, b, now);
	repaired += list_sweep(e, p, &m, room, now);
	if (!room)
		return -DROP_DELETIONS;
	quarantine_sweep(e, p, &m);
	e->count.lists_applied++;
	if (repaired && !p->debt && !p->lapsed && m.version >= p->maxhead) {
		e->count.divergences++;
		note_put(e, NOTE_DIVERGENCE, p, cache_bucket(m.lo), repaired);
	}
	list_answered(p, &m);
	return 0;
}

void repair_list_want(struct peer *p, unsigned int bucket)
{
	uint64_t bit = 1ULL << (bucket % 64);

	p->list_todo += !(p->list_map[bucket / 64] & bit);
	p->list_map[bucket / 64] |= bit;
}

/* The bucket is what the owner has at that version. What it holds as old is of this epoch, then:
 * the digest is one of versions too. */
static void bucket_proven(struct engine *e, struct peer *p, unsigned int bucket, uint64_t version)
{
	p->proof[bucket] = max_u64(p->proof[bucket], version);
	if (!p->old_count)
		return;
	own_claims(e); /* of this epoch, the word of a primary is a claim */
	quarantine_proven(e, p, bucket);
	for (uint32_t pos = bucket << 22, end;; pos = end + 1) {
		for (struct rec *r = cache_chain(p->mirror, pos, &end); r;
		     r = cache_chain_next(p->mirror, r)) {
			if (r->tomb || r->gen == p->gen || cache_bucket(r->hash) != bucket)
				continue;
			r->gen = p->gen;
			p->old_count--;
		}
		if (end >= (bucket << 22 | BUCKET_MASK))
			return;
	}
}

int peer_vector(struct engine *e, struct peer *p, struct wire_buf *b, usec_t now)
{
	struct wire_vector m;

	(void)now;
	wire_get_vector(b, &m);
	if (!b->err && !p->complete) /* of before we took over other tables: not our buckets */
		return -DROP_STALE;
	for (unsigned int i = m.first; !b->err && i < (unsigned int)m.first + m.count; i++) {
		uint64_t digest = wire_get_u64(b), last = wire_get_u64(b), ours;

		if (b->err)
			break;
		ours = cache_bucket_digest(p->mirror, i) + quarantine_bucket_digest(e, p, i);
		if (ours == digest) {
			bucket_proven(e, p, i, m.version);
		} else if (p->covered >= last && p->changed[i] <= m.version) {
			repair_list_want(p, i);
			e->count.buckets_unequal++;
		}
	}
	if (b->err)
		return mirror_drop_of(b->err);
	if (m.first <= p->vector_lo)
		p->vector_lo = (unsigned int)max_u64(p->vector_lo, m.first + m.count);
	p->maxhead = max_u64(p->maxhead, m.version);
	e->count.vectors_compared++;
	mirror_debt_check(e, p);
	return 0;
}

/* ---- What we ask for ---- */

static bool inner_gap(const struct peer *p)
{
	return p->range_count != 0;
}

static bool tail_gap(const struct peer *p)
{
	return mirror_top(p) < p->maxhead;
}

/* When the gaps that we see should be asked for; UINT64_MAX when there are none. */
static usec_t gaps_at(const struct peer *p)
{
	if (!inner_gap(p) && !tail_gap(p))
		return UINT64_MAX;
	if (p->asked_at)
		return max_u64(p->asked_at, p->filled_at) + REPORT_RETRY_MS * USEC_PER_MS;
	if (p->report_now)
		return 0;
	if (inner_gap(p))
		return p->gap_at + GAP_MS * USEC_PER_MS;
	return p->data_at + TAIL_MS * USEC_PER_MS;
}

usec_t repair_report_at(const struct engine *e, const struct peer *p)
{
	usec_t at = min_u64(p->reported_at + e->conf.heartbeat_ms * USEC_PER_MS, gaps_at(p));

	if (p->covered != p->reported_covered)
		at = min_u64(at, p->reported_at + ACK_MS * USEC_PER_MS);
	if (p->unreported_len > e->conf.window_len / 2 || p->report_now)
		at = 0;
	return at;
}

static void report_gaps(struct peer *p, struct wire_report *m)
{
	uint64_t from = p->covered;

	for (unsigned int i = 0; i < p->range_count && m->gap_count < WIRE_GAPS_MAX; i++) {
		m->gaps[m->gap_count++] = (struct wire_gap){ from, p->ranges[i].from };
		from = p->ranges[i].to;
	}
	if (m->gap_count < WIRE_GAPS_MAX && from < p->maxhead)
		m->gaps[m->gap_count++] = (struct wire_gap){ from, p->maxhead };
}

static void put_report(struct engine *e, struct peer *p, struct wire_buf *b, usec_t now)
{
	struct wire_report m = {
		.owner = p->id,
		.owner_epoch = p->epoch,
		.covered = p->covered,
		.maxhead = p->maxhead,
		.window_len = e->conf.window_len,
		.heard_ms = p->heard_at ? (uint32_t)min_u64((now - p->heard_at) / USEC_PER_MS,
							    UINT32_MAX - 1)
					: UINT32_MAX,
		.sent = p->sent_count + 1,
		.dgram_max = e->conf.dgram_max,
	};

	if (now >= gaps_at(p)) {
		report_gaps(p, &m);
		p->asked_at = now;
		p->filled_at = 0;
		p->asked_to = m.gap_count ? m.gaps[m.gap_count - 1].to : 0;
	}
	p->report_now = false;
	p->reported_at = now;
	p->reported_covered = p->covered;
	p->unreported_len = 0;
	e->count.reports_sent++;
	wire_put_report(b, stream_flags(e), &m);
}

bool repair_lists_busy(const struct peer *p)
{
	return p->list_todo != 0;
}

/* Gives a free slot the next unequal bucket. */
static bool slot_fill(struct engine *e, struct peer *p, struct list_slot *s)
{
	for (unsigned int i = 0; i < ARRAY_LEN(p->list_map); i++) {
		uint32_t bucket;

		if (!p->list_map[i])
			continue;
		bucket = i * 64 + (uint32_t)__builtin_ctzll(p->list_map[i]);
		p->list_map[i] &= p->list_map[i] - 1;
		*s = (struct list_slot){ .lo = bucket << 22,
					 .hi_incl = bucket << 22 | BUCKET_MASK };
		(void)scrub_mirror(e, p,
				   bucket); /* what is broken must not seem to be another flow */
		return true;
	}
	return false;
}

/* The width of hash space in which about LIST_HELD_MAX of our flows lie, at most one bucket. */
static uint32_t list_width(const struct peer *p)
{
	uint64_t held = cache_flows(p->mirror) / WIRE_BUCKETS;

	return held <= LIST_HELD_MAX ? 1U << 22 : (uint32_t)((1ULL << 22) * LIST_HELD_MAX / held);
}

static bool next_list(struct engine *e, struct peer *p, struct wire_ask *ask, usec_t now)
{
	for (unsigned int i = 0; i < LISTS_MAX && p->list_todo; i++) {
		struct list_slot *s = &p->lists[i];

		if (s->lo > s->hi_incl && !slot_fill(e, p, s))
			continue;
		if (s->asked_at && now < s->asked_at + LIST_RETRY_MS * USEC_PER_MS)
			continue;
		s->asked_at = now;
		ask->kind = WIRE_ASK_LIST;
		ask->lo = s->lo;
		ask->hi_incl = (uint32_t)min_u64(s->hi_incl, (uint64_t)s->lo + list_width(p) - 1);
		return true;
	}
	return false;
}

bool repair_vector_wanted(const struct engine *e, const struct peer *p)
{
	if (!p->complete || p->resyncing || !peer_hears(e, p) || repair_lists_busy(p))
		return false;
	return p->want_vector || p->debt || (p->old_count && !p->in_sync);
}

size_t peer_send(struct engine *e, struct peer *p, struct wire_buf *b, usec_t now)
{
	struct wire_ask ask = { .owner = p->id, .owner_epoch = p->epoch };
	size_t start = b->at;

	if (now >= repair_report_at(e, p)) {
		put_report(e, p, b, now);
	} else if (peer_hears(e, p) && next_list(e, p, &ask, now)) {
		wire_put_ask(b, 0, &ask);
	} else if (repair_vector_wanted(e, p) && now >= p->vector_at) {
		if (p->vector_lo >= WIRE_BUCKETS)
			p->vector_lo = 0;
		ask.kind = WIRE_ASK_VECTOR; /* what was lost of the last answer, or all again */
		ask.lo = p->vector_lo;
		ask.hi_incl = WIRE_BUCKETS - 1;
		p->vector_at = now + VECTOR_RETRY_MS * USEC_PER_MS;
		wire_put_ask(b, 0, &ask);
	}
	return b->at - start;
}
