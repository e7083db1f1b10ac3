/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rough worlds, one in eight: what is rare elsewhere is common in them. Short partitions in which
 * more flows end than tombstones are kept, so that buckets are compared and LISTs cross the changes
 * that they do not tell of; datagrams, or second copies of them, that come seconds late; daemons
 * that start again and again; more datagrams than the replay window holds; a cluster manager that
 * commits, and promotes while that is under way, on a kernel that takes few operations at a time;
 * helpers that announce before the first packet of their connection is told (TFTP).
 *
 * Drawn from a sequence of their own. Its constant is one by which no seed that was in seeds.txt as
 * rough worlds came is rough: those run as they did.
 */
#include "sim.h"

#define SALT 2702329ULL
#define LATE_US (4 * USEC_PER_SEC)

/* Small tables whose flows come and go. What one node says is lost more often than what the others
 * do, so that gaps stay open for a while. */
static void draw_lists(struct sim *s, struct rng *r)
{
	struct params *p = &s->p;

	s->rough.loser = (unsigned int)rng_below(r, p->nodes);
	s->rough.loss = rng_chance(r, 6000) ? (uint32_t)rng_range(r, 3000, 8000) : 0;
	p->crowded = rng_chance(r, 4000);
	p->keys = (unsigned int)rng_range(r, 10, 80);
	p->flash = (uint32_t)rng_range(r, 3000, 9000);
	p->traffic_us = rng_range(r, 1, 6) * USEC_PER_MS;
	p->loss = (uint32_t)rng_range(r, 200, 3000);
	p->reorder = (uint32_t)rng_range(r, 2000, 7000);
	p->jitter_us = (uint32_t)rng_range(r, 100, 5000);
	for (unsigned int i = 0; i < LINKS_MAX; i++)
		p->link_loss[i] = p->loss;
}

/* As a storm, but it goes on for longer than the window is. */
static void draw_flood(struct params *p)
{
	p->traffic_us = 300;
	p->latency_us = 10;
	p->keys = 100;
	p->cold = p->flash = 0;
	p->active_us = 8 * USEC_PER_SEC;
	for (unsigned int i = 0; i < LINKS_MAX; i++)
		p->link_loss[i] = 3000;
}

/* The address moves often, and a table is written step by step. */
static void draw_commits(struct sim *s, struct rng *r)
{
	s->rough.batch = (unsigned int)rng_range(r, 1, 4);
	s->rough.pause = 9000;
	s->p.hot = s->p.hot && rng_chance(r, 5000);
	s->p.keys = (unsigned int)rng_range(r, 40, 120);
	s->p.latency_us = (uint32_t)rng_range(r, 50, 400);
}

void rough_draw(struct sim *s)
{
	struct rng *r = &s->rough_rng;
	struct rough *x = &s->rough;

	*r = (struct rng){ .s = s->seed * 0xaf251af3b0f025b5ULL + SALT };
	*x = (struct rough){ .batch = OPS_BATCH, .pause = 3000 };
	if (rng_next(r) % 8)
		return;
	s->count.roughs++;
	s->p.active_us = rng_range(r, 8, 20) * USEC_PER_SEC;
	x->late = rng_chance(r, 6000) ? (uint32_t)rng_range(r, 20, 500) : 0;
	x->flaps = rng_chance(r, 4000);
	x->tftp = rng_chance(r, 4000);
	x->commits = rng_chance(r, 5000);
	if (x->commits)
		draw_commits(s, r);
	x->lists = rng_chance(r, 6000);
	if (x->lists)
		draw_lists(s, r);
	else if (rng_chance(r, 2000))
		draw_flood(&s->p);
	x->each_us = rng_range(r, x->flaps ? 500 : 100, 1200) * USEC_PER_MS;
}

void rough_conf(struct sim *s, struct engine_conf *c)
{
	if (s->rough.lists)
		c->tombstones_max = 1 + (uint32_t)(s->seed / 8 % 6);
}

void rough_init(struct sim *s)
{
	if (s->rough.flaps || s->rough.lists || s->rough.commits)
		world_act(s, ACT_ROUGH, 0, 0, s->now + 3 * USEC_PER_SEC);
}

usec_t rough_delay(struct sim *s)
{
	return rng_below(&s->rough_rng, LATE_US);
}

bool rough_is_late(struct sim *s, unsigned int src)
{
	bool jam = src == s->rough.jammed && s->now < s->rough.jam_to;

	return (s->rough.late || jam) && !s->calm &&
	       rng_chance(&s->rough_rng, jam ? 6000 : s->rough.late);
}

/* A daemon that ends a moment after its start, and starts again; what it said is under way still.
 */
static void false_start(struct sim *s, int n)
{
	struct rough *x = &s->rough;
	usec_t at = s->now + rng_range(&s->rough_rng, 20, 150) * USEC_PER_MS;

	x->jammed = (unsigned int)n;
	x->jam_to = at;
	faults_restart(s, n, 1);
	world_act(s, ACT_FALSE_START, n, 0, at);
}

bool rough_loses(struct sim *s, unsigned int src)
{
	return s->rough.loss && src == s->rough.loser && !s->calm &&
	       rng_chance(&s->rough_rng, s->rough.loss);
}

void rough_busy(struct sim *s, int n)
{
	usec_t to = s->now + rng_below(&s->rough_rng, 2 * s->p.latency_us);

	if (s->rough.commits && !s->calm && to > s->node[n].stalled_to)
		s->node[n].stalled_to = to;
}

void rough_step(struct sim *s)
{
	struct rng *r = &s->rough_rng;
	int n = (int)rng_below(r, s->p.nodes);

	if (s->rough.commits && rng_chance(r, 4000))
		faults_move(s);
	else if (s->rough.flaps && rng_chance(r, 3000))
		false_start(s, n);
	else if (s->rough.flaps && (!s->rough.lists || rng_chance(r, 3000)))
		faults_restart(s, n, rng_range(r, 1, 400) * USEC_PER_MS);
	else if (s->rough.commits && !s->rough.lists)
		; /* nothing else */
	else if (rng_chance(r, 2500))
		faults_resync(s, n);
	else
		faults_cut(s, n, rng_range(r, 50, 800) * USEC_PER_MS);
	world_act(s, ACT_ROUGH, 0, 0, s->now + rng_below(r, 2 * s->rough.each_us));
}

/* The manager commits first, then promotes; the one may be under way still. */
void rough_promote(struct sim *s, int n, usec_t at)
{
	usec_t before = rng_below(&s->rough_rng, 8 * USEC_PER_MS);

	if (s->rough.commits)
		world_act(s, ACT_COMMIT, n, 0, at > s->now + before ? at - before : s->now);
}
