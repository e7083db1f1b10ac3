/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lock, kept role, runtime directory and the way out of root.
 *
 * The lock is flock(2) on a file that is never removed: the kernel lets go of it when the process
 * ends, however it ends, so a stale file never stops a start, and there is no moment in which two
 * daemons lock two files of one name.
 *
 * The state file says "an earlier run of this boot may have put entries into this kernel, and this
 * was its role". It is replaced as a whole, so a reader finds the old or the new one. Where there
 * is no room for a new one (a full /run) the old one is written over: its few bytes need no more
 * room, and each of them may be the last that gets there. No file, or one of another boot, means a
 * first start (PROTOCOL.md, R46).
 */
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"
#define GROUPS_MAX 256

static const char *const role_names[] = { [ROLE_BACKUP] = "backup", [ROLE_PRIMARY] = "primary" };

/* ---- directory and lock ---- */

static void dir_of(const char *socket, char *buf, size_t len)
{
	char copy[STATE_PATH_MAX];

	(void)snprintf(copy, sizeof(copy), "%s", socket);
	(void)snprintf(buf, len, "%s", dirname(copy));
}

int state_dir(const char *socket, const char *user)
{
	char dir[STATE_PATH_MAX];
	const struct passwd *pw;

	dir_of(socket, dir, sizeof(dir));
	if (mkdir(dir, 0755))
		return errno == EEXIST
			       ? 0
			       : -errno; /* it was there: whose it is was decided by others */
	pw = geteuid() == 0 ? getpwnam(user) : NULL;
	return pw && chown(dir, pw->pw_uid, pw->pw_gid) ? -errno : 0;
}

static int read_text(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t n;
	int err;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, len - 1);
	err = n < 0 ? -errno : 0;
	(void)close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return err;
}

static int write_text(int fd, const char *text)
{
	size_t len = strlen(text);
	ssize_t n = write(fd, text, len);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -ENOSPC;
}

static pid_t lock_holder(const char *path)
{
	char buf[32];

	return read_text(path, buf, sizeof(buf)) ? 0 : (pid_t)strtol(buf, NULL, 10);
}

/* Made by an earlier run as root it may be readable only; that is enough to lock it. */
static int lock_open(const char *path, bool *writable)
{
	const int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	int fd = open(path, O_RDWR | O_CREAT | flags, 0644);

	*writable = fd >= 0;
	if (fd < 0 && errno == EACCES)
		fd = open(path, O_RDONLY | flags);
	return fd < 0 ? -errno : fd;
}

int state_lock(struct state *s, const char *socket, pid_t *holder)
{
	char pid[32];
	bool writable;
	int err;

	*s = (struct state){ .lock_fd = -1 };
	*holder = 0;
	(void)snprintf(s->lock_path, sizeof(s->lock_path), "%s.lock", socket);
	(void)snprintf(s->path, sizeof(s->path), "%s.state", socket);
	/* Without an id (no /proc) all runs count as of one boot: /run itself forgets at a reboot.
	 */
	if (read_text(BOOT_ID_FILE, s->boot_id, sizeof(s->boot_id)) || !*s->boot_id)
		(void)snprintf(s->boot_id, sizeof(s->boot_id), "unknown");
	s->boot_id[strcspn(s->boot_id, "\n")] = '\0';

	s->lock_fd = lock_open(s->lock_path, &writable);
	if (s->lock_fd < 0)
		return s->lock_fd;
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB)) {
		err = -errno;
		*holder = lock_holder(s->lock_path);
		state_unlock(s);
		return err;
	}
	(void)snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	/* The pid is for people; the lock holds without it. */
	if (writable && !ftruncate(s->lock_fd, 0))
		(void)write_text(s->lock_fd, pid);
	return 0;
}

void state_unlock(struct state *s)
{
	if (s->lock_fd >= 0)
		(void)close(s->lock_fd);
	s->lock_fd = -1;
}

/* ---- role ---- */

int state_load(const struct state *s, enum engine_role *role, enum engine_origin *origin)
{
	char buf[128], boot[STATE_BOOT_ID_LEN + 1] = "", name[16] = "";
	int err;

	*role = ROLE_BACKUP;
	*origin = ORIGIN_BOOT;
	err = read_text(s->path, buf, sizeof(buf));
	if (err == -ENOENT)
		return 0;
	*origin = ORIGIN_RESTART; /* who cannot read it must not claim what may be a copy */
	if (err)
		return err;
	if (sscanf(buf, "boot %36s\nrole %15s\n", boot, name) != 2)
		return -EBADMSG;
	if (strcmp(boot, s->boot_id)) {
		*origin = ORIGIN_BOOT;
		return 0;
	}
	if (!strcmp(name, role_names[ROLE_PRIMARY]))
		*role = ROLE_PRIMARY;
	return 0;
}

static int write_over(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int err;

	if (fd < 0)
		return -errno;
	err = write_text(fd, text);
	if (!err && (ftruncate(fd, (off_t)strlen(text)) || fsync(fd)))
		err = -errno;
	(void)close(fd);
	return err;
}

static int write_new(const struct state *s, const char *text)
{
	char tmp[STATE_PATH_MAX + 8];
	int fd, err;

	(void)snprintf(tmp, sizeof(tmp), "%s.new", s->path);
	(void)unlink(tmp); /* of a run that was killed in between */
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	err = write_text(fd, text);
	if (!err && fsync(fd))
		err = -errno;
	(void)close(fd);
	if (!err && rename(tmp, s->path))
		err = -errno;
	if (err)
		(void)unlink(tmp);
	return err;
}

int state_save(const struct state *s, enum engine_role role)
{
	char text[128];
	int err;

	(void)snprintf(text, sizeof(text), "boot %s\nrole %s\n", s->boot_id, role_names[role]);
	err = write_new(s, text);
	return err && !write_over(s->path, text) ? 0 : err;
}

int state_give(const struct state *s, uid_t uid, gid_t gid)
{
	if (fchown(s->lock_fd, uid, gid))
		return -errno;
	if (lchown(s->path, uid, gid) && errno != ENOENT)
		return -errno;
	return 0;
}

/* ---- privileges ---- */

/* May the user make files beside the socket? Asked as that user, because groups, ACLs and modules
 * have a say. */
static bool user_can_write(const char *path, const struct passwd *pw)
{
	gid_t groups[GROUPS_MAX];
	int count = getgroups(GROUPS_MAX, groups);
	char dir[STATE_PATH_MAX];
	bool can = false;

	dir_of(path, dir, sizeof(dir));
	if (count < 0 || initgroups(pw->pw_name, pw->pw_gid))
		return false;
	if (!setegid(pw->pw_gid)) {
		if (!seteuid(pw->pw_uid)) {
			can = !faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS);
			if (seteuid(0))
				abort(); /* half a user must not go on */
		}
		if (setegid(0))
			abort();
	}
	if (setgroups((size_t)count, groups))
		abort();
	return can;
}

static int keep_net_admin(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	data[0].effective = data[0].permitted = UINT32_C(1) << CAP_NET_ADMIN;
	return syscall(SYS_capset, &head, data) ? -errno : 0;
}

static void drop_bounding(void)
{
	for (unsigned long cap = 0; cap <= CAP_LAST_CAP; cap++) {
		if (cap != CAP_NET_ADMIN)
			(void)prctl(PR_CAPBSET_DROP, cap, 0, 0,
				    0); /* EINVAL: unknown to this kernel */
	}
}

static int become(const struct passwd *pw)
{
	int err;

	drop_bounding();
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) || initgroups(pw->pw_name, pw->pw_gid) ||
	    setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) ||
	    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid))
		return -errno;
	err = keep_net_admin();
	if (err)
		return err;
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return setuid(0) ? 0 : -ENOTRECOVERABLE; /* there must be no way back */
}

int state_drop(struct state *s, const char *user)
{
	const struct passwd *pw;
	int err;

	errno = 0;
	pw = getpwnam(user);
	if (!pw)
		return -ENOENT;
	if (pw->pw_uid == 0)
		return 0; /* root by the operator's own word */
	if (!user_can_write(s->path, pw))
		return -EACCES;
	err = state_give(s, pw->pw_uid, pw->pw_gid);
	return err ? err : become(pw);
}
