/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the modules of the engine share: the engine's state, a peer's state, the flags of records.
 * Private to proto/. engine.c doors and timers; hello.c the handshake; arrive.c links; stream.c
 * the owner's side; peer.c and repair.c the receiver's side; quarantine.c poison; own.c ownership
 * and kernel events; expect.c expectations; scope.c what is left out; patrol.c kernel operations,
 * answer.c their results; scrub.c memory that flipped; audit.c a kernel that is not what we hold;
 * stats.c figures.
 * The rules ("R12") are those of PROTOCOL.md, section 6.
 */
#ifndef CTSYNCD_ENGINE_PRIV_H
#define CTSYNCD_ENGINE_PRIV_H

#include "cache.h"
#include "engine.h"
#include "flow.h"
#include "quarantine.h"
#include "seal.h"
#include "wire.h"

#include <string.h>

#define RANGES_MAX 128       /* covered ranges beyond the prefix, per peer */
#define DELETIONS_MAX 65536  /* remembered deletions beyond the prefix, per peer */
#define DELETIONS_SLACK 2048 /* of one datagram that continues the prefix (R13) */
#define ASKS_MAX 32          /* questions (ASK) of one peer that wait for an answer */
#define LISTS_MAX 32         /* LISTs that we have asked one peer for */
#define LIST_HELD_MAX 2048   /* flows held in a range that we ask one LIST for (R20) */
#define NOTES_MAX 256
#define HACKS_MAX 8          /* HELLOs waiting for their answer */
#define PATROL_STEP_MAX 4096 /* records looked at in one call of engine_op */
#define TOMB_STEP_MAX 4096   /* list entries passed in one search for tombstones to drop */
#define CHALLENGE_MS 2000    /* a challenge of ours may be answered for one to two of these */

#define REPAIRS_MAX 16        /* repairs remembered, so that none is sent twice for two peers */
#define MERGE_MS 10           /* for so long; shorter than REPORT_RETRY_MS */
#define RECKON_SKIP 3         /* REPORTs until a stretch was heard from its beginning */
#define PATH_NEW_SPAN 1024    /* a double may show us a new link if it is no older, in counters */
#define FORGET_S 60           /* silence after which a peer that holds no flow may lose its place */
#define SETTLE_MS 10000       /* who has run for so long keeps its tables (epoch.c) */
#define TABLES_PAUSE_MS 10000 /* of one who has settled, between two takeovers */

#define HELLO_FAST_MS 1000 /* while a peer is missing */
#define HELLO_SLOW_MS 10000
#define CLASH_PAUSE_MS 10000 /* a clash of names is told so often */
#define HELLO_LIMIT_MS 100   /* at most one for an unknown epoch in so long */
#define GAP_MS 1             /* wait for reordered datagrams before asking for an inner gap */
#define TAIL_MS 5            /* silence before asking for what head says is missing at the end */
#define REPORT_RETRY_MS 20
#define ACK_MS 20
#define LIST_RETRY_MS 50
#define VECTOR_RETRY_MS 200
#define OVERRUN_WAIT_MS 100   /* from an overrun to its dump: lets the burst pass */
#define OPS_SLOW_MS 1000      /* between operation and answer: the machine stood still */
#define INEXACT_S 432000      /* the longest timer that we write for a copy which packets refresh */
#define CLAIM_WAIT_S 2        /* a claim must stand so long before a stale entry is replaced */
#define RETRY_ROUND_S 10      /* refused kernel writes are tried again every so often */
#define MUTE_DUMP_MS 5000     /* shortest pause between dumps made for mute entries */
#define MUTE_DUMP_EACH_US 100 /* and so long for each entry of the table: about 1 % of a core */
#define BUCKET_MASK 0x3fffffU /* of the hashes in one bucket */
#define SCRUB_S 300           /* default of conf.scrub_s */
#define SCRUB_STEP_MAX 4096   /* records recomputed in one tick, but for the last bucket */
#define SCRUB_BUCKETS_MAX 1024 /* and buckets */

/* rec.flags. "own" = local half, "stray" = strays, "mirror" = a peer's. */
#define F_SENT 0x0001    /* own: some datagram carried it, so its end needs a tombstone */
#define F_MUTE 0x0002    /* own: learnt by a dump, may never send an event */
#define F_SPENT 0x0002   /* mirror: an expectation that has no place in our kernel (R87) */
#define F_TOUCHED 0x0004 /* own: seen alive in this kernel since our last write */
#define F_ADOPTED                                                                                  \
	0x0008        /* own: the kernel entry was written by us; written_s holds its deadline     \
		       */
#define F_LIFT 0x0010 /* own: timer waits to be lifted to the state's full timeout (R37) */
#define F_KERN                                                                                     \
	0x0020 /* stray, mirror: an entry is in our kernel. Mirror: it is a copy, aux = dump       \
		  generation */
#define F_DOOM 0x0040 /* stray: delete from the kernel when due */
#define F_STALE                                                                                    \
	0x0080 /* mirror: the kernel has an entry of ours with an old window: replace it (aux =    \
		  claim second) */
#define F_CHECK                                                                                    \
	0x0100 /* mirror: the kernel said EEXIST: read what is there. Own: its memory is in doubt, \
		  likewise */
#define F_REFUSED                                                                                  \
	0x0200 /* mirror, stray: the last kernel write was refused; tried again by the patrol */
#define F_FLIGHT 0x0400  /* an operation was handed out and not yet answered */
#define F_NAMED 0x0800   /* mirror: named by the LIST at hand */
#define F_FORCED 0x1000  /* stray: the owner's kernel ended it before its time */
#define F_TAKEN 0x1000   /* own: a promote took it over, and that was not told yet */
#define F_REBORN 0x4000  /* mirror: the copy is of an earlier life of the key: replace it */
#define F_UNKNOWN 0x2000 /* stray: found by a dump, provenance unknown */
#define F_HELPED 0x8000  /* own: has a helper */
#define F_AWAITED 0x8000 /* mirror: its master was waited for */

/* engine_op.tag: why an operation was made. */
enum op_tag {
	TAG_PLAIN,
	TAG_STALE,
	TAG_CHECK,
	TAG_SWEEP,
	TAG_SWEEP_LOSSY,
	TAG_LIFT,
	TAG_PARTIAL,
	TAG_REREAD,
	TAG_HEAL,
	TAG_AUDIT
};

/* engine_op.peer: whose table the record is in; below ENGINE_PEERS_MAX a mirror. */
enum { TABLE_STRAYS = ENGINE_PEERS_MAX, TABLE_LOCAL, TABLE_COUNT };

struct range { /* versions (from, to] are covered */
	uint64_t from, to;
};

struct list_slot { /* an ASK for a LIST that is under way; free when lo > hi_incl */
	uint32_t lo, hi_incl;
	usec_t asked_at;
};

struct answer { /* what is left of the answer to the last REPORT of a peer (R8: a new REPORT
		   replaces it) */
	struct wire_gap gaps[WIRE_GAPS_MAX];
	unsigned int count, at;
	uint32_t window_len;
};

struct hack { /* an answer to a HELLO, to be sent */
	bool due;
	uint32_t endpoints; /* it came by these */
	uint64_t epoch, challenge;
};

/* ---- arrive.c ---- */

struct mark { /* a REPORT of the peer: its counter, and how much it had sent to us by then */
	uint64_t counter, sent;
};

struct reckon { /* what should have come, and what came */
	uint64_t received;
	uint64_t since, old; /* since the last mark; between it and the one before */
	uint64_t expected, came;
	unsigned int skip; /* stretches that are not judged: not heard from their beginning */
};

struct path { /* a peer by one endpoint */
	bool known, up;
	struct seal_window window;
	usec_t heard_at;
	usec_t quiet_at; /* the peer itself was silent until then */
	uint64_t doubles;
	struct reckon reckon;
};

struct repair { /* sent a moment ago in answer to somebody's REPORT */
	uint64_t from, to;
	usec_t at;
	uint32_t endpoints, peers; /* where it went; whose requests it counts for */
};

struct peer {
	bool used;
	uint8_t index;
	char name[WIRE_NAME_MAX + 1];
	uint64_t id, epoch, kernel_id;
	uint64_t challenged; /* how many challenges had been made when its epoch was agreed */
	uint32_t endpoints;  /* by which it was heard; what is meant for it goes to all of them */
	struct path path[ENGINE_ENDPOINTS_MAX];
	struct mark mark, mark_old; /* the last two */
	struct reckon reckon;       /* by any link */
	uint64_t sent_count;        /* datagrams sent to it */
	uint16_t dgram_max;         /* the largest that it can take; 0 = not told */
	struct seal_key key;
	struct seal_window window;
	usec_t heard_at;    /* 0 = never */
	usec_t hears_us_at; /* last REPORT that says it heard us lately */
	usec_t progress_at; /* when nothing was missing, or P advanced, for the last time */
	bool primary, complete, bye, up, one_way;
	bool other_tables; /* hashed with other keys than ours: nothing can be compared */
	bool tables_noted;
	uint8_t tables[WIRE_TABLES_LEN]; /* of its present epoch */

	/* Receiver: our mirror of its stream. */
	struct cache *mirror;
	uint8_t gen;        /* rec.gen of the present epoch's records */
	uint32_t old_count; /* flows of older epochs still held */
	bool old_dead;      /* what an older epoch leaves behind is dead: same kernel, its daemon
			       restarted */
	uint64_t covered, maxhead, dropped0; /* P, maxhead, T0 */
	struct range ranges[RANGES_MAX];
	unsigned int range_count;
	uint64_t tomb_min; /* lowest version among remembered deletions */
	uint64_t debt;
	bool resyncing;
	uint64_t proof[WIRE_BUCKETS]; /* version at which the bucket was proven equal; 0 = not since
					 the debt */
	uint64_t proof_all;           /* likewise, all of them by the total */
	uint64_t changed[WIRE_BUCKETS]; /* highest version of this epoch that changed our bucket */
	uint64_t verified;
	usec_t verified_at; /* 0 = never in this epoch */
	bool in_sync;
	bool limited; /* some of its flows are not held for want of room */
	bool lapsed;  /* flows left in its silence, by R45 */
	bool want_vector;
	unsigned int vector_lo; /* the next bucket to ask for */
	usec_t vector_at;
	uint64_t list_map[WIRE_BUCKETS / 64];
	struct list_slot lists[LISTS_MAX];
	unsigned int list_todo; /* bits of list_map and slots under way: LISTs that are lacking */
	usec_t reported_at, data_at;
	usec_t gap_at; /* an inner gap was first seen; 0 = none */
	usec_t asked_at,
		filled_at; /* last REPORT with gaps; last DATA that filled one. 0 = nothing asked */
	uint64_t asked_to;
	uint64_t reported_covered;
	uint32_t unreported_len; /* bytes received since the last REPORT */
	bool report_now;

	/* Owner: what we know of its copy of our stream. */
	bool acked_known;
	uint64_t acked;
	uint32_t credit_len;
	struct answer answer;
	struct wire_ask asks[ASKS_MAX];
	unsigned int ask_at, ask_count;
	uint64_t copies, expect_copies; /* copies: expectations too */
};

struct dump {
	bool wanted, running, sweeping;
	bool overran; /* events were lost since the last dump began */
	bool lossy;   /* made after an overrun: what it finds gone ended in any way */
	bool audit;   /* it changes nothing: audit.c */
	bool spoilt;  /* more ended meanwhile than may be remembered: it fails at its end */
	usec_t at, started_at, ended_at;
	uint64_t start_version;
	uint64_t entries, gone;
	uint8_t gen;
};

/* The patrol: one endless walk over strays, mirrors and the local half that finds all background
 * work. */
struct patrol {
	unsigned int table; /* mirrors, TABLE_STRAYS, TABLE_LOCAL */
	uint32_t pos;       /* hash */
	unsigned int skip;  /* records with exactly that hash that are done with */
	usec_t walked_at;
	uint64_t allowance; /* hash space that it may cover at ease */
	uint64_t round;     /* completed rounds */
	uint64_t urgent_to; /* go at full speed until that many rounds are complete */
	uint64_t tokens;    /* background writes allowed now */
	usec_t tokens_at;
	bool short_holds;  /* copies with short timers were seen in this round */
	bool stalled;      /* a background write waits for a token */
	uint32_t round_s;  /* length of the present round at ease */
	uint64_t sweep_to; /* until that many rounds: check what the dump did not show */
	uint64_t adopt_to; /* likewise, of adopting after a promote */
	uint64_t commit_to;
	uint64_t forget_to; /* likewise: what was refused to a primary no longer counts */
	uint64_t policy_to; /* likewise, of withdrawing what a new policy excludes */
};

#define LIMIT_ROOM 16   /* of so many parts of flows_max one is free: room again */
#define MASTERS_MAX 4   /* masters of masters that are put in front of a child */
#define REREADS_MAX 256 /* own flows waiting to be read again */

struct reread {
	usec_t due;
	uint32_t hash;
	uint8_t tag, keylen, key[FLOW_KEY_MAX];
};

/* The scrub: an endless round over the buckets of all tables. */
struct scrub {
	unsigned int table, bucket; /* the next one */
	usec_t at;                  /* up to here its time has been used */
	bool begun;                 /* the present round began at its beginning */
	uint64_t all_to;            /* at full speed until so many rounds are over */
	/* What the local half is healed of. While it is, nothing is compared with it. */
	uint32_t doubts;                                          /* own flows with F_CHECK */
	enum { REREAD_NO, REREAD_WANTED, REREAD_RUNNING } reread; /* of the whole kernel table */
};

/* audit.c */
struct audit {
	enum { AUDIT_IDLE, AUDIT_WANTED, AUDIT_DUMPS, AUDIT_WALKS, AUDIT_LOOKS } state;
	bool again;             /* asked for while one runs */
	bool judging;           /* events were read: suspects that were looked at are judged */
	usec_t at;              /* WANTED: not before */
	usec_t drain_at;        /* events that are read before say nothing */
	uint64_t walk_to;       /* until the patrol has done so many rounds */
	struct cache *suspects; /* while it is DUMPS or later */
	uint64_t scrubbed[TABLE_COUNT][WIRE_BUCKETS / 64]; /* buckets whose memory was looked at, */
	uint64_t flipped[TABLE_COUNT][WIRE_BUCKETS / 64];  /* and was not what the digest says */
	struct engine_audit told;
};

/* outcome.c */
struct outcome {
	enum { OUTCOME_IDLE, OUTCOME_WAITS, OUTCOME_READS, OUTCOME_COUNTS } state;
	usec_t due;        /* the table is read again */
	uint8_t gen;       /* by this dump or a later one; */
	uint64_t count_to; /* then the patrol counts, until so many rounds are over */
	uint64_t open;     /* own flows with F_TAKEN */
	struct engine_outcome next, told;
};

struct engine {
	struct engine_conf conf;
	uint64_t id, epoch;
	struct seal seal;
	uint8_t seed[32];
	uint64_t epoch_count; /* of renewals */
	bool agreed;          /* a settled peer has our tables */
	usec_t tables_at;     /* no takeover of others before */
	uint64_t challenge_count, challenge, challenge_old;
	usec_t challenge_at;
	enum engine_role role;
	bool limited;             /* some flows of our kernel are not held for want of room */
	bool complete, bye, gone; /* bye: to be said; gone: was said, nothing is sent after it */
	usec_t started_at, now, ticked_at;

	struct policy *policy; /* NULL: no rules */
	bool fluid;            /* its answers change with a flow's state */
	bool syn_sent;         /* announce TCP in SYN_SENT */

	struct cache *local, *strays;
	uint64_t head, dropped, sent; /* dropped = T; sent: live DATA went out up to here */
	uint64_t tomb_at;             /* no tombstones at or below this version */
	bool answers_turn;            /* live DATA and answers take turns */
	unsigned int peer_turn;       /* and so do the answers to the peers */
	struct repair repairs[REPAIRS_MAX];
	unsigned int repair_at;
	uint64_t counter;
	usec_t hello_at, hello_sent_at, beat_at;
	usec_t clash_at;                            /* a clash of names is not told before */
	uint32_t hello_to;                          /* endpoints that a HELLO is owed to */
	uint32_t hello_asked[ENGINE_ENDPOINTS_MAX]; /* bytes of unknown epochs that came by it */
	bool hello_now, unclaimed_own;     /* nobody claims: strays of unknown origin are ours */
	uint64_t mute, unclaimed, refused; /* flows in that state now */
	uint64_t absent;                   /* strays that are not in our kernel */

	struct peer peers[ENGINE_PEERS_MAX];
	unsigned int peer_count;
	struct hack hacks[HACKS_MAX];

	struct dump dump;
	struct patrol patrol;
	struct scrub scrub;
	struct engine_commit commit;
	struct outcome outcome;
	struct audit audit;
	struct reread rereads[REREADS_MAX];
	unsigned int reread_at, reread_count;
	uint32_t ops_out;      /* operations handed out and not yet answered */
	usec_t ops_at;         /* the first of them was handed out */
	uint32_t inexact_to_s; /* when a timer was written is not known well enough until then */
	uint64_t refused_noted;
	int refused_errno;
	usec_t refused_at;

	struct quarantine quarantine;
	struct engine_mark *mark, no_mark; /* no_mark: when the caller keeps none */
	struct engine_tape *tape;          /* NULL: no flight recorder */
	struct engine_note notes[NOTES_MAX];
	unsigned int note_at, note_count;
	struct engine_counters count;
};

struct key { /* packed */
	uint8_t p[FLOW_KEY_MAX];
	size_t len;
	uint32_t hash;
};

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
/* Is this node primary, or a peer by its last word? */
bool peer_primary_known(const struct engine *e);
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
bool scrub_busy(const struct engine *e);  /* it goes at full speed */
bool scrub_heals(const struct engine *e); /* parts of the local half are in doubt */
void scrub_local(struct engine *e, unsigned int bucket);
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
void own_claims(struct engine *e, usec_t now);
void own_tick(struct engine *e, usec_t now);
struct rec *stray_find(struct engine *e, const uint8_t *key, size_t keylen,
		       uint32_t hash); /* live one or NULL */
struct rec *stray_put(struct engine *e, const struct rec *r, uint16_t flags, uint32_t deadline_s);
struct rec *unknown_find(struct engine *e, const struct rec *r);
void stray_del(struct engine *e, struct rec *r);
void own_maybe_mute(struct engine *e, struct rec *r);
/* What the policy excludes is not ours (R62). If a peer announces it, the entry stands for that
 * peer's copy, of which we wrote nothing: never deleted nor written to, but missed when it goes. */
void own_let_go(struct engine *e, const uint8_t *body, size_t len, size_t keylen, uint32_t hash);
void own_yield(struct engine *e, struct rec *r); /* the flow is another's now: RELEASE */
/* An operation of ours ended an entry: a dump under way may still show it. */
void own_dump_forget(struct engine *e, const uint8_t *key, size_t keylen, uint32_t hash,
		     uint32_t id);
void own_update(struct engine *e, struct rec *r, const struct flow *f, bool fresh, usec_t now);
/* The kernel's whole word on an own flow whose record cannot be believed. Returns whether it
 * differed. The record may move. */
bool own_reread(struct engine *e, struct rec *r, const struct flow *f, usec_t now);
bool own_injects(const struct engine *e); /* do received flows go to the kernel as they arrive? */
/* Takes F_KERN off a mirror record / sets it. */
/* An entry that we did not write stands for the copy (own_let_go): it is only watched. */
static inline bool copy_is_not_ours(const struct rec *r)
{
	return (r->flags & F_KERN) && !r->written_s;
}

void copy_set(struct engine *e, struct peer *p, struct rec *r, uint32_t deadline_s);
void copy_clear(struct peer *p, struct rec *r);
/* r gets a new body: does its kernel entry have to be replaced for it? */
void copy_word(struct rec *r, const uint8_t *body, size_t len);
/* Is body another life of a's key, translated otherwise? */
bool copy_reborn(const struct rec *a, const uint8_t *body, size_t len);
/* p's word on the key of r is gone: another peer's waits for its place in the kernel. */
void copy_wanted(struct engine *e, const struct peer *p, const struct rec *r);
/* The entry behind from (another mirror's copy, or a stray) becomes the copy of r. */
void copy_move(struct engine *e, struct peer *p, struct rec *r, const struct rec *from);
/* A stray that is due at an instant. The two waits are constant, so each list stays in order. */
void stray_wait(struct engine *e, struct rec *s, enum cache_list list, usec_t due);
/* The record of r's key in the mirror of another peer than p, in a state that can be carried on. */
struct rec *also_claimed(struct engine *e, const struct peer *p, const struct rec *r,
			 struct peer **q);
/* The mirror record of key that is a copy, or any with the key when any is true. */
struct rec *mirror_find(struct engine *e, const uint8_t *key, size_t keylen, uint32_t hash,
			bool any, struct peer **p);
/* Our kernel entry is older than the peer's claim: replace it after a while (failback). */
void own_stale_later(struct engine *e, struct peer *p, struct rec *r, usec_t now);
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
/* The patrol is at a flow after a new policy. Returns true if the flow went. */
bool scope_visit(struct engine *e, unsigned int table, struct rec *r);

/* patrol.c: kernel operations. */
/* An operation on r's flow. False if r cannot be unpacked, which was checked before it was stored.
 */
bool patrol_make(struct engine_op *op, enum engine_op_type type, struct rec *r, unsigned int table,
		 enum op_tag tag, uint32_t timeout_s, uint32_t limit_s);
/* The entry that stands here, ours, is replaced by r's flow unless packets touched it. */
bool patrol_replace(struct engine *e, struct peer *p, struct rec *r, const struct rec *ours,
		    struct engine_op *op);
bool patrol_token(struct engine *e); /* may a background write be made now? */
struct cache *patrol_table(struct engine *e, unsigned int table);
void patrol_adopt(struct engine *e, struct rec *r,
		  usec_t now); /* a copy or stray becomes ours; its timer is to be lifted */
bool patrol_op(struct engine *e, struct engine_op *op, usec_t now);
void patrol_tick(struct engine *e, usec_t now);
usec_t patrol_deadline(const struct engine *e, usec_t now);
/* A copy has a timer of so many seconds: the walk must be in time for it. */
void patrol_hold_set(struct engine *e, uint32_t hold_s);
void patrol_urgent(struct engine *e, usec_t now); /* one full round at full speed */
void patrol_commit(struct engine *e, bool promote, usec_t now);
uint64_t patrol_backlog(const struct engine *e, const struct peer *p);

/* outcome.c: what became of a promote. */
void outcome_begin(struct engine *e, usec_t now);    /* a promote; nothing if one is to be told */
void outcome_put_off(struct engine *e);              /* a demote: until the next promote */
void outcome_forget(struct engine *e);               /* the local half was emptied */
void outcome_take(struct engine *e, struct rec *r);  /* r, in our kernel by our doing, is our own
							 now: by a promote? */
void outcome_ended(struct engine *e, struct rec *r); /* r has F_TAKEN */
void outcome_left(struct engine *e, struct rec *r);  /* r lives on, but is not ours any more */
void outcome_refused(struct engine *e, unsigned int err); /* a flow, and nobody tries again */
/* Has a packet made the timer of r, read by a dump, shorter than we wrote it? */
bool outcome_shortened(const struct engine *e, const struct rec *r, uint32_t end_s);
void outcome_visit(struct engine *e, unsigned int table, struct rec *r);
void outcome_tick(struct engine *e, usec_t now);

/* audit.c: is the kernel's table what we hold? */
void audit_ask(struct engine *e);
void audit_restart(struct engine *e); /* the tables were hashed anew */
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

/* answer.c: the kernel's answers. */
void answer_result(struct engine *e, const struct engine_op *op, int err, const struct flow *got,
		   usec_t now);

#endif
