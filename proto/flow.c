/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flow and its packed form. Caches compare and hash packed bytes, and digests are sums over
 * them, so the form is canonical: one flow has exactly one encoding. Packing therefore normalises
 * (a zone of 0 has no direction, a mark of 0 and a reply that is the plain inverse are left out,
 * status is masked, what TCP cannot hold is clipped), and unpacking refuses every encoding that
 * packing would not have made, but for attributes that are not known here. Those stay in the bytes,
 * so that a node of an older version still holds what the owner holds.
 *
 * A packed flow is complete: what it does not carry is zero, not unknown. Specification:
 * PROTOCOL.md, section 4. Pure functions, no state.
 */
#include "flow.h"

#include <assert.h>
#include <endian.h>
#include <netinet/in.h>
#include <string.h>

#include "flow_attrs.h"
#include "util.h"

#define KSHAPE_V6 FLOW_KSHAPE_V6
#define KSHAPE_ZONE 0x02
#define KSHAPE_ALL 0x07
#define ZONE_LEN 3
#define ZONE_DIR_MAX 2

#define SHAPE_REPLY FLOW_SHAPE_REPLY
#define SHAPE_MARK 0x02
#define SHAPE_ALL 0x07

#define V4_LEN 4
#define V6_LEN 16
#define PORTS_LEN 4
#define TCP_LEN 4
#define REPLY_LEN_MAX 36
#define MARK_LEN 4
#define WSCALE_MAX 14 /* RFC 7323, 2.3; the kernel clips to it as well */

/* linux/netfilter/nf_conntrack_tcp.h */
enum tcp_state {
	TCP_NONE,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_ESTABLISHED,
	TCP_FIN_WAIT,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_SYN_SENT2,
	TCP_STATES,
};

static_assert(FLOW_KEY_MAX + 3 + TCP_LEN + REPLY_LEN_MAX + MARK_LEN + ATTRS_FLOW_MAX <=
		      FLOW_PACKED_MAX,
	      "every flow fits");
static_assert(FLOW_KEY_MAX + 3 + ATTRS_EXPECT_MAX <= FLOW_PACKED_MAX, "every expectation fits");

/* linux/netfilter/nf_conntrack_sctp.h */
enum sctp_state {
	SCTP_NONE,
	SCTP_CLOSED,
	SCTP_COOKIE_WAIT,
	SCTP_COOKIE_ECHOED,
	SCTP_ESTABLISHED,
	SCTP_SHUTDOWN_SENT,
	SCTP_SHUTDOWN_RECD,
	SCTP_SHUTDOWN_ACK_SENT,
	SCTP_HEARTBEAT_SENT,
	SCTP_STATES,
};

/* linux/netfilter/nf_conntrack_common.h */
#define STATUS_EXPECTED 0x0001U
#define STATUS_ASSURED 0x0004U
#define STATUS_FIXED_TIMEOUT 0x0400U

static inline uint8_t *put(uint8_t *p, const void *from, size_t len)
{
	memcpy(p, from, len);
	return p + len;
}

static inline size_t tuple_len(bool v6)
{
	return (v6 ? 2 * V6_LEN : 2 * V4_LEN) + PORTS_LEN;
}

/* The lengths are constants in each branch, so that the copies become plain moves. */
static inline uint8_t *tuple_put(uint8_t *p, const struct flow_tuple *t, bool v6)
{
	if (v6) {
		p = put(p, t->src, V6_LEN);
		p = put(p, t->dst, V6_LEN);
	} else {
		p = put(p, t->src, V4_LEN);
		p = put(p, t->dst, V4_LEN);
	}
	p = put(p, &t->sport, sizeof(t->sport));
	return put(p, &t->dport, sizeof(t->dport));
}

/* The bytes of *t beyond an IPv4 address must be zero already. */
static inline const uint8_t *tuple_get(const uint8_t *p, struct flow_tuple *t, bool v6)
{
	size_t addr_len = v6 ? V6_LEN : V4_LEN;

	if (v6) {
		memcpy(t->src, p, V6_LEN);
		memcpy(t->dst, p + V6_LEN, V6_LEN);
	} else {
		memcpy(t->src, p, V4_LEN);
		memcpy(t->dst, p + V4_LEN, V4_LEN);
	}
	p += 2 * addr_len;
	memcpy(&t->sport, p, sizeof(t->sport));
	memcpy(&t->dport, p + sizeof(t->sport), sizeof(t->dport));
	return p + PORTS_LEN;
}

static inline bool tuple_equal(const struct flow_tuple *a, const struct flow_tuple *b, bool v6)
{
	if (a->sport != b->sport || a->dport != b->dport)
		return false;
	if (v6)
		return !memcmp(a->src, b->src, V6_LEN) && !memcmp(a->dst, b->dst, V6_LEN);
	return !memcmp(a->src, b->src, V4_LEN) && !memcmp(a->dst, b->dst, V4_LEN);
}

static uint8_t icmp_answer(uint8_t proto, uint8_t type)
{
	if (proto == IPPROTO_ICMPV6) {
		if (type == 128 || type == 129)
			return type ^ 1;
		return type;
	}
	switch (type) {
	case 0:
		return 8;
	case 8:
		return 0;
	case 13:
	case 15:
	case 17:
		return (uint8_t)(type + 1);
	case 14:
	case 16:
	case 18:
		return (uint8_t)(type - 1);
	default:
		return type;
	}
}

void flow_inverse(const struct flow_key *key, struct flow_tuple *out)
{
	const struct flow_tuple *t = &key->orig;

	memcpy(out->src, t->dst, sizeof(out->src));
	memcpy(out->dst, t->src, sizeof(out->dst));
	if (key->proto == IPPROTO_ICMP || key->proto == IPPROTO_ICMPV6) {
		uint8_t type_code[2];

		memcpy(type_code, &t->dport, sizeof(type_code));
		type_code[0] = icmp_answer(key->proto, type_code[0]);
		memcpy(&out->dport, type_code, sizeof(type_code));
		out->sport = t->sport;
		return;
	}
	out->sport = t->dport;
	out->dport = t->sport;
}

size_t flow_key_pack(const struct flow_key *key, uint8_t *out)
{
	bool v6 = key->l3 == 6;
	uint8_t *p = out;

	assert(v6 || key->l3 == 4);
	*p++ = (uint8_t)((v6 ? KSHAPE_V6 : 0) | (key->zone ? KSHAPE_ZONE : 0) |
			 (key->expect ? FLOW_KSHAPE_EXPECT : 0));
	*p++ = key->proto;
	p = tuple_put(p, &key->orig, v6);
	if (key->zone) { /* the default zone is the same zone in every direction */
		uint16_t zone = htobe16(key->zone);

		assert(key->zone_dir <= ZONE_DIR_MAX);
		p = put(p, &zone, sizeof(zone));
		*p++ = key->zone_dir;
	}
	return (size_t)(p - out);
}

size_t flow_key_len(const uint8_t *p, size_t len)
{
	uint8_t dir_max;
	size_t need;

	if (!len || p[0] & ~KSHAPE_ALL)
		return 0;
	need = 2 + tuple_len(p[0] & KSHAPE_V6);
	if (!(p[0] & KSHAPE_ZONE))
		return len < need ? 0 : need;
	need += ZONE_LEN;
	dir_max = flow_is_expect(p) ? 0 : ZONE_DIR_MAX;
	if (len < need || p[need - 1] > dir_max || !(p[need - 3] | p[need - 2]))
		return 0;
	return need;
}

size_t flow_key_unpack(const uint8_t *p, size_t len, struct flow_key *key)
{
	size_t key_len = flow_key_len(p, len);
	uint16_t zone;

	memset(key, 0, sizeof(*key));
	if (!key_len)
		return 0;
	key->l3 = p[0] & KSHAPE_V6 ? 6 : 4;
	key->expect = (p[0] & FLOW_KSHAPE_EXPECT) != 0;
	key->proto = p[1];
	(void)tuple_get(p + 2, &key->orig, p[0] & KSHAPE_V6); /* the zone is read from the end */
	if (p[0] & KSHAPE_ZONE) {
		memcpy(&zone, p + key_len - ZONE_LEN, sizeof(zone));
		key->zone = be16toh(zone);
		key->zone_dir = p[key_len - 1];
	}
	return key_len;
}

static inline uint8_t clip(uint8_t v, uint8_t max)
{
	return v > max ? max : v;
}

/* A TCP state that no kernel knows today travels as NONE: a receiver must never write it into its
 * own. */
static inline uint8_t *tcp_put(uint8_t *p, const struct flow_tcp *tcp)
{
	*p++ = tcp->state < TCP_STATES ? tcp->state : TCP_NONE;
	*p++ = (uint8_t)(clip(tcp->wscale[0], WSCALE_MAX) << 4 | clip(tcp->wscale[1], WSCALE_MAX));
	*p++ = tcp->flags[0];
	*p++ = tcp->flags[1];
	return p;
}

/* An expectation behind its key. */
static COLD uint8_t *expect_put(uint8_t *p, const struct flow *f)
{
	bool has = f->has & FLOW_HAS_EXPECT;

	*p++ = FLOW_SHAPE_ATTRS;
	*p++ = has ? f->ext.expect.class : 0;
	*p++ = has ? f->ext.expect.flags : 0;
	return attrs_put(p, f);
}

size_t flow_pack(const struct flow *f, uint8_t *out)
{
	bool v6 = f->key.l3 == 6;
	uint8_t *p = out + flow_key_pack(&f->key, out);
	uint16_t status =
		htobe16((uint16_t)(f->has & FLOW_HAS_STATUS ? f->status & FLOW_STATUS_MASK : 0));
	uint8_t *shape = p++;

	if (f->key.expect)
		return (size_t)(expect_put(shape, f) - out);
	*shape = 0;
	p = put(p, &status, sizeof(status));
	if (f->key.proto == IPPROTO_TCP)
		p = tcp_put(p, f->has & FLOW_HAS_TCP ? &f->tcp : &(struct flow_tcp){ 0 });
	if (f->has & FLOW_HAS_REPLY) {
		struct flow_tuple inverse;

		flow_inverse(&f->key, &inverse);
		if (!tuple_equal(&f->reply, &inverse, v6)) {
			*shape |= SHAPE_REPLY;
			p = tuple_put(p, &f->reply, v6);
		}
	}
	if (f->has & FLOW_HAS_MARK && f->mark) {
		uint32_t mark = htobe32(f->mark);

		*shape |= SHAPE_MARK;
		p = put(p, &mark, sizeof(mark));
	}
	if (f->has & FLOW_HAS_EXT) {
		uint8_t *end = attrs_put(p, f);

		*shape |= end != p ? FLOW_SHAPE_ATTRS : 0;
		p = end;
	}
	return (size_t)(p - out);
}

static int tcp_get(const uint8_t *p, struct flow_tcp *tcp)
{
	tcp->state = p[0];
	tcp->wscale[0] = p[1] >> 4;
	tcp->wscale[1] = p[1] & 0x0f;
	tcp->flags[0] = p[2];
	tcp->flags[1] = p[3];
	if (tcp->state >= TCP_STATES || tcp->wscale[0] > WSCALE_MAX || tcp->wscale[1] > WSCALE_MAX)
		return -1;
	return 0;
}

/* What follows the state bytes: reply, mark, attributes. */
static int tail_get(const uint8_t *p, size_t len, uint8_t shape, struct flow *f)
{
	bool v6 = f->key.l3 == 6;
	struct flow_tuple inverse;
	uint32_t mark;

	flow_inverse(&f->key, &inverse);
	if (shape & SHAPE_REPLY) {
		if (len < tuple_len(v6))
			return -1;
		p = tuple_get(p, &f->reply, v6);
		len -= tuple_len(v6);
		if (tuple_equal(&f->reply, &inverse, v6))
			return -1;
	} else {
		f->reply = inverse;
	}
	if (shape & SHAPE_MARK) {
		if (len < sizeof(mark))
			return -1;
		memcpy(&mark, p, sizeof(mark));
		f->mark = be32toh(mark);
		p += sizeof(mark);
		len -= sizeof(mark);
		if (!f->mark)
			return -1;
	}
	if (shape & FLOW_SHAPE_ATTRS)
		return attrs_get(p, len, f);
	return len ? -1 : 0;
}

/* What follows the key of an expectation: an expectation without master or mask is none. */
static COLD int expect_get(const uint8_t *p, size_t len, struct flow *f)
{
	const uint32_t need = FLOW_HAS_EXPECT | FLOW_HAS_MASTER;
	int err;

	if (len < 3 || p[0] != FLOW_SHAPE_ATTRS)
		return len < 3 || !(p[0] & ~SHAPE_ALL) ? -1 : -2;
	err = attrs_get(p + 3, len - 3, f);
	if (err)
		return err;
	f->ext.expect.class = p[1];
	f->ext.expect.flags = p[2];
	return (f->has & need) == need ? 0 : -1;
}

int flow_unpack(const uint8_t *p, size_t len, struct flow *f)
{
	size_t at;
	uint16_t status;
	uint8_t shape;

	flow_clear(f);
	if (len > FLOW_PACKED_MAX)
		return -1;
	at = flow_key_unpack(p, len, &f->key);
	if (f->key.expect)
		return expect_get(p + at, len - at, f);
	if (!at || len - at < 1 + sizeof(status))
		return -1;
	shape = p[at++];
	if (shape & ~SHAPE_ALL)
		return -2;
	memcpy(&status, p + at, sizeof(status));
	at += sizeof(status);
	f->status = be16toh(status);
	if (f->status & ~FLOW_STATUS_MASK)
		return -1;
	f->has = FLOW_HAS_REPLY | FLOW_HAS_STATUS | FLOW_HAS_MARK;
	if (f->key.proto == IPPROTO_TCP) {
		if (len - at < TCP_LEN || tcp_get(p + at, &f->tcp))
			return -1;
		at += TCP_LEN;
		f->has |= FLOW_HAS_TCP;
	}
	return tail_get(p + at, len - at, shape, f);
}

void flow_merge(struct flow *f, const struct flow *d)
{
	if (d->has & FLOW_HAS_REPLY)
		f->reply = d->reply;
	if (d->has & FLOW_HAS_ALL) /* the kernel's whole word; in memory a bit may have flipped */
		f->status = d->status;
	else if (d->has & FLOW_HAS_STATUS) /* bits of a living flow are only ever set */
		f->status = d->status | (f->has & FLOW_HAS_STATUS ? f->status : 0);
	if (d->has & FLOW_HAS_TIMEOUT)
		f->timeout_s = d->timeout_s;
	if (d->has & FLOW_HAS_MARK)
		f->mark = d->mark;
	if (d->has & FLOW_HAS_TCP)
		f->tcp = d->tcp;
	if (d->has & FLOW_HAS_ID)
		f->id = d->id;
	if (d->has & (FLOW_HAS_EXT | FLOW_HAS_ALL))
		attrs_merge(f, d);
	f->has |= d->has & ~(uint32_t)FLOW_HAS_ALL;
}

void flow_timeouts_default(struct flow_timeouts *t)
{
	*t = (struct flow_timeouts){
		/* net/netfilter/nf_conntrack_proto_tcp.c; [0] is that of SYN_SENT there too */
		.tcp = {
			[TCP_NONE] = 120,
			[TCP_SYN_SENT] = 120,
			[TCP_SYN_RECV] = 60,
			[TCP_ESTABLISHED] = 432000,
			[TCP_FIN_WAIT] = 120,
			[TCP_CLOSE_WAIT] = 60,
			[TCP_LAST_ACK] = 30,
			[TCP_TIME_WAIT] = 120,
			[TCP_CLOSE] = 10,
			[TCP_SYN_SENT2] = 120,
		},
		/* net/netfilter/nf_conntrack_proto_sctp.c */
		.sctp = {
			[SCTP_NONE] = 10,
			[SCTP_CLOSED] = 10,
			[SCTP_COOKIE_WAIT] = 3,
			[SCTP_COOKIE_ECHOED] = 3,
			[SCTP_ESTABLISHED] = 210,
			[SCTP_SHUTDOWN_SENT] = 3,
			[SCTP_SHUTDOWN_RECD] = 3,
			[SCTP_SHUTDOWN_ACK_SENT] = 3,
			[SCTP_HEARTBEAT_SENT] = 30,
		},
		.udp = 30,
		.udp_stream = 120,
		.gre = 30,
		.gre_stream = 180,
		.icmp = 30,
		.icmpv6 = 30,
		.generic = 600,
	};
}

enum flow_timer flow_timer(const struct flow *f)
{
	if (f->key.expect)
		return FLOW_TIMER_GIVEN;
	if (f->key.proto == IPPROTO_GRE)
		return FLOW_TIMER_LOST;
	return f->status & STATUS_FIXED_TIMEOUT ? FLOW_TIMER_GIVEN : FLOW_TIMER_LIVE;
}

static uint32_t tcp_timeout(const struct flow_timeouts *t, uint8_t state)
{
	_Static_assert(TCP_STATES <= ARRAY_LEN(t->tcp), "a timeout for every TCP state");
	return t->tcp[state < TCP_STATES ? state : TCP_NONE];
}

static uint32_t sctp_timeout(const struct flow_timeouts *t, const struct flow *f)
{
	_Static_assert(SCTP_STATES <= ARRAY_LEN(t->sctp), "a timeout for every SCTP state");
	if (!(f->has & FLOW_HAS_SCTP) || f->ext.sctp.state >= SCTP_STATES)
		return t->sctp[SCTP_NONE];
	return t->sctp[f->ext.sctp.state];
}

uint32_t flow_full_timeout(const struct flow_timeouts *t, const struct flow *f)
{
	bool assured = f->status & STATUS_ASSURED;

	if (flow_timer(f) == FLOW_TIMER_GIVEN)
		return f->has & FLOW_HAS_TIMEOUT ? f->timeout_s : t->generic;
	switch (f->key.proto) {
	case IPPROTO_TCP:
		return tcp_timeout(t, f->tcp.state);
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		return assured ? t->udp_stream : t->udp;
	case IPPROTO_SCTP:
		return sctp_timeout(t, f);
	case IPPROTO_GRE:
		return assured ? t->gre_stream : t->gre;
	case IPPROTO_ICMP:
		return t->icmp;
	case IPPROTO_ICMPV6:
		return t->icmpv6;
	default:
		return t->generic;
	}
}

static bool sctp_is_closing(const struct flow *f)
{
	uint8_t state = f->ext.sctp.state;

	return state == SCTP_CLOSED ||
	       (state >= SCTP_SHUTDOWN_SENT && state <= SCTP_SHUTDOWN_ACK_SENT);
}

bool flow_is_partial(const struct flow *f)
{
	if (f->key.expect)
		return false;
	return (f->key.proto == IPPROTO_TCP && !(f->has & FLOW_HAS_TCP)) ||
	       (f->key.proto == IPPROTO_SCTP && !(f->has & FLOW_HAS_SCTP)) ||
	       (f->status & STATUS_EXPECTED && !(f->has & FLOW_HAS_MASTER));
}

bool flow_is_closing(const struct flow *f)
{
	if (f->key.proto == IPPROTO_SCTP)
		return (f->has & FLOW_HAS_SCTP) && sctp_is_closing(f);
	return f->key.proto == IPPROTO_TCP && f->tcp.state >= TCP_FIN_WAIT &&
	       f->tcp.state <= TCP_CLOSE;
}

bool flow_is_over(const struct flow *f)
{
	return f->key.proto == IPPROTO_TCP && f->tcp.state >= TCP_TIME_WAIT &&
	       f->tcp.state <= TCP_CLOSE;
}

/* An SCTP entry without its verification tags is refused or drops the flow's packets: worse than
 * none. */
bool flow_is_injectable(const struct flow *f)
{
	if (f->key.expect)
		return true;
	if (f->key.proto == IPPROTO_SCTP)
		return (f->has & FLOW_HAS_SCTP) && f->ext.sctp.state > SCTP_CLOSED &&
		       f->ext.sctp.state < SCTP_STATES;
	if (f->key.proto != IPPROTO_TCP)
		return true;
	return f->tcp.state != TCP_NONE && f->tcp.state != TCP_SYN_SENT &&
	       f->tcp.state != TCP_SYN_SENT2;
}
