/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the engine tells of itself: figures, readiness, and the flows of either half. Reads
 * everything, changes nothing. `ready` fails closed: what is not known is a reason against it
 * (PROTOCOL.md, "Ready").
 */
#include "engine_priv.h"

#include <string.h>

#define READY_BACKLOG_MAX 4096  /* kernel writes that are done in a moment */
#define READY_MISSING_MAX 65536 /* versions that are on their way */
#define UNHEARD_MAX 64          /* copies, and one of a hundred: see unheard() */
#define STUCK_MS 3000           /* they are not, when none came in so long */

/* A bounded text without stdio. */
struct text {
	char *p;
	size_t len, at;
};

static void text_put(struct text *t, const char *s)
{
	while (*s && t->at + 1 < t->len)
		t->p[t->at++] = *s++;
	t->p[t->at] = '\0';
}

static void text_num(struct text *t, uint64_t v)
{
	char buf[24];
	size_t i = sizeof(buf);

	buf[--i] = '\0';
	do
		buf[--i] = (char)('0' + v % 10);
	while (v /= 10);
	text_put(t, buf + i);
}

/* Without the expectations. */
static uint64_t flows_of(const struct cache *c)
{
	return cache_flows(c) - cache_expects(c);
}

static void text_tenths(struct text *t, usec_t us)
{
	text_num(t, us / USEC_PER_SEC);
	text_put(t, ".");
	text_num(t, us % USEC_PER_SEC / (USEC_PER_SEC / 10));
}

static uint64_t stale_of(const struct peer *p)
{
	return cache_list_count(p->mirror, CACHE_LIST_LATER);
}

static enum engine_peer_state state_of(const struct engine *e, const struct peer *p)
{
	if (!peer_is_up(e, p))
		return PEER_DOWN;
	return p->resyncing || p->debt || peer_missing(p) > READY_MISSING_MAX ? PEER_RESYNC
									      : PEER_UP;
}

static void peer_stats(const struct engine *e, const struct peer *p, struct engine_peer_stats *s,
		       usec_t now)
{
	memcpy(s->node, p->name, sizeof(s->node));
	s->state = state_of(e, p);
	s->primary = p->primary;
	s->heard = peer_hears(e, p);
	s->hears_us = p->hears_us_at && now < p->hears_us_at + e->conf.dead_ms * USEC_PER_MS;
	s->known = true;
	s->heard_ms = p->heard_at ? (now - p->heard_at) / USEC_PER_MS : UINT64_MAX;
	s->epoch = p->epoch;
	s->covered = p->covered;
	s->head = p->maxhead;
	s->missing = peer_missing(p);
	s->debt = p->debt;
	s->in_sync = p->in_sync && p->covered == p->maxhead;
	s->verified = p->verified;
	s->verified_age_ms = p->verified_at ? (now - p->verified_at) / USEC_PER_MS : UINT64_MAX;
	s->flows = flows_of(p->mirror);
	s->copies = p->copies - p->expect_copies;
	s->backlog = patrol_backlog(p);
	s->acked = p->acked;
	s->gaps = p->range_count;
	s->expected = p->reckon.expected;
	s->lost = arrive_lost(&p->reckon);
	s->path_count = arrive_stats(p, s->path, now);
}

static bool peer_ready(const struct engine *e, const struct peer *p, struct text *t, usec_t now)
{
	uint64_t missing = peer_missing(p);

	if (p->other_tables) {
		text_put(t, "tables of ");
		text_put(t, p->name);
		text_put(t, " are hashed with another key");
	} else if (p->resyncing || missing > READY_MISSING_MAX) {
		text_put(t, "resync with ");
		text_put(t, p->name);
		text_put(t, " at ");
		text_num(t, p->maxhead ? (p->maxhead - missing) * 100 / p->maxhead : 0);
		text_put(t, " %");
	} else if (p->limited) {
		text_put(t, "flows of ");
		text_put(t, p->name);
		text_put(t, " are not held: more than state.flows_max");
	} else if (p->list_todo && !p->in_sync && !p->debt && !p->old_count) {
		text_put(t, "divergence: ");
		text_num(t, p->list_todo);
		text_put(t, " of 1024 buckets differ from those of ");
		text_put(t, p->name);
	} else if (p->debt || (p->want_vector && !p->in_sync) || (p->list_todo && p->old_count)) {
		text_put(t, "comparing buckets with ");
		text_put(t, p->name);
	} else if (!p->verified_at) {
		text_put(t, "never yet proven equal with ");
		text_put(t, p->name);
	} else if (p->one_way) {
		text_put(t, p->name);
		text_put(t, " does not hear us");
	} else if (!peer_hears(e, p) && missing) {
		text_num(t, missing);
		text_put(t, " changes of ");
		text_put(t, p->name);
		text_put(t, " never arrived");
	} else if (missing && now > p->progress_at + STUCK_MS * USEC_PER_MS) {
		text_num(t, missing);
		text_put(t, " changes of ");
		text_put(t, p->name);
		text_put(t, " cannot be taken");
	} else {
		return true;
	}
	return false;
}

static uint64_t aside_of(const struct engine *e)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used)
			n += quarantine_held(e, &e->peers[i]);
	return n;
}

static bool writes_ready(const struct engine *e, struct text *t)
{
	uint64_t backlog = 0, stale = 0;

	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		if (!e->peers[i].used)
			continue;
		backlog += patrol_backlog(&e->peers[i]);
		stale += stale_of(&e->peers[i]);
	}
	if (backlog > READY_BACKLOG_MAX) {
		text_num(t, backlog);
		text_put(t, " kernel writes pending");
	} else if (stale > READY_BACKLOG_MAX) { /* fewer are replaced in the course of a promote */
		text_num(t, stale);
		text_put(t, " entries with stale windows to replace");
	} else if (e->refused) {
		text_num(t, e->refused);
		text_put(t, " flows refused by the kernel");
	} else if (aside_of(e)) {
		text_num(t, aside_of(e));
		text_put(t, " flows quarantined: the daemon died of them");
	} else {
		return true;
	}
	return false;
}

static void ready_as_of(const struct engine *e, struct text *t, usec_t now)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		const struct peer *p = &e->peers[i];

		if (!p->used || peer_hears(e, p))
			continue;
		text_put(t, "in sync as of ");
		text_tenths(t, p->heard_at - min_u64(p->verified_at, p->heard_at));
		text_put(t, " s before ");
		text_put(t, p->name);
		text_put(t, p->bye ? " said bye, " : " fell silent, ");
		text_tenths(t, now - p->heard_at);
		text_put(t, " s ago");
		return;
	}
	text_put(t, "in sync");
}

static bool ready(const struct engine *e, struct text *t, usec_t now)
{
	if (e->role == ROLE_PRIMARY && !e->conf.active_active) {
		text_put(t, "primary");
		return true;
	}
	if (!e->complete) {
		text_put(t, "the first dump of the kernel's table has not ended");
		return false;
	}
	if (!e->peer_count) {
		text_put(t, "no peer was ever heard");
		return false;
	}
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used && !peer_ready(e, &e->peers[i], t, now))
			return false;
	if (!writes_ready(e, t))
		return false;
	ready_as_of(e, t, now);
	return true;
}

/* Entries that may have ended without our knowing yet: nothing tells of a mute one's end, nor,
 * where a policy is, of a copy's that it excludes (R66); those are few, for peers mostly have the
 * same. */
static uint64_t unheard(const struct engine *e, const struct engine_stats *s)
{
	uint64_t excluded = e->policy ? s->copies / 100 + UNHEARD_MAX : 0;

	return s->mute + e->reread_count + excluded;
}

void engine_stats(const struct engine *e, struct engine_stats *s, usec_t now)
{
	struct text reason = { .p = s->reason, .len = sizeof(s->reason) };

	memset(s, 0, sizeof(*s));
	s->role = e->role;
	s->ready = ready(e, &reason, now);
	s->complete = e->complete;
	s->scrubbing = scrub_busy(e) || scrub_heals(e);
	s->epoch = e->epoch;
	s->head = e->head;
	s->dropped = e->dropped;
	s->sent = e->sent;
	s->local_flows = flows_of(e->local);
	s->local_expects = cache_expects(e->local);
	s->unclaimed = e->unclaimed;
	s->orphans = cache_flows(e->strays) - e->unclaimed;
	s->absent = e->absent;
	memcpy(s->translated, e->translated, sizeof(s->translated));
	s->tombstones = cache_tombs(e->local);
	s->mute = e->mute;
	s->aside = aside_of(e);
	s->limited = e->limited;
	s->memory_len = cache_memory(e->local) + cache_memory(e->strays);
	s->peer_count = e->peer_count;
	s->commit = e->commit;
	s->count = e->count;
	for (unsigned int i = 0, n = 0; i < ENGINE_PEERS_MAX; i++) {
		const struct peer *p = &e->peers[i];

		if (!p->used)
			continue;
		peer_stats(e, p, &s->peer[n++], now);
		s->limited |= p->limited;
		s->remote_flows += flows_of(p->mirror);
		s->remote_expects += cache_expects(p->mirror);
		s->copies += p->copies - p->expect_copies;
		s->backlog += patrol_backlog(p);
		s->stale += stale_of(p);
		s->absent += flows_of(p->mirror) - (p->copies - p->expect_copies);
		s->memory_len += cache_memory(p->mirror);
	}
	s->in_kernel = s->copies + s->local_flows;
	s->in_kernel -= min_u64(s->in_kernel, unheard(e, s));
}

const struct engine_commit *engine_commit(const struct engine *e)
{
	return &e->commit;
}

/* ---- The flows of a half ---- */

static const struct cache *each_table(const struct engine *e, enum engine_half half, unsigned int i)
{
	if (half != HALF_REMOTE)
		return i > 0 ? NULL : half == HALF_LOCAL ? e->local : e->strays;
	return i < ENGINE_PEERS_MAX ? e->peers[i].mirror : NULL;
}

/* Flows of one chain into out; stops at max. Returns how many there are, which may be more than
 * max. */
static size_t each_chain(const struct cache *c, uint32_t at, uint32_t *end, struct flow *out,
			 size_t max, usec_t now)
{
	size_t n = 0;

	for (const struct rec *r = cache_chain(c, at, end); r; r = cache_chain_next(c, r)) {
		if (r->tomb)
			continue;
		if (n < max && !flow_unpack(r->body, r->len, &out[n])) {
			out[n].timeout_s = r->expire_s > to_s(now) ? r->expire_s - to_s(now) : 0;
			out[n].has |= FLOW_HAS_TIMEOUT;
		}
		n++;
	}
	return n;
}

/* *pos: table << 32 | hash + nothing; 0 at the start. A chain is given whole, so max should be at
 * least 16. */
size_t engine_each(const struct engine *e, enum engine_half half, uint64_t *pos, struct flow *out,
		   size_t max, usec_t now)
{
	unsigned int table = (unsigned int)(*pos >> 32);
	uint32_t at = (uint32_t)*pos;
	size_t n = 0;

	while (table < (half != HALF_REMOTE ? 1U : ENGINE_PEERS_MAX)) {
		const struct cache *c = each_table(e, half, table);
		uint32_t end = UINT32_MAX;

		if (c && cache_flows(c)) {
			size_t got = each_chain(c, at, &end, out + n, max - n, now);

			if (got > max - n && n) { /* next time */
				*pos = (uint64_t)table << 32 | at;
				return n;
			}
			n += min_u64(got, max - n);
		}
		if (end == UINT32_MAX)
			table++;
		at = end + 1;
		if (n == max && (at || table)) {
			*pos = (uint64_t)table << 32 | at;
			if (table < (half != HALF_REMOTE ? 1U : ENGINE_PEERS_MAX))
				return n;
		}
	}
	*pos = 0;
	return n;
}
