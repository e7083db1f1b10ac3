/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lock, kept role and the way out of root. The lock is tried from another process and after a kill
 * -9; the drop happens in a child, as root only.
 */
#include "state.h"

#include <errno.h>
#include <linux/capability.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct bed {
	char dir[64], socket[96];
};

static int setup(void **state)
{
	struct bed *b = calloc(1, sizeof(*b));

	if (!b)
		return -1;
	(void)snprintf(b->dir, sizeof(b->dir), "/tmp/ctsyncd-test-state-XXXXXX");
	if (!mkdtemp(b->dir))
		return -1;
	(void)snprintf(b->socket, sizeof(b->socket), "%s/run/x.sock", b->dir);
	*state = b;
	return state_dir(b->socket, "no-such-user");
}

static int teardown(void **state)
{
	static const char *const names[] = { "/run/x.sock.lock", "/run/x.sock.state",
					     "/run/x.sock.state.new" };
	struct bed *b = *state;
	char path[128];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", b->dir, names[i]);
		(void)unlink(path);
	}
	(void)snprintf(path, sizeof(path), "%s/run", b->dir);
	(void)rmdir(path);
	(void)rmdir(b->dir);
	free(b);
	return 0;
}

static void take(struct state *s, const struct bed *b)
{
	pid_t holder;

	assert_int_equal(state_lock(s, b->socket, &holder), 0);
}

static void test_dir(void **state)
{
	struct bed *b = *state;

	assert_int_equal(state_dir(b->socket, "root"), 0); /* it is there */
	assert_int_equal(state_dir("/nonexistent/a/b.sock", "root"), -ENOENT);
}

static void test_lock(void **state)
{
	struct bed *b = *state;
	struct state mine, other;
	pid_t holder = 0;

	take(&mine, b);
	assert_int_equal(state_lock(&other, b->socket, &holder), -EWOULDBLOCK);
	assert_int_equal(holder, getpid());
	state_unlock(&mine);
	take(&other, b); /* the file is still there and stops nobody */
	state_unlock(&other);
}

/* A holder that was killed leaves the file, not the lock. */
static void test_lock_killed(void **state)
{
	struct bed *b = *state;
	struct state s;
	pid_t child, holder;
	int up[2], status;
	char byte;

	assert_int_equal(pipe(up), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		if (state_lock(&s, b->socket, &holder) || write(up[1], "x", 1) != 1)
			_exit(1);
		(void)pause();
		_exit(0);
	}
	assert_int_equal(read(up[0], &byte, 1), 1);
	assert_int_equal(state_lock(&s, b->socket, &holder), -EWOULDBLOCK);
	assert_int_equal(holder, child);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	take(&s, b);
	state_unlock(&s);
	(void)close(up[0]);
	(void)close(up[1]);
}

static void check_load(const struct state *s, int ret, enum engine_role role,
		       enum engine_origin origin)
{
	enum engine_role r = 99;
	enum engine_origin o = 99;

	assert_int_equal(state_load(s, &r, &o), ret);
	assert_int_equal(r, role);
	assert_int_equal(o, origin);
}

static void write_state(const struct state *s, const char *text)
{
	FILE *f = fopen(s->path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void test_role(void **state)
{
	struct bed *b = *state;
	struct state s;
	char text[128];

	take(&s, b);
	check_load(&s, 0, ROLE_BACKUP, ORIGIN_BOOT);
	assert_int_equal(state_save(&s, ROLE_BACKUP), 0);
	check_load(&s, 0, ROLE_BACKUP, ORIGIN_RESTART);
	assert_int_equal(state_save(&s, ROLE_PRIMARY), 0);
	state_unlock(&s);
	take(&s, b); /* the next run */
	check_load(&s, 0, ROLE_PRIMARY, ORIGIN_RESTART);
	write_state(&s, "boot 01234567-89ab-cdef-0123-456789abcdef\nrole primary\n");
	check_load(&s, 0, ROLE_BACKUP, ORIGIN_BOOT); /* rebooted since */
	write_state(&s, "");
	check_load(&s, -EBADMSG, ROLE_BACKUP, ORIGIN_RESTART); /* there was an earlier run */
	(void)snprintf(text, sizeof(text), "boot %s\nrole emperor\n", s.boot_id);
	write_state(&s, text);
	check_load(&s, 0, ROLE_BACKUP, ORIGIN_RESTART);
	state_unlock(&s);
}

/* What a run that was killed in the middle of a save left behind is in nobody's way. */
static void test_save_leftover(void **state)
{
	struct bed *b = *state;
	struct state s;
	char path[STATE_PATH_MAX + 8];
	FILE *f;

	take(&s, b);
	(void)snprintf(path, sizeof(path), "%s.new", s.path);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(state_save(&s, ROLE_PRIMARY), 0);
	check_load(&s, 0, ROLE_PRIMARY, ORIGIN_RESTART);
	assert_int_equal(access(path, F_OK), -1);
	/* No new file can be made: the old one is written over, the longer role and the shorter. */
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(state_save(&s, ROLE_BACKUP), 0);
	check_load(&s, 0, ROLE_BACKUP, ORIGIN_RESTART);
	assert_int_equal(state_save(&s, ROLE_PRIMARY), 0);
	check_load(&s, 0, ROLE_PRIMARY, ORIGIN_RESTART);
	(void)unlink(s.path);
	assert_int_not_equal(state_save(&s, ROLE_PRIMARY), 0); /* and is not made */
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(b->dir), -1); /* a save that cannot be made says so */
	(void)snprintf(s.path, sizeof(s.path), "/nonexistent/x.state");
	assert_int_equal(state_save(&s, ROLE_PRIMARY), -ENOENT);
	state_unlock(&s);
}

/* In a child: becomes nobody and checks what is left. Exit status 0 is good, else the line. */
static void drop_child(struct state *s, uid_t uid, gid_t gid)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	uid_t r, e, v;

	if (state_drop(s, "nobody"))
		_exit(1);
	if (getresuid(&r, &e, &v) || r != uid || e != r || v != r || getegid() != gid)
		_exit(2);
	if (syscall(SYS_capget, &head, data) || data[0].permitted != 1U << CAP_NET_ADMIN ||
	    data[0].effective != 1U << CAP_NET_ADMIN || data[0].inheritable || data[1].permitted)
		_exit(3);
	if (!setuid(0))
		_exit(4);
	_exit(state_save(s, ROLE_PRIMARY) ? 5 : 0); /* still able to keep the role */
}

static void test_drop(void **state)
{
	struct bed *b = *state;
	const struct passwd *pw = getpwnam("nobody");
	uid_t uid = pw ? pw->pw_uid : 0; /* the next getpwnam writes over it */
	gid_t gid = pw ? pw->pw_gid : 0;
	struct state s;
	char dir[96];
	pid_t child;
	int status;

	if (geteuid() != 0 || uid == 0)
		skip();
	take(&s, b);
	assert_int_equal(state_save(&s, ROLE_BACKUP), 0);
	assert_int_equal(state_drop(&s, "no-such-user"), -ENOENT);
	assert_int_equal(state_drop(&s, "root"), 0);
	assert_int_equal(state_drop(&s, "nobody"), -EACCES); /* the directory is root's */
	assert_int_equal(geteuid(), 0);
	assert_int_equal(getegid(), 0);
	(void)snprintf(dir, sizeof(dir), "%s/run", b->dir);
	assert_int_equal(chown(dir, uid, gid), 0);
	assert_int_equal(chmod(b->dir, 0755), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child)
		drop_child(&s, uid, gid);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	check_load(&s, 0, ROLE_PRIMARY, ORIGIN_RESTART);
	state_unlock(&s);
}

#define BED_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_dir),  BED_TEST(test_lock),          BED_TEST(test_lock_killed),
		BED_TEST(test_role), BED_TEST(test_save_leftover), BED_TEST(test_drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
