/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket's server. include/ctl.h is the contract with the CLI, ctl.h the one with the
 * daemon; what a client is told is ctl_out.c's.
 *
 * It owns the listening socket and every client: one request per connection, then lines until the
 * closing line. Nothing here blocks and nothing grows without a limit, because conntrackd showed
 * what happens otherwise: there a client that connects and says nothing stops replication.
 *
 * A client is in one of three phases:
 *
 * - READING: it has not sent its line yet. The idle timer runs from accept and is not prolonged by
 *   single bytes.
 * - ANSWERING: the owner puts lines, now or later. The idle timer runs only while the client does
 *   not take what it could have, waiting output or a stream: a client that waits for a promote to
 *   end is not idle.
 * - ENDED: the closing line is queued; the client is freed when it is sent, or by the timer.
 *
 * Clients are freed only by this file's own event handlers, never inside ctl_put_* or ctl_end, so
 * that the owner may go on with a pointer until it returns. A put that cannot be kept marks the
 * client broken; the next event drops it.
 *
 * Places are limited (CTL_CLIENTS_MAX) and a part of them is kept for those who may change
 * something, so that a user who may only read cannot keep an operator from promoting. Who comes to
 * a full house displaces the longest idle.
 */
#include "ctl.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "ctl_priv.h"
#include "words.h"

#define CTL_BACKLOG 128
#define CTL_ACCEPT_BUDGET 16 /* connections taken in one turn of the loop */
#define CTL_RETRY_S 1.0      /* after accept ran out of descriptors or memory */
/* Output waiting for so long makes a client one that may be displaced. */
#define CTL_STALLED_S 1.0

/* Not the loop's time, which is the wall clock's: that may be set back. */
static double monotonic_s(void)
{
	struct timespec t = { 0 };

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- A client's end ---- */

static void client_free(struct ctl_client *c)
{
	struct ctl *ctl = c->ctl;

	ev_io_stop(ctl->loop, &c->rd);
	ev_io_stop(ctl->loop, &c->wr);
	ev_timer_stop(ctl->loop, &c->idle);
	(void)close(
		c->fd); /* nothing is left to be lost: what was not sent, the client did not want */
	for (unsigned int i = 0; i < ctl->count; i++)
		if (ctl->clients[i] == c) {
			ctl->clients[i] = ctl->clients[--ctl->count];
			break;
		}
	if (!c->who.may_change)
		ctl->readers--;
	free(c->out);
	free(c);
}

/* The client leaves before its answer is complete. */
static void client_drop(struct ctl_client *c)
{
	if (c->phase == PHASE_ANSWERING)
		c->ctl->ops->gone(c->ctl->arg, c);
	client_free(c);
}

/* A word of farewell outside the buffer, if the socket takes it at once. */
static void say(int fd, const char *text)
{
	char line[CTL_LINE_MAX];
	int n = snprintf(line, sizeof(line), "e %s\n. %d\n", text, CTL_EXIT_FAILED);

	(void)send(fd, line, (size_t)n,
		   MSG_NOSIGNAL | MSG_DONTWAIT); /* it is being closed: best effort */
}

/* ---- Output ---- */

/* Sends, then decides what the client waits for; may free it. */
static void client_pump(struct ctl_client *c)
{
	struct ctl *ctl = c->ctl;

	if (c->broken || ctl_out_send(c) < 0) {
		ctl->stats.dropped++;
		client_drop(c);
		return;
	}
	if (ctl_out_waiting(c) > 0) {
		ev_io_start(ctl->loop, &c->wr);
		return;
	}
	if (c->phase == PHASE_ENDED) {
		client_free(c);
		return;
	}
	if (c->streaming) { /* the socket may be full although the buffer is empty: the timer runs
			       on */
		ev_io_start(ctl->loop, &c->wr);
		return;
	}
	ev_timer_stop(ctl->loop, &c->idle);
	ev_io_stop(ctl->loop, &c->wr);
}

static void on_writable(struct ev_loop *loop, ev_io *w, int revents)
{
	struct ctl_client *c = w->data;

	(void)revents;
	if (c->streaming && ctl_has_room(c)) {
		c->since = monotonic_s();
		ev_timer_again(loop, &c->idle);
		c->ctl->ops->more(c->ctl->arg, c);
	}
	client_pump(c);
}

void ctl_end(struct ctl_client *c, enum ctl_exit status)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", (int)status);
	ctl_out_line(c, '.', text);
	c->streaming = false;
	c->phase = PHASE_ENDED;
}

void ctl_stream_set(struct ctl_client *c, void *state)
{
	c->stream = state;
	c->streaming = true;
	ev_timer_again(c->ctl->loop, &c->idle);
	ev_io_start(c->ctl->loop, &c->wr);
}

void *ctl_stream_get(const struct ctl_client *c)
{
	return c->stream;
}

void ctl_who(const struct ctl_client *c, uid_t *uid, pid_t *pid)
{
	*uid = c->who.uid;
	*pid = c->who.pid;
}

/* ---- Input ---- */

/* Checks the client's rights; answers and returns false if it lacks them. */
static bool check_rights(struct ctl_client *c, const struct words_verb *verb)
{
	char allowed[128];

	if (verb->changes ? c->who.may_change : c->who.may_read)
		return true;
	c->ctl->stats.denied++;
	ctl_rights_text(&c->ctl->rights, allowed, sizeof(allowed));
	if (verb->changes)
		ctl_put_err(c, "%s: uid %u may not change anything: %s", verb->name,
			    (unsigned int)c->who.uid, allowed);
	else
		ctl_put_err(c, "%s: uid %u may not read (control.read_all is off): %s", verb->name,
			    (unsigned int)c->who.uid, allowed);
	ctl_end(c, CTL_EXIT_FAILED);
	return false;
}

static void usage_end(struct ctl_client *c, const char *text)
{
	ctl_put_err(c, "%s", text);
	ctl_end(c, CTL_EXIT_USAGE);
}

/* The whole line is here: parse, check, and hand it to the daemon. */
static void client_request(struct ctl_client *c)
{
	struct ctl *ctl = c->ctl;
	char *argv[WORDS_MAX + 1];
	const struct words_verb *verb;
	char err[CTL_LINE_MAX - 8];
	int argc;

	ev_timer_stop(ctl->loop, &c->idle);
	c->since = monotonic_s();
	c->phase = PHASE_ANSWERING;
	ctl->stats.requests++;
	argc = words_split(c->line, argv, WORDS_MAX);
	if (argc < 0) {
		usage_end(c, "the request is not a line of words separated by single spaces");
		return;
	}
	argv[argc] = NULL;
	verb = words_find(argv[0]);
	if (!verb) {
		(void)snprintf(err, sizeof(err),
			       "unknown verb '%.64s': this daemon does not know it", argv[0]);
		usage_end(c, err);
		return;
	}
	if (words_check(verb, argc, argv, err, sizeof(err)) < 0) {
		usage_end(c, err);
		return;
	}
	if (!check_rights(c, verb))
		return;
	ctl->ops->request(ctl->arg, c, argc, argv);
}

/* Bytes behind the request, or the other end closed. May free the client. */
static void read_behind(struct ctl_client *c)
{
	struct pollfd p = { .fd = c->fd };
	char buf[64];
	ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == 0 && poll(&p, 1, 0) == 0) {
		/* It closed its sending half alone and still wants its answer; a write will tell
		 * when it goes. */
		ev_io_stop(c->ctl->loop, &c->rd);
		return;
	}
	if (n > 0)
		say(c->fd, "one request per connection");
	c->ctl->stats.dropped++;
	client_drop(c);
}

/* Reads on towards the request's newline. May free the client. */
static void read_request(struct ctl_client *c)
{
	size_t room = CTL_REQUEST_MAX - c->line_len;
	ssize_t n = recv(c->fd, c->line + c->line_len, room, MSG_DONTWAIT);
	char *newline;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_drop(c);
		return;
	}
	newline = memchr(c->line + c->line_len, '\n', (size_t)n);
	c->line_len += (size_t)n;
	if (!newline && c->line_len < CTL_REQUEST_MAX)
		return;
	if (newline && newline == c->line + c->line_len - 1 &&
	    !memchr(c->line, '\0', c->line_len)) {
		*newline = '\0';
		client_request(c);
	} else {
		c->phase = PHASE_ANSWERING;
		usage_end(c, newline ? "one request per connection, and plain text"
				     : "the request is too long");
	}
	client_pump(c);
}

static void on_readable(struct ev_loop *loop, ev_io *w, int revents)
{
	struct ctl_client *c = w->data;

	(void)loop;
	(void)revents;
	if (c->phase == PHASE_READING)
		read_request(c);
	else
		read_behind(c);
}

static void on_idle(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct ctl_client *c = w->data;

	(void)loop;
	(void)revents;
	c->ctl->stats.timeouts++;
	if (c->phase == PHASE_READING)
		say(c->fd, "no request came in time");
	client_drop(c);
}

/* ---- New clients ---- */

/* May c be displaced: has it said nothing, or not taken its answer for a while? */
static bool is_idle(const struct ctl_client *c)
{
	if (c->phase == PHASE_READING)
		return true;
	return (c->streaming || ctl_out_waiting(c) > 0) &&
	       monotonic_s() - c->since >= CTL_STALLED_S;
}

/* Whom to displace: the longest idle, readers first; readers alone if only they may go. NULL if
 * nobody is idle. */
static struct ctl_client *find_victim(const struct ctl *ctl, bool readers_only)
{
	struct ctl_client *best = NULL;

	for (unsigned int i = 0; i < ctl->count; i++) {
		struct ctl_client *c = ctl->clients[i];

		if ((readers_only && c->who.may_change) || !is_idle(c))
			continue;
		if (!best || c->who.may_change < best->who.may_change ||
		    (c->who.may_change == best->who.may_change && c->since < best->since))
			best = c;
	}
	return best;
}

/* Makes a place for a new client. Returns false when everybody is busy. */
static bool make_place(struct ctl *ctl, bool may_change)
{
	bool full = ctl->count == CTL_CLIENTS_MAX;
	struct ctl_client *victim;

	if (!full && (may_change || ctl->readers < CTL_READERS_MAX))
		return true;
	victim = find_victim(ctl, !may_change);
	if (!victim)
		return false;
	say(victim->fd, "too many clients: the longest idle one goes");
	ctl->stats.evicted++;
	client_drop(victim);
	return true;
}

static void client_new(struct ctl *ctl, int fd)
{
	struct ctl_client *c = calloc(1, sizeof(*c));

	if (!c) {
		ctl->stats.refused++;
		(void)close(fd); /* never used */
		return;
	}
	c->ctl = ctl;
	c->fd = fd;
	ctl_rights_peer(&ctl->rights, fd, &c->who);
	if (!make_place(ctl, c->who.may_change)) {
		ctl->stats.refused++;
		say(fd, "too many clients, all of them busy: try again");
		(void)close(fd);
		free(c);
		return;
	}
	ctl->stats.accepted++;
	ctl->clients[ctl->count++] = c;
	ctl->readers += !c->who.may_change;
	c->since = monotonic_s();
	ev_io_init(&c->rd, on_readable, fd, EV_READ);
	ev_io_init(&c->wr, on_writable, fd, EV_WRITE);
	ev_timer_init(&c->idle, on_idle, 0., ctl->idle_s);
	c->rd.data = c->wr.data = c->idle.data = c;
	ev_timer_again(ctl->loop, &c->idle);
	ev_io_start(ctl->loop, &c->rd);
	read_request(c); /* mostly the line is there already */
}

static void on_connect(struct ev_loop *loop, ev_io *w, int revents)
{
	struct ctl *ctl = w->data;

	(void)revents;
	for (unsigned int i = 0; i < CTL_ACCEPT_BUDGET; i++) {
		int fd = accept4(ctl->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			client_new(ctl, fd);
			continue;
		}
		if (errno == EAGAIN)
			return;
		if (errno == ECONNABORTED || errno == EINTR)
			continue;
		/* Out of descriptors or memory: the socket stays readable, so look again later
		 * instead of spinning. */
		ctl->stats.refused++;
		log_warn(ctl->log, "control socket: accept: %s", strerror(errno));
		ev_io_stop(loop, &ctl->acc);
		ev_timer_again(loop, &ctl->retry);
		return;
	}
}

static void on_retry(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct ctl *ctl = w->data;

	(void)revents;
	ev_timer_stop(loop, w);
	ev_io_start(loop, &ctl->acc);
}

/* ---- The socket ---- */

/* Binds path; a socket that an earlier run left there is replaced, anything else is not touched. */
static int bind_path(struct ctl *ctl)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct stat st;

	memcpy(sun.sun_path, ctl->path, sizeof(sun.sun_path));
	if (lstat(ctl->path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			return -EEXIST;
		if (unlink(ctl->path) < 0)
			return -errno;
	}
	ctl->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (ctl->fd < 0)
		return -errno;
	if (bind(ctl->fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0)
		return -errno;
	if (ctl_rights_mode(&ctl->rights, ctl->path) < 0 || listen(ctl->fd, CTL_BACKLOG) < 0) {
		int err = -errno;

		(void)unlink(ctl->path); /* ours, and of no use */
		return err;
	}
	return 0;
}

int ctl_open(struct ctl **out, const struct ctl_conf *conf, const struct ctl_ops *ops, void *arg,
	     struct ev_loop *loop, struct log *log)
{
	struct ctl *ctl;
	int err;

	if (conf->path[0] == '\0' || strlen(conf->path) >= sizeof(ctl->path))
		return -ENAMETOOLONG;
	ctl = calloc(1, sizeof(*ctl));
	if (!ctl)
		return -ENOMEM;
	ctl->loop = loop;
	ctl->log = log;
	ctl->ops = ops;
	ctl->arg = arg;
	ctl->fd = -1;
	ctl->idle_s = (conf->idle_ms ? conf->idle_ms : CTL_IDLE_MS) / 1000.;
	memcpy(ctl->path, conf->path, strlen(conf->path));
	ctl_rights_set(&ctl->rights, conf->group, conf->read_all, log);
	err = bind_path(ctl);
	if (err < 0) {
		if (ctl->fd >= 0)
			(void)close(ctl->fd); /* never used */
		free(ctl);
		return err;
	}
	ev_io_init(&ctl->acc, on_connect, ctl->fd, EV_READ);
	ev_timer_init(&ctl->retry, on_retry, 0., CTL_RETRY_S);
	ctl->acc.data = ctl->retry.data = ctl;
	ev_io_start(loop, &ctl->acc);
	*out = ctl;
	return 0;
}

void ctl_close(struct ctl *ctl)
{
	if (!ctl)
		return;
	ev_io_stop(ctl->loop, &ctl->acc);
	ev_timer_stop(ctl->loop, &ctl->retry);
	while (ctl->count > 0) {
		struct ctl_client *c = ctl->clients[ctl->count - 1];

		if (!c->broken && ctl_out_send(c) == 0 && ctl_out_waiting(c) == 0 &&
		    c->phase != PHASE_ENDED)
			say(c->fd, "the daemon stops");
		client_drop(c);
	}
	(void)close(ctl->fd);    /* a listening socket has nothing to lose */
	(void)unlink(ctl->path); /* gone already is as good */
	free(ctl);
}

int ctl_reconf(struct ctl *ctl, const struct ctl_conf *conf)
{
	ctl_rights_set(&ctl->rights, conf->group, conf->read_all, ctl->log);
	return ctl_rights_mode(&ctl->rights, ctl->path);
}

void ctl_stats(const struct ctl *ctl, struct ctl_stats *s)
{
	*s = ctl->stats;
	s->clients = ctl->count;
}
