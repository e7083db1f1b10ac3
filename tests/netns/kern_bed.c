/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See kern_bed.h. */
#include "kern_bed.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINE_MAX_LEN 1024
#define TIMEOUT_DRIFT_S 10 /* between two looks at one entry on a busy machine */

struct engine *bed_engine;
struct log *bed_log;
static unsigned int passed, failed;

void engine_kern_soon(struct engine *e, const struct flow *flow)
{
	(void)e;
	(void)flow;
}

void engine_kern(struct engine *e, enum engine_kern_event event, const struct flow *flow,
		 uint32_t portid, usec_t now)
{
	(void)now;
	e->count[event]++;
	if (!e->keep || e->seen_count == SEEN_MAX)
		return;
	struct seen *s = &e->seen[e->seen_count++];

	s->event = event;
	s->portid = portid;
	s->flow = flow != NULL ? *flow : (struct flow){ 0 };
}

void engine_result(struct engine *e, const struct engine_op *op, int err, const struct flow *got,
		   usec_t now)
{
	struct result *r = &e->result[e->result_count++ % KERN_BATCH_MAX];

	(void)now;
	e->failed_count += err != 0;
	r->err = err;
	r->type = op->type;
	r->have = got != NULL;
	r->got = got != NULL ? *got : (struct flow){ 0 };
}

void bed_open(void)
{
	bed_engine = calloc(1, sizeof(*bed_engine));
	bed_log = log_new("stderr", LOG_LVL_INFO);
	if (bed_engine == NULL || bed_log == NULL)
		abort();
	bed_engine->keep = true;
}

int bed_close(void)
{
	free(bed_engine);
	log_free(bed_log);
	printf("%u passed, %u failed\n", passed, failed);
	return failed == 0 && passed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

bool bed_check(bool ok, const char *cond, const char *fmt, ...)
{
	char text[LINE_MAX_LEN];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (ok) {
		passed++;
	} else {
		failed++;
		printf("FAIL %s: not %s\n", text, cond);
	}
	return ok;
}

usec_t bed_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (usec_t)t.tv_sec * USEC_PER_SEC + (usec_t)t.tv_nsec / 1000;
}

struct kern *bed_kern(uint32_t buffer_len)
{
	struct kern_conf conf = { .event_buffer_len = buffer_len, .linger_us = 300 };
	const char *text;
	struct kern *k;
	int err = kern_open(&k, &conf, bed_log, &text);

	if (err < 0) {
		printf("FAIL kern_open: %s: %s\n", text, strerror(-err));
		exit(EXIT_FAILURE);
	}
	return k;
}

static void set_addr(uint8_t out[16], const char *text)
{
	memset(out, 0, 16);
	if (inet_pton(strchr(text, ':') != NULL ? AF_INET6 : AF_INET, text, out) != 1)
		abort();
}

struct flow bed_flow(uint8_t proto, const char *src, uint16_t sport, const char *dst,
		     uint16_t dport)
{
	struct flow f = { .has = FLOW_HAS_STATUS | FLOW_HAS_TIMEOUT | FLOW_HAS_MARK |
				 FLOW_HAS_REPLY };

	f.key.l3 = strchr(src, ':') != NULL ? 6 : 4;
	f.key.proto = proto;
	set_addr(f.key.orig.src, src);
	set_addr(f.key.orig.dst, dst);
	f.key.orig.sport = htons(sport);
	f.key.orig.dport = htons(dport);
	flow_inverse(&f.key, &f.reply);
	f.status = 0xe;
	f.timeout_s = 600;
	if (proto == IPPROTO_TCP)
		bed_tcp(&f, 3, 7, 0x03);
	return f;
}

void bed_reply(struct flow *f, const char *src, uint16_t sport, const char *dst, uint16_t dport)
{
	set_addr(f->reply.src, src);
	set_addr(f->reply.dst, dst);
	f->reply.sport = htons(sport);
	f->reply.dport = htons(dport);
}

void bed_tcp(struct flow *f, uint8_t state, uint8_t wscale, uint8_t flags)
{
	f->has |= FLOW_HAS_TCP;
	f->tcp = (struct flow_tcp){ state, { wscale, (uint8_t)(wscale + 1) }, { flags, flags } };
}

struct result *bed_apply(struct kern *k, enum engine_op_type type, const struct flow *f,
			 uint32_t limit_s)
{
	struct engine_op op = { .type = type, .flow = *f, .limit_s = limit_s };

	bed_engine->result_count = 0;
	kern_apply(k, bed_engine, &op, 1, bed_now());
	if (bed_engine->result_count != 1)
		abort();
	return &bed_engine->result[0];
}

int bed_dump(struct kern *k)
{
	struct pollfd p = { .fd = kern_dump_fd(k), .events = POLLIN };
	struct engine *e = bed_engine;

	e->seen_count = 0;
	memset(e->count, 0, sizeof(e->count));
	if (kern_dump_start(k) < 0)
		return -1;
	while (kern_dump_running(k)) {
		if (poll(&p, 1, 5000) <= 0)
			return -1;
		(void)kern_read_dump(k, e, bed_now());
	}
	return e->count[KERN_DUMP_END] == 1 ? (int)e->count[KERN_DUMP] : -1;
}

const struct flow *bed_find(const struct flow *f)
{
	for (unsigned int i = 0; i < bed_engine->seen_count; i++) {
		const struct seen *s = &bed_engine->seen[i];

		if (s->event == KERN_DUMP && memcmp(&s->flow.key, &f->key, sizeof(f->key)) == 0)
			return &s->flow;
	}
	return NULL;
}

void bed_events(struct kern *k)
{
	struct pollfd p = { .fd = kern_event_fd(k), .events = POLLIN };

	while (poll(&p, 1, 50) > 0)
		(void)kern_read_events(k, bed_engine, 256, bed_now());
}

unsigned int bed_seen(enum engine_kern_event event)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < bed_engine->seen_count; i++)
		n += bed_engine->seen[i].event == event;
	return n;
}

void bed_flood(struct kern *k, uint32_t first, uint32_t count)
{
	struct engine_op ops[KERN_BATCH_MAX] = { 0 };
	unsigned int n = 0;

	for (uint32_t i = first; i < first + count; i++) {
		struct engine_op *op = &ops[n++];

		op->flow = bed_flow(6, "10.1.0.0", (uint16_t)(i % 50000 + 1), "10.0.1.1", 80);
		op->flow.key.orig.src[3] = (uint8_t)(i / 50000);
		flow_inverse(&op->flow.key, &op->flow.reply);
		op->type = OP_INJECT;
		op->limit_s = UINT32_MAX;
		if (n == KERN_BATCH_MAX || i + 1 == first + count) {
			kern_apply(k, bed_engine, ops, n, bed_now());
			n = 0;
		}
	}
}

/* ---- conntrack(8) ---- */

int bed_run(const char *words)
{
	char cmd[LINE_MAX_LEN];

	(void)snprintf(cmd, sizeof(cmd), "conntrack %s >/dev/null 2>&1", words);
	return system(cmd); /* words are this test's own */
}

void bed_flush(void)
{
	(void)bed_run("-F"); /* what is left shows in the next check */
}

/* Words of line joined by single spaces, without "use=" and, of the protocol's two numbers, the
 * timeout. */
static void normalise(char *line, char *out, size_t len, bool timeout)
{
	unsigned int i = 0;
	char *save = NULL;
	size_t at = 0;

	out[0] = '\0';
	for (char *w = strtok_r(line, " \n", &save); w != NULL;
	     w = strtok_r(NULL, " \n", &save), i++) {
		if ((i == 4 && !timeout) || strncmp(w, "use=", 4) == 0)
			continue;
		at += (size_t)snprintf(out + at, len - at, "%s%s", at > 0 ? " " : "", w);
		if (at >= len)
			abort();
	}
}

static FILE *list(const char *family)
{
	char cmd[LINE_MAX_LEN];
	FILE *p;

	(void)snprintf(cmd, sizeof(cmd), "conntrack -L -f %s -o extended 2>/dev/null", family);
	p = popen(cmd, "r");
	if (p == NULL)
		abort();
	return p;
}

bool bed_listed(const char *family, const char *line)
{
	char raw[LINE_MAX_LEN], words[LINE_MAX_LEN];
	unsigned int n = 0;
	FILE *p = list(family);

	while (fgets(raw, sizeof(raw), p) != NULL) {
		normalise(raw, words, sizeof(words), false);
		n += strcmp(words, line) == 0;
	}
	(void)pclose(p); /* an empty list would show in n */
	return n == 1;
}

bool bed_line(const char *family, const char *start, char *out, size_t len)
{
	char raw[LINE_MAX_LEN], words[LINE_MAX_LEN], copy[LINE_MAX_LEN];
	bool found = false;
	FILE *p = list(family);

	while (fgets(raw, sizeof(raw), p) != NULL) {
		memcpy(copy, raw, sizeof(copy));
		normalise(raw, words, sizeof(words), false);
		if (strcmp(words, start) != 0)
			continue;
		normalise(copy, out, len, true);
		found = true;
	}
	(void)pclose(p); /* as above */
	return found;
}

/* The fifth word, which `conntrack -L -o extended` gives to the remaining seconds; -1 if it is no
 * number. */
static long timeout_of(const char *line)
{
	char word[32], *end;
	long v;

	if (sscanf(line, "%*s %*s %*s %*s %31s", word) != 1)
		return -1;
	v = strtol(word, &end, 10);
	return *end == '\0' ? v : -1;
}

bool bed_same_words(const char *a, const char *b)
{
	char copy[2][LINE_MAX_LEN], words[2][LINE_MAX_LEN];
	long ta = timeout_of(a), tb = timeout_of(b);

	(void)snprintf(copy[0], sizeof(copy[0]), "%s", a);
	(void)snprintf(copy[1], sizeof(copy[1]), "%s", b);
	normalise(copy[0], words[0], sizeof(words[0]), false);
	normalise(copy[1], words[1], sizeof(words[1]), false);
	return strcmp(words[0], words[1]) == 0 && ta >= 0 && tb >= 0 &&
	       labs(ta - tb) <= TIMEOUT_DRIFT_S;
}
