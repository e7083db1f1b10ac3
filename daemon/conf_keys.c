/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads the files that hold the sealing keys. A key is 32 bytes, or 64 hexadecimal digits and
 * perhaps a newline. A file that others may read or write is refused, one that a foreign group may
 * read, and one of a foreign owner, who may do anything: a key that somebody else on the machine
 * can copy or exchange proves nothing; nor does a key of zeros alone, which a crash leaves of a
 * file that was not written yet, and which anybody knows. Root's file for the daemon's group (0640)
 * is good, and the daemon's own (0400). Keys never reach a log.
 */
#include "conf.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_LEN 32

#define KEY_GROUP "ctsyncd"
#define REMEDY "make one with: ctsync keygen"

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		return (c | 0x20) - 'a' + 10;
	return -1;
}

static bool decode(const uint8_t *buf, size_t len, uint8_t key[KEY_LEN])
{
	if (len == KEY_LEN) {
		memcpy(key, buf, KEY_LEN);
		return true;
	}
	if (len == 2 * KEY_LEN + 1 && buf[len - 1] == '\n')
		len--;
	if (len != 2 * KEY_LEN)
		return false;
	for (size_t i = 0; i < KEY_LEN; i++) {
		int hi = hex_digit(buf[2 * i]), lo = hex_digit(buf[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		key[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

static bool is_zero(const uint8_t key[KEY_LEN])
{
	static const uint8_t zero[KEY_LEN];

	return !memcmp(key, zero, KEY_LEN);
}

/* May uid own a key: root, we, or whom we become? */
static bool is_ours(uid_t uid, const char *user)
{
	const struct passwd *pw;

	if (uid == 0 || uid == geteuid())
		return true;
	pw = getpwnam(user);
	return pw && pw->pw_uid == uid;
}

/* May a group read a key: root's, ours, or that of whom we become? */
static bool is_our_group(gid_t gid, const char *user)
{
	const struct passwd *pw;

	if (gid == 0 || gid == getegid())
		return true;
	pw = getpwnam(user);
	return pw && pw->pw_gid == gid;
}

/* A key file: its path, where that is written (file:line and the key), the user we become. */
struct key_file {
	const char *path, *where, *user;
};

/* Is the file one that nobody else can read or change? Returns 0 or -errno. */
static int check_file(int fd, const struct key_file *k, FILE *err)
{
	struct stat st;

	if (fstat(fd, &st)) {
		int e = errno;

		(void)fprintf(err, "%s: cannot look at it: %s\n", k->where, strerror(e));
		return -e;
	}
	if (!S_ISREG(st.st_mode)) {
		(void)fprintf(err, "%s: not a regular file; " REMEDY " FILE\n", k->where);
		return -EINVAL;
	}
	if (st.st_mode & (S_IRWXO | S_IWGRP)) {
		(void)fprintf(err,
			      "%s: others may read or change it (mode %04o); if they did, " REMEDY
			      " FILE; if not: chmod 0640 %s\n",
			      k->where, (unsigned int)(st.st_mode & 07777), k->path);
		return -EPERM;
	}
	if ((st.st_mode & S_IRGRP) && !is_our_group(st.st_gid, k->user)) {
		(void)fprintf(err,
			      "%s: group %u may read it; allowed: the group of the daemon's user; "
			      "if it was read by anybody, " REMEDY " FILE; if not: chgrp " KEY_GROUP
			      " %s\n",
			      k->where, (unsigned int)st.st_gid, k->path);
		return -EPERM;
	}
	if (!is_ours(st.st_uid, k->user)) {
		(void)fprintf(err,
			      "%s: belongs to uid %u, who may change it; allowed: root or the "
			      "daemon's user; " REMEDY " FILE\n",
			      k->where, (unsigned int)st.st_uid);
		return -EPERM;
	}
	return 0;
}

static int read_key(int fd, const struct key_file *k, uint8_t key[KEY_LEN], FILE *err)
{
	uint8_t buf[2 * KEY_LEN + 2];
	ssize_t len;
	bool ok;
	int e = check_file(fd, k, err);

	if (e)
		return e;
	len = read(fd, buf, sizeof(buf));
	if (len < 0) {
		e = errno;
		(void)fprintf(err, "%s: cannot read: %s\n", k->where, strerror(e));
		return -e;
	}
	ok = decode(buf, (size_t)len, key);
	explicit_bzero(buf, sizeof(buf));
	if (!ok) {
		(void)fprintf(err,
			      "%s: %s%zd bytes are no key; allowed: 32 bytes or 64 hexadecimal "
			      "digits; " REMEDY " FILE\n",
			      k->where, (size_t)len == sizeof(buf) ? "more than " : "",
			      len - ((size_t)len == sizeof(buf)));
		return -EINVAL;
	}
	if (is_zero(key)) {
		(void)fprintf(err, "%s: zeros alone are no key; " REMEDY " FILE\n", k->where);
		return -EINVAL;
	}
	return 0;
}

int conf_keys(const struct conf *conf, uint8_t keys[ENGINE_KEYS_MAX][32], FILE *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < conf->key_count; i++) {
		char where[sizeof(conf->key_at) + sizeof(conf->key_files[0]) + 32];
		struct key_file k = { conf->key_files[i], where, conf->user };
		int fd = open(conf->key_files[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK), e;

		(void)snprintf(where, sizeof(where), "%ssync.key_files: %s", conf->key_at,
			       conf->key_files[i]);
		if (fd < 0) {
			e = -errno;
			(void)fprintf(err, "%s: cannot open: %s; ", where, strerror(-e));
			if (e == -EACCES)
				(void)fprintf(err, "give it to the group of the daemon's user, "
						   "mode 0640\n");
			else
				(void)fprintf(err, REMEDY " %s\n", k.path);
		} else {
			e = read_key(fd, &k, keys[i], err);
			(void)close(fd); /* opened for reading */
		}
		ret = ret ? ret : e;
	}
	return ret;
}
