/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two primaries, at once or one after the other, and what becomes of the flows of both
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
	b->n[0].kern[1].end_at = b->now + 60 * USEC_PER_SEC;
	bed_state(b, 0, 1, TCP_SYN_RECV);
	bed_run(b, 100);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 2000);
	bed_touch(b, 0, 3);
	b->n[1].kern[1].end_at = b->now + 432000 * USEC_PER_SEC;
	bed_state(b, 1, 1, TCP_ESTABLISHED);
	bed_run(b, 10000);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 0); /* who knows where they pass */
	engine_cmd(b->n[1].e, CMD_DEMOTE, b->now);
	bed_run(b, 500);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 2); /* not the third */
	assert_int_equal(b->n[0].kern[1].f.tcp.state, TCP_ESTABLISHED);
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

/* Flow 1 of node n lives on under the same key, translated otherwise, with data that nobody has
 * acknowledged. */
static void live_anew(struct bed *b, unsigned int n)
{
	struct flow f = bed_flow(1);

	f.reply.dport = 0x7777;
	f.timeout_s = 300;
	bed_put(b, n, 1, &f);
	bed_event(b, n, KERN_NEW, 1, 0);
}

/* Our kernel's next word on a flow ends the rival's claim, whatever its timer. */
static void test_split_met(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 2000);
	assert_int_equal(bed_mirror(b, 0, 1, 1)->list, CACHE_LIST_LATER);
	b->n[0].kern[1].end_at = b->now + 300 * USEC_PER_SEC;
	bed_event(b, 0, KERN_UPDATE, 1, 0);
	assert_int_equal(bed_mirror(b, 0, 1, 1)->list, CACHE_LIST_NONE);
	engine_cmd(b->n[1].e, CMD_DEMOTE, b->now);
	bed_run(b, 1000);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 2);
	bed_free(b);
}

/* The rival's life of the key is over, and another one is here. */
static void test_split_lives(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	live_anew(b, 0);
	bed_run(b, 1000);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 1000);
	b->n[1].kern[1].f.reply = bed_flow(1).reply;
	b->n[1].kern[1].end_at = b->now + 120 * USEC_PER_SEC;
	bed_state(b, 1, 1, TCP_FIN_WAIT);
	bed_run(b, 1000);
	engine_cmd(b->n[1].e, CMD_DEMOTE, b->now);
	bed_run(b, 1000);
	assert_int_equal(b->n[0].kern[1].f.reply.dport, 0x7777);
	assert_int_equal(b->n[0].kern[1].f.tcp.state, TCP_ESTABLISHED);
	bed_free(b);
}

/* The rival's connection is over. It may have been the life before, for all that can be told, so
 * ours does not get the timer of one that is over. */
static void test_split_over(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 2000);
	b->n[1].kern[1].end_at = b->now + 10 * USEC_PER_SEC;
	bed_state(b, 1, 1, TCP_CLOSE);
	bed_run(b, 100);
	engine_cmd(b->n[1].e, CMD_DEMOTE, b->now);
	bed_run(b, 1000);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 3); /* its window may be an old one */
	assert_int_equal(b->n[0].kern[1].f.tcp.state, TCP_ESTABLISHED);
	assert_true(b->n[0].kern[1].end_at > b->now + 1000 * USEC_PER_SEC);
	bed_free(b);
}

/* The rival dies: the addresses come here, and nobody says so. */
static void test_split_dead(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 10000);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 0);
	bed_kill(b, 1);
	bed_run(b, 3000);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 3);
	assert_int_equal(bed_stats(b, 0).local_flows, 3);
	bed_free(b);
}

/* What a node said before it died is older than what its successor made of it. */
static void test_dead_word(void **state)
{
	struct bed *b = bed_pair(true);
	struct rec *said = bed_mirror(b, 1, 0, 2);

	(void)state;
	bed_kill(b, 0);
	bed_run(b, 2000);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 1000);
	live_anew(b, 1);
	bed_run(b, 1000);
	engine_cmd(b->n[1].e, CMD_DEMOTE, b->now);
	for (unsigned int i = 0; i < 10; i++) {
		patrol_urgent(b->n[1].e);
		bed_run(b, 500);
	}
	assert_int_equal(said->list, CACHE_LIST_NONE);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 1000);
	assert_int_equal(b->n[1].ops[OP_REPLACE], 0);
	assert_int_equal(b->n[1].kern[1].f.reply.dport, 0x7777);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split),       cmocka_unit_test(test_split_forward),
		cmocka_unit_test(test_split_again), cmocka_unit_test(test_split_met),
		cmocka_unit_test(test_split_lives), cmocka_unit_test(test_split_over),
		cmocka_unit_test(test_split_dead),  cmocka_unit_test(test_dead_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
