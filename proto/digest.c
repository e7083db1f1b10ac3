/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keyed hashes. One function of keys places flows in the tables and buckets, another of (version,
 * flow) feeds the digests; both are SipHash-2-4, so that nobody who does not know the group's key
 * can make flows collide. Every node of a group must get the same number from the same bytes: the
 * eight output bytes are read little-endian on every machine. Specification: PROTOCOL.md, sections
 * 3 and 5. Owns nothing.
 */
#include "digest.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#include <sodium.h>

#include "flow.h"

_Static_assert(DIGEST_KEY_LEN == crypto_shorthash_KEYBYTES, "SipHash key");
_Static_assert(sizeof(uint64_t) == crypto_shorthash_BYTES, "SipHash output");

uint64_t digest_hash(const uint8_t key[DIGEST_KEY_LEN], const void *p, size_t len)
{
	uint8_t out[crypto_shorthash_BYTES];
	uint64_t v;

	(void)crypto_shorthash(out, p, len, key); /* always 0 */
	memcpy(&v, out, sizeof(v));
	return le64toh(v);
}

uint64_t digest_item(const uint8_t key[DIGEST_KEY_LEN], uint64_t version, const uint8_t *packed,
		     size_t len)
{
	uint8_t item[sizeof(uint64_t) + FLOW_PACKED_MAX];
	uint64_t v = htobe64(version);

	assert(len <= FLOW_PACKED_MAX);
	memcpy(item, &v, sizeof(v));
	memcpy(item + sizeof(v), packed, len);
	return digest_hash(key, item, sizeof(v) + len);
}
