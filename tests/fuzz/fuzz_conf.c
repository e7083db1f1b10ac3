/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A configuration file, in memory. One that is refused says why; one that loads prints to a file
 * that loads to the same configuration, differs from itself in nothing, and makes an engine's
 * configuration within its bounds. Files that include others are left out, so that an input means
 * the same on every machine.
 *
 * Decoders: daemon/conf.c daemon/conf_policy.c
 * Built of: daemon/conf*.c proto/[a-z]*.c -lconfig
 */
#include "fuzz.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sysexits.h>
#include <unistd.h>

#include "conf.h"

#define PATH_LEN 64

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf conf = { 0 };
	char *said = NULL;
	int rc;

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
