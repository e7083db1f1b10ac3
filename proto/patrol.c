/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kernel operations: what the kernel should do next, and what its answers mean. Urgent work stands
 * on the work lists of the mirrors and the strays (injects, updates, deletions as they arrive).
 * Everything else is found by the patrol, one endless walk over all tables that looks at each
 * record and decides what it needs: a timer refreshed (R35) or lifted (R37), a refused write tried
 * again, an entry that a dump did not show checked, a flow adopted after a promote, a silent
 * owner's flow dropped (R45). The patrol goes at ease, a round in ROUND_S, or at full speed for a
 * round when a verb or a dump asks for it. While urgent work waits it gets one operation in
 * WALK_SHARE, or in WALK_SHARE_LATE while its round at ease is behind (R100).
 */
#include "engine_priv.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define ROUND_S 60       /* a round at ease */
#define ROUND_SHORT_S 10 /* while copies with timers under HOLD_SHORT_S are about */
#define HOLD_SHORT_S 120
#define STEP_MS 20      /* the patrol wakes so often, with many flows */
#define STEP_FEW_MS 200 /* and with few */
#define FEW_FLOWS 20000
#define WALK_SHARE 8      /* while other work waits the walk may make one operation of so many, */
#define WALK_SHARE_LATE 2 /* or of so few */
#define LATE_MS 500       /* while its round at ease is so far behind */

static bool round_has(const struct engine *e, uint64_t to)
{
	return e->patrol.round < to;
}

static bool commit_walks(const struct engine *e)
{
	return e->commit.running && round_has(e, e->patrol.commit_to);
}

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

void patrol_urgent(struct engine *e, usec_t now)
{
	struct patrol *w = &e->patrol;

	(void)now;
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
	if (hold_s >= HOLD_SHORT_S)
		return;
	e->patrol.short_holds = true;
	e->patrol.round_s = ROUND_SHORT_S;
}

uint64_t patrol_backlog(const struct engine *e, const struct peer *p)
{
	(void)e;
	return cache_list_count(p->mirror, CACHE_LIST_WORK);
}

/* ---- Making operations ---- */

bool patrol_make(struct engine_op *op, enum engine_op_type type, struct rec *r, unsigned int table,
		 enum op_tag tag, uint32_t timeout_s, uint32_t limit_s)
{
	*op = (struct engine_op){
		.type = type, .limit_s = limit_s, .peer = (uint8_t)table, .tag = (uint8_t)tag
	};
	if (flow_unpack(r->body, r->len, &op->flow))
		return false; /* was checked before it was stored */
	op->flow.timeout_s = timeout_s;
	op->flow.has |= FLOW_HAS_TIMEOUT;
	r->flags |= F_FLIGHT;
	return true;
}

/* On an entry that we wrote: its timer ends when we said, unless packets pass (R35). Not if we
 * stood still between writing and looking at the clock. */
static bool op_exact(const struct engine *e, struct engine_op *op, enum engine_op_type type,
		     struct rec *r, unsigned int table, uint32_t timeout_s)
{
	bool made = patrol_make(op, type, r, table, TAG_PLAIN, timeout_s, r->written_s);

	op->exact = made && to_s(e->now) >= e->inexact_to_s;
	return made;
}

static bool injectable(const struct engine *e, const struct rec *r)
{
	struct flow f;

	return !flow_unpack(r->body, r->len, &f) && active_injectable(e, &f);
}

static bool stray_op(struct engine *e, struct rec *r, struct engine_op *op)
{
	if (r->flags & F_CHECK)
		return patrol_make(op, OP_GET, r, TABLE_STRAYS, TAG_PARTIAL, 0, 0);
	if (r->flags & F_DOOM)
		return op_exact(e, op, OP_DELETE, r, TABLE_STRAYS, 0);
	if (!(r->flags & F_KERN) && injectable(e, r))
		return master_inject(e, r, TABLE_STRAYS, op);
	return false;
}

/* A fixed timer cannot be written, and of an expectation nothing but its timer can: R86. */
static bool update_op(struct engine *e, struct peer *p, struct rec *r, struct engine_op *op)
{
	struct rec_timer t = rec_timer(e, r);

	if (flow_is_expect(r->body))
		return r->expire_s > r->written_s + 1 &&
		       op_exact(e, op, OP_REFRESH, r, p->index, t.write_s);
	if (!patrol_make(op, OP_UPDATE, r, p->index, TAG_PLAIN, t.hold_s, UINT32_MAX))
		return false;
	if (t.kind == FLOW_TIMER_LIVE)
		return true;
	op->flow.has &= ~(uint32_t)FLOW_HAS_TIMEOUT;
	op->flow.timeout_s = 0;
	return true;
}

/* Does an entry stand here whose origin nobody knows, or that waits for a promote? */
static bool stray_stands(struct engine *e, const struct rec *r)
{
	const struct rec *s = stray_find(e, r->body, r->keylen, r->hash);

	return s && (s->flags & F_KERN) && (s->flags & (F_UNKNOWN | F_FORCED));
}

static bool mirror_op(struct engine *e, struct peer *p, struct rec *r, struct engine_op *op)
{
	struct rec *own = own_find(e, r->body, r->keylen, r->hash);
	struct peer *other;

	if (r->flags & F_CHECK)
		return patrol_make(op, OP_GET, r, p->index, TAG_CHECK, 0, 0);
	if (r->flags & F_SPENT)
		return (r->flags & F_KERN) && op_exact(e, op, OP_DELETE, r, p->index, 0);
	if (r->flags & F_STALE) {
		const struct rec *ours = claim_entry(e, p, r);

		if (ours)
			return claim_replace(e, p, r, ours, op);
		r->flags &= (uint16_t)~F_STALE;
	}
	if (own && e->conf.active_active && !flow_is_expect(r->body))
		return active_op(e, p, r, own, op);
	if (own || stray_stands(e, r) || copy_is_not_ours(r))
		return false;
	if ((r->flags & F_KERN) && !injectable(e, r)) /* a new life, too young to be carried on */
		return op_exact(e, op, OP_DELETE, r, p->index, 0);
	if (r->flags & F_REBORN)
		return op_exact(e, op, OP_REPLACE, r, p->index, rec_timer(e, r).hold_s);
	if (r->flags & F_KERN)
		return update_op(e, p, r, op);
	if (mirror_find(e, r->body, r->keylen, r->hash, false, &other))
		return false; /* another mirror's copy */
	if ((!own_injects(e) && !e->commit.running && !(r->flags & F_REFUSED)) || !injectable(e, r))
		return false;
	return master_inject(e, r, p->index, op);
}

/* p: whose mirror r is in; NULL: a stray. */
static bool work_one(struct engine *e, struct peer *p, struct rec *r, struct engine_op *op)
{
	bool made;

	mark_begin(e->mark, WORK_PATROL, r->body, r->keylen);
	cache_list_del(p ? p->mirror : e->strays, r);
	made = p ? mirror_op(e, p, r, op) : stray_op(e, r, op);
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

static bool sweep_missed(const struct engine *e, uint32_t gen)
{
	return round_has(e, e->patrol.sweep_to) && e->dump.sweeping && (uint8_t)gen != e->dump.gen;
}

static bool visit_stray(struct engine *e, struct rec *r, struct engine_op *op, usec_t now)
{
	bool kern = r->flags & F_KERN, follows;

	if (kern && sweep_missed(e, r->gen) && !(r->flags & F_CHECK))
		return patrol_make(op, OP_GET, r, TABLE_STRAYS, TAG_SWEEP, 0, 0);
	follows = expect_follows(e, r);
	if (follows && copy_is_not_ours(r)) { /* it waited; its entry may be another by now */
		r->flags |= F_CHECK;
		return patrol_make(op, OP_GET, r, TABLE_STRAYS, TAG_PARTIAL, 0, 0);
	}
	if (((r->flags & F_UNKNOWN) && e->unclaimed_own) || follows) {
		patrol_adopt(e, r, now);
		return false;
	}
	if (!round_has(e, e->patrol.adopt_to))
		return false;
	if (kern) {
		e->count.revived += (r->flags & F_FORCED) != 0;
		patrol_adopt(e, r, now);
	} else {
		cache_list_add(e->strays, r, CACHE_LIST_WORK);
	}
	return false;
}

static bool silent_over(const struct engine *e, const struct peer *p, const struct rec *r,
			usec_t now)
{
	struct rec_timer t;

	if (peer_hears(e, p) || now < p->heard_at + 10 * USEC_PER_SEC)
		return false;
	t = rec_timer(e, r);
	if (t.kind == FLOW_TIMER_GIVEN)
		return to_s(now) > r->expire_s;
	return now > p->heard_at + t.full_s * USEC_PER_SEC;
}

static bool visit_copy(struct engine *e, struct peer *p, struct rec *r, struct engine_op *op,
		       usec_t now)
{
	struct rec_timer t;
	uint32_t hold, left;

	if (sweep_missed(e, r->aux))
		return patrol_make(op, OP_GET, r, p->index, TAG_SWEEP, 0, 0);
	if (round_has(e, e->patrol.adopt_to) && active_takes_over(e, p) && !copy_is_not_ours(r)) {
		patrol_adopt(e, r, now);
		return false;
	}
	if (!own_injects(e) || r->list != CACHE_LIST_NONE)
		return false;
	t = rec_timer(e, r);
	if (t.kind != FLOW_TIMER_LIVE) /* cannot be refreshed; made again when it ran out */
		return flow_is_expect(r->body) && update_op(e, p, r, op);
	hold = t.hold_s;
	left = r->written_s > to_s(now) ? r->written_s - to_s(now) : 0;
	patrol_hold_set(e, hold);
	if (left > hold / 2 && left > (hold < HOLD_SHORT_S ? ROUND_SHORT_S : ROUND_S) + 2)
		return false;
	if (left + 1 >= hold || !patrol_token(e))
		return false;
	return op_exact(e, op, OP_REFRESH, r, p->index, hold);
}

void refusal_forget(struct engine *e, struct rec *r)
{
	if (r->flags & F_REFUSED)
		e->refused--;
	r->flags &= (uint16_t)~F_REFUSED;
}

static bool visit_mirror(struct engine *e, struct peer *p, struct rec *r, struct engine_op *op,
			 usec_t now)
{
	if (silent_over(e, p, r, now)) {
		e->count.expired_silent++;
		peer_drop_flow(e, p, r);
		return false;
	}
	if (r->flags & F_KERN)
		return visit_copy(e, p, r, op, now);
	if (r->list != CACHE_LIST_NONE)
		return false;
	if (own_find(e, r->body, r->keylen, r->hash) || unknown_find(e, r)) {
		refusal_forget(e, r);
		if ((p->primary && !e->conf.active_active) || unknown_find(e, r))
			own_stale_later(e, p, r, peer_hears(e, p) ? now : p->heard_at);
		return false;
	}
	if (!own_injects(e) && round_has(e, e->patrol.forget_to))
		refusal_forget(e, r);
	if (!commit_walks(e) && (!(r->flags & F_REFUSED) || !patrol_token(e)))
		return false;
	return mirror_op(e, p, r, op);
}

static bool lift_op(struct engine *e, struct rec *r, struct engine_op *op)
{
	struct rec_timer t = rec_timer(e, r);

	if (t.kind != FLOW_TIMER_LIVE) {
		r->flags &= (uint16_t)~F_LIFT;
		return false;
	}
	if (!patrol_token(e)) { /* the next round has to be in time for it */
		patrol_hold_set(e, r->written_s > to_s(e->now) ? r->written_s - to_s(e->now) : 0);
		return false;
	}
	if (!op_exact(e, op, OP_REFRESH, r, TABLE_LOCAL, t.full_s))
		return false;
	op->tag = TAG_LIFT;
	return true;
}

static bool visit_own(struct engine *e, struct rec *r, struct engine_op *op)
{
	struct peer *q;

	if (r->flags & F_CHECK)
		return scrub_op(r, op);
	if (expect_visit(e, r))
		return false;
	if (r->flags & F_HEIR)
		return claim_heir_op(e, r, op);
	if (sweep_missed(e, r->gen))
		return patrol_make(op, OP_GET, r, TABLE_LOCAL,
				   e->dump.lossy ? TAG_SWEEP_LOSSY : TAG_SWEEP, 0, 0);
	/* The kernel's word on what expired may come a minute late. A claim must not wait for it
	 * now. */
	if (round_has(e, e->patrol.adopt_to) && r->expire_s <= to_s(e->now) &&
	    also_claimed(e, NULL, r, &q))
		return patrol_make(op, OP_GET, r, TABLE_LOCAL, TAG_SWEEP, 0, 0);
	return r->flags & F_LIFT ? lift_op(e, r, op) : master_read_helped(e, r, op);
}

static bool visit_one(struct engine *e, unsigned int table, struct rec *r, struct engine_op *op,
		      usec_t now)
{
	outcome_visit(e, table, r);
	audit_visit(e, table, r);
	if (scope_visit(e, table, r) || r->tomb || (r->flags & F_FLIGHT) ||
	    r->list == CACHE_LIST_WORK) /* what waits for it tells as much */
		return false;
	if (table == TABLE_STRAYS)
		return visit_stray(e, r, op, now);
	if (table == TABLE_LOCAL)
		return visit_own(e, r, op);
	return visit_mirror(e, &e->peers[table], r, op, now);
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
	if (table != TABLE_LOCAL)
		patrol_note(e, r);
	bool made;

	mark_begin(e->mark, WORK_PATROL, r->body, r->keylen);
	made = visit_one(e, table, r, op, now);
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
	w->round_s = w->short_holds ? ROUND_SHORT_S : ROUND_S;
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
		patrol_urgent(e, now);
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
	patrol_urgent(e, now);
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
