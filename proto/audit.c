/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The audit: is the kernel's table what we hold? Rules R79 to R82 of PROTOCOL.md. Four states:
 * WANTED until no other dump is due; DUMPS, a dump that changes nothing, in which entries that are
 * unlike their records become suspects; WALKS, a round of the patrol in which records without an
 * entry do; LOOKS, in which each suspect's entry is read alone, events are awaited, and what still
 * stands is told and healed.
 *
 * Suspects are kept in a table of their own, as many as there may be flows: the entry as it was
 * last seen is the record's body, our own side of it (stamp) is its version. Those to be read are
 * on the list WORK, those that were read on LATER. The table lives from DUMPS to the end of LOOKS.
 */
#include "engine_priv.h"

#include <errno.h>
#include <string.h>

#define DRAIN_MS 50  /* an event may reach its queue that much later than a read sees its cause */
#define LOOKS_MAX 8  /* at a suspect that keeps changing */
#define CHUNK 4096   /* suspects that are read before events are awaited */
#define JUDGE_MAX 64 /* judged in one tick */
#define AGAIN_MS 200 /* between two audits: the first is to be read */

#define STATUS_OURS 0x180u /* SRC_NAT_DONE, DST_NAT_DONE: nobody can set them */
#define STATUS_EXPECTED 0x1u
#define STATUS_FIXED 0x400u
#define STATUS_HELPER 0x2000u
#define TCP_FLAGS 0x3u /* WINDOW_SCALE, SACK_PERM */
#define PROTO_GRE 47

/* rec.flags of a suspect */
#define S_THERE 0x1u   /* the kernel had it at the last look */
#define S_PENDING 0x2u /* an event came since, or a write of ours is due: look again */

struct place {
	const uint8_t *p;
	size_t len;
	uint32_t hash;
};

/* What we have for a key: at most one of its records speaks for our kernel. */
struct side {
	enum { SIDE_NONE, SIDE_OWN, SIDE_STRAY, SIDE_COPY, SIDE_ABSENT } is;
	struct rec *r;
	struct peer *p; /* whose mirror it is in, for COPY and ABSENT */
};

/* ---- Our side ---- */

/* Is there a write of ours to come for a mirror's record? */
static bool is_due(const struct rec *r)
{
	return r->list == CACHE_LIST_WORK || r->list == CACHE_LIST_LATER ||
	       (r->flags & (F_FLIGHT | F_STALE | F_CHECK | F_REBORN));
}

/* What peers say of a flow that is no copy: of several the one that is to be tried, else the one
 * whose word counts, or that was tried. */
static void find_absent(struct engine *e, const struct place *k, struct side *s)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct peer *p = &e->peers[i];
		struct rec *r = p->used ? cache_find(p->mirror, k->p, k->len, k->hash) : NULL;

		if (!r || r->tomb || (s->r && is_due(s->r)) ||
		    (s->r && !copy_goes_before(p, r, s->p, s->r) && !(r->flags & F_REFUSED) &&
		     !is_due(r)))
			continue;
		s->r = r;
		s->p = p;
	}
}

static struct side side_of(struct engine *e, const struct place *k)
{
	struct side s = { .is = SIDE_OWN, .r = own_find(e, k->p, k->len, k->hash) };

	if (s.r)
		return s;
	s.is = SIDE_STRAY;
	s.r = stray_find(e, k->p, k->len, k->hash);
	if (s.r && (s.r->flags & F_KERN))
		return s;
	s.is = SIDE_COPY;
	s.r = mirror_find(e, k->p, k->len, k->hash, false, &s.p);
	if (s.r)
		return s;
	s.is = SIDE_ABSENT;
	find_absent(e, k, &s);
	if (!s.r)
		s.is = SIDE_NONE;
	return s;
}

/* Changes whenever an event or a peer's word changes our side. */
static uint64_t stamp_of(const struct side *s)
{
	uint64_t version = s->r ? s->r->version : 0;

	return (uint64_t)s->is << 61 | (uint64_t)(s->p ? s->p->index : 0) << 59 |
	       (version & ((1ULL << 59) - 1));
}

static bool is_pending(const struct side *s)
{
	const struct rec *r = s->r;

	if (s->is != SIDE_COPY && s->is != SIDE_ABSENT)
		return r && (r->flags & F_FLIGHT);
	return is_due(r);
}

/* Ought a record that is in no kernel to be in ours? */
static bool is_missed(const struct engine *e, const struct rec *r)
{
	struct flow f;

	return own_injects(e) && !expect_is_spent(r) && !flow_unpack(r->body, r->len, &f) &&
	       active_injectable(e, &f);
}

/* ---- Comparing ---- */

static bool ext_equal(const struct flow *a, const struct flow *b, uint32_t what)
{
	if ((a->has & what) != (b->has & what))
		return false;
	if (!(a->has & what))
		return true;
	switch (what) {
	case FLOW_HAS_LABELS:
		return !memcmp(a->ext.labels, b->ext.labels, sizeof(a->ext.labels));
	case FLOW_HAS_HELPER:
		return !strncmp(a->ext.helper, b->ext.helper, sizeof(a->ext.helper));
	case FLOW_HAS_MASTER:
		return a->ext.master.proto == b->ext.master.proto &&
		       !memcmp(&a->ext.master.orig, &b->ext.master.orig,
			       sizeof(a->ext.master.orig));
	case FLOW_HAS_SEQADJ:
		return !memcmp(a->ext.seqadj, b->ext.seqadj, sizeof(a->ext.seqadj));
	case FLOW_HAS_SCTP:
		return a->ext.sctp.state == b->ext.sctp.state &&
		       !memcmp(a->ext.sctp.vtag, b->ext.sctp.vtag, sizeof(a->ext.sctp.vtag));
	default:
		return !memcmp(&a->ext.synproxy, &b->ext.synproxy, sizeof(a->ext.synproxy));
	}
}

static bool tcp_equal(const struct flow_tcp *a, const struct flow_tcp *b)
{
	return a->state == b->state && !memcmp(a->wscale, b->wscale, sizeof(a->wscale)) &&
	       !((a->flags[0] ^ b->flags[0]) & TCP_FLAGS) &&
	       !((a->flags[1] ^ b->flags[1]) & TCP_FLAGS);
}

/* FLOW_HAS_x of what differs between the kernel's entry and what we hold (R81). */
static uint32_t differing(const struct flow *kern, const struct flow *held, bool copy)
{
	static const uint32_t ext[] = { FLOW_HAS_LABELS, FLOW_HAS_HELPER, FLOW_HAS_MASTER,
					FLOW_HAS_SEQADJ, FLOW_HAS_SCTP,   FLOW_HAS_SYNPROXY };
	uint32_t may_lack = FLOW_HAS_LABELS | FLOW_HAS_HELPER | FLOW_HAS_MASTER, skip = 0, d = 0;
	uint32_t status = FLOW_STATUS_MASK & ~STATUS_OURS;

	if (copy)
		skip = held->has & ~kern->has & may_lack;
	else if (held->has & FLOW_HAS_HELPER)
		skip = FLOW_HAS_SEQADJ;
	if (held->key.proto == PROTO_GRE)
		status &= ~STATUS_FIXED;
	if (skip & FLOW_HAS_HELPER)
		status &= ~STATUS_HELPER;
	if (skip & FLOW_HAS_MASTER)
		status &= ~STATUS_EXPECTED;
	if (memcmp(&kern->reply, &held->reply, sizeof(kern->reply)) != 0)
		d |= FLOW_HAS_REPLY;
	if ((kern->status ^ held->status) & status)
		d |= FLOW_HAS_STATUS;
	if (kern->mark != held->mark)
		d |= FLOW_HAS_MARK;
	if (kern->key.proto == 6 && !tcp_equal(&kern->tcp, &held->tcp))
		d |= FLOW_HAS_TCP;
	for (size_t i = 0; i < ARRAY_LEN(ext); i++)
		if (!(skip & ext[i]) && !ext_equal(kern, held, ext[i]))
			d |= ext[i];
	return d;
}

/* kern: the packed entry. */
static uint32_t side_differs(const struct side *s, const uint8_t *kern, size_t len)
{
	struct flow a, b;

	if (len == s->r->len && !memcmp(kern, s->r->body, len))
		return 0;
	if (flow_unpack(kern, len, &a) || flow_unpack(s->r->body, s->r->len, &b))
		return FLOW_HAS_ALL; /* memory flipped */
	return b.key.expect ? FLOW_HAS_EXPECT : differing(&a, &b, s->is == SIDE_COPY);
}

/* Of what our policy excludes no event may tell us (R66). */
static bool is_told(struct engine *e, const uint8_t *kern, size_t len)
{
	struct flow f;

	return flow_unpack(kern, len, &f) || scope_includes(e, &f);
}

static bool is_wanted(struct engine *e, const uint8_t *kern, size_t len)
{
	struct flow f;

	return !flow_unpack(kern, len, &f) && scope_wants(e, &f);
}

/* The difference, if there is one. kern: the packed entry, NULL: the kernel has none. */
static enum engine_found_what verdict(struct engine *e, const struct side *s, const uint8_t *kern,
				      size_t len, uint32_t *differs)
{
	*differs = 0;
	switch (s->is) {
	case SIDE_STRAY:
		return FOUND_EQUAL;
	case SIDE_NONE:
		return kern && is_wanted(e, kern, len) ? FOUND_KERNEL_ONLY : FOUND_EQUAL;
	case SIDE_ABSENT:
		if (kern)
			return is_wanted(e, kern, len) ? FOUND_KERNEL_ONLY : FOUND_EQUAL;
		return is_missed(e, s->r) ? FOUND_CACHE_ONLY : FOUND_EQUAL;
	case SIDE_COPY:
		if (copy_is_not_ours(s->r) || (kern && !is_told(e, kern, len)))
			return FOUND_EQUAL;
		break;
	case SIDE_OWN:
		break;
	}
	if (!kern)
		return FOUND_CACHE_ONLY;
	*differs = side_differs(s, kern, len);
	return *differs ? FOUND_DIFFERS : FOUND_EQUAL;
}

/* ---- Suspects ---- */

bool audit_is_active(const struct engine *e)
{
	return e->audit.state > AUDIT_WANTED;
}

static void suspect(struct engine *e, const uint8_t *body, size_t len, const struct place *k)
{
	struct audit *a = &e->audit;
	struct rec *s = NULL;

	if (cache_find(a->suspects, k->p, k->len, k->hash))
		return;
	e->count.audit_suspects++;
	if (cache_flows(a->suspects) < e->conf.flows_max)
		s = cache_put(a->suspects, body, len, k->len, k->hash);
	if (s)
		cache_list_add(a->suspects, s, CACHE_LIST_WORK);
	else
		a->told.unsettled++;
}

void audit_dump_flow(struct engine *e, const struct flow *f)
{
	uint8_t body[FLOW_PACKED_MAX];
	size_t len = flow_pack(f, body);
	struct place k = { .p = body, .len = flow_key_len(body, len) };
	uint32_t differs;
	struct side s;

	if (e->audit.state != AUDIT_DUMPS) /* it was begun anew */
		return;
	e->audit.told.entries++;
	k.hash = cache_hash(e->local, k.p, k.len);
	s = side_of(e, &k);
	if (s.is == SIDE_COPY)
		s.r->aux = e->dump.gen;
	else if (s.is == SIDE_OWN || s.is == SIDE_STRAY)
		s.r->gen = e->dump.gen;
	if (verdict(e, &s, body, len, &differs) != FOUND_EQUAL)
		suspect(e, body, len, &k);
}

void audit_visit(struct engine *e, unsigned int table, const struct rec *r)
{
	struct place k = { .p = r->body, .len = r->keylen, .hash = r->hash };
	uint8_t gen = table < ENGINE_PEERS_MAX ? (uint8_t)r->aux : r->gen;
	uint32_t differs;
	struct side s;

	if (e->audit.state != AUDIT_WALKS || r->tomb || table == TABLE_STRAYS)
		return;
	if ((table == TABLE_LOCAL || (r->flags & F_KERN)) && gen == e->dump.gen)
		return;
	if (cache_hash(e->local, k.p, k.len) != k.hash) /* flipped: the scrub's business */
		return;
	s = side_of(e, &k);
	if (s.r == r && verdict(e, &s, NULL, 0, &differs) != FOUND_EQUAL)
		suspect(e, r->body, r->len, &k);
}

/* ---- Looks ---- */

/* What a dump is about to make up for is not judged before. */
static bool may_look(const struct engine *e)
{
	return e->audit.state == AUDIT_LOOKS && e->complete && !e->dump.wanted &&
	       !e->dump.running && !e->dump.sweeping;
}

static void suspect_done(struct engine *e, struct rec *s)
{
	cache_del(e->audit.suspects, s);
}

static void suspect_again(struct engine *e, struct rec *s)
{
	if (s->gen < LOOKS_MAX) {
		cache_list_add(e->audit.suspects, s, CACHE_LIST_WORK);
		return;
	}
	e->audit.told.unsettled++;
	suspect_done(e, s);
}

static bool look_op(struct engine *e, struct engine_op *op)
{
	struct audit *a = &e->audit;
	struct rec *s;

	if (!may_look(e) || a->judging || cache_list_count(a->suspects, CACHE_LIST_LATER) >= CHUNK)
		return false;
	s = cache_list_first(a->suspects, CACHE_LIST_WORK);
	if (!s)
		return false;
	*op = (struct engine_op){ .type = OP_GET, .peer = TABLE_LOCAL, .tag = TAG_AUDIT };
	if (!flow_key_unpack(s->body, s->keylen, &op->flow.key)) { /* memory flipped */
		a->told.unsettled++;
		suspect_done(e, s);
		return false;
	}
	s->flags = S_PENDING;
	s->gen++;
	cache_list_add(a->suspects, s, CACHE_LIST_LATER);
	return true;
}

void audit_result(struct engine *e, const struct engine_op *op, int err, const struct flow *got,
		  usec_t now)
{
	uint8_t body[FLOW_PACKED_MAX], packed[FLOW_KEY_MAX];
	struct audit *a = &e->audit;
	struct place k = { .p = packed, .len = flow_key_pack(&op->flow.key, packed) };
	struct rec *s;
	struct side side;
	uint32_t differs;

	k.hash = cache_hash(e->local, k.p, k.len);
	s = audit_is_active(e) ? cache_find(a->suspects, k.p, k.len, k.hash) : NULL;
	if (!s)
		return; /* the audit was broken off */
	side = side_of(e, &k);
	if (got && !err) {
		s = cache_put(a->suspects, body, flow_pack(got, body), k.len, k.hash);
		if (!s) /* out of memory, and still PENDING */
			return;
		s->flags |= S_THERE;
		s->aux = got->id;
		s->expire_s = to_s(now) + got->timeout_s;
	}
	s->flags &= (uint16_t)~S_PENDING;
	if ((err && err != -ENOENT) || is_pending(&side))
		s->flags |= S_PENDING;
	else if (verdict(e, &side, s->flags & S_THERE ? s->body : NULL, s->len, &differs) ==
		 FOUND_EQUAL) {
		suspect_done(e, s);
		return;
	}
	cache_set_version(a->suspects, s, stamp_of(&side));
	a->drain_at = now + DRAIN_MS * USEC_PER_MS;
}

/* ---- What stands ---- */

/* May the records of this bucket be believed? Looked at once in an audit. If not, the scrub heals
 * them (R76), and nothing is written to the kernel by their word. */
static bool is_sound(struct engine *e, unsigned int table, uint32_t hash)
{
	struct audit *a = &e->audit;
	unsigned int bucket = cache_bucket(hash), at = bucket / 64;
	uint64_t bit = 1ULL << bucket % 64, flips = e->count.flips;

	if (!(a->scrubbed[table][at] & bit)) {
		a->scrubbed[table][at] |= bit;
		if (table == TABLE_LOCAL)
			scrub_local(e, bucket);
		else if (!scrub_mirror(e, &e->peers[table], bucket))
			repair_list_want(&e->peers[table], bucket);
		if (e->count.flips != flips)
			a->flipped[table][at] |= bit;
	}
	return !(a->flipped[table][at] & bit);
}

/* Is what we know of the key to be believed? An entry that nobody knows may be that of a mirror's
 * record whose key flipped. */
static bool side_is_sound(struct engine *e, const struct side *s, uint32_t hash)
{
	bool sound = true;

	if (s->is == SIDE_COPY || s->is == SIDE_ABSENT)
		return is_sound(e, s->p->index, hash);
	(void)is_sound(e, TABLE_LOCAL, hash); /* the kernel's word is taken in any case */
	for (unsigned int i = 0; s->is == SIDE_NONE && i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used)
			sound &= is_sound(e, i, hash);
	return sound;
}

static void heal_own(struct engine *e, struct rec *r, const struct flow *kern, usec_t now)
{
	struct flow end = { .has = FLOW_HAS_TIMEOUT };

	if (!kern) {
		if (r->expire_s > to_s(now))
			end.timeout_s = r->expire_s - to_s(now);
		own_gone(e, r, &end, true, now);
	} else if (scope_lost(e, r, kern)) {
		scope_withdraw(e, r);
	} else if (r->aux && kern->id != r->aux) {
		own_update(e, r, kern, true, now);
	} else {
		(void)own_reread(e, r, kern, now);
	}
}

static void heal_mirror(struct engine *e, const struct side *s, bool there)
{
	if (s->is == SIDE_COPY && there)
		s->r->flags |= F_REBORN;
	else if (s->is == SIDE_COPY)
		copy_clear(s->p, s->r);
	if (own_injects(e) || (s->r->flags & F_REBORN))
		cache_list_add(s->p->mirror, s->r, CACHE_LIST_WORK);
}

static void heal(struct engine *e, const struct side *s, enum engine_found_what what,
		 const struct flow *kern, usec_t now)
{
	if (what == FOUND_KERNEL_ONLY) {
		e->dump.start_version = e->head; /* what ended before is no reason against it */
		own_dump_take(e, kern, now);
	} else if (s->is == SIDE_OWN) {
		heal_own(e, s->r, kern, now);
	} else {
		heal_mirror(e, s, kern != NULL);
	}
}

static void tell(struct engine *e, const struct side *s, enum engine_found_what what,
		 uint32_t differs, const struct flow *kern)
{
	struct engine_audit *t = &e->audit.told;
	struct engine_found *f = &t->found[t->found_count];
	bool held = what != FOUND_KERNEL_ONLY;

	t->found_by[what]++;
	e->count.audit_kernel_only += what == FOUND_KERNEL_ONLY;
	e->count.audit_cache_only += what == FOUND_CACHE_ONLY;
	e->count.audit_differing += what == FOUND_DIFFERS;
	if (t->found_count == ENGINE_FOUND_MAX)
		return;
	*f = (struct engine_found){ .what = what, .differs = differs };
	if (kern)
		flow_copy(&f->kernel, kern);
	if (held && flow_unpack(s->r->body, s->r->len, &f->held))
		(void)flow_key_unpack(s->r->body, s->r->keylen, &f->held.key);
	if (held && s->p)
		memcpy(f->peer, s->p->name, sizeof(f->peer));
	if (held && s->is == SIDE_ABSENT && (s->r->flags & F_REFUSED))
		f->refused = (int)(s->r->aux & 0xffff);
	note_put(e, NOTE_FOUND, held ? s->p : NULL, t->found_count++, what);
}

/* The entry as the suspect has it; NULL: there was none, or it cannot be read. */
static const struct flow *entry_of(const struct rec *s, struct flow *f, usec_t now)
{
	if (!(s->flags & S_THERE) || flow_unpack(s->body, s->len, f))
		return NULL;
	f->has |= FLOW_HAS_TIMEOUT | FLOW_HAS_ID | FLOW_HAS_ALL;
	f->id = s->aux;
	f->timeout_s = s->expire_s > to_s(now) ? s->expire_s - to_s(now) : 0;
	return f;
}

static void judge(struct engine *e, struct rec *s, usec_t now)
{
	struct place k = { .p = s->body, .len = s->keylen, .hash = s->hash };
	struct side side = side_of(e, &k);
	const struct flow *kern;
	enum engine_found_what what;
	uint32_t differs;
	struct flow f;

	if ((s->flags & S_PENDING) || is_pending(&side) || stamp_of(&side) != s->version) {
		suspect_again(e, s);
		return;
	}
	what = verdict(e, &side, s->flags & S_THERE ? s->body : NULL, s->len, &differs);
	kern = entry_of(s, &f, now);
	if ((s->flags & S_THERE) && !kern) /* memory flipped */
		what = FOUND_EQUAL;
	if (what != FOUND_EQUAL) {
		tell(e, &side, what, differs, kern);
		if (side_is_sound(e, &side, k.hash))
			heal(e, &side, what, kern, now);
	}
	suspect_done(e, s);
}

/* ---- The course of an audit ---- */

static void suspects_drop(struct engine *e)
{
	if (e->audit.suspects)
		cache_free(e->audit.suspects);
	e->audit.suspects = NULL;
	e->audit.judging = false;
}

void audit_ask(struct engine *e)
{
	struct audit *a = &e->audit;

	a->again = audit_is_active(e);
	a->told.due = a->told.serial + (a->again ? 2 : 1);
	if (a->again)
		return;
	a->state = AUDIT_WANTED;
	a->at = e->now;
}

void audit_restart(struct engine *e)
{
	if (!audit_is_active(e))
		return;
	suspects_drop(e);
	e->audit.state = AUDIT_WANTED;
	e->audit.at = e->now;
}

void audit_touch(struct engine *e, const uint8_t *key, size_t len, uint32_t hash)
{
	struct rec *s = audit_is_active(e) ? cache_find(e->audit.suspects, key, len, hash) : NULL;

	if (s)
		s->flags |= S_PENDING;
}

void audit_overrun(struct engine *e)
{
	struct audit *a = &e->audit;
	struct rec *s;

	while (audit_is_active(e) && (s = cache_list_first(a->suspects, CACHE_LIST_LATER)))
		cache_list_add(a->suspects, s, CACHE_LIST_WORK);
	a->judging = false;
}

bool audit_is_busy(const struct engine *e)
{
	return e->audit.state == AUDIT_DUMPS || e->audit.state == AUDIT_WALKS;
}

/* Of what a new policy excludes no end is told any more; the patrol withdraws it first. */
static bool may_begin(const struct engine *e)
{
	return e->audit.state == AUDIT_WANTED && e->complete && !e->dump.wanted &&
	       !e->dump.running && !e->dump.sweeping && e->patrol.round >= e->patrol.policy_to;
}

static bool begin(struct engine *e, usec_t now)
{
	struct audit *a = &e->audit;

	if (!may_begin(e) || now < a->at)
		return false;
	a->suspects = cache_new(e->conf.pages, e->seal.group, e->seal.digest);
	if (!a->suspects) {
		a->at = now + USEC_PER_SEC;
		return false;
	}
	a->state = AUDIT_DUMPS;
	memset(a->scrubbed, 0, sizeof(a->scrubbed));
	memset(a->flipped, 0, sizeof(a->flipped));
	a->told = (struct engine_audit){ .serial = a->told.serial, .due = a->told.due };
	inquiry_begun(e, now);
	return true;
}

bool audit_op(struct engine *e, struct engine_op *op, usec_t now)
{
	if (begin(e, now)) {
		*op = (struct engine_op){ .type = OP_DUMP };
		return true;
	}
	return look_op(e, op);
}

void audit_dump_end(struct engine *e, bool ok, usec_t now)
{
	if (e->audit.state != AUDIT_DUMPS)
		return;
	if (!ok) {
		suspects_drop(e);
		e->audit.state = AUDIT_WANTED;
		e->audit.at = now + AGAIN_MS * USEC_PER_MS;
		return;
	}
	patrol_urgent(e);
	e->audit.walk_to = e->patrol.urgent_to;
	e->audit.state = AUDIT_WALKS;
}

static void end(struct engine *e, usec_t now)
{
	struct audit *a = &e->audit;
	uint64_t found = 0;

	suspects_drop(e);
	a->state = a->again ? AUDIT_WANTED : AUDIT_IDLE;
	a->again = false;
	a->at = now + AGAIN_MS * USEC_PER_MS;
	a->told.serial++;
	inquiry_over(e, now);
	e->count.audits++;
	for (size_t i = 0; i < ARRAY_LEN(a->told.found_by); i++)
		found += a->told.found_by[i];
	note_put(e, NOTE_AUDIT, NULL, found, a->told.unsettled);
}

bool audit_wants_drained(const struct engine *e, usec_t now)
{
	return may_look(e) && !e->audit.judging && now >= e->audit.drain_at &&
	       cache_list_count(e->audit.suspects, CACHE_LIST_LATER);
}

void audit_drained(struct engine *e, usec_t now)
{
	e->audit.judging = e->audit.judging || audit_wants_drained(e, now);
}

void audit_tick(struct engine *e, usec_t now)
{
	struct audit *a = &e->audit;
	struct rec *s;

	if (a->state == AUDIT_WALKS && e->patrol.round >= a->walk_to)
		a->state = AUDIT_LOOKS;
	if (!may_look(e))
		return;
	for (unsigned int i = 0; a->judging && i < JUDGE_MAX; i++) {
		s = cache_list_first(a->suspects, CACHE_LIST_LATER);
		if (s)
			judge(e, s, now);
		a->judging = s != NULL;
	}
	if (!cache_flows(a->suspects))
		end(e, now);
}

usec_t audit_deadline(const struct engine *e)
{
	const struct audit *a = &e->audit;

	if (may_begin(e))
		return a->at;
	if (a->state == AUDIT_WALKS && e->patrol.round >= a->walk_to)
		return e->now;
	if (!may_look(e))
		return UINT64_MAX;
	if (a->judging || cache_list_count(a->suspects, CACHE_LIST_WORK) ||
	    !cache_flows(a->suspects))
		return e->now;
	return a->drain_at;
}

const struct engine_audit *engine_audit(const struct engine *e)
{
	return &e->audit.told;
}
