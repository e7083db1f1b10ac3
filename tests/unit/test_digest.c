/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keyed hashes: the published vectors of SipHash-2-4, and the layout of a digest item. */
#include "codec.h"

#include <endian.h>
#include <sodium.h>

#include "digest.h"

static const uint8_t key[DIGEST_KEY_LEN] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };

/* Aumasson and Bernstein, "SipHash: a fast short-input PRF", appendix A, and the reference's
 * vectors_sip64. */
static void test_vectors(void **state)
{
	uint8_t in[15];

	(void)state;
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)i;
	assert_int_equal(digest_hash(key, in, 15), 0xa129ca6149be45e5);
	assert_int_equal(digest_hash(key, in, 0), 0x726fdb47dd0e0e31);
	assert_int_equal(digest_hash(key, in, 8), 0x93f5f5799a932462);
}

static void test_item(void **state)
{
	uint8_t in[8 + FLOW_PACKED_MAX];
	uint64_t version = htobe64(0x0102030405060708);

	(void)state;
	memcpy(in, &version, sizeof(version));
	for (size_t i = 8; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7);
	for (size_t len = 0; len <= FLOW_PACKED_MAX; len++)
		assert_int_equal(digest_item(key, 0x0102030405060708, in + 8, len),
				 digest_hash(key, in, 8 + len));
}

static void test_differs(void **state)
{
	const uint8_t flow[] = "twenty bytes of flow";
	uint8_t other[DIGEST_KEY_LEN];
	uint64_t item = digest_item(key, 1, flow, sizeof(flow));

	(void)state;
	memcpy(other, key, sizeof(other));
	other[15] ^= 1;
	assert_int_not_equal(item, digest_item(key, 2, flow, sizeof(flow)));
	assert_int_not_equal(item, digest_item(key, 1, flow, sizeof(flow) - 1));
	assert_int_not_equal(item, digest_item(other, 1, flow, sizeof(flow)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_item),
		cmocka_unit_test(test_differs),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
