/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The recording comes as lines of base 64 and becomes a file of mode 0600 that appears whole or not
 * at all, under a name that was free: it is gathered in memory, its sum is compared, it is written
 * beside the name, and link(2) gives it that. Written with the caller's rights, not the daemon's.
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
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "recording.h"

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

static int copy(int from, int to, uint64_t len)
{
	while (len) {
		ssize_t n = sendfile(to, from, NULL, len);

		if (n <= 0)
			return n ? -errno : -EIO;
		len -= (uint64_t)n;
	}
	return fsync(to) ? -errno : 0;
}

static int give_name(struct sink *s, const char *path)
{
	char tmp[PATH_MAX];
	int fd, err;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path) >= sizeof(tmp))
		return -ENAMETOOLONG;
	fd = mkstemp(tmp); /* mode 0600 */
	if (fd < 0)
		return -errno;
	err = copy(fileno(s->f), fd, s->len);
	if (!err && link(tmp, path))
		err = -errno;
	(void)close(fd); /* was synced, or is of no use */
	(void)unlink(tmp);
	return err;
}

static enum ctl_exit finish(struct sink *s, const char *path)
{
	sigset_t all, old;
	int err;

	if (!sink_whole(s))
		return failed(path, "the recording came damaged", EPROTO);
	if (fflush(s->f) || fseek(s->f, 0, SEEK_SET))
		return failed(path, "cannot be written", errno);
	(void)sigfillset(&all); /* no part of it stays */
	(void)sigprocmask(SIG_SETMASK, &all, &old);
	err = give_name(s, path);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	if (err)
		return failed(path, err == -EEXIST ? "not overwritten" : "cannot be written", -err);
	(void)printf("%s: %llu bytes; it holds flows and the hash keys of tables, but no sealing "
		     "key\n",
		     path, (unsigned long long)s->len);
	return CTL_EXIT_DONE;
}

enum ctl_exit record(struct cli *c, const char *path)
{
	struct sink s = { .sum = RECORDING_SUM_START };
	int fd = memfd_create("recording", MFD_CLOEXEC), ret;

	if (fd < 0)
		return failed(path, "no memory for it", errno);
	s.f = fdopen(fd, "w+b");
	ret = s.f ? sink_fill(&s, c) : -errno;
	if (ret < 0)
		ret = (int)failed(path, "the recording broke off", -ret);
	else if (ret == CTL_EXIT_DONE)
		ret = (int)finish(&s, path);
	if (s.f)
		(void)fclose(s.f);
	else
		(void)close(fd);
	return (enum ctl_exit)ret;
}
