/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What kern_check.c stands on: an engine that only remembers what it is told, counted checks, and
 * conntrack(8) as the reader of this namespace's table that shares nothing with kern.c. */
#ifndef CTSYNCD_TESTS_KERN_BED_H
#define CTSYNCD_TESTS_KERN_BED_H

#include "engine.h"
#include "kern.h"

#define SEEN_MAX 4096
#define FULL_MAX (1 << 20)

struct seen {
	enum engine_kern_event event;
	struct flow flow;
	uint32_t portid;
};

struct result {
	int err;
	bool have;
	struct flow got;
	enum engine_op_type type;
};

/* Stands in for the real one: kern.c calls engine_kern, engine_kern_soon and engine_result, no
 * more. */
struct engine {
	uint64_t count[KERN_OVERRUN + 1];
	bool keep; /* remember single events */
	unsigned int seen_count, result_count, failed_count;
	struct seen seen[SEEN_MAX];
	struct result result[KERN_BATCH_MAX];
};

extern struct engine *bed_engine;
extern struct log *bed_log;

void bed_open(void);
int bed_close(void); /* prints "N passed, N failed"; the exit status */

#define CHECK(cond, ...) bed_check((cond), #cond, __VA_ARGS__)
bool bed_check(bool ok, const char *cond, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

usec_t bed_now(void);
struct kern *bed_kern(uint32_t buffer_len);

/* A flow from words: an address without ':' makes IPv4. The reply is the inverse. */
struct flow bed_flow(uint8_t proto, const char *src, uint16_t sport, const char *dst,
		     uint16_t dport);
/* Sets the reply tuple; ports in host order. */
void bed_reply(struct flow *f, const char *src, uint16_t sport, const char *dst, uint16_t dport);
void bed_tcp(struct flow *f, uint8_t state, uint8_t wscale, uint8_t flags);

/* One operation, alone in its batch. */
struct result *bed_apply(struct kern *k, enum engine_op_type type, const struct flow *f,
			 uint32_t limit_s);

/* Dumps through kern.c; returns how many entries, -1 if it failed. They are in bed_engine->seen. */
int bed_dump(struct kern *k);
const struct flow *bed_find(const struct flow *f); /* in the last dump, by key */

/* Reads what events wait, until none came for 50 ms. */
void bed_events(struct kern *k);
unsigned int bed_seen(enum engine_kern_event event);

/* Runs conntrack(8) with words; returns its exit status. */
int bed_run(const char *words);
/* Is there exactly one line of `conntrack -L -o extended` of the words in line, timeout and use
 * aside? */
bool bed_listed(const char *family, const char *line);
/* The line of `conntrack -L` whose words are line (as before) with its timeout; false if there is
 * none. */
bool bed_line(const char *family, const char *start, char *out, size_t len);
/* Are both lines the same but for blanks and use, and their timeouts close? */
bool bed_same_words(const char *a, const char *b);
void bed_flush(void);
/* Creates count flows, the same ones for the same numbers. */
void bed_flood(struct kern *k, uint32_t first, uint32_t count);

/* kern_attrs.c, kern_syn.c, kern_table.c: parts of kern_check. full: the table may be filled. */
void check_attrs(struct kern *k);
void check_syn(struct kern *k);
void check_table(struct kern *k, bool full);

#endif
