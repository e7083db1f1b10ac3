/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kern_parse against libnetfilter_conntrack on messages that a real kernel sent
 * (data/ctnetlink.bin, made by tests/netns/record.sh), attribute by attribute; every truncation and
 * many mutations of each (in memory of exactly that length, so that a sanitizer sees a read beyond
 * it); and the messages that we build from those flows.
 */
#include "kern.h"
#include "kern_msg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>

#define MESSAGES_MAX 1000
#define NAT_SRC 0x10U
#define NAT_DST 0x20U

struct message {
	const struct nlmsghdr *h;
	size_t len;
};

struct recording {
	uint8_t *data;
	struct message msg[MESSAGES_MAX];
	size_t count;
};

static int load(void **state)
{
	const char *src = getenv("CTSYNCD_SRC");
	struct recording *r = test_calloc(1, sizeof(*r));
	char path[512];
	uint8_t len[2];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/tests/unit/data/ctnetlink.bin",
		       src != NULL ? src : ".");
	f = fopen(path, "rb");
	if (f == NULL)
		fail_msg("%s: %s (is CTSYNCD_SRC set?)", path, strerror(errno));
	while (fread(len, sizeof(len), 1, f) == 1) {
		struct message *m = &r->msg[r->count++];
		uint8_t *buf;

		assert_in_range(r->count, 1, MESSAGES_MAX - 1);
		m->len = (size_t)len[0] | (size_t)len[1] << 8;
		buf = test_malloc(m->len);
		assert_int_equal(fread(buf, m->len, 1, f), 1);
		m->h = (const void *)buf;
	}
	(void)fclose(f); /* read to its end */
	*state = r;
	return 0;
}

static int unload(void **state)
{
	struct recording *r = *state;

	for (size_t i = 0; i < r->count; i++)
		test_free((void *)(uintptr_t)r->msg[i].h);
	test_free(r);
	return 0;
}

/* ---- Against the library ---- */

static void same_u32(const struct nf_conntrack *ct, enum nf_conntrack_attr attr, bool has,
		     uint32_t value)
{
	assert_int_equal(nfct_attr_is_set(ct, attr) > 0, has);
	if (has)
		assert_int_equal(nfct_get_attr_u32(ct, attr), value);
}

static void same_tuple(const struct nf_conntrack *ct, const struct flow *f,
		       const struct flow_tuple *t, bool reply)
{
	bool v6 = f->key.l3 == 6,
	     icmp = f->key.proto == IPPROTO_ICMP || f->key.proto == IPPROTO_ICMPV6;
	enum nf_conntrack_attr src = v6 ? ATTR_ORIG_IPV6_SRC : ATTR_ORIG_IPV4_SRC;
	enum nf_conntrack_attr port = reply ? ATTR_REPL_PORT_SRC : ATTR_ORIG_PORT_SRC;
	static const uint8_t zero[16];

	src += reply ? 2 : 0;
	assert_true(nfct_attr_is_set(ct, src) > 0 && nfct_attr_is_set(ct, src + 1) > 0);
	assert_memory_equal(nfct_get_attr(ct, src), t->src, v6 ? 16 : 4);
	assert_memory_equal(nfct_get_attr(ct, src + 1), t->dst, v6 ? 16 : 4);
	if (!v6) {
		assert_memory_equal(t->src + 4, zero, 12);
		assert_memory_equal(t->dst + 4, zero, 12);
	}
	if (icmp)
		return; /* the library keeps them for the original direction alone: see same_icmp
			   and same_text */
	assert_int_equal(nfct_get_attr_u16(ct, port), t->sport);
	assert_int_equal(nfct_get_attr_u16(ct, port + 1), t->dport);
}

static void same_icmp(const struct nf_conntrack *ct, const struct flow *f)
{
	uint8_t type_code[2];

	if (f->key.proto != IPPROTO_ICMP && f->key.proto != IPPROTO_ICMPV6)
		return;
	memcpy(type_code, &f->key.orig.dport, 2);
	assert_int_equal(nfct_get_attr_u16(ct, ATTR_ICMP_ID), f->key.orig.sport);
	assert_int_equal(nfct_get_attr_u8(ct, ATTR_ICMP_TYPE), type_code[0]);
	assert_int_equal(nfct_get_attr_u8(ct, ATTR_ICMP_CODE), type_code[1]);
}

static void same_tcp(const struct nf_conntrack *ct, const struct flow *f)
{
	bool has = (f->has & FLOW_HAS_TCP) != 0;

	assert_int_equal(nfct_attr_is_set(ct, ATTR_TCP_STATE) > 0, has);
	if (!has)
		return;
	assert_int_equal(nfct_get_attr_u8(ct, ATTR_TCP_STATE), f->tcp.state);
	/* Absent in a DESTROY, which then leaves them zero. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(nfct_get_attr_u8(ct, ATTR_TCP_WSCALE_ORIG + i), f->tcp.wscale[i]);
		assert_int_equal(nfct_get_attr_u8(ct, ATTR_TCP_FLAGS_ORIG + i), f->tcp.flags[i]);
	}
}

static void same_zone(const struct nf_conntrack *ct, const struct flow *f)
{
	static const enum nf_conntrack_attr attr[3] = { ATTR_ZONE, ATTR_ORIG_ZONE, ATTR_REPL_ZONE };

	for (int i = 0; i < 3; i++) {
		bool has = f->key.zone != 0 && f->key.zone_dir == i;

		assert_int_equal(nfct_attr_is_set(ct, attr[i]) > 0, has);
		if (has)
			assert_int_equal(nfct_get_attr_u16(ct, attr[i]), f->key.zone);
	}
}

/* Words of the library's line that a flow does not hold. */
static bool is_foreign(const char *word)
{
	static const char *const prefix[] = { "use=",    "packets=", "bytes=",  "helper=",
					      "secctx=", "id=",      "labels=", "delta-time=",
					      "[start=", "[stop=",   "mark=",   NULL };

	for (int i = 0; prefix[i] != NULL; i++) {
		if (strncmp(word, prefix[i], strlen(prefix[i])) == 0)
			return true;
	}
	return false;
}

static void filter(char *line, char *out, size_t len, bool icmp)
{
	char *save = NULL;

	out[0] = '\0';
	for (char *w = strtok_r(line, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
		if (is_foreign(w) && !(icmp && strncmp(w, "id=", 3) == 0))
			continue;
		assert_true(strlen(out) + strlen(w) + 2 < len);
		strcat(strcat(out, " "), w);
	}
}

/* The whole flow as conntrack(8) would print it: from the kernel's message, and from what we made
 * of it. */
static void same_text(const struct nf_conntrack *ct, const struct flow *f)
{
	bool icmp = f->key.proto == IPPROTO_ICMP || f->key.proto == IPPROTO_ICMPV6;
	char theirs[1024], ours[1024], a[1024], b[1024];
	int n;

	nfct_snprintf(theirs, sizeof(theirs), ct, NFCT_T_UNKNOWN, NFCT_O_DEFAULT, 0);
	n = kern_format(ours, sizeof(ours), f);
	assert_int_equal(n, strlen(ours));
	filter(theirs, a, sizeof(a), icmp);
	filter(ours, b, sizeof(b), icmp);
	assert_string_equal(a, b);
}

static void same(const struct nf_conntrack *ct, const struct flow *f)
{
	assert_int_equal(nfct_get_attr_u8(ct, ATTR_L3PROTO), f->key.l3 == 6 ? AF_INET6 : AF_INET);
	assert_int_equal(nfct_get_attr_u8(ct, ATTR_L4PROTO), f->key.proto);
	same_tuple(ct, f, &f->key.orig, false);
	assert_true((f->has & FLOW_HAS_REPLY) != 0);
	same_tuple(ct, f, &f->reply, true);
	same_icmp(ct, f);
	same_tcp(ct, f);
	same_zone(ct, f);
	same_u32(ct, ATTR_STATUS, (f->has & FLOW_HAS_STATUS) != 0, f->status);
	same_u32(ct, ATTR_TIMEOUT, (f->has & FLOW_HAS_TIMEOUT) != 0, f->timeout_s);
	same_u32(ct, ATTR_MARK, (f->has & FLOW_HAS_MARK) != 0, f->mark);
	same_u32(ct, ATTR_ID, (f->has & FLOW_HAS_ID) != 0, f->id);
	same_text(ct, f);
}

static void test_differential(void **state)
{
	const struct recording *r = *state;
	struct flow f;

	for (size_t i = 0; i < r->count; i++) {
		struct nf_conntrack *ct = nfct_new();

		assert_non_null(ct);
		assert_int_equal(nfct_nlmsg_parse(r->msg[i].h, ct), 0);
		memset(&f, 0xa5, sizeof(f)); /* what was there before must not shine through */
		assert_int_equal(kern_parse(r->msg[i].h, r->msg[i].len, &f), 0);
		same(ct, &f);
		nfct_destroy(ct);
	}
}

/* The recording must hold what the test is about, or it would prove nothing. */
static void test_recording_is_rich(void **state)
{
	const struct recording *r = *state;
	unsigned int protos[2][256] = { 0 }, snat = 0, dnat = 0, zone[3] = { 0 }, kinds[3] = { 0 },
		     id = 0, mark = 0;
	struct flow f;

	for (size_t i = 0; i < r->count; i++) {
		const struct nlmsghdr *h = r->msg[i].h;
		bool new = (h->nlmsg_flags & NLM_F_EXCL) != 0;

		assert_int_equal(kern_parse(h, r->msg[i].len, &f), 0);
		protos[f.key.l3 == 6][f.key.proto]++;
		snat += (f.status & NAT_SRC) != 0;
		dnat += (f.status & NAT_DST) != 0;
		zone[f.key.zone_dir] += f.key.zone != 0;
		kinds[NFNL_MSG_TYPE(h->nlmsg_type) == IPCTNL_MSG_CT_DELETE ? 2 : new]++;
		id += f.key.proto == IPPROTO_ICMP && f.reply.sport != f.key.orig.sport;
		mark += f.mark == 0x77;
	}
	for (int v6 = 0; v6 < 2; v6++) {
		assert_true(protos[v6][IPPROTO_TCP] >= 20 && protos[v6][IPPROTO_UDP] >= 4);
		assert_true(protos[v6][v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP] >= 2);
	}
	assert_true(snat >= 10 && dnat >= 10 && mark >= 5 && id >= 1);
	assert_true(zone[0] >= 4 && zone[1] >= 4 && zone[2] >= 4);
	assert_true(kinds[0] >= 20 && kinds[1] >= 20 && kinds[2] >= 5);
}

/* ---- Malformed ---- */

/* Parses len bytes in memory of exactly that size. */
static int parse_exact(const void *data, size_t len, bool fix_len)
{
	uint32_t nlmsg_len = (uint32_t)len;
	uint8_t *copy = malloc(len > 0 ? len : 1);
	struct flow f;
	int err;

	assert_non_null(copy);
	memcpy(copy, data, len);
	if (fix_len && len >= sizeof(struct nlmsghdr))
		memcpy(copy + offsetof(struct nlmsghdr, nlmsg_len), &nlmsg_len, sizeof(nlmsg_len));
	err = kern_parse(copy, len, &f);
	free(copy);
	return err;
}

static void test_truncations(void **state)
{
	const struct recording *r = *state;
	unsigned int whole = 0;

	for (size_t i = 0; i < r->count; i++) {
		for (size_t len = 0; len < r->msg[i].len; len++) {
			/* The header says more than there is. */
			assert_int_equal(parse_exact(r->msg[i].h, len, false), -1);
			/* The header agrees: well-formed only where an attribute ends. */
			whole += parse_exact(r->msg[i].h, len, true) == 0;
		}
	}
	assert_in_range(whole, r->count, r->count * 16);
}

static void test_mutations(void **state)
{
	static const uint8_t xor [] = { 0x01, 0x04, 0x80, 0xff };
	const struct recording *r = *state;
	uint8_t copy[4096];

	for (size_t i = 0; i < r->count; i++) {
		assert_in_range(r->msg[i].len, 1, sizeof(copy));
		memcpy(copy, r->msg[i].h, r->msg[i].len);
		for (size_t at = 0; at < r->msg[i].len; at++) {
			for (size_t x = 0; x < ARRAY_LEN(xor); x++) {
				copy[at] ^= xor[x];
				(void)parse_exact(copy, r->msg[i].len,
						  false); /* no crash is all we ask */
				copy[at] ^= xor[x];
			}
		}
	}
}

static void test_not_a_flow(void **state)
{
	const struct recording *r = *state;
	struct nlmsghdr h;
	uint8_t copy[4096];

	memcpy(copy, r->msg[0].h, r->msg[0].len);
	memcpy(&h, copy, sizeof(h));
	h.nlmsg_type = NFNL_SUBSYS_CTNETLINK_EXP << 8;
	memcpy(copy, &h, sizeof(h));
	assert_int_equal(parse_exact(copy, r->msg[0].len, false), -1);
	h.nlmsg_type = NLMSG_DONE;
	memcpy(copy, &h, sizeof(h));
	assert_int_equal(parse_exact(copy, r->msg[0].len, false), -1);
	/* A header without attributes names no flow. */
	assert_int_equal(parse_exact(r->msg[0].h, NLMSG_HDRLEN + sizeof(struct nfgenmsg), true),
			 -1);
}

/* ---- What we build ---- */

static const struct nlattr *find(const struct nlmsghdr *h, int type)
{
	const struct nlattr *a;

	mnl_attr_for_each(a, h, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(a) == type)
			return a;
	}
	return NULL;
}

/* The kernel said itself which flows it translates: what we derive must agree. */
static void check_inject(const struct flow *f)
{
	uint8_t buf[KERN_MSG_MAX] __attribute__((aligned(8)));
	const struct nlmsghdr *h = (const void *)buf;
	size_t len = kern_build_inject(buf, sizeof(buf), f, 42);
	struct flow_tuple inverse;
	struct flow back;

	assert_true(len > 0);
	assert_true(mnl_nlmsg_ok(h, (int)len));
	assert_int_equal(h->nlmsg_seq, 42);
	assert_int_equal(h->nlmsg_flags, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL);
	assert_int_equal(find(h, CTA_NAT_SRC) != NULL, (f->status & NAT_SRC) != 0);
	assert_int_equal(find(h, CTA_NAT_DST) != NULL, (f->status & NAT_DST) != 0);
	assert_int_equal(kern_parse(buf, len, &back), 0);
	assert_memory_equal(&back.key, &f->key, sizeof(f->key));
	flow_inverse(&f->key, &inverse);
	assert_memory_equal(&back.reply, &inverse, sizeof(inverse));
	assert_int_equal(back.status, (f->status & 0x240e) | 0x8);
	assert_true(back.timeout_s != 0);
	assert_int_equal(back.mark, f->mark);
	assert_int_equal(back.has & FLOW_HAS_TCP, f->has & FLOW_HAS_TCP);
	assert_int_equal(back.tcp.state, f->tcp.state);
	for (size_t shorter = 0; shorter < len; shorter++) {
		uint8_t *exact = malloc(shorter > 0 ? shorter : 1);

		assert_non_null(exact);
		assert_int_equal(kern_build_inject(exact, shorter, f, 42), 0);
		free(exact);
	}
}

static void test_inject(void **state)
{
	const struct recording *r = *state;
	struct flow f;

	for (size_t i = 0; i < r->count; i++) {
		assert_int_equal(kern_parse(r->msg[i].h, r->msg[i].len, &f), 0);
		check_inject(&f);
	}
}

static uint32_t status_of(const void *msg)
{
	const struct nlattr *a = find(msg, CTA_STATUS);

	assert_non_null(a);
	return ntohl(mnl_attr_get_u32(a));
}

/* No kernel here offloads: the kernel's own messages, as if each flow were. */
static void check_offload(const struct message *m)
{
	const uint32_t all = htonl(UINT32_MAX), offload = IPS_OFFLOAD | IPS_HW_OFFLOAD;
	uint8_t in[KERN_MSG_MAX] __attribute__((aligned(8))), packed[FLOW_PACKED_MAX];
	uint8_t out[KERN_MSG_MAX] __attribute__((aligned(8)));
	struct flow f, peers;

	memcpy(in, m->h, m->len);
	memcpy(mnl_attr_get_payload(find((const void *)in, CTA_STATUS)), &all, sizeof(all));
	assert_int_equal(kern_parse(in, m->len, &f), 0);
	assert_int_equal(f.status & offload, offload);
	assert_int_equal(flow_unpack(packed, flow_pack(&f, packed), &peers), 0);
	assert_int_equal(peers.status, FLOW_STATUS_MASK);
	assert_int_equal(peers.status & offload, 0);
	assert_true(kern_build_inject(out, sizeof(out), &f, 1) > 0);
	assert_int_equal(status_of(out) & offload, 0);
	assert_int_equal(kern_update_status(&f, UINT32_MAX) & offload, 0);
}

static void test_offload_stays_home(void **state)
{
	const struct recording *r = *state;
	size_t checked = 0;

	for (size_t i = 0; i < r->count; i++) {
		if (r->msg[i].len > KERN_MSG_MAX || !find(r->msg[i].h, CTA_STATUS))
			continue;
		check_offload(&r->msg[i]);
		checked++;
	}
	assert_in_range(checked, 100, r->count);
}

/* The largest message that can be: the room in a batch must hold it. */
static void test_inject_largest(void **state)
{
	uint8_t buf[KERN_MSG_MAX];
	struct flow f = { .has = 0xff,
			  .key = { .l3 = 6, .proto = IPPROTO_TCP, .zone = 1, .zone_dir = 1 } };

	(void)state;
	memset(&f.key.orig, 0x11, sizeof(f.key.orig));
	memset(&f.reply, 0x22, sizeof(f.reply));
	f.mark = UINT32_MAX;
	f.tcp.state = 3;
	assert_in_range(kern_build_inject(buf, sizeof(buf), &f, 1), 300, KERN_MSG_MAX);
	f.tcp.state = 10;
	assert_int_equal(kern_build_inject(buf, sizeof(buf), &f, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_differential),   cmocka_unit_test(test_recording_is_rich),
		cmocka_unit_test(test_truncations),    cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_not_a_flow),     cmocka_unit_test(test_inject),
		cmocka_unit_test(test_inject_largest), cmocka_unit_test(test_offload_stays_home),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
