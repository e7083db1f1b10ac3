/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a client of the control socket is told: lines (include/ctl.h) into a buffer of its own, sent
 * as the socket takes them. The buffer grows with what waits up to CTL_REPLY_MAX; what passes that
 * marks the client broken, and ctl.c drops it at its next event. Nothing here frees a client or
 * waits for one.
 */
#include "ctl_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CTL_OUT_FIRST 4096 /* first size of an output buffer */

/* ---- The buffer ---- */

size_t ctl_out_waiting(const struct ctl_client *c)
{
	return c->out_len - c->out_at;
}

/* Makes room for len more bytes. Returns false when the reply would pass its limit or memory is
 * out. */
static bool out_reserve(struct ctl_client *c, size_t len)
{
	size_t size = c->out_size ? c->out_size : CTL_OUT_FIRST;
	char *p;

	if (c->out_len + len <= c->out_size)
		return true;
	if (c->out_at > 0) {
		memmove(c->out, c->out + c->out_at, ctl_out_waiting(c));
		c->out_len -= c->out_at;
		c->out_at = 0;
	}
	if (c->out_len + len > CTL_REPLY_MAX)
		return false;
	while (size < c->out_len + len)
		size *= 2;
	if (size == c->out_size)
		return true;
	p = realloc(c->out, size);
	if (!p)
		return false;
	c->out = p;
	c->out_size = size;
	return true;
}

static void out_append(struct ctl_client *c, const char *p, size_t len)
{
	struct ev_loop *loop = c->ctl->loop;

	if (c->phase != PHASE_ANSWERING || c->broken)
		return;
	if (!out_reserve(c, len)) {
		c->broken = true;
	} else {
		if (ctl_out_waiting(c) == 0)
			ev_timer_again(loop, &c->idle);
		memcpy(c->out + c->out_len, p, len);
		c->out_len += len;
	}
	ev_io_start(loop, &c->wr);
}

int ctl_out_send(struct ctl_client *c)
{
	while (ctl_out_waiting(c) > 0) {
		ssize_t n = send(c->fd, c->out + c->out_at, ctl_out_waiting(c),
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		c->out_at += (size_t)n;
		c->since = ev_now(c->ctl->loop);
		ev_timer_again(c->ctl->loop, &c->idle);
	}
	c->out_at = c->out_len = 0;
	c->progress_waits = false;
	return 0;
}

bool ctl_has_room(const struct ctl_client *c)
{
	return !c->broken && ctl_out_waiting(c) < CTL_BUFFER_MAX;
}

/* ---- Lines ---- */

void ctl_out_line(struct ctl_client *c, char tag, const char *text)
{
	char line[CTL_LINE_MAX];
	size_t n = strnlen(text, sizeof(line) - 3);

	line[0] = tag;
	line[1] = ' ';
	for (size_t i = 0; i < n; i++)
		line[2 + i] = (unsigned char)text[i] < 0x20 && text[i] != '\t' ? '?' : text[i];
	line[2 + n] = '\n';
	out_append(c, line, n + 3);
}

void ctl_put_num(struct ctl_client *c, const char *path, unsigned long long v)
{
	char text[CTL_LINE_MAX];

	(void)snprintf(text, sizeof(text), "n %s %llu", path,
		       v); /* paths are the daemon's own: they fit */
	ctl_out_line(c, 'v', text);
}

void ctl_put_str(struct ctl_client *c, const char *path, const char *v)
{
	char text[CTL_LINE_MAX];

	(void)snprintf(text, sizeof(text), "s %s %s", path, v); /* cut at the line's limit */
	ctl_out_line(c, 'v', text);
}

void ctl_put_bool(struct ctl_client *c, const char *path, bool v)
{
	char text[CTL_LINE_MAX];

	(void)snprintf(text, sizeof(text), "b %s %s", path, v ? "true" : "false");
	ctl_out_line(c, 'v', text);
}

void ctl_put_null(struct ctl_client *c, const char *path)
{
	char text[CTL_LINE_MAX];

	(void)snprintf(text, sizeof(text), "z %s", path);
	ctl_out_line(c, 'v', text);
}

void ctl_put_list(struct ctl_client *c, const char *path)
{
	char text[CTL_LINE_MAX];

	(void)snprintf(text, sizeof(text), "l %s", path);
	ctl_out_line(c, 'v', text);
}

void ctl_put_line(struct ctl_client *c, const char *text)
{
	ctl_out_line(c, 'l', text);
}

void ctl_put_progress(struct ctl_client *c, unsigned long long done, unsigned long long total)
{
	char text[64];

	/* One that waits unsent says the same: progress must not fill the buffer of a client that
	 * does not read. */
	if (c->progress_waits)
		return;
	(void)snprintf(text, sizeof(text), "%llu %llu", done, total);
	ctl_out_line(c, 'p', text);
	c->progress_waits = true;
}

void ctl_put_alive(struct ctl_client *c)
{
	if (ctl_out_waiting(c) == 0)
		ctl_out_line(c, 'k', "");
}

void ctl_put_err(struct ctl_client *c, const char *fmt, ...)
{
	char text[CTL_LINE_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ctl_out_line(c, 'e', text);
}
