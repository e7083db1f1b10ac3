/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of the codec share: hex, random numbers with a seed that is told, sample flows. A
 * golden dump is written as hex with blanks between the fields. Buffers handed to decoders are
 * allocated to the byte, so that a sanitizer sees a read past the end.
 */
#ifndef CTSYNCD_TEST_CODEC_H
#define CTSYNCD_TEST_CODEC_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "flow.h"

#define HEX_MAX 1024

static inline int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Bytes of hex text into out (HEX_MAX). Returns how many. */
static inline size_t unhex(const char *text, uint8_t *out)
{
	size_t digits = 0;

	for (; *text; text++) {
		int v = hex_digit(*text);

		if (*text == ' ')
			continue;
		assert_true(v >= 0 && digits < 2 * HEX_MAX);
		out[digits / 2] = (uint8_t)(digits % 2 ? out[digits / 2] << 4 | v : v);
		digits++;
	}
	assert_int_equal(digits % 2, 0);
	return digits / 2;
}

/* A copy in a block of exactly len bytes; the caller frees it. */
static inline uint8_t *exactly(const uint8_t *p, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, p, len);
	return copy;
}

/* The bytes at p must be those of the golden dump. Says both in hex when they are not. */
static inline void assert_golden(const uint8_t *p, size_t len, const char *golden)
{
	uint8_t want[HEX_MAX];
	size_t want_len = unhex(golden, want);

	if (want_len == len && !memcmp(p, want, len))
		return;
	print_error("want %s\ngot  ", golden);
	for (size_t i = 0; i < len; i++)
		print_error("%02x", p[i]);
	print_error("\n");
	fail();
}

/* splitmix64 */
static inline uint64_t rnd(uint64_t *seed)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

/* Below n. */
static inline unsigned int rnd_below(uint64_t *seed, unsigned int n)
{
	return (unsigned int)(rnd(seed) % n);
}

static inline void rnd_fill(uint64_t *seed, void *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)p)[i] = (uint8_t)rnd(seed);
}

/* TEST_SEED=N repeats a run. */
static inline uint64_t rnd_seed(void)
{
	const char *given = getenv("TEST_SEED");
	uint64_t seed = (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();

	if (given)
		seed = strtoull(given, NULL, 0);
	print_message("TEST_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

static inline struct flow sample_tcp4(void)
{
	return (struct flow){
		.has = FLOW_HAS_STATUS | FLOW_HAS_TIMEOUT | FLOW_HAS_TCP | FLOW_HAS_ID,
		.key = { .l3 = 4,
			 .proto = IPPROTO_TCP,
			 .orig = { .src = { 10, 0, 0, 1 },
				   .dst = { 192, 0, 2, 80 },
				   .sport = htons(40000),
				   .dport = htons(443) } },
		.status = 0x400e, /* OFFLOAD is this kernel's own */
		.timeout_s = 431999,
		.id = 0x12345678,
		.tcp = { .state = 3, .wscale = { 7, 9 }, .flags = { 0x23, 0x33 } },
	};
}

/* SNAT to 2001:db8::ff port 1024, zone 300 in the original direction, marked. */
static inline struct flow sample_udp6(void)
{
	return (struct flow){
		.has = FLOW_HAS_REPLY | FLOW_HAS_STATUS | FLOW_HAS_MARK,
		.key = { .l3 = 6,
			 .proto = IPPROTO_UDP,
			 .zone = 300,
			 .zone_dir = 1,
			 .orig = { .src = { 0xfd, [15] = 1 },
				   .dst = { 0x20, 0x01, 0x0d, 0xb8, [15] = 0x53 },
				   .sport = htons(5353),
				   .dport = htons(53) } },
		.reply = { .src = { 0x20, 0x01, 0x0d, 0xb8, [15] = 0x53 },
			   .dst = { 0x20, 0x01, 0x0d, 0xb8, [15] = 0xff },
			   .sport = htons(53),
			   .dport = htons(1024) },
		.status = 0x19e,
		.mark = 0xdeadbeef,
	};
}

static inline struct flow sample_icmp(void)
{
	return (struct flow){
		.has = FLOW_HAS_STATUS,
		.key = { .l3 = 4,
			 .proto = IPPROTO_ICMP,
			 .orig = { .src = { 10, 0, 0, 1 },
				   .dst = { 10, 0, 0, 2 },
				   .sport = htons(0x4711),
				   .dport = htons(0x0800) } },
		.status = 0x00a,
	};
}

#endif
