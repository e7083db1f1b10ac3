/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Quarantined keys in the engine (PROTOCOL.md, R96 to R99): what peers say of them is set aside and
 * counts as held, what our kernel says of them is not told, and nothing asks for them again. What
 * the daemon makes of its deaths is in test_deaths.c.
 */
#include "engine_bed.h"

#define POISON 2

static size_t key_of(unsigned int i, uint8_t key[FLOW_KEY_MAX])
{
	struct flow f = bed_flow(i);

	return flow_key_pack(&f.key, key);
}

/* Node n runs again, with flow i quarantined. */
static void restart(struct bed *b, unsigned int n, unsigned int i)
{
	enum engine_role role = b->n[n].e->role;
	uint8_t key[FLOW_KEY_MAX];
	size_t len = key_of(i, key);

	bed_kill(b, n);
	bed_start(b, n, role, ORIGIN_RESTART);
	assert_true(engine_quarantine(b->n[n].e, key, len));
}

/* Node 1 holds all of node 0 but what it set aside, and proved it. */
static void assert_equal_but(const struct bed *b, uint64_t aside)
{
	struct engine_stats s = bed_stats(b, 1);
	struct peer *p = bed_peer(b, 1, 0);

	assert_int_equal(p->covered, b->n[0].e->head);
	assert_int_equal(s.aside, aside);
	assert_int_equal(cache_flows(p->mirror) + aside, cache_flows(b->n[0].e->local));
	assert_true(p->in_sync);
	assert_int_equal(p->debt, 0);
	assert_int_equal(p->old_count, 0);
	assert_int_equal(s.count.divergences, 0);
	assert_null(bed_mirror(b, 1, 0, POISON));
}

static void test_aside(void **state)
{
	struct bed *b = bed_pair(true);
	struct engine_counters before;
	struct engine_stats s;

	(void)state;
	b->n[1].kern[POISON].there = false;
	restart(b, 1, POISON);
	bed_run(b, 2000);
	assert_equal_but(b, 1);
	assert_int_equal(b->n[1].notes[NOTE_QUARANTINED], 1);
	assert_true(b->n[1].kern[1].there && b->n[1].kern[3].there);
	assert_false(b->n[1].kern[POISON].there);
	s = bed_stats(b, 1);
	assert_false(s.ready);
	assert_string_equal(s.reason, "1 flows quarantined: the daemon died of them");

	before = s.count;
	bed_run(b, 60000); /* at rest: nothing is asked for */
	s = bed_stats(b, 1);
	assert_int_equal(s.count.lists_applied, before.lists_applied);
	assert_int_equal(s.count.vectors_compared, before.vectors_compared);
	assert_int_equal(s.count.buckets_unequal, before.buckets_unequal);
	assert_int_equal(s.count.quarantined, before.quarantined);

	bed_state(b, 0, POISON, TCP_FIN_WAIT); /* its next word, and its last */
	bed_run(b, 100);
	assert_equal_but(b, 1);
	bed_end(b, 0, POISON, 0, 0);
	bed_run(b, 500);
	assert_equal_but(b, 0);
	assert_true(bed_stats(b, 1).ready);
	bed_open(b, 0, POISON); /* the tuple is used again */
	bed_run(b, 500);
	assert_equal_but(b, 1);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 500);
	assert_null(bed_own(b, 1, POISON));
	assert_non_null(bed_own(b, 1, 1));
	bed_free(b);
}

/* What is set aside becomes old with the epoch, and leaves by a LIST or is told anew. */
static void test_epochs(void **state)
{
	for (unsigned int gone = 0; gone < 2; gone++) {
		struct bed *b = bed_pair(true);

		(void)state;
		restart(b, 1, POISON);
		bed_run(b, 1000);
		assert_equal_but(b, 1);
		bed_kill(b, 0);
		b->n[0].kern[POISON].there = !gone;
		bed_run(b, 100);
		assert_int_equal(bed_stats(b, 1).aside, 1); /* nobody said that it ended */
		bed_start(b, 0, ROLE_PRIMARY, ORIGIN_RESTART);
		bed_run(b, 3000);
		assert_equal_but(b, !gone);
		engine_cmd(b->n[1].e, CMD_RESYNC, b->now);
		bed_run(b, 3000);
		assert_equal_but(b, !gone);
		engine_cmd(b->n[1].e, CMD_FLUSH_REMOTE, b->now);
		bed_run(b, 3000);
		assert_equal_but(b, !gone);
		bed_free(b);
	}
}

/* Tombstones lost: the buckets are compared, and what ended leaves by a LIST (R19). */
static void test_list(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	restart(b, 1, POISON);
	b->n[0].conf.tombstones_max = 0;
	engine_reconf(b->n[0].e, &b->n[0].conf, b->now);
	bed_run(b, 1000);
	assert_equal_but(b, 1);
	b->n[1].deaf = true;
	bed_end(b, 0, POISON, 0, 0);
	bed_end(b, 0, 1, 0, 0);
	bed_run(b, 2000);
	b->n[1].deaf = false;
	bed_run(b, 3000);
	assert_true(bed_stats(b, 1).count.lists_applied > 0);
	assert_equal_but(b, 0);
	bed_free(b);
}

/* The owner does not announce it any more. */
static void test_own(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	restart(b, 0, POISON);
	bed_run(b, 2000);
	assert_null(bed_own(b, 0, POISON));
	assert_null(bed_mirror(b, 1, 0, POISON));
	assert_true(bed_stats(b, 0).count.quarantined > 0);
	bed_state(b, 0, POISON, TCP_FIN_WAIT);
	bed_end(b, 0, POISON, 0, 0);
	bed_run(b, 500);
	assert_int_equal(b->n[0].notes[NOTE_QUARANTINED], 1);
	bed_assert_equal(b);
	bed_free(b);
}

/* A death is forgotten when the same work ends well, and not by other work. */
static void test_innocent(void **state)
{
	struct bed *b = bed_pair(true);
	uint8_t key[FLOW_KEY_MAX];
	size_t len = key_of(POISON, key);

	(void)state;
	bed_kill(b, 1);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_RESTART);
	assert_true(engine_suspect(b->n[1].e, WORK_EVENT, key, len));
	assert_true(engine_suspect(b->n[1].e, WORK_RECORD, key, len));
	b->n[1].kern[POISON].there = false;
	bed_run(b, 500);
	assert_int_equal(b->n[1].notes[NOTE_INNOCENT], 1);
	assert_non_null(bed_mirror(b, 1, 0, POISON));
	bed_run(b, 2000);
	bed_open(b, 1, POISON);
	bed_run(b, 100);
	assert_int_equal(b->n[1].notes[NOTE_INNOCENT], 2);
	assert_int_equal(b->n[1].e->quarantine.watched, 0);
	bed_free(b);
}

/* What stands in the mark: the flow while it is worked on (it is left there), and nothing when all
 * is done. */
static void test_mark(void **state)
{
	struct bed *b = bed_pair(true);
	struct engine_mark m = { .work = 77 };
	uint8_t key[FLOW_KEY_MAX];
	size_t len = key_of(5, key);

	(void)state;
	engine_mark(b->n[1].e, &m);
	assert_int_equal(m.work, WORK_NONE);
	b->n[1].deaf = true;
	bed_run(b, 100);
	b->n[1].deaf = false;
	bed_open(b, 0, 5);
	b->n[1].conf.hot = false;
	for (unsigned int i = 0; i < 20 && strcmp(m.peer, "a0") != 0; i++)
		bed_run(b, 1);
	assert_string_equal(m.peer, "a0");
	assert_int_equal(m.len, len);
	assert_memory_equal(m.key, key, len);
	assert_int_equal(m.work, WORK_NONE);
	bed_open(b, 1, 6);
	len = key_of(6, key);
	assert_int_equal(m.len, len);
	assert_memory_equal(m.key, key, len);
	engine_mark(b->n[1].e, NULL);
	bed_run(b, 100);
	assert_memory_equal(m.key, key, len);
	bed_free(b);
}

static void test_limits(void **state)
{
	struct bed *b = bed_pair(true);
	struct engine *e = b->n[0].e;
	uint8_t key[FLOW_KEY_MAX];
	size_t len = key_of(1, key);

	(void)state;
	assert_false(engine_quarantine(e, key, 0));
	assert_false(engine_quarantine(e, key, len - 1));
	assert_false(engine_suspect(e, WORK_RECORD, key, len + 1));
	for (unsigned int i = 0; i < ENGINE_QUARANTINE_MAX; i++) {
		key[2] = (uint8_t)i;
		assert_true(engine_quarantine(e, key, len));
	}
	assert_false(engine_quarantine(e, key, len));
	for (unsigned int i = 0; i < ENGINE_SUSPECTS_MAX; i++)
		assert_true(engine_suspect(e, WORK_RECORD, key, len));
	assert_false(engine_suspect(e, WORK_RECORD, key, len));
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_aside),    cmocka_unit_test(test_epochs),
		cmocka_unit_test(test_list),     cmocka_unit_test(test_own),
		cmocka_unit_test(test_innocent), cmocka_unit_test(test_mark),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
