/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tells a service manager how we are: the protocol of sd_notify(3), which is a datagram of
 * NAME=value lines to the socket that NOTIFY_SOCKET names. Without that variable every call does
 * nothing. */
#ifndef CTSYNCD_NOTIFY_H
#define CTSYNCD_NOTIFY_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "util.h"

struct notify {
	int fd; /* -1: nobody listens */
	struct sockaddr_un addr;
	socklen_t addr_len;
	usec_t watchdog_us; /* longest pause between two WATCHDOG=1; 0 = not wanted */
};

/* Reads and removes the variables of the environment. Returns 0, or -errno if there is a socket
 * that cannot be used. */
int notify_init(struct notify *n);
void notify_fini(struct notify *n);
bool notify_wanted(const struct notify *n);
/* Sends lines such as "READY=1\nSTATUS=..."; never blocks, what does not go out is lost. */
void notify_send(const struct notify *n, const char *lines);

#endif
