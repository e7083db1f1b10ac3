/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sealing of datagrams and the replay window. Owns the pre-shared keys and everything that derives
 * from them. The invariants:
 * - a key is of one sender and one epoch, and an epoch never uses a counter twice, so no nonce is
 * ever used twice;
 * - nothing looks at a body before its tag is proven, and a derived key enters a cache only after
 * it proved a tag, so that forged headers cannot wear a cache out;
 * - key ids are one byte and may collide: whoever holds two keys of one id tries both. A cached key
 * remembers by a serial number which loading of which pre-shared key made it, so that no rotation
 * leaves a stale one in use. Unsealed, `own` holds the public check key. Specification:
 * PROTOCOL.md, section 3.
 */
#include "seal.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#include <sodium.h>

#define CHECK_LEN 8
#define KEY_ID_LEN 8
#define LABEL_SEAL "ctsyncd v1 seal"
#define LABEL_SEAL_LEN (sizeof(LABEL_SEAL) - 1)

_Static_assert(sizeof(((struct seal_key *)0)->key) == crypto_aead_chacha20poly1305_ietf_KEYBYTES,
	       "AEAD key");
_Static_assert(WIRE_TABLES_LEN == 2 * DIGEST_KEY_LEN, "two hash keys");
_Static_assert(WIRE_TAG_MAX == crypto_aead_chacha20poly1305_ietf_ABYTES, "AEAD tag");

static const uint8_t public_psk[32]; /* all zero: stands in where no key is configured */

/* BLAKE2b of a label under a pre-shared key. */
static void derive(uint8_t *out, size_t out_len, const uint8_t psk[32], const void *label,
		   size_t label_len)
{
	int err = crypto_generichash(out, out_len, label, label_len, psk, 32);

	assert(!err);
}

static void derive_named(uint8_t *out, size_t out_len, const uint8_t psk[32], const char *label)
{
	derive(out, out_len, psk, label, strlen(label));
}

static void load(struct seal *s, const uint8_t (*psk)[32], unsigned int count)
{
	assert(count <= ENGINE_KEYS_MAX);
	sodium_memzero(s->psk, sizeof(s->psk));
	sodium_memzero(&s->own, sizeof(s->own));
	s->count = count;
	for (unsigned int i = 0; i < count; i++) {
		uint8_t id[KEY_ID_LEN];

		memcpy(s->psk[i], psk[i], sizeof(s->psk[i]));
		derive_named(id, sizeof(id), psk[i], "ctsyncd key id");
		s->id[i] = (uint8_t)(1 + id[0] % 255);
		s->serial[i] = ++s->last_serial;
	}
	if (!count)
		derive_named(s->own.key, DIGEST_KEY_LEN, public_psk, "ctsyncd v1 check");
}

void seal_init(struct seal *s, const uint8_t (*psk)[32], unsigned int count)
{
	const uint8_t *last = count ? psk[count - 1] : public_psk;

	memset(s, 0, sizeof(*s));
	load(s, psk, count);
	derive_named(s->group, sizeof(s->group), last, "ctsyncd v1 table");
	derive_named(s->digest, sizeof(s->digest), last, "ctsyncd v1 digest");
}

void seal_rekey(struct seal *s, const uint8_t (*psk)[32], unsigned int count)
{
	load(s, psk, count);
}

void seal_tables(const struct seal *s, uint8_t tables[WIRE_TABLES_LEN])
{
	memcpy(tables, s->group, sizeof(s->group));
	memcpy(tables + sizeof(s->group), s->digest, sizeof(s->digest));
}

void seal_tables_set(struct seal *s, const uint8_t tables[WIRE_TABLES_LEN])
{
	memcpy(s->group, tables, sizeof(s->group));
	memcpy(s->digest, tables + sizeof(s->group), sizeof(s->digest));
}

void seal_hide(struct seal *s)
{
	sodium_memzero(s->psk, sizeof(s->psk));
	sodium_memzero(&s->own, sizeof(s->own));
}

void seal_fini(struct seal *s)
{
	sodium_memzero(s, sizeof(*s));
}

size_t seal_tag_len(const struct seal *s)
{
	return s->count ? WIRE_TAG_MAX : CHECK_LEN;
}

static bool key_fits(const struct seal_key *k, const struct wire_head *h, uint32_t serial)
{
	return k->valid && k->serial == serial && k->epoch == h->epoch && k->sender == h->sender;
}

static void key_derive(struct seal_key *k, const struct seal *s, unsigned int slot,
		       const struct wire_head *h)
{
	uint8_t label[LABEL_SEAL_LEN + 2 * sizeof(uint64_t)];
	uint64_t sender = htobe64(h->sender), epoch = htobe64(h->epoch);

	memcpy(label, LABEL_SEAL, LABEL_SEAL_LEN);
	memcpy(label + LABEL_SEAL_LEN, &sender, sizeof(sender));
	memcpy(label + LABEL_SEAL_LEN + sizeof(sender), &epoch, sizeof(epoch));
	derive(k->key, sizeof(k->key), s->psk[slot], label, sizeof(label));
	k->id = s->id[slot];
	k->serial = s->serial[slot];
	k->sender = h->sender;
	k->epoch = h->epoch;
	k->valid = true;
}

static void make_nonce(uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES], uint64_t counter)
{
	uint64_t v = htobe64(counter);

	memset(nonce, 0, 4);
	memcpy(nonce + 4, &v, sizeof(v));
}

static uint64_t check_sum(const struct seal *s, const uint8_t *pkt, size_t len)
{
	return htole64(digest_hash(s->own.key, pkt, len));
}

size_t seal_close(struct seal *s, const struct wire_head *h, uint8_t *pkt, size_t len)
{
	uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
	uint8_t *body = pkt + WIRE_HEAD_LEN;
	uint64_t check;

	assert(len >= WIRE_HEAD_LEN && h->key_id == (s->count ? s->id[0] : 0));
	if (!s->count) {
		check = check_sum(s, pkt, len);
		memcpy(pkt + len, &check, sizeof(check));
		return len + sizeof(check);
	}
	if (!key_fits(&s->own, h, s->serial[0]))
		key_derive(&s->own, s, 0, h);
	make_nonce(nonce, h->counter);
	(void)crypto_aead_chacha20poly1305_ietf_encrypt_detached(body, pkt + len, NULL, body,
								 len - WIRE_HEAD_LEN, pkt,
								 WIRE_HEAD_LEN, NULL, nonce,
								 s->own.key); /* always 0 */
	return len + WIRE_TAG_MAX;
}

static int open_check(const struct seal *s, const uint8_t *pkt, size_t len)
{
	uint64_t check = check_sum(s, pkt, len);

	return memcmp(pkt + len, &check, sizeof(check)) ? -DROP_AUTH : (int)len;
}

/* A failed decryption wipes the body; with only_verify it stays as it is, also when the tag proves
 * right. */
static bool open_with(const struct seal_key *k, uint8_t *pkt, size_t len, uint64_t counter,
		      bool only_verify)
{
	uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
	uint8_t *body = pkt + WIRE_HEAD_LEN;

	make_nonce(nonce, counter);
	return !crypto_aead_chacha20poly1305_ietf_decrypt_detached(only_verify ? NULL : body, NULL,
								   body, len - WIRE_HEAD_LEN,
								   pkt + len, pkt, WIRE_HEAD_LEN,
								   nonce, k->key);
}

/* The first configured key at or behind slot that has this id; s->count if there is none. */
static unsigned int slot_find(const struct seal *s, uint8_t id, unsigned int slot)
{
	while (slot < s->count && s->id[slot] != id)
		slot++;
	return slot;
}

static int open_sealed(const struct seal *s, struct seal_key *cache, const struct wire_head *h,
		       uint8_t *pkt, size_t len)
{
	unsigned int slot = slot_find(s, h->key_id, 0), next;

	for (; slot < s->count; slot = next) {
		struct seal_key fresh;
		bool cached = cache && key_fits(cache, h, s->serial[slot]);
		const struct seal_key *k = cached ? cache : &fresh;

		next = slot_find(s, h->key_id, slot + 1);
		if (!cached)
			key_derive(&fresh, s, slot, h);
		if (next < s->count && !open_with(k, pkt, len, h->counter, true))
			continue;
		if (!open_with(k, pkt, len, h->counter, false))
			break;
		if (cache && !cached)
			*cache = fresh;
		return (int)len;
	}
	return -DROP_AUTH;
}

int seal_open(const struct seal *s, struct seal_key *cache, const struct wire_head *h, uint8_t *pkt,
	      size_t len)
{
	size_t tag_len = seal_tag_len(s);

	if (s->count ? slot_find(s, h->key_id, 0) == s->count : h->key_id != 0)
		return -DROP_KEY;
	if (len < WIRE_HEAD_LEN + tag_len)
		return -DROP_SHORT;
	len -= tag_len;
	return s->count ? open_sealed(s, cache, h, pkt, len) : open_check(s, pkt, len);
}

void seal_window_reset(struct seal_window *w, uint64_t floor)
{
	*w = (struct seal_window){ .top = floor, .floor = floor };
}

/* Clears the places of the count counters behind top: they still speak of those one window length
 * ago. */
static void window_clear(struct seal_window *w, uint64_t count)
{
	uint64_t at = w->top + 1;

	if (count >= SEAL_WINDOW_BITS) {
		memset(w->bits, 0, sizeof(w->bits));
		return;
	}
	while (count) {
		unsigned int bit = at % 64;
		uint64_t span = min_u64(64 - bit, count);

		w->bits[at % SEAL_WINDOW_BITS / 64] &= ~(UINT64_MAX >> (64 - span) << bit);
		at += span;
		count -= span;
	}
}

bool seal_window_take(struct seal_window *w, uint64_t counter)
{
	uint64_t *word = &w->bits[counter % SEAL_WINDOW_BITS / 64];
	uint64_t mask = 1ULL << counter % 64;

	if (counter <= w->floor)
		return false;
	if (counter > w->top) {
		window_clear(w, counter - w->top);
		w->top = counter;
	} else if (w->top - counter >= SEAL_WINDOW_BITS || *word & mask) {
		return false;
	}
	*word |= mask;
	return true;
}
