/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Groups and links: what several members cost each other, and what several links bring. Repairs
 * that serve more than one peer, members that die, are slow, come late or are replaced; doubles,
 * links that fall silent, loss figures, the largest datagram that all can take.
 */
#include "engine_bed.h"

static struct bed *group(unsigned int count, unsigned int links, bool multicast)
{
	struct bed *b = bed_new(count, true);

	b->links = links;
	b->multicast = multicast;
	for (unsigned int n = 0; n < count; n++)
		bed_start(b, n, n ? ROLE_BACKUP : ROLE_PRIMARY, ORIGIN_BOOT);
	bed_run(b, 3000);
	for (unsigned int n = 0; n < count; n++)
		assert_int_equal(bed_stats(b, n).peer_count, count - 1);
	bed_open(b, 0, 1);
	bed_run(b, 1000);
	bed_assert_equal(b);
	return b;
}

static void deafen(struct bed *b, bool deaf)
{
	for (unsigned int n = 1; n < b->count; n++)
		b->n[n].deaf = deaf;
}

/* Flows 2 to 9, a datagram each, of which the receivers lose all but the last. */
static void lose_some(struct bed *b)
{
	deafen(b, true);
	for (unsigned int i = 2; i < 9; i++) {
		bed_open(b, 0, i);
		bed_run(b, 2);
	}
	deafen(b, false);
	bed_open(b, 0, 9);
}

/* One multicast repair for all who lost the same; over unicast each has its own. */
static void test_repair_once(void **state)
{
	(void)state;
	for (unsigned int multicast = 0; multicast < 2; multicast++) {
		struct bed *b = group(4, 1, multicast);
		uint64_t before = bed_stats(b, 0).count.records_repaired;
		struct engine_stats s;

		lose_some(b);
		bed_run(b, 200);
		bed_assert_equal(b);
		s = bed_stats(b, 0);
		assert_int_equal(s.count.records_repaired - before, multicast ? 7 : 21);
		assert_int_equal(s.count.repairs_merged, multicast ? 2 : 0);
		for (unsigned int n = 1; n < 4; n++) /* nobody had to wait and ask twice */
			assert_int_equal(bed_stats(b, n).count.records_ignored, 0);
		bed_free(b);
	}
}

/* Who asks again for what another's repair should have brought has lost it: no more merging. */
static void test_repair_lost(void **state)
{
	struct bed *b = group(3, 1, true);
	struct wire_report m = { .owner = b->n[0].e->id,
				 .owner_epoch = b->n[0].e->epoch,
				 .window_len = 100000,
				 .gap_count = 1 };
	uint8_t pkt[WIRE_DGRAM_MAX];
	struct peer *p[2];
	uint32_t to;

	(void)state;
	for (unsigned int i = 2; i < 6; i++)
		bed_open(b, 0, i);
	bed_run(b, 300);
	m.covered = m.maxhead = b->n[0].e->head;
	m.gaps[0] = (struct wire_gap){ 0, m.maxhead };
	m.covered = 0;
	for (unsigned int i = 0; i < 2; i++)
		p[i] = bed_peer(b, 0, i + 1);
	stream_report(b->n[0].e, p[0], &m, b->now);
	while (p[0]->answer.count)
		assert_true(engine_send(b->n[0].e, pkt, &to, b->now) > 0);
	for (unsigned int i = 0; i < 3; i++) {
		/* the other's is cut off whole, but once; the own never */
		stream_report(b->n[0].e, p[1], &m, b->now);
		assert_int_equal(p[1]->answer.count, i > 0);
	}
	stream_report(b->n[0].e, p[0], &m, b->now);
	assert_int_equal(p[0]->answer.count, 1);
	assert_int_equal(b->n[0].e->count.repairs_merged, 1);
	bed_free(b);
}

/* Answers that end, but bring nothing of what is missing, are no reason to ask again at once:
 * several nodes whose repairs are merged would go round as fast as the wire. */
static void test_answers_of_before(void **state)
{
	struct bed *b = group(3, 1, true);
	struct engine *e = b->n[0].e, *r = b->n[1].e;
	struct wire_report m = { .owner = e->id,
				 .owner_epoch = e->epoch,
				 .window_len = 100000,
				 .gap_count = 1,
				 .gaps = { { 0, e->head } } };
	uint64_t before = r->count.reports_sent;
	uint8_t pkt[WIRE_DGRAM_MAX];
	uint32_t to;

	(void)state;
	m.maxhead = e->head;
	lose_some(b);
	for (usec_t end = b->now + 10 * USEC_PER_MS; b->now < end; b->now += 20) {
		struct peer *p = bed_peer(b, 0, 1);
		int len;

		e->repair_at = 0, memset(e->repairs, 0, sizeof(e->repairs)); /* nothing is merged */
		stream_report(e, p, &m, b->now);
		while ((len = engine_send(e, pkt, &to, b->now)) > 0)
			(void)engine_recv(r, 1, pkt, (size_t)len, b->now);
		engine_tick(r, b->now);
		while (engine_send(r, pkt, &to, b->now) > 0)
			;
	}
	assert_true(bed_peer(b, 1, 0)->covered < e->head);     /* its questions went nowhere */
	assert_in_range(r->count.reports_sent - before, 1, 5); /* some speak of progress */
	bed_free(b);
}

/* What is merged is never lost to anybody: pieces at the front, at the end, in the middle. */
static void test_repair_pieces(void **state)
{
	static const struct {
		struct wire_gap first, second;
		uint64_t left; /* versions of the second that are not on their way */
	} cases[] = {
		{ { 2, 6 }, { 2, 6 }, 0 },   { { 2, 6 }, { 0, 4 }, 2 }, { { 2, 6 }, { 4, 8 }, 2 },
		{ { 2, 6 }, { 3, 5 }, 0 },   { { 3, 5 }, { 2, 6 }, 4 }, { { 2, 4 }, { 4, 6 }, 2 },
		{ { 0, 16 }, { 0, 16 }, 0 }, { { 4, 6 }, { 2, 4 }, 2 },
	};

	(void)state;
	for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
		struct bed *b = group(3, 1, true);
		struct engine *e = b->n[0].e;
		struct wire_report m = { .owner = e->id,
					 .owner_epoch = e->epoch,
					 .window_len = 100000,
					 .gap_count = 1 };
		struct answer *a = &bed_peer(b, 0, 2)->answer;
		uint8_t pkt[WIRE_DGRAM_MAX];
		uint64_t left = 0;
		uint32_t to;

		for (unsigned int i = 2; i < 16; i++)
			bed_open(b, 0, i);
		for (unsigned int i = 2; i < 10; i++)
			bed_state(b, 0, i, TCP_FIN_WAIT);
		bed_run(b, 300);
		assert_true(e->head >= 16);
		m.maxhead = e->head;
		m.gaps[0] = cases[c].first;
		m.covered = cases[c].first.from;
		stream_report(e, bed_peer(b, 0, 1), &m, b->now);
		while (bed_peer(b, 0, 1)->answer.count)
			assert_true(engine_send(e, pkt, &to, b->now) > 0);
		m.gaps[0] = cases[c].second;
		m.covered = cases[c].second.from;
		stream_report(e, bed_peer(b, 0, 2), &m, b->now);
		for (unsigned int i = a->at; i < a->count; i++)
			left += a->gaps[i].to - a->gaps[i].from;
		assert_int_equal(left, cases[c].left);
		bed_free(b);
	}
}

/* One that pulls a whole table does not keep another from its repair: they take turns. */
static void test_turns(void **state)
{
	struct bed *b = group(3, 1, false);
	struct engine *e = b->n[0].e;
	struct wire_report m = {
		.owner = e->id, .owner_epoch = e->epoch, .window_len = 1 << 20, .gap_count = 4
	};
	uint8_t pkt[WIRE_DGRAM_MAX];
	uint32_t to, last = 0;

	(void)state;
	for (unsigned int i = 2; i < 16; i++)
		bed_open(b, 0, i);
	bed_run(b, 300);
	m.maxhead = e->head;
	for (unsigned int i = 0; i < 4; i++)
		m.gaps[i] = (struct wire_gap){ 2 * i, 2 * i + 1 };
	stream_report(e, bed_peer(b, 0, 1), &m, b->now);
	stream_report(e, bed_peer(b, 0, 2), &m, b->now);
	for (unsigned int i = 0; i < 8; i++) {
		assert_true(engine_send(e, pkt, &to, b->now) > 0);
		assert_true(to == 1U << 1 || to == 1U << 2);
		assert_int_not_equal(to, last);
		last = to;
	}
	bed_free(b);
}

/* A dead member costs a bounded number of tombstones, and the others nothing; back, it is healed.
 */
static void test_dead(void **state)
{
	struct bed *b = bed_new(4, true);

	(void)state;
	b->multicast = true;
	for (unsigned int n = 0; n < 4; n++) {
		b->n[n].conf.tombstones_max = 4;
		bed_start(b, n, n ? ROLE_BACKUP : ROLE_PRIMARY, ORIGIN_BOOT);
	}
	bed_run(b, 3000);
	for (unsigned int i = 1; i < 15; i++)
		bed_open(b, 0, i);
	bed_run(b, 1000);
	bed_assert_equal(b);
	b->n[3].deaf = true;
	for (unsigned int i = 1; i < 14; i++) {
		bed_end(b, 0, i, 0, 0);
		bed_run(b, 50);
		assert_true(bed_stats(b, 0).tombstones <= 4);
	}
	bed_run(b, 3000);
	assert_int_equal(bed_stats(b, 0).count.tombstones_dropped, 13 - 4);
	for (unsigned int n = 1; n < 3; n++) {
		struct engine_stats s = bed_stats(b, n);

		assert_int_equal(s.count.debts, 0);
		assert_int_equal(bed_peer(b, n, 0)->covered, b->n[0].e->head);
		assert_true(bed_peer(b, n, 0)->in_sync);
	}
	b->n[3].deaf = false;
	bed_run(b, 3000);
	assert_int_equal(bed_stats(b, 3).count.debts, 1);
	bed_assert_equal(b);
	assert_int_equal(bed_stats(b, 0).tombstones, 0);
	bed_free(b);
}

/* The fourth comes when the others are long in sync. */
static void test_late(void **state)
{
	(void)state;
	for (unsigned int multicast = 0; multicast < 2; multicast++) {
		struct bed *b = bed_new(4, true);
		uint64_t ignored;

		b->multicast = multicast;
		for (unsigned int n = 0; n < 3; n++)
			bed_start(b, n, n ? ROLE_BACKUP : ROLE_PRIMARY, ORIGIN_BOOT);
		for (unsigned int i = 1; i < 15; i++)
			bed_open(b, i % 3, i);
		bed_run(b, 3000);
		bed_assert_equal(b);
		ignored = bed_stats(b, 1).count.debts;
		bed_start(b, 3, ROLE_BACKUP, ORIGIN_BOOT);
		bed_run(b, 3000);
		bed_assert_equal(b);
		assert_int_equal(bed_stats(b, 3).remote_flows, 14);
		assert_int_equal(bed_stats(b, 1).count.debts, ignored);
		bed_free(b);
	}
}

/* Members that were replaced under new names: the silent one that holds nothing gives way. */
static void test_replaced(void **state)
{
	struct bed *b = group(4, 1, true);

	(void)state;
	bed_kill(b, 3);
	bed_run(b, 2000);
	b->n[3].conf.node[1] = '9';
	bed_start(b, 3, ROLE_BACKUP, ORIGIN_BOOT);
	bed_run(b, 5000);
	assert_null(peer_find(b->n[0].e, b->n[3].e->id)); /* not yet: it may only be restarting */
	assert_true(bed_stats(b, 0).count.drops[DROP_PEERS] > 0);
	bed_run(b, FORGET_S * 1000);
	assert_non_null(peer_find(b->n[0].e, b->n[3].e->id));
	assert_int_equal(bed_stats(b, 0).peer_count, 3);
	assert_int_equal(b->n[0].notes[NOTE_FORGOTTEN], 1);
	bed_assert_equal(b);
	bed_free(b);
}

/* Two links: doubles are no replays, and a peer is spoken to by both even where one is always
 * faster. */
static void test_doubles(void **state)
{
	(void)state;
	for (unsigned int multicast = 0; multicast < 2; multicast++) {
		struct bed *b = group(3, 2, multicast);

		for (unsigned int n = 0; n < 3; n++) {
			struct engine_stats s = bed_stats(b, n);

			assert_int_equal(s.count.drops[DROP_REPLAY], 0);
			assert_true(s.count.drops[DROP_DOUBLE] > 20);
			for (unsigned int i = 0; i < 2; i++) {
				assert_int_equal(s.peer[i].path_count, 2);
				assert_int_equal(s.peer[i].lost, 0);
				assert_true(s.peer[i].path[1].doubles > 10);
				assert_int_equal(s.peer[i].path[0].lost, 0);
				assert_int_equal(s.peer[i].path[1].lost, 0);
			}
			assert_int_equal(__builtin_popcount(b->n[n].e->peers[0].endpoints), 2);
		}
		bed_free(b);
	}
}

/* A link is cut: nothing is missing, and the figures say which one it is and how much it lost. */
static void test_link_cut(void **state)
{
	struct bed *b = group(2, 2, false);
	struct engine_stats s;

	(void)state;
	b->n[1].cut[0] = true;
	for (unsigned int i = 2; i < 10; i++) {
		bed_open(b, 0, i);
		bed_run(b, 100);
	}
	bed_run(b, 1500);
	bed_assert_equal(b);
	s = bed_stats(b, 1);
	assert_int_equal(s.peer[0].lost, 0);
	assert_true(s.peer[0].path[0].lost > 20);
	assert_true(s.peer[0].path[0].lost <= s.peer[0].path[0].expected);
	assert_int_equal(s.peer[0].path[1].lost, 0);
	assert_false(s.peer[0].path[0].up);
	assert_true(s.peer[0].path[1].up);
	assert_int_equal(b->n[1].notes[NOTE_LINK_DOWN], 1);
	assert_int_equal(b->n[1].notes[NOTE_PEER_DOWN], 0);
	assert_int_equal(bed_stats(b, 0).count.records_repaired, 0);
	b->n[1].cut[0] = false;
	bed_run(b, 2000);
	assert_int_equal(b->n[1].notes[NOTE_LINK_UP], 1);
	assert_true(bed_stats(b, 1).peer[0].path[0].up);

	/* Both are cut: that is the peer, and no link's fault. */
	b->n[1].cut[0] = b->n[1].cut[1] = true;
	bed_run(b, 3000);
	b->n[1].cut[0] = b->n[1].cut[1] = false;
	bed_run(b, 3000);
	assert_int_equal(b->n[1].notes[NOTE_PEER_DOWN], 1);
	assert_int_equal(b->n[1].notes[NOTE_LINK_DOWN], 1);
	assert_true(bed_stats(b, 1).peer[0].lost > 10);
	bed_free(b);
}

/* In a group over unicast what goes to the others is not called lost. */
static void test_loss_of_group(void **state)
{
	struct bed *b = group(4, 1, false);

	(void)state;
	lose_some(b);
	bed_run(b, 2000);
	bed_assert_equal(b);
	for (unsigned int n = 1; n < 4; n++) {
		struct reckon *r = &bed_peer(b, n, 0)->reckon;

		assert_true(r->expected > 10);
		assert_in_range(arrive_lost(r), 7, r->expected - 1);
	}
	for (unsigned int m = 1; m < 4; m++) /* node 0 was never deaf */
		assert_int_equal(arrive_lost(&bed_peer(b, 0, m)->reckon), 0);
	bed_free(b);
}

/* A HELLO is answered by every link: one of them may carry one way only. */
static void test_one_way_link(void **state)
{
	struct bed *b = bed_new(2, true);

	(void)state;
	b->links = 2;
	b->n[1].cut[1] = true; /* node 1 hears by link 0 alone, node 0 hears link 1 last */
	bed_start(b, 0, ROLE_PRIMARY, ORIGIN_BOOT);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_BOOT);
	bed_run(b, 100);
	bed_open(b, 0, 1);
	bed_run(b, 1000);
	bed_assert_equal(b);
	bed_kill(b, 1); /* and again when the other is known */
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_RESTART);
	bed_run(b, 1500);
	bed_assert_equal(b);
	bed_free(b);
}

/* Nobody is sent more than it can take, and who is gone limits nobody. */
static void test_dgram_max(void **state)
{
	struct bed *b = group(3, 1, true);
	struct engine_conf small = b->n[2].conf;

	(void)state;
	assert_int_equal(stream_dgram_max(b->n[0].e), 1472);
	small.dgram_max = WIRE_DGRAM_MIN;
	b->n[2].dgram_max = WIRE_DGRAM_MIN;
	engine_reconf(b->n[2].e, &small, b->now);
	for (unsigned int i = 2; i < 16; i++)
		bed_open(b, 0, i);
	bed_run(b, 1500);
	bed_assert_equal(b);
	assert_int_equal(stream_dgram_max(b->n[0].e), WIRE_DGRAM_MIN);
	assert_int_equal(stream_dgram_max(b->n[2].e), WIRE_DGRAM_MIN);
	bed_kill(b, 2);
	bed_run(b, 1500);
	assert_int_equal(stream_dgram_max(b->n[0].e), 1472);
	bed_free(b);
}

/* A peer that comes back is told from one that was started anew. */
static void test_new_run(void **state)
{
	struct bed *b = bed_pair(true);
	struct bed_node *n = &b->n[1];

	(void)state;
	assert_true(n->new_run);
	b->n[0].deaf = n->deaf = true;
	bed_run(b, 2000);
	b->n[0].deaf = n->deaf = false;
	bed_run(b, 500);
	assert_int_equal(n->notes[NOTE_PEER_UP], 2);
	assert_false(n->new_run);
	bed_kill(b, 0);
	bed_run(b, 2000);
	bed_start(b, 0, ROLE_PRIMARY, ORIGIN_RESTART);
	bed_run(b, 2000);
	assert_int_equal(n->notes[NOTE_PEER_UP], 3);
	assert_true(n->new_run);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_repair_once),
		cmocka_unit_test(test_repair_lost),
		cmocka_unit_test(test_answers_of_before),
		cmocka_unit_test(test_repair_pieces),
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_dead),
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_doubles),
		cmocka_unit_test(test_link_cut),
		cmocka_unit_test(test_loss_of_group),
		cmocka_unit_test(test_one_way_link),
		cmocka_unit_test(test_dgram_max),
		cmocka_unit_test(test_new_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
