/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sealing: libsodium AEAD over everything but the clear header, which is authenticated too. Keys
 * derive from the pre-shared key, the sender and its epoch; the nonce is the packet counter.
 * Unsealed (key_count 0) a keyed 8-byte check under a public key stands in the tag's place: it
 * finds corruption, it proves nothing. PROTOCOL.md "Sealing". libsodium only here and in digest.c.
 */
#ifndef CTSYNCD_SEAL_H
#define CTSYNCD_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "engine.h"
#include "wire.h"

/* A cache of derived keys of one sender and epoch, and its key id. Zero-initialised = empty. */
struct seal_key {
	bool valid;
	uint8_t id; /* key id on the wire: 1..255, derived from the pre-shared key so that both ends
		       agree */
	uint8_t key[32];
	uint32_t serial; /* struct seal.serial of the pre-shared key that it derives from */
	uint64_t sender, epoch;
};

struct seal {
	uint8_t psk[ENGINE_KEYS_MAX][32];
	uint8_t id[ENGINE_KEYS_MAX];
	unsigned int count; /* 0 = unsealed */
	uint32_t serial[ENGINE_KEYS_MAX],
		last_serial;            /* a number for each key ever loaded: ids may collide */
	uint8_t group[DIGEST_KEY_LEN];  /* hash key of tables, the same on all nodes of the group */
	uint8_t digest[DIGEST_KEY_LEN]; /* hash key of digests */
	struct seal_key own;            /* to seal with; unsealed: the check key */
};

/* Derives an id from each key, and the hash keys of the tables from the last one (a public constant
 * when unsealed): a key that is added in front of it leaves them as they are. */
void seal_init(struct seal *s, const uint8_t (*psk)[32], unsigned int count);

/* Replaces the pre-shared keys; group and digest stay (the tables were built with them). */
void seal_rekey(struct seal *s, const uint8_t (*psk)[32], unsigned int count);

/* The hash keys of the tables, to compare with a peer's: ranges, buckets and digests mean the same
 * on two nodes only if they are equal. And those of a peer, to go on with. */
void seal_tables(const struct seal *s, uint8_t tables[WIRE_TABLES_LEN]);
void seal_tables_set(struct seal *s, const uint8_t tables[WIRE_TABLES_LEN]);

/* Wipes what seals and opens; the keys of tables and digests and the ids stay. */
void seal_hide(struct seal *s);

/* Wipes the keys. */
void seal_fini(struct seal *s);

/* Length of the trailer: 16 sealed, 8 unsealed. */
size_t seal_tag_len(const struct seal *s);

/* Seals pkt in place: WIRE_HEAD_LEN bytes of header (already written, h is the same) and body up to
 * len; the tag goes behind. Returns the total length. */
size_t seal_close(struct seal *s, const struct wire_head *h, uint8_t *pkt, size_t len);

/* Authenticates and opens pkt in place. *cache speeds up repeated calls for one peer (may be NULL).
 * Returns the length of header and body without the tag, or -DROP_KEY, -DROP_AUTH, -DROP_SHORT. */
int seal_open(const struct seal *s, struct seal_key *cache, const struct wire_head *h, uint8_t *pkt,
	      size_t len);

/* So many datagrams are sealed in one epoch, at most, unless engine_conf says fewer: then a new one
 * is begun (epoch.c). */
#define SEAL_COUNTER_MAX (1ULL << 48)

/* Replay window over packet counters, checked after authentication. */
#define SEAL_WINDOW_BITS 4096
struct seal_window {
	uint64_t top;   /* highest counter accepted */
	uint64_t floor; /* counters up to here are refused */
	uint64_t bits[SEAL_WINDOW_BITS / 64];
};

/* Forgets everything; counters up to floor are refused. */
void seal_window_reset(struct seal_window *w, uint64_t floor);

/* Returns true and remembers counter if it is new; false if seen, too old or at most floor. */
bool seal_window_take(struct seal_window *w, uint64_t counter);

#endif
