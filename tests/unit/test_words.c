/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What several peers say of one flow, and which word counts when one of them is silent, has started
 * anew, or lost the flow as its address moved (PROTOCOL.md, R36, R38, R42, R47).
 */
#include "engine_bed.h"

#define WAIT_MS 6000 /* forced_wait_ms and a second more */

/* Three nodes, flow 1 open through node 0, the primary. */
static struct bed *trio_of(bool hot)
{
	struct bed *b = bed_new(3, hot);

	for (unsigned int n = 0; n < 3; n++)
		bed_start(b, n, n ? ROLE_BACKUP : ROLE_PRIMARY, ORIGIN_BOOT);
	bed_run(b, 3000);
	bed_open(b, 0, 1);
	bed_run(b, 1000);
	bed_assert_equal(b);
	return b;
}

static struct bed *trio(void)
{
	return trio_of(true);
}

static void role(struct bed *b, unsigned int n, enum engine_cmd cmd)
{
	engine_cmd(b->n[n].e, cmd, b->now);
	bed_run(b, 100);
}

/* To the moment at which node 0 has spoken, and nobody has answered yet. */
static void step(struct bed *b)
{
	bed_pump(b, 1);
	bed_pump(b, 2);
	b->now += USEC_PER_MS;
	bed_pump(b, 0);
}

static bool waits(const struct bed *b, unsigned int n)
{
	const struct rec *s = bed_find(b, b->n[n].e->strays, 1);

	return s && (s->flags & F_FORCED);
}

/* The address leaves node 0, and node 2, which has the flow too, says that it died: the entry of
 * node 1, a copy of node 2's, waits as long as it would have without that. */
static void test_forced_beside_copy(void **state)
{
	(void)state;
	for (unsigned int promoted = 0; promoted < 2; promoted++) {
		struct bed *b = trio();

		role(b, 0, CMD_DEMOTE);
		role(b, 2, CMD_PROMOTE);
		bed_open(b, 2, 1);
		bed_run(b, 100);
		assert_true(bed_mirror(b, 1, 2, 1)->flags & F_KERN);
		bed_end(b, 0, 1, 1000, 0);
		bed_run(b, 1000);
		bed_end(b, 2, 1, 0, 0);
		bed_run(b, 1000);
		assert_true(waits(b, 1) && b->n[1].kern[1].there);
		if (promoted)
			role(b, 1, CMD_PROMOTE);
		bed_run(b, WAIT_MS);
		assert_int_equal(b->n[1].kern[1].there, promoted);
		assert_int_equal(bed_own(b, 1, 1) != NULL, promoted);
		bed_free(b);
	}
}

/* Of two that have the flow both lose it by force, one after the other: the entry waits for a
 * promote from the second end on. */
static void test_forced_anew(void **state)
{
	struct bed *b = trio();

	(void)state;
	role(b, 0, CMD_DEMOTE);
	bed_open(b, 2, 1);
	bed_run(b, 100);
	bed_end(b, 0, 1, 1000, 0);
	bed_run(b, WAIT_MS / 2);
	assert_true(waits(b, 1) && b->n[1].kern[1].there);
	bed_end(b, 2, 1, 1000, 0);
	bed_run(b, WAIT_MS - 2000);
	assert_true(waits(b, 1) && b->n[1].kern[1].there);
	bed_run(b, 2000);
	assert_false(waits(b, 1) || b->n[1].kern[1].there);
	bed_free(b);
}

/* Node 2 took the flow over and loses it as its address moves. Node 0, which is back without the
 * flow, said before its restart that it had it: nobody else has it any more. */
static void test_claim_of_earlier_epoch(void **state)
{
	struct bed *b = trio();

	(void)state;
	bed_kill(b, 0);
	b->n[0].kern[1].there = false;
	role(b, 2, CMD_PROMOTE);
	bed_run(b, 2000);
	assert_non_null(bed_own(b, 2, 1));
	bed_start(b, 0, ROLE_PRIMARY, ORIGIN_RESTART);
	while (bed_stats(b, 2).peer[0].epoch != b->n[0].e->epoch)
		step(b);
	b->n[0].deaf = true; /* it hears of the flow when that is over */
	assert_non_null(bed_mirror(b, 2, 0, 1));
	bed_end(b, 2, 1, 20, 0);
	bed_run(b, 100);
	b->n[0].deaf = false;
	bed_run(b, 1000);
	assert_null(bed_mirror(b, 1, 0, 1));
	role(b, 1, CMD_PROMOTE);
	assert_true(b->n[1].kern[1].there);
	assert_non_null(bed_own(b, 1, 1));
	bed_free(b);
}

/* Node 0 died as a primary; what it said is older than what node 1 took over then. */
static void test_claim_of_silent(void **state)
{
	struct bed *b = trio();

	(void)state;
	bed_kill(b, 0);
	bed_run(b, 2000);
	role(b, 1, CMD_PROMOTE);
	role(b, 1, CMD_DEMOTE);
	bed_run(b, 130000); /* two rounds of the patrol */
	assert_non_null(bed_own(b, 1, 1));
	assert_int_equal(b->n[1].ops[OP_REPLACE], 0);
	bed_free(b);
}

/* The new life of the tuple, which node 0 announces in SYN_SENT, is forced to end before node 1
 * could delete the entry of the life before: it goes all the same, whatever node 1 is. */
static void test_forced_while_young(void **state)
{
	static struct policy_conf early = { .syn_sent = true };

	(void)state;
	for (unsigned int primary = 0; primary < 2; primary++) {
		struct bed *b = bed_pair(true);
		struct flow young = bed_flow(4);

		if (primary)
			role(b, 1, CMD_PROMOTE);
		assert_true(engine_policy(b->n[0].e, &early, b->now));
		bed_open(b, 0, 4);
		bed_run(b, 100);
		assert_true(bed_mirror(b, 1, 0, 4)->flags & F_KERN);
		bed_end(b, 0, 4, 0, 0);
		young.tcp.state = TCP_SYN_SENT;
		young.status = 0x8;
		bed_put(b, 0, 4, &young);
		bed_event(b, 0, KERN_NEW, 4, 0);
		bed_pump(b, 0);
		bed_end(b, 0, 4, 100, 0);
		bed_pump(b, 0);
		bed_run(b, 100);
		assert_false(b->n[1].kern[4].there);
		bed_free(b);
	}
}

/* The entry of node 2, a backup, met a packet last, and node 2 says so; then its daemon starts anew
 * and does not know whose the entry is. That the flow, which no packet met at node 0, the primary,
 * has ended there tells nothing of it: the entry of node 1 ages, and a promote takes it. But it
 * goes if node 0 has told of the flow since. */
static void test_end_beside_leftover(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		struct bed *b = trio();
		bool retold = i == 1, forced = i == 2;

		bed_touch(b, 2, 1);
		b->n[2].kern[1].f.mark = 5;
		bed_event(b, 2, KERN_UPDATE, 1, 0);
		bed_run(b, 100);
		assert_non_null(bed_own(b, 2, 1));
		assert_true(bed_mirror(b, 1, 0, 1)->flags & F_KERN);
		bed_kill(b, 2);
		bed_start(b, 2, ROLE_BACKUP, ORIGIN_RESTART);
		for (unsigned int ms = 0; ms < 1000 && bed_mirror(b, 1, 2, 1); ms++)
			bed_run(b, 1);
		assert_null(bed_mirror(b, 1, 2, 1));
		if (retold)
			bed_state(b, 0, 1, TCP_FIN_WAIT);
		bed_run(b, 10);
		assert_true(bed_mirror(b, 1, 0, 1)->flags & F_KERN);
		bed_end(b, 0, 1, forced ? 1000 : 0, 0);
		bed_run(b, WAIT_MS);
		assert_int_equal(b->n[1].kern[1].there, !retold);
		role(b, 1, CMD_PROMOTE);
		assert_int_equal(b->n[1].kern[1].there, !retold);
		assert_int_equal(bed_own(b, 1, 1) != NULL, !retold);
		assert_int_equal(b->n[1].e->absent, 0);
		bed_free(b);
	}
}

/* Nodes 0 and 2 are primary, and node 2 has a later life of the tuple, which its address takes
 * along as it moves; then the earlier one ends at node 0, of which node 1 has the entry. Node 1
 * makes the later one in its place if it is promoted in time; else nothing is left. */
static void test_forced_of_other_life(void **state)
{
	(void)state;
	for (unsigned int promoted = 0; promoted < 2; promoted++) {
		struct bed *b = trio();
		struct flow later = bed_flow(1);

		later.reply.dport++;
		role(b, 2, CMD_PROMOTE);
		bed_end(b, 2, 1, 0, 0);
		bed_put(b, 2, 1, &later);
		bed_event(b, 2, KERN_NEW, 1, 0);
		bed_run(b, 100);
		role(b, 2, CMD_DEMOTE);
		bed_end(b, 2, 1, 1000, 0);
		bed_run(b, 100);
		assert_true(waits(b, 1) && bed_mirror(b, 1, 0, 1)->flags & F_KERN);
		bed_state(b, 0, 1, TCP_CLOSE);
		bed_end(b, 0, 1, 0, 0);
		bed_run(b, 100);
		assert_null(bed_mirror(b, 1, 0, 1));
		assert_int_equal(b->n[1].e->absent, 0);
		if (promoted)
			role(b, 1, CMD_PROMOTE);
		bed_run(b, WAIT_MS);
		assert_int_equal(b->n[1].kern[1].there, promoted);
		if (promoted) {
			assert_int_equal(b->n[1].kern[1].f.reply.dport, later.reply.dport);
			assert_non_null(bed_own(b, 1, 1));
		}
		assert_int_equal(b->n[1].e->absent, 0);
		bed_free(b);
	}
}

/* What node 0 says; none of it arrives yet. */
static size_t held_back(struct bed *b, uint8_t *pkt)
{
	uint32_t to;
	size_t len;

	do {
		bed_run(b, 1);
		b->now += 250 * USEC_PER_MS;
		engine_tick(b->n[0].e, b->now);
		len = engine_send(b->n[0].e, pkt, &to, b->now);
	} while (!len);
	return len;
}

/* What comes late of a primary that died does not keep its word before that of the next one. */
static void test_late_word(void **state)
{
	uint8_t pkt[10][WIRE_DGRAM_MAX];
	struct bed *b = trio();
	size_t len[10];

	(void)state;
	for (unsigned int i = 0; i < 10; i++)
		len[i] = held_back(b, pkt[i]);
	bed_run(b, 300);
	assert_true(bed_peer(b, 2, 0)->led);
	bed_kill(b, 0);
	role(b, 1, CMD_PROMOTE);
	for (unsigned int i = 0; i < 10; i++) {
		bed_run(b, 200);
		assert_int_equal(
			engine_recv(b->n[2].e, bed_endpoint(b, 0, 0), pkt[i], len[i], b->now), 0);
	}
	assert_true(bed_peer(b, 2, 1)->led);
	bed_free(b);
}

/* A later life of the tuple, which was to replace the entry of node 1, dies before that was done,
 * and node 1 is promoted: what is dead is not made. */
static void test_dead_while_reborn(void **state)
{
	struct bed *b = bed_pair(true);
	struct flow later = bed_flow(1);
	const struct rec *s;

	(void)state;
	bed_open(b, 0, 1);
	bed_run(b, 1000);
	assert_true(bed_mirror(b, 1, 0, 1)->flags & F_KERN);
	later.reply.dport++;
	bed_end(b, 0, 1, 0, 0);
	bed_put(b, 0, 1, &later);
	bed_event(b, 0, KERN_NEW, 1, 0);
	bed_pump(b, 0);
	assert_true(bed_mirror(b, 1, 0, 1)->flags & F_REBORN);
	bed_state(b, 0, 1, TCP_CLOSE);
	bed_end(b, 0, 1, 0, 0);
	bed_pump(b, 0);
	assert_null(bed_mirror(b, 1, 0, 1));
	s = bed_find(b, b->n[1].e->strays, 1);
	assert_true(s && s->flags & F_DOOM);
	role(b, 1, CMD_PROMOTE);
	assert_int_equal(b->n[1].ops[OP_REPLACE], 0);
	assert_null(bed_own(b, 1, 1));
	assert_false(b->n[1].kern[1].there);
	bed_free(b);
}

/* Node 2 stands still while node 0 dies and node 1 is promoted. What node 0 said before waits for
 * it, and is read as node 1 speaks: node 1 leads. */
static void word_that_waited(unsigned int lag_ms)
{
	uint8_t pkt[WIRE_DGRAM_MAX];
	struct bed *b = trio();
	uint32_t to;
	size_t len;

	b->now += 250 * USEC_PER_MS;
	engine_tick(b->n[2].e, b->now);
	b->now += lag_ms * USEC_PER_MS; /* what it hears then is newer than its last tick */
	engine_tick(b->n[0].e, b->now);
	while ((len = engine_send(b->n[0].e, pkt, &to, b->now)))
		(void)engine_recv(b->n[2].e, bed_endpoint(b, 0, 0), pkt, len, b->now);
	b->now += 250 * USEC_PER_MS;
	engine_tick(b->n[0].e, b->now);
	len = engine_send(b->n[0].e, pkt, &to, b->now);
	assert_true(len);
	bed_kill(b, 0);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	b->n[2].deaf = true;
	for (unsigned int ms = 0; ms < 5000; ms++) {
		b->now += USEC_PER_MS;
		bed_pump(b, 1);
	}
	b->n[2].deaf = false;
	assert_int_equal(engine_recv(b->n[2].e, bed_endpoint(b, 0, 0), pkt, len, b->now), 0);
	bed_run(b, 50);
	assert_true(bed_peer(b, 2, 1)->led);
	bed_free(b);
}

static void test_word_that_waited(void **state)
{
	(void)state;
	word_that_waited(0);
	word_that_waited(1);
	word_that_waited(100);
}

/* What node 2 tells as a backup, a later life, is forced to end there; node 0, where the tuple's
 * entry is still that of the life before, is primary then, and packets meet that one: it is what a
 * promote of node 1 writes. Unless node 0 has begun anew since it told of it. */
static void test_forced_before_primary(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 4; i++) {
		unsigned int anew = i % 2;
		struct bed *b = trio_of(i / 2);
		struct flow later = bed_flow(1);

		role(b, 0, CMD_DEMOTE);
		role(b, 2, CMD_PROMOTE);
		role(b, 2, CMD_DEMOTE);
		b->n[0].deaf = true; /* it hears of that life when it is over */
		later.reply.dport++;
		bed_put(b, 2, 1, &later);
		bed_event(b, 2, KERN_NEW, 1, 0);
		bed_run(b, 100);
		bed_end(b, 2, 1, 1000, 0);
		bed_run(b, 100);
		assert_true(waits(b, 1));
		b->n[0].deaf = false;
		role(b, 0, CMD_PROMOTE);
		bed_run(b, 1000);
		bed_mirror(b, 1, 0, 1)->gen ^= anew;
		role(b, 1, CMD_PROMOTE);
		assert_int_equal(b->n[1].kern[1].f.reply.dport != bed_flow(1).reply.dport, anew);
		assert_non_null(bed_own(b, 1, 1));
		bed_free(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forced_beside_copy),
		cmocka_unit_test(test_forced_anew),
		cmocka_unit_test(test_claim_of_earlier_epoch),
		cmocka_unit_test(test_claim_of_silent),
		cmocka_unit_test(test_forced_while_young),
		cmocka_unit_test(test_end_beside_leftover),
		cmocka_unit_test(test_forced_of_other_life),
		cmocka_unit_test(test_late_word),
		cmocka_unit_test(test_word_that_waited),
		cmocka_unit_test(test_forced_before_primary),
		cmocka_unit_test(test_dead_while_reborn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
