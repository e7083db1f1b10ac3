/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by ctl.c (socket, clients, requests) and ctl_out.c (what a client is told). */
#ifndef CTSYNCD_CTL_PRIV_H
#define CTSYNCD_CTL_PRIV_H

#include "ctl.h"

#include <sys/un.h>

#include "ctl_rights.h"

enum phase { PHASE_READING, PHASE_ANSWERING, PHASE_ENDED };

struct ctl_client {
	struct ctl *ctl;
	int fd;
	enum phase phase;
	struct ctl_peer who;
	bool streaming;
	bool broken; /* its answer could not be kept: drop it */
	ev_io rd, wr;
	ev_timer idle;
	double since; /* of the last progress, on the monotonic clock */
	void *stream;
	char *out;
	size_t out_at, out_len, out_size; /* bytes [out_at, out_len) wait */
	bool progress_waits;              /* a progress line is among them */
	size_t line_len;
	char line[CTL_REQUEST_MAX + 1];
};

struct ctl {
	struct ev_loop *loop;
	struct log *log;
	const struct ctl_ops *ops;
	void *arg;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	struct ctl_rights rights;
	double idle_s;
	int fd;
	ev_io acc;
	ev_timer retry;
	struct ctl_client *clients[CTL_CLIENTS_MAX];
	unsigned int count, readers;
	struct ctl_stats stats;
};

/* ---- ctl_out.c ---- */

/* Bytes that wait to be sent. */
size_t ctl_out_waiting(const struct ctl_client *c);
/* Sends what waits, without blocking. Returns 0, or -errno when the client is no longer there. */
int ctl_out_send(struct ctl_client *c);
/* Queues a tagged line; text is cut to the limit and control characters, which would break the
 * framing, become '?'. What cannot be kept marks the client broken. */
void ctl_out_line(struct ctl_client *c, char tag, const char *text);

#endif
