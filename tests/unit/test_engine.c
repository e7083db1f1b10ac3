/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine in small scenes on perfect links: what two or three nodes make of flows that come,
 * change and go, of restarts, promotes and demotes. Rules by their numbers are those of
 * PROTOCOL.md. What it makes of foreign and malformed datagrams is in test_engine_recv.c.
 */
#include "engine_bed.h"

static void test_new_peer(void **state)
{
	struct bed *b = bed_new(2, true);

	(void)state;
	for (unsigned int i = 1; i <= 5; i++) { /* before any daemon */
		struct flow f = bed_flow(i);

		bed_put(b, 0, i, &f);
	}
	bed_start(b, 0, ROLE_PRIMARY, ORIGIN_BOOT);
	bed_run(b, 1500);
	assert_int_equal(bed_stats(b, 0).local_flows, 5);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_BOOT);
	bed_run(b, 1500);
	bed_assert_equal(b);
	assert_int_equal(bed_stats(b, 1).remote_flows, 5);
	assert_int_equal(b->n[1].ops[OP_INJECT], 5);
	assert_int_equal(bed_stats(b, 1).copies, 5);
	assert_int_equal(bed_stats(b, 1).local_flows, 0); /* copies are not ours */
	assert_int_equal(b->n[1].notes[NOTE_SYNCED], 1);
	assert_int_equal(b->n[1].notes[NOTE_PEER_UP], 1);
	assert_true(bed_stats(b, 1).ready);
	bed_free(b);
}

static void test_update(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	bed_state(b, 0, 2, TCP_FIN_WAIT);
	bed_run(b, 5);
	bed_assert_equal(b);
	assert_int_equal(b->n[1].kern[2].f.tcp.state, TCP_FIN_WAIT);
	assert_int_equal(b->n[1].ops[OP_UPDATE], 1);
	bed_event(b, 0, KERN_UPDATE, 2, 0); /* the same again: nothing to say */
	assert_int_equal(b->n[0].e->head, 4);
	bed_free(b);
}

static void test_destroy(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	bed_end(b, 0, 2, 0, 0);
	bed_run(b, 300);
	bed_assert_equal(b);
	assert_null(bed_mirror(b, 1, 0, 2));
	assert_false(b->n[1].kern[2].there);
	assert_true(b->n[1].kern[1].there);
	assert_int_equal(bed_stats(b, 0).tombstones, 0); /* R5: the peer has it */
	bed_free(b);
}

/* NEW and DESTROY before anything was sent cost nothing; nor does a burst of changes cost more than
 * one record. */
static void test_cancelled(void **state)
{
	struct bed *b = bed_pair(true);
	uint64_t sent = bed_stats(b, 0).count.records_sent;

	(void)state;
	bed_open(b, 0, 5);
	bed_end(b, 0, 5, 0, 0);
	for (uint8_t s = TCP_SYN_RECV; s <= TCP_FIN_WAIT; s++)
		bed_state(b, 0, 1, s);
	bed_run(b, 300);
	bed_assert_equal(b);
	assert_int_equal(bed_stats(b, 0).count.cancelled, 1);
	assert_int_equal(bed_stats(b, 0).count.records_sent, sent + 1);
	assert_int_equal(b->n[1].ops[OP_INJECT], 3);
	bed_free(b);
}

/* A tombstone that nobody has yet gives way to a new life of its key, which ends before it was
 * sent. */
static void test_cancelled_over_tombstone(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	b->n[1].deaf = true;
	bed_end(b, 0, 2, 0, 0);
	bed_run(b, 5);
	bed_open(b, 0, 2);
	bed_end(b, 0, 2, 0, 0);
	b->n[1].deaf = false;
	bed_run(b, 500);
	bed_assert_equal(b);
	assert_null(bed_mirror(b, 1, 0, 2));
	assert_false(b->n[1].kern[2].there);
	bed_free(b);
}

static void test_restart_of_backup(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	bed_kill(b, 1);
	bed_run(b, 200);
	bed_state(b, 0, 1, TCP_FIN_WAIT);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_RESTART);
	bed_run(b, 8000);
	bed_assert_equal(b);
	assert_int_equal(bed_stats(b, 1).copies,
			 3); /* its old injections, known by the peer's claims */
	assert_int_equal(bed_stats(b, 1).local_flows, 0);
	assert_int_equal(b->n[1].kern[1].f.tcp.state, TCP_FIN_WAIT);
	assert_int_equal(bed_stats(b, 0).local_flows, 3);
	bed_free(b);
}

/* What ended while the owner's daemon was away leaves by a LIST, and nothing else does (R24, I4).
 */
static void test_restart_of_owner(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	bed_kill(b, 0);
	b->n[0].kern[2].there = false;
	bed_run(b, 300);
	bed_start(b, 0, ROLE_PRIMARY, ORIGIN_RESTART);
	for (unsigned int ms = 0; ms < 3000; ms++) {
		bed_run(b, 1);
		assert_true(b->n[1].kern[1].there && b->n[1].kern[3].there);
		assert_non_null(bed_find(b, b->n[1].e->peers[0].mirror, 3));
	}
	bed_assert_equal(b);
	assert_null(bed_mirror(b, 1, 0, 2));
	assert_false(b->n[1].kern[2].there);
	assert_true(bed_stats(b, 1).count.list_removed >= 1);
	bed_free(b);
}

static void test_promote_hot(void **state)
{
	struct bed *b = bed_pair(true);
	struct engine_stats s;

	(void)state;
	bed_kill(b, 0);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	assert_int_equal(bed_stats(b, 1).role, ROLE_PRIMARY); /* at once */
	bed_run(b, 200);
	s = bed_stats(b, 1);
	assert_false(s.commit.running);
	assert_int_equal(s.commit.serial, 1);
	assert_int_equal(s.commit.existed + s.commit.committed, 3);
	assert_int_equal(s.commit.refused, 0);
	assert_int_equal(s.local_flows, 3);
	assert_int_equal(s.copies, 0);
	assert_int_equal(b->n[1].ops[OP_REFRESH], 3); /* R37: timers lifted */
	assert_true(b->n[1].kern[1].end_at > b->now + 431000 * USEC_PER_SEC);
	assert_int_equal(b->n[1].notes[NOTE_ROLE], 1);
	assert_int_equal(b->n[1].notes[NOTE_COMMIT_DONE], 1);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now); /* again: harmless */
	bed_run(b, 200);
	assert_int_equal(bed_stats(b, 1).local_flows, 3);
	assert_int_equal(b->n[1].notes[NOTE_ROLE], 1);
	bed_free(b);
}

static void test_promote_cache(void **state)
{
	struct bed *b = bed_pair(false);
	struct engine_stats s;

	(void)state;
	assert_int_equal(b->n[1].ops[OP_INJECT], 0);
	bed_state(b, 0, 3, TCP_SYN_SENT); /* cannot be carried on */
	bed_run(b, 10);
	bed_kill(b, 0);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 200);
	s = bed_stats(b, 1);
	assert_false(s.commit.running);
	assert_int_equal(s.commit.committed, 2);
	assert_true(b->n[1].kern[1].there && b->n[1].kern[2].there && !b->n[1].kern[3].there);
	assert_int_equal(b->n[1].kern[1].f.tcp.wscale[1], 7);
	assert_int_equal(s.local_flows, 2);
	bed_free(b);
}

static void test_promote_refused(void **state)
{
	struct bed *b = bed_pair(false);
	struct engine_stats s;

	(void)state;
	b->n[1].refuse = ENOMEM;
	bed_kill(b, 0);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 200);
	s = bed_stats(b, 1);
	assert_false(s.commit.running);
	assert_int_equal(s.commit.refused, 3);
	assert_int_equal(s.commit.refused_by[ENOMEM], 3);
	assert_int_equal(s.role, ROLE_PRIMARY);
	b->n[1].refuse = 0;
	bed_run(b, 70000); /* tried again by the patrol */
	assert_true(b->n[1].kern[1].there && b->n[1].kern[2].there && b->n[1].kern[3].there);
	bed_free(b);
}

/* A demote removes nothing that the new owner has not announced. */
static void test_demote(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[0].e, CMD_DEMOTE, b->now);
	bed_run(b, 3000);
	bed_assert_equal(b);
	assert_int_equal(bed_stats(b, 0).role, ROLE_BACKUP);
	assert_int_equal(bed_stats(b, 0).local_flows, 3);
	assert_int_equal(b->n[0].ops[OP_DELETE] + b->n[0].ops[OP_REPLACE], 0);
	bed_free(b);
}

/* An address leaves: its flows end with events, long before their time. The backup waits, and a
 * promote revives. */
static void test_forced_revived(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	bed_end(b, 0, 2, 431000, 0);
	bed_run(b, 2000);
	assert_null(bed_mirror(b, 1, 0, 2));
	assert_true(b->n[1].kern[2].there);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 10000);
	assert_true(b->n[1].kern[2].there);
	assert_non_null(bed_own(b, 1, 2));
	assert_int_equal(bed_stats(b, 1).count.revived, 1);
	bed_free(b);
}

static void test_forced_revived_from_cache(void **state)
{
	struct bed *b = bed_pair(false);

	(void)state;
	bed_end(b, 0, 2, 431000, 0);
	bed_run(b, 2000);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 1000);
	assert_true(b->n[1].kern[1].there && b->n[1].kern[2].there && b->n[1].kern[3].there);
	bed_free(b);
}

static void test_forced_over(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	bed_end(b, 0, 2, 431000, 0);
	bed_run(b, 4000);
	assert_true(b->n[1].kern[2].there);
	bed_run(b, 3000);
	assert_false(b->n[1].kern[2].there);
	bed_free(b);
}

/* conntrack -D is meant: no wait. */
static void test_foreign_delete(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	bed_end(b, 0, 2, 431000, BED_OTHER_PORT);
	bed_run(b, 100);
	assert_false(b->n[1].kern[2].there);
	assert_int_equal(bed_stats(b, 0).count.events_foreign, 1);
	bed_free(b);
}

/* A copy expires: nothing is announced, and it comes back while its owner has it (R43). */
static void test_copy_expires(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	bed_end(b, 1, 2, 0, 0);
	bed_run(b, 100);
	assert_true(b->n[1].kern[2].there);
	assert_int_equal(b->n[1].e->head, 0);
	assert_non_null(bed_own(b, 0, 2));
	assert_true(b->n[0].kern[2].there);
	bed_free(b);
}

/* Packets change the state of a copy: it is this node's from now on (R36). */
static void test_copy_adopted(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	bed_state(b, 1, 2, TCP_FIN_WAIT);
	bed_run(b, 300);
	bed_assert_equal(b);
	assert_non_null(bed_own(b, 1, 2));
	assert_int_equal(bed_stats(b, 1).count.adopted, 1);
	bed_end(b, 0, 2, 0, 0);
	bed_run(b, 300);
	assert_true(b->n[1].kern[2].there); /* R39 */
	bed_free(b);
}

/* Plain packets on a copy raise no event: the refresh finds them (R35, R36). */
static void test_copy_touched(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	for (unsigned int i = 0; i < 4000; i++) {
		bed_run(b, 100);
		bed_touch(b, 1, 2);
	}
	assert_non_null(bed_own(b, 1, 2));
	assert_null(bed_own(b, 1, 1));
	assert_int_equal(bed_stats(b, 1).count.touched, 1);
	assert_true(bed_stats(b, 1).count.refreshes >= 2);
	assert_true(b->n[1].kern[1].end_at > b->now); /* and the others do not expire */
	bed_free(b);
}

/* A key is used again with another translation: no update can change the copy's tuple. */
static void test_copy_reborn(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	bed_end(b, 0, 2, 0, 0);
	bed_open(b, 0, 2);
	b->n[0].kern[2].f.reply.dport = 0x4321;
	bed_event(b, 0, KERN_UPDATE, 2, 0);
	bed_run(b, 100);
	bed_assert_equal(b);
	assert_int_equal(b->n[1].kern[2].f.reply.dport, 0x4321);
	assert_int_equal(bed_stats(b, 1).count.replaces, 1);
	bed_free(b);
}

static void test_overrun(void **state)
{
	struct bed *b = bed_pair(true);
	struct flow f = bed_flow(7);

	(void)state;
	b->n[0].kern[2].there = false; /* none of it is heard */
	bed_put(b, 0, 7, &f);
	b->n[0].kern[1].f.tcp.state = TCP_FIN_WAIT;
	engine_kern(b->n[0].e, KERN_OVERRUN, NULL, 0, b->now);
	bed_run(b, 1000);
	bed_assert_equal(b);
	assert_null(bed_own(b, 0, 2));
	assert_non_null(bed_own(b, 0, 7));
	assert_int_equal(b->n[1].kern[1].f.tcp.state, TCP_FIN_WAIT);
	assert_false(b->n[1].kern[2].there);
	assert_true(b->n[1].kern[7].there);
	assert_int_equal(bed_stats(b, 0).count.dump_gone, 1);
	assert_int_equal(b->n[0].notes[NOTE_OVERRUN], 1);
	bed_free(b);
}

static void test_verbs(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	engine_cmd(b->n[1].e, CMD_FLUSH_REMOTE, b->now);
	assert_int_equal(bed_stats(b, 1).remote_flows, 0);
	bed_run(b, 2000);
	bed_assert_equal(b);
	assert_int_equal(bed_stats(b, 1).copies, 3);
	engine_cmd(b->n[1].e, CMD_RESYNC, b->now);
	bed_run(b, 2000);
	bed_assert_equal(b);
	engine_cmd(b->n[0].e, CMD_FLUSH_LOCAL, b->now);
	bed_run(b, 2000);
	bed_assert_equal(b);
	assert_int_equal(bed_stats(b, 0).local_flows, 3);
	assert_true(b->n[1].kern[1].there);
	engine_cmd(b->n[0].e, CMD_BYE, b->now);
	bed_run(b, 2);
	assert_int_equal(b->n[1].notes[NOTE_PEER_BYE], 1);
	assert_int_equal(bed_stats(b, 1).remote_flows, 3); /* they keep the state */
	bed_free(b);
}

/* However much there is to send: the BYE goes at once, and no later word takes it back. */
static void test_bye_at_once(void **state)
{
	struct bed *b = bed_pair(true);
	uint8_t pkt[WIRE_DGRAM_MAX];
	uint32_t to;

	(void)state;
	bed_open(b, 0, 4);
	b->now += 10 * USEC_PER_SEC; /* heartbeat, REPORT and HELLO are due as well */
	engine_cmd(b->n[0].e, CMD_BYE, b->now);
	assert_true(engine_send(b->n[0].e, pkt, &to, b->now) > WIRE_HEAD_LEN);
	assert_int_equal(pkt[WIRE_HEAD_LEN], WIRE_BYE); /* the bed is unsealed */
	assert_int_equal(to, ENGINE_TO_ALL);
	assert_int_equal(engine_send(b->n[0].e, pkt, &to, b->now), 0);
	bed_free(b);
}

/* A mirror at its limit cannot take what its owner has: a few versions that are missing for ever
 * are not "on their way". */
static void test_stuck(void **state)
{
	struct bed *b = bed_new(2, true);

	(void)state;
	b->n[1].conf.flows_max = 2;
	bed_start(b, 0, ROLE_PRIMARY, ORIGIN_BOOT);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_BOOT);
	bed_run(b, 500);
	assert_true(bed_stats(b, 1).ready);
	for (unsigned int i = 1; i <= 3; i++) {
		bed_open(b, 0, i);
		bed_run(b, 100);
	}
	bed_run(b, 5000);
	assert_false(bed_stats(b, 1).ready);
	b->n[1].conf.flows_max = 3;
	engine_reconf(b->n[1].e, &b->n[1].conf, b->now);
	bed_run(b, 500);
	bed_assert_equal(b);
	assert_true(bed_stats(b, 1).ready);
	bed_free(b);
}

/* A silent owner's flows go one by one, each after its own timeout (R45). */
static void test_silence(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	bed_open(b, 0, 12); /* UDP, 120 s */
	bed_run(b, 100);
	bed_kill(b, 0);
	bed_run(b, 100000);
	assert_int_equal(bed_stats(b, 1).remote_flows, 4);
	assert_int_equal(bed_stats(b, 1).peer[0].state, PEER_DOWN);
	bed_run(b, 200000);
	assert_int_equal(bed_stats(b, 1).remote_flows, 3);
	assert_int_equal(bed_stats(b, 1).count.expired_silent, 1);
	bed_free(b);
}

/* A backup restarts with entries that nobody claims: it does not announce them while a peer is
 * there (R46), and owns them by and by when nobody is. */
static void test_unclaimed(void **state)
{
	struct bed *b = bed_new(2, true);
	struct flow f = bed_flow(4);

	(void)state;
	bed_put(b, 1, 4, &f);
	b->n[1].conf.unclaimed_ms = 5000;
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_RESTART);
	bed_run(b, 3000);
	assert_int_equal(bed_stats(b, 1).local_flows, 0);
	assert_int_equal(bed_stats(b, 1).unclaimed, 1);
	bed_run(b, 4000);
	assert_int_equal(bed_stats(b, 1).local_flows, 1);
	bed_kill(b, 1);
	bed_start(b, 0, ROLE_PRIMARY, ORIGIN_BOOT);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_RESTART);
	bed_run(b, 20000);
	assert_int_equal(bed_stats(b, 1).local_flows, 0);
	assert_true(b->n[1].kern[4].there);
	bed_touch(b, 1, 4); /* packets pass: it is its own after all */
	bed_run(b, 20000);
	assert_int_equal(bed_stats(b, 1).local_flows, 1);
	bed_free(b);
}

static void test_ignored(void **state)
{
	struct bed *b = bed_pair(true);
	struct flow f = bed_flow(2);

	(void)state;
	memset(f.key.orig.src, 0, sizeof(f.key.orig.src));
	f.key.orig.src[0] = 127;
	engine_kern(b->n[0].e, KERN_NEW, &f, 0, b->now);
	assert_int_equal(bed_stats(b, 0).local_flows, 3);
	assert_int_equal(bed_stats(b, 0).count.events_ignored, 1);
	bed_free(b);
}

/* Tombstones dropped at the cap while a peer is away: it learns so, compares buckets, and ends up
 * equal (R22, R23). */
static void test_debt(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	b->n[0].conf.tombstones_max = 1;
	engine_reconf(b->n[0].e, &b->n[0].conf, b->now);
	b->n[1].deaf = b->n[0].deaf = true;
	for (unsigned int i = 1; i <= 3; i++)
		bed_end(b, 0, i, 0, 0);
	bed_run(b, 3000);
	assert_int_equal(bed_stats(b, 0).tombstones, 1);
	assert_int_equal(bed_stats(b, 0).count.tombstones_dropped, 2);
	assert_true(b->n[1].kern[1].there);
	b->n[1].deaf = b->n[0].deaf = false;
	bed_run(b, 5000);
	bed_assert_equal(b);
	assert_true(bed_stats(b, 1).count.debts >= 1);
	assert_int_equal(bed_stats(b, 1).remote_flows, 0);
	assert_false(b->n[1].kern[1].there || b->n[1].kern[2].there || b->n[1].kern[3].there);
	bed_free(b);
}

static void test_three_nodes(void **state)
{
	struct bed *b = bed_new(3, true);

	(void)state;
	for (unsigned int n = 0; n < 3; n++)
		bed_start(b, n, n ? ROLE_BACKUP : ROLE_PRIMARY, ORIGIN_BOOT);
	bed_run(b, 2000);
	bed_open(b, 0, 1);
	bed_run(b, 500);
	bed_assert_equal(b);
	assert_true(b->n[1].kern[1].there && b->n[2].kern[1].there);
	bed_kill(b, 0);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 2000);
	bed_assert_equal(b);
	assert_non_null(bed_own(b, 1, 1));
	assert_int_equal(bed_stats(b, 2).copies, 1); /* the copy of one mirror at most */
	bed_start(b, 0, ROLE_BACKUP, ORIGIN_RESTART);
	bed_run(b, 10000);
	bed_assert_equal(b);
	assert_int_equal(bed_stats(b, 0).copies, 1);
	bed_free(b);
}

static void test_each(void **state)
{
	struct bed *b = bed_pair(true);
	struct flow out[16];
	uint64_t pos = 0;

	(void)state;
	assert_int_equal(engine_each(b->n[0].e, HALF_LOCAL, &pos, out, 16, b->now), 3);
	assert_int_equal(pos, 0);
	assert_int_equal(engine_each(b->n[1].e, HALF_REMOTE, &pos, out, 16, b->now), 3);
	assert_int_equal(engine_each(b->n[1].e, HALF_LOCAL, &pos, out, 16, b->now), 0);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_peer),
		cmocka_unit_test(test_update),
		cmocka_unit_test(test_destroy),
		cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_cancelled_over_tombstone),
		cmocka_unit_test(test_restart_of_backup),
		cmocka_unit_test(test_restart_of_owner),
		cmocka_unit_test(test_promote_hot),
		cmocka_unit_test(test_promote_cache),
		cmocka_unit_test(test_promote_refused),
		cmocka_unit_test(test_demote),
		cmocka_unit_test(test_forced_revived),
		cmocka_unit_test(test_forced_revived_from_cache),
		cmocka_unit_test(test_forced_over),
		cmocka_unit_test(test_foreign_delete),
		cmocka_unit_test(test_copy_expires),
		cmocka_unit_test(test_copy_adopted),
		cmocka_unit_test(test_copy_touched),
		cmocka_unit_test(test_copy_reborn),
		cmocka_unit_test(test_overrun),
		cmocka_unit_test(test_verbs),
		cmocka_unit_test(test_bye_at_once),
		cmocka_unit_test(test_stuck),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_unclaimed),
		cmocka_unit_test(test_ignored),
		cmocka_unit_test(test_debt),
		cmocka_unit_test(test_three_nodes),
		cmocka_unit_test(test_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
