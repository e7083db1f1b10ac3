/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that flips: every bit of a flow's key and state, on the owner and on the backup, and of
 * what else a record says of itself. Each is found by a round of the scrub, told with its bucket,
 * and healed without a resync: both halves and both kernels are as before.
 */
#include "engine_bed.h"

#define FLOWS 10
#define VICTIM 4

static struct bed *pair_of(unsigned int scrub_s)
{
	struct bed *b = bed_new(2, true);

	for (unsigned int n = 0; n < 2; n++) {
		b->n[n].conf.scrub_s = scrub_s;
		bed_start(b, n, n ? ROLE_BACKUP : ROLE_PRIMARY, ORIGIN_BOOT);
	}
	for (unsigned int i = 0; i < FLOWS; i++)
		bed_open(b, 0, i);
	bed_run(b, 2500);
	return b;
}

static struct bed *pair_new(void)
{
	return pair_of(1);
}

static struct rec *victim_of(const struct bed *b, unsigned int n, bool mirror)
{
	struct cache *c = mirror ? bed_peer(b, n, 1 - n)->mirror : b->n[n].e->local;
	struct rec *r = bed_find(b, c, VICTIM);

	assert_non_null(r);
	return r;
}

static void check_tables(const struct bed *b, unsigned int n, bool mirror)
{
	struct cache *c = mirror ? bed_peer(b, n, 1 - n)->mirror : b->n[n].e->local;
	const char *wrong = cache_check(c);

	if (wrong)
		fail_msg("node %u: %s", n, wrong);
	assert_int_equal(cache_flows(c), FLOWS);
	for (unsigned int i = 0; i < FLOWS; i++) {
		struct flow f = bed_flow(i);
		struct rec *r = bed_find(b, c, i);
		uint8_t body[FLOW_PACKED_MAX];
		size_t len = flow_pack(&f, body);

		assert_non_null(r);
		assert_int_equal(r->len, len);
		assert_memory_equal(r->body, body, len);
		assert_true(b->n[n].kern[i].there);
	}
}

/* Everything is as if nothing had happened, and what happened was told once. */
static void check_healed(struct bed *b, unsigned int victim)
{
	struct engine_stats s[2] = { bed_stats(b, 0), bed_stats(b, 1) };

	check_tables(b, 0, false);
	check_tables(b, 1, true);
	assert_int_equal(s[victim].count.flips, 1);
	assert_int_equal(s[1 - victim].count.flips, 0);
	assert_int_equal(b->n[victim].notes[NOTE_FLIP], 1);
	assert_true(s[1].peer[0].in_sync);
	assert_int_equal(s[1].peer[0].debt, 0);
	assert_int_equal(s[1].peer[0].head, s[0].head);
	assert_true(s[1].ready);
	assert_int_equal(b->n[1].notes[NOTE_RESYNC], 1); /* the first */
	assert_int_equal(b->n[1].e->scrub.doubts, 0);
	assert_false(scrub_heals(b->n[0].e));
}

static void flip_body(unsigned int node, unsigned int bit)
{
	struct bed *b = pair_new();
	struct rec *r = victim_of(b, node, node == 1);
	bool key = bit / 8 < r->keylen;

	r->body[bit / 8] ^= (uint8_t)(1U << bit % 8);
	bed_run(b, 2500);
	check_healed(b, node);
	assert_int_equal(bed_stats(b, node).count.broken, key);
	assert_int_equal(bed_stats(b, 1).count.divergences, node == 1);
	if (node == 0 && !key) {
		assert_int_equal(bed_stats(b, 0).count.healed, 1);
		assert_int_equal(bed_stats(b, 0).count.dumps, 1);
	}
	bed_free(b);
}

static void test_owner(void **state)
{
	(void)state;
	for (unsigned int bit = 0; bit < 21 * 8; bit++)
		flip_body(0, bit);
}

static void test_backup(void **state)
{
	(void)state;
	for (unsigned int bit = 0; bit < 21 * 8; bit++)
		flip_body(1, bit);
}

/* In the backup's memory any bit of the version; in the owner's those that leave its place in the
 * list, which others are found by. */
static void test_version(void **state)
{
	(void)state;
	for (unsigned int bit = 0; bit < 64; bit++) {
		struct bed *b = pair_new();

		victim_of(b, 1, true)->version ^= 1ULL << bit;
		bed_run(b, 2500);
		check_healed(b, 1);
		bed_free(b);
	}
	for (unsigned int bit = 0; bit < 64; bit++) {
		struct bed *b = pair_new();

		victim_of(b, 0, false)->version ^= 1ULL << bit;
		bed_run(b, 2500);
		check_healed(b, 0);
		bed_free(b);
	}
}

static void test_lengths(void **state)
{
	(void)state;
	for (unsigned int node = 0; node < 2; node++)
		for (unsigned int bit = 0; bit < 16; bit++) {
			struct bed *b = pair_new();
			struct rec *r = victim_of(b, node, node == 1);

			if (bit < 8)
				r->len ^= (uint8_t)(1U << bit);
			else
				r->keylen ^= (uint8_t)(1U << (bit - 8));
			bed_run(b, 2500);
			check_healed(b, node);
			bed_free(b);
		}
}

/* The hash below the bits that name the table's bucket: it is not on the digest, but others are
 * found by it. */
static void test_hash(void **state)
{
	(void)state;
	for (unsigned int node = 0; node < 2; node++)
		for (unsigned int bit = 0; bit < 32; bit++) {
			struct bed *b = pair_new();

			victim_of(b, node, node == 1)->hash ^= 1U << bit;
			bed_run(b, 2500);
			check_healed(b, node);
			assert_int_equal(bed_stats(b, node).count.broken, 1);
			bed_free(b);
		}
}

/* The flow goes on before the scrub comes by: the record is right again, its digest is not. */
static void test_changed_meanwhile(void **state)
{
	(void)state;
	for (unsigned int node = 0; node < 2; node++) {
		struct bed *b = pair_new();
		struct rec *r = victim_of(b, node, node == 1);

		r->body[r->len - 1] ^= 1;
		bed_state(b, 0, VICTIM, TCP_FIN_WAIT);
		bed_run(b, 2500);
		assert_true(bed_stats(b, 1).peer[0].in_sync);
		assert_int_equal(bed_stats(b, node).count.flips, 1);
		assert_null(cache_check(b->n[0].e->local));
		assert_null(cache_check(bed_peer(b, 1, 0)->mirror));
		bed_state(b, 0, VICTIM, TCP_ESTABLISHED);
		bed_run(b, 300);
		check_tables(b, 0, false);
		check_tables(b, 1, true);
		bed_free(b);
	}
}

/* The owner's flow ends while its record is lost: nobody keeps it. */
static void test_ended_meanwhile(void **state)
{
	struct bed *b = pair_new();
	struct rec *r = victim_of(b, 0, false);

	(void)state;
	r->body[3] ^= 1; /* its key */
	bed_end(b, 0, VICTIM, 0, 0);
	bed_run(b, 2500);
	assert_int_equal(cache_flows(b->n[0].e->local), FLOWS - 1);
	assert_int_equal(cache_flows(bed_peer(b, 1, 0)->mirror), FLOWS - 1);
	assert_false(b->n[1].kern[VICTIM].there);
	assert_true(bed_stats(b, 1).peer[0].in_sync);
	bed_free(b);
}

/* A backup that cannot ask the owner any more does not call itself ready. */
static void test_owner_silent(void **state)
{
	struct bed *b = pair_new();

	(void)state;
	bed_kill(b, 0);
	bed_run(b, 1200);
	assert_true(bed_stats(b, 1).ready);
	bed_find(b, b->n[1].e->peers[0].mirror, VICTIM)->body[17] ^= 1;
	bed_run(b, 2500);
	assert_int_equal(bed_stats(b, 1).count.flips, 1);
	assert_false(bed_stats(b, 1).ready);
	bed_free(b);
}

/* A flow that nobody can read keeps no other from the peer, long before the scrub comes by: who
 * refuses it asks again, and it is looked at. */
static void test_sent_again(void **state)
{
	unsigned int unreadable = 0;

	(void)state;
	for (unsigned int bit = 0; bit < 21 * 8; bit++) {
		struct bed *b = pair_of(100000);
		struct rec *r;
		struct flow f;

		b->n[1].deaf = true;
		bed_state(b, 0, VICTIM, 4);
		bed_state(b, 0, VICTIM + 1, 4);
		r = victim_of(b, 0, false);
		r->body[bit / 8] ^= (uint8_t)(1U << bit % 8);
		unreadable += flow_unpack(r->body, r->len, &f) != 0;
		if (flow_unpack(r->body, r->len, &f)) {
			bed_run(b, 10);
			b->n[1].deaf = false;
			bed_run(b, 500);
			assert_int_equal(bed_stats(b, 1).peer[0].covered, bed_stats(b, 0).head);
			assert_int_equal(bed_stats(b, 0).count.flips, 1);
			bed_run(b, 2000);
			assert_true(bed_stats(b, 1).peer[0].in_sync);
			r = victim_of(b, 1, true);
			assert_false(flow_unpack(r->body, r->len, &f));
			assert_int_equal(f.tcp.state, 4);
		}
		bed_free(b);
	}
	assert_true(unreadable > 10);
}

static void test_pace(void **state)
{
	struct bed *b = bed_new(2, true);

	(void)state;
	b->n[0].conf.scrub_s = 5;
	b->n[1].conf.scrub_s = 0;
	bed_start(b, 0, ROLE_PRIMARY, ORIGIN_BOOT);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_BOOT);
	bed_run(b, 4700);
	assert_int_equal(bed_stats(b, 0).count.scrub_rounds, 0);
	bed_run(b, 800);
	assert_int_equal(bed_stats(b, 0).count.scrub_rounds, 1);
	assert_int_equal(bed_stats(b, 1).count.scrubbed, 0);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_owner),
		cmocka_unit_test(test_backup),
		cmocka_unit_test(test_version),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_changed_meanwhile),
		cmocka_unit_test(test_ended_meanwhile),
		cmocka_unit_test(test_owner_silent),
		cmocka_unit_test(test_sent_again),
		cmocka_unit_test(test_pace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
