/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each verb of the control socket does: the bridge from ctl.c to the engine and the daemon.
 * Values that are only shown are in verbs_show.c; this file has the verbs that act, those that
 * stream and those that wait.
 *
 * Promote and commit: the engine takes the command at once and works it off in the loop's turns, so
 * the client becomes a *waiter* and is answered when no commit at or behind its serial runs any
 * more. Any number may wait; one that leaves is forgotten and changes nothing. A role is in the
 * state file before a waiter of it is answered (notes_drain), so what a script was told outlives
 * the daemon.
 *
 * Events: events.c keeps the subscribers.
 *
 * Flows: a walk in slices, one a turn of the loop and client, so that a listing of a million flows
 * costs replication no more than a moment each.
 */
#include "daemon.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "events.h"
#include "kern_snapshot.h"
#include "verbs_show.h"

#define SLICE_FLOWS 64       /* flows formatted in one turn for one client */
#define SLICE_LINES 24       /* lines of a recording likewise, */
#define RECORD_LINE 1488     /* of so many bytes: a multiple of 3 and of 8 */
#define TICK_S 0.1           /* progress goes out at most this often, */
#define PROGRESS_MAX_MS 1000 /* and at least this often, which tells the client that we live */
#define ERRNO_NAME_LEN 64

struct waiter {
	struct ctl_client *c;
	uint64_t serial; /* of the command that it gave */
	bool promote, strict;
	uint64_t told;  /* progress last sent, */
	usec_t told_at; /* and when */
};

struct verbs {
	struct daemon *d;
	ev_timer tick; /* runs while somebody waits */
	struct waiter waiters[CTL_CLIENTS_MAX];
	unsigned int count;
};

enum walk_of { WALK_LOCAL, WALK_REMOTE, WALK_ORPHANS, WALK_KERNEL, WALK_RECORD };

/* Of flows or of expectations, as text; else packed: the kernel's table for a policy, or for a
 * rehearsal that and then one half after the other. */
enum list { LIST_FLOWS, LIST_EXPECTS, LIST_POLICY, LIST_REHEARSAL };

struct walk { /* a client's listing of flows, or its recording */
	enum walk_of of;
	enum list what;
	bool begun;
	uint64_t pos;                   /* of engine_each */
	struct kern_snapshot *snapshot; /* WALK_KERNEL */
	usec_t alive_at;                /* the client was told that it goes on */
};

/* ---- Promote and commit ---- */

static uint64_t commit_done(const struct engine_commit *m)
{
	return m->committed + m->existed + m->refused;
}

static void put_commit(struct ctl_client *c, const struct engine_commit *m)
{
	char path[ERRNO_NAME_LEN];

	ctl_put_num(c, "committed", m->committed);
	ctl_put_num(c, "existed", m->existed);
	ctl_put_num(c, "refused", m->refused);
	for (unsigned int i = 0; i < ARRAY_LEN(m->refused_by); i++) {
		const char *name = strerrorname_np((int)i);

		if (m->refused_by[i] == 0)
			continue;
		if (name)
			(void)snprintf(path, sizeof(path), "refused_by.%s", name);
		else
			(void)snprintf(path, sizeof(path), "refused_by.errno_%u", i);
		ctl_put_num(c, path, m->refused_by[i]);
	}
	ctl_put_num(c, "ms", (m->ended_at - m->started_at) / USEC_PER_MS);
}

static void put_state_err(const struct daemon *d, struct ctl_client *c)
{
	if (d->state_err)
		ctl_put_err(c,
			    "the role could not be saved: %s; a restart of the daemon forgets it",
			    strerror(-d->state_err));
}

/* The command is carried out: tell the figures, end the reply. */
static void waiter_answer(struct daemon *d, const struct waiter *w)
{
	const struct engine_commit *m = engine_commit(d->engine);
	enum ctl_exit status = CTL_EXIT_DONE;
	struct engine_stats s;

	engine_stats(d->engine, &s, d->now);
	ctl_put_str(w->c, "role", s.role == ROLE_PRIMARY ? "primary" : "backup");
	put_commit(w->c, m);
	if (w->promote)
		put_state_err(d, w->c);
	if (w->promote && s.role != ROLE_PRIMARY) {
		ctl_put_err(w->c, "this node was demoted before the promote had ended");
		status = CTL_EXIT_FAILED;
	} else if (w->strict && m->refused > 0) {
		ctl_put_err(w->c, "the kernel refused %llu flows", (unsigned long long)m->refused);
		status = CTL_EXIT_FAILED;
	}
	ctl_end(w->c, status);
}

static void waiter_progress(struct daemon *d, struct waiter *w, const struct engine_commit *m)
{
	uint64_t done = commit_done(m);

	if (done == w->told && d->now < w->told_at + PROGRESS_MAX_MS * USEC_PER_MS)
		return;
	ctl_put_progress(w->c, done, max_u64(m->total, done));
	w->told = done;
	w->told_at = d->now;
}

static void on_tick(struct ev_loop *loop, ev_timer *t, int revents)
{
	struct verbs *v = t->data;
	const struct engine_commit *m = engine_commit(v->d->engine);

	(void)loop;
	(void)revents;
	for (unsigned int i = 0; i < v->count; i++)
		waiter_progress(v->d, &v->waiters[i], m);
}

static void wait_or_answer(struct daemon *d, struct ctl_client *c, bool promote, bool strict)
{
	const struct engine_commit *m = engine_commit(d->engine);
	struct waiter w = { .c = c, .serial = m->serial, .promote = promote, .strict = strict };
	struct verbs *v = d->verbs;

	if (!m->running) {
		waiter_answer(d, &w);
		return;
	}
	w.told_at = d->now;
	v->waiters[v->count++] = w; /* as many as clients: it fits */
	ev_timer_again(d->loop, &v->tick);
}

void verbs_after_pump(struct daemon *d)
{
	struct verbs *v = d->verbs;
	const struct engine_commit *m;

	if (v->count == 0)
		return;
	m = engine_commit(d->engine);
	for (unsigned int i = 0; i < v->count;) {
		struct waiter w = v->waiters[i];

		if (m->running || m->serial < w.serial) {
			i++;
			continue;
		}
		v->waiters[i] = v->waiters[--v->count];
		waiter_answer(d, &w);
	}
	if (v->count == 0)
		ev_timer_stop(d->loop, &v->tick);
}

/* ---- Verbs that change something ---- */

static bool has_word(int argc, char **argv, const char *word)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], word) == 0)
			return true;
	return false;
}

static void log_who(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	uid_t uid;
	pid_t pid;

	ctl_who(c, &uid, &pid);
	log_info(d->log, "control: %s%s%s, asked by uid %u, pid %d", argv[0], argc > 1 ? " " : "",
		 argc > 1 ? argv[1] : "", (unsigned int)uid, (int)pid);
}

static void do_promote(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	engine_cmd(d->engine, CMD_PROMOTE, d->now);
	notes_drain(d);
	wait_or_answer(d, c, true, has_word(argc, argv, "--strict"));
}

static void do_commit(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	engine_cmd(d->engine, CMD_COMMIT, d->now);
	notes_drain(d);
	wait_or_answer(d, c, false, false);
}

static void do_demote(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	engine_cmd(d->engine, CMD_DEMOTE, d->now);
	notes_drain(d);
	ctl_put_str(c, "role", "backup");
	put_state_err(d, c);
	ctl_end(c, CTL_EXIT_DONE);
}

static void do_verify(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	verify_begin(d, c, has_word(argc, argv, "--kernel"));
}

static void do_resync(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	engine_cmd(d->engine, CMD_RESYNC, d->now);
	ctl_end(c, CTL_EXIT_DONE);
}

static void do_flush(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	bool local = has_word(argc, argv, "local");

	engine_cmd(d->engine, local ? CMD_FLUSH_LOCAL : CMD_FLUSH_REMOTE, d->now);
	ctl_end(c, CTL_EXIT_DONE);
}

static void do_log(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	int level = argc > 1 ? log_level_parse(argv[1]) : -EINVAL;

	if (level < 0) {
		ctl_put_err(c, "log: no such level");
		ctl_end(c, CTL_EXIT_USAGE);
		return;
	}
	log_set_level(d->log, (enum log_level)level);
	ctl_end(c, CTL_EXIT_DONE);
}

static void do_shutdown(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	ctl_end(c, CTL_EXIT_DONE);
	daemon_stop(d);
}

/* ---- Verbs that show something ---- */

static void do_status(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	verbs_show_status(d, c);
	ctl_end(c, CTL_EXIT_DONE);
}

static void do_ready(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	struct engine_stats s;
	struct ready r;

	(void)argc;
	(void)argv;
	engine_stats(d->engine, &s, d->now);
	ready_judge(d, &s, &r);
	ctl_put_bool(c, "ready", r.ready);
	ctl_put_str(c, "reason", r.reason);
	ctl_end(c, r.ready ? CTL_EXIT_DONE : CTL_EXIT_FAILED);
}

static void do_events(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	events_subscribe(d, c);
}

static void do_stats(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	verbs_show_stats(d, c);
	ctl_end(c, CTL_EXIT_DONE);
}

static void do_peers(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	verbs_show_peers(d, c);
	ctl_end(c, CTL_EXIT_DONE);
}

static void do_config(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	char *text = NULL, *at, *newline;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	(void)argc;
	(void)argv;
	if (f)
		conf_print(&d->conf, f);
	if (!f || fclose(f) == EOF) {
		free(text);
		ctl_put_err(c, "config: out of memory");
		ctl_end(c, CTL_EXIT_FAILED);
		return;
	}
	for (at = text; *at; at = newline + 1) {
		newline = strchr(at, '\n');
		if (newline)
			*newline = '\0';
		ctl_put_line(c, at);
		if (!newline)
			break;
	}
	free(text);
	ctl_end(c, CTL_EXIT_DONE);
}

/* ---- Flows ---- */

static void walk_free(struct daemon *d, struct walk *w)
{
	if (w->snapshot)
		kern_snapshot_close(w->snapshot);
	if (w->of == WALK_RECORD)
		recorder_copy_end(d->recorder);
	free(w);
}

/* The next slice. Returns how many flows; 0 at the end, -EAGAIN for nothing just now, or -errno. */
static int walk_next(struct daemon *d, struct walk *w, struct flow *out, size_t max)
{
	static const enum engine_half half[] = { [WALK_LOCAL] = HALF_LOCAL,
						 [WALK_REMOTE] = HALF_REMOTE,
						 [WALK_ORPHANS] = HALF_ORPHANS };
	size_t count;

	if (w->of == WALK_KERNEL) {
		int got = kern_snapshot_read(w->snapshot, out, max);

		if (got != 0 || w->what != LIST_REHEARSAL)
			return got;
		w->of = WALK_LOCAL;
	}
	if (w->begun && w->pos == 0) {
		if (w->what != LIST_REHEARSAL || w->of == WALK_ORPHANS)
			return 0;
		w->of++;
	}
	count = engine_each(d->engine, half[w->of], &w->pos, out, max, d->now);
	w->begun = true;
	if (count == 0 && (w->pos != 0 || (w->what == LIST_REHEARSAL && w->of != WALK_ORPHANS)))
		return -EAGAIN;
	return (int)count;
}

/* As the wire has it, and whether it is of this node. Nothing of it is for people. */
static void put_packed(struct ctl_client *c, enum walk_of of, const struct flow *f)
{
	uint8_t body[FLOW_PACKED_MAX];
	size_t len = flow_pack(f, body);
	char line[4 + 2 * FLOW_PACKED_MAX];
	int at = snprintf(line, sizeof(line), "%c ",
			  of == WALK_LOCAL || of == WALK_KERNEL ? 'l' : 'r');

	for (size_t i = 0; i < len; i++)
		at += snprintf(line + at, sizeof(line) - (size_t)at, "%02x", body[i]);
	ctl_put_line(c, line);
}

/* What is nobody's to announce costs nothing and clashes with nothing; of what is announced the
 * kernel's table had the flows. */
static bool packed_wanted(const struct daemon *d, enum walk_of of, const struct flow *f)
{
	return of == WALK_KERNEL  ? !engine_ignores(d->engine, f)
	       : of == WALK_LOCAL ? f->key.expect != 0
				  : true;
}

static void put_flow(const struct daemon *d, struct ctl_client *c, const struct walk *w,
		     const struct flow *f)
{
	char line[CTL_LINE_MAX];

	if (w->what == LIST_POLICY || w->what == LIST_REHEARSAL) {
		if (packed_wanted(d, w->of, f))
			put_packed(c, w->of, f);
	} else if ((w->what == LIST_EXPECTS) == (f->key.expect != 0) &&
		   kern_format(line, sizeof(line), f) > 0) {
		ctl_put_line(c, line);
	}
}

static void walk_end(struct daemon *d, struct ctl_client *c, struct walk *w, int err)
{
	walk_free(d, w);
	if (err < 0)
		ctl_put_err(c, "flows: the listing broke off: %s", strerror(-err));
	ctl_end(c, err < 0 ? CTL_EXIT_FAILED : CTL_EXIT_DONE);
}

/* ---- The flight recorder ---- */

static void record_more(struct daemon *d, struct ctl_client *c, struct walk *w)
{
	uint8_t bytes[RECORD_LINE];
	char line[sodium_base64_ENCODED_LEN(RECORD_LINE, sodium_base64_VARIANT_ORIGINAL)];
	int n;

	for (unsigned int i = 0; i < SLICE_LINES; i++) {
		n = recorder_copy_read(d->recorder, bytes, sizeof(bytes));
		if (n == -EAGAIN)
			return;
		if (n <= 0)
			break;
		(void)sodium_bin2base64(line, sizeof(line), bytes, (size_t)n,
					sodium_base64_VARIANT_ORIGINAL);
		ctl_put_line(c, line);
	}
	if (n > 0)
		return;
	walk_free(d, w);
	if (n < 0)
		ctl_put_err(c, "record: nothing can be replayed yet; see `ctsync stats`, recorder, "
			       "and record.size_mb");
	ctl_end(c, n < 0 ? CTL_EXIT_FAILED : CTL_EXIT_DONE);
}

static void do_record(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	struct walk *w = calloc(1, sizeof(*w));
	int err = w ? recorder_copy_begin(d->recorder) : -ENOMEM;

	(void)argc;
	(void)argv;
	if (err) {
		free(w);
		ctl_put_err(c, "record: %s",
			    err == -ENOENT  ? "the flight recorder is off; set record.size_mb"
			    : err == -EBUSY ? "another reader is being served"
					    : strerror(-err));
		ctl_end(c, CTL_EXIT_FAILED);
		return;
	}
	w->of = WALK_RECORD;
	ctl_stream_set(c, w);
}

void verbs_more(void *arg, struct ctl_client *c)
{
	struct walk *w = ctl_stream_get(c);
	struct flow flows[SLICE_FLOWS];
	struct daemon *d = arg;
	int count;

	if (w->of == WALK_RECORD) {
		record_more(d, c, w);
		return;
	}
	count = walk_next(d, w, flows, ARRAY_LEN(flows));
	if (w->alive_at && d->now >= w->alive_at + USEC_PER_SEC) /* nothing to show for long? */
		ctl_put_alive(c);
	if (!w->alive_at || d->now >= w->alive_at + USEC_PER_SEC)
		w->alive_at = d->now;
	if (count == -EAGAIN)
		return;
	for (int i = 0; i < count; i++)
		put_flow(d, c, w, &flows[i]);
	if (count <= 0)
		walk_end(d, c, w, count);
}

static void count_flows(struct daemon *d, struct ctl_client *c, enum walk_of of)
{
	int64_t count, max, buckets;
	struct engine_stats s;

	if (of == WALK_KERNEL) {
		kern_counts(&count, &max, &buckets);
		if (count < 0) {
			ctl_put_err(c, "flows: no count from the kernel: is nf_conntrack loaded?");
			ctl_end(c, CTL_EXIT_FAILED);
			return;
		}
	} else {
		engine_stats(d->engine, &s, d->now);
		count = (int64_t)(of == WALK_LOCAL ? s.local_flows : s.remote_flows);
	}
	ctl_put_num(c, "count", (unsigned long long)count);
	ctl_end(c, CTL_EXIT_DONE);
}

/* A listing of the kernel's table, or of a half. */
static void walk_start(struct ctl_client *c, enum walk_of of, enum list what)
{
	struct walk *w = calloc(1, sizeof(*w));
	int err = 0;

	if (!w)
		err = -ENOMEM;
	else if (of == WALK_KERNEL)
		err = kern_snapshot_open(&w->snapshot, what == LIST_EXPECTS);
	if (err < 0) {
		free(w);
		ctl_put_err(c, "flows: %s", strerror(-err));
		ctl_end(c, CTL_EXIT_FAILED);
		return;
	}
	w->of = of;
	w->what = what;
	ctl_stream_set(c, w);
}

static enum walk_of walk_of_words(int argc, char **argv)
{
	return has_word(argc, argv, "local")    ? WALK_LOCAL
	       : has_word(argc, argv, "remote") ? WALK_REMOTE
						: WALK_KERNEL;
}

static void do_expect(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	(void)d;
	walk_start(c, walk_of_words(argc, argv), LIST_EXPECTS);
}

static void do_flows(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	enum walk_of of = walk_of_words(argc, argv);

	if (has_word(argc, argv, "--count")) {
		count_flows(d, c, of);
		return;
	}
	walk_start(c, of, LIST_FLOWS);
}

/* What the CLI judges by another policy (cli/policy_test.c). */
static void do_policy(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	(void)d;
	(void)argc;
	(void)argv;
	walk_start(c, WALK_KERNEL, LIST_POLICY);
}

/* What the CLI rehearses with (cli/rehearse.c). */
static void do_rehearse(struct daemon *d, struct ctl_client *c, int argc, char **argv)
{
	(void)d;
	(void)argc;
	(void)argv;
	walk_start(c, WALK_KERNEL, LIST_REHEARSAL);
}

/* ---- The doors for ctl.c and main.c ---- */

void verbs_request(void *arg, struct ctl_client *c, int argc, char **argv)
{
	static const struct {
		const char *name;
		bool changes;
		void (*act)(struct daemon *d, struct ctl_client *c, int argc, char **argv);
	} table[] = {
#define VERBS_ENTRY(name, changes, words, help) { #name, (changes) != 0, do_##name },
		CTL_VERBS(VERBS_ENTRY)
#undef VERBS_ENTRY
	};
	struct daemon *d = arg;

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (strcmp(table[i].name, argv[0]) != 0)
			continue;
		if (table[i].changes)
			log_who(d, c, argc, argv);
		table[i].act(d, c, argc, argv);
		return;
	}
	ctl_put_err(c, "%s: unknown verb", argv[0]);
	ctl_end(c, CTL_EXIT_USAGE);
}

void verbs_gone(void *arg, struct ctl_client *c)
{
	struct daemon *d = arg;
	struct walk *w = ctl_stream_get(c);
	struct verbs *v = d->verbs;

	if (w)
		walk_free(d, w);
	for (unsigned int i = 0; i < v->count; i++)
		if (v->waiters[i].c == c) {
			v->waiters[i] = v->waiters[--v->count];
			break;
		}
	if (v->count == 0)
		ev_timer_stop(d->loop, &v->tick);
	events_gone(d, c);
	verify_gone(d, c);
}

int verbs_init(struct daemon *d)
{
	struct verbs *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->d = d;
	ev_timer_init(&v->tick, on_tick, 0., TICK_S);
	v->tick.data = v;
	d->verbs = v;
	return verify_init(d) ? -ENOMEM : events_init(d);
}

void verbs_fini(struct daemon *d)
{
	if (d->verbs)
		ev_timer_stop(d->loop, &d->verbs->tick);
	free(d->verbs);
	d->verbs = NULL;
	verify_fini(d);
	events_fini(d);
}
