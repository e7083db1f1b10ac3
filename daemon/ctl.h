/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket's server: many clients, non-blocking, bounded, timed; a silent or slow client
 * hurts nobody. include/ctl.h is the contract. What a verb means is the owner's business: the
 * server parses the line, checks credentials and calls back.
 */
#ifndef CTSYNCD_DAEMON_CTL_H
#define CTSYNCD_DAEMON_CTL_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "../include/ctl.h"
#include "log.h"
#include "util.h"

#define CTL_CLIENTS_MAX 128
/* Of these, clients that may not change anything: root always finds a place. */
#define CTL_READERS_MAX 96
/* A client that does not send its line, or does not read, is closed after this. */
#define CTL_IDLE_MS 10000
/* Reply bytes waiting for a client. A stream pauses above the first; above the second the client is
 * dropped: an answer that does not stream must fit. */
#define CTL_BUFFER_MAX 65536
#define CTL_REPLY_MAX 262144

struct ctl;
struct ctl_client;

/* What the daemon provides. argv[0] is the verb. */
struct ctl_ops {
	/* A checked request. Answer now or later by the ctl_put_* calls, and end with ctl_end. */
	void (*request)(void *arg, struct ctl_client *c, int argc, char **argv);
	/* Called while a client has room and ctl_stream_set was called: put more, or ctl_end. */
	void (*more)(void *arg, struct ctl_client *c);
	/* The client went before ctl_end was called (never after it); forget it and what
	 * ctl_stream_get gives. */
	void (*gone)(void *arg, struct ctl_client *c);
};

struct ctl_conf {
	const char *path;
	const char *group; /* may be empty */
	bool read_all;
	unsigned int idle_ms; /* 0 = CTL_IDLE_MS; tests shorten it. Fixed at ctl_open */
};

/* Binds the socket (replaces a stale one; the daemon's lock says that no other runs). Returns 0 or
 * -errno. */
int ctl_open(struct ctl **ctl, const struct ctl_conf *conf, const struct ctl_ops *ops, void *arg,
	     struct ev_loop *loop, struct log *log);
/* Flushes what it can without blocking, unlinks the path. Not from inside an op. */
void ctl_close(struct ctl *ctl);

/* Changes who may do what. */
int ctl_reconf(struct ctl *ctl, const struct ctl_conf *conf);

void ctl_put_num(struct ctl_client *c, const char *path, unsigned long long v);
void ctl_put_str(struct ctl_client *c, const char *path, const char *v);
void ctl_put_bool(struct ctl_client *c, const char *path, bool v);
void ctl_put_null(struct ctl_client *c, const char *path); /* a value that is not known */
void ctl_put_list(struct ctl_client *c, const char *path); /* a list without items */
void ctl_put_line(struct ctl_client *c, const char *text);
void ctl_put_progress(struct ctl_client *c, unsigned long long done, unsigned long long total);
/* Nothing to say, but alive; only if nothing waits to be sent anyway. */
void ctl_put_alive(struct ctl_client *c);
void ctl_put_err(struct ctl_client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void ctl_end(struct ctl_client *c, enum ctl_exit status);
/* Go on with ops->more; state is the owner's. */
void ctl_stream_set(struct ctl_client *c, void *state);
void *ctl_stream_get(const struct ctl_client *c);
bool ctl_has_room(const struct ctl_client *c);
/* The peer's uid and pid, for the log. */
void ctl_who(const struct ctl_client *c, uid_t *uid, pid_t *pid);

struct ctl_stats {
	unsigned int clients;
	/* refused: no place; evicted: made place for another; dropped: did not take its answer
	 * (gone, or CTL_REPLY_MAX) */
	unsigned long long accepted, refused, timeouts, requests, denied, evicted, dropped;
};
void ctl_stats(const struct ctl *ctl, struct ctl_stats *s);

#endif
