/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a seed stands for: the shape of the group, of its links, kernels and traffic. Timeouts are
 * shortened so that a run sees flows of every kind expire; limits are small so that a run reaches
 * them. */
#include <stdio.h>
#include <string.h>

#include "sim.h"

static uint32_t sometimes(struct rng *r, uint32_t p, uint32_t hi)
{
	return rng_chance(r, p) ? (uint32_t)rng_range(r, 1, hi) : 0;
}

static void draw_net(struct sim *s)
{
	struct rng *r = &s->rng;
	struct params *p = &s->p;

	p->loss = sometimes(r, 6000, rng_chance(r, 3000) ? 5000 : 1500);
	p->dup = sometimes(r, 4000, 2000);
	p->flip = sometimes(r, 2000, 500);
	p->reorder = sometimes(r, 5000, 3000);
	p->delay_us = (uint32_t)rng_range(r, 20, 500);
	p->jitter_us = (uint32_t)rng_range(r, 0, rng_chance(r, 3000) ? 30000 : 500);
	p->inbox_len = (uint32_t)rng_range(r, 20000, 400000);
	p->attack_us = rng_chance(r, 3000) ? rng_range(r, 50, 500) * USEC_PER_MS : 0;
}

void params_draw(struct sim *s)
{
	struct rng *r = &s->rng;
	struct params *p = &s->p;

	*p = (struct params){ 0 };
	p->nodes = rng_chance(r, 6500) ? 2 : 3;
	p->links = rng_chance(r, 7000) ? 1 : 2;
	p->keys = rng_chance(r, 5000) ? (unsigned int)rng_range(r, 4, 40)
				      : (unsigned int)rng_range(r, 40, 160);
	p->hot = rng_chance(r, 5500);
	p->sealed = rng_chance(r, 5000);
	draw_net(s);
	p->events_cap = rng_chance(r, 3000) ? (unsigned int)rng_range(r, 4, 40) : EVENTS_MAX;
	p->table_max = rng_chance(r, 2000) ? (unsigned int)rng_range(r, 1 + p->keys / 2, p->keys)
					   : KEYS_MAX;
	p->refuse = sometimes(r, 2500, 2000);
	p->events_mode = rng_chance(r, 7000) ? 1 : 2;
	p->traffic_us = rng_range(r, 5, rng_chance(r, 5000) ? 50 : 1000) * USEC_PER_MS;
	p->fault_us = rng_range(r, 300, 6000) * USEC_PER_MS;
	p->cold = rng_chance(r, 7000) ? 8500 : 3000;
	p->flash = rng_chance(r, 5000) ? (uint32_t)rng_range(r, 500, 9000) : 0;
	p->asym = rng_chance(r, 1500) ? 1500 : 0;
	p->active_active = p->hot && p->asym && rng_chance(r, 7000);
	p->spread = rng_chance(r, 3000) ? 4000 : 0;
	p->latency_us = (uint32_t)rng_range(r, 10, rng_chance(r, 2000) ? 5000 : 300);
	p->active_us = rng_range(r, 10, 60) * USEC_PER_SEC;
	p->chaos = rng_chance(r, 2500);
	p->storm = rng_chance(r, 400);
	if (p->storm) { /* a change a datagram, half of them lost, and no word back for a while:
			   many gaps */
		p->traffic_us = 400;
		p->loss = 5000;
		p->jitter_us = 20;
		p->latency_us = 10;
		p->keys = 200;
		p->cold = p->flash = 0;
		p->active_us = 6 * USEC_PER_SEC;
		p->fault_us = 300 * USEC_PER_MS;
	}
	p->crowded = s->seed % 8 == 5;
	/* Drawn apart, so that a seed stands for the same as before there were flips. */
	s->poison_rng = (struct rng){ .s = s->seed * 0xd1342543de82ef95ULL + 11 };
	if (s->seed > SEEDS_KEPT && rng_chance(&s->poison_rng, 1500))
		s->poison_us = rng_range(&s->poison_rng, 2, 20) * USEC_PER_SEC;
	/* None of those in seeds.txt. */
	s->small = s->seed > SEEDS_KEPT && s->seed % 16 == 8;
	s->repeats = s->seed > SEEDS_KEPT && s->seed % 37 == 2;
	if (s->repeats) { /* many copies, and time to lift them; none of those in seeds.txt */
		s->repeat_rng.s = s->seed * 0xa0761d6478bd642fULL + 13;
		p->keys = (unsigned int)rng_range(&s->repeat_rng, 120, 200);
		p->traffic_us = rng_range(&s->repeat_rng, 5, 20) * USEC_PER_MS;
		p->fault_us = 8 * USEC_PER_SEC;
	}
	s->flip_rng = (struct rng){ .s = s->seed * 0x9e3779b97f4a7c15ULL + 7 };
	if (rng_chance(&s->flip_rng, 1200))
		p->flip_us = rng_range(&s->flip_rng, 1, 20) * USEC_PER_SEC;
}

static void timeouts(struct flow_timeouts *t, struct rng *r)
{
	static const uint32_t tcp[16] = { 30, 40, 30, 120, 40, 30, 30, 30, 10, 30 };

	flow_timeouts_default(t);
	memcpy(t->tcp, tcp, sizeof(tcp));
	for (unsigned int i = 0; i < ARRAY_LEN(t->tcp); i++)
		if (!t->tcp[i])
			t->tcp[i] = 30;
	if (rng_chance(r, 5000))
		t->tcp[3] = 432000;
	t->udp = 30;
	t->udp_stream = 60;
	t->icmp = t->icmpv6 = 30;
	t->generic = 60;
}

/* The parts of a configuration that a node keeps over its restarts are drawn from the seed alone.
 */
void params_conf(struct sim *s, int n, struct engine_conf *c)
{
	struct rng r = { .s = s->seed * 77 + 5 };

	engine_conf_default(c);
	(void)snprintf(c->node, sizeof(c->node), "fw%d", n + 1);
	c->hot = s->p.hot;
	c->active_active = s->p.active_active;
	timeouts(&c->timeouts, &r);
	c->hold_s = rng_chance(&r, 5000) ? (uint32_t)rng_range(&r, 20, 120) : 600;
	c->dgram_max = rng_chance(&r, 5000) ? WIRE_DGRAM_MIN : 1452;
	c->tombstones_max = rng_chance(&r, 4000) ? (uint32_t)rng_range(&r, 2, 30) : 10000;
	c->flows_max = rng_chance(&r, 500) ? s->p.keys / 2 + 1 : 100000;
	c->window_len = (uint32_t)rng_range(&r, 4000, 100000);
	c->orphan_s = (uint32_t)rng_range(&r, 5, 60);
	c->forced_wait_ms = (uint32_t)rng_range(&r, 3000, 5000);
	c->unclaimed_ms = (uint32_t)rng_range(&r, 1000, 10000);
	c->walk_rate = rng_chance(&r, 5000) ? c->walk_rate : (uint32_t)rng_range(&r, 20, 2000);
	if (s->p.flip_us)
		c->scrub_s = (uint32_t)rng_range(&r, 5, 30);
	rough_conf(s, c);
	if (s->repeats) {
		c->walk_rate = (uint32_t)rng_range(&r, 20, 40);
		c->hold_s = (uint32_t)rng_range(&r, 20, 50);
	}
	if (s->small)
		c->deletions_max = (uint32_t)rng_range(&r, 2, 20);
	if (s->p.sealed) {
		memcpy(c->key[0], s->psk[0], sizeof(c->key[0]));
		c->key_count = 1;
	}
}
