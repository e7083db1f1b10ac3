/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctnetlink messages into struct flow. No state, no system calls.
 *
 * This runs once per kernel event and is the daemon's hottest code: one pass, every length checked
 * before a byte is read, attributes straight into the flow, unknown ones skipped. A message that
 * does not add up is refused whole. Nothing is asserted and no alignment is assumed: what comes
 * here is not ours. The layout: linux/netfilter/nfnetlink_conntrack.h.
 */
#include "kern.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <string.h>

#define WSCALE_MAX 14 /* RFC 7323, 2.3 */

struct span {
	const uint8_t *at, *end;
};

struct attr {
	const uint8_t *data;
	uint16_t type, len;
};

enum got { GOT_SRC = 1, GOT_DST = 2, GOT_PROTO = 4, GOT_SPORT = 8, GOT_DPORT = 16 };

struct tuple_in {
	struct flow_tuple *tuple;
	uint8_t l3, proto, got;
	bool has_zone;
	uint16_t zone;
};

/* 1: one attribute; 0: the end; -1: malformed. */
static inline int attr_next(struct span *s, struct attr *a)
{
	size_t left = (size_t)(s->end - s->at), step;
	struct nlattr h;

	if (left == 0)
		return 0;
	if (left < sizeof(h))
		return -1;
	memcpy(&h, s->at, sizeof(h));
	if (h.nla_len < sizeof(h) || h.nla_len > left)
		return -1;
	a->type = h.nla_type & NLA_TYPE_MASK;
	a->len = (uint16_t)(h.nla_len - sizeof(h));
	a->data = s->at + sizeof(h);
	step = NLA_ALIGN(h.nla_len);
	s->at += step < left ? step : left;
	return 1;
}

static inline struct span attr_span(const struct attr *a)
{
	return (struct span){ .at = a->data, .end = a->data + a->len };
}

static inline bool attr_copy(const struct attr *a, void *out, size_t len)
{
	if (a->len != len)
		return false;
	memcpy(out, a->data, len);
	return true;
}

static inline bool attr_u32(const struct attr *a, uint32_t *out)
{
	uint32_t be;

	if (!attr_copy(a, &be, sizeof(be)))
		return false;
	*out = ntohl(be);
	return true;
}

static inline bool attr_u16(const struct attr *a, uint16_t *out)
{
	uint16_t be;

	if (!attr_copy(a, &be, sizeof(be)))
		return false;
	*out = ntohs(be);
	return true;
}

static inline bool parse_addr(const struct attr *a, struct tuple_in *t)
{
	bool v4 = a->type == CTA_IP_V4_SRC || a->type == CTA_IP_V4_DST;
	bool src = a->type == CTA_IP_V4_SRC || a->type == CTA_IP_V6_SRC;
	uint8_t l3 = v4 ? 4 : 6;

	if (t->l3 != 0 && t->l3 != l3)
		return false;
	t->l3 = l3;
	t->got |= src ? GOT_SRC : GOT_DST;
	return attr_copy(a, src ? t->tuple->src : t->tuple->dst, v4 ? 4 : 16);
}

static bool parse_ip(const struct attr *nest, struct tuple_in *t)
{
	struct span s = attr_span(nest);
	struct attr a;
	int r;

	while ((r = attr_next(&s, &a)) > 0) {
		if (a.type >= CTA_IP_V4_SRC && a.type <= CTA_IP_V6_DST && !parse_addr(&a, t))
			return false;
	}
	return r == 0;
}

static inline bool parse_l4_one(const struct attr *a, struct tuple_in *t)
{
	struct flow_tuple *u = t->tuple;

	switch (a->type) {
	case CTA_PROTO_NUM:
		t->got |= GOT_PROTO;
		return attr_copy(a, &t->proto, 1);
	case CTA_PROTO_SRC_PORT:
	case CTA_PROTO_ICMP_ID:
	case CTA_PROTO_ICMPV6_ID:
		t->got |= GOT_SPORT;
		return attr_copy(a, &u->sport, 2);
	case CTA_PROTO_DST_PORT:
		t->got |= GOT_DPORT;
		return attr_copy(a, &u->dport, 2);
	case CTA_PROTO_ICMP_TYPE:
	case CTA_PROTO_ICMPV6_TYPE:
		t->got |= GOT_DPORT;
		return attr_copy(a, &u->dport, 1);
	case CTA_PROTO_ICMP_CODE:
	case CTA_PROTO_ICMPV6_CODE:
		return attr_copy(a, (uint8_t *)&u->dport + 1, 1);
	default:
		return true;
	}
}

static bool parse_l4(const struct attr *nest, struct tuple_in *t)
{
	struct span s = attr_span(nest);
	struct attr a;
	int r;

	while ((r = attr_next(&s, &a)) > 0) {
		if (!parse_l4_one(&a, t))
			return false;
	}
	return r == 0;
}

static inline bool needs_ports(uint8_t proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_ICMP ||
	       proto == IPPROTO_ICMPV6;
}

static bool parse_tuple(const struct attr *nest, struct tuple_in *t)
{
	struct span s = attr_span(nest);
	uint8_t need = GOT_SRC | GOT_DST | GOT_PROTO;
	bool ok = true;
	struct attr a;
	int r;

	while (ok && (r = attr_next(&s, &a)) > 0) {
		switch (a.type) {
		case CTA_TUPLE_IP:
			ok = parse_ip(&a, t);
			break;
		case CTA_TUPLE_PROTO:
			ok = parse_l4(&a, t);
			break;
		case CTA_TUPLE_ZONE:
			t->has_zone = true;
			ok = attr_u16(&a, &t->zone);
			break;
		default:
			break;
		}
	}
	if (!ok || r < 0)
		return false;
	if (needs_ports(t->proto))
		need |= GOT_SPORT | GOT_DPORT;
	return (t->got & need) == need;
}

static inline bool parse_orig(const struct attr *a, struct flow *f)
{
	struct tuple_in t = { .tuple = &f->key.orig };

	if (f->key.l3 != 0 || !parse_tuple(a, &t)) /* a second one would leave bytes of the first */
		return false;
	f->key.l3 = t.l3;
	f->key.proto = t.proto;
	if (t.has_zone) {
		f->key.zone = t.zone;
		f->key.zone_dir = 1;
	}
	return true;
}

/* The tuple of another flow (the master) or of addresses alone; of the family of f. */
static COLD bool parse_other(const struct attr *a, struct flow *f, struct flow_tuple *tuple,
			     uint8_t *proto)
{
	struct tuple_in t = { .tuple = tuple };

	memset(tuple, 0, sizeof(*tuple));
	if (!parse_tuple(a, &t) || t.l3 != f->key.l3)
		return false;
	*proto = t.proto;
	return true;
}

static bool parse_master(const struct attr *a, struct flow *f)
{
	flow_begin_ext(f);
	f->has |= FLOW_HAS_MASTER;
	return parse_other(a, f, &f->ext.master.orig, &f->ext.master.proto);
}

/* The kernel sends the original tuple first; a reply tuple in front of it, or of another kind, is
 * refused. */
static inline bool parse_reply(const struct attr *a, struct flow *f)
{
	struct tuple_in t = { .tuple = &f->reply };

	if ((f->has & FLOW_HAS_REPLY) != 0 || !parse_tuple(a, &t) || t.l3 != f->key.l3 ||
	    t.proto != f->key.proto)
		return false;
	if (t.has_zone) {
		f->key.zone = t.zone;
		f->key.zone_dir = 2;
	}
	f->has |= FLOW_HAS_REPLY;
	return true;
}

static bool parse_tcp(const struct attr *nest, struct flow *f)
{
	struct span s = attr_span(nest);
	struct nf_ct_tcp_flags flags;
	uint8_t scale;
	struct attr a;
	int r;

	while ((r = attr_next(&s, &a)) > 0) {
		switch (a.type) {
		case CTA_PROTOINFO_TCP_STATE:
			if (!attr_copy(&a, &f->tcp.state, 1))
				return false;
			f->has |= FLOW_HAS_TCP;
			break;
		case CTA_PROTOINFO_TCP_WSCALE_ORIGINAL:
		case CTA_PROTOINFO_TCP_WSCALE_REPLY:
			if (!attr_copy(&a, &scale, 1))
				return false;
			f->tcp.wscale[a.type - CTA_PROTOINFO_TCP_WSCALE_ORIGINAL] =
				scale > WSCALE_MAX ? WSCALE_MAX : scale;
			break;
		case CTA_PROTOINFO_TCP_FLAGS_ORIGINAL:
		case CTA_PROTOINFO_TCP_FLAGS_REPLY:
			if (!attr_copy(&a, &flags, sizeof(flags)))
				return false;
			f->tcp.flags[a.type - CTA_PROTOINFO_TCP_FLAGS_ORIGINAL] = flags.flags;
			break;
		default:
			break;
		}
	}
	return r == 0;
}

static COLD bool parse_sctp(const struct attr *nest, struct flow *f)
{
	struct flow_sctp *sctp = &f->ext.sctp;
	struct span s = attr_span(nest);
	struct attr a;
	bool ok = true;
	int r;

	flow_begin_ext(f);
	while (ok && (r = attr_next(&s, &a)) > 0) {
		switch (a.type) {
		case CTA_PROTOINFO_SCTP_STATE:
			ok = attr_copy(&a, &sctp->state, 1);
			f->has |= FLOW_HAS_SCTP;
			break;
		case CTA_PROTOINFO_SCTP_VTAG_ORIGINAL:
			ok = attr_u32(&a, &sctp->vtag[0]);
			break;
		case CTA_PROTOINFO_SCTP_VTAG_REPLY:
			ok = attr_u32(&a, &sctp->vtag[1]);
			break;
		default:
			break;
		}
	}
	return ok && r == 0;
}

static bool parse_protoinfo(const struct attr *nest, struct flow *f)
{
	struct span s = attr_span(nest);
	struct attr a;
	int r;

	while ((r = attr_next(&s, &a)) > 0) {
		if (a.type == CTA_PROTOINFO_TCP && !parse_tcp(&a, f))
			return false;
		if (a.type == CTA_PROTOINFO_SCTP && !parse_sctp(&a, f))
			return false;
	}
	return r == 0;
}

/* ---- What few flows have ---- */

/* A name with its NUL; longer ones than the kernel's are none of its. */
static bool parse_name(const struct attr *a, char *name, size_t max)
{
	if (a->len == 0 || a->len > max || a->data[a->len - 1] != '\0')
		return false;
	memset(name, 0, max);
	memcpy(name, a->data, a->len);
	return true;
}

static bool parse_help(const struct attr *nest, struct flow *f)
{
	struct span s = attr_span(nest);
	struct attr a;
	int r;

	while ((r = attr_next(&s, &a)) > 0) {
		if (a.type != CTA_HELP_NAME)
			continue;
		flow_begin_ext(f);
		if (!parse_name(&a, f->ext.helper, FLOW_NAME_LEN))
			return false;
		f->has |= FLOW_HAS_HELPER;
	}
	return r == 0;
}

/* Three numbers in a nest, of the types 1 to 3. */
static bool parse_three(const struct attr *nest, uint32_t *v)
{
	struct span s = attr_span(nest);
	struct attr a;
	int r;

	memset(v, 0, 3 * sizeof(*v));
	while ((r = attr_next(&s, &a)) > 0) {
		if (a.type >= 1 && a.type <= 3 && !attr_u32(&a, &v[a.type - 1]))
			return false;
	}
	return r == 0;
}

static bool parse_seqadj(const struct attr *nest, struct flow *f)
{
	uint32_t v[3];

	if (!parse_three(nest, v))
		return false;
	flow_begin_ext(f);
	f->has |= FLOW_HAS_SEQADJ;
	f->ext.seqadj[nest->type == CTA_SEQ_ADJ_REPLY] =
		(struct flow_seqadj){ .pos = v[0], .before = v[1], .after = v[2] };
	return true;
}

static bool parse_synproxy(const struct attr *nest, struct flow *f)
{
	uint32_t v[3];

	if (!parse_three(nest, v))
		return false;
	flow_begin_ext(f);
	f->has |= FLOW_HAS_SYNPROXY;
	f->ext.synproxy = (struct flow_synproxy){ .isn = v[0], .its = v[1], .tsoff = v[2] };
	return true;
}

static bool parse_labels(const struct attr *a, struct flow *f)
{
	if (a->len == 0 || a->len > FLOW_LABELS_LEN)
		return false;
	flow_begin_ext(f);
	memset(f->ext.labels, 0, FLOW_LABELS_LEN);
	memcpy(f->ext.labels, a->data, a->len);
	f->has |= FLOW_HAS_LABELS;
	return true;
}

static COLD bool parse_rare(const struct attr *a, struct flow *f)
{
	switch (a->type) {
	case CTA_HELP:
		return parse_help(a, f);
	case CTA_TUPLE_MASTER:
		return parse_master(a, f);
	case CTA_LABELS:
		return parse_labels(a, f);
	case CTA_SEQ_ADJ_ORIG:
	case CTA_SEQ_ADJ_REPLY:
		return parse_seqadj(a, f);
	case CTA_SYNPROXY:
		return parse_synproxy(a, f);
	default:
		return true;
	}
}

static inline bool parse_one(const struct attr *a, struct flow *f)
{
	switch (a->type) {
	case CTA_TUPLE_ORIG:
		return parse_orig(a, f);
	case CTA_TUPLE_REPLY:
		return parse_reply(a, f);
	case CTA_PROTOINFO:
		return parse_protoinfo(a, f);
	case CTA_STATUS:
		f->has |= FLOW_HAS_STATUS;
		return attr_u32(a, &f->status);
	case CTA_TIMEOUT:
		f->has |= FLOW_HAS_TIMEOUT;
		return attr_u32(a, &f->timeout_s);
	case CTA_MARK:
		f->has |= FLOW_HAS_MARK;
		return attr_u32(a, &f->mark);
	case CTA_ID:
		f->has |= FLOW_HAS_ID;
		return attr_u32(a, &f->id);
	case CTA_ZONE:
		f->key.zone_dir = 0;
		return attr_u16(a, &f->key.zone);
	default:
		return parse_rare(a, f);
	}
}

/* ---- Expectations ---- */

/* The source of the mask; its destination is all ones always. */
static bool parse_mask(const struct attr *a, struct flow *f)
{
	struct flow_expect *x = &f->ext.expect;
	struct flow_tuple mask;
	uint8_t proto;

	if (!parse_other(a, f, &mask, &proto))
		return false;
	memcpy(x->mask_src, mask.src, sizeof(x->mask_src));
	x->mask_sport = mask.sport;
	return true;
}

static bool parse_expect_nat(const struct attr *nest, struct flow *f)
{
	struct flow_expect *x = &f->ext.expect;
	struct span s = attr_span(nest);
	struct flow_tuple to;
	uint32_t dir = 0;
	struct attr a;
	uint8_t proto;
	int r;

	while ((r = attr_next(&s, &a)) > 0) {
		if (a.type == CTA_EXPECT_NAT_DIR && !attr_u32(&a, &dir))
			return false;
		if (a.type != CTA_EXPECT_NAT_TUPLE)
			continue;
		if (!parse_other(&a, f, &to, &proto))
			return false;
		memcpy(x->nat_addr, to.src, sizeof(x->nat_addr));
		x->nat_port = to.sport;
		f->has |= FLOW_HAS_EXPECT_NAT;
	}
	x->nat_dir = dir != 0;
	return r == 0;
}

static bool parse_number(const struct attr *a, uint8_t *out)
{
	uint32_t v;

	if (!attr_u32(a, &v) || v > UINT8_MAX)
		return false;
	*out = (uint8_t)v;
	return true;
}

static bool parse_expect_one(const struct attr *a, struct flow *f)
{
	switch (a->type) {
	case CTA_EXPECT_TUPLE:
		return true; /* was read first */
	case CTA_EXPECT_MASTER:
		return parse_master(a, f);
	case CTA_EXPECT_MASK:
		return parse_mask(a, f);
	case CTA_EXPECT_TIMEOUT:
		f->has |= FLOW_HAS_TIMEOUT;
		return attr_u32(a, &f->timeout_s);
	case CTA_EXPECT_ID:
		f->has |= FLOW_HAS_ID;
		return attr_u32(a, &f->id);
	case CTA_EXPECT_HELP_NAME:
		f->has |= FLOW_HAS_HELPER;
		return parse_name(a, f->ext.helper, FLOW_NAME_LEN);
	case CTA_EXPECT_ZONE:
		return attr_u16(a, &f->key.zone);
	case CTA_EXPECT_FLAGS:
		return parse_number(a, &f->ext.expect.flags);
	case CTA_EXPECT_CLASS:
		return parse_number(a, &f->ext.expect.class);
	case CTA_EXPECT_NAT:
		return parse_expect_nat(a, f);
	case CTA_EXPECT_FN:
		f->has |= FLOW_HAS_EXPECT_FN;
		return parse_name(a, f->ext.expect.fn, FLOW_FN_LEN);
	default:
		return true;
	}
}

/* The master comes before the tuple, which tells the family that all others must have. */
static COLD int parse_expect(struct span all, struct flow *f)
{
	struct span s = all;
	bool got_mask = false;
	struct attr a;
	int r;

	flow_begin_ext(f);
	f->has |= FLOW_HAS_EXPECT; /* nothing without the mask, below */
	while ((r = attr_next(&s, &a)) > 0) {
		if (a.type == CTA_EXPECT_TUPLE && !parse_orig(&a, f))
			return -1;
	}
	if (r < 0 || f->key.l3 == 0)
		return -1;
	f->key.expect = 1;
	f->key.zone_dir = 0; /* it is in its master's zone, which ever direction that counts for */
	while ((r = attr_next(&all, &a)) > 0) {
		if (!parse_expect_one(&a, f))
			return -1;
		got_mask = got_mask || a.type == CTA_EXPECT_MASK;
	}
	return r == 0 && got_mask && (f->has & FLOW_HAS_MASTER) != 0 ? 0 : -1;
}

static inline int parse_flow(struct span s, struct flow *f)
{
	struct attr a;
	int r;

	while ((r = attr_next(&s, &a)) > 0) {
		if (!parse_one(&a, f))
			return -1;
	}
	return r == 0 && f->key.l3 != 0 ? 0 : -1;
}

int kern_parse(const void *nlmsg, size_t len, struct flow *f)
{
	const uint8_t *p = nlmsg;
	struct nlmsghdr h;
	struct span s;

	if (len < NLMSG_HDRLEN + sizeof(struct nfgenmsg))
		return -1;
	memcpy(&h, p, sizeof(h));
	if (h.nlmsg_len < NLMSG_HDRLEN + sizeof(struct nfgenmsg) || h.nlmsg_len > len)
		return -1;
	_Static_assert(IPCTNL_MSG_CT_NEW == (int)IPCTNL_MSG_EXP_NEW &&
			       IPCTNL_MSG_CT_DELETE == (int)IPCTNL_MSG_EXP_DELETE,
		       "both subsystems number them alike");
	if (NFNL_MSG_TYPE(h.nlmsg_type) != IPCTNL_MSG_CT_NEW &&
	    NFNL_MSG_TYPE(h.nlmsg_type) != IPCTNL_MSG_CT_DELETE)
		return -1;
	flow_clear(f);
	s = (struct span){ .at = p + NLMSG_HDRLEN + sizeof(struct nfgenmsg),
			   .end = p + h.nlmsg_len };
	if (NFNL_SUBSYS_ID(h.nlmsg_type) == NFNL_SUBSYS_CTNETLINK)
		return parse_flow(s, f);
	if (NFNL_SUBSYS_ID(h.nlmsg_type) == NFNL_SUBSYS_CTNETLINK_EXP)
		return parse_expect(s, f);
	return -1;
}
