/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which flows a node announces (PROTOCOL.md, "Policy"). Rules in order, the first that matches
 * decides; a flow that none matches is announced. A rule may name sets of address prefixes, however
 * many there are: a lookup costs two binary searches over all rules' prefixes at once. Addresses
 * and ports are those of the original direction, before translation, so what they say of a flow
 * never changes.
 */
#ifndef CTSYNCD_POLICY_H
#define CTSYNCD_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow.h"

#define POLICY_RULES_MAX 64      /* a bit each */
#define POLICY_PREFIXES_MAX 4096 /* of all rules together */

enum policy_class {
	POLICY_ALWAYS,
	POLICY_NEVER,
	POLICY_ASSURED, /* from the moment on that the kernel calls the flow assured */
	POLICY_CLASSES
};

enum policy_side { POLICY_SOURCE, POLICY_DESTINATION, POLICY_EITHER, POLICY_SIDES };

struct policy_prefix {
	uint8_t rule, side; /* index of the rule; enum policy_side */
	uint8_t l3, len;    /* 4 or 6; bits, the others of addr are zero */
	uint8_t addr[16];
};

/* All that is asked for must be so. */
struct policy_rule {
	uint8_t class; /* enum policy_class */
	bool has_proto, has_port, has_zone;
	uint8_t proto;
	uint16_t port_lo, port_hi; /* destination port, host order; of protocols with ports */
	uint16_t zone;
	uint16_t tcp_states;      /* bits by TCP_CONNTRACK_x: TCP in one of these; 0 = any */
	uint32_t mark, mark_mask; /* (the flow's & mark_mask) == mark; mask 0 = any */
	uint8_t sides;            /* bits by enum policy_side: it has prefixes for these */
};

struct policy_conf {
	bool syn_sent; /* announce TCP from its SYN on (both nodes carry traffic) */
	unsigned int rule_count, prefix_count;
	struct policy_rule rule[POLICY_RULES_MAX];
	struct policy_prefix prefix[POLICY_PREFIXES_MAX];
};

/* Bytes of it that say anything. */
static inline size_t policy_conf_len(const struct policy_conf *conf)
{
	return offsetof(struct policy_conf, prefix) + conf->prefix_count * sizeof(conf->prefix[0]);
}

/* Is what lies in len bytes a policy_conf, cut behind its last prefix, with nothing out of range?
 */
bool policy_conf_ok(const void *bytes, size_t len);

struct policy;

/* Makes the rules fit for lookups. Keeps nothing of conf. NULL when out of memory. */
struct policy *policy_new(const struct policy_conf *conf);
void policy_free(struct policy *p);

/* The first rule that matches f, -1 if none does. Allocates nothing. */
int policy_match(const struct policy *p, const struct flow *f);

/* The class of f: that of the rule that matches, else POLICY_ALWAYS. */
enum policy_class policy_class_of(const struct policy *p, const struct flow *f);

/* What it was made of: *len bytes, a policy_conf cut behind its last prefix. */
const void *policy_bytes(const struct policy *p, size_t *len);

/* Is f announced, as it is now? */
bool policy_includes(const struct policy *p, const struct flow *f);

/* May the answer for one flow change with its state (marks, TCP states, ASSURED)? */
bool policy_is_fluid(const struct policy *p);

/* Does the rule ask for more than what names the flow? */
static inline bool policy_rule_is_fluid(const struct policy_rule *r)
{
	return r->tcp_states || r->mark_mask;
}

/* A TCP connection of which nobody has seen but the SYN. No kernel can carry it on from there, so
 * it is left out. Not the child of another (IPS_EXPECTED): its NEW alone names the master. */
static inline bool policy_is_early(const struct flow *f)
{
	return f->key.proto == 6 && f->tcp.state == 1 && !(f->status & 1);
}

#endif
