/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into a daemon, makes a flow of it that kills: POISON_MARK=HEX is its mark. With
 * POISON=write the process aborts when it is about to write such a flow into the kernel, with
 * POISON=event when it puts one into a table, with POISON=record when it does so while it applies a
 * peer's datagram, as the mark in the file POISON_DEATHS has it. These are libraries' calls that
 * the daemon makes in the midst of its work; nothing in the daemon knows of this.
 *
 * LACKS_HELPER=NAME: this node's kernel has no such helper. It is asked for another that long, of
 * which it has never heard.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "engine.h"

#define MARK_AT 16 /* in the file of deaths.c: behind magic and build */

struct mnl_socket;
ssize_t mnl_socket_sendto(const struct mnl_socket *nl, const void *buf, size_t len);
int crypto_shorthash(unsigned char *out, const unsigned char *in, unsigned long long len,
		     const unsigned char *key);

/* Is this the call to die in? */
static bool deadly(const char *when, const void *p, size_t len)
{
	const char *mode = getenv("POISON"), *mark = getenv("POISON_MARK");
	uint32_t v = mark ? (uint32_t)strtoul(mark, NULL, 16) : 0;
	const uint8_t be[4] = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8),
				(uint8_t)v };

	return mode && v && !strcmp(mode, when) && memmem(p, len, be, sizeof(be));
}

/* What the daemon does is not told by the call: what is set aside is hashed by the same. */
static bool applies_record(void)
{
	const char *path = getenv("POISON_DEATHS");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	uint32_t work = WORK_NONE;
	bool is = fd >= 0 && pread(fd, &work, sizeof(work), MARK_AT) == sizeof(work) &&
		  work == WORK_RECORD;

	if (fd >= 0)
		close(fd);
	return is;
}

/* dlsym's answer is a function; ISO C has no cast for that. */
static void *next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

static void rename_helper(uint8_t *buf, size_t len)
{
	const char *name = getenv("LACKS_HELPER");
	uint8_t *at = buf, *end = buf + len;

	while (name && (at = memmem(at, (size_t)(end - at), name, strlen(name) + 1)))
		*at = '?';
}

ssize_t mnl_socket_sendto(const struct mnl_socket *nl, const void *buf, size_t len)
{
	ssize_t (*real)(const struct mnl_socket *, const void *, size_t);
	void *fn = next("mnl_socket_sendto"), *sent = malloc(len);
	ssize_t n;

	if (!sent || deadly("write", buf, len))
		abort();
	memcpy(&real, &fn, sizeof(real));
	memcpy(sent, buf, len);
	rename_helper(sent, len);
	n = real(nl, sent, len);
	free(sent);
	return n;
}

int crypto_shorthash(unsigned char *out, const unsigned char *in, unsigned long long len,
		     const unsigned char *key)
{
	int (*real)(unsigned char *, const unsigned char *, unsigned long long,
		    const unsigned char *);
	void *fn = next("crypto_shorthash");

	if (deadly("event", in, len) || (deadly("record", in, len) && applies_record()))
		abort();
	memcpy(&real, &fn, sizeof(real));
	return real(out, in, len, key);
}
