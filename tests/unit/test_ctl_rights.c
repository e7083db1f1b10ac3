/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket's file and who may do what over it, over real sockets. Other users are
 * children of this process that gave up their rights; these tests need root and are skipped
 * without.
 */
#include "ctl_bed.h"

#include <grp.h>
#include <sys/wait.h>

#define NOBODY 65534

static void test_path(void **state)
{
	struct ctl_conf conf = { .group = "" };
	struct bed *bed = *state;
	struct stat st;
	char file[128];
	struct ctl *ctl;
	int fd;

	assert_return_code(stat(bed->path, &st), errno);
	assert_int_equal(st.st_mode & 07777, 0666);
	reopen(bed, "", false);
	assert_return_code(stat(bed->path, &st), errno);
	assert_int_equal(st.st_mode & 07777, 0600);
	/* what is no socket is not removed */
	(void)snprintf(file, sizeof(file), "%s/file", bed->dir);
	fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_return_code(fd, errno);
	(void)close(fd);
	conf.path = file;
	assert_int_equal(ctl_open(&ctl, &conf, &ops, bed, bed->loop, bed->log), -EEXIST);
	assert_return_code(unlink(file), errno);
	conf.path = "/nonexistent/dir/sock";
	assert_int_equal(ctl_open(&ctl, &conf, &ops, bed, bed->loop, bed->log), -ENOENT);
	/* a socket that a dead run left is replaced: bind one and leave it */
	ctl_close(bed->ctl);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	{
		struct sockaddr_un sun = { .sun_family = AF_UNIX };

		memcpy(sun.sun_path, bed->path, strlen(bed->path));
		assert_return_code(bind(fd, (const struct sockaddr *)&sun, sizeof(sun)), errno);
	}
	(void)close(fd);
	assert_int_equal(bed_open(bed, "", true), 0);
	expect_reply(bed, ask(bed, "status\n"), STATUS_REPLY);
}

/* In the child, as another user: asks, and writes the reply into the pipe. */
static void child_ask(const struct bed *bed, const char *text, gid_t group, int out)
{
	char buf[512];
	ssize_t n;
	int fd;

	if (setgroups(group ? 1 : 0, &group) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0)
		_exit(1);
	fd = dial(bed);
	if (fd < 0)
		_exit(write(out, "refused", 7) != 7);
	if (fcntl(fd, F_SETFL, 0) < 0 || send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		_exit(1);
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		if (write(out, buf, (size_t)n) != n)
			_exit(1);
	_exit(0);
}

/* What NOBODY with the supplementary group is told. The caller frees it. */
static char *ask_as_nobody(struct bed *bed, const char *text, gid_t group)
{
	int pipe_fd[2], status;
	char *got;
	pid_t pid;

	assert_return_code(pipe2(pipe_fd, O_CLOEXEC), errno);
	pid = fork();
	assert_return_code(pid, errno);
	if (pid == 0)
		child_ask(bed, text, group, pipe_fd[1]);
	(void)close(pipe_fd[1]);
	got = calloc(1, 4096);
	assert_non_null(got);
	assert_return_code(fcntl(pipe_fd[0], F_SETFL, O_NONBLOCK), errno);
	for (size_t len = 0;;) {
		ssize_t n = read(pipe_fd[0], got + len, 4095 - len);

		if (n == 0)
			break;
		if (n > 0)
			len += (size_t)n;
		ev_run(bed->loop, EVRUN_ONCE);
	}
	(void)close(pipe_fd[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	return got;
}

static void expect_nobody(struct bed *bed, const char *text, gid_t group, const char *in_reply)
{
	char *got = ask_as_nobody(bed, text, group);

	if (!strstr(got, in_reply))
		fail_msg("'%s' is not in the reply '%s'", in_reply, got);
	free(got);
}

static void test_rights(void **state)
{
	const struct group *gr = getgrgid(1);
	struct bed *bed = *state;
	char name[64], text[160];

	if (geteuid() != 0 || !gr)
		skip();
	(void)snprintf(name, sizeof(name), "%s", gr->gr_name);
	(void)snprintf(text, sizeof(text),
		       "may not change anything: be root or a member of the group %s\n. 1\n", name);
	expect_nobody(bed, "status\n", 0, "v s node fw1\n");
	expect_nobody(bed, "resync\n", 0, "may not change anything: be root (there is no group");
	reopen(bed, name, true);
	expect_nobody(bed, "status\n", 0, "v s node fw1\n");
	expect_nobody(bed, "promote\n", 0, text);
	expect_nobody(bed, "promote\n", gr->gr_gid + 1, text);
	assert_int_equal(stats_of(bed).denied, 2);
	assert_int_equal(bed->waiting_count, 0);
	expect_nobody(bed, "resync\n", gr->gr_gid, "l done\n. 0\n"); /* a member */
	reopen(bed, name, false);
	expect_nobody(bed, "status\n", 0, "refused"); /* by the file's mode */
	expect_nobody(bed, "status\n", gr->gr_gid, "v s node fw1\n");
	assert_return_code(chmod(bed->path, 0666), errno);
	expect_nobody(bed, "status\n", 0, "uid 65534 may not read");
	reopen(bed, "no-such-group-here", true);
	expect_nobody(bed, "promote\n", gr->gr_gid, "may not change anything: be root");
	expect_reply(bed, ask(bed, "status\n"), STATUS_REPLY);
}

/* Readers who stream and do not read cannot keep root out. */
static void test_readers_leave_places(void **state)
{
	struct bed *bed = *state;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	bed->stream_lines = 1000000;
	pid = fork();
	assert_return_code(pid, errno);
	if (pid == 0) {
		if (setgroups(0, NULL) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
			_exit(1);
		for (unsigned int i = 0; i < CTL_READERS_MAX + 8; i++)
			(void)ask(bed, "flows remote\n");
		for (;;)
			(void)pause();
	}
	spin_until(bed, stats_of(bed).accepted + stats_of(bed).refused >= CTL_READERS_MAX + 8);
	assert_true(stats_of(bed).refused + stats_of(bed).evicted > 0);
	expect_reply(bed, ask(bed, "status\n"), STATUS_REPLY);
	assert_return_code(kill(pid, SIGKILL), errno);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	spin_until(bed, stats_of(bed).clients == 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_path),
		TEST(test_rights),
		TEST(test_readers_leave_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
