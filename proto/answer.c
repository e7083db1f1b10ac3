/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's answers: what the result of an operation (visit.c) means for the copy, the stray or
 * the own flow that it was made for. Refusals are counted by errno and tried again; an entry that
 * packets have touched becomes ours (R36).
 */
#include "engine_priv.h"

#include <errno.h>
#include <string.h>

/* A refused flow remembers its errno and the commit that counted it, so that figures speak of flows
 * and not of tries. */
bool refusal_counts(const struct engine *e, const struct rec *r)
{
	return (r->flags & F_REFUSED) && r->aux >> 16 == (e->commit.serial & 0xffff);
}

static void commit_uncount(struct engine *e, const struct rec *r)
{
	if (!e->commit.running || !refusal_counts(e, r))
		return;
	e->commit.refused--;
	e->commit.refused_by[(r->aux & 0xffff) % ARRAY_LEN(e->commit.refused_by)]--;
}

static void commit_count(struct engine *e, unsigned int err)
{
	if (!e->commit.running)
		return;
	e->commit.refused++;
	e->commit.refused_by[err % ARRAY_LEN(e->commit.refused_by)]++;
}

/* r: the flow, or NULL when it is not one that is tried again. */
static void refused(struct engine *e, struct rec *r, int err)
{
	unsigned int no = (unsigned int)-err;

	e->count.refused++;
	e->refused_noted++;
	e->refused_errno = -err;
	if (r)
		commit_uncount(e, r);
	commit_count(e, no);
	if (!r)
		return;
	if (!(r->flags & F_REFUSED))
		e->refused++;
	r->flags |= F_REFUSED;
	r->aux = (uint32_t)(e->commit.serial & 0xffff) << 16 | (no & 0xffff);
}

/* Another peer's word on the key has its turn, once (R36). */
static void refused_here(struct engine *e, struct peer *p, struct rec *r, int err)
{
	bool again = refusal_counts(e, r);

	refused(e, r, err);
	if (!again)
		copy_wanted(e, p, r);
}

static uint32_t deadline_of(const struct engine_op *op, usec_t now)
{
	return to_s(now) + op->flow.timeout_s;
}

/* What neither we wrote nor an event showed (event_partial) may never send one. */
static void adopt_got(struct engine *e, const struct rec *r, const struct flow *got, bool touched,
		      usec_t now)
{
	struct key k = { .len = r->keylen, .hash = r->hash };
	struct rec *own = own_find(e, r->body, r->keylen, r->hash);
	struct peer *p;
	/* A copy may stand beside a stray that is in no kernel. */
	const struct rec *copy = mirror_find(e, r->body, r->keylen, r->hash, false, &p);
	uint32_t deadline_s = copy ? copy->written_s : r->written_s;
	bool told = deadline_s || (r->flags & (F_KERN | F_CHECK)) == (F_KERN | F_CHECK);

	if (got && deadline_s && to_s(now) + got->timeout_s > deadline_s + 1)
		touched = true; /* longer than what we wrote */
	e->count.touched += touched;
	if (own) { /* by an earlier result of the same batch */
		own->flags |= touched ? F_TOUCHED : 0;
		return;
	}
	memcpy(k.p, r->body, k.len);
	own = got ? own_adopt_flow(e, got, &k, deadline_s, touched, now)
		  : own_adopt(e, r->body, r->len, r->keylen, r->hash, deadline_s, touched, now);
	if (own && !told)
		own_maybe_mute(e, own);
	if (own && deadline_s && !touched && e->role == ROLE_PRIMARY)
		lift_later(e, own, now);
}

/* Our write made the entry, a copy: what a stray of its key told of is there no more. False: it is
 * ours, by an earlier result of the same batch. */
static bool written(struct engine *e, struct peer *p, struct rec *r, const struct engine_op *op,
		    usec_t now)
{
	struct rec *own = own_find(e, r->body, r->keylen, r->hash);
	struct rec *s = stray_find(e, r->body, r->keylen, r->hash);

	if (own) {
		own->aux = 0;
		own->flags |= F_ADOPTED;
		own->written_s = own->expire_s = deadline_of(op, now);
		(void)reread_put(e, own, TAG_REREAD, now);
		return false;
	}
	if (s && (s->flags & F_KERN))
		stray_del(e, s);
	copy_set(e, p, r, deadline_of(op, now));
	return true;
}

static void injected(struct engine *e, struct peer *p, struct rec *r, const struct engine_op *op,
		     usec_t now)
{
	e->count.injects++;
	commit_uncount(e, r);
	if (!written(e, p, r, op, now))
		return;
	if (e->commit.running)
		e->commit.committed++;
	if (e->role == ROLE_PRIMARY && e->commit.running && active_takes_over(e, p))
		own_adopt(e, r->body, r->len, r->keylen, r->hash, r->written_s, false, now);
}

static void inject_result(struct engine *e, struct peer *p, struct rec *r,
			  const struct engine_op *op, int err, usec_t now)
{
	if (!err) {
		injected(e, p, r, op, now);
	} else if (err == -EEXIST || err == -ENOBUFS) {
		r->flags |= F_CHECK;
		cache_list_add(p->mirror, r, CACHE_LIST_WORK);
	} else if (err == -EOPNOTSUPP && flow_is_expect(r->body)) {
		expect_spend(e, p, r); /* its master has no helper here: told by kern_op.c */
	} else {
		refused_here(e, p, r, err);
	}
}

/* A primary's own, what p says of it notwithstanding. */
static void keep_found(struct engine *e, struct peer *p, struct rec *r, const struct flow *got,
		       usec_t now)
{
	struct peer *q;

	if (!own_find(e, r->body, r->keylen, r->hash))
		adopt_got(e, r, got, false, now);
	if (mirror_find(e, r->body, r->keylen, r->hash, false, &q)) /* excluded: it was let go */
		return;
	if (!own_find(e, r->body, r->keylen, r->hash)) {
		e->commit.existed -= e->commit.running;
		refused(e, r, -EEXIST); /* no room for it; its children do not wait */
	} else if (!e->conf.active_active) {
		claim_rival(e, p, r, now);
	}
}

/* The kernel has an entry for a flow that it would not create: whose is it? */
static void check_result(struct engine *e, struct peer *p, struct rec *r, int err,
			 const struct flow *got, usec_t now)
{
	uint8_t body[FLOW_PACKED_MAX];
	struct peer *other;
	struct rec *s;
	size_t len;

	r->flags &= (uint16_t)~F_CHECK;
	if (err) {
		/* absent: another flow has the reply tuple */
		refused_here(e, p, r, err == -ENOENT ? -EEXIST : err);
		return;
	}
	commit_uncount(e, r);
	if (r->flags & F_REFUSED)
		e->refused--;
	r->flags &= (uint16_t)~F_REFUSED;
	if (e->commit.running)
		e->commit.existed++;
	if (mirror_find(e, r->body, r->keylen, r->hash, false, &other))
		return;
	if (e->role == ROLE_PRIMARY) {
		keep_found(e, p, r, got, now);
		return;
	}
	if (own_find(e, r->body, r->keylen, r->hash))
		return;
	if (!scope_includes(e, got)) { /* perhaps our own once, before a policy */
		own_let_go(e, r->body, r->len, r->keylen, r->hash);
		return;
	}
	s = stray_put(e, r, F_KERN | F_UNKNOWN, to_s(now) + got->timeout_s);
	if (!s)
		return;
	len = flow_pack(got, body); /* as it is there, not as the peer knows it */
	s = cache_put(e->strays, body, len, r->keylen, r->hash);
	/* Its events were lost. Before the first dump has ended it is unknown (R46). */
	if (s && e->complete && entry_was_touched(e, s, now)) {
		e->count.touched++;
		patrol_adopt(e, s, now);
		return;
	}
	own_stale_later(e, p, r, now); /* without s the peer's word stands */
}

static void refresh_result(struct engine *e, struct peer *p, struct rec *r,
			   const struct engine_op *op, int err, const struct flow *got, usec_t now)
{
	if (!err) {
		e->count.refreshes++;
		r->written_s = deadline_of(op, now);
		r->aux = e->dump.gen; /* a dump under way may have read it before */
	} else if (err == -EBUSY) {
		adopt_got(e, r, got, true, now);
	} else if (err == -ENOENT) {
		copy_clear(p, r);
		cache_list_add(p->mirror, r, CACHE_LIST_WORK);
	} else {
		e->count.refused++;
	}
}

/* The copy of an earlier life of the key was to be replaced. */
static void reborn_result(struct engine *e, struct peer *p, struct rec *r,
			  const struct engine_op *op, int err, const struct flow *got, usec_t now)
{
	if (err == -EBUSY) { /* by packets of that life: the peer's word claims the key */
		adopt_got(e, r, got, true, now);
		if (p->primary && own_find(e, r->body, r->keylen, r->hash))
			own_stale_later(e, p, r, now);
		return;
	}
	own_dump_forget(e, r->body, r->keylen, r->hash, 0);
	if (!err) {
		e->count.replaces++;
		(void)written(e, p, r, op, now);
		return;
	}
	if (r->flags & F_KERN)
		copy_clear(p, r);
	inject_result(e, p, r, op, err, now);
}

/* The copy of an earlier life was to go: the new one cannot be carried on yet. */
static void young_result(struct engine *e, struct peer *p, struct rec *r, int err,
			 const struct flow *got, usec_t now)
{
	if (err == -EBUSY) {
		adopt_got(e, r, got, true, now);
		return;
	}
	e->count.deletes += !err;
	own_dump_forget(e, r->body, r->keylen, r->hash, 0);
	if (r->flags & F_KERN)
		copy_clear(p, r);
	copy_wanted(e, p, r);
}

static void update_result(struct engine *e, struct peer *p, struct rec *r,
			  const struct engine_op *op, int err, usec_t now)
{
	if (!err) {
		e->count.updates++;
		if (!(op->flow.has & FLOW_HAS_TIMEOUT))
			return;
		r->written_s = deadline_of(op, now);
		r->aux = e->dump.gen;
		patrol_hold_set(e, op->flow.timeout_s);
	} else if (err == -ENOENT) {
		copy_clear(p, r);
		cache_list_add(p->mirror, r, CACHE_LIST_WORK);
	} else { /* the patrol's next round tries again */
		refused(e, NULL, err);
		cache_list_add(p->mirror, r, CACHE_LIST_AGE);
	}
}

static void stale_result(struct engine *e, struct peer *p, struct rec *r,
			 const struct engine_op *op, int err, usec_t now)
{
	struct rec *own = own_find(e, r->body, r->keylen, r->hash);
	struct rec *s = stray_find(e, r->body, r->keylen, r->hash);

	r->flags &= (uint16_t)~F_STALE;
	if (err == -EBUSY) { /* packets pass here: it stays ours, and the patrol asks again in its
				next round */
		if (e->commit.running)
			e->commit.existed++;
		if (s) {
			patrol_adopt(e, s, now);
			own = own_find(e, r->body, r->keylen, r->hash);
			if (own)
				own->flags = (uint16_t)((own->flags & ~F_LIFT) | F_TOUCHED);
		}
		return;
	}
	if (s)
		stray_del(e, s);
	own_dump_forget(e, r->body, r->keylen, r->hash, 0);
	if (own && (e->role == ROLE_BACKUP || err))
		own_yield(e, own); /* with an error it was deleted and could not be made again */
	if (err) {                 /* what is kept in memory alone waits for a promote */
		if (own_injects(e) || e->commit.running)
			refused_here(e, p, r, err);
		else
			refused(e, NULL, err);
		return;
	}
	e->count.replaces++;
	claim_done(e, p, r);
	if (!own || e->role == ROLE_BACKUP) {
		injected(e, p, r, op, now);
		return;
	}
	own_update(e, own, &op->flow, true, now);
	own = own_find(e, r->body, r->keylen, r->hash); /* it may have moved */
	if (!own)
		return;
	own->aux = 0; /* a new incarnation, whose id we do not know */
	own->flags = (uint16_t)((own->flags & ~F_TOUCHED) | F_ADOPTED);
	own->written_s = deadline_of(op, now);
	outcome_take(e, own);
	e->commit.committed += e->commit.running;
}

static void sweep_mirror(struct engine *e, struct peer *p, struct rec *r, int err,
			 const struct flow *got, usec_t now)
{
	if (!err && copy_is_not_ours(r)) { /* is it excluded still? */
		struct key k = { .len = r->keylen, .hash = r->hash };

		memcpy(k.p, r->body, k.len);
		own_adopt_again(e, got, &k, now);
	} else if (!err) {
		r->aux = e->dump.gen;
	} else if (err == -ENOENT) {
		e->dump.gone++;
		copy_clear(p, r);
		if (own_injects(e))
			cache_list_add(p->mirror, r, CACHE_LIST_WORK);
	}
}

/* What a promote adopts it adopts as it walks, but not what an operation was made for just then. */
static bool adopts(const struct engine *e)
{
	return e->role == ROLE_PRIMARY && e->commit.running && e->commit.promote;
}

/* Was the operation made for a copy, which an earlier result of the same batch made ours or another
 * peer's? Then this one says nothing of it. */
static bool overtaken(const struct engine_op *op, const struct rec *r)
{
	return !(r->flags & F_KERN) &&
	       (op->tag == TAG_SWEEP || op->type == OP_REFRESH || op->type == OP_UPDATE);
}

static void copy_result(struct engine *e, struct peer *p, const struct engine_op *op, struct rec *r,
			int err, const struct flow *got, usec_t now)
{
	if (overtaken(op, r))
		return;
	switch (op->tag) {
	case TAG_CHECK:
		check_result(e, p, r, err, got, now);
		return;
	case TAG_STALE:
		stale_result(e, p, r, op, err, now);
		return;
	case TAG_SWEEP:
		sweep_mirror(e, p, r, err, got, now);
		return;
	default:
		break;
	}
	if (op->type == OP_INJECT)
		inject_result(e, p, r, op, err, now);
	else if (op->type == OP_DELETE)
		young_result(e, p, r, err, got, now);
	else if (op->type == OP_REPLACE)
		reborn_result(e, p, r, op, err, got, now);
	else if (op->type == OP_UPDATE)
		update_result(e, p, r, op, err, now);
	else
		refresh_result(e, p, r, op, err, got, now);
}

static void mirror_result(struct engine *e, struct peer *p, const struct engine_op *op,
			  struct rec *r, int err, const struct flow *got, usec_t now)
{
	copy_result(e, p, op, r, err, got, now);
	if ((r->flags & F_KERN) && adopts(e))
		patrol_adopt(e, r, now);
}

static void stray_deleted(struct engine *e, struct rec *r, int err, const struct flow *got,
			  usec_t now)
{
	uint8_t key[FLOW_KEY_MAX];
	size_t keylen = r->keylen;
	uint32_t hash = r->hash;

	if (err == -EBUSY) {
		adopt_got(e, r, got, true, now);
		return;
	}
	if (err && err != -ENOENT) {
		r->flags &= (uint16_t)~F_DOOM; /* let it age */
		e->count.refused++;
		return;
	}
	memcpy(key, r->body, keylen);
	e->count.deletes += !err;
	copy_wanted(e, NULL, r);
	stray_del(e, r);
	own_dump_forget(e, key, keylen, hash, 0);
}

static void stray_injected(struct engine *e, struct rec *r, const struct engine_op *op, int err,
			   usec_t now)
{
	struct rec *copy;
	struct peer *p;

	if (!err) {
		e->count.injects += op->type == OP_INJECT;
		e->commit.committed += e->commit.running;
		own_adopt(e, r->body, r->len, r->keylen, r->hash, deadline_of(op, now), false, now);
		return;
	}
	if (err == -EEXIST && e->role == ROLE_PRIMARY) { /* whose is it? */
		copy = mirror_find(e, r->body, r->keylen, r->hash, false, &p);
		if (copy && orphan_inherits(e, copy, copy->written_s, entry_gen(e, copy))) {
			copy_clear(p, copy);
		} else {
			e->commit.existed += e->commit.running;
			r->flags |= F_CHECK;
		}
		cache_list_add(e->strays, r, CACHE_LIST_WORK);
		return;
	}
	refused(e, NULL, err);
	outcome_refused(e, (unsigned int)-err);
	if (e->role == ROLE_BACKUP) { /* it is still nobody's, and its children do not wait */
		r->flags |= F_REFUSED;
		stray_age(e, r, now);
		return;
	}
	copy_wanted(e, NULL, r);
	stray_del(e, r);
}

/* The entry of an earlier life was to become that of an orphan. */
static void stray_replaced(struct engine *e, struct rec *r, const struct engine_op *op, int err,
			   const struct flow *got, usec_t now)
{
	uint8_t key[FLOW_KEY_MAX];
	size_t keylen = r->keylen;
	uint32_t hash = r->hash;

	if (err == -EBUSY) { /* packets of that life */
		adopt_got(e, r, got, true, now);
		return;
	}
	memcpy(key, r->body, keylen);
	e->count.replaces += !err;
	e->absent += !flow_is_expect(r->body);
	r->flags &= (uint16_t) ~(F_KERN | F_REBORN | F_DOOM);
	stray_injected(e, r, op, err, now);
	own_dump_forget(e, key, keylen, hash, 0);
}

static void stray_result(struct engine *e, const struct engine_op *op, struct rec *r, int err,
			 const struct flow *got, usec_t now)
{
	if (op->type == OP_DELETE) {
		stray_deleted(e, r, err, got, now);
	} else if (op->type == OP_INJECT) {
		stray_injected(e, r, op, err, now);
	} else if (op->type == OP_REPLACE) {
		stray_replaced(e, r, op, err, got, now);
	} else if (!err && op->tag == TAG_PARTIAL) {
		adopt_got(e, r, got, false, now);
	} else if (!err) {
		r->gen = e->dump.gen;
		if (adopts(e))
			patrol_adopt(e, r, now);
	} else if (err == -ENOENT) {
		e->dump.gone += op->tag == TAG_SWEEP;
		copy_wanted(e, NULL, r); /* what a peer says of it waited for this */
		stray_missing(e, r);
	} else if (op->tag == TAG_PARTIAL) {
		r->flags &= (uint16_t)~F_CHECK; /* could not be read: it ages */
	}
}

/* What was adopted unseen is compared with the entry: another mirror's word may have gone into it
 * before. The record may move. */
static struct rec *own_compare(struct engine *e, struct rec *r, const struct flow *got, usec_t now)
{
	uint8_t key[FLOW_KEY_MAX];
	size_t keylen = r->keylen;
	uint32_t hash = r->hash;

	memcpy(key, r->body, keylen);
	own_update(e, r, got, false, now);
	return own_find(e, key, keylen, hash);
}

/* Our entry was to become as a claim that left had it. */
static void heir_result(struct engine *e, struct rec *r, const struct engine_op *op, int err,
			const struct flow *got, usec_t now)
{
	r->flags &= (uint16_t)~F_HEIR;
	if (err == -EBUSY) { /* packets pass here: it is as it is */
		r->flags |= F_TOUCHED;
		(void)own_compare(e, r, got, now);
		return;
	}
	if (err) { /* it was deleted, and could not be made again: it waits for a promote */
		refused(e, NULL, err);
		stray_age(e, stray_put(e, r, 0, 0), now);
	}
	own_dump_forget(e, r->body, r->keylen, r->hash, 0);
	if (err) {
		copy_wanted(e, NULL, r);
		own_yield(e, r);
		return;
	}
	e->count.replaces++;
	r->flags &= (uint16_t)~F_TOUCHED;
	r->aux = 0; /* a new incarnation, whose id we do not know */
	r->written_s = r->expire_s = deadline_of(op, now);
}

/* The DESTROY of what was read is on its way. Not so of an expectation that is mute as its master
 * is: it has ended when two rounds at ease, seconds apart, did not find it. */
static bool is_missed(const struct engine *e, struct rec *r)
{
	bool again = r->flags & F_MISSED;

	if (!flow_is_expect(r->body) || round_has(e, e->patrol.urgent_to))
		return false;
	r->flags |= F_MISSED;
	return again;
}

/* Is the entry in another state of TCP than its record? */
static bool is_moved(const struct rec *r, const struct flow *got)
{
	struct flow f;

	return !flow_unpack(r->body, r->len, &f) && f.tcp.state != got->tcp.state;
}

static void own_result(struct engine *e, const struct engine_op *op, struct rec *r, int err,
		       const struct flow *got, usec_t now)
{
	if (op->tag == TAG_HEAL) {
		scrub_result(e, r, err, got, now);
		return;
	}
	if (op->tag == TAG_STALE) {
		heir_result(e, r, op, err, got, now);
		return;
	}
	if (op->tag == TAG_LIFT) {
		if (got)
			r = own_compare(e, r, got, now);
		if (!r)
			return;
		r->flags &= (uint16_t)~F_LIFT;
		if (err == -EBUSY)
			r->flags |= F_TOUCHED;
		if (!err) {
			e->count.refreshes++;
			r->written_s = deadline_of(op, now);
			r->expire_s = r->written_s;
		}
		return;
	}
	if (!err) {
		r->gen = e->dump.gen;
		if (op->type == OP_JOIN) {
			e->count.joins++;
			if ((r->flags & F_ADOPTED) && is_moved(r, got)) /* with its timer (R72) */
				r->written_s = to_s(now) + got->timeout_s;
		} else {
			own_look(e, r, got, now);
		}
		own_update(e, r, got, false, now);
	} else if (op->tag == TAG_SCOPE && err != -ENOENT) { /* by what we know of it */
		scope_withdraw(e, r);
	} else if (op->type == OP_JOIN && err != -ENOENT) {
		refused(e, NULL, err);
	} else if (err == -ENOENT && (op->tag != TAG_REREAD || is_missed(e, r))) {
		struct flow end = { .has = FLOW_HAS_TIMEOUT };

		/* No event told how it ended: it is mute, or we were faster. Was it before its
		 * time? */
		if (op->tag == TAG_SWEEP && r->expire_s > to_s(now))
			end.timeout_s = r->expire_s - to_s(now);
		e->dump.gone++;
		own_gone(e, r, &end, true, now);
	}
}

void answer_result(struct engine *e, const struct engine_op *op, int err, const struct flow *got,
		   usec_t now)
{
	struct cache *c = patrol_table(e, op->peer);
	struct rec *r;
	struct key k;

	key_pack(e, &op->flow.key, &k);
	r = c ? cache_find(c, k.p, k.len, k.hash) : NULL;
	if (op->tag == TAG_AUDIT) {
		audit_result(e, op, err, got, now);
		return;
	}
	if (op->type != OP_GET)
		audit_touch(e, k.p, k.len, k.hash);
	if (!r || r->tomb)
		return; /* an answer before it in the batch settled the flow */
	r->flags &= (uint16_t)~F_FLIGHT;
	if (op->peer == TABLE_STRAYS)
		stray_result(e, op, r, err, got, now);
	else if (op->peer == TABLE_LOCAL)
		own_result(e, op, r, err, got, now);
	else
		mirror_result(e, &e->peers[op->peer], op, r, err, got, now);
}
