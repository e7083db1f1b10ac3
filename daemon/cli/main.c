/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctsync: asks a running ctsyncd. It sends one line and shows what comes back (include/ctl.h):
 * values as text or JSON, lines as they are, errors on standard error. The daemon judges; the exit
 * status is the one it gives, or 3 when there is no daemon, so that scripts can tell "no" from
 * "nobody".
 */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../conf.h"
#include "../words.h"
#include "cli.h"
#include "keygen.h"
#include "policy_test.h"
#include "record.h"
#include "rehearse.h"
#include "render.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "unreleased"
#endif

#define BAR_WIDTH 40
#define POLICY_WORDS "test [FILE] [--seconds N]"

struct options {
	const char *socket;
	int timeout_ms;
	bool json;
	const char *file;     /* a word of the verb's that the daemon is not told */
	unsigned int seconds; /* of policy test; 0: not told */
	int argc;             /* the verb and its words */
	char *argv[WORDS_MAX];
};

struct reply {
	const struct options *opt;
	json_t *flat;
	size_t lines;  /* of `l`, printed so far */
	bool list;     /* a verb whose answer is lines: JSON is an array of them */
	bool endless;  /* its lines are JSON and are read as they come */
	bool bar;      /* progress is shown: standard error is a terminal */
	bool bar_open; /* and stands on the current line */
};

static bool is_record(const char *verb)
{
	return strcmp(verb, "record") == 0;
}

static bool is_policy(const char *verb)
{
	return strcmp(verb, "policy") == 0;
}

static void usage(FILE *out)
{
	const struct words_verb *v;

	(void)fprintf(out,
		      "usage: ctsync [-s SOCKET] [--timeout SECONDS] [--json] VERB [WORDS]\n\n");
	for (size_t i = 0; (v = words_at(i)); i++)
		(void)fprintf(out, "  %-9s%-32s %s\n", v->name,
			      is_record(v->name)   ? "FILE"
			      : is_policy(v->name) ? POLICY_WORDS
						   : v->words,
			      v->help);
	(void)fprintf(out, "  %-9s%-32s %s\n", "keygen", "FILE",
		      "make a sealing key; needs no daemon");
	(void)fprintf(
		out,
		"\n"
		"  -s, --socket SOCKET  the daemon's control socket (default $CTSYNCD_SOCKET or\n"
		"                       " CTL_SOCKET_DEFAULT ")\n"
		"      --timeout SECONDS  give up when the daemon says nothing for so long (10)\n"
		"  -j, --json           JSON instead of text\n"
		"  -h, --help           this text\n"
		"  -V, --version        the version of this program\n"
		"\n"
		"Exit status: 0 done; 1 refused or failed; 2 usage; 3 no daemon there.\n");
}

/* ---- Options ---- */

__attribute__((format(printf, 1, 2))) static int usage_error(const char *format, ...)
{
	va_list ap;

	(void)fputs("ctsync: ", stderr);
	va_start(ap, format);
	(void)vfprintf(stderr, format, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	return CTL_EXIT_USAGE;
}

/* The value of an option that may be written "-s V", "-sV", "--socket V" or "--socket=V". Returns
 * true and moves *i if argv[*i] is that option; *value is NULL when none follows. */
static bool take_value(const char *brief, const char *name, char **argv, int *i, const char **value)
{
	const char *arg = argv[*i];
	size_t len = strlen(name);

	if (strncmp(arg, name, len) == 0 && arg[len] == '=') {
		*value = arg + len + 1;
		return true;
	}
	if (brief && strncmp(arg, brief, 2) == 0 && arg[2] != '\0') {
		*value = arg + 2;
		return true;
	}
	if (strcmp(arg, name) != 0 && !(brief && strcmp(arg, brief) == 0))
		return false;
	*value = argv[*i + 1];
	if (*value)
		++*i;
	return true;
}

/* Seconds, 1 to 3600, into milliseconds; -1 if it is not that. */
static int parse_timeout(const char *text)
{
	char *end;
	long v = strtol(text, &end, 10);

	return *text && *end == '\0' && v >= 1 && v <= 3600 ? (int)v * 1000 : -1;
}

/* Options that take a value. Returns 1 if argv[*i] was one, 0 if not, -1 if its value is wrong. */
static int take_option(struct options *opt, char **argv, int *i)
{
	const char *arg = argv[*i], *value;
	int ms = 0;

	if (take_value("-s", "--socket", argv, i, &value)) {
		opt->socket = value;
	} else if (take_value(NULL, "--timeout", argv, i, &value)) {
		opt->timeout_ms = value ? parse_timeout(value) : -1;
		if (opt->timeout_ms < 0)
			value = NULL;
	} else if (take_value(NULL, "--seconds", argv, i, &value)) {
		ms = value ? parse_timeout(value) : -1;
		opt->seconds = (unsigned int)ms / 1000;
		if (ms < 0)
			value = NULL;
	} else {
		return 0;
	}
	if (value && *value)
		return 1;
	(void)usage_error("%s: %s", arg,
			  arg[2] == 't' || ms ? "needs seconds, 1 to 3600" : "needs a path");
	return -1;
}

/* Our options may stand anywhere; what is not ours belongs to the verb. Returns 0 to go on, else
 * the exit status + 1. */
static int parse(struct options *opt, char **argv)
{
	for (int i = 1; argv[i]; i++) {
		const char *arg = argv[i];
		int took = take_option(opt, argv, &i);

		if (took < 0)
			return 1 + CTL_EXIT_USAGE;
		if (took > 0)
			continue;
		if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0) {
			usage(stdout);
			return 1 + CTL_EXIT_DONE;
		}
		if (strcmp(arg, "-V") == 0 || strcmp(arg, "--version") == 0) {
			(void)printf("ctsync %s\n", PACKAGE_VERSION);
			return 1 + CTL_EXIT_DONE;
		}
		if (strcmp(arg, "-j") == 0 || strcmp(arg, "--json") == 0)
			opt->json = true;
		else if (arg[0] == '-' && opt->argc == 0)
			return 1 + usage_error("unknown option %s (ctsync --help)", arg);
		else if (opt->argc == WORDS_MAX)
			return 1 + usage_error("too many words from '%s' on", arg);
		else
			opt->argv[opt->argc++] = argv[i];
	}
	return 0;
}

/* "policy test [FILE]": the daemon is not told of the file. */
static bool take_policy(struct options *opt)
{
	if (opt->argc < 2 || opt->argc > 3 || strcmp(opt->argv[1], "test") != 0)
		return false;
	if (opt->argc == 3)
		opt->file = opt->argv[--opt->argc];
	return !opt->file || (opt->file[0] && opt->file[0] != '-');
}

/* Checks verb and words before anybody is asked. Returns 0 or CTL_EXIT_USAGE. */
static int check(const struct options *opt)
{
	const struct words_verb *verb;
	char err[512];

	if (opt->argc == 0) {
		usage(stderr);
		return CTL_EXIT_USAGE;
	}
	if (opt->seconds && !is_policy(opt->argv[0]))
		return usage_error("--seconds goes with 'policy test' alone");
	verb = words_find(opt->argv[0]);
	if (!verb)
		return usage_error("unknown verb '%s' (ctsync --help lists them)", opt->argv[0]);
	if (words_check(verb, opt->argc, opt->argv, err, sizeof(err)) < 0)
		return usage_error("%s", err);
	return 0;
}

/* ---- The reply ---- */

static void bar_clear(struct reply *r)
{
	if (r->bar_open)
		(void)fprintf(stderr, "\r\033[K");
	r->bar_open = false;
}

static void bar_show(struct reply *r, const char *text)
{
	static const char full[] = "########################################";
	unsigned long long done, total;
	int width;

	if (!r->bar || sscanf(text, "%llu %llu", &done, &total) != 2)
		return;
	if (done > total)
		done = total;
	width = total ? (int)((double)done / (double)total * BAR_WIDTH) : 0;
	(void)fprintf(stderr, "\r[%.*s%*s] %llu of %llu", width, full, BAR_WIDTH - width, "", done,
		      total);
	r->bar_open = true;
}

static void put_line(struct reply *r, const char *text)
{
	json_t *s;

	if (!r->opt->json || r->endless) {
		(void)puts(text);
		if (r->endless)
			(void)fflush(stdout); /* the caller looks at ferror */
		r->lines++;
		return;
	}
	s = json_string(text);
	(void)fputs(r->lines++ ? ",\n" : "[\n", stdout);
	/* Not UTF-8: cannot be in JSON. */
	if (!s || json_dumpf(s, stdout, JSON_ENCODE_ANY) < 0)
		(void)fputs("null", stdout);
	json_decref(s);
}

/* One line of the reply. Returns -1 to go on, else the daemon's exit status; -2 when it is
 * malformed. */
static int take_line(struct reply *r, char *line)
{
	char *text = line + 2;

	if (line[0] == '\0' || line[1] != ' ')
		return -2;
	if (line[0] != 'p')
		bar_clear(r);
	switch (line[0]) {
	case 'v':
		return render_value(r->flat, text) < 0 ? -2 : -1;
	case 'l':
		put_line(r, text);
		return -1;
	case 'p':
		bar_show(r, text);
		return -1;
	case 'e':
		(void)fflush(stdout);
		(void)fprintf(stderr, "ctsync: %s\n", text);
		return -1;
	case '.':
		return text[0] >= '0' && text[0] <= '2' && text[1] == '\0' ? text[0] - '0' : -2;
	default: /* a tag of a later version: pass over it */
		return -1;
	}
}

/* Reads the whole reply. Returns the exit status. */
static int read_reply(struct cli *c, struct reply *r)
{
	char *line;
	int ret, status;

	for (;;) {
		ret = cli_line(c, &line);
		if (ret <= 0)
			break;
		status = take_line(r, line);
		if (status >= 0)
			return status;
		if (status == -2) {
			ret = -EPROTO;
			break;
		}
		if (ferror(stdout))
			return CTL_EXIT_FAILED;
	}
	bar_clear(r);
	(void)fflush(stdout);
	if (ret == 0)
		(void)fprintf(
			stderr,
			"ctsync: the daemon closed the connection before the end of its answer\n");
	else if (ret == -ETIMEDOUT)
		(void)fprintf(stderr,
			      "ctsync: the daemon at %s is there, but says nothing for %d s\n",
			      r->opt->socket, c->timeout_ms / 1000);
	else if (ret == -EPROTO)
		(void)fprintf(stderr, "ctsync: what answers at %s is not understood\n",
			      r->opt->socket);
	else
		(void)fprintf(stderr, "ctsync: %s: %s\n", r->opt->socket, strerror(-ret));
	return CTL_EXIT_FAILED;
}

/* Writes what was gathered. Returns 0, or -1 if the values make no tree. */
static int show_values(struct reply *r)
{
	json_t *tree;

	if (!r->opt->json) {
		render_text(r->opt->argv[0], r->flat, stdout);
		return 0;
	}
	if (r->endless)
		return 0;
	if (r->lines > 0 || r->list) {
		(void)fputs(r->lines > 0 ? "\n]\n" : "[]\n", stdout);
		return 0;
	}
	tree = render_tree(r->flat);
	if (!tree || json_dumpf(tree, stdout, JSON_INDENT(2)) < 0) {
		json_decref(tree);
		return -1;
	}
	(void)fputs("\n", stdout);
	json_decref(tree);
	return 0;
}

/* Is the verb's answer lines rather than values? */
static bool answers_lines(const struct options *opt)
{
	if (strcmp(opt->argv[0], "config") == 0 || strcmp(opt->argv[0], "expect") == 0)
		return true;
	if (strcmp(opt->argv[0], "flows") != 0)
		return false;
	for (int i = 1; i < opt->argc; i++)
		if (strcmp(opt->argv[i], "--count") == 0)
			return false;
	return true;
}

static int converse(struct cli *c, const struct options *opt)
{
	struct reply r = { .opt = opt,
			   .flat = json_object(),
			   .list = answers_lines(opt),
			   .endless = strcmp(opt->argv[0], "events") == 0 };
	int status;

	if (!r.flat)
		return CTL_EXIT_FAILED;
	r.bar = isatty(STDERR_FILENO);
	status = read_reply(c, &r);
	/* A refusal without values prints no empty document. */
	if (status == CTL_EXIT_DONE || r.lines > 0 || json_object_size(r.flat) > 0)
		if (show_values(&r) < 0) {
			(void)fprintf(stderr,
				      "ctsync: the daemon's values contradict each other\n");
			status = CTL_EXIT_FAILED;
		}
	json_decref(r.flat);
	return status;
}

/* ---- The whole ---- */

static bool changes(const struct options *opt)
{
	return words_find(opt->argv[0])->changes;
}

int main(int argc, char **argv)
{
	struct options opt = { .socket = getenv("CTSYNCD_SOCKET"), .timeout_ms = CLI_TIMEOUT_MS };
	struct cli cli;
	int err, status;

	(void)argc;                     /* argv ends with NULL */
	(void)signal(SIGPIPE, SIG_IGN); /* a reader that left is an error of a write */
	if (!opt.socket || !opt.socket[0])
		opt.socket = CTL_SOCKET_DEFAULT;
	status = parse(&opt, argv);
	if (status > 0)
		return status - 1;
	if (opt.argc > 0 && strcmp(opt.argv[0], "keygen") == 0)
		return opt.argc == 2 ? (int)keygen(opt.argv[1])
				     : usage_error("keygen: needs one word, the file to make");
	if (opt.argc > 0 && is_policy(opt.argv[0]) && !take_policy(&opt))
		return usage_error("policy: allowed: " POLICY_WORDS);
	if (opt.argc > 0 && is_record(opt.argv[0])) {
		if (opt.argc != 2)
			return usage_error("record: needs one word, the file to write");
		opt.file = opt.argv[--opt.argc]; /* the daemon is not told where it goes */
	}
	status = check(&opt);
	if (!status && is_record(opt.argv[0]))
		status = (int)record_check(opt.file);
	if (status)
		return status;
	if (is_policy(opt.argv[0]))
		return (int)policy_test(
			&(struct policy_test){ .socket = opt.socket,
					       .timeout_ms = opt.timeout_ms,
					       .json = opt.json,
					       .file = opt.file ? opt.file : CONF_PATH_DEFAULT,
					       .seconds = opt.seconds ? opt.seconds : 10 });
	if (strcmp(opt.argv[0], "rehearse") == 0)
		return (int)rehearse(opt.socket, opt.timeout_ms, opt.json);
	err = cli_open(&cli, opt.socket, opt.timeout_ms);
	if (err < 0)
		return (int)cli_open_failed(opt.socket, err);
	err = cli_send(&cli, opt.argc, opt.argv);
	/* Refused before the request was read: the answer says why. */
	status = err < 0 && err != -EPIPE ? (int)cli_open_failed(opt.socket, err)
		 : is_record(opt.argv[0]) ? (int)record(&cli, opt.file)
					  : converse(&cli, &opt);
	cli_close(&cli);
	if ((ferror(stdout) || fflush(stdout) == EOF) && errno != EPIPE)
		(void)fprintf(stderr, "ctsync: standard output: %s\n", strerror(errno));
	/* Of a change the exit status says whether it was made, whoever listens. */
	if (ferror(stdout) && status == CTL_EXIT_DONE && !changes(&opt))
		status = CTL_EXIT_FAILED;
	return status;
}
