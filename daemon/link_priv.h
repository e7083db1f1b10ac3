/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by link.c (endpoints, sending, receiving), link_sock.c (opening one socket) and
 * link_rtnl.c (what rtnetlink knows of an interface). */
#ifndef CTSYNCD_LINK_PRIV_H
#define CTSYNCD_LINK_PRIV_H

#include "link.h"

/* ---- link_rtnl.c ---- */

/* What a link wants to know of, and what is known. */
struct rtnl_watch {
	char interface[IF_NAMESIZE]; /* empty: the one that carries local */
	const struct sockaddr_storage *local;
	uint32_t ifindex; /* 0 = there is none now */
	bool up;          /* administratively up, with carrier */
	uint32_t mtu;     /* 0 = unknown */
};

/* Opens the monitor socket. Returns the descriptor or -errno. */
int rtnl_open(void);

/* Reads what waits on the monitor. Returns true if something was said about a watched interface or
 * an address that a link uses, or if messages were lost: then the watches are to be asked again. */
bool rtnl_read(int fd, const struct rtnl_watch *w, unsigned int count);

/* Asks the kernel for the present state of w; blocks for as long as the kernel takes to answer.
 * Returns 0 or -errno (then ifindex is 0). An interface that is not there is no error. */
int rtnl_ask(struct rtnl_watch *w);

/* ---- link_sock.c ---- */

/* Opens and binds the socket of a link. ifindex: of its interface, 0 when it has none. Returns the
 * descriptor or -errno; *what (static) names the step that failed. */
int sock_open(const struct link_conf *conf, uint32_t ifindex, uint32_t rcvbuf_len,
	      const char **what);

/* Effective receive buffer, bytes as the kernel counts them; 0 unknown. */
uint32_t sock_rcvbuf(int fd);

/* Datagrams that the kernel dropped at this socket because it was full. */
uint32_t sock_drops(int fd);

socklen_t sock_addr_len(const struct sockaddr_storage *a);

/* Gives a link-local or multicast IPv6 address the interface as its scope. */
void sock_scope(struct sockaddr_storage *a, uint32_t ifindex);

#endif
