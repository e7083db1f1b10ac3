/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sd_notify(3) without libsystemd: forty lines in place of a library (and what that links) in a
 * daemon that holds CAP_NET_ADMIN. The protocol is stable and documented for this use in that page.
 */
#include "notify.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A decimal number without anything around it; 0 if text is NULL or no such number. */
static unsigned long long parse(const char *text)
{
	char *end;
	unsigned long long v;

	if (!text || *text < '0' || *text > '9')
		return 0;
	errno = 0;
	v = strtoull(text, &end, 10);
	return *end || errno ? 0 : v;
}

static usec_t watchdog_us(void)
{
	const char *pid = getenv("WATCHDOG_PID");

	if (pid && parse(pid) != (unsigned long long)getpid())
		return 0; /* meant for another process */
	return parse(getenv("WATCHDOG_USEC"));
}

static int set_addr(struct notify *n, const char *path)
{
	size_t len = strlen(path);

	/* A path, or @ and a name of the abstract space. */
	if ((path[0] != '/' && path[0] != '@') || len < 2 || len >= sizeof(n->addr.sun_path))
		return -EINVAL;
	n->addr.sun_family = AF_UNIX;
	memcpy(n->addr.sun_path, path, len);
	n->addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	if (path[0] == '@') {
		n->addr.sun_path[0] = '\0';
		n->addr_len--;
	}
	return 0;
}

int notify_init(struct notify *n)
{
	const char *path = getenv("NOTIFY_SOCKET");
	int err;

	*n = (struct notify){ .fd = -1 };
	if (!path)
		return 0;
	err = set_addr(n, path);
	if (!err) {
		n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		err = n->fd < 0 ? -errno : 0;
	}
	if (!err)
		n->watchdog_us = watchdog_us();
	(void)unsetenv("NOTIFY_SOCKET"); /* cannot fail for these names */
	(void)unsetenv("WATCHDOG_USEC");
	(void)unsetenv("WATCHDOG_PID");
	return err;
}

void notify_fini(struct notify *n)
{
	if (n->fd >= 0)
		(void)close(n->fd);
	n->fd = -1;
}

bool notify_wanted(const struct notify *n)
{
	return n->fd >= 0;
}

void notify_send(const struct notify *n, const char *lines)
{
	if (n->fd < 0)
		return;
	/* A manager that does not read loses a status line, or finds the watchdog's word missing:
	 * both are its to judge. */
	(void)sendto(n->fd, lines, strlen(lines), MSG_NOSIGNAL, (const struct sockaddr *)&n->addr,
		     n->addr_len);
}
