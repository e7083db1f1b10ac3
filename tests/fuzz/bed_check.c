/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What must hold of an engine whatever it was fed: what it sends decodes, its tables are whole, its
 * figures are those of its records, no key is of two kinds at once, ranges are in order, limits are
 * kept. Reads the engine's private parts, changes nothing.
 */
#include "bed.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_priv.h"

static void wrong(const char *what)
{
	(void)fprintf(stderr, "bed: %s\n", what);
	abort();
}

static void must(bool is, const char *what)
{
	if (!is)
		wrong(what);
}

/* ---- What it sends ---- */

static void sent_records(struct wire_buf *w, bool flows_only)
{
	struct wire_rec r;

	while (wire_get_rec(w, &r)) {
		must(!flows_only || r.type == WIRE_REC_FLOW, "a LIST of more than flows was sent");
		must(!mirror_rec_check(&r), "a malformed record was sent");
	}
}

static void sent_hello(struct bed *b, const struct wire_hello *m)
{
	if (m->challenge == b->challenge)
		return;
	b->challenge_old = b->challenge;
	b->challenge_old_at = b->challenge_at;
	b->challenge = m->challenge;
	b->challenge_at = b->now;
}

static void sent_vector(struct wire_buf *w)
{
	struct wire_vector m;

	wire_get_vector(w, &m);
	must(m.count && wire_left(w) == m.count * 16U, "an odd VECTOR was sent");
}

static void sent_findings(struct wire_buf *w)
{
	struct wire_findings m;

	wire_get_findings(w, &m);
	for (unsigned int i = 0; i < m.count; i++)
		wire_get_finding(w, &(struct wire_finding){ 0 });
	must(!wire_left(w), "odd FINDINGS were sent");
}

static void sent_body(struct bed *b, struct wire_buf *w)
{
	uint8_t type = wire_get_u8(w), flags = wire_get_u8(w);
	struct wire_hello hello;

	b->sent_types |= 1ULL << type;
	switch (type) {
	case WIRE_HELLO:
		wire_get_hello(w, &hello);
		sent_hello(b, &hello);
		break;
	case WIRE_HACK:
		wire_get_hack(w, &(struct wire_hack){ 0 });
		break;
	case WIRE_DATA:
		wire_get_data(w, flags, &(struct wire_data){ 0 });
		sent_records(w, false);
		break;
	case WIRE_REPORT:
		wire_get_report(w, &(struct wire_report){ 0 });
		break;
	case WIRE_LIST:
		wire_get_list(w, &(struct wire_list){ 0 });
		sent_records(w, true);
		break;
	case WIRE_VECTOR:
		sent_vector(w);
		break;
	case WIRE_ASK:
		wire_get_ask(w, &(struct wire_ask){ 0 });
		break;
	case WIRE_AUDIT:
		wire_get_audit(w, &(struct wire_audit){ 0 });
		break;
	case WIRE_FINDINGS:
		sent_findings(w);
		break;
	default:
		must(type == WIRE_BYE, "an unknown message was sent");
		break;
	}
	must(!w->err, "a message that does not decode was sent");
}

static void sent_one(struct bed *b, uint8_t *pkt, size_t len, uint32_t to)
{
	struct wire_head h;
	struct wire_buf w;
	int rc;

	must(len <= b->conf.dgram_max && to, "a datagram too large, or to nobody, was sent");
	wire_init(&w, pkt, len);
	must(!wire_get_head(&w, &h) && h.sender == b->e->id && h.epoch == b->e->epoch,
	     "a wrong head was sent");
	must(h.counter > (h.epoch == b->epoch ? b->counter : 0), "a counter was used again");
	b->epoch = h.epoch;
	b->counter = h.counter;
	rc = seal_open(&b->reader, NULL, &h, pkt, len);
	must(rc > 0, "what was sent does not open");
	wire_init(&w, pkt, (size_t)rc);
	w.at = WIRE_HEAD_LEN;
	sent_body(b, &w);
}

void bed_send(struct bed *b, unsigned int max)
{
	uint8_t pkt[WIRE_DGRAM_MAX];
	uint32_t to;
	size_t len;

	for (unsigned int i = 0; i < max; i++) {
		len = engine_send(b->e, pkt, &to, b->now);
		if (!len)
			return;
		sent_one(b, pkt, len, to);
	}
	must(max < BED_SEND_MAX, "it sends without end");
}

/* ---- What it holds ---- */

struct tally {
	uint64_t flows, tombs, kern, mute, unknown, refused, old;
};

static void tally_rec(const struct rec *r, struct tally *t)
{
	must(!(r->flags & F_NAMED), "a mark of a LIST was left behind");
	if (r->tomb) {
		t->tombs++;
		return;
	}
	t->flows++;
	t->kern += (r->flags & F_KERN) != 0;
	t->mute += (r->flags & F_MUTE) != 0;
	t->unknown += (r->flags & F_UNKNOWN) != 0;
	t->refused += (r->flags & F_REFUSED) != 0;
}

static void is_of_one_kind(struct engine *e, const struct peer *p, const struct rec *r)
{
	struct peer *q;

	if (r->tomb || (p && !(r->flags & F_KERN)))
		return;
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct rec *other;

		q = &e->peers[i];
		if (!q->used || q == p)
			continue;
		other = cache_find(q->mirror, r->body, r->keylen, r->hash);
		must(!other || other->tomb || !(other->flags & F_KERN), "a key is of two kinds");
	}
	must(!p || !own_find(e, r->body, r->keylen, r->hash), "a copy is our own");
}

/* p: whose mirror; NULL for the local half and for strays in the kernel. */
static void tally_cache(struct engine *e, struct cache *c, const struct peer *p, struct tally *t)
{
	const char *broken = cache_check(c);

	if (broken)
		wrong(broken);
	*t = (struct tally){ 0 };
	for (uint32_t pos = 0, end;; pos = end + 1) {
		for (struct rec *r = cache_chain(c, pos, &end); r; r = cache_chain_next(c, r)) {
			tally_rec(r, t);
			t->old += p && !r->tomb && r->gen != p->gen;
			if (p || c == e->local || (r->flags & F_KERN))
				is_of_one_kind(e, p, r);
			must(c != e->strays || r->tomb || !own_find(e, r->body, r->keylen, r->hash),
			     "a stray is our own");
		}
		if (end == UINT32_MAX)
			return;
	}
}

static void check_ranges(const struct peer *p)
{
	uint64_t last = p->covered;

	must(p->range_count <= RANGES_MAX, "too many ranges");
	for (unsigned int i = 0; i < p->range_count; i++) {
		must(p->ranges[i].from > last && p->ranges[i].to > p->ranges[i].from,
		     "ranges are not in order");
		last = p->ranges[i].to;
	}
	must(p->maxhead >= last, "more is covered than there is");
}

static void check_peer(struct engine *e, const struct peer *p, struct tally *t)
{
	must(p->id != e->id, "a peer is ourselves");
	tally_cache(e, p->mirror, p, t);
	check_ranges(p);
	must(t->kern == p->copies, "number of copies");
	must(t->old == p->old_count, "number of flows of old epochs");
	must(t->tombs == cache_list_count(p->mirror, CACHE_LIST_TOMB), "a deletion is not listed");
	must(t->tombs <= DELETIONS_MAX, "too many deletions remembered");
	must(t->flows <= BED_FLOWS_MAX, "a mirror beyond the limit of flows");
	must(p->ask_count <= ASKS_MAX && p->answer.count <= WIRE_GAPS_MAX, "too much to answer");
}

void bed_check(const struct bed *b)
{
	struct engine *e = b->e;
	uint64_t refused = 0;
	unsigned int peers = 0;
	struct tally t;

	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		if (!e->peers[i].used)
			continue;
		check_peer(e, &e->peers[i], &t);
		refused += t.refused;
		peers++;
	}
	must(peers == e->peer_count, "number of peers");
	must(refused == e->refused, "number of refused flows");
	tally_cache(e, e->local, NULL, &t);
	must(t.mute == e->mute, "number of mute flows");
	must(t.flows <= BED_FLOWS_MAX, "more own flows than the limit");
	tally_cache(e, e->strays, NULL, &t);
	must(t.unknown == e->unclaimed, "number of flows of unknown origin");
}
