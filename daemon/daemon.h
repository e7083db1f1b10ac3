/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's one object, shared by main.c (start, reload, stop), pump.c (the loop's turn), note.c
 * (log lines, status line), ready_watch.c (could it take over), notrack.c (is the sync traffic
 * tracked), events.c (the stream of events), verbs.c, verbs_show.c and verify.c (what each verb
 * does). Modules below these (kern, link, ctl, conf, log, state) do not see it.
 */
#ifndef CTSYNCD_DAEMON_H
#define CTSYNCD_DAEMON_H

#include <ev.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "conf.h"
#include "ctl.h"
#include "deaths.h"
#include "engine.h"
#include "kern.h"
#include "link.h"
#include "log.h"
#include "notify.h"
#include "notrack.h"
#include "ready.h"
#include "recorder.h"
#include "state.h"
#include "util.h"

struct verbs;  /* verbs.c's own */
struct verify; /* verify.c's own */
struct events; /* events.c's own */

/* Watchers of the loop; main.c and pump.c only. */
struct daemon_watch {
	ev_io kern_events, kern_dump;
	ev_io link[LINK_LINKS_MAX + 1]; /* of the open links, then rtnetlink's */
	unsigned int link_count;        /* without rtnetlink's */
	ev_signal term, intr, hup;
	ev_prepare prepare;
	ev_check check;
	ev_idle again;     /* active while a turn left work over */
	ev_timer deadline; /* engine_deadline */
	ev_timer minute;   /* kernel timeouts are read again */
	ev_timer status;   /* status line, at most one a second */
	ev_timer watchdog;
};

struct daemon {
	struct conf conf; /* in force */
	char conf_path[PATH_MAX];
	struct engine_conf engine_conf; /* what the engine was last given, keys included */
	struct log *log;
	struct ev_loop *loop;
	struct pages *pages; /* the engine's tables lie in */
	struct engine *engine;
	struct kern *kern;
	struct links *links;
	struct ctl *ctl;
	struct verify *verify;
	struct verbs *verbs;
	struct events *events;
	struct recorder *recorder; /* NULL: off */
	struct deaths *deaths;     /* NULL: off */
	struct notify notify;

	struct state state; /* lock, state file */
	int state_err;      /* 0, or -errno: the role could not be saved yet */
	uint64_t epoch;
	usec_t started_at; /* monotonic */
	time_t started_wall;
	usec_t now; /* the clock of this turn; read again after kernel writes */

	bool stopping;          /* SIGTERM, SIGINT or the shutdown verb: leave the loop */
	int64_t invalid_before; /* kern_invalid() at the last change to primary, or when its outcome
				   was told */
	int64_t invalid;  /* packets found INVALID from then to the last outcome; -1 unknown */
	bool dump_wanted; /* OP_DUMP came while a dump was running */
	usec_t send_at;   /* a socket was full: send nothing before this */
	uint64_t overruns_at_dump; /* overruns when the last dump was started, */
	uint64_t overruns_over;    /* and those that a dump has made up for */
	struct ready ready;        /* as last told; an empty reason: not yet */
	struct ready_tracking tracking;
	struct notrack notrack;
	usec_t ready_at;                 /* when it was last judged */
	bool ready_due;                  /* something happened since */
	uint64_t missing;                /* ready_facts.missing, when it was last counted */
	char status[320];                /* last STATUS= line */
	uint64_t turns, turns_left_over; /* loop turns; those that left work for the next */
	usec_t turn_at;                  /* when the loop woke last */
	usec_t turn_max_us;              /* the longest turn, sleep not counted */
	struct daemon_watch watch;
};

/* Monotonic clock, microseconds. Inside a turn use d->now. */
usec_t daemon_now(void);

/* ---- main.c ---- */
/* Reads the configuration again; what is live takes effect at once, what needs a restart is named
 * in the log and keeps its old value. Returns 0, or -errno / -EX_CONFIG with every error as a line
 * on err; the old configuration then stays in force. */
int daemon_reload(struct daemon *d, FILE *err);

/* Ends the loop after this turn: BYE to every peer, exit 0. */
void daemon_stop(struct daemon *d);

/* ---- pump.c ---- */
/* Starts the watchers of kernel, links and timers: from then on every turn of the loop ends in
 * pump(). */
void pump_start(struct daemon *d);
void pump_stop(struct daemon *d);

/* Moves the engine's outputs, each with a budget. Called once a turn, and by nobody else. */
void pump(struct daemon *d);

/* Takes in what the peers and the kernel have said already. A node that stood still (a paused
 * machine) has not heard it yet: before it says whether it is ready, or takes flows over that ended
 * meanwhile. */
void pump_hear(struct daemon *d);

/* Sends what is left, up to a limit. */
void pump_drain(struct daemon *d);

/* Tells the engine the new configuration if anything in it differs from the one in force. Returns
 * whether it did. */
bool pump_reconf(struct daemon *d, const struct engine_conf *conf);

/* ---- note.c ---- */
/* Drains engine_note: log lines, events, and the role into the state file. A verb that changes the
 * role calls this after engine_cmd and before it answers; d->state_err then says whether the role
 * was saved. */
void notes_drain(struct daemon *d);

/* Writes the role into the state file and says so when that fails, or works again: d->state_err. */
void role_save(struct daemon *d, enum engine_role role);

/* Writes "primary, ready; 1 peer up; 1234 local, 0 remote flows" into buf. */
void status_line(const struct daemon *d, char *buf, size_t len);

/* ---- verify.c: the verb of that name ---- */
/* Makes d->verify. Returns 0 or -ENOMEM. */
int verify_init(struct daemon *d);
void verify_fini(struct daemon *d);
/* Begins; the answer comes when all is compared, or cannot be. kernel: an audit of the kernel
 * first.
 */
void verify_begin(struct daemon *d, struct ctl_client *c, bool kernel);
void verify_gone(struct daemon *d, const struct ctl_client *c);
void verify_after_pump(struct daemon *d);
/* Names what differs: "mark,tcp". */
#define VERIFY_DIFFERS_LEN 128
void verify_differs(const struct engine_found *f, char *buf, size_t len);

/* ---- verbs.c ---- */
/* Makes d->verbs. Returns 0 or -ENOMEM. Called before ctl_open. */
int verbs_init(struct daemon *d);
/* Frees it; called after ctl_close. */
void verbs_fini(struct daemon *d);
/* struct ctl_ops; arg is the struct daemon. */
void verbs_request(void *arg, struct ctl_client *c, int argc, char **argv);
void verbs_more(void *arg, struct ctl_client *c);
void verbs_gone(void *arg, struct ctl_client *c);
/* After each turn's pump: answers clients that wait for engine_commit()->running to end, and their
 * progress. Cheap when nobody waits. */
void verbs_after_pump(struct daemon *d);

#endif
