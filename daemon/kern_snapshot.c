/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A dump for the verbs "flows kernel", "expect kernel" and "policy test". The daemon's own dump
 * socket belongs to the engine, whose dumps have a meaning (what is missing in them is gone), so a
 * person's look gets its own socket, one per asking client, closed with it. The kernel builds a
 * slice of at most 32 KiB a read; what of it the caller has no room for waits here.
 */
#include "kern_snapshot.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "kern.h"

#define SLICE_LEN 32768

struct kern_snapshot {
	struct mnl_socket *nl;
	uint32_t seq;
	bool over;
	const struct nlmsghdr *next; /* the next message of the slice */
	int left;                    /* bytes of the slice from it on */
	uint8_t buf[SLICE_LEN] __attribute__((aligned(8)));
};

static int send_request(struct kern_snapshot *s, bool expect)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(s->buf);
	struct nfgenmsg *g;

	h->nlmsg_type = expect ? (NFNL_SUBSYS_CTNETLINK_EXP << 8) | IPCTNL_MSG_EXP_GET
			       : (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	h->nlmsg_seq = s->seq;
	g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
	g->nfgen_family = AF_UNSPEC;
	g->version = NFNETLINK_V0;
	return mnl_socket_sendto(s->nl, h, h->nlmsg_len) < 0 ? -errno : 0;
}

int kern_snapshot_open(struct kern_snapshot **out, bool expect)
{
	struct kern_snapshot *s = malloc(sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->seq = 1;
	s->over = false;
	s->left = 0;
	s->next = (const void *)s->buf;
	s->nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!s->nl) {
		err = -errno;
		free(s);
		return err;
	}
	err = mnl_socket_bind(s->nl, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : send_request(s, expect);
	if (err < 0) {
		kern_snapshot_close(s);
		return err;
	}
	*out = s;
	return 0;
}

void kern_snapshot_close(struct kern_snapshot *s)
{
	(void)mnl_socket_close(s->nl); /* nothing is pending that matters */
	free(s);
}

/* Reads the next slice. Returns 0 or -errno. */
static int fill(struct kern_snapshot *s)
{
	ssize_t n =
		recv(mnl_socket_get_fd(s->nl), s->buf, sizeof(s->buf), MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	if ((size_t)n > sizeof(s->buf))
		return -EMSGSIZE;
	s->next = (const void *)s->buf;
	s->left = (int)n;
	return 0;
}

/* Takes one message. Returns 1 if it was a flow, 0 if not, or -errno; sets over at the end. */
static int take(struct kern_snapshot *s, const struct nlmsghdr *h, struct flow *out)
{
	const struct nlmsgerr *e;

	if (h->nlmsg_seq != s->seq)
		return 0;
	if (h->nlmsg_type == NLMSG_DONE) {
		s->over = true;
		return 0;
	}
	if (h->nlmsg_type == NLMSG_ERROR) {
		if (h->nlmsg_len < mnl_nlmsg_size(sizeof(*e)))
			return -EBADMSG;
		e = mnl_nlmsg_get_payload(h);
		return e->error;
	}
	if (h->nlmsg_type < NLMSG_MIN_TYPE)
		return 0;
	return kern_parse(h, h->nlmsg_len, out) == 0; /* what we do not understand is not shown */
}

int kern_snapshot_read(struct kern_snapshot *s, struct flow *out, size_t max)
{
	size_t count = 0;
	int ret;

	while (count < max && !s->over) {
		if (!mnl_nlmsg_ok(s->next, s->left)) {
			ret = fill(s);
			if (ret == -EAGAIN && count > 0)
				break;
			if (ret < 0)
				return ret;
			continue;
		}
		ret = take(s, s->next, &out[count]);
		s->next = mnl_nlmsg_next(s->next, &s->left);
		if (ret < 0)
			return ret;
		count += (size_t)ret;
	}
	return (int)count;
}
