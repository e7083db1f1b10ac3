/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of configuration keys, private to conf*.c: everything that is known of a key stands in
 * its row and nowhere else.
 */
#ifndef CTSYNCD_CONF_TABLE_H
#define CTSYNCD_CONF_TABLE_H

#include "conf.h"

#include <string.h>

#define CONF_ADDR_MAX 48 /* text of an address */
#define CONF_PREFIX_MAX 52
#define CONF_PROTO_MAX 12
#define CONF_PORT_MAX 12
#define CONF_MARK_MAX 24
#define CONF_STATE_MAX 12
#define CONF_STATES 9
#define CONF_NO_ZONE UINT32_MAX /* not given */

enum conf_type {
	CONF_NUM,   /* uint32_t; min and max are its range */
	CONF_BOOL,  /* bool */
	CONF_STR,   /* char[size]; min and max are its length */
	CONF_WORD,  /* one of words; int or bool by size */
	CONF_STRS,  /* char[max][size] and a count; min and max are how many */
	CONF_LINKS, /* the list of links; keys inside follow as PATH.x and fill a struct
		       conf_link_text */
	CONF_RULES, /* likewise of the policy, and a struct conf_rule_text */
};

enum conf_in { CONF_IN_FILE, CONF_IN_LINK, CONF_IN_RULE };

struct conf_word {
	const char *name; /* NULL ends the list */
	int value;
};

struct conf_key {
	const char *path;
	enum conf_type type;
	enum conf_in in; /* whose offsets: struct conf, conf_link_text, conf_rule_text */
	bool live;       /* a reload applies it; else it needs a restart */
	bool required;   /* no default; example says what to write */
	bool omit_empty; /* empty or zero means "not given": not printed */
	size_t at, size; /* offset and size of the field (of one element) */
	size_t count_at; /* CONF_STRS, CONF_LINKS: offset of the count, an unsigned int */
	uint32_t min, max;
	uint32_t num;    /* default of CONF_NUM and CONF_BOOL, value of CONF_WORD */
	const char *str; /* default of CONF_STR */
	const struct conf_word *words;
	const char *example; /* for keys without default */
	const char *help;
};

/* A link as the file writes it. */
struct conf_link_text {
	char interface[IF_NAMESIZE];
	char local[CONF_ADDR_MAX];
	char peers[LINK_PEERS_MAX][CONF_ADDR_MAX];
	unsigned int peer_count;
	char group[CONF_ADDR_MAX];
	uint32_t ttl; /* 0 = not given */
	uint32_t port;
};

/* A rule of the policy as the file writes it. */
struct conf_rule_text {
	uint32_t class, zone;
	char protocol[CONF_PROTO_MAX], port[CONF_PORT_MAX], mark[CONF_MARK_MAX];
	char states[CONF_STATES][CONF_STATE_MAX];
	unsigned int state_count;
	char prefix[POLICY_SIDES][POLICY_PREFIXES_MAX][CONF_PREFIX_MAX];
	unsigned int prefix_count[POLICY_SIDES];
};

/* The i-th row, NULL behind the last. Rows of one section stand together. */
const struct conf_key *conf_table_at(size_t i);
/* The row of path, NULL if there is none. */
const struct conf_key *conf_table_find(const char *path);

/* Sets the fields of base that belong to rows of in to their defaults. */
void conf_table_defaults(void *base, enum conf_in in);

/* The field of k in base; the count that belongs to it. */
static inline const char *conf_field(const struct conf_key *k, const void *base)
{
	return (const char *)base + k->at;
}

static inline unsigned int conf_count(const struct conf_key *k, const void *base)
{
	unsigned int n;

	memcpy(&n, (const char *)base + k->count_at, sizeof(n));
	return n;
}

/* Stores a number, word value or bool into the field of k. */
void conf_table_set(const struct conf_key *k, void *base, uint32_t v);
uint32_t conf_table_get(const struct conf_key *k, const void *base);

/* Prints what k allows: "10 to 86400", "\"hot\" or \"cache\"". */
void conf_table_allowed(const struct conf_key *k, char *buf, size_t len);

/* Rule i of the policy as a file would write it. */
void conf_rule_text(const struct policy_conf *policy, unsigned int i, struct conf_rule_text *t);

/* Prints an address as text. */
void conf_addr_text(const struct sockaddr_storage *a, char *buf, size_t len);

#endif
