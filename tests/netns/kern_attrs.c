/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The part of kern_check that no client makes: attributes that this kernel takes only in part, and
 * those whose use elsewhere it would need (a peer has a helper that is not here). Whatever is left
 * out, the flow itself is written, counted, and told of once.
 */
#include "kern_bed.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NO_LIMIT UINT32_MAX
#define SAID_MAX 65536

/* What the program says on standard error between these two. */
struct said {
	int fd, real;
};

static struct said said_begin(void)
{
	struct said s = { .fd = memfd_create("said", MFD_CLOEXEC), .real = dup(STDERR_FILENO) };

	if (s.fd < 0 || s.real < 0 || dup2(s.fd, STDERR_FILENO) < 0)
		abort();
	return s;
}

/* How often it said text. */
static unsigned int said_end(const struct said *s, const char *text)
{
	char *buf = calloc(1, SAID_MAX);
	unsigned int n = 0;

	if (!buf || dup2(s->real, STDERR_FILENO) < 0 || pread(s->fd, buf, SAID_MAX - 1, 0) < 0)
		abort();
	for (const char *at = strstr(buf, text); at; at = strstr(at + 1, text))
		n++;
	free(buf);
	(void)close(s->fd);
	(void)close(s->real);
	return n;
}

static struct flow with_helper(uint16_t sport, const char *name)
{
	struct flow f = bed_flow(IPPROTO_TCP, "10.0.0.1", sport, "10.0.1.1", 21);

	flow_begin_ext(&f);
	f.has |= FLOW_HAS_HELPER;
	(void)strncpy(f.ext.helper, name, FLOW_NAME_LEN - 1);
	return f;
}

static uint64_t no_helper(struct kern *k)
{
	struct kern_stats s;

	kern_stats(k, &s);
	return s.no_helper;
}

/* A peer's flow has a helper that this node has not: it is written without. */
static void test_no_helper(struct kern *k)
{
	uint64_t before = no_helper(k);
	struct flow ghost[3], known = with_helper(9, "ftp");
	const struct flow *d;
	struct said said = said_begin();
	int err[4];

	for (uint16_t i = 0; i < 3; i++) {
		ghost[i] = with_helper((uint16_t)(i + 1), i < 2 ? "ghost" : "spectre");
		err[i] = bed_apply(k, OP_INJECT, &ghost[i], NO_LIMIT)->err;
	}
	err[3] = bed_apply(k, OP_REPLACE, &ghost[0], NO_LIMIT)->err;
	CHECK(said_end(&said, "no helper ghost here") == 1, "no helper: said once");
	for (unsigned int i = 0; i < 4; i++)
		CHECK(err[i] == 0, "no helper: %u: %d", i, err[i]);
	CHECK(no_helper(k) == before + 4, "no helper: counted");
	CHECK(bed_apply(k, OP_INJECT, &known, NO_LIMIT)->err == 0, "ftp");
	CHECK(no_helper(k) == before + 4, "ftp: is here");
	CHECK(bed_dump(k) == 4, "no helper: all are there");
	for (unsigned int i = 0; i < 3; i++) {
		d = bed_find(&ghost[i]);
		CHECK(d && !(d->has & FLOW_HAS_HELPER), "no helper: %u has none", i);
	}
	d = bed_find(&known);
	CHECK(d && (d->has & FLOW_HAS_HELPER) && strcmp(d->ext.helper, "ftp") == 0, "ftp: held");
	bed_flush();
}

/* What a proxied connection needs to go on. */
static void test_synproxy(struct kern *k)
{
	struct flow f = bed_flow(IPPROTO_TCP, "10.0.0.1", 1, "10.0.1.1", 7010);
	const struct flow *d;

	flow_begin_ext(&f);
	f.has |= FLOW_HAS_SYNPROXY;
	f.ext.synproxy = (struct flow_synproxy){ 0x11223344, 0x55667788, 0x99aabbcc };
	CHECK(bed_apply(k, OP_INJECT, &f, NO_LIMIT)->err == 0, "synproxy: inject");
	CHECK(bed_dump(k) == 1, "synproxy: dump");
	d = bed_find(&f);
	CHECK(d && (d->has & FLOW_HAS_SYNPROXY) &&
		      memcmp(&d->ext.synproxy, &f.ext.synproxy, sizeof(f.ext.synproxy)) == 0,
	      "synproxy: held");
	bed_flush();
}

void check_attrs(struct kern *k)
{
	test_no_helper(k);
	test_synproxy(k);
}
