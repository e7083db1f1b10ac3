/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the daemon makes of its deaths (daemon/deaths.c): children die in the midst of work on a
 * flow, or end well, and the next run says who is a suspect and who is quarantined. That a real
 * daemon comes through it is tests/netns/t_poison.sh's business.
 */
#include "deaths.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct bed {
	char dir[64], socket[96], path[128];
	struct log *log;
	struct engine *e;
	struct deaths *d;
};

static struct flow_key key_of(unsigned int i)
{
	struct flow_key key = { .l3 = 4, .proto = 17 };

	key.orig.src[0] = key.orig.dst[0] = 10;
	key.orig.src[3] = (uint8_t)i;
	key.orig.dst[3] = 99;
	return key;
}

static void run_begin(struct bed *b)
{
	static const uint8_t seed[32] = { 1 };
	struct engine_conf conf;

	engine_conf_default(&conf);
	conf.node[0] = 'a';
	conf.kernel_id = 1;
	b->e = engine_new(&conf, 1, seed, USEC_PER_SEC);
	assert_non_null(b->e);
	assert_int_equal(deaths_open(&b->d, b->socket, b->e, b->log), 0);
}

static void run_end(struct bed *b)
{
	deaths_close(b->d);
	engine_free(b->e);
	b->d = NULL;
	b->e = NULL;
}

static int setup(void **state)
{
	struct bed *b = calloc(1, sizeof(*b));

	(void)snprintf(b->dir, sizeof(b->dir), "/tmp/test_deaths.XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	(void)snprintf(b->socket, sizeof(b->socket), "%s/s", b->dir);
	(void)snprintf(b->path, sizeof(b->path), "%s.deaths", b->socket);
	b->log = log_new("stderr", LOG_LVL_ERR);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bed *b = *state;

	(void)unlink(b->path);
	(void)rmdir(b->dir);
	log_free(b->log);
	free(b);
	return 0;
}

/* A run that dies in the batch with the last of count operations, on the flows from first. */
static void die_writing(struct bed *b, unsigned int first, unsigned int count)
{
	struct engine_op ops[KERN_BATCH_MAX] = { 0 };
	int status;
	pid_t pid;

	for (unsigned int i = 0; i < count; i++)
		ops[i] = (struct engine_op){ .type = OP_INJECT, .flow.key = key_of(first + i) };
	pid = fork();
	if (pid == 0) {
		run_begin(b);
		for (size_t done = 0, n;; done += n) {
			n = deaths_begin(b->d, ops + done, count - done);
			if (done + n == count)
				(void)raise(SIGKILL);
			deaths_end(b->d);
		}
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

/* A run that dies over what the engine has marked. */
static void die_marked(struct bed *b, const struct engine_mark *m)
{
	FILE *f;

	run_begin(b);
	run_end(b);
	f = fopen(b->path, "r+");
	assert_non_null(f);
	assert_int_equal(fseek(f, 16, SEEK_SET), 0); /* behind magic and build */
	assert_int_equal(fwrite(m, sizeof(*m), 1, f), 1);
	assert_int_equal(fclose(f), 0);
}

/* How many go in the next batch. */
static size_t batch(struct bed *b, unsigned int first, unsigned int count)
{
	struct engine_op ops[KERN_BATCH_MAX] = { 0 };
	size_t n;

	for (unsigned int i = 0; i < count; i++)
		ops[i] = (struct engine_op){ .type = OP_INJECT, .flow.key = key_of(first + i) };
	n = deaths_begin(b->d, ops, count);
	deaths_end(b->d);
	return n;
}

static unsigned int quarantined(const struct bed *b)
{
	struct deaths_flow x;
	unsigned int n = 0;

	while (deaths_quarantined(b->d, n, &x))
		n++;
	return n;
}

/* All of a batch are suspects; each goes alone, and once is enough. */
static void test_batch(void **state)
{
	struct bed *b = *state;

	run_begin(b);
	assert_int_equal(batch(b, 1, 20), 20);
	run_end(b);
	die_writing(b, 5, 3);
	run_begin(b);
	assert_int_equal(quarantined(b), 0);
	assert_int_equal(batch(b, 1, 20), 4); /* those before them */
	assert_int_equal(batch(b, 5, 20), 1);
	assert_int_equal(batch(b, 6, 20), 1);
	assert_int_equal(batch(b, 5, 2), 2); /* cleared */
	assert_int_equal(batch(b, 7, 20), 1);
	assert_int_equal(batch(b, 1, 20), 20);
	run_end(b);
	run_begin(b);
	assert_int_equal(batch(b, 1, 20), 20);
	run_end(b);
}

/* The second death over the same flow; the others of the batch were cleared by then. */
static void test_twice(void **state)
{
	struct bed *b = *state;
	struct deaths_flow x;

	die_writing(b, 5, 3);
	die_writing(b, 5, 3);
	run_begin(b);
	assert_int_equal(quarantined(b), 1);
	assert_true(deaths_quarantined(b->d, 0, &x));
	assert_non_null(strstr(x.flow, "src=10.0.0.7 dst=10.0.0.99"));
	assert_int_equal(x.deaths, 2);
	assert_string_equal(x.work, "an operation of the kernel");
	assert_int_equal(batch(b, 1, 20), 20);
	run_end(b);
	run_begin(b); /* for ever, */
	assert_int_equal(quarantined(b), 1);
	run_end(b);
	assert_int_equal(unlink(b->path), 0); /* or until somebody says otherwise */
	run_begin(b);
	assert_int_equal(quarantined(b), 0);
	run_end(b);
}

/* The engine's own mark. */
static void test_mark(void **state)
{
	struct engine_mark m = { .work = WORK_RECORD, .peer = "fw2" };
	struct flow_key key = key_of(3);
	struct bed *b = *state;
	struct deaths_flow x;

	m.len = (uint8_t)flow_key_pack(&key, m.key);
	die_marked(b, &m);
	m.work = WORK_EVENT; /* other work on it */
	die_marked(b, &m);
	run_begin(b);
	assert_int_equal(quarantined(b), 0);
	run_end(b);
	m.work = WORK_RECORD;
	die_marked(b, &m);
	run_begin(b);
	assert_true(deaths_quarantined(b->d, 0, &x));
	assert_false(deaths_quarantined(b->d, 1, &x));
	assert_int_equal(x.deaths, 2);
	assert_string_equal(x.work, "a record of a peer");
	assert_string_equal(x.peer, "fw2");
	run_end(b);

	m.work = WORK_EVENT; /* and once more, after it went well */
	run_begin(b);
	deaths_innocent(b->d, 0);
	run_end(b);
	die_marked(b, &m);
	m.len--; /* torn */
	die_marked(b, &m);
	die_marked(b, &m);
	run_begin(b);
	assert_int_equal(quarantined(b), 1);
	run_end(b);
}

/* A file that no run of this build left is no reason for anything. */
static void test_file(void **state)
{
	struct bed *b = *state;
	struct stat st;
	FILE *f;

	die_writing(b, 5, 1);
	die_writing(b, 5, 1);
	assert_int_equal(stat(b->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	f = fopen(b->path, "r+");
	assert_non_null(f);
	assert_int_equal(fseek(f, 8, SEEK_SET), 0);
	assert_int_equal(fwrite("another!", 1, 8, f), 8); /* build */
	assert_int_equal(fclose(f), 0);
	run_begin(b);
	assert_int_equal(quarantined(b), 0);
	run_end(b);

	for (int fill = 0; fill < 256; fill += 51) {
		f = fopen(b->path, "r+");
		assert_non_null(f);
		assert_int_equal(fseek(f, 16, SEEK_SET), 0);
		for (off_t i = 16; i < st.st_size; i++)
			assert_int_equal(fputc(fill, f), fill);
		assert_int_equal(fclose(f), 0);
		run_begin(b);
		assert_int_equal(quarantined(b), 0);
		assert_int_equal(batch(b, 1, 20), 20);
		run_end(b);
	}
	assert_int_equal(truncate(b->path, 100), 0);
	run_begin(b);
	assert_int_equal(quarantined(b), 0);
	run_end(b);

	assert_int_equal(unlink(b->path), 0);
	assert_int_equal(symlink("/dev/zero", b->path), 0);
	assert_int_equal(deaths_open(&b->d, b->socket, b->e, b->log), -ELOOP);
	assert_null(b->d);
	assert_int_equal(batch(b, 1, 20), 20); /* off */
}

/* More deaths than there is room for: suspects give way to quarantined ones. */
static void test_room(void **state)
{
	struct bed *b = *state;

	die_writing(b, 1, 1);
	die_writing(b, 1, 1);
	for (unsigned int i = 0; i < 4; i++)
		die_writing(b, 2 + 60 * i, 60);
	run_begin(b);
	assert_int_equal(quarantined(b), 1);
	assert_int_equal(batch(b, 2, 20), 20); /* the oldest suspects are forgotten, */
	assert_int_equal(batch(b, 200, 20), 1);
	run_end(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_batch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mark, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_room, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
