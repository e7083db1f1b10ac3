/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the simulator share. main.c options and ranges; world.c nodes and time;
 * traffic.c connections; faults.c what goes wrong; scope.c policies; fakekern.c a conntrack table;
 * fakenet.c links; oracle.c, owncheck.c, claimcheck.c and truth.c the checks.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"
#include "peek.h"
#include "rng.h"

#define NODES_MAX 4
#define SEEDS_KEPT 400 /* seeds up to here are in seeds.txt for what they found */
#define LINKS_MAX 2
#define KEYS_MAX 256    /* flows that can exist in one run */
#define EVENTS_MAX 512  /* event buffer of a fake kernel */
#define STREAMS_MAX 128 /* epochs in one run */
#define OPS_BATCH 64
#define START_AT (1000 * USEC_PER_SEC)
#define OWN_PORT 4711    /* netlink port of a daemon's own writes */
#define FOREIGN_PORT 999 /* of another program's */

/* Every kind of fault and every path that a run set must have taken; a counter each. */
#define SIM_COUNTERS(X)                                                                            \
	X(lost, "datagrams lost")                                                                  \
	X(duplicated, "datagrams duplicated")                                                      \
	X(reordered, "datagrams overtaken")                                                        \
	X(flipped, "datagrams with a bit flipped")                                                 \
	X(truncated, "datagrams cut short")                                                        \
	X(garbage, "datagrams of garbage")                                                         \
	X(replayed, "recorded datagrams replayed")                                                 \
	X(reflected, "datagrams sent back to their sender")                                        \
	X(blocked, "datagrams stopped by a partition")                                             \
	X(multicasts, "datagrams that went to all at once")                                        \
	X(too_large, "datagrams that an interface could not take")                                 \
	X(mtu_changes, "interfaces whose MTU changed")                                             \
	X(fours, "runs of four nodes")                                                             \
	X(inbox_full, "datagrams lost in a full socket buffer")                                    \
	X(partitions, "full partitions")                                                           \
	X(partitions_one_way, "one-way partitions")                                                \
	X(link_downs, "one of two links down")                                                     \
	X(stalls, "daemons stalled")                                                               \
	X(pauses, "machines that stood still, kernel and all")                                     \
	X(missed, "datagrams that came to one then")                                               \
	X(guests, "nodes that came to a full group")                                               \
	X(event_losses, "event buffer overflows")                                                  \
	X(restarts, "daemons restarted")                                                           \
	X(restarts_killed, "of these killed without a BYE")                                        \
	X(restarts_in_dump, "of these while a dump ran")                                           \
	X(renewed_under_load, "timers renewed while other operations waited (R100)")               \
	X(restarts_in_commit, "of these while a commit ran")                                       \
	X(restarts_in_resync, "of these while a peer was resyncing")                               \
	X(reboots, "nodes rebooted, kernel empty")                                                 \
	X(crash_failovers, "failovers after the carrier died")                                     \
	X(planned_failovers, "planned switchovers")                                                \
	X(forced, "entries destroyed by a moving address")                                         \
	X(foreign_deletes, "entries deleted by another program")                                   \
	X(foreign_updates, "entries changed by another program")                                   \
	X(late_words, "ends that were read after the next entry was seen")                         \
	X(late_expiries, "entries that expired in a crowd")                                        \
	X(mute_entries, "entries that never speak")                                                \
	X(touches, "packets that refreshed a timer with no event")                                 \
	X(expects, "connections announced by another")                                             \
	X(expects_early, "of these before the event of that other")                                \
	X(expects_used, "announced connections that came")                                         \
	X(expects_moved, "timers of expectations moved with no event")                             \
	X(flashes, "connections that lived for milliseconds")                                      \
	X(tuple_reuse, "connections opened over an older entry")                                   \
	X(refusals, "kernel writes refused at random")                                             \
	X(table_full, "kernel writes refused by a full table")                                     \
	X(reply_clash, "kernel writes refused because the reply tuple is taken")                   \
	X(dump_fails, "dumps broken off")                                                          \
	X(asymmetric, "connections through two nodes at once")                                     \
	X(active_active, "connections opened through two nodes at once")                           \
	X(too_early, "packets that overtook the peer's news of the handshake")                     \
	X(resyncs, "operator's resyncs")                                                           \
	X(flushes, "operator's flushes of mirrors")                                                \
	X(commits, "operator's commits")                                                           \
	X(repeats, "promotes repeated by the manager")                                             \
	X(roughs, "rough worlds")                                                                  \
	X(late, "datagrams that came seconds late")                                                \
	X(late_copies, "datagrams of which a copy came seconds late")                              \
	X(crowds, "worlds whose keys share two buckets")                                           \
	X(verifies, "scrubs that were asked for")                                                  \
	X(audits, "audits of a kernel that were asked for")                                        \
	X(audits_over, "of these that came to their end")                                          \
	X(audit_finds, "differences that audits found")                                            \
	X(inquiries, "audits of all kernels that were asked for at a node")                        \
	X(inquiry_answers, "peers that told what they found")                                      \
	X(inquiry_finds, "of these, that found something")                                         \
	X(inquiry_old, "peers that were taken to be too old to answer")                            \
	X(inquiry_silent, "peers that were silent")                                                \
	X(inquiry_unanswered, "peers that were heard, and gave no answer")                         \
	X(inquiry_broken, "peers that began anew before they answered")                            \
	X(reconfs, "reconfigurations")                                                             \
	X(policies, "policies changed")                                                            \
	X(withheld, "events that the kernel's filter withheld")                                    \
	X(rekeys, "key rotations")                                                                 \
	X(worn, "epochs whose packet counter came to its end")                                     \
	X(bit_flips, "bits flipped in the tables of a daemon")                                     \
	X(later_attributes, "bodies packed with an attribute of a later version")                  \
	X(later_records, "optional records of a later version sent")                               \
	X(later_fields, "messages with fields of a later version")                                 \
	X(later_caps, "capabilities of a later version announced")                                 \
	X(later_refused, "mandatory records of a later version refused")                           \
	X(later_types, "messages of a later version refused")                                      \
	X(later_values, "messages with a wrong value refused")                                     \
	X(later_versions, "datagrams of a later protocol version refused")                         \
	X(poisoned, "flows quarantined when a daemon started again")                               \
	X(outcomes, "outcomes of promotes told")                                                   \
	X(ready_promotes, "promotes of nodes that said they were ready")                           \
	X(unready_promotes, "promotes of nodes that said they were not")                           \
	X(failover_flows, "flows checked after a failover")                                        \
	X(conns_lost, "connections that met no entry")                                             \
	X(conns_stale, "connections that met an old window")                                       \
	X(rivals, "flows checked after two nodes were primary")                                    \
	X(claims_checked, "claims of equality checked")                                            \
	X(tapes, "engines taped and played again")                                                 \
	X(steps, "steps")

struct sim_counters {
#define SIM_COUNTER_FIELD(name, help) uint64_t name;
	SIM_COUNTERS(SIM_COUNTER_FIELD)
#undef SIM_COUNTER_FIELD
};

/* ---- The world's truth: connections ---- */
struct conn {
	struct flow flow; /* key, reply tuple, and the state as both ends know it */
	struct peek_key key;
	bool open;      /* both ends believe in it */
	bool doubled;   /* its packets pass through two nodes */
	bool young;     /* its handshake is just over: nothing went through yet */
	int8_t carrier; /* -1: whoever holds the address; else a fixed node */
	uint64_t seq;   /* packets so far, on all nodes */
	usec_t opened_at;
	usec_t moved_at;        /* an expectation's timer, with no event */
	int used_on;            /* it was used on that node, which held it of a peer ... */
	uint64_t used_version;  /* ... at this version; 0 = not so */
	unsigned int closed_on; /* bitmap of nodes that saw its end */
};

/* ---- A fake kernel ---- */
struct kent {
	bool overtook; /* made, or written, while events of it or an earlier one waited */
	bool withheld; /* a filter kept an event of it from the daemon */
	bool raced;    /* made by a replacement that overtook events */
	bool present, mute, wrote; /* wrote: the last word on the timer was a write of the daemon */
	struct flow f;
	usec_t expire_at;
	usec_t written_at; /* last write by the daemon, 0 none, */
	usec_t wrote_to;   /* and the end that it set then */
	bool joined;       /* since then a peer's news changed its state, and not its timer (R72) */
	bool let_go;       /* since then it let go of it, or withdrew it: excluded (R62) */
	usec_t packet_at;  /* last packet through, 0 none */
	uint64_t seq;      /* conn.seq at that packet */
	uint32_t ended_by; /* once it is no longer present: whose port, 0 the kernel's own */
};

struct kev {
	enum engine_kern_event event;
	struct flow f;
	uint32_t portid;
};

struct fakekern {
	struct kent ent[KEYS_MAX];
	bool meddled[KEYS_MAX];     /* another program ever changed the mark of such an entry */
	bool unheard[KEYS_MAX];     /* an event of such an entry was ever lost */
	usec_t missed_at[KEYS_MAX]; /* an operation of the daemon found no such entry */
	unsigned int count;
	uint32_t next_id;
	struct kev ev[EVENTS_MAX];
	unsigned int ev_at, ev_count;
	bool overrun;
	bool listening; /* some daemon has subscribed */
	bool dumping;
	unsigned int dump_at, dump_step, dump_seen; /* walk: a permutation of the keys */
	uint64_t dump_head;                         /* the daemon's newest version as it began */
	struct flow slice[32];
	unsigned int slice_count;
	bool slice_ready;
};

/* ---- Nodes ---- */
struct packet {
	usec_t at;
	uint64_t seq;
	uint64_t id; /* of the datagram of which this is a copy */
	uint16_t len;
	uint8_t src, dst, link, kind; /* kind: enum packet_kind */
	uint8_t *data;
};

/* PKT_LATER: of a later version, in a way that has to be refused. */
enum packet_kind { PKT_PLAIN, PKT_BAD, PKT_REPLAY, PKT_LATER };

struct taped { /* a tape under way; taped.c */
	uint8_t *state;
	size_t state_len;
	struct engine_tape *tape; /* NULL: none */
	usec_t at;
};

struct failover_check { /* I6: what must be in this kernel once the promote is done */
	bool armed;
	usec_t armed_at;
	int from;
	bool ready;          /* it said, as its promote began, that nothing would be lost */
	unsigned int opened; /* entries that packets made here since */
	bool held[KEYS_MAX]; /* flows that peers had told then */
	bool unread;         /* the end of a copy had not been read yet, its place was free */
	uint64_t serial;
	usec_t expire_at[KEYS_MAX]; /* 0 = not demanded */
	bool forced[KEYS_MAX];      /* its owner's kernel ended it as the address left */
	int rival[KEYS_MAX]; /* a third node that claimed it too; -1: none. Its word counts then
				(R38) */
	bool unheard;        /* and its owner could not hear, or not tell, how */
	bool own[KEYS_MAX];  /* its own then, which `from` claims */
	bool claimed; /* `from` was heard as primary long enough for its claims to be settled */
	bool heard;   /* `from` was heard since it became primary */
	uint64_t version[KEYS_MAX]; /* its word then, */
	struct flow told[KEYS_MAX]; /* as the entry was then, */
	uint64_t seq[KEYS_MAX];     /* and the packets that had met the connection; UINT64_MAX:
				       the entry was an old one, or another node's word counts */
	bool swept; /* or its owner sweeps, and knows no more than the timer of the last event */
};

struct truth {                      /* what a node may do by the words that it has heard; truth.c */
	bool doomed[KEYS_MAX];      /* one of them is a reason to delete the entry */
	usec_t orphan_to[KEYS_MAX]; /* what left a mirror has to be kept until then, 0 = not */
	bool lifted;                /* nothing is to be checked of timers */
	bool ours[KEYS_MAX];        /* own as the promote was over */
	bool over;                  /* it is */
	usec_t promoted_at;         /* when it became the carrier; 0 = under another daemon, */
	uint64_t promoted_head;     /* and its head then */
};

struct rivals_check { /* two primaries, and this one gets the address back; claimcheck.c */
	usec_t armed_at;
	usec_t due;          /* 0 = nothing to be checked */
	bool told[KEYS_MAX]; /* its own, which the other announced as the packets passed there */
};

/* Of an expectation, as expectcheck.c saw it at the last look. */
struct expect_early { /* it came before its master */
	usec_t at;    /* 0 = none */
	uint32_t id;
	bool in_time; /* the master was there as it was read */
	unsigned int looks;
};

struct expect_seen {
	unsigned int odd_turns; /* two at most; 0 = it is as it must be */
	uint64_t odd_since;     /* the patrol's rounds at the second */
	struct expect_early early;
	unsigned int lost; /* looks */
};

#define INBOX_MAX 256
#define TAKEN_MAX 16384

struct node {
	struct engine *e;
	struct engine_conf conf;
	struct policy_conf policy;
	struct fakekern k;
	struct expect_seen expect[2][KEYS_MAX]; /* own, stray */
	bool poison[KEYS_MAX];                  /* flows that are quarantined there */
	bool off;                               /* no power: forwards nothing */
	bool paused;                            /* it stands still; off, too */
	uint64_t taken[TAKEN_MAX];              /* datagrams of agreed epochs, by their number */
	uint16_t mtu;          /* the largest datagram that its interfaces take; 0 = any */
	bool booted_before;    /* a daemon has run since the kernel's boot */
	enum engine_role role; /* persisted, as NOTE_ROLE said */
	usec_t stalled_to, pump_at, up_at, unheard_to;
	usec_t led_at, led_since;   /* it was primary then, and had become so */
	usec_t heard_at[NODES_MAX]; /* the last datagram from that node that counts as heard */
	usec_t took_at[NODES_MAX];  /* any that it took, late ones too: it seemed to speak */
	usec_t came_at[NODES_MAX];  /* and when it came, to wait while the daemon stood still */
	usec_t dumped_at;           /* when the first dump of its daemon ended; 0 = it has not */
	struct packet inbox[INBOX_MAX];
	unsigned int inbox_count;
	size_t inbox_len;
	uint64_t overruns_at_dump, overruns_over; /* as daemon.h has them */
	struct failover_check failover;
	struct rivals_check rivals;
	struct truth truth;
	uint64_t print, kinds_print; /* fingerprints at the previous look */
	struct engine_counters last; /* of this engine at the previous check */
	usec_t spin_at;
	unsigned int spin;
	unsigned int waited_ops,
		renewed_ops; /* operations as others waited; those that renew timers */
	bool waited_late;    /* the patrol was late in one of them */
	struct taped taped;
	unsigned int taped_turns;
};

/* ---- Oracle: what each epoch of each node said ---- */
#define KEY_NONE UINT16_MAX
struct logent {
	uint64_t sum, prev;
	uint16_t key;
	bool dead, cancelled;
	bool young;      /* alive: too young to be carried on (R48) */
	uint8_t how;     /* dead: WIRE_REC_x */
	uint32_t full_s; /* alive: the full timeout of its state */
};

struct stream {
	uint64_t epoch, owner;
	int node;
	uint64_t head, complete_at;
	bool complete;
	uint32_t flows, tombs;
	struct logent *log; /* by version */
	size_t log_max;
	uint64_t cur[KEYS_MAX];  /* version of the newest word on each key */
	uint64_t born[KEYS_MAX]; /* where its present life began */
};

struct view { /* what the oracle remembers of one mirror */
	uint64_t epoch, covered, verified;
	bool silent;    /* a flow was dropped for silence since the last look, */
	bool listed;    /* or by a LIST */
	uint64_t print; /* of the mirror when it was last held against the log */
	usec_t verified_at;
	bool lenient; /* flows were dropped for silence, or a flush: only equality at the end counts
		       */
	uint64_t seen[KEYS_MAX]; /* highest version held, or known to be dead, in this epoch */
	uint64_t gone[KEYS_MAX]; /* version of a LIST that ended it, from beyond the prefix */
	uint64_t held[KEYS_MAX]; /* version, 0 = not held or old */
	bool old[KEYS_MAX];
};

/* ---- Actions ---- */
enum act_type {
	ACT_TRAFFIC,
	ACT_FAULT,
	ACT_GC,
	ACT_START,
	ACT_HEAL,
	ACT_FAILOVER,
	ACT_PROMOTE,
	ACT_NET,
	ACT_ATTACK,
	ACT_KEEPALIVE,
	ACT_FLASH,
	ACT_POLICY,
	ACT_FLIP,
	ACT_MTU,
	ACT_POISON,
	ACT_INQUIRE,
	ACT_GUEST,
	ACT_PAUSE,
	ACT_RESUME,
	ACT_ROUGH,
	ACT_COMMIT,
	ACT_FALSE_START,
	ACT_REPEAT,
};

struct act {
	usec_t at;
	uint64_t seq;
	enum act_type type;
	int node;
	unsigned int arg;
};

#define ACTS_MAX 1024

struct params {
	unsigned int nodes, links, keys;
	bool hot, sealed;
	uint32_t loss, dup, flip, reorder; /* of 10,000 */
	uint32_t link_loss[LINKS_MAX];
	bool multicast;
	usec_t mtu_us; /* between changes of an MTU; 0 = it does not matter */
	uint32_t delay_us, jitter_us;
	unsigned int events_cap, table_max;
	uint32_t refuse;
	unsigned int events_mode; /* sysctl nf_conntrack_events: 1 or 2 */
	usec_t traffic_us, fault_us, attack_us;
	uint32_t cold; /* of 10,000: share of traffic steps that are packets on established flows */
	uint32_t asym; /* of 10,000: flows through two nodes */
	uint32_t flash;      /* of 10,000: flows that live for milliseconds */
	uint32_t spread;     /* of 10,000: flows bound to a node of their own */
	uint32_t latency_us; /* of a daemon's wake-up */
	usec_t active_us;
	uint32_t inbox_len;
	bool storm;
	bool active_active;
	bool crowded;   /* all keys in two buckets, so that their LISTs take several datagrams */
	usec_t flip_us; /* from one flipped bit to the next; 0 = none */
	bool chaos;     /* chaos: role changes that do not match the carrier */
};

struct audit_seen {
	usec_t begun_at;
	uint64_t entries, by[FOUND_WHATS], unsettled;
	unsigned int count;
	struct flow_key key[WIRE_FINDINGS_MAX];
};

struct asked_at {
	usec_t at;
	uint64_t epoch[NODES_MAX];
};

struct asking {                /* inquiry.c */
	uint64_t serial;       /* of the last inquiry that was looked at */
	struct asked_at at[2]; /* by serial */
	struct audit_seen audit[256];
	unsigned int audit_count;
	bool asked; /* in the calm */
};

struct rough { /* rough.c */
	bool lists, flaps, commits, tftp;
	uint32_t late;       /* of 10,000 datagrams, and as many copies */
	unsigned int loser;  /* of what this node sends so many of 10,000 are lost, */
	uint32_t loss;       /* beside what is lost on the link */
	unsigned int batch;  /* kernel operations at a time; */
	uint32_t pause;      /* of 10,000: behind how many something else comes first */
	usec_t each_us;      /* between its faults */
	unsigned int jammed; /* until then what this node sends is late */
	usec_t jam_to;
};

struct sim {
	uint64_t seed;
	struct rng rng, policy_rng;
	struct rng flip_rng; /* of flipped bits alone */
	bool flipped; /* some bit was: from then on equality at the end counts, and no step */
	struct rng poison_rng, later_rng, repeat_rng;
	bool repeats;         /* the manager promotes again and again */
	bool small;           /* limits that else no run would reach; fields out of range */
	unsigned int later;   /* bitmap of nodes of a later version */
	usec_t poison_us;     /* from one flow that kills a daemon to the next; 0 = none */
	struct rng group_rng; /* of group.c */
	struct rng ask_rng;   /* of inquiry.c */
	struct rng guest_rng; /* of guest.c */
	usec_t guest_us;      /* from one guest to the next; 0 = none */
	struct engine *guest; /* NULL: none is there */
	int guest_to;         /* the node that it speaks to */
	struct rng pause_rng; /* of pauses alone */
	usec_t pause_us;      /* from one pause to the next; 0 = none */
	usec_t ask_us;        /* from one inquiry to the next; 0 = none */
	struct asking asking[NODES_MAX];
	struct rng expect_rng; /* of expect.c */
	bool expects;
	struct rng rough_rng; /* of rough.c */
	struct rough rough;
	struct params p;
	usec_t policy_us; /* between changes of policy; 0 = none */
	bool alike;       /* all nodes have one policy */
	usec_t now, calm_at;
	bool calm; /* faults have stopped */
	bool verbose;
	uint64_t hash; /* of everything that came out */
	struct node node[NODES_MAX];
	struct conn conn[KEYS_MAX];
	int carrier; /* node that holds the address, -1: on its way */
	int carrier_next;
	struct packet *heap;
	size_t heap_count, heap_max;
	uint64_t seq, sent; /* sent: datagrams */
	bool blocked[NODES_MAX][NODES_MAX][LINKS_MAX];
	struct act act[ACTS_MAX];
	unsigned int act_count;
	struct packet record[64]; /* an attacker's tape */
	unsigned int record_count;
	struct stream stream[STREAMS_MAX];
	unsigned int stream_count;
	struct view view[NODES_MAX][ENGINE_PEERS_MAX];
	uint64_t epoch_count;
	uint8_t psk[2][32]; /* the key in use, and the one that it is being exchanged for */
	unsigned int rekey_step;
	struct sim_counters count;
	struct engine_counters total; /* over all engines that ran */
	bool failed;
	char why[256], left[200], what[120]; /* what failed; what is not settled yet */
};

/* main.c */
__attribute__((format(printf, 2, 3))) void sim_fail(struct sim *s, const char *fmt, ...);
__attribute__((format(printf, 2, 3))) void sim_trace(struct sim *s, const char *fmt, ...);

/* world.c */
void world_run(struct sim *s, uint64_t seed, bool verbose);
void world_free(struct sim *s);
void world_mix(struct sim *s, uint64_t a, uint64_t b);
void world_act(struct sim *s, enum act_type type, int node, unsigned int arg, usec_t at);
void world_kick(struct sim *s, int n); /* there is input for the daemon of node n */
void world_start(struct sim *s, int n);
void world_stop(struct sim *s, int n, bool clean);
int world_key(const struct sim *s,
	      const struct flow_key *key); /* index of a connection, -1: nobody's */
void world_snapshot(struct sim *s, int n, struct engine_stats *st);

/* params.c */
void params_draw(struct sim *s);
void params_conf(struct sim *s, int n, struct engine_conf *c);

/* group.c */
void group_draw(struct sim *s);
void group_init(struct sim *s);
void group_mtu(struct sim *s);

/* guest.c */
void guest_draw(struct sim *s);
void guest_act(struct sim *s);
void guest_hear(struct sim *s, int n, const uint8_t *pkt, size_t len);
void guest_leave(struct sim *s);

/* inquiry.c */
void inquiry_draw(struct sim *s);
void inquiry_act(struct sim *s);
void inquiry_start(struct sim *s, int n);
void inquiry_audited(struct sim *s, int n);
void inquiry_watch(struct sim *s, int n);
const char *inquiry_settled(struct sim *s);

/* expect.c */
void expect_init(struct sim *s);
bool expect_is(const struct sim *s, unsigned int i);       /* is connection i an expectation? */
bool expect_is_master(unsigned int i);                     /* may it be one? */
bool expect_is_child(const struct sim *s, unsigned int i); /* does it open by one alone? */
bool expect_master_lives(const struct sim *s, int n, unsigned int i);
void expect_master_ended(struct sim *s, int n, unsigned int i);
/* Node n is about to make entry i, an expectation: may it? (R87) */
void expect_check(struct sim *s, int n, unsigned int i);
/* Has node n connection i in its kernel, as far as its daemon knows? */
bool expect_is_known(const struct sim *s, int n, unsigned int i);
void expect_watch(struct sim *s, int n);
void expect_feed(struct sim *s, int n, const struct kev *ev); /* feeds it, checks its outcome */
void expect_forget(struct sim *s); /* what was used, for versions begin anew */
void expect_early(struct sim *s, unsigned int i, int n); /* i's entry is about to be made */
void expect_step(struct sim *s, unsigned int i);

/* expectcheck.c */
void expect_was_read(struct sim *s, int n, const struct kev *ev); /* will be, by node n */
void expect_check_all(struct sim *s, int n);

/* rough.c */
void rough_draw(struct sim *s);
void rough_conf(struct sim *s, struct engine_conf *c);
void rough_init(struct sim *s);
void rough_step(struct sim *s);
bool rough_is_late(struct sim *s, unsigned int src); /* is the datagram at hand? by so long: */
bool rough_loses(struct sim *s, unsigned int src);
usec_t rough_delay(struct sim *s);
void rough_busy(struct sim *s, int n); /* its kernel took a batch, and the time for it */
void rough_promote(struct sim *s, int n, usec_t at); /* n will be promoted then */

/* traffic.c */
void traffic_init(struct sim *s);
void traffic_key(struct sim *s,
		 unsigned int i); /* its addresses and ports, by its family and protocol */
void traffic_open_child(struct sim *s, unsigned int i, int n);
void traffic_step(struct sim *s);
void traffic_keepalive(struct sim *s);
void traffic_flash_end(struct sim *s, unsigned int i, int n);
bool traffic_packet(struct sim *s, unsigned int i, int n);
int traffic_carrier(const struct sim *s, unsigned int i);
uint32_t traffic_timeout(const struct sim *s, unsigned int i);

/* faults.c */
void faults_step(struct sim *s);
void faults_attack(struct sim *s);
void faults_poison(struct sim *s);
void faults_flip(struct sim *s);
void faults_pause_draw(struct sim *s);
void faults_heal(struct sim *s);
void faults_restart(struct sim *s, int n, usec_t down);
void faults_move(struct sim *s); /* the address, planned */
void faults_resync(struct sim *s, int n);
void faults_cut(struct sim *s, int n, usec_t most); /* n from another node */
void faults_act(struct sim *s, const struct act *a);

/* scope.c */
void scope_init(struct sim *s);
void scope_start(struct sim *s, int n); /* a daemon started */
void scope_reload(struct sim *s);
/* Does the policy of node n leave f out, as it is? */
bool scope_excludes(const struct sim *s, int n, const struct flow *f);
/* Do its rules alone, whatever the state of TCP? */
bool scope_rules_out(const struct sim *s, int n, const struct flow *f);
/* May its answer for a flow depend on what a peer last said of its state? */
bool scope_is_fluid(const struct sim *s, int n);
/* Does the filter on the event socket of node n keep the event from it? */
bool scope_withholds(struct sim *s, int n, enum engine_kern_event event, const struct flow *f,
		     uint32_t portid);

/* fakekern.c */
void fk_reset(struct fakekern *k, struct rng *r);
void fk_event(struct sim *s, int n, enum engine_kern_event event, const struct flow *f,
	      uint32_t has, uint32_t portid);
bool fk_alive(const struct sim *s, int n, unsigned int i); /* present and not expired */
void fk_create(struct sim *s, int n, unsigned int i, const struct flow *f, uint32_t timeout_s,
	       uint32_t portid);
void fk_destroy(struct sim *s, int n, unsigned int i, uint32_t portid);
void fk_gc(struct sim *s, int n);
bool fk_overtakes(const struct sim *s, int n, unsigned int i); /* do events of entry i wait? */
/* One operation: its result; *got is the entry if *has_got. */
int fk_op(struct sim *s, int n, const struct engine_op *op, struct flow *got, bool *has_got);
void fk_apply(struct sim *s, int n, const struct engine_op *ops, const unsigned int count);
void fk_dump_start(struct sim *s, int n);
/* Delivers the slice that was read last and reads the next. False: no dump runs. */
bool fk_dump_slice(struct sim *s, int n);
void fk_snapshot(const struct sim *s, int n, unsigned int i, struct flow *f);

/* fakecheck.c: the table of operations; prints "N passed, N failed". */
int fk_check(void);

/* fakenet.c */
void net_send(struct sim *s, int src, uint32_t to, const uint8_t *pkt, size_t len,
	      enum packet_kind kind);
void net_push(struct sim *s, const struct packet *proto, const uint8_t *data, size_t len,
	      usec_t at);
bool net_pop_due(struct sim *s, struct packet *out);
usec_t net_next(const struct sim *s);
void net_record(struct sim *s, const struct packet *p, const uint8_t *pkt, size_t len);
void net_free(struct sim *s);
unsigned int net_endpoint(const struct sim *s, int at, int peer, unsigned int link);

/* later.c */
void later_draw(struct sim *s);
/* What node n sends, as a node of a later version would. */
enum packet_kind later_send(struct sim *s, int n, uint8_t *pkt, size_t *len);
void later_recv(struct sim *s, int n, int rc); /* what became of a PKT_LATER */

/* oracle.c */
void oracle_owner(struct sim *s, int n);   /* after anything that may have changed n's own table */
void oracle_mirrors(struct sim *s, int n); /* after anything that may have changed n's mirrors */
void oracle_resync(struct sim *s, int n);  /* n was told to have everything told anew */
void oracle_died(struct sim *s, int n);
struct stream *oracle_stream(struct sim *s, uint64_t epoch);
bool oracle_covered(const struct peek_peer *p, uint64_t version);
/* The newest word on flow i as of a version: that, and 0 if it is none or "dead". */
uint64_t oracle_word_at(struct stream *st, unsigned int i, uint64_t version);
uint64_t oracle_alive_at(struct stream *st, unsigned int i, uint64_t version);

/* recvcheck.c: before and after the engine gets a datagram */
struct recv_look {
	bool known; /* its epoch was agreed on */
	struct peek_peer peer;
	uint8_t pkt[WIRE_DGRAM_MAX]; /* opened; */
	size_t len;                  /* 0: not looked at */
	bool wanted[KEYS_MAX];       /* VECTOR: buckets that were to be asked for already */
};
void recv_look(struct sim *s, int n, const struct packet *p, struct recv_look *l);
void recv_check(struct sim *s, int n, const struct packet *p, struct recv_look *l, int rc);

/* claimcheck.c */
void claims_check_replacement(struct sim *s, int n, unsigned int i, const struct engine_op *op);
void claims_arm(struct sim *s, int from, int to);
void claims_promote(struct sim *s, int n);
void claims_check(struct sim *s, int n);

/* owncheck.c */
void own_check_removal(struct sim *s, int n, unsigned int i, const char *how);
void own_check_kinds(struct sim *s, int n);
void own_arm_failover(struct sim *s, int from, int to);
void own_unheard(struct sim *s, int n); /* events of n were lost */
void own_untold(struct sim *s, int n);  /* n cannot tell how its flows ended */
void own_promote(struct sim *s, int n);
void own_check_failover(struct sim *s, int n);
const char *own_settled(struct sim *s); /* NULL, or what is not yet as it must be at the end */

/* truth.c */
void truth_start(struct sim *s, int n);
void truth_feed(struct sim *s, int n, const struct kev *ev); /* feeds it, checks what it ended */
void truth_told(struct sim *s, int n, unsigned int i, uint8_t how); /* its own flow ended */
void truth_word(struct sim *s, int n, unsigned int i, bool young);  /* a peer told it of flow i */
/* Flow i left a mirror of node n: dead, or because no node was told otherwise than released? */
void truth_left(struct sim *s, int n, unsigned int i, bool dead);
void truth_silent(struct sim *s, int n, int m, unsigned int i, uint32_t full_s);
void truth_orphans(struct sim *s, int n);
void truth_refresh(struct sim *s, int n, unsigned int i);
void truth_read(struct sim *s, int n, unsigned int i);
void truth_delete(struct sim *s, int n, unsigned int i);
void truth_promote(struct sim *s, int n);
void truth_lifted(struct sim *s, int n);

#endif
