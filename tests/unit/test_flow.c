/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The packed form of flows and keys: golden dumps, round trips, every truncation, every form that
 * is not canonical; and the small questions about a flow (merge, inverse, timeouts, states).
 */
#include "flow_bed.h"

#define ROUNDS 20000

#define TCP4 "00 06 0a000001 c0000250 9c40 01bb"
#define TCP4_STATE "00 000e 03 79 23 33"
#define UDP6                                                                                       \
	"03 11 fd000000000000000000000000000001 20010db8000000000000000000000053 14e9 0035 012c 01"
#define UDP6_STATE "03 019e"
#define UDP6_REPLY "20010db8000000000000000000000053 20010db80000000000000000000000ff 0035 0400"
#define UDP6_MARK "deadbeef"
#define ICMP4 "00 01 0a000001 0a000002 4711 0800"

static void test_golden(void **state)
{
	struct flow f = sample_tcp4();

	(void)state;
	check(&f, TCP4 TCP4_STATE);
	f = sample_udp6();
	check(&f, UDP6 UDP6_STATE UDP6_REPLY UDP6_MARK);
	f = sample_icmp();
	check(&f, ICMP4 "00 000a");
	flow_inverse(&f.key,
		     &f.reply); /* an echo reply with the same id is the inverse: not carried */
	f.has |= FLOW_HAS_REPLY;
	check(&f, ICMP4 "00 000a");
	assert_int_equal(f.reply.sport, htons(0x4711));
	assert_int_equal(f.reply.dport, htons(0x0000));
	f.reply.sport = htons(1); /* the id was translated */
	check(&f, ICMP4 "01 000a 0a000002 0a000001 0001 0000");
}

/* DNAT shows in the source of the reply, port translation in its ports: each alone makes the reply
 * travel. */
static void test_reply_differs(void **state)
{
	uint8_t out[FLOW_PACKED_MAX];
	struct flow f = sample_tcp4();
	size_t plain = flow_pack(&f, out);

	(void)state;
	f.has |= FLOW_HAS_REPLY;
	flow_inverse(&f.key, &f.reply);
	assert_int_equal(flow_pack(&f, out), plain);
	f.reply.src[3] ^= 1;
	assert_int_equal(flow_pack(&f, out), plain + 12);
	check(&f, TCP4 "01 000e 03 79 23 33 c0000251 0a000001 01bb 9c40");
	f.reply.src[3] ^= 1;
	f.reply.dst[0] ^= 1;
	check(&f, TCP4 "01 000e 03 79 23 33 c0000250 0b000001 01bb 9c40");
	f.reply.dst[0] ^= 1;
	f.reply.sport ^= htons(1);
	check(&f, TCP4 "01 000e 03 79 23 33 c0000250 0a000001 01ba 9c40");
	f.reply.sport ^= htons(1);
	f.reply.dport ^= htons(1);
	check(&f, TCP4 "01 000e 03 79 23 33 c0000250 0a000001 01bb 9c41");
}

/* Packing leaves out what another node must not see and what has no second form. */
static void test_normalised(void **state)
{
	struct flow f = sample_tcp4();
	uint8_t out[FLOW_PACKED_MAX];

	(void)state;
	f.key.zone_dir = 2; /* the default zone has no direction */
	f.has |= FLOW_HAS_MARK;
	f.status = UINT32_MAX;
	f.tcp = (struct flow_tcp){ .state = 10, .wscale = { 15, 255 }, .flags = { 0xff, 0 } };
	assert_golden(out, flow_pack(&f, out), TCP4 "00 25bf 00 ee ff 00");
	f.has = FLOW_HAS_TIMEOUT; /* nothing but a timeout known: the rest is zero, not what lies in
				     the struct */
	f.mark = 5;
	assert_golden(out, flow_pack(&f, out), TCP4 "00 0000 00 00 00 00");
}

static void test_refused(void **state)
{
	static const struct {
		const char *why, *hex;
		int err;
	} cases[] = {
		{ "reply that is the inverse", UDP4 "01 0008 0a000002 0a000001 0002 0001", -1 },
		{ "mark of zero", UDP4 "02 0008 00000000", -1 },
		{ "mark cut short", UDP4 "02 0008 000000", -1 },
		{ "reply cut short", UDP4 "01 0008 0a000002 0a000001 0002 00", -1 },
		{ "status outside of the mask", UDP4 "00 0048", -1 },
		{ "status outside of the mask, high", UDP4 "00 4008", -1 },
		{ "trailing byte", UDP4 "00 0008 00", -1 },
		{ "trailing byte behind the mark", UDP4 "02 0008 00000001 00", -1 },
		{ "attributes announced, none there", UDP4 "04 0008", -1 },
		{ "attribute without length", UDP4 "04 0008 20", -1 },
		{ "attribute cut short", UDP4 "04 0008 20 02 00", -1 },
		{ "attributes out of order", UDP4 "04 0008 21 00 20 00", -1 },
		{ "attribute twice", UDP4 "04 0008 20 00 20 00", -1 },
		{ "attribute of type 0", UDP4 "04 0008 00 00", -1 },
		{ "mandatory attribute", UDP4 "04 0008 a0 00", -2 },
		{ "mandatory attribute behind an optional one", UDP4 "04 0008 20 01 07 a1 00", -2 },
		{ "shape bit 3", UDP4 "08 0008", -2 },
		{ "shape bit 7", UDP4 "80 0008", -2 },
		{ "key shape bit 3", "08 11 0a000001 0a000002 0001 0002 00 0008", -1 },
		{ "key shape bit 7", "80 11 0a000001 0a000002 0001 0002 00 0008", -1 },
		{ "zone of zero", "02 11 0a000001 0a000002 0001 0002 0000 00 00 0008", -1 },
		{ "zone direction 3", "02 11 0a000001 0a000002 0001 0002 0001 03 00 0008", -1 },
		{ "TCP state 10", TCP4 "00 000e 0a 79 23 33", -1 },
		{ "window scale 15, original", TCP4 "00 000e 03 f9 23 33", -1 },
		{ "window scale 15, reply", TCP4 "00 000e 03 7f 23 33", -1 },
		{ "TCP without its state", TCP4 "00 000e 03 79 23", -1 },
		{ "nothing", "", -1 },
	};
	struct flow f;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int err = unpack_hex(cases[i].hex, &f);

		if (err != cases[i].err)
			fail_msg("%s: %d", cases[i].why, err);
	}
	assert_int_equal(unpack_hex(UDP4 "00 0008", &f), 0);
}

static void test_unknown_attributes(void **state)
{
	uint8_t big[FLOW_PACKED_MAX + 1];
	size_t len = unhex(UDP4 "04 0008 20 e9", big);
	struct flow f, plain;

	(void)state;
	assert_int_equal(unpack_hex(UDP4 "06 000e 00000007", &f), -1);
	assert_int_equal(unpack_hex(UDP4 "02 000e 00000007", &plain), 0);
	assert_int_equal(unpack_hex(UDP4 "06 000e 00000007 0a 00 20 02 aaaa 7f 01 bb", &f), 0);
	assert_flow_equal(&f, &plain);
	assert_int_equal(f.mark, 7);
	memset(big + len, 0, sizeof(big) - len);
	big[len - 1] = (uint8_t)(FLOW_PACKED_MAX - len);
	assert_int_equal(flow_unpack(big, FLOW_PACKED_MAX, &f), 0);
	big[len - 1]++;
	assert_int_equal(flow_unpack(big, FLOW_PACKED_MAX + 1, &f), -1);
}

static void test_inverse(void **state)
{
	static const struct {
		uint8_t proto, type, answer;
	} icmp[] = {
		{ 1, 0, 8 },   { 1, 8, 0 },      { 1, 13, 14 },    { 1, 14, 13 },
		{ 1, 15, 16 }, { 1, 16, 15 },    { 1, 17, 18 },    { 1, 18, 17 },
		{ 1, 3, 3 },   { 1, 128, 128 },  { 58, 128, 129 }, { 58, 129, 128 },
		{ 58, 8, 8 },  { 58, 135, 135 },
	};
	struct flow_key key = sample_tcp4().key;
	struct flow_tuple t;

	(void)state;
	flow_inverse(&key, &t);
	assert_memory_equal(t.src, key.orig.dst, 16);
	assert_memory_equal(t.dst, key.orig.src, 16);
	assert_int_equal(t.sport, key.orig.dport);
	assert_int_equal(t.dport, key.orig.sport);
	key.orig.sport = htons(0xabcd);
	for (size_t i = 0; i < sizeof(icmp) / sizeof(icmp[0]); i++) {
		key.proto = icmp[i].proto;
		key.orig.dport = htons((uint16_t)(icmp[i].type << 8 | 5));
		flow_inverse(&key, &t);
		assert_int_equal(t.sport, htons(0xabcd));
		assert_int_equal(t.dport, htons((uint16_t)(icmp[i].answer << 8 | 5)));
	}
}

static struct flow random_flow(uint64_t *seed)
{
	static const uint8_t protos[] = { 1, 6, 6, 6, 17, 17, 47, 50, 58, 132, 136, 0, 255 };
	struct flow f = { .key.l3 = rnd(seed) & 1 ? 4 : 6 };
	size_t addr_len = f.key.l3 == 4 ? 4 : 16;

	f.key.proto = protos[rnd_below(seed, sizeof(protos))];
	if (rnd_below(seed, 3) == 0)
		f.key.zone = (uint16_t)rnd(seed);
	if (f.key.zone)
		f.key.zone_dir = (uint8_t)rnd_below(seed, 3);
	rnd_fill(seed, f.key.orig.src, addr_len);
	rnd_fill(seed, f.key.orig.dst, addr_len);
	f.key.orig.sport = (uint16_t)rnd(seed);
	f.key.orig.dport = (uint16_t)rnd(seed);
	f.has = (uint32_t)rnd(seed) & 0x3f;
	flow_inverse(&f.key, &f.reply);
	if (rnd(seed) & 1)
		((uint8_t *)&f.reply.src)[rnd_below(seed, (unsigned int)addr_len)] ^= 0x40;
	if (rnd(seed) & 1)
		f.reply.dport ^= 0x0101;
	f.status = (uint32_t)rnd(seed);
	f.timeout_s = (uint32_t)rnd(seed);
	f.id = (uint32_t)rnd(seed);
	f.mark = rnd(seed) & 1 ? 0 : (uint32_t)rnd(seed);
	f.tcp.state = (uint8_t)rnd_below(seed, 10);
	f.tcp.wscale[0] = (uint8_t)rnd_below(seed, 15);
	f.tcp.wscale[1] = (uint8_t)rnd_below(seed, 15);
	f.tcp.flags[0] = (uint8_t)rnd(seed);
	f.tcp.flags[1] = (uint8_t)rnd(seed);
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

/* Whatever unpacks packs to the same bytes: damage makes another flow or none, never a second form
 * of one. */
static void test_one_form(void **state)
{
	uint64_t seed = rnd_seed();
	unsigned int taken = 0;

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct flow f = random_flow(&seed), got;
		uint8_t out[FLOW_PACKED_MAX], again[FLOW_PACKED_MAX];
		size_t len = flow_pack(&f, out), shape = flow_key_len(out, len);

		for (unsigned int n = rnd_below(&seed, 3); n; n--)
			out[rnd_below(&seed, (unsigned int)len)] ^=
				(uint8_t)(1 << rnd_below(&seed, 8));
		shape = flow_key_len(out, len);
		if (flow_unpack(out, len, &got) || out[shape] & 4)
			continue;
		taken++;
		assert_int_equal(flow_pack(&got, again), len);
		assert_memory_equal(out, again, len);
	}
	assert_in_range(taken, ROUNDS / 4, ROUNDS);
}

static void test_merge(void **state)
{
	struct flow f = sample_tcp4(), d = { .has = FLOW_HAS_TIMEOUT, .key = f.key };
	struct flow fresh = { .key = f.key };

	(void)state;
	d.timeout_s = 60;
	d.status = 0x8; /* not carried */
	d.mark = 9;
	flow_merge(&f, &d);
	assert_int_equal(f.timeout_s, 60);
	assert_int_equal(f.status, 0x400e);
	assert_int_equal(f.mark, 0);
	assert_int_equal(f.tcp.state, 3);
	assert_false(f.has & (FLOW_HAS_MARK | FLOW_HAS_REPLY));
	d.has = FLOW_HAS_STATUS | FLOW_HAS_MARK | FLOW_HAS_TCP | FLOW_HAS_ID | FLOW_HAS_REPLY;
	d.tcp.state = 4;
	d.id = 77;
	d.reply.sport = 5;
	flow_merge(&f, &d);
	assert_int_equal(f.status, 0x400e); /* SEEN_REPLY and ASSURED stay */
	assert_int_equal(f.mark, 9);
	assert_int_equal(f.tcp.state, 4);
	assert_int_equal(f.tcp.wscale[0], 0);
	assert_int_equal(f.id, 77);
	assert_int_equal(f.reply.sport, 5);
	assert_int_equal(f.timeout_s, 60);
	d.mark = 0; /* carried: the mark was cleared */
	flow_merge(&f, &d);
	assert_int_equal(f.mark, 0);
	fresh.status = 0xffff; /* nothing known yet: not merged */
	flow_merge(&fresh, &d);
	assert_int_equal(fresh.status, 0x8);
	assert_int_equal(fresh.has, d.has);
}

static void test_timeouts(void **state)
{
	static const uint32_t tcp[] = { 120, 120, 60, 432000, 120, 60, 30, 120, 10, 120, 120, 120 };
	static const uint32_t sctp[] = { 10, 10, 3, 3, 210, 3, 3, 3, 30, 10 };
	struct flow_timeouts t;
	struct flow f = { .has = FLOW_HAS_TCP | FLOW_HAS_STATUS, .key = { .l3 = 4, .proto = 6 } };

	(void)state;
	flow_timeouts_default(&t);
	for (uint8_t i = 0; i < sizeof(tcp) / sizeof(tcp[0]); i++) {
		f.tcp.state = i;
		assert_int_equal(flow_full_timeout(&t, &f), tcp[i]);
	}
	f.tcp.state = 255;
	assert_int_equal(flow_full_timeout(&t, &f), 120);
	for (int lite = 0; lite < 2; lite++) {
		f.key.proto = lite ? IPPROTO_UDPLITE : IPPROTO_UDP;
		f.status = 0xa; /* answered is not yet a stream */
		assert_int_equal(flow_full_timeout(&t, &f), 30);
		f.status = 0xe;
		assert_int_equal(flow_full_timeout(&t, &f), 120);
	}
	t.icmp = 31;
	t.icmpv6 = 32;
	f.key.proto = IPPROTO_ICMP;
	assert_int_equal(flow_full_timeout(&t, &f), 31);
	f.key.proto = IPPROTO_ICMPV6;
	assert_int_equal(flow_full_timeout(&t, &f), 32);
	f.key.proto = IPPROTO_GRE;
	assert_int_equal(flow_full_timeout(&t, &f), 180);
	assert_int_equal(flow_timer(&f), FLOW_TIMER_LOST);
	f.status = 0xa;
	assert_int_equal(flow_full_timeout(&t, &f), 30);
	f.key.proto = IPPROTO_SCTP;
	assert_int_equal(flow_full_timeout(&t, &f), 10); /* state unknown */
	f.has |= FLOW_HAS_SCTP;
	for (uint8_t i = 0; i < sizeof(sctp) / sizeof(sctp[0]); i++) {
		f.ext.sctp.state = i;
		assert_int_equal(flow_full_timeout(&t, &f), sctp[i]);
	}
	f.key.proto = IPPROTO_ESP;
	assert_int_equal(flow_full_timeout(&t, &f), 600);
	assert_int_equal(flow_timer(&f), FLOW_TIMER_LIVE);
	f.key.proto = IPPROTO_TCP;
	f.status |= 0x400;
	assert_int_equal(flow_full_timeout(&t, &f), 600);
	f.has |= FLOW_HAS_TIMEOUT;
	f.timeout_s = 1234;
	assert_int_equal(flow_full_timeout(&t, &f), 1234);
	assert_int_equal(flow_timer(&f), FLOW_TIMER_GIVEN);
	f.status = 0;
	f.key.expect = 1;
	assert_int_equal(flow_full_timeout(&t, &f), 1234);
	assert_int_equal(flow_timer(&f), FLOW_TIMER_GIVEN);
}

static void test_states(void **state)
{
	static const char closing[] = "0000111110", injectable[] = "0011111110";
	struct flow f = { .key = { .l3 = 4, .proto = IPPROTO_TCP } };

	(void)state;
	for (uint8_t i = 0; i < 10; i++) {
		f.tcp.state = i;
		assert_int_equal(flow_is_closing(&f), closing[i] == '1');
		assert_int_equal(flow_is_injectable(&f), injectable[i] == '1');
	}
	f.key.proto = IPPROTO_UDP; /* what lies in tcp is not looked at */
	f.tcp.state = 7;
	assert_false(flow_is_closing(&f));
	f.tcp.state = 1;
	assert_true(flow_is_injectable(&f));
	f.key.proto = IPPROTO_SCTP;
	for (uint8_t i = 0; i < 10; i++) {
		f.has = FLOW_HAS_SCTP;
		f.ext.sctp.state = i;
		assert_int_equal(flow_is_closing(&f), "0100011100"[i] == '1');
		assert_int_equal(flow_is_injectable(&f), "0011111110"[i] == '1');
		f.has = 0; /* its tags are not known */
		assert_false(flow_is_injectable(&f));
		assert_false(flow_is_closing(&f));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_reply_differs),
		cmocka_unit_test(test_normalised),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_unknown_attributes),
		cmocka_unit_test(test_inverse),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_one_form),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_timeouts),
		cmocka_unit_test(test_states),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
