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

static bool parse_orig(const struct attr *a, struct flow *f)
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

/* The kernel sends the original tuple first; a reply tuple in front of it, or of another kind, is
 * refused. */
static bool parse_reply(const struct attr *a, struct flow *f)
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

static bool parse_protoinfo(const struct attr *nest, struct flow *f)
{
	struct span s = attr_span(nest);
	struct attr a;
	int r;

	while ((r = attr_next(&s, &a)) > 0) {
		if (a.type == CTA_PROTOINFO_TCP && !parse_tcp(&a, f))
			return false;
	}
	return r == 0;
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
		return true;
	}
}

int kern_parse(const void *nlmsg, size_t len, struct flow *f)
{
	const uint8_t *p = nlmsg;
	struct nlmsghdr h;
	struct span s;
	struct attr a;
	int r, op;

	if (len < NLMSG_HDRLEN + sizeof(struct nfgenmsg))
		return -1;
	memcpy(&h, p, sizeof(h));
	if (h.nlmsg_len < NLMSG_HDRLEN + sizeof(struct nfgenmsg) || h.nlmsg_len > len)
		return -1;
	op = NFNL_MSG_TYPE(h.nlmsg_type);
	if (NFNL_SUBSYS_ID(h.nlmsg_type) != NFNL_SUBSYS_CTNETLINK ||
	    (op != IPCTNL_MSG_CT_NEW && op != IPCTNL_MSG_CT_DELETE))
		return -1;
	memset(f, 0, sizeof(*f));
	s = (struct span){ .at = p + NLMSG_HDRLEN + sizeof(struct nfgenmsg),
			   .end = p + h.nlmsg_len };
	while ((r = attr_next(&s, &a)) > 0) {
		if (!parse_one(&a, f))
			return -1;
	}
	return r == 0 && f->key.l3 != 0 ? 0 : -1;
}
