/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel side alone, with an engine that only counts: what one inject, one drained event, one
 * dumped entry and one parse cost. Run it in a namespace of its own (`ip netns exec`); it empties
 * that table.
 *
 *   kern_bench [FLOWS] [ROUNDS]
 *
 * Each figure is printed per round. A listener anywhere on the machine halves the inject rate (the
 * kernel then builds every event), so the injects are timed before the listener opens and again
 * under it.
 */
#include "kern_bed.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define EVENT_BUFFER_LEN (512U << 20)
#define PARSE_ROUNDS 2000000

static double cpu_us(void)
{
	struct rusage r;

	(void)getrusage(RUSAGE_SELF, &r); /* RUSAGE_SELF cannot fail */
	return (double)r.ru_utime.tv_sec * 1e6 + (double)r.ru_utime.tv_usec +
	       (double)r.ru_stime.tv_sec * 1e6 + (double)r.ru_stime.tv_usec;
}

static void say(const char *what, uint32_t n, usec_t from, double cpu_from)
{
	double us = (double)(bed_now() - from), cpu = cpu_us() - cpu_from;

	printf("%-28s %9.0f/s %6.2f us each, %6.2f us of CPU\n", what, n / us * 1e6, us / n,
	       cpu / n);
}

static void flow_at(struct flow *f, uint32_t i)
{
	uint32_t addr = htonl(0x0a000001 + i / 50000);

	memcpy(f->key.orig.src, &addr, 4);
	f->key.orig.sport = htons((uint16_t)(10000 + i % 50000));
	flow_inverse(&f->key, &f->reply);
}

static void apply(struct kern *k, enum engine_op_type type, uint32_t count)
{
	static struct engine_op ops[KERN_BATCH_MAX];
	struct flow f = bed_flow(IPPROTO_TCP, "10.0.0.1", 1, "11.0.0.1", 443);
	unsigned int n = 0;

	f.mark = 0x1234;
	for (uint32_t i = 0; i < count; i++) {
		flow_at(&f, i);
		ops[n].type = type;
		ops[n].limit_s = UINT32_MAX;
		ops[n++].flow = f;
		if (n == KERN_BATCH_MAX || i + 1 == count) {
			kern_apply(k, bed_engine, ops, n, bed_now());
			n = 0;
		}
	}
}

static void timed_apply(struct kern *k, enum engine_op_type type, uint32_t count, const char *what)
{
	usec_t from = bed_now();
	double cpu = cpu_us();

	apply(k, type, count);
	say(what, count, from, cpu);
}

static void timed_drain(struct kern *k, uint32_t count)
{
	usec_t from = bed_now();
	double cpu = cpu_us();
	uint64_t got = 0;
	int n;

	do {
		n = kern_read_events(k, bed_engine, 256, bed_now());
		got += (uint64_t)n;
	} while (n > 0);
	say("drain a backlog of NEW", count, from, cpu);
	if (got != count)
		printf("VOID: %llu of %u events came\n", (unsigned long long)got, count);
}

static void timed_dump(struct kern *k, uint32_t count)
{
	usec_t from = bed_now();
	double cpu = cpu_us();

	if (bed_dump(k) != (int)count)
		printf("VOID: the dump is not whole\n");
	say("dump", count, from, cpu);
}

static void timed_parse(void)
{
	struct flow f = bed_flow(IPPROTO_TCP, "10.0.0.1", 1, "11.0.0.1", 443), out;
	uint8_t msg[1024] __attribute__((aligned(8)));
	size_t len = kern_build_inject(msg, sizeof(msg), &f, 1);
	double cpu = cpu_us();
	usec_t from = bed_now();
	uint64_t sum = 0;

	for (uint32_t i = 0; i < PARSE_ROUNDS; i++) {
		(void)kern_parse(msg, len, &out); /* timed, not judged */
		sum += out.timeout_s;
	}
	say(sum != 0 ? "parse" : "parse nothing", PARSE_ROUNDS, from, cpu);
	from = bed_now();
	cpu = cpu_us();
	for (uint32_t i = 0; i < PARSE_ROUNDS; i++)
		sum += kern_build_inject(msg, sizeof(msg), &f, i);
	say(sum != 0 ? "build an inject" : "build nothing", PARSE_ROUNDS, from, cpu);
}

int main(int argc, char **argv)
{
	uint32_t count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : 100000;
	int rounds = argc > 2 ? atoi(argv[2]) : 3;
	struct kern_conf conf = { .event_buffer_len = 4096 };
	struct kern *k, *listener;
	const char *text;

	bed_open();
	bed_engine->keep = false;
	timed_parse();
	for (int i = 0; i < rounds; i++) {
		if (kern_open(&k, &conf, bed_log, &text) < 0)
			return EXIT_FAILURE;
		bed_flush();
		timed_apply(k, OP_INJECT, count, "inject, own listener");
		timed_apply(k, OP_UPDATE, count, "update, own listener");
		timed_dump(k, count);
		timed_apply(k, OP_DELETE, count, "delete, own listener");
		listener = bed_kern(EVENT_BUFFER_LEN);
		timed_apply(k, OP_INJECT, count, "inject, queueing listener");
		timed_drain(listener, count);
		bed_flush();
		kern_close(listener);
		kern_close(k);
	}
	return bed_engine->failed_count == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
