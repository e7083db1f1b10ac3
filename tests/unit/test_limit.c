/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * More flows than there is room for: no table grows beyond flows_max, whatever the kernel tells;
 * that is told, and when there is room again what was left out is found without a word of anybody.
 */
#include "engine_bed.h"

#define ROOM 4

/* Node 0 alone, its first dump read, with room for a few flows. */
static struct bed *bed_small(enum engine_origin origin, unsigned int there)
{
	struct bed *b = bed_new(2, true);

	b->n[0].conf.flows_max = ROOM;
	for (unsigned int i = 1; i <= there; i++) {
		struct flow f = bed_flow(i);

		bed_put(b, 0, i, &f);
	}
	bed_start(b, 0, origin == ORIGIN_BOOT ? ROLE_PRIMARY : ROLE_BACKUP, origin);
	bed_run(b, 200);
	return b;
}

static void assert_bounded(const struct bed *b)
{
	const struct engine *e = b->n[0].e;

	assert_in_range(cache_flows(e->local), 0, ROOM);
	assert_in_range(cache_flows(e->strays), 0, ROOM);
	assert_in_range(cache_tombs(e->strays), 0, ROOM);
}

static void test_own(void **state)
{
	struct bed *b = bed_small(ORIGIN_BOOT, 0);

	(void)state;
	for (unsigned int i = 1; i <= ROOM + 2; i++)
		bed_open(b, 0, i);
	bed_run(b, 100);
	assert_bounded(b);
	assert_int_equal(bed_stats(b, 0).local_flows, ROOM);
	assert_true(bed_stats(b, 0).limited);
	assert_int_equal(b->n[0].notes[NOTE_LIMIT], 1); /* once */
	bed_state(b, 0, ROOM + 1, TCP_FIN_WAIT);        /* a flow that is not held */
	bed_run(b, 100);
	assert_bounded(b);

	for (unsigned int i = 1; i <= 2; i++) { /* it is read when there is room */
		bed_end(b, 0, i, 0, 0);
		bed_run(b, 1000);
		assert_bounded(b);
		assert_non_null(bed_own(b, 0, ROOM + i));
	}
	assert_false(bed_stats(b, 0).limited);
	bed_open(b, 0, 1);
	bed_run(b, 100);
	assert_int_equal(b->n[0].notes[NOTE_LIMIT], 3); /* and each time anew */
	bed_free(b);
}

/* A restarted backup whose kernel has more than it may hold. */
static void test_unclaimed(void **state)
{
	struct bed *b = bed_small(ORIGIN_RESTART, ROOM + 3);
	uint64_t dumps;

	(void)state;
	assert_bounded(b);
	assert_true(bed_stats(b, 0).limited);
	assert_int_equal(bed_stats(b, 0).unclaimed, ROOM);
	dumps = bed_stats(b, 0).count.dumps;
	bed_run(b, 2000); /* no dump after the other meanwhile */
	assert_in_range(bed_stats(b, 0).count.dumps, dumps, dumps + 1);
	assert_bounded(b);
	bed_free(b);
}

/* Changes of flows that are not held are not even read, beyond the limit. */
static void test_partial(void **state)
{
	struct bed *b = bed_small(ORIGIN_BOOT, 0);
	uint64_t unknown;

	(void)state;
	for (unsigned int i = 1; i <= ROOM; i++)
		bed_open(b, 0, i);
	bed_run(b, 100);
	unknown = bed_stats(b, 0).count.events_unknown;
	for (unsigned int i = ROOM + 1; i < 10; i++) {
		struct flow f = bed_flow(i);

		bed_put(b, 0, i, &f);
		f.has &= ~(uint32_t)(FLOW_HAS_TCP | FLOW_HAS_REPLY);
		engine_kern(b->n[0].e, KERN_UPDATE, &f, 0, b->now);
		assert_bounded(b);
	}
	assert_true(bed_stats(b, 0).limited);
	assert_true(bed_stats(b, 0).count.events_unknown > unknown);
	bed_free(b);
}

static void dump_flows(struct bed *b, unsigned int n)
{
	for (unsigned int i = 0; i < BED_FLOWS; i++)
		if (b->n[n].kern[i].there)
			bed_event(b, n, KERN_DUMP, i, 0);
	engine_kern(b->n[n].e, KERN_DUMP_END, NULL, 0, b->now);
}

/* More end while a dump runs than may be remembered: what it says is not believed, and another dump
 * follows. */
static void test_spoilt(void **state)
{
	struct bed *b = bed_small(ORIGIN_BOOT, 0);
	struct engine *e = b->n[0].e;
	uint64_t failures = bed_stats(b, 0).count.dump_failures;
	struct flow old = bed_flow(9);
	struct engine_op op;

	(void)state;
	engine_kern(e, KERN_OVERRUN, NULL, 0, b->now);
	b->now += USEC_PER_SEC;
	engine_tick(e, b->now);
	assert_true(engine_op(e, &op, b->now) && op.type == OP_DUMP);
	for (unsigned int i = 1; i < 10; i++) {
		struct flow f = bed_flow(i);

		bed_put(b, 0, i, &f);
		bed_end(b, 0, i, 0, 0);
		assert_bounded(b);
	}
	old.has |= FLOW_HAS_ID;
	old.id = 5;
	engine_kern(e, KERN_DUMP, &old, 0, b->now); /* a message older than its end */
	dump_flows(b, 0);
	assert_null(bed_own(b, 0, 9));
	assert_int_equal(bed_stats(b, 0).count.dump_failures, failures + 1);
	bed_open(b, 0, 11);
	bed_run(b, 1000);
	assert_int_equal(bed_stats(b, 0).count.dump_failures, failures + 1);
	assert_int_equal(bed_stats(b, 0).local_flows, 1);
	assert_true(bed_stats(b, 0).complete);
	bed_free(b);
}

/* A peer announces more than we may hold. */
static void test_mirror(void **state)
{
	struct bed *b = bed_new(2, true);
	struct engine_stats s;

	(void)state;
	b->n[1].conf.flows_max = 2;
	bed_start(b, 0, ROLE_PRIMARY, ORIGIN_BOOT);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_BOOT);
	bed_run(b, 500);
	for (unsigned int i = 1; i <= 4; i++)
		bed_open(b, 0, i);
	bed_run(b, 5000);
	s = bed_stats(b, 1);
	assert_int_equal(s.remote_flows, 2);
	assert_true(s.limited);
	assert_false(s.ready);
	assert_string_equal(s.reason, "flows of a0 are not held: more than state.flows_max");
	assert_int_equal(b->n[1].notes[NOTE_LIMIT], 1);
	for (unsigned int i = 1; i <= 3; i++)
		bed_end(b, 0, i, 0, 0);
	bed_run(b, 2000);
	bed_assert_equal(b);
	s = bed_stats(b, 1);
	assert_false(s.limited);
	assert_true(s.ready);
	bed_free(b);
}

/* What a promote finds in its kernel, and cannot make its own, counts as refused and as nothing
 * else. */
static void test_promote(void **state)
{
	struct bed *b = bed_pair(false);
	struct flow f = bed_flow(1);
	struct engine_stats s;

	(void)state;
	bed_put(b, 1, 1, &f);
	b->n[1].e->conf.flows_max = 0;
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 1000);
	s = bed_stats(b, 1);
	assert_false(s.commit.running);
	assert_int_equal(s.commit.total, 3);
	assert_int_equal(s.commit.committed, 2);
	assert_int_equal(s.commit.refused, 1);
	assert_int_equal(s.commit.refused_by[EEXIST], 1);
	assert_int_equal(s.commit.existed, 0);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own),       cmocka_unit_test(test_promote),
		cmocka_unit_test(test_unclaimed), cmocka_unit_test(test_partial),
		cmocka_unit_test(test_spoilt),    cmocka_unit_test(test_mirror),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
