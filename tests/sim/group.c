/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Groups and links beyond a pair: up to four nodes, a shared medium on which one datagram reaches
 * all, each with its own luck, links that lose differently, and interfaces whose MTU changes while
 * the daemons run, on one node at a time, so that what one can send another cannot take. All of it
 * is drawn from a sequence of its own, for a part of the seeds: the others stand for the runs that
 * they always were, those of seeds.txt among them.
 */
#include "sim.h"

static uint16_t draw_mtu(struct rng *r)
{
	static const uint16_t max[] = { WIRE_DGRAM_MIN, 700, 1232, 1452 };

	return max[rng_below(r, ARRAY_LEN(max))];
}

void group_draw(struct sim *s)
{
	struct params *p = &s->p;
	struct rng *r = &s->group_rng;

	r->s = s->seed * 0xd1342543de82ef95ULL + 7;
	for (unsigned int i = 0; i < LINKS_MAX; i++)
		p->link_loss[i] = p->loss;
	if (s->seed <= SEEDS_KEPT || p->storm || !rng_chance(r, 3000))
		return;
	p->nodes = rng_chance(r, 5000) ? 4 : (unsigned int)rng_range(r, 2, 3);
	p->links = rng_chance(r, 5000) ? 1 : 2;
	p->multicast = rng_chance(r, 6000);
	for (unsigned int i = 0; i < LINKS_MAX; i++)
		p->link_loss[i] = rng_chance(r, 6000) ? (uint32_t)rng_range(r, 1, 4000) : 0;
	if (rng_chance(r, 5000))
		p->mtu_us = rng_range(r, 1, 20) * USEC_PER_SEC;
}

void group_init(struct sim *s)
{
	if (!s->p.mtu_us)
		return;
	for (unsigned int n = 0; n < s->p.nodes; n++)
		s->node[n].mtu = s->node[n].conf.dgram_max;
	world_act(s, ACT_MTU, 0, 0, s->now + rng_below(&s->group_rng, s->p.mtu_us));
}

/* The interface of one node gets another MTU, and its daemon is told at once. */
void group_mtu(struct sim *s)
{
	struct node *node = &s->node[rng_below(&s->group_rng, s->p.nodes)];

	node->mtu = node->conf.dgram_max = draw_mtu(&s->group_rng);
	s->count.mtu_changes++;
	sim_trace(s, "node %d: datagrams of at most %u from now on", (int)(node - s->node),
		  node->mtu);
	if (node->e)
		engine_reconf(node->e, &node->conf, s->now);
	world_act(s, ACT_MTU, 0, 0, s->now + rng_below(&s->group_rng, 2 * s->p.mtu_us));
}
