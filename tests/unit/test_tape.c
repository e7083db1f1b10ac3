/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flight recorder's parts in proto/: an engine as bytes and back, the tape and its bounds. That
 * a tape plays to the same end under every fault is the simulator's business (tests/sim/taped.c).
 */
#include "engine_bed.h"

#include "../sim/player.h"

#define TAPE_LEN 65536

static struct engine_tape *tape_new(uint64_t size)
{
	struct engine_tape *t = calloc(1, sizeof(*t) + TAPE_LEN);

	assert_non_null(t);
	t->size = size;
	t->hash = 42;
	return t;
}

static uint8_t *save(const struct engine *e, size_t *len)
{
	uint8_t *buf;

	*len = engine_save(e, NULL, 0);
	assert_true(*len > sizeof(struct engine));
	buf = calloc(1, *len);
	assert_non_null(buf);
	assert_int_equal(engine_save(e, buf, *len), *len);
	return buf;
}

/* A pair whose node 1 was saved and taped while flows came and went. */
struct scene {
	struct bed *b;
	uint8_t *state;
	size_t len;
	struct engine_tape *tape;
};

static struct scene scene(uint64_t size)
{
	struct scene s = { .b = bed_pair(true) };

	s.state = save(s.b->n[1].e, &s.len);
	s.tape = tape_new(size);
	engine_record(s.b->n[1].e, s.tape);
	bed_open(s.b, 0, 4);
	bed_open(s.b, 1, 11);
	bed_end(s.b, 0, 2, 0, 0);
	bed_run(s.b, 300);
	engine_cmd(s.b->n[1].e, CMD_PROMOTE, s.b->now);
	bed_run(s.b, 300);
	return s;
}

static void scene_free(struct scene *s)
{
	bed_free(s->b);
	free(s->state);
	free(s->tape);
}

static void test_play(void **state)
{
	struct scene s = scene(TAPE_LEN);
	struct engine *e = engine_restore(s.state, s.len);
	struct player *p = calloc(1, sizeof(*p));
	struct player_keys keys = { 0 };

	(void)state;
	assert_non_null(e);
	assert_non_null(p);
	assert_false(s.tape->full);
	assert_true(s.tape->steps > 100);
	player_init(p, e, 42, 0);
	assert_int_equal(player_run(p, s.tape), PLAYER_DONE);
	assert_int_equal(p->step, s.tape->steps);
	assert_int_equal(p->trace.hash, s.tape->hash);
	assert_memory_equal(&e->count, &s.b->n[1].e->count, sizeof(e->count));
	assert_int_equal(player_diff(stdout, e, s.b->n[1].e, &keys), 0);
	assert_null(cache_check(e->local));
	assert_null(cache_check(e->peers[0].mirror));
	engine_free(e);
	free(p);
	scene_free(&s);
}

/* Memory that flips is no input: played, the trace leaves the recorded one, and the flow is named.
 */
static void test_flip(void **state)
{
	struct scene s = scene(TAPE_LEN);
	struct engine *e = engine_restore(s.state, s.len);
	struct player *p = calloc(1, sizeof(*p));
	struct player_keys keys = { 0 };
	struct flow f = bed_flow(3);
	uint8_t key[FLOW_KEY_MAX];
	struct rec *r;

	(void)state;
	assert_non_null(p);
	r = bed_own(s.b, 1, 3); /* owned since the promote */
	assert_non_null(r);
	r->body[r->len - 1] ^= 1;
	bed_run(s.b, 100);
	bed_state(s.b, 1, 3, TCP_FIN_WAIT); /* its digest is taken out of the sums: the wrong one */
	bed_run(s.b, 500);
	player_init(p, e, 42, 0);
	assert_int_equal(player_run(p, s.tape), PLAYER_DIFFERS);
	assert_true(p->step > 100 && p->step < s.tape->steps);
	engine_free(e);

	r = bed_own(s.b, 1, 1);
	e = engine_restore(s.state, s.len);
	player_init(p, e, 42, 0);
	(void)player_run(p, s.tape);
	r->body[r->len - 1] ^= 1;
	assert_true(player_diff(stdout, e, s.b->n[1].e, &keys) > 0);
	f = bed_flow(1);
	assert_int_equal(flow_key_pack(&f.key, key), keys.len[0]);
	engine_free(e);
	free(p);
	scene_free(&s);
}

/* A tape ends when it is full, whole, and what is on it plays. */
static void test_full(void **state)
{
	for (uint64_t size = 0; size < 12000; size += 1000) {
		struct scene s = scene(size - size % 8);
		struct engine *e = engine_restore(s.state, s.len);
		struct player *p = calloc(1, sizeof(*p));

		(void)state;
		assert_non_null(p);
		assert_int_equal(s.tape->full, 1);
		assert_true(s.tape->used <= s.tape->size);
		player_init(p, e, 42, 0);
		assert_int_equal(player_run(p, s.tape), PLAYER_DONE);
		assert_int_equal(p->step, s.tape->steps);
		engine_free(e);
		free(p);
		scene_free(&s);
	}
}

/* Torn and damaged entries are told from good ones. */
static void test_torn(void **state)
{
	struct scene s = scene(TAPE_LEN);
	struct engine_tape *t = s.tape;
	uint64_t at, used = t->used, steps = 0;
	struct tape_entry *first = (void *)(t + 1);

	(void)state;
	for (uint64_t cut = 0; cut < used; cut += 8) {
		t->used = cut;
		for (at = 0; player_next(t, &at);)
			steps++;
		assert_true(at <= cut);
	}
	assert_true(steps > 0);
	t->used = used;
	first->now++;
	at = 0;
	assert_null(player_next(t, &at));
	first->now--;
	first->len = UINT32_MAX;
	assert_null(player_next(t, &at));
	scene_free(&s);
}

/* Every shorter state is refused, and none crashes. */
static void test_cut(void **state)
{
	struct bed *b = bed_pair(true);
	size_t len;
	uint8_t *buf = save(b->n[1].e, &len);

	(void)state;
	for (size_t cut = 0; cut < len; cut += cut < 4096 ? 97 : 4999) {
		uint8_t *shorter = malloc(cut + 1); /* so that a sanitizer sees what is read */

		assert_non_null(shorter);
		memcpy(shorter, buf, cut);
		assert_null(engine_restore(shorter, cut));
		free(shorter);
	}
	assert_null(engine_restore(buf, len - 1));
	assert_int_equal(engine_save(b->n[1].e, buf, len - 1), 0);
	free(buf);
	bed_free(b);
}

/* Restored, it goes on as the first would: with freed cells, a table that grew, bookmarks. */
static void test_large(void **state)
{
	struct bed *b = bed_new(1, true);
	struct engine *e;
	size_t len;
	uint8_t *buf;

	(void)state;
	bed_start(b, 0, ROLE_PRIMARY, ORIGIN_BOOT);
	bed_run(b, 10);
	for (unsigned int i = 0; i < 20000; i++) {
		struct flow f = bed_flow(1);

		f.key.orig.sport = (uint16_t)i;
		f.reply.dport = (uint16_t)i;
		f.mark = i % 3;
		engine_kern(b->n[0].e, i % 5 ? KERN_NEW : KERN_DESTROY, &f, 0, b->now);
	}
	buf = save(b->n[0].e, &len);
	e = engine_restore(buf, len);
	assert_non_null(e);
	assert_null(cache_check(e->local));
	assert_int_equal(cache_flows(e->local), cache_flows(b->n[0].e->local));
	assert_int_equal(cache_digest(e->local), cache_digest(b->n[0].e->local));
	assert_int_equal(cache_memory(e->local), cache_memory(b->n[0].e->local));
	for (unsigned int i = 0; i < 20000; i += 7) {
		struct flow f = bed_flow(1);

		f.key.orig.sport = (uint16_t)i;
		engine_kern(e, KERN_DESTROY, &f, 0, b->now);
	}
	assert_null(cache_check(e->local));
	engine_free(e);
	free(buf);
	bed_free(b);
}

static bool holds(const uint8_t *buf, size_t len, const uint8_t *what, size_t what_len)
{
	return memmem(buf, len, what, what_len) != NULL;
}

/* No key leaves in a state or on a tape, and the recorded node can be played without. */
static void test_keys(void **state)
{
	struct bed *b = bed_new(2, true);
	struct engine_tape *t = tape_new(TAPE_LEN);
	struct player *p = calloc(1, sizeof(*p));
	struct engine_conf conf;
	struct seal_key session;
	struct engine *e;
	uint8_t *buf;
	size_t len;

	(void)state;
	for (unsigned int n = 0; n < 2; n++) {
		b->n[n].conf.key_count = 1;
		for (unsigned int i = 0; i < 32; i++)
			b->n[n].conf.key[0][i] = (uint8_t)(0xa0 + i);
		bed_start(b, n, n ? ROLE_BACKUP : ROLE_PRIMARY, ORIGIN_BOOT);
	}
	bed_run(b, 50);
	bed_open(b, 0, 1);
	bed_run(b, 500);
	bed_assert_equal(b);
	session = bed_peer(b, 1, 0)->key;
	assert_true(session.valid);
	buf = save(b->n[1].e, &len);
	engine_record(b->n[1].e, t);
	bed_open(b, 0, 2);
	bed_run(b, 100);
	for (unsigned int n = 0; n < 2; n++) { /* to two keys, old first */
		conf = b->n[n].conf;
		memcpy(conf.key[1], conf.key[0], 32);
		conf.key[1][0] ^= 1;
		conf.key_count = 2;
		engine_reconf(b->n[n].e, &conf, b->now);
	}
	bed_open(b, 0, 3);
	bed_run(b, 300);
	bed_assert_equal(b);

	assert_false(holds(buf, len, b->n[1].conf.key[0], 8));
	assert_false(holds(buf, len, session.key, 16));
	assert_false(holds(buf, len, b->n[1].e->seal.own.key, 16));
	assert_false(holds((void *)(t + 1), t->used, b->n[1].conf.key[0], 8));
	assert_true(holds(buf, len, b->n[1].e->seal.group, 16));
	e = engine_restore(buf, len);
	assert_non_null(e);
	assert_non_null(p);
	player_init(p, e, 42, 0);
	assert_int_equal(player_run(p, t), PLAYER_DONE);
	assert_memory_equal(&e->count, &b->n[1].e->count, sizeof(e->count));
	engine_free(e);
	free(p);
	free(t);
	free(buf);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_play), cmocka_unit_test(test_flip),
		cmocka_unit_test(test_full), cmocka_unit_test(test_torn),
		cmocka_unit_test(test_cut),  cmocka_unit_test(test_large),
		cmocka_unit_test(test_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
