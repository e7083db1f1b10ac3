/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connection to the daemon (include/ctl.h). Every wait has a limit, connect included: a daemon
 * that is stopped or stuck must not hang the script that takes a virtual address over.
 */
#include "cli.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define BUF_FIRST 4096

int cli_open(struct cli *c, const char *path, int timeout_ms)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct timeval tv = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
	int err;

	*c = (struct cli){ .fd = -1, .timeout_ms = timeout_ms };
	if (path[0] == '\0' || strlen(path) >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	memcpy(sun.sun_path, path, strlen(path));
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	/* On a unix socket the send timeout holds for connect too, which waits while the backlog is
	 * full. */
	if (setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0 ||
	    connect(c->fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0) {
		err = -errno;
		cli_close(c);
		return err;
	}
	return 0;
}

void cli_close(struct cli *c)
{
	if (c->fd >= 0)
		(void)close(c->fd); /* the reply was read, or nobody wants it */
	free(c->buf);
	*c = (struct cli){ .fd = -1 };
}

enum ctl_exit cli_open_failed(const char *path, int err)
{
	if (err == -ENOENT || err == -ECONNREFUSED) {
		(void)fprintf(stderr,
			      "ctsync: no daemon at %s (%s): see systemctl status ctsyncd\n", path,
			      strerror(-err));
		return CTL_EXIT_NO_DAEMON;
	}
	if (err == -EACCES)
		(void)fprintf(
			stderr,
			"ctsync: %s: permission denied: be root or in the group control.group\n",
			path);
	else if (err == -EAGAIN)
		(void)fprintf(stderr, "ctsync: the daemon at %s does not accept connections\n",
			      path);
	else
		(void)fprintf(stderr, "ctsync: %s: %s\n", path, strerror(-err));
	return CTL_EXIT_FAILED;
}

pid_t cli_peer(const struct cli *c)
{
	struct ucred u;
	socklen_t len = sizeof(u);

	return getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &u, &len) == 0 ? u.pid : 0;
}

int cli_send(struct cli *c, int argc, char *const argv[])
{
	char line[CTL_REQUEST_MAX];
	size_t len = 0, at = 0;

	for (int i = 0; i < argc; i++) {
		size_t n = strlen(argv[i]);

		if (n >= sizeof(line) - len)
			return -E2BIG;
		memcpy(line + len, argv[i], n);
		len += n;
		line[len++] = i + 1 < argc ? ' ' : '\n';
	}
	while (at < len) {
		ssize_t n = send(c->fd, line + at, len - at, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		at += (size_t)n;
	}
	return 0;
}

/* Makes room for at least one more byte behind what waits. Returns 0 or -errno. */
static int reserve(struct cli *c)
{
	size_t size = c->size ? c->size * 2 : BUF_FIRST;
	char *p;

	if (c->at > 0) {
		memmove(c->buf, c->buf + c->at, c->len - c->at);
		c->len -= c->at;
		c->at = 0;
	}
	if (c->len < c->size)
		return 0;
	if (size > CLI_LINE_MAX)
		return -EPROTO;
	p = realloc(c->buf, size);
	if (!p)
		return -ENOMEM;
	c->buf = p;
	c->size = size;
	return 0;
}

/* Waits for bytes and reads them. Returns how many, 0 at the end, or -errno. */
static ssize_t fill(struct cli *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	ssize_t n;
	int err = reserve(c);

	if (err < 0)
		return err;
	for (;;) {
		int ready = poll(&p, 1, c->timeout_ms);

		if (ready == 0)
			return -ETIMEDOUT;
		if (ready > 0)
			break;
		if (errno != EINTR)
			return -errno;
	}
	n = recv(c->fd, c->buf + c->len, c->size - c->len, 0);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	c->len += (size_t)n;
	return n;
}

int cli_line(struct cli *c, char **line)
{
	size_t scanned = 0; /* bytes behind at that hold no newline */

	for (;;) {
		char *start = c->buf + c->at;
		char *newline = c->len - c->at > scanned
					? memchr(start + scanned, '\n', c->len - c->at - scanned)
					: NULL;
		ssize_t n;

		if (newline) {
			*newline = '\0';
			c->at += (size_t)(newline - start) + 1;
			*line = start;
			return 1;
		}
		scanned = c->len - c->at;
		n = fill(c);
		if (n <= 0)
			return (int)n;
	}
}
