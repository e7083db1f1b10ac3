/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The codec of datagrams: a golden dump of the header, of every message and of the records, their
 * round trips, every truncation when reading, every too small buffer when writing, every value out
 * of its range.
 */
#include "codec.h"

#include "wire.h"

#define ROUNDS 20000
#define BUF_MAX 1024

#define GOLDEN_HEAD "c75d 01 2a 1112131415161718 2122232425262728 3132333435363738"
#define ZERO_16 "00000000000000000000000000000000"
#define ZERO_64 ZERO_16 ZERO_16 ZERO_16 ZERO_16
#define GOLDEN_HELLO                                                                               \
	"01 01 0102030405060708 1112131415161718 00000003 03 667731" ZERO_64 ZERO_64 "000000000000"
#define GOLDEN_HACK                                                                                \
	"02 02 0102030405060708 1112131415161718 0000000000000100 00000000000000ff "               \
	"2122232425262728 80000000 03 667732 "                                                     \
	"3132333435363738 4142434445464748 5152535455565758 6162636465666768"
#define GOLDEN_DATA                                                                                \
	"03 07 0000000000000010 0000000000000020 0000000000000020 000000000000000f "               \
	"4142434445464748"
#define GOLDEN_REPORT                                                                              \
	"04 00 0102030405060708 1112131415161718 0000000000000010 0000000000000040 00020000 "      \
	"ffffffff 02 0000000000000010 0000000000000012 0000000000000030 "                          \
	"0000000000000040 0000000000000909 05a4"
#define REPORT_TAIL_LEN 10
#define GOLDEN_LIST "05 02 80000000 80ffffff 0000000000000100 0000000000000011"
#define GOLDEN_VECTOR                                                                              \
	"06 00 0000000000000100 0000000000000011 03fe 0002 4142434445464748 0000000000000099 "     \
	"5152535455565758 0000000000000100"
#define GOLDEN_ASK_LIST "07 00 0102030405060708 1112131415161718 01 80000000 ffffffff"
#define GOLDEN_ASK_VECTOR "07 00 0102030405060708 1112131415161718 02 00000000 000003ff"
#define GOLDEN_AUDIT "09 03 0102030405060708 1112131415161718 0000000000000005"
#define GOLDEN_FINDINGS                                                                            \
	"0a 02 0102030405060708 1112131415161718 0000000000000005 03 00000000000007d0 "            \
	"0000000000000001 0000000000000002 0000000000000003 0000000000000004 00"

/* Every message in one place: m is what was put, or what was got. */
struct message {
	uint8_t type, flags;
	union {
		struct wire_hello hello;
		struct wire_hack hack;
		struct wire_data data;
		struct wire_report report;
		struct wire_list list;
		struct wire_vector vector;
		struct wire_ask ask;
		struct wire_audit audit;
		struct wire_findings findings;
	} m;
	uint64_t pairs[4];
};

static void put_vector(struct wire_buf *b, const struct message *msg)
{
	wire_put_vector(b, msg->flags, &msg->m.vector);
	for (unsigned int i = 0; i < 2U * msg->m.vector.count; i++)
		wire_put_u64(b, msg->pairs[i]);
}

static void put_message(struct wire_buf *b, const struct message *msg)
{
	switch (msg->type) {
	case WIRE_HELLO:
		wire_put_hello(b, msg->flags, &msg->m.hello);
		break;
	case WIRE_HACK:
		wire_put_hack(b, msg->flags, &msg->m.hack);
		break;
	case WIRE_DATA:
		wire_put_data(b, msg->flags, &msg->m.data);
		break;
	case WIRE_REPORT:
		wire_put_report(b, msg->flags, &msg->m.report);
		break;
	case WIRE_LIST:
		wire_put_list(b, msg->flags, &msg->m.list);
		break;
	case WIRE_VECTOR:
		put_vector(b, msg);
		break;
	case WIRE_AUDIT:
		wire_put_audit(b, msg->flags, &msg->m.audit);
		break;
	case WIRE_FINDINGS:
		wire_put_findings(b, msg->flags, &msg->m.findings);
		break;
	default:
		wire_put_ask(b, msg->flags, &msg->m.ask);
		break;
	}
}

/* Reads one message of the bytes as a receiver does. Returns the cursor's error. */
static int get_message(struct wire_buf *b, struct message *msg)
{
	memset(msg, 0, sizeof(*msg));
	msg->type = wire_get_u8(b);
	msg->flags = wire_get_u8(b);
	if (msg->type == WIRE_HELLO)
		wire_get_hello(b, &msg->m.hello);
	else if (msg->type == WIRE_HACK)
		wire_get_hack(b, &msg->m.hack);
	else if (msg->type == WIRE_DATA)
		wire_get_data(b, msg->flags, &msg->m.data);
	else if (msg->type == WIRE_REPORT)
		wire_get_report(b, &msg->m.report);
	else if (msg->type == WIRE_LIST)
		wire_get_list(b, &msg->m.list);
	else if (msg->type == WIRE_VECTOR)
		wire_get_vector(b, &msg->m.vector);
	else if (msg->type == WIRE_AUDIT)
		wire_get_audit(b, &msg->m.audit);
	else if (msg->type == WIRE_FINDINGS)
		wire_get_findings(b, &msg->m.findings);
	else
		wire_get_ask(b, &msg->m.ask);
	for (unsigned int i = 0; i < 2U * msg->m.vector.count && msg->type == WIRE_VECTOR; i++)
		msg->pairs[i % 4] = wire_get_u64(b);
	return b->err;
}

static int get_bytes(const uint8_t *p, size_t len, struct message *msg)
{
	uint8_t *copy = exactly(p, len);
	struct wire_buf b;
	int err;

	wire_init(&b, copy, len);
	err = get_message(&b, msg);
	free(copy);
	return err;
}

static const struct {
	struct message msg;
	const char *golden;
} samples[] = {
	{ { .type = WIRE_HELLO,
	    .flags = WIRE_F_PRIMARY,
	    .m.hello = { 0x0102030405060708, 0x1112131415161718, 3, "fw1" } },
	  GOLDEN_HELLO },
	{ { .type = WIRE_HACK,
	    .flags = WIRE_F_COMPLETE,
	    .m.hack = { 0x0102030405060708, 0x1112131415161718, 256, 255, 0x2122232425262728,
			0x80000000, "fw2", "12345678ABCDEFGHQRSTUVWXabcdefgh" } },
	  GOLDEN_HACK },
	{ { .type = WIRE_DATA,
	    .flags = WIRE_F_PRIMARY | WIRE_F_COMPLETE | WIRE_F_DIGEST,
	    .m.data = { 16, 32, 32, 15, 0x4142434445464748 } },
	  GOLDEN_DATA },
	{ { .type = WIRE_REPORT,
	    .m.report = { 0x0102030405060708,
			  0x1112131415161718,
			  16,
			  64,
			  131072,
			  UINT32_MAX,
			  2,
			  { { 16, 18 }, { 48, 64 } },
			  0x909,
			  1444 } },
	  GOLDEN_REPORT },
	{ { .type = WIRE_LIST,
	    .flags = WIRE_F_COMPLETE,
	    .m.list = { 0x80000000, 0x80ffffff, 256, 17 } },
	  GOLDEN_LIST },
	{ { .type = WIRE_VECTOR,
	    .m.vector = { 256, 17, 1022, 2 },
	    .pairs = { 0x4142434445464748, 0x99, 0x5152535455565758, 0x100 } },
	  GOLDEN_VECTOR },
	{ { .type = WIRE_ASK,
	    .m.ask = { 0x0102030405060708, 0x1112131415161718, 1, 0x80000000, 0xffffffff } },
	  GOLDEN_ASK_LIST },
	{ { .type = WIRE_ASK, .m.ask = { 0x0102030405060708, 0x1112131415161718, 2, 0, 1023 } },
	  GOLDEN_ASK_VECTOR },
	{ { .type = WIRE_AUDIT,
	    .flags = WIRE_F_PRIMARY | WIRE_F_COMPLETE,
	    .m.audit = { 0x0102030405060708, 0x1112131415161718, 5 } },
	  GOLDEN_AUDIT },
	{ { .type = WIRE_FINDINGS,
	    .flags = WIRE_F_COMPLETE,
	    .m.findings = { 0x0102030405060708, 0x1112131415161718, 5, 3, 2000, { 1, 2, 3 }, 4 } },
	  GOLDEN_FINDINGS },
};
#define SAMPLES (sizeof(samples) / sizeof(samples[0]))

static void test_messages(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		uint8_t buf[BUF_MAX];
		struct message got;
		struct wire_buf b;

		wire_init(&b, buf, sizeof(buf));
		put_message(&b, &samples[i].msg);
		assert_int_equal(b.err, 0);
		assert_golden(buf, b.at, samples[i].golden);
		assert_int_equal(get_bytes(buf, b.at, &got), 0);
		assert_memory_equal(&got, &samples[i].msg, sizeof(got));
		buf[b.at] = 0xff; /* a later version may append fields */
		assert_int_equal(get_bytes(buf, b.at + 1, &got), 0);
	}
}

static void test_messages_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		uint8_t buf[HEX_MAX];
		size_t len = unhex(samples[i].golden, buf);
		/* Fields that an early sender does not have: all are there, or none. */
		size_t early = samples[i].msg.type == WIRE_REPORT ? len - REPORT_TAIL_LEN : len;
		struct message got;

		for (size_t cut = 0; cut < len; cut++)
			assert_int_equal(get_bytes(buf, cut, &got), cut == early ? 0 : WIRE_ESHORT);
	}
}

/* Writing into a buffer that is too small stops at its end, says so, and goes on saying so. */
static void test_messages_no_room(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		uint8_t want[HEX_MAX];
		size_t len = unhex(samples[i].golden, want);

		for (size_t room = 0; room < len; room++) {
			uint8_t *p = malloc(room + 1);
			struct wire_buf b;

			assert_non_null(p);
			p[room] = 0x5a;
			wire_init(&b, p, room);
			put_message(&b, &samples[i].msg);
			assert_int_equal(b.err, WIRE_ESHORT);
			assert_int_equal(wire_left(&b), 0);
			assert_int_equal(p[room], 0x5a);
			assert_true(b.at <= room);
			assert_memory_equal(p, want, b.at);
			free(p);
		}
	}
}

/* A field of a golden message is overwritten. */
static void test_values(void **state)
{
	static const struct {
		const char *why, *golden, *patch;
		size_t at;
	} cases[] = {
		{ "HELLO: empty name", GOLDEN_HELLO, "00", 22 },
		{ "HELLO: escape in the name", GOLDEN_HELLO, "1b", 23 },
		{ "HELLO: newline in the name", GOLDEN_HELLO, "0a", 25 },
		{ "HELLO: last control character in the name", GOLDEN_HELLO, "1f", 25 },
		{ "HELLO: NUL in the name", GOLDEN_HELLO, "00", 24 },
		{ "HELLO: DEL in the name", GOLDEN_HELLO, "7f", 24 },
		{ "HELLO: name too long", GOLDEN_HELLO, "20", 22 },
		{ "HACK: empty name", GOLDEN_HACK, "00", 46 },
		{ "HACK: T above head", GOLDEN_HACK, "0000000000000101", 26 },
		{ "DATA: to below from", GOLDEN_DATA, "0000000000000021", 2 },
		{ "DATA: to above head", GOLDEN_DATA, "0000000000000021", 10 },
		{ "DATA: digest short of head", GOLDEN_DATA, "0000000000000021", 18 },
		{ "DATA: digest without its flag", GOLDEN_DATA, "03", 1 },
		{ "DATA: T above head", GOLDEN_DATA, "0000000000000021", 26 },
		{ "REPORT: too many gaps", GOLDEN_REPORT, "19", 42 },
		{ "REPORT: gap below P", GOLDEN_REPORT, "000000000000000f", 43 },
		{ "REPORT: gap backwards", GOLDEN_REPORT, "000000000000000f", 51 },
		{ "REPORT: gaps overlap", GOLDEN_REPORT, "0000000000000011", 59 },
		{ "REPORT: second gap backwards", GOLDEN_REPORT, "000000000000002f", 67 },
		{ "LIST: range backwards", GOLDEN_LIST, "7fffffff", 6 },
		{ "LIST: T above version", GOLDEN_LIST, "0000000000000101", 18 },
		{ "VECTOR: buckets past the end", GOLDEN_VECTOR, "03ff", 18 },
		{ "VECTOR: sum of first and count overflows", GOLDEN_VECTOR, "ffff", 18 },
		{ "VECTOR: T above version", GOLDEN_VECTOR, "0000000000000101", 10 },
		{ "ASK: kind 0", GOLDEN_ASK_LIST, "00", 18 },
		{ "ASK: kind 3", GOLDEN_ASK_LIST, "03", 18 },
		{ "ASK: range backwards", GOLDEN_ASK_LIST, "7fffffff", 23 },
		{ "ASK: bucket past the end", GOLDEN_ASK_VECTOR, "00000400", 23 },
		{ "AUDIT: no ticket", GOLDEN_AUDIT, "0000000000000000", 18 },
		{ "FINDINGS: no ticket", GOLDEN_FINDINGS, "0000000000000000", 18 },
		{ "FINDINGS: state 0", GOLDEN_FINDINGS, "00", 26 },
		{ "FINDINGS: state 4", GOLDEN_FINDINGS, "04", 26 },
		{ "FINDINGS: figures before it is over", GOLDEN_FINDINGS, "02", 26 },
		{ "FINDINGS: more than the figures tell", GOLDEN_FINDINGS, "07", 67 },
		{ "FINDINGS: more than may be", GOLDEN_FINDINGS,
		  "0000000000000009 0000000000000000 09", 51 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t buf[HEX_MAX], patch[HEX_MAX];
		size_t len = unhex(cases[i].golden, buf), patch_len;
		struct message got;
		int err;

		memset(buf + len, 'x', WIRE_NAME_MAX + 1); /* so that a longer name is there */
		patch_len = unhex(cases[i].patch, patch);
		assert_true(cases[i].at + patch_len <= len);
		memcpy(buf + cases[i].at, patch, patch_len);
		err = get_bytes(buf, len + WIRE_NAME_MAX + 1, &got);
		if (err != WIRE_EVALUE)
			fail_msg("%s: %d", cases[i].why, err);
	}
}

/* Values at the edge of their ranges are good. */
static void test_edges(void **state)
{
	struct message msg = { .type = WIRE_REPORT }, got;
	uint8_t buf[BUF_MAX];
	struct wire_buf b;

	(void)state;
	msg.m.report.covered = UINT64_MAX - WIRE_GAPS_MAX;
	msg.m.report.gap_count = WIRE_GAPS_MAX;
	for (unsigned int i = 0; i < WIRE_GAPS_MAX; i++)
		msg.m.report.gaps[i] =
			(struct wire_gap){ msg.m.report.covered + i, msg.m.report.covered + i + 1 };
	wire_init(&b, buf, sizeof(buf));
	put_message(&b, &msg);
	assert_int_equal(get_bytes(buf, b.at, &got), 0);
	assert_memory_equal(&got, &msg, sizeof(got));

	msg = (struct message){ .type = WIRE_DATA };
	msg.m.data = (struct wire_data){ .from = 7, .to = 7, .head = UINT64_MAX };
	wire_init(&b, buf, sizeof(buf));
	put_message(&b, &msg);
	assert_int_equal(get_bytes(buf, b.at, &got), 0);
	msg.m.data.digest = 5; /* without its flag it is not written */
	wire_init(&b, buf, sizeof(buf));
	put_message(&b, &msg);
	assert_int_equal(get_bytes(buf, b.at, &got), 0);
	assert_int_equal(got.m.data.digest, 0);

	msg = (struct message){ .type = WIRE_HELLO };
	memset(msg.m.hello.name, 0xc3, WIRE_NAME_MAX); /* names may hold more than ASCII */
	wire_init(&b, buf, sizeof(buf));
	put_message(&b, &msg);
	assert_int_equal(get_bytes(buf, b.at, &got), 0);
	assert_memory_equal(&got, &msg, sizeof(got));
}

static void test_head(void **state)
{
	struct wire_head h = { WIRE_VERSION, 42, 0x1112131415161718, 0x2122232425262728,
			       0x3132333435363738 };
	struct wire_head got = { 0 };
	uint8_t buf[WIRE_HEAD_LEN + 1];
	struct wire_buf b;

	(void)state;
	wire_init(&b, buf, sizeof(buf));
	wire_put_head(&b, &h);
	assert_int_equal(b.err, 0);
	assert_int_equal(b.at, WIRE_HEAD_LEN);
	assert_golden(buf, b.at, GOLDEN_HEAD);
	for (size_t cut = 0; cut < WIRE_HEAD_LEN; cut++) {
		uint8_t *p = exactly(buf, cut);

		wire_init(&b, p, cut);
		assert_int_equal(wire_get_head(&b, &got), -WIRE_ESHORT);
		free(p);
	}
	wire_init(&b, buf, sizeof(buf));
	assert_int_equal(wire_get_head(&b, &got), 0);
	assert_int_equal(b.at, WIRE_HEAD_LEN);
	assert_int_equal(got.version, h.version);
	assert_int_equal(got.key_id, h.key_id);
	assert_int_equal(got.sender, h.sender);
	assert_int_equal(got.epoch, h.epoch);
	assert_int_equal(got.counter, h.counter);
	buf[2] = WIRE_VERSION + 1;
	wire_init(&b, buf, sizeof(buf));
	assert_int_equal(wire_get_head(&b, &got), -WIRE_EVERSION);
	buf[1] ^= 1; /* what is not ours is not said to be of another version */
	wire_init(&b, buf, sizeof(buf));
	assert_int_equal(wire_get_head(&b, &got), -WIRE_EMAGIC);
}

static void test_var(void **state)
{
	static const struct {
		uint64_t v;
		const char *hex;
	} good[] = {
		{ 0, "00" },
		{ 1, "01" },
		{ 127, "7f" },
		{ 128, "8001" },
		{ 16383, "ff7f" },
		{ 16384, "808001" },
		{ 432000, "80af1a" },
		{ UINT32_MAX, "ffffffff0f" },
		{ UINT64_MAX >> 1, "ffffffffffffffff7f" },
		{ UINT64_MAX, "ffffffffffffffffff01" },
	};
	static const struct {
		const char *hex;
		int err;
	} bad[] = {
		{ "", WIRE_ESHORT },
		{ "80", WIRE_ESHORT },
		{ "ffffffffffffffffff", WIRE_ESHORT },
		{ "8000", WIRE_EVALUE }, /* not the shortest */
		{ "ff00", WIRE_EVALUE },
		{ "80808080808080808000", WIRE_EVALUE },
		{ "ffffffffffffffffff02", WIRE_EVALUE }, /* 65 bits */
		{ "ffffffffffffffffff81", WIRE_EVALUE },
		{ "8080808080808080808001", WIRE_EVALUE }, /* 11 bytes */
	};
	uint8_t buf[HEX_MAX];
	struct wire_buf b;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		wire_init(&b, buf, 10);
		wire_put_var(&b, good[i].v);
		assert_int_equal(b.err, 0);
		assert_golden(buf, b.at, good[i].hex);
		wire_init(&b, buf, b.at);
		assert_int_equal(wire_get_var(&b), good[i].v);
		assert_int_equal(b.err, 0);
		assert_int_equal(wire_left(&b), 0);
		wire_init(&b, buf, b.len - 1);
		wire_put_var(&b, good[i].v);
		assert_int_equal(b.err, WIRE_ESHORT);
		assert_int_equal(b.at, 0);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		size_t len = unhex(bad[i].hex, buf);
		uint8_t *p = exactly(buf, len);

		wire_init(&b, p, len);
		assert_int_equal(wire_get_var(&b), 0);
		assert_int_equal(b.err, bad[i].err);
		free(p);
	}
}

/* The first error stays, and nothing is read or written behind it. */
static void test_sticky(void **state)
{
	uint8_t buf[16] = { 0x80, 0x00, 1, 2, 3, 4, 5, 6, 7, 8 };
	struct wire_buf b;

	(void)state;
	wire_init(&b, buf, sizeof(buf));
	assert_int_equal(wire_get_u16(&b), 0x8000);
	assert_int_equal(wire_get_u32(&b), 0x01020304);
	b.at = 0;
	assert_int_equal(wire_get_var(&b), 0);
	assert_int_equal(b.err, WIRE_EVALUE);
	assert_int_equal(wire_left(&b), 0);
	assert_int_equal(wire_get_u8(&b), 0);
	assert_int_equal(wire_get_u64(&b), 0);
	assert_null(wire_get_bytes(&b, 1));
	wire_put_u32(&b, UINT32_MAX);
	wire_put_bytes(&b, "x", 1);
	assert_int_equal(b.err, WIRE_EVALUE);
	assert_int_equal(buf[3], 2);
}

#define TCP_BODY "00 06 0a000001 c0000250 9c40 01bb 00 000e 03 79 23 33"
#define TCP_KEY "00 06 0a000001 c0000250 9c40 01bb"
#define GOLDEN_RECS                                                                                \
	"01 19 01 80af1a" TCP_BODY "02 10 8001" TCP_KEY "03 0f 02" TCP_KEY "04 0f 03" TCP_KEY

static void assert_rec(struct wire_buf *b, uint8_t type, uint64_t delta, uint32_t timeout_s,
		       const char *body)
{
	struct wire_rec r;

	assert_true(wire_get_rec(b, &r));
	assert_int_equal(r.type, type);
	assert_int_equal(r.delta, delta);
	assert_int_equal(r.timeout_s, timeout_s);
	assert_golden(r.body, r.body_len, body);
	assert_true(r.body >= b->p && r.body + r.body_len == b->p + b->at);
}

static void test_records(void **state)
{
	uint8_t buf[HEX_MAX], flow[FLOW_PACKED_MAX], key[FLOW_KEY_MAX];
	struct flow f = sample_tcp4();
	struct wire_rec recs[] = {
		{ WIRE_REC_FLOW, 1, 432000, flow, flow_pack(&f, flow) },
		{ WIRE_REC_DEAD, 128, 9, key, flow_key_pack(&f.key, key) },
		{ WIRE_REC_FORCED, 2, 0, key, 14 },
		{ WIRE_REC_RELEASE, 3, 0, key, 14 },
	};
	struct wire_buf b;
	struct wire_rec r;

	(void)state;
	wire_init(&b, buf, sizeof(buf));
	for (size_t i = 0; i < 4; i++)
		assert_true(wire_put_rec(&b, &recs[i]));
	assert_golden(buf, b.at, GOLDEN_RECS);
	wire_init(&b, buf, b.at);
	assert_rec(&b, WIRE_REC_FLOW, 1, 432000, TCP_BODY);
	assert_rec(&b, WIRE_REC_DEAD, 128, 0, TCP_KEY);
	assert_rec(&b, WIRE_REC_FORCED, 2, 0, TCP_KEY);
	assert_rec(&b, WIRE_REC_RELEASE, 3, 0, TCP_KEY);
	assert_false(wire_get_rec(&b, &r));
	assert_int_equal(b.err, 0);
}

/* A record that does not fit leaves the buffer as it was, also in front of its end. */
static void test_record_no_room(void **state)
{
	uint8_t body[FLOW_PACKED_MAX], buf[2 * FLOW_PACKED_MAX], blank[sizeof(buf)];
	struct wire_rec r = { WIRE_REC_FLOW, UINT64_MAX, UINT32_MAX, body, sizeof(body) };
	struct wire_buf b;
	size_t len;

	(void)state;
	memset(body, 1, sizeof(body));
	memset(blank, 0, sizeof(blank));
	wire_init(&b, buf, sizeof(buf));
	assert_true(wire_put_rec(&b, &r));
	len = b.at;
	assert_int_equal(len, 1 + 2 + 10 + 5 + sizeof(body));
	for (size_t room = 0; room < len; room++) {
		memset(buf, 0, sizeof(buf));
		wire_init(&b, buf, room);
		assert_false(wire_put_rec(&b, &r));
		assert_int_equal(b.at, 0);
		assert_int_equal(b.err, 0);
		assert_memory_equal(buf, blank, sizeof(buf));
	}
	wire_init(&b, buf, len);
	assert_true(wire_put_rec(&b, &r));
}

/* Cut anywhere, records up to the cut are read, and the end is an error unless it falls between
 * two. */
static void test_records_cut(void **state)
{
	static const size_t ends[] = { 0, 27, 45, 62, 79 };
	uint8_t buf[HEX_MAX];
	size_t len = unhex(GOLDEN_RECS, buf), whole = 0;

	(void)state;
	assert_int_equal(len, ends[4]);
	for (size_t cut = 0; cut <= len; cut++) {
		uint8_t *p = exactly(buf, cut);
		struct wire_buf b;
		struct wire_rec r;
		size_t got = 0;

		wire_init(&b, p, cut);
		while (wire_get_rec(&b, &r))
			got++;
		if (whole < 4 && cut == ends[whole + 1])
			whole++;
		assert_int_equal(got, whole);
		assert_int_equal(b.err, cut == ends[whole] ? 0 : WIRE_ESHORT);
		free(p);
	}
}

static void test_records_refused(void **state)
{
	static const struct {
		const char *why, *hex;
		int err, count;
	} cases[] = {
		{ "unknown optional ones are passed over", "80 00 ff 02 aabb 04 01 07", 0, 1 },
		{ "unknown optional one is cut short", "80 02 00", WIRE_ESHORT, 0 },
		{ "unknown mandatory one", "04 01 07 05 00", WIRE_EUNKNOWN, 1 },
		{ "type 0", "00 00", WIRE_EUNKNOWN, 0 },
		{ "no room for the delta", "02 00", WIRE_ESHORT, 0 },
		{ "delta leaves the record", "02 01 80 01", WIRE_ESHORT, 0 },
		{ "timeout leaves the record", "01 01 01 05", WIRE_ESHORT, 0 },
		{ "timeout above 32 bits", "01 06 01 8080808010", WIRE_EVALUE, 0 },
		{ "length is not the shortest", "02 8100 01", WIRE_EVALUE, 0 },
		{ "delta is not the shortest", "02 02 8100", WIRE_EVALUE, 0 },
		{ "length beyond any buffer", "02 ffffffffffffffffff01 01", WIRE_ESHORT, 0 },
		{ "largest delta", "02 0a ffffffffffffffffff01", 0, 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t buf[HEX_MAX];
		size_t len = unhex(cases[i].hex, buf);
		uint8_t *p = exactly(buf, len);
		struct wire_rec r;
		struct wire_buf b;
		int count = 0;

		wire_init(&b, p, len);
		while (wire_get_rec(&b, &r))
			count++;
		if (b.err != cases[i].err || count != cases[i].count)
			fail_msg("%s: %d, %d records", cases[i].why, b.err, count);
		free(p);
	}
}

static void test_random_records(void **state)
{
	uint64_t seed = rnd_seed();
	uint8_t buf[1500], body[FLOW_PACKED_MAX];
	struct wire_rec put[1500], got;

	(void)state;
	rnd_fill(&seed, body, sizeof(body));
	for (int round = 0; round < ROUNDS / 100; round++) {
		unsigned int count = 0, i;
		struct wire_buf b;

		wire_init(&b, buf, sizeof(buf));
		for (;; count++) {
			struct wire_rec *r = &put[count];

			*r = (struct wire_rec){ .type = (uint8_t)(1 + rnd_below(&seed, 4)) };
			r->delta = rnd(&seed) >> rnd_below(&seed, 64);
			r->body_len = rnd_below(&seed, 60);
			r->body = body + rnd_below(&seed, 100);
			if (r->type == WIRE_REC_FLOW)
				r->timeout_s =
					(uint32_t)(rnd(&seed) >> (32 + rnd_below(&seed, 32)));
			if (!wire_put_rec(&b, r))
				break;
		}
		wire_init(&b, buf, b.at);
		for (i = 0; wire_get_rec(&b, &got); i++) {
			assert_int_equal(got.type, put[i].type);
			assert_int_equal(got.delta, put[i].delta);
			assert_int_equal(got.timeout_s, put[i].timeout_s);
			assert_int_equal(got.body_len, put[i].body_len);
			assert_memory_equal(got.body, put[i].body, put[i].body_len);
		}
		assert_int_equal(b.err, 0);
		assert_int_equal(i, count);
	}
}

/* Damaged messages are read or refused, never past the end (the sanitizers watch), and what was
 * read is in range. */
static void test_random_damage(void **state)
{
	uint64_t seed = rnd_seed();
	unsigned int taken = 0;

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		uint8_t buf[HEX_MAX];
		size_t len = unhex(samples[rnd_below(&seed, SAMPLES)].golden, buf);
		struct message got;

		for (unsigned int n = 1 + rnd_below(&seed, 4); n; n--)
			buf[rnd_below(&seed, (unsigned int)len)] ^=
				(uint8_t)(1 << rnd_below(&seed, 8));
		if (get_bytes(buf, len - rnd_below(&seed, 2), &got))
			continue;
		taken++;
		if (got.type == WIRE_REPORT)
			assert_true(got.m.report.gap_count <= WIRE_GAPS_MAX);
		if (got.type == WIRE_VECTOR)
			assert_true(got.m.vector.first + got.m.vector.count <= WIRE_BUCKETS);
		if (got.type == WIRE_HELLO)
			assert_in_range(strlen(got.m.hello.name), 1, WIRE_NAME_MAX);
	}
	assert_in_range(taken, 1, ROUNDS - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {

		cmocka_unit_test(test_head),           cmocka_unit_test(test_var),
		cmocka_unit_test(test_sticky),         cmocka_unit_test(test_messages),
		cmocka_unit_test(test_messages_cut),   cmocka_unit_test(test_messages_no_room),
		cmocka_unit_test(test_values),         cmocka_unit_test(test_edges),
		cmocka_unit_test(test_records),        cmocka_unit_test(test_record_no_room),
		cmocka_unit_test(test_records_cut),    cmocka_unit_test(test_records_refused),
		cmocka_unit_test(test_random_records), cmocka_unit_test(test_random_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
