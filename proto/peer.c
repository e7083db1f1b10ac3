/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The receiver's side of replication: the mirror of one peer's stream. Keeps the set of covered
 * versions (a prefix and a bounded number of ranges beyond it), applies what is newer than what is
 * held, remembers deletions that lie beyond the prefix, and asks for what it lacks. A flow leaves
 * the mirror by a tombstone or by a LIST, never by a "refresh" with a start and an end. Rules R9 to
 * R33 of PROTOCOL.md; what a change of the mirror means for our kernel is own.c's business.
 */
#include "engine_priv.h"

#include <assert.h>
#include <string.h>

struct peer *peer_find(struct engine *e, uint64_t id)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used && e->peers[i].id == id)
			return &e->peers[i];
	return NULL;
}

int mirror_drop_of(int wire_err)
{
	switch (wire_err) {
	case WIRE_EUNKNOWN:
		return -DROP_UNKNOWN;
	case WIRE_EVALUE:
		return -DROP_VALUE;
	default:
		return -DROP_SHORT;
	}
}

/* The version of a held record for rule R10: one of an older epoch counts as 0. */
uint64_t mirror_held_version(const struct peer *p, const struct rec *r)
{
	return r->gen == p->gen ? r->version : 0;
}

static void changed(struct peer *p, uint32_t hash, uint64_t version)
{
	uint64_t *at = &p->changed[cache_bucket(hash)];

	*at = max_u64(*at, version);
}

/* ---- Covered ranges ---- */

uint64_t mirror_top(const struct peer *p)
{
	return p->range_count ? p->ranges[p->range_count - 1].to : p->covered;
}

uint64_t peer_missing(const struct peer *p)
{
	uint64_t missing = p->maxhead > p->covered ? p->maxhead - p->covered : 0;

	for (unsigned int i = 0; i < p->range_count; i++)
		missing -= p->ranges[i].to - p->ranges[i].from;
	return missing;
}

static bool ranges_fit(const struct peer *p, uint64_t from, uint64_t to)
{
	if (from <= p->covered || p->range_count < RANGES_MAX)
		return true;
	for (unsigned int i = 0; i < p->range_count; i++)
		if (from <= p->ranges[i].to && to >= p->ranges[i].from)
			return true;
	return false;
}

static void ranges_add(struct peer *p, uint64_t from, uint64_t to)
{
	struct range *r = p->ranges;
	unsigned int i = 0, j;

	while (i < p->range_count && r[i].to < from)
		i++;
	for (j = i; j < p->range_count && r[j].from <= to; j++) {
		from = min_u64(from, r[j].from);
		to = max_u64(to, r[j].to);
	}
	assert(j > i || p->range_count < RANGES_MAX);
	memmove(&r[i + 1], &r[j], (p->range_count - j) * sizeof(*r));
	p->range_count = p->range_count - (j - i) + 1;
	r[i] = (struct range){ from, to };
}

static void ranges_cover(struct peer *p, uint64_t from, uint64_t to, usec_t now)
{
	unsigned int n = 0;

	if (from <= p->covered)
		p->covered = max_u64(p->covered, to);
	else if (from < to)
		ranges_add(p, from, to);
	while (n < p->range_count && p->ranges[n].from <= p->covered)
		p->covered = max_u64(p->covered, p->ranges[n++].to);
	p->range_count -= n;
	memmove(p->ranges, p->ranges + n, p->range_count * sizeof(p->ranges[0]));
	if (!p->range_count)
		p->gap_at = 0;
	else if (!p->gap_at)
		p->gap_at = now;
}

/* Forgets the deletions that the prefix has reached (R11). */
static void deletions_forget(struct peer *p)
{
	struct rec *r, *next;
	uint64_t min = UINT64_MAX;

	if (p->tomb_min > p->covered)
		return;
	r = cache_list_first(p->mirror, CACHE_LIST_TOMB);
	while (r) {
		next = cache_list_next(p->mirror, r);
		if (r->version <= p->covered)
			cache_del(p->mirror, r);
		else
			min = min_u64(min, r->version);
		r = next;
	}
	p->tomb_min = min;
}

/* ---- Proof ---- */

void mirror_debt_check(struct engine *e, struct peer *p)
{
	if (!p->debt || p->covered < p->debt)
		return;
	for (unsigned int i = 0; i < WIRE_BUCKETS; i++)
		if (max_u64(p->proof[i], p->proof_all) < p->debt)
			return;
	note_put(e, NOTE_DEBT_PAID, p, p->debt, 0);
	p->debt = 0;
}

static void debt_raise(struct engine *e, struct peer *p, uint64_t version)
{
	if (version > p->debt) {
		note_put(e, NOTE_DEBT, p, version, 0);
		e->count.debts++;
	}
	p->debt = max_u64(p->debt, version);
	memset(p->proof, 0, sizeof(p->proof));
	p->proof_all = 0;
	p->want_vector = true;
	p->vector_lo = 0;
	p->in_sync = false;
}

static void total_check(struct engine *e, struct peer *p, const struct wire_data *m, usec_t now)
{
	if (p->covered != m->head || m->head != p->maxhead || !p->complete)
		return; /* R27: inequality would mean nothing */
	if (cache_digest(p->mirror) + quarantine_digest(e, p) != m->digest) {
		p->in_sync = false;
		p->want_vector = true;
		return;
	}
	p->in_sync = true;
	p->lapsed = false;
	p->verified = m->head;
	p->verified_at = now;
	p->proof_all = m->head;
	p->want_vector = false;
	mirror_debt_check(e, p);
}

/* ---- Epochs ---- */

static void mirror_age(struct peer *p)
{
	if (++p->gen) /* records of other generations are old from now on */
		return;
	p->gen = 1;
	for (uint32_t pos = 0, end;; pos = end + 1) {
		for (struct rec *r = cache_chain(p->mirror, pos, &end); r;
		     r = cache_chain_next(p->mirror, r))
			r->gen = 0;
		if (end == UINT32_MAX)
			return;
	}
}

/* Everything is to be told anew; what is held stays, as old (R32). */
static void mirror_restart(struct engine *e, struct peer *p)
{
	struct rec *r;

	while ((r = cache_list_first(p->mirror, CACHE_LIST_TOMB)))
		cache_del(p->mirror, r);
	mirror_age(p);
	p->told_to = p->data_at;
	p->tomb_min = UINT64_MAX;
	quarantine_age(e, p);
	p->old_count = cache_flows(p->mirror) + quarantine_held(e, p);
	p->covered = 0;
	p->range_count = 0;
	p->gap_at = p->asked_at = p->asked_to = p->filled_at = 0;
	p->verified = p->proof_all = p->reported_covered = 0;
	p->verified_at = 0;
	p->in_sync = false;
	memset(p->proof, 0, sizeof(p->proof));
	memset(p->changed, 0, sizeof(p->changed));
	memset(p->list_map, 0, sizeof(p->list_map));
	for (unsigned int i = 0; i < LISTS_MAX; i++)
		p->lists[i] = (struct list_slot){ .lo = 1 };
	p->list_todo = 0;
	p->want_vector = p->old_count != 0;
	p->vector_lo = 0;
	p->vector_at = 0;
	p->resyncing = true;
}

/* Makes room for a new peer: a group whose members were replaced one by one needs no restart of the
 * others. Who holds flows keeps them, and its place (R45). */
static void peer_make_room(struct engine *e, usec_t now)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct peer *p = &e->peers[i];

		if (!p->used || cache_flows(p->mirror) ||
		    now < p->heard_at + FORGET_S * USEC_PER_SEC)
			continue;
		note_put(e, NOTE_FORGOTTEN, p, 0, 0);
		cache_free(p->mirror);
		quarantine_forget(e, p);
		*p = (struct peer){ 0 };
		e->peer_count--;
		return;
	}
}

static struct peer *peer_add(struct engine *e, uint64_t id, usec_t now)
{
	if (e->peer_count == ENGINE_PEERS_MAX)
		peer_make_room(e, now);
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct peer *p = &e->peers[i];

		if (p->used)
			continue;
		*p = (struct peer){ .index = (uint8_t)i, .id = id };
		p->mirror = cache_new(e->conf.pages, e->seal.group, e->seal.digest);
		if (!p->mirror)
			return NULL;
		p->used = true;
		e->peer_count++;
		return p;
	}
	return NULL;
}

static void epoch_adopt(struct engine *e, struct peer *p, const struct wire_head *h,
			const struct wire_hack *m, unsigned int endpoint)
{
	p->epoch = h->epoch;
	p->challenged = e->challenge_count;
	p->key.valid = false;
	seal_window_reset(&p->window, h->counter);
	arrive_restart(p, endpoint, e->now);
	mirror_restart(e, p);
	p->old_dead = m->kernel_id && p->kernel_id == m->kernel_id;
	p->kernel_id = m->kernel_id;
	p->dropped0 = m->dropped;
	p->maxhead = m->head;
	p->debt = p->old_count ? m->head : 0;
	p->acked_known = false;
	p->acked = 0;
	p->hears_us_at = 0;
	p->credit_len = 0;
	p->answer.count = 0;
	p->ask_count = 0;
	p->asked = (struct asked){ 0 };
	p->report_now = true;
	p->complete = p->other_tables = p->tables_noted = false;
	e->count.epochs_adopted++;
	note_put(e, NOTE_RESYNC, p, p->maxhead, 0);
}

int peer_hack(struct engine *e, const struct wire_head *h, const struct wire_hack *m,
	      unsigned int endpoint, usec_t now)
{
	uint64_t asked = e->challenge_count - (m->challenge != e->challenge);
	struct peer *p = peer_find(e, h->sender);

	/* One challenge serves for one epoch of a peer: else the answer of its previous run, late
	 * or recorded, would take us back. */
	if (p && p->epoch != h->epoch && asked <= p->challenged)
		return -DROP_CHALLENGE;
	if (!p)
		p = peer_add(e, h->sender, now);
	if (!p) {
		note_put(e, NOTE_LIMIT, NULL, DROP_PEERS, 0);
		return -DROP_PEERS;
	}
	memcpy(p->name, m->name, sizeof(p->name));
	p->caps = m->caps;
	p->heard_at = now;
	p->bye = false;
	if (p->epoch != h->epoch)
		epoch_adopt(e, p, h, m, endpoint);
	return 0;
}

/* ---- Records ---- */

static enum gone_how how_gone(uint8_t type)
{
	return type == WIRE_REC_RELEASE  ? GONE_RELEASE
	       : type == WIRE_REC_FORCED ? GONE_FORCED
					 : GONE_DEAD;
}

/* Takes a flow out of the mirror. remember: keep the deletion at that version. */
void mirror_remove(struct engine *e, struct peer *p, struct rec *r, enum gone_how how,
		   uint64_t version, bool remember, usec_t now)
{
	changed(p, r->hash, version);
	if (r->gen != p->gen)
		p->old_count--;
	own_mirror_gone(e, p, r, how, now);
	cache_list_del(p->mirror, r);
	if (!remember) {
		cache_del(p->mirror, r);
		return;
	}
	r = cache_tomb(p->mirror, r, WIRE_REC_DEAD);
	cache_set_version(p->mirror, r, version);
	r->gen = p->gen;
	r->flags = 0;
	cache_list_add(p->mirror, r, CACHE_LIST_TOMB);
	p->tomb_min = min_u64(p->tomb_min, version);
}

void mirror_set(struct engine *e, struct peer *p, const struct item *it, usec_t now)
{
	const struct wire_rec *w = &it->rec;
	size_t keylen = flow_key_len(w->body, w->body_len);
	struct rec *r = cache_find(p->mirror, w->body, keylen, it->hash);
	bool same;

	if (r && it->version <= mirror_held_version(p, r)) {
		e->count.records_ignored++;
		return;
	}
	if ((!r || r->tomb) && cache_flows(p->mirror) >= e->conf.flows_max) {
		limit_reached(e, &p->limited, p);
		debt_raise(e, p, it->version); /* the stream goes on; the buckets tell what lacks */
		return;
	}
	if (r && r->tomb)
		cache_list_del(p->mirror, r);
	else if (r && r->gen != p->gen)
		p->old_count--;
	same = r && !r->tomb && r->len == w->body_len && !memcmp(r->body, w->body, w->body_len);
	if (r && !r->tomb && !same)
		copy_word(r, w->body, w->body_len);
	r = cache_put(p->mirror, w->body, w->body_len, keylen, it->hash);
	if (!r) { /* no memory: the version is lost to us, buckets will tell */
		limit_reached(e, &p->limited, p);
		debt_raise(e, p, it->version);
		return;
	}
	changed(p, it->hash, it->version);
	if (r->version != it->version) /* else it is told again, not anew */
		r->flags &= (uint16_t)~F_SPENT;
	cache_set_version(p->mirror, r, it->version);
	r->gen = p->gen;
	r->expire_s = to_s(now) + (uint32_t)min_u64(w->timeout_s, UINT32_MAX / 4);
	e->count.records_applied++;
	if (!same) {
		patrol_note(e, r);
		copy_told(e, p, r);
	}
	if (!same || !(r->flags & F_KERN))
		own_mirror_set(e, p, r, now);
}

static void flow_end(struct engine *e, struct peer *p, const struct item *it, bool remember,
		     usec_t now)
{
	const struct wire_rec *w = &it->rec;
	struct rec *r = cache_find(p->mirror, w->body, w->body_len, it->hash);

	if (r && it->version <= mirror_held_version(p, r)) {
		e->count.records_ignored++;
		return;
	}
	e->count.records_applied++;
	if (r && !r->tomb) {
		mirror_remove(e, p, r, how_gone(w->type), it->version, remember, now);
		return;
	}
	if (!remember) {
		if (r)
			cache_del(p->mirror, r);
		return;
	}
	if (!r)
		r = cache_put_tomb(p->mirror, w->body, w->body_len, it->hash, WIRE_REC_DEAD);
	if (!r) {
		debt_raise(e, p, it->version);
		return;
	}
	cache_set_version(p->mirror, r, it->version);
	r->gen = p->gen;
	cache_list_add(p->mirror, r, CACHE_LIST_TOMB);
	p->tomb_min = min_u64(p->tomb_min, it->version);
}

int mirror_rec_check(const struct wire_rec *w)
{
	struct flow f;
	int rc;

	if (w->type != WIRE_REC_FLOW)
		return flow_key_len(w->body, w->body_len) == w->body_len ? 0 : -DROP_SHORT;
	rc = flow_unpack(w->body, w->body_len, &f);
	return rc == -2 ? -DROP_UNKNOWN : rc ? -DROP_SHORT : 0;
}

/* Of what is set aside (R97) the key has to do. */
int mirror_rec_look(struct engine *e, const struct wire_rec *w)
{
	size_t keylen = flow_key_len(w->body, w->body_len);

	mark_begin(e->mark, WORK_RECORD, w->body, keylen);
	if (w->type == WIRE_REC_FLOW && quarantine_knows(e, w->body, keylen))
		return w->body_len <= FLOW_PACKED_MAX ? 0 : -DROP_SHORT;
	return mirror_rec_check(w);
}

/* A look-up in a large table waits for memory twice, for the chain's head and for the record. The
 * keys of a datagram are hashed before any is applied, so that all wait together. What is beyond
 * the limit waits by itself. */
#define AHEAD_MAX 128

struct ahead {
	unsigned int count;
	uint32_t hash[AHEAD_MAX];
};

static void ahead_put(struct ahead *a, const struct peer *p, const struct wire_rec *w)
{
	uint32_t hash;

	if (a->count == AHEAD_MAX)
		return;
	hash = cache_hash(p->mirror, w->body, flow_key_len(w->body, w->body_len));
	cache_prefetch_head(p->mirror, hash);
	a->hash[a->count++] = hash;
}

void mark_peer(struct engine *e, const struct peer *p)
{
	memcpy(e->mark->peer, p->name, sizeof(e->mark->peer));
}

/* Looks at all records before any is applied: a datagram is taken whole or not at all (R10). */
static int data_check(struct engine *e, const struct peer *p, const struct wire_data *m,
		      struct wire_buf b, struct ahead *a)
{
	uint64_t version = m->from;
	uint32_t deletions = 0;
	struct wire_rec w;
	int rc;

	while (wire_get_rec(&b, &w)) {
		if (!w.delta || w.delta > m->to - version)
			return -DROP_VALUE;
		version += w.delta;
		rc = mirror_rec_look(e, &w);
		if (rc)
			return rc;
		deletions += w.type != WIRE_REC_FLOW && version > p->covered;
		ahead_put(a, p, &w);
	}
	if (b.err)
		return mirror_drop_of(b.err);
	if (!ranges_fit(p, m->from, m->to))
		return -DROP_RANGES;
	if (m->from > p->covered &&
	    cache_list_count(p->mirror, CACHE_LIST_TOMB) + deletions > e->conf.deletions_max)
		return -DROP_DELETIONS;
	return 0;
}

/* Is anything of (from, to] not covered yet? */
static bool is_news(const struct peer *p, uint64_t from, uint64_t to)
{
	if (to <= p->covered || from >= to)
		return false;
	for (unsigned int i = 0; i < p->range_count; i++)
		if (from >= p->ranges[i].from && to <= p->ranges[i].to)
			return false;
	return true;
}

/* An answer has ended. If it brought anything, what is missing still of what was asked for is asked
 * for at once; else as if it had not come, for it was merged with another's, or is one of before.
 * On a shared medium the answers to others are heard too: LAST says whose answer ends. */
static void answer_ended(const struct engine *e, struct peer *p, uint8_t flags)
{
	uint8_t whose = flags & WIRE_F_WHOSE;

	if (!(flags & WIRE_F_LAST) || (whose && !(whose & wire_whose(e->id))) || !p->filled_at)
		return;
	p->report_now = p->report_now || p->covered < p->asked_to;
	p->asked_at = p->filled_at = 0;
}

/* R9. What a proof makes known of a deletion is known as long as the proof stands, so it is
 * remembered all the same. */
static bool is_known(const struct peer *p, const struct item *it)
{
	if (it->version <= p->covered)
		return true;
	return it->rec.type == WIRE_REC_FLOW && it->version <= p->proof[cache_bucket(it->hash)];
}

static void data_apply(struct engine *e, struct peer *p, const struct wire_data *m,
		       struct wire_buf *b, struct ahead *a, usec_t now)
{
	bool remember = m->from > p->covered;
	struct item it = { .version = m->from };

	for (unsigned int i = 0; i < a->count; i++)
		cache_prefetch(p->mirror, a->hash[i]);
	for (unsigned int i = 0; wire_get_rec(b, &it.rec); i++) {
		if (i == a->count) { /* beyond the limit */
			a->count = 0;
			ahead_put(a, p, &it.rec);
			i = 0;
		}
		it.version += it.rec.delta;
		it.hash = a->hash[i];
		if (is_known(p, &it)) {
			e->count.records_ignored++;
			continue;
		}
		if (quarantine_take(e, p, &it))
			continue;
		mark_begin(e->mark, WORK_RECORD, it.rec.body,
			   flow_key_len(it.rec.body, it.rec.body_len));
		if (it.rec.type == WIRE_REC_FLOW)
			mirror_set(e, p, &it, now);
		else
			flow_end(e, p, &it, remember, now);
		mark_end(e);
	}
}

static void resync_end_check(struct engine *e, struct peer *p)
{
	if (!p->resyncing || !p->complete || p->covered < p->maxhead)
		return;
	p->resyncing = false;
	note_put(e, NOTE_SYNCED, p, p->covered, 0);
	own_claims(e);
}

int peer_data(struct engine *e, struct peer *p, uint8_t flags, struct wire_buf *b, usec_t now)
{
	struct ahead ahead = { .count = 0 };
	struct wire_data m;
	int rc;

	wire_get_data(b, flags, &m);
	if (b->err)
		return mirror_drop_of(b->err);
	if (m.to > m.head || m.from > m.to)
		return -DROP_VALUE;
	mark_peer(e, p);
	rc = data_check(e, p, &m, *b, &ahead);
	e->mark->work = WORK_NONE;
	if (rc)
		return rc;
	if (m.dropped > max_u64(p->covered, p->dropped0))
		debt_raise(e, p, m.dropped);
	if (p->asked_at && m.from < p->asked_to && is_news(p, m.from, m.to))
		p->filled_at = now;
	data_apply(e, p, &m, b, &ahead, now);
	p->maxhead = max_u64(p->maxhead, m.head);
	ranges_cover(p, m.from, m.to, now);
	deletions_forget(p);
	answer_ended(e, p, flags);
	if (p->covered >= p->maxhead)
		p->asked_at = 0; /* nothing is missing any more */
	p->data_at = now;
	if (flags & WIRE_F_DIGEST)
		total_check(e, p, &m, now);
	resync_end_check(e, p);
	return 0;
}

/* ---- Time ---- */

void peer_tick(struct engine *e, struct peer *p, usec_t now)
{
	bool up = peer_is_up(e, p), one_way = peer_hears(e, p) && !up;

	if (up && !p->up) {
		note_put(e, NOTE_PEER_UP, p, p->epoch != p->epoch_up, 0);
		p->epoch_up = p->epoch;
	} else if (!up && p->up) {
		note_put(e, NOTE_PEER_DOWN, p, (now - p->heard_at) / USEC_PER_MS, one_way);
	}
	p->up = up;
	p->one_way = one_way;
	p->limited = p->limited && !limit_over(e, p->mirror);
	arrive_tick(e, p, now);
}

usec_t peer_deadline(const struct engine *e, const struct peer *p)
{
	usec_t at = repair_report_at(e, p);

	if (p->up)
		at = min_u64(at, p->heard_at + e->conf.dead_ms * USEC_PER_MS + 1);
	if (repair_lists_busy(p))
		at = min_u64(at, e->ticked_at + LIST_RETRY_MS * USEC_PER_MS);
	else if (repair_vector_wanted(e, p))
		at = min_u64(at, max_u64(p->vector_at, e->now));
	return at;
}

void peer_resync(struct engine *e, struct peer *p, usec_t now)
{
	(void)now;
	mirror_restart(e, p);
	/* What is still on its way is older than what was held: it must not be taken for news. */
	seal_window_reset(&p->window, p->window.top);
	p->debt = p->maxhead;
	p->report_now = true;
	note_put(e, NOTE_RESYNC, p, p->maxhead, 0);
}

void peer_drop_flow(struct engine *e, struct peer *p, struct rec *r)
{
	p->proof[cache_bucket(r->hash)] = 0;
	mirror_remove(e, p, r, GONE_OLD, 0, false, e->now);
	p->in_sync = false;
	p->lapsed = true; /* what its return brings again is no divergence */
}

void peer_forget(struct engine *e, struct peer *p, usec_t now)
{
	quarantine_forget(e, p);
	for (uint32_t pos = 0, end;; pos = end + 1) {
		struct rec *r = cache_chain(p->mirror, pos, &end);

		while (r) {
			if (r->tomb) {
				r = cache_chain_next(p->mirror, r);
				continue;
			}
			mirror_remove(e, p, r, GONE_RELEASE, 0, false, now);
			r = cache_chain(p->mirror, pos, &end);
		}
		if (end == UINT32_MAX)
			break;
	}
	peer_resync(e, p, now);
	p->debt = 0;
}

bool peer_primary_known(const struct engine *e)
{
	if (e->role == ROLE_PRIMARY)
		return true;
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used && e->peers[i].primary && peer_hears(e, &e->peers[i]))
			return true;
	return false;
}
