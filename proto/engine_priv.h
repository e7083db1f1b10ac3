/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the modules of the engine do for each other; its state is in engine_state.h. Private to
 * proto/. The rules ("R12") are those of PROTOCOL.md, sections 3, 6 and 7.
 */
#ifndef CTSYNCD_ENGINE_PRIV_H
#define CTSYNCD_ENGINE_PRIV_H

#include "engine_state.h"

static inline uint32_t to_s(usec_t at)
{
	return (uint32_t)(at / USEC_PER_SEC);
}

/* Does the policy include f? (R62) An expectation: is its master known, and included? (R83) */
bool expect_included(struct engine *e, const struct flow *f);
static inline bool scope_includes(struct engine *e, const struct flow *f)
{
	if (f->key.expect)
		return expect_included(e, f);
	return !e->policy || policy_includes(e->policy, f);
}

/* And may it become ours as it is now? (R65) */
static inline bool scope_wants(struct engine *e, const struct flow *f)
{
	return (!policy_is_early(f) || e->syn_sent) && scope_includes(e, f);
}

/* Is f, the own flow r as it is now, one that we do not want any more? What may be mute stays in
 * any TCP state: no event would tell of its next (R65). */
static inline bool scope_lost(struct engine *e, const struct rec *r, const struct flow *f)
{
	if (policy_is_early(f) && !e->syn_sent && !(r->flags & F_MUTE))
		return true;
	return e->fluid && !scope_includes(e, f);
}

/* engine.c */
/* A flow is not held for want of room: counted, and told unless it was (*limited). p: whose. */
void limit_reached(struct engine *e, bool *limited, const struct peer *p);
bool limit_over(const struct engine *e, const struct cache *c); /* there is room again */
void note_put(struct engine *e, enum engine_note_type type, const struct peer *p, uint64_t arg0,
	      uint64_t arg1);
bool peer_is_up(const struct engine *e, const struct peer *p); /* both directions alive */
bool peer_hears(const struct engine *e, const struct peer *p); /* we hear it */

/* hello.c: the handshake. */
int hello_recv(struct engine *e, const struct wire_head *h, struct wire_buf *b,
	       uint32_t endpoints); /* a HELLO that came by these */
/* A datagram of len opened bytes, of an epoch not agreed. */
int hello_unknown(struct engine *e, unsigned int endpoint, size_t len, usec_t now);
int hello_hack(struct engine *e, const struct wire_head *h, uint8_t flags, struct wire_buf *b,
	       unsigned int endpoint);
bool hello_put(struct engine *e, struct wire_buf *b, uint32_t *to, usec_t now);
bool hello_put_hack(struct engine *e, struct wire_buf *b, uint32_t *to);

/* epoch.c */
void epoch_renew(struct engine *e); /* a new epoch, with all that we have */
bool tables_settled(const struct engine *e);
/* What a HACK tells of p's tables; may take them over, and renew our epoch for it. */
void tables_look(struct engine *e, struct peer *p, const struct wire_hack *m, bool settled);

/* stream.c: the owner's side. */
void stream_changed(struct engine *e, struct rec *r); /* own flow changed: next version */
void stream_ended(struct engine *e, struct rec *r,
		  uint8_t how); /* own flow ended: tombstone of wire_record type how, or nothing */
void stream_trim(struct engine *e); /* drop tombstones that nobody needs (R5) */
size_t stream_send(struct engine *e, uint8_t *pkt, uint32_t *to,
		   usec_t now); /* next DATA, LIST or VECTOR body; 0 = none */
void stream_report(struct engine *e, struct peer *p, const struct wire_report *m, usec_t now);
int stream_ask(struct engine *e, struct peer *p, const struct wire_ask *m);
bool stream_pending(const struct engine *e);
uint8_t stream_flags(const struct engine *e); /* PRIMARY, COMPLETE: of everything that says so */

size_t stream_dgram_max(const struct engine *e); /* largest datagram that all who listen can take */

/* arrive.c: links. */
void arrive_restart(struct peer *p, unsigned int endpoint, usec_t now); /* a new epoch of it */
/* An authentic datagram of its epoch came. Returns 0 if it is the first copy, else -DROP_DOUBLE or
 * -DROP_REPLAY. */
int arrive_take(struct peer *p, uint64_t counter, unsigned int endpoint, usec_t now);
void arrive_report(struct peer *p, uint64_t counter, uint64_t sent);
void arrive_tick(struct engine *e, struct peer *p, usec_t now);
uint64_t arrive_lost(const struct reckon *r);
unsigned int arrive_stats(const struct peer *p, struct engine_path_stats *s, usec_t now);

/* The work that is marked ended well. */
static inline void mark_end(struct engine *e)
{
	__asm__ volatile("" ::: "memory");
	if (__builtin_expect(e->quarantine.watched != 0, 0))
		quarantine_cleared(e);
	e->mark->work = WORK_NONE;
}

/* peer.c: the receiver's side. Return 0 or -DROP_x. */
struct peer *peer_find(struct engine *e, uint64_t id);
/* Is this node primary, or a peer that is heard? */
bool peer_primary_known(const struct engine *e);
/* p is heard, as a primary or not: who leads now? (lead.c) */
void lead_heard(struct engine *e, struct peer *p, bool primary, usec_t now);
/* Have we stood still until just now, so that what is read may have waited? */
bool lead_wakes(const struct engine *e, usec_t now);
int peer_hack(struct engine *e, const struct wire_head *h, const struct wire_hack *m,
	      unsigned int endpoint, usec_t now);
int peer_data(struct engine *e, struct peer *p, uint8_t flags, struct wire_buf *b, usec_t now);
int peer_list(struct engine *e, struct peer *p, struct wire_buf *b, usec_t now);
int peer_vector(struct engine *e, struct peer *p, struct wire_buf *b, usec_t now);
void peer_tick(struct engine *e, struct peer *p, usec_t now);
usec_t peer_deadline(const struct engine *e, const struct peer *p);
size_t peer_send(struct engine *e, struct peer *p, struct wire_buf *b,
		 usec_t now); /* REPORT or ASK; 0 = none */
void peer_resync(struct engine *e, struct peer *p, usec_t now);
void peer_forget(struct engine *e, struct peer *p, usec_t now);
uint64_t peer_missing(const struct peer *p);
/* A mirror record leaves without a word of its owner (silence): drops it. */
void peer_drop_flow(struct engine *e, struct peer *p, struct rec *r);

struct item { /* a record with what its place in the message tells */
	struct wire_rec rec;
	uint64_t version;
	uint32_t hash; /* of its key */
};
void mirror_set(struct engine *e, struct peer *p, const struct item *it, usec_t now);
enum gone_how { GONE_DEAD, GONE_FORCED, GONE_RELEASE, GONE_OLD };
/* Takes a flow out of the mirror. remember: keep the deletion at that version (R11). */
void mirror_remove(struct engine *e, struct peer *p, struct rec *r, enum gone_how how,
		   uint64_t version, bool remember, usec_t now);
uint64_t mirror_held_version(const struct peer *p,
			     const struct rec *r); /* for R10: 0 if of an older epoch */
uint64_t mirror_top(const struct peer *p);         /* highest version covered */
int mirror_rec_check(const struct wire_rec *w);    /* is the record well-formed? */
/* The same of one at hand; marks it, whoever calls takes the mark off. */
int mirror_rec_look(struct engine *e, const struct wire_rec *w);
void mark_peer(struct engine *e, const struct peer *p); /* records of whom are at hand */
int mirror_drop_of(int wire_err);
void mirror_debt_check(struct engine *e, struct peer *p); /* is the debt paid? (R23) */

/* scrub.c: memory that flipped. */
void scrub_tick(struct engine *e, usec_t now);
void scrub_all(struct engine *e);         /* all anew, at full speed */
void scrub_tables(struct engine *e);      /* every bucket of all tables, at once */
bool scrub_busy(const struct engine *e);  /* it goes at full speed */
bool scrub_heals(const struct engine *e); /* parts of the local half are in doubt */
void scrub_local(struct engine *e, unsigned int bucket);
/* Can an own record that is to be sent again be read? Else its bucket is scrubbed, and it is not
 * one of its version any more. */
bool scrub_sound(struct engine *e, struct rec *r);
/* Returns false if the bucket was not what its digest says; what is broken has left it then. */
bool scrub_mirror(struct engine *e, struct peer *p, unsigned int bucket);
void scrub_undoubt(struct engine *e, struct rec *r); /* r was read, or ends */
/* Reads the entry of an own flow in doubt, of whose record the key alone can be believed. */
bool scrub_op(struct rec *r, struct engine_op *op);
void scrub_result(struct engine *e, struct rec *r, int err, const struct flow *got, usec_t now);

/* repair.c: what a mirror asks for. */
usec_t repair_report_at(const struct engine *e,
			const struct peer *p);              /* when the next REPORT is due */
void repair_list_want(struct peer *p, unsigned int bucket); /* ask for it */
bool repair_lists_busy(const struct peer *p);
bool repair_vector_wanted(const struct engine *e, const struct peer *p);

/* active.c */
bool active_injectable(const struct engine *e,
		       const struct flow *f); /* could an entry carry it on? */
void active_liberal(struct flow *f);          /* R71; nothing to what is not TCP */
/* The same for a packed flow; returns liberal, which holds FLOW_PACKED_MAX, or body if there is
 * nothing to unpack. */
const uint8_t *active_liberal_body(const uint8_t *body, size_t len, uint8_t *liberal);
/* Was the event of an own entry made before we joined it? */
bool active_is_older(const struct rec *r, const struct flow *f);
/* May a promote make p's flows ours? Active-active: not while p is heard (R74). */
bool active_takes_over(const struct engine *e, const struct peer *p);
/* What r, p's, says of a key that we own goes into our entry (R72), or ours gives way to the new
 * life of the tuple (R73). False: nothing to do. */
bool active_op(struct engine *e, struct peer *p, struct rec *r, struct rec *own,
	       struct engine_op *op);

/* own.c: ownership. */
void key_pack(const struct engine *e, const struct flow_key *key, struct key *k);
void own_event(struct engine *e, enum engine_kern_event event, const struct flow *f,
	       uint32_t portid, usec_t now);
/* An entry of the kernel's becomes ours; if the policy includes it. deadline_s as in own_adopt. */
struct rec *own_adopt_flow(struct engine *e, const struct flow *f, const struct key *k,
			   uint32_t deadline_s, bool touched, usec_t now);
struct rec *own_adopt_included(struct engine *e, const struct flow *f, const struct key *k,
			       uint32_t deadline_s, bool touched, usec_t now);
void own_let_go_flow(struct engine *e, const struct flow *f, const struct key *k);
/* Puts a stray. NULL: no room, or no memory. */
struct rec *stray_room(struct engine *e, const uint8_t *body, size_t len, const struct key *k);

/* dump.c */
void own_dump_flow(struct engine *e, const struct flow *f, usec_t now);
void own_dump_end(struct engine *e, bool ok, usec_t now);
/* What the dump after an overrun makes of an entry. */
void own_dump_take(struct engine *e, const struct flow *f, usec_t now);
/* A mirror record was set (new or changed; fresh = it was not held before in this kernel's view).
 */
void own_mirror_set(struct engine *e, struct peer *p, struct rec *r, usec_t now);
/* A mirror record is about to leave. */
void own_mirror_gone(struct engine *e, struct peer *p, struct rec *r, enum gone_how how,
		     usec_t now);
/* Makes the flow ours: body packed. deadline_s: what we wrote, 0 = the entry is not of our making.
 * touched: seen alive. */
struct rec *own_adopt(struct engine *e, const uint8_t *body, size_t len, size_t keylen,
		      uint32_t hash, uint32_t deadline_s, bool touched, usec_t now);
struct rec *own_find(struct engine *e, const uint8_t *key, size_t keylen,
		     uint32_t hash); /* live own flow or NULL */
/* Our kernel no longer has an own flow. */
void own_gone(struct engine *e, struct rec *r, const struct flow *f, bool organic, usec_t now);
void own_claims(struct engine *e);
void own_tick(struct engine *e, usec_t now);
struct rec *stray_find(struct engine *e, const uint8_t *key, size_t keylen,
		       uint32_t hash); /* live one or NULL */
struct rec *stray_put(struct engine *e, const struct rec *r, uint16_t flags, uint32_t deadline_s);
struct rec *unknown_find(struct engine *e, const struct rec *r);
/* Does the timer of an entry, as it was read, say that an earlier run of us wrote it, and that no
 * packet came since? Or is it longer than any that a backup writes: did a packet set it? Neither,
 * where the state's own is no longer than a hold. */
bool looks_held(const struct engine *e, const struct rec *s, usec_t now);
bool entry_was_touched(const struct engine *e, const struct rec *s, usec_t now);
void stray_del(struct engine *e, struct rec *r);
/* The entry of r has gone. What an address that moves may need again goes on waiting (R47). */
void stray_missing(struct engine *e, struct rec *r);
void own_maybe_mute(struct engine *e, struct rec *r);
/* What the policy excludes is not ours (R62). If a peer announces it, the entry stands for that
 * peer's copy, of which we wrote nothing: never deleted nor written to, but missed when it goes. */
void own_let_go(struct engine *e, const uint8_t *body, size_t len, size_t keylen, uint32_t hash);
void own_yield(struct engine *e, struct rec *r); /* the flow is another's now: RELEASE */
/* An operation of ours ended an entry: a dump under way may still show it. */
void own_dump_forget(struct engine *e, const uint8_t *key, size_t keylen, uint32_t hash,
		     uint32_t id);
void own_update(struct engine *e, struct rec *r, const struct flow *f, bool fresh, usec_t now);
/* f is the entry of an own flow as it was just read. Does its timer tell that packets set it since
 * we wrote? (R35) Marks it so. */
void own_look(const struct engine *e, struct rec *r, const struct flow *f, usec_t now);
/* The kernel's whole word on an own flow whose record cannot be believed. Returns whether it
 * differed. The record may move. */
bool own_reread(struct engine *e, struct rec *r, const struct flow *f, usec_t now);
/* An own flow goes on as the claim of r, which leaves, has it. The entry is the older one yet, and
 * no packet met it if its timer is at most limit_s. */
void own_inherit(struct engine *e, struct rec *own, const struct rec *r, uint32_t limit_s);
bool own_injects(const struct engine *e); /* do received flows go to the kernel as they arrive? */
/* An entry that we did not write stands for the copy (own_let_go): it is only watched. */
static inline bool copy_is_not_ours(const struct rec *r)
{
	return (r->flags & F_KERN) && !r->written_s;
}

/* Sets F_KERN of a mirror record / takes it off. */
void copy_set(struct engine *e, struct peer *p, struct rec *r, uint32_t deadline_s);
void copy_clear(struct peer *p, struct rec *r);
/* r gets a new body: does its kernel entry have to be replaced for it? */
void copy_word(struct rec *r, const uint8_t *body, size_t len);
/* Is body another life of a's key, translated otherwise? */
bool copy_reborn(const struct rec *a, const uint8_t *body, size_t len);
/* An orphan of another life than r has the entry that was the copy r; it is no copy any more. A
 * promote makes the orphan in its place, or the entry goes with it. NULL: none stands beside it. */
struct rec *orphan_inherits(struct engine *e, const struct rec *r, uint32_t deadline_s,
			    uint8_t gen);
/* Which dump showed the entry of a stray or a copy, or did not have to, for we wrote it since: goes
 * with the entry to whoever has it next, so that the sweep does not pass it by. */
uint8_t entry_gen(struct engine *e, const struct rec *r);
/* That of no dump at hand: the sweep reads the entry. */
static inline uint8_t dump_gen_other(const struct engine *e)
{
	return (uint8_t)(e->dump.gen - 1);
}

/* p's word on the key of r is gone: another peer's waits for its place in the kernel. */
void copy_wanted(struct engine *e, const struct peer *p, const struct rec *r);
/* The entry behind from (another mirror's copy, or a stray) becomes the copy of r. */
void copy_move(struct engine *e, struct peer *p, struct rec *r, const struct rec *from);
/* p has told something new of r: of several peers that announce a key the word counts of the last
 * that was heard to be primary, then what was said as a primary, then the last word (R36). */
void copy_told(struct engine *e, struct peer *p, struct rec *r);
/* Of two peers' records of a key: does x, q's, go before r, p's? (R36) */
bool copy_goes_before(const struct peer *q, const struct rec *x, const struct peer *p,
		      const struct rec *r);
/* Another peer's record of the key of r, p's, that does so and can be carried on. NULL: none. */
struct rec *copy_before(struct engine *e, const struct peer *p, const struct rec *r,
			struct peer **q);
/* A stray that is due at an instant. The two waits are constant, so each list stays in order. */
void stray_wait(struct engine *e, struct rec *s, enum cache_list list, usec_t due);
void stray_age(struct engine *e, struct rec *s, usec_t now); /* an orphan: for orphan_s */
/* The record of r's key in the mirror of another peer than p, in a state that can be carried on: of
 * several the one whose word counts. */
struct rec *also_claimed(struct engine *e, const struct peer *p, const struct rec *r,
			 struct peer **q);
/* The mirror record of key that is a copy, or any with the key when any is true. */
struct rec *mirror_find(struct engine *e, const uint8_t *key, size_t keylen, uint32_t hash,
			bool any, struct peer **p);
/* Our kernel entry is older than the peer's claim: replace it after a while (failback). */
void own_stale_later(struct engine *e, struct peer *p, struct rec *r, usec_t now);

/* claim.c: what peers announce of keys of which our kernel has an entry of our own. */
/* Is the claim of r settled in time, as things are? */
bool claim_stands(struct engine *e, const struct peer *p, const struct rec *r);
/* The entry that the claim of r is to replace. NULL: another claim has settled it. */
const struct rec *claim_entry(struct engine *e, const struct peer *p, const struct rec *r);
/* The entry that stands here, ours, is replaced by r's flow unless packets touched it. */
bool claim_replace(struct engine *e, struct peer *p, struct rec *r, const struct rec *ours,
		   struct engine_op *op);
/* Is our entry about to be replaced by what some peer claims? */
bool claim_replaces(struct engine *e, const struct rec *own);
/* The second, of our clock, that the claim of r dates from. */
uint32_t claim_date_s(const struct engine *e, const struct peer *p, const struct rec *r,
		      usec_t now);
/* The claim of r is settled, and so are others' older ones of the key that were about to be. */
void claim_done(struct engine *e, const struct peer *p, const struct rec *r);
/* The claim of r leaves: was it not settled, and goes on as ours? */
void claim_left(struct engine *e, struct peer *p, const struct rec *r);
/* We are primary, and r of another that may be one is a flow of ours: where its packets pass will
 * show. */
void claim_rival(struct engine *e, struct peer *p, struct rec *r, usec_t now);
/* They pass here: so many of its claims at most are settled, of those up to to_s. */
void claims_settle(struct engine *e, struct peer *p, unsigned int most, uint32_t to_s);
/* A packet has made the key ours, whatever claim of it waits. */
void claim_refuted(struct engine *e, const struct key *k);
/* It goes on: the entry of r, which is older, is replaced unless packets touched it. */
bool claim_heir_op(struct engine *e, struct rec *r, struct engine_op *op);

/* Timers of an entry of r's flow, seconds. */
struct rec_timer {
	enum flow_timer kind;
	uint32_t full_s;  /* what the kernel gives it in its present state; what is left if GIVEN */
	uint32_t write_s; /* what a node that takes it over writes */
	uint32_t hold_s;  /* what a backup writes into a copy (R35) */
};
struct rec_timer rec_timer(const struct engine *e, const struct rec *r);

/* master.c: flows that hang on others. */
void master_key(const struct engine *e, const struct flow *f, struct key *k); /* of f's master */
/* An inject of r, or of its master, which has to be there first; r then waits behind it. */
bool master_inject(struct engine *e, struct rec *r, unsigned int table, struct engine_op *op);
COLD void master_look(struct rec *r);

/* An own flow has a new body: has it a helper? */
static inline void master_note(struct rec *r)
{
	r->flags &= (uint16_t)~F_HELPED;
	if (flow_has_attrs(r->body, r->keylen))
		master_look(r);
}

/* A helper's doings send no event of the flow: it is read in every round, and rounds are short. */
bool master_read_helped(struct engine *e, struct rec *r, struct engine_op *op);

/* waits.c: what waits for a time. */
void waits_tick(struct engine *e, usec_t now);

/* reread.c: own flows that are read again because an event said too little. */
/* Returns false when too many wait. tag: how the answer is to be taken. */
bool reread_put(struct engine *e, const struct rec *r, enum op_tag tag, usec_t now);
bool reread_op(struct engine *e, struct engine_op *op, usec_t now);
void reread_rehash(struct engine *e); /* the tables were hashed anew */
usec_t reread_deadline(const struct engine *e);

/* expect.c: what differs with expectations. */
/* An event of one: its master is read again, soon. */
void expect_event(struct engine *e, const struct flow *f, usec_t now);
bool expect_has_master(struct engine *e, const struct flow *f); /* in any table */
/* Is r, an own expectation that has ended, gone with its master? */
bool expect_fell(struct engine *e, const struct rec *r);
/* One in our kernel whose master is not included, or not known yet, becomes a stray. */
void expect_wait(struct engine *e, const uint8_t *body, size_t len, size_t keylen, uint32_t hash);
/* Is the master of the expectation r our own? */
bool expect_is_ours(struct engine *e, const struct rec *r);
/* Is the stray r one whose master is our own by now? */
bool expect_follows(struct engine *e, const struct rec *r);
/* The patrol is at an own flow. Returns true if it was an expectation that is no longer included,
 * and went. */
bool expect_visit(struct engine *e, struct rec *r);
/* A peer's expectation has no place in our kernel (R87), until the peer announces it anew. */
void expect_spend(struct engine *e, struct peer *p, struct rec *r);
static inline bool expect_is_spent(const struct rec *r)
{
	return flow_is_expect(r->body) && (r->flags & F_SPENT);
}

/* An expectation of ours, whose master is ours, has ended: so it has for all peers (R87). */
void expect_ended(struct engine *e, const uint8_t *key, size_t keylen, uint32_t hash);
/* A packet made the entry of a connection that was announced: so it is no longer (R87). */
void expect_used(struct engine *e, const struct flow *child);

/* scope.c: what is left out. */
bool scope_ignores(const struct engine *e, const struct flow *f);
bool scope_wants_body(struct engine *e, const uint8_t *body, size_t len);
void scope_withdraw(struct engine *e, struct rec *r); /* an own flow that is excluded: R63 */
/* Does a new policy leave out a record that the patrol is at, by what we know of it? */
bool scope_leaves_out(struct engine *e, unsigned int table, const struct rec *r);
/* What becomes of it then. What an own flow is judged by may have changed, and the filter before
 * withheld that: its entry is read. Returns true with an operation. */
bool scope_visit(struct engine *e, unsigned int table, struct rec *r, struct engine_op *op);

/* visit.c: what a record needs of the kernel. Return true with an operation. */
/* An operation on r's flow. False if r cannot be unpacked, which was checked before it was stored.
 */
bool visit_make(struct engine_op *op, enum engine_op_type type, struct rec *r, unsigned int table,
		enum op_tag tag, uint32_t timeout_s, uint32_t limit_s);
/* Urgent work. */
bool visit_mirror(struct engine *e, struct peer *p, struct rec *r, struct engine_op *op);
bool visit_stray(struct engine *e, struct rec *r, struct engine_op *op);
/* The patrol comes by. */
bool visit_patrol(struct engine *e, unsigned int table, struct rec *r, struct engine_op *op,
		  usec_t now);
void refusal_forget(struct engine *e, struct rec *r);
bool refusal_counts(const struct engine *e, const struct rec *r); /* by the last commit, or since */

/* patrol.c: the order of kernel operations. */
#define PATROL_ROUND_S 60       /* a round at ease */
#define PATROL_ROUND_SHORT_S 10 /* while copies with timers under PATROL_HOLD_SHORT_S are about */
#define PATROL_HOLD_SHORT_S 120
static inline bool round_has(const struct engine *e, uint64_t to)
{
	return e->patrol.round < to;
}

static inline bool commit_walks(const struct engine *e)
{
	return e->commit.running && round_has(e, e->patrol.commit_to);
}
/* A flow of another node came: is it translated? */
void patrol_note(struct engine *e, const struct rec *r);
bool patrol_token(struct engine *e); /* may a background write be made now? */
struct cache *patrol_table(struct engine *e, unsigned int table);
void lift_later(struct engine *e, struct rec *own, usec_t now);
void own_lift_held(struct engine *e, struct rec *own, usec_t now);
/* What stood for a copy (copy_is_not_ours) is included by now. We may have written it, before. */
void own_adopt_again(struct engine *e, const struct flow *f, const struct key *k, usec_t now);
void patrol_adopt(struct engine *e, struct rec *r,
		  usec_t now); /* a copy or stray becomes ours; its timer is to be lifted */
bool patrol_op(struct engine *e, struct engine_op *op, usec_t now);
void patrol_tick(struct engine *e, usec_t now);
usec_t patrol_deadline(const struct engine *e, usec_t now);
/* A copy has a timer of so many seconds: the walk must be in time for it. */
void patrol_hold_set(struct engine *e, uint32_t hold_s);
void patrol_urgent(struct engine *e); /* one full round at full speed */
void patrol_commit(struct engine *e, bool promote, usec_t now);
uint64_t patrol_backlog(const struct peer *p);

/* outcome.c: what became of a promote. */
void outcome_begin(struct engine *e, usec_t now);    /* a promote; nothing if one is to be told */
void outcome_put_off(struct engine *e);              /* a demote: until the next promote */
void outcome_forget(struct engine *e);               /* the local half was emptied */
void outcome_take(struct engine *e, struct rec *r);  /* r, in our kernel by our doing, is our own
							 now: by a promote? */
void outcome_ended(struct engine *e, struct rec *r); /* r has F_TAKEN */
void outcome_left(struct engine *e, struct rec *r);  /* r lives on, but is not ours any more */
void outcome_refused(struct engine *e, unsigned int err); /* a flow, and nobody tries again */
void outcome_visit(struct engine *e, unsigned int table, struct rec *r);
void outcome_tick(struct engine *e, usec_t now);

/* audit.c: is the kernel's table what we hold? */
void audit_ask(struct engine *e);
void audit_restart(struct engine *e); /* the tables were hashed anew */
/* An event of this key, or a write of ours: what was read before proves nothing. */
void audit_touch(struct engine *e, const uint8_t *key, size_t len, uint32_t hash);
void audit_overrun(struct engine *e); /* events were lost: what was read proves nothing */
bool audit_is_active(const struct engine *e);
bool audit_is_busy(const struct engine *e);                        /* no other dump may begin */
bool audit_op(struct engine *e, struct engine_op *op, usec_t now); /* OP_DUMP: of the audit */
void audit_dump_flow(struct engine *e, const struct flow *f);
void audit_dump_end(struct engine *e, bool ok, usec_t now);
void audit_visit(struct engine *e, unsigned int table, const struct rec *r);
void audit_result(struct engine *e, const struct engine_op *op, int err, const struct flow *got,
		  usec_t now);
bool audit_wants_drained(const struct engine *e, usec_t now);
void audit_drained(struct engine *e, usec_t now);
void audit_tick(struct engine *e, usec_t now);
usec_t audit_deadline(const struct engine *e);

/* inquiry.c: an audit of every node's kernel. */
void inquiry_ask(struct engine *e);
int inquiry_recv_audit(struct engine *e, struct peer *p, struct wire_buf *b);
int inquiry_recv_findings(struct engine *e, struct peer *p, struct wire_buf *b, usec_t now);
bool inquiry_put(struct engine *e, struct wire_buf *b, uint32_t *to, usec_t now);
void inquiry_begun(struct engine *e, usec_t now); /* an audit of ours begins, */
void inquiry_over(struct engine *e, usec_t now);  /* and ends */
void inquiry_tick(struct engine *e, usec_t now);
usec_t inquiry_deadline(const struct engine *e);

/* answer.c: the kernel's answers. */
void answer_result(struct engine *e, const struct engine_op *op, int err, const struct flow *got,
		   usec_t now);

#endif
