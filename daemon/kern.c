/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's conntrack table: events and dumps. kern_op.c writes, kern_parse.c and kern_msg.c
 * know the messages, kern_sys.c asks /proc/sys.
 *
 * Three sockets, so that none waits for another: events (multicast, filtered), dump, and writes. A
 * cBPF program on the event socket (kern_filter.c) drops what the write socket caused, before it
 * takes room in the buffer; without it a hot standby would fill its own buffer with its own
 * injections. The filter stands before the first group is joined.
 *
 * Overrun: after ENOBUFS the kernel drops every further event, in silence, until the queue has been
 * read empty once. So the overrun is reported when that point was passed and not before: a dump
 * that began earlier would miss what was dropped while it ran.
 *
 * Wake-ups cost more than messages: a reader woken for every few events pays twice what a batch
 * costs, and takes the processor from whoever waits for what it sends, the peer's daemon of a test
 * on one machine or the packets' softirqs. So in a burst each read waits a moment for more, and in
 * a flood linger_us. A slow stream is never delayed.
 */
#include "kern.h"
#include "kern_filter.h"
#include "kern_msg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_compat.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#define WRITE_BUFFER_LEN                                                                           \
	(4U << 20) /* answers of a batch: 128 messages of at most 2,304 bytes each */
#define DUMP_BUFFER_LEN (1U << 20)
#define WINDOW_US 1000U
/* From so many messages in WINDOW_US on it is a burst, or a flood. */
#define BURST_COUNT 16
#define FLOOD_COUNT 120
/* In a burst the wait is so long, and goes on while it brings so many; a flood's is linger_us. */
#define BURST_LINGER_US 60U
#define BURST_WORTH_IT 3
#define FLOOD_WORTH_IT 30
#define TIMER_SLACK_NS 1000UL
#define EVENT_CHARGE_MIN                                                                           \
	768U /* least that one message takes of the receive buffer (struct sk_buff and its data)   \
	      */
#define DUMP_ERRORS_MAX 1000 /* receive errors in a row until a dump is given up */

/* ---- Opening ---- */

static int open_socket(struct mnl_socket **nl, int *fd)
{
	*nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (*nl == NULL)
		return -errno;
	*fd = mnl_socket_get_fd(*nl);
	if (mnl_socket_bind(*nl, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	return 0;
}

/* Sets the receive buffer, beyond net.core.rmem_max where we may. Returns what the kernel granted,
 * in its own count. */
static uint32_t set_buffer(int fd, uint32_t len)
{
	int want = len > INT32_MAX / 2 ? INT32_MAX / 2 : (int)len, got = 0;
	socklen_t got_len = sizeof(got);

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &want, sizeof(want)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &want,
				 sizeof(want)); /* the grant is read below */
	if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &got, &got_len) < 0)
		return 0;
	return (uint32_t)got;
}

static int join_groups(struct mnl_socket *nl)
{
	/* Of flows, and behind them of expectations. */
	for (int group = NFNLGRP_CONNTRACK_NEW; group <= NFNLGRP_CONNTRACK_EXP_DESTROY; group++) {
		if (mnl_socket_setsockopt(nl, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
			return -errno;
	}
	return 0;
}

static void init_slots(struct kern *k)
{
	for (unsigned int i = 0; i < KERN_SLOT_COUNT; i++) {
		k->iov[i].iov_base = k->slots + (size_t)i * KERN_SLOT_STRIDE;
		k->iov[i].iov_len = KERN_SLOT_LEN;
		k->vec[i].msg_hdr.msg_iov = &k->iov[i];
		k->vec[i].msg_hdr.msg_iovlen = 1;
	}
}

static int open_write(struct kern *k, const char **err_text)
{
	int on = 1, err;

	*err_text = "cannot open a netlink socket: is the kernel module nfnetlink available?";
	err = open_socket(&k->write_nl, &k->write_fd);
	if (err < 0)
		return err;
	k->write_port = mnl_socket_get_portid(k->write_nl);
	*err_text = "cannot set NETLINK_CAP_ACK on the write socket: Linux 4.3 or later is needed";
	if (mnl_socket_setsockopt(k->write_nl, NETLINK_CAP_ACK, &on, sizeof(on)) < 0)
		return -errno;
	(void)set_buffer(k->write_fd,
			 WRITE_BUFFER_LEN); /* the default holds a batch of errors, barely */
	return 0;
}

static int open_events(struct kern *k, const struct kern_conf *conf, const char **err_text)
{
	int err, on = 1;

	*err_text = "cannot open a netlink socket for events";
	err = open_socket(&k->event_nl, &k->event_fd);
	if (err < 0)
		return err;
	k->stats.event_buffer_len = set_buffer(k->event_fd, conf->event_buffer_len);
	*err_text = "cannot set NETLINK_BROADCAST_ERROR (kernel.reliable_events)";
	if (conf->reliable &&
	    mnl_socket_setsockopt(k->event_nl, NETLINK_BROADCAST_ERROR, &on, sizeof(on)) < 0)
		return -errno;
	*err_text = "cannot attach a filter to the event socket: out of net.core.optmem_max?";
	err = kern_filter_attach(k->event_fd, k->write_port, conf->policy);
	if (err < 0)
		return err;
	*err_text = "cannot subscribe to conntrack events: CAP_NET_ADMIN and the kernel module "
		    "nf_conntrack_netlink with CONFIG_NF_CONNTRACK_EVENTS are needed";
	return join_groups(k->event_nl);
}

static int open_all(struct kern *k, const struct kern_conf *conf, const char **err_text)
{
	int err = open_write(k, err_text);

	if (err == 0)
		err = open_events(k, conf, err_text);
	if (err < 0)
		return err;
	*err_text = "cannot open a netlink socket for dumps";
	err = open_socket(&k->dump_nl, &k->dump_fd);
	if (err < 0)
		return err;
	(void)set_buffer(k->dump_fd,
			 DUMP_BUFFER_LEN); /* more than the kernel queues ahead in any case */
	*err_text = NULL;
	return 0;
}

int kern_open(struct kern **kp, const struct kern_conf *conf, struct log *log,
	      const char **err_text)
{
	struct kern *k = calloc(1, sizeof(*k));
	int err;

	*kp = NULL;
	*err_text = "out of memory";
	if (k == NULL)
		return -ENOMEM;
	k->linger_us = conf->linger_us;
	(void)prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0); /* else a wait is 50 us longer */
	k->log = log;
	init_slots(k);
	err = open_all(k, conf, err_text);
	if (err < 0) {
		kern_close(k);
		return err;
	}
	if (k->stats.event_buffer_len / 2 < conf->event_buffer_len)
		log_warn(log, "kernel: event buffer of %llu bytes, %lu asked: grant CAP_NET_ADMIN",
			 (unsigned long long)(k->stats.event_buffer_len / 2),
			 (unsigned long)conf->event_buffer_len);
	*kp = k;
	return 0;
}

static void close_socket(struct mnl_socket *nl)
{
	if (nl != NULL)
		(void)mnl_socket_close(nl); /* nothing to be done about a failed close */
}

void kern_close(struct kern *k)
{
	if (k == NULL)
		return;
	close_socket(k->event_nl);
	close_socket(k->dump_nl);
	close_socket(k->write_nl);
	free(k);
}

int kern_policy(struct kern *k, const struct policy_conf *policy)
{
	return kern_filter_attach(k->event_fd, k->write_port, policy);
}

int kern_event_fd(const struct kern *k)
{
	return k->event_fd;
}

int kern_dump_fd(const struct kern *k)
{
	return k->dump_fd;
}

/* ---- Events ---- */

static void hand_over(struct kern *k, struct engine *e, usec_t now)
{
	unsigned int i = k->soon_at;

	k->soon_at = (i + 1) % ENGINE_SOON_MAX;
	k->soon_count--;
	engine_kern(e, k->soon[i].event, &k->soon[i].flow, k->soon[i].portid, now);
}

static void handle_event(struct kern *k, struct engine *e, const struct nlmsghdr *h, usec_t now)
{
	unsigned int i = (k->soon_at + k->soon_count) % ENGINE_SOON_MAX;

	if (k->soon_count == ENGINE_SOON_MAX)
		hand_over(k, e, now);
	if (kern_parse(h, h->nlmsg_len, &k->soon[i].flow) < 0) {
		k->stats.parse_errors++;
		return;
	}
	k->soon[i].event = KERN_DESTROY;
	if (NFNL_MSG_TYPE(h->nlmsg_type) == IPCTNL_MSG_CT_NEW)
		k->soon[i].event = (h->nlmsg_flags & (NLM_F_CREATE | NLM_F_EXCL)) != 0
					   ? KERN_NEW
					   : KERN_UPDATE;
	k->soon[i].portid = h->nlmsg_pid;
	k->soon_count++;
	engine_kern_soon(e, &k->soon[i].flow);
}

/* One datagram of the event socket. The kernel puts one message into each. */
static void handle_datagram(struct kern *k, struct engine *e, const struct mmsghdr *m, usec_t now)
{
	const struct nlmsghdr *h = m->msg_hdr.msg_iov->iov_base;
	int left = (int)m->msg_len;

	if ((m->msg_hdr.msg_flags & MSG_TRUNC) != 0 || !mnl_nlmsg_ok(h, left)) {
		k->stats.parse_errors++;
		return;
	}
	for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left))
		handle_event(k, e, h, now);
}

/* How long the next read waits; 0: not at all. */
static uint32_t linger_of(const struct kern *k)
{
	switch (k->pace) {
	case PACE_FLOOD:
		return k->linger_us;
	case PACE_BURST:
		return k->linger_us < BURST_LINGER_US ? k->linger_us : BURST_LINGER_US;
	default:
		return 0;
	}
}

static void linger(struct kern *k, uint32_t us)
{
	struct timespec t = { .tv_nsec = (long)(us % USEC_PER_SEC * 1000) };

	k->stats.lingers++;
	(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL); /* a signal cuts it short: so be it */
}

/* The queue ran empty, or so many messages were read that what the overrun left there is among
 * them: the kernel accepts events again, and a dump from here on sees what was lost. */
static void end_overrun(struct kern *k, struct engine *e, usec_t now)
{
	k->overrun = false;
	engine_kern(e, KERN_OVERRUN, NULL, 0, now);
}

bool kern_overran(const struct kern *k)
{
	return k && k->overrun;
}

/* A budget that ended just where the queue did leaves nothing that would wake the reader again. */
static bool queue_is_empty(const struct kern *k)
{
	struct pollfd p = { .fd = k->event_fd, .events = POLLIN };

	return poll(&p, 1, 0) == 0;
}

static void begin_overrun(struct kern *k)
{
	k->stats.enobufs++;
	k->overrun = true;
	k->overrun_left = k->stats.event_buffer_len / EVENT_CHARGE_MIN;
}

static void count_off_overrun(struct kern *k, struct engine *e, unsigned int count, usec_t now)
{
	if (!k->overrun)
		return;
	if (k->overrun_left > count)
		k->overrun_left -= count;
	else
		end_overrun(k, e, now);
}

/* Decides how long the next read shall wait. drained: nothing was left when this one ended. */
static void judge_pace(struct kern *k, unsigned int count, bool lingered, bool drained, usec_t now)
{
	bool flood = k->pace == PACE_FLOOD;

	if (now - k->window_at >= WINDOW_US) {
		k->window_at = now;
		k->window_count = 0;
	}
	k->window_count += count;
	if (lingered && count < BURST_WORTH_IT)
		k->window_count = 0; /* it is over */
	if (!drained)
		k->pace = PACE_SLOW;
	else if (k->window_count >= FLOOD_COUNT || (flood && lingered && count >= FLOOD_WORTH_IT))
		k->pace = PACE_FLOOD;
	else
		k->pace = k->window_count >= BURST_COUNT || (lingered && count >= BURST_WORTH_IT)
				  ? PACE_BURST
				  : PACE_SLOW;
}

int kern_read_events(struct kern *k, struct engine *e, unsigned int budget, usec_t now)
{
	uint32_t wait_us = linger_of(k);
	bool lingered = wait_us != 0, drained = false;
	unsigned int count = 0;
	int n;

	if (lingered)
		linger(k, wait_us);
	while (count < budget && !drained) {
		n = recvmmsg(k->event_fd, k->vec, KERN_EVENTS_MAX, MSG_DONTWAIT, NULL);
		if (n < 0 && errno == ENOBUFS) {
			begin_overrun(k);
			continue;
		}
		if (n < 0) {
			drained = true;
			if (k->overrun && errno == EAGAIN)
				end_overrun(k, e, now);
			break;
		}
		k->stats.batches++;
		k->stats.batch_full += n == KERN_EVENTS_MAX;
		for (int i = 0; i < n; i++)
			handle_datagram(k, e, &k->vec[i], now);
		while (k->soon_count)
			hand_over(k, e, now);
		count += (unsigned int)n;
		count_off_overrun(k, e, (unsigned int)n, now);
		/* Short of a full batch the queue was empty; an overrun wants to see it said. */
		drained = n < KERN_EVENTS_MAX && !k->overrun;
	}
	if (k->overrun && queue_is_empty(k))
		end_overrun(k, e, now);
	k->stats.messages += count;
	judge_pace(k, count, lingered, drained, now);
	return (int)count;
}

/* ---- Dump ---- */

static int ask_dump(struct kern *k, bool expect)
{
	uint8_t buf[64] __attribute__((aligned(8)));
	size_t len;

	k->dump_seq = ++k->seq;
	k->dump_built_us = kern_clock_us();
	len = kern_build_dump(buf, sizeof(buf), expect, k->dump_seq);
	if (mnl_socket_sendto(k->dump_nl, buf, len) < 0)
		return -errno;
	k->dump_expects = expect;
	return 0;
}

int kern_dump_start(struct kern *k)
{
	int err;

	if (k->dump_running)
		return -EBUSY;
	err = ask_dump(k, false);
	if (err < 0)
		return err;
	k->dump_running = true;
	k->dump_bad = false;
	k->dump_errors = 0;
	return 0;
}

bool kern_dump_running(const struct kern *k)
{
	return k->dump_running;
}

/* Behind the flows come the expectations, whose masters are known then. */
static void end_dump(struct kern *k, struct engine *e, usec_t now)
{
	if (!k->dump_expects && !k->dump_bad && ask_dump(k, true) == 0)
		return;
	k->dump_bad |= !k->dump_expects;
	k->dump_running = false;
	engine_kern(e, k->dump_bad ? KERN_DUMP_FAIL : KERN_DUMP_END, NULL, 0, now);
}

/* NLMSG_DONE and NLMSG_ERROR both begin with an error number, 0 or negative. */
static int answer_error(const struct nlmsghdr *h)
{
	int err;

	if (mnl_nlmsg_get_payload_len(h) < sizeof(err))
		return -EBADMSG;
	memcpy(&err, mnl_nlmsg_get_payload(h), sizeof(err));
	return err;
}

/* One message of the dump. Returns 1 if it was an entry. Those of an earlier dump that broke off
 * are passed over. */
static int handle_dump(struct kern *k, struct engine *e, const struct nlmsghdr *h, uint32_t age_s,
		       usec_t now)
{
	struct flow f;

	if (h->nlmsg_seq != k->dump_seq || !k->dump_running)
		return 0;
	if ((h->nlmsg_flags & NLM_F_DUMP_INTR) != 0)
		k->dump_bad = true;
	if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR) {
		if (h->nlmsg_type == NLMSG_ERROR || answer_error(h) < 0)
			k->dump_bad = true;
		end_dump(k, e, now);
		return 0;
	}
	if (kern_parse(h, h->nlmsg_len, &f) < 0) {
		k->stats.parse_errors++;
		k->dump_bad = true; /* an entry that we did not see must not be taken for gone */
		return 0;
	}
	f.has |= FLOW_HAS_ALL;
	f.timeout_s -= f.timeout_s < age_s ? f.timeout_s : age_s;
	engine_kern(e, KERN_DUMP, &f, 0, now);
	return 1;
}

/* The kernel goes on where it failed (it keeps its place), so the dump is read to its end and
 * called failed then; a new one would be refused until this is over. */
static int dump_recv_failed(struct kern *k, struct engine *e, int err, usec_t now)
{
	if (err == EAGAIN)
		return -EAGAIN;
	k->dump_bad = true;
	if (++k->dump_errors >= DUMP_ERRORS_MAX)
		end_dump(k, e, now);
	return 0;
}

/* A slice was built when the one before it was read. If we stalled since, its timers are that much
 * older, and must not look as if traffic had lifted them. */
int kern_read_dump(struct kern *k, struct engine *e, usec_t now)
{
	struct iovec iov = { .iov_base = k->slots, .iov_len = KERN_DUMP_LEN };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	const struct nlmsghdr *h = (const void *)k->slots;
	usec_t read_us = kern_clock_us();
	int left, entries = 0;
	uint32_t age_s;
	ssize_t n;

	if (!k->dump_running)
		return -EAGAIN;
	n = recvmsg(k->dump_fd, &msg, MSG_DONTWAIT);
	if (n < 0)
		return dump_recv_failed(k, e, errno, now);
	k->dump_errors = 0;
	age_s = (uint32_t)((kern_clock_us() - k->dump_built_us) / USEC_PER_SEC);
	k->dump_built_us = read_us;
	if ((msg.msg_flags & MSG_TRUNC) != 0)
		k->dump_bad = true;
	left = (int)n;
	for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left))
		entries += handle_dump(k, e, h, age_s, now);
	return entries;
}

void kern_stats(const struct kern *k, struct kern_stats *s)
{
	*s = k->stats;
}
