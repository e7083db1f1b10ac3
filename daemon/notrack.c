/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sync traffic and the kernel's own table. Where no rule says `notrack`, our datagrams are
 * tracked like all others: they cost an entry and a look-up each, and once the table is full the
 * kernel drops them before any rule sees them, in the very moment in which the nodes have most to
 * tell each other. So we look for entries of our own flows, and say once what to do about it.
 */
#include "notrack.h"

#include <string.h>

#include "daemon.h"
#include "events.h"

#define LOOK_US (5 * USEC_PER_SEC)

/* The flow of a link's datagrams: from our port to the same port of the peer or the group. */
static void key_of(const struct engine_ignore *g, struct flow_key *key)
{
	*key = (struct flow_key){ .l3 = g->l3, .proto = IPPROTO_UDP };
	memcpy(key->orig.src, g->a, sizeof(key->orig.src));
	memcpy(key->orig.dst, g->b, sizeof(key->orig.dst));
	key->orig.sport = key->orig.dport = g->port;
}

static void told(struct daemon *d, bool tracked)
{
	if (tracked && !d->notrack.warned)
		log_warn(d->log, "sync: the kernel tracks the sync traffic, and drops it once "
				 "nf_conntrack_max is reached; load a notrack rule for it, see "
				 "\"Sync traffic\" in ctsyncd(8)");
	else if (!tracked && d->notrack.warned)
		log_info(d->log, "sync: the kernel no longer tracks the sync traffic");
	else
		return;
	d->notrack.warned = tracked;
	events_notrack(d, tracked);
}

void notrack_watch(struct daemon *d)
{
	const struct engine_conf *conf = &d->engine_conf;
	struct flow_key keys[ENGINE_IGNORE_MAX];

	if (d->notrack.looked_at && d->now < d->notrack.looked_at + LOOK_US)
		return;
	for (unsigned int i = 0; i < conf->ignore_count; i++)
		key_of(&conf->ignore[i], &keys[i]);
	d->notrack.tracked = kern_tracks(keys, conf->ignore_count);
	d->notrack.looked_at = d->now;
	if (d->notrack.tracked != KERN_TRACKING_UNKNOWN)
		told(d, d->notrack.tracked == KERN_TRACKING_ON);
}
