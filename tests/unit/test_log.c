/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Log and notify: what reaches standard error and the service manager's socket. Standard error is a
 * pipe here, so that also the reader who does not read is tested.
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "notify.h"

struct bed {
	int saved, rd;
};

static int setup(void **state)
{
	struct bed *b = calloc(1, sizeof(*b));
	int p[2];

	if (!b || pipe2(p, O_CLOEXEC | O_NONBLOCK))
		return -1;
	b->saved = dup(STDERR_FILENO);
	b->rd = p[0];
	if (b->saved < 0 || dup2(p[1], STDERR_FILENO) < 0 || close(p[1]))
		return -1;
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bed *b = *state;
	int err = dup2(b->saved, STDERR_FILENO) < 0;

	(void)close(b->saved);
	(void)close(b->rd);
	free(b);
	return err;
}

/* What has been written since, at most len - 1 bytes. */
static char *got(const struct bed *b, char *buf, size_t len)
{
	ssize_t n = read(b->rd, buf, len - 1);

	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

static void test_levels(void **state)
{
	struct log *log = log_new("stderr", LOG_LVL_WARN);
	char buf[4096];

	assert_non_null(log);
	log_info(log, "not this");
	log_warn(log, "peer %s: down", "fw2");
	(void)got(*state, buf, sizeof(buf));
	assert_null(strstr(buf, "not this"));
	assert_non_null(strstr(buf, " warn peer fw2: down\n"));
	log_set_level(log, LOG_LVL_DEBUG);
	log_debug(log, "now");
	assert_non_null(strstr(got(*state, buf, sizeof(buf)), " debug now\n"));
	log_free(log);
	assert_int_equal(log_level_parse("err"), LOG_LVL_ERR);
	assert_int_equal(log_level_parse("debug"), LOG_LVL_DEBUG);
	assert_int_equal(log_level_parse("loud"), -EINVAL);
	assert_string_equal(log_level_name(LOG_LVL_INFO), "info");
}

/* A name from the network cannot start a line of its own or drive a terminal. */
static void test_forged(void **state)
{
	struct log *log = log_new("stderr", LOG_LVL_INFO);
	char buf[4096];

	log_info(log, "peer %s: up", "x\n<0>kernel: panic\x1b[2J");
	assert_non_null(strstr(got(*state, buf, sizeof(buf)), "peer x?<0>kernel: panic?[2J: up\n"));
	log_free(log);
}

static unsigned int count_lines(const char *s, const char *what)
{
	unsigned int n = 0;

	for (; (s = strstr(s, what)); s++)
		n++;
	return n;
}

static void test_limit(void **state)
{
	struct log *log = log_new("stderr", LOG_LVL_INFO);
	char buf[32768];

	for (unsigned int i = 0; i < 500; i++)
		log_warn(log, "flow %u: refused", i);
	log_warn(log, "another site");
	(void)got(*state, buf, sizeof(buf));
	assert_int_equal(count_lines(buf, ": refused\n"), 20);
	assert_int_equal(count_lines(buf, "another site\n"), 1);
	log_free(log); /* tells what was held back */
	(void)got(*state, buf, sizeof(buf));
	assert_non_null(
		strstr(buf, "log: 480 lines held back in 10 s, the last: flow 499: refused\n"));
}

/* More call sites than slots: every line of a new site still comes. */
static void test_many_sites(void **state)
{
	struct log *log = log_new("stderr", LOG_LVL_INFO);
	char fmt[200][16], buf[32768];

	for (unsigned int i = 0; i < 200; i++) {
		(void)snprintf(fmt[i], sizeof(fmt[i]), "site %u.", i);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
		log_msg(log, LOG_LVL_INFO, fmt[i]);
#pragma GCC diagnostic pop
	}
	assert_int_equal(count_lines(got(*state, buf, sizeof(buf)), "site "), 200);
	log_free(log);
}

/* Nobody reads: lines are lost and counted, nothing blocks. The pipe itself would not block here,
 * poll(2) decides. */
static void test_full(void **state)
{
	struct log *log = log_new("stderr", LOG_LVL_DEBUG);
	char buf[4096];
	const struct bed *b = *state;
	unsigned int i = 0;

	for (; i < 5000; i++)
		log_debug(log, "%0200u", i);
	while (read(b->rd, buf, sizeof(buf)) > 0)
		;
	log_info(log, "reading again");
	(void)got(b, buf, sizeof(buf));
	assert_non_null(strstr(buf, " lines lost, nobody read them\n"));
	assert_non_null(strstr(buf, "reading again\n"));
	log_free(log);
}

static void test_journal(void **state)
{
	struct stat st;
	char env[64], buf[4096];
	struct log *log;

	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	(void)snprintf(env, sizeof(env), "%llu:%llu", (unsigned long long)st.st_dev,
		       (unsigned long long)st.st_ino);
	assert_int_equal(setenv("JOURNAL_STREAM", env, 1), 0);
	log = log_new("auto", LOG_LVL_INFO);
	log_err(log, "bad");
	assert_string_equal(got(*state, buf, sizeof(buf)), "<3>bad\n");
	log_free(log);
	assert_int_equal(setenv("JOURNAL_STREAM", "1:1", 1),
			 0); /* inherited, but stderr was moved */
	log = log_new("auto", LOG_LVL_INFO);
	log_err(log, "bad");
	assert_non_null(strstr(got(*state, buf, sizeof(buf)), " err bad\n"));
	log_free(log);
	assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
}

/* ---- notify ---- */

static void check_notify(const struct sockaddr_un *addr, socklen_t len, const char *env)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct notify n;
	char buf[128] = "", pid[32];

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)addr, len), 0);
	assert_int_equal(setenv("NOTIFY_SOCKET", env, 1), 0);
	assert_int_equal(setenv("WATCHDOG_USEC", "10000000", 1), 0);
	(void)snprintf(pid, sizeof(pid), "%ld", (long)getpid());
	assert_int_equal(setenv("WATCHDOG_PID", pid, 1), 0);
	assert_int_equal(notify_init(&n), 0);
	assert_true(notify_wanted(&n));
	assert_int_equal(n.watchdog_us, 10000000);
	assert_null(getenv("NOTIFY_SOCKET")); /* not for our children */
	notify_send(&n, "READY=1\nSTATUS=backup");
	assert_int_equal(recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT), 21);
	assert_string_equal(buf, "READY=1\nSTATUS=backup");
	for (unsigned int i = 0; i < 10000; i++) /* nobody reads: nothing blocks */
		notify_send(&n, "WATCHDOG=1");
	notify_fini(&n);
	assert_int_equal(close(fd), 0);
}

static void test_notify(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct notify n;

	(void)state;
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/ctsyncd-test-notify-%ld",
		       (long)getpid());
	check_notify(&addr, sizeof(addr), addr.sun_path);
	assert_int_equal(unlink(addr.sun_path), 0);

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "@ctsyncd-test-notify-%ld",
		       (long)getpid());
	char env[sizeof(addr.sun_path)];

	memcpy(env, addr.sun_path, sizeof(env));
	addr.sun_path[0] = '\0';
	check_notify(&addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(env)), env);

	assert_int_equal(notify_init(&n), 0); /* no variable, nobody to tell */
	assert_false(notify_wanted(&n));
	notify_send(&n, "READY=1");
	notify_fini(&n);
	assert_int_equal(setenv("NOTIFY_SOCKET", "relative", 1), 0);
	assert_int_equal(notify_init(&n), -EINVAL);
	assert_int_equal(setenv("NOTIFY_SOCKET", "/x", 1), 0);
	assert_int_equal(setenv("WATCHDOG_USEC", "1000", 1), 0);
	assert_int_equal(setenv("WATCHDOG_PID", "1", 1), 0); /* another process's */
	assert_int_equal(notify_init(&n), 0);
	assert_int_equal(n.watchdog_us, 0);
	notify_fini(&n);
}

#define BED_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_levels),         BED_TEST(test_forged), BED_TEST(test_limit),
		BED_TEST(test_many_sites),     BED_TEST(test_full),   BED_TEST(test_journal),
		cmocka_unit_test(test_notify),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
