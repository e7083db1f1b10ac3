/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of operations (kernops.h), in the order in which it is run: a step finds what those
 * before it left. */
#include "kernops.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

#define NO_TIMEOUT UINT32_MAX
#define DRIFT_S 10 /* between a write and a look on a busy machine */

enum { SEEN_REPLY = 0x2, ASSURED = 0x4, CONFIRMED = 0x8, ALL = 0xe };
enum { ESTABLISHED = 3, FIN_WAIT = 4, CLOSE_WAIT = 5 };
enum what { APPLY, DUMP, PASS, FILL };

struct step {
	const char *name;
	enum what what;
	enum engine_op_type type;
	unsigned int flow;
	uint32_t timeout_s; /* PASS: seconds; DUMP: entries; else 0 is 600 */
	uint32_t status;    /* 0: ALL */
	uint32_t mark;
	uint8_t state;    /* 0: ESTABLISHED */
	uint32_t limit_s; /* from now; 0: no condition */
	bool exact;
	int err;
	/* What the result carries. */
	bool have;
	uint32_t got_timeout_s, got_status, got_mark;
	uint8_t got_state;
};

/* Flow 1 is TCP, 2 UDP; 3 and 4 want one reply tuple; 5 is UDP over IPv6. */
#define OP(text, op, n, ...)                                                                       \
	{                                                                                          \
		.name = (text), .type = (op), .flow = (n), __VA_ARGS__                             \
	}
#define IS(text, n, ...)                                                                           \
	{                                                                                          \
		.name = (text), .type = OP_GET, .flow = (n), .have = true, __VA_ARGS__             \
	}
#define GONE(text, n)                                                                              \
	{                                                                                          \
		.name = (text), .type = OP_GET, .flow = (n), .err = -ENOENT                        \
	}

static const struct step steps[] = {
	{ .name = "an empty table", .what = DUMP, .timeout_s = 0 },
	GONE("get what is not there", 1),
	OP("update what is not there", OP_UPDATE, 1, .err = -ENOENT),
	OP("refresh what is not there", OP_REFRESH, 1, .limit_s = 600, .err = -ENOENT),
	OP("delete what is not there", OP_DELETE, 1, .limit_s = 600, .err = -ENOENT),
	OP("delete by key what is not there", OP_DELETE, 1, .err = -ENOENT),
	OP("join what is not there", OP_JOIN, 1, .err = -ENOENT),

	OP("create", OP_INJECT, 1, .status = CONFIRMED, .mark = 9),
	IS("it is there", 1, .got_timeout_s = 600, .got_status = CONFIRMED, .got_mark = 9,
	   .got_state = ESTABLISHED),
	OP("create what is there", OP_INJECT, 1, .mark = 7, .err = -EEXIST),
	IS("it is as it was", 1, .got_timeout_s = 600, .got_status = CONFIRMED, .got_mark = 9,
	   .got_state = ESTABLISHED),
	{ .name = "one entry", .what = DUMP, .timeout_s = 1 },

	OP("update", OP_UPDATE, 1, .timeout_s = 100, .mark = 0, .state = FIN_WAIT),
	IS("state, mark and timer are new", 1, .got_timeout_s = 100, .got_status = ALL,
	   .got_state = FIN_WAIT),
	OP("update with fewer bits of status", OP_UPDATE, 1, .timeout_s = 100, .status = CONFIRMED,
	   .mark = 5, .state = FIN_WAIT),
	IS("bits are added, never taken", 1, .got_timeout_s = 100, .got_status = ALL, .got_mark = 5,
	   .got_state = FIN_WAIT),

	OP("refresh, touched", OP_REFRESH, 1, .limit_s = 50, .err = -EBUSY, .have = true,
	   .got_timeout_s = 100, .got_status = ALL, .got_mark = 5, .got_state = FIN_WAIT),
	OP("refresh, its timer was made shorter", OP_REFRESH, 1, .limit_s = 300, .exact = true,
	   .err = -EBUSY, .have = true, .got_timeout_s = 100, .got_status = ALL, .got_mark = 5,
	   .got_state = FIN_WAIT),
	IS("neither wrote", 1, .got_timeout_s = 100, .got_status = ALL, .got_mark = 5,
	   .got_state = FIN_WAIT),
	OP("refresh, untouched", OP_REFRESH, 1, .timeout_s = 200, .limit_s = 300, .have = true,
	   .got_timeout_s = 100, .got_status = ALL, .got_mark = 5, .got_state = FIN_WAIT),
	OP("refresh lowers no timer", OP_REFRESH, 1, .timeout_s = 20, .limit_s = 300, .have = true,
	   .got_timeout_s = 200, .got_status = ALL, .got_mark = 5, .got_state = FIN_WAIT),
	IS("nor did it", 1, .got_timeout_s = 200, .got_status = ALL, .got_mark = 5,
	   .got_state = FIN_WAIT),

	OP("join, further on", OP_JOIN, 1, .timeout_s = 60, .state = CLOSE_WAIT, .have = true,
	   .got_timeout_s = 60, .got_status = ALL, .got_mark = 5, .got_state = CLOSE_WAIT),
	OP("join, no news", OP_JOIN, 1, .timeout_s = 500, .state = CLOSE_WAIT, .have = true,
	   .got_timeout_s = 60, .got_status = ALL, .got_mark = 5, .got_state = CLOSE_WAIT),
	OP("join, an older state", OP_JOIN, 1, .timeout_s = 500, .have = true, .got_timeout_s = 60,
	   .got_status = ALL, .got_mark = 5, .got_state = CLOSE_WAIT),

	OP("delete, touched", OP_DELETE, 1, .limit_s = 20, .err = -EBUSY, .have = true,
	   .got_timeout_s = 60, .got_status = ALL, .got_mark = 5, .got_state = CLOSE_WAIT),
	OP("replace, touched", OP_REPLACE, 1, .limit_s = 20, .err = -EBUSY, .have = true,
	   .got_timeout_s = 60, .got_status = ALL, .got_mark = 5, .got_state = CLOSE_WAIT),
	OP("replace, untouched", OP_REPLACE, 1, .limit_s = 100, .mark = 3),
	IS("it is another", 1, .got_timeout_s = 600, .got_status = ALL, .got_mark = 3,
	   .got_state = ESTABLISHED),
	OP("replace, no condition", OP_REPLACE, 1, .timeout_s = 700, .mark = 4),
	IS("and again", 1, .got_timeout_s = 700, .got_status = ALL, .got_mark = 4,
	   .got_state = ESTABLISHED),
	OP("delete, untouched", OP_DELETE, 1, .limit_s = 700),
	GONE("it is gone", 1),
	OP("replace what is not there", OP_REPLACE, 1, .limit_s = 600),
	OP("delete by key", OP_DELETE, 1),
	OP("replace what is not there, no condition", OP_REPLACE, 1),
	{ .name = "one entry", .what = DUMP, .timeout_s = 1 },

	OP("another protocol", OP_INJECT, 2, .mark = 2),
	IS("without a state", 2, .got_timeout_s = 600, .got_status = ALL, .got_mark = 2),
	OP("another family", OP_INJECT, 5),
	OP("a translated flow", OP_INJECT, 3),
	OP("its reply tuple is taken", OP_INJECT, 4, .err = -EEXIST),
	GONE("so it is not there", 4),
	OP("the other ends", OP_DELETE, 3),
	OP("its reply tuple is free", OP_INJECT, 4),
	{ .name = "four entries", .what = DUMP, .timeout_s = 4 },
	OP("delete", OP_DELETE, 4),
	OP("delete", OP_DELETE, 5),
	OP("delete", OP_DELETE, 2),

	OP("create with a timer of a second", OP_INJECT, 2, .timeout_s = 1),
	OP("create with none", OP_INJECT, 3, .timeout_s = NO_TIMEOUT),
	{ .name = "they expire", .what = PASS, .timeout_s = 2 },
	{ .name = "a dump does not show them", .what = DUMP, .timeout_s = 1 },
	OP("delete what has expired", OP_DELETE, 2, .limit_s = 600, .err = -ENOENT),
	OP("create where one has expired", OP_INJECT, 3),
	OP("and where it has the reply tuple", OP_INJECT, 2),
	{ .name = "three entries", .what = DUMP, .timeout_s = 3 },

	{ .name = "full", .what = FILL },
	OP("create in a full table", OP_INJECT, 5, .err = -ENOMEM),
	OP("create what is there, in a full table", OP_INJECT, 2, .err = -EEXIST),
	OP("update in a full table", OP_UPDATE, 2, .timeout_s = 500, .mark = 8),
	OP("refresh in a full table", OP_REFRESH, 2, .limit_s = 600, .have = true,
	   .got_timeout_s = 500, .got_status = ALL, .got_mark = 8),
	OP("delete in a full table", OP_DELETE, 2),
	OP("makes room for one", OP_INJECT, 5),
	OP("and no more", OP_INJECT, 2, .err = -ENOMEM),
};

/* ---- Running it ---- */

struct flow kernops_flow(unsigned int i)
{
	struct flow f = { .has = FLOW_HAS_REPLY | FLOW_HAS_STATUS | FLOW_HAS_TIMEOUT |
				 FLOW_HAS_MARK };

	f.key.l3 = i == 5 ? 6 : 4;
	f.key.proto = i == 2 || i == 5 ? 17 : 6;
	f.key.orig.src[0] = f.key.orig.dst[0] = i == 5 ? 0xfd : 10;
	f.key.orig.src[i == 5 ? 15 : 3] = (uint8_t)i;
	f.key.orig.dst[i == 5 ? 15 : 3] = 99;
	f.key.orig.sport = htons(1001);
	f.key.orig.dport = htons(80);
	flow_inverse(&f.key, &f.reply);
	if (i == 3 || i == 4) {
		f.reply.dst[3] = 77;
		f.reply.dport = htons(4000);
	}
	if (f.key.proto == 6) {
		f.has |= FLOW_HAS_TCP;
		f.tcp = (struct flow_tcp){ .wscale = { 7, 7 }, .flags = { 0x0b, 0x0b } };
	}
	return f;
}

static bool near(uint32_t timeout_s, uint32_t want_s)
{
	return timeout_s <= want_s && timeout_s + DRIFT_S > want_s;
}

/* NULL, or what is not as it ought to be. */
static const char *check(const struct step *x, int err, const struct flow *got, bool have)
{
	if (err != x->err)
		return "result";
	if (have != x->have)
		return have ? "an entry" : "no entry";
	if (!have)
		return NULL;
	if (!near(got->timeout_s, x->got_timeout_s))
		return "timer";
	if (got->status != x->got_status)
		return "status";
	if (got->mark != x->got_mark)
		return "mark";
	return got->key.proto == 6 && got->tcp.state != x->got_state ? "state" : NULL;
}

static const char *apply(const struct kernops *k, const struct step *x, int *err)
{
	struct engine_op op = { .type = x->type, .limit_s = UINT32_MAX, .exact = x->exact };
	struct flow got = { .has = 0 };
	bool have = false;

	op.flow = kernops_flow(x->flow);
	op.flow.timeout_s = x->timeout_s ? x->timeout_s : 600;
	if (x->timeout_s == NO_TIMEOUT)
		op.flow.timeout_s = 0;
	op.flow.status = x->status ? x->status : ALL;
	op.flow.mark = x->mark;
	op.flow.tcp.state = x->state ? x->state : ESTABLISHED;
	if (x->limit_s)
		op.limit_s = k->now_s(k->arg) + x->limit_s;
	*err = k->apply(k->arg, &op, &got, &have);
	return check(x, *err, &got, have);
}

unsigned int kernops_run(const struct kernops *k, const char *name, unsigned int *passed)
{
	unsigned int failed = 0;

	*passed = 0;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		const struct step *x = &steps[i];
		const char *wrong = NULL;
		int err = 0;

		if (x->what == FILL && !k->fill(k->arg))
			break; /* what follows needs it */
		if (x->what == PASS)
			k->pass(k->arg, x->timeout_s);
		if (x->what == DUMP) {
			err = k->dump(k->arg);
			wrong = err == (int)x->timeout_s ? NULL : "entries";
		}
		if (x->what == APPLY)
			wrong = apply(k, x, &err);
		*passed += !wrong;
		failed += wrong != NULL;
		if (wrong)
			printf("FAIL %s: step %zu, %s: %s (%d)\n", name, i, x->name, wrong, err);
	}
	return failed;
}
