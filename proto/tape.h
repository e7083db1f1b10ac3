/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flight recorder's tape: what each door of the engine was called with, in order, and a running
 * hash over everything that came out. One entry a call, of whole multiples of 8 bytes:
 *
 *   struct tape_entry, payload, zero to 7 bytes
 *
 * Datagrams are recorded after they were opened, and no pre-shared key is ever on a tape: whoever
 * has a recording has the flows, not the key.
 */
#ifndef CTSYNCD_TAPE_H
#define CTSYNCD_TAPE_H

#include <string.h>

#include "engine.h"
#include "seal.h"

enum tape_door {
	TAPE_KERN = 1, /* arg enum engine_kern_event, extra portid; payload struct flow (flow_len)
			  or nothing */
	TAPE_RECV,     /* arg endpoint, extra length on the wire; payload the opened datagram */
	TAPE_DROP,     /* arg enum engine_drop: it was not opened */
	TAPE_TICK,
	TAPE_CMD,    /* arg enum engine_cmd */
	TAPE_RECONF, /* payload struct tape_conf */
	TAPE_SEND,
	TAPE_OP,
	TAPE_RESULT, /* extra -err; payload struct flow (flow_len) or nothing */
	TAPE_NOTE,
	TAPE_POLICY, /* payload a policy_conf, cut behind its last prefix */
	TAPE_DOORS
};

struct tape_entry {
	uint32_t len; /* of the payload */
	uint8_t door, arg;
	uint16_t zero;
	uint32_t extra, check; /* check: of the words before it, so that a torn entry shows */
	uint64_t now;
	uint64_t hash; /* the trace before this call */
};

struct tape_conf { /* keys are zero in both */
	struct engine_conf conf;
	struct seal seal;
};

/* The room that an entry with len bytes of payload takes. */
static inline size_t tape_room(size_t len)
{
	return sizeof(struct tape_entry) + ((len + 7) & ~(size_t)7);
}

/* Folds len bytes into the trace. */
static inline void tape_mix(struct engine_tape *t, const void *p, size_t len)
{
	const uint8_t *at = p;
	uint64_t h = t->hash ^ len;

	if (t->full == 1)
		return; /* of calls that are not on it */
	while (len) {
		size_t n = len < 8 ? len : 8;
		uint64_t word = 0;

		memcpy(&word, at, n);
		h = (h ^ word) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 29;
		at += n;
		len -= n;
	}
	t->hash = h;
}

static inline void tape_mix_num(struct engine_tape *t, uint64_t v)
{
	tape_mix(t, &v, sizeof(v));
}

uint32_t tape_check(const struct tape_entry *en);

/* Appends an entry. t may be NULL: no recorder. */
void tape_append(struct engine_tape *t, const struct tape_entry *en, const void *payload);

static inline void tape_put(struct engine_tape *t, enum tape_door door, unsigned int arg,
			    usec_t now)
{
	if (__builtin_expect(t != NULL, 0))
		tape_append(t,
			    &(struct tape_entry){
				    .door = (uint8_t)door, .arg = (uint8_t)arg, .now = now },
			    NULL);
}

static inline void tape_put_more(struct engine_tape *t, const struct tape_entry *en,
				 const void *payload)
{
	if (__builtin_expect(t != NULL, 0))
		tape_append(t, en, payload);
}

static inline void tape_mix_recv(struct engine_tape *t, int rc)
{
	if (__builtin_expect(t != NULL, 0))
		tape_mix_num(t, (uint64_t)(int64_t)rc);
}

static inline void tape_mix_sent(struct engine_tape *t, const uint8_t *pkt, size_t len, uint32_t to)
{
	if (__builtin_expect(t == NULL, 1))
		return;
	tape_mix_num(t, to);
	tape_mix(t, pkt, len);
}

/* Outputs, into the trace. */
void tape_op(struct engine_tape *t, const struct engine_op *op);
void tape_note(struct engine_tape *t, const struct engine_note *n);
void tape_reconf(struct engine_tape *t, const struct engine_conf *conf, const struct seal *seal,
		 usec_t now);

/* For who plays a tape: an input that was opened before it was recorded. */
int engine_recv_opened(struct engine *e, unsigned int endpoint, uint8_t *pkt, size_t len,
		       size_t wire_len, usec_t now);

#endif
