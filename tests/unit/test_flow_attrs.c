/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The optional attributes of packed flows, and expectations: golden dumps, round trips, every
 * truncation, every form that is not canonical, merging.
 */
#include "flow_bed.h"

#define ROUNDS 20000

/* Attributes, each alone behind UDP4 "04 0008". */
#define LABELS "01 03 00ff01"
#define HELPER "02 03 667470"
#define MASTER4 "03 0d 06 0a000009 c0000250 1f90 0015"
#define SEQADJ "04 18 000003e8 00000000 00000004 00000000 00000000 fffffffc"
#define SYNPROXY "06 0c 00000001 00000002 00000003"
#define SCTP4 "00 84 0a000001 0a000002 0001 0002"
#define SCTP_STATE "05 09 04 11223344 55667788"
#define EXP4 "04 06 00000000 0a000002 0000 0014"
#define EXP_MASK "07 06 00000000 0000"
#define A16 "61616161616161616161616161616161"
#define Z8 "00000000 00000000"
#define EXP_REST "08 07 01 0a000001 1234 09 11 6e61742d666f6c6c6f772d6d6173746572"

static struct flow sample_ext(uint8_t proto)
{
	struct flow f = { .has = FLOW_HAS_STATUS,
			  .status = 0x8,
			  .key = { .l3 = 4,
				   .proto = proto,
				   .orig = { .src = { 10, 0, 0, 1 },
					     .dst = { 10, 0, 0, 2 },
					     .sport = htons(1),
					     .dport = htons(2) } } };
	struct flow_ext *x = &f.ext;

	x->labels[1] = 0xff;
	x->labels[2] = 0x01;
	memcpy(x->helper, "ftp", 4);
	x->master = (struct flow_master){ .proto = 6,
					  .orig = { .src = { 10, 0, 0, 9 },
						    .dst = { 192, 0, 2, 80 },
						    .sport = htons(8080),
						    .dport = htons(21) } };
	x->seqadj[0] = (struct flow_seqadj){ .pos = 1000, .after = 4 };
	x->seqadj[1].after = (uint32_t)-4;
	x->sctp = (struct flow_sctp){ .state = 4, .vtag = { 0x11223344, 0x55667788 } };
	x->synproxy = (struct flow_synproxy){ 1, 2, 3 };
	return f;
}

static void test_attributes(void **state)
{
	struct flow f = sample_ext(IPPROTO_UDP);

	(void)state;
	f.has = FLOW_HAS_STATUS | FLOW_HAS_LABELS;
	check(&f, UDP4 "04 0008" LABELS);
	f.has = FLOW_HAS_STATUS | FLOW_HAS_HELPER;
	check(&f, UDP4 "04 0008" HELPER);
	f.has = FLOW_HAS_STATUS | FLOW_HAS_MASTER;
	check(&f, UDP4 "04 0008" MASTER4);
	f.has = FLOW_HAS_STATUS | FLOW_HAS_SEQADJ;
	check(&f, UDP4 "04 0008" SEQADJ);
	f.has = FLOW_HAS_STATUS | FLOW_HAS_SYNPROXY;
	check(&f, UDP4 "04 0008" SYNPROXY);
	f = sample_ext(IPPROTO_SCTP);
	f.has = FLOW_HAS_STATUS | FLOW_HAS_MARK | FLOW_HAS_SCTP | FLOW_HAS_LABELS | FLOW_HAS_HELPER;
	f.mark = 7;
	check(&f, SCTP4 "06 0008 00000007" LABELS HELPER SCTP_STATE);
}

/* What says nothing does not travel, nor what another kernel could not take. */
static void test_attributes_normalised(void **state)
{
	struct flow f = sample_ext(IPPROTO_UDP);
	uint8_t out[FLOW_PACKED_MAX];

	(void)state;
	f.has |= FLOW_HAS_EXT; /* no SCTP, no expectation */
	assert_golden(out, flow_pack(&f, out),
		      UDP4 "04 0008" LABELS HELPER MASTER4 SEQADJ SYNPROXY);
	memset(f.ext.labels, 0, sizeof(f.ext.labels));
	memset(f.ext.helper, 'a', sizeof(f.ext.helper)); /* no end */
	memset(f.ext.seqadj, 0, sizeof(f.ext.seqadj));
	f.ext.synproxy = (struct flow_synproxy){ 0 };
	f.has &= ~(uint32_t)FLOW_HAS_MASTER;
	assert_golden(out, flow_pack(&f, out), UDP4 "00 0008");
	memcpy(f.ext.helper, "a b", 4);
	assert_golden(out, flow_pack(&f, out), UDP4 "00 0008");
	f = sample_ext(IPPROTO_SCTP);
	f.has |= FLOW_HAS_SCTP;
	f.ext.sctp.state = 9;
	assert_golden(out, flow_pack(&f, out), SCTP4 "04 0008 05 09 00 11223344 55667788");
}

static void test_expectation(void **state)
{
	struct flow f = sample_ext(IPPROTO_TCP);
	struct flow_expect *x = &f.ext.expect;
	uint8_t key[FLOW_KEY_MAX], other[FLOW_KEY_MAX];
	struct flow got;

	(void)state;
	f.key.expect = 1;
	f.key.orig = (struct flow_tuple){ .dst = { 10, 0, 0, 2 }, .dport = htons(20) };
	f.has = FLOW_HAS_EXPECT | FLOW_HAS_MASTER | FLOW_HAS_TIMEOUT;
	x->class = 3;
	x->flags = 5;
	assert_int_equal(flow_pack(&f, key), 40);
	assert_int_equal(unpack_hex(EXP4 "04 03 05" MASTER4 EXP_MASK, &got), 0);
	assert_int_equal(got.has, FLOW_HAS_EXPECT | FLOW_HAS_MASTER);
	assert_ext_equal(&got, &f);
	f.has |= FLOW_HAS_HELPER | FLOW_HAS_EXPECT_NAT | FLOW_HAS_EXPECT_FN;
	x->nat_dir = 1;
	memcpy(x->nat_addr, (uint8_t[]){ 10, 0, 0, 1 }, 4);
	x->nat_port = htons(0x1234);
	memcpy(x->fn, "nat-follow-master", 18);
	assert_int_equal(unpack_hex(EXP4 "04 03 05" HELPER MASTER4 EXP_MASK EXP_REST, &got), 0);
	f.has &= ~(uint32_t)FLOW_HAS_TIMEOUT;
	assert_int_equal(got.has, f.has);
	assert_ext_equal(&got, &f);
	/* It is another thing than the flow of the same tuple. */
	flow_key_pack(&f.key, key);
	f.key.expect = 0;
	flow_key_pack(&f.key, other);
	assert_int_not_equal(key[0], other[0]);
	assert_true(flow_is_injectable(&got));
	assert_false(flow_is_closing(&got));
}

static void test_refused(void **state)
{
	static const struct {
		const char *why, *hex;
		int err;
	} cases[] = {
		{ "labels, none", UDP4 "04 0008 01 00", -1 },
		{ "labels, a zero at the end", UDP4 "04 0008 01 02 0100", -1 },
		{ "labels, too many", UDP4 "04 0008 01 11 0000000000000000000000000000000001", -1 },
		{ "helper, no name", UDP4 "04 0008 02 00", -1 },
		{ "helper with its NUL", UDP4 "04 0008 02 02 6100", -1 },
		{ "helper with a blank", UDP4 "04 0008 02 02 6120", -1 },
		{ "helper, 16 bytes", UDP4 "04 0008 02 10 61616161616161616161616161616161", -1 },
		{ "master of the other family",
		  UDP4 "04 0008 03 25 06 fd000000000000000000000000000001 "
		       "20010db8000000000000000000000053 14e9 0035",
		  -1 },
		{ "master cut short", UDP4 "04 0008 03 0c 06 0a000009 c0000250 1f90 00", -1 },
		{ "no adjustment", UDP4 "04 0008 04 18" Z8 Z8 Z8, -1 },
		{ "half an adjustment", UDP4 "04 0008 04 0c 00000001 00000000 00000000", -1 },
		{ "SCTP where there is none", UDP4 "04 0008" SCTP_STATE, -1 },
		{ "SCTP state 9", SCTP4 "04 0008 05 09 09 11223344 55667788", -1 },
		{ "SCTP cut short", SCTP4 "04 0008 05 08 04 11223344 556677", -1 },
		{ "synproxy of nothing", UDP4 "04 0008 06 0c 00000000" Z8, -1 },
		{ "a mask where there is no expectation", UDP4 "04 0008" EXP_MASK, -1 },
		{ "an expectation's NAT likewise", UDP4 "04 0008 08 07 01 0a000001 1234", -1 },
		{ "an expectation without master", EXP4 "04 00 00" EXP_MASK, -1 },
		{ "an expectation without mask", EXP4 "04 00 00" MASTER4, -1 },
		{ "an expectation with labels", EXP4 "04 00 00" LABELS MASTER4 EXP_MASK, -1 },
		{ "an expectation's NAT of nothing",
		  EXP4 "04 00 00" MASTER4 EXP_MASK "08 07 00 00000000 0000", -1 },
		{ "an expectation's NAT, direction 2",
		  EXP4 "04 00 00" MASTER4 EXP_MASK "08 07 02 0a000001 1234", -1 },
		{ "an expectation's function, 32 bytes",
		  EXP4 "04 00 00" MASTER4 EXP_MASK "09 20 " A16 A16, -1 },
		{ "an expectation with a reply", EXP4 "05 00 00" MASTER4 EXP_MASK, -1 },
		{ "an expectation without attributes", EXP4 "00 00 00", -1 },
		{ "an expectation, shape bit 3", EXP4 "0c 00 00" MASTER4 EXP_MASK, -2 },
	};
	struct flow f;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int err = unpack_hex(cases[i].hex, &f);

		if (err != cases[i].err)
			fail_msg("%s: %d", cases[i].why, err);
	}
}

static void random_name(uint64_t *seed, char *name)
{
	size_t len = 1 + rnd_below(seed, FLOW_NAME_LEN - 1);

	memset(name, 0, FLOW_NAME_LEN);
	for (size_t i = 0; i < len; i++)
		name[i] = (char)('!' + rnd_below(seed, '~' - '!'));
}

/* Attributes that say something, any number of them. */
static void random_ext(uint64_t *seed, struct flow *f)
{
	struct flow_ext *x = &f->ext;
	size_t addr_len = f->key.l3 == 4 ? 4 : 16;

	f->has |= (uint32_t)rnd(seed) & (FLOW_HAS_LABELS | FLOW_HAS_HELPER | FLOW_HAS_MASTER |
					 FLOW_HAS_SEQADJ | FLOW_HAS_SYNPROXY);
	if (f->key.proto == IPPROTO_SCTP)
		f->has |= FLOW_HAS_SCTP;
	rnd_fill(seed, x->labels, 1 + rnd_below(seed, FLOW_LABELS_LEN));
	x->labels[0] |= 1;
	random_name(seed, x->helper);
	x->master.proto = (uint8_t)rnd(seed);
	rnd_fill(seed, x->master.orig.src, addr_len);
	rnd_fill(seed, x->master.orig.dst, addr_len);
	x->master.orig.sport = (uint16_t)rnd(seed);
	x->master.orig.dport = (uint16_t)rnd(seed);
	rnd_fill(seed, x->seqadj, sizeof(x->seqadj));
	x->seqadj[1].after |= 1;
	x->sctp.state = (uint8_t)rnd_below(seed, 9);
	rnd_fill(seed, x->sctp.vtag, sizeof(x->sctp.vtag));
	rnd_fill(seed, &x->synproxy, sizeof(x->synproxy));
	x->synproxy.isn |= 1;
}

static struct flow random_flow(uint64_t *seed)
{
	static const uint8_t protos[] = { 1, 6, 17, 47, 132, 132 };
	struct flow f = { .has = FLOW_HAS_STATUS | FLOW_HAS_REPLY,
			  .key = { .l3 = rnd(seed) & 1 ? 4 : 6 } };
	size_t addr_len = f.key.l3 == 4 ? 4 : 16;

	f.key.proto = protos[rnd_below(seed, sizeof(protos))];
	rnd_fill(seed, f.key.orig.src, addr_len);
	rnd_fill(seed, f.key.orig.dst, addr_len);
	flow_inverse(&f.key, &f.reply);
	f.reply.dport ^= rnd(seed) & 1 ? 0x0101 : 0;
	f.status = (uint32_t)rnd(seed);
	random_ext(seed, &f);
	return f;
}

static void test_random(void **state)
{
	uint64_t seed = rnd_seed();

	(void)state;
	for (int i = 0; i < ROUNDS / 10; i++) {
		struct flow f = random_flow(&seed);

		check(&f, NULL);
	}
}

/* Attributes of types that nobody knows are lost by packing again. They come last. */
static bool has_unknown(const uint8_t *p, size_t at, size_t len)
{
	for (; at < len; at++)
		if (p[at] > 9 && at + 2 + p[at + 1 < len ? at + 1 : at] == len)
			return true;
	return false;
}

/* Whatever unpacks packs to the same bytes, unless it has an attribute that nobody knows. */
static void test_one_form(void **state)
{
	uint64_t seed = rnd_seed();
	unsigned int taken = 0;

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct flow f = random_flow(&seed), got;
		uint8_t out[FLOW_PACKED_MAX], again[FLOW_PACKED_MAX];
		size_t len = flow_pack(&f, out), shape;

		for (unsigned int n = rnd_below(&seed, 3); n; n--)
			out[rnd_below(&seed, (unsigned int)len)] ^=
				(uint8_t)(1 << rnd_below(&seed, 8));
		shape = flow_key_len(out, len);
		if (flow_unpack(out, len, &got) || has_unknown(out, shape, len))
			continue;
		taken++;
		assert_int_equal(flow_pack(&got, again), len);
		assert_memory_equal(out, again, len);
	}
	assert_in_range(taken, ROUNDS / 4, ROUNDS);
}

/* The largest flow that can be fits. */
static void test_largest(void **state)
{
	struct flow f = sample_ext(IPPROTO_SCTP);
	uint8_t out[FLOW_PACKED_MAX];

	(void)state;
	f.key.l3 = 6;
	f.key.zone = 1;
	f.has |= FLOW_HAS_EXT | FLOW_HAS_MARK | FLOW_HAS_REPLY;
	f.mark = 1;
	memset(&f.reply, 1, sizeof(f.reply));
	memset(f.ext.labels, 1, sizeof(f.ext.labels));
	memset(f.ext.helper, 'a', sizeof(f.ext.helper) - 1);
	assert_int_equal(flow_pack(&f, out), 41 + 3 + 36 + 4 + 18 + 17 + 39 + 26 + 11 + 14);
	f.key.expect = 1;
	memset(f.ext.expect.fn, 'a', sizeof(f.ext.expect.fn) - 1);
	f.ext.expect.nat_port = 1;
	assert_int_equal(flow_pack(&f, out), 41 + 3 + 17 + 39 + 20 + 21 + 33);
}

static void test_merge(void **state)
{
	struct flow f = sample_tcp4(), d = { .key = f.key };

	(void)state;
	f.has |= FLOW_HAS_HELPER;
	memcpy(f.ext.helper, "sip", 4);
	d.has = FLOW_HAS_LABELS;
	memset(d.ext.labels, 1, sizeof(d.ext.labels));
	flow_merge(&f, &d);
	assert_true((f.has & FLOW_HAS_EXT) == (FLOW_HAS_HELPER | FLOW_HAS_LABELS));
	assert_memory_equal(f.ext.labels, d.ext.labels, sizeof(d.ext.labels));
	assert_string_equal(f.ext.helper, "sip");
	d.has |= FLOW_HAS_ALL; /* the whole entry: it has no helper any more */
	flow_merge(&f, &d);
	assert_true((f.has & (FLOW_HAS_EXT | FLOW_HAS_ALL)) == FLOW_HAS_LABELS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attributes),  cmocka_unit_test(test_attributes_normalised),
		cmocka_unit_test(test_expectation), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_random),      cmocka_unit_test(test_one_form),
		cmocka_unit_test(test_largest),     cmocka_unit_test(test_merge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
