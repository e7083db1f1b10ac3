/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Datagrams before the seal: what somebody without the key can send to a node with one agreed peer.
 * That is bytes of his own, and what he recorded: genuine datagrams of the peer and of the node
 * itself, whole, changed, cut short, sealed under another key or of an epoch that nobody agreed.
 * All of it must be dropped, and nothing of the engine may be another afterwards but the counters
 * of drops, and when it says HELLO next (R31 of PROTOCOL.md). Meanwhile the peer says more, with
 * gaps in his counter. A group without a key tells all of these too, by their sum: what it cannot
 * tell is a sum made on purpose.
 *
 * Decoders: proto/seal.c
 * Built of: tests/fuzz/bed.c tests/fuzz/bed_check.c proto/[a-z]*.c
 * Fuzzed with: -fno-sanitize-coverage=trace-cmp
 */
#include "fuzz.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "bed.h"
#include "engine_priv.h"

#define STEPS_MAX 50
#define RECORDED_MAX 8
#define GAP_MAX 9000 /* more than the window of counters */

struct record {
	uint8_t pkt[BED_PKT_MAX];
	size_t len;
};

struct eavesdropper {
	struct bed bed;
	struct record record[RECORDED_MAX]; /* the last that the engine took, or sent */
	unsigned int count;
	struct engine before, after;
};

/* What may change when a datagram is dropped. */
static void forget_allowed(struct engine *e, int rc)
{
	memset(e->count.drops, 0, sizeof(e->count.drops));
	e->now = 0;
	if (rc == -DROP_EPOCH) { /* HELLO goes out earlier */
		e->hello_to = 0;
		memset(e->hello_asked, 0, sizeof(e->hello_asked));
		e->challenge_spent = false;
	}
	if (rc == -DROP_SELF) { /* two nodes with one name are told of */
		e->note_count = 0;
		e->clash_at = 0;
		memset(e->notes, 0, sizeof(e->notes));
	}
}

/* Gives the bytes to the engine, which must refuse them. */
static void refuse(struct eavesdropper *v, const uint8_t *p, size_t len)
{
	struct engine *e = v->bed.e;
	uint64_t drops[DROP_COUNT];
	uint8_t *copy = malloc(len ? len : 1);
	int rc;

	assert(copy);
	memcpy(copy, p, len);
	v->before = *e;
	memcpy(drops, e->count.drops, sizeof(drops));
	rc = engine_recv(e, 0, copy, len, v->bed.now);
	assert(rc < 0 && -rc < DROP_COUNT && e->count.drops[-rc] == drops[-rc] + 1);
	v->after = *e;
	forget_allowed(&v->after, rc);
	forget_allowed(&v->before, rc);
	assert(!memcmp(&v->after, &v->before, sizeof(v->after)));
	free(copy);
}

/* ---- What there is to record ---- */

static void record(struct eavesdropper *v, const uint8_t *pkt, size_t len)
{
	struct record *r = &v->record[v->count % RECORDED_MAX];

	if (len > sizeof(r->pkt))
		return;
	memcpy(r->pkt, pkt, len);
	r->len = len;
	v->count++;
}

static void peer_says(struct eavesdropper *v, unsigned int pen, bool bye, unsigned int gap)
{
	struct wire_data m = { .from = 0, .to = 8, .head = 8 };
	struct pen *p = &v->bed.pen[pen];
	uint8_t pkt[BED_PKT_MAX], body[FLOW_PACKED_MAX];
	struct wire_rec r = { .type = WIRE_REC_FLOW, .delta = 1, .timeout_s = 9, .body = body };
	struct wire_buf w;
	struct flow f;
	size_t len;

	p->head.counter += gap;
	bed_head(&v->bed, pen, &w, pkt);
	if (bye) {
		wire_put_u8(&w, WIRE_BYE);
		wire_put_u8(&w, 0);
	} else {
		bed_flow(0, 1, &f);
		r.body_len = flow_pack(&f, body);
		wire_put_data(&w, WIRE_F_COMPLETE, &m);
		(void)wire_put_rec(&w, &r); /* there is room */
	}
	len = seal_close(&p->seal, &p->head, pkt, w.at);
	record(v, pkt, len);
	if (!bye) /* the BYE is recorded under way and comes to nobody but him */
		assert(!engine_recv(v->bed.e, pen, pkt, len, v->bed.now));
}

static void we_say(struct eavesdropper *v)
{
	uint8_t pkt[WIRE_DGRAM_MAX];
	uint32_t to;
	size_t len;

	while ((len = engine_send(v->bed.e, pkt, &to, v->bed.now)))
		record(v, pkt, len);
}

/* ---- What he makes of it ---- */

static void own_bytes(struct eavesdropper *v)
{
	struct fuzz_in *in = &v->bed.in;
	size_t len = in_u16(in) % BED_PKT_MAX;

	if (len > in->len - in->at)
		len = in->len - in->at;
	refuse(v, in->p + in->at, len);
	in->at += len;
}

static void changed(struct eavesdropper *v, const struct record *r)
{
	struct fuzz_in *in = &v->bed.in;
	uint8_t pkt[BED_PKT_MAX], mask = in_u8(in);
	size_t at = in_u16(in) % r->len;

	memcpy(pkt, r->pkt, r->len);
	pkt[at] ^= mask ? mask : 1;
	refuse(v, pkt, r->len);
}

/* The header is another's. The rest is what was sealed for it. */
static void with_another_head(struct eavesdropper *v, const struct record *r)
{
	struct fuzz_in *in = &v->bed.in;
	uint8_t pkt[BED_PKT_MAX];
	struct wire_head h;
	struct wire_buf w;

	memcpy(pkt, r->pkt, r->len);
	wire_init(&w, pkt, r->len);
	(void)wire_get_head(&w, &h); /* it is a whole one */
	h.counter += 1 + in_u8(in);
	if (in_u8(in) & 1)
		h.sender = v->bed.e->id;
	w.at = 0;
	wire_put_head(&w, &h);
	refuse(v, pkt, r->len);
}

/* A member of another group: all is right but the key. */
static void another_key(struct eavesdropper *v)
{
	static const uint8_t psk[1][32] = { { 0xee } };
	struct fuzz_in *in = &v->bed.in;
	struct wire_head h = v->bed.pen[0].head;
	uint8_t pkt[BED_PKT_MAX];
	struct wire_buf w;
	struct seal other;

	seal_init(&other, psk, 1);
	other.id[0] = v->bed.pen[0].seal.id[0]; /* a collision of ids */
	h.key_id = other.id[0];
	h.counter += 1000;
	wire_init(&w, pkt, sizeof(pkt) - WIRE_TAG_MAX);
	wire_put_head(&w, &h);
	for (unsigned int i = in_u8(in); i && wire_left(&w); i--)
		wire_put_u8(&w, in_u8(in));
	refuse(v, pkt, seal_close(&other, &h, pkt, w.at));
}

static void step(struct eavesdropper *v)
{
	struct fuzz_in *in = &v->bed.in;
	uint8_t what = in_u8(in);
	const struct record *r = &v->record[in_u8(in) % min_u64(v->count, RECORDED_MAX)];

	switch (what % 7) {
	case 0:
		own_bytes(v);
		break;
	case 1:
		changed(v, r);
		break;
	case 2:
		refuse(v, r->pkt, r->len);
		break;
	case 3:
		refuse(v, r->pkt, in_u16(in) % r->len);
		break;
	case 4:
		with_another_head(v, r);
		break;
	case 5:
		peer_says(v, 0, false, in_u16(in) % GAP_MAX);
		break;
	default:
		another_key(v);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct eavesdropper *v = malloc(sizeof(*v));
	uint8_t mode = size ? data[0] : 0;

	assert(v);
	v->count = 0;
	bed_init(&v->bed, data + (size > 0), size - (size > 0), (enum bed_seal)(mode % 4), true,
		 ROLE_BACKUP);
	bed_meet(&v->bed);
	peer_says(v, 0, false, 0);
	peer_says(v, 2, true, 0); /* of an epoch that was never agreed */
	we_say(v);
	assert(v->count > 3);
	for (unsigned int i = 0; i < STEPS_MAX && !in_over(&v->bed.in); i++)
		step(v);
	bed_check(&v->bed);
	bed_fini(&v->bed);
	free(v);
	return 0;
}
