/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The receive ladder: what the engine makes of datagrams that no honest node of this version sends,
 * and that it changes nothing because of them. Each drop reason has its datagram here, but for the
 * limits that only the simulator reaches. And each message in each state of a peer: unknown,
 * agreed, restarted, said bye.
 */
#include "engine_bed.h"

#define STRANGER 0x5157ULL
#define HELLO_BYTES (WIRE_HEAD_LEN + WIRE_HELLO_LEN)

/* A datagram under construction, sealed as node b->n[0] is. */
struct craft {
	struct wire_head h;
	struct wire_buf b;
	uint8_t pkt[WIRE_DGRAM_MAX];
};

static void craft_begin(struct craft *c, uint64_t sender, uint64_t epoch, uint64_t counter)
{
	c->h = (struct wire_head){
		.version = WIRE_VERSION, .sender = sender, .epoch = epoch, .counter = counter
	};
	wire_init(&c->b, c->pkt, sizeof(c->pkt));
	wire_put_head(&c->b, &c->h);
}

/* From node 1 to node 0, of node 1's present epoch and a counter that was not used. */
static void craft_peer(const struct bed *b, struct craft *c)
{
	craft_begin(c, b->n[1].e->id, b->n[1].e->epoch, b->n[1].e->counter + 1000);
	b->n[1].e->counter += 1001;
}

static int deliver(struct bed *b, struct craft *c)
{
	struct seal s;
	size_t len;
	int rc;

	seal_init(&s, NULL, 0);
	len = seal_close(&s, &c->h, c->pkt, c->b.at);
	rc = engine_recv(b->n[0].e, 1, c->pkt, len, b->now);
	seal_fini(&s);
	return rc;
}

/* Everything that only an agreed peer may change. */
static uint64_t tables(const struct engine *e)
{
	uint64_t h = cache_digest(e->local) + e->head;

	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used)
			h = h * 31 + cache_digest(e->peers[i].mirror) + 7 * e->peers[i].covered +
			    e->peers[i].epoch + e->peers[i].range_count;
	return h;
}

static void assert_dropped(struct bed *b, struct craft *c, enum engine_drop why)
{
	uint64_t before = tables(b->n[0].e), count = bed_stats(b, 0).count.drops[why];

	assert_int_equal(deliver(b, c), -(int)why);
	assert_int_equal(tables(b->n[0].e), before);
	assert_int_equal(bed_stats(b, 0).count.drops[why], count + 1);
}

static void put_data(struct craft *c, uint64_t from, uint64_t to, uint64_t head)
{
	struct wire_data m = { .from = from, .to = to, .head = head };

	wire_put_data(&c->b, 0, &m);
}

/* One whole message of each type, as node 1 might send it. */
static void put_message(struct bed *b, struct craft *c, uint8_t type)
{
	struct engine *to = b->n[0].e;

	switch (type) {
	case WIRE_HELLO:
		wire_put_hello(
			&c->b, 0,
			&(struct wire_hello){ .challenge = 5, .kernel_id = 2, .name = "a1" });
		break;
	case WIRE_HACK:
		wire_put_hack(&c->b, 0,
			      &(struct wire_hack){
				      .your_epoch = to->epoch, .challenge = 5, .name = "a1" });
		break;
	case WIRE_DATA:
		put_data(c, 0, 1, 1);
		break;
	case WIRE_REPORT:
		wire_put_report(&c->b, 0,
				&(struct wire_report){
					.owner = to->id, .owner_epoch = to->epoch, .heard_ms = 1 });
		break;
	case WIRE_LIST:
		wire_put_list(&c->b, WIRE_F_COMPLETE,
			      &(struct wire_list){ .hi_incl = 0x3fffff, .version = 9 });
		break;
	case WIRE_VECTOR:
		wire_put_vector(&c->b, WIRE_F_COMPLETE,
				&(struct wire_vector){ .version = 9, .count = 0 });
		break;
	case WIRE_ASK:
		wire_put_ask(&c->b, 0,
			     &(struct wire_ask){ .owner = to->id,
						 .owner_epoch = to->epoch,
						 .kind = WIRE_ASK_VECTOR });
		break;
	case WIRE_AUDIT:
		wire_put_audit(&c->b, WIRE_F_COMPLETE,
			       &(struct wire_audit){ to->id, to->epoch, 1 });
		break;
	case WIRE_FINDINGS:
		wire_put_findings(&c->b, WIRE_F_COMPLETE,
				  &(struct wire_findings){ .asker = to->id,
							   .asker_epoch = to->epoch,
							   .ticket = 1,
							   .state = WIRE_AUDIT_OVER });
		break;
	default:
		wire_put_u8(&c->b, WIRE_BYE);
		wire_put_u8(&c->b, 0);
	}
}

static void test_unknown_epoch(void **state)
{
	struct bed *b = bed_pair(true);
	uint64_t hellos;
	size_t asked = 0;

	(void)state;
	for (uint8_t type = WIRE_HELLO; type <= WIRE_FINDINGS; type++) {
		struct craft c;

		bed_run(b, 3000);
		hellos = bed_stats(b, 0).count.hellos_sent;
		craft_begin(&c, type % 2 ? STRANGER : b->n[1].e->id, 0xdead, type);
		put_message(b, &c, type);
		if (type == WIRE_HACK) {
			assert_dropped(b, &c, DROP_CHALLENGE);
			continue;
		}
		if (type == WIRE_HELLO)
			assert_int_equal(deliver(b, &c), 0); /* anyone may be answered (R30) */
		else
			assert_dropped(b, &c, DROP_EPOCH);
		bed_run(b, 2);
		asked += c.b.at;
		assert_int_equal(bed_stats(b, 0).count.hellos_sent,
				 hellos + (asked >= HELLO_BYTES)); /* R31 */
		asked = asked >= HELLO_BYTES ? 0 : asked;
		assert_int_equal(bed_stats(b, 0).peer_count, 1);
	}
	bed_run(b, 500);
	bed_assert_equal(b);
	bed_free(b);
}

/* Recorded datagrams of an earlier run, 100 a second for 20 s: no more goes out than came in, and
 * the challenges live as long as they would without. */
static void test_old_flood(void **state)
{
	struct bed *b = bed_pair(true);
	uint64_t in = 0, hellos, quiet, challenges;

	(void)state;
	bed_run(b, 3000);
	hellos = bed_stats(b, 0).count.hellos_sent;
	bed_run(b, 20000);
	quiet = bed_stats(b, 0).count.hellos_sent - hellos;
	hellos = bed_stats(b, 0).count.hellos_sent;
	challenges = b->n[0].e->challenge_count;
	for (unsigned int i = 0; i < 2000; i++) {
		struct craft c;

		craft_begin(&c, b->n[1].e->id, 0xdead, 1 + i);
		put_message(b, &c, WIRE_BYE);
		in += c.b.at;
		assert_dropped(b, &c, DROP_EPOCH);
		bed_run(b, 10);
	}
	hellos = bed_stats(b, 0).count.hellos_sent - hellos;
	assert_true(hellos > quiet);
	assert_true((hellos - quiet) * HELLO_BYTES <= in);
	challenges = b->n[0].e->challenge_count - challenges;
	assert_true(challenges <=
		    20000 / CHALLENGE_MS + 2); /* the one that was used may be young */
	assert_int_equal(bed_peer(b, 0, 1)->epoch, b->n[1].e->epoch);
	bed_assert_equal(b);
	bed_free(b);
}

static void test_wrong_challenge(void **state)
{
	struct bed *b = bed_pair(true);
	struct wire_hack m = { .your_epoch = b->n[0].e->epoch,
			       .challenge = b->n[0].e->challenge + 1,
			       .name = "x" };
	struct craft c;
	uint64_t before;

	(void)state;
	craft_begin(&c, STRANGER, 1, 1);
	wire_put_hack(&c.b, 0, &m);
	assert_dropped(b, &c, DROP_CHALLENGE);
	m.challenge--;
	m.your_epoch++; /* an answer to an earlier run of ours */
	craft_begin(&c, STRANGER, 1, 1);
	wire_put_hack(&c.b, 0, &m);
	before = tables(b->n[0].e);
	assert_int_equal(deliver(b, &c), 0); /* or to another node, on a shared medium */
	assert_int_equal(tables(b->n[0].e), before);
	assert_int_equal(b->n[0].e->peer_count, 1);
	bed_free(b);
}

/* The answer of a peer's previous run arrives late, while its challenge is still open. */
static void test_late_hack(void **state)
{
	struct bed *b = bed_pair(true);
	uint64_t old = b->n[1].e->epoch;
	struct craft c;

	(void)state;
	bed_kill(b, 1);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_RESTART);
	bed_run(b, 500);
	assert_int_equal(bed_peer(b, 0, 1)->epoch, b->n[1].e->epoch);
	for (unsigned int i = 0; i < 2; i++) {
		struct wire_hack m = { .your_epoch = b->n[0].e->epoch,
				       .challenge = i ? b->n[0].e->challenge
						      : b->n[0].e->challenge_old,
				       .name = "a1" };

		craft_begin(&c, b->n[1].e->id, old, 5000 + i);
		wire_put_hack(&c.b, 0, &m);
		assert_dropped(b, &c, DROP_CHALLENGE);
	}
	bed_free(b);
}

/* The last challenge may be as old as the last HELLO; it is open for 4 s (R30). */
static void test_old_challenge(void **state)
{
	struct bed *b = bed_pair(true);
	const struct engine *e = b->n[0].e;
	uint64_t count;

	(void)state;
	bed_run(b, 3000);
	for (count = e->challenge_count; e->challenge_count == count;)
		bed_run(b, 10);
	for (unsigned int i = 0; i < 2; i++) {
		struct wire_hack m = { .your_epoch = e->epoch,
				       .challenge = e->challenge,
				       .name = "x" };
		struct craft c;

		bed_run(b, i ? 200 : 3900);
		assert_int_equal(m.challenge, e->challenge);
		craft_begin(&c, STRANGER + i, 100 + i, 1);
		wire_put_hack(&c.b, 0, &m);
		assert_int_equal(deliver(b, &c), i ? -DROP_CHALLENGE : 0);
	}
	bed_free(b);
}

static void test_replay(void **state)
{
	struct bed *b = bed_pair(true);
	struct craft c, again;

	(void)state;
	for (uint8_t type = WIRE_DATA; type <= WIRE_ASK; type++) {
		craft_peer(b, &c);
		put_message(b, &c, type);
		again = c;
		again.b.p = again.pkt;
		(void)deliver(b, &c);
		assert_dropped(b, &again, DROP_REPLAY);
	}
	craft_begin(&c, b->n[1].e->id, b->n[1].e->epoch, 1); /* below the window */
	put_message(b, &c, WIRE_DATA);
	assert_dropped(b, &c, DROP_REPLAY);
	bed_free(b);
}

/* An old DATA, of an honest sender and new to us, changes nothing that is covered (R9). */
static void test_old_data(void **state)
{
	struct bed *b = bed_pair(true);
	uint64_t before;
	struct craft c;

	(void)state;
	bed_open(b, 1, 9);
	bed_run(b, 300);
	bed_end(b, 1, 9, 0, 0);
	bed_run(b, 300);
	before = tables(b->n[0].e);
	craft_peer(b, &c);
	put_data(&c, 0, 1, 2);
	assert_int_equal(deliver(b, &c), 0);
	assert_int_equal(tables(b->n[0].e), before);
	bed_free(b);
}

/* Sealed, then byte i changed. */
static int deliver_changed(struct bed *b, size_t i, uint8_t change)
{
	uint64_t before = tables(b->n[0].e);
	struct craft c;
	struct seal s;
	size_t len;
	int rc;

	craft_peer(b, &c);
	put_message(b, &c, WIRE_DATA);
	seal_init(&s, NULL, 0);
	len = seal_close(&s, &c.h, c.pkt, c.b.at);
	c.pkt[i] ^= change;
	rc = engine_recv(b->n[0].e, 1, c.pkt, len, b->now);
	seal_fini(&s);
	assert_int_equal(tables(b->n[0].e), before);
	return rc;
}

static void test_header(void **state)
{
	struct bed *b = bed_pair(true);
	struct craft c;

	(void)state;
	for (size_t len = 0; len < WIRE_HEAD_LEN + 8; len++) {
		craft_peer(b, &c);
		assert_int_equal(engine_recv(b->n[0].e, 1, c.pkt, len, b->now), -DROP_SHORT);
	}
	assert_int_equal(deliver_changed(b, 0, 1), -DROP_MAGIC);
	assert_int_equal(deliver_changed(b, 2, 3), -DROP_VERSION);
	assert_int_equal(deliver_changed(b, 3, 9), -DROP_KEY);
	assert_int_equal(deliver_changed(b, 27, 1), -DROP_AUTH);
	craft_begin(&c, b->n[0].e->id, b->n[0].e->epoch, 1);
	put_message(b, &c, WIRE_DATA);
	assert_dropped(b, &c, DROP_SELF);
	craft_begin(&c, b->n[0].e->id, 77, 1); /* another node with our name */
	put_message(b, &c, WIRE_DATA);
	assert_dropped(b, &c, DROP_SELF);
	bed_run(b, 1);
	assert_int_equal(b->n[0].notes[NOTE_NAME_CLASH], 1);
	bed_free(b);
}

static void test_auth(void **state)
{
	struct bed *b = bed_pair(true);
	struct seal s;
	struct craft c;
	size_t len;

	(void)state;
	seal_init(&s, NULL, 0);
	craft_peer(b, &c);
	put_message(b, &c, WIRE_DATA);
	len = seal_close(&s, &c.h, c.pkt, c.b.at);
	for (size_t i = 3; i < len; i++) { /* before that: magic and version */
		uint64_t before = tables(b->n[0].e);
		uint8_t copy[256];

		memcpy(copy, c.pkt, len);
		copy[i] ^= 0x10;
		assert_true(engine_recv(b->n[0].e, 1, copy, len, b->now) < 0);
		assert_int_equal(tables(b->n[0].e), before);
	}
	assert_true(bed_stats(b, 0).count.drops[DROP_AUTH] > 20);
	assert_int_equal(engine_recv(b->n[0].e, 1, c.pkt, len, b->now), 0); /* whole, it is taken */
	seal_fini(&s);
	bed_free(b);
}

static void put_rec(struct craft *c, uint8_t type, const uint8_t *body, size_t len)
{
	struct wire_rec r = {
		.type = type, .delta = 1, .timeout_s = 9, .body = body, .body_len = len
	};

	assert_true(wire_put_rec(&c->b, &r));
}

static void test_bodies(void **state)
{
	struct bed *b = bed_pair(true);
	struct flow f = bed_flow(4);
	uint8_t body[FLOW_PACKED_MAX];
	size_t len = flow_pack(&f, body);
	struct craft c;

	(void)state;
	craft_peer(b, &c);
	wire_put_u8(&c.b, 60);
	wire_put_u8(&c.b, 0);
	assert_dropped(b, &c, DROP_TYPE);
	craft_peer(b, &c);
	put_data(&c, 5, 4, 9);
	assert_dropped(b, &c, DROP_VALUE);
	craft_peer(b, &c);
	put_data(&c, 0, 10, 9);
	assert_dropped(b, &c, DROP_VALUE);
	craft_peer(b, &c); /* more versions than it covers */
	put_data(&c, 0, 1, 9);
	put_rec(&c, WIRE_REC_FLOW, body, len);
	put_rec(&c, WIRE_REC_FLOW, body, len);
	assert_dropped(b, &c, DROP_VALUE);
	craft_peer(b, &c); /* a mandatory record of a later version */
	put_data(&c, 0, 1, 9);
	put_rec(&c, 50, body, len);
	assert_dropped(b, &c, DROP_UNKNOWN);
	craft_peer(b, &c); /* a shape of a later version */
	put_data(&c, 0, 1, 9);
	body[14] |= 0x80;
	put_rec(&c, WIRE_REC_FLOW, body, len);
	assert_dropped(b, &c, DROP_UNKNOWN);
	body[14] &= 0x7f;
	craft_peer(b, &c);
	put_data(&c, 0, 1, 9);
	put_rec(&c, WIRE_REC_FLOW, body, len - 1);
	assert_dropped(b, &c, DROP_SHORT);
	craft_peer(b, &c);
	put_data(&c, 0, 1, 9);
	put_rec(&c, WIRE_REC_DEAD, body, 13);
	assert_dropped(b, &c, DROP_SHORT);
	craft_peer(b, &c); /* optional: passed over */
	put_data(&c, 0, 1, 1);
	put_rec(&c, 50 | WIRE_REC_OPTIONAL, body, len);
	assert_int_equal(deliver(b, &c), 0);
	assert_int_equal(bed_peer(b, 0, 1)->covered, 1);
	bed_free(b);
}

static void test_lists(void **state)
{
	struct bed *b = bed_pair(true);
	struct wire_list m = { .lo = 0, .hi_incl = 0x3fffff, .version = 1 };
	struct craft c;

	(void)state;
	bed_open(b, 1, 8);
	bed_open(b, 1, 9);
	bed_run(b, 300);
	craft_peer(b, &c);
	wire_put_list(&c.b, WIRE_F_COMPLETE, &m); /* R18 */
	assert_dropped(b, &c, DROP_STALE);
	m.version = 2;
	m.hi_incl = 0x400000; /* two buckets */
	craft_peer(b, &c);
	wire_put_list(&c.b, WIRE_F_COMPLETE, &m);
	assert_dropped(b, &c, DROP_STALE);
	m.hi_incl = 0x3fffff;
	craft_peer(b, &c);
	wire_put_list(&c.b, 0, &m); /* R6 */
	assert_dropped(b, &c, DROP_STALE);
	bed_free(b);
}

static void test_vector_incomplete(void **state)
{
	struct bed *b = bed_pair(true);
	struct wire_vector m = { .version = 9, .count = 1 };
	struct craft c;

	(void)state;
	for (unsigned int complete = 0; complete < 2; complete++) {
		craft_peer(b, &c);
		wire_put_vector(&c.b, complete ? WIRE_F_COMPLETE : 0, &m);
		wire_put_u64(&c.b, 0x1234);
		wire_put_u64(&c.b, 0);
		if (complete)
			assert_int_equal(deliver(b, &c), 0);
		else
			assert_dropped(b, &c, DROP_STALE); /* R6 */
		assert_int_equal(repair_lists_busy(bed_peer(b, 0, 1)), complete);
	}
	bed_free(b);
}

/* DATA (from, to] with flow i at version to. */
static void give_flow(struct bed *b, uint64_t from, uint64_t to, uint64_t head, unsigned int i)
{
	struct wire_data m = { .from = from, .to = to, .head = head };
	struct wire_rec r = { .type = WIRE_REC_FLOW, .delta = to - from, .timeout_s = 99 };
	uint8_t body[FLOW_PACKED_MAX];
	struct flow f = bed_flow(i);
	struct craft c;

	r.body = body;
	r.body_len = flow_pack(&f, body);
	craft_peer(b, &c);
	wire_put_data(&c.b, WIRE_F_COMPLETE, &m);
	assert_true(wire_put_rec(&c.b, &r));
	assert_int_equal(deliver(b, &c), 0);
}

/* A LIST of the whole bucket of flow i that names nothing. */
static void give_list(struct bed *b, unsigned int i, uint64_t version)
{
	struct flow f = bed_flow(i);
	struct wire_list m = { .version = version };
	uint8_t key[FLOW_KEY_MAX];
	struct craft c;

	m.lo = cache_hash(b->n[0].e->local, key, flow_key_pack(&f.key, key)) & 0xffc00000;
	m.hi_incl = m.lo | 0x3fffff;
	craft_peer(b, &c);
	wire_put_list(&c.b, WIRE_F_COMPLETE, &m);
	assert_int_equal(deliver(b, &c), 0);
}

/* What a LIST at v > P removes stays away, whatever of older versions still arrives (R20); what is
 * newer than the LIST is none of its business (R19). */
static void test_list_ahead(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	give_flow(b, 0, 1, 20, 8);
	assert_non_null(bed_mirror(b, 0, 1, 8));
	give_list(b, 8, 10);
	assert_null(bed_mirror(b, 0, 1, 8));
	give_flow(b, 4, 5, 20, 8);
	assert_null(bed_mirror(b, 0, 1, 8));
	give_flow(b, 10, 11, 20, 8);
	assert_non_null(bed_mirror(b, 0, 1, 8));
	give_list(b, 8, 10);
	assert_non_null(bed_mirror(b, 0, 1, 8));
	give_list(b, 8, 11);
	assert_null(bed_mirror(b, 0, 1, 8));
	bed_free(b);
}

/* DATA (version - 1, version]: flow i ended. */
static void give_end(struct bed *b, uint64_t version, unsigned int i)
{
	struct wire_rec r = { .type = WIRE_REC_DEAD, .delta = 1 };
	struct flow f = bed_flow(i);
	uint8_t key[FLOW_KEY_MAX];
	struct craft c;

	r.body = key;
	r.body_len = flow_key_pack(&f.key, key);
	craft_peer(b, &c);
	put_data(&c, version - 1, version, 20);
	assert_true(wire_put_rec(&c.b, &r));
	assert_int_equal(deliver(b, &c), 0);
}

/* A deletion beyond the prefix is remembered until the prefix reaches it, and no shorter (R11). */
static void test_deletion_ahead(void **state)
{
	struct bed *b = bed_pair(true);
	struct craft c;

	(void)state;
	give_end(b, 9, 8);
	give_end(b, 3, 9);
	give_flow(b, 6, 7, 20, 8); /* late */
	assert_null(bed_mirror(b, 0, 1, 8));
	craft_peer(b, &c);
	put_data(&c, 0, 2, 20);
	assert_int_equal(deliver(b, &c), 0);
	assert_int_equal(bed_peer(b, 0, 1)->covered, 3);
	assert_int_equal(cache_tombs(bed_peer(b, 0, 1)->mirror), 1);
	give_flow(b, 4, 5, 20, 8);
	assert_null(bed_mirror(b, 0, 1, 8));
	give_flow(b, 9, 10, 20, 8);
	assert_non_null(bed_mirror(b, 0, 1, 8));
	bed_free(b);
}

static void test_too_many_peers(void **state)
{
	struct bed *b = bed_pair(true);

	(void)state;
	for (uint64_t i = 0; i < 3; i++) {
		struct wire_hack m = { .your_epoch = b->n[0].e->epoch,
				       .challenge = b->n[0].e->challenge,
				       .name = "x" };
		struct craft c;

		craft_begin(&c, STRANGER + i, 100 + i, 1);
		wire_put_hack(&c.b, 0, &m);
		assert_int_equal(deliver(b, &c), i < ENGINE_PEERS_MAX - 1 ? 0 : -DROP_PEERS);
	}
	assert_int_equal(bed_stats(b, 0).peer_count, ENGINE_PEERS_MAX);
	bed_run(b, 1);
	assert_int_equal(b->n[0].notes[NOTE_LIMIT], 1);
	bed_free(b);
}

/* A REPORT or an ASK about another epoch of ours, or about another node, moves nothing (R14). */
static void test_not_for_us(void **state)
{
	struct bed *b = bed_pair(true);
	struct craft c;

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		struct wire_report m = { .owner = b->n[0].e->id + i,
					 .owner_epoch = b->n[0].e->epoch + 1 - i,
					 .covered = 0,
					 .maxhead = 3,
					 .gap_count = 1,
					 .gaps = { { 0, 3 } } };
		struct wire_ask a = { .owner = m.owner,
				      .owner_epoch = m.owner_epoch,
				      .kind = WIRE_ASK_VECTOR,
				      .hi_incl = 1 };

		craft_peer(b, &c);
		wire_put_report(&c.b, 0, &m);
		(void)deliver(b, &c);
		craft_peer(b, &c);
		wire_put_ask(&c.b, 0, &a);
		(void)deliver(b, &c);
	}
	assert_int_equal(bed_peer(b, 0, 1)->answer.count, 0);
	assert_int_equal(bed_peer(b, 0, 1)->ask_count, 0);
	assert_int_equal(bed_peer(b, 0, 1)->acked, 3);
	bed_free(b);
}

/* BYE ends a peer's liveness at once; any later word of that epoch brings it back. */
static void test_bye(void **state)
{
	struct bed *b = bed_pair(true);
	struct craft c;

	(void)state;
	b->n[0].deaf = true;
	craft_peer(b, &c);
	put_message(b, &c, WIRE_BYE);
	assert_int_equal(deliver(b, &c), 0);
	assert_int_equal(bed_stats(b, 0).peer[0].state, PEER_DOWN);
	b->n[0].deaf = false;
	bed_run(b, 500);
	assert_int_equal(bed_stats(b, 0).peer[0].state, PEER_UP);
	bed_assert_equal(b);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unknown_epoch),
		cmocka_unit_test(test_old_flood),
		cmocka_unit_test(test_wrong_challenge),
		cmocka_unit_test(test_old_challenge),
		cmocka_unit_test(test_late_hack),
		cmocka_unit_test(test_replay),
		cmocka_unit_test(test_old_data),
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_auth),
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_vector_incomplete),
		cmocka_unit_test(test_list_ahead),
		cmocka_unit_test(test_deletion_ahead),
		cmocka_unit_test(test_too_many_peers),
		cmocka_unit_test(test_not_for_us),
		cmocka_unit_test(test_bye),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
