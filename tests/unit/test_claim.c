/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Claims (PROTOCOL.md, R38): an address that comes back meets entries that are older than the
 * packets that passed elsewhere. Which are made anew and when, which are not, and what becomes of
 * claims that leave before.
 */
#include "engine_bed.h"

/* The new owner's claim stands: the old one's entries, whose windows are old, are made anew, once
 * (failback). */
static void test_failback(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[0].e, CMD_DEMOTE, b->now);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 10000);
	bed_assert_equal(b);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 3);
	assert_int_equal(bed_stats(b, 0).count.released, 3);
	assert_int_equal(bed_stats(b, 0).local_flows, 0);
	assert_int_equal(bed_stats(b, 0).copies, 3);
	assert_int_equal(bed_stats(b, 1).local_flows, 3);
	assert_true(b->n[1].kern[1].there); /* R41: RELEASE deletes nothing */
	bed_run(b, 10000);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 3);
	bed_free(b);
}

/* The address returns before the claim has stood for long: what a promote finds is stale all the
 * same. */
static void test_failback_at_once(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[0].e, CMD_DEMOTE, b->now);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 500);
	engine_cmd(b->n[1].e, CMD_DEMOTE, b->now);
	bed_run(b, 4000);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 0);
	engine_cmd(b->n[0].e, CMD_PROMOTE, b->now);
	bed_run(b, 100);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 3);
	bed_free(b);
}

/* What was lifted since the claim began is no packet's timer (R37). */
static void test_failback_lifted(void **state)
{
	struct bed *b = bed_pair(true);
	unsigned int lifted;

	(void)state;
	engine_cmd(b->n[0].e, CMD_DEMOTE, b->now);
	b->n[1].e->conf.walk_rate = 1;
	b->n[1].e->patrol.tokens = 0;
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 100);
	engine_cmd(b->n[1].e, CMD_DEMOTE, b->now);
	engine_cmd(b->n[0].e, CMD_PROMOTE, b->now);
	bed_run(b, 200);
	assert_int_equal(bed_mirror(b, 1, 0, 1)->list, CACHE_LIST_LATER);
	lifted = b->n[1].ops[OP_REFRESH];
	for (unsigned int i = 0; i < 5; i++) {
		patrol_urgent(b->n[1].e);
		bed_run(b, 200);
	}
	assert_true(b->n[1].ops[OP_REFRESH] > lifted);
	bed_run(b, 400); /* in whole seconds it stands for two by then */
	assert_int_equal(b->n[1].ops[OP_REPLACE], 3);
	assert_int_equal(bed_stats(b, 1).local_flows, 0);
	bed_free(b);
}

/* Nor does a lift come before the replacement in one batch. */
static void test_failback_lifting(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[0].e, CMD_DEMOTE, b->now);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 500);
	engine_cmd(b->n[1].e, CMD_DEMOTE, b->now);
	bed_run(b, 4000);
	for (unsigned int i = 1; i <= 3; i++)
		lift_later(b->n[0].e, bed_own(b, 0, i), b->now);
	engine_cmd(b->n[0].e, CMD_PROMOTE, b->now);
	b->n[0].e->patrol.ops = 7; /* the walk's turn */
	bed_run(b, 100);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 3);
	assert_int_equal(b->n[0].ops[OP_REFRESH], 0);
	bed_free(b);
}

/* A dump that runs between a claim's leaving and the replacement shows the older entry. */
static void test_failback_dumped(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[0].e, CMD_DEMOTE, b->now);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 300);
	bed_state(b, 1, 1, TCP_FIN_WAIT);
	engine_cmd(b->n[1].e, CMD_DEMOTE, b->now);
	bed_run(b, 300);
	claim_left(b->n[0].e, bed_peer(b, 0, 1), bed_mirror(b, 0, 1, 1));
	assert_true(bed_own(b, 0, 1)->flags & F_HEIR);
	b->n[0].e->dump.start_version = b->n[0].e->head;
	b->n[0].e->dump.gen++;
	bed_event(b, 0, KERN_DUMP, 1, 0);
	bed_run(b, 100);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 1);
	assert_int_equal(b->n[0].kern[1].f.tcp.state, TCP_FIN_WAIT);
	bed_free(b);
}

/* Nor does it help that the claim is gone by then, with the daemon that made it. */
static void test_failback_forgotten(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[0].e, CMD_DEMOTE, b->now);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 300);
	bed_state(b, 1, 1, TCP_FIN_WAIT);
	engine_cmd(b->n[1].e, CMD_DEMOTE, b->now);
	bed_run(b, 3000);
	bed_touch(b, 0, 3);
	bed_kill(b, 1);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_RESTART);
	bed_run(b, 1000);
	assert_null(bed_mirror(b, 0, 1, 1));
	engine_cmd(b->n[0].e, CMD_PROMOTE, b->now);
	bed_run(b, 100);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 2); /* not the third, which packets met */
	assert_int_equal(b->n[0].kern[1].f.tcp.state, TCP_FIN_WAIT);
	bed_assert_equal(b);
	bed_free(b);
}

/* Nor that its entry went with the address: packets had met it there. */
static void test_failback_forced(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[0].e, CMD_DEMOTE, b->now);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 300);
	bed_event(b, 1, KERN_UPDATE, 1, 0);
	engine_cmd(b->n[1].e, CMD_DEMOTE, b->now);
	bed_run(b, 300);
	bed_end(b, 1, 1, 1000, 0);
	bed_run(b, 300);
	assert_null(bed_mirror(b, 0, 1, 1));
	engine_cmd(b->n[0].e, CMD_PROMOTE, b->now);
	bed_run(b, 100);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 3);
	assert_non_null(bed_own(b, 0, 1));
	bed_free(b);
}

/* An entry through which packets pass stays ours, whoever claims it (R38, R39). */
static void test_failback_touched(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[0].e, CMD_DEMOTE, b->now);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	for (unsigned int i = 0; i < 50; i++) {
		bed_run(b, 200);
		bed_touch(b, 0, 2);
	}
	assert_int_equal(b->n[0].ops[OP_REPLACE], 2);
	assert_non_null(bed_own(b, 0, 2));
	bed_end(b, 1, 2, 0, 0); /* and the end of the other's entry does not end it */
	bed_run(b, 1000);
	assert_true(b->n[0].kern[2].there);
	bed_free(b);
}

/* Nor if the entry is of unknown origin. */
static void test_unknown_forgotten(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	bed_kill(b, 1);
	bed_run(b, 500);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_RESTART);
	bed_state(b, 0, 1, TCP_FIN_WAIT);
	bed_run(b, 400);
	assert_int_equal(bed_stats(b, 1).unclaimed, 3);
	assert_int_equal(bed_mirror(b, 1, 0, 1)->list, CACHE_LIST_LATER);
	bed_kill(b, 0);
	bed_start(b, 0, ROLE_BACKUP, ORIGIN_RESTART);
	for (unsigned int i = 0; i < 50 && bed_mirror(b, 1, 0, 1); i++)
		bed_run(b, 20);
	bed_run(b, 100);
	assert_int_equal(b->n[1].ops[OP_REPLACE], 3);
	assert_int_equal(b->n[1].kern[1].f.tcp.state, TCP_FIN_WAIT);
	assert_non_null(bed_own(b, 1, 1));
	assert_int_equal(bed_stats(b, 1).unclaimed, 0);
	bed_free(b);
}

/* Three nodes, flows 1 to 3 were opened through node 2, which is a backup now; nobody is primary.
 */
static struct bed *bed_three(void)
{
	struct bed *b = bed_new(3, true);

	for (unsigned int n = 0; n < 3; n++)
		bed_start(b, n, n == 2 ? ROLE_PRIMARY : ROLE_BACKUP, ORIGIN_BOOT);
	bed_run(b, 50);
	for (unsigned int i = 1; i <= 3; i++)
		bed_open(b, 2, i);
	bed_run(b, 500);
	bed_assert_equal(b);
	engine_cmd(b->n[2].e, CMD_DEMOTE, b->now);
	bed_run(b, 100);
	return b;
}

/* A turn of node n as primary. */
static void reign(struct bed *b, unsigned int n, unsigned int ms)
{
	engine_cmd(b->n[n].e, CMD_PROMOTE, b->now);
	bed_run(b, ms);
	engine_cmd(b->n[n].e, CMD_DEMOTE, b->now);
}

/* The newer claim is of a node that is not primary any more, and comes to nothing: the older one
 * does not. */
static void test_two_claims(void **state)
{
	struct bed *b = bed_three();

	(void)state;
	reign(b, 0, 1000);
	reign(b, 1, 100);
	engine_cmd(b->n[0].e, CMD_PROMOTE, b->now);
	bed_run(b, 1500);
	assert_int_equal(b->n[2].ops[OP_REPLACE], 3);
	assert_int_equal(bed_stats(b, 2).local_flows, 0);
	bed_free(b);
}

/* Of claims that wait, while nobody is primary, the last primary's counts, whoever speaks later. */
static void test_two_claims_word(void **state)
{
	struct bed *b = bed_three();

	(void)state;
	reign(b, 0, 1000);
	reign(b, 1, 100);
	bed_run(b, 2000);
	bed_state(b, 1, 1, TCP_FIN_WAIT);
	bed_run(b, 1000);
	bed_state(b, 0, 1, TCP_SYN_RECV); /* read late */
	bed_run(b, 5000);
	engine_cmd(b->n[2].e, CMD_PROMOTE, b->now);
	bed_run(b, 100);
	assert_int_equal(b->n[2].ops[OP_REPLACE], 3);
	assert_int_equal(b->n[2].kern[1].f.tcp.state, TCP_FIN_WAIT);
	bed_free(b);
}

/* Nor did the packets pass here that our entry met between a claim that waits and its node's next
 * word. */
static void test_claim_word(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[0].e, CMD_DEMOTE, b->now);
	reign(b, 1, 300);
	bed_run(b, 5000);
	bed_touch(b, 0, 1);
	bed_run(b, 5000);
	bed_state(b, 1, 1, TCP_FIN_WAIT);
	bed_run(b, 1000);
	engine_cmd(b->n[0].e, CMD_PROMOTE, b->now);
	bed_run(b, 100);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 3);
	assert_int_equal(b->n[0].kern[1].f.tcp.state, TCP_FIN_WAIT);
	bed_free(b);
}

/* The primary announces a flow, and so does a backup, as an entry of its own has it, that it has
 * yet to yield. Whoever speaks last, and whoever's table is walked first: a third node holds, and
 * a promote writes, what the primary said (R36). */
static void word_counts(bool hot, bool last)
{
	struct bed *b = bed_new(3, hot);

	bed_start(b, 2, ROLE_BACKUP, ORIGIN_BOOT);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_BOOT);
	bed_run(b, 2000);
	bed_start(b, 0, ROLE_PRIMARY, ORIGIN_BOOT);
	bed_run(b, 2000);
	for (unsigned int n = 0; n < 2; n++) {
		unsigned int m = last ? n : 1 - n;

		bed_open(b, m, 1);
		if (m)
			bed_state(b, 1, 1, TCP_FIN_WAIT);
		bed_run(b, 100);
	}
	assert_non_null(bed_own(b, 1, 1));
	assert_non_null(bed_mirror(b, 2, 0, 1));
	assert_non_null(bed_mirror(b, 2, 1, 1));
	bed_kill(b, 0);
	engine_cmd(b->n[2].e, CMD_PROMOTE, b->now);
	bed_run(b, 100);
	assert_true(b->n[2].kern[1].there);
	assert_int_equal(b->n[2].kern[1].f.tcp.state, TCP_ESTABLISHED);
	bed_free(b);
}

static void test_word_counts(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 4; i++)
		word_counts(i & 1, i & 2);
}

/* A node yields to what we announce, while nobody is primary: that tells nothing of our entry. */
static void test_claim_released(void **state)
{
	struct bed *b = bed_pair(false);

	(void)state;
	bed_open(b, 1, 4);
	bed_run(b, 100);
	bed_open(b, 0, 4);
	bed_run(b, 100);
	assert_int_equal(bed_mirror(b, 1, 0, 4)->list, CACHE_LIST_LATER);
	engine_cmd(b->n[0].e, CMD_DEMOTE, b->now);
	bed_run(b, 300);
	bed_state(b, 1, 4, TCP_FIN_WAIT);
	bed_run(b, 300);
	assert_int_equal(bed_mirror(b, 0, 1, 4)->list, CACHE_LIST_LATER);
	b->n[1].kern[4].end_at = b->now + 60 * USEC_PER_SEC; /* no packet met it since */
	engine_cmd(b->n[1].e, CMD_COMMIT, b->now);
	bed_run(b, 500);
	assert_null(bed_own(b, 1, 4));
	assert_int_equal(b->n[1].kern[4].f.tcp.state, TCP_ESTABLISHED);
	assert_int_equal(b->n[0].ops[OP_REPLACE], 0);
	assert_int_equal(b->n[0].kern[4].f.tcp.state, TCP_ESTABLISHED);
	bed_free(b);
}

/* Packets met the entry after the claim, and the event that told so is lost: the dump shows it by a
 * timer that is shorter than the one that we lifted. */
static void test_failback_unheard(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[0].e, CMD_DEMOTE, b->now);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 90000);
	engine_cmd(b->n[1].e, CMD_DEMOTE, b->now);
	engine_cmd(b->n[0].e, CMD_PROMOTE, b->now);
	bed_run(b, 700);
	b->n[1].kern[1].f.tcp.state = 4;
	b->n[1].kern[1].end_at = b->now + 120 * USEC_PER_SEC;
	engine_kern(b->n[1].e, KERN_OVERRUN, NULL, 0, b->now);
	bed_run(b, 200);
	assert_true(bed_own(b, 1, 1)->flags & F_TOUCHED);
	bed_run(b, 3000);
	assert_non_null(bed_own(b, 1, 1));
	assert_null(bed_own(b, 1, 2));
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failback),           cmocka_unit_test(test_failback_at_once),
		cmocka_unit_test(test_failback_lifted),    cmocka_unit_test(test_failback_dumped),
		cmocka_unit_test(test_failback_forgotten), cmocka_unit_test(test_failback_touched),
		cmocka_unit_test(test_unknown_forgotten),  cmocka_unit_test(test_two_claims),
		cmocka_unit_test(test_two_claims_word),    cmocka_unit_test(test_claim_word),
		cmocka_unit_test(test_failback_forced),    cmocka_unit_test(test_word_counts),
		cmocka_unit_test(test_failback_unheard),   cmocka_unit_test(test_claim_released),
		cmocka_unit_test(test_failback_lifting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
