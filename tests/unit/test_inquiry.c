/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inquiry (PROTOCOL.md, R89 to R91): what differs in a peer's kernel is told to who asks, once
 * and whatever is lost on the way; of a peer that says nothing, cannot, or begins anew, the reason
 * is told; and who asks again and again does not keep a peer busy.
 */
#include "engine_bed.h"

#define ANSWER_MS 400 /* an audit, its pause, a question that was lost */

static const struct engine_inquiry *ask(struct bed *b, unsigned int ms)
{
	engine_cmd(b->n[0].e, CMD_INQUIRE, b->now);
	bed_run(b, ms);
	return engine_inquiry(b->n[0].e);
}

/* What became of the only peer. */
static const struct engine_findings *over(const struct bed *b, enum engine_asked state)
{
	const struct engine_inquiry *q = engine_inquiry(b->n[0].e);

	assert_int_equal(q->serial, q->due);
	assert_int_equal(q->of[0].state, state);
	assert_string_equal(q->of[0].node, "a1");
	return &q->of[0];
}

static void assert_found(const struct engine_findings *f, uint64_t kernel_only, uint64_t cache_only,
			 uint64_t differing)
{
	assert_int_equal(f->found_by[FOUND_KERNEL_ONLY], kernel_only);
	assert_int_equal(f->found_by[FOUND_CACHE_ONLY], cache_only);
	assert_int_equal(f->found_by[FOUND_DIFFERS], differing);
	assert_int_equal(f->found_count, kernel_only + cache_only + differing);
}

static void test_found(void **state)
{
	struct bed *b = bed_pair(true);
	struct flow f = bed_flow(5), two = bed_flow(2);
	const struct engine_findings *x;

	(void)state;
	(void)ask(b, ANSWER_MS);
	x = over(b, ASKED_OVER);
	assert_found(x, 0, 0, 0);
	assert_int_equal(x->entries, 3);
	assert_int_equal(b->n[0].e->count.audits, 0);
	assert_int_equal(b->n[1].e->count.audits_asked, 1);

	bed_put(b, 1, 5, &f); /* behind the peer's back */
	b->n[1].kern[1].there = false;
	b->n[1].kern[2].f.mark = 9;
	(void)ask(b, ANSWER_MS);
	x = over(b, ASKED_OVER);
	assert_found(x, 1, 1, 1);
	for (unsigned int i = 0; i < 3; i++) {
		const struct engine_found *g = &x->found[i];

		assert_string_equal(g->peer, g->what == FOUND_KERNEL_ONLY ? "" : "a0");
		if (g->what == FOUND_KERNEL_ONLY)
			assert_memory_equal(&g->kernel.key, &f.key, sizeof(f.key));
		if (g->what != FOUND_DIFFERS)
			continue;
		assert_memory_equal(&g->held.key, &two.key, sizeof(two.key));
		assert_int_equal(g->differs, FLOW_HAS_MARK);
		assert_int_equal(g->kernel.mark, 9);
		assert_int_equal(g->held.mark, 0);
	}
	bed_run(b, 1000);
	(void)ask(b, ANSWER_MS); /* healed */
	assert_found(over(b, ASKED_OVER), 0, 0, 0);
	bed_assert_equal(b);
	bed_free(b);
}

/* The answer is lost, and what it told of is healed meanwhile. */
static void test_lost(void **state)
{
	struct bed *b = bed_pair(true);
	struct flow f = bed_flow(5);

	(void)state;
	bed_put(b, 1, 5, &f);
	engine_cmd(b->n[0].e, CMD_INQUIRE, b->now);
	bed_run(b, 1); /* the question is on its way */
	b->n[0].deaf = true;
	bed_run(b, 700);
	b->n[0].deaf = false;
	assert_int_equal(b->n[1].e->count.audits, 1);
	bed_run(b, 300);
	assert_found(over(b, ASKED_OVER), 1, 0, 0);
	assert_int_equal(b->n[1].e->count.audits, 1);
	bed_free(b);
}

/* More than a datagram holds: a few are told, the figures tell of all. */
static void test_many(void **state)
{
	struct bed *b = bed_pair(true);
	const struct engine_findings *x;

	(void)state;
	for (unsigned int i = 4; i < BED_FLOWS; i++) {
		struct flow f = bed_flow(i);

		f.mark = i;
		bed_put(b, 1, i, &f);
	}
	(void)ask(b, ANSWER_MS);
	x = over(b, ASKED_OVER);
	assert_int_equal(x->found_by[FOUND_KERNEL_ONLY], BED_FLOWS - 4);
	assert_int_equal(x->found_count, WIRE_FINDINGS_MAX);

	b->n[1].conf.dgram_max = WIRE_DGRAM_MIN;
	engine_reconf(b->n[1].e, &b->n[1].conf, b->now);
	for (unsigned int i = 4; i < BED_FLOWS; i++)
		b->n[1].kern[i].f.mark++;
	(void)ask(b, 2 * ANSWER_MS);
	x = over(b, ASKED_OVER);
	assert_int_equal(x->found_by[FOUND_DIFFERS], BED_FLOWS - 4);
	assert_in_range(x->found_count, 4, WIRE_FINDINGS_MAX - 1);
	bed_free(b);
}

static void test_unknown(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	bed_peer(b, 0, 1)->caps = 0;
	(void)ask(b, 2);
	(void)over(b, ASKED_OLD);
	assert_int_equal(b->n[1].e->count.audits_asked, 0);
	bed_peer(b, 0, 1)->caps = WIRE_CAP_AUDIT;

	b->n[1].undrained = true; /* its audit cannot end: it says so, for as long as it takes */
	bed_put(b, 1, 5, &(struct flow){ 0 });
	b->n[1].kern[5].f = bed_flow(5);
	assert_int_equal(ask(b, 30000)->of[0].state, ASKED_RUNS);
	b->n[1].undrained = false;
	bed_run(b, ANSWER_MS);
	assert_found(over(b, ASKED_OVER), 1, 0, 0);

	b->n[1].deaf = true; /* it is heard, and does not hear us */
	assert_int_equal(ask(b, 9990)->of[0].state, ASKED_OPEN);
	bed_run(b, 300);
	(void)over(b, ASKED_UNANSWERED);
	b->n[1].deaf = false;
	bed_run(b, 100);

	engine_cmd(b->n[0].e, CMD_INQUIRE, b->now); /* it starts anew */
	b->n[1].deaf = true;
	bed_run(b, 5);
	bed_kill(b, 1);
	b->n[1].deaf = false;
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_RESTART);
	bed_run(b, 500);
	(void)over(b, ASKED_BROKEN);

	bed_kill(b, 1);
	assert_int_equal(ask(b, 500)->of[0].state, ASKED_OPEN);
	bed_run(b, 1000);
	(void)over(b, ASKED_SILENT);
	(void)ask(b, 2); /* at once, next time */
	(void)over(b, ASKED_SILENT);
	bed_free(b);
}

static void test_alone(void **state)
{
	struct bed *b = bed_new(1, true);
	const struct engine_inquiry *q;

	(void)state;
	bed_start(b, 0, ROLE_PRIMARY, ORIGIN_BOOT);
	bed_run(b, 50);
	q = ask(b, 2);
	assert_int_equal(q->serial, 1);
	assert_int_equal(q->of[0].state, ASKED_NOT);
	bed_free(b);
}

/* An inquiry that is asked for while one is open begins after it. */
static void test_again(void **state)
{
	struct bed *b = bed_pair(true);
	const struct engine_inquiry *q = engine_inquiry(b->n[0].e);
	struct flow f = bed_flow(5);

	(void)state;
	bed_put(b, 1, 5, &f);
	b->n[1].undrained = true;
	(void)ask(b, 100);
	assert_int_equal(q->due, 1);
	(void)ask(b, 100);
	assert_int_equal(q->due, 2);
	b->n[1].undrained = false;
	while (q->serial == 0)
		bed_run(b, 1);
	assert_found(&q->of[0], 1, 0, 0);
	bed_run(b, 3 * ANSWER_MS);
	assert_found(over(b, ASKED_OVER), 0, 0, 0);
	bed_free(b);
}

/* A peer that asks anew every millisecond, for ten seconds. */
static void test_pace(void **state)
{
	struct bed *b = bed_pair(true);
	uint64_t sent = b->n[1].e->count.dgrams_sent;

	(void)state;
	for (unsigned int i = 0; i < 10000; i++) {
		b->n[0].e->inquiry.open = false;
		(void)ask(b, 1);
	}
	assert_in_range(b->n[1].e->count.audits, 10, 51);
	assert_in_range(b->n[1].e->count.dgrams_sent - sent, 0, 12000);
	bed_assert_equal(b);
	bed_free(b);
}

/* Three nodes: each is asked, and one that is silent leaves the others' answers as they are. */
static void test_group(void **state)
{
	struct bed *b = bed_new(3, true);
	const struct engine_inquiry *q;
	struct flow f = bed_flow(5);

	(void)state;
	b->multicast = true;
	for (unsigned int n = 0; n < 3; n++)
		bed_start(b, n, n ? ROLE_BACKUP : ROLE_PRIMARY, ORIGIN_BOOT);
	bed_run(b, 500);
	bed_put(b, 2, 5, &f);
	q = ask(b, ANSWER_MS);
	assert_int_equal(q->serial, 1);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(q->of[i].state, ASKED_OVER);
		assert_found(&q->of[i], !strcmp(q->of[i].node, "a2"), 0, 0);
	}
	bed_kill(b, 2);
	q = ask(b, 2000);
	assert_int_equal(q->serial, 2);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(q->of[i].state,
				 strcmp(q->of[i].node, "a2") ? ASKED_OVER : ASKED_SILENT);
	bed_free(b);
}

/* What is behind FINDINGS: cut short, out of range, without room. */
static void test_finding(void **state)
{
	static const char golden[] = "03 0000000a 001c 03 667732 02 abcd 01 ef";
	struct wire_finding x = { .kind = 3,
				  .differs = 10,
				  .refused = 28,
				  .owner = "fw2",
				  .entry = (const uint8_t *)"\xab\xcd",
				  .record = (const uint8_t *)"\xef",
				  .entry_len = 2,
				  .record_len = 1 };
	struct wire_finding got;
	uint8_t buf[HEX_MAX];
	struct wire_buf b;
	size_t len;

	(void)state;
	wire_init(&b, buf, sizeof(buf));
	assert_true(wire_put_finding(&b, &x));
	assert_golden(buf, b.at, golden);
	len = b.at;
	wire_init(&b, buf, len);
	wire_get_finding(&b, &got);
	assert_int_equal(b.err, 0);
	assert_int_equal(wire_left(&b), 0);
	assert_int_equal(got.kind, 3);
	assert_int_equal(got.differs, 10);
	assert_int_equal(got.refused, 28);
	assert_string_equal(got.owner, "fw2");
	assert_int_equal(got.entry_len, 2);
	assert_memory_equal(got.entry, x.entry, 2);
	assert_int_equal(got.record_len, 1);
	assert_memory_equal(got.record, x.record, 1);
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *p = exactly(buf, cut);

		wire_init(&b, p, cut);
		assert_false(wire_put_finding(&b, &x));
		assert_int_equal(b.at + (size_t)b.err, 0);
		wire_get_finding(&b, &got);
		assert_int_equal(b.err, WIRE_ESHORT);
		free(p);
	}
	for (unsigned int i = 0; i < 4; i++) {
		static const uint8_t at[] = { 0, 0, 7, 8 }, bad[] = { 0, 4, 32, 0x1b };

		(void)unhex(golden, buf);
		memset(buf + len, 'x', 64);
		buf[at[i]] = bad[i];
		wire_init(&b, buf, len + 64);
		wire_get_finding(&b, &got);
		assert_int_equal(b.err, WIRE_EVALUE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found),   cmocka_unit_test(test_lost),
		cmocka_unit_test(test_many),    cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_alone),   cmocka_unit_test(test_again),
		cmocka_unit_test(test_pace),    cmocka_unit_test(test_group),
		cmocka_unit_test(test_finding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
