/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the engine knows: its state, a peer's state, the flags of records, and the limits of all
 * that. For engine_priv.h, which adds what its modules do with it.
 */
#ifndef CTSYNCD_ENGINE_STATE_H
#define CTSYNCD_ENGINE_STATE_H

#include "cache.h"
#include "engine.h"
#include "flow.h"
#include "quarantine.h"
#include "seal.h"
#include "wire.h"

#include <string.h>

#define RANGES_MAX 128      /* covered ranges beyond the prefix, per peer */
#define DELETIONS_MAX 65536 /* remembered deletions beyond the prefix, per peer */
#define ASKS_MAX 32         /* questions (ASK) of one peer that wait for an answer */
#define LISTS_MAX 32        /* LISTs that we have asked one peer for */
#define LIST_HELD_MAX 2048  /* flows held in a range that we ask one LIST for (R20) */
#define LIST_ROOM 8 /* of so many parts of deletions_max one is free: room for a LIST (R20) */
#define NOTES_MAX 256
#define HACKS_MAX 8          /* HELLOs waiting for their answer */
#define PATROL_STEP_MAX 4096 /* records looked at in one call of engine_op */
#define TOMB_STEP_MAX 4096   /* list entries passed in one search for tombstones to drop */
#define CHALLENGE_MS                                                                               \
	2000 /* a challenge is renewed so often, and may be answered for two of these */

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
#define WAKE_MS 100           /* after we stood still: so long old datagrams are read */
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
#define F_PASSED 0x0001  /* mirror, stray: another peer has told of the key since */
#define F_MUTE 0x0002    /* own: learnt by a dump, may never send an event */
#define F_SPENT 0x0002   /* mirror: an expectation that has no place in our kernel (R87) */
#define F_LED 0x0004     /* mirror: its peer was primary as it said so */
#define F_TOUCHED 0x0004 /* own: seen alive in this kernel since our last write */
#define F_ADOPTED                                                                                  \
	0x0008        /* own: the kernel entry was written by us; written_s holds its deadline     \
		       */
#define F_LIFT 0x0010 /* own: timer waits to be lifted to the state's full timeout (R37) */
#define F_KERN                                                                                     \
	0x0020 /* stray, mirror: an entry is in our kernel. Mirror: it is a copy, aux = dump       \
		  generation */
#define F_DOOM 0x0040 /* stray: delete from the kernel when due */
#define F_HEIR                                                                                     \
	0x0040 /* own: goes on as a claim that left had it; its entry is older, to be replaced */
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
#define F_MISSED 0x0800  /* own: an expectation that the last round at ease did not find */
#define F_WENT 0x0800    /* stray: an entry of the key went as the dump at hand ran */
#define F_FORCED 0x1000  /* stray: the owner's kernel ended it before its time */
#define F_TAKEN 0x1000   /* own: a promote took it over, and that was not told yet */
#define F_REBORN 0x4000  /* mirror, stray: the entry is of an earlier life: replace it */
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
	TAG_SCOPE,
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

struct asked {           /* inquiry.c: what a peer asks of us */
	uint64_t ticket; /* its last one; 0 = none in its epoch */
	bool due;        /* an answer is owed */
	struct engine_findings found;
};

struct peer {
	bool used;
	uint8_t index;
	char name[WIRE_NAME_MAX + 1];
	uint64_t id, epoch, kernel_id;
	uint64_t epoch_up; /* in which it was up last; 0 = never */
	uint32_t caps;
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
	usec_t told_to;    /* the last DATA before what is told anew */
	usec_t primary_at; /* when last heard to be primary; 0: never */
	bool led;          /* of all peers the last that was heard to be primary */
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
	struct asked asked;
	uint64_t copies, expect_copies; /* copies: expectations too */
};

struct dump {
	bool wanted, running, sweeping;
	bool overran; /* events were lost since the last dump began */
	bool drain;   /* not before all events that wait were read */
	bool lossy;   /* made after an overrun: what it finds gone ended in any way */
	bool audit;   /* it changes nothing: audit.c */
	bool spoilt;  /* more ended meanwhile than may be remembered: it fails at its end */
	usec_t at, started_at, ended_at;
	usec_t read_at; /* the last message, */
	usec_t since;   /* and the one before its turn: none of its turn is older */
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
	uint64_t allowance;      /* hash space that it may cover at ease */
	uint64_t round;          /* completed rounds */
	uint64_t urgent_to;      /* go at full speed until that many rounds are complete */
	unsigned int ease_table; /* then go on there, where the round at ease was */
	uint32_t ease_pos;
	unsigned int ops; /* asked for: some are the walk's before all others' (R100) */
	bool late;        /* the round at ease is behind */
	uint64_t tokens;  /* background writes allowed now */
	usec_t tokens_at;
	bool translated[2]; /* flows of others that are, IPv4 and IPv6, were met or came in this
			       round */
	bool short_holds;   /* copies with short timers were seen in this round */
	bool stalled;       /* a background write waits for a token */
	bool hurry;         /* before the next step patrol_urgent */
	uint32_t round_s;   /* length of the present round at ease */
	uint64_t sweep_to;  /* until that many rounds: check what the dump did not show */
	uint64_t adopt_to;  /* likewise, of adopting after a promote */
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

/* inquiry.c */
struct inquiry {
	usec_t begun_at;  /* the last audit of ours */
	usec_t rest_to;   /* none for a peer's sake before */
	bool open, again; /* again: another is asked for while one is open */
	usec_t at;        /* when that begins */
	uint64_t ticket;  /* of the last one */
	uint64_t epoch;   /* ours, as it began, */
	struct {
		uint64_t epoch;            /* and the peer's */
		usec_t asked_at, heard_at; /* 0: not yet asked; its last answer */
	} of[ENGINE_PEERS_MAX];
	struct engine_inquiry told;
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

struct key { /* packed */
	uint8_t p[FLOW_KEY_MAX];
	size_t len;
	uint32_t hash;
};

struct soon { /* events that were announced by engine_kern_soon, the next one first */
	struct {
		const struct flow *flow;
		struct key key;
	} of[ENGINE_SOON_MAX];
	unsigned int first, count;
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
	usec_t challenge_at, challenge_old_at; /* made */
	bool challenge_spent;                  /* the next HELLO has a new one */
	enum engine_role role;
	bool limited;             /* some flows of our kernel are not held for want of room */
	bool complete, bye, gone; /* bye: to be said; gone: was said, nothing is sent after it */
	usec_t started_at, now, ticked_at;
	usec_t still_at, woke_at; /* we stood still from then to then, the last time; 0: never */

	struct policy *policy; /* NULL: no rules */
	bool fluid;            /* its answers change with a flow's state */
	bool had_policy;       /* another one, which may have withheld events */
	bool syn_sent;         /* announce TCP in SYN_SENT */

	struct cache *local, *strays;
	struct soon soon;
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
	bool translated[2];                /* in this round of the patrol or in the one before */
	uint64_t absent;                   /* strays that are not in our kernel */

	struct peer peers[ENGINE_PEERS_MAX];
	unsigned int peer_count;
	struct hack hacks[HACKS_MAX];

	struct dump dump;
	struct patrol patrol;
	struct scrub scrub;
	struct engine_commit commit;
	uint32_t settle_s; /* a primary settles what rivals claimed until then (R38) */
	struct outcome outcome;
	struct audit audit;
	struct inquiry inquiry;
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

#endif
