/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filter of the event socket: its program, run over messages that a real kernel sent
 * (data/ctnetlink.bin) under policies of chance, drops what PROTOCOL.md, R66, says and nothing
 * else. The machine that runs it here knows the instructions that the filter uses and does as
 * Documentation/networking/filter.rst says; t_policy.sh has the kernel's own run it.
 */
#include "kern.h"
#include "kern_filter.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../sim/rng.h"

#define MESSAGES_MAX 1000
#define ROUNDS 400
#define OWN_PORT 0x12345678U

static struct {
	uint8_t buf[2048];
	size_t len;
	struct flow f;
} msg[MESSAGES_MAX];
static unsigned int msg_count;

static int load(void **state)
{
	const char *src = getenv("CTSYNCD_SRC");
	char path[512];
	uint8_t len[2];
	FILE *f;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/tests/unit/data/ctnetlink.bin", src ? src : ".");
	f = fopen(path, "rb");
	if (!f)
		return -1;
	while (msg_count < MESSAGES_MAX && fread(len, sizeof(len), 1, f) == 1) {
		msg[msg_count].len = (size_t)len[0] | (size_t)len[1] << 8;
		if (msg[msg_count].len > sizeof(msg[0].buf) ||
		    fread(msg[msg_count].buf, msg[msg_count].len, 1, f) != 1)
			return -1;
		if (!kern_parse(msg[msg_count].buf, msg[msg_count].len, &msg[msg_count].f) &&
		    (msg[msg_count].f.has & FLOW_HAS_STATUS))
			msg_count++;
	}
	(void)fclose(f);
	return msg_count > 50 ? 0 : -1;
}

/* ---- The machine ---- */

static uint32_t find_attr(const uint8_t *p, size_t end, size_t at, uint32_t type)
{
	struct nlattr a;

	while (at + sizeof(a) <= end) {
		memcpy(&a, p + at, sizeof(a));
		if (a.nla_len < sizeof(a) || a.nla_len > end - at)
			return 0;
		if ((a.nla_type & NLA_TYPE_MASK) == type)
			return (uint32_t)at;
		at += NLA_ALIGN(a.nla_len);
	}
	return 0;
}

static uint32_t load_pkt(const uint8_t *p, size_t len, uint32_t at, uint16_t size)
{
	unsigned int n = size == BPF_W ? 4 : size == BPF_H ? 2 : 1;
	uint32_t v = 0;

	assert_true(at + n <= len);
	for (unsigned int i = 0; i < n; i++)
		v = v << 8 | p[at + i];
	return v;
}

static uint32_t ancillary(const uint8_t *p, size_t len, uint32_t k, uint32_t a, uint32_t x)
{
	struct nlattr nest;

	if (k == (uint32_t)(SKF_AD_OFF + SKF_AD_NLATTR))
		return find_attr(p, len, a, x);
	assert_int_equal(k, (uint32_t)(SKF_AD_OFF + SKF_AD_NLATTR_NEST));
	memcpy(&nest, p + a, sizeof(nest));
	return find_attr(p, a + nest.nla_len, a + sizeof(nest), x);
}

static uint32_t run(const struct sock_filter *code, unsigned int count, const uint8_t *p,
		    size_t len)
{
	uint32_t a = 0, x = 0, mem[BPF_MEMWORDS] = { 0 };

	for (unsigned int pc = 0; pc < count; pc++) {
		const struct sock_filter *i = &code[pc];
		bool jump = false;

		switch (i->code) {
		case BPF_LD | BPF_IMM:
			a = i->k;
			break;
		case BPF_LDX | BPF_IMM:
			x = i->k;
			break;
		case BPF_LD | BPF_MEM:
			a = mem[i->k];
			break;
		case BPF_ST:
			mem[i->k] = a;
			break;
		case BPF_MISC | BPF_TAX:
			x = a;
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= i->k;
			break;
		case BPF_LD | BPF_W | BPF_ABS:
			a = i->k >= (uint32_t)SKF_AD_OFF ? ancillary(p, len, i->k, a, x)
							 : load_pkt(p, len, i->k, BPF_W);
			break;
		case BPF_LD | BPF_H | BPF_ABS:
		case BPF_LD | BPF_B | BPF_ABS:
			a = load_pkt(p, len, i->k, BPF_SIZE(i->code));
			break;
		case BPF_LD | BPF_W | BPF_IND:
		case BPF_LD | BPF_H | BPF_IND:
		case BPF_LD | BPF_B | BPF_IND:
			a = load_pkt(p, len, x + i->k, BPF_SIZE(i->code));
			break;
		case BPF_JMP | BPF_JA:
			pc += i->k;
			continue;
		case BPF_JMP | BPF_JEQ | BPF_K:
			jump = a == i->k;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			jump = a >= i->k;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			jump = a > i->k;
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			jump = (a & i->k) != 0;
			break;
		case BPF_RET | BPF_K:
			return i->k;
		default:
			fail_msg("instruction %u: code %x", pc, i->code);
		}
		if (BPF_CLASS(i->code) == BPF_JMP)
			pc += jump ? i->jt : i->jf;
	}
	fail_msg("the program has no end");
	return 0;
}

/* ---- What it should say ---- */

static bool covers(const struct policy_prefix *x, const uint8_t *addr, uint8_t l3)
{
	if (x->l3 != l3)
		return false;
	for (unsigned int i = 0; i < x->len; i++)
		if ((x->addr[i / 8] ^ addr[i / 8]) >> (7 - i % 8) & 1)
			return false;
	return true;
}

static bool key_matches(const struct policy_conf *c, unsigned int i, const struct flow *f)
{
	const struct policy_rule *r = &c->rule[i];
	uint16_t port = ntohs(f->key.orig.dport);

	if ((r->has_proto && r->proto != f->key.proto) || (r->tcp_states && f->key.proto != 6) ||
	    (r->has_zone && r->zone != f->key.zone))
		return false;
	if (r->has_port && ((f->key.proto != 6 && f->key.proto != 17 && f->key.proto != 132 &&
			     f->key.proto != 136) ||
			    port < r->port_lo || port > r->port_hi))
		return false;
	for (unsigned int side = 0; side < POLICY_SIDES; side++) {
		bool hit = !(r->sides & 1U << side);

		for (unsigned int k = 0; k < c->prefix_count; k++) {
			const struct policy_prefix *x = &c->prefix[k];

			if (x->rule != i || x->side != side)
				continue;
			hit |= side != POLICY_DESTINATION && covers(x, f->key.orig.src, f->key.l3);
			hit |= side != POLICY_SOURCE && covers(x, f->key.orig.dst, f->key.l3);
		}
		if (!hit)
			return false;
	}
	return true;
}

static bool should_drop(const struct policy_conf *c, unsigned int m, uint32_t portid)
{
	const struct flow *f = &msg[m].f;
	const struct nlmsghdr *h = (const void *)msg[m].buf;

	if (portid == OWN_PORT)
		return true;
	if (!c->syn_sent && !portid && (h->nlmsg_flags & NLM_F_CREATE) && policy_is_early(f) &&
	    (f->has & FLOW_HAS_TCP) && !find_attr(msg[m].buf, msg[m].len, 20, CTA_LABELS))
		return true;
	for (unsigned int i = 0; i < c->rule_count; i++)
		if (key_matches(c, i, f))
			return !policy_rule_is_fluid(&c->rule[i]) &&
			       (c->rule[i].class == POLICY_NEVER ||
				(c->rule[i].class == POLICY_ASSURED && !(f->status & 4)));
	return false;
}

/* ---- Policies of chance, of what the messages hold ---- */

static void draw_prefix(struct policy_conf *c, struct rng *r)
{
	const struct flow *f = &msg[rng_below(r, msg_count)].f;
	struct policy_prefix *x = &c->prefix[c->prefix_count++];

	x->rule = (uint8_t)(c->rule_count - 1);
	x->side = (uint8_t)rng_below(r, POLICY_SIDES);
	x->l3 = f->key.l3;
	x->len = (uint8_t)rng_below(r, x->l3 == 4 ? 33 : 129);
	memcpy(x->addr, rng_chance(r, 5000) ? f->key.orig.src : f->key.orig.dst, 16);
	for (unsigned int i = x->len; i < 128; i++)
		x->addr[i / 8] &= (uint8_t) ~(0x80U >> i % 8);
	c->rule[x->rule].sides |= (uint8_t)(1U << x->side);
}

static void draw(struct policy_conf *c, struct rng *r, unsigned int prefixes)
{
	memset(c, 0, sizeof(*c));
	c->syn_sent = rng_chance(r, 3000);
	for (unsigned int n = (unsigned int)rng_below(r, 5); n; n--) {
		const struct flow *f = &msg[rng_below(r, msg_count)].f;
		struct policy_rule *rule = &c->rule[c->rule_count++];
		uint16_t port = ntohs(f->key.orig.dport);

		rule->class = (uint8_t)rng_below(r, POLICY_CLASSES);
		rule->has_proto = rng_chance(r, 5000);
		rule->proto = rule->has_proto ? f->key.proto : 0;
		rule->has_port = rng_chance(r, 2000);
		rule->port_lo = rule->has_port ? port : 0;
		rule->port_hi = rule->has_port && port < 60000 ? (uint16_t)(port + 9) : port;
		rule->has_zone = rng_chance(r, 2000);
		rule->zone = rule->has_zone ? f->key.zone : 0;
		rule->tcp_states = rng_chance(r, 1000) ? 0x18 : 0;
		rule->mark = rule->mark_mask = rng_chance(r, 1000) ? 1 : 0;
		for (unsigned int k = (unsigned int)rng_below(r, prefixes); k; k--)
			draw_prefix(c, r);
	}
}

static bool drops(const struct sock_filter *code, unsigned int len, unsigned int m, uint32_t portid)
{
	struct nlmsghdr *h = (void *)msg[m].buf;

	h->nlmsg_pid = portid;
	return run(code, len, msg[m].buf, msg[m].len) == 0;
}

static void test_random(void **state)
{
	static struct policy_conf c;
	struct sock_filter code[KERN_FILTER_MAX];
	unsigned int dropped = 0;

	(void)state;
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		struct rng r = { .s = round };
		unsigned int len;

		draw(&c, &r, 4);
		len = kern_filter_build(code, KERN_FILTER_MAX, OWN_PORT, &c);
		assert_in_range(len, 4, KERN_FILTER_MAX);
		for (unsigned int m = 0; m < msg_count; m++) {
			uint32_t portid = (uint32_t[]){ 0, 0, 7, OWN_PORT }[rng_below(&r, 4)];
			bool want = should_drop(&c, m, portid);

			if (drops(code, len, m, portid) != want)
				fail_msg("round %u message %u: should %s", (unsigned int)round, m,
					 want ? "drop" : "pass");
			dropped += want;
		}
	}
	assert_true(dropped > ROUNDS);
}

/* Without room a rule is left to the engine: what is dropped is still only what may be. */
static void test_no_room(void **state)
{
	static struct policy_conf c;
	struct sock_filter code[KERN_FILTER_MAX];

	(void)state;
	for (uint64_t round = 1; round <= 100; round++) {
		struct rng r = { .s = round };
		unsigned int len;

		draw(&c, &r, 400);
		len = kern_filter_build(code, KERN_FILTER_MIN, OWN_PORT, &c);
		assert_in_range(len, 4, KERN_FILTER_MIN);
		for (unsigned int m = 0; m < msg_count; m++)
			if (drops(code, len, m, 0) && !should_drop(&c, m, 0))
				fail_msg("round %u message %u: dropped", (unsigned int)round, m);
	}
}

static void test_none(void **state)
{
	struct sock_filter code[KERN_FILTER_MAX];
	unsigned int len = kern_filter_build(code, KERN_FILTER_MAX, OWN_PORT, NULL);

	(void)state;
	for (unsigned int m = 0; m < msg_count; m++) {
		assert_false(drops(code, len, m, 0));
		assert_true(drops(code, len, m, OWN_PORT));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_no_room),
	};

	return cmocka_run_group_tests(tests, load, NULL);
}
