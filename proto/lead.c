/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who leads: of all peers the last that is, or was, heard to be primary; of two at once the first
 * (PROTOCOL.md, R36). Its word on a flow counts before that of others (copy.c). A node that stood
 * still reads what waited as if all of it were said at once; it may be as old as the moment at
 * which that began, and counts so: of two primaries of which one followed the other, both would
 * seem to speak now, and the first to lead on.
 */
#include "engine_priv.h"

bool lead_wakes(const struct engine *e, usec_t now)
{
	return e->woke_at && now < e->woke_at + WAKE_MS * USEC_PER_MS;
}

/* When was it said, at the earliest, what is heard now? */
static usec_t lead_said_at(struct engine *e, usec_t now)
{
	if (now > e->ticked_at + e->conf.dead_ms * USEC_PER_MS) {
		e->still_at = e->ticked_at;
		e->woke_at = now;
		/* What came since the tick is no newer than what waited. */
		for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
			e->peers[i].primary_at = min_u64(e->peers[i].primary_at, e->still_at);
	}
	return lead_wakes(e, now) ? e->still_at : now;
}

/* Does p, now that it is heard, lead? What comes late tells nothing. */
static void lead_ask(struct engine *e, struct peer *p)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		const struct peer *q = &e->peers[i];

		if (q->used && q->led &&
		    (q->primary_at > p->primary_at ||
		     (q->primary && !q->bye &&
		      e->now < q->primary_at + e->conf.dead_ms * USEC_PER_MS)))
			return;
	}
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		e->peers[i].led = false;
	p->led = true;
	own_claims(e);
}

void lead_heard(struct engine *e, struct peer *p, bool primary, usec_t now)
{
	usec_t said_at = lead_said_at(e, now);

	if (primary && !p->primary)
		own_claims(e);
	p->primary = primary;
	if (primary)
		p->primary_at = max_u64(p->primary_at, said_at);
	if (p->primary_at && !p->led)
		lead_ask(e, p);
}
