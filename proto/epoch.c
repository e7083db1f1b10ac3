/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A new epoch of a node that runs on, and the hash keys of its tables. Both are rare and both make
 * what was said before worthless to the peers, so there is one way for them: the node begins a new
 * epoch with the flows that it has, and its peers agree on that one by challenge and are told all
 * of it anew, as after a restart. Nobody drops a flow meanwhile: what a peer holds stays, as old
 * (R32).
 *
 * Tables: ranges, buckets and digests mean the same on two nodes only if the hash keys are the same
 * (PROTOCOL.md, section 3). They belong to an epoch: whoever takes over another node's begins a new
 * one, so that no range or digest is ever read under other keys than it was made with. Who takes
 * over is told by what only ever grows, hence two nodes that differ decide the same way, sooner or
 * later: a node that has settled keeps its tables before one that has not; else the lower keys
 * stay.
 */
#include "engine_priv.h"

#include <string.h>

/* Random bits from the seed: the daemon's own random number is the first epoch, this the others. */
static uint64_t fresh_epoch(struct engine *e)
{
	uint8_t in[48];
	uint64_t epoch = e->epoch;

	memcpy(in, e->seed, 32);
	while (epoch == e->epoch || !epoch) {
		e->epoch_count++;
		memcpy(in + 32, &e->epoch_count, 8);
		memcpy(in + 40, &e->epoch, 8);
		epoch = digest_hash(e->seed + DIGEST_KEY_LEN, in, sizeof(in));
	}
	return epoch;
}

/* What a peer knew of our stream is of the old epoch. Its own stream goes on. */
static void peer_unlearn(struct peer *p)
{
	p->acked_known = false;
	p->acked = 0;
	p->credit_len = 0;
	p->sent_count = 0;
	p->answer.count = 0;
	p->ask_count = 0;
	p->report_now = true;
}

void epoch_renew(struct engine *e)
{
	e->epoch = fresh_epoch(e);
	e->counter = 0;
	e->sent = e->head;
	e->hello_now = true; /* nobody knows the new one: let them ask */
	e->beat_at = 0;
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used)
			peer_unlearn(&e->peers[i]);
	e->count.epochs_renewed++;
}

bool tables_settled(const struct engine *e)
{
	return e->agreed || e->now >= e->started_at + SETTLE_MS * USEC_PER_MS;
}

static bool tables_equal(const struct engine *e, const struct peer *p)
{
	uint8_t ours[WIRE_TABLES_LEN];

	seal_tables(&e->seal, ours);
	return !memcmp(p->tables, ours, sizeof(ours));
}

/* The mirror was hashed anew: what its buckets were proven to be says nothing of the new ones. A
 * change that was applied before is older than any VECTOR of now. */
static void mirror_unproven(struct engine *e, struct peer *p)
{
	p->other_tables = !tables_equal(e, p);
	p->complete = false; /* until it speaks again */
	p->in_sync = false;
	p->proof_all = 0;
	memset(p->proof, 0, sizeof(p->proof));
	memset(p->changed, 0, sizeof(p->changed));
	memset(p->list_map, 0, sizeof(p->list_map));
	p->list_todo = 0;
	for (unsigned int i = 0; i < LISTS_MAX; i++)
		p->lists[i] = (struct list_slot){ .lo = 1 };
}

static void tables_take(struct engine *e, const struct peer *from, bool settled)
{
	scrub_tables(e); /* hashed anew, what flipped would look right for ever */
	seal_tables_set(&e->seal, from->tables);
	cache_rehash(e->local, e->seal.group, e->seal.digest);
	cache_rehash(e->strays, e->seal.group, e->seal.digest);
	reread_rehash(e);
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct peer *p = &e->peers[i];

		if (!p->used)
			continue;
		cache_rehash(p->mirror, e->seal.group, e->seal.digest);
		mirror_unproven(e, p);
	}
	/* The walk goes by hash: this round sees everything, some of it twice. */
	e->patrol.table = e->patrol.pos = e->patrol.skip = 0;
	audit_restart(e);
	e->agreed = settled;
	e->tables_at = e->now + TABLES_PAUSE_MS * USEC_PER_MS;
	e->count.tables_taken++;
	note_put(e, NOTE_TABLES, from, 1, 0);
	epoch_renew(e);
}

void tables_look(struct engine *e, struct peer *p, const struct wire_hack *m, bool settled)
{
	uint8_t ours[WIRE_TABLES_LEN];
	bool again = p->other_tables, at_rest = tables_settled(e);

	memcpy(p->tables, m->tables, sizeof(p->tables));
	p->other_tables = e->seal.count && !tables_equal(e, p);
	if (!p->other_tables) {
		e->agreed = e->agreed || settled;
		return;
	}
	p->complete = false;
	seal_tables(&e->seal, ours);
	if (settled != at_rest ? settled : memcmp(m->tables, ours, sizeof(ours)) < 0) {
		if (!at_rest || e->now >= e->tables_at)
			tables_take(e, p, settled);
	} else if (again && !p->tables_noted) { /* it had the time to take over ours */
		p->tables_noted = true;
		note_put(e, NOTE_TABLES, p, 0, 0);
	}
}
