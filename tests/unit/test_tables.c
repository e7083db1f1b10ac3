/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A new epoch of a node that runs on, and the hash keys of the tables (proto/epoch.c). After an
 * exchange of the sealing key a daemon that starts anew would hash otherwise than its peers; it
 * takes over theirs, in whatever order who restarts and when the old key goes. And a packet counter
 * that comes to its end. Never is a flow lost, never do two nodes stay unable to compare.
 */
#include "engine_bed.h"

#define FLOWS 9

static void key_set(struct engine_conf *c, uint8_t first, uint8_t second)
{
	c->key_count = second ? 2 : 1;
	memset(c->key, 0, sizeof(c->key));
	memset(c->key[0], first, sizeof(c->key[0]));
	if (second)
		memset(c->key[1], second, sizeof(c->key[1]));
}

static void reload(struct bed *b, uint8_t first, uint8_t second)
{
	for (unsigned int n = 0; n < b->count; n++) {
		key_set(&b->n[n].conf, first, second);
		if (b->n[n].e)
			engine_reconf(b->n[n].e, &b->n[n].conf, b->now);
	}
	bed_run(b, 50);
}

static struct bed *keyed_bed(unsigned int count)
{
	struct bed *b = bed_new(count, true);

	for (unsigned int n = 0; n < count; n++) {
		key_set(&b->n[n].conf, 'A', 0);
		bed_start(b, n, n ? ROLE_BACKUP : ROLE_PRIMARY, ORIGIN_BOOT);
	}
	bed_run(b, 50);
	for (unsigned int i = 1; i <= FLOWS; i++)
		bed_open(b, 0, i);
	bed_run(b, 500);
	bed_assert_equal(b);
	return b;
}

static void restart(struct bed *b, unsigned int n)
{
	bed_kill(b, n);
	bed_run(b, 2000);
	bed_start(b, n, n ? ROLE_BACKUP : ROLE_PRIMARY, ORIGIN_RESTART);
}

/* Those of a bitmap. */
static void restart_some(struct bed *b, unsigned int nodes)
{
	for (unsigned int n = 0; n < b->count; n++)
		if (nodes & 1U << n)
			restart(b, n);
}

/* All is as it should be: the same keys everywhere, everything held, everything proven. */
static void assert_whole(const struct bed *b)
{
	bed_assert_equal(b);
	for (unsigned int n = 0; n < b->count; n++) {
		assert_memory_equal(b->n[n].e->seal.group, b->n[0].e->seal.group, DIGEST_KEY_LEN);
		assert_null(cache_check(b->n[n].e->local));
		assert_true(bed_stats(b, n).ready);
		for (unsigned int i = 1; i <= FLOWS; i++)
			assert_true(b->n[n].kern[i].there);
		assert_int_equal(b->n[n].notes[NOTE_DIVERGENCE], 0);
	}
	for (unsigned int n = 1; n < b->count; n++)
		assert_int_equal(bed_stats(b, n).remote_flows, FLOWS);
}

/* Every order of the steps of an exchange (add, swap, remove) and of restarts in between: a restart
 * of either node, of both, or of none after each step. */
static void test_exchange_and_restarts(void **state)
{
	(void)state;
	for (unsigned int order = 0; order < 4 * 4 * 4; order++) {
		static const uint8_t steps[3][2] = { { 'A', 'B' }, { 'B', 'A' }, { 'B', 0 } };
		struct bed *b = keyed_bed(2);

		for (unsigned int step = 0; step < 3; step++) {
			reload(b, steps[step][0], steps[step][1]);
			restart_some(b, order >> (2 * step) & 3);
			bed_run(b, 3000);
			assert_whole(b);
		}
		bed_free(b);
	}
}

/* The one that starts takes over, the one that has run long keeps what it has. */
static void test_who_takes_over(void **state)
{
	for (unsigned int turn = 0; turn < 4; turn++) {
		unsigned int who = turn & 1, other = turn & 2 ? 'B' : 'C';
		struct bed *b = keyed_bed(2);
		uint8_t group[DIGEST_KEY_LEN];
		uint64_t epoch = b->n[!who].e->epoch;

		(void)state;
		bed_run(b, SETTLE_MS);
		memcpy(group, b->n[0].e->seal.group, sizeof(group));
		reload(b, 'A', (uint8_t)other);
		reload(b, (uint8_t)other, 'A');
		reload(b, (uint8_t)other, 0);
		restart(b, who);
		assert_memory_not_equal(b->n[who].e->seal.group, group, sizeof(group));
		bed_run(b, 3000);
		assert_whole(b);
		assert_memory_equal(b->n[who].e->seal.group, group, sizeof(group));
		assert_int_equal(b->n[!who].e->epoch, epoch);
		assert_int_equal(bed_stats(b, who).count.tables_taken, 1);
		assert_int_equal(b->n[who].notes[NOTE_TABLES], 1);
		assert_int_equal(bed_stats(b, !who).count.tables_taken, 0);
		bed_free(b);
	}
}

/* A LIST that was to be asked for under the old keys is no longer waited for. */
static void test_lists_under_way(void **state)
{
	struct bed *b = keyed_bed(3);
	struct engine *e = b->n[1].e;
	struct peer *p = bed_peer(b, 1, 2);
	struct wire_hack lowest = { .your_epoch = e->epoch };

	(void)state;
	repair_list_want(p, 7);
	tables_look(e, bed_peer(b, 1, 0), &lowest, true);
	assert_int_equal(e->count.tables_taken, 1);
	assert_false(repair_lists_busy(p));
	bed_run(b, 60000); /* the others take them over in turn */
	assert_whole(b);
	bed_free(b);
}

/* Two halves of a group that were apart for long and have both settled, on different keys: they
 * find together when they meet, with all that they hold. */
static void test_both_settled(void **state)
{
	for (unsigned int who = 0; who < 2; who++) {
		struct bed *b = keyed_bed(2);

		(void)state;
		b->n[0].deaf = b->n[1].deaf = true;
		key_set(&b->n[0].conf, 'B', who ? 'A' : 0);
		key_set(&b->n[1].conf, 'B', who ? 0 : 'A');
		restart(b, 0);
		restart(b, 1);
		bed_run(b, 2 * SETTLE_MS);
		bed_end(b, 0, 1, 0, 0);
		bed_open(b, 0, 1);
		assert_int_equal(bed_stats(b, 0).count.tables_taken, 0);
		b->n[0].deaf = b->n[1].deaf = false;
		bed_run(b, 5000);
		assert_whole(b);
		assert_int_equal(
			bed_stats(b, 0).count.tables_taken + bed_stats(b, 1).count.tables_taken, 1);
		bed_free(b);
	}
}

/* A bit of a mirror flipped before it is hashed anew: what is found then is healed, too. */
static void test_flipped(void **state)
{
	uint64_t taken = 0;

	(void)state;
	for (uint8_t other = 'B'; other < 'H'; other++) {
		struct bed *b = keyed_bed(2);
		struct rec *r;

		b->n[0].deaf = b->n[1].deaf = true;
		reload(b, 'A', other);
		restart(b, 0);
		bed_run(b, 2 * SETTLE_MS);
		r = bed_mirror(b, 1, 0, 3);
		r->body[r->len - 1] ^= 1;
		bed_end(b, 0, 1, 0, 0);
		b->n[0].deaf = b->n[1].deaf = false;
		bed_run(b, 5000);
		taken += bed_stats(b, 1).count.tables_taken;
		assert_int_equal(bed_stats(b, 1).count.flips, 1);
		bed_assert_equal(b);
		bed_free(b);
	}
	assert_in_range(taken, 1, 5); /* the lower keys win */
}

/* Three nodes, two of them start at once with other keys, and one of these hears only the other for
 * a while: the keys of the one that stayed win. */
static void test_three_nodes(void **state)
{
	struct bed *b = keyed_bed(3);
	uint8_t group[DIGEST_KEY_LEN];

	(void)state;
	bed_run(b, SETTLE_MS);
	memcpy(group, b->n[0].e->seal.group, sizeof(group));
	reload(b, 'A', 'B');
	reload(b, 'B', 'A');
	reload(b, 'B', 0);
	bed_kill(b, 1);
	bed_kill(b, 2);
	b->n[0].deaf = true;
	bed_run(b, 100);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_RESTART);
	key_set(&b->n[2].conf, 'B', 'C'); /* the next exchange has begun there */
	bed_start(b, 2, ROLE_BACKUP, ORIGIN_RESTART);
	bed_run(b, 3000);
	b->n[0].deaf = false;
	bed_run(b, 15000);
	assert_memory_equal(b->n[0].e->seal.group, group, sizeof(group));
	assert_whole(b);
	bed_free(b);
}

/* The nonces of an epoch come to their end, of either node, in the midst of traffic. */
static void test_counter_ends(void **state)
{
	(void)state;
	for (unsigned int who = 0; who < 2; who++) {
		struct bed *b = keyed_bed(2);
		uint64_t epoch = b->n[who].e->epoch, head = b->n[who].e->head;

		b->n[who].e->counter = SEAL_COUNTER_MAX - 3;
		for (unsigned int i = 1; i <= FLOWS; i++) {
			bed_state(b, 0, i, TCP_FIN_WAIT);
			bed_run(b, 20);
			for (unsigned int k = 1; k <= FLOWS; k++)
				assert_non_null(bed_mirror(b, 1, 0, k));
		}
		bed_run(b, 1000);
		assert_int_not_equal(b->n[who].e->epoch, epoch);
		assert_in_range(b->n[who].e->counter, 1, 10000);
		assert_in_range(b->n[who].e->head, head, head + FLOWS);
		assert_int_equal(bed_stats(b, who).count.epochs_renewed, 1);
		assert_int_equal(bed_stats(b, !who).peer[0].epoch, b->n[who].e->epoch);
		assert_whole(b);
		bed_free(b);
	}
}

/* What ended while nobody agreed on the new epoch yet is not kept for good. */
static void test_end_across_epochs(void **state)
{
	struct bed *b = keyed_bed(2);

	(void)state;
	b->n[1].deaf = true;
	bed_end(b, 0, 1, 0, 0);
	bed_run(b, 50);
	b->n[0].e->counter = SEAL_COUNTER_MAX;
	bed_run(b, 50);
	bed_end(b, 0, 2, 0, 0);
	bed_run(b, 5000);
	b->n[1].deaf = false;
	bed_run(b, 3000);
	bed_assert_equal(b);
	assert_null(bed_mirror(b, 1, 0, 1));
	assert_null(bed_mirror(b, 1, 0, 2));
	assert_int_equal(bed_stats(b, 1).peer[0].flows, FLOWS - 2);
	assert_false(b->n[1].kern[1].there);
	assert_false(b->n[1].kern[2].there);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exchange_and_restarts),
		cmocka_unit_test(test_who_takes_over),
		cmocka_unit_test(test_both_settled),
		cmocka_unit_test(test_flipped),
		cmocka_unit_test(test_lists_under_way),
		cmocka_unit_test(test_three_nodes),
		cmocka_unit_test(test_counter_ends),
		cmocka_unit_test(test_end_across_epochs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
