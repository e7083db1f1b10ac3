/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The recording comes as lines of base 64 and becomes a file of mode 0600 that appears whole or not
 * at all, under a name that was free: it is written beside it, its sum is compared, and link(2)
 * gives it the name. Written with the caller's rights, not the daemon's.
 */
#include "record.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "recording.h"
#include "util.h"

struct sink {
	FILE *f;
	uint64_t len, sum;                          /* of what was written, but for the end */
	uint8_t held[sizeof(struct recording_end)]; /* the last bytes: they may be the end */
	size_t held_len;
};

static enum ctl_exit failed(const char *path, const char *what, int err)
{
	(void)fprintf(stderr, "ctsync: %s: %s: %s\n", path, what, strerror(err));
	return CTL_EXIT_FAILED;
}

enum ctl_exit record_check(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 ? failed(path, "not overwritten", EEXIST) : CTL_EXIT_DONE;
}

/* All but the last bytes go into the sum. */
static void sink_sum(struct sink *s, const uint8_t *p, size_t len)
{
	uint8_t both[sizeof(s->held) + CTL_LINE_MAX];
	size_t n = s->held_len + len, keep = n < sizeof(s->held) ? n : sizeof(s->held);

	memcpy(both, s->held, s->held_len);
	memcpy(both + s->held_len, p, len);
	s->sum = recording_sum(s->sum, both, n - keep);
	memcpy(s->held, both + n - keep, keep);
	s->held_len = keep;
}

/* One line. Returns 0, -EPROTO, or -errno of writing. */
static int sink_line(struct sink *s, const char *text)
{
	uint8_t buf[CTL_LINE_MAX];
	size_t n;

	if (sodium_base642bin(buf, sizeof(buf), text, strlen(text), NULL, &n, NULL,
			      sodium_base64_VARIANT_ORIGINAL) ||
	    n % 8)
		return -EPROTO;
	sink_sum(s, buf, n);
	s->len += n;
	return fwrite(buf, 1, n, s->f) == n ? 0 : -errno;
}

static bool sink_whole(const struct sink *s)
{
	struct recording_end end;

	if (s->held_len != sizeof(end))
		return false;
	memcpy(&end, s->held, sizeof(end));
	return !memcmp(end.magic, RECORDING_END, sizeof(end.magic)) && end.sum == s->sum;
}

/* Reads the whole answer. Returns the daemon's exit status, or -errno. */
static int sink_fill(struct sink *s, struct cli *c)
{
	char *line;
	int ret;

	while ((ret = cli_line(c, &line)) > 0) {
		if (line[0] == '\0' || line[1] != ' ')
			return -EPROTO;
		if (line[0] == 'e')
			(void)fprintf(stderr, "ctsync: %s\n", line + 2);
		if (line[0] == '.')
			return line[2] >= '0' && line[2] <= '2' ? line[2] - '0' : -EPROTO;
		ret = line[0] == 'l' ? sink_line(s, line + 2) : 0;
		if (ret)
			return ret;
	}
	return ret ? ret : -ECONNRESET;
}

static char tmp[PATH_MAX]; /* the file before it has its name */

static enum ctl_exit finish(struct sink *s, const char *path)
{
	if (!sink_whole(s))
		return failed(path, "the recording came damaged", EPROTO);
	if (fflush(s->f) || fsync(fileno(s->f)))
		return failed(path, "cannot be written", errno);
	if (link(tmp, path))
		return failed(path, errno == EEXIST ? "not overwritten" : "cannot get its name",
			      errno);
	(void)printf("%s: %llu bytes; it holds flows and the hash keys of tables, but no sealing "
		     "key\n",
		     path, (unsigned long long)s->len);
	return CTL_EXIT_DONE;
}

/* What came so far is of no use. */
static void leave(int sig)
{
	(void)unlink(tmp);
	(void)signal(sig, SIG_DFL);
	(void)raise(sig);
}

enum ctl_exit record(struct cli *c, const char *path)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE };
	struct sink s = { .sum = RECORDING_SUM_START };
	int fd, ret;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path) >= sizeof(tmp))
		return failed(path, "cannot be made", ENAMETOOLONG);
	fd = mkstemp(tmp); /* mode 0600 */
	if (fd < 0)
		return failed(path, "cannot make a file beside it", errno);
	for (unsigned int i = 0; i < ARRAY_LEN(ends); i++)
		if (signal(ends[i], leave) == SIG_IGN)
			(void)signal(ends[i], SIG_IGN); /* nohup */
	s.f = fdopen(fd, "wb");
	ret = s.f ? sink_fill(&s, c) : -errno;
	if (ret < 0)
		ret = (int)failed(path, "the recording broke off", -ret);
	else if (ret == CTL_EXIT_DONE)
		ret = (int)finish(&s, path);
	if (s.f)
		(void)fclose(s.f); /* was synced, or is of no use */
	else
		(void)close(fd);
	(void)unlink(tmp);
	return (enum ctl_exit)ret;
}
