/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Records the conntrack messages of the namespace it runs in, as tests/unit/test_kern.c reads them:
 * every event until SIGTERM, then a dump. record.sh makes the traffic. Written to standard output,
 * each message behind its length (16 bits, little-endian). Says "ready" on standard error when it
 * listens.
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_compat.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static volatile sig_atomic_t stop;

static void on_term(int sig)
{
	(void)sig;
	stop = 1;
}

static void fail(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

/* Writes the messages of one read. Returns true at the end of a dump. */
static bool keep(const uint8_t *buf, int len)
{
	for (const struct nlmsghdr *h = (const void *)buf; mnl_nlmsg_ok(h, len);
	     h = mnl_nlmsg_next(h, &len)) {
		if (h->nlmsg_type == NLMSG_DONE)
			return true;
		if (h->nlmsg_type == NLMSG_ERROR)
			exit(EXIT_FAILURE);
		putchar((int)(h->nlmsg_len & 0xff));
		putchar((int)(h->nlmsg_len >> 8));
		if (fwrite(h, h->nlmsg_len, 1, stdout) != 1)
			fail("write");
	}
	return false;
}

static struct mnl_socket *open_nl(unsigned int groups)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);

	if (nl == NULL || mnl_socket_bind(nl, groups, MNL_SOCKET_AUTOPID) < 0)
		fail("netlink");
	return nl;
}

static void events(struct mnl_socket *nl, const sigset_t *mask, uint8_t *buf, size_t len)
{
	struct pollfd p = { .fd = mnl_socket_get_fd(nl), .events = POLLIN };
	ssize_t n;

	while (!stop || poll(&p, 1, 0) > 0) {
		if (!stop && ppoll(&p, 1, NULL, mask) <= 0)
			continue;
		n = mnl_socket_recvfrom(nl, buf, len);
		if (n < 0)
			fail("recv");
		keep(buf, (int)n);
	}
}

static void dump(uint8_t *buf, size_t len)
{
	struct mnl_socket *nl = open_nl(0);
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	ssize_t n;

	h->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	mnl_nlmsg_put_extra_header(h, sizeof(struct nfgenmsg));
	if (mnl_socket_sendto(nl, h, h->nlmsg_len) < 0)
		fail("send");
	do {
		n = mnl_socket_recvfrom(nl, buf, len);
		if (n < 0)
			fail("recv");
	} while (!keep(buf, (int)n));
	mnl_socket_close(nl);
}

int main(void)
{
	static uint8_t buf[65536] __attribute__((aligned(8)));
	struct sigaction sa = { .sa_handler = on_term };
	struct mnl_socket *nl = open_nl(NF_NETLINK_CONNTRACK_NEW | NF_NETLINK_CONNTRACK_UPDATE |
					NF_NETLINK_CONNTRACK_DESTROY);
	sigset_t term, before;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, &before); /* let in by ppoll alone, so that none is missed */
	sigaction(SIGTERM, &sa, NULL);
	fputs("ready\n", stderr);
	events(nl, &before, buf, sizeof(buf));
	dump(buf, sizeof(buf));
	mnl_socket_close(nl);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
