/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What arrives from a peer, link by link. A sender puts the same datagram on every link by which it
 * has heard its peer; the first copy is taken, the others are doubles. A double is told from a
 * replay by a window for each endpoint: a counter that is new there, though not new to us, came by
 * another link; one that was seen there before is a replay (or the network's own double).
 *
 * Loss: each REPORT of a peer says how many datagrams it has sent to us so far. Between two of them
 * we know how many should have come by each link, and how many did. A stretch is judged when the
 * REPORT after its end arrives, so that what is still on its way by a slower link is not called
 * lost; what comes even later than that is taken off again. PROTOCOL.md, section 6, "Links".
 */
#include "engine_priv.h"

static void reckon_take(struct reckon *r, const struct peer *p, uint64_t counter)
{
	r->received++;
	if (counter > p->mark.counter)
		r->since++;
	else if (counter > p->mark_old.counter)
		r->old++;
	else if (!r->skip)
		r->came++; /* later than late */
}

/* The stretch between the last two marks is over: sent datagrams should have come in it. */
static void reckon_close(struct reckon *r, uint64_t sent)
{
	if (r->skip) {
		r->skip--;
	} else {
		r->expected += sent;
		r->came += r->old;
	}
	r->old = r->since;
	r->since = 0;
}

uint64_t arrive_lost(const struct reckon *r)
{
	return r->expected > r->came ? r->expected - r->came : 0;
}

/* The first that came by this endpoint: what it loses counts from the next whole stretch on. */
static void path_begin(struct peer *p, unsigned int endpoint, usec_t now)
{
	struct path *x = &p->path[endpoint];

	*x = (struct path){
		.known = true, .up = true, .heard_at = now, .reckon.skip = RECKON_SKIP
	};
	/* The HACK of the epoch, whose counter is the floor, has doubles too. */
	seal_window_reset(&x->window, p->window.floor ? p->window.floor - 1 : 0);
	p->endpoints |= 1U << endpoint;
}

void arrive_restart(struct peer *p, unsigned int endpoint, usec_t now)
{
	for (unsigned int i = 0; i < ENGINE_ENDPOINTS_MAX; i++)
		p->path[i].known = false;
	p->mark = p->mark_old = (struct mark){ 0 };
	p->reckon = (struct reckon){ .skip = RECKON_SKIP };
	p->sent_count = 0;
	p->dgram_max = 0;
	path_begin(p, endpoint, now);
	(void)seal_window_take(&p->path[endpoint].window, p->window.floor); /* the HACK at hand */
}

int arrive_take(struct peer *p, uint64_t counter, unsigned int endpoint, usec_t now)
{
	bool fresh = seal_window_take(&p->window, counter);
	struct path *x = &p->path[endpoint];

	if (!x->known && !fresh && p->window.top - counter >= PATH_NEW_SPAN)
		return -DROP_REPLAY; /* too old to be the double that shows us another link */
	if (!x->known)
		path_begin(p, endpoint, now);
	if (!seal_window_take(&x->window, counter))
		return -DROP_REPLAY;
	x->heard_at = now;
	reckon_take(&x->reckon, p, counter);
	if (!fresh) {
		x->doubles++;
		return -DROP_DOUBLE;
	}
	reckon_take(&p->reckon, p, counter);
	return 0;
}

void arrive_report(struct peer *p, uint64_t counter, uint64_t sent)
{
	uint64_t span = p->mark.sent - p->mark_old.sent;

	if (counter <= p->mark.counter || sent < p->mark.sent)
		return; /* overtaken, or not told */
	reckon_close(&p->reckon, span);
	for (unsigned int i = 0; i < ENGINE_ENDPOINTS_MAX; i++)
		if (p->path[i].known)
			reckon_close(&p->path[i].reckon, span);
	p->mark_old = p->mark;
	p->mark = (struct mark){ counter, sent };
}

/* A link that is silent while the peer is heard by another. When all are, it is the peer, and all
 * begin anew with its next word. */
void arrive_tick(struct engine *e, struct peer *p, usec_t now)
{
	for (unsigned int i = 0; i < ENGINE_ENDPOINTS_MAX; i++) {
		struct path *x = &p->path[i];
		bool up;

		if (!x->known)
			continue;
		if (!peer_hears(e, p)) {
			x->quiet_at = now;
			continue;
		}
		up = now < max_u64(x->heard_at, x->quiet_at) + e->conf.dead_ms * USEC_PER_MS;
		if (up != x->up)
			note_put(e, up ? NOTE_LINK_UP : NOTE_LINK_DOWN, p, i,
				 (now - x->heard_at) / USEC_PER_MS);
		x->up = up;
	}
}

unsigned int arrive_stats(const struct peer *p, struct engine_path_stats *s, usec_t now)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < ENGINE_ENDPOINTS_MAX; i++) {
		const struct path *x = &p->path[i];

		if (!x->known)
			continue;
		s[n++] = (struct engine_path_stats){
			.endpoint = i,
			.up = x->up,
			.heard_ms = (now - x->heard_at) / USEC_PER_MS,
			.received = x->reckon.received,
			.doubles = x->doubles,
			.expected = x->reckon.expected,
			.lost = arrive_lost(&x->reckon),
		};
	}
	return n;
}
