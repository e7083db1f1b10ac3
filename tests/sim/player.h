/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Plays a tape of the flight recorder: calls the doors of a restored engine as they were called,
 * and compares the trace at each step. Test-only; includes the private headers of proto/.
 */
#ifndef SIM_PLAYER_H
#define SIM_PLAYER_H

#include <stdio.h>

#include "engine.h"
#include "engine_priv.h"
#include "tape.h"

#define PLAYER_OPS_MAX 1024

struct player {
	struct engine *e;
	struct engine_tape trace; /* holds no entries, only the hash */
	uint64_t step;            /* calls made */
	FILE *out;                /* NULL: silent; else each input and what came of it */
	usec_t start_at;
	struct engine_op ops[PLAYER_OPS_MAX]; /* handed out, not yet answered; a ring */
	unsigned int op_at, op_count;
};

enum player_end {
	PLAYER_DONE,
	PLAYER_DIFFERS, /* before step+1 the trace is not the recorded one */
	PLAYER_BROKEN,  /* the tape holds what no recorder writes */
};

/* Starts with an engine in the state in which the tape began, and the trace of then. */
void player_init(struct player *p, struct engine *e, uint64_t hash, usec_t start_at);

/* The next entry of the tape at *at; NULL at the end, and when it is broken: *at then is not
 * t->used. */
const struct tape_entry *player_next(const struct engine_tape *t, uint64_t *at);

/* Makes one call. */
enum player_end player_step(struct player *p, const struct tape_entry *en);

/* Plays the whole tape. */
enum player_end player_run(struct player *p, const struct engine_tape *t);

/* Prints what an entry was, in one line; names the flows only when it is asked to. */
void player_print(FILE *f, const struct tape_entry *en, uint64_t step, usec_t start_at);

/* Does the entry speak of that flow? */
bool player_touches(const struct tape_entry *en, const uint8_t *key, size_t keylen);

#define PLAYER_KEYS_MAX 16
struct player_keys { /* the first flows that something was found about */
	unsigned int count;
	uint8_t len[PLAYER_KEYS_MAX];
	uint8_t key[PLAYER_KEYS_MAX][FLOW_KEY_MAX];
};
void player_keys_add(struct player_keys *k, const uint8_t *key, size_t keylen);

/* Prints the flows in which two engines differ, as many as there is room for in keys. Returns how
 * many there are. */
uint64_t player_diff(FILE *f, struct engine *was, struct engine *is, struct player_keys *keys);

/* What a LIST is about to be applied to. */
struct player_range {
	struct cache *mirror; /* NULL: the entry is no LIST, or of nobody known */
	uint32_t lo, hi_incl;
	uint32_t count;
	uint8_t *recs; /* struct rec of the largest size, count times */
	char peer[WIRE_NAME_MAX + 1];
};
void player_range_take(struct player_range *r, struct engine *e, const struct tape_entry *en);
/* Prints what the LIST changed, and frees. */
void player_range_tell(struct player_range *r, FILE *f, struct player_keys *keys);
void player_range_free(struct player_range *r);

/* A packed flow or key as text. */
void player_flow(char *buf, size_t len, const uint8_t *body, size_t body_len);

#endif
