/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dumps of the kernel's table, merged into what events have told (own.c): a message may be older
 * than an event that was read before it, and what a dump does not show is read once more, one by
 * one (visit.c), before it counts as gone. PROTOCOL.md, "Dumps and events".
 */
#include "engine_priv.h"

#include <string.h>

/* Is the entry as we have it? */
static bool dump_same(const struct rec *r, const struct flow *f)
{
	uint8_t body[FLOW_PACKED_MAX];
	size_t len = flow_pack(f, body);

	return len == r->len && !memcmp(body, r->body, len);
}

/* Adopted as a peer's word has it, or as an earlier dump did: no event has told us of the entry,
 * and one that would have may be among those that were lost, or withheld by the policy before. */
static bool is_hearsay(const struct rec *r)
{
	return (r->flags & (F_ADOPTED | F_TOUCHED)) == F_ADOPTED || (r->flags & F_MUTE);
}

/* Is the timer beyond what we wrote, even if the message is as old as it can be: did we stand still
 * before it was read? */
static bool is_beyond(const struct engine *e, const struct rec *r, uint32_t timeout_s)
{
	return to_s(e->dump.since) + timeout_s > r->written_s + 1;
}

/* TCP with data under way has a short timer, so a busy flow is as likely found with less than we
 * wrote as with more. That proves a packet only if the message is not older than our write. */
static bool is_shorter(const struct engine *e, const struct rec *r, uint32_t end_s, usec_t now)
{
	struct rec_timer t;
	uint32_t wrote_s;

	if (end_s + ENGINE_EXACT_S >= r->written_s || to_s(now) < e->inexact_to_s)
		return false;
	t = rec_timer(e, r);
	wrote_s = r->written_s - (r->flags & F_LIFT ? t.hold_s : t.full_s);
	return t.kind == FLOW_TIMER_LIVE && wrote_s + 1 < to_s(e->dump.started_at);
}

static void dump_own(struct engine *e, struct rec *r, const struct flow *f, usec_t now)
{
	uint32_t end_s = to_s(now) + f->timeout_s;
	bool newer = r->version > e->dump.start_version || r->gen == e->dump.gen;
	bool doubt = newer && (e->dump.lossy || is_hearsay(r)) && !dump_same(r, f);

	newer |= r->flags & F_HEIR; /* of the entry that is about to be replaced it tells nothing */
	r->gen = doubt ? dump_gen_other(e) : e->dump.gen; /* what is doubtful the sweep reads */
	if (newer)
		return;
	if ((r->flags & F_ADOPTED) &&
	    (is_beyond(e, r, f->timeout_s) || is_shorter(e, r, end_s, now))) {
		r->flags |= F_TOUCHED;
		r->flags &= (uint16_t)~F_LIFT;
	}
	own_update(e, r, f, (f->has & FLOW_HAS_ID) && r->aux && f->id != r->aux, now);
}

/* Where an event may be missing for good, TCP's first state is no reason to wait (R65, R76). */
static bool dump_wants(struct engine *e, const struct flow *f)
{
	bool early = !e->complete || e->scrub.reread == REREAD_RUNNING;

	return early ? scope_includes(e, f) : scope_wants(e, f);
}

/* An entry that no event and no peer told us of. */
static void dump_unknown(struct engine *e, const struct flow *f, const struct key *k, usec_t now)
{
	uint8_t body[FLOW_PACKED_MAX];
	struct rec *r;
	size_t len;

	if (!dump_wants(e, f)) {
		own_let_go_flow(e, f, k);
		return;
	}
	if (e->complete || e->conf.origin == ORIGIN_BOOT ||
	    (e->role == ROLE_PRIMARY && !e->conf.active_active)) {
		r = own_adopt_included(e, f, k, 0, false, now);
		if (!r)
			return;
		if (!e->complete && e->conf.origin != ORIGIN_BOOT)
			own_lift_held(e, r, now);
		own_maybe_mute(e, r);
		return;
	}
	r = stray_find(e, k->p, k->len, k->hash);
	if (r)
		stray_del(e, r);
	len = flow_pack(f, body);
	r = stray_room(e, body, len, k);
	if (!r) {
		limit_reached(e, &e->limited, NULL);
		return;
	}
	cache_list_del(e->strays, r);
	r->flags = F_KERN | F_UNKNOWN;
	r->written_s = to_s(now) + f->timeout_s;
	r->expire_s = r->written_s;
	r->gen = e->dump.gen;
	e->unclaimed++;
}

/* Does the timer that a dump shows tell of packets (R35)? A lower one may be older than our last
 * write, unless that was made, or the entry seen, before the dump began. */
static bool dump_touched(const struct engine *e, const struct rec *r, uint32_t timeout_s,
			 bool older, usec_t now)
{
	if (is_beyond(e, r, timeout_s))
		return true;
	return older && to_s(now) >= e->inexact_to_s &&
	       to_s(now) + timeout_s + ENGINE_EXACT_S < r->written_s &&
	       rec_timer(e, r).kind == FLOW_TIMER_LIVE;
}

static void dump_stray(struct engine *e, struct rec *r, const struct flow *f, const struct key *k,
		       usec_t now)
{
	bool unknown = r->flags & F_UNKNOWN;
	bool lost = unknown && e->scrub.reread == REREAD_RUNNING; /* our own record of it? (R76) */
	bool older = r->gen != e->dump.gen; /* else its message may be older than what we wrote, or
					     * read */
	bool touched = older && dump_touched(e, r, f->timeout_s, !unknown, now);

	r->gen = e->dump.gen;
	if (!older && r->flags & F_WENT)
		return;
	r->flags &= (uint16_t)~F_WENT;
	if (r->flags & F_CHECK) /* an event came after this message was made; the entry is read */
		return;
	if (!(r->flags & F_KERN)) {
		if (dump_wants(e, f)) /* else the orphan waits beside what is excluded */
			dump_unknown(e, f, k, now);
		return;
	}
	/* Of unknown origin: with another state its timer may have become shorter. */
	if (!touched && !lost && (!unknown || !older || dump_same(r, f)))
		return;
	e->count.touched++;
	r = own_adopt_flow(e, f, k, unknown ? 0 : r->written_s, true, now);
	if (r && unknown)
		own_maybe_mute(e, r);
}

static void dump_flow(struct engine *e, const struct flow *f, const struct key *k, usec_t now)
{
	struct peer *p;
	struct rec *r, *s;
	bool older;

	r = cache_find(e->local, k->p, k->len, k->hash);
	s = cache_flows(e->strays) || cache_tombs(e->strays)
		    ? cache_find(e->strays, k->p, k->len, k->hash)
		    : NULL;
	if (s && s->tomb && (!s->aux || s->aux == f->id)) {
		if (r && !r->tomb) /* replaced since: it is there, but not as this message says */
			r->gen = e->dump.gen;
		return;
	}
	if (r && !r->tomb) {
		dump_own(e, r, f, now);
		return;
	}
	if (r && r->version > e->dump.start_version)
		return; /* ended since the dump began: its message is older than the event */
	r = mirror_find(e, k->p, k->len, k->hash, false, &p);
	if (s && !s->tomb && ((s->flags & F_KERN) || !r)) {
		dump_stray(e, s, f, k, now);
		return;
	}
	if (!r) {
		dump_unknown(e, f, k, now);
		return;
	}
	older = r->aux != e->dump.gen; /* else its message may be older than what we wrote */
	r->aux = e->dump.gen;
	if (!older)
		return;
	if (copy_is_not_ours(r)) {
		own_adopt_again(e, f, k, now);
	} else if (dump_touched(e, r, f->timeout_s, true, now)) {
		e->count.touched++;
		own_adopt_flow(e, f, k, r->written_s, true, now);
	}
}

void own_dump_take(struct engine *e, const struct flow *f, usec_t now)
{
	struct key k;

	key_pack(e, &f->key, &k);
	dump_flow(e, f, &k, now);
}

void own_dump_flow(struct engine *e, const struct flow *f, usec_t now)
{
	struct key k;

	if (now != e->dump.read_at)
		e->dump.since = e->dump.read_at;
	e->dump.read_at = now;
	if (scope_ignores(e, f))
		return;
	e->dump.entries++;
	e->count.dump_entries++;
	key_pack(e, &f->key, &k);
	if (e->dump.spoilt || quarantine_event(e, k.p, k.len))
		return;
	mark_begin(e->mark, WORK_EVENT, k.p, k.len);
	if (e->dump.audit)
		audit_dump_flow(e, f);
	else
		dump_flow(e, f, &k, now);
	mark_end(e);
}

void own_dump_end(struct engine *e, bool ok, usec_t now)
{
	struct rec *r;

	ok = ok && !e->dump.spoilt;
	e->dump.running = false;
	e->dump.ended_at = now;
	while ((r = cache_list_first(e->strays, CACHE_LIST_TOMB)))
		cache_del(e->strays, r);
	e->count.dump_failures += !ok;
	if (e->dump.audit) {
		e->dump.audit = false;
		audit_dump_end(e, ok, now);
		return;
	}
	if (!ok) {
		e->dump.wanted = true;
		e->dump.overran |= e->dump.lossy;
		e->dump.at = now + OVERRUN_WAIT_MS * USEC_PER_MS;
		return;
	}
	e->count.dumps++;
	if (e->scrub.reread == REREAD_RUNNING)
		e->scrub.reread = REREAD_NO;
	if (!e->complete && e->mute)
		note_put(e, NOTE_MUTE, NULL, e->mute, 0);
	e->complete = true;
	e->dump.gone = 0;
	e->dump.sweeping = true;
	patrol_urgent(e);
	e->patrol.sweep_to = e->patrol.urgent_to;
}
