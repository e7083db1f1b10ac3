/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A control request: first to the grammar of verbs and words, then over a socket to the server, cut
 * in two at a place that the first byte names. What the grammar accepts must reach the owner word
 * by word, if nothing came with it; whatever else must be answered with a closing line and never
 * reach him.
 *
 * Decoders: daemon/words.c
 * Built of: daemon/ctl.c daemon/ctl_out.c daemon/ctl_rights.c daemon/words.c daemon/log.c -lev
 */
#include "fuzz.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../daemon/ctl.h"
#include "words.h"

#define TURNS_MAX 10
#define REPLY_MAX 2048

struct owner { /* what it was asked */
	bool asked;
	int argc;
	char line[CTL_REQUEST_MAX + 1]; /* the words joined again */
};

struct grammar {
	bool accepted;
	int argc;
};

static void op_request(void *arg, struct ctl_client *c, int argc, char **argv)
{
	struct owner *o = arg;

	assert(!o->asked && argc > 0 && argc <= WORDS_MAX && !argv[argc]);
	o->asked = true;
	o->argc = argc;
	for (int i = 0; i < argc; i++) {
		strcat(o->line, i ? " " : "");
		strcat(o->line, argv[i]);
	}
	ctl_put_str(c, "verb", argv[0]);
	ctl_put_line(c, argv[argc - 1]);
	ctl_end(c, CTL_EXIT_DONE);
}

static void op_more(void *arg, struct ctl_client *c)
{
	(void)arg;
	(void)c;
	assert(!"nothing streams");
}

static void op_gone(void *arg, struct ctl_client *c)
{
	(void)arg;
	(void)c;
	assert(!"every request was answered at once");
}

/* What the grammar says of the first line, if it ends in a newline. */
static struct grammar judge(const char *text, size_t len)
{
	char line[CTL_REQUEST_MAX + 1], err[256] = "", *argv[WORDS_MAX + 1];
	const struct words_verb *verb;
	struct grammar g = { 0 };

	if (!len || len > CTL_REQUEST_MAX || text[len - 1] != '\n' || memchr(text, 0, len))
		return g;
	memcpy(line, text, len);
	line[len - 1] = '\0';
	g.argc = words_split(line, argv, WORDS_MAX);
	assert(g.argc == -1 || (g.argc > 0 && g.argc <= WORDS_MAX));
	if (g.argc < 0)
		return g;
	verb = words_find(argv[0]);
	if (!verb)
		return g;
	g.accepted = !words_check(verb, g.argc, argv, err, sizeof(err));
	assert(g.accepted == !*err); /* a refusal is told */
	return g;
}

static int connect_to(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	assert(fd >= 0 && !connect(fd, (struct sockaddr *)&sun, sizeof(sun)));
	return fd;
}

/* Reads to the end of the reply. */
static size_t talk(struct ev_loop *loop, int fd, const char *text, size_t len, size_t cut,
		   char reply[REPLY_MAX])
{
	size_t got = 0;
	ssize_t n;

	(void)send(fd, text, cut, MSG_NOSIGNAL); /* it may have hung up on us already */
	ev_run(loop, EVRUN_NOWAIT);
	(void)send(fd, text + cut, len - cut, MSG_NOSIGNAL);
	(void)shutdown(fd, SHUT_WR);
	for (unsigned int i = 0; i < TURNS_MAX; i++) {
		ev_run(loop, EVRUN_NOWAIT);
		while ((n = recv(fd, reply + got, REPLY_MAX - 1 - got, 0)) > 0)
			got += (size_t)n;
	}
	reply[got] = '\0';
	return got;
}

static void serve(const char *text, size_t len, size_t cut, struct owner *o, char reply[REPLY_MAX])
{
	static const struct ctl_ops ops = { op_request, op_more, op_gone };
	char dir[] = "/tmp/fuzz_ctl.XXXXXX", path[sizeof(dir) + 8];
	struct ctl_conf conf = { .path = path, .read_all = true };
	struct ev_loop *loop = ev_loop_new(EVBACKEND_POLL);
	struct log *log = log_new("stderr", LOG_LVL_ERR);
	struct ctl_stats stats;
	struct ctl *ctl;
	int fd;

	assert(loop && log && mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/s", dir);
	assert(!ctl_open(&ctl, &conf, &ops, o, loop, log));
	fd = connect_to(path);
	(void)talk(loop, fd, text, len, cut, reply);
	(void)close(fd);
	ctl_stats(ctl, &stats);
	assert(stats.accepted == 1);
	ctl_close(ctl);
	(void)rmdir(dir);
	log_free(log);
	ev_loop_destroy(loop);
}

/* Lines of a tag and a space, the last one the closing line. */
static void check_reply(const char *reply)
{
	const char *last = reply;

	for (const char *p = reply; *p; p = strchr(p, '\n') + 1) {
		assert(strchr("vlpe.", p[0]) && p[1] == ' ' && strchr(p, '\n'));
		last = p;
	}
	assert(!*reply || last[0] == '.');
}

/* The server reads what is there, as far as a request can be long. Only what then ends with its
 * first newline is one: more is a second request. */
static bool comes_alone(size_t first, size_t cut, size_t len)
{
	size_t there = cut < first ? len : cut;

	return first == (there < CTL_REQUEST_MAX ? there : CTL_REQUEST_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t len = size ? size - 1 : 0, cut = len ? data[0] % (len + 1) : 0;
	char *text = malloc(len + 1), reply[REPLY_MAX];
	struct owner owner = { 0 };
	struct grammar g;
	const char *newline;
	size_t first = len; /* a client has one request */

	assert(text);
	if (len)
		memcpy(text, data + 1, len);
	newline = memchr(text, '\n', len);
	if (newline)
		first = (size_t)(newline - text) + 1;
	g = judge(text, first);
	serve(text, len, cut, &owner, reply);
	check_reply(reply);
	assert(owner.asked == (g.accepted && comes_alone(first, cut, len)));
	if (owner.asked)
		assert(owner.argc == g.argc && strlen(owner.line) == first - 1 &&
		       !memcmp(owner.line, text, first - 1));
	free(text);
	return 0;
}
