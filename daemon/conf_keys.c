/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads the files that hold the sealing keys. A key is 32 bytes, or 64 hexadecimal digits and
 * perhaps a newline. A file that others may read is refused: a key that everybody on the machine
 * can copy proves nothing. Keys never reach a log.
 */
#include "conf.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_LEN 32

static const char remedy[] = "make one with: (umask 027; head -c 32 /dev/urandom > FILE)";

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

/* where: file and line that name the key, and its path. */
static int read_key(int fd, const char *where, uint8_t key[KEY_LEN], FILE *err)
{
	uint8_t buf[2 * KEY_LEN + 2];
	ssize_t len;
	struct stat st;
	bool ok;

	if (fstat(fd, &st)) {
		int e = errno;

		(void)fprintf(err, "%s: cannot look at it: %s\n", where, strerror(e));
		return -e;
	}
	if (!S_ISREG(st.st_mode)) {
		(void)fprintf(err, "%s: not a regular file; %s\n", where, remedy);
		return -EINVAL;
	}
	if (st.st_mode & S_IRWXO) {
		(void)fprintf(err, "%s: others may use it; make it private with: chmod 0640 FILE\n",
			      where);
		return -EPERM;
	}
	len = read(fd, buf, sizeof(buf));
	if (len < 0) {
		int e = errno;

		(void)fprintf(err, "%s: cannot read: %s\n", where, strerror(e));
		return -e;
	}
	ok = decode(buf, (size_t)len, key);
	explicit_bzero(buf, sizeof(buf));
	if (!ok) {
		(void)fprintf(err,
			      "%s: %s%zd bytes are no key; allowed: 32 bytes or 64 hexadecimal "
			      "digits; %s\n",
			      where, (size_t)len == sizeof(buf) ? "more than " : "",
			      len - ((size_t)len == sizeof(buf)), remedy);
		return -EINVAL;
	}
	return 0;
}

int conf_keys(const struct conf *conf, uint8_t keys[ENGINE_KEYS_MAX][32], FILE *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < conf->key_count; i++) {
		char path[sizeof(conf->key_at) + sizeof(conf->key_files[0]) + 32];
		int fd = open(conf->key_files[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK), e;

		(void)snprintf(path, sizeof(path), "%ssync.key_files: %s", conf->key_at,
			       conf->key_files[i]);
		if (fd < 0) {
			e = -errno;
			(void)fprintf(
				err, "%s: cannot open: %s; %s\n", path, strerror(-e),
				e == -EACCES
					? "give it to the group of the daemon's user, mode 0640"
					: remedy);
		} else {
			e = read_key(fd, path, keys[i], err);
			(void)close(fd);
		}
		ret = ret ? ret : e;
	}
	return ret;
}
