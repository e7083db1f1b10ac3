/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Could this node take over now with nothing lost? One judgement for the verbs status and ready,
 * the line of status that systemd shows, and the events: they never disagree.
 */
#ifndef CTSYNCD_READY_H
#define CTSYNCD_READY_H

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "kern.h"

struct daemon;

#define READY_REASON_LEN 192

struct ready {
	bool ready;
	char reason[READY_REASON_LEN]; /* why (not); never empty */
};

/* What the engine cannot see. */
struct ready_facts {
	int64_t count, max, buckets; /* kern_counts: -1 unknown */
	uint64_t missing; /* entries that ought to be there: by so many the kernel's count was
			     lower, read before the events that tell of every end until then */
	bool rereading;   /* events were lost, the dump that makes up for it has not ended */
	bool active_active;
	enum kern_tracking tracking; /* of packets */
	enum kern_tracking nat[2];   /* of addresses, IPv4 and IPv6 */
};

/* What is known of the kernel's tracking. */
struct ready_tracking {
	enum kern_tracking probe; /* the last probe's word, */
	usec_t probed_at;         /* and when; 0 = never */
	uint64_t organic;         /* events that packets caused, until then */
	usec_t organic_at;        /* last such event while the probe saw nothing; 0 = none */
	enum kern_tracking nat[2];
};

/* Takes a probe's word and the engine's counters of the same moment. */
void ready_track(struct ready_tracking *t, const struct kern_hooks *probe,
		 const struct engine_counters *c, usec_t now);
/* What to believe. */
enum kern_tracking ready_tracks(const struct ready_tracking *t, usec_t now);

/* The judgement itself. */
void ready_of(const struct engine_stats *s, const struct ready_facts *f, struct ready *out);

/* The same of this daemon, of this moment; s: a snapshot taken now. */
void ready_judge(const struct daemon *d, const struct engine_stats *s, struct ready *out);

/* Judges and tells the log and the events if anything changed. */
void ready_watch(struct daemon *d);

/* Do two reasons say the same, figures aside? "12 s ago" and "13 s ago" do. */
bool ready_same_reason(const char *a, const char *b);

#endif
