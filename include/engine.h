/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doors of the engine: a pure machine that turns kernel events and datagrams into datagrams and
 * kernel operations. Inputs are pushed, outputs are pulled, time is an argument (microseconds,
 * monotonic, never decreasing). No callbacks, no syscalls, no randomness but the seed.
 * proto/PROTOCOL.md is the specification.
 */
#ifndef CTSYNCD_ENGINE_H
#define CTSYNCD_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow.h"
#include "pages.h"
#include "policy.h"
#include "util.h"
#include "wire.h"

#define ENGINE_PEERS_MAX 3      /* other nodes of the group */
#define ENGINE_ENDPOINTS_MAX 16 /* (link, peer address) pairs, or (link, group) */
#define ENGINE_TO_ALL UINT32_MAX
#define ENGINE_KEYS_MAX 2 /* sealing keys: send with the first, accept all */

struct engine;

enum engine_role { ROLE_BACKUP = 0, ROLE_PRIMARY = 1 };

/* Where the entries that the first dump finds come from. */
enum engine_origin {
	ORIGIN_BOOT,    /* no earlier run since boot could have injected: all of it is ours */
	ORIGIN_RESTART, /* an earlier run may have injected: on a backup unclaimed until the peers
			   have spoken */
};

/* Flows that are never replicated: UDP between two addresses at a port, either way round (the sync
 * links' own). */
#define ENGINE_IGNORE_MAX 16
struct engine_ignore {
	uint8_t l3; /* 4 or 6 */
	bool group; /* anybody to b, a multicast group */
	uint8_t a[16], b[16];
	uint16_t port; /* network order */
};

struct engine_conf {
	char node[WIRE_NAME_MAX + 1];
	uint64_t kernel_id;    /* hash of boot id and network namespace; never 0 */
	bool hot;              /* standby = "hot": inject as flows arrive */
	bool active_active;    /* every node carries traffic; needs hot */
	enum engine_role role; /* role at start */
	enum engine_origin origin;
	uint8_t key[ENGINE_KEYS_MAX][32]; /* pre-shared keys; key_count 0 = unsealed */
	uint8_t key_count;
	uint64_t dgrams_max; /* sent in one epoch, and thus sealed by one key: then a new one begins
			      */
	uint16_t dgram_max;  /* largest datagram to send, bytes of UDP payload */
	uint32_t window_len; /* receive window to announce, bytes */
	uint32_t flows_max;  /* per cache half */
	uint32_t tombstones_max;
	uint32_t deletions_max; /* remembered beyond a gap, of each peer (R13) */
	uint32_t hold_s;        /* timeout written into hot copies, at most the state's own */
	uint32_t orphan_s; /* cache mode: how long leftovers of a dead epoch stay for a promote */
	uint32_t forced_wait_ms; /* how long a forced deletion waits on a backup */
	uint32_t unclaimed_ms;   /* own what nobody claims when no peer is heard for so long after
				    start */
	uint32_t heartbeat_ms;
	uint32_t dead_ms;   /* a direction with nothing heard for so long is down */
	uint32_t walk_rate; /* flows a second in background walks (refresh, lift, adopt) */
	uint32_t scrub_s;   /* every bucket is recomputed within so long; 0 = never */
	struct flow_timeouts timeouts;
	struct engine_ignore ignore[ENGINE_IGNORE_MAX]; /* loopback is ignored in any case */
	unsigned int ignore_count;
	const struct pages *pages; /* for the tables; NULL = of malloc */
};

/* Sensible values for everything that has a default; node, kernel_id and keys stay empty. */
void engine_conf_default(struct engine_conf *conf);

/* epoch: fresh random bits, never 0, never re-used. seed: 32 random bytes for challenges. NULL when
 * out of memory. */
struct engine *engine_new(const struct engine_conf *conf, uint64_t epoch, const uint8_t seed[32],
			  usec_t now);
void engine_free(struct engine *e);

/* Applies the keys of conf that are live (timers, limits, hold, keys, dgram_max, timeouts). node,
 * hot and kernel_id are not. */
void engine_reconf(struct engine *e, const struct engine_conf *conf, usec_t now);

/* Sets which flows are announced (until then: all but TCP in SYN_SENT). What is newly excluded is
 * withdrawn from the peers, what is newly included is looked for by a dump; a filter of the kernel
 * that withholds less than before must stand when this is called. Keeps nothing of conf. Returns
 * false when out of memory: the old policy stays. */
bool engine_policy(struct engine *e, const struct policy_conf *conf, usec_t now);

/* ---- Poison (R96 to R99) ---- */
#define ENGINE_QUARANTINE_MAX 32
#define ENGINE_SUSPECTS_MAX 32
enum engine_work { /* on a flow */
		   WORK_NONE,
		   WORK_RECORD, /* a peer's record is looked at and applied */
		   WORK_EVENT,  /* an event or dumped entry of the kernel */
		   WORK_PATROL, /* what the kernel should do with it is decided */
		   WORK_WRITE,  /* the caller's own: operations are carried out and answered */
		   WORK_COUNT
};
struct engine_mark { /* what is being worked on; memory of the caller's, which may outlive us */
	uint32_t work;
	uint8_t len, key[FLOW_KEY_MAX];
	char peer[WIRE_NAME_MAX + 1]; /* of whom the record is */
};

/* From now on m says what is being worked on. NULL ends that. */
void engine_mark(struct engine *e, struct engine_mark *m);

/* Before any input. Sets a key aside, or watches for the next time that the work on it ends well,
 * and says so by NOTE_INNOCENT. Numbered from 0 in the order of the calls, each. False: malformed,
 * or one too many. */
bool engine_quarantine(struct engine *e, const uint8_t *key, size_t len);
bool engine_suspect(struct engine *e, enum engine_work work, const uint8_t *key, size_t len);

/* ---- In: the kernel ---- */
enum engine_kern_event {
	KERN_NEW, /* conntrack event */
	KERN_UPDATE,
	KERN_DESTROY,
	KERN_DUMP,      /* one entry of a dump that OP_DUMP started */
	KERN_DUMP_END,  /* flow is NULL: every entry was delivered */
	KERN_DUMP_FAIL, /* flow is NULL: the dump broke off; the engine starts another */
	KERN_OVERRUN,   /* flow is NULL: events were lost (ENOBUFS) */
	KERN_DRAINED,   /* flow is NULL: no event waits to be read (engine_wants_drained) */
};

/* Hint that an event with this flow follows: look-ups in a large table wait for memory. Up to
 * ENGINE_SOON_MAX such hints stand; each is followed by its engine_kern, in the same order and with
 * the same, unchanged flow. */
#define ENGINE_SOON_MAX 8
void engine_kern_soon(struct engine *e, const struct flow *flow);

/* portid: 0 = the kernel itself (organic), else the netlink port that caused the event. Own
 * injections never come here. */
void engine_kern(struct engine *e, enum engine_kern_event event, const struct flow *flow,
		 uint32_t portid, usec_t now);

/* Is it to be told KERN_DRAINED? As soon as the event queue was read until it was empty, from now
 * on. */
bool engine_wants_drained(const struct engine *e, usec_t now);

/* ---- In: the network ---- */
enum engine_drop { /* reasons; a counter each (ENGINE_DROPS) */
#define ENGINE_DROPS(X)                                                                            \
	X(SHORT, "cut short or malformed")                                                         \
	X(MAGIC, "not a ctsyncd datagram")                                                         \
	X(VERSION, "another protocol version")                                                     \
	X(SELF, "our own node id: reflected, or two nodes with one name")                          \
	X(KEY, "unknown key id, or sealed where unsealed is configured, or the reverse")           \
	X(AUTH, "authentication failed")                                                           \
	X(REPLAY, "counter seen before or too old")                                                \
	X(DOUBLE, "came by another link already: what several links are for")                      \
	X(EPOCH, "epoch not agreed by challenge")                                                  \
	X(CHALLENGE, "answer to no challenge of ours")                                             \
	X(TYPE, "unknown message type")                                                            \
	X(VALUE, "a field out of its range")                                                       \
	X(UNKNOWN, "a mandatory record that this version does not know")                           \
	X(PEERS, "more peers than this node can hold")                                             \
	X(RANGES, "limit of version ranges reached")                                               \
	X(DELETIONS, "limit of remembered deletions reached")                                      \
	X(FLOWS, "limit of flows reached")                                                         \
	X(STALE, "LIST older than what we cover, or VECTOR that cannot be compared")
		   DROP_NONE = 0,
#define ENGINE_DROP_ENUM(name, text) DROP_##name,
		   ENGINE_DROPS(ENGINE_DROP_ENUM)
#undef ENGINE_DROP_ENUM
			   DROP_COUNT
};

/* Feeds one datagram; opens pkt in place, does not keep it. endpoint: the index it came from, below
 * ENGINE_ENDPOINTS_MAX. Returns 0 or -DROP_x (counted). */
int engine_recv(struct engine *e, unsigned int endpoint, uint8_t *pkt, size_t len, usec_t now);

/* ---- In: time ---- */
/* When engine_tick wants to be called at the latest. */
usec_t engine_deadline(const struct engine *e);
void engine_tick(struct engine *e, usec_t now);

/* ---- In: verbs ---- */
enum engine_cmd {
	CMD_PROMOTE, /* progress and result in engine_stats()->commit */
	CMD_COMMIT,  /* likewise */
	CMD_DEMOTE,
	CMD_RESYNC,
	CMD_FLUSH_LOCAL,
	CMD_FLUSH_REMOTE,
	CMD_BYE,    /* the next datagram is a BYE to every peer, and the last: send it, then free */
	CMD_VERIFY, /* scrub everything now: engine_stats()->scrubbing until done */
	CMD_AUDIT,  /* compare the kernel with what is held: engine_audit()->due is its serial */
	CMD_INQUIRE, /* have the peers audit theirs: engine_inquiry()->due is its serial */
};
void engine_cmd(struct engine *e, enum engine_cmd cmd, usec_t now);

/* ---- Out: the network ---- */
/* Writes the next datagram into pkt (WIRE_DGRAM_MAX bytes at least). *to: bitmap of endpoints, or
 * ENGINE_TO_ALL. Returns its length, 0 when there is nothing to send now. */
size_t engine_send(struct engine *e, uint8_t *pkt, uint32_t *to, usec_t now);

/* ---- Out: the kernel ---- */
enum engine_op_type {
	OP_INJECT,  /* create with NLM_F_EXCL: flow with timeout_s. -EEXIST: the original tuple or
		       the reply tuple is taken */
	OP_UPDATE,  /* state, mark and timeout of an existing entry; status bits OR in. -ENOENT: not
		       there */
	OP_REFRESH, /* read; if untouched write timeout_s alone. Never lowers a timer */
	OP_DELETE,  /* read; if untouched delete that incarnation (by CTA_ID) */
	OP_REPLACE, /* read; if untouched delete that incarnation and create flow anew (forgets
		       stale TCP windows) */
	OP_JOIN,    /* read; what flow_join() finds new in flow is written, timeout_s with a new
		       TCP state. The result carries the entry as it is then */
	OP_GET,     /* read only: the result carries the entry */
	OP_DUMP,    /* start a dump; answered by KERN_DUMP .. KERN_DUMP_END, not by a result */
};
/* "Untouched": now + the kernel's remaining time <= limit_s (+ slack of 1 s). Else the result is
 * -EBUSY. limit_s UINT32_MAX: no condition, nothing is read first (OP_DELETE then goes by key,
 * OP_REPLACE deletes and creates). */
#define ENGINE_EXACT_S 3
struct engine_op {
	enum engine_op_type type;
	struct flow flow; /* complete for INJECT, UPDATE, REPLACE; key alone otherwise */
	uint32_t limit_s; /* seconds of the monotonic clock */
	bool exact;       /* "untouched" also means: no more than ENGINE_EXACT_S below limit_s. A
			     packet may have shortened the timer, unheard (R35) */
	uint8_t peer;     /* engine's own: whose mirror asked */
	uint8_t tag;      /* engine's own */
};

/* The next operation to carry out. Returns false when there is none now. Every op but OP_DUMP must
 * be answered by engine_result, in order, before the engine is ticked again. */
bool engine_op(struct engine *e, struct engine_op *op, usec_t now);

/* Result of op: err 0 or -errno. got: the entry as the kernel had it (OP_GET, OP_JOIN, OP_REFRESH,
 * and -EBUSY of conditional ones), else NULL. */
void engine_result(struct engine *e, const struct engine_op *op, int err, const struct flow *got,
		   usec_t now);

/* ---- Out: what happened ---- */
enum engine_note_type {
	NOTE_ROLE, /* role changed: arg0 = engine_role. The daemon persists it before it answers a
		      verb */
	NOTE_PEER_UP,   /* both directions alive; arg0 = 1 if its epoch is new since it was up */
	NOTE_PEER_DOWN, /* arg0 = ms since last heard, arg1 = 1: we hear it, it does not hear us */
	NOTE_PEER_BYE,
	NOTE_LINK_DOWN, /* nothing of the peer comes by endpoint arg0, though by others; arg1 = ms
			   since */
	NOTE_LINK_UP,   /* endpoint arg0 carries again, after arg1 ms */
	NOTE_FORGOTTEN, /* its place was given to a new peer: silent, and holding no flow */
	NOTE_RESYNC,    /* arg0 = versions missing */
	NOTE_SYNCED,    /* mirror covered up to arg0 */
	NOTE_DEBT,      /* tombstones were lost up to version arg0: comparing buckets */
	NOTE_DEBT_PAID,
	NOTE_DIVERGENCE, /* bucket arg0, flows repaired arg1 */
	NOTE_FLIP, /* bucket arg0 was not what its digest says; arg1 = flows that are in doubt and
		      are read or fetched again. Empty peer: of our own half, else of its mirror */
	NOTE_OVERRUN,
	NOTE_DUMP_END, /* arg0 = entries, arg1 = found gone */
	NOTE_REFUSED,  /* kernel refused a write: arg0 = errno, arg1 = how many since the last such
			  note */
	NOTE_COMMIT_DONE, /* figures in engine_stats()->commit */
	NOTE_OUTCOME,     /* what became of a promote: arg0 = flows taken over, arg1 = of these seen
			      alive since; all in engine_outcome() */
	NOTE_LIMIT,       /* arg0 = engine_drop or 0, a limit was reached */
	NOTE_NAME_CLASH,  /* another node uses our name */
	NOTE_TABLES,      /* the peer's tables are hashed with other keys than ours; arg0 = 1: we
			     took them over */
	NOTE_QUARANTINED, /* something of the quarantined key number arg0 was set aside, for the
			     first time; arg1 = enum engine_work */
	NOTE_INNOCENT,    /* the work on suspect number arg0 ended well */
	NOTE_MUTE,        /* arg0 = entries that may be mute */
	NOTE_FOUND,       /* an audit: engine_audit()->found[arg0], of kind arg1 (enum
			     engine_found_what). Empty peer: of our own half or of nobody */
	NOTE_AUDIT,       /* it is over: arg0 = differences, arg1 = flows that it could not judge */
};
struct engine_note {
	enum engine_note_type type;
	char peer[WIRE_NAME_MAX + 1]; /* empty if about no peer */
	uint64_t arg0, arg1;
};
bool engine_note(struct engine *e, struct engine_note *note);

/* ---- The flight recorder ---- */
/* The engine is pure: a saved state and the inputs since are its whole history. The tape is memory
 * of the caller's, which may outlive the process; its entries follow the struct (proto/tape.h). */
struct engine_tape {
	uint64_t used, size; /* bytes of entries: written, and room */
	uint64_t steps;      /* entries */
	uint64_t hash;       /* trace of all outputs; may start from that of an earlier tape */
	uint64_t full;       /* 1: an entry did not fit, the tape ended before it. 2: holds no
				entries, only the trace */
};

/* From now on every call but the read-only ones is appended to tape, before the engine looks at it.
 * NULL ends that. */
void engine_record(struct engine *e, struct engine_tape *tape);

/* Writes the engine's state, no keys in it, into buf (aligned to 8 bytes). Returns the length, 0 if
 * it did not fit; buf NULL: the length that is needed, quickly. No operation may be unanswered. */
size_t engine_save(const struct engine *e, uint8_t *buf, size_t len);

/* A new engine in that state; it cannot open or seal. NULL if the bytes are not such a state or
 * memory is short. Only of the same engine_build. */
struct engine *engine_restore(const uint8_t *buf, size_t len);
uint64_t engine_build(void);

/* ---- Read only ---- */
#define ENGINE_COUNTERS(X)                                                                         \
	X(events_new, "NEW events")                                                                \
	X(events_update, "UPDATE events")                                                          \
	X(events_destroy, "DESTROY events")                                                        \
	X(events_ignored, "events of loopback and of the sync links' own flows")                   \
	X(excluded, "events and dumped entries of flows that the policy leaves out")               \
	X(withdrawn, "own flows ended for the peers because the policy leaves them out")           \
	X(events_foreign, "events caused by another netlink user")                                 \
	X(events_unknown, "UPDATE or DESTROY of a flow not held")                                  \
	X(overruns, "event buffer overruns (ENOBUFS)")                                             \
	X(dumps, "kernel dumps ended")                                                             \
	X(dump_failures, "kernel dumps broken off")                                                \
	X(dump_entries, "entries read by dumps")                                                   \
	X(dump_gone, "flows found gone by a dump")                                                 \
	X(dgrams_sent, "datagrams sent")                                                           \
	X(bytes_sent, "bytes of UDP payload sent")                                                 \
	X(dgrams_received, "datagrams accepted")                                                   \
	X(bytes_received, "bytes of UDP payload accepted")                                         \
	X(records_sent, "records sent, repairs included")                                          \
	X(records_repaired, "records sent in answers to reports")                                  \
	X(repairs_merged, "requests of a peer that the answer to another peer served")             \
	X(records_applied, "records applied to a mirror")                                          \
	X(records_ignored, "records of versions already held")                                     \
	X(hellos_unknown, "HELLO taken of epochs that were not agreed on")                         \
	X(hellos_sent, "HELLO sent")                                                               \
	X(reports_sent, "REPORT sent")                                                             \
	X(reports_received, "REPORT received")                                                     \
	X(lists_sent, "LIST sent")                                                                 \
	X(lists_applied, "LIST applied")                                                           \
	X(list_removed, "flows removed by a LIST")                                                 \
	X(vectors_sent, "VECTOR sent")                                                             \
	X(vectors_compared, "VECTOR compared")                                                     \
	X(buckets_unequal, "buckets found unequal")                                                \
	X(divergences, "buckets that differed at rest")                                            \
	X(scrubbed, "buckets recomputed from their flows")                                         \
	X(scrub_rounds, "times that all buckets were")                                             \
	X(flips, "buckets found not to be what their digest says: memory flipped")                 \
	X(broken, "records thrown away because their key had changed in memory")                   \
	X(reread, "own flows read again from the kernel because of it")                            \
	X(healed, "of these, flows that had changed in memory")                                    \
	X(debts, "times that tombstones were lost before a peer had them")                         \
	X(tombstones_dropped, "tombstones dropped at the cap")                                     \
	X(cancelled, "flows made and destroyed before they were sent")                             \
	X(epochs_adopted, "peer epochs agreed")                                                    \
	X(epochs_renewed, "own epochs begun without a restart")                                    \
	X(tables_taken, "times that a peer's hash keys of the tables were taken over")             \
	X(injects, "kernel entries created")                                                       \
	X(updates, "kernel entries updated")                                                       \
	X(refreshes, "kernel timers refreshed")                                                    \
	X(deletes, "kernel entries deleted")                                                       \
	X(replaces, "stale kernel entries replaced")                                               \
	X(joins, "active-active: own entries told what a peer saw of them")                        \
	X(refused, "kernel writes refused")                                                        \
	X(touched, "copies found touched by traffic")                                              \
	X(adopted, "flows adopted as ours")                                                        \
	X(released, "flows released to another owner")                                             \
	X(revived, "forced deletions undone by a promote")                                         \
	X(expired_silent, "flows of a silent peer dropped after their own timeout")                \
	X(audits, "audits of the kernel's table")                                                  \
	X(audits_asked, "audits that peers asked for")                                             \
	X(audit_suspects, "flows that an audit looked at twice")                                   \
	X(audit_kernel_only, "entries that only the kernel had, found by audits")                  \
	X(audit_cache_only, "flows that the kernel ought to have had, found by audits")            \
	X(audit_differing, "flows of which the kernel had other attributes, found by audits")      \
	X(quarantined, "records, events and entries of quarantined flows set aside")               \
	X(expects_spent, "expectations of peers that were used, or cannot be, here")               \
	X(flows_limit, "flows not held because of flows_max")

struct engine_counters {
#define ENGINE_COUNTER_FIELD(name, help) uint64_t name;
	ENGINE_COUNTERS(ENGINE_COUNTER_FIELD)
#undef ENGINE_COUNTER_FIELD
	uint64_t drops[DROP_COUNT]; /* received datagrams dropped, by enum engine_drop */
};

enum engine_peer_state { PEER_DOWN, PEER_RESYNC, PEER_UP };

struct engine_path_stats { /* a peer by one endpoint, in its present epoch */
	unsigned int endpoint;
	bool up; /* heard lately, or as silent as the peer */
	uint64_t heard_ms;
	uint64_t received, doubles; /* received counts doubles in */
	uint64_t expected, lost;    /* of what it sent, as far as its REPORTs tell */
};

struct engine_peer_stats {
	char node[WIRE_NAME_MAX + 1]; /* empty: never heard */
	enum engine_peer_state state;
	bool primary;      /* the role it tells */
	bool heard;        /* by us, within dead_ms, */
	bool hears_us;     /* and it reports to hear us */
	bool known;        /* an epoch was agreed */
	uint64_t heard_ms; /* since the last authentic datagram; UINT64_MAX = never */
	uint64_t epoch, covered, head, missing; /* its stream: P, maxhead, versions not covered */
	uint64_t debt;            /* 0 or the version up to which tombstones were lost */
	bool in_sync;             /* digests were equal at verified */
	uint64_t verified;        /* version */
	uint64_t verified_age_ms; /* UINT64_MAX = never */
	uint64_t flows;           /* its mirror */
	uint64_t copies;          /* of these, in our kernel */
	uint64_t backlog;         /* kernel writes waiting */
	uint64_t acked;           /* what it has covered of our stream */
	uint64_t gaps;            /* ranges beyond the prefix */
	uint64_t expected, lost;  /* datagrams that came by no link; see engine_path_stats */
	unsigned int path_count;
	struct engine_path_stats path[ENGINE_ENDPOINTS_MAX];
};

#define ENGINE_ERRNOS 136 /* errno values that are told apart */
struct engine_commit {    /* the running or the last promote or commit */
	uint64_t serial;  /* counts commands; 0 = none yet */
	bool running, promote;
	uint64_t total, committed, existed, refused;
	uint32_t refused_by[ENGINE_ERRNOS]; /* by errno */
	usec_t started_at, ended_at;
};

/* What a look at the kernel's table found, some time after a promote (PROTOCOL.md, R77). */
struct engine_outcome {
	uint64_t serial;  /* counts them; 0 = none yet, and no figure means anything */
	uint64_t taken;   /* flows that peers had announced and that became ours */
	uint64_t alive;   /* of these: a packet passed since */
	uint64_t ended;   /* of these: they ended meanwhile, alive once or not */
	uint64_t refused; /* flows of peers that the kernel still refuses to have */
	uint32_t refused_by[ENGINE_ERRNOS]; /* by errno */
	usec_t begun_at, told_at;           /* the promote; when this was counted */
};

/* What an audit found (PROTOCOL.md, R79 to R82). */
#define ENGINE_FOUND_MAX 64 /* differences told one by one; the rest is counted */
enum engine_found_what {
	FOUND_EQUAL,
	FOUND_KERNEL_ONLY, /* an entry that nothing here knows of */
	FOUND_CACHE_ONLY,  /* a flow that ought to be in the kernel and is not */
	FOUND_DIFFERS,     /* it is there, with other attributes */
	FOUND_WHATS
};
struct engine_found {
	enum engine_found_what what;
	char peer[WIRE_NAME_MAX + 1]; /* whose flow it is; empty: our own, or nobody's */
	uint32_t differs;             /* DIFFERS: FLOW_HAS_x of what does; FLOW_HAS_ALL: memory that
					 cannot be read */
	int refused;                  /* CACHE_ONLY: the errno with which the kernel refuses it */
	struct flow kernel, held;     /* as far as there is one */
};
struct engine_audit {
	uint64_t serial;  /* of the last one that is over; 0 = none yet */
	uint64_t due;     /* of the one that answers the last CMD_AUDIT */
	uint64_t entries; /* that the kernel's table had */
	uint64_t found_by[FOUND_WHATS];
	uint64_t unsettled; /* flows that kept changing */
	unsigned int found_count;
	struct engine_found found[ENGINE_FOUND_MAX];
};

/* What an audit found that a peer made because it was asked to (R89 to R91). */
enum engine_asked {
	ASKED_NOT,
	ASKED_OPEN,       /* no answer yet */
	ASKED_WAITS,      /* its audit is to begin */
	ASKED_RUNS,       /* it runs */
	ASKED_OVER,       /* the figures are there; in any state behind this one they are not: */
	ASKED_OLD,        /* of a version that does not answer */
	ASKED_SILENT,     /* the peer is not heard */
	ASKED_UNANSWERED, /* it is, but says nothing about it */
	ASKED_BROKEN,     /* a new epoch began on either side */
};
struct engine_findings {
	enum engine_asked state;
	char node[WIRE_NAME_MAX + 1];
	uint64_t entries, found_by[FOUND_WHATS], unsettled; /* as in engine_audit */
	unsigned int found_count;
	struct engine_found found[WIRE_FINDINGS_MAX];
};
struct engine_inquiry {
	uint64_t serial; /* of the last one that is over; 0 = none yet */
	uint64_t due;    /* of the one that answers the last CMD_INQUIRE */
	struct engine_findings of[ENGINE_PEERS_MAX]; /* ASKED_NOT: nobody */
};

struct engine_stats {
	enum engine_role role;
	bool ready;      /* could this node take over now with nothing lost? */
	char reason[96]; /* why (not) */
	bool complete;   /* first dump ended */
	bool limited;    /* flows are not held because of flows_max */
	bool scrubbing;  /* a scrub that was asked for is under way */
	uint64_t epoch, head, dropped, sent;
	uint64_t local_expects, remote_expects; /* expectations; *_flows, copies, absent: without */
	uint64_t local_flows, unclaimed, orphans, tombstones, mute;
	bool translated[2]; /* there are flows of others whose addresses are, IPv4 and IPv6; after
			       the last has gone for up to two rounds of the patrol */
	uint64_t in_kernel; /* entries that our kernel has by all that events told: copies, and own
			       flows but those whose end may not be told or is being looked into */
	uint64_t absent; /* of peers or nobody, and not in our kernel: what a promote would write */
	uint64_t remote_flows, copies, backlog,
		stale;       /* over all peers; stale = entries waiting for OP_REPLACE */
	uint64_t aside;      /* flows of peers that are set aside: quarantined */
	uint64_t memory_len; /* bytes held by the caches */
	unsigned int peer_count;
	struct engine_peer_stats peer[ENGINE_PEERS_MAX];
	struct engine_commit commit;
	struct engine_counters count;
};

/* A snapshot of everything above. */
void engine_stats(const struct engine *e, struct engine_stats *s, usec_t now);

/* The last or running commit alone, cheap. */
const struct engine_commit *engine_commit(const struct engine *e);

/* The last outcome that was told. *pending: another is to come. */
const struct engine_outcome *engine_outcome(const struct engine *e, bool *pending);

/* HALF_ORPHANS: flows of nobody that is heard, of which a promote makes entries too. */
enum engine_half { HALF_LOCAL, HALF_REMOTE, HALF_ORPHANS };

/* The audit under way or the last one: whole in the turn in which its serial comes. */
const struct engine_audit *engine_audit(const struct engine *e);

/* The inquiry under way or the last one, likewise. */
const struct engine_inquiry *engine_inquiry(const struct engine *e);

/* Walks a half in slices: start with *pos = 0; fills out with up to max flows and advances *pos.
 * Returns how many; the walk is over when *pos is 0 again on return. Flows that come or go
 * meanwhile may be missed; none is given twice unless the table grows. timeout_s is the remaining
 * time as far as it is known. */
size_t engine_each(const struct engine *e, enum engine_half half, uint64_t *pos, struct flow *out,
		   size_t max, usec_t now);

/* Is f, of the kernel's table, left out whatever the policy says? (R62) */
bool engine_ignores(const struct engine *e, const struct flow *f);

#endif
