/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file of the flight recorder: one to RECORDING_SEGMENTS segments, oldest first, and an end.
 * Each segment is what the daemon has in memory, byte by byte:
 *
 *   struct recording_segment
 *   state_room bytes        the engine as the segment began (engine_save)
 *   struct engine_tape      followed by `used` bytes of entries (proto/tape.h)
 *
 * All lengths are multiples of 8. Only tools of the same engine_build can read more of it than the
 * heads.
 */
#ifndef CTSYNCD_RECORDING_H
#define CTSYNCD_RECORDING_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define RECORDING_SEGMENTS 3
#define RECORDING_MAGIC "ctsyncR1"
#define RECORDING_END "ctsyncE1"

struct recording_segment {
	char magic[8];
	uint64_t build;                 /* engine_build */
	uint64_t epoch;                 /* of the daemon's run */
	uint64_t number;                /* of the segment in that run, from 1 */
	uint64_t begun_at;              /* monotonic, microseconds */
	uint64_t begun_wall;            /* seconds since 1970 */
	uint64_t state_room, state_len; /* state_len 0: not written to its end */
	uint64_t joined;                /* 1: it goes on where the segment before it ends */
	uint64_t clean;                 /* 1: the daemon ended by its own will */
	char node[64];
};

struct recording_end {
	char magic[8];
	uint64_t segments;
	uint64_t sum; /* of everything before */
};

#define RECORDING_SUM_START 0xcbf29ce484222325ULL

/* Goes on with the sum of a recording; len is a multiple of 8. */
static inline uint64_t recording_sum(uint64_t sum, const void *p, size_t len)
{
	const uint8_t *at = p;

	for (; len >= 8; at += 8, len -= 8) {
		uint64_t word;

		memcpy(&word, at, 8);
		sum = (sum ^ word) * 0x9e3779b97f4a7c15ULL;
		sum ^= sum >> 31;
	}
	return sum;
}

#endif
