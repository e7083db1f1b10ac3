/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the control socket share: a server in a loop of its own, its owner, and clients
 * on real sockets. */
#ifndef CTSYNCD_TEST_CTL_BED_H
#define CTSYNCD_TEST_CTL_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../daemon/ctl.h"

#define IDLE_MS 300
#define DEADLINE_S 20.0
#define STREAM_LINE 200

struct bed { /* the server and what its owner sees */
	struct ev_loop *loop;
	struct ctl *ctl;
	struct log *log;
	char dir[64], path[96];
	ev_timer tick;
	unsigned int gone, requests;
	size_t stream_lines, queued_max;
	struct ctl_client *waiting[CTL_CLIENTS_MAX];
	unsigned int waiting_count;
};

struct stream {
	size_t at, count;
};

/* ---- The owner of the server ---- */

static inline void op_request(void *arg, struct ctl_client *c, int argc, char **argv)
{
	struct bed *bed = arg;
	struct stream *s;

	(void)argc;
	bed->requests++;
	if (strcmp(argv[0], "status") == 0) {
		ctl_put_str(c, "node", "fw1");
		ctl_put_num(c, "flows.local", 7);
		ctl_put_bool(c, "ready", true);
		ctl_put_str(c, "reason", "two\nlines");
		ctl_end(c, CTL_EXIT_DONE);
	} else if (strcmp(argv[0], "flows") == 0) {
		s = calloc(1, sizeof(*s));
		assert_non_null(s);
		s->count = bed->stream_lines;
		ctl_stream_set(c, s);
	} else if (strcmp(argv[0], "promote") == 0) {
		bed->waiting[bed->waiting_count++] = c;
	} else if (strcmp(argv[0], "resync") == 0) {
		ctl_put_line(c, "done");
		ctl_end(c, CTL_EXIT_DONE);
	} else { /* too much for one answer */
		for (int i = 0; i < 10000; i++)
			ctl_put_line(c,
				     "a line of some length that says nothing, ten thousand times");
		ctl_end(c, CTL_EXIT_DONE);
	}
}

static inline void op_more(void *arg, struct ctl_client *c)
{
	struct bed *bed = arg;
	struct stream *s = ctl_stream_get(c);
	char line[STREAM_LINE];
	size_t put = 0;

	while (s->at < s->count && ctl_has_room(c)) {
		(void)snprintf(line, sizeof(line), "%0*zu", STREAM_LINE - 1, s->at++);
		ctl_put_line(c, line);
		put += STREAM_LINE + 2;
	}
	if (put > bed->queued_max)
		bed->queued_max = put;
	if (s->at == s->count) {
		free(s);
		ctl_end(c, CTL_EXIT_DONE);
	}
}

static inline void op_gone(void *arg, struct ctl_client *c)
{
	struct bed *bed = arg;

	bed->gone++;
	for (unsigned int i = 0; i < bed->waiting_count; i++)
		if (bed->waiting[i] == c) {
			bed->waiting[i] = bed->waiting[--bed->waiting_count];
			return;
		}
	free(ctl_stream_get(c));
}

static const struct ctl_ops ops = { .request = op_request, .more = op_more, .gone = op_gone };

/* ---- The bed ---- */

static inline void on_tick(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)w;
	(void)revents;
}

static inline int bed_open(struct bed *bed, const char *group, bool read_all)
{
	struct ctl_conf conf = {
		.path = bed->path, .group = group, .read_all = read_all, .idle_ms = IDLE_MS
	};

	return ctl_open(&bed->ctl, &conf, &ops, bed, bed->loop, bed->log);
}

static inline int setup(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));

	assert_non_null(bed);
	(void)snprintf(bed->dir, sizeof(bed->dir), "/tmp/test_ctl.XXXXXX");
	assert_non_null(mkdtemp(bed->dir));
	assert_return_code(chmod(bed->dir, 0755), errno);
	(void)snprintf(bed->path, sizeof(bed->path), "%s/sock", bed->dir);
	bed->log = log_new("stderr", LOG_LVL_ERR);
	bed->loop = ev_loop_new(EVFLAG_AUTO);
	assert_non_null(bed->loop);
	ev_timer_init(&bed->tick, on_tick, 0.002, 0.002);
	ev_timer_start(bed->loop, &bed->tick);
	assert_int_equal(bed_open(bed, "", true), 0);
	*state = bed;
	return 0;
}

static inline int teardown(void **state)
{
	struct bed *bed = *state;

	ctl_close(bed->ctl);
	assert_int_equal(access(bed->path, F_OK), -1);
	ev_timer_stop(bed->loop, &bed->tick);
	ev_loop_destroy(bed->loop);
	log_free(bed->log);
	assert_return_code(rmdir(bed->dir), errno);
	free(bed);
	return 0;
}

static inline void reopen(struct bed *bed, const char *group, bool read_all)
{
	ctl_close(bed->ctl);
	assert_int_equal(bed_open(bed, group, read_all), 0);
}

static inline int dial(const struct bed *bed)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_return_code(fd, errno);
	memcpy(sun.sun_path, bed->path, strlen(bed->path));
	if (connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

static inline int ask(const struct bed *bed, const char *text)
{
	int fd = dial(bed);

	assert_return_code(fd, errno);
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	return fd;
}

/* Reads until the server closes, into a string that the caller frees; turns the loop meanwhile. */
static inline char *collect(struct bed *bed, int fd, size_t *len_out)
{
	double end = ev_time() + DEADLINE_S;
	size_t len = 0, size = 4096;
	char *buf = malloc(size);

	assert_non_null(buf);
	for (;;) {
		ssize_t n = recv(fd, buf + len, size - len - 1, 0);

		if (n == 0 || (n < 0 && errno == ECONNRESET))
			break;
		if (n > 0) {
			len += (size_t)n;
			if (size - len < 2048) {
				size *= 2;
				buf = realloc(buf, size);
				assert_non_null(buf);
			}
			continue;
		}
		assert_int_equal(errno, EAGAIN);
		assert_true(ev_time() < end);
		ev_run(bed->loop, EVRUN_ONCE);
	}
	(void)close(fd);
	buf[len] = '\0';
	if (len_out)
		*len_out = len;
	return buf;
}

static inline void expect_reply(struct bed *bed, int fd, const char *want)
{
	char *got = collect(bed, fd, NULL);

	assert_string_equal(got, want);
	free(got);
}

static inline struct ctl_stats stats_of(const struct bed *bed)
{
	struct ctl_stats s;

	ctl_stats(bed->ctl, &s);
	return s;
}

#define spin_until(bed, condition)                                                                 \
	do {                                                                                       \
		double end_ = ev_time() + DEADLINE_S;                                              \
		while (!(condition)) {                                                             \
			assert_true(ev_time() < end_);                                             \
			ev_run((bed)->loop, EVRUN_ONCE);                                           \
		}                                                                                  \
	} while (0)

#define STATUS_REPLY "v s node fw1\nv n flows.local 7\nv b ready true\nv s reason two?lines\n. 0\n"

#endif
