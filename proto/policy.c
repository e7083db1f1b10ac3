/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The policy, made fit for lookups (include/policy.h has its meaning). A rule is a bit. Every
 * address lies in one *span* between two neighbouring ends of prefixes, and a span knows for each
 * side the rules of which some prefix covers it: the longest prefix that holds an address and all
 * that hold it too, found by one binary search over the ends, whatever the number of rules or
 * prefixes. What is left of a lookup is to AND words and to look at the few rules whose bits
 * survive. A rule without prefixes for a side covers all spans of both families there.
 *
 * Spans are computed once, when the policy is made. IPv4 addresses are the top 32 bits of a key of
 * 128, in a map of their own.
 */
#include "policy.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_ASSURED 0x4U
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_SCTP 132
#define PROTO_UDPLITE 136
#define TCP_STATES_MAX 16

struct bits { /* rules by side, as far as addresses say */
	uint64_t side[POLICY_SIDES];
};

struct map {
	unsigned int count;
	__uint128_t *start; /* ascending; the first is 0 */
	struct bits *bits;
};

struct policy {
	struct policy_rule rule[POLICY_RULES_MAX];
	unsigned int rule_count;
	bool fluid;
	uint64_t proto[256]; /* rules by protocol */
	struct map map[2];   /* IPv4, IPv6 */
	size_t bytes_len;
	void *bytes;
};

static __uint128_t key_of(const uint8_t addr[16], uint8_t l3)
{
	uint64_t hi, lo;
	uint32_t v4;

	if (l3 == 4) {
		memcpy(&v4, addr, sizeof(v4));
		return (__uint128_t)be32toh(v4) << 96;
	}
	memcpy(&hi, addr, sizeof(hi));
	memcpy(&lo, addr + sizeof(hi), sizeof(lo));
	return (__uint128_t)be64toh(hi) << 64 | be64toh(lo);
}

static __uint128_t last_of(__uint128_t first, uint8_t len)
{
	return len ? first | (((__uint128_t)1 << (128 - len)) - 1) : ~(__uint128_t)0;
}

/* ---- Making ---- */

static void sift(__uint128_t *a, size_t at, size_t count)
{
	for (size_t child; (child = 2 * at + 1) < count; at = child) {
		__uint128_t t = a[at];

		if (child + 1 < count && a[child + 1] > a[child])
			child++;
		if (a[child] <= t)
			return;
		a[at] = a[child];
		a[child] = t;
	}
}

static void sort(__uint128_t *a, size_t count)
{
	for (size_t i = count / 2; i-- > 0;)
		sift(a, i, count);
	for (size_t n = count; n > 1; n--) {
		__uint128_t t = a[0];

		a[0] = a[n - 1];
		a[n - 1] = t;
		sift(a, 0, n - 1);
	}
}

static unsigned int unique(__uint128_t *a, unsigned int count)
{
	unsigned int n = 1;

	for (unsigned int i = 1; i < count; i++)
		if (a[i] != a[n - 1])
			a[n++] = a[i];
	return n;
}

static unsigned int span_of(const struct map *m, __uint128_t key)
{
	unsigned int lo = 0, hi = m->count;

	while (hi - lo > 1) {
		unsigned int mid = lo + (hi - lo) / 2;

		if (m->start[mid] <= key)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

/* Where spans begin: at the first address of each prefix, and behind its last. */
static bool map_cut(struct map *m, const struct policy_conf *conf, uint8_t l3)
{
	m->start = calloc(2 * (size_t)conf->prefix_count + 1, sizeof(*m->start));
	if (!m->start)
		return false;
	m->count = 1;
	for (unsigned int i = 0; i < conf->prefix_count; i++) {
		const struct policy_prefix *x = &conf->prefix[i];
		__uint128_t first, last;

		if (x->l3 != l3)
			continue;
		first = key_of(x->addr, l3);
		last = last_of(first, x->len);
		m->start[m->count++] = first;
		if (last != ~(__uint128_t)0)
			m->start[m->count++] = last + 1;
	}
	sort(m->start, m->count);
	m->count = unique(m->start, m->count);
	m->bits = calloc(m->count, sizeof(*m->bits));
	return m->bits != NULL;
}

static bool map_make(struct map *m, const struct policy_conf *conf, uint8_t l3)
{
	struct bits open = { { 0 } }; /* rules that say nothing of a side */

	for (unsigned int i = 0; i < conf->rule_count; i++)
		for (unsigned int side = 0; side < POLICY_SIDES; side++)
			if (!(conf->rule[i].sides & 1U << side))
				open.side[side] |= (uint64_t)1 << i;
	if (!map_cut(m, conf, l3))
		return false;
	for (unsigned int i = 0; i < m->count; i++)
		m->bits[i] = open;
	for (unsigned int i = 0; i < conf->prefix_count; i++) {
		const struct policy_prefix *x = &conf->prefix[i];
		__uint128_t first = key_of(x->addr, l3), last = last_of(first, x->len);

		assert(x->rule < conf->rule_count && x->side < POLICY_SIDES);
		assert(x->len <= (x->l3 == 4 ? 32 : 128));
		if (x->l3 != l3)
			continue;
		for (unsigned int k = span_of(m, first); k < m->count && m->start[k] <= last; k++)
			m->bits[k].side[x->side] |= (uint64_t)1 << x->rule;
	}
	return true;
}

static bool has_ports(uint8_t proto)
{
	return proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_SCTP ||
	       proto == PROTO_UDPLITE;
}

static bool rule_asks_for(const struct policy_rule *r, uint8_t proto)
{
	return (!r->has_proto || r->proto == proto) && (!r->tcp_states || proto == PROTO_TCP) &&
	       (!r->has_port || has_ports(proto));
}

bool policy_conf_ok(const void *bytes, size_t len)
{
	const size_t head = offsetof(struct policy_conf, prefix);
	const char *at = bytes;
	unsigned int rules, prefixes;

	if (len < head)
		return false;
	memcpy(&rules, at + offsetof(struct policy_conf, rule_count), sizeof(rules));
	memcpy(&prefixes, at + offsetof(struct policy_conf, prefix_count), sizeof(prefixes));
	if (rules > POLICY_RULES_MAX || prefixes > POLICY_PREFIXES_MAX ||
	    len != head + prefixes * sizeof(struct policy_prefix))
		return false;
	for (unsigned int i = 0; i < prefixes; i++) {
		struct policy_prefix x;

		memcpy(&x, at + head + i * sizeof(x), sizeof(x));
		if (x.rule >= rules || x.side >= POLICY_SIDES || (x.l3 != 4 && x.l3 != 6) ||
		    x.len > (x.l3 == 4 ? 32 : 128))
			return false;
	}
	return true;
}

static bool keep_bytes(struct policy *p, const struct policy_conf *conf)
{
	p->bytes_len = policy_conf_len(conf);
	p->bytes = malloc(p->bytes_len);
	if (p->bytes)
		memcpy(p->bytes, conf, p->bytes_len);
	return p->bytes != NULL;
}

const void *policy_bytes(const struct policy *p, size_t *len)
{
	*len = p->bytes_len;
	return p->bytes;
}

struct policy *policy_new(const struct policy_conf *conf)
{
	struct policy *p = calloc(1, sizeof(*p));

	assert(conf->rule_count <= POLICY_RULES_MAX && conf->prefix_count <= POLICY_PREFIXES_MAX);
	if (!p)
		return NULL;
	p->rule_count = conf->rule_count;
	memcpy(p->rule, conf->rule, sizeof(p->rule));
	for (unsigned int i = 0; i < conf->rule_count; i++) {
		const struct policy_rule *r = &conf->rule[i];

		p->fluid |= policy_rule_is_fluid(r) || r->class == POLICY_ASSURED;
		for (unsigned int proto = 0; proto < 256; proto++)
			if (rule_asks_for(r, (uint8_t)proto))
				p->proto[proto] |= (uint64_t)1 << i;
	}
	if (!keep_bytes(p, conf) || !map_make(&p->map[0], conf, 4) ||
	    !map_make(&p->map[1], conf, 6)) {
		policy_free(p);
		return NULL;
	}
	return p;
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	for (unsigned int i = 0; i < 2; i++) {
		free(p->map[i].start);
		free(p->map[i].bits);
	}
	free(p->bytes);
	free(p);
}

/* ---- Lookups ---- */

/* What neither addresses nor the protocol told. */
static bool rest_matches(const struct policy_rule *r, const struct flow *f)
{
	uint16_t port = be16toh(f->key.orig.dport);

	if (r->has_port && (port < r->port_lo || port > r->port_hi))
		return false;
	if (r->has_zone && r->zone != f->key.zone)
		return false;
	if (r->tcp_states &&
	    (f->tcp.state >= TCP_STATES_MAX || !(r->tcp_states >> f->tcp.state & 1)))
		return false;
	return (f->mark & r->mark_mask) == r->mark;
}

int policy_match(const struct policy *p, const struct flow *f)
{
	const struct map *m = &p->map[f->key.l3 == 6];
	uint64_t hits = p->proto[f->key.proto];
	const struct bits *src = m->bits, *dst = m->bits;

	if (!hits)
		return -1;
	if (m->count > 1) {
		src += span_of(m, key_of(f->key.orig.src, f->key.l3));
		dst += span_of(m, key_of(f->key.orig.dst, f->key.l3));
	}
	hits &= src->side[POLICY_SOURCE] & dst->side[POLICY_DESTINATION] &
		(src->side[POLICY_EITHER] | dst->side[POLICY_EITHER]);
	for (; hits; hits &= hits - 1) {
		int i = __builtin_ctzll(hits);

		if (rest_matches(&p->rule[i], f))
			return i;
	}
	return -1;
}

enum policy_class policy_class_of(const struct policy *p, const struct flow *f)
{
	int i = policy_match(p, f);

	return i < 0 ? POLICY_ALWAYS : (enum policy_class)p->rule[i].class;
}

bool policy_includes(const struct policy *p, const struct flow *f)
{
	enum policy_class class = policy_class_of(p, f);

	return class == POLICY_ALWAYS || (class == POLICY_ASSURED && f->status & STATUS_ASSURED);
}

bool policy_is_fluid(const struct policy *p)
{
	return p->fluid;
}
