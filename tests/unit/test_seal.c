/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sealing: golden dumps (made by an independent implementation), every flipped bit and every
 * shorter length, wrong, second, colliding and replaced keys, the check of unsealed datagrams; and
 * the replay window against a model.
 */
#include "codec.h"

#include <sodium.h>

#include "seal.h"

#define ROUNDS 50000
#define SENDER 0x1112131415161718
#define EPOCH 0x2122232425262728
#define COUNTER 0x3132333435363738
#define HEAD_REST "1112131415161718 2122232425262728 3132333435363738"
#define BODY_LEN 6 /* a BYE and four bytes more */
#define PKT_MAX 128

typedef uint8_t psk_list[ENGINE_KEYS_MAX][32];

static const psk_list keys = {
	{ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
	  16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31 },
	{ 34, 34, 34, 34, 34, 34, 34, 34, 34, 34, 34, 34, 34, 34, 34, 34,
	  34, 34, 34, 34, 34, 34, 34, 34, 34, 34, 34, 34, 34, 34, 34, 34 },
};

static struct wire_head head_of(const struct seal *s)
{
	return (struct wire_head){ WIRE_VERSION, s->count ? s->id[0] : 0, SENDER, EPOCH, COUNTER };
}

/* A datagram as s sends it. Returns its length. */
static size_t make(struct seal *s, const struct wire_head *h, uint8_t *pkt)
{
	struct wire_buf b;

	wire_init(&b, pkt, PKT_MAX);
	wire_put_head(&b, h);
	wire_put_bytes(&b,
		       "\x08\x00"
		       "body",
		       BODY_LEN);
	assert_int_equal(b.err, 0);
	return seal_close(s, h, pkt, b.at);
}

/* Opens a copy as the engine does: the header is the one that the bytes tell. The body must come
 * out when it opens. */
static int open_copy(const struct seal *s, struct seal_key *cache, const uint8_t *pkt, size_t len)
{
	uint8_t *p = exactly(pkt, len);
	struct wire_head h;
	struct wire_buf b;
	int got;

	wire_init(&b, p, len);
	got = wire_get_head(&b, &h) ? -DROP_MAGIC : seal_open(s, cache, &h, p, len);
	if (got > 0) {
		assert_int_equal(got, WIRE_HEAD_LEN + BODY_LEN);
		assert_memory_equal(p + WIRE_HEAD_LEN,
				    "\x08\x00"
				    "body",
				    BODY_LEN);
	}
	free(p);
	return got;
}

static void test_golden(void **state)
{
	struct seal s;
	struct wire_head h;
	uint8_t pkt[PKT_MAX];
	size_t len;

	(void)state;
	seal_init(&s, keys, 1);
	h = head_of(&s);
	len = make(&s, &h, pkt);
	assert_golden(pkt, len,
		      "c75d 01 f3" HEAD_REST "83ad87c951b8 94e5cb87ba65ed6b85bd477751b6dc6e");
	assert_int_equal(seal_tag_len(&s), 16);
	assert_golden(s.group, sizeof(s.group), "8916fc2dc3328060fba004641f51ff90");
	assert_golden(s.digest, sizeof(s.digest), "3219821284fc2223a417104ef357e30b");
	assert_int_equal(open_copy(&s, NULL, pkt, len), WIRE_HEAD_LEN + BODY_LEN);
	seal_init(&s, keys, 2); /* the hash keys are those of the last one */
	assert_int_equal(s.id[0], 243);
	assert_int_equal(s.id[1], 48);
	assert_golden(s.group, sizeof(s.group), "ced0b130c8aaf8b8cf35d2afc74de23e");
	seal_init(&s, NULL, 0);
	h = head_of(&s);
	len = make(&s, &h, pkt);
	assert_golden(pkt, len, "c75d 01 00" HEAD_REST "0800626f6479 12b70b33aa8eef75");
	assert_int_equal(seal_tag_len(&s), 8);
	assert_golden(s.group, sizeof(s.group), "c3cfe632a34d26b6bba750fecd141390");
	assert_golden(s.digest, sizeof(s.digest), "584afd4cacb435b121e92f5ce011c503");
	assert_int_equal(open_copy(&s, NULL, pkt, len), WIRE_HEAD_LEN + BODY_LEN);
}

/* One bit flipped anywhere, one byte missing or too much: refused, by the reason that fits, sealed
 * or not. */
static void test_damage(void **state)
{
	(void)state;
	for (unsigned int count = 0; count <= 2; count++) {
		struct seal_key cache = { 0 };
		uint8_t pkt[PKT_MAX];
		struct wire_head h;
		struct seal s;
		size_t len;

		seal_init(&s, keys, count);
		h = head_of(&s);
		len = make(&s, &h, pkt);
		for (size_t bit = 0; bit < 8 * len; bit++) {
			int want = bit < 24 ? -DROP_MAGIC : bit < 32 ? -DROP_KEY : -DROP_AUTH;

			pkt[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(open_copy(&s, &cache, pkt, len), want);
			pkt[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		for (size_t cut = WIRE_HEAD_LEN; cut < len; cut++)
			assert_int_equal(open_copy(&s, &cache, pkt, cut),
					 cut < WIRE_HEAD_LEN + seal_tag_len(&s) ? -DROP_SHORT
										: -DROP_AUTH);
		assert_int_equal(open_copy(&s, &cache, pkt, len + 1), -DROP_AUTH);
		assert_false(cache.valid); /* nothing that was forged got into it */
		assert_true(open_copy(&s, &cache, pkt, len) > 0);
		assert_int_equal(cache.valid, count > 0);
	}
}

static void test_wrong_key(void **state)
{
	struct seal none, one, two, both;
	uint8_t pkt[PKT_MAX];
	struct wire_head h;
	size_t len;

	(void)state;
	seal_init(&none, NULL, 0);
	seal_init(&one, &keys[0], 1);
	seal_init(&two, &keys[1], 1);
	seal_init(&both, keys, 2);
	h = head_of(&one);
	len = make(&one, &h, pkt);
	assert_int_equal(open_copy(&two, NULL, pkt, len), -DROP_KEY);
	assert_int_equal(open_copy(&none, NULL, pkt, len), -DROP_KEY);
	assert_true(open_copy(&both, NULL, pkt, len) > 0);
	pkt[3] = two.id[0]; /* told to be of the other key */
	assert_int_equal(open_copy(&both, NULL, pkt, len), -DROP_AUTH);
	pkt[3] = 0;
	assert_int_equal(open_copy(&none, NULL, pkt, len), -DROP_AUTH);
	assert_int_equal(open_copy(&one, NULL, pkt, len), -DROP_KEY);
	h = head_of(&none);
	len = make(&none, &h, pkt);
	assert_int_equal(open_copy(&both, NULL, pkt, len), -DROP_KEY);
	assert_true(open_copy(&none, NULL, pkt, len) > 0);
	h = head_of(&two);
	len = make(&two, &h, pkt);
	assert_true(open_copy(&both, NULL, pkt, len) > 0);
}

/* Rotation on running nodes: add a new first key here, then there, then drop the old one:
 * everything opens all the time. */
static void test_rotation(void **state)
{
	const psk_list swapped_keys = { { 1, 2, 3 }, { 0 } };
	psk_list rotated;
	struct seal a, b;
	struct seal_key from_a = { 0 }, from_b = { 0 };
	uint8_t pkt[PKT_MAX], group[DIGEST_KEY_LEN];

	(void)state;
	memcpy(rotated[0], swapped_keys[0], 32);
	memcpy(rotated[1], keys[0], 32);
	seal_init(&a, keys, 1);
	seal_init(&b, keys, 1);
	memcpy(group, a.group, sizeof(group));
	for (int step = 0; step < 5; step++) {
		struct wire_head h;
		size_t len;

		if (step == 1 || step == 3)
			seal_rekey(&a, rotated, step == 1 ? 2 : 1);
		if (step == 2 || step == 4)
			seal_rekey(&b, rotated, step == 2 ? 2 : 1);
		if (step == 1) /* a sends by a key that b does not have yet */
			continue;
		h = head_of(&a);
		len = make(&a, &h, pkt);
		assert_int_equal(open_copy(&b, &from_a, pkt, len), WIRE_HEAD_LEN + BODY_LEN);
		h = head_of(&b);
		len = make(&b, &h, pkt);
		assert_int_equal(open_copy(&a, &from_b, pkt, len), WIRE_HEAD_LEN + BODY_LEN);
		assert_memory_equal(a.group, group, sizeof(group));
		assert_memory_equal(b.group, group, sizeof(group));
	}
	seal_rekey(&a, NULL, 0); /* to unsealed and back */
	seal_rekey(&b, NULL, 0);
	for (int step = 0; step < 2; step++) {
		struct wire_head h = head_of(&a);
		size_t len = make(&a, &h, pkt);

		assert_int_equal(open_copy(&b, &from_a, pkt, len), WIRE_HEAD_LEN + BODY_LEN);
		seal_rekey(&a, keys, 1);
		seal_rekey(&b, keys, 1);
	}
}

/* Two keys of one id: both open, whichever was used last, and a rotation from one to the other
 * leaves no stale key. */
static void test_colliding_ids(void **state)
{
	struct seal first, second, both;
	struct seal_key cache = { 0 };
	struct wire_head h;
	uint8_t by_first[PKT_MAX], by_second[PKT_MAX];
	size_t len;
	psk_list pair;

	(void)state;
	memcpy(pair, keys, sizeof(pair));
	seal_init(&first, &keys[0], 1);
	for (unsigned int i = 0;; i++) {
		assert_true(i < 65536);
		pair[1][0] = (uint8_t)i;
		pair[1][1] = (uint8_t)(i >> 8);
		seal_init(&second, (const uint8_t(*)[32]) & pair[1], 1);
		if (second.id[0] == first.id[0])
			break;
	}
	seal_init(&both, (const uint8_t(*)[32])pair, 2);
	h = head_of(&first);
	len = make(&first, &h, by_first);
	assert_int_equal(make(&second, &h, by_second), len);
	for (int i = 0; i < 3; i++) {
		assert_true(open_copy(&both, &cache, by_second, len) > 0);
		assert_true(open_copy(&both, NULL, by_second, len) > 0);
		assert_true(open_copy(&both, &cache, by_first, len) > 0);
		assert_true(open_copy(&both, &cache, by_first, len) > 0);
	}
	by_second[len - 1] ^= 1;
	assert_int_equal(open_copy(&both, &cache, by_second, len), -DROP_AUTH);
	by_second[len - 1] ^= 1;
	seal_rekey(&both, (const uint8_t(*)[32]) & pair[1], 1);
	assert_int_equal(open_copy(&both, &cache, by_first, len), -DROP_AUTH);
	assert_true(open_copy(&both, &cache, by_second, len) > 0);
}

/* A cached key is used for its own sender and epoch only, and replaced when another one proves
 * itself. */
static void test_cache(void **state)
{
	struct seal_key cache = { 0 };
	uint8_t pkt[PKT_MAX], key[32];
	struct wire_head h;
	struct seal s;
	size_t len;

	(void)state;
	seal_init(&s, keys, 2);
	h = head_of(&s);
	len = make(&s, &h, pkt);
	assert_true(open_copy(&s, &cache, pkt, len) > 0);
	memcpy(key, cache.key, sizeof(key));
	assert_true(open_copy(&s, &cache, pkt, len) > 0); /* by the cached key, which stays */
	assert_true(cache.valid);
	assert_memory_equal(cache.key, key, sizeof(key));
	for (int i = 0; i < 2; i++) {
		if (i)
			h.epoch++;
		else
			h.sender++;
		h.counter++;
		len = make(&s, &h, pkt);
		assert_true(open_copy(&s, &cache, pkt, len) > 0);
		assert_memory_not_equal(cache.key, key, sizeof(key));
		assert_int_equal(cache.sender, h.sender);
		assert_int_equal(cache.epoch, h.epoch);
	}
	h = head_of(&s);
	len = make(&s, &h, pkt);
	cache.key[0] ^= 1; /* it is another sender's: not touched */
	assert_true(open_copy(&s, &cache, pkt, len) > 0);
	assert_memory_equal(cache.key, key, sizeof(key));
	cache.key[0] ^= 1; /* it is this sender's: relied on, not derived again */
	assert_int_equal(open_copy(&s, &cache, pkt, len), -DROP_AUTH);
}

/* What is sealed shows nothing of the body, and differs from one counter to the next. */
static void test_hidden(void **state)
{
	uint8_t one[PKT_MAX], two[PKT_MAX];
	struct wire_head h;
	struct seal s;
	size_t len;

	(void)state;
	seal_init(&s, keys, 1);
	h = head_of(&s);
	len = make(&s, &h, one);
	h.counter++;
	assert_int_equal(make(&s, &h, two), len);
	assert_memory_not_equal(one + WIRE_HEAD_LEN,
				"\x08\x00"
				"body",
				BODY_LEN);
	assert_memory_not_equal(one + WIRE_HEAD_LEN, two + WIRE_HEAD_LEN, BODY_LEN);
	seal_fini(&s);
	assert_true(sodium_is_zero((const uint8_t *)&s, sizeof(s)));
}

static void test_window_edges(void **state)
{
	struct seal_window w;

	(void)state;
	seal_window_reset(&w, 0);
	assert_false(seal_window_take(&w, 0)); /* counters start at 1 */
	assert_true(seal_window_take(&w, 1));
	assert_false(seal_window_take(&w, 1));
	assert_true(seal_window_take(&w, SEAL_WINDOW_BITS)); /* the oldest place is still 1 */
	assert_false(seal_window_take(&w, 1));
	assert_true(seal_window_take(&w, 2));
	assert_true(seal_window_take(&w, SEAL_WINDOW_BITS + 2)); /* 2 has left, 3 is the oldest */
	assert_false(seal_window_take(&w, 2));
	assert_true(seal_window_take(&w, 3));
	assert_false(seal_window_take(&w, 3));
	assert_true(
		seal_window_take(&w, 2 * SEAL_WINDOW_BITS + 1));  /* a jump that leaves one place */
	assert_false(seal_window_take(&w, SEAL_WINDOW_BITS + 2)); /* it was seen */
	assert_false(seal_window_take(&w, SEAL_WINDOW_BITS + 1)); /* too old, never seen */
	assert_true(seal_window_take(&w, SEAL_WINDOW_BITS + 3));
	assert_true(
		seal_window_take(&w, 1000000)); /* a jump beyond the window forgets all places */
	for (uint64_t c = 1000000 - SEAL_WINDOW_BITS + 1; c < 1000000; c++)
		assert_true(seal_window_take(&w, c));
	assert_false(seal_window_take(&w, 1000000 - SEAL_WINDOW_BITS));
	assert_false(seal_window_take(&w, 1000000));
}

static void test_window_floor(void **state)
{
	struct seal_window w;

	(void)state;
	seal_window_reset(&w, 5000);
	assert_false(seal_window_take(&w, 4999));
	assert_false(seal_window_take(&w, 5000));
	assert_true(seal_window_take(&w, 5002));
	assert_true(seal_window_take(&w, 5001));
	assert_false(
		seal_window_take(&w, 5000)); /* the window reaches below the floor, which stands */
	seal_window_reset(&w, 100);          /* of another epoch: nothing is remembered */
	assert_true(seal_window_take(&w, 5002));
	seal_window_reset(&w, UINT64_MAX - 1);
	assert_true(seal_window_take(&w, UINT64_MAX));
	assert_false(seal_window_take(&w, UINT64_MAX));
	assert_false(seal_window_take(&w, 0)); /* counters never wrap */
	assert_false(seal_window_take(&w, 1));
	seal_window_reset(&w, UINT64_MAX);
	assert_false(seal_window_take(&w, UINT64_MAX));
}

/* Against the rule written plainly: above the floor, not seen, less than a window behind the
 * highest. */
static void window_model(uint64_t seed, uint64_t base)
{
	bool *seen = calloc(8 * ROUNDS, sizeof(*seen));
	uint64_t top = 0;
	struct seal_window w;

	assert_non_null(seen);
	seal_window_reset(&w, base);
	for (int i = 0; i < ROUNDS; i++) {
		static const unsigned int spread[] = { 2, 70, 130, 5000, 9000 };
		uint64_t reach = spread[rnd_below(&seed, 5)];
		uint64_t at =
			top + 1 + rnd_below(&seed, rnd_below(&seed, 300) ? 4 : (unsigned int)reach);
		bool want;

		if (rnd(&seed) & 1)
			at = top - rnd_below(&seed, (unsigned int)reach);
		if (at > 8 * ROUNDS - 1 || at > UINT64_MAX - base)
			continue;
		want = at && !seen[at] && (at > top || top - at < SEAL_WINDOW_BITS);
		assert_int_equal(seal_window_take(&w, base + at), want);
		seen[at] = true;
		if (at > top)
			top = at;
	}
	assert_in_range(top, ROUNDS / 4, 8 * ROUNDS - 1);
	free(seen);
}

static void test_window_model(void **state)
{
	uint64_t seed = rnd_seed();

	(void)state;
	window_model(seed, 0);
	window_model(seed + 1, 63);
	window_model(seed + 2, UINT64_MAX - 8 * ROUNDS);
	window_model(seed + 3, UINT64_MAX - ROUNDS / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),        cmocka_unit_test(test_damage),
		cmocka_unit_test(test_wrong_key),     cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_colliding_ids), cmocka_unit_test(test_cache),
		cmocka_unit_test(test_hidden),        cmocka_unit_test(test_window_edges),
		cmocka_unit_test(test_window_floor),  cmocka_unit_test(test_window_model),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
