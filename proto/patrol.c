/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kernel operations: which is the next, and when. Urgent work stands on the work lists of the
 * mirrors and the strays (injects, updates, deletions as they arrive). Everything else is found by
 * the patrol, one endless walk over all tables. It goes at ease, a round in PATROL_ROUND_S, or at
 * full speed for a round when a verb or a dump asks for it. While urgent work waits it gets one
 * operation in WALK_SHARE, or in WALK_SHARE_LATE while its round at ease is behind (R100). What a
 * record needs is told by visit.c.
 */
#include "engine_priv.h"

#include <string.h>

#define STEP_MS 20      /* the patrol wakes so often, with many flows */
#define STEP_FEW_MS 200 /* and with few */
#define FEW_FLOWS 20000
#define WALK_SHARE 8      /* while other work waits the walk may make one operation of so many, */
#define WALK_SHARE_LATE 2 /* or of so few */
#define LATE_MS 500       /* while its round at ease is so far behind */

struct cache *patrol_table(struct engine *e, unsigned int table)
{
	if (table == TABLE_STRAYS)
		return e->strays;
	if (table == TABLE_LOCAL)
		return e->local;
	return e->peers[table].used ? e->peers[table].mirror : NULL;
}

/* NULL: it is empty. */
static struct cache *walked_table(struct engine *e, unsigned int table)
{
	struct cache *c = patrol_table(e, table);

	return c && cache_flows(c) ? c : NULL;
}

void patrol_urgent(struct engine *e)
{
	struct patrol *w = &e->patrol;

	if (round_has(e, w->urgent_to)) {
		w->urgent_to = w->round + 2;
		return;
	}
	w->ease_table = w->table;
	w->ease_pos = w->pos;
	w->table = 0;
	w->pos = 0;
	w->skip = 0;
	w->urgent_to = w->round + 1;
}

/* At once: the round under way may end too late for it. */
void patrol_hold_set(struct engine *e, uint32_t hold_s)
{
	if (hold_s >= PATROL_HOLD_SHORT_S)
		return;
	e->patrol.short_holds = true;
	e->patrol.round_s = PATROL_ROUND_SHORT_S;
}

uint64_t patrol_backlog(const struct peer *p)
{
	return cache_list_count(p->mirror, CACHE_LIST_WORK);
}

/* p: whose mirror r is in; NULL: a stray. */
static bool work_one(struct engine *e, struct peer *p, struct rec *r, struct engine_op *op)
{
	bool made;

	mark_begin(e->mark, WORK_PATROL, r->body, r->keylen);
	cache_list_del(p ? p->mirror : e->strays, r);
	made = p ? visit_mirror(e, p, r, op) : visit_stray(e, r, op);
	mark_end(e);
	return made;
}

static bool work_op(struct engine *e, struct engine_op *op)
{
	struct rec *r;

	while ((r = cache_list_first(e->strays,
				     CACHE_LIST_WORK))) /* deletions make room for what comes */
		if (work_one(e, NULL, r, op))
			return true;
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct peer *p = &e->peers[i];

		while (p->used && (r = cache_list_first(p->mirror, CACHE_LIST_WORK)))
			if (work_one(e, p, r, op))
				return true;
	}
	return false;
}

/* ---- The walk ---- */

bool patrol_token(struct engine *e)
{
	if (!e->patrol.tokens) {
		e->patrol.stalled = true;
		return false;
	}
	e->patrol.tokens--;
	return true;
}

void patrol_note(struct engine *e, const struct rec *r)
{
	unsigned int family = r->body[0] & FLOW_KSHAPE_V6;

	if (!r->tomb && r->len > r->keylen && r->body[r->keylen] & FLOW_SHAPE_REPLY)
		e->translated[family] = e->patrol.translated[family] = true;
}

static bool visit(struct engine *e, unsigned int table, struct rec *r, struct engine_op *op,
		  usec_t now)
{
	bool made;

	if (table != TABLE_LOCAL)
		patrol_note(e, r);
	mark_begin(e->mark, WORK_PATROL, r->body, r->keylen);
	made = visit_patrol(e, table, r, op, now);
	mark_end(e);
	return made;
}

static bool sweep_over(const struct engine *e)
{
	return e->dump.sweeping && !round_has(e, e->patrol.sweep_to);
}

static void sweep_end(struct engine *e)
{
	e->dump.sweeping = false;
	e->count.dump_gone += e->dump.gone;
	note_put(e, NOTE_DUMP_END, NULL, e->dump.entries, e->dump.gone);
}

/* Copies whose update was refused in this round. */
static void updates_retry(struct engine *e)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct peer *p = &e->peers[i];
		struct rec *r;

		while (p->used && (r = cache_list_first(p->mirror, CACHE_LIST_AGE)))
			cache_list_add(p->mirror, r, CACHE_LIST_WORK);
	}
}

static void round_end(struct engine *e)
{
	struct patrol *w = &e->patrol;
	bool urgent = round_has(e, w->urgent_to);

	w->table = 0;
	w->round++;
	memcpy(e->translated, w->translated, sizeof(e->translated));
	w->round_s = w->short_holds ? PATROL_ROUND_SHORT_S : PATROL_ROUND_S;
	updates_retry(e);
	if (urgent && !round_has(e, w->urgent_to)) {
		w->table = w->ease_table;
		w->pos = w->ease_pos;
		return; /* what it saw counts for the round that goes on, too */
	}
	memset(w->translated, 0, sizeof(w->translated));
	w->short_holds = false;
}

/* Looks at the chain at pos. Returns true with an operation; else the chain is done, or the walk
 * stalls for a token. */
static bool walk_chain(struct engine *e, struct cache *c, struct engine_op *op, uint32_t *end,
		       usec_t now)
{
	struct patrol *w = &e->patrol;
	struct rec *r;

	for (;;) {
		uint32_t flows = cache_flows(c), hash;
		unsigned int equal = 0;
		bool made;

		r = cache_chain(c, w->pos, end); /* in the order of hashes */
		while (r && (r->hash < w->pos || (r->hash == w->pos && equal++ < w->skip)))
			r = cache_chain_next(c, r);
		if (!r)
			return false;
		hash = r->hash;
		made = visit(e, w->table, r, op, now);
		if (!made && w->stalled && !round_has(e, w->urgent_to))
			return false;
		if (hash != w->pos)
			w->skip = 0;
		w->pos = hash;
		if (made || cache_flows(c) >= flows)
			w->skip++;
		if (made)
			return true;
	}
}

/* Hash space, over all tables with flows, that the walk may cover: it grows with time, a round in
 * round_s, and what an operation kept it from covering stays, so that a round takes as long with
 * many operations as with none; up to twice LATE_MS. */
static void walk_allow(struct engine *e, usec_t now)
{
	struct patrol *w = &e->patrol;
	uint64_t space = 0, per_us, late;

	for (unsigned int i = 0; i < TABLE_COUNT; i++)
		space += walked_table(e, i) ? 1ULL << 32 : 0;
	per_us = space / (w->round_s * USEC_PER_SEC);
	late = LATE_MS * USEC_PER_MS * per_us;
	w->allowance += min_u64(now - w->walked_at, USEC_PER_SEC) * per_us;
	w->allowance = min_u64(w->allowance, 2 * late);
	w->late = late && w->allowance >= late;
	w->walked_at = now;
}

static bool walk_may(const struct engine *e)
{
	return e->patrol.allowance || round_has(e, e->patrol.urgent_to);
}

static bool walk_op(struct engine *e, struct engine_op *op, usec_t now)
{
	struct patrol *w = &e->patrol;

	walk_allow(e, now);
	for (unsigned int step = 0; step < PATROL_STEP_MAX && walk_may(e);) {
		struct cache *c = walked_table(e, w->table);
		uint32_t end = UINT32_MAX;

		if (c) {
			w->stalled = false;
			if (walk_chain(e, c, op, &end, now))
				return true;
			cache_prefetch_walk(c, end);
			if (w->stalled && !round_has(e, w->urgent_to))
				return false;
			step++;
		}
		if (c)
			w->allowance -= min_u64(w->allowance, (uint64_t)end - w->pos + 1);
		w->skip = 0;
		w->pos = end + 1;
		if (end != UINT32_MAX)
			continue;
		if (++w->table < TABLE_COUNT)
			continue;
		round_end(e);
		if (!round_has(e, w->urgent_to))
			return false;
	}
	return false;
}

static bool commit_over(const struct engine *e)
{
	if (!e->commit.running || e->ops_out || commit_walks(e) ||
	    cache_list_count(e->strays, CACHE_LIST_WORK))
		return false;
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used && cache_list_count(e->peers[i].mirror, CACHE_LIST_WORK))
			return false;
	return true;
}

/* Only when no operation is left or unanswered, so that what the last answers brought up is done as
 * well: they make the flows ours. */
static void commit_end(struct engine *e, usec_t now)
{
	e->commit.running = false;
	e->commit.ended_at = now;
	note_put(e, NOTE_COMMIT_DONE, NULL, e->commit.serial, 0);
}

static void dump_begin(struct engine *e, bool audit, usec_t now)
{
	e->dump.audit = audit;
	e->dump.running = true;
	e->dump.spoilt = false;
	e->dump.started_at = now;
	e->dump.since = e->dump.read_at = now;
	e->dump.start_version = e->head;
	e->dump.entries = 0;
	e->dump.gen++;
}

/* A dump marks records that the walk would question. */
static bool may_walk(const struct engine *e)
{
	return !e->dump.running || round_has(e, e->patrol.urgent_to);
}

bool patrol_op(struct engine *e, struct engine_op *op, usec_t now)
{
	bool walks;

	if (e->patrol.hurry) {
		e->patrol.hurry = false;
		patrol_urgent(e);
	}
	if (e->dump.wanted && !e->dump.running && !e->dump.sweeping && !audit_is_busy(e) &&
	    now >= e->dump.at && !e->dump.drain) {
		e->dump.wanted = false;
		e->dump.lossy = e->dump.overran;
		e->dump.overran = false;
		if (e->scrub.reread)
			e->scrub.reread = REREAD_RUNNING;
		dump_begin(e, false, now);
		*op = (struct engine_op){ .type = OP_DUMP };
		return true;
	}
	walks = ++e->patrol.ops % (e->patrol.late ? WALK_SHARE_LATE : WALK_SHARE) == 0;
	if (walks && may_walk(e) && walk_op(e, op, now))
		return true;
	if (work_op(e, op) || reread_op(e, op, now))
		return true;
	if (audit_op(e, op, now)) {
		if (op->type == OP_DUMP)
			dump_begin(e, true, now);
		return true;
	}
	if (!walks && may_walk(e) && walk_op(e, op, now))
		return true;
	if (commit_over(e))
		commit_end(e, now);
	return false;
}

/* ---- Verbs and time ---- */

/* Claims that wait are settled now: what is stale is replaced in the course of the commit. Those of
 * rivals of a primary: waits.c. */
static void claims_hasten(struct engine *e, struct peer *p)
{
	bool rivals = e->role == ROLE_PRIMARY && !e->conf.active_active;
	struct rec *r;

	while (!rivals && (r = cache_list_first(p->mirror, CACHE_LIST_LATER))) {
		r->flags |= F_STALE;
		cache_list_add(p->mirror, r, CACHE_LIST_WORK);
	}
	e->commit.total += cache_flows(p->mirror);
	e->commit.existed += p->copies;
}

void patrol_commit(struct engine *e, bool promote, usec_t now)
{
	bool walk = !e->conf.hot || e->refused || cache_flows(e->strays);
	uint64_t serial = e->commit.serial;

	e->commit = (struct engine_commit){
		.serial = serial + 1, .running = true, .promote = promote, .started_at = now
	};
	if (e->role == ROLE_PRIMARY)
		e->settle_s = to_s(now);
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used)
			claims_hasten(e, &e->peers[i]);
	patrol_urgent(e);
	e->patrol.commit_to = walk ? e->patrol.urgent_to : e->patrol.round;
	if (promote)
		e->patrol.adopt_to = e->patrol.urgent_to;
}

static void tokens_refill(struct engine *e, usec_t now)
{
	struct patrol *w = &e->patrol;
	uint64_t add = (now - w->tokens_at) * e->conf.walk_rate / USEC_PER_SEC;

	if (!add)
		return;
	w->tokens_at = now;
	w->tokens = min_u64(w->tokens + add, e->conf.walk_rate / 10 + 1);
}

void patrol_tick(struct engine *e, usec_t now)
{
	tokens_refill(e, now);
	if (sweep_over(e)) /* here, where all operations are answered */
		sweep_end(e);
	waits_tick(e, now);
	if (e->refused_noted && now >= e->refused_at + USEC_PER_SEC) {
		note_put(e, NOTE_REFUSED, NULL, (uint64_t)e->refused_errno, e->refused_noted);
		e->refused_noted = 0;
		e->refused_at = now;
	}
}

static usec_t patrol_pace(const struct engine *e, uint64_t flows)
{
	usec_t step_ms = flows > FEW_FLOWS ? STEP_MS : flows ? STEP_FEW_MS : 1000;

	return e->ticked_at + step_ms * USEC_PER_MS;
}

usec_t patrol_deadline(const struct engine *e, usec_t now)
{
	uint64_t flows = cache_flows(e->local) + cache_flows(e->strays);

	if (e->commit.running || e->patrol.hurry || round_has(e, e->patrol.urgent_to) ||
	    sweep_over(e) || cache_list_count(e->strays, CACHE_LIST_WORK))
		return now;
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		if (!e->peers[i].used)
			continue;
		if (cache_list_count(e->peers[i].mirror, CACHE_LIST_WORK))
			return now;
		flows += cache_flows(e->peers[i].mirror);
	}
	if (e->dump.wanted && !e->dump.running && !audit_is_busy(e))
		return max_u64(e->dump.at, now);
	return min_u64(min_u64(reread_deadline(e), audit_deadline(e)), patrol_pace(e, flows));
}
