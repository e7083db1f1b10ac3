/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The owner's side of replication: our own flows as a stream of versions. The cache is the send
 * queue: a change moves its flow to the tail of the version list, and a datagram says "this covers
 * versions (from, to]" with the current state of what lies there. Live traffic, repair, a new peer
 * and a resync differ only in where `from` comes from: our own cursor, or the gaps of a peer's
 * REPORT. Rules R1 to R8 and R17 of PROTOCOL.md.
 */
#include "engine_priv.h"

#include <assert.h>
#include <string.h>

void stream_changed(struct engine *e, struct rec *r)
{
	assert(!r->tomb);
	cache_stamp(e->local, r, ++e->head);
}

void stream_ended(struct engine *e, struct rec *r, uint8_t how)
{
	assert(!r->tomb);
	if (r->flags & F_MUTE)
		e->mute--;
	if (r->flags & F_TAKEN)
		outcome_ended(e, r);
	scrub_undoubt(e, r);
	if (!(r->flags & F_SENT)) {
		e->count.cancelled++;
		cache_del(e->local, r);
		return;
	}
	r = cache_tomb(e->local, r, how);
	r->flags = F_SENT;
	cache_stamp(e->local, r, ++e->head);
}

static uint64_t acked_by_all(const struct engine *e)
{
	uint64_t acked = e->head;

	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		const struct peer *p = &e->peers[i];

		if (p->used)
			acked = min_u64(acked, p->acked_known ? p->acked : 0);
	}
	return acked;
}

/* Every entry of the version list is passed once per change of it, so the search costs O(1) per
 * change. */
void stream_trim(struct engine *e)
{
	uint64_t acked = acked_by_all(e);
	unsigned int steps = 0;
	struct rec *r;

	if (!cache_tombs(e->local)) {
		e->tomb_at = e->head;
		return;
	}
	r = cache_seek(e->local, e->tomb_at);
	while (r && steps++ < TOMB_STEP_MAX) {
		bool over = cache_tombs(e->local) > e->conf.tombstones_max;

		if (r->version > acked && !over)
			return;
		e->tomb_at = r->version;
		if (!r->tomb) {
			r = cache_list_next(e->local, r);
			continue;
		}
		e->dropped = r->version;
		if (r->version > acked)
			e->count.tombstones_dropped++;
		cache_del(e->local, r);
		r = cache_seek(e->local, e->tomb_at);
	}
}

static bool comparable(const struct engine *e)
{
	return e->complete && !scrub_heals(e);
}

uint8_t stream_flags(const struct engine *e)
{
	return (uint8_t)((e->role == ROLE_PRIMARY ? WIRE_F_PRIMARY : 0) |
			 (comparable(e) ? WIRE_F_COMPLETE : 0));
}

static uint32_t remaining_s(const struct rec *r, usec_t now)
{
	uint32_t now_s = to_s(now);

	return r->expire_s > now_s ? r->expire_s - now_s : 1;
}

static bool put_rec(struct engine *e, struct wire_buf *b, struct rec *r, uint64_t delta, usec_t now)
{
	struct wire_rec w = {
		.type = r->tomb ? r->tomb : WIRE_REC_FLOW,
		.delta = delta,
		.timeout_s = r->tomb ? 0 : remaining_s(r, now),
		.body = r->body,
		.body_len = r->len,
	};

	if (!wire_put_rec(b, &w))
		return false;
	r->flags |= F_SENT;
	e->count.records_sent++;
	return true;
}

/* Body of a DATA of versions (from, limit], cut by size. again: they were sent before. Returns its
 * `to`. */
static uint64_t put_data(struct engine *e, struct wire_buf *b, bool again, uint64_t from,
			 uint64_t limit, usec_t now)
{
	struct wire_data m = { .from = from, .to = limit, .head = e->head, .dropped = e->dropped };
	uint8_t flags = stream_flags(e);
	struct wire_buf head;
	uint64_t at = from;
	struct rec *r;

	head = *b;
	wire_put_data(b, flags, &m);
	r = from < limit ? cache_seek(e->local, from) : NULL;
	while (r && r->version <= limit) {
		if (again && !scrub_sound(e, r)) {
			r = cache_seek(e->local, at);
			continue;
		}
		if (!put_rec(e, b, r, r->version - at, now))
			break;
		at = r->version;
		r = cache_list_next(e->local, r);
	}
	if (r && r->version <= limit)
		m.to = at;
	assert(m.to > from || from == limit);
	if (m.to == e->head) {
		flags |= WIRE_F_DIGEST;
		m.digest = cache_digest(e->local);
	}
	wire_put_data(&head, flags, &m);
	return m.to;
}

/* The credit of the peer that can take most: a laggard pulls what it lacks and never stalls the
 * rest. */
static uint32_t best_credit(const struct engine *e)
{
	uint32_t best = 0;

	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		const struct peer *p = &e->peers[i];

		if (p->used && p->acked_known && peer_is_up(e, p) && p->credit_len > best)
			best = p->credit_len;
	}
	return best;
}

size_t stream_dgram_max(const struct engine *e)
{
	size_t max = e->conf.dgram_max;

	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		const struct peer *p = &e->peers[i];

		if (p->used && p->dgram_max >= WIRE_DGRAM_MIN && peer_hears(e, p))
			max = min_u64(max, p->dgram_max);
	}
	return max;
}

static bool any_up(const struct engine *e)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used && e->peers[i].acked_known && peer_is_up(e, &e->peers[i]))
			return true;
	return false;
}

static bool live_due(const struct engine *e)
{
	return e->sent < e->head && best_credit(e) >= stream_dgram_max(e);
}

static size_t send_live(struct engine *e, struct wire_buf *b, usec_t now)
{
	size_t start = b->at;
	bool beat = now >= e->beat_at;

	if (!any_up(e)) /* whoever comes up asks for what it lacks */
		e->sent = e->head;
	if (!live_due(e) && !beat)
		return 0;
	if (live_due(e))
		e->sent = put_data(e, b, false, e->sent, e->head, now);
	else
		put_data(e, b, false, e->head, e->head, now);
	if (e->sent == e->head || beat)
		e->beat_at = now + e->conf.heartbeat_ms * USEC_PER_MS;
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct peer *p = &e->peers[i];

		p->credit_len -= (uint32_t)min_u64(p->credit_len, b->at);
	}
	return b->at - start;
}

/* ---- Answers to REPORTs ----
 *
 * What several peers lack travels once where one datagram reaches them all (R50): a piece that goes
 * to one is taken off what waits for the others, and off what they ask for a moment later, once
 * each: whoever asks again has lost it. */

/* Takes (a, b] off (from, to] if that leaves one piece. Returns whether it did. */
static bool range_cut(uint64_t *from, uint64_t *to, uint64_t a, uint64_t b)
{
	bool head = a <= *from && b > *from, tail = b >= *to && a < *to;

	if (*from >= *to || (!head && !tail))
		return false;
	if (head)
		*from = min_u64(b, *to);
	else
		*to = a;
	return true;
}

static bool answer_over(const struct engine *e, struct answer *a)
{
	for (; a->at < a->count && a->gaps[a->at].from >= a->gaps[a->at].to; a->at++)
		;
	if (a->at < a->count && a->window_len >= stream_dgram_max(e))
		return false;
	a->count = a->at = 0;
	return true;
}

/* Takes what goes to others now off the answer of p. Returns whether there was any of it. */
static bool answer_cut(struct answer *a, uint64_t from, uint64_t to)
{
	bool cut = false;

	for (unsigned int i = a->at; i < a->count; i++)
		cut |= range_cut(&a->gaps[i].from, &a->gaps[i].to, from, to);
	return cut;
}

/* Other peers that hear the datagram at hand, len bytes of (from, to]. Returns the flags that say
 * whose answer ends with it. */
static uint8_t answer_share(struct engine *e, struct repair *r, size_t len)
{
	uint8_t over = 0;

	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct peer *q = &e->peers[i];

		if (!(q->endpoints & r->endpoints) || r->peers & 1U << i ||
		    !answer_cut(&q->answer, r->from, r->to))
			continue;
		q->answer.window_len -= (uint32_t)min_u64(q->answer.window_len, len);
		r->endpoints |= q->endpoints;
		r->peers |= 1U << i;
		e->count.repairs_merged++;
		if (answer_over(e, &q->answer))
			over |= WIRE_F_LAST | wire_whose(q->id);
	}
	return over;
}

static void repair_remember(struct engine *e, const struct repair *r)
{
	struct repair *last = &e->repairs[e->repair_at % REPAIRS_MAX];

	if (last->to == r->from && last->peers == r->peers && last->endpoints == r->endpoints &&
	    r->at < last->at + MERGE_MS * USEC_PER_MS)
		last->to = r->to;
	else
		e->repairs[++e->repair_at % REPAIRS_MAX] = *r;
}

/* The next piece of the answer to p's last REPORT; the final one is flagged LAST so that who asked
 * asks on without waiting. */
static size_t send_answer(struct engine *e, struct peer *p, struct wire_buf *b, uint32_t *to,
			  usec_t now)
{
	struct answer *a = &p->answer;
	struct repair r = { .at = now, .endpoints = p->endpoints, .peers = 1U << p->index };
	size_t start = b->at;
	uint64_t before = e->count.records_sent;
	struct wire_gap *g;
	uint8_t last;

	if (!a->count || answer_over(e, a))
		return 0;
	g = &a->gaps[a->at];
	r.from = g->from;
	g->from = r.to = put_data(e, b, true, g->from, g->to, now);
	e->count.records_repaired += e->count.records_sent - before;
	a->window_len -= (uint32_t)min_u64(a->window_len, b->at);
	last = answer_share(e, &r, b->at);
	if (answer_over(e, a))
		last |= WIRE_F_LAST | wire_whose(p->id);
	b->p[start + 1] |= last;
	repair_remember(e, &r);
	*to = r.endpoints;
	return b->at - start;
}

/* Is all that is left of a gap of p's REPORT on its way to p, because another peer asked first? */
static bool gap_is_coming(struct engine *e, const struct peer *p, struct wire_gap *g, usec_t now)
{
	for (unsigned int i = 0; i < REPAIRS_MAX; i++) {
		struct repair *r = &e->repairs[i];

		if (!(r->endpoints & p->endpoints) || r->peers & 1U << p->index ||
		    now >= r->at + MERGE_MS * USEC_PER_MS ||
		    !range_cut(&g->from, &g->to, r->from, r->to))
			continue;
		r->peers |= 1U << p->index;
		e->count.repairs_merged++;
	}
	return g->from >= g->to;
}

/* Puts the flows of [lo, hi] whole table buckets at a time. Returns the last hash that is covered,
 * lo - 1 if none. */
static uint64_t put_range(struct engine *e, struct wire_buf *b, uint32_t lo, uint32_t hi,
			  usec_t now)
{
	uint32_t pos = lo, end;

	for (;; pos = end + 1) {
		struct wire_buf before = *b;
		struct rec *r;

		for (r = cache_chain(e->local, pos, &end); r; r = cache_chain_next(e->local, r))
			if (!r->tomb && r->hash >= lo && r->hash <= hi &&
			    !put_rec(e, b, r, e->head - r->version, now))
				break;
		if (r) {
			*b = before;
			return (uint64_t)pos - 1;
		}
		if (end >= hi)
			return hi;
	}
}

static size_t send_list(struct engine *e, const struct wire_ask *ask, struct wire_buf *b,
			usec_t now)
{
	struct wire_list m = {
		.lo = ask->lo, .hi_incl = ask->hi_incl, .version = e->head, .dropped = e->dropped
	};
	struct wire_buf head = *b;
	uint64_t hi;

	for (;;) {
		*b = head;
		wire_put_list(b, stream_flags(e), &m);
		hi = put_range(e, b, m.lo, m.hi_incl, now);
		if (hi == m.hi_incl)
			break;
		if (hi + 1 > m.lo) /* cut at a table bucket */
			m.hi_incl = (uint32_t)hi;
		else /* the very first table bucket is too full: take half the hashes */
			m.hi_incl = m.lo + (m.hi_incl - m.lo) / 2;
	}
	e->count.lists_sent++;
	return b->at - head.at;
}

static size_t send_vector(struct engine *e, struct wire_ask *ask, struct wire_buf *b)
{
	size_t start = b->at, room = (wire_left(b) - 22) / 16;
	struct wire_vector m = { .version = e->head,
				 .dropped = e->dropped,
				 .first = (uint16_t)ask->lo };

	m.count = (uint16_t)min_u64(room, ask->hi_incl - ask->lo + 1);
	wire_put_vector(b, stream_flags(e), &m);
	for (unsigned int i = ask->lo; i < ask->lo + m.count; i++) {
		wire_put_u64(b, cache_bucket_digest(e->local, i));
		wire_put_u64(b, cache_bucket_last(e->local, i));
	}
	ask->lo += m.count;
	e->count.vectors_sent++;
	return b->at - start;
}

static size_t send_asked(struct engine *e, struct peer *p, struct wire_buf *b, usec_t now)
{
	struct wire_ask *ask = &p->asks[p->ask_at % ASKS_MAX];
	size_t len;

	if (!p->ask_count)
		return 0;
	if (ask->kind == WIRE_ASK_LIST) {
		len = send_list(e, ask, b, now);
		ask->lo = ask->hi_incl + 1;
	} else {
		len = send_vector(e, ask, b);
	}
	if (ask->kind == WIRE_ASK_LIST || ask->lo > ask->hi_incl) {
		p->ask_at++;
		p->ask_count--;
	}
	return len;
}

/* The peers take turns: one that pulls a whole table must not keep the others from their repairs.
 */
static size_t send_to_peer(struct engine *e, struct wire_buf *b, uint32_t *to, usec_t now)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct peer *p = &e->peers[(e->peer_turn + i) % ENGINE_PEERS_MAX];
		size_t len;

		if (!p->used)
			continue;
		*to = p->endpoints;
		len = send_asked(e, p, b, now);
		if (!len)
			len = send_answer(e, p, b, to, now);
		if (len) {
			e->peer_turn = p->index + 1U;
			return len;
		}
	}
	return 0;
}

size_t stream_send(struct engine *e, uint8_t *pkt, uint32_t *to, usec_t now)
{
	struct wire_buf b;
	size_t len = 0;

	wire_init(&b, pkt, stream_dgram_max(e) - seal_tag_len(&e->seal));
	b.at = WIRE_HEAD_LEN;
	e->answers_turn = !e->answers_turn;
	if (e->answers_turn)
		len = send_to_peer(e, &b, to, now);
	if (!len) {
		*to = ENGINE_TO_ALL;
		len = e->peer_count ? send_live(e, &b, now) : 0;
	}
	if (!len && !e->answers_turn)
		len = send_to_peer(e, &b, to, now);
	assert(!b.err);
	return len ? b.at : 0;
}

bool stream_pending(const struct engine *e)
{
	return live_due(e);
}

void stream_report(struct engine *e, struct peer *p, const struct wire_report *m, usec_t now)
{
	if (m->owner != e->id || m->owner_epoch != e->epoch || m->covered > e->head)
		return;
	e->count.reports_received++;
	if (m->heard_ms < e->conf.dead_ms)
		p->hears_us_at = now;
	p->acked = p->acked_known ? max_u64(p->acked, m->covered) : m->covered;
	p->acked_known = true;
	p->credit_len = m->window_len;
	if (!m->gap_count) /* speaks of liveness and progress alone: an answer under way goes on */
		return;
	p->answer = (struct answer){ .window_len = m->window_len };
	for (unsigned int i = 0; i < m->gap_count; i++) {
		struct wire_gap g = { m->gaps[i].from, min_u64(m->gaps[i].to, e->head) };

		if (g.from < g.to && !gap_is_coming(e, p, &g, now))
			p->answer.gaps[p->answer.count++] = g;
	}
}

/* Does the same question wait already, and will p hear the answer? */
static bool is_asked(struct engine *e, const struct peer *p, const struct wire_ask *m)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		const struct peer *q = &e->peers[i];

		for (unsigned int k = 0; k < q->ask_count && q->endpoints & p->endpoints; k++) {
			const struct wire_ask *ask = &q->asks[(q->ask_at + k) % ASKS_MAX];

			if (ask->kind != m->kind || ask->lo != m->lo || ask->hi_incl != m->hi_incl)
				continue;
			e->count.repairs_merged += q != p;
			return true;
		}
	}
	return false;
}

int stream_ask(struct engine *e, struct peer *p, const struct wire_ask *m)
{
	if (m->owner != e->id || m->owner_epoch != e->epoch)
		return 0;
	if (p->ask_count >= ASKS_MAX) /* asked again after a while */
		return 0;
	if (m->kind == WIRE_ASK_LIST ? cache_bucket(m->lo) != cache_bucket(m->hi_incl)
				     : m->hi_incl >= WIRE_BUCKETS)
		return -DROP_VALUE;
	/* A bucket differs: let it not be for our memory. */
	if (m->kind == WIRE_ASK_LIST && !(m->lo & BUCKET_MASK))
		scrub_local(e, cache_bucket(m->lo));
	if (!comparable(e) || is_asked(e, p, m))
		return 0;
	p->asks[(p->ask_at + p->ask_count) % ASKS_MAX] = *m;
	p->ask_count++;
	return 0;
}
