/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Readiness: the engine's judgement of itself and its peers (PROTOCOL.md, "Ready"), and what only
 * this side sees: whether the kernel tracks packets at all and has room in table and hash for what
 * a promote would write, whether what was written is still there, whether events were lost and not
 * yet made up for.
 *
 * It fails closed: what cannot be known is a reason against it. A primary is ready: the flows are
 * its own. Active-active it has its peers' to take over, as a backup has. No side effects here: the
 * simulator asks the same judgement. ready_watch.c asks on behalf of the daemon.
 */
#include "ready.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Each entry stands in two chains, and the kernel refuses one that would make a chain longer than a
 * limit drawn from 50 to 79: at 12 entries a bucket, 24 a chain on average, that is one in a
 * million. */
#define ENTRIES_PER_BUCKET_MAX 12
/* An event that a packet caused proves for so long that packets are tracked. */
#define ORGANIC_US (600 * USEC_PER_SEC)

void ready_track(struct ready_tracking *t, const struct kern_hooks *hooks,
		 const struct engine_counters *c, usec_t now)
{
	enum kern_tracking probe = hooks->tracking;
	/* Too few rather than too many: ends are among those that are ignored. */
	uint64_t all = c->events_new + c->events_update;
	uint64_t others = c->events_foreign + c->events_ignored;
	uint64_t organic = all > others ? all - others : 0;

	if (probe == KERN_TRACKING_ON)
		t->organic_at = 0;
	else if (probe == t->probe && organic > t->organic)
		t->organic_at = now;
	t->organic = max_u64(t->organic, organic);
	t->probe = probe;
	memcpy(t->nat, hooks->nat, sizeof(t->nat));
	t->probed_at = now;
}

/* Events that packets cause between two probes that see nothing: the ruleset leaves loopback alone,
 * and the events tell. */
enum kern_tracking ready_tracks(const struct ready_tracking *t, usec_t now)
{
	if (t->organic_at && now < t->organic_at + ORGANIC_US)
		return KERN_TRACKING_ON;
	return t->probe;
}

/* Has the kernel room for more entries? */
static bool has_room(const struct ready_facts *f, uint64_t more, char *reason)
{
	uint64_t count = (uint64_t)f->count, max = (uint64_t)f->max;

	if (max && count + more > max)
		(void)snprintf(reason, READY_REASON_LEN,
			       "nf_conntrack_max of %" PRIu64 " is too small: %" PRIu64
			       " entries are there, %" PRIu64 " would come",
			       max, count, more);
	else if ((count + more) / ENTRIES_PER_BUCKET_MAX > (uint64_t)f->buckets)
		(void)snprintf(reason, READY_REASON_LEN,
			       "nf_conntrack_buckets of %" PRId64 " is too small: %" PRIu64
			       " entries are there, %" PRIu64 " would come",
			       f->buckets, count, more);
	else
		return true;
	return false;
}

/* An entry that is translated needs the kernel's translation: without a nat base chain its packets
 * would pass as they are (seen on Linux 6.18). */
static bool translates(const struct engine_stats *s, const struct ready_facts *f, char *reason)
{
	for (unsigned int i = 0; i < 2; i++) {
		if (!s->translated[i] || f->nat[i] == KERN_TRACKING_ON)
			continue;
		if (f->nat[i] == KERN_TRACKING_OFF)
			(void)snprintf(
				reason, READY_REASON_LEN,
				"no nat base chain here for IPv%d, and flows are translated: is "
				"the ruleset loaded?",
				i ? 6 : 4);
		else
			(void)snprintf(
				reason, READY_REASON_LEN,
				"whether there is a nat base chain for IPv%d cannot be seen, and "
				"flows are translated: track loopback",
				i ? 6 : 4);
		return false;
	}
	return true;
}

void ready_of(const struct engine_stats *s, const struct ready_facts *f, struct ready *out)
{
	out->ready = false;
	(void)snprintf(out->reason, sizeof(out->reason), "%s", s->reason);
	if (!s->ready)
		return;
	if (s->role == ROLE_PRIMARY && !f->active_active)
		out->ready = true;
	else if (f->rereading)
		(void)snprintf(out->reason, sizeof(out->reason),
			       "the kernel lost events, its table is being read again");
	else if (f->count < 0 || f->max < 0 || f->buckets < 0)
		(void)snprintf(out->reason, sizeof(out->reason),
			       "the kernel's table cannot be seen: is nf_conntrack loaded?");
	else if (f->tracking == KERN_TRACKING_UNKNOWN)
		(void)snprintf(out->reason, sizeof(out->reason),
			       "whether packets are tracked here cannot be seen: is loopback up?");
	else if (f->tracking == KERN_TRACKING_OFF)
		(void)snprintf(out->reason, sizeof(out->reason),
			       "packets are not tracked here: is the ruleset loaded?");
	else if (f->missing)
		(void)snprintf(out->reason, sizeof(out->reason),
			       "%" PRIu64 " entries of %" PRIu64
			       " are not in the kernel: run ctsync verify --kernel",
			       f->missing, s->in_kernel);
	else
		out->ready = translates(s, f, out->reason) && has_room(f, s->absent, out->reason);
}

/* The end of a figure at p; p itself if it is none. at: start of the text. A digit in a name,
 * "fw1", is no figure. */
static const char *skip_figure(const char *p, const char *at)
{
	if (p != at && p[-1] != ' ')
		return p;
	while (isdigit((unsigned char)*p) || (p != at && *p == '.' && isdigit((unsigned char)p[1])))
		p++;
	return p;
}

bool ready_same_reason(const char *a, const char *b)
{
	const char *p = a, *q = b;

	for (;; p++, q++) {
		const char *p_end = skip_figure(p, a), *q_end = skip_figure(q, b);

		if (p_end != p && q_end != q) {
			p = p_end;
			q = q_end;
		}
		if (*p != *q)
			return false;
		if (*p == '\0')
			return true;
	}
}
