/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Many copies, pulled as the daemon pulls: a few batches of operations a turn. A hot backup has to
 * renew every timer before it runs out, which is a matter of pace: with few flows any walk is fast
 * enough. The kernel here is an array of deadlines.
 */
#include "codec.h"

#include <errno.h>

#include "engine.h"

#define FLOWS 30000
#define TURN_US (5 * USEC_PER_MS)
#define BATCH 64      /* operations in flight at once */
#define BATCHES 8     /* and so many of these a turn, */
#define BATCHES_FEW 2 /* or so few */
#define HOLD_S 30

struct side {
	struct engine *e;
	usec_t end_at[FLOWS]; /* 0: no entry */
	unsigned int expired; /* entries found to be over before they were renewed */
	unsigned int batches; /* a turn, */
	unsigned int rests;   /* and then so many turns without */
};

struct pair {
	struct side a, b; /* owner, backup */
	usec_t now;
};

static struct flow flow_of(unsigned int i)
{
	struct flow f = { .has = FLOW_HAS_REPLY | FLOW_HAS_STATUS | FLOW_HAS_TIMEOUT | FLOW_HAS_TCP,
			  .status = 0xe,
			  .timeout_s = 432000,
			  .tcp = { .state = 3, .wscale = { 7, 7 }, .flags = { 3, 3 } } };

	f.key.l3 = 4;
	f.key.proto = 6;
	f.key.orig.src[0] = 10;
	f.key.orig.src[2] = (uint8_t)(i >> 8);
	f.key.orig.src[3] = (uint8_t)i;
	f.key.orig.dst[0] = 192;
	f.key.orig.dport = 0x5000;
	flow_inverse(&f.key, &f.reply);
	return f;
}

static void conf_of(const char *name, enum engine_role role, struct engine_conf *c)
{
	engine_conf_default(c);
	memcpy(c->node, name, 2);
	c->kernel_id = (uint64_t)name[0];
	c->hot = true;
	c->role = role;
	c->hold_s = HOLD_S;
}

static struct engine *engine_of(const char *name, enum engine_role role, enum engine_origin origin,
				usec_t now)
{
	static const uint8_t seed[32] = { 4 };
	struct engine_conf c;
	struct engine *e;

	conf_of(name, role, &c);
	c.origin = origin;
	e = engine_new(&c, (uint64_t)name[0] * 7919 + now, seed, now);
	assert_non_null(e);
	return e;
}

static void answer(struct side *s, const struct engine_op *op, usec_t now)
{
	unsigned int i = op->flow.key.orig.src[2] << 8 | op->flow.key.orig.src[3];
	usec_t end_at = now + op->flow.timeout_s * USEC_PER_SEC;
	struct flow got = flow_of(i);
	int err = s->end_at[i] ? 0 : -ENOENT;

	if (err == 0 && s->end_at[i] <= now) {
		s->expired++;
		err = -ENOENT;
	}
	got.timeout_s = err ? 0 : (uint32_t)((s->end_at[i] - now) / USEC_PER_SEC);
	if (op->type == OP_INJECT)
		err = 0;
	if (!err && (op->type == OP_INJECT || op->type == OP_UPDATE || op->type == OP_REFRESH))
		s->end_at[i] = end_at;
	engine_result(s->e, op, err, err ? NULL : &got, now);
}

static void dump(struct side *s, usec_t now)
{
	for (unsigned int i = 0; i < FLOWS; i++) {
		struct flow f = flow_of(i);

		if (s->end_at[i] <= now)
			continue;
		f.timeout_s = (uint32_t)((s->end_at[i] - now) / USEC_PER_SEC);
		engine_kern(s->e, KERN_DUMP, &f, 0, now);
	}
	engine_kern(s->e, KERN_DUMP_END, NULL, 0, now);
}

static void operate(struct side *s, usec_t now)
{
	struct engine_op op[BATCH];
	unsigned int count;

	for (unsigned int batch = 0; batch < s->batches; batch++) {
		for (count = 0; count < BATCH && engine_op(s->e, &op[count], now);)
			if (op[count].type == OP_DUMP)
				dump(s, now);
			else
				count++;
		for (unsigned int i = 0; i < count; i++)
			answer(s, &op[i], now);
		if (!count)
			return;
	}
}

static void deliver(struct side *from, struct side *to, usec_t now)
{
	uint8_t pkt[WIRE_DGRAM_MAX];
	uint32_t ends;
	size_t len;

	while ((len = engine_send(from->e, pkt, &ends, now)) > 0)
		if (to->e)
			assert_int_equal(engine_recv(to->e, 0, pkt, len, now), 0);
}

static void turn(struct side *s, struct side *other, usec_t now)
{
	bool rests = s->rests && now / TURN_US % (s->rests + 1);
	struct engine_note note;

	if (!s->e)
		return;
	if (engine_deadline(s->e) <= now)
		engine_tick(s->e, now);
	deliver(s, other, now);
	if (!rests)
		operate(s, now);
	deliver(s, other, now);
	while (engine_note(s->e, &note))
		;
}

static void run(struct pair *p, unsigned int ms)
{
	usec_t end = p->now + ms * USEC_PER_MS;

	while (p->now < end) {
		p->now += TURN_US;
		turn(&p->a, &p->b, p->now);
		turn(&p->b, &p->a, p->now);
	}
}

static struct pair *pair_new(void)
{
	struct pair *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->now = 1000 * USEC_PER_SEC;
	p->a.e = engine_of("a1", ROLE_PRIMARY, ORIGIN_BOOT, p->now);
	p->b.e = engine_of("b1", ROLE_BACKUP, ORIGIN_BOOT, p->now);
	p->a.batches = p->b.batches = BATCHES;
	run(p, 1500);
	for (unsigned int i = 0; i < FLOWS; i++) {
		struct flow f = flow_of(i);

		engine_kern(p->a.e, KERN_NEW, &f, 0, p->now);
	}
	run(p, 2000);
	return p;
}

static void pair_free(struct pair *p)
{
	engine_free(p->a.e);
	engine_free(p->b.e);
	free(p);
}

/* How many entries of b run out before an instant. */
static unsigned int over_at(const struct pair *p, usec_t at)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < FLOWS; i++)
		n += p->b.end_at[i] <= at;
	return n;
}

/* No copy's timer runs out while its owner lives. */
static void test_renewed(void **state)
{
	struct pair *p = pair_new();

	(void)state;
	assert_int_equal(over_at(p, p->now), 0);
	for (unsigned int s = 0; s < 4 * HOLD_S; s++) {
		run(p, 1000);
		assert_int_equal(over_at(p, p->now), 0);
	}
	assert_int_equal(p->b.expired, 0);
	pair_free(p);
}

/* The upper half of the flows changes all the time, more than b can write. Of b's writes at most
 * `renewals` of `of` renew timers, and none of the other half's runs out (R100). */
static void swamp(struct pair *p, unsigned int renewals, unsigned int of)
{
	struct engine_stats was, is;

	engine_stats(p->b.e, &was, p->now);
	for (unsigned int t = 0; t < 2 * HOLD_S * USEC_PER_SEC / TURN_US; t++) {
		for (unsigned int i = 0; i < 3 * BATCH; i++) {
			struct flow f = flow_of(FLOWS / 2 + (3 * BATCH * t + i) % (FLOWS / 2));

			f.has |= FLOW_HAS_MARK;
			f.mark = t;
			engine_kern(p->a.e, KERN_UPDATE, &f, 0, p->now);
		}
		run(p, TURN_US / USEC_PER_MS);
		engine_stats(p->b.e, &is, p->now);
		assert_true(t < 10 || is.backlog > 0);
	}
	assert_int_equal(over_at(p, p->now), 0);
	assert_int_equal(p->b.expired, 0);
	is.count.refreshes -= was.count.refreshes;
	is.count.updates -= was.count.updates;
	assert_true(is.count.refreshes * (of - renewals) <= is.count.updates * renewals);
}

static void test_swamped(void **state)
{
	struct pair *p = pair_new();
	struct engine_stats is;

	(void)state;
	p->b.batches = BATCHES_FEW;
	swamp(p, 1, 8);
	run(p, 3000);
	engine_stats(p->b.e, &is, p->now);
	assert_true(is.backlog == 0 && is.peer[0].in_sync);
	pair_free(p);
}

/* b writes so little that an eighth of it does not renew the timers of half the flows in a hold. */
static void test_swamped_slow(void **state)
{
	struct pair *p = pair_new();

	(void)state;
	p->b.batches = 1;
	p->b.rests = 4;
	swamp(p, 1, 2);
	pair_free(p);
}

/* b stood still until its timers had run out, and then the owner died: what a promote takes over
 * is there (R36). */
static void test_overdue(void **state)
{
	struct pair *p = pair_new();

	(void)state;
	engine_free(p->a.e);
	p->a.e = NULL;
	p->now += 2 * HOLD_S * USEC_PER_SEC;
	assert_int_equal(over_at(p, p->now), FLOWS);
	engine_cmd(p->b.e, CMD_PROMOTE, p->now);
	run(p, 1000);
	assert_int_equal(over_at(p, p->now), 0);
	pair_free(p);
}

/* The owner dies, this node is promoted: every timer is lifted before it runs out. */
static void test_lifted(void **state)
{
	struct pair *p = pair_new();

	(void)state;
	run(p, 14000); /* shortly before they are renewed */
	engine_free(p->a.e);
	p->a.e = NULL;
	engine_cmd(p->b.e, CMD_PROMOTE, p->now);
	run(p, 10000);
	assert_int_equal(over_at(p, p->now), 0);
	assert_int_equal(over_at(p, p->now + 400000 * USEC_PER_SEC), 0);
	assert_int_equal(p->b.expired, 0);
	pair_free(p);
}

/* The same at a pace at which a round of the patrol lifts few of them, and the promote is repeated:
 * no copy is left to say that timers are short (R37). */
static void test_lifted_slowly(void **state)
{
	struct pair *p = pair_new();
	struct engine_conf c;

	(void)state;
	conf_of("b1", ROLE_BACKUP, &c);
	c.walk_rate = FLOWS / 5;
	run(p, 14000);
	engine_reconf(p->b.e, &c, p->now);
	engine_free(p->a.e);
	p->a.e = NULL;
	for (unsigned int i = 0; i < 3; i++) {
		engine_cmd(p->b.e, CMD_PROMOTE, p->now);
		run(p, 100);
	}
	run(p, 15000);
	assert_int_equal(over_at(p, p->now), 0);
	assert_int_equal(over_at(p, p->now + 400000 * USEC_PER_SEC), 0);
	assert_int_equal(p->b.expired, 0);
	pair_free(p);
}

/* The daemon starts anew while timers are being lifted: the new one knows by their length which
 * are left. As a backup it does not know whose they are, until it is promoted (R37, R46). */
static void lifted_after(enum engine_role role)
{
	struct pair *p = pair_new();
	struct engine_conf c;

	conf_of("b1", ROLE_BACKUP, &c);
	c.walk_rate = FLOWS / 5;
	run(p, 3000);
	engine_reconf(p->b.e, &c, p->now);
	engine_free(p->a.e);
	p->a.e = NULL;
	engine_cmd(p->b.e, CMD_PROMOTE, p->now);
	run(p, 1000);
	assert_in_range(over_at(p, p->now + 400000 * USEC_PER_SEC), FLOWS / 2, FLOWS - 1);
	engine_free(p->b.e);
	p->b.e = engine_of("b1", role, ORIGIN_RESTART, p->now);
	run(p, 1000);
	engine_cmd(p->b.e, CMD_PROMOTE, p->now);
	run(p, 22000); /* two rounds */
	assert_int_equal(over_at(p, p->now), 0);
	assert_int_equal(over_at(p, p->now + 400000 * USEC_PER_SEC), 0);
	assert_int_equal(p->b.expired, 0);
	pair_free(p);
}

static void test_lifted_after(void **state)
{
	(void)state;
	lifted_after(ROLE_PRIMARY);
	lifted_after(ROLE_BACKUP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_renewed),      cmocka_unit_test(test_swamped),
		cmocka_unit_test(test_swamped_slow), cmocka_unit_test(test_overdue),
		cmocka_unit_test(test_lifted),       cmocka_unit_test(test_lifted_slowly),
		cmocka_unit_test(test_lifted_after),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
