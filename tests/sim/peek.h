/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Test-only windows into the engine: read-only views of its tables, for the oracle. Only peek.c
 * includes the private headers of proto/; nothing of this is linked into the daemon.
 */
#ifndef SIM_PEEK_H
#define SIM_PEEK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"

struct peek_key { /* a packed key and its hash under the hash key of some node's tables */
	uint8_t body[FLOW_KEY_MAX];
	uint8_t len;
	uint8_t hash_key[16];
	uint32_t hash;
};

struct peek_rec {
	uint64_t version;
	const uint8_t *body; /* valid until the engine is called again */
	uint8_t len;
	uint8_t tomb;   /* 0 = a flow */
	uint16_t flags; /* F_x */
	bool current;   /* mirror: of the peer's present epoch */
	uint32_t id;    /* own: the kernel's id of its entry, 0 = not known */
	bool mute;      /* own: its end may go unheard */
	bool heir;      /* own: as a claim that left had it, which its entry is to become */
	bool in_kernel; /* mirror, stray: has an entry in this kernel */
	bool expect;    /* an expectation; */
	bool spent;     /* which has no place in this kernel */
	bool waits;     /* stray: nothing is under way for it */
	bool work;      /* mirror: an operation waits to be made for it */
	bool let_go;    /* mirror: of the entry that stands for it this node wrote nothing */
	bool claims;    /* mirror: it waits to take the place of an entry of ours, */
	uint32_t since; /* and no packet may have met that since; s */
};

#define PEEK_RANGES_MAX 128

struct peek_peer {
	uint64_t id, epoch, covered, maxhead, debt, verified;
	usec_t verified_at;
	unsigned int index, range_count;
	struct {
		uint64_t from, to;
	} ranges[PEEK_RANGES_MAX];
	uint32_t deletions; /* remembered */
	uint32_t flows, old_count;
	bool in_sync, complete, primary;
	bool led; /* it is primary, or was the last to be heard so */
};

struct peek_owner {
	uint64_t id, epoch, head, dropped, counter;
	uint64_t rounds; /* of the patrol */
	uint32_t flows, tombs, strays;
	uint64_t work; /* operations that peers' words ask for wait to be made */
	bool complete;
	bool reads; /* its kernel's table is read, or is about to be */
	bool late;  /* the patrol is behind its round */
	enum engine_role role;
};

/* The hash keys that a node begins with, and the bucket that they put a flow in. */
void peek_tables(const struct engine_conf *conf, uint8_t tables[WIRE_TABLES_LEN]);
unsigned int peek_bucket(const uint8_t tables[WIRE_TABLES_LEN], const struct flow_key *key);
void peek_key(const struct engine *e, const struct flow_key *key, struct peek_key *out);
uint64_t peek_sum(const struct peek_rec *r);  /* of the body: key and state */
uint64_t peek_flow_sum(const struct flow *f); /* what that of a record of f would be */
void peek_owner(const struct engine *e, struct peek_owner *o);
usec_t peek_audit_begun(const struct engine *e); /* the last one */
bool peek_local(const struct engine *e, const struct peek_key *key, struct peek_rec *r);
bool peek_stray(const struct engine *e, const struct peek_key *key, struct peek_rec *r);
/* i-th peer slot; false: not used. */
bool peek_peer(const struct engine *e, unsigned int i, struct peek_peer *p);
/* The total of a mirror, from its records alone (section 5). */
uint64_t peek_total(const struct engine *e, unsigned int i);
/* The hash of a key in its tables; is the LIST of that hash's bucket to be asked for? */
uint32_t peek_hash(const struct engine *e, const struct peek_key *key);
bool peek_list_wanted(const struct engine *e, unsigned int i, uint32_t hash);
/* A flow, not a remembered deletion. */
bool peek_mirror(const struct engine *e, unsigned int i, const struct peek_key *key,
		 struct peek_rec *r);
/* At which version of the i-th peer's the key's bucket was proven by a VECTOR (R28); 0 = it was
 * not.
 */
uint64_t peek_proof(const struct engine *e, unsigned int i, const struct peek_key *key);
/* Everything that a datagram of an attacker must not change: tables, coverage, epochs. */
uint64_t peek_fingerprint(const struct engine *e);
/* Of one mirror, but not when it was last proven equal. */
uint64_t peek_mirror_print(const struct engine *e, unsigned int i);
/* Figures of which one moves whenever a key changes its kind. */
uint64_t peek_kinds_print(const struct engine *e);
/* Flips a bit in the memory of some flow: of its key, state or (in a mirror) version. table: 0 the
 * local half, then the mirrors. chance: random bits. False: there is no flow. */
bool peek_flip(struct engine *e, unsigned int table, uint64_t chance);
/* Walks over all tables. NULL, or which invariant does not hold. */
const char *peek_check(const struct engine *e);
/* A datagram of e's own: opens it, and seals it again with what its body has become. Return the
 * length. */
size_t peek_open(const struct engine *e, uint8_t *pkt, size_t len);
size_t peek_close(const struct engine *e, uint8_t *pkt, size_t len);
/* Of how many kinds is the key at once: own, copy (of each mirror), stray in the kernel? More than
 * one is a bug. */
unsigned int peek_kinds(const struct engine *e, const struct peek_key *key);
#endif
