/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The policy: rules and prefixes against an oracle that tries one after the other, bit by bit. */
#include "cache_bed.h"

#include <arpa/inet.h>

#include "policy.h"

#define ST_ASSURED 0x4u
#define ESTABLISHED 3

static struct flow flow4(const char *src, const char *dst, uint8_t proto, uint16_t dport)
{
	struct flow f = { .status = 0xe };

	f.key.l3 = 4;
	f.key.proto = proto;
	assert_int_equal(inet_pton(AF_INET, src, f.key.orig.src), 1);
	assert_int_equal(inet_pton(AF_INET, dst, f.key.orig.dst), 1);
	f.key.orig.sport = htons(40000);
	f.key.orig.dport = htons(dport);
	f.tcp.state = proto == 6 ? ESTABLISHED : 0;
	return f;
}

static struct policy_rule *rule(struct policy_conf *c, enum policy_class class)
{
	struct policy_rule *r = &c->rule[c->rule_count++];

	r->class = (uint8_t) class;
	return r;
}

static void prefix(struct policy_conf *c, enum policy_side side, const char *addr, uint8_t len)
{
	struct policy_prefix *x = &c->prefix[c->prefix_count++];

	x->rule = (uint8_t)(c->rule_count - 1);
	x->side = (uint8_t)side;
	x->l3 = strchr(addr, ':') ? 6 : 4;
	x->len = len;
	assert_int_equal(inet_pton(x->l3 == 6 ? AF_INET6 : AF_INET, addr, x->addr), 1);
	c->rule[x->rule].sides |= (uint8_t)(1u << side);
}

static int match(const struct policy_conf *c, const struct flow *f)
{
	struct policy *p = policy_new(c);
	int i;

	assert_non_null(p);
	i = policy_match(p, f);
	policy_free(p);
	return i;
}

static void test_empty(void **state)
{
	static struct policy_conf c;
	struct flow f = flow4("10.0.0.1", "192.0.2.1", 6, 80);
	struct policy *p = policy_new(&c);

	(void)state;
	assert_int_equal(policy_match(p, &f), -1);
	assert_true(policy_includes(p, &f));
	assert_false(policy_is_fluid(p));
	policy_free(p);
}

static void test_first_match(void **state)
{
	static struct policy_conf c;
	struct flow f = flow4("10.1.2.3", "192.0.2.1", 17, 53), g;

	(void)state;
	rule(&c, POLICY_ALWAYS);
	prefix(&c, POLICY_SOURCE, "10.1.0.0", 16);
	rule(&c, POLICY_NEVER);
	prefix(&c, POLICY_EITHER, "10.0.0.0", 8);
	assert_int_equal(match(&c, &f), 0);
	g = flow4("10.2.0.0", "192.0.2.1", 17, 53);
	assert_int_equal(match(&c, &g), 1);
	g = flow4("192.0.2.1", "10.255.255.255", 17, 53);
	assert_int_equal(match(&c, &g), 1);
	g = flow4("11.0.0.0", "9.255.255.255", 17, 53);
	assert_int_equal(match(&c, &g), -1);
}

static void test_fields(void **state)
{
	static struct policy_conf c;
	struct flow f = flow4("10.1.2.3", "192.0.2.1", 6, 443);
	struct policy_rule *r = rule(&c, POLICY_NEVER);

	(void)state;
	r->has_proto = true;
	r->proto = 6;
	assert_int_equal(match(&c, &f), 0);
	r->has_port = true;
	r->port_lo = 400;
	r->port_hi = 443;
	assert_int_equal(match(&c, &f), 0);
	r->port_hi = 442;
	assert_int_equal(match(&c, &f), -1);
	r->has_port = false;
	r->has_zone = true;
	assert_int_equal(match(&c, &f), 0);
	r->zone = 7;
	assert_int_equal(match(&c, &f), -1);
	f.key.zone = 7;
	assert_int_equal(match(&c, &f), 0);
	r->tcp_states = 1 << 7;
	assert_int_equal(match(&c, &f), -1);
	f.tcp.state = 7;
	assert_int_equal(match(&c, &f), 0);
	r->mark = 0x10;
	r->mark_mask = 0xf0;
	assert_int_equal(match(&c, &f), -1);
	f.mark = 0x1f;
	assert_int_equal(match(&c, &f), 0);
	f.key.proto = 17;
	assert_int_equal(match(&c, &f), -1);
	r->has_proto = false; /* TCP states are TCP's */
	assert_int_equal(match(&c, &f), -1);
	f.tcp.state = 255;
	f.key.proto = 6;
	assert_int_equal(match(&c, &f), -1);
}

static void test_assured(void **state)
{
	static struct policy_conf c;
	struct flow f = flow4("10.1.2.3", "192.0.2.1", 17, 53);
	struct policy *p;

	(void)state;
	rule(&c, POLICY_ASSURED);
	p = policy_new(&c);
	assert_true(policy_is_fluid(p));
	assert_true(policy_includes(p, &f));
	f.status &= ~ST_ASSURED;
	assert_false(policy_includes(p, &f));
	policy_free(p);
}

static void test_families(void **state)
{
	static struct policy_conf c;
	struct flow f = flow4("10.1.2.3", "192.0.2.1", 17, 53), g = f;

	(void)state;
	g.key.l3 = 6;
	rule(&c, POLICY_NEVER);
	prefix(&c, POLICY_EITHER, "::", 0);
	assert_int_equal(match(&c, &f), -1);
	assert_int_equal(match(&c, &g), 0);
	prefix(&c, POLICY_EITHER, "0.0.0.0", 0);
	assert_int_equal(match(&c, &f), 0);
	c.prefix[0].len = 128;
	memcpy(c.prefix[0].addr, g.key.orig.dst, 16);
	assert_int_equal(match(&c, &g), 0);
	g.key.orig.dst[15] ^= 1;
	assert_int_equal(match(&c, &g), -1);
}

static void test_early(void **state)
{
	struct flow f = flow4("10.1.2.3", "192.0.2.1", 6, 80);

	(void)state;
	f.status = 0x8;
	assert_false(policy_is_early(&f));
	f.tcp.state = 1;
	assert_true(policy_is_early(&f));
	f.status |= 1;
	assert_false(policy_is_early(&f));
	f.status = 0x8;
	f.key.proto = 17;
	assert_false(policy_is_early(&f));
}

/* ---- The oracle ---- */

static bool covers(const struct policy_prefix *x, const uint8_t *addr, uint8_t l3)
{
	if (x->l3 != l3)
		return false;
	for (unsigned int i = 0; i < x->len; i++)
		if ((x->addr[i / 8] ^ addr[i / 8]) >> (7 - i % 8) & 1)
			return false;
	return true;
}

static bool side_matches(const struct policy_conf *c, unsigned int i, unsigned int side,
			 const struct flow *f)
{
	if (!(c->rule[i].sides & 1u << side))
		return true;
	for (unsigned int k = 0; k < c->prefix_count; k++) {
		const struct policy_prefix *x = &c->prefix[k];

		if (x->rule != i || x->side != side)
			continue;
		if (side != POLICY_DESTINATION && covers(x, f->key.orig.src, f->key.l3))
			return true;
		if (side != POLICY_SOURCE && covers(x, f->key.orig.dst, f->key.l3))
			return true;
	}
	return false;
}

static int naive(const struct policy_conf *c, const struct flow *f)
{
	uint16_t port = ntohs(f->key.orig.dport);

	for (unsigned int i = 0; i < c->rule_count; i++) {
		const struct policy_rule *r = &c->rule[i];
		bool ok = (!r->has_proto || r->proto == f->key.proto) &&
			  (!r->has_zone || r->zone == f->key.zone) &&
			  (f->mark & r->mark_mask) == r->mark;

		if (r->has_port)
			ok &= (f->key.proto == 6 || f->key.proto == 17) && port >= r->port_lo &&
			      port <= r->port_hi;
		if (r->tcp_states)
			ok &= f->key.proto == 6 && f->tcp.state < 16 &&
			      (r->tcp_states & 1u << f->tcp.state);
		for (unsigned int side = 0; side < POLICY_SIDES; side++)
			ok = ok && side_matches(c, i, side, f);
		if (ok)
			return (int)i;
	}
	return -1;
}

/* Few bits differ, so that prefixes nest, touch and repeat. */
static void random_addr(uint64_t *seed, uint8_t l3, uint8_t addr[16])
{
	unsigned int bytes = l3 == 4 ? 4 : 16;

	memset(addr, 0, 16);
	for (unsigned int i = 0; i < bytes; i++)
		if (i < 2 || i == bytes - 1)
			addr[i] = bed_below(seed, 4) ? (uint8_t)bed_below(seed, 4)
						     : (uint8_t)(bed_below(seed, 2) ? 255 : 128);
}

static void random_prefix(struct policy_conf *c, uint64_t *seed)
{
	struct policy_prefix *x = &c->prefix[c->prefix_count++];

	x->rule = (uint8_t)bed_below(seed, c->rule_count);
	x->side = (uint8_t)bed_below(seed, POLICY_SIDES);
	x->l3 = bed_below(seed, 2) ? 4 : 6;
	x->len = (uint8_t)bed_below(seed, x->l3 == 4 ? 33 : 129);
	random_addr(seed, x->l3, x->addr);
	for (unsigned int i = x->len; i < 128; i++)
		x->addr[i / 8] &= (uint8_t) ~(0x80u >> i % 8);
	c->rule[x->rule].sides |= (uint8_t)(1u << x->side);
}

static void random_conf(struct policy_conf *c, uint64_t *seed)
{
	*c = (struct policy_conf){ .rule_count = 1 + (unsigned int)bed_below(seed, 12) };
	for (unsigned int i = 0; i < c->rule_count; i++) {
		struct policy_rule *r = &c->rule[i];

		r->class = (uint8_t)bed_below(seed, POLICY_CLASSES);
		r->has_proto = bed_below(seed, 2);
		r->proto = bed_below(seed, 2) ? 6 : 17;
		r->has_port = !bed_below(seed, 4);
		r->port_lo = (uint16_t)bed_below(seed, 4);
		r->port_hi = (uint16_t)(r->port_lo + bed_below(seed, 4));
		r->has_zone = !bed_below(seed, 4);
		r->zone = (uint16_t)bed_below(seed, 2);
		r->tcp_states = bed_below(seed, 4) ? 0 : (uint16_t)bed_below(seed, 1024);
		r->mark_mask = bed_below(seed, 4) ? 0 : (uint32_t)bed_below(seed, 4);
		r->mark = r->mark_mask & (uint32_t)bed_below(seed, 4);
	}
	for (uint64_t n = bed_below(seed, bed_below(seed, 8) ? 40 : POLICY_PREFIXES_MAX + 1); n;
	     n--)
		random_prefix(c, seed);
}

static struct flow random_flow(uint64_t *seed)
{
	struct flow f = { .status = (uint32_t)bed_below(seed, 16),
			  .mark = (uint32_t)bed_below(seed, 4) };

	f.key.l3 = bed_below(seed, 2) ? 4 : 6;
	f.key.proto = (uint8_t[]){ 6, 17, 1 }[bed_below(seed, 3)];
	f.key.zone = (uint16_t)bed_below(seed, 2);
	random_addr(seed, f.key.l3, f.key.orig.src);
	random_addr(seed, f.key.l3, f.key.orig.dst);
	f.key.orig.dport = htons((uint16_t)bed_below(seed, 6));
	f.tcp.state = f.key.proto == 6 ? (uint8_t)bed_below(seed, 10) : 0;
	return f;
}

static void test_random(void **state)
{
	static struct policy_conf c;

	(void)state;
	for (uint64_t round = 1; round <= 400; round++) {
		uint64_t seed = round * 0x9e3779b97f4a7c15ULL;
		struct policy *p;

		random_conf(&c, &seed);
		p = policy_new(&c);
		assert_non_null(p);
		for (unsigned int i = 0; i < 100; i++) {
			struct flow f = random_flow(&seed);
			int want = naive(&c, &f), got = policy_match(p, &f);

			if (got != want)
				fail_msg("round %u flow %u: rule %d, should be %d",
					 (unsigned int)round, i, got, want);
		}
		policy_free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),    cmocka_unit_test(test_first_match),
		cmocka_unit_test(test_fields),   cmocka_unit_test(test_assured),
		cmocka_unit_test(test_families), cmocka_unit_test(test_early),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
