/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flow: one conntrack entry as ctsyncd sees it. `struct flow` is the working form that the
 * kernel side fills and reads; the *packed* form is what caches hold and datagrams carry
 * (PROTOCOL.md, "Flow body"). Addresses, ports and ids are in network byte order, everything else
 * in host order.
 */
#ifndef CTSYNCD_FLOW_H
#define CTSYNCD_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Limits of the packed form, bytes. */
#define FLOW_KEY_MAX 41
#define FLOW_PACKED_MAX 250
#define FLOW_KSHAPE_V6 0x01     /* of the first byte of a key */
#define FLOW_KSHAPE_EXPECT 0x04 /* likewise: an expectation */
#define FLOW_SHAPE_REPLY 0x01   /* of the byte behind the key: the flow is translated */
#define FLOW_SHAPE_ATTRS 0x04   /* likewise: attributes follow */

/* One direction. IPv4 addresses use the first four bytes, the rest is zero. ICMP: sport holds the
 * id, dport the two bytes type, code. GRE: the keys. Protocols without ports: both zero. */
struct flow_tuple {
	uint8_t src[16], dst[16];
	uint16_t sport, dport;
};

/* What names a flow: original tuple and zone. Unused bytes are zero, so keys compare by memcmp. */
struct flow_key {
	uint8_t l3;       /* 4 or 6 */
	uint8_t proto;    /* IPPROTO_x */
	uint16_t zone;    /* host order; 0 = default */
	uint8_t zone_dir; /* 0 both directions, 1 original only, 2 reply only (CTA_TUPLE_ZONE) */
	uint8_t expect;   /* 1: not a flow but an expectation, orig is the tuple it waits for */
	struct flow_tuple orig;
};

enum flow_has { /* bits of flow.has: attributes that the message at hand carried; absence never
		   means unset */
		FLOW_HAS_REPLY = 1 << 0,
		FLOW_HAS_STATUS = 1 << 1,
		FLOW_HAS_TIMEOUT = 1 << 2,
		FLOW_HAS_MARK = 1 << 3,
		FLOW_HAS_TCP = 1 << 4,
		FLOW_HAS_ID = 1 << 5,
		/* Members of flow.ext, which plain flows have not. */
		FLOW_HAS_LABELS = 1 << 6,
		FLOW_HAS_HELPER = 1 << 7,
		FLOW_HAS_MASTER = 1 << 8,
		FLOW_HAS_SEQADJ = 1 << 9,
		FLOW_HAS_SCTP = 1 << 10,
		FLOW_HAS_SYNPROXY = 1 << 11,
		FLOW_HAS_EXPECT = 1 << 12,
		FLOW_HAS_EXPECT_NAT = 1 << 13,
		FLOW_HAS_EXPECT_FN = 1 << 14,
		FLOW_HAS_EXT = 0x7fc0,
		/* The message shows the whole entry: of ext, what it lacks the entry lacks. */
		FLOW_HAS_ALL = 1 << 15,
};

/* TCP state as in linux/netfilter/nf_conntrack_tcp.h (TCP_CONNTRACK_x), flags IP_CT_TCP_FLAG_x. */
struct flow_tcp {
	uint8_t state;
	uint8_t wscale[2]; /* original, reply; 0 to 14 */
	uint8_t flags[2];
};

#define FLOW_LABELS_LEN 16
#define FLOW_NAME_LEN 16 /* of a helper, with its NUL */
#define FLOW_FN_LEN 32   /* of an expectation's function, likewise: "nat-follow-master" */

/* The flow that this one is RELATED to: its original tuple. Family and zone are the child's. */
struct flow_master {
	uint8_t proto;
	struct flow_tuple orig;
};

/* One direction's correction of TCP sequence numbers (CTA_SEQ_ADJ_x). */
struct flow_seqadj {
	uint32_t pos, before, after;
};

/* State as in linux/netfilter/nf_conntrack_sctp.h (SCTP_CONNTRACK_x), verification tags by
 * direction. */
struct flow_sctp {
	uint8_t state;
	uint32_t vtag[2];
};

struct flow_synproxy {
	uint32_t isn, its, tsoff;
};

/* What an expectation has beside its tuple, master and helper (CTA_EXPECT_x). The mask covers the
 * source alone, the destination counts in full. nat: what a connection that comes is translated
 * to, in the direction nat_dir of the master. */
#define FLOW_EXPECT_PERMANENT 0x01 /* of flags: its first packet does not end it */
struct flow_expect {
	uint8_t class, flags;
	uint8_t mask_src[16];
	uint16_t mask_sport;
	uint8_t nat_dir;
	uint8_t nat_addr[16];
	uint16_t nat_port;
	char fn[FLOW_FN_LEN];
};

/* What few flows have. A member means something only if its bit in flow.has is set. If any of these
 * bits is set the others are zero; if none is, nothing here is even zeroed, so that plain flows
 * need not pay for it. */
struct flow_ext {
	uint8_t labels[FLOW_LABELS_LEN]; /* as the kernel's message has them */
	char helper[FLOW_NAME_LEN];
	struct flow_master master;
	struct flow_seqadj seqadj[2]; /* original, reply */
	struct flow_sctp sctp;
	struct flow_synproxy synproxy;
	struct flow_expect expect;
};

struct flow {
	uint32_t has; /* FLOW_HAS_x */
	struct flow_key key;
	struct flow_tuple reply; /* as the kernel shows it: translated */
	uint32_t status;         /* IPS_x, masked by FLOW_STATUS_MASK when packed */
	uint32_t timeout_s;      /* remaining seconds; never part of the packed form */
	uint32_t mark;
	uint32_t id; /* CTA_ID of this kernel; never leaves the node */
	struct flow_tcp tcp;
	struct flow_ext ext;
};

/* Empties a flow; of ext nothing is set. */
static inline void flow_clear(struct flow *f)
{
	memset(f, 0, offsetof(struct flow, ext)); /* FLOW_PLAIN_LEN */
}

#define FLOW_PLAIN_LEN offsetof(struct flow, ext)

/* The bytes of f that say something: ext only where it does. */
static inline size_t flow_len(const struct flow *f)
{
	return f->has & FLOW_HAS_EXT ? sizeof(*f) : FLOW_PLAIN_LEN;
}

static inline void flow_copy(struct flow *to, const struct flow *from)
{
	memcpy(to, from, flow_len(from));
}

/* Call it before the first bit of FLOW_HAS_EXT is set. */
static inline void flow_begin_ext(struct flow *f)
{
	if (!(f->has & FLOW_HAS_EXT))
		memset(&f->ext, 0, sizeof(f->ext));
}

/* Status bits that are state of the flow and not of one kernel:
 * SEEN_REPLY 0x2, ASSURED 0x4, CONFIRMED 0x8, SRC_NAT 0x10, DST_NAT 0x20, SRC_NAT_DONE 0x80,
 * DST_NAT_DONE 0x100, FIXED_TIMEOUT 0x400, HELPER 0x2000 and EXPECTED 0x1. OFFLOAD, DYING,
 * TEMPLATE, UNTRACKED, SEQ_ADJUST stay local. */
#define FLOW_STATUS_MASK 0x25bfu
#define FLOW_STATUS_LASTING 0x0006u /* SEEN_REPLY, ASSURED: never unset while the entry lives */

/* Packs key into out (FLOW_KEY_MAX bytes at least). Returns the length: 14 to 41. */
size_t flow_key_pack(const struct flow_key *key, uint8_t *out);

/* Length of the key at the start of a packed key or flow of len bytes; 0 if it is cut short or
 * malformed. */
size_t flow_key_len(const uint8_t *p, size_t len);

/* Unpacks a key. Returns its length, 0 if cut short or malformed; unused bytes of *key are zeroed.
 */
size_t flow_key_unpack(const uint8_t *p, size_t len, struct flow_key *key);

/* Does the packed flow at p carry attributes? Most do not. */
static inline bool flow_has_attrs(const uint8_t *p, size_t key_len)
{
	return p[key_len] & FLOW_SHAPE_ATTRS;
}

/* Is what is packed at p, key first, an expectation? */
static inline bool flow_is_expect(const uint8_t *p)
{
	return p[0] & FLOW_KSHAPE_EXPECT;
}

/* Packs key and state (not timeout, not id) into out (FLOW_PACKED_MAX bytes). Returns the length;
 * the key comes first. */
size_t flow_pack(const struct flow *f, uint8_t *out);

/* Unpacks exactly len bytes. Unknown optional attributes are skipped. Returns 0, -1 if malformed,
 * -2 if it holds a mandatory attribute or shape that this version does not know. Every has-bit but
 * TIMEOUT and ID is set as found; REPLY always (the inverse of orig when it is not carried). */
int flow_unpack(const uint8_t *p, size_t len, struct flow *f);

/* Merges the attributes that d carries into f (same key). Status bits OR in except when the flow is
 * new. What d lacks stays, unless d is whole (FLOW_HAS_ALL): then f's ext becomes d's. */
void flow_merge(struct flow *f, const struct flow *d);

/* The reply tuple of an untranslated flow: addresses and ports swapped (ICMP: type mapped to its
 * answer). */
void flow_inverse(const struct flow_key *key, struct flow_tuple *out);

/* Timeouts of this kernel in seconds, by protocol and state
 * (net.netfilter.nf_conntrack_*_timeout*). */
struct flow_timeouts {
	uint32_t tcp[16];  /* by TCP_CONNTRACK_x; [0] is used for unknown states */
	uint32_t sctp[10]; /* by SCTP_CONNTRACK_x; [0] is used for unknown states */
	uint32_t udp, udp_stream, gre, gre_stream, icmp, icmpv6, generic;
};

/* The kernel's defaults. */
void flow_timeouts_default(struct flow_timeouts *t);

/* The full timeout of f in its present state, seconds. */
uint32_t flow_full_timeout(const struct flow_timeouts *t, const struct flow *f);

/* What moves the timer of a kernel entry that is made from f. */
enum flow_timer {
	FLOW_TIMER_LIVE,  /* packets: each sets it to the full timeout of the state */
	FLOW_TIMER_GIVEN, /* nothing; it runs out when its owner said (FIXED_TIMEOUT, expectations)
			   */
	FLOW_TIMER_LOST,  /* nothing: GRE. An entry that did not begin in its own kernel has no
			     timeouts, and would end with its first packet if its timer were not
			     fixed (net/netfilter/nf_conntrack_proto_gre.c) */
};
enum flow_timer flow_timer(const struct flow *f);

/* Does the update f lack what only a whole message has, for a flow of its kind? */
bool flow_is_partial(const struct flow *f);

/* Is f in a state in which its end is near by its own doing (TCP FIN_WAIT .. CLOSE, SCTP SHUTDOWN_x
 * and CLOSED)? */
bool flow_is_closing(const struct flow *f);

/* Is f a TCP connection that is over (TIME_WAIT, CLOSE): a SYN begins the next life of its tuple?
 */
bool flow_is_over(const struct flow *f);

/* Is theirs the TCP connection that ours is, in a state further on? */
bool flow_is_further(const struct flow *ours, const struct flow *theirs);

/* Active-active: what two nodes know of one flow of which each sees a part (PROTOCOL.md, R72).
 * Writes into out what ours becomes with the news in theirs. Returns false if there are none, or if
 * both have an id and it is not the same: theirs is meant for another entry. */
bool flow_join(const struct flow *ours, const struct flow *theirs, struct flow *out);

/* May a kernel entry made from f carry the flow on? False for TCP SYN_SENT and NONE, for SCTP
 * CLOSED and NONE or without its tags. */
bool flow_is_injectable(const struct flow *f);

#endif
