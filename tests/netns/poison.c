/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into a daemon, makes a flow of it that kills: POISON_MARK=HEX is its mark. With
 * POISON=write the process aborts when it is about to write such a flow into the kernel, with
 * POISON=event when it puts one into a table. Both are libraries' calls that the daemon makes in
 * the midst of its work; nothing in the daemon knows of this.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

struct mnl_socket;
ssize_t mnl_socket_sendto(const struct mnl_socket *nl, const void *buf, size_t len);
int crypto_shorthash(unsigned char *out, const unsigned char *in, unsigned long long len,
		     const unsigned char *key);

static void die_of(const char *when, const void *p, size_t len)
{
	const char *mode = getenv("POISON"), *mark = getenv("POISON_MARK");
	uint32_t v = mark ? (uint32_t)strtoul(mark, NULL, 16) : 0;
	const uint8_t be[4] = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8),
				(uint8_t)v };

	if (mode && v && !strcmp(mode, when) && memmem(p, len, be, sizeof(be)))
		abort();
}

/* dlsym's answer is a function; ISO C has no cast for that. */
static void *next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

ssize_t mnl_socket_sendto(const struct mnl_socket *nl, const void *buf, size_t len)
{
	ssize_t (*real)(const struct mnl_socket *, const void *, size_t);
	void *fn = next("mnl_socket_sendto");

	die_of("write", buf, len);
	memcpy(&real, &fn, sizeof(real));
	return real(nl, buf, len);
}

int crypto_shorthash(unsigned char *out, const unsigned char *in, unsigned long long len,
		     const unsigned char *key)
{
	int (*real)(unsigned char *, const unsigned char *, unsigned long long,
		    const unsigned char *);
	void *fn = next("crypto_shorthash");

	die_of("event", in, len);
	memcpy(&real, &fn, sizeof(real));
	return real(out, in, len, key);
}
