/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line's parts: values into JSON and text, the reading of replies in any pieces, and
 * the program itself against a server of this test that says what a test wants and no more.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <grp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../daemon/cli/cli.h"
#include "../../daemon/cli/render.h"
#include "../../include/ctl.h"

/* ---- Values ---- */

/* Feeds value lines, NULL at the end. */
static json_t *flat_of(const char *const *lines)
{
	json_t *flat = json_object();

	assert_non_null(flat);
	for (; *lines; lines++)
		assert_int_equal(render_value(flat, *lines), 0);
	return flat;
}

static void expect_json(const char *const *lines, const char *want)
{
	json_t *flat = flat_of(lines), *tree = render_tree(flat);
	char *got;

	assert_non_null(tree);
	got = json_dumps(tree, JSON_COMPACT);
	assert_string_equal(got, want);
	free(got);
	json_decref(tree);
	json_decref(flat);
}

static void expect_text(const char *verb, const char *const *lines, const char *want)
{
	json_t *flat = flat_of(lines);
	char *got;
	size_t len;
	FILE *out = open_memstream(&got, &len);

	assert_non_null(out);
	render_text(verb, flat, out);
	assert_int_equal(fclose(out), 0);
	if (!strstr(got, want))
		fail_msg("no '%s' in:\n%s", want, got);
	free(got);
	json_decref(flat);
}

#define LINES(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void test_tree(void **state)
{
	(void)state;
	expect_json(LINES("s node fw1", "b ready true", "n flows.local 0", "n flows.max 262144"),
		    "{\"node\":\"fw1\",\"ready\":true,\"flows\":{\"local\":0,\"max\":262144}}");
	expect_json(LINES("s peers.0.node fw2", "n peers.0.head 9", "s peers.1.node fw3"),
		    "{\"peers\":[{\"node\":\"fw2\",\"head\":9},{\"node\":\"fw3\"}]}");
	expect_json(LINES("l peers", "z heard_ms", "s reason "),
		    "{\"peers\":[],\"heard_ms\":null,\"reason\":\"\"}");
	expect_json(LINES("s a.0 x", "s a.1 y", "n refused_by.EEXIST 3"),
		    "{\"a\":[\"x\",\"y\"],\"refused_by\":{\"EEXIST\":3}}");
	expect_json(LINES("n big 9223372036854775807", "s reason a  b \"quoted\""),
		    "{\"big\":9223372036854775807,\"reason\":\"a  b \\\"quoted\\\"\"}");
	expect_json(LINES("s node \xff\xfe"), "{\"node\":\"?\"}");
	expect_json(LINES("n huge 18446744073709551615"), "{\"huge\":1.8446744073709552e19}");
}

static void test_tree_contradicts(void **state)
{
	static const char *const bad[][3] = {
		{ "n a 1", "n a.b 2" },                  /* a number has no members */
		{ "n a.b 1", "n a 2" },   { "n a.1 1" }, /* a list starts at 0 */
		{ "n a.0 1", "n a.2 2" }, { "n a.0 1", "n a.x 2" },
		{ "n a..b 1" },           { "n .a 1" },
		{ "n a.99999 1" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		json_t *flat = flat_of(bad[i]);

		assert_null(render_tree(flat));
		json_decref(flat);
	}
}

static void test_value_malformed(void **state)
{
	static const char *const bad[] = {
		"",
		"n",
		"n ",
		"n  5",
		"n a",
		"n a x",
		"n a -1",
		"n a 1x",
		"n a ",
		"b a maybe",
		"q a text",
		"na 1",
		"n a 99999999999999999999",
	};
	json_t *flat = json_object();

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(render_value(flat, bad[i]), -1);
	assert_int_equal(json_object_size(flat), 0);
	json_decref(flat);
}

static void test_status_text(void **state)
{
	const char *const *lines =
		LINES("s node fw1", "s role backup", "s standby hot", "b ready false",
		      "s reason peer fw2 is down", "n flows.local 12", "n flows.remote 3400",
		      "z flows.kernel", "n flows.max 262144", "s seal none", "n overruns 2",
		      "n mute 0", "s peers.0.node fw2", "s peers.0.state down",
		      "n peers.0.heard_ms 61234", "n peers.0.covered 7", "n peers.0.head 9",
		      "n peers.0.missing 2", "b peers.0.in_sync false");

	(void)state;
	expect_text("status", lines, "node       fw1\n");
	expect_text("status", lines, "role       backup (standby mode hot)\n");
	expect_text("status", lines, "ready      NO: peer fw2 is down\n");
	expect_text("status", lines,
		    "flows      12 local, 3400 remote; unknown of at most 262144 in the kernel\n");
	expect_text("status", lines, "seal       NONE: ");
	expect_text("status", lines, "overruns   2 times");
	expect_text("status", lines, "fw2              down ");
	expect_text("status", lines, "61.2 s ago");
	expect_text("status", LINES("s node fw1", "b sync_tracked true"), "sync       TRACKED: ");
	expect_text("status",
		    LINES("s node fw1", "s links.0.link sync0", "b links.0.up true",
			  "s links.1.link sync1", "b links.1.up false"),
		    "link       sync1 is DOWN here\n");
	expect_text("status", LINES("s node fw1", "s quarantine.0.flow udp 17 src=10.0.0.1"),
		    "flow       QUARANTINED, see ctsyncd(8): udp 17 src=10.0.0.1\n");
	expect_text("status", LINES("s node fw1", "b limited true"), "limit      REACHED: ");
	expect_text("status", LINES("s node fw1", "l peers"), "no peer has been heard\n");
}

static void test_links_text(void **state)
{
	const char *const *lines = LINES(
		"s peers.0.node fw2", "s peers.0.links.0.link sync0", "b peers.0.links.0.up true",
		"n peers.0.links.0.heard_ms 120", "n peers.0.links.0.received 1000",
		"n peers.0.links.0.doubles 2", "n peers.0.links.0.expected 1003",
		"n peers.0.links.0.lost 3", "s peers.0.links.1.link sync1",
		"b peers.0.links.1.up false", "n peers.0.links.1.lost 7");

	(void)state;
	expect_text(
		"peers", lines,
		"fw2              sync0            up      120 ms ago           1000            "
		"2          3 of 1003\n");
	expect_text("peers", lines, "fw2              sync1            SILENT ");
	expect_text("status", lines, "fw2              sync1            SILENT ");
}

static void test_other_text(void **state)
{
	const char *const *commit = LINES("s role primary", "n committed 5", "n existed 1",
					  "n refused 3", "n refused_by.EEXIST 3", "n ms 17");

	(void)state;
	expect_text("promote", commit,
		    "primary: 5 flows committed, 1 already there, 3 refused, 17 ms\n"
		    "  refused with EEXIST: 3\n");
	expect_text("flows", LINES("n count 42"), "42\n");
	expect_text("stats", LINES("n a 1", "s long.path text", "b c true", "l d", "z e"),
		    "a          1\nlong.path  text\nc          yes\nd          none\n"
		    "e          unknown\n");
}

/* ---- Lines ---- */

static void pair(struct cli *c, int *far)
{
	int sv[2];

	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), errno);
	*c = (struct cli){ .fd = sv[0], .timeout_ms = 50 };
	*far = sv[1];
}

static void test_lines(void **state)
{
	struct cli c;
	char *line;
	int far;

	(void)state;
	pair(&c, &far);
	assert_int_equal(write(far, "one\n\ntw", 7), 7);
	assert_int_equal(cli_line(&c, &line), 1);
	assert_string_equal(line, "one");
	assert_int_equal(cli_line(&c, &line), 1);
	assert_string_equal(line, "");
	assert_int_equal(cli_line(&c, &line), -ETIMEDOUT); /* nothing more, and not for ever */
	assert_int_equal(write(far, "o\nlast", 6), 6);
	assert_int_equal(cli_line(&c, &line), 1);
	assert_string_equal(line, "two");
	(void)close(far);
	assert_int_equal(cli_line(&c, &line), 0); /* a line without end is none */
	cli_close(&c);
}

static void test_long_lines(void **state)
{
	static char text[CLI_LINE_MAX + 10];
	struct cli c;
	char *line;
	int far;

	(void)state;
	pair(&c, &far);
	memset(text, 'x', sizeof(text));
	for (size_t len = 1; len < 20000;
	     len = len * 3 / 2 + 1) { /* around every size of the buffer */
		assert_int_equal(write(far, text, len), len);
		assert_int_equal(write(far, "\nrest\n", 6), 6);
		assert_int_equal(cli_line(&c, &line), 1);
		assert_int_equal(strlen(line), len);
		assert_int_equal(cli_line(&c, &line), 1);
		assert_string_equal(line, "rest");
	}
	assert_int_equal(write(far, text, sizeof(text)), sizeof(text));
	assert_int_equal(cli_line(&c, &line), -EPROTO);
	(void)close(far);
	cli_close(&c);
}

static void test_send(void **state)
{
	char *words[] = { (char[]){ "flows" }, (char[]){ "remote" } };
	static char longest[CTL_REQUEST_MAX];
	char *too_long[] = { longest };
	struct cli c;
	char buf[64];
	int far;

	(void)state;
	pair(&c, &far);
	assert_int_equal(cli_send(&c, 2, words), 0);
	assert_int_equal(read(far, buf, sizeof(buf)), 13);
	assert_memory_equal(buf, "flows remote\n", 13);
	memset(longest, 'a', sizeof(longest) - 1);
	assert_int_equal(cli_send(&c, 1, too_long), 0); /* with its newline just the limit */
	assert_int_equal(cli_send(&c, 2, (char *[]){ longest, longest }), -E2BIG);
	(void)close(far);
	cli_close(&c);
}

/* ---- The program ---- */

struct server {
	char dir[64], path[96];
	int fd;
};

static int setup_server(void **state)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct server *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	(void)snprintf(s->dir, sizeof(s->dir), "/tmp/test_cli.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	(void)snprintf(s->path, sizeof(s->path), "%s/sock", s->dir);
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	memcpy(sun.sun_path, s->path, strlen(s->path));
	assert_return_code(bind(s->fd, (const struct sockaddr *)&sun, sizeof(sun)), errno);
	assert_return_code(listen(s->fd, 1), errno);
	*state = s;
	return 0;
}

static int teardown_server(void **state)
{
	struct server *s = *state;

	(void)close(s->fd);
	(void)unlink(s->path);
	assert_return_code(rmdir(s->dir), errno);
	free(s);
	return 0;
}

/* In a child: takes one request, gives the reply in pieces, closes; silent: keeps it open. */
static void serve(const struct server *s, const char *want, const char *reply, bool silent)
{
	char request[CTL_REQUEST_MAX];
	int fd = accept(s->fd, NULL, NULL);
	size_t len = 0, piece;

	while (fd >= 0 && (len == 0 || request[len - 1] != '\n')) {
		ssize_t n = recv(fd, request + len, sizeof(request) - len, 0);

		if (n <= 0)
			_exit(1);
		len += (size_t)n;
	}
	if (len != strlen(want) || memcmp(request, want, len) != 0)
		_exit(1);
	for (; *reply; reply += piece) {
		piece = strlen(reply) < 7 ? strlen(reply) : 7;
		if (send(fd, reply, piece, MSG_NOSIGNAL) != (ssize_t)piece)
			_exit(2);
	}
	if (silent)
		(void)recv(fd, request, 1, 0);
	_exit(0);
}

struct run {
	int status;
	char out[8192], err[2048];
};

static void slurp(FILE *f, char *buf, size_t len)
{
	rewind(f);
	buf[fread(buf, 1, len - 1, f)] = '\0';
	(void)fclose(f);
}

static void exec_cli(const struct server *s, const char *args, FILE *out, FILE *err)
{
	const char *build = getenv("CTSYNCD_BUILD");
	char command[512];

	(void)snprintf(command, sizeof(command), "exec '%s/ctsync' %s", build ? build : ".", args);
	if (dup2(fileno(out), 1) < 0 || dup2(fileno(err), 2) < 0)
		_exit(99);
	if (setenv("CTSYNCD_SOCKET", s->path, 1) == 0)
		(void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(99);
}

/* Runs ctsync with args; want NULL: nobody may be asked. */
static struct run run(const struct server *s, const char *args, const char *want, const char *reply)
{
	bool silent = reply && strstr(reply, "SILENCE");
	FILE *out = tmpfile(), *err = tmpfile();
	pid_t server = want ? fork() : 0, cli;
	struct run r = { 0 };
	int status;

	assert_non_null(out);
	assert_non_null(err);
	if (want && server == 0)
		serve(s, want, silent ? "" : reply, silent);
	cli = fork();
	assert_return_code(cli, errno);
	if (cli == 0)
		exec_cli(s, args, out, err);
	assert_int_equal(waitpid(cli, &status, 0), cli);
	assert_true(WIFEXITED(status));
	r.status = WEXITSTATUS(status);
	slurp(out, r.out, sizeof(r.out));
	slurp(err, r.err, sizeof(r.err));
	if (want) {
		assert_int_equal(waitpid(server, &status, 0), server);
		assert_int_equal(status, 0);
	}
	return r;
}

static void expect_run(const struct run r, int status, const char *out, const char *err)
{
	if (r.status != status || !strstr(r.out, out) || !strstr(r.err, err))
		fail_msg("exit %d, output '%s', errors '%s'; wanted %d, '%s', '%s'", r.status,
			 r.out, r.err, status, out, err);
}

static void test_program_answers(void **state)
{
	const struct server *s = *state;

	expect_run(run(s, "status --json", "status\n", "v s node fw1\nv b ready true\n. 0\n"), 0,
		   "{\n  \"node\": \"fw1\",\n  \"ready\": true\n}\n", "");
	expect_run(run(s, "--json flows local", "flows local\n", "l tcp \"x\"\nl udp\n. 0\n"), 0,
		   "[\n\"tcp \\\"x\\\"\",\n\"udp\"\n]\n", "");
	expect_run(run(s, "-j flows local", "flows local\n", ". 0\n"), 0, "[]\n", "");
	expect_run(run(s, "-j flows --count local", "flows --count local\n", "v n count 3\n. 0\n"),
		   0, "{\n  \"count\": 3\n}\n", "");
	expect_run(run(s, "flows local", "flows local\n", "l one\nl two\n. 0\n"), 0, "one\ntwo\n",
		   "");
	expect_run(run(s, "-j demote", "demote\n", ". 0\n"), 0, "{}\n", "");
	expect_run(run(s, "promote --strict", "promote --strict\n",
		       "p 1 10\np 10 10\nv n committed 9\nv n refused 1\ne 1 refused\n. 1\n"),
		   1, "9 flows committed", "ctsync: 1 refused\n");
	expect_run(run(s, "resync", "resync\n", "x of a later version\n. 0\n"), 0, "", "");
}

static void test_program_ready(void **state)
{
	const struct server *s = *state;

	expect_run(run(s, "ready", "ready\n", "v b ready true\nv s reason in sync\n. 0\n"), 0,
		   "ready: in sync\n", "");
	expect_run(run(s, "ready", "ready\n", "v b ready false\nv s reason no peer\n. 1\n"), 1,
		   "not ready: no peer\n", "");
	expect_run(run(s, "-j ready", "ready\n", "v b ready false\nv s reason no peer\n. 1\n"), 1,
		   "{\n  \"ready\": false,\n  \"reason\": \"no peer\"\n}\n", "");
}

/* Lines of JSON pass through as they are; signs of life are not shown. */
static void test_program_events(void **state)
{
	static const char reply[] = "l {\"event\":\"hello\"}\nk \nl {\"event\":\"stop\"}\n"
				    "e the daemon stops\n. 1\n";
	static const char want[] = "{\"event\":\"hello\"}\n{\"event\":\"stop\"}\n";
	const struct server *s = *state;
	struct run r = run(s, "events", "events\n", reply);

	expect_run(r, 1, want, "ctsync: the daemon stops\n");
	assert_string_equal(r.out, want);
	r = run(s, "--json events", "events\n", reply);
	assert_string_equal(r.out, want);
	/* each line leaves at once, so the first that cannot be written ends it */
	expect_run(run(s, "events >/dev/full", "events\n", reply), 1, "", "No space left");
}

static void read_key(const char *path, unsigned char key[32], struct stat *st)
{
	char more;
	FILE *f = fopen(path, "re");

	assert_non_null(f);
	assert_int_equal(fread(key, 1, 32, f), 32);
	assert_int_equal(fread(&more, 1, 1, f), 0);
	assert_int_equal(fstat(fileno(f), st), 0);
	(void)fclose(f);
}

static void test_program_keygen(void **state)
{
	const struct server *s = *state;
	const struct group *g = getgrnam("ctsyncd");
	unsigned char key[32], again[32], other[32];
	char path[128], args[256];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/key", s->dir);
	(void)snprintf(args, sizeof(args), "keygen %s", path);
	expect_run(run(s, args, NULL, NULL), 0, ": a new key, mode 06", "");
	read_key(path, key, &st);
	assert_int_equal(st.st_nlink, 1);
	if (g && geteuid() == 0) {
		assert_int_equal(st.st_mode, S_IFREG | 0640);
		assert_int_equal(st.st_gid, g->gr_gid);
	} else if (!g) {
		assert_int_equal(st.st_mode, S_IFREG | 0600);
	}
	expect_run(run(s, args, NULL, NULL), 1, "", "/key: not overwritten: File exists");
	read_key(path, again, &st);
	assert_memory_equal(key, again, 32);
	assert_return_code(unlink(path), errno);
	assert_return_code(symlink("/dev/null", path), errno); /* a name that leads elsewhere */
	expect_run(run(s, args, NULL, NULL), 1, "", "/key: not overwritten: File exists");
	assert_return_code(unlink(path), errno);
	(void)strcat(args, " >/dev/null");
	expect_run(run(s, args, NULL, NULL), 0, "", "");
	read_key(path, other, &st);
	assert_memory_not_equal(key, other, 32);
	assert_return_code(unlink(path), errno); /* that no other file is left, rmdir tells */

	expect_run(run(s, "keygen /nonexistent/key", NULL, NULL), 1, "",
		   "/nonexistent/key: cannot make a file beside it: No such file");
	expect_run(run(s, "keygen", NULL, NULL), 2, "", "needs one word");
	expect_run(run(s, "keygen a b", NULL, NULL), 2, "", "needs one word");
}

static void test_program_fails(void **state)
{
	const struct server *s = *state;
	struct run r;

	r = run(s, "-j resync", "resync\n", "e not allowed\n. 1\n");
	expect_run(r, 1, "", "ctsync: not allowed\n");
	assert_string_equal(r.out, "");
	expect_run(run(s, "resync", "resync\n", "e unknown verb\n. 2\n"), 2, "", "unknown verb");
	expect_run(run(s, "status", "status\n", "v s node fw1\n"), 1, "", "before the end");
	expect_run(run(s, "status", "status\n", ""), 1, "", "before the end");
	expect_run(run(s, "status", "status\n", "HTTP/1.1 400\n"), 1, "", "not understood");
	expect_run(run(s, "status", "status\n", ". 7\n"), 1, "", "not understood");
	expect_run(run(s, "--timeout 1 status", "status\n", "SILENCE"), 1, "",
		   "says nothing for 1 s");
	expect_run(run(s, "-j status", "status\n", "v n a 1\nv n a.b 2\n. 0\n"), 1, "",
		   "contradict");
	expect_run(run(s, "status >/dev/full", "status\n", "v s node fw1\n. 0\n"), 1, "",
		   "No space left");
	expect_run(run(s, "promote >/dev/full", "promote\n", "v n committed 1\n. 0\n"), 0, "",
		   "No space left");
}

static void test_program_usage(void **state)
{
	struct server *s = *state;

	expect_run(run(s, "", NULL, NULL), 2, "", "usage: ctsync");
	expect_run(run(s, "-x status", NULL, NULL), 2, "", "unknown option -x");
	expect_run(run(s, "stat", NULL, NULL), 2, "", "unknown verb 'stat'");
	expect_run(run(s, "flows", NULL, NULL), 2, "", "a word is missing");
	expect_run(run(s, "status -s", NULL, NULL), 2, "", "-s: needs a path");
	expect_run(run(s, "--timeout 0 status", NULL, NULL), 2, "", "needs seconds");
	expect_run(run(s, "flows local 1 2 3 4 5 6 7 8", NULL, NULL), 2, "", "too many words");
	expect_run(run(s, "status --seconds 5", NULL, NULL), 2, "",
		   "goes with 'policy test' alone");
	expect_run(run(s, "policy test a b", NULL, NULL), 2, "", "allowed: test [FILE] [--seconds");
	expect_run(run(s, "policy test --second", NULL, NULL), 2, "", "allowed: test [FILE]");
	expect_run(run(s, "policy tset", NULL, NULL), 2, "", "allowed: test [FILE]");
	expect_run(run(s, "policy test --seconds 0", NULL, NULL), 2, "", "needs seconds");
	expect_run(run(s, "policy test /nonexistent/conf", NULL, NULL), 1, "",
		   "/nonexistent/conf: cannot read: No such file");
	expect_run(run(s, "--help", NULL, NULL), 0, "  promote  [--strict] ", "");
	expect_run(run(s, "-V", NULL, NULL), 0, "ctsync ", "");
	expect_run(run(s, "-s /nonexistent/sock status", NULL, NULL), 3, "",
		   "no daemon at /nonexistent/sock (No such file or directory): see systemctl");
	expect_run(run(s, "-s /nonexistent/sock rehearse", NULL, NULL), 3, "",
		   "no daemon at /nonexistent/sock (No such file or directory): see systemctl");
	(void)close(s->fd); /* a file without a listener is what a killed daemon leaves */
	s->fd = -1;
	expect_run(run(s, "status", NULL, NULL), 3, "", "Connection refused");
}

int main(void)
{
#define PROGRAM(name) cmocka_unit_test_setup_teardown(name, setup_server, teardown_server)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_tree_contradicts),
		cmocka_unit_test(test_value_malformed),
		cmocka_unit_test(test_status_text),
		cmocka_unit_test(test_links_text),
		cmocka_unit_test(test_other_text),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_send),
		PROGRAM(test_program_answers),
		PROGRAM(test_program_ready),
		PROGRAM(test_program_events),
		PROGRAM(test_program_keygen),
		PROGRAM(test_program_fails),
		PROGRAM(test_program_usage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
