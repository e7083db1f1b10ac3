/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulator's command line: one seed with a trace, a range, the list of seeds that once failed.
 * A failure prints its seed and how to replay it. Every run of a checked set also has to have met
 * every fault and taken every repair path at least once, or it proves less than it seems to: but
 * for the paths that EXEMPT names, with the reason.
 *
 * A range may be shared out to several processes (-j): every one takes each n-th seed and adds its
 * figures up in shared memory, so that one that crashes is replaced and goes on behind the seed
 * that it died of. What a range finds and its trace do not depend on how it was shared out.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

static const struct {
	const char *name, *why;
} exempt[] = {
	{ "events_ignored", "no loopback here: tests/unit/test_engine.c" },
};

/* What has to happen more than once. */
static const struct {
	const char *name;
	uint64_t least;
} floors[] = {
	{ "ready_promotes", 1000 }, /* moments at which "ready" was put to the proof */
};

#define JOBS_MAX 64
#define SEED_LIMIT_S 120 /* one seed takes milliseconds; what takes so long never ends */

struct options {
	uint64_t from, to;
	const char *list;
	unsigned int jobs;
	bool verbose, cover, twice, first, kernel;
};

struct result {
	uint64_t passed, failed;
	uint64_t trace; /* over all seeds, in any order */
	struct sim_counters count;
	struct engine_counters total;
};

/* One process's part of a range, in shared memory. */
struct job {
	pid_t pid;
	volatile uint64_t seed; /* under way, or done last */
	struct result r;
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
	char text[128];
	int len = snprintf(text, sizeof(text), "FAIL seed %llu: %s %d\nreplay: sim -s %llu -v\n",
			   (unsigned long long)seed_now,
			   sig == SIGALRM ? "it never ends, signal" : "signal", sig,
			   (unsigned long long)seed_now);

	(void)!write(STDOUT_FILENO, text, (size_t)len);
	(void)signal(sig, SIG_DFL);
	(void)raise(sig);
}

static void add(void *to, const void *from, size_t len)
{
	uint64_t *a = to;
	const uint64_t *b = from;

	for (size_t i = 0; i < len / sizeof(*a); i++)
		a[i] += b[i];
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
	(void)alarm(SEED_LIMIT_S);
	hash = run_once(s, seed, o->verbose);
	r->trace += hash * (2 * seed + 1);
	add(&r->count, &s->count, sizeof(r->count));
	add(&r->total, &s->total, sizeof(r->total));
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

/* Every step-th seed from a first one on. */
static void run_part(struct sim *s, const struct options *o, uint64_t seed, struct job *j)
{
	while (seed && seed <= o->to) {
		j->seed = seed;
		run_seed(s, seed, o, &j->r);
		if (o->first && j->r.failed)
			return;
		seed += o->jobs;
	}
}

static void job_start(struct sim *s, const struct options *o, uint64_t seed, struct job *j)
{
	pid_t pid;

	(void)fflush(stdout);
	j->seed = seed;
	pid = fork();
	if (pid < 0) {
		fprintf(stderr, "sim: fork: %s\n", strerror(errno));
		exit(1);
	}
	if (pid) {
		j->pid = pid; /* the parent's word: the child shares this memory */
		return;
	}
	run_part(s, o, seed, j);
	(void)fflush(stdout);
	_exit(0);
}

/* One process has ended. One that crashed is replaced. */
static void job_ended(struct sim *s, const struct options *o, struct job *j, int status)
{
	j->pid = 0;
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return;
	j->r.failed++;
	if (!o->first && j->seed + o->jobs <= o->to)
		job_start(s, o, j->seed + o->jobs, j);
}

static void run_jobs(struct sim *s, const struct options *o, struct result *r)
{
	struct job *jobs = mmap(NULL, JOBS_MAX * sizeof(*jobs), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	if (jobs == MAP_FAILED) {
		fprintf(stderr, "sim: mmap: %s\n", strerror(errno));
		exit(1);
	}
	for (unsigned int i = 0; i < o->jobs && o->from + i <= o->to; i++)
		job_start(s, o, o->from + i, &jobs[i]);
	while ((pid = wait(&status)) > 0)
		for (unsigned int i = 0; i < o->jobs; i++)
			if (jobs[i].pid == pid)
				job_ended(s, o, &jobs[i], status);
	for (unsigned int i = 0; i < o->jobs; i++)
		add(r, &jobs[i].r, sizeof(*r));
	(void)munmap(jobs, JOBS_MAX * sizeof(*jobs));
}

static void run_range(struct sim *s, const struct options *o, struct result *r)
{
	struct job alone = { 0 };

	if (!o->from)
		return;
	if (o->jobs > 1) {
		run_jobs(s, o, r);
		return;
	}
	run_part(s, o, o->from, &alone);
	add(r, &alone.r, sizeof(*r));
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
	uint64_t least = is_exempt(name) ? 0 : 1;

	for (unsigned int i = 0; i < ARRAY_LEN(floors); i++)
		if (!strcmp(floors[i].name, name))
			least = floors[i].least;
	printf("%s %-28s %llu\n",
	       count >= least ? "     "
	       : count        ? "FEW  "
			      : "NEVER",
	       name, (unsigned long long)count);
	return count < least;
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
	fputs("usage: sim [-s SEED] [-r FROM-TO] [-l LIST] [-k] [-j N] [-v] [-c] [-t] [-x]\n"
	      "  -s SEED     run one seed\n  -r FROM-TO  run a range\n  -l "
	      "LIST     run the seeds listed in a file\n"
	      "  -j N        share a range out to N processes\n"
	      "  -k          the fake kernel passes the operations of the real one\n"
	      "  -v          trace\n  -c          every fault and repair path must occur\n"
	      "  -t          run every seed twice, compare\n"
	      "  -x          end with the first failure\n",
	      f);
}

static int parse(int argc, char **argv, struct options *o)
{
	int c;
	char *end;

	while ((c = getopt(argc, argv, "s:r:l:j:kvctxh")) != -1) {
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
		case 'j':
			o->jobs = (unsigned int)strtoul(optarg, &end, 10);
			if (*end || !o->jobs || o->jobs > JOBS_MAX)
				return 2;
			break;
		case 'x':
			o->first = true;
			break;
		case 'k':
			o->kernel = true;
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
	return optind == argc && (o->list || o->kernel || o->from <= o->to) ? 0 : 2;
}

static int report(const struct options *o, struct result *r, double took)
{
	uint64_t seeds = r->passed + r->failed;

	if (o->cover && cover_all(r))
		r->failed++;
	printf("%.1f s, %.0f seeds/min, %.0f steps/min, %u jobs, trace %016llx\n", took,
	       60 * (double)seeds / took, 60 * (double)r->count.steps / took, o->jobs,
	       (unsigned long long)r->trace);
	printf("%llu passed, %llu failed\n", (unsigned long long)r->passed,
	       (unsigned long long)r->failed);
	return r->failed != 0;
}

int main(int argc, char **argv)
{
	struct options o = { .from = 1, .to = 0, .jobs = 1 };
	struct result r = { 0 };
	struct sim *s = calloc(1, sizeof(*s));
	struct timespec t0, t1;
	int rc = argc > 1 ? parse(argc, argv, &o) : 2;

	if (rc == 2)
		usage(stderr);
	if (rc || !s) {
		free(s);
		return rc < 0 ? 0 : 2;
	}
	if (o.kernel) {
		free(s);
		return fk_check();
	}
	(void)signal(SIGABRT, crashed);
	(void)signal(SIGSEGV, crashed);
	(void)signal(SIGALRM, crashed);
	(void)clock_gettime(CLOCK_MONOTONIC, &t0);
	if (o.list && run_list(s, &o, &r))
		return 1;
	run_range(s, &o, &r);
	(void)clock_gettime(CLOCK_MONOTONIC, &t1);
	free(s);
	return report(&o, &r,
		      (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9);
}
