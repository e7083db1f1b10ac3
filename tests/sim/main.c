/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulator's command line: one seed with a trace, a range, the list of seeds that once failed.
 * A failure prints its seed and how to replay it. Every run of a checked set also has to have met
 * every fault and taken every repair path at least once, or it proves less than it seems to: but
 * for the paths that EXEMPT names, with the reason.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

static const struct {
	const char *name, *why;
} exempt[] = {
	{ "drop TYPE", "no engine of this version sends one: tests/unit/test_engine_recv.c" },
	{ "drop VALUE", "likewise" },
	{ "drop UNKNOWN", "likewise" },
	{ "drop PEERS", "needs more nodes than a run has: tests/unit/test_engine_recv.c" },
	{ "divergences",
	  "an alarm: it must stay silent, and oracle.c fails the run if it does not" },
	{ "events_ignored", "no loopback here: tests/unit/test_engine.c" },
	{ "drop DELETIONS", "needs 65,536 deletions beyond a gap" },
};

struct options {
	uint64_t from, to;
	const char *list;
	bool verbose, cover, twice, keep_on;
};

struct result {
	uint64_t passed, failed;
	struct sim_counters count;
	struct engine_counters total;
};

/* For the handler of a crash alone: the one thing that it must say. */
static volatile uint64_t seed_now;

void sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (s->failed)
		return;
	s->failed = true;
	va_start(ap, fmt);
	(void)vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	if (s->verbose)
		printf("%10.6f FAIL %s\n", (double)(s->now - START_AT) / USEC_PER_SEC, s->why);
}

void sim_trace(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (!s->verbose)
		return;
	printf("%10.6f ", (double)(s->now - START_AT) / USEC_PER_SEC);
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	(void)putchar('\n');
}

static void crashed(int sig)
{
	char text[64];
	int len = snprintf(text, sizeof(text),
			   "FAIL seed %llu: signal %d\nreplay: sim -s %llu -v\n",
			   (unsigned long long)seed_now, sig, (unsigned long long)seed_now);

	(void)!write(STDOUT_FILENO, text, (size_t)len);
	(void)signal(sig, SIG_DFL);
	(void)raise(sig);
}

static void add_up(struct result *r, const struct sim *s)
{
	uint64_t *to = (uint64_t *)&r->count;
	const uint64_t *from = (const uint64_t *)&s->count;

	for (size_t i = 0; i < sizeof(r->count) / sizeof(*to); i++)
		to[i] += from[i];
	to = (uint64_t *)&r->total;
	from = (const uint64_t *)&s->total;
	for (size_t i = 0; i < sizeof(r->total) / sizeof(*to); i++)
		to[i] += from[i];
}

static uint64_t run_once(struct sim *s, uint64_t seed, bool verbose)
{
	world_run(s, seed, verbose);
	world_free(s);
	return s->hash;
}

static void run_seed(struct sim *s, uint64_t seed, const struct options *o, struct result *r)
{
	uint64_t hash;

	seed_now = seed;
	hash = run_once(s, seed, o->verbose);
	add_up(r, s);
	if (!s->failed && (o->twice || seed % 16 == 0) && run_once(s, seed, false) != hash)
		sim_fail(s, "two runs differ (I7)");
	if (!s->failed) {
		r->passed++;
		return;
	}
	r->failed++;
	printf("FAIL seed %llu: %s\nreplay: sim -s %llu -v\n", (unsigned long long)seed, s->why,
	       (unsigned long long)seed);
	(void)fflush(stdout);
}

/* Seeds that failed once: one a line, behind it a word on what it was. */
static int run_list(struct sim *s, const struct options *o, struct result *r)
{
	FILE *f = fopen(o->list, "r");
	char line[256];

	if (!f) {
		fprintf(stderr, "sim: %s: %s\n", o->list, strerror(errno));
		return -1;
	}
	while (fgets(line, sizeof(line), f))
		if (line[0] >= '0' && line[0] <= '9')
			run_seed(s, strtoull(line, NULL, 10), o, r);
	(void)fclose(f);
	return 0;
}

static bool is_exempt(const char *name)
{
	for (unsigned int i = 0; i < ARRAY_LEN(exempt); i++)
		if (!strcmp(exempt[i].name, name))
			return true;
	return false;
}

static unsigned int cover(const char *name, uint64_t count)
{
	bool miss = !count && !is_exempt(name);

	printf("%s %-28s %llu\n", miss ? "NEVER" : "     ", name, (unsigned long long)count);
	return miss;
}

/* Prints every counter; returns how many never moved though they should have. */
static unsigned int cover_all(const struct result *r)
{
	unsigned int miss = 0;

#define COVER(name, help) miss += cover(#name, r->count.name);
	SIM_COUNTERS(COVER)
#undef COVER
#define COVER(name, help) miss += cover(#name, r->total.name);
	ENGINE_COUNTERS(COVER)
#undef COVER
#define COVER(name, help) miss += cover("drop " #name, r->total.drops[DROP_##name]);
	ENGINE_DROPS(COVER)
#undef COVER
	for (unsigned int i = 0; i < ARRAY_LEN(exempt); i++)
		printf("exempt: %s: %s\n", exempt[i].name, exempt[i].why);
	return miss;
}

static void usage(FILE *f)
{
	fputs("usage: sim [-s SEED] [-r FROM-TO] [-l LIST] [-v] [-c] [-t]\n"
	      "  -s SEED     run one seed\n  -r FROM-TO  run a range\n  -l "
	      "LIST     run the seeds listed in a file\n"
	      "  -v          trace\n  -c          every fault and repair path must occur\n"
	      "  -t          run every seed twice, compare\n",
	      f);
}

static int parse(int argc, char **argv, struct options *o)
{
	int c;
	char *end;

	while ((c = getopt(argc, argv, "s:r:l:vcth")) != -1) {
		switch (c) {
		case 's':
			o->from = o->to = strtoull(optarg, &end, 10);
			if (*end)
				return 2;
			break;
		case 'r':
			o->from = strtoull(optarg, &end, 10);
			if (*end != '-')
				return 2;
			o->to = strtoull(end + 1, &end, 10);
			if (*end)
				return 2;
			break;
		case 'l':
			o->list = optarg;
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'c':
			o->cover = true;
			break;
		case 't':
			o->twice = true;
			break;
		case 'h':
			usage(stdout);
			return -1;
		default:
			return 2;
		}
	}
	return optind == argc && (o->list || o->from <= o->to) ? 0 : 2;
}

int main(int argc, char **argv)
{
	struct options o = { .from = 1, .to = 0 };
	struct result r = { 0 };
	struct sim *s = calloc(1, sizeof(*s));
	struct timespec t0, t1;
	double took;
	int rc = argc > 1 ? parse(argc, argv, &o) : 2;

	if (rc == 2)
		usage(stderr);
	if (rc || !s) {
		free(s);
		return rc < 0 ? 0 : 2;
	}
	(void)signal(SIGABRT, crashed);
	(void)signal(SIGSEGV, crashed);
	(void)clock_gettime(CLOCK_MONOTONIC, &t0);
	if (o.list && run_list(s, &o, &r))
		return 1;
	for (uint64_t seed = o.from; seed <= o.to && seed; seed++)
		run_seed(s, seed, &o, &r);
	(void)clock_gettime(CLOCK_MONOTONIC, &t1);
	took = (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9;
	if (o.cover && cover_all(&r))
		r.failed++;
	printf("%.1f s, %.1f seeds/s, %.0f steps/s, trace %016llx\n", took,
	       (double)(r.passed + r.failed) / took, (double)r.count.steps / took,
	       (unsigned long long)s->hash);
	printf("%llu passed, %llu failed\n", (unsigned long long)r.passed,
	       (unsigned long long)r.failed);
	free(s);
	return r.failed != 0;
}
