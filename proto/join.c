/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Active-active: one flow whose two directions pass through different nodes. Each node's kernel
 * sees half of it; flow_join() tells what one learns from the other's record. PROTOCOL.md, R72.
 *
 * It only ever goes forward, so two nodes that tell each other come to rest: the state is further
 * on the one way that a connection takes, bits are added, a direction's window scale comes from who
 * saw that direction's SYN. States: linux/netfilter/nf_conntrack_tcp.h.
 */
#include "flow.h"

/* linux/netfilter/nf_conntrack_common.h, nf_conntrack_tcp.h */
#define JOINED (1u << 1 | 1u << 2) /* IPS_SEEN_REPLY, IPS_ASSURED */
#define TCP_WINDOW_SCALE 0x1
#define TCP_BE_LIBERAL 0x8
enum { TCP_ESTABLISHED = 3, TCP_CLOSE = 8 };

/* May a connection in the state `to` be the one that we know in the state `from`, further on? The
 * end of an earlier connection of the same addresses must not end a handshake. */
static bool is_forward(uint8_t from, uint8_t to)
{
	if (to > TCP_CLOSE || from >= TCP_CLOSE || to <= from)
		return false;
	return to <= TCP_ESTABLISHED || from >= TCP_ESTABLISHED;
}

bool flow_is_further(const struct flow *ours, const struct flow *theirs)
{
	return ours->key.proto == 6 && (ours->has & theirs->has & FLOW_HAS_TCP) &&
	       is_forward(ours->tcp.state, theirs->tcp.state);
}

static bool join_direction(struct flow_tcp *out, const struct flow_tcp *theirs, unsigned int d)
{
	bool learn = !(out->flags[d] & TCP_WINDOW_SCALE) && (theirs->flags[d] & TCP_WINDOW_SCALE);
	bool liberal = out->flags[d] & TCP_BE_LIBERAL;

	if (learn) {
		out->wscale[d] = theirs->wscale[d];
		out->flags[d] |= theirs->flags[d];
	}
	out->flags[d] |= TCP_BE_LIBERAL; /* R71 */
	return learn || !liberal;
}

static bool join_tcp(const struct flow *ours, const struct flow *theirs, struct flow *out)
{
	bool news = join_direction(&out->tcp, &theirs->tcp, 0);

	news = join_direction(&out->tcp, &theirs->tcp, 1) || news;
	if (!is_forward(ours->tcp.state, theirs->tcp.state))
		return news;
	out->tcp.state = theirs->tcp.state;
	out->timeout_s = theirs->timeout_s;
	out->has |= theirs->has & FLOW_HAS_TIMEOUT;
	return true;
}

bool flow_join(const struct flow *ours, const struct flow *theirs, struct flow *out)
{
	bool news = (theirs->status & JOINED & ~ours->status) != 0;

	*out = *ours;
	if ((ours->has & theirs->has & FLOW_HAS_ID) && ours->id != theirs->id)
		return false; /* the tuple is used again, and we have not heard of it */
	out->has &= ~(uint32_t)(FLOW_HAS_TIMEOUT | FLOW_HAS_MARK);
	out->status |= theirs->status & JOINED;
	if (ours->key.proto == 6 && (theirs->has & FLOW_HAS_TCP))
		news = join_tcp(ours, theirs, out) || news;
	return news;
}
