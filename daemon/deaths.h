/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an earlier run of the daemon died of, and whose work is not done again because of it
 * (PROTOCOL.md, R96 to R99): SOCKET.deaths. See deaths.c.
 */
#ifndef CTSYNCD_DEATHS_H
#define CTSYNCD_DEATHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"
#include "kern.h"
#include "log.h"

#define DEATHS_MAX 128 /* keys of which deaths are known: quarantined, and suspects */
#define DEATHS_QUARANTINE 2
#define DEATHS_FLOW_LEN 512

struct deaths;

/* Reads what the run before left, tells the log, and tells e whom to set aside and whom to watch; e
 * has had no input yet. From then on the file says what is being worked on. Returns 0 or -errno,
 * and *d is NULL, which every other call takes for "off". e must outlive d. */
int deaths_open(struct deaths **d, const char *socket, struct engine *e, struct log *log);
void deaths_close(struct deaths *d);

/* Kernel operations are about to be carried out. Returns how many of the count may be in one go: a
 * suspect goes alone. deaths_end follows when they have been answered. */
size_t deaths_begin(struct deaths *d, const struct engine_op *ops, size_t count);
void deaths_end(struct deaths *d);

/* NOTE_INNOCENT: the work on that suspect of the engine's ended well. */
void deaths_innocent(struct deaths *d, uint64_t suspect);

struct deaths_flow {
	char flow[DEATHS_FLOW_LEN]; /* as conntrack(8) shows it, without state */
	char peer[WIRE_NAME_MAX + 1];
	const char *work; /* "a record of a peer", ... */
	uint32_t deaths;
};
/* The i-th that is quarantined, in the engine's order. False: there is none. */
bool deaths_quarantined(const struct deaths *d, uint64_t i, struct deaths_flow *out);

#endif
