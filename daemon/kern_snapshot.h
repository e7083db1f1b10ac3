/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's table for a reader who only wants to look: a dump over a socket of its own, which
 * the engine does not see and which disturbs neither its dump nor its events. Read in slices.
 */
#ifndef CTSYNCD_KERN_SNAPSHOT_H
#define CTSYNCD_KERN_SNAPSHOT_H

#include <stddef.h>

#include "flow.h"

struct kern_snapshot;

/* Opens a socket and asks for both families, for the expectations or for the flows. Returns 0 or
 * -errno. */
int kern_snapshot_open(struct kern_snapshot **s, bool expect);
void kern_snapshot_close(struct kern_snapshot *s);

/* Fills out with up to max flows. Returns how many; 0 when the dump is over; -EAGAIN when nothing
 * is there at the moment; another -errno when the dump broke off. Never blocks. */
int kern_snapshot_read(struct kern_snapshot *s, struct flow *out, size_t max);

#endif
