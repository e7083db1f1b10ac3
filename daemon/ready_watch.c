/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Readiness of this daemon: gathers what ready.c judges by, and tells the log and the events when
 * the judgement changes.
 */
#include "daemon.h"

#include <string.h>

#include "events.h"
#include "ready.h"

/* Packets are looked for so often. */
#define PROBE_US (5 * USEC_PER_SEC)

void ready_judge(const struct daemon *d, const struct engine_stats *s, struct ready *out)
{
	struct ready_facts f = { .active_active = d->conf.active_active,
				 .missing = d->missing,
				 .rereading = s->count.overruns > d->overruns_over ||
					      kern_overran(d->kern),
				 .tracking = ready_tracks(&d->tracking, d->now) };

	memcpy(f.nat, d->tracking.nat, sizeof(f.nat));
	kern_counts(&f.count, &f.max, &f.buckets);
	ready_of(s, &f, out);
}

void ready_watch(struct daemon *d)
{
	struct kern_hooks hooks;
	struct engine_stats s;
	struct ready r;
	bool turned;

	engine_stats(d->engine, &s, d->now);
	if (!d->tracking.probed_at || d->now >= d->tracking.probed_at + PROBE_US) {
		kern_hooks(&hooks);
		ready_track(&d->tracking, &hooks, &s.count, d->now);
	}
	ready_judge(d, &s, &r);
	d->ready_at = d->now;
	d->ready_due = false;
	turned = !d->ready.reason[0] || r.ready != d->ready.ready;
	if (turned)
		log_info(d->log, "node %s: %s: %s", d->conf.node, r.ready ? "ready" : "not ready",
			 r.reason);
	if (turned || !ready_same_reason(r.reason, d->ready.reason)) {
		d->ready = r;
		events_ready(d);
	}
}
