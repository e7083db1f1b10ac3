/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * struct flow into ctnetlink messages, and into text. No state, no system calls; kern_parse.c
 * reads.
 *
 * What is built follows what the kernel demands of a create (net/netfilter/nf_conntrack_netlink.c):
 * the reply tuple goes untranslated, and the translation in CTA_NAT_SRC and CTA_NAT_DST with a
 * fixed address and port each; a translated reply tuple would leave the entry without its NAT bits,
 * and a missing port range would let the kernel pick a port. TCP flags that describe window
 * bookkeeping stay here: the receiving kernel has no such window, and MAXACK_SET with a zero
 * td_maxack would make it drop valid resets.
 */
#include "kern_msg.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <string.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>

/* Flags that mean the same in another kernel. */
#define TCP_FLAGS_PORTABLE                                                                         \
	(IP_CT_TCP_FLAG_WINDOW_SCALE | IP_CT_TCP_FLAG_SACK_PERM | IP_CT_TCP_FLAG_CLOSE_INIT |      \
	 IP_CT_TCP_FLAG_BE_LIBERAL)
#define TCP_FLAGS_MASK 0x3f

/* Status bits that a create may carry. EXPECTED is refused, the NAT bits follow from CTA_NAT_x. */
#define STATUS_CREATE                                                                              \
	(IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED | IPS_FIXED_TIMEOUT | IPS_HELPER)

/* A request under construction. What does not fit sets over and is left out; finish() then says 0.
 */
struct out {
	uint8_t *base, *at, *end;
	bool over;
};

static inline void put(struct out *o, uint16_t type, const void *data, uint16_t len)
{
	struct nlattr h = { .nla_len = (uint16_t)(NLA_HDRLEN + len), .nla_type = type };
	size_t step = NLA_HDRLEN + NLA_ALIGN(len);

	if ((size_t)(o->end - o->at) < step) {
		o->over = true;
		return;
	}
	memset(o->at + step - NLA_ALIGNTO, 0, NLA_ALIGNTO);
	memcpy(o->at, &h, sizeof(h));
	memcpy(o->at + NLA_HDRLEN, data, len);
	o->at += step;
}

static inline void put_u8(struct out *o, uint16_t type, uint8_t v)
{
	put(o, type, &v, sizeof(v));
}

static inline void put_u16(struct out *o, uint16_t type, uint16_t v)
{
	uint16_t be = htons(v);

	put(o, type, &be, sizeof(be));
}

static inline void put_u32(struct out *o, uint16_t type, uint32_t v)
{
	uint32_t be = htonl(v);

	put(o, type, &be, sizeof(be));
}

static inline uint8_t *nest_start(struct out *o, uint16_t type)
{
	struct nlattr h = { .nla_len = NLA_HDRLEN, .nla_type = type | NLA_F_NESTED };
	uint8_t *nest = o->at;

	if ((size_t)(o->end - o->at) < sizeof(h)) {
		o->over = true;
		return nest;
	}
	memcpy(o->at, &h, sizeof(h));
	o->at += sizeof(h);
	return nest;
}

static inline void nest_end(struct out *o, uint8_t *nest)
{
	uint16_t len = (uint16_t)(o->at - nest);

	if (!o->over)
		memcpy(nest + offsetof(struct nlattr, nla_len), &len, sizeof(len));
}

static struct out start_of(uint8_t subsys, void *buf, size_t len, uint8_t op, uint16_t flags,
			   uint32_t seq)
{
	struct nlmsghdr h = { .nlmsg_type = (uint16_t)(subsys << 8 | op),
			      .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
			      .nlmsg_seq = seq };
	struct nfgenmsg g = { .nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0 };
	struct out o = { .base = buf, .at = buf, .end = (uint8_t *)buf + len };

	if (len < NLMSG_HDRLEN + sizeof(g)) {
		o.over = true;
		return o;
	}
	memcpy(o.at, &h, sizeof(h));
	memcpy(o.at + NLMSG_HDRLEN, &g, sizeof(g));
	o.at += NLMSG_HDRLEN + sizeof(g);
	return o;
}

static struct out start(void *buf, size_t len, uint8_t op, uint16_t flags, uint32_t seq)
{
	return start_of(NFNL_SUBSYS_CTNETLINK, buf, len, op, flags, seq);
}

static void set_family(struct out *o, uint8_t l3)
{
	if (!o->over)
		o->base[NLMSG_HDRLEN + offsetof(struct nfgenmsg, nfgen_family)] = l3 == 6 ? AF_INET6
											  : AF_INET;
}

static size_t finish(struct out *o)
{
	uint32_t len = (uint32_t)(o->at - o->base);

	if (o->over)
		return 0;
	memcpy(o->base + offsetof(struct nlmsghdr, nlmsg_len), &len, sizeof(len));
	return len;
}

static bool has_ports(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
	case IPPROTO_GRE:
		return true;
	default:
		return false;
	}
}

static inline bool is_icmp(uint8_t proto)
{
	return proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
}

static void put_l4(struct out *o, uint8_t proto, const struct flow_tuple *t)
{
	uint16_t id = proto == IPPROTO_ICMP ? CTA_PROTO_ICMP_ID : CTA_PROTO_ICMPV6_ID;
	const uint8_t *type_code = (const uint8_t *)&t->dport;
	uint8_t *nest = nest_start(o, CTA_TUPLE_PROTO);

	put_u8(o, CTA_PROTO_NUM, proto);
	if (is_icmp(proto)) { /* TYPE and CODE follow ID in both families */
		put(o, id, &t->sport, 2);
		put_u8(o, id + 1, type_code[0]);
		put_u8(o, id + 2, type_code[1]);
	} else if (has_ports(proto)) {
		put(o, CTA_PROTO_SRC_PORT, &t->sport, 2);
		put(o, CTA_PROTO_DST_PORT, &t->dport, 2);
	}
	nest_end(o, nest);
}

static void put_addrs(struct out *o, uint8_t l3, const struct flow_tuple *t)
{
	uint8_t *ip = nest_start(o, CTA_TUPLE_IP);

	if (l3 == 6) {
		put(o, CTA_IP_V6_SRC, t->src, 16);
		put(o, CTA_IP_V6_DST, t->dst, 16);
	} else {
		put(o, CTA_IP_V4_SRC, t->src, 4);
		put(o, CTA_IP_V4_DST, t->dst, 4);
	}
	nest_end(o, ip);
}

/* A tuple of another flow than the message's own. */
static void put_other(struct out *o, uint16_t type, uint8_t l3, uint8_t proto,
		      const struct flow_tuple *t)
{
	uint8_t *nest = nest_start(o, type);

	put_addrs(o, l3, t);
	put_l4(o, proto, t);
	nest_end(o, nest);
}

/* zone: the directional zone of this tuple, 0 = none. */
static void put_tuple(struct out *o, uint16_t type, const struct flow_key *key,
		      const struct flow_tuple *t, uint16_t zone)
{
	uint8_t *nest = nest_start(o, type);

	put_addrs(o, key->l3, t);
	put_l4(o, key->proto, t);
	if (zone != 0)
		put_u16(o, CTA_TUPLE_ZONE, zone);
	nest_end(o, nest);
}

/* Original tuple and zone. An entry whose zone holds for replies alone lies in the default zone by
 * its original tuple, so a look-up of it needs none. */
static void put_key(struct out *o, const struct flow_key *key)
{
	set_family(o, key->l3);
	put_tuple(o, CTA_TUPLE_ORIG, key, &key->orig, key->zone_dir == 1 ? key->zone : 0);
	if (key->zone_dir == 0 && key->zone != 0)
		put_u16(o, CTA_ZONE, key->zone);
}

static void put_reply(struct out *o, const struct flow_key *key, const struct flow_tuple *reply)
{
	put_tuple(o, CTA_TUPLE_REPLY, key, reply, key->zone_dir == 2 ? key->zone : 0);
}

/* mask: the flags to clear when tcp lacks them. */
static void put_tcp(struct out *o, const struct flow_tcp *tcp, uint8_t mask)
{
	uint8_t *info = nest_start(o, CTA_PROTOINFO), *nest = nest_start(o, CTA_PROTOINFO_TCP);
	struct nf_ct_tcp_flags flags[2];

	/* The kernel indexes tables by it. */
	o->over = o->over || tcp->state > TCP_CONNTRACK_SYN_SENT2;
	for (int i = 0; i < 2; i++) {
		flags[i].flags = tcp->flags[i] & TCP_FLAGS_PORTABLE;
		/* A handshake half seen cannot be followed: this kernel knows neither side's
		 * window. */
		if (tcp->state == TCP_CONNTRACK_SYN_RECV)
			flags[i].flags |= IP_CT_TCP_FLAG_BE_LIBERAL;
		flags[i].mask = mask | flags[i].flags;
	}
	put_u8(o, CTA_PROTOINFO_TCP_STATE, tcp->state);
	put_u8(o, CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, tcp->wscale[0]);
	put_u8(o, CTA_PROTOINFO_TCP_WSCALE_REPLY, tcp->wscale[1]);
	put(o, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, &flags[0], sizeof(flags[0]));
	put(o, CTA_PROTOINFO_TCP_FLAGS_REPLY, &flags[1], sizeof(flags[1]));
	nest_end(o, nest);
	nest_end(o, info);
}

/* One translation: a range of one address, and of one port where the protocol has such. port:
 * network order. */
static void put_nat(struct out *o, uint16_t type, const struct flow_key *key, const uint8_t *addr,
		    const uint16_t *port)
{
	uint8_t *nest = nest_start(o, type), *proto;

	if (key->l3 == 6) {
		put(o, CTA_NAT_V6_MINIP, addr, 16);
		put(o, CTA_NAT_V6_MAXIP, addr, 16);
	} else {
		put(o, CTA_NAT_V4_MINIP, addr, 4);
		put(o, CTA_NAT_V4_MAXIP, addr, 4);
	}
	if (has_ports(key->proto) || is_icmp(key->proto)) {
		proto = nest_start(o, CTA_NAT_PROTO);
		put(o, CTA_PROTONAT_PORT_MIN, port, 2);
		put(o, CTA_PROTONAT_PORT_MAX, port, 2);
		nest_end(o, proto);
	}
	nest_end(o, nest);
}

/* What the reply tuple tells of NAT: its destination is the translated source, its source the
 * translated destination. An ICMP id stands in the same place of both tuples; the kernel counts it
 * with the source, and takes it for either. Keys of GRE are no part of a range: the kernel
 * translates them for PPTP's helper alone, so inverse has them translated already. */
static void put_nats(struct out *o, const struct flow *f, const struct flow_tuple *inverse)
{
	const struct flow_tuple *r = &f->reply;
	bool icmp = is_icmp(f->key.proto);
	bool snat = memcmp(r->dst, inverse->dst, sizeof(r->dst)) != 0;
	bool dnat = memcmp(r->src, inverse->src, sizeof(r->src)) != 0;

	if (icmp) {
		snat = snat || r->sport != inverse->sport;
	} else {
		snat = snat || r->dport != inverse->dport;
		dnat = dnat || r->sport != inverse->sport;
	}
	if (snat)
		put_nat(o, CTA_NAT_SRC, &f->key, r->dst, icmp ? &r->sport : &r->dport);
	if (dnat)
		put_nat(o, CTA_NAT_DST, &f->key, r->src, &r->sport);
}

/* ---- What few flows have ---- */

static void put_sctp(struct out *o, const struct flow_sctp *sctp)
{
	uint8_t *info = nest_start(o, CTA_PROTOINFO), *nest = nest_start(o, CTA_PROTOINFO_SCTP);

	put_u8(o, CTA_PROTOINFO_SCTP_STATE, sctp->state);
	put_u32(o, CTA_PROTOINFO_SCTP_VTAG_ORIGINAL, sctp->vtag[0]);
	put_u32(o, CTA_PROTOINFO_SCTP_VTAG_REPLY, sctp->vtag[1]);
	nest_end(o, nest);
	nest_end(o, info);
}

static void put_name(struct out *o, uint16_t type, const char *name)
{
	put(o, type, name, (uint16_t)(strlen(name) + 1));
}

/* Three numbers in a nest, of the types 1 to 3. */
static void put_three(struct out *o, uint16_t type, uint32_t a, uint32_t b, uint32_t c)
{
	uint8_t *nest = nest_start(o, type);

	put_u32(o, 1, a);
	put_u32(o, 2, b);
	put_u32(o, 3, c);
	nest_end(o, nest);
}

static void put_seqadj(struct out *o, uint16_t type, const struct flow_seqadj *s)
{
	put_three(o, type, s->pos, s->before, s->after);
}

/* What can be written into an entry that exists as well. */
static void put_changeable(struct out *o, const struct flow *f)
{
	const struct flow_ext *x = &f->ext;

	if ((f->has & FLOW_HAS_SCTP) != 0)
		put_sctp(o, &x->sctp);
	if ((f->has & FLOW_HAS_SEQADJ) != 0) {
		put_seqadj(o, CTA_SEQ_ADJ_ORIG, &x->seqadj[0]);
		put_seqadj(o, CTA_SEQ_ADJ_REPLY, &x->seqadj[1]);
	}
	if ((f->has & FLOW_HAS_LABELS) != 0)
		put(o, CTA_LABELS, x->labels, FLOW_LABELS_LEN);
	if ((f->has & FLOW_HAS_SYNPROXY) != 0)
		put_three(o, CTA_SYNPROXY, x->synproxy.isn, x->synproxy.its, x->synproxy.tsoff);
}

static void put_helper(struct out *o, const struct flow *f)
{
	uint8_t *nest;

	if ((f->has & FLOW_HAS_HELPER) == 0)
		return;
	nest = nest_start(o, CTA_HELP);
	put_name(o, CTA_HELP_NAME, f->ext.helper);
	nest_end(o, nest);
}

static void put_master(struct out *o, const struct flow *f)
{
	if ((f->has & FLOW_HAS_MASTER) != 0)
		put_other(o, CTA_TUPLE_MASTER, f->key.l3, f->ext.master.proto, &f->ext.master.orig);
}

/* The status of an entry to be made. */
static uint32_t create_status(const struct flow *f)
{
	uint32_t status = (f->status & STATUS_CREATE) | IPS_CONFIRMED;

	/* The kernel gives a GRE entry its timeouts at its first packet, before it is confirmed;
	 * one that is made here has none and would end with the next packet. */
	if (f->key.proto == IPPROTO_GRE)
		status |= IPS_FIXED_TIMEOUT;
	if ((f->has & FLOW_HAS_HELPER) == 0)
		status &= ~(uint32_t)IPS_HELPER;
	return status;
}

/* ---- Expectations ---- */

static struct out start_expect(void *buf, size_t len, uint8_t op, uint16_t flags,
			       const struct flow_key *key, uint32_t seq)
{
	struct out o = start_of(NFNL_SUBSYS_CTNETLINK_EXP, buf, len, op, flags, seq);

	set_family(&o, key->l3);
	put_other(&o, CTA_EXPECT_TUPLE, key->l3, key->proto, &key->orig);
	if (key->zone != 0)
		put_u16(&o, CTA_EXPECT_ZONE, key->zone);
	return o;
}

/* What the kernel demands to find an expectation that it is to make or change. */
static void put_expect(struct out *o, const struct flow *f)
{
	struct flow_tuple mask;

	memset(&mask, 0xff, sizeof(mask)); /* the destination counts in full */
	memcpy(mask.src, f->ext.expect.mask_src, sizeof(mask.src));
	mask.sport = f->ext.expect.mask_sport;
	put_other(o, CTA_EXPECT_MASK, f->key.l3, f->key.proto, &mask);
	put_other(o, CTA_EXPECT_MASTER, f->key.l3, f->ext.master.proto, &f->ext.master.orig);
}

static void put_expect_nat(struct out *o, const struct flow *f)
{
	const struct flow_expect *x = &f->ext.expect;
	struct flow_tuple to = { .sport = x->nat_port };
	uint8_t *nest = nest_start(o, CTA_EXPECT_NAT);

	memcpy(to.src, x->nat_addr, sizeof(to.src));
	put_u32(o, CTA_EXPECT_NAT_DIR, x->nat_dir);
	put_other(o, CTA_EXPECT_NAT_TUPLE, f->key.l3, f->ext.master.proto, &to);
	nest_end(o, nest);
}

/* The kernel's message names the helper of the master; a create gives the helper that it names to
 * the connection which comes. Most helpers want none there: the data of an FTP transfer would be
 * read as commands. Those whose connections signal in turn want it, and so does a class, which
 * older kernels take with a helper's name alone. */
static bool names_helper(const struct flow *f)
{
	static const char *const signalling[] = { "sip", "RAS", "Q.931", "H.245" };

	if ((f->has & FLOW_HAS_HELPER) == 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(signalling); i++) {
		if (strncmp(f->ext.helper, signalling[i], strlen(signalling[i])) == 0)
			return true;
	}
	return f->ext.expect.class != 0;
}

/* helper: name it. */
static size_t build_expect(void *buf, size_t len, const struct flow *f, bool helper, uint32_t seq)
{
	struct out o =
		start_expect(buf, len, IPCTNL_MSG_EXP_NEW, NLM_F_CREATE | NLM_F_EXCL, &f->key, seq);
	const struct flow_expect *x = &f->ext.expect;

	if ((f->has & FLOW_HAS_EXPECT) == 0 || (f->has & FLOW_HAS_MASTER) == 0)
		return 0;
	put_expect(&o, f);
	put_u32(&o, CTA_EXPECT_TIMEOUT, f->timeout_s);
	put_u32(&o, CTA_EXPECT_FLAGS, x->flags);
	put_u32(&o, CTA_EXPECT_CLASS, x->class);
	if (helper)
		put_name(&o, CTA_EXPECT_HELP_NAME, f->ext.helper);
	if ((f->has & FLOW_HAS_EXPECT_NAT) != 0)
		put_expect_nat(&o, f);
	if ((f->has & FLOW_HAS_EXPECT_FN) != 0)
		put_name(&o, CTA_EXPECT_FN, x->fn);
	return finish(&o);
}

size_t kern_build_expect_timeout(void *buf, size_t len, const struct flow *f, uint32_t seq)
{
	struct out o = start_expect(buf, len, IPCTNL_MSG_EXP_NEW, 0, &f->key, seq);

	if ((f->has & FLOW_HAS_EXPECT) == 0 || (f->has & FLOW_HAS_MASTER) == 0)
		return 0;
	put_expect(&o, f);
	put_u32(&o, CTA_EXPECT_TIMEOUT, f->timeout_s);
	return finish(&o);
}

/* ---- Requests ---- */

size_t kern_build_inject(void *buf, size_t len, const struct flow *f, uint32_t seq)
{
	struct out o = start(buf, len, IPCTNL_MSG_CT_NEW, NLM_F_CREATE | NLM_F_EXCL, seq);
	struct flow_tuple inverse;

	if (f->key.expect != 0)
		return build_expect(buf, len, f, names_helper(f), seq);
	flow_inverse(&f->key, &inverse);
	if (f->key.proto == IPPROTO_GRE && (f->has & FLOW_HAS_REPLY) != 0) {
		inverse.sport = f->reply.sport;
		inverse.dport = f->reply.dport;
	}
	put_key(&o, &f->key);
	put_reply(&o, &f->key, &inverse);
	put_u32(&o, CTA_STATUS, create_status(f));
	put_u32(&o, CTA_TIMEOUT,
		f->timeout_s != 0 ? f->timeout_s : 1); /* 0 = gone before it is seen */
	if (f->mark != 0)
		put_u32(&o, CTA_MARK, f->mark);
	if (f->key.proto == IPPROTO_TCP && (f->has & FLOW_HAS_TCP) != 0)
		put_tcp(&o, &f->tcp, TCP_FLAGS_MASK);
	if ((f->has & FLOW_HAS_REPLY) != 0)
		put_nats(&o, f, &inverse);
	if ((f->has & FLOW_HAS_EXT) != 0) {
		put_changeable(&o, f);
		put_helper(&o, f);
		put_master(&o, f);
	}
	return finish(&o);
}

size_t kern_build_get(void *buf, size_t len, const struct flow_key *key, uint32_t seq)
{
	struct out o = start(buf, len, IPCTNL_MSG_CT_GET, 0, seq);

	if (key->expect != 0)
		o = start_expect(buf, len, IPCTNL_MSG_EXP_GET, 0, key, seq);
	else
		put_key(&o, key);
	return finish(&o);
}

size_t kern_build_delete(void *buf, size_t len, const struct flow_key *key, const uint32_t *id,
			 uint32_t seq)
{
	bool expect = key->expect != 0;
	struct out o = start(buf, len, IPCTNL_MSG_CT_DELETE, 0, seq);

	if (expect)
		o = start_expect(buf, len, IPCTNL_MSG_EXP_DELETE, 0, key, seq);
	else
		put_key(&o, key);
	if (id != NULL)
		put_u32(&o, expect ? (int)CTA_EXPECT_ID : (int)CTA_ID, *id);
	return finish(&o);
}

size_t kern_build_timeout(void *buf, size_t len, const struct flow_key *key, uint32_t timeout_s,
			  uint32_t seq)
{
	struct out o = start(buf, len, IPCTNL_MSG_CT_NEW, 0, seq);

	if (key->expect != 0) /* wants more than its key: kern_build_expect_timeout */
		return 0;
	put_key(&o, key);
	put_u32(&o, CTA_TIMEOUT, timeout_s);
	return finish(&o);
}

uint32_t kern_update_status(const struct flow *f, uint32_t have)
{
	uint32_t settable = IPS_SEEN_REPLY | IPS_ASSURED | IPS_FIXED_TIMEOUT | IPS_HELPER;

	return (f->status & settable) | (have & (settable | IPS_EXPECTED)) | IPS_CONFIRMED;
}

/* Flags are only ever added: an entry that saw packets here knows its own better. But one that was
 * made liberal in its handshake is not for longer: once that is over the kernel learns both windows
 * from the next packets. */
size_t kern_build_update(void *buf, size_t len, const struct flow *f, uint32_t status, uint32_t seq)
{
	struct out o = start(buf, len, IPCTNL_MSG_CT_NEW, 0, seq);

	if (f->key.expect != 0) /* nothing but its timer can be changed */
		return 0;
	put_key(&o, &f->key);
	if (status != 0)
		put_u32(&o, CTA_STATUS, status);
	if ((f->has & FLOW_HAS_TIMEOUT) != 0 && f->timeout_s != 0)
		put_u32(&o, CTA_TIMEOUT, f->timeout_s);
	if ((f->has & FLOW_HAS_MARK) != 0)
		put_u32(&o, CTA_MARK, f->mark);
	if (f->key.proto == IPPROTO_TCP && (f->has & FLOW_HAS_TCP) != 0)
		put_tcp(&o, &f->tcp, IP_CT_TCP_FLAG_BE_LIBERAL);
	if ((f->has & FLOW_HAS_EXT) != 0)
		put_changeable(&o, f);
	return finish(&o);
}

size_t kern_build_dump(void *buf, size_t len, bool expect, uint32_t seq)
{
	struct out o = start(buf, len, IPCTNL_MSG_CT_GET, NLM_F_DUMP, seq);

	if (expect)
		o = start_of(NFNL_SUBSYS_CTNETLINK_EXP, buf, len, IPCTNL_MSG_EXP_GET, NLM_F_DUMP,
			     seq);

	return finish(&o);
}

/* ---- Text ---- */

/* The message that the kernel would send for f, so that the library reads it as it reads the
 * kernel's. */
static size_t build_report(void *buf, size_t len, const struct flow *f)
{
	struct out o = start(buf, len, IPCTNL_MSG_CT_NEW, 0, 0);
	struct flow_tuple inverse;

	flow_inverse(&f->key, &inverse);
	put_key(&o, &f->key);
	put_reply(&o, &f->key, (f->has & FLOW_HAS_REPLY) != 0 ? &f->reply : &inverse);
	if ((f->has & FLOW_HAS_STATUS) != 0)
		put_u32(&o, CTA_STATUS, f->status);
	if ((f->has & FLOW_HAS_TIMEOUT) != 0)
		put_u32(&o, CTA_TIMEOUT, f->timeout_s);
	put_u32(&o, CTA_MARK, f->mark);
	if ((f->has & FLOW_HAS_TCP) != 0)
		put_tcp(&o, &f->tcp, 0);
	if ((f->has & FLOW_HAS_EXT) != 0) {
		put_changeable(&o, f);
		put_helper(&o, f);
		put_master(&o, f);
	}
	return finish(&o);
}

static int format_expect(char *buf, size_t len, const struct flow *f)
{
	uint8_t msg[KERN_MSG_MAX] __attribute__((aligned(8)));
	bool helper = (f->has & FLOW_HAS_HELPER) != 0;
	struct nf_expect *exp;
	int n = -1;

	if (build_expect(msg, sizeof(msg), f, helper, 0) == 0)
		return -1;
	exp = nfexp_new();
	if (exp == NULL)
		return -1;
	if (nfexp_nlmsg_parse((const struct nlmsghdr *)(const void *)msg, exp) == 0)
		n = nfexp_snprintf(buf, (unsigned int)len, exp, NFCT_T_UNKNOWN, NFCT_O_DEFAULT, 0);
	nfexp_destroy(exp);
	return n;
}

int kern_format(char *buf, size_t len, const struct flow *f)
{
	uint8_t msg[KERN_MSG_MAX] __attribute__((aligned(8)));
	struct nf_conntrack *ct;
	int n = -1;

	if (f->key.expect != 0)
		return format_expect(buf, len, f);
	if (build_report(msg, sizeof(msg), f) == 0)
		return -1;
	ct = nfct_new();
	if (ct == NULL)
		return -1;
	if (nfct_nlmsg_parse((const struct nlmsghdr *)(const void *)msg, ct) == 0)
		n = nfct_snprintf(buf, (unsigned int)len, ct, NFCT_T_UNKNOWN, NFCT_O_DEFAULT, 0);
	nfct_destroy(ct);
	return n;
}
