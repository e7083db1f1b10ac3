/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What rtnetlink knows of the interfaces of the links: index, carrier, MTU. Never /sys, which in a
 * network namespace shows the host's. The protocol is rtnetlink(7); requests are strict
 * (NETLINK_GET_STRICT_CHK), so that one interface can be asked for.
 *
 * No table is kept here. The monitor only says that something happened which concerns a link, and
 * the state is then asked for anew: there is no order of messages, and no lost one (ENOBUFS), from
 * which a wrong picture could follow.
 */
#include "link_priv.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define BUF_LEN 32768
#define READS_MAX 64     /* datagrams of the monitor read at once */
#define ANSWERS_MAX 4096 /* datagrams of one answer */
#define ASK_TIMEOUT_S 2

int rtnl_open(void)
{
	struct sockaddr_nl addr = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
	int err;

	if (fd < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr))) {
		err = -errno;
		(void)close(fd);
		return err;
	}
	return fd;
}

/* The attribute of this type in a message with a fixed part of fixed_len bytes; NULL if it is not
 * there. */
static const struct rtattr *find_attr(const struct nlmsghdr *nlh, size_t fixed_len,
				      unsigned short type)
{
	size_t at = NLMSG_ALIGN(NLMSG_HDRLEN + fixed_len);
	const char *p = (const char *)nlh;

	while (at + sizeof(struct rtattr) <= nlh->nlmsg_len) {
		const struct rtattr *a = (const void *)(p + at);

		if (a->rta_len < sizeof(*a) || a->rta_len > nlh->nlmsg_len - at)
			return NULL;
		if ((a->rta_type & NLA_TYPE_MASK) == type)
			return a;
		at += RTA_ALIGN(a->rta_len);
	}
	return NULL;
}

static const void *attr_data(const struct rtattr *a)
{
	return (const char *)a + RTA_LENGTH(0);
}

static size_t attr_len(const struct rtattr *a)
{
	return a->rta_len - RTA_LENGTH(0);
}

static const void *msg_data(const struct nlmsghdr *nlh, size_t len)
{
	return nlh->nlmsg_len >= NLMSG_LENGTH(len) ? (const char *)nlh + NLMSG_HDRLEN : NULL;
}

/* Steps through the messages of a datagram: the next one of the *len bytes at *at, NULL at the end.
 */
static const struct nlmsghdr *next_msg(const char **at, size_t *len)
{
	const struct nlmsghdr *nlh = (const void *)*at;
	size_t step;

	if (*len < sizeof(*nlh) || nlh->nlmsg_len < sizeof(*nlh) || nlh->nlmsg_len > *len)
		return NULL;
	step = NLMSG_ALIGN(nlh->nlmsg_len);
	step = step < *len ? step : *len;
	*at += step;
	*len -= step;
	return nlh;
}

static bool has_name(const struct nlmsghdr *nlh, const char *name)
{
	const struct rtattr *a = find_attr(nlh, sizeof(struct ifinfomsg), IFLA_IFNAME);
	size_t len = strlen(name);

	return a && len && attr_len(a) >= len + 1 && !memcmp(attr_data(a), name, len + 1);
}

static bool has_address(const struct nlmsghdr *nlh, const struct sockaddr_storage *addr)
{
	const struct ifaddrmsg *ifa = msg_data(nlh, sizeof(*ifa));
	bool v6 = addr->ss_family == AF_INET6;
	const struct sockaddr_in *in4 = (const void *)addr;
	const struct sockaddr_in6 *in6 = (const void *)addr;
	const void *want = v6 ? (const void *)&in6->sin6_addr : (const void *)&in4->sin_addr;
	size_t len = v6 ? sizeof(in6->sin6_addr) : sizeof(in4->sin_addr);
	const struct rtattr *a;

	if (!ifa || ifa->ifa_family != addr->ss_family)
		return false;
	/* IFA_ADDRESS is the other end's on a point-to-point interface, IFA_LOCAL ours. */
	a = find_attr(nlh, sizeof(*ifa), IFA_LOCAL);
	if (!a)
		a = find_attr(nlh, sizeof(*ifa), IFA_ADDRESS);
	return a && attr_len(a) == len && !memcmp(attr_data(a), want, len);
}

/* ---- monitor ---- */

static bool concerns(const struct nlmsghdr *nlh, const struct rtnl_watch *w)
{
	const struct ifinfomsg *ifi = msg_data(nlh, sizeof(*ifi));

	switch (nlh->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		return ifi && ((w->ifindex && (uint32_t)ifi->ifi_index == w->ifindex) ||
			       has_name(nlh, w->interface));
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return has_address(nlh, w->local);
	default:
		return false;
	}
}

static bool concerns_any(const char *buf, size_t len, const struct rtnl_watch *w,
			 unsigned int count)
{
	const struct nlmsghdr *nlh;

	while ((nlh = next_msg(&buf, &len))) {
		for (unsigned int i = 0; i < count; i++) {
			if (concerns(nlh, &w[i]))
				return true;
		}
	}
	return false;
}

bool rtnl_read(int fd, const struct rtnl_watch *w, unsigned int count)
{
	_Alignas(struct nlmsghdr) char buf[BUF_LEN];
	bool hit = false;

	for (int i = 0; i < READS_MAX; i++) {
		ssize_t len = recv(fd, buf, sizeof(buf), MSG_TRUNC);

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0 && errno != ENOBUFS)
			break;
		/* Lost or cut messages may have been ours. */
		hit |= len < 0 || (size_t)len > sizeof(buf) ||
		       concerns_any(buf, (size_t)len, w, count);
	}
	return hit;
}

/* ---- asking ---- */

struct request {
	struct nlmsghdr nlh;
	union {
		struct ifinfomsg ifi;
		struct ifaddrmsg ifa;
	};
	struct rtattr attr;
	char name[IF_NAMESIZE];
};

static int ask_open(void)
{
	struct timeval tv = {
		.tv_sec = ASK_TIMEOUT_S
	}; /* a kernel that does not answer must not stop us */
	int on = 1, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on,
			 sizeof(on)); /* before 4.20: larger answers */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv))) {
		int err = -errno;

		(void)close(fd);
		return err;
	}
	return fd;
}

static void take_link(const struct nlmsghdr *nlh, struct rtnl_watch *w)
{
	const struct ifinfomsg *ifi = msg_data(nlh, sizeof(*ifi));
	const struct rtattr *mtu = find_attr(nlh, sizeof(*ifi), IFLA_MTU);

	if (!ifi)
		return;
	w->ifindex = (uint32_t)ifi->ifi_index;
	w->up = (ifi->ifi_flags & IFF_UP) && (ifi->ifi_flags & IFF_RUNNING);
	if (mtu && attr_len(mtu) == sizeof(w->mtu))
		memcpy(&w->mtu, attr_data(mtu), sizeof(w->mtu));
}

/* Takes one message of an answer. Returns 1 to go on, 0 at the end, or -errno. */
static int take(const struct nlmsghdr *nlh, struct rtnl_watch *w)
{
	const struct nlmsgerr *e = msg_data(nlh, sizeof(*e));
	const struct ifaddrmsg *ifa = msg_data(nlh, sizeof(*ifa));

	switch (nlh->nlmsg_type) {
	case NLMSG_ERROR:
		return e ? e->error : -EPROTO;
	case NLMSG_DONE:
		return 0;
	case RTM_NEWLINK:
		take_link(nlh, w);
		return 0; /* one interface was asked for */
	case RTM_NEWADDR:
		if (ifa && has_address(nlh, w->local))
			w->ifindex = ifa->ifa_index;
		return 1;
	default:
		return 1;
	}
}

static int read_answer(int fd, uint32_t seq, struct rtnl_watch *w)
{
	_Alignas(struct nlmsghdr) char buf[BUF_LEN];

	for (int i = 0; i < ANSWERS_MAX; i++) {
		ssize_t got = recv(fd, buf, sizeof(buf), 0);
		size_t len = got > 0 ? (size_t)got : 0;
		const char *at = buf;
		const struct nlmsghdr *nlh;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		while ((nlh = next_msg(&at, &len))) {
			int ret = nlh->nlmsg_seq == seq ? take(nlh, w) : 1;

			if (ret <= 0)
				return ret;
		}
	}
	return -EOVERFLOW;
}

/* The interface that carries w->local, by all addresses of its family. */
static int ask_address(int fd, struct rtnl_watch *w)
{
	struct request req = {
		.nlh = { .nlmsg_len = NLMSG_LENGTH(sizeof(req.ifa)),
			 .nlmsg_type = RTM_GETADDR,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
			 .nlmsg_seq = 1 },
		.ifa = { .ifa_family = (unsigned char)w->local->ss_family },
	};

	if (send(fd, &req, req.nlh.nlmsg_len, 0) < 0)
		return -errno;
	return read_answer(fd, req.nlh.nlmsg_seq, w);
}

static int ask_link(int fd, struct rtnl_watch *w)
{
	struct request req = {
		.nlh = { .nlmsg_len = NLMSG_LENGTH(sizeof(req.ifi)),
			 .nlmsg_type = RTM_GETLINK,
			 .nlmsg_flags = NLM_F_REQUEST,
			 .nlmsg_seq = 2 },
		.ifi = { .ifi_family = AF_UNSPEC, .ifi_index = (int)w->ifindex },
	};

	if (!w->ifindex) {
		req.attr = (struct rtattr){ .rta_len = RTA_LENGTH(sizeof(req.name)),
					    .rta_type = IFLA_IFNAME };
		memcpy(req.name, w->interface, sizeof(req.name));
		req.nlh.nlmsg_len = sizeof(req);
	}
	if (send(fd, &req, req.nlh.nlmsg_len, 0) < 0)
		return -errno;
	return read_answer(fd, req.nlh.nlmsg_seq, w);
}

int rtnl_ask(struct rtnl_watch *w)
{
	int err = 0, fd = ask_open();

	w->ifindex = 0;
	w->up = false;
	w->mtu = 0;
	if (fd < 0)
		return fd;
	if (!*w->interface)
		err = ask_address(fd, w);
	if (!err && (w->ifindex || *w->interface))
		err = ask_link(fd, w);
	(void)close(fd);
	if (err)
		w->ifindex = 0;
	return err == -ENODEV ? 0 : err;
}
