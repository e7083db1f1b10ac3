/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Logging for operators. One line per message, to one of three places: the journal (stderr, lines
 * start with <level>), plain stderr (lines start with date and level) or syslog(3).
 *
 * A fault that repeats must not flood: every call site, told apart by the address of its format,
 * may write SITE_BURST lines in SITE_WINDOW_S seconds. What is held back is counted, and the count
 * is told by the first message of any site after the window and by log_free(). Debug lines are not
 * limited: who asks for them wants them all.
 *
 * A reader of stderr that has stopped must not stop the daemon: a line that would block is dropped
 * and counted like the others.
 */
#include "log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

#define SITES_MAX 64
#define SITE_BURST 20
#define SITE_WINDOW_S 10
#define LINE_MAX_LEN 1024

enum target { TARGET_STDERR, TARGET_JOURNAL, TARGET_SYSLOG };

struct site {
	const char *fmt; /* NULL = free */
	enum log_level level;
	time_t since; /* start of the window, monotonic seconds */
	unsigned int count, held;
	char last[96]; /* start of the last line held back */
};

struct log {
	enum target target;
	enum log_level level;
	struct site sites[SITES_MAX];
	unsigned int next_site;  /* the slot to take when all are in use */
	unsigned int held_sites; /* sites with held != 0 */
	unsigned long lost;      /* lines that stderr did not take */
};

static const struct {
	const char *name;
	enum log_level level;
} levels[] = {
	{ "err", LOG_LVL_ERR },
	{ "warn", LOG_LVL_WARN },
	{ "info", LOG_LVL_INFO },
	{ "debug", LOG_LVL_DEBUG },
};

/* Is stderr a stream of the journal? systemd puts its device and inode into JOURNAL_STREAM
 * (sd-journal(3)). */
static bool stderr_is_journal(void)
{
	const char *env = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	if (!env || sscanf(env, "%llu:%llu", &dev, &ino) != 2 || fstat(STDERR_FILENO, &st))
		return false;
	return (unsigned long long)st.st_dev == dev && (unsigned long long)st.st_ino == ino;
}

struct log *log_new(const char *target, enum log_level level)
{
	struct log *log = calloc(1, sizeof(*log));

	if (!log)
		return NULL;
	log->level = level;
	log->target = TARGET_STDERR;
	if (!strcmp(target, "syslog"))
		log->target = TARGET_SYSLOG;
	else if (!strcmp(target, "auto") && stderr_is_journal())
		log->target = TARGET_JOURNAL;
	if (log->target == TARGET_SYSLOG)
		openlog("ctsyncd", LOG_PID | LOG_NDELAY, LOG_DAEMON);
	return log;
}

void log_set_level(struct log *log, enum log_level level)
{
	log->level = level;
}

int log_level_parse(const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
		if (!strcmp(levels[i].name, word))
			return levels[i].level;
	}
	return -EINVAL;
}

const char *log_level_name(enum log_level level)
{
	for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
		if (levels[i].level == level)
			return levels[i].name;
	}
	return "?";
}

/* Text from outside (a peer's name, a path) must not forge lines or drive a terminal. */
static void make_printable(char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			*s = '?';
	}
}

static void put_stderr(struct log *log, enum log_level level, const char *text)
{
	char head[64];
	struct timespec ts = { 0 };
	struct tm tm;
	struct pollfd pfd = { .fd = STDERR_FILENO, .events = POLLOUT };

	if (log->target == TARGET_JOURNAL) {
		(void)snprintf(head, sizeof(head), "<%d>", (int)level);
	} else {
		char date[32] = "";

		if (!clock_gettime(CLOCK_REALTIME, &ts) && localtime_r(&ts.tv_sec, &tm))
			(void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
		(void)snprintf(head, sizeof(head), "%s.%03ld %s ", date, ts.tv_nsec / 1000000,
			       log_level_name(level));
	}
	struct iovec iov[] = {
		{ .iov_base = head, .iov_len = strlen(head) },
		{ .iov_base = (char *)(uintptr_t)text, .iov_len = strlen(text) },
		{ .iov_base = (char *)(uintptr_t) "\n", .iov_len = 1 },
	};

	if (poll(&pfd, 1, 0) != 1 || !(pfd.revents & POLLOUT) ||
	    writev(STDERR_FILENO, iov, ARRAY_LEN(iov)) < 0)
		log->lost++;
}

static void put(struct log *log, enum log_level level, const char *text)
{
	if (log->target == TARGET_SYSLOG)
		syslog((int)level, "%s", text);
	else
		put_stderr(log, level, text);
}

static void tell_held(struct log *log, struct site *s)
{
	char text[192];

	if (!s->held)
		return;
	(void)snprintf(text, sizeof(text), "log: %u lines held back in %d s, the last: %s", s->held,
		       SITE_WINDOW_S, s->last);
	put(log, s->level, text);
	s->held = 0;
	log->held_sites--;
}

static void tell_lost(struct log *log)
{
	char text[96];
	unsigned long lost = log->lost;

	if (!lost)
		return;
	log->lost = 0;
	(void)snprintf(text, sizeof(text), "log: %lu lines lost, nobody read them", lost);
	put(log, LOG_LVL_WARN, text);
	if (log->lost) /* still nobody reads: this line was lost too, count the others on */
		log->lost = lost;
}

/* The site of fmt; a new one starts its window now. */
static struct site *site_of(struct log *log, const char *fmt, enum log_level level, time_t now)
{
	struct site *s = NULL;

	for (size_t i = 0; i < SITES_MAX; i++) {
		if (log->sites[i].fmt == fmt)
			return &log->sites[i];
		if (!s && !log->sites[i].fmt)
			s = &log->sites[i];
	}
	if (!s) {
		s = &log->sites[log->next_site++ % SITES_MAX];
		tell_held(log, s);
	}
	*s = (struct site){ .fmt = fmt, .level = level, .since = now };
	return s;
}

/* Tells of sites whose window is over. */
static void sweep(struct log *log, time_t now)
{
	for (size_t i = 0; i < SITES_MAX && log->held_sites; i++) {
		if (log->sites[i].held && now - log->sites[i].since >= SITE_WINDOW_S)
			tell_held(log, &log->sites[i]);
	}
}

/* May this site write now? If not, the line is counted. */
static bool site_take(struct log *log, struct site *s, const char *text, time_t now)
{
	if (now - s->since >= SITE_WINDOW_S) {
		s->since = now;
		s->count = 0;
	}
	if (s->count < SITE_BURST) {
		s->count++;
		return true;
	}
	if (!s->held++)
		log->held_sites++;
	(void)snprintf(s->last, sizeof(s->last), "%.*s", (int)sizeof(s->last) - 1, text);
	return false;
}

void log_msg(struct log *log, enum log_level level, const char *fmt, ...)
{
	char text[LINE_MAX_LEN];
	struct timespec ts = { 0 };
	va_list ap;

	if (level > log->level)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	make_printable(text);
	tell_lost(log);
	if (level < LOG_LVL_DEBUG) {
		(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
		sweep(log, ts.tv_sec);
		if (!site_take(log, site_of(log, fmt, level, ts.tv_sec), text, ts.tv_sec))
			return;
	}
	put(log, level, text);
}

void log_free(struct log *log)
{
	if (!log)
		return;
	for (size_t i = 0; i < SITES_MAX; i++)
		tell_held(log, &log->sites[i]);
	tell_lost(log);
	if (log->target == TARGET_SYSLOG)
		closelog();
	free(log);
}
