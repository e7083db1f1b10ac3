/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes, changes and deletes many conntrack entries of the network namespace it runs in, by
 * ctnetlink in batches: the bulk that no traffic generator of two cores could make.
 *
 *   flood create|update|delete [-n COUNT] [-b FIRST] [-t TIMEOUT] [-m MARK] [-r PER_SECOND] [-6]
 * [-S] [-U] [-l LAPS]
 *
 * Flow i (FIRST <= i < FIRST + COUNT) has the tuple that i alone decides, so that separate runs
 * speak of the same flows: ESTABLISHED TCP with window scaling from 10.64.0.0/10 (fd64::/64 with
 * -6) to port 443 of 10.128.0.1. -S adds source NAT to 10.2.0.254 with the port kept, -U makes
 * unreplied UDP of it. -l goes over the flows so often, with a mark one higher each time. Prints
 * what it did and its errors by errno; exits with 1 if there was any.
 *
 * The kernel gives such entries the port id of this program: to a daemon they are changes made by
 * another netlink user. Messages go without NLM_F_ACK (errors come nevertheless) but for the last,
 * whose answer tells that all are done.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define PORTS 30000 /* flows of one source address */
#define MESSAGE_MAX 512

enum op { OP_CREATE, OP_UPDATE, OP_DELETE };

struct flood {
	enum op op;
	unsigned int count, laps, first, timeout_s, mark;
	double rate;
	bool v6, snat, udp;
	struct mnl_socket *nl;
	unsigned int errors[256];
	bool done; /* the last message was answered */
	unsigned int last_seq;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(2);
}

struct ends {
	uint8_t src[16], dst[16];
	uint16_t sport, dport;
};

static void put_tuple(struct nlmsghdr *h, const struct flood *f, uint16_t which,
		      const struct ends *e)
{
	size_t len = f->v6 ? 16 : 4;
	struct nlattr *tuple = mnl_attr_nest_start(h, which);
	struct nlattr *part = mnl_attr_nest_start(h, CTA_TUPLE_IP);

	mnl_attr_put(h, f->v6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, len, e->src);
	mnl_attr_put(h, f->v6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, len, e->dst);
	mnl_attr_nest_end(h, part);
	part = mnl_attr_nest_start(h, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(h, CTA_PROTO_NUM, f->udp ? IPPROTO_UDP : IPPROTO_TCP);
	mnl_attr_put_u16(h, CTA_PROTO_SRC_PORT, htons(e->sport));
	mnl_attr_put_u16(h, CTA_PROTO_DST_PORT, htons(e->dport));
	mnl_attr_nest_end(h, part);
	mnl_attr_nest_end(h, tuple);
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

static void put_snat(struct nlmsghdr *h, uint16_t port)
{
	struct nlattr *nat = mnl_attr_nest_start(h, CTA_NAT_SRC), *proto;
	uint32_t to = inet_addr("10.2.0.254");

	mnl_attr_put(h, CTA_NAT_V4_MINIP, 4, &to);
	mnl_attr_put(h, CTA_NAT_V4_MAXIP, 4, &to);
	proto = mnl_attr_nest_start(h, CTA_NAT_PROTO);
	mnl_attr_put_u16(h, CTA_PROTONAT_PORT_MIN, htons(port));
	mnl_attr_put_u16(h, CTA_PROTONAT_PORT_MAX, htons(port));
	mnl_attr_nest_end(h, proto);
	mnl_attr_nest_end(h, nat);
}

static void ends_of(const struct flood *f, unsigned int i, struct ends *e)
{
	uint32_t host = i / PORTS, v4;

	memset(e, 0, sizeof(*e));
	e->sport = (uint16_t)(1024 + i % PORTS);
	e->dport = 443;
	if (f->v6) {
		inet_pton(AF_INET6, "fd64::1", e->src);
		inet_pton(AF_INET6, "fd65::1", e->dst);
		e->src[14] = (uint8_t)(host >> 8);
		e->src[13] = (uint8_t)host;
		return;
	}
	v4 = htonl(0x0a400001 + host);
	memcpy(e->src, &v4, 4);
	/* Under source NAT all share one address: the destination keeps the reply tuples apart. */
	v4 = htonl(0x0a800001 + (f->snat ? host : 0));
	memcpy(e->dst, &v4, 4);
}

static size_t build(const struct flood *f, unsigned int i, unsigned int seq, bool ack, void *buf)
{
	uint32_t status = IPS_CONFIRMED | (f->udp ? 0 : IPS_SEEN_REPLY | IPS_ASSURED);
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
	struct ends e, back;

	ends_of(f, i, &e);
	h->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8;
	h->nlmsg_type |= f->op == OP_DELETE ? IPCTNL_MSG_CT_DELETE : IPCTNL_MSG_CT_NEW;
	h->nlmsg_flags = NLM_F_REQUEST | (ack ? NLM_F_ACK : 0);
	h->nlmsg_flags |= f->op == OP_CREATE ? NLM_F_CREATE | NLM_F_EXCL : 0;
	h->nlmsg_seq = seq;
	g->nfgen_family = f->v6 ? AF_INET6 : AF_INET;
	put_tuple(h, f, CTA_TUPLE_ORIG, &e);
	if (f->op == OP_DELETE)
		return h->nlmsg_len;
	if (f->op == OP_CREATE) {
		memcpy(back.src, e.dst, 16);
		memcpy(back.dst, e.src, 16);
		back.sport = e.dport;
		back.dport = e.sport;
		put_tuple(h, f, CTA_TUPLE_REPLY, &back);
		mnl_attr_put_u32(h, CTA_STATUS, htonl(status));
		if (!f->udp)
			put_tcp(h);
		if (f->snat)
			put_snat(h, e.sport);
	}
	mnl_attr_put_u32(h, CTA_TIMEOUT, htonl(f->timeout_s));
	if (f->mark || f->op == OP_UPDATE)
		mnl_attr_put_u32(h, CTA_MARK, htonl(f->mark));
	return h->nlmsg_len;
}

/* Reads the answers that are there. wait: at least one. */
static void answers(struct flood *f, bool wait)
{
	char buf[65536];
	ssize_t n;
	int left;

	while ((n = recv(mnl_socket_get_fd(f->nl), buf, sizeof(buf), wait ? 0 : MSG_DONTWAIT)) >
	       0) {
		const struct nlmsghdr *h = (const struct nlmsghdr *)buf;

		for (left = (int)n; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
			const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);

			if (h->nlmsg_type != NLMSG_ERROR)
				continue;
			if (e->error)
				f->errors[-e->error & 0xff]++;
			if (h->nlmsg_seq == f->last_seq)
				f->done = true;
		}
		wait = false;
	}
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		die("recv");
}

static void run(struct flood *f)
{
	static const char zero[BATCH * MESSAGE_MAX];
	char *buf = malloc(sizeof(zero));
	double started = now();

	if (!buf)
		die("memory");
	f->last_seq = f->count * f->laps;
	for (unsigned int i = 0; i < f->last_seq;) {
		size_t len = 0;

		memcpy(buf, zero, sizeof(zero));
		for (int k = 0; k < BATCH && i < f->last_seq; k++) {
			len += build(f, f->first + i % f->count, i + 1, i + 1 == f->last_seq,
				     buf + len);
			f->mark += ++i % f->count == 0 && f->laps > 1;
		}
		if (mnl_socket_sendto(f->nl, buf, len) < 0)
			die("send");
		answers(f, false);
		if (f->rate > 0 && (double)i / f->rate > now() - started)
			usleep((useconds_t)(((double)i / f->rate - (now() - started)) *
					    1e6)); /* the pace */
	}
	while (f->count && !f->done)
		answers(f, true);
	free(buf);
}

static void usage(void)
{
	fprintf(stderr,
		"usage: flood create|update|delete [-n COUNT] [-b FIRST] [-t TIMEOUT] [-m MARK]"
		" [-r PER_SECOND] [-6] [-S] [-U] [-l LAPS]\n");
	exit(2);
}

static void options(struct flood *f, int argc, char **argv)
{
	static const char *const names[] = { "create", "update", "delete" };
	int op, o;

	for (op = 0; op < 3 && strcmp(argv[1], names[op]); op++)
		;
	if (op == 3)
		usage();
	f->op = (enum op)op;
	optind = 2;
	while ((o = getopt(argc, argv, "n:b:t:m:r:l:6SU")) > 0) {
		unsigned int n = optarg ? (unsigned int)strtoul(optarg, NULL, 0) : 0;

		switch (o) {
		case 'n':
			f->count = n;
			break;
		case 'b':
			f->first = n;
			break;
		case 't':
			f->timeout_s = n;
			break;
		case 'm':
			f->mark = n;
			break;
		case 'r':
			f->rate = n;
			break;
		case 'l':
			f->laps = n;
			break;
		case '6':
			f->v6 = true;
			break;
		case 'S':
			f->snat = true;
			break;
		case 'U':
			f->udp = true;
			break;
		default:
			usage();
		}
	}
}

int main(int argc, char **argv)
{
	struct flood f = { .count = 1000, .laps = 1, .timeout_s = 3600 };
	int size = 32 << 20, bad = 0;
	double started;

	if (argc < 2)
		usage();
	options(&f, argc, argv);
	f.nl = mnl_socket_open(NETLINK_NETFILTER);
	if (!f.nl || mnl_socket_bind(f.nl, 0, MNL_SOCKET_AUTOPID) < 0)
		die("netlink");
	if (setsockopt(mnl_socket_get_fd(f.nl), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) <
	    0)
		die("SO_RCVBUFFORCE");
	started = now();
	run(&f);
	printf("flood: %s %u flows in %.2f s", argv[1], f.count, now() - started);
	for (int e = 1; e < 256; e++) {
		if (f.errors[e])
			printf(", %u %s", f.errors[e], strerror(e));
		bad |= f.errors[e] != 0;
	}
	printf("\n");
	mnl_socket_close(f.nl);
	return bad;
}
