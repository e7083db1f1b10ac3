/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal to kern*.c: the object behind the three sockets, and the builders of the messages that
 * only kern_op.c sends. The public side is kern.h.
 */
#ifndef CTSYNCD_KERN_MSG_H
#define CTSYNCD_KERN_MSG_H

#include <sys/socket.h>
#include <sys/uio.h>
#include <libmnl/libmnl.h>

#include "kern.h"

#define KERN_MSG_MAX                                                                               \
	640 /* largest message that we build, bytes; IPv6, TCP, both NATs and a zone take about    \
	       420 */
#define KERN_SLOT_LEN                                                                              \
	2048 /* largest event or answer that we take; tuples with everything else stay below 1,200 \
	      */
#define KERN_SLOT_STRIDE                                                                           \
	2368 /* slots must not share cache sets: a power of two would put all heads into the same  \
		few */
#define KERN_SLOT_COUNT 64
#define KERN_EVENTS_MAX 32  /* events in one recvmmsg; more gains nothing */
#define KERN_SAID_MAX 16    /* helpers whose absence is told; beyond that it is only counted */
#define KERN_DUMP_LEN 32768 /* the kernel builds no larger slice */

/* A message that is on its way. */
struct kern_sent {
	uint8_t op;      /* index of the operation */
	bool read;       /* a GET */
	bool ignore_err; /* the deletion in front of a create: the create's answer tells */
	bool answered;
};

/* Messages that go in one sendmsg. */
struct kern_batch {
	uint32_t first_seq;
	unsigned int count;
	size_t len;
	size_t last_at; /* offset of the last message */
	struct kern_sent sent[KERN_BATCH_MAX];
	uint8_t buf[KERN_BATCH_MAX * KERN_MSG_MAX] __attribute__((aligned(8)));
};

/* One object per daemon. events, dump and write never run inside each other, so they share the
 * receive memory. */
struct kern {
	struct mnl_socket *event_nl, *dump_nl, *write_nl;
	int event_fd, dump_fd, write_fd;
	uint32_t write_port;
	uint32_t linger_us;
	struct log *log;

	char said[KERN_SAID_MAX][FLOW_NAME_LEN]; /* helpers that are missing here, and were told */
	unsigned int said_count;
	bool said_labels;

	enum { PACE_SLOW, PACE_BURST, PACE_FLOOD } pace; /* how fast the events came */
	bool overrun;          /* ENOBUFS seen, the queue behind it not yet drained */
	uint64_t overrun_left; /* messages that may still lie in that queue */
	usec_t window_at;      /* start of the span in which window_count was read */
	unsigned int window_count;

	struct { /* parsed and announced to the engine, the oldest first */
		struct flow flow;
		enum engine_kern_event event;
		uint32_t portid;
	} soon[ENGINE_SOON_MAX];
	unsigned int soon_at, soon_count;

	bool dump_running, dump_bad;
	bool dump_expects; /* the flows are over, it is at the expectations */
	uint32_t dump_seq;
	unsigned int dump_errors; /* receive errors in a row */
	usec_t dump_built_us;     /* clock when the kernel built the slice that is read next */

	uint32_t seq; /* last one used on the write and the dump socket */
	struct kern_step step[KERN_BATCH_MAX];
	struct kern_batch batch;
	struct kern_stats stats;

	struct mmsghdr vec[KERN_SLOT_COUNT];
	struct iovec iov[KERN_SLOT_COUNT];
	uint8_t slots[KERN_SLOT_COUNT * KERN_SLOT_STRIDE] __attribute__((aligned(64)));
};

usec_t kern_clock_us(void); /* monotonic */

/* Each writes one request into buf and returns its length, 0 if it does not fit or makes no sense.
 */
size_t kern_build_get(void *buf, size_t len, const struct flow_key *key, uint32_t seq);
/* id: CTA_ID of the incarnation to delete; NULL = whichever has the key. */
size_t kern_build_delete(void *buf, size_t len, const struct flow_key *key, const uint32_t *id,
			 uint32_t seq);
size_t kern_build_timeout(void *buf, size_t len, const struct flow_key *key, uint32_t timeout_s,
			  uint32_t seq);
/* status: the bits to send; must hold those of the entry, else the kernel refuses (-EBUSY). 0 =
 * none. */
size_t kern_build_update(void *buf, size_t len, const struct flow *f, uint32_t status,
			 uint32_t seq);
/* Of expectations the kernel takes the timeout that is given only when it changes one. */
size_t kern_build_expect_timeout(void *buf, size_t len, const struct flow *f, uint32_t seq);
/* expect: of the expectations instead of the flows. */
size_t kern_build_dump(void *buf, size_t len, bool expect, uint32_t seq);

/* The status bits of f that an update of an entry with the bits have may carry. */
uint32_t kern_update_status(const struct flow *f, uint32_t have);

#endif
