/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Datagrams behind the seal: two peers are agreed, and what they say is sealed with the real key
 * under a valid head and counter, so that every byte gets to the message handlers. Bodies are
 * either the input's own bytes or built from a few of them, with versions near those that the
 * mirror holds, which leads deeper. Between them the kernel, verbs, time and reloads take steps.
 *
 * Decoders: proto/wire.c
 * Built of: tests/fuzz/bed.c tests/fuzz/bed_check.c proto/[a-z]*.c
 * Fuzzed with: -fno-sanitize-coverage=trace-cmp
 */
#include "fuzz.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "bed.h"
#include "engine_priv.h"

#define STEPS_MAX 400
#define CHECK_EVERY 64
#define PEERS 2

/* A version near base: up to 7 below, up to 56 above. */
static uint64_t near(struct fuzz_in *in, uint64_t base)
{
	uint8_t v = in_u8(in);

	if (v == 0xff)
		return UINT64_MAX;
	v %= 64;
	return base + v < 7 ? 0 : base + v - 7;
}

static const struct peer *peer_of(const struct bed *b, unsigned int pen)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (b->e->peers[i].used && b->e->peers[i].id == b->pen[pen].head.sender)
			return &b->e->peers[i];
	assert(!"the pens are peers");
	return NULL;
}

static void put_flow_rec(struct bed *b, struct wire_buf *w, uint64_t delta, bool list)
{
	uint8_t type = in_u8(&b->in), key = in_u8(&b->in), variant = in_u8(&b->in);
	uint8_t body[FLOW_PACKED_MAX];
	struct wire_rec r = { .type = (uint8_t)(1 + type % 4), .delta = delta, .body = body };
	struct flow f;

	if (list)
		r.type = WIRE_REC_FLOW;
	bed_flow(key % BED_KEYS, variant, &f);
	if (r.type == WIRE_REC_FLOW) {
		r.timeout_s = f.timeout_s;
		r.body_len = flow_pack(&f, body);
	} else {
		r.body_len = flow_key_pack(&f.key, body);
	}
	if (type & 0x80) /* an odd one */
		body[r.body_len - 1]++;
	(void)wire_put_rec(w, &r); /* at the end of the datagram they stop fitting */
}

static void put_data(struct bed *b, const struct peer *p, struct wire_buf *w)
{
	uint8_t flags = in_u8(&b->in), count = in_u8(&b->in) % 32;
	struct wire_data m = { .from = near(&b->in, p->covered), .digest = 0 };

	m.to = near(&b->in, m.from + 7);
	m.head = flags & WIRE_F_DIGEST ? m.to : near(&b->in, m.to + 7);
	m.dropped = flags & 0x40 ? near(&b->in, p->covered) : 0;
	m.digest = flags & WIRE_F_DIGEST ? cache_digest(p->mirror) : 0;
	wire_put_data(w, flags, &m);
	for (unsigned int i = 0; i < count; i++)
		put_flow_rec(b, w, in_u8(&b->in) % 4, false);
}

/* The range is that of one key's bucket, or smaller. */
static void put_list(struct bed *b, const struct peer *p, struct wire_buf *w)
{
	uint8_t what = in_u8(&b->in), key[FLOW_KEY_MAX], count = in_u8(&b->in) % 16;
	struct wire_list m = { .version = near(&b->in, p->covered + 7) };
	struct flow f;
	uint32_t hash;

	bed_flow(what % BED_KEYS, 0, &f);
	hash = cache_hash(p->mirror, key, flow_key_pack(&f.key, key));
	m.lo = what & 0x40 ? hash : hash & ~0x3fffffU;
	m.hi_incl = what & 0x80 ? hash : hash | 0x3fffffU;
	m.dropped = min_u64(m.version, 3);
	wire_put_list(w, WIRE_F_COMPLETE, &m);
	for (unsigned int i = 0; i < count; i++) {
		if (what & 0x20) { /* the one that is asked for, not any */
			uint8_t body[FLOW_PACKED_MAX];
			struct wire_rec r = { .type = WIRE_REC_FLOW, .body = body };

			bed_flow(what % BED_KEYS, in_u8(&b->in), &f);
			r.delta = in_u8(&b->in) % 16;
			r.body_len = flow_pack(&f, body);
			(void)wire_put_rec(w, &r); /* at the end they stop fitting */
			continue;
		}
		put_flow_rec(b, w, in_u8(&b->in) % 16, true);
	}
}

static void put_vector(struct bed *b, const struct peer *p, struct wire_buf *w)
{
	uint8_t what = in_u8(&b->in);
	struct wire_vector m = { .version = near(&b->in, p->covered + 7) };

	m.first = (uint16_t)(in_u16(&b->in) % WIRE_BUCKETS);
	m.count = (uint16_t)min_u64(80, WIRE_BUCKETS - m.first);
	wire_put_vector(w, WIRE_F_COMPLETE, &m);
	for (unsigned int i = m.first; i < m.first + m.count; i++) {
		wire_put_u64(w, cache_bucket_digest(p->mirror, i) + (what & 1 && i % 8 == 0));
		wire_put_u64(w, what & 2 ? p->changed[i] : m.version);
	}
}

static void put_report(struct bed *b, struct wire_buf *w)
{
	uint8_t what = in_u8(&b->in);
	struct wire_report m = { .owner = b->e->id, .owner_epoch = b->e->epoch };
	uint64_t at;

	m.covered = at = near(&b->in, what & 1 ? b->e->head : 0);
	m.maxhead = b->e->head;
	m.window_len = what & 2 ? in_u16(&b->in) : 1 << 20;
	m.heard_ms = what & 4 ? UINT32_MAX : 5;
	m.gap_count = (uint8_t)((what >> 3) % (WIRE_GAPS_MAX + 1));
	for (unsigned int i = 0; i < m.gap_count; i++) {
		m.gaps[i].from = at += in_u8(&b->in) % 8;
		m.gaps[i].to = at += in_u8(&b->in) % 32;
	}
	wire_put_report(w, WIRE_F_COMPLETE | (what & WIRE_F_PRIMARY), &m);
}

static void put_ask(struct bed *b, struct wire_buf *w)
{
	uint8_t what = in_u8(&b->in), key[FLOW_KEY_MAX];
	struct wire_ask m = { .owner = b->e->id,
			      .owner_epoch = b->e->epoch,
			      .kind = WIRE_ASK_LIST };
	struct flow f;

	bed_flow(what % BED_KEYS, 0, &f);
	m.lo = cache_hash(b->e->local, key, flow_key_pack(&f.key, key));
	m.hi_incl = m.lo | 0x3fffffU;
	m.lo &= what & 0x40 ? ~0U : ~0x3fffffU;
	if (what & 0x80) {
		m.kind = WIRE_ASK_VECTOR;
		m.lo = what & 0x3f;
		m.hi_incl = WIRE_BUCKETS - 1;
	}
	wire_put_ask(w, 0, &m);
}

static void put_hello(struct bed *b, unsigned int pen, struct wire_buf *w)
{
	struct wire_hello m = { .challenge = in_u8(&b->in), .kernel_id = 2 };

	memcpy(m.name, b->pen[pen].name, sizeof(m.name));
	wire_put_hello(w, 0, &m);
}

static void put_audit(struct bed *b, struct wire_buf *w)
{
	wire_put_audit(w, WIRE_F_COMPLETE,
		       &(struct wire_audit){ b->e->id, b->e->epoch, in_u8(&b->in) % 8 });
}

static void put_finding(struct bed *b, struct wire_buf *w)
{
	uint8_t what = in_u8(&b->in), entry[FLOW_PACKED_MAX], record[FLOW_PACKED_MAX];
	struct wire_finding x = { .kind = (uint8_t)(what % 4),
				  .differs = in_u8(&b->in),
				  .refused = what >> 2,
				  .owner = { (char)(what & 0x40 ? 'a' : 0) },
				  .entry = entry,
				  .record = record };
	struct flow f;

	bed_flow(what % BED_KEYS, what, &f);
	x.entry_len = what & 0x10 ? (uint8_t)flow_pack(&f, entry) : 0;
	x.record_len = what & 0x20 ? (uint8_t)flow_pack(&f, record) : 0;
	if (what & 0x80 && x.entry_len)
		entry[x.entry_len - 1]++;
	(void)wire_put_finding(w, &x); /* it fits */
}

static void put_findings(struct bed *b, struct wire_buf *w)
{
	uint8_t what = in_u8(&b->in);
	struct wire_findings m = { .asker = b->e->id,
				   .asker_epoch = b->e->epoch,
				   .ticket = b->e->inquiry.ticket + (what >> 6) / 2 };

	m.state = what % 4;
	m.count = m.state == WIRE_AUDIT_OVER ? (what >> 2) % 10 : 0;
	m.by[m.count % 3] = m.count;
	wire_put_findings(w, WIRE_F_COMPLETE, &m);
	for (unsigned int i = 0; i < m.count; i++)
		put_finding(b, w);
}

static void put_raw(struct bed *b, struct wire_buf *w)
{
	uint16_t len = in_u16(&b->in);

	for (unsigned int i = 0; i < len && !in_over(&b->in) && wire_left(w); i++)
		wire_put_u8(w, in_u8(&b->in));
}

/* The peer runs anew, from another kernel or the same. */
static void restart(struct bed *b, unsigned int pen)
{
	b->pen[pen].head.epoch += BED_PENS;
	b->pen[pen].head.counter = 0;
	bed_hack(b, pen, in_u8(&b->in) & 1 ? b->challenge : b->challenge_old);
}

static void datagram(struct bed *b, uint8_t what, unsigned int pen)
{
	const struct peer *p = peer_of(b, pen);
	uint8_t pkt[BED_PKT_MAX];
	struct wire_buf w;

	bed_head(b, pen, &w, pkt);
	switch (what) {
	case 0:
		put_raw(b, &w);
		break;
	case 1:
	case 2:
	case 3:
		put_data(b, p, &w);
		break;
	case 4:
		put_list(b, p, &w);
		break;
	case 5:
		put_vector(b, p, &w);
		break;
	case 6:
		put_report(b, &w);
		break;
	case 7:
		put_ask(b, &w);
		break;
	case 8:
		put_hello(b, pen, &w);
		break;
	case 16:
		put_audit(b, &w);
		break;
	default:
		put_findings(b, &w);
		break;
	}
	if (!w.err)
		(void)bed_give(b, pen, &w); /* taken or dropped: bed_check judges */
}

static void step(struct bed *b)
{
	uint8_t v = in_u8(&b->in), what = v % 16;

	switch (what) {
	case 9:
		restart(b, (v >> 4) % PEERS);
		break;
	case 10:
		bed_verb(b);
		break;
	case 11:
		bed_time(b);
		break;
	case 12:
		bed_kernel(b);
		break;
	case 13:
		bed_send(b, 1 + v / 16);
		break;
	case 14:
		bed_ops(b, 1 + v / 4);
		break;
	case 15:
		bed_reload(b);
		break;
	case 8:
		datagram(b, v & 0x80 ? 16 + v / 32 % 2 : 8, (v >> 4) % PEERS);
		break;
	default:
		datagram(b, what, (v >> 4) % PEERS);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bed *b = malloc(sizeof(*b));
	uint8_t mode = size ? data[0] : 0;

	assert(b);
	bed_init(b, data + (size > 0), size - (size > 0), (enum bed_seal)(mode % 4), mode & 4,
		 mode & 8 ? ROLE_PRIMARY : ROLE_BACKUP);
	bed_meet(b);
	for (unsigned int i = 0; i < STEPS_MAX && !in_over(&b->in); i++) {
		step(b);
		if (i % CHECK_EVERY == CHECK_EVERY - 1)
			bed_check(b);
	}
	bed_check(b);
	bed_settle(b);
	bed_check(b);
	bed_fini(b);
	free(b);
	return 0;
}
