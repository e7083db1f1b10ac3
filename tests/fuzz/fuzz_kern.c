/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel says, and what we make of flows for it. The first byte chooses: a ctnetlink
 * message to kern_parse, its length set right or left as it is; or a packed flow as it comes out of
 * a datagram, to the builders of messages. Beyond "no read past the end": a flow that parses packs,
 * unpacks to the same flow, and packs to the same bytes; a message that we build parses to the key
 * and the state that went in.
 *
 * Decoders: daemon/kern_parse.c
 * Built of: daemon/kern_parse.c daemon/kern_msg.c proto/flow*.c -lmnl -lnetfilter_conntrack
 */
#include "fuzz.h"

#include <assert.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "flow.h"
#include "kern.h"
#include "kern_msg.h"

#define LINE_MAX 1024
#define STATUS_BOTH_WAYS 0x240eU /* goes into a create and comes back: kern_msg.c */
#define STATUS_CONFIRMED 0x8U
#define STATUS_FIXED_TIMEOUT 0x400U
#define STATUS_HELPER 0x2000U
#define EXT_BOTH_WAYS                                                                              \
	(FLOW_HAS_LABELS | FLOW_HAS_HELPER | FLOW_HAS_MASTER | FLOW_HAS_SEQADJ | FLOW_HAS_SYNPROXY)

static bool tail_is_zero(const struct flow_tuple *t)
{
	static const uint8_t zero[12];

	return !memcmp(t->src + 4, zero, sizeof(zero)) && !memcmp(t->dst + 4, zero, sizeof(zero));
}

/* Flows compare by memcmp, so unused bytes are zero. */
static void check_key(const struct flow *f)
{
	assert(f->key.l3 == 4 || f->key.l3 == 6);
	assert(f->key.expect <= 1 && f->key.zone_dir <= 2);
	if (f->key.l3 == 4)
		assert(tail_is_zero(&f->key.orig));
	if (f->key.l3 == 4 && f->has & FLOW_HAS_REPLY)
		assert(tail_is_zero(&f->reply));
	if (f->key.l3 == 4 && f->has & FLOW_HAS_MASTER)
		assert(tail_is_zero(&f->ext.master.orig));
}

static void check_packs(const struct flow *f)
{
	uint8_t body[FLOW_PACKED_MAX], again[FLOW_PACKED_MAX];
	size_t len = flow_pack(f, body);
	struct flow back;

	assert(len <= sizeof(body) && !flow_unpack(body, len, &back));
	assert(flow_key_len(body, len) == flow_key_pack(&f->key, again));
	assert(!memcmp(&back.key.orig, &f->key.orig, sizeof(back.key.orig)));
	assert(back.key.l3 == f->key.l3 && back.key.proto == f->key.proto);
	assert(back.key.zone == f->key.zone);
	if (f->has & FLOW_HAS_REPLY)
		assert(!memcmp(&back.reply, &f->reply, sizeof(back.reply)));
	if (f->has & FLOW_HAS_STATUS && !f->key.expect)
		assert(back.status == (f->status & FLOW_STATUS_MASK));
	if (f->has & FLOW_HAS_MARK)
		assert(back.mark == f->mark);
	assert(flow_pack(&back, again) == len && !memcmp(body, again, len));
}

/* A protocol without ports whose tuple has some: the kernel never says so and is never told so. */
static bool has_odd_ports(const struct flow *f)
{
	static const uint8_t with[] = {
		IPPROTO_ICMP, IPPROTO_TCP,  IPPROTO_UDP,    IPPROTO_DCCP,
		IPPROTO_GRE,  IPPROTO_SCTP, IPPROTO_ICMPV6, IPPROTO_UDPLITE
	};

	return !memchr(with, f->key.proto, sizeof(with)) &&
	       (f->key.orig.sport || f->key.orig.dport);
}

/* GRE has a fixed timer, and nobody has a helper's bit without the helper. */
static uint32_t create_status(const struct flow *f)
{
	uint32_t status = (f->status & STATUS_BOTH_WAYS) | STATUS_CONFIRMED;

	if (f->key.proto == IPPROTO_GRE)
		status |= STATUS_FIXED_TIMEOUT;
	return f->has & FLOW_HAS_HELPER ? status : status & ~STATUS_HELPER;
}

/* What an inject of f makes the kernel say of it. */
static void check_builds(const struct flow *f)
{
	uint8_t buf[KERN_MSG_MAX] __attribute__((aligned(8)));
	size_t len = kern_build_inject(buf, sizeof(buf), f, 42);
	uint32_t id = f->id;
	struct flow back;

	assert(len || (f->has & FLOW_HAS_TCP && f->tcp.state > 9)); /* a state no kernel knows */
	if (len) {
		assert(!kern_parse(buf, len, &back));
		assert(has_odd_ports(f) || !memcmp(&back.key, &f->key, sizeof(f->key)));
	}
	if (len && !f->key.expect) {
		assert(back.status == create_status(f));
		assert(back.mark == f->mark && back.timeout_s);
		assert((back.has & EXT_BOTH_WAYS) == (f->has & EXT_BOTH_WAYS));
	}
	assert(kern_build_get(buf, sizeof(buf), &f->key, 1));
	assert(kern_build_delete(buf, sizeof(buf), &f->key, &id, 1));
	assert(kern_build_timeout(buf, sizeof(buf), &f->key, 9, 1) || f->key.expect);
	assert(kern_build_expect_timeout(buf, sizeof(buf), f, 1) || !f->key.expect);
	(void)kern_build_update(buf, sizeof(buf), f, kern_update_status(f, id), 1); /* or 0 */
}

static void check_text(const struct flow *f)
{
	char line[LINE_MAX];
	int n = kern_format(line, sizeof(line), f);

	assert(n < (int)sizeof(line));
}

/* The default zone has no direction in the packed form, nor in the kernel's. */
static void no_zone(struct flow *f)
{
	if (!f->key.zone)
		f->key.zone_dir = 0;
}

static void from_kernel(uint8_t *p, size_t len, bool set_length)
{
	uint8_t body[FLOW_PACKED_MAX], again[FLOW_PACKED_MAX];
	struct nlmsghdr h;
	struct flow f, merged;

	if (len >= sizeof(h) && set_length) {
		memcpy(&h, p, sizeof(h));
		h.nlmsg_len = (uint32_t)len;
		memcpy(p, &h, sizeof(h));
	}
	if (kern_parse(p, len, &f))
		return;
	check_key(&f);
	no_zone(&f);
	check_packs(&f);
	check_builds(&f);
	check_text(&f);
	flow_copy(&merged, &f);
	flow_merge(&merged, &f);
	assert(!memcmp(&merged, &f, offsetof(struct flow, ext)));
	assert(flow_pack(&merged, again) == flow_pack(&f, body));
	assert(!memcmp(again, body, flow_pack(&f, body)));
}

static void from_wire(const uint8_t *p, size_t len)
{
	struct flow f;

	if (flow_unpack(p, len, &f))
		return;
	check_key(&f);
	no_zone(&f);
	check_builds(&f);
	check_text(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t len = size ? size - 1 : 0;
	uint8_t *p = malloc(len ? len : 1);

	assert(p);
	if (len)
		memcpy(p, data + 1, len);
	if (size && data[0] & 1)
		from_wire(p, len);
	else
		from_kernel(p, len, size && data[0] & 2);
	free(p);
	return 0;
}
