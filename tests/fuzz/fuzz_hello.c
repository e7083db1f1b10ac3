/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The handshake, behind the seal: HELLO and HACK of more nodes than there are places, with right,
 * old, used and wrong challenges, of new and old epochs, with counters seen before, and bodies of
 * the input's own. The oracle is R30 to R33 of PROTOCOL.md: an epoch is agreed only by an answer to
 * one of the last two challenges within 4 s, and one challenge brings one epoch of a node.
 *
 * Decoders: proto/hello.c proto/epoch.c
 * Built of: tests/fuzz/bed.c tests/fuzz/bed_check.c proto/[a-z]*.c
 * Fuzzed with: -fno-sanitize-coverage=trace-cmp
 */
#include "fuzz.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "bed.h"
#include "engine_priv.h"

#define STEPS_MAX 200
#define OPEN_US (4 * USEC_PER_SEC) /* R30 */

struct known { /* what we know of the engine's knowledge of a pen */
	uint64_t epoch;
	uint64_t challenge; /* that brought it */
};

struct party {
	struct bed bed;
	struct known known[BED_PENS];
	uint64_t own_epoch; /* the engine's, when it was given the last datagram */
};

static const struct peer *peer_of(const struct party *v, unsigned int pen)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (v->bed.e->peers[i].used && v->bed.e->peers[i].id == v->bed.pen[pen].head.sender)
			return &v->bed.e->peers[i];
	return NULL;
}

/* When it was first asked, if it is one of the last two. */
static usec_t asked_at(const struct bed *b, uint64_t challenge)
{
	assert(challenge == b->challenge || challenge == b->challenge_old);
	return challenge == b->challenge ? b->challenge_at : b->challenge_old_at;
}

/* Nothing but a right answer may bring an epoch. answer: a HACK that says these two was given. */
static void judge(struct party *v, unsigned int pen, bool answer, uint64_t your_epoch,
		  uint64_t challenge)
{
	for (unsigned int i = 0; i < BED_PENS; i++) {
		const struct peer *p = peer_of(v, i);
		struct known *k = &v->known[i];

		if (!p) /* not known yet, or forgotten (R52); its challenge is none any more */
			k->epoch = 0;
		if (!p || p->epoch == k->epoch)
			continue;
		assert(p->epoch);
		assert(i == pen && answer && your_epoch == v->own_epoch);
		assert(challenge && v->bed.now < asked_at(&v->bed, challenge) + OPEN_US);
		assert(challenge != k->challenge);
		assert(p->epoch == v->bed.pen[i].head.epoch);
		*k = (struct known){ p->epoch, challenge };
	}
}

static void give(struct party *v, unsigned int pen, struct wire_buf *w)
{
	v->own_epoch = v->bed.e->epoch;
	(void)bed_give(&v->bed, pen, w); /* taken or dropped: judge looks */
}

static void name_of(struct party *v, unsigned int pen, char name[WIRE_NAME_MAX + 1])
{
	memcpy(name, v->bed.pen[pen].name, WIRE_NAME_MAX + 1);
}

static void hello(struct party *v, unsigned int pen)
{
	struct wire_hello m = { .challenge = in_u8(&v->bed.in), .kernel_id = 7 };
	uint8_t pkt[BED_PKT_MAX];
	struct wire_buf w;

	name_of(v, pen, m.name);
	bed_head(&v->bed, pen, &w, pkt);
	wire_put_hello(&w, in_u8(&v->bed.in), &m);
	give(v, pen, &w);
	judge(v, pen, false, 0, 0);
}

static uint64_t some_challenge(struct party *v, uint8_t which, unsigned int pen)
{
	switch (which % 8) {
	case 0:
		return v->bed.challenge_old;
	case 1:
		return in_u32(&v->bed.in);
	case 2:
		return v->known[pen].challenge;
	default:
		return v->bed.challenge;
	}
}

static void hack(struct party *v, unsigned int pen)
{
	uint8_t which = in_u8(&v->bed.in);
	struct wire_hack m = { .your_epoch = v->bed.e->epoch,
			       .challenge = some_challenge(v, which, pen),
			       .head = in_u8(&v->bed.in),
			       .kernel_id = which & 8 ? 1 : 7,
			       .tables = { which & 16 } };
	uint8_t pkt[BED_PKT_MAX];
	struct wire_buf w;

	name_of(v, pen, m.name);
	m.dropped = m.head / 2;
	m.your_epoch += (which & 0xf0) == 0xf0;
	bed_head(&v->bed, pen, &w, pkt);
	wire_put_hack(&w, 0, &m);
	give(v, pen, &w);
	judge(v, pen, true, m.your_epoch, m.challenge);
}

/* Type and flags, and then bytes of the input's own. */
static void own_bytes(struct party *v, unsigned int pen)
{
	uint8_t pkt[BED_PKT_MAX], what = in_u8(&v->bed.in);
	struct wire_hack m = { 0 };
	struct wire_buf w, again;

	bed_head(&v->bed, pen, &w, pkt);
	wire_put_u8(&w, what & 1 ? WIRE_HACK : WIRE_HELLO);
	wire_put_u8(&w, what);
	for (unsigned int i = in_u8(&v->bed.in); i && wire_left(&w); i--)
		wire_put_u8(&w, in_u8(&v->bed.in));
	wire_init(&again, pkt, w.at);
	again.at = WIRE_HEAD_LEN + 2;
	wire_get_hack(&again, &m);
	give(v, pen, &w);
	judge(v, pen, what & 1, m.your_epoch, m.challenge);
}

static void restart(struct party *v, unsigned int pen)
{
	struct wire_head *h = &v->bed.pen[pen].head;

	h->epoch += in_u8(&v->bed.in) & 1 ? BED_PENS : -(uint64_t)BED_PENS;
	h->counter = in_u8(&v->bed.in);
}

static void step(struct party *v)
{
	uint8_t what = in_u8(&v->bed.in);
	unsigned int pen = (what >> 4) % BED_PENS;

	switch (what % 8) {
	case 0:
		hello(v, pen);
		break;
	case 1:
	case 2:
		hack(v, pen);
		break;
	case 3:
		own_bytes(v, pen);
		break;
	case 4:
		restart(v, pen);
		break;
	case 5:
		bed_time(&v->bed);
		break;
	case 6:
		bed_send(&v->bed, 1 + what / 16);
		break;
	default: /* a counter seen before */
		v->bed.pen[pen].head.counter -= v->bed.pen[pen].head.counter ? 1 : 0;
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct party *v = calloc(1, sizeof(*v));
	uint8_t mode = size ? data[0] : 0;

	assert(v);
	bed_init(&v->bed, data + (size > 0), size - (size > 0), (enum bed_seal)(mode % 4), true,
		 ROLE_BACKUP);
	bed_send(&v->bed, 1); /* the first HELLO */
	for (unsigned int i = 0; i < STEPS_MAX && !in_over(&v->bed.in); i++)
		step(v);
	bed_check(&v->bed);
	bed_settle(&v->bed);
	bed_fini(&v->bed);
	free(v);
	return 0;
}
