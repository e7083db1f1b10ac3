/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opens the UDP socket of a link. It may be opened again long after root was given up, so nothing
 * here needs more than CAP_NET_ADMIN: SO_BINDTODEVICE is open to everybody on a socket that is
 * bound to no device yet (Linux 5.7, net/core/sock.c, sock_bindtoindex_locked), and where it is
 * refused the local address and the interface's index do.
 *
 * A sender never relies on fragmentation (PROTOCOL.md, 2): don't-fragment is set, and what does not
 * fit comes back as EMSGSIZE.
 */
#include "link_priv.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/ip.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DSCP_CS6 0xc0 /* network control, as the TOS or traffic class byte */
#define SNDBUF_LEN 4194304

/* linux/in.h cannot stand beside netinet/in.h. */
#ifndef IP_UNICAST_IF
#define IP_UNICAST_IF 50
#endif
#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif

static int set_int(int fd, int level, int name, int v)
{
	return setsockopt(fd, level, name, &v, sizeof(v)) ? -errno : 0;
}

socklen_t sock_addr_len(const struct sockaddr_storage *a)
{
	return a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

void sock_scope(struct sockaddr_storage *a, uint32_t ifindex)
{
	struct sockaddr_in6 *in6 = (void *)a;

	if (a->ss_family == AF_INET6 &&
	    (IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) || IN6_IS_ADDR_MULTICAST(&in6->sin6_addr)))
		in6->sin6_scope_id = ifindex;
}

static int set_device(int fd, const struct link_conf *conf, uint32_t ifindex)
{
	if (!*conf->interface)
		return 0;
	if (!setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, conf->interface,
			(socklen_t)strlen(conf->interface) + 1))
		return 0;
	if (errno != EPERM)
		return -errno;
	/* An old kernel and no CAP_NET_RAW: send by the interface, receive by the address. */
	if (conf->local.ss_family == AF_INET6)
		return set_int(fd, IPPROTO_IPV6, IPV6_UNICAST_IF, (int)htonl(ifindex));
	return set_int(fd, IPPROTO_IP, IP_UNICAST_IF, (int)htonl(ifindex));
}

static int set_ip(int fd, bool v6)
{
	int err;

	if (!v6) {
		err = set_int(fd, IPPROTO_IP, IP_TOS, DSCP_CS6);
		return err ? err : set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
	}
	err = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (!err)
		err = set_int(fd, IPPROTO_IPV6, IPV6_TCLASS, DSCP_CS6);
	if (!err)
		err = set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO);
	if (!err)
		err = set_int(fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
	return err;
}

/* FORCE goes beyond net.core.[rw]mem_max and needs CAP_NET_ADMIN; without it the limit decides,
 * which links_window() takes into account. */
static void set_buffers(int fd, uint32_t rcvbuf_len)
{
	if (set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, (int)rcvbuf_len))
		(void)set_int(fd, SOL_SOCKET, SO_RCVBUF, (int)rcvbuf_len);
	if (set_int(fd, SOL_SOCKET, SO_SNDBUFFORCE, SNDBUF_LEN))
		(void)set_int(fd, SOL_SOCKET, SO_SNDBUF, SNDBUF_LEN);
}

static int join4(int fd, const struct link_conf *conf, uint32_t ifindex)
{
	const struct sockaddr_in *group = (const void *)&conf->group;
	const struct sockaddr_in *local = (const void *)&conf->local;
	struct ip_mreqn req = { .imr_multiaddr = group->sin_addr,
				.imr_address = local->sin_addr,
				.imr_ifindex = (int)ifindex };
	int err = 0;

	if (setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &req, sizeof(req)) ||
	    setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &req, sizeof(req)))
		return -errno;
	err = set_int(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
	if (!err)
		err = set_int(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 0);
	if (!err)
		err = set_int(fd, IPPROTO_IP, IP_MULTICAST_TTL, conf->ttl);
	return err;
}

static int join6(int fd, const struct link_conf *conf, uint32_t ifindex)
{
	const struct sockaddr_in6 *group = (const void *)&conf->group;
	struct ipv6_mreq req = { .ipv6mr_multiaddr = group->sin6_addr,
				 .ipv6mr_interface = ifindex };
	int err;

	if (setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &req, sizeof(req)))
		return -errno;
	err = set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)ifindex);
	if (!err)
		err = set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0);
	if (!err)
		err = set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, conf->ttl);
	return err;
}

static int bind_and_join(int fd, const struct link_conf *conf, uint32_t ifindex, const char **what)
{
	/* Bound to the group, the socket gets nothing else; its source is then that of
	 * MULTICAST_IF. */
	struct sockaddr_storage addr = conf->group.ss_family ? conf->group : conf->local;
	int err;

	sock_scope(&addr, ifindex);
	*what = "bind";
	if (bind(fd, (const struct sockaddr *)&addr, sock_addr_len(&addr)))
		return -errno;
	if (!conf->group.ss_family)
		return 0;
	*what = "join the group";
	err = addr.ss_family == AF_INET6 ? join6(fd, conf, ifindex) : join4(fd, conf, ifindex);
	return err;
}

int sock_open(const struct link_conf *conf, uint32_t ifindex, uint32_t rcvbuf_len,
	      const char **what)
{
	int fd, err;

	*what = "open a socket";
	fd = socket(conf->local.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
	if (fd < 0)
		return -errno;
	*what = "bind to the interface";
	err = set_device(fd, conf, ifindex);
	if (!err) {
		*what = "set the options of the socket";
		err = set_ip(fd, conf->local.ss_family == AF_INET6);
	}
	if (!err && conf->group.ss_family)
		err = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	set_buffers(fd, rcvbuf_len);
	if (!err)
		err = bind_and_join(fd, conf, ifindex, what);
	if (err) {
		(void)close(fd);
		return err;
	}
	return fd;
}

uint32_t sock_rcvbuf(int fd)
{
	int v = 0;
	socklen_t len = sizeof(v);

	return getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &v, &len) || v < 0 ? 0 : (uint32_t)v;
}

uint32_t sock_drops(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) ? 0 : info[SK_MEMINFO_DROPS];
}
