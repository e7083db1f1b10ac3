/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The oracle of replication. For each epoch of each node it keeps a log of its own, read off the
 * owner's table after every input: which version said what of which flow. Every mirror is held
 * against that log after every step: covered means exactly equal (R15), versions never go back
 * (I3), what is dead stays dead (I2), what lives stays (I4), a claim of equality was true of the
 * version that it names (I9), and nothing passes its limit (I5).
 *
 * It shares no code with the engine's replication; it reads tables through peek.h.
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define DELETIONS_BOUND (65536 + 2048)

struct stream *oracle_stream(struct sim *s, uint64_t epoch)
{
	for (unsigned int i = 0; i < s->stream_count; i++)
		if (s->stream[i].epoch == epoch)
			return &s->stream[i];
	return NULL;
}

static struct stream *stream_new(struct sim *s, int n, const struct peek_owner *o)
{
	struct stream *st;

	if (s->stream_count == STREAMS_MAX) {
		sim_fail(s, "more epochs than the simulator can hold");
		return NULL;
	}
	st = &s->stream[s->stream_count++];
	*st = (struct stream){ .epoch = o->epoch, .owner = o->id, .node = n };
	for (unsigned int i = 0; i < s->p.keys; i++)
		peek_key(s->node[n].e, &s->conn[i].flow.key, &s->conn[i].key);
	return st;
}

static struct logent *log_at(struct stream *st, uint64_t version)
{
	return &st->log[version];
}

static void log_state(const struct sim *s, int n, struct logent *l, const struct peek_rec *r)
{
	struct flow f;

	if (r->tomb || flow_unpack(r->body, r->len, &f))
		return;
	l->young = !s->p.active_active && !flow_is_injectable(&f);
	if (flow_timer(&f) == FLOW_TIMER_LIVE)
		l->full_s = flow_full_timeout(&s->node[n].conf.timeouts, &f);
}

static void log_add(struct sim *s, int n, struct stream *st, unsigned int i,
		    const struct peek_rec *r)
{
	uint64_t prev = st->cur[i];
	bool was_dead = !prev || log_at(st, prev)->dead;

	st->log[r->version] = (struct logent){ .sum = peek_sum(r),
					       .prev = prev,
					       .key = (uint16_t)i,
					       .dead = r->tomb != 0,
					       .how = r->tomb };
	log_state(s, n, log_at(st, r->version), r);
	st->cur[i] = r->version;
	if (!r->tomb && was_dead)
		st->born[i] = r->version;
	s->node[n].truth.orphan_to[i] = 0;
	if (r->tomb && !was_dead)
		truth_told(s, n, i, r->tomb);
}

/* The flow is gone without a tombstone: allowed only if nobody was ever told of this life of it. */
static void log_cancel(struct stream *st, unsigned int i)
{
	while (st->cur[i] && !log_at(st, st->cur[i])->dead) {
		log_at(st, st->cur[i])->cancelled = true;
		st->cur[i] = log_at(st, st->cur[i])->prev;
	}
}

static void owner_key(struct sim *s, int n, struct stream *st, unsigned int i)
{
	struct peek_rec r;
	uint64_t cur = st->cur[i];

	if (!peek_local(s->node[n].e, &s->conn[i].key, &r)) {
		if (cur && !log_at(st, cur)->dead)
			log_cancel(st, i);
		return;
	}
	if (r.version == cur) {
		if (peek_sum(&r) != log_at(st, cur)->sum || (r.tomb != 0) != log_at(st, cur)->dead)
			sim_fail(s, "node %d: own flow %u changed, version %llu did not (R2)", n, i,
				 (unsigned long long)cur);
		return;
	}
	if (r.version < cur) {
		/* a cancelled life gives way to the tombstone of the one before */
		log_cancel(st, i);
		if (r.version != st->cur[i])
			sim_fail(s, "node %d: own flow %u went back from version %llu to %llu (R2)",
				 n, i, (unsigned long long)cur, (unsigned long long)r.version);
		return;
	}
	if (r.version > st->head)
		sim_fail(s, "node %d: own flow %u has a version above head", n, i);
	else
		log_add(s, n, st, i, &r);
}

static void grow(struct stream *st, uint64_t head)
{
	size_t want = st->log_max ? st->log_max : 256;

	while (want <= head)
		want *= 2;
	if (want == st->log_max)
		return;
	st->log = realloc(st->log, want * sizeof(*st->log));
	if (!st->log)
		abort();
	for (size_t v = st->log_max; v < want; v++)
		st->log[v] = (struct logent){ .key = KEY_NONE };
	st->log_max = want;
}

void oracle_owner(struct sim *s, int n)
{
	struct peek_owner o;
	struct stream *st;

	if (s->failed)
		return;
	peek_owner(s->node[n].e, &o);
	st = oracle_stream(s, o.epoch);
	if (!st)
		st = stream_new(s, n, &o);
	if (!st || (st->log && st->head == o.head && st->flows == o.flows && st->tombs == o.tombs &&
		    st->complete == o.complete))
		return;
	if (o.head < st->head)
		sim_fail(s, "node %d: head went back", n);
	if (o.head > 10000000) {
		sim_fail(s, "node %d: head runs away", n);
		return;
	}
	grow(st, o.head);
	st->head = o.head;
	for (unsigned int i = 0; i < s->p.keys && !s->flipped; i++)
		owner_key(s, n, st, i);
	if (o.complete && !st->complete)
		st->complete_at = o.head;
	st->complete = o.complete;
	st->flows = o.flows;
	st->tombs = o.tombs;
	if (o.tombs > s->node[n].conf.tombstones_max + 256)
		sim_fail(s, "node %d: %u tombstones, limit %u (I5)", n, o.tombs,
			 s->node[n].conf.tombstones_max);
}

void oracle_died(struct sim *s, int n)
{
	memset(s->view[n], 0, sizeof(s->view[n]));
}

/* What is held becomes old, to be told anew. */
static void view_restart(struct sim *s, struct view *v)
{
	for (unsigned int i = 0; i < s->p.keys; i++) {
		v->old[i] |= v->held[i] != 0;
		v->held[i] = 0;
	}
	v->covered = v->verified = v->print = 0;
	v->verified_at = 0;
}

void oracle_resync(struct sim *s, int n)
{
	for (unsigned int k = 0; k < ENGINE_PEERS_MAX; k++)
		view_restart(s, &s->view[n][k]);
}

bool oracle_covered(const struct peek_peer *p, uint64_t version)
{
	if (version <= p->covered)
		return true;
	for (unsigned int i = 0; i < p->range_count; i++)
		if (version > p->ranges[i].from && version <= p->ranges[i].to)
			return true;
	return false;
}

uint64_t oracle_word_at(struct stream *st, unsigned int i, uint64_t version)
{
	uint64_t v = st->cur[i];

	while (v && (v > version || log_at(st, v)->cancelled))
		v = log_at(st, v)->prev;
	return v;
}

uint64_t oracle_alive_at(struct stream *st, unsigned int i, uint64_t version)
{
	uint64_t v = oracle_word_at(st, i, version);

	return v && !log_at(st, v)->dead ? v : 0;
}

/* A claim of equality: the mirror must be the owner's table as of that version. */
static void check_claim(struct sim *s, int n, const struct peek_peer *p, struct stream *st)
{
	uint32_t flows = 0;

	s->count.claims_checked++;
	if (!st->complete || p->verified < st->complete_at) {
		sim_fail(s, "node %d claims to equal node %d, whose kernel was not read yet (R6)",
			 n, st->node);
		return;
	}
	for (unsigned int i = 0; i < s->p.keys; i++) {
		uint64_t v = oracle_alive_at(st, i, p->verified);
		struct peek_rec r;
		bool held = peek_mirror(s->node[n].e, p->index, &s->conn[i].key, &r);

		flows += held;
		if (held ? r.version == v && r.current : !v)
			continue;
		sim_fail(s,
			 "node %d claims to equal node %d at version %llu, but "
			 "of flow %u it holds %llu, not %llu (I9)",
			 n, st->node, (unsigned long long)p->verified, i,
			 held ? (unsigned long long)r.version : 0ULL, (unsigned long long)v);
		return;
	}
	if (flows != p->flows)
		sim_fail(s, "node %d: mirror of node %d holds flows that no connection has", n,
			 st->node);
}

/* Flow i left the mirror: was its owner's word on it that it ended? What the LIST of a node that
 * yields nothing does not name counts as dead (R19, R74), and so may leftovers (R42). */
static bool told_dead(const struct sim *s, const struct view *v, const struct peek_peer *p,
		      struct stream *st, unsigned int i)
{
	uint64_t at = st->cur[i];

	if (!v->held[i] || (v->listed && (p->primary || s->p.active_active)))
		return true;
	for (; at > v->held[i]; at = log_at(st, at)->prev)
		if (log_at(st, at)->dead && log_at(st, at)->how != WIRE_REC_RELEASE)
			return true;
	return false;
}

/* Was it told that the life before the present one ended? The word on that may come long after the
 * present one began. */
static bool told_end(const struct peek_peer *p, struct stream *st, unsigned int i)
{
	uint64_t end = log_at(st, st->born[i])->prev;

	return end && oracle_covered(p, end);
}

/* A flow left the mirror (or is old no longer and gone): may it? */
static void check_left(struct sim *s, int n, struct view *v, const struct peek_peer *p,
		       struct stream *st, unsigned int i)
{
	uint64_t cur = st->cur[i];

	if (v->silent && v->held[i] && log_at(st, v->held[i])->full_s)
		truth_silent(s, n, st->node, i, log_at(st, v->held[i])->full_s);
	if (!cur || log_at(st, cur)->dead || v->lenient)
		return;
	if (v->held[i] ? v->held[i] >= st->born[i]
		       : v->old[i] && st->complete && st->born[i] <= st->complete_at &&
				 !told_end(p, st, i))
		sim_fail(s,
			 "node %d: flow %u lives at node %d, was held at "
			 "version %llu and vanished; covered %llu (I4)",
			 n, i, st->node, (unsigned long long)v->held[i],
			 (unsigned long long)p->covered);
}

static void check_key(struct sim *s, int n, struct view *v, const struct peek_peer *p,
		      struct stream *st, unsigned int i)
{
	struct peek_rec r;
	uint64_t cur = st->cur[i];
	bool held = peek_mirror(s->node[n].e, p->index, &s->conn[i].key, &r),
	     dead = !cur || log_at(st, cur)->dead, proven;

	if (held && r.current) {
		if (!r.version || r.version > st->head || log_at(st, r.version)->key != i ||
		    log_at(st, r.version)->dead || log_at(st, r.version)->sum != peek_sum(&r)) {
			if (!v->lenient)
				sim_fail(s,
					 "node %d holds of flow %u what node %d "
					 "never said at version %llu",
					 n, i, st->node, (unsigned long long)r.version);
			return;
		}
		if (r.version < v->seen[i] || r.version <= v->gone[i])
			sim_fail(s,
				 "node %d: flow %u of node %d went back from "
				 "version %llu to %llu (%s)",
				 n, i, st->node,
				 (unsigned long long)(r.version < v->seen[i] ? v->seen[i]
									     : v->gone[i]),
				 (unsigned long long)r.version,
				 r.version < v->seen[i] ? "I2, I3" : "R20");
		v->seen[i] = r.version > v->seen[i] ? r.version : v->seen[i];
	}
	if ((v->held[i] || v->old[i]) && !held) {
		check_left(s, n, v, p, st, i);
		truth_left(s, n, i, told_dead(s, v, p, st, i));
	} else if (held && r.current && r.version != v->held[i]) {
		truth_word(s, n, i, log_at(st, r.version)->young);
	}
	v->held[i] = held && r.current ? r.version : 0;
	v->old[i] = held && !r.current;
	if (dead && !held && cur <= p->covered && cur > v->seen[i])
		v->seen[i] = cur;
	proven = cur <= peek_proof(s->node[n].e, p->index, &s->conn[i].key);
	if (!cur || (!proven && !oracle_covered(p, cur)) || v->lenient)
		return;
	if (dead ? held && (proven || ((r.current || p->covered >= st->head) && cur > p->debt))
		 : !held || r.version != cur || !r.current)
		sim_fail(s,
			 "node %d: flow %u of node %d is covered or proven at version "
			 "%llu (%s), but %s at %llu; prefix %llu (R15)",
			 n, i, st->node, (unsigned long long)cur, dead ? "dead" : "alive",
			 held ? "held" : "not held", held ? (unsigned long long)r.version : 0ULL,
			 (unsigned long long)p->covered);
}

static void check_bounds(struct sim *s, int n, const struct peek_peer *p)
{
	if (p->deletions > DELETIONS_BOUND)
		sim_fail(s, "node %d remembers %u deletions (I5)", n, p->deletions);
	for (unsigned int i = 0; i < p->range_count; i++) {
		uint64_t low = i ? p->ranges[i - 1].to : p->covered;

		if (p->ranges[i].from <= low || p->ranges[i].to <= p->ranges[i].from)
			sim_fail(s, "node %d: ranges out of order", n);
	}
}

/* Nothing takes a node back to an earlier run of a peer (R30). Streams are in the order in which
 * they began. */
static void check_newer(struct sim *s, int n, const struct view *v, const struct stream *st)
{
	const struct stream *was = v->epoch ? oracle_stream(s, v->epoch) : NULL;

	if (was && was->owner == st->owner && st < was)
		sim_fail(s, "node %d believes in an earlier epoch of node %d again (R30)", n,
			 st->node);
}

static void check_peer(struct sim *s, int n, unsigned int k, const struct peek_peer *p)
{
	struct view *v = &s->view[n][k];
	struct stream *st = oracle_stream(s, p->epoch);
	uint64_t print = peek_mirror_print(s->node[n].e, k);
	bool same;

	if (!st || st->owner != p->id) {
		sim_fail(s, "node %d believes in an epoch that never was (I8)", n);
		return;
	}
	check_bounds(s, n, p);
	if (p->covered > st->head || p->maxhead > st->head)
		sim_fail(s, "node %d covers versions of node %d that never were", n, st->node);
	if (p->in_sync && p->debt)
		sim_fail(s, "node %d says in sync, and owes version %llu of node %d (R22)", n,
			 (unsigned long long)p->debt, st->node);
	if (v->epoch != p->epoch) {
		check_newer(s, n, v, st);
		view_restart(s, v);
		memset(v->seen, 0, sizeof(v->seen));
		memset(v->gone, 0, sizeof(v->gone));
		v->epoch = p->epoch;
	}
	if (p->covered < v->covered)
		sim_fail(s, "node %d: the prefix of node %d went back", n, st->node);
	same = print == v->print; /* then so is what follows: no news since the last look */
	v->covered = p->covered;
	v->print = print;
	if (s->flipped)
		return;
	for (unsigned int i = 0; i < s->p.keys && !same && !s->failed; i++)
		check_key(s, n, v, p, st, i);
	if (p->verified_at != v->verified_at && p->verified_at) {
		if (!same || p->verified != v->verified)
			check_claim(s, n, p, st);
		v->verified = p->verified;
		if (p->covered >= st->head)
			v->lenient = false;
	}
	v->verified_at = p->verified_at;
}

/* An alarm of divergence means that memory or code is broken; here neither is (R21, R27), unless
 * bits flip. */
static void check_alarm(struct sim *s, int n)
{
	if (s->flipped)
		return;
	for (unsigned int k = 0; k < ENGINE_PEERS_MAX; k++)
		if (s->view[n][k].lenient)
			return;
	sim_fail(s, "node %d: alarm of divergence, and all was well (R27)", n);
}

void oracle_mirrors(struct sim *s, int n)
{
	struct peek_peer p;
	uint64_t print;
	struct engine_stats st;
	bool silent, listed;

	if (s->failed || !s->node[n].e)
		return;
	print = peek_fingerprint(s->node[n].e);
	if (print == s->node[n].print)
		return;
	s->node[n].print = print;
	world_snapshot(s, n, &st);
	silent = st.count.expired_silent != s->node[n].last.expired_silent;
	listed = st.count.list_removed != s->node[n].last.list_removed;
	if (silent || st.count.flows_limit != s->node[n].last.flows_limit)
		for (unsigned int k = 0; k < ENGINE_PEERS_MAX; k++)
			s->view[n][k].lenient = true;
	if (st.count.divergences != s->node[n].last.divergences)
		check_alarm(s, n);
	s->node[n].last = st.count;
	for (unsigned int k = 0; k < ENGINE_PEERS_MAX && !s->failed; k++) {
		s->view[n][k].silent = silent;
		s->view[n][k].listed = listed;
		if (peek_peer(s->node[n].e, k, &p))
			check_peer(s, n, k, &p);
	}
}
