/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every so often a node's engine is saved at the end of a turn and taped from there on. When the
 * tape is full or the engine ends, a second engine is restored from what was saved and played the
 * tape: its trace and its tables must be those of the first. So an input that goes round the tape,
 * and a piece of state that is not saved, fail a seed.
 */
#include "taped.h"

#include <stdlib.h>

#include "player.h"
#include "sim.h"

#define TAPE_LEN (256u << 10)
#define STARTS 257 /* turns of a node from one look at it to the next, and a prime */

static void begin(struct sim *s, int n)
{
	struct node *node = &s->node[n];
	size_t len = engine_save(node->e, NULL, 0), saved;
	uint8_t *state = aligned_alloc(8, (len + 7) & ~(size_t)7);
	struct engine_tape *t = aligned_alloc(8, sizeof(*t) + TAPE_LEN);

	if (!state || !t)
		abort();
	saved = engine_save(node->e, state, len);
	if (saved != len)
		sim_fail(s, "node %d: its saved state has %zu bytes, not %zu", n, saved, len);
	*t = (struct engine_tape){ .size = TAPE_LEN, .hash = s->seed };
	node->taped.state = state;
	node->taped.state_len = len;
	node->taped.tape = t;
	node->taped.at = s->now;
	engine_record(node->e, t);
	s->count.tapes++;
}

static void compare(struct sim *s, int n, struct engine *e, const struct player *p,
		    enum player_end end)
{
	const struct engine_tape *t = s->node[n].taped.tape;
	const struct engine *was = s->node[n].e;

	if (end != PLAYER_DONE)
		sim_fail(s, "node %d: a tape of %llu steps, played, %s at step %llu (I7)", n,
			 (unsigned long long)t->steps,
			 end == PLAYER_DIFFERS ? "differs" : "is broken",
			 (unsigned long long)p->step);
	else if (!t->full && peek_fingerprint(e) != peek_fingerprint(was))
		sim_fail(s, "node %d: a tape ends in other tables when it is played (I7)", n);
	else if (!t->full && memcmp(&e->count, &was->count, sizeof(e->count)) != 0)
		sim_fail(s, "node %d: a tape ends in other counters when it is played (I7)", n);
}

static void end(struct sim *s, int n)
{
	struct taped *d = &s->node[n].taped;
	struct engine *e = engine_restore(d->state, d->state_len);
	struct player *p = malloc(sizeof(*p));

	engine_record(s->node[n].e, NULL);
	if (!p)
		abort();
	if (!e) {
		sim_fail(s, "node %d: its saved state cannot be restored", n);
	} else if (!s->failed) {
		player_init(p, e, s->seed, d->at);
		compare(s, n, e, p, player_run(p, d->tape));
	}
	engine_free(e);
	free(p);
	free(d->state);
	free(d->tape);
	*d = (struct taped){ 0 };
}

void taped_turn(struct sim *s, int n)
{
	struct node *node = &s->node[n];

	if (node->taped.tape && node->taped.tape->full)
		end(s, n);
	if (!node->taped.tape && ++node->taped_turns % STARTS == s->seed % STARTS)
		begin(s, n);
}

void taped_stop(struct sim *s, int n)
{
	if (s->node[n].taped.tape)
		end(s, n);
}
