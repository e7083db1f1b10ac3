/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stream of events: what happens on this node, a line of JSON each, to everybody who asked by
 * the verb events. The lines are a contract with monitors, written down in ctsync(8): members are
 * added to, not changed.
 */
#ifndef CTSYNCD_EVENTS_H
#define CTSYNCD_EVENTS_H

#include "ctl.h"
#include "engine.h"
#include "link.h"

struct daemon;

#define EVENTS_CLIENTS_MAX 32
#define EVENTS_ALIVE_MS 2000 /* a subscriber hears at least a sign of life so often */

/* Makes d->events. Returns 0 or -ENOMEM. Before ctl_open; until then the calls below do nothing. */
int events_init(struct daemon *d);
/* Frees it; after ctl_close. */
void events_fini(struct daemon *d);

/* Answers c by a line of the present state, then by events until it leaves. */
void events_subscribe(struct daemon *d, struct ctl_client *c);
/* c left; nothing if it is no subscriber. */
void events_gone(struct daemon *d, struct ctl_client *c);

/* What happened: a note of the engine, after what it means was done (a role saved); d->ready is
 * another; the daemon stops. */
void events_note(struct daemon *d, const struct engine_note *n);
void events_ready(struct daemon *d);
/* A link's own state changed; the sync traffic was found tracked, or is no more. */
void events_link(struct daemon *d, const struct link_stats *s);
void events_notrack(struct daemon *d, bool tracked);
void events_stop(struct daemon *d);

#endif
