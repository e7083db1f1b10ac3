/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fuzzers of the engine share: an engine, a kernel that answers its operations, pens that
 * write datagrams with valid heads and seals, and a check of everything the engine must keep true
 * whatever it is fed. An input is a program: bytes that a target reads as steps. When it is used
 * up every read gives zero.
 */
#ifndef CTSYNCD_FUZZ_BED_H
#define CTSYNCD_FUZZ_BED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"
#include "seal.h"

#define BED_PENS 5 /* more than ENGINE_PEERS_MAX */
#define BED_KEYS 32
#define BED_ENTRIES 64 /* what the kernel holds at most */
#define BED_OPS_MAX 64 /* operations in one batch */
#define BED_PKT_MAX 2048
#define BED_SEND_MAX 4000 /* datagrams that one instant may bring: more is a loop without end */
#define BED_OP_MAX 40000  /* likewise operations, and looks for one */
#define BED_FLOWS_MAX 200

struct fuzz_in {
	const uint8_t *p;
	size_t len, at;
};

uint8_t in_u8(struct fuzz_in *in);
uint16_t in_u16(struct fuzz_in *in);
uint32_t in_u32(struct fuzz_in *in);
bool in_over(const struct fuzz_in *in);

/* Somebody who has the key: another node, or one that plays it. */
struct pen {
	struct seal seal;
	struct wire_head head;
	char name[WIRE_NAME_MAX + 1];
};

struct bed_entry {
	bool present;
	struct flow flow;
	usec_t expire_at;
};

struct bed {
	struct fuzz_in in;
	struct engine *e;
	struct engine_conf conf;
	struct seal reader; /* opens what the engine sends */
	struct pen pen[BED_PENS];
	usec_t now;
	uint64_t challenge, challenge_old; /* of the last two different HELLOs */
	usec_t challenge_at, challenge_old_at;
	uint64_t epoch, counter; /* of the last datagram that the engine sent */
	bool dumping;
	unsigned int dump_at;
	struct bed_entry entry[BED_ENTRIES];
	uint64_t sent_types; /* bitmap: messages sent so far */
};

enum bed_seal { BED_UNSEALED, BED_KEY_A, BED_KEYS_AB, BED_KEYS_BA };

/* An engine that knows nobody. */
void bed_init(struct bed *b, const uint8_t *data, size_t size, enum bed_seal seal, bool hot,
	      enum engine_role role);
void bed_fini(struct bed *b);

/* The same with pens 0 and 1 agreed as peers and heard, and the first dump over. */
void bed_meet(struct bed *b);

/* A step of the kernel, of a verb, of time, of a reload, as the input says. */
void bed_kernel(struct bed *b);
void bed_verb(struct bed *b);
void bed_time(struct bed *b);
void bed_reload(struct bed *b);

/* One of BED_KEYS flows; variant changes everything but its key. */
void bed_flow(unsigned int i, uint8_t variant, struct flow *f);

/* The head of a datagram of pen i into pkt, with the next counter. */
void bed_head(struct bed *b, unsigned int i, struct wire_buf *w, uint8_t pkt[BED_PKT_MAX]);
/* Seals what w holds and gives it to the engine, from a block of its own length. */
int bed_give(struct bed *b, unsigned int i, struct wire_buf *w);
void bed_hack(struct bed *b, unsigned int i, uint64_t challenge);

/* Takes what the engine sends, at most max datagrams, and judges it. */
void bed_send(struct bed *b, unsigned int max);
/* Takes operations, at most max, and answers them. */
void bed_ops(struct bed *b, unsigned int max);
/* Until the engine has nothing more to say: it must come to that. */
void bed_settle(struct bed *b);
/* Everything that holds at any time. Aborts with a word if it does not. */
void bed_check(const struct bed *b);

#endif
