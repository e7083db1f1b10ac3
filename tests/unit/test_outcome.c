/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a node tells of a promote ten seconds later (PROTOCOL.md, R77): what was taken over, seen
 * alive, ended, refused; after promotes that are repeated, taken back, or met by clashes.
 */
#include "engine_bed.h"

#define LATER_MS 11500 /* the wait, a dump and a round, the patrol's pace with few flows */

static const struct engine_outcome *told(const struct bed *b, unsigned int n)
{
	bool pending;
	const struct engine_outcome *o = engine_outcome(b->n[n].e, &pending);

	assert_false(pending);
	assert_int_equal(b->n[n].notes[NOTE_OUTCOME], o->serial);
	return o;
}

static bool pending(const struct bed *b, unsigned int n)
{
	bool is;

	(void)engine_outcome(b->n[n].e, &is);
	return is;
}

/* Node 0 dies, node 1 is promoted. */
static void take_over(struct bed *b)
{
	bed_kill(b, 0);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
}

static void outcome(bool hot)
{
	struct bed *b = bed_pair(hot);
	const struct engine_outcome *o;

	take_over(b);
	bed_run(b, 4000);                                     /* timers tell in whole seconds */
	bed_touch(b, 1, 1);                                   /* packets alone, no event */
	b->n[1].kern[2].end_at = b->now + 300 * USEC_PER_SEC; /* the last left data under way */
	bed_end(b, 1, 3, 0, 0);
	assert_true(pending(b, 1));
	assert_int_equal(b->n[1].notes[NOTE_OUTCOME], 0);
	bed_run(b, LATER_MS);
	o = told(b, 1);
	assert_int_equal(o->serial, 1);
	assert_int_equal(o->taken, 3);
	assert_int_equal(o->alive, 2);
	assert_int_equal(o->ended, 1);
	assert_int_equal(o->refused, 0);
	assert_true(o->told_at >= o->begun_at + 10 * USEC_PER_SEC);
	bed_run(b, 30000); /* told once */
	assert_int_equal(told(b, 1)->serial, 1);
	bed_free(b);
}

static void test_outcome(void **state)
{
	(void)state;
	outcome(true);
	outcome(false);
}

/* A change of state is life too, and a flow that ends after it was alive. */
static void test_alive_then_ended(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	take_over(b);
	bed_run(b, 2000);
	bed_state(b, 1, 1, TCP_FIN_WAIT);
	bed_end(b, 1, 1, 0, 0);
	bed_state(b, 1, 2, TCP_FIN_WAIT);
	bed_run(b, LATER_MS);
	assert_int_equal(told(b, 1)->taken, 3);
	assert_int_equal(told(b, 1)->alive, 2);
	assert_int_equal(told(b, 1)->ended, 1);
	bed_free(b);
}

/* An entry that went without a word is found by the reading. */
static void test_ended_unheard(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	take_over(b);
	bed_run(b, 2000);
	b->n[1].kern[2].there = false;
	bed_run(b, LATER_MS);
	assert_int_equal(told(b, 1)->taken, 3);
	assert_int_equal(told(b, 1)->ended, 1);
	bed_free(b);
}

static void test_refused(void **state)
{
	struct bed *b = bed_pair(false);
	const struct engine_outcome *o;

	(void)state;
	b->n[1].refuse = ENOSPC;
	take_over(b);
	bed_run(b, LATER_MS);
	o = told(b, 1);
	assert_int_equal(o->taken, 0);
	assert_int_equal(o->refused, 3);
	assert_int_equal(o->refused_by[ENOSPC], 3);
	b->n[1].refuse = 0; /* there is room again: a promote that is repeated takes them over */
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, LATER_MS);
	o = told(b, 1);
	assert_int_equal(o->serial, 2);
	assert_int_equal(o->taken, 3);
	assert_int_equal(o->refused, 0);
	bed_free(b);
}

/* A promote that is repeated changes nothing; one of a primary has nothing to tell. */
static void test_repeated(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	take_over(b);
	for (unsigned int i = 0; i < 6; i++) {
		bed_run(b, 1000);
		engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	}
	bed_run(b, LATER_MS - 6000);
	assert_int_equal(told(b, 1)->taken, 3);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	assert_false(pending(b, 1));
	bed_run(b, LATER_MS);
	assert_int_equal(told(b, 1)->serial, 1);
	bed_free(b);
}

/* Taken back before it was told: told after the next one, each flow once. */
static void test_demoted(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	take_over(b);
	bed_run(b, 3000);
	engine_cmd(b->n[1].e, CMD_DEMOTE, b->now);
	bed_run(b, 2 * LATER_MS);
	assert_false(pending(b, 1));
	assert_int_equal(b->n[1].notes[NOTE_OUTCOME], 0);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, LATER_MS);
	assert_int_equal(told(b, 1)->serial, 1);
	assert_int_equal(told(b, 1)->taken, 3);
	assert_int_equal(told(b, 1)->ended, 0);
	bed_free(b);
}

/* Our kernel has an entry of its own for a flow of the peer (EEXIST): a live one is never rolled
 * back, and is not something that we took over. */
static void test_clash(void **state)
{
	struct bed *b = bed_pair(false);

	(void)state;
	bed_open(b, 1, 1);
	b->n[1].kern[1].f.mark = 7;
	bed_state(b, 1, 1, TCP_FIN_WAIT);
	bed_run(b, 500);
	take_over(b);
	bed_run(b, 500);
	assert_int_equal(b->n[1].kern[1].f.mark, 7);
	assert_int_equal(b->n[1].kern[1].f.tcp.state, TCP_FIN_WAIT);
	assert_int_equal(engine_commit(b->n[1].e)->refused, 0);
	bed_run(b, LATER_MS);
	assert_int_equal(told(b, 1)->taken, 2);
	assert_int_equal(told(b, 1)->refused, 0);
	bed_free(b);
}

/* The operator's flush of the local half: nothing is left to tell of. */
static void test_flushed(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	take_over(b);
	bed_run(b, 2000);
	engine_cmd(b->n[1].e, CMD_FLUSH_LOCAL, b->now);
	bed_run(b, LATER_MS);
	assert_false(pending(b, 1));
	assert_int_equal(b->n[1].notes[NOTE_OUTCOME], 0);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outcome),       cmocka_unit_test(test_alive_then_ended),
		cmocka_unit_test(test_ended_unheard), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_repeated),      cmocka_unit_test(test_demoted),
		cmocka_unit_test(test_clash),         cmocka_unit_test(test_flushed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
