/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A configuration file, in memory. One that is refused says why; one that loads prints to a file
 * that loads to the same configuration, differs from itself in nothing, and makes an engine's
 * configuration within its bounds. Files that include others are left out, so that an input means
 * the same on every machine. Every input is a key file besides: what is 32 bytes or 64 digits is
 * read as these, what is anything else is refused.
 *
 * Decoders: daemon/conf.c daemon/conf_policy.c daemon/conf_keys.c
 * Built of: daemon/conf*.c proto/[a-z]*.c -lconfig
 */
#include "fuzz.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "conf.h"

#define PATH_LEN 64
#define KEY_LEN 32
#define MODE_FROM 100 /* bytes of a file that is no key whatever its mode */

/* libconfig forgets a string or two when it meets an error of syntax. The unit tests look for leaks
 * of ours. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 1;
}

/* A file in memory that can be opened by path. Returns its descriptor. */
static int file_of(const void *p, size_t len, char path[PATH_LEN])
{
	int fd = memfd_create("conf", MFD_CLOEXEC);

	assert(fd >= 0 && write(fd, p, len) == (ssize_t)len);
	(void)snprintf(path, PATH_LEN, "/proc/self/fd/%d", fd);
	return fd;
}

/* Loads the bytes; what is said goes to *said, which the caller frees. */
static int load(struct conf *conf, const void *p, size_t len, char **said)
{
	size_t said_len = 0;
	FILE *err = open_memstream(said, &said_len);
	char path[PATH_LEN];
	int fd = file_of(p, len, path), rc;

	assert(err);
	rc = conf_load(conf, path, err);
	assert(!fclose(err) && !close(fd));
	return rc;
}

static void check_prints(const struct conf *conf)
{
	struct conf again = { 0 };
	char *text = NULL, *said = NULL, names[512];
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert(out);
	conf_print(conf, out);
	assert(!fclose(out));
	if (load(&again, text, len, &said)) {
		(void)fprintf(stderr, "%s\n%s", text, said);
		abort();
	}
	memcpy(again.key_at, conf->key_at, sizeof(again.key_at)); /* says where it stood */
	assert(!memcmp(&again, conf, sizeof(again)));
	conf_restart_keys(conf, &again, names, sizeof(names));
	assert(!*names);
	free(text);
	free(said);
}

static void check_engine(const struct conf *conf)
{
	struct engine_conf e;
	struct conf live = *conf;

	conf_engine(conf, &e);
	assert(e.ignore_count <= ENGINE_IGNORE_MAX);
	assert(e.node[0] && memchr(e.node, 0, sizeof(e.node)));
	assert(conf->link_count && conf->link_count <= LINK_LINKS_MAX);
	conf_copy_live(&live, conf);
	assert(!memcmp(&live, conf, sizeof(live)));
}

/* The key that the bytes spell, if they are one. */
static bool spells_key(const uint8_t *p, size_t len, uint8_t key[KEY_LEN])
{
	char digits[2 * KEY_LEN + 1];
	size_t n;

	if (len == KEY_LEN) {
		memcpy(key, p, KEY_LEN);
		return true;
	}
	if (len != 2 * KEY_LEN && (len != 2 * KEY_LEN + 1 || p[2 * KEY_LEN] != '\n'))
		return false;
	memcpy(digits, p, 2 * KEY_LEN);
	digits[2 * KEY_LEN] = '\0';
	return !sodium_hex2bin(key, KEY_LEN, digits, 2 * KEY_LEN, NULL, &n, NULL) && n == KEY_LEN;
}

/* What conf_keys must come to: one of zeros alone is a file that was never written. */
static bool is_key(const uint8_t *p, size_t len, uint8_t key[KEY_LEN])
{
	return spells_key(p, len, key) && !sodium_is_zero(key, KEY_LEN);
}

/* The bytes as a key file. Its mode is their number, so that those of the wrong mode are too. */
static void check_key(const uint8_t *p, size_t len)
{
	uint8_t keys[ENGINE_KEYS_MAX][KEY_LEN], key[KEY_LEN];
	mode_t mode = len > MODE_FROM ? 0600 | (len & 077) : 0600;
	struct conf conf = { .key_count = 1 };
	char *said = NULL, path[PATH_LEN];
	size_t said_len = 0;
	FILE *err = open_memstream(&said, &said_len);
	int fd = file_of(p, len, path), rc;

	assert(err && !fchmod(fd, mode));
	memcpy(conf.key_files[0], path, sizeof(path));
	rc = conf_keys(&conf, keys, err);
	assert(!fclose(err) && !close(fd));
	assert((rc == 0) == is_key(p, len, key) && (rc == 0) == (*said == '\0'));
	assert(rc || !memcmp(keys[0], key, KEY_LEN));
	free(said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf conf = { 0 };
	char *said = NULL;
	int rc;

	check_key(data, size);
	if (memmem(data, size, "@include", 8))
		return 0;
	rc = load(&conf, data, size, &said);
	assert(rc == 0 || rc == -EX_CONFIG);
	assert((rc == 0) == (*said == '\0')); /* a refusal is told */
	free(said);
	if (rc)
		return 0;
	check_prints(&conf);
	check_engine(&conf);
	return 0;
}
