/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest: one node more than a group can have, which knows the key and shakes hands with one of
 * four. That one has no place for it (R52) as long as its peers were heard of late: it says so by
 * PEERS, and everything goes on as if nobody had come. The guest has no kernel and no part in what
 * is checked; its daemon lives for two seconds at a time.
 *
 * Drawn from a sequence of its own, for none of the seeds that are kept for what they found.
 */
#include <stdio.h>
#include <string.h>

#include "sim.h"

#define STAY_US (2 * USEC_PER_SEC)
#define HEARD_MS 50000 /* after 60 s of silence the place of a peer is free */

void guest_draw(struct sim *s)
{
	struct rng *r = &s->guest_rng;

	r->s = s->seed * 0x8bb84b93962eacc9ULL + 5;
	if (s->seed <= SEEDS_KEPT || s->p.nodes < 4 || (s->seed % 27 != 0 && s->seed % 27 != 2))
		return;
	s->guest_us = rng_range(r, 3, 15) * USEC_PER_SEC;
	world_act(s, ACT_GUEST, 0, 0, s->now + 8 * USEC_PER_SEC);
}

void guest_leave(struct sim *s)
{
	engine_free(s->guest);
	s->guest = NULL;
}

static bool is_full(struct sim *s, int n)
{
	struct engine_stats st;

	if (!s->node[n].e)
		return false;
	world_snapshot(s, n, &st);
	for (unsigned int i = 0; i < st.peer_count; i++)
		if (st.peer[i].heard_ms > HEARD_MS)
			return false;
	return st.peer_count == ENGINE_PEERS_MAX;
}

static void say(struct sim *s)
{
	const struct packet p = { .src = s->guest_to == 0, .dst = (uint8_t)s->guest_to };
	uint8_t pkt[WIRE_DGRAM_MAX];
	uint32_t to;
	size_t len;

	while ((len = engine_send(s->guest, pkt, &to, s->now)) > 0)
		net_push(s, &p, pkt, len, s->now + s->p.delay_us);
}

/* Node n said that, to whom it may. */
void guest_hear(struct sim *s, int n, const uint8_t *pkt, size_t len)
{
	uint8_t copy[WIRE_DGRAM_MAX];

	if (!s->guest || n != s->guest_to)
		return;
	memcpy(copy, pkt, len);
	(void)engine_recv(s->guest, 0, copy, len, s->now); /* much of it is not for it */
	say(s);
}

static void come(struct sim *s, int n)
{
	struct engine_conf conf = s->node[n].conf;
	uint8_t seed[32] = { 0 };

	(void)snprintf(conf.node, sizeof(conf.node), "guest");
	conf.role = ROLE_BACKUP;
	seed[0] = (uint8_t)rng_next(&s->guest_rng);
	s->guest = engine_new(&conf, rng_next(&s->guest_rng) | 1, seed, s->now);
	s->guest_to = n;
	s->count.guests++;
	sim_trace(s, "a guest comes to node %d", n);
	say(s);
}

void guest_act(struct sim *s)
{
	struct rng *r = &s->guest_rng;
	int n = (int)rng_below(r, s->p.nodes);

	if (s->guest)
		guest_leave(s);
	else if (!s->calm && is_full(s, n))
		come(s, n);
	if (!s->calm)
		world_act(s, ACT_GUEST, 0, 0,
			  s->now + (s->guest ? STAY_US : rng_below(r, 2 * s->guest_us)));
}
