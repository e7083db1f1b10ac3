/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flight recorder's memory and files (include/recording.h): a ring of segments beside the
 * control socket, each begun by the engine's state and filled with its inputs. See recorder.c.
 */
#ifndef CTSYNCD_RECORDER_H
#define CTSYNCD_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"
#include "log.h"
#include "util.h"

#define RECORDER_PATH_MAX 160
#define RECORDER_SAVED_MAX 4                   /* SOCKET.divergence.1 to this */
#define RECORDER_PAUSE_US (600 * USEC_PER_SEC) /* from one of them to the next */
#define RECORDER_MB_MIN 6

struct recorder;

struct recorder_conf {
	const char *socket; /* its files are SOCKET.record.N, SOCKET.crash, SOCKET.divergence.N */
	const char *node;
	uint64_t epoch;
	uint32_t size_mb; /* of the whole ring */
};

/* Keeps what a run that did not end well left (SOCKET.crash), then starts recording e, unless
 * size_mb is 0: then *r is NULL, which every other call takes for "off". e must outlive r. Returns
 * 0 or -errno, and *r is NULL. */
int recorder_open(struct recorder **r, const struct recorder_conf *conf, struct engine *e,
		  struct log *log, usec_t now);

/* Ends recording. clean: the run ends by its own will, nothing is left behind. */
void recorder_close(struct recorder *r, bool clean);

/* Once a turn of the loop, when no operation is unanswered: goes on to the next segment when it is
 * time, and with what was asked for below. Never waits. */
void recorder_turn(struct recorder *r, usec_t now);

/* The tables of two nodes differed: what led there goes into a file, unless one was written just
 * before. */
void recorder_diverged(struct recorder *r, usec_t now);

/* A copy of all that can be replayed, for one reader at a time. Returns 0, -EBUSY or -ENOENT (off).
 */
int recorder_copy_begin(struct recorder *r);
/* The next bytes. Returns how many; 0 at the end; -EAGAIN, not yet; -ENODATA, nothing can be
 * replayed. */
int recorder_copy_read(struct recorder *r, uint8_t *buf, size_t len);
void recorder_copy_end(struct recorder *r);

struct recorder_stats {
	bool on;
	bool stopped;          /* nothing is being recorded: state_len does not fit */
	unsigned int segments; /* that a replay would have now */
	uint64_t steps;        /* recorded since the start */
	uint64_t state_len;    /* of the engine's state, when it was saved last */
	uint64_t saved;        /* recordings written to files */
};
void recorder_stats(const struct recorder *r, struct recorder_stats *s);

#endif
