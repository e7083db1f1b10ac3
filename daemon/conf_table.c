/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one table of configuration keys, and what follows from it alone: defaults, the comparison of
 * two configurations; conf_print.c prints by it, conf.c reads files by it. A new key is a field in
 * struct conf, a row here, and the page made anew by `ctsyncd --print-keys`.
 *
 * Rows of one section stand together and sections nest one level deep, so printing needs no stack.
 * Keys of a link or of a rule have rows like all others; their fields live in struct conf_link_text
 * and struct conf_rule_text, as a file writes them, and conf.c and conf_policy.c turn them into
 * what they mean.
 */
#include "conf_table.h"

#include <string.h>

#include "util.h"

#define FIELD(f) .at = offsetof(struct conf, f), .size = sizeof(((struct conf *)NULL)->f)
#define LINK_FIELD(f)                                                                              \
	.in = CONF_IN_LINK, .at = offsetof(struct conf_link_text, f),                              \
	.size = sizeof(((struct conf_link_text *)NULL)->f)
#define RULE_FIELD(f)                                                                              \
	.in = CONF_IN_RULE, .at = offsetof(struct conf_rule_text, f),                              \
	.size = sizeof(((struct conf_rule_text *)NULL)->f)
#define RULE_PREFIXES(side)                                                                        \
	.type = CONF_STRS, .in = CONF_IN_RULE, .min = 1, .max = POLICY_PREFIXES_MAX,               \
	.at = offsetof(struct conf_rule_text, prefix[side]), .size = CONF_PREFIX_MAX,              \
	.count_at = offsetof(struct conf_rule_text, prefix_count[side]), .omit_empty = true
#define STR_RANGE(lo, f) .min = (lo), .max = sizeof(((struct conf *)NULL)->f) - 1

static const struct conf_word standby_words[] = { { "hot", true },
						  { "cache", false },
						  { NULL, 0 } };
static const struct conf_word seal_words[] = { { "none", false }, { NULL, 0 } };
static const struct conf_word target_words[] = {
	{ "auto", 0 }, { "stderr", 0 }, { "syslog", 0 }, { NULL, 0 }
};
static const struct conf_word level_words[] = {
	{ "err", LOG_LVL_ERR },
	{ "warn", LOG_LVL_WARN },
	{ "info", LOG_LVL_INFO },
	{ "debug", LOG_LVL_DEBUG },
	{ NULL, 0 },
};

static const struct conf_word class_words[] = {
	{ "always", POLICY_ALWAYS },
	{ "never", POLICY_NEVER },
	{ "assured", POLICY_ASSURED },
	{ NULL, 0 },
};

static const struct conf_key table[] = {
	{ .path = "node",
	  .type = CONF_STR,
	  FIELD(node),
	  STR_RANGE(1, node),
	  .required = true,
	  .example = "node = \"fw1\"; with this node's own name",
	  .help = "Name of this node: letters, digits, dot, dash and underscore. No two nodes of a "
		  "group share one." },
	{ .path = "standby",
	  .type = CONF_WORD,
	  FIELD(hot),
	  .words = standby_words,
	  .num = true,
	  .help = "What a backup does with the flows that it receives: write them into its kernel "
		  "as they arrive, or keep "
		  "them in memory until a promote or commit." },
	{ .path = "active_active",
	  .type = CONF_BOOL,
	  FIELD(active_active),
	  .help = "Every node carries traffic, also the two directions of one flow on different "
		  "nodes. The same on all nodes; needs standby = \"hot\"." },
	{ .path = "user",
	  .type = CONF_STR,
	  FIELD(user),
	  STR_RANGE(1, user),
	  .str = "ctsyncd",
	  .help = "User to become when started by root. Without such a user, or if it cannot write "
		  "beside "
		  "control.socket, the daemon stays root and says so; \"root\" stays root without "
		  "a word." },

	{ .path = "policy",
	  .type = CONF_RULES,
	  FIELD(policy),
	  .min = 0,
	  .max = POLICY_RULES_MAX,
	  .live = true,
	  .omit_empty = true,
	  .help = "Which flows this node announces to its peers, each rule a group of the keys "
		  "below: the first rule of which everything matches decides, and what none "
		  "matches is announced. See POLICY." },
	{ .path = "policy.class",
	  .type = CONF_WORD,
	  RULE_FIELD(class),
	  .words = class_words,
	  .required = true,
	  .example = "class = \"never\"; with what becomes of the flows that match",
	  .help = "Announce them, do not, or do so from the moment on that the kernel calls them "
		  "assured: short flows then cost nothing." },
	{ .path = "policy.protocol",
	  .type = CONF_STR,
	  RULE_FIELD(protocol),
	  .min = 1,
	  .max = CONF_PROTO_MAX - 1,
	  .str = "",
	  .omit_empty = true,
	  .help = "Protocol: tcp, udp, udplite, sctp, dccp, icmp, icmpv6, gre, esp, ah, or a "
		  "number of 0 to 255." },
	{ .path = "policy.port",
	  .type = CONF_STR,
	  RULE_FIELD(port),
	  .min = 1,
	  .max = CONF_PORT_MAX - 1,
	  .str = "",
	  .omit_empty = true,
	  .help = "Destination port, \"53\" or \"6000-6100\"; of TCP, UDP, UDP-Lite or SCTP." },
	{ .path = "policy.source",
	  RULE_PREFIXES(POLICY_SOURCE),
	  .help = "Prefixes, IPv4 or IPv6, one of which holds the source. An address alone is a "
		  "prefix of one." },
	{ .path = "policy.destination",
	  RULE_PREFIXES(POLICY_DESTINATION),
	  .help = "Likewise of the destination, as the first packet had it, before translation." },
	{ .path = "policy.address",
	  RULE_PREFIXES(POLICY_EITHER),
	  .help = "Likewise of either of the two. All rules together hold at most 4096 prefixes." },
	{ .path = "policy.zone",
	  .type = CONF_NUM,
	  RULE_FIELD(zone),
	  .max = 65535,
	  .num = CONF_NO_ZONE,
	  .omit_empty = true,
	  .help = "Conntrack zone, 0 being the default one." },
	{ .path = "policy.mark",
	  .type = CONF_STR,
	  RULE_FIELD(mark),
	  .min = 1,
	  .max = CONF_MARK_MAX - 1,
	  .str = "",
	  .omit_empty = true,
	  .help = "Connection mark, \"0x10\", or with a mask \"0x10/0xf0\"." },
	{ .path = "policy.tcp_states",
	  .type = CONF_STRS,
	  .in = CONF_IN_RULE,
	  .at = offsetof(struct conf_rule_text, states),
	  .size = CONF_STATE_MAX,
	  .count_at = offsetof(struct conf_rule_text, state_count),
	  .min = 1,
	  .max = CONF_STATES,
	  .omit_empty = true,
	  .help = "TCP in one of these states: SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT, "
		  "CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE, SYN_SENT2." },

	{ .path = "sync.seal",
	  .type = CONF_WORD,
	  FIELD(sealed),
	  .words = seal_words,
	  .num = true,
	  .omit_empty = true,
	  .help = "Only \"none\" may be given: datagrams are neither encrypted nor authenticated. "
		  "Stands in place of "
		  "sync.key_files; one of the two must be there." },
	{ .path = "sync.key_files",
	  .type = CONF_STRS,
	  .at = offsetof(struct conf, key_files),
	  .size = sizeof(((struct conf *)NULL)->key_files[0]),
	  .count_at = offsetof(struct conf, key_count),
	  .min = 1,
	  .max = ENGINE_KEYS_MAX,
	  .live = true,
	  .omit_empty = true,
	  .help = "Files with the keys that seal datagrams, the same on all nodes: 32 bytes or 64 "
		  "hexadecimal digits, as ctsync keygen makes them, root's or the daemon's own, "
		  "neither readable nor writable by others. The first seals, each opens, so that "
		  "a key is exchanged on running nodes." },
	{ .path = "sync.heartbeat_ms",
	  .type = CONF_NUM,
	  FIELD(heartbeat_ms),
	  .min = 10,
	  .max = 10000,
	  .num = 200,
	  .live = true,
	  .help = "Pause between heartbeats, milliseconds." },
	{ .path = "sync.dead_ms",
	  .type = CONF_NUM,
	  FIELD(dead_ms),
	  .min = 50,
	  .max = 60000,
	  .num = 1000,
	  .live = true,
	  .help = "A peer that was not heard for so long is down, milliseconds. At least twice "
		  "sync.heartbeat_ms." },
	{ .path = "sync.socket_buffer",
	  .type = CONF_NUM,
	  FIELD(socket_buffer_len),
	  .min = 65536,
	  .max = 536870912,
	  .num = 8388608,
	  .help = "Receive buffer of the socket of a link, bytes." },
	{ .path = "sync.links",
	  .type = CONF_LINKS,
	  .at = offsetof(struct conf, links),
	  .size = sizeof(((struct conf *)NULL)->links[0]),
	  .count_at = offsetof(struct conf, link_count),
	  .min = 1,
	  .max = LINK_LINKS_MAX,
	  .required = true,
	  .example = "links = ( { interface = \"eth1\"; local = \"192.168.100.1\"; peers = [ "
		     "\"192.168.100.2\" ]; } );",
	  .help = "Links to the peers, each a group of the keys below. A link has either peers or "
		  "group." },
	{ .path = "sync.links.interface",
	  .type = CONF_STR,
	  LINK_FIELD(interface),
	  .max = IF_NAMESIZE - 1,
	  .str = "",
	  .omit_empty = true,
	  .help = "Interface of the link. Without it the routing table decides, and state and MTU "
		  "are those of the "
		  "interface that has the local address." },
	{ .path = "sync.links.local",
	  .type = CONF_STR,
	  LINK_FIELD(local),
	  .min = 1,
	  .max = CONF_ADDR_MAX - 1,
	  .required = true,
	  .example = "local = \"192.168.100.1\"; with an address of this node on the link",
	  .help = "Address of this node on the link, IPv4 or IPv6. A link-local one takes the "
		  "link's interface as its scope." },
	{ .path = "sync.links.peers",
	  .type = CONF_STRS,
	  .in = CONF_IN_LINK,
	  .at = offsetof(struct conf_link_text, peers),
	  .size = CONF_ADDR_MAX,
	  .count_at = offsetof(struct conf_link_text, peer_count),
	  .min = 1,
	  .max = LINK_PEERS_MAX,
	  .omit_empty = true,
	  .help = "Addresses of the other nodes on the link." },
	{ .path = "sync.links.group",
	  .type = CONF_STR,
	  LINK_FIELD(group),
	  .min = 1,
	  .max = CONF_ADDR_MAX - 1,
	  .str = "",
	  .omit_empty = true,
	  .help = "Multicast group that stands in place of peers." },
	{ .path = "sync.links.ttl",
	  .type = CONF_NUM,
	  LINK_FIELD(ttl),
	  .min = 1,
	  .max = 255,
	  .num = 0,
	  .omit_empty = true,
	  .help = "TTL or hop limit of multicast datagrams, 1 when not given; only with group." },
	{ .path = "sync.links.port",
	  .type = CONF_NUM,
	  LINK_FIELD(port),
	  .min = 1,
	  .max = 65535,
	  .num = 3780,
	  .help = "UDP port, the same on all nodes." },

	{ .path = "kernel.event_buffer",
	  .type = CONF_NUM,
	  FIELD(event_buffer_len),
	  .min = 65536,
	  .max = 1073741823,
	  .num = 33554432,
	  .help = "Receive buffer of the socket for kernel events, bytes. An event takes 640 of "
		  "them." },

	{ .path = "kernel.reliable_events",
	  .type = CONF_BOOL,
	  FIELD(reliable_events),
	  .help = "The kernel keeps an ended flow until its end was told, instead of dropping "
		  "the event when the buffer is full. See \"OVERLOAD\" in ctsyncd(8) for the "
		  "price." },

	{ .path = "state.hold_s",
	  .type = CONF_NUM,
	  FIELD(hold_s),
	  .min = 10,
	  .max = 86400,
	  .num = 600,
	  .live = true,
	  .help = "Timeout that a hot backup writes into the flows it holds for a peer, and renews "
		  "at half; never more than "
		  "the state's own. Longer than a restart of the peer's daemon takes." },
	{ .path = "state.orphan_s",
	  .type = CONF_NUM,
	  FIELD(orphan_s),
	  .min = 0,
	  .max = 3600,
	  .num = 60,
	  .live = true,
	  .help = "With standby = \"cache\": how long flows stay that a peer's earlier run left "
		  "behind, for a promote." },
	{ .path = "state.forced_wait_ms",
	  .type = CONF_NUM,
	  FIELD(forced_wait_ms),
	  .min = 0,
	  .max = 60000,
	  .num = 5000,
	  .live = true,
	  .help = "How long a backup waits before it deletes a flow that the peer's kernel ended "
		  "long before its time (an "
		  "address was removed). A promote meanwhile keeps it." },
	{ .path = "state.unclaimed_ms",
	  .type = CONF_NUM,
	  FIELD(unclaimed_ms),
	  .min = 1000,
	  .max = 3600000,
	  .num = 60000,
	  .live = true,
	  .help = "After a restart of the daemon on a backup: entries that no peer claims become "
		  "its own when no peer was heard "
		  "for so long." },
	{ .path = "state.flows_max",
	  .type = CONF_NUM,
	  FIELD(flows_max),
	  .min = 1024,
	  .max = 67108864,
	  .num = 8388608,
	  .live = true,
	  .help = "Most flows held of this node, and most of each peer." },
	{ .path = "state.tombstones_max",
	  .type = CONF_NUM,
	  FIELD(tombstones_max),
	  .min = 1024,
	  .max = 16777216,
	  .num = 262144,
	  .live = true,
	  .help = "Most ended flows remembered for a peer that is away. Beyond it the peer "
		  "compares tables when it comes back." },
	{ .path = "state.scrub_s",
	  .type = CONF_NUM,
	  FIELD(scrub_s),
	  .min = 5,
	  .max = 600,
	  .num = 300,
	  .live = true,
	  .help = "Within so long every bucket of the tables is computed anew from its flows, so "
		  "that memory that flipped is found." },
	{ .path = "state.walk_rate",
	  .type = CONF_NUM,
	  FIELD(walk_rate),
	  .min = 100,
	  .max = 1000000,
	  .num = 20000,
	  .live = true,
	  .help = "Kernel writes a second for work in the background: renewing timeouts, lifting "
		  "them after a promote." },

	{ .path = "control.socket",
	  .type = CONF_STR,
	  FIELD(socket),
	  STR_RANGE(2, socket),
	  .str = CTL_SOCKET_DEFAULT,
	  .help = "Path of the control socket. The lock and the kept role stand beside it, so its "
		  "directory belongs under /run." },
	{ .path = "control.group",
	  .type = CONF_STR,
	  FIELD(group),
	  STR_RANGE(0, group),
	  .str = "",
	  .live = true,
	  .help = "Members of this group may do everything, like root and the daemon's own "
		  "user. Empty: those two alone." },
	{ .path = "control.read_all",
	  .type = CONF_BOOL,
	  FIELD(read_all),
	  .live = true,
	  .help = "Everybody on the machine may use the verbs that read: status, counters, "
		  "flows." },

	{ .path = "record.size_mb",
	  .type = CONF_NUM,
	  FIELD(record_size_mb),
	  .min = 0,
	  .max = 65536,
	  .num = 0,
	  .help = "Memory of the flight recorder, mebibytes: files beside control.socket, taken at "
		  "the start. 0 is off; less than 6 is taken for 6. A million flows need about "
		  "600, a hundred thousand 64; see ctsync(8), THE FLIGHT RECORDER." },

	{ .path = "log.target",
	  .type = CONF_STR,
	  FIELD(log_target),
	  .str = "auto",
	  .words = target_words,
	  .help = "Where messages go; auto is the journal when standard error leads there, else "
		  "standard error." },
	{ .path = "log.level",
	  .type = CONF_WORD,
	  FIELD(log_level),
	  .words = level_words,
	  .num = LOG_LVL_INFO,
	  .live = true,
	  .help = "Least important messages that are still written." },
};

const struct conf_key *conf_table_at(size_t i)
{
	return i < ARRAY_LEN(table) ? &table[i] : NULL;
}

const struct conf_key *conf_table_find(const char *path)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (!strcmp(table[i].path, path))
			return &table[i];
	}
	return NULL;
}

void conf_table_set(const struct conf_key *k, void *base, uint32_t v)
{
	char *p = (char *)base + k->at;
	bool b = v != 0;

	if (k->size == sizeof(b))
		memcpy(p, &b, sizeof(b));
	else
		memcpy(p, &v, sizeof(v));
}

uint32_t conf_table_get(const struct conf_key *k, const void *base)
{
	uint32_t v;
	bool b;

	if (k->size == sizeof(b)) {
		memcpy(&b, conf_field(k, base), sizeof(b));
		return b;
	}
	memcpy(&v, conf_field(k, base), sizeof(v));
	return v;
}

void conf_table_defaults(void *base, enum conf_in in)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		const struct conf_key *k = &table[i];

		if (k->in != in)
			continue;
		if (k->type == CONF_NUM || k->type == CONF_BOOL || k->type == CONF_WORD)
			conf_table_set(k, base, k->num);
		else if (k->type == CONF_STR && k->str)
			(void)snprintf((char *)base + k->at, k->size, "%s", k->str);
	}
}

static void words_text(const struct conf_word *w, char *buf, size_t len)
{
	FILE *out = fmemopen(buf, len, "w");

	if (!out)
		return;
	for (size_t i = 0; w[i].name; i++)
		(void)fprintf(out, "%s\"%s\"", !i ? "" : w[i + 1].name ? ", " : " or ", w[i].name);
	(void)fclose(out);
}

void conf_table_allowed(const struct conf_key *k, char *buf, size_t len)
{
	buf[0] = '\0';
	if (k->words) {
		words_text(k->words, buf, len);
		return;
	}
	switch (k->type) {
	case CONF_NUM:
		(void)snprintf(buf, len, "%u to %u", k->min, k->max);
		break;
	case CONF_BOOL:
		(void)snprintf(buf, len, "true or false");
		break;
	case CONF_STR:
		(void)snprintf(buf, len, "a string of %u to %u characters", k->min, k->max);
		break;
	case CONF_STRS:
		(void)snprintf(buf, len, "an array of %u to %u strings", k->min, k->max);
		break;
	case CONF_LINKS:
	case CONF_RULES:
		(void)snprintf(buf, len, "a list of %u to %u groups", k->min, k->max);
		break;
	case CONF_WORD:
		break; /* has words */
	}
}

/* Does the field of k differ between a and b? Unused bytes of every field are zero. */
static bool differs(const struct conf_key *k, const struct conf *a, const struct conf *b)
{
	size_t len = k->size;

	if (k->type == CONF_STRS || k->type == CONF_LINKS) {
		if (conf_count(k, a) != conf_count(k, b))
			return true;
		len *= k->max;
	}
	return memcmp(conf_field(k, a), conf_field(k, b), len) != 0;
}

void conf_restart_keys(const struct conf *a, const struct conf *b, char *out, size_t len)
{
	size_t at = 0;

	out[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		int n;

		if (table[i].in || table[i].live || !differs(&table[i], a, b))
			continue;
		n = snprintf(out + at, len - at, "%s%s", at ? ", " : "", table[i].path);
		if (n < 0 || (size_t)n >= len - at)
			return;
		at += (size_t)n;
	}
}

void conf_copy_live(struct conf *dst, const struct conf *src)
{
	/* Keys can be exchanged while sealing is on; on and off is another matter (sync.seal). */
	bool keep_keys = dst->sealed != src->sealed;

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		const struct conf_key *k = &table[i];
		bool many = k->type == CONF_STRS;

		if (k->in || !k->live || (many && keep_keys))
			continue;
		memcpy((char *)dst + k->at, conf_field(k, src), many ? k->size * k->max : k->size);
		if (many)
			memcpy((char *)dst + k->count_at, (const char *)src + k->count_at,
			       sizeof(unsigned int));
	}
}
