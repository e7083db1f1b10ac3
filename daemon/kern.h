/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's conntrack table over ctnetlink: events, dumps, writes. libmnl and
 * libnetfilter_conntrack only here (kern*.c). Three sockets: events (multicast groups, cBPF
 * filter), dump, and writes (whose port id the filter drops).
 */
#ifndef CTSYNCD_KERN_H
#define CTSYNCD_KERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"
#include "flow.h"
#include "log.h"
#include "util.h"

#define KERN_BATCH_MAX 64 /* operations in one sendmsg */

struct kern;

struct kern_conf {
	uint32_t event_buffer_len; /* SO_RCVBUFFORCE of the event socket, bytes as asked (the kernel
				      doubles it) */
	uint32_t linger_us; /* the longest that a read waits for more, in a flood of events */
	bool reliable; /* the kernel keeps a DESTROY that found no room (NETLINK_BROADCAST_ERROR) */
	const struct policy_conf *policy; /* what the filter drops besides our own, NULL = nothing;
					     used in kern_open alone */
};

/* Opens the sockets, subscribes and attaches the filter; keeps log. Returns 0 or -errno; *err_text
 * names what failed and the remedy (static). */
int kern_open(struct kern **k, const struct kern_conf *conf, struct log *log,
	      const char **err_text);
void kern_close(struct kern *k);

/* Events by another policy from now on. Those that wait to be read passed the old filter. Returns 0
 * or -errno: the old filter stays. */
int kern_policy(struct kern *k, const struct policy_conf *policy);

int kern_event_fd(const struct kern *k);
int kern_dump_fd(const struct kern *k);

/* Reads up to a budget of events and feeds them to e (KERN_NEW, UPDATE, DESTROY; KERN_OVERRUN on
 * ENOBUFS). Returns how many messages; equal to or above the budget means that more may wait. */
int kern_read_events(struct kern *k, struct engine *e, unsigned int budget, usec_t now);

/* Starts a dump (both families). -EBUSY while one runs. */
int kern_dump_start(struct kern *k);
bool kern_dump_running(const struct kern *k);
/* Reads one slice (at most 32 KiB or one recv) and feeds e (KERN_DUMP .., KERN_DUMP_END or _FAIL).
 * Returns entries, or -EAGAIN. */
int kern_read_dump(struct kern *k, struct engine *e, usec_t now);

/* Carries out count <= KERN_BATCH_MAX operations (no OP_DUMP), batched: many messages a sendmsg,
 * answers matched by sequence, and calls engine_result for each, in order. now: the clock, read
 * just before; the results carry the time after the writes, so the caller's clock must move on. */
void kern_apply(struct kern *k, struct engine *e, const struct engine_op *ops, size_t count,
		usec_t now);

/* Events were lost, and the engine is yet to hear of it: when those that are left have been read.
 * NULL: no. */
bool kern_overran(const struct kern *k);

/* What became of one operation. */
struct kern_step {
	int err;
	bool have;        /* got was read: OP_GET and what reads first */
	uint32_t without; /* FLOW_HAS_x that this kernel would not take */
	struct flow got;
};
typedef void (*kern_step_fn)(void *arg, const struct engine_op *op, const struct kern_step *step,
			     usec_t now);

/* kern_apply for who is no engine. */
void kern_carry_out(struct kern *k, const struct engine_op *ops, size_t count, usec_t now,
		    kern_step_fn fn, void *arg);

/* This kernel's timeouts from /proc/sys/net/netfilter; what cannot be read keeps the default. */
void kern_timeouts(struct flow_timeouts *t);
/* Entries now and at most, this namespace; -1 unknown. */
void kern_counts(int64_t *count, int64_t *max, int64_t *buckets);
/* Packets that this kernel took for INVALID, all CPUs together, modulo 2^32; -1 unknown
 * (kern_count.c). */
int64_t kern_invalid(void);
/* net.netfilter.nf_conntrack_events, -1 unknown. */
int kern_events_sysctl(void);
/* What a ruleset turns on in this namespace (kern_probe.c): are packets tracked, in either family
 * (a node may have but one)? Are addresses translated, for IPv4 and for IPv6? */
enum kern_tracking { KERN_TRACKING_UNKNOWN, KERN_TRACKING_OFF, KERN_TRACKING_ON };
struct kern_hooks {
	enum kern_tracking tracking, nat[2];
};
void kern_hooks(struct kern_hooks *h);
/* Has the kernel an entry of any of these flows, either way round? */
enum kern_tracking kern_tracks(const struct flow_key *keys, unsigned int count);
/* Identity of kernel and namespace: hash of boot id and SO_NETNS_COOKIE; never 0. */
uint64_t kern_identity(void);

/* One flow as a line of `conntrack -L` (no newline). Returns the length as snprintf does. */
int kern_format(char *buf, size_t len, const struct flow *f);

/* Parses one ctnetlink message (struct nlmsghdr *) into f. Returns 0, or -1 if it is not a flow we
 * hold (malformed, unknown l3). Public for the differential test and the fuzzer. */
int kern_parse(const void *nlmsg, size_t len, struct flow *f);

/* Builds the message of an inject (create) for f into buf; returns its length, 0 if it does not
 * fit. Public for tests. */
size_t kern_build_inject(void *buf, size_t len, const struct flow *f, uint32_t seq);

struct kern_stats {
	uint64_t messages, parse_errors, batches, batch_full, lingers, enobufs;
	uint64_t event_buffer_len; /* effective */
	/* Entries that were written without something that this kernel would not take. */
	uint64_t no_helper; /* it has no helper of that name */
	uint64_t no_master; /* the entry that it is related to is not there */
	uint64_t no_labels; /* no rule here uses labels, so entries have no room for them */
};
void kern_stats(const struct kern *k, struct kern_stats *s);

#endif
