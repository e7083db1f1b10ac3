/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys that are quarantined, and what peers say of them (PROTOCOL.md, R96 to R99). Part of struct
 * engine (engine_priv.h), where the mark of the present work is made too.
 */
#ifndef CTSYNCD_QUARANTINE_H
#define CTSYNCD_QUARANTINE_H

#include <string.h>

#include "engine.h"

struct item;
struct peer;

struct aside { /* what a peer last said of a quarantined key */
	bool held, old,
		named;    /* held: it lives; old: of an older epoch; named by the LIST at hand */
	uint64_t version; /* of its life or end; 0 = nothing was said in this epoch */
	uint8_t len, body[FLOW_PACKED_MAX];
};

struct poison {
	uint8_t len, key[FLOW_KEY_MAX];
	bool told;
	struct aside aside[ENGINE_PEERS_MAX];
};

struct suspect {
	uint8_t work; /* WORK_NONE: cleared */
	uint8_t len, key[FLOW_KEY_MAX];
};

struct quarantine {
	unsigned int count, suspect_count, watched; /* watched: suspects not cleared */
	struct poison poison[ENGINE_QUARANTINE_MAX];
	struct suspect suspect[ENGINE_SUSPECTS_MAX];
};

void quarantine_cleared(struct engine *e); /* the work that is marked ended well */
/* What we tell peers of our kernel: 0 if we leave out entries of it, so that they take none of them
 * for dead (R98). */
uint64_t quarantine_kernel_id(const struct engine *e);
bool quarantine_knows(const struct engine *e, const uint8_t *key, size_t keylen);
/* The three ways in which a mirror hears of a key (R97). Each returns false if it is not
 * quarantined: then it is the mirror's. */
bool quarantine_event(struct engine *e, const uint8_t *key, size_t keylen);
bool quarantine_take(struct engine *e, struct peer *p, const struct item *it);
bool quarantine_list(struct engine *e, struct peer *p, const struct item *it);
void quarantine_sweep(struct engine *e, struct peer *p, const struct wire_list *m);
void quarantine_age(struct engine *e, const struct peer *p); /* all of p's is old from now on */
void quarantine_proven(struct engine *e, struct peer *p,
		       unsigned int bucket);                            /* none of it is old */
void quarantine_forget(struct engine *e, const struct peer *p);         /* p's is no more */
uint32_t quarantine_held(const struct engine *e, const struct peer *p); /* flows of p set aside */
/* What they add to the digests of p's mirror. */
uint64_t quarantine_digest(const struct engine *e, const struct peer *p);
uint64_t quarantine_bucket_digest(const struct engine *e, const struct peer *p,
				  unsigned int bucket);

/* What is being worked on, for whoever comes after us. A copy of the key and two stores. */
static inline void mark_begin(struct engine_mark *m, enum engine_work work, const uint8_t *key,
			      size_t keylen)
{
	m->len = (uint8_t)min_u64(keylen, sizeof(m->key));
	memcpy(m->key, key, m->len);
	m->work = work;
	__asm__ volatile("" ::: "memory"); /* there before the work begins, should we die of it */
}

#endif
