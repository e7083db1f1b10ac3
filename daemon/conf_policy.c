/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules of the policy, from what a file says (struct conf_rule_text) to what they mean (struct
 * policy_conf, include/policy.h) and back for printing. Rules are read like links: the table knows
 * the keys, here is what a row cannot say. Rules that could never match are refused, because
 * whoever writes one means another.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "conf_parse.h"
#include "util.h"

#define DIGITS "0123456789"

static const struct conf_word proto_words[] = {
	{ "tcp", IPPROTO_TCP },
	{ "udp", IPPROTO_UDP },
	{ "udplite", IPPROTO_UDPLITE },
	{ "sctp", IPPROTO_SCTP },
	{ "dccp", IPPROTO_DCCP },
	{ "icmp", IPPROTO_ICMP },
	{ "icmpv6", IPPROTO_ICMPV6 },
	{ "gre", IPPROTO_GRE },
	{ "esp", IPPROTO_ESP },
	{ "ah", IPPROTO_AH },
	{ NULL, 0 },
};

/* By TCP_CONNTRACK_x (linux/netfilter/nf_conntrack_tcp.h). */
static const char *const state_names[CONF_STATES + 1] = { NULL,          "SYN_SENT",  "SYN_RECV",
							  "ESTABLISHED", "FIN_WAIT",  "CLOSE_WAIT",
							  "LAST_ACK",    "TIME_WAIT", "CLOSE",
							  "SYN_SENT2" };

static const char *const side_names[POLICY_SIDES] = { "source", "destination", "address" };

/* A decimal or 0x number up to max, and what follows it. */
static bool number(const char *text, unsigned long max, unsigned long *v, const char **end)
{
	char *stop;

	if (!strspn(text, DIGITS))
		return false;
	errno = 0;
	*v = strtoul(text, &stop, text[0] == '0' && (text[1] | 0x20) == 'x' ? 16 : 10);
	*end = stop;
	return !errno && *v <= max;
}

/* ---- From the file ---- */

/* The rule being read. */
struct reading {
	struct parse *p;
	const struct scope *sc;
	const struct conf_rule_text *t;
	struct policy_rule *r;
};

static void wrong(const struct reading *x, const char *name, const char *text, const char *allowed)
{
	char path[PATH_LEN];

	conf_join(path, sizeof(path), x->sc->text, name);
	conf_fail(x->p, member_or_group(x->sc, name), path, "\"%s\"; allowed: %s", text, allowed);
}

static void read_protocol(const struct reading *x)
{
	const char *text = x->t->protocol, *end;
	unsigned long v;

	if (!*text)
		return;
	x->r->has_proto = true;
	for (const struct conf_word *w = proto_words; w->name; w++) {
		if (strcmp(w->name, text) != 0)
			continue;
		x->r->proto = (uint8_t)w->value;
		return;
	}
	if (number(text, 255, &v, &end) && !*end)
		x->r->proto = (uint8_t)v;
	else
		wrong(x, "protocol", text,
		      "tcp, udp, udplite, sctp, dccp, icmp, icmpv6, gre, esp, ah, \"0\" to "
		      "\"255\"");
}

static bool has_ports(const struct policy_rule *r)
{
	return !r->has_proto || r->proto == IPPROTO_TCP || r->proto == IPPROTO_UDP ||
	       r->proto == IPPROTO_SCTP || r->proto == IPPROTO_UDPLITE;
}

static void read_port(const struct reading *x)
{
	const char *text = x->t->port, *end;
	unsigned long lo, hi;
	bool ok;

	if (!*text)
		return;
	ok = number(text, UINT16_MAX, &lo, &end);
	hi = lo;
	if (ok && *end == '-')
		ok = number(end + 1, UINT16_MAX, &hi, &end);
	if (!ok || *end || lo > hi)
		wrong(x, "port", text, "a port, \"53\", or a range, \"6000-6100\", up to 65535");
	else if (!has_ports(x->r))
		wrong(x, "port", text, "only with protocol tcp, udp, udplite, sctp, or none");
	x->r->has_port = true;
	x->r->port_lo = (uint16_t)lo;
	x->r->port_hi = (uint16_t)hi;
}

static void read_mark(const struct reading *x)
{
	const char *text = x->t->mark, *end;
	unsigned long mark, mask = UINT32_MAX;
	bool ok;

	if (!*text)
		return;
	ok = number(text, UINT32_MAX, &mark, &end);
	if (ok && *end == '/')
		ok = number(end + 1, UINT32_MAX, &mask, &end);
	if (!ok || *end || !mask)
		wrong(x, "mark", text, "a mark, \"0x10\", or mark and mask, \"0x10/0xf0\"");
	else if (mark & ~mask)
		wrong(x, "mark", text, "a mark within its mask; this one never matches");
	x->r->mark = (uint32_t)mark;
	x->r->mark_mask = (uint32_t)mask;
}

static void read_states(const struct reading *x)
{
	for (unsigned int i = 0; i < x->t->state_count; i++) {
		unsigned int k = 1;

		while (k <= CONF_STATES && strcmp(state_names[k], x->t->states[i]) != 0)
			k++;
		if (k > CONF_STATES)
			wrong(x, "tcp_states", x->t->states[i],
			      "SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, "
			      "TIME_WAIT, CLOSE, SYN_SENT2");
		else
			x->r->tcp_states |= (uint16_t)(1U << k);
	}
	if (x->r->tcp_states && x->r->has_proto && x->r->proto != IPPROTO_TCP)
		wrong(x, "tcp_states", x->t->protocol, "protocol = \"tcp\", or none");
}

static bool clear_below(uint8_t addr[16], unsigned int len)
{
	bool clean = true;

	for (unsigned int i = len; i < 128; i++) {
		uint8_t bit = (uint8_t)(0x80U >> i % 8);

		clean = clean && !(addr[i / 8] & bit);
		addr[i / 8] &= (uint8_t)~bit;
	}
	return clean;
}

/* Returns NULL, or what is allowed. */
static const char *prefix_parse(const char *text, struct policy_prefix *x)
{
	char addr[CONF_PREFIX_MAX];
	const char *slash = strchr(text, '/'), *end = "";
	unsigned long len = 128, max;

	(void)snprintf(addr, sizeof(addr), "%.*s", slash ? (int)(slash - text) : CONF_PREFIX_MAX,
		       text);
	if (inet_pton(AF_INET, addr, x->addr) == 1)
		x->l3 = 4;
	else if (inet_pton(AF_INET6, addr, x->addr) == 1)
		x->l3 = 6;
	else
		return "an address or prefix, \"10.0.0.0/8\" or \"2001:db8::/32\"";
	max = x->l3 == 4 ? 32 : 128;
	if (slash && (!number(slash + 1, max, &len, &end) || *end))
		return x->l3 == 4 ? "a length of 0 to 32" : "a length of 0 to 128";
	x->len = (uint8_t)(slash ? len : max);
	return clear_below(x->addr, x->len) ? NULL : "no bits behind the length of the prefix";
}

static void read_side(const struct reading *x, unsigned int side)
{
	struct policy_conf *c = &x->p->conf.policy;

	for (unsigned int i = 0; i < x->t->prefix_count[side]; i++) {
		const char *text = x->t->prefix[side][i], *allowed;
		struct policy_prefix one = { .rule = (uint8_t)(x->r - c->rule),
					     .side = (uint8_t)side };

		if (c->prefix_count == POLICY_PREFIXES_MAX) {
			wrong(x, side_names[side], text, "4096 prefixes in all rules together");
			return;
		}
		allowed = prefix_parse(text, &one);
		if (allowed)
			wrong(x, side_names[side], text, allowed);
		c->prefix[c->prefix_count++] = one;
		x->r->sides |= (uint8_t)(1U << side);
	}
}

/* No flow has addresses of two families. */
static void check_families(const struct reading *x)
{
	const struct policy_conf *c = &x->p->conf.policy;
	unsigned int of_side[POLICY_SIDES] = { 0 }, common = ~0U;

	for (unsigned int i = 0; i < c->prefix_count; i++)
		if (c->prefix[i].rule == x->r - c->rule)
			of_side[c->prefix[i].side] |= c->prefix[i].l3 == 4   ? 1U
						      : c->prefix[i].l3 == 6 ? 2U
									     : 3U; /* none: told */
	for (unsigned int side = 0; side < POLICY_SIDES; side++) {
		if (of_side[side])
			common &= of_side[side];
		if (common)
			continue;
		wrong(x, side_names[side], x->t->prefix[side][0],
		      "the family of the rule's other addresses; this one never matches");
		return;
	}
}

static void read_rule(struct parse *p, const struct scope *sc)
{
	struct conf_rule_text *t = sc->base;
	struct policy_conf *c = &p->conf.policy;
	struct reading x = { .p = p, .sc = sc, .t = t, .r = &c->rule[c->rule_count++] };

	conf_table_defaults(t, CONF_IN_RULE);
	conf_read_group(p, sc);
	x.r->class = (uint8_t)t->class;
	x.r->has_zone = t->zone != CONF_NO_ZONE;
	x.r->zone = x.r->has_zone ? (uint16_t)t->zone : 0;
	read_protocol(&x);
	read_port(&x);
	read_mark(&x);
	read_states(&x);
	for (unsigned int side = 0; side < POLICY_SIDES; side++)
		read_side(&x, side);
	check_families(&x);
}

void conf_read_policy(struct parse *p, config_setting_t *list)
{
	const struct conf_key *k = conf_table_find("policy");
	bool is_list = config_setting_is_list(list);
	unsigned int n = is_list ? (unsigned int)config_setting_length(list) : 0;

	if (!is_list || n > k->max) {
		conf_wrong_type(p, list, k, "policy");
		return;
	}
	for (unsigned int i = 0; i < n; i++) {
		struct conf_rule_text *t = calloc(1, sizeof(*t)); /* too large for the stack */
		char text[PATH_LEN];
		struct scope sc = { .group = config_setting_get_elem(list, i),
				    .table_path = "policy",
				    .text = text,
				    .base = t };

		(void)snprintf(text, sizeof(text), "policy[%u]", i);
		if (!t)
			conf_fail(p, sc.group, text, "out of memory");
		else if (!config_setting_is_group(sc.group))
			conf_fail(p, sc.group, text, "wrong type; allowed: a group { ... }");
		else
			read_rule(p, &sc);
		free(t);
	}
}

/* ---- And back ---- */

static void protocol_text(const struct policy_rule *r, char *buf, size_t len)
{
	if (!r->has_proto)
		return;
	(void)snprintf(buf, len, "%u", r->proto);
	for (const struct conf_word *w = proto_words; w->name; w++)
		if (w->value == r->proto)
			(void)snprintf(buf, len, "%s", w->name);
}

static void prefix_text(const struct policy_prefix *x, struct conf_rule_text *t)
{
	char *buf = t->prefix[x->side][t->prefix_count[x->side]++], addr[CONF_ADDR_MAX];

	if (!inet_ntop(x->l3 == 4 ? AF_INET : AF_INET6, x->addr, addr, sizeof(addr)))
		addr[0] = '\0'; /* cannot be: the families are known, the room suffices */
	(void)snprintf(buf, CONF_PREFIX_MAX, "%s/%u", addr, x->len);
}

void conf_rule_text(const struct policy_conf *policy, unsigned int i, struct conf_rule_text *t)
{
	const struct policy_rule *r = &policy->rule[i];

	memset(t, 0, sizeof(*t));
	t->class = r->class;
	t->zone = r->has_zone ? r->zone : CONF_NO_ZONE;
	protocol_text(r, t->protocol, sizeof(t->protocol));
	if (r->has_port && r->port_lo == r->port_hi)
		(void)snprintf(t->port, sizeof(t->port), "%u", r->port_lo);
	else if (r->has_port)
		(void)snprintf(t->port, sizeof(t->port), "%u-%u", r->port_lo, r->port_hi);
	if (r->mark_mask == UINT32_MAX)
		(void)snprintf(t->mark, sizeof(t->mark), "0x%" PRIx32, r->mark);
	else if (r->mark_mask)
		(void)snprintf(t->mark, sizeof(t->mark), "0x%" PRIx32 "/0x%" PRIx32, r->mark,
			       r->mark_mask);
	for (unsigned int k = 1; k <= CONF_STATES; k++)
		if (r->tcp_states >> k & 1)
			(void)snprintf(t->states[t->state_count++], CONF_STATE_MAX, "%s",
				       state_names[k]);
	for (unsigned int k = 0; k < policy->prefix_count; k++)
		if (policy->prefix[k].rule == i)
			prefix_text(&policy->prefix[k], t);
}
