/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one cBPF program on the event socket: what it drops takes no room in the buffer and wakes
 * nobody. It drops what our own write socket caused, what the policy excludes for good, and the SYN
 * of a TCP connection. PROTOCOL.md, R66, says what it may drop at most; whatever it cannot judge it
 * passes, for the engine judges again.
 *
 * A rule is a row of tests, each of which leaves for the next rule when it fails. Behind the last
 * test stands what the rule says; one that looks at what changes (mark, TCP state) says "pass". The
 * first rule for which there is no room ends the program, as "pass". SKF_AD_NLATTR and
 * SKF_AD_NLATTR_NEST find attributes by type, so nothing hangs on the order in which the kernel
 * puts them.
 */
#include "kern_filter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define ATTRS_AT (NLMSG_HDRLEN + sizeof(struct nfgenmsg))
#define FAMILY_AT NLMSG_HDRLEN
#define TAIL_LEN 48 /* room kept for what follows the rules */
#define NO_PORT 0x10000U
#define NONE (-1)

/* Scratch memory of the program. */
enum { M_PROTO, M_FAMILY, M_PORT, M_ZONE, M_STATUS, M_SRC, M_DST = M_SRC + 4, M_ORIG = M_DST + 4 };

struct asm_out {
	struct sock_filter *code;
	unsigned int len, max;
	bool full;
};

static void ins(struct asm_out *o, uint16_t code, uint8_t jt, uint8_t jf, uint32_t arg)
{
	if (o->len >= o->max) {
		o->full = true;
		return;
	}
	o->code[o->len++] = (struct sock_filter){ .code = code, .jt = jt, .jf = jf, .k = arg };
}

/* A jump forward whose end is not known yet; those to one end form a chain through their k. */
static void jump(struct asm_out *o, int *chain)
{
	unsigned int at = o->len;

	ins(o, BPF_JMP | BPF_JA, 0, 0, (uint32_t)*chain);
	if (!o->full)
		*chain = (int)at;
}

static void land(struct asm_out *o, int *chain)
{
	while (*chain != NONE) {
		struct sock_filter *f = &o->code[*chain];
		unsigned int from = (unsigned int)*chain;

		*chain = (int)f->k;
		f->k = o->len - from - 1;
	}
}

static void load_mem(struct asm_out *o, uint32_t slot)
{
	ins(o, BPF_LD | BPF_MEM, 0, 0, slot);
}

static void unless_equal(struct asm_out *o, uint32_t v, int *chain)
{
	ins(o, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, v);
	jump(o, chain);
}

static void if_equal(struct asm_out *o, uint32_t v, int *chain)
{
	ins(o, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, v);
	jump(o, chain);
}

/* A: the offset of the attribute among those of the message, or in the nest at A; 0 = none. */
static void find_top(struct asm_out *o, uint32_t type)
{
	ins(o, BPF_LD | BPF_IMM, 0, 0, ATTRS_AT);
	ins(o, BPF_LDX | BPF_IMM, 0, 0, type);
	ins(o, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)(SKF_AD_OFF + SKF_AD_NLATTR));
}

static void find_in(struct asm_out *o, uint32_t type)
{
	ins(o, BPF_LDX | BPF_IMM, 0, 0, type);
	ins(o, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)(SKF_AD_OFF + SKF_AD_NLATTR_NEST));
}

/* A: the value of the attribute at A. */
static void value(struct asm_out *o, uint16_t size, uint32_t word)
{
	ins(o, BPF_MISC | BPF_TAX, 0, 0, 0);
	ins(o, BPF_LD | size | BPF_IND, 0, 0, NLA_HDRLEN + 4 * word);
}

static void store(struct asm_out *o, uint32_t slot)
{
	ins(o, BPF_ST, 0, 0, slot);
}

/* ---- What the rules look at ---- */

/* Which of the facts do the rules need? */
struct needs {
	bool addresses, port, zone, status;
};

static struct needs needs_of(const struct policy_conf *c)
{
	struct needs n = { .addresses = c->prefix_count != 0 };

	for (unsigned int i = 0; i < c->rule_count; i++) {
		n.port |= c->rule[i].has_port;
		n.zone |= c->rule[i].has_zone;
		n.status |= c->rule[i].class == POLICY_ASSURED;
	}
	return n;
}

static void get_address(struct asm_out *o, uint32_t type, uint32_t slot, uint32_t words, int *pass)
{
	for (uint32_t w = 0; w < words; w++) {
		load_mem(o, M_ORIG);
		find_in(o, CTA_TUPLE_IP);
		if_equal(o, 0, pass);
		find_in(o, type);
		if_equal(o, 0, pass);
		value(o, BPF_W, w);
		store(o, slot + w);
	}
}

static void get_addresses(struct asm_out *o, int *pass)
{
	int v6 = NONE, done = NONE;

	ins(o, BPF_LD | BPF_IMM, 0, 0, 0);
	for (uint32_t w = 0; w < 8; w++)
		store(o, M_SRC + w);
	load_mem(o, M_FAMILY);
	unless_equal(o, AF_INET, &v6);
	get_address(o, CTA_IP_V4_SRC, M_SRC, 1, pass);
	get_address(o, CTA_IP_V4_DST, M_DST, 1, pass);
	jump(o, &done);
	land(o, &v6);
	get_address(o, CTA_IP_V6_SRC, M_SRC, 4, pass);
	get_address(o, CTA_IP_V6_DST, M_DST, 4, pass);
	land(o, &done);
}

static void get_port(struct asm_out *o, int *pass)
{
	int none = NONE;

	ins(o, BPF_LD | BPF_IMM, 0, 0, NO_PORT);
	store(o, M_PORT);
	load_mem(o, M_ORIG);
	find_in(o, CTA_TUPLE_PROTO);
	if_equal(o, 0, pass);
	find_in(o, CTA_PROTO_DST_PORT);
	if_equal(o, 0, &none);
	value(o, BPF_H, 0);
	store(o, M_PORT);
	land(o, &none);
}

/* The entry's zone, or that of one direction. */
static void get_zone(struct asm_out *o)
{
	int none = NONE, found = NONE;

	ins(o, BPF_LD | BPF_IMM, 0, 0, 0);
	store(o, M_ZONE);
	find_top(o, CTA_ZONE);
	ins(o, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 0);
	jump(o, &found);
	load_mem(o, M_ORIG);
	find_in(o, CTA_TUPLE_ZONE);
	ins(o, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 0);
	jump(o, &found);
	find_top(o, CTA_TUPLE_REPLY);
	if_equal(o, 0, &none);
	find_in(o, CTA_TUPLE_ZONE);
	if_equal(o, 0, &none);
	land(o, &found);
	value(o, BPF_H, 0);
	store(o, M_ZONE);
	land(o, &none);
}

static void get_proto(struct asm_out *o, int *pass)
{
	find_top(o, CTA_TUPLE_ORIG);
	if_equal(o, 0, pass);
	store(o, M_ORIG);
	find_in(o, CTA_TUPLE_PROTO);
	if_equal(o, 0, pass);
	find_in(o, CTA_PROTO_NUM);
	if_equal(o, 0, pass);
	value(o, BPF_B, 0);
}

static void get_facts(struct asm_out *o, const struct policy_conf *c, int *pass)
{
	struct needs n = needs_of(c);

	get_proto(o, pass);
	store(o, M_PROTO);
	ins(o, BPF_LD | BPF_B | BPF_ABS, 0, 0, FAMILY_AT);
	store(o, M_FAMILY);
	if (n.addresses)
		get_addresses(o, pass);
	if (n.port)
		get_port(o, pass);
	if (n.zone)
		get_zone(o);
	if (!n.status)
		return;
	find_top(o, CTA_STATUS);
	if_equal(o, 0, pass);
	value(o, BPF_W, 0);
	store(o, M_STATUS);
}

/* ---- Rules ---- */

/* Goes to match if the address at slot lies in x, else on. */
static void test_prefix(struct asm_out *o, const struct policy_prefix *x, uint32_t slot, int *match)
{
	int miss = NONE;

	for (uint32_t bits = 0; bits < x->len; bits += 32) {
		uint32_t left = x->len - bits, word;

		memcpy(&word, x->addr + bits / 8, sizeof(word));
		load_mem(o, slot + bits / 32);
		if (left < 32)
			ins(o, BPF_ALU | BPF_AND | BPF_K, 0, 0, UINT32_MAX << (32 - left));
		unless_equal(o, ntohl(word), &miss);
	}
	jump(o, match);
	land(o, &miss);
}

static void test_family(struct asm_out *o, const struct policy_conf *c, unsigned int rule,
			unsigned int side, int *match)
{
	static const uint8_t l3s[] = { 4, 6 };

	for (unsigned int f = 0; f < 2; f++) {
		int other = NONE;

		load_mem(o, M_FAMILY);
		unless_equal(o, l3s[f] == 4 ? AF_INET : AF_INET6, &other);
		for (unsigned int i = 0; i < c->prefix_count && !o->full; i++) {
			const struct policy_prefix *x = &c->prefix[i];

			if (x->rule != rule || x->side != side || x->l3 != l3s[f])
				continue;
			if (side != POLICY_DESTINATION)
				test_prefix(o, x, M_SRC, match);
			if (side != POLICY_SOURCE)
				test_prefix(o, x, M_DST, match);
		}
		land(o, &other);
	}
}

static void test_side(struct asm_out *o, const struct policy_conf *c, unsigned int rule,
		      unsigned int side, int *next)
{
	int match = NONE;

	if (!(c->rule[rule].sides & 1U << side))
		return;
	test_family(o, c, rule, side, &match);
	jump(o, next);
	land(o, &match);
}

static void test_port(struct asm_out *o, const struct policy_rule *r, int *next)
{
	static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_UDPLITE };
	int known = NONE;

	if (!r->has_port)
		return;
	load_mem(o, M_PROTO);
	for (unsigned int i = 0; i < sizeof(protos); i++)
		if_equal(o, protos[i], &known);
	jump(o, next);
	land(o, &known);
	load_mem(o, M_PORT);
	ins(o, BPF_JMP | BPF_JGE | BPF_K, 1, 0, r->port_lo);
	jump(o, next);
	ins(o, BPF_JMP | BPF_JGT | BPF_K, 0, 1, r->port_hi);
	jump(o, next);
}

static void say(struct asm_out *o, const struct policy_rule *r, int *pass)
{
	if (policy_rule_is_fluid(r) || r->class == POLICY_ALWAYS) {
		jump(o, pass);
		return;
	}
	if (r->class == POLICY_ASSURED) {
		load_mem(o, M_STATUS);
		ins(o, BPF_JMP | BPF_JSET | BPF_K, 0, 1, IPS_ASSURED);
		jump(o, pass);
	}
	ins(o, BPF_RET | BPF_K, 0, 0, 0);
}

static void put_rule(struct asm_out *o, const struct policy_conf *c, unsigned int i, int *pass)
{
	const struct policy_rule *r = &c->rule[i];
	int next = NONE;

	if (r->has_proto || r->tcp_states) {
		load_mem(o, M_PROTO);
		unless_equal(o, r->has_proto ? r->proto : IPPROTO_TCP, &next);
	}
	if (r->has_zone) {
		load_mem(o, M_ZONE);
		unless_equal(o, r->zone, &next);
	}
	test_port(o, r, &next);
	for (unsigned int side = 0; side < POLICY_SIDES; side++)
		test_side(o, c, i, side, &next);
	say(o, r, pass);
	land(o, &next);
}

/* Rules as far as there is room. */
static void put_rules(struct asm_out *o, const struct policy_conf *c, int *pass)
{
	if (!c->rule_count)
		return;
	get_facts(o, c, pass);
	for (unsigned int i = 0; i < c->rule_count; i++) {
		unsigned int from = o->len;

		put_rule(o, c, i, pass);
		if (!o->full)
			continue;
		while (*pass >= (int)from) /* jumps of what is taken back */
			*pass = (int)o->code[*pass].k;
		o->len = from;
		o->full = false;
		return;
	}
}

/* ---- The rest ---- */

/* An organic NEW of TCP in SYN_SENT that has neither a master nor labels, which later events do not
 * name again. BPF loads are big-endian, the netlink header lies there in host order. */
static void put_early(struct asm_out *o)
{
	int pass = NONE;

	ins(o, BPF_LD | BPF_H | BPF_ABS, 0, 0, offsetof(struct nlmsghdr, nlmsg_flags));
	ins(o, BPF_JMP | BPF_JSET | BPF_K, 1, 0, htons(NLM_F_CREATE));
	jump(o, &pass);
	ins(o, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct nlmsghdr, nlmsg_pid));
	unless_equal(o, 0, &pass);
	get_proto(o, &pass);
	unless_equal(o, IPPROTO_TCP, &pass);
	find_top(o, CTA_PROTOINFO);
	if_equal(o, 0, &pass);
	find_in(o, CTA_PROTOINFO_TCP);
	if_equal(o, 0, &pass);
	find_in(o, CTA_PROTOINFO_TCP_STATE);
	if_equal(o, 0, &pass);
	value(o, BPF_B, 0);
	unless_equal(o, TCP_CONNTRACK_SYN_SENT, &pass);
	find_top(o, CTA_STATUS);
	if_equal(o, 0, &pass);
	value(o, BPF_W, 0);
	ins(o, BPF_JMP | BPF_JSET | BPF_K, 0, 1, IPS_EXPECTED);
	jump(o, &pass);
	find_top(o, CTA_LABELS);
	unless_equal(o, 0, &pass);
	ins(o, BPF_RET | BPF_K, 0, 0, 0);
	land(o, &pass);
}

/* Expectations all pass: what includes them is their master (R83), and they are few. */
static void put_expectations(struct asm_out *o)
{
	ins(o, BPF_LD | BPF_H | BPF_ABS, 0, 0, offsetof(struct nlmsghdr, nlmsg_type));
	ins(o, BPF_ALU | BPF_AND | BPF_K, 0, 0, htons(0xff00));
	ins(o, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, htons(NFNL_SUBSYS_CTNETLINK_EXP << 8));
	ins(o, BPF_RET | BPF_K, 0, 0, UINT32_MAX);
}

unsigned int kern_filter_build(struct sock_filter *code, unsigned int max, uint32_t own_port,
			       const struct policy_conf *policy)
{
	struct asm_out o = { .code = code, .max = max - 2 * TAIL_LEN };
	int pass = NONE;

	ins(&o, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct nlmsghdr, nlmsg_pid));
	ins(&o, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, htonl(own_port));
	ins(&o, BPF_RET | BPF_K, 0, 0, 0);
	put_expectations(&o);
	if (policy)
		put_rules(&o, policy, &pass);
	o.max = max;
	land(&o, &pass);
	if (policy && !policy->syn_sent)
		put_early(&o);
	ins(&o, BPF_RET | BPF_K, 0, 0, UINT32_MAX);
	return o.full ? 0 : o.len;
}

int kern_filter_attach(int fd, uint32_t own_port, const struct policy_conf *policy)
{
	struct sock_filter code[KERN_FILTER_MAX];
	int err = -ENOMEM;

	/* net.core.optmem_max bounds it: what does not fit is left to the engine. */
	for (unsigned int max = KERN_FILTER_MAX; err == -ENOMEM && max >= KERN_FILTER_MIN;
	     max /= 2) {
		struct sock_fprog prog = { .filter = code };

		prog.len = (unsigned short)kern_filter_build(code, max, own_port, policy);
		err = setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0 ? -errno
											    : 0;
	}
	return err;
}
