/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A sample of everything that this version says: each message, flag, kind of record, shape of a key
 * and attribute; and of what a later version might say, made by hand (PROTOCOL.md, sections 4
 * and 5): what is unknown and optional is passed over, what is unknown and mandatory is refused.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

#include "flow.h"
#include "golden.h"

#define FROM 1000

struct wire_head sample_head(void)
{
	return (struct wire_head){ .version = WIRE_VERSION,
				   .sender = 0x0123456789abcdef,
				   .epoch = 0xfedcba9876543210,
				   .counter = 0x1000000000001 };
}

/* ---- Flows ---- */

static struct flow plain(uint8_t proto, const char *src, const char *dst, uint16_t sport,
			 uint16_t dport)
{
	struct flow f = { .has = FLOW_HAS_REPLY | FLOW_HAS_STATUS, .status = 0xe };

	f.key.l3 = strchr(src, ':') ? 6 : 4;
	f.key.proto = proto;
	(void)inet_pton(f.key.l3 == 4 ? AF_INET : AF_INET6, src, f.key.orig.src);
	(void)inet_pton(f.key.l3 == 4 ? AF_INET : AF_INET6, dst, f.key.orig.dst);
	f.key.orig.sport = htons(sport);
	f.key.orig.dport = htons(dport);
	flow_inverse(&f.key, &f.reply);
	return f;
}

static struct flow tcp(void)
{
	struct flow f = plain(6, "10.0.0.1", "192.0.2.1", 40000, 443);

	f.has |= FLOW_HAS_TCP;
	f.tcp = (struct flow_tcp){ .state = 3, .wscale = { 7, 9 }, .flags = { 0x23, 0x0b } };
	return f;
}

/* All that one flow can have. */
static struct flow rich(void)
{
	struct flow f = tcp();

	flow_begin_ext(&f);
	f.has |= FLOW_HAS_MARK | FLOW_HAS_LABELS | FLOW_HAS_HELPER | FLOW_HAS_MASTER |
		 FLOW_HAS_SEQADJ | FLOW_HAS_SYNPROXY;
	f.status = 0x25bf;
	f.mark = 0xdeadbeef;
	(void)inet_pton(AF_INET, "198.51.100.7", f.reply.dst);
	f.reply.dport = htons(61000);
	memcpy(f.ext.labels, "\x01\x80\x00\x40", 4);
	strcpy(f.ext.helper, "ftp");
	f.ext.master.proto = 6;
	(void)inet_pton(AF_INET, "10.0.0.1", f.ext.master.orig.src);
	(void)inet_pton(AF_INET, "192.0.2.1", f.ext.master.orig.dst);
	f.ext.master.orig.sport = htons(39999);
	f.ext.master.orig.dport = htons(21);
	f.ext.seqadj[0] = (struct flow_seqadj){ 0x01020304, 5, 0xfffffff9 };
	f.ext.seqadj[1] = (struct flow_seqadj){ 9, 10, 11 };
	f.ext.synproxy = (struct flow_synproxy){ 0xa1a2a3a4, 0xb1b2b3b4, 0xc1c2c3c4 };
	return f;
}

static struct flow sctp(void)
{
	struct flow f = plain(132, "10.0.0.1", "192.0.2.1", 5000, 36412);

	flow_begin_ext(&f);
	f.has |= FLOW_HAS_SCTP;
	f.ext.sctp = (struct flow_sctp){ .state = 4, .vtag = { 0x11223344, 0x55667788 } };
	return f;
}

static struct flow expectation(void)
{
	struct flow f = plain(6, "2001:db8::1", "2001:db8::2", 0, 30000);

	f.key.expect = 1;
	f.key.zone = 7;
	f.has = FLOW_HAS_MASTER | FLOW_HAS_HELPER | FLOW_HAS_EXPECT | FLOW_HAS_EXPECT_NAT |
		FLOW_HAS_EXPECT_FN;
	memset(&f.ext, 0, sizeof(f.ext));
	f.ext.master.proto = 6;
	f.ext.master.orig = f.key.orig;
	f.ext.master.orig.sport = htons(40001);
	f.ext.master.orig.dport = htons(21);
	strcpy(f.ext.helper, "ftp");
	f.ext.expect.class = 1;
	f.ext.expect.flags = 2;
	memset(f.ext.expect.mask_src, 0xff, 16);
	f.ext.expect.mask_sport = htons(0);
	f.ext.expect.nat_dir = 1;
	(void)inet_pton(AF_INET6, "2001:db8::9", f.ext.expect.nat_addr);
	f.ext.expect.nat_port = htons(50000);
	strcpy(f.ext.expect.fn, "nat-follow-master");
	return f;
}

/* ---- Records ---- */

static void put(struct wire_buf *b, uint8_t type, uint64_t delta, const uint8_t *body, size_t len)
{
	struct wire_rec r = {
		.type = type, .delta = delta, .timeout_s = 431999, .body = body, .body_len = len
	};
	bool fits = wire_put_rec(b, &r);

	assert(fits);
	(void)fits;
}

static void put_flow(struct wire_buf *b, uint64_t delta, const struct flow *f)
{
	uint8_t body[FLOW_PACKED_MAX];

	put(b, WIRE_REC_FLOW, delta, body, flow_pack(f, body));
}

static void put_end(struct wire_buf *b, uint8_t type, uint64_t delta, const struct flow *f)
{
	uint8_t key[FLOW_KEY_MAX];

	put(b, type, delta, key, flow_key_pack(&f->key, key));
}

/* A flow with one attribute that no version has yet. */
static void put_strange(struct wire_buf *b, uint64_t delta, uint8_t attr)
{
	struct flow f = plain(17, "10.0.0.2", "192.0.2.2", 53, 53);
	uint8_t body[FLOW_PACKED_MAX];
	size_t len = flow_pack(&f, body);

	body[flow_key_len(body, len)] |= FLOW_SHAPE_ATTRS;
	body[len++] = attr;
	body[len++] = 3;
	memcpy(body + len, "new", 3);
	put(b, WIRE_REC_FLOW, delta, body, len + 3);
}

static void put_unknown_record(struct wire_buf *b, uint8_t type)
{
	wire_put_u8(b, type);
	wire_put_var(b, 5);
	wire_put_bytes(b, "later", 5);
}

/* ---- Messages ---- */

static void begin_data(struct wire_buf *b, uint8_t flags, uint64_t count)
{
	const struct wire_data m = { .from = FROM,
				     .to = FROM + count,
				     .head = flags & WIRE_F_DIGEST ? FROM + count : FROM + 5000,
				     .dropped = 900,
				     .digest = flags & WIRE_F_DIGEST ? 0x8877665544332211 : 0 };

	wire_put_data(b, flags, &m);
}

static void hello(struct wire_buf *b)
{
	wire_put_hello(b, 0,
		       &(struct wire_hello){ .challenge = 0x1122334455667788,
					     .kernel_id = 0x99aabbccddeeff00,
					     .name = "fw1" });
}

/* A name of the largest length, every capability that may come, and fields of a later version. */
static void hello_later(struct wire_buf *b)
{
	wire_put_hello(b, WIRE_F_PRIMARY,
		       &(struct wire_hello){ .challenge = 1,
					     .kernel_id = UINT64_MAX,
					     .caps = UINT32_MAX,
					     .name = "firewall-with-a-name-of-thirty1" });
	wire_put_bytes(b, "a field of a later version", 26);
}

static void hack(struct wire_buf *b)
{
	struct wire_hack m = { .your_epoch = 0x0f1e2d3c4b5a6978,
			       .challenge = 0x1122334455667788,
			       .head = FROM,
			       .dropped = 900,
			       .kernel_id = 0x99aabbccddeeff00,
			       .name = "fw1" };

	for (unsigned int i = 0; i < sizeof(m.tables); i++)
		m.tables[i] = (uint8_t)(0xe0 + i);
	wire_put_hack(b, WIRE_F_PRIMARY | WIRE_F_COMPLETE | WIRE_F_SETTLED, &m);
}

static void hack_later(struct wire_buf *b)
{
	hack(b);
	wire_put_bytes(b, "later", 5);
}

static void data_empty(struct wire_buf *b)
{
	begin_data(b, WIRE_F_COMPLETE | WIRE_F_DIGEST, 0);
}

static void data_flows(struct wire_buf *b)
{
	struct flow f = tcp();

	begin_data(b, WIRE_F_PRIMARY | WIRE_F_COMPLETE | WIRE_F_DIGEST, 400);
	put_flow(b, 1, &f);
	f = plain(17, "2001:db8::1", "2001:db8::35", 40000, 53);
	put_flow(b, 1, &f);
	f = plain(1, "10.0.0.1", "192.0.2.1", 77, 0x0800);
	put_flow(b, 100, &f);
	f = plain(58, "2001:db8::1", "2001:db8::2", 78, 0x8000);
	f.status = 0x400;
	put_flow(b, 1, &f);
	f = plain(47, "10.0.0.1", "192.0.2.1", 5, 6);
	put_flow(b, 1, &f);
	f = plain(50, "10.0.0.1", "192.0.2.1", 0, 0);
	put_flow(b, 296, &f);
}

static void data_rich(struct wire_buf *b)
{
	struct flow f = rich();

	begin_data(b, WIRE_F_COMPLETE, 3);
	put_flow(b, 1, &f);
	f = sctp();
	put_flow(b, 1, &f);
	f = expectation();
	put_flow(b, 1, &f);
}

static void data_zones(struct wire_buf *b)
{
	begin_data(b, 0, 3);
	for (uint8_t dir = 0; dir < 3; dir++) {
		struct flow f = tcp();

		f.key.zone = 0x1234;
		f.key.zone_dir = dir;
		put_flow(b, 1, &f);
	}
}

static void data_ends(struct wire_buf *b)
{
	struct flow f = tcp(), x = expectation();

	begin_data(b, WIRE_F_LAST | wire_whose(2) | wire_whose(3), 70000);
	put_end(b, WIRE_REC_DEAD, 1, &f);
	f.key.orig.sport = htons(40001);
	put_end(b, WIRE_REC_FORCED, 127, &f);
	f.key.orig.sport = htons(40002);
	put_end(b, WIRE_REC_RELEASE, 128, &f);
	put_end(b, WIRE_REC_DEAD, 69744, &x);
}

static void data_later(struct wire_buf *b)
{
	struct flow f = tcp();

	begin_data(b, 0, 3);
	put_unknown_record(b, WIRE_REC_OPTIONAL | 5);
	put_flow(b, 1, &f);
	put_strange(b, 1, 15);
	put_unknown_record(b, 0xff);
	put_end(b, WIRE_REC_DEAD, 1, &f);
}

static void data_mandatory_record(struct wire_buf *b)
{
	struct flow f = tcp();

	begin_data(b, 0, 1);
	put_flow(b, 1, &f);
	put_unknown_record(b, 5);
}

static void data_mandatory_attribute(struct wire_buf *b)
{
	begin_data(b, 0, 1);
	put_strange(b, 1, 0x80 | 10);
}

static void put_rep(struct wire_buf *b, unsigned int gaps)
{
	struct wire_report m = { .owner = 0x0f0e0d0c0b0a0908,
				 .owner_epoch = 0x1716151413121110,
				 .covered = FROM,
				 .maxhead = FROM + 900,
				 .window_len = 524288,
				 .heard_ms = gaps ? 12 : UINT32_MAX,
				 .gap_count = (uint8_t)gaps,
				 .sent = 77,
				 .dgram_max = 1452 };

	for (unsigned int i = 0; i < gaps; i++)
		m.gaps[i] = (struct wire_gap){ FROM + 10 * i, FROM + 10 * i + 3 };
	wire_put_report(b, WIRE_F_COMPLETE, &m);
}

static void report(struct wire_buf *b)
{
	put_rep(b, 0);
}

static void report_gaps(struct wire_buf *b)
{
	put_rep(b, WIRE_GAPS_MAX);
}

/* As the first senders made it: without sent and dgram_max. */
static void report_first(struct wire_buf *b)
{
	put_rep(b, 2);
	b->at -= 10;
}

static void report_later(struct wire_buf *b)
{
	put_rep(b, 1);
	wire_put_u64(b, 1);
}

static void list(struct wire_buf *b)
{
	struct flow f = tcp(), g = plain(17, "2001:db8::1", "2001:db8::35", 40000, 53);

	wire_put_list(
		b, WIRE_F_PRIMARY | WIRE_F_COMPLETE,
		&(struct wire_list){
			.lo = 0x80000000, .hi_incl = 0x803fffff, .version = FROM, .dropped = 900 });
	put_flow(b, 0, &f);
	put_flow(b, FROM - 1, &g);
}

static void vector(struct wire_buf *b)
{
	wire_put_vector(b, WIRE_F_COMPLETE,
			&(struct wire_vector){
				.version = FROM, .dropped = 900, .first = 1022, .count = 2 });
	for (unsigned int i = 0; i < 2; i++) {
		wire_put_u64(b, 0xd1d2d3d4d5d6d7d8 + i);
		wire_put_u64(b, FROM - i);
	}
}

static void put_ask(struct wire_buf *b, uint8_t kind, uint32_t lo, uint32_t hi_incl)
{
	wire_put_ask(b, 0,
		     &(struct wire_ask){ .owner = 0x0f0e0d0c0b0a0908,
					 .owner_epoch = 0x1716151413121110,
					 .kind = kind,
					 .lo = lo,
					 .hi_incl = hi_incl });
}

static void ask_list(struct wire_buf *b)
{
	put_ask(b, WIRE_ASK_LIST, 0x80000000, 0x803fffff);
}

static void ask_vector(struct wire_buf *b)
{
	put_ask(b, WIRE_ASK_VECTOR, 0, WIRE_BUCKETS - 1);
}

static void bye(struct wire_buf *b)
{
	wire_put_u8(b, WIRE_BYE);
	wire_put_u8(b, 0);
}

static void hack_caps(struct wire_buf *b)
{
	wire_put_hack(b, WIRE_F_COMPLETE,
		      &(struct wire_hack){ .your_epoch = 0x0f1e2d3c4b5a6978,
					   .challenge = 0x1122334455667788,
					   .caps = WIRE_CAP_AUDIT,
					   .name = "fw1" });
}

static void audit(struct wire_buf *b)
{
	wire_put_audit(b, WIRE_F_PRIMARY | WIRE_F_COMPLETE,
		       &(struct wire_audit){ 0x0f0e0d0c0b0a0908, 0x1716151413121110, 3 });
}

static void audit_later(struct wire_buf *b)
{
	audit(b);
	wire_put_bytes(b, "later", 5);
}

static struct wire_findings findings_head(uint8_t state)
{
	return (struct wire_findings){ .asker = 0x0f0e0d0c0b0a0908,
				       .asker_epoch = 0x1716151413121110,
				       .ticket = 3,
				       .state = state };
}

static void findings_runs(struct wire_buf *b)
{
	const struct wire_findings m = findings_head(WIRE_AUDIT_RUNS);

	wire_put_findings(b, WIRE_F_COMPLETE, &m);
}

static void put_found(struct wire_buf *b, struct wire_finding x, const struct flow *entry,
		      const struct flow *record)
{
	uint8_t e[FLOW_PACKED_MAX], r[FLOW_PACKED_MAX];
	bool fits;

	x.entry = e;
	x.record = r;
	x.entry_len = entry ? (uint8_t)flow_pack(entry, e) : 0;
	x.record_len = record ? (uint8_t)flow_pack(record, r) : 0;
	fits = wire_put_finding(b, &x);
	assert(fits);
	(void)fits;
}

/* Each kind; one that the kernel refuses, a memory that cannot be read, an expectation. */
static void findings(struct wire_buf *b)
{
	struct wire_findings m = findings_head(WIRE_AUDIT_OVER);
	struct flow f = tcp(), g = rich(), x = expectation();

	m.entries = 2000;
	m.by[0] = 70;
	m.by[1] = 2;
	m.by[2] = 2;
	m.unsettled = 5;
	m.count = 5;
	wire_put_findings(b, WIRE_F_PRIMARY, &m);
	put_found(b, (struct wire_finding){ .kind = 1 }, &f, NULL);
	put_found(b, (struct wire_finding){ .kind = 2, .owner = "fw2", .refused = 28 }, NULL, &f);
	put_found(b, (struct wire_finding){ .kind = 2 }, NULL, &x);
	put_found(b,
		  (struct wire_finding){ .kind = 3,
					 .differs = FLOW_HAS_MARK | FLOW_HAS_STATUS,
					 .owner = "firewall-with-a-name-of-thirty1" },
		  &f, &g);
	put_found(b, (struct wire_finding){ .kind = 3, .differs = FLOW_HAS_ALL }, &f, NULL);
}

static void findings_later(struct wire_buf *b)
{
	findings(b);
	wire_put_bytes(b, "later", 5);
}

static void later_message(struct wire_buf *b)
{
	wire_put_u8(b, 99);
	wire_put_u8(b, 0xff);
	wire_put_bytes(b, "later", 5);
}

const struct sample samples[] = {
	{ "hello", "HELLO", hello },
	{ "hello-later", "HELLO of a later version: capabilities, more fields", hello_later },
	{ "hack", "HACK, every flag", hack },
	{ "hack-later", "HACK of a later version: more fields", hack_later },
	{ "hack-caps", "HACK that says what its sender can", hack_caps },
	{ "data-empty", "DATA, the heartbeat", data_empty },
	{ "data-flows", "DATA, flows of each protocol", data_flows },
	{ "data-rich", "DATA, every attribute", data_rich },
	{ "data-zones", "DATA, zones in each direction", data_zones },
	{ "data-ends", "DATA, every kind of end; LAST", data_ends },
	{ "data-later", "DATA of a later version: optional records and attributes", data_later },
	{ "data-mandatory-record", "DATA of a later version: a mandatory record",
	  data_mandatory_record },
	{ "data-mandatory-attribute", "DATA of a later version: a mandatory attribute",
	  data_mandatory_attribute },
	{ "report", "REPORT, never heard", report },
	{ "report-gaps", "REPORT, all gaps that fit", report_gaps },
	{ "report-first", "REPORT as the first senders made it", report_first },
	{ "report-later", "REPORT of a later version: more fields", report_later },
	{ "list", "LIST", list },
	{ "vector", "VECTOR", vector },
	{ "ask-list", "ASK for a LIST", ask_list },
	{ "ask-vector", "ASK for a VECTOR", ask_vector },
	{ "bye", "BYE", bye },
	{ "audit", "AUDIT", audit },
	{ "audit-later", "AUDIT of a later version: more fields", audit_later },
	{ "findings-runs", "FINDINGS, not over", findings_runs },
	{ "findings", "FINDINGS of each kind", findings },
	{ "findings-later", "FINDINGS of a later version: more fields", findings_later },
	{ "later-message", "a message of a later version", later_message },
};
const size_t sample_count = sizeof(samples) / sizeof(samples[0]);
