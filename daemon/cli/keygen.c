/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A key file appears whole or not at all: the key is written beside it, under another name and for
 * nobody but its owner, gets its group and mode, reaches the disk, and only then the name; link(2)
 * fails if that is taken. So a key in use is never lost, and the daemon never reads half a key or
 * one that others could have opened meanwhile.
 */
#include "keygen.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_LEN 32

static enum ctl_exit failed(const char *path, const char *what, int err)
{
	(void)fprintf(stderr, "ctsync: %s: %s: %s\n", path, what, strerror(-err));
	return CTL_EXIT_FAILED;
}

/* Writes a fresh key. Returns 0 or -errno. */
static int write_key(int fd)
{
	uint8_t key[KEY_LEN];
	ssize_t n;
	int err = 0;

	do
		n = getrandom(key, sizeof(key), 0);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof(key))
		n = write(fd, key, sizeof(key)); /* a regular file takes it at once or is full */
	if (n != (ssize_t)sizeof(key))
		err = n < 0 ? -errno : -ENOSPC;
	explicit_bzero(key, sizeof(key));
	return err;
}

/* Lets the daemon's group read, where there is one and we may give to it. Returns whether it can.
 */
static bool give_to_group(int fd)
{
	const struct group *g = getgrnam(KEYGEN_GROUP);

	return g && fchown(fd, (uid_t)-1, g->gr_gid) == 0 && fchmod(fd, 0640) == 0;
}

/* The name outlives a power cut only when its directory is on the disk. Returns 0 or -errno. */
static int sync_dir(const char *path)
{
	char copy[PATH_MAX];
	int fd, err = 0;

	(void)snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (fsync(fd) < 0 && errno != EINVAL)) /* EINVAL: nothing to wait for there */
		err = -errno;
	if (fd >= 0)
		(void)close(fd); /* opened for reading */
	return err;
}

static void report(const char *path, bool grouped)
{
	if (grouped)
		(void)printf("%s: a new key, mode 0640, group " KEYGEN_GROUP "\n", path);
	else
		(void)printf(
			"%s: a new key, mode 0600, for uid %u alone; for a daemon that runs as "
			"its own user: chgrp " KEYGEN_GROUP " FILE && chmod 0640 FILE\n",
			path, (unsigned int)geteuid());
	(void)printf("copy it to the other nodes over a safe way,\n"
		     "and give it the same group and mode there\n");
}

/* Fills the temporary file and gives it its name. */
static enum ctl_exit make(int fd, const char *tmp, const char *path)
{
	bool grouped;
	int err = write_key(fd);

	if (err)
		return failed(path, "cannot write the key", err);
	grouped = give_to_group(fd);
	if (fsync(fd) < 0)
		return failed(path, "cannot write the key", -errno);
	if (link(tmp, path) < 0)
		return failed(path, errno == EEXIST ? "not overwritten" : "cannot give it its name",
			      -errno);
	err = sync_dir(path);
	if (err)
		return failed(path, "is there, but its directory may not be on the disk", err);
	report(path, grouped);
	return CTL_EXIT_DONE;
}

enum ctl_exit keygen(const char *path)
{
	char tmp[PATH_MAX];
	enum ctl_exit status;
	struct stat st;
	int fd;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path) >= sizeof(tmp))
		return failed(path, "cannot make it", -ENAMETOOLONG);
	if (lstat(path, &st) == 0) /* link(2) would say so too, only later */
		return failed(path, "not overwritten", -EEXIST);
	fd = mkostemp(tmp, O_CLOEXEC); /* mode 0600 */
	if (fd < 0)
		return failed(path, "cannot make a file beside it", -errno);
	status = make(fd, tmp, path);
	(void)close(fd); /* was synced, or is of no use */
	if (unlink(tmp) < 0 && status == CTL_EXIT_DONE)
		status = failed(tmp, "a second name of the key could not be removed", -errno);
	return status;
}
