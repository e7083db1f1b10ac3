/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What became of a promote, told OUTCOME_WAIT_US after it (PROTOCOL.md, R77). That flows were
 * written says little; that packets pass through them says all. So the kernel's table is read
 * again, and a round of the patrol counts, of what became ours since the promote, how much was
 * touched, and of what peers announce, how much the kernel still refuses.
 *
 * Each flow that a promote takes over carries F_TAKEN until it is counted or ends; `open` says how
 * many do. A demote only puts off: what was taken over and not told yet is told after the next
 * promote.
 */
#include "engine_priv.h"

#include <string.h>

#define OUTCOME_WAIT_US (10 * USEC_PER_SEC)

static void begin(struct outcome *t, usec_t now)
{
	t->state = OUTCOME_WAITS;
	t->due = now + OUTCOME_WAIT_US;
	t->next.begun_at = now;
}

void outcome_begin(struct engine *e, usec_t now)
{
	if (e->outcome.state == OUTCOME_IDLE)
		begin(&e->outcome, now);
}

void outcome_put_off(struct engine *e)
{
	e->outcome.state = OUTCOME_IDLE;
	e->outcome.next.refused = 0;
	memset(e->outcome.next.refused_by, 0, sizeof(e->outcome.next.refused_by));
}

void outcome_forget(struct engine *e)
{
	outcome_put_off(e);
	e->outcome.next = (struct engine_outcome){ 0 };
	e->outcome.open = 0;
}

static bool promote_at_work(const struct engine *e)
{
	return e->outcome.state != OUTCOME_IDLE || (e->commit.running && e->commit.promote) ||
	       e->patrol.round < e->patrol.adopt_to;
}

void outcome_take(struct engine *e, struct rec *r)
{
	if (flow_is_expect(r->body)) /* no packet tells that it is alive */
		return;
	if (e->role != ROLE_PRIMARY || (r->flags & F_TAKEN) || !promote_at_work(e))
		return;
	r->flags |= F_TAKEN;
	e->outcome.open++;
	e->outcome.next.taken++;
	outcome_begin(e, e->now); /* a promote of a primary took something over, too */
}

static void untake(struct engine *e, struct rec *r)
{
	r->flags &= (uint16_t)~F_TAKEN;
	e->outcome.open -= e->outcome.open > 0; /* a flag may have flipped */
	e->outcome.next.alive += (r->flags & F_TOUCHED) != 0;
}

void outcome_ended(struct engine *e, struct rec *r)
{
	untake(e, r);
	e->outcome.next.ended++;
}

void outcome_left(struct engine *e, struct rec *r)
{
	if (!(r->flags & F_TAKEN))
		return;
	r->flags &= (uint16_t)~F_TAKEN;
	e->outcome.open -= e->outcome.open > 0;
	e->outcome.next.taken -= e->outcome.next.taken > 0;
}

void outcome_refused(struct engine *e, unsigned int err)
{
	struct engine_outcome *m = &e->outcome.next;

	if (e->outcome.state == OUTCOME_IDLE)
		return;
	m->refused++;
	m->refused_by[err < ARRAY_LEN(m->refused_by) ? err : 0]++;
}

/* Counts in the last round before the end alone: that one is whole. */
void outcome_visit(struct engine *e, unsigned int table, struct rec *r)
{
	struct outcome *t = &e->outcome;

	if (t->state != OUTCOME_COUNTS || e->patrol.round + 1 != t->count_to || r->tomb)
		return;
	if (table == TABLE_LOCAL && (r->flags & F_TAKEN))
		untake(e, r);
	else if (table < ENGINE_PEERS_MAX && (r->flags & F_REFUSED))
		outcome_refused(e, r->aux & 0xffff);
}

static void dump_want(struct engine *e, usec_t now)
{
	e->outcome.gen = (uint8_t)(e->dump.gen + 1);
	e->outcome.state = OUTCOME_READS;
	if (!e->dump.wanted)
		e->dump.at = now;
	e->dump.wanted = true;
}

static bool dump_is_over(const struct engine *e)
{
	return !e->dump.wanted && !e->dump.running && !e->dump.sweeping &&
	       (uint8_t)(e->dump.gen - e->outcome.gen) <= UINT8_MAX / 2;
}

static void count(struct engine *e)
{
	patrol_urgent(e);
	e->outcome.count_to = e->patrol.urgent_to;
	e->outcome.state = OUTCOME_COUNTS;
}

static void tell(struct engine *e, usec_t now)
{
	struct outcome *t = &e->outcome;
	uint64_t serial = t->told.serial + 1;

	t->told = t->next;
	t->told.serial = serial;
	t->told.told_at = now;
	t->told.taken -= min_u64(t->open, t->told.taken); /* taken over while this was counted */
	t->next = (struct engine_outcome){ .taken = t->open };
	t->state = OUTCOME_IDLE;
	if (t->open)
		begin(t, now);
	note_put(e, NOTE_OUTCOME, NULL, t->told.taken, t->told.alive);
}

void outcome_tick(struct engine *e, usec_t now)
{
	struct outcome *t = &e->outcome;

	switch (t->state) {
	case OUTCOME_IDLE:
		break;
	case OUTCOME_WAITS: /* what is not ours yet cannot be counted */
		if (now < t->due || e->commit.running || e->patrol.round < e->patrol.adopt_to)
			break;
		if (t->open)
			dump_want(e, now);
		else
			count(e); /* there is nothing to look for in a table of millions */
		break;
	case OUTCOME_READS:
		if (dump_is_over(e))
			count(e);
		break;
	case OUTCOME_COUNTS:
		if (e->patrol.round >= t->count_to)
			tell(e, now);
		break;
	}
}

const struct engine_outcome *engine_outcome(const struct engine *e, bool *pending)
{
	*pending = e->outcome.state != OUTCOME_IDLE;
	return &e->outcome.told;
}
