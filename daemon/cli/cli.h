/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The CLI's end of the control socket: a connection, a request, and the reply line by line. Never
 * waits for ever. */
#ifndef CTSYNCD_CLI_CLI_H
#define CTSYNCD_CLI_CLI_H

#include <stddef.h>
#include <sys/types.h>

#include "ctl.h"

#define CLI_TIMEOUT_MS                                                                             \
	10000              /* the daemon says something at least every second while it works       \
			    */
#define CLI_LINE_MAX 65536 /* longer than any line of any version: what passes it is no ctsyncd */

struct cli {
	int fd;
	int timeout_ms;
	char *buf; /* bytes [at, len) are not yet consumed */
	size_t at, len, size;
};

/* Connects. Returns 0 or -errno: -ENOENT, -ECONNREFUSED: no daemon there; -EAGAIN: it does not
 * accept in time. */
int cli_open(struct cli *c, const char *path, int timeout_ms);
void cli_close(struct cli *c);

/* Says on standard error why there is no connection. Returns the exit status. */
enum ctl_exit cli_open_failed(const char *path, int err);

/* The daemon's process, 0 if that cannot be told. */
pid_t cli_peer(const struct cli *c);

/* Sends the words as a request line. Returns 0 or -errno; -E2BIG when the line would be too long.
 */
int cli_send(struct cli *c, int argc, char *const argv[]);

/* The next line without its newline, valid until the next call. Returns 1; 0 at the end of the
 * connection; or -errno: -ETIMEDOUT nothing came in time, -EPROTO a line without end. */
int cli_line(struct cli *c, char **line);

#endif
