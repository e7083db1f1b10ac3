/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the benchmark needs of the kernel and no shell command gives. Works in the network namespace
 * it runs in.
 *
 *   probe pace PER_SECOND COUNT BURST  creates COUNT flows, one message each, BURST of them at once
 *                                      and the bursts spread evenly over time
 *   probe stamps                       prints "SOURCE:PORT NANOSECONDS" for each flow: its key in
 *                                      the workload and when this kernel created it
 *   probe hush                         listens to all conntrack events and is given none: a filter
 *                                      drops each in the kernel. So it costs what a listener costs
 *                                      the kernel, and nothing else. Says "listening", goes on
 *                                      until killed
 *
 * The stamps are the kernel's own (nf_conntrack_timestamp, ktime_get_real_ns in
 * ctnetlink_create_conntrack), all namespaces have the same clock: the difference between the two
 * firewalls' stamps of one flow is the lag from kernel to kernel, and nobody has to listen for it.
 *
 * pace makes the flows of tests/netns/flood.c: flow i is ESTABLISHED TCP from 10.64.0.0/10.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/filter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PORTS 30000 /* flows of one source address, as flood has it */
#define TIMEOUT_S 3600

struct tuple {
	uint32_t src, dst; /* network order */
	uint16_t sport, dport;
};

static void die(const char *what)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
	exit(2);
}

static struct mnl_socket *nl_open(void)
{
	struct mnl_socket *nl = mnl_socket_open(NETLINK_NETFILTER);

	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0)
		die("netlink");
	return nl;
}

/* ---- pace ---- */

static void put_tuple(struct nlmsghdr *h, uint16_t which, const struct tuple *t)
{
	struct nlattr *nest = mnl_attr_nest_start(h, which);
	struct nlattr *part = mnl_attr_nest_start(h, CTA_TUPLE_IP);

	mnl_attr_put_u32(h, CTA_IP_V4_SRC, t->src);
	mnl_attr_put_u32(h, CTA_IP_V4_DST, t->dst);
	mnl_attr_nest_end(h, part);
	part = mnl_attr_nest_start(h, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(h, CTA_PROTO_NUM, IPPROTO_TCP);
	mnl_attr_put_u16(h, CTA_PROTO_SRC_PORT, htons(t->sport));
	mnl_attr_put_u16(h, CTA_PROTO_DST_PORT, htons(t->dport));
	mnl_attr_nest_end(h, part);
	mnl_attr_nest_end(h, nest);
}

static void put_tcp(struct nlmsghdr *h)
{
	struct nf_ct_tcp_flags flags = {
		.flags = IP_CT_TCP_FLAG_WINDOW_SCALE | IP_CT_TCP_FLAG_SACK_PERM,
		.mask = IP_CT_TCP_FLAG_WINDOW_SCALE | IP_CT_TCP_FLAG_SACK_PERM,
	};
	struct nlattr *info = mnl_attr_nest_start(h, CTA_PROTOINFO);
	struct nlattr *tcp = mnl_attr_nest_start(h, CTA_PROTOINFO_TCP);

	mnl_attr_put_u8(h, CTA_PROTOINFO_TCP_STATE, TCP_CONNTRACK_ESTABLISHED);
	mnl_attr_put_u8(h, CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, 7);
	mnl_attr_put_u8(h, CTA_PROTOINFO_TCP_WSCALE_REPLY, 9);
	mnl_attr_put(h, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, sizeof(flags), &flags);
	mnl_attr_put(h, CTA_PROTOINFO_TCP_FLAGS_REPLY, sizeof(flags), &flags);
	mnl_attr_nest_end(h, tcp);
	mnl_attr_nest_end(h, info);
}

static const struct nlmsghdr *build(unsigned int i, char *buf)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
	struct tuple orig = { .src = htonl(0x0a400001 + i / PORTS),
			      .dst = htonl(0x0a800001),
			      .sport = (uint16_t)(1024 + i % PORTS),
			      .dport = 443 };
	struct tuple reply = {
		.src = orig.dst, .dst = orig.src, .sport = orig.dport, .dport = orig.sport
	};

	h->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;
	h->nlmsg_seq = i;
	g->nfgen_family = AF_INET;
	put_tuple(h, CTA_TUPLE_ORIG, &orig);
	put_tuple(h, CTA_TUPLE_REPLY, &reply);
	mnl_attr_put_u32(h, CTA_STATUS, htonl(IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED));
	mnl_attr_put_u32(h, CTA_TIMEOUT, htonl(TIMEOUT_S));
	put_tcp(h);
	return h;
}

/* Sleeps until the i-th of rate a second is due; returns at once when it is late. */
static void wait_turn(const struct timespec *start, double rate, unsigned int i)
{
	double due = (double)start->tv_sec + (double)start->tv_nsec / 1e9 + i / rate;
	struct timespec at = { .tv_sec = (time_t)due };

	at.tv_nsec = (long)((due - (double)at.tv_sec) * 1e9);
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
		;
}

/* Errors come without being asked for: returns how many wait. */
static unsigned int errors(struct mnl_socket *nl)
{
	char buf[65536];
	unsigned int count = 0;

	while (recv(mnl_socket_get_fd(nl), buf, sizeof(buf), MSG_DONTWAIT) > 0)
		count++;
	return count;
}

static int pace(double rate, unsigned int count, unsigned int burst)
{
	struct mnl_socket *nl = nl_open();
	unsigned int failed = 0;
	struct timespec start, end;
	char buf[1024];

	if (prctl(PR_SET_TIMERSLACK, 1) < 0)
		die("PR_SET_TIMERSLACK");
	(void)clock_gettime(CLOCK_MONOTONIC, &start); /* cannot fail for this clock */
	for (unsigned int i = 0; i < count; i++) {
		const struct nlmsghdr *h;

		memset(buf, 0, sizeof(buf));
		h = build(i, buf);
		if (i % burst == 0)
			wait_turn(&start, rate, i);
		if (mnl_socket_sendto(nl, h, h->nlmsg_len) < 0)
			die("send");
		if (i % 64 == 63)
			failed += errors(nl);
	}
	failed += errors(nl);
	(void)clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%u created, %u failed, %.3f s\n", count - failed, failed,
	       (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9);
	mnl_socket_close(nl);
	return failed != 0;
}

/* ---- stamps ---- */

static const struct nlattr *child(const struct nlattr *nest, uint16_t type)
{
	const struct nlattr *a;

	if (!nest)
		return NULL;
	mnl_attr_for_each_nested(a, nest)
	{
		if (mnl_attr_get_type(a) == type)
			return a;
	}
	return NULL;
}

static const struct nlattr *top(const struct nlmsghdr *h, uint16_t type)
{
	const struct nlattr *a;

	mnl_attr_for_each(a, h, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(a) == type)
			return a;
	}
	return NULL;
}

static int print_stamp(const struct nlmsghdr *h, void *arg)
{
	const struct nlattr *orig = top(h, CTA_TUPLE_ORIG);
	const struct nlattr *src = child(child(orig, CTA_TUPLE_IP), CTA_IP_V4_SRC);
	const struct nlattr *port = child(child(orig, CTA_TUPLE_PROTO), CTA_PROTO_SRC_PORT);
	const struct nlattr *start = child(top(h, CTA_TIMESTAMP), CTA_TIMESTAMP_START);
	uint64_t ns = 0;
	char text[INET_ADDRSTRLEN];

	(void)arg;
	if (!src || !port)
		return MNL_CB_OK;
	if (start)
		memcpy(&ns, mnl_attr_get_payload(start), sizeof(ns));
	printf("%s:%u %llu\n", inet_ntop(AF_INET, mnl_attr_get_payload(src), text, sizeof(text)),
	       ntohs(mnl_attr_get_u16(port)), (unsigned long long)be64toh(ns));
	return MNL_CB_OK;
}

static int stamps(void)
{
	struct mnl_socket *nl = nl_open();
	char buf[65536] = { 0 };
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
	ssize_t n;
	int ret;

	h->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	h->nlmsg_seq = 1;
	g->nfgen_family = AF_INET;
	if (mnl_socket_sendto(nl, h, h->nlmsg_len) < 0)
		die("send");
	do {
		n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
		if (n < 0)
			die("recv");
		ret = mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(nl), print_stamp, NULL);
	} while (ret > MNL_CB_STOP);
	if (ret < 0)
		die("dump");
	mnl_socket_close(nl);
	return 0;
}

/* ---- hush ---- */

static _Noreturn void hush(void)
{
	static const int groups[] = { NFNLGRP_CONNTRACK_NEW, NFNLGRP_CONNTRACK_UPDATE,
				      NFNLGRP_CONNTRACK_DESTROY };
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog filter = { .len = 1, .filter = &drop };
	struct mnl_socket *nl = nl_open();

	if (setsockopt(mnl_socket_get_fd(nl), SOL_SOCKET, SO_ATTACH_FILTER, &filter,
		       sizeof(filter)) < 0)
		die("SO_ATTACH_FILTER");
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		int group = groups[i];

		if (mnl_socket_setsockopt(nl, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
			die("NETLINK_ADD_MEMBERSHIP");
	}
	printf("listening\n");
	(void)fflush(stdout); /* who waits for the line is told by the end of file otherwise */
	for (;;)
		(void)pause(); /* until a signal ends it */
}

int main(int argc, char **argv)
{
	unsigned int burst = argc == 5 ? (unsigned int)strtoul(argv[4], NULL, 0) : 0;

	if (burst && !strcmp(argv[1], "pace"))
		return pace(strtod(argv[2], NULL), (unsigned int)strtoul(argv[3], NULL, 0), burst);
	if (argc == 2 && !strcmp(argv[1], "stamps"))
		return stamps();
	if (argc == 2 && !strcmp(argv[1], "hush"))
		hush();
	fprintf(stderr, "usage: probe pace PER_SECOND COUNT BURST | stamps | hush\n");
	return 2;
}
