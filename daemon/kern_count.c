/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel counts of packets in this namespace, as `conntrack -S` shows it: asked over
 * ctnetlink, a message for each CPU, answered at once. No state; a socket of its own, for the few
 * times that it is asked.
 */
#include "kern.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define SLICE_LEN 32768
#define SLICES_MAX 256 /* of one answer: a few hundred CPUs fill a slice */

static int send_request(struct mnl_socket *nl)
{
	uint8_t buf[64] __attribute__((aligned(8)));
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g;

	h->nlmsg_type = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET_STATS_CPU;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	h->nlmsg_seq = 1;
	g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
	g->nfgen_family = AF_UNSPEC;
	g->version = NFNETLINK_V0;
	return mnl_socket_sendto(nl, h, h->nlmsg_len) < 0 ? -errno : 0;
}

static int on_attr(const struct nlattr *attr, void *data)
{
	uint32_t *sum = data;

	if (mnl_attr_get_type(attr) == CTA_STATS_INVALID &&
	    mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
		*sum += ntohl(mnl_attr_get_u32(attr));
	return MNL_CB_OK;
}

static int on_message(const struct nlmsghdr *h, void *data)
{
	return mnl_attr_parse(h, sizeof(struct nfgenmsg), on_attr, data);
}

static int read_answer(struct mnl_socket *nl, uint32_t *sum)
{
	uint8_t buf[SLICE_LEN] __attribute__((aligned(8)));

	for (unsigned int i = 0; i < SLICES_MAX; i++) {
		ssize_t n = recv(mnl_socket_get_fd(nl), buf, sizeof(buf), MSG_DONTWAIT);
		int ret;

		if (n < 0)
			return -errno;
		ret = mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(nl), on_message, sum);
		if (ret < 0)
			return -errno;
		if (ret == MNL_CB_STOP)
			return 0;
	}
	return -EMSGSIZE;
}

int64_t kern_invalid(void)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	uint32_t sum = 0;
	int err;

	if (!nl)
		return -1;
	err = mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : send_request(nl);
	if (!err)
		err = read_answer(nl, &sum);
	(void)mnl_socket_close(nl); /* nothing is pending */
	return err ? -1 : (int64_t)sum;
}
