/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Nodes whose tables are hashed with different keys: after an exchange of the sealing key one of
 * them has started anew. Their hash ranges, buckets and digests mean nothing to each other, so a
 * LIST would purge flows that live (PROTOCOL.md, section 3). Live traffic goes on, nothing is
 * compared, both say so; after a restart of the other daemon all is as usual.
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
		engine_reconf(b->n[n].e, &b->n[n].conf, b->now);
	}
	bed_run(b, 50);
}

/* A pair with flows through node 0 whose key was exchanged by the book: A; A, B; B, A; B. */
static struct bed *exchanged_pair(void)
{
	struct bed *b = bed_new(2, true);

	for (unsigned int n = 0; n < b->count; n++)
		key_set(&b->n[n].conf, 'A', 0);
	bed_start(b, 0, ROLE_PRIMARY, ORIGIN_BOOT);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_BOOT);
	bed_run(b, 50);
	for (unsigned int i = 1; i <= FLOWS; i++)
		bed_open(b, 0, i);
	bed_run(b, 500);
	reload(b, 'A', 'B');
	reload(b, 'B', 'A');
	reload(b, 'B', 0);
	bed_run(b, 1000);
	bed_assert_equal(b);
	assert_true(bed_stats(b, 1).ready);
	return b;
}

/* Live traffic is all there, and nothing else happened to it. */
static void assert_harmless(const struct bed *b)
{
	const struct engine_stats s = bed_stats(b, 1);

	assert_int_equal(s.remote_flows, FLOWS);
	for (unsigned int i = 1; i <= FLOWS; i++) {
		assert_non_null(bed_mirror(b, 1, 0, i));
		assert_true(b->n[1].kern[i].there);
	}
	assert_int_equal(s.count.lists_applied, 0);
	assert_int_equal(s.count.vectors_compared, 0);
	assert_int_equal(b->n[1].notes[NOTE_DIVERGENCE], 0);
	assert_false(s.peer[0].in_sync);
}

static void test_backup_restarted(void **state)
{
	struct bed *b = exchanged_pair();

	(void)state;
	bed_kill(b, 1);
	bed_run(b, 2000);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_RESTART);
	bed_run(b, 5000);
	assert_harmless(b);
	assert_false(bed_stats(b, 1).ready);
	assert_non_null(strstr(bed_stats(b, 1).reason, "another key"));
	assert_int_equal(b->n[1].notes[NOTE_TABLES], 1);

	bed_end(b, 0, 1, 0, 0); /* live traffic */
	bed_run(b, 500);
	assert_null(bed_mirror(b, 1, 0, 1));
	bed_open(b, 0, 1);
	bed_run(b, 500);
	assert_harmless(b);

	bed_kill(b, 0); /* the remedy */
	bed_run(b, 2000);
	bed_start(b, 0, ROLE_PRIMARY, ORIGIN_RESTART);
	bed_run(b, 5000);
	bed_assert_equal(b);
	assert_true(bed_stats(b, 1).ready);
	assert_int_equal(bed_stats(b, 1).remote_flows, FLOWS);
	bed_free(b);
}

/* What the new run does not announce stays as old: better a ghost for a while than a purge. */
static void test_primary_restarted(void **state)
{
	struct bed *b = exchanged_pair();

	(void)state;
	bed_kill(b, 0);
	bed_run(b, 2000);
	bed_start(b, 0, ROLE_PRIMARY, ORIGIN_RESTART);
	bed_run(b, 5000);
	assert_harmless(b);
	assert_int_equal(b->n[1].notes[NOTE_TABLES], 1);
	bed_free(b);
}

/* Both restarted: the same keys again. */
static void test_same_keys(void **state)
{
	struct bed *b = exchanged_pair();

	(void)state;
	bed_kill(b, 0);
	bed_kill(b, 1);
	bed_start(b, 0, ROLE_PRIMARY, ORIGIN_RESTART);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_RESTART);
	bed_run(b, 10000);
	bed_assert_equal(b);
	assert_int_equal(b->n[0].notes[NOTE_TABLES] + b->n[1].notes[NOTE_TABLES], 0);
	assert_true(bed_stats(b, 1).ready);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backup_restarted),
		cmocka_unit_test(test_primary_restarted),
		cmocka_unit_test(test_same_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
