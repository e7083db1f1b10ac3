/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inquiries (PROTOCOL.md, R89 to R91), in a part of the worlds: what a peer is said to have found
 * is what an audit of that peer did find, whole, and one that began after it was asked for; that
 * each of its differences is one in truth is looked at as it finds them (world.c). A reason for
 * knowing nothing of a peer has to be true. When the faults are over every node inquires once
 * more, and gets its answers.
 *
 * Drawn from a sequence of its own, for none of the seeds that are kept for what they found.
 */
#include <stdio.h>
#include <string.h>

#include "sim.h"

#define CALM_US (16 * USEC_PER_SEC) /* whatever was lost before has had its consequences */

void inquiry_draw(struct sim *s)
{
	struct rng *r = &s->ask_rng;

	r->s = s->seed * 0xa0761d6478bd642fULL + 3;
	if (s->seed > SEEDS_KEPT && (s->seed % 19 == 5 || s->seed % 19 == 13))
		s->ask_us = rng_range(r, 1, 10) * USEC_PER_SEC;
	if (s->ask_us)
		world_act(s, ACT_INQUIRE, 0, 0, s->now + 4 * USEC_PER_SEC);
}

static uint64_t epoch_of(const struct sim *s, int n)
{
	struct peek_owner o = { .epoch = 0 };

	if (s->node[n].e)
		peek_owner(s->node[n].e, &o);
	return o.epoch;
}

static void ask(struct sim *s, int n)
{
	struct asking *a = &s->asking[n];
	const struct engine_inquiry *q;
	struct asked_at *at;

	if (!s->node[n].e || s->node[n].paused)
		return;
	q = engine_inquiry(s->node[n].e);
	engine_cmd(s->node[n].e, CMD_INQUIRE, s->now);
	at = &a->at[q->due % ARRAY_LEN(a->at)];
	at->at = s->now;
	for (int m = 0; m < (int)s->p.nodes; m++)
		at->epoch[m] = epoch_of(s, m);
	s->count.inquiries++;
	sim_trace(s, "node %d: inquiry %llu", n, (unsigned long long)q->due);
	world_kick(s, n);
}

/* What node n says to the next one is lost, for longer than an inquiry waits; not what it hears. */
static void mute(struct sim *s, int n)
{
	int to = (n + 1) % (int)s->p.nodes;

	s->count.partitions_one_way++;
	for (unsigned int link = 0; link < s->p.links; link++)
		s->blocked[n][to][link] = true;
	sim_trace(s, "node %d does not reach node %d", n, to);
	world_act(s, ACT_HEAL, 0, 0, s->now + 12 * USEC_PER_SEC);
}

void inquiry_act(struct sim *s)
{
	int n = (int)rng_below(&s->ask_rng, s->p.nodes);

	if (s->calm)
		return;
	ask(s, n);
	if (rng_chance(&s->ask_rng, 1500))
		mute(s, n);
	world_act(s, ACT_INQUIRE, 0, 0, s->now + rng_below(&s->ask_rng, 2 * s->ask_us));
}

/* What the run before found may be told by then, and be on its way. */
void inquiry_start(struct sim *s, int n)
{
	struct asking *a = &s->asking[n];

	a->serial = 0;
	memset(a->at, 0, sizeof(a->at));
}

/* Node n's audit is over. */
void inquiry_audited(struct sim *s, int n)
{
	struct asking *a = &s->asking[n];
	const struct engine_audit *t = engine_audit(s->node[n].e);
	struct audit_seen *x = &a->audit[a->audit_count++ % ARRAY_LEN(a->audit)];

	x->begun_at = peek_audit_begun(s->node[n].e);
	x->entries = t->entries;
	x->unsettled = t->unsettled;
	memcpy(x->by, t->found_by, sizeof(x->by));
	x->count = t->found_count < WIRE_FINDINGS_MAX ? t->found_count : WIRE_FINDINGS_MAX;
	for (unsigned int i = 0; i < x->count; i++) {
		const struct engine_found *f = &t->found[i];

		x->key[i] = f->what == FOUND_CACHE_ONLY ? f->held.key : f->kernel.key;
	}
}

static bool is_same(const struct audit_seen *x, const struct engine_findings *f)
{
	if (x->entries != f->entries || x->unsettled != f->unsettled ||
	    memcmp(x->by, f->found_by, sizeof(x->by)) != 0 || f->found_count > x->count)
		return false;
	for (unsigned int i = 0; i < f->found_count; i++) {
		const struct engine_found *g = &f->found[i];
		const struct flow *flow = g->what == FOUND_CACHE_ONLY ? &g->held : &g->kernel;

		/* None was sent of what cannot be read. */
		if (flow->key.l3 && memcmp(&x->key[i], &flow->key, sizeof(flow->key)) != 0)
			return false;
	}
	return true;
}

/* Did node m find that, after it was asked at that time? */
static void check_over(struct sim *s, int n, int m, usec_t asked_at,
		       const struct engine_findings *f)
{
	const struct asking *a = &s->asking[m];
	unsigned int held = ARRAY_LEN(a->audit);

	s->count.inquiry_answers++;
	s->count.inquiry_finds += f->found_count != 0;
	if (a->audit_count > held) /* it may have been among those that are forgotten */
		return;
	for (unsigned int i = 0; i < a->audit_count; i++)
		if (a->audit[i].begun_at >= asked_at && is_same(&a->audit[i], f))
			return;
	sim_fail(s, "node %d: what node %d is said to have found it did not find since (R90)", n,
		 m);
}

static bool is_calm(const struct sim *s, int n, int m, const struct asked_at *at)
{
	return s->calm && at->at >= s->calm_at + CALM_US && at->epoch[m] == epoch_of(s, m) &&
	       at->epoch[n] == epoch_of(s, n);
}

static void check_peer(struct sim *s, int n, const struct asked_at *at,
		       const struct engine_findings *f)
{
	bool calm;
	int m;

	if (f->state == ASKED_NOT || sscanf(f->node, "fw%d", &m) != 1 || --m < 0 ||
	    m >= (int)s->p.nodes)
		return;
	calm = is_calm(s, n, m, at);
	sim_trace(s, "node %d: inquiry: of node %d state %d", n, m, f->state);
	if (f->state == ASKED_OVER)
		check_over(s, n, m, at->at, f);
	s->count.inquiry_old += f->state == ASKED_OLD;
	s->count.inquiry_silent += f->state == ASKED_SILENT;
	s->count.inquiry_unanswered += f->state == ASKED_UNANSWERED;
	s->count.inquiry_broken += f->state == ASKED_BROKEN;
	if (f->state == ASKED_OLD && !(s->later & 1u << m))
		sim_fail(s, "node %d: node %d is said to be too old for an audit (R89)", n, m);
	if (calm && (f->state == ASKED_UNANSWERED || f->state == ASKED_BROKEN))
		sim_fail(s, "node %d: node %d did not answer an inquiry, state %d (R89)", n, m,
			 f->state);
}

/* After each turn of node n. */
void inquiry_watch(struct sim *s, int n)
{
	const struct engine_inquiry *q = engine_inquiry(s->node[n].e);
	struct asking *a = &s->asking[n];

	if (q->serial == a->serial)
		return;
	a->serial = q->serial;
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		check_peer(s, n, &a->at[q->serial % ARRAY_LEN(a->at)], &q->of[i]);
}

/* NULL, or what is not over yet. */
const char *inquiry_settled(struct sim *s)
{
	if (!s->ask_us)
		return NULL;
	for (int n = 0; n < (int)s->p.nodes; n++) {
		const struct engine_inquiry *q = engine_inquiry(s->node[n].e);

		if (s->now >= s->calm_at + CALM_US && !s->asking[n].asked) {
			s->asking[n].asked = true;
			ask(s, n);
		}
		if (!s->asking[n].asked || q->serial != q->due) {
			(void)snprintf(s->left, sizeof(s->left), "node %d's inquiry", n);
			return s->left;
		}
	}
	return NULL;
}
