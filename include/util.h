/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small things that every room uses: time, array length, big-endian access. No state, no syscalls.
 */
#ifndef CTSYNCD_UTIL_H
#define CTSYNCD_UTIL_H

#include <stddef.h>
#include <stdint.h>

/* An instant or a duration in microseconds of the monotonic clock. */
typedef uint64_t usec_t;

#define USEC_PER_MS 1000ULL
#define USEC_PER_SEC 1000000ULL

/* For what few flows need: keeps it out of the code that all of them run through. */
#define COLD __attribute__((cold, noinline))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#endif
