/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket's server over real sockets, with a libev loop in this process: what it
 * answers, and above all that silent, slow, rude and unauthorised clients hurt nobody. Waits are
 * conditions with a deadline, never fixed sleeps; where a test must show that something does *not*
 * happen, it first lets a witness client go through the same time.
 */
#include "ctl_bed.h"

#include <sys/resource.h>

#include "../../daemon/words.h"

#define MANY 100

/* ---- Answers ---- */

static void test_answer(void **state)
{
	struct bed *bed = *state;
	int fd = dial(bed);

	expect_reply(bed, ask(bed, "status\n"), STATUS_REPLY);
	/* byte by byte */
	for (const char *p = "status\n"; *p; p++) {
		assert_int_equal(send(fd, p, 1, MSG_NOSIGNAL), 1);
		ev_run(bed->loop, EVRUN_ONCE);
	}
	expect_reply(bed, fd, STATUS_REPLY);
	assert_int_equal(stats_of(bed).requests, 2);
	assert_int_equal(stats_of(bed).clients, 0);
	assert_int_equal(bed->gone, 0);
}

static void test_wrong_words(void **state)
{
	static const struct {
		const char *line, *in_reply;
	} cases[] = {
		{ "sttus\n", "unknown verb 'sttus'" },
		{ "\n", "not a line of words" },
		{ " status\n", "not a line of words" },
		{ "status \n", "not a line of words" },
		{ "flows  remote\n", "not a line of words" },
		{ "status\r\n", "not a line of words" },
		{ "status now\n", "takes no words, not 'now'" },
		{ "flows\n", "a word is missing: local|remote|kernel" },
		{ "flows loc\n", "'loc' is not one of local|remote|kernel" },
		{ "flows local --cnt\n",
		  "what is '--cnt'? allowed: local|remote|kernel [--count]" },
		{ "flows local local\n", "what is 'local'?" },
		{ "flows --count\n", "'--count' is not one of local|remote|kernel" },
		{ "promote --force\n", "what is '--force'?" },
		{ "log loud\n", "'loud' is not one of err|warn|info|debug" },
		{ "status 1 2 3 4 5 6 7 8 9\n", "not a line of words" },
		{ "status\nstatus\n", "one request per connection" },
	};
	struct bed *bed = *state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *got = collect(bed, ask(bed, cases[i].line), NULL);

		assert_int_equal(strncmp(got, "e ", 2), 0);
		assert_non_null(strstr(got, cases[i].in_reply));
		assert_non_null(strstr(got, "\n. 2\n"));
		free(got);
	}
	assert_int_equal(bed->requests, 0);
}

static void test_option_anywhere(void **state)
{
	struct bed *bed = *state;

	expect_reply(bed, ask(bed, "flows --count remote\n"), ". 0\n");
	expect_reply(bed, ask(bed, "flows remote --count\n"), ". 0\n");
	assert_int_equal(bed->requests, 2);
}

static void test_long_line(void **state)
{
	char line[CTL_REQUEST_MAX + 64];
	struct bed *bed = *state;
	char *got;
	int fd;

	memset(line, 'a', sizeof(line));
	line[sizeof(line) - 1] = '\0';
	got = collect(bed, ask(bed, line), NULL);
	assert_non_null(strstr(got, "too long"));
	free(got);
	/* exactly the limit, newline included, is a request */
	line[CTL_REQUEST_MAX - 1] = '\n';
	line[CTL_REQUEST_MAX] = '\0';
	got = collect(bed, ask(bed, line), NULL);
	assert_non_null(strstr(got, "unknown verb"));
	free(got);
	/* and in two halves */
	fd = dial(bed);
	assert_int_equal(send(fd, line, 100, MSG_NOSIGNAL), 100);
	spin_until(bed, stats_of(bed).clients == 1);
	assert_int_equal(send(fd, line + 100, CTL_REQUEST_MAX - 100, MSG_NOSIGNAL),
			 CTL_REQUEST_MAX - 100);
	got = collect(bed, fd, NULL);
	assert_non_null(strstr(got, "unknown verb"));
	free(got);
}

static void test_garbage(void **state)
{
	struct bed *bed = *state;
	uint32_t x = 2463534242U; /* xorshift: the same bytes in every run */

	for (int round = 0; round < 200; round++) {
		uint8_t junk[512];
		int fd = dial(bed);

		for (size_t i = 0; i < sizeof(junk); i++) {
			x ^= x << 13;
			x ^= x >> 17;
			x ^= x << 5;
			junk[i] = (uint8_t)x;
		}
		assert_true(send(fd, junk, 1 + x % sizeof(junk), MSG_NOSIGNAL) > 0);
		if (round % 2) {
			assert_return_code(shutdown(fd, SHUT_WR), errno);
			free(collect(bed, fd, NULL));
		} else {
			(void)close(fd);
		}
	}
	spin_until(bed, stats_of(bed).clients == 0);
	assert_int_equal(bed->requests, 0);
	expect_reply(bed, ask(bed, "status\n"), STATUS_REPLY);
}

/* ---- Silent and slow clients ---- */

static void test_silent(void **state)
{
	struct bed *bed = *state;
	double start = ev_time();
	int fd = dial(bed);

	expect_reply(bed, ask(bed, "status\n"), STATUS_REPLY);
	expect_reply(bed, fd, "e no request came in time\n. 1\n");
	assert_true(ev_time() - start >= IDLE_MS / 1000. * 0.9);
	assert_int_equal(stats_of(bed).timeouts, 1);
	assert_int_equal(bed->gone, 0);
}

/* One byte now and then does not prolong the time. */
static void test_dribble(void **state)
{
	struct bed *bed = *state;
	double next = 0;
	int fd = dial(bed);

	while (stats_of(bed).timeouts == 0) {
		if (ev_time() >= next) {
			(void)send(fd, "a", 1, MSG_NOSIGNAL);
			next = ev_time() + 0.02;
		}
		assert_true(stats_of(bed).accepted <= 1);
		ev_run(bed->loop, EVRUN_ONCE);
	}
	(void)close(fd);
	assert_int_equal(stats_of(bed).clients, 0);
}

static void test_never_reads(void **state)
{
	struct bed *bed = *state;
	int fd;

	bed->stream_lines = 1000000; /* 200 MB */
	fd = ask(bed, "flows remote\n");
	spin_until(bed, bed->requests == 1);
	expect_reply(bed, ask(bed, "status\n"), STATUS_REPLY); /* nobody else waits for it */
	spin_until(bed, bed->gone == 1);
	assert_int_equal(stats_of(bed).timeouts, 1);
	assert_true(bed->queued_max <= CTL_BUFFER_MAX + STREAM_LINE + 2);
	(void)close(fd);
}

static void test_stream_whole(void **state)
{
	struct bed *bed = *state;
	size_t len;
	char *got;

	bed->stream_lines = 40000; /* 8 MB: many buffers */
	got = collect(bed, ask(bed, "flows remote\n"), &len);
	assert_int_equal(len, bed->stream_lines * (STREAM_LINE + 2) + strlen(". 0\n"));
	for (size_t i = 0; i < bed->stream_lines; i++) {
		const char *line = got + i * (STREAM_LINE + 2);

		assert_true(line[0] == 'l' && line[1] == ' ' && line[STREAM_LINE + 1] == '\n');
		assert_int_equal(strtoul(line + 2, NULL, 10), i);
	}
	free(got);
	assert_int_equal(bed->gone, 0);
}

static void test_stream_reader_leaves(void **state)
{
	struct bed *bed = *state;
	int fd;

	bed->stream_lines = 1000000;
	fd = ask(bed, "flows remote\n");
	spin_until(bed, bed->queued_max > 0);
	(void)close(fd);
	spin_until(bed, bed->gone == 1);
	assert_int_equal(stats_of(bed).clients, 0);
	assert_int_equal(stats_of(bed).timeouts, 0);
}

/* An answer that does not stream has a limit too. */
static void test_answer_too_big(void **state)
{
	struct bed *bed = *state;
	char *got = collect(bed, ask(bed, "config\n"), NULL);

	assert_null(strstr(got, "\n. 0\n"));
	free(got);
	assert_int_equal(stats_of(bed).dropped, 1);
	assert_int_equal(bed->gone, 0); /* it had ended */
}

/* ---- Many clients ---- */

static void test_hundred_at_once(void **state)
{
	struct bed *bed = *state;
	int fd[MANY];

	for (int i = 0; i < MANY; i++) {
		fd[i] = dial(bed);
		assert_return_code(fd[i], errno);
	}
	spin_until(bed, stats_of(bed).clients == MANY);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(send(fd[i], "status\n", 7, MSG_NOSIGNAL), 7);
	for (int i = 0; i < MANY; i++)
		expect_reply(bed, fd[i], STATUS_REPLY);
	assert_int_equal(stats_of(bed).refused + stats_of(bed).evicted, 0);
}

static void test_full_house(void **state)
{
	struct bed *bed = *state;
	int fd[2 * CTL_CLIENTS_MAX];

	for (unsigned int i = 0; i < ARRAY_LEN(fd); i++) {
		fd[i] = dial(bed);
		assert_return_code(fd[i], errno);
		spin_until(bed, stats_of(bed).accepted > i);
		assert_true(stats_of(bed).clients <= CTL_CLIENTS_MAX);
	}
	expect_reply(bed, ask(bed, "status\n"), STATUS_REPLY);
	assert_true(stats_of(bed).evicted + stats_of(bed).timeouts > CTL_CLIENTS_MAX);
	for (unsigned int i = 0; i < ARRAY_LEN(fd); i++)
		(void)close(fd[i]);
	spin_until(bed, stats_of(bed).clients == 0);
}

/* All places taken by clients that wait for an answer: these stay, the new one is refused in words.
 */
static void test_full_of_busy(void **state)
{
	struct bed *bed = *state;
	int fd[CTL_CLIENTS_MAX];

	for (unsigned int i = 0; i < ARRAY_LEN(fd); i++) {
		fd[i] = ask(bed, "promote\n");
		spin_until(bed, bed->waiting_count == i + 1);
	}
	expect_reply(bed, ask(bed, "status\n"),
		     "e too many clients, all of them busy: try again\n. 1\n");
	assert_int_equal(stats_of(bed).refused, 1);
	for (unsigned int i = 0; i < ARRAY_LEN(fd); i++)
		ctl_end(bed->waiting[i], CTL_EXIT_DONE);
	bed->waiting_count = 0;
	for (unsigned int i = 0; i < ARRAY_LEN(fd); i++)
		expect_reply(bed, fd[i], ". 0\n");
}

static void test_out_of_descriptors(void **state)
{
	struct bed *bed = *state;
	struct rlimit old, low;
	int fd = ask(bed, "status\n");

	assert_return_code(getrlimit(RLIMIT_NOFILE, &old), errno);
	low = old;
	low.rlim_cur = (rlim_t)fd + 1;
	assert_return_code(setrlimit(RLIMIT_NOFILE, &low), errno);
	spin_until(bed, stats_of(bed).refused == 1);
	assert_return_code(setrlimit(RLIMIT_NOFILE, &old), errno);
	expect_reply(bed, fd, STATUS_REPLY);
}

/* ---- Clients that wait for an answer ---- */

static void test_waiting_is_not_idle(void **state)
{
	struct bed *bed = *state;
	int fd = ask(bed, "promote\n"), witness;

	spin_until(bed, bed->waiting_count == 1);
	for (unsigned int i = 1; i <= 2;
	     i++) { /* two silent ones, one after the other, run into the timeout */
		witness = dial(bed);
		spin_until(bed, stats_of(bed).timeouts == i);
		(void)close(witness);
	}
	ctl_put_progress(bed->waiting[0], 1, 2);
	ctl_put_progress(bed->waiting[0], 2, 2); /* says no more than the one that waits unsent */
	ctl_put_num(bed->waiting[0], "committed", 9);
	ctl_end(bed->waiting[0], CTL_EXIT_DONE);
	bed->waiting_count = 0;
	expect_reply(bed, fd, "p 1 2\nv n committed 9\n. 0\n");
	assert_int_equal(bed->gone, 0);
}

static void test_waiter_leaves(void **state)
{
	struct bed *bed = *state;
	int fd = ask(bed, "promote\n"), other = ask(bed, "promote --strict\n");

	spin_until(bed, bed->waiting_count == 2);
	(void)close(fd);
	spin_until(bed, bed->gone == 1);
	assert_int_equal(bed->waiting_count, 1);
	ctl_end(bed->waiting[0], CTL_EXIT_FAILED);
	bed->waiting_count = 0;
	expect_reply(bed, other, ". 1\n");
}

static void test_half_closed(void **state)
{
	struct bed *bed = *state;
	int fd = ask(bed, "promote\n"), gone = ask(bed, "promote\n");
	struct ctl_client *c;

	assert_return_code(shutdown(fd, SHUT_WR), errno);
	assert_return_code(shutdown(gone, SHUT_WR), errno);
	spin_until(bed, bed->waiting_count == 2);
	expect_reply(bed, ask(bed, "status\n"),
		     STATUS_REPLY); /* a turn in which the end was seen */
	assert_int_equal(bed->gone, 0);
	(void)close(
		gone); /* the close behind the half-close shows when something is written to it */
	for (unsigned int i = 0; i < 2; i++)
		ctl_put_progress(bed->waiting[i], 0, 1);
	spin_until(bed, bed->gone == 1);
	c = bed->waiting[0];
	bed->waiting_count = 0;
	ctl_end(c, CTL_EXIT_DONE);
	expect_reply(bed, fd, "p 0 1\n. 0\n");
}

static void test_close_tells(void **state)
{
	struct bed *bed = *state;
	int fd = ask(bed, "promote\n");
	char buf[128];
	ssize_t n;

	spin_until(bed, bed->waiting_count == 1);
	reopen(bed, "", true);
	assert_int_equal(bed->gone, 1);
	n = recv(fd, buf, sizeof(buf) - 1, 0);
	assert_true(n > 0);
	buf[n] = '\0';
	assert_string_equal(buf, "e the daemon stops\n. 1\n");
	(void)close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_answer),
		TEST(test_wrong_words),
		TEST(test_option_anywhere),
		TEST(test_long_line),
		TEST(test_garbage),
		TEST(test_silent),
		TEST(test_dribble),
		TEST(test_never_reads),
		TEST(test_stream_whole),
		TEST(test_stream_reader_leaves),
		TEST(test_answer_too_big),
		TEST(test_hundred_at_once),
		TEST(test_full_house),
		TEST(test_full_of_busy),
		TEST(test_out_of_descriptors),
		TEST(test_waiting_is_not_idle),
		TEST(test_waiter_leaves),
		TEST(test_half_closed),
		TEST(test_close_tells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
