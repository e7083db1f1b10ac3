/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keyed 64-bit hashes (SipHash-2-4, libsodium): of keys for the tables, of flows for the digests.
 */
#ifndef CTSYNCD_DIGEST_H
#define CTSYNCD_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_KEY_LEN 16

/* Hash of len bytes under key. */
uint64_t digest_hash(const uint8_t key[DIGEST_KEY_LEN], const void *p, size_t len);

/* What one flow adds to its bucket's sum: keyed hash of (version, packed flow). len <=
 * FLOW_PACKED_MAX. PROTOCOL.md "Digest". */
uint64_t digest_item(const uint8_t key[DIGEST_KEY_LEN], uint64_t version, const uint8_t *packed,
		     size_t len);

#endif
