/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flight recorder's ring: its bounds, its way round, copies of it, what it leaves behind and
 * what a later run makes of that. That a recording plays is tests/netns/t_record.sh's business, and
 * the simulator's.
 */
#include "recorder.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "recording.h"

#define COPY_MAX (64u << 20)

struct bed {
	char dir[64], socket[96];
	struct log *log;
	struct engine *e;
	struct recorder *r;
	usec_t now;
	uint64_t epoch;
	uint8_t *copy;
	size_t copy_len;
};

static const char *const left[] = { ".record.0",     ".record.1",     ".record.2",
				    ".crash",        ".divergence.1", ".divergence.2",
				    ".divergence.3", ".divergence.4" };

static bool there(const struct bed *b, const char *name)
{
	char path[160];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s%s", b->socket, name);
	return lstat(path, &st) == 0;
}

static void engine_start(struct bed *b)
{
	static const uint8_t seed[32] = { 1 };
	struct engine_conf conf;

	engine_conf_default(&conf);
	conf.node[0] = 'a';
	conf.kernel_id = 1;
	b->e = engine_new(&conf, ++b->epoch, seed, b->now);
	assert_non_null(b->e);
}

static int setup(void **state)
{
	struct bed *b = calloc(1, sizeof(*b));

	if (!b)
		return -1;
	(void)snprintf(b->dir, sizeof(b->dir), "/dev/shm/ctsyncd-test-recorder-XXXXXX");
	if (!mkdtemp(b->dir))
		return -1;
	(void)snprintf(b->socket, sizeof(b->socket), "%s/sock", b->dir);
	b->log = log_new("stderr", LOG_LVL_ERR);
	b->now = 1000 * USEC_PER_SEC;
	b->copy = malloc(COPY_MAX);
	engine_start(b);
	*state = b;
	return b->log && b->copy ? 0 : -1;
}

static int teardown(void **state)
{
	struct bed *b = *state;
	char path[160];

	for (size_t i = 0; i < ARRAY_LEN(left); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", b->socket, left[i]);
		(void)unlink(path);
	}
	(void)rmdir(b->dir);
	engine_free(b->e);
	log_free(b->log);
	free(b->copy);
	free(b);
	return 0;
}

static int open_with(struct bed *b, uint32_t size_mb)
{
	const struct recorder_conf conf = {
		.socket = b->socket, .node = "a", .epoch = b->epoch, .size_mb = size_mb
	};

	return recorder_open(&b->r, &conf, b->e, b->log, b->now);
}

static void turn(struct bed *b)
{
	b->now += USEC_PER_MS;
	recorder_turn(b->r, b->now);
}

/* Turns until its children have done their work. */
static void settle(struct bed *b)
{
	siginfo_t info;

	turn(b);
	while (waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == 0)
		turn(b);
	turn(b);
}

/* Flows that come: 136 bytes of tape each. different: how many there are in all. */
static void feed(struct bed *b, unsigned int count, unsigned int different)
{
	for (unsigned int i = 0; i < count; i++) {
		struct flow f = { .has = FLOW_HAS_STATUS | FLOW_HAS_MARK, .status = 0xe };

		f.key.l3 = 4;
		f.key.proto = 17;
		f.key.orig.src[0] = 10;
		memcpy(f.key.orig.src + 1, &(uint16_t){ (uint16_t)(i % different) }, 2);
		f.key.orig.dst[0] = 192;
		f.mark = i;
		engine_kern(b->e, KERN_NEW, &f, 0, b->now);
		if (i % 64 == 0)
			turn(b);
	}
}

/* Reads a copy whole. Returns 0 or what the reader was told. */
static int take_copy(struct bed *b)
{
	int n, tries = 0;

	assert_int_equal(recorder_copy_begin(b->r), 0);
	assert_int_equal(recorder_copy_begin(b->r), -EBUSY);
	for (b->copy_len = 0;;) {
		n = recorder_copy_read(b->r, b->copy + b->copy_len, 1488);
		if (n == -EAGAIN) {
			assert_true(tries++ < 20);
			settle(b);
			continue;
		}
		if (n <= 0)
			break;
		assert_true(n % 8 == 0);
		b->copy_len += (size_t)n;
		assert_true(b->copy_len < COPY_MAX - 1488);
	}
	recorder_copy_end(b->r);
	return n;
}

struct found {
	uint64_t segments, first, steps;
	size_t len;
};

/* Walks a recording as a stranger would. */
static struct found look(const uint8_t *p, size_t len)
{
	struct recording_end end;
	struct found f = { .len = len };
	size_t at = 0;

	memcpy(&end, p + len - sizeof(end), sizeof(end));
	assert_memory_equal(end.magic, RECORDING_END, 8);
	assert_int_equal(end.sum, recording_sum(RECORDING_SUM_START, p, len - sizeof(end)));
	while (at < len - sizeof(end)) {
		struct recording_segment s;
		struct engine_tape t;

		memcpy(&s, p + at, sizeof(s));
		assert_memory_equal(s.magic, RECORDING_MAGIC, 8);
		assert_int_equal(s.build, engine_build());
		memcpy(&t, p + at + sizeof(s) + s.state_room, sizeof(t));
		if (!f.segments) {
			f.first = s.number;
			assert_true(s.state_len > 0);
		} else {
			assert_true(s.joined);
			assert_int_equal(s.number, f.first + f.segments);
		}
		f.segments++;
		f.steps += t.steps;
		at += sizeof(s) + s.state_room + sizeof(t) + t.used;
	}
	assert_int_equal(at, len - sizeof(end));
	assert_int_equal(f.segments, end.segments);
	return f;
}

static struct found look_file(const struct bed *b, const char *name)
{
	char path[160];
	FILE *f;
	size_t len;

	(void)snprintf(path, sizeof(path), "%s%s", b->socket, name);
	f = fopen(path, "rb");
	assert_non_null(f);
	len = fread(b->copy, 1, COPY_MAX, f);
	(void)fclose(f);
	return look(b->copy, len);
}

static void test_off(void **state)
{
	struct bed *b = *state;
	struct recorder_stats s;

	assert_int_equal(open_with(b, 0), 0);
	assert_null(b->r);
	feed(b, 100, 10);
	recorder_diverged(b->r, b->now);
	assert_int_equal(recorder_copy_begin(b->r), -ENOENT);
	recorder_stats(b->r, &s);
	assert_false(s.on);
	assert_false(there(b, ".record.0"));
	recorder_close(b->r, true);
}

/* Round the ring: bounded, unbroken, and what can be replayed is never less than what fits between
 * two states. */
static void test_round(void **state)
{
	struct bed *b = *state;
	struct recorder_stats s;
	struct found f;

	assert_int_equal(open_with(b, 6), 0);
	settle(b);
	feed(b, 50, 10);
	assert_int_equal(take_copy(b), 0);
	f = look(b->copy, b->copy_len);
	assert_int_equal(f.first, 1);
	assert_int_equal(f.segments, 2); /* the second begins with the state of now */
	assert_true(f.steps >= 50);
	for (unsigned int i = 0; i < 30; i++) {
		feed(b, 5000, 1000);
		settle(b);
		recorder_stats(b->r, &s);
		assert_false(s.stopped);
		assert_true(s.segments >= 1 && s.segments <= RECORDING_SEGMENTS);
	}
	assert_true(s.steps >= 150000);
	assert_int_equal(take_copy(b), 0);
	f = look(b->copy, b->copy_len);
	assert_true(f.len <= 6u << 20);
	assert_true(f.first > 5);
	assert_true(f.segments >= 2 && f.steps > 5000);
	recorder_close(b->r, true);
	for (size_t i = 0; i < ARRAY_LEN(left); i++)
		assert_false(there(b, left[i]));
}

/* A state that does not fit: what was recorded before stays, and the engine is not disturbed. */
static void test_too_large(void **state)
{
	struct bed *b = *state;
	struct recorder_stats s;
	struct engine_stats es;

	assert_int_equal(open_with(b, 6), 0);
	settle(b);
	feed(b, 60000, 60000);
	settle(b);
	recorder_stats(b->r, &s);
	assert_true(s.stopped);
	engine_stats(b->e, &es, b->now);
	assert_int_equal(es.local_flows, 60000);
	(void)take_copy(b);
	recorder_close(b->r, true);
}

/* What a run that was killed leaves becomes a recording; what one that ended leaves does not. */
static void test_crash(void **state)
{
	struct bed *b = *state;
	struct found f;

	assert_int_equal(open_with(b, 6), 0);
	settle(b);
	for (unsigned int i = 0; i < 20; i++) {
		feed(b, 4000, 100);
		settle(b);
	}
	feed(b, 100, 100);
	recorder_close(b->r, false);
	assert_true(there(b, ".record.0"));
	engine_free(b->e);
	engine_start(b);
	assert_int_equal(open_with(b, 0), 0); /* switched off since: it is kept all the same */
	f = look_file(b, ".crash");
	assert_true(f.steps >= 100 && f.first > 1);
	assert_false(there(b, ".record.0"));
}

/* Rings that are no rings are removed, not believed. */
static void test_rubbish(void **state)
{
	struct bed *b = *state;
	char path[160];

	for (unsigned int i = 0; i < 3; i++) {
		struct recording_segment s = { .number = 1, .state_room = i ? UINT64_MAX - 7 : 64 };
		FILE *f;

		memcpy(s.magic, RECORDING_MAGIC, 8);
		(void)snprintf(path, sizeof(path), "%s.record.%u", b->socket, i);
		f = fopen(path, "wb");
		assert_non_null(f);
		(void)fwrite(&s, 1, i == 2 ? 20 : sizeof(s), f);
		(void)fclose(f);
	}
	assert_int_equal(open_with(b, 6), 0);
	assert_false(there(b, ".crash"));
	recorder_close(b->r, true);
}

/* No room: an error at the start, and nothing left. */
static void test_no_room(void **state)
{
	struct bed *b = *state;

	assert_int_equal(open_with(b, 64u << 20), -ENOSPC);
	assert_null(b->r);
	for (size_t i = 0; i < ARRAY_LEN(left); i++)
		assert_false(there(b, left[i]));
	feed(b, 10, 10);
}

/* One file for many divergences at a time, at most RECORDER_SAVED_MAX, the oldest gives way. */
static void test_divergence(void **state)
{
	struct bed *b = *state;
	struct recorder_stats s;
	struct found f;

	assert_int_equal(open_with(b, 6), 0);
	settle(b);
	for (unsigned int i = 0; i < RECORDER_SAVED_MAX + 2; i++) {
		feed(b, 100, 10);
		recorder_diverged(b->r, b->now);
		feed(b, 10, 10);
		settle(b);
		recorder_diverged(b->r, b->now);
		settle(b);
		recorder_stats(b->r, &s);
		assert_int_equal(s.saved, i + 1);
		b->now += RECORDER_PAUSE_US;
	}
	for (unsigned int i = 4; i < ARRAY_LEN(left); i++) {
		assert_true(there(b, left[i]));
		f = look_file(b, left[i]);
		assert_true(f.segments >= 2 && f.steps >= 100);
	}
	recorder_close(b->r, true);
	assert_true(there(b, ".divergence.1")); /* for who looks into it */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_round, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_large, setup, teardown),
		cmocka_unit_test_setup_teardown(test_crash, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rubbish, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_divergence, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
