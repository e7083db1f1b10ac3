/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two primaries, and what becomes of the flows of both when one of them is a backup again
 * (PROTOCOL.md, R38).
 */
#include "engine_bed.h"

/* One side closes flow i through node n. */
static void finish(struct bed *b, unsigned int n, unsigned int i)
{
	b->n[n].kern[i].end_at = b->now + 120 * USEC_PER_SEC;
	bed_state(b, n, i, TCP_FIN_WAIT);
}

/* Two primaries: packets pass through the other, who made all its own. When it steps back they come
 * to us, who were primary all along, and whose windows are old; what packets met here is not. */
static void test_split(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 2000);
	bed_touch(b, 0, 3);
	finish(b, 1, 1);
	bed_run(b, 10000);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 0); /* who knows where they pass */
	engine_cmd(b->n[1].e, CMD_DEMOTE, b->now);
	bed_run(b, 500);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 2); /* not the third */
	assert_int_equal(b->n[0].kern[1].f.tcp.state, TCP_FIN_WAIT);
	assert_int_equal(bed_stats(b, 0).local_flows, 3);
	bed_run(b, 10000);
	assert_int_equal(bed_stats(b, 1).local_flows, 0); /* and the other yields */
	bed_assert_equal(b);
	bed_free(b);
}

/* The state is not set back to what the other made its own. */
static void test_split_forward(void **state)
{
	struct bed *b = bed_pair(true);
	struct flow old;

	(void)state;
	old = b->n[0].kern[1].f;
	finish(b, 0, 1);
	bed_run(b, 100);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 1000);
	bed_put(b, 1, 1, &old);
	bed_event(b, 1, KERN_UPDATE, 1, 0);
	bed_run(b, 1000);
	engine_cmd(b->n[1].e, CMD_DEMOTE, b->now);
	bed_run(b, 5000);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 3);
	assert_int_equal(b->n[0].kern[1].f.tcp.state, TCP_FIN_WAIT);
	bed_free(b);
}

/* The address comes back without a word to the other: a promote that is repeated is enough. */
static void test_split_again(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 5000);
	engine_cmd(b->n[0].e, CMD_PROMOTE, b->now);
	bed_run(b, 200);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 3);
	assert_int_equal(bed_stats(b, 0).local_flows, 3);
	assert_int_equal(bed_stats(b, 1).local_flows, 3);
	bed_run(b, 5000);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 3);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_split_forward),
		cmocka_unit_test(test_split_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
