/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The audit (PROTOCOL.md, R79 to R82): what vanished, appeared or changed in a kernel without an
 * event is found, told and healed, on the owner and on the backup; what is merely under way is
 * not.
 */
#include "engine_bed.h"

#define AUDIT_MS 300 /* a dump, a round, the wait for events */

static const struct engine_audit *over(const struct bed *b, unsigned int n)
{
	const struct engine_audit *a = engine_audit(b->n[n].e);

	assert_int_equal(a->serial, a->due);
	return a;
}

static const struct engine_audit *audit(struct bed *b, unsigned int n)
{
	engine_cmd(b->n[n].e, CMD_AUDIT, b->now);
	bed_run(b, AUDIT_MS);
	return over(b, n);
}

static void assert_found(const struct engine_audit *a, uint64_t kernel_only, uint64_t cache_only,
			 uint64_t differing)
{
	assert_int_equal(a->found_by[FOUND_KERNEL_ONLY], kernel_only);
	assert_int_equal(a->found_by[FOUND_CACHE_ONLY], cache_only);
	assert_int_equal(a->found_by[FOUND_DIFFERS], differing);
	assert_int_equal(a->found_count, kernel_only + cache_only + differing);
	assert_int_equal(a->unsettled, 0);
}

/* Found once, and whole afterwards. */
static void assert_healed(struct bed *b)
{
	bed_run(b, 1000);
	bed_assert_equal(b);
	assert_found(audit(b, 0), 0, 0, 0);
	assert_found(audit(b, 1), 0, 0, 0);
}

static const struct engine_found *only(const struct engine_audit *a, enum engine_found_what what,
				       unsigned int i)
{
	const struct engine_found *f = &a->found[0];
	struct flow flow = bed_flow(i);

	assert_int_equal(a->found_count, 1);
	assert_int_equal(f->what, what);
	assert_memory_equal(what == FOUND_CACHE_ONLY ? &f->held.key : &f->kernel.key, &flow.key,
			    sizeof(flow.key));
	return f;
}

static void test_equal(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	assert_found(audit(b, 0), 0, 0, 0);
	assert_found(audit(b, 1), 0, 0, 0);
	assert_int_equal(b->n[0].notes[NOTE_AUDIT], 1);
	assert_int_equal(b->n[0].e->count.audit_suspects, 0);
	bed_free(b);
}

static void test_owner(void **state)
{
	struct bed *b = bed_pair(true);
	struct flow f = bed_flow(5);

	(void)state;
	b->n[0].kern[1].there = false; /* with no event */
	assert_string_equal(only(audit(b, 0), FOUND_CACHE_ONLY, 1)->peer, "");
	assert_null(bed_own(b, 0, 1));
	bed_run(b, 10000); /* before its time: it waits on the backup */
	assert_false(b->n[1].kern[1].there);
	assert_healed(b);

	bed_put(b, 0, 5, &f);
	(void)only(audit(b, 0), FOUND_KERNEL_ONLY, 5);
	assert_non_null(bed_own(b, 0, 5));
	bed_run(b, 1000);
	assert_true(b->n[1].kern[5].there);
	assert_healed(b);

	b->n[0].kern[2].f.mark = 7;
	assert_int_equal(only(audit(b, 0), FOUND_DIFFERS, 2)->differs, FLOW_HAS_MARK);
	bed_run(b, 1000);
	assert_int_equal(b->n[1].kern[2].f.mark, 7);
	assert_healed(b);
	bed_free(b);
}

static void test_backup(void **state)
{
	struct bed *b = bed_pair(true);
	struct flow f = bed_flow(5);

	(void)state;
	b->n[1].kern[1].there = false;
	assert_string_equal(only(audit(b, 1), FOUND_CACHE_ONLY, 1)->peer, "a0");
	assert_true(b->n[1].kern[1].there);
	assert_healed(b);

	b->n[1].kern[2].f.tcp.wscale[0] = 1;
	b->n[1].kern[2].f.mark = 9;
	assert_int_equal(only(audit(b, 1), FOUND_DIFFERS, 2)->differs,
			 FLOW_HAS_MARK | FLOW_HAS_TCP);
	assert_int_equal(b->n[1].kern[2].f.mark, 0);
	assert_int_equal(b->n[1].kern[2].f.tcp.wscale[0], 7);
	assert_healed(b);

	bed_put(b, 1, 5, &f);
	(void)only(audit(b, 1), FOUND_KERNEL_ONLY, 5);
	assert_non_null(bed_own(b, 1, 5));
	assert_healed(b);
	bed_free(b);
}

/* In cache mode no copy is expected. */
static void test_cache_mode(void **state)
{
	struct bed *b = bed_pair(false);

	(void)state;
	assert_found(audit(b, 1), 0, 0, 0);
	assert_false(b->n[1].kern[1].there);
	bed_free(b);
}

/* What a kernel has to itself is no difference. */
static void test_private(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	for (unsigned int n = 0; n < 2; n++) {
		b->n[n].kern[1].f.status |= 0x180;
		b->n[n].kern[2].f.tcp.flags[1] |= 0x38;
		b->n[n].kern[3].end_at -= 1000 * USEC_PER_SEC;
		assert_found(audit(b, n), 0, 0, 0);
	}
	bed_free(b);
}

/* Events that were under way while the entries were read. */
static void test_under_way(void **state)
{
	struct bed *b = bed_pair(true);
	struct flow f = bed_flow(5);

	(void)state;
	b->n[0].undrained = true;
	bed_put(b, 0, 5, &f);
	b->n[0].kern[1].there = false;
	b->n[0].kern[2].f.mark = 7;
	engine_cmd(b->n[0].e, CMD_AUDIT, b->now);
	bed_run(b, AUDIT_MS);
	assert_int_equal(b->n[0].e->count.audit_suspects, 3);
	assert_int_equal(engine_audit(b->n[0].e)->serial, 0);
	bed_event(b, 0, KERN_NEW, 5, 0);
	b->n[0].kern[1].there = true;
	bed_end(b, 0, 1, 0, 0);
	bed_event(b, 0, KERN_UPDATE, 2, 0);
	b->n[0].undrained = false;
	bed_run(b, AUDIT_MS);
	assert_found(over(b, 0), 0, 0, 0);
	assert_healed(b);
	bed_free(b);
}

/* A flow that came and went, and a copy that went and was made again, while they were looked at. */
static void test_flash(void **state)
{
	struct bed *b = bed_pair(true);
	struct flow f = bed_flow(5);

	(void)state;
	b->n[0].undrained = b->n[1].undrained = true;
	bed_put(b, 0, 5, &f);
	b->n[1].kern[1].there = false;
	engine_cmd(b->n[0].e, CMD_AUDIT, b->now);
	engine_cmd(b->n[1].e, CMD_AUDIT, b->now);
	bed_run(b, AUDIT_MS);
	assert_int_equal(b->n[0].e->count.audit_suspects, 1);
	assert_int_equal(b->n[1].e->count.audit_suspects, 1);
	bed_event(b, 0, KERN_NEW, 5, 0);
	bed_end(b, 0, 5, 0, 0);
	bed_event(b, 1, KERN_DESTROY, 1, 0);
	bed_run(b, 20);
	assert_true(b->n[1].kern[1].there);
	b->n[0].undrained = b->n[1].undrained = false;
	bed_run(b, AUDIT_MS);
	assert_found(over(b, 0), 0, 0, 0);
	assert_found(over(b, 1), 0, 0, 0);
	assert_null(bed_own(b, 0, 5));
	assert_healed(b);
	bed_free(b);
}

/* One that is another each time is not judged, and not looked at for ever. */
static void test_unsettled(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[0].e, CMD_AUDIT, b->now);
	for (unsigned int i = 1; i < 2000; i++) { /* each event tells of the change before */
		b->n[0].kern[2].f.mark = i;
		bed_event(b, 0, KERN_UPDATE, 2, 0);
		b->n[0].kern[2].f.mark = i + 1;
		bed_run(b, 1);
	}
	assert_found(&(struct engine_audit){ 0 }, 0, 0, 0);
	assert_int_equal(over(b, 0)->unsettled, 1);
	assert_int_equal(over(b, 0)->found_count, 0);
	bed_event(b, 0, KERN_UPDATE, 2, 0);
	bed_run(b, 1000);
	assert_healed(b);
	bed_free(b);
}

/* After an overrun the table is read again, and that makes up for what was lost. */
static void test_overrun(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	b->n[0].undrained = true;
	b->n[0].kern[1].there = false;
	engine_cmd(b->n[0].e, CMD_AUDIT, b->now);
	bed_run(b, AUDIT_MS);
	engine_kern(b->n[0].e, KERN_OVERRUN, NULL, 0, b->now);
	b->n[0].undrained = false;
	bed_run(b, 1000);
	assert_found(over(b, 0), 0, 0, 0);
	assert_null(bed_own(b, 0, 1));
	assert_healed(b);
	bed_free(b);
}

/* What the kernel refuses is missing, and its errno is told. */
static void test_refused(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	b->n[1].refuse = ENOMEM;
	bed_open(b, 0, 4);
	bed_run(b, 100);
	assert_int_equal(only(audit(b, 1), FOUND_CACHE_ONLY, 4)->refused, ENOMEM);
	b->n[1].refuse = 0;
	(void)audit(b, 1);
	assert_healed(b);
	bed_free(b);
}

/* A child waits for its master by the word of one primary, and then the word of another counts: no
 * kernel lacks it yet. */
static void test_awaited(void **state)
{
	(void)state;
	for (unsigned int first = 0; first < 2; first++) {
		struct bed *b = bed_new(3, true);
		unsigned int then = !first;
		struct flow f = bed_flow(4);

		for (unsigned int n = 0; n < 3; n++)
			bed_start(b, n, n == first ? ROLE_PRIMARY : ROLE_BACKUP, ORIGIN_BOOT);
		bed_run(b, 3000);
		f.has |= FLOW_HAS_MASTER;
		f.ext.master = (struct flow_master){ .proto = 6, .orig = { .sport = 9 } };
		bed_put(b, first, 4, &f);
		bed_event(b, first, KERN_NEW, 4, 0);
		bed_run(b, 100);
		engine_cmd(b->n[then].e, CMD_PROMOTE, b->now);
		bed_run(b, 100);
		engine_cmd(b->n[first].e, CMD_DEMOTE, b->now);
		bed_run(b, 100);
		assert_true(bed_mirror(b, 2, first, 4) && bed_mirror(b, 2, then, 4));
		assert_false(b->n[2].kern[4].there);
		assert_int_equal(bed_peer(b, 2, then)->led, 1);
		engine_cmd(b->n[2].e, CMD_AUDIT, b->now);
		bed_run(b, 1000);
		assert_int_equal(over(b, 2)->found_count, 0);
		assert_int_equal(over(b, 2)->unsettled, 1);
		bed_run(b, 4000);
		assert_true(b->n[2].kern[4].there);
		assert_found(audit(b, 2), 0, 0, 0);
		bed_free(b);
	}
}

/* A second one that is asked for meanwhile begins after the first. */
static void test_again(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[0].e, CMD_AUDIT, b->now);
	engine_cmd(b->n[0].e, CMD_AUDIT, b->now); /* not begun yet: the same */
	assert_int_equal(engine_audit(b->n[0].e)->due, 1);
	b->n[0].undrained = true;
	b->n[0].kern[1].there = false;
	bed_run(b, 50);
	engine_cmd(b->n[0].e, CMD_AUDIT, b->now);
	assert_int_equal(engine_audit(b->n[0].e)->due, 2);
	b->n[0].undrained = false;
	bed_run(b, 100);
	assert_int_equal(engine_audit(b->n[0].e)->serial, 1);
	assert_found(engine_audit(b->n[0].e), 0, 1, 0);
	bed_run(b, 1000);
	assert_found(over(b, 0), 0, 0, 0);
	bed_free(b);
}

/* By the word of memory that flipped nothing is written. */
static void test_flipped(void **state)
{
	struct bed *b = bed_pair(true);
	struct rec *r = bed_mirror(b, 1, 0, 2);
	unsigned int replaces = b->n[1].ops[OP_REPLACE];

	(void)state;
	r->body[r->keylen + 4] ^= 1; /* window scales */
	assert_int_equal(only(audit(b, 1), FOUND_DIFFERS, 2)->differs, FLOW_HAS_TCP);
	assert_int_equal(b->n[1].e->count.flips, 1);
	assert_int_equal(b->n[1].ops[OP_REPLACE], replaces);
	assert_healed(b);

	r = bed_own(b, 0, 2);
	r->body[r->keylen + 4] ^= 1;
	assert_int_equal(only(audit(b, 0), FOUND_DIFFERS, 2)->differs, FLOW_HAS_TCP);
	assert_int_equal(b->n[0].e->count.flips, 1);
	assert_healed(b);

	r = bed_mirror(b, 1, 0, 3);
	r->body[11] ^= 1; /* a port: the entry is nobody's */
	assert_int_equal(audit(b, 1)->found_by[FOUND_KERNEL_ONLY], 1);
	assert_null(bed_own(b, 1, 3));
	bed_run(b, 5000); /* the claim settles */
	assert_healed(b);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal),   cmocka_unit_test(test_owner),
		cmocka_unit_test(test_backup),  cmocka_unit_test(test_cache_mode),
		cmocka_unit_test(test_private), cmocka_unit_test(test_under_way),
		cmocka_unit_test(test_flash),   cmocka_unit_test(test_unsettled),
		cmocka_unit_test(test_overrun), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_awaited), cmocka_unit_test(test_again),
		cmocka_unit_test(test_flipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
