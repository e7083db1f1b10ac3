/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entries whose origin a restarted backup does not know (PROTOCOL.md, R46), and whose owner's word
 * on them ends before it was settled (R40): who goes, who stays, and that none waits for ever. And
 * a child whose master nobody knows (R60).
 */
#include "engine_bed.h"

#define SETTLED_MS 6000 /* the claim's 2 s, those of its withdrawal, and a second more each */

/* Node 1 was a hot backup of flows 1 to 3 and has just been restarted; nothing is settled yet. */
static struct bed *restarted(void)
{
	struct bed *b = bed_pair(true);

	bed_kill(b, 1);
	bed_run(b, 100);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_RESTART);
	return b;
}

static void known(struct bed *b)
{
	bed_run(b, 500);
	assert_int_equal(bed_stats(b, 1).unclaimed, 3);
	assert_non_null(bed_mirror(b, 1, 0, 1));
}

/* An earlier run of ours wrote it, no packet came since: it goes with its flow. */
static void test_held(void **state)
{
	struct bed *b = restarted();

	(void)state;
	known(b);
	bed_end(b, 0, 1, 0, 0);
	bed_run(b, SETTLED_MS);
	assert_false(b->n[1].kern[1].there);
	assert_true(b->n[1].kern[2].there);
	assert_int_equal(bed_stats(b, 1).unclaimed, 0);
	assert_int_equal(bed_stats(b, 1).local_flows, 0);
	bed_free(b);
}

/* A full timer is a packet's, or a primary's: it ages, and is announced by nobody. */
static void test_full_timer(void **state)
{
	struct bed *b = restarted();

	(void)state;
	bed_touch(b, 1, 1);
	known(b);
	bed_end(b, 0, 1, 0, 0);
	bed_run(b, SETTLED_MS);
	assert_true(b->n[1].kern[1].there);
	assert_null(bed_own(b, 1, 1));
	assert_int_equal(bed_stats(b, 1).unclaimed, 1);
	bed_free(b);
}

/* A packet before it would go: somebody uses it here. */
static void test_touched(void **state)
{
	struct bed *b = restarted();

	(void)state;
	known(b);
	bed_end(b, 0, 1, 0, 0);
	bed_run(b, 500);
	bed_touch(b, 1, 1);
	bed_run(b, SETTLED_MS);
	assert_true(b->n[1].kern[1].there);
	assert_non_null(bed_own(b, 1, 1));
	assert_non_null(bed_mirror(b, 0, 1, 1));
	bed_free(b);
}

/* The tuple is used again before the entry of its earlier life went. */
static void test_claimed_anew(void **state)
{
	struct bed *b = restarted();

	(void)state;
	known(b);
	bed_end(b, 0, 1, 0, 0);
	bed_run(b, 500);
	bed_open(b, 0, 1);
	bed_run(b, SETTLED_MS);
	assert_true(b->n[1].kern[1].there);
	assert_true(bed_mirror(b, 1, 0, 1)->flags & F_KERN);
	assert_int_equal(b->n[1].ops[OP_REPLACE], 3);
	assert_int_equal(bed_stats(b, 1).unclaimed, 0);
	bed_free(b);
}

/* On a full table. end_ms: when the owner says that flow 1 ended, after the restart. */
static void full_table(unsigned int end_ms)
{
	struct bed *b = restarted();

	b->n[1].refuse = ENOMEM;
	bed_run(b, end_ms);
	bed_end(b, 0, 1, 0, 0);
	bed_run(b, SETTLED_MS);
	assert_false(b->n[1].kern[1].there);
	assert_int_equal(bed_stats(b, 1).unclaimed, 0);
	b->n[1].refuse = 0;
	bed_run(b, 130000); /* two rounds of the patrol */
	assert_false(b->n[1].kern[1].there);
	assert_true(b->n[1].kern[2].there && b->n[1].kern[3].there);
	assert_true(bed_stats(b, 1).ready);
	bed_free(b);
}

static void test_full_table(void **state)
{
	(void)state;
	full_table(20);   /* hardly known */
	full_table(500);  /* claimed */
	full_table(2500); /* about to be settled, or just */
	full_table(4000); /* replaced, and refused */
}

/* An entry that no event told of, and none of its end: the update of a later life, whose beginning
 * was withheld, does not tell all of that. */
static void test_mute_life(void **state)
{
	struct bed *b = bed_pair(true);
	struct flow f = bed_flow(9), now;
	uint8_t body[FLOW_PACKED_MAX];
	const struct rec *own;

	(void)state;
	bed_kill(b, 1);
	f.mark = 5;
	bed_put(b, 1, 9, &f);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_RESTART);
	bed_run(b, 500);
	assert_int_equal(bed_stats(b, 1).unclaimed, 4);
	f.mark = 0;
	bed_put(b, 1, 9, &f);
	b->n[1].kern[9].f.has &= ~(uint32_t)FLOW_HAS_MARK; /* it is 0, so no message has it */
	bed_state(b, 1, 9, TCP_FIN_WAIT);
	bed_run(b, 500);
	own = bed_own(b, 1, 9);
	assert_non_null(own);
	now = bed_shown(b, 1, 9);
	assert_int_equal(own->len, flow_pack(&now, body));
	assert_memory_equal(own->body, body, own->len);
	assert_int_equal(own->aux, now.id);
	bed_assert_equal(b);
	bed_free(b);
}

/* A child of a master that nobody knows, while nobody is primary. */
static void test_lost_master(void **state)
{
	struct bed *b = bed_new(2, true);
	struct flow f = bed_flow(1);

	(void)state;
	for (unsigned int n = 0; n < 2; n++)
		bed_start(b, n, ROLE_BACKUP, ORIGIN_BOOT);
	bed_run(b, 1500);
	flow_begin_ext(&f);
	f.has |= FLOW_HAS_MASTER;
	f.status |= 1; /* IPS_EXPECTED */
	f.ext.master = (struct flow_master){ .proto = 6, .orig = { .sport = 9 } };
	bed_put(b, 0, 1, &f);
	bed_event(b, 0, KERN_NEW, 1, 0);
	bed_run(b, 1500);
	assert_non_null(bed_mirror(b, 1, 0, 1));
	assert_false(b->n[1].kern[1].there); /* R60: it waits once */
	bed_run(b, 3000);
	assert_true(b->n[1].kern[1].there);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_held),        cmocka_unit_test(test_full_timer),
		cmocka_unit_test(test_touched),     cmocka_unit_test(test_claimed_anew),
		cmocka_unit_test(test_full_table),  cmocka_unit_test(test_mute_life),
		cmocka_unit_test(test_lost_master),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
