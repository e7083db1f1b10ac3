/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Subscribers and what they are told. An event is made once and queued for each; one whose buffer
 * is full misses it, and is told how many it missed as soon as it has room again. One that takes
 * nothing at all is closed by ctl.c after CTL_IDLE_MS. So nobody is waited for, and what a
 * subscriber costs is bounded.
 *
 * Every event has a number, seq, that counts the events of this run of the daemon: a monitor sees
 * from it alone that something is missing, and learns the present state by asking anew.
 */
#include "events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "jsonl.h"
#include "verbs_show.h"

#define ERRNOS_MAX 8 /* of a commit's refusals, told apart; the rest is one figure */

struct sub {
	struct ctl_client *c;
	uint64_t missed;
};

struct events {
	struct daemon *d;
	ev_timer alive; /* runs while there are subscribers */
	uint64_t seq;   /* of the last event */
	struct sub subs[EVENTS_CLIENTS_MAX];
	unsigned int count;
};

/* ---- Lines ---- */

static void line_begin(const struct events *ev, struct jsonl *j, const char *event)
{
	struct timespec ts = { 0 };
	char date[32], text[40];
	struct tm tm;

	(void)clock_gettime(CLOCK_REALTIME, &ts); /* cannot fail for this clock */
	(void)gmtime_r(&ts.tv_sec, &tm);          /* nor this, before the year 2^31 */
	(void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(text, sizeof(text), "%s.%03uZ", date, (unsigned int)(ts.tv_nsec / 1000000));
	jsonl_begin(j);
	jsonl_str(j, "time", text);
	jsonl_str(j, "node", ev->d->conf.node);
	jsonl_num(j, "seq", ev->seq);
	jsonl_str(j, "event", event);
}

static void tell_missed(struct events *ev, struct sub *s)
{
	const char *line;
	struct jsonl j;

	line_begin(ev, &j, "missed");
	jsonl_num(&j, "count", s->missed);
	line = jsonl_end(&j);
	if (line)
		ctl_put_line(s->c, line);
	s->missed = 0;
}

/* Ends the line and queues it for everybody. */
static void publish(struct events *ev, struct jsonl *j)
{
	const char *line = jsonl_end(j);

	for (unsigned int i = 0; i < ev->count; i++) {
		struct sub *s = &ev->subs[i];

		if (!line || !ctl_has_room(s->c)) {
			s->missed++;
			continue;
		}
		if (s->missed)
			tell_missed(ev, s);
		ctl_put_line(s->c, line);
	}
}

/* Counts an event and begins its line. Returns false when nobody listens. */
static bool event_begin(struct daemon *d, struct jsonl *j, const char *event)
{
	if (!d->events)
		return false;
	d->events->seq++;
	if (!d->events->count)
		return false;
	line_begin(d->events, j, event);
	return true;
}

/* ---- Notes of the engine ---- */

static void put_role(struct daemon *d, struct jsonl *j, const struct engine_note *n)
{
	jsonl_str(j, "role", verbs_role_name(n->arg0 == ROLE_PRIMARY));
	jsonl_bool(j, "saved", d->state_err == 0);
}

static void put_peer_up(struct daemon *d, struct jsonl *j, const struct engine_note *n)
{
	(void)d;
	jsonl_bool(j, "new_run", n->arg0 != 0);
}

static void put_link(struct daemon *d, struct jsonl *j, const struct engine_note *n)
{
	jsonl_str(j, "link", links_name(d->links, (unsigned int)n->arg0));
	jsonl_num(j, "silent_ms", n->arg1);
}

static void put_refused(struct daemon *d, struct jsonl *j, const struct engine_note *n)
{
	const char *name = strerrorname_np((int)n->arg0);

	(void)d;
	jsonl_num(j, "errno", n->arg0);
	jsonl_str(j, "error", name ? name : "?");
	jsonl_num(j, "count", n->arg1);
}

static void put_limit(struct daemon *d, struct jsonl *j, const struct engine_note *n)
{
	char name[VERBS_DROP_NAME_LEN];

	(void)d;
	verbs_drop_name(n->arg0 ? (unsigned int)n->arg0 : DROP_FLOWS, name);
	jsonl_str(j, "limit", name);
}

static void put_refused_by(struct jsonl *j, const uint32_t refused_by[ENGINE_ERRNOS])
{
	unsigned int told = 0;
	uint64_t others = 0;

	jsonl_open(j, "refused_by", '{');
	for (unsigned int i = 0; i < ENGINE_ERRNOS; i++) {
		const char *name = strerrorname_np((int)i);

		if (!refused_by[i])
			continue;
		if (name && told++ < ERRNOS_MAX)
			jsonl_num(j, name, refused_by[i]);
		else
			others += refused_by[i];
	}
	if (others)
		jsonl_num(j, "others", others);
	jsonl_close(j, '}');
}

static void put_commit(struct daemon *d, struct jsonl *j, const struct engine_note *n)
{
	const struct engine_commit *m = engine_commit(d->engine);

	(void)n;
	jsonl_str(j, "verb", m->promote ? "promote" : "commit");
	jsonl_num(j, "total", m->total);
	jsonl_num(j, "committed", m->committed);
	jsonl_num(j, "existed", m->existed);
	jsonl_num(j, "refused", m->refused);
	put_refused_by(j, m->refused_by);
	jsonl_num(j, "ms", (m->ended_at - m->started_at) / USEC_PER_MS);
}

static void put_outcome(struct daemon *d, struct jsonl *j, const struct engine_note *n)
{
	bool pending;
	const struct engine_outcome *o = engine_outcome(d->engine, &pending);

	(void)n;
	jsonl_num(j, "taken", o->taken);
	jsonl_num(j, "alive", o->alive);
	jsonl_num(j, "ended", o->ended);
	jsonl_num(j, "refused", o->refused);
	put_refused_by(j, o->refused_by);
	if (d->invalid >= 0)
		jsonl_num(j, "invalid", (unsigned long long)d->invalid);
	jsonl_num(j, "ms", (o->told_at - o->begun_at) / USEC_PER_MS);
}

static void put_found(struct daemon *d, struct jsonl *j, const struct engine_note *n)
{
	static const char *const what[FOUND_WHATS] = { [FOUND_KERNEL_ONLY] = "kernel-only",
						       [FOUND_CACHE_ONLY] = "cache-only",
						       [FOUND_DIFFERS] = "differs" };
	const struct engine_found *f = &engine_audit(d->engine)->found[n->arg0];
	char line[CTL_LINE_MAX], names[VERIFY_DIFFERS_LEN];

	(void)kern_format(line, sizeof(line), f->what == FOUND_CACHE_ONLY ? &f->held : &f->kernel);
	jsonl_str(j, "what", what[f->what] ? what[f->what] : "?");
	jsonl_str(j, "flow", line);
	if (f->what != FOUND_DIFFERS)
		return;
	verify_differs(f, names, sizeof(names));
	jsonl_str(j, "differs", names);
}

static void put_audit(struct daemon *d, struct jsonl *j, const struct engine_note *n)
{
	const struct engine_audit *a = engine_audit(d->engine);

	(void)n;
	jsonl_num(j, "kernel_only", a->found_by[FOUND_KERNEL_ONLY]);
	jsonl_num(j, "cache_only", a->found_by[FOUND_CACHE_ONLY]);
	jsonl_num(j, "differing", a->found_by[FOUND_DIFFERS]);
	jsonl_num(j, "unsettled", a->unsettled);
}

static void put_quarantined(struct daemon *d, struct jsonl *j, const struct engine_note *n)
{
	struct deaths_flow x;

	if (!deaths_quarantined(d->deaths, n->arg0, &x))
		return;
	jsonl_str(j, "flow", x.flow);
	jsonl_str(j, "work", x.work);
	jsonl_num(j, "deaths", x.deaths);
}

/* How a note is told: the event's name, the members that arg0 and arg1 are (NULL: not told), or
 * what puts members that are more than numbers. */
struct shape {
	const char *event, *arg0, *arg1;
	void (*put)(struct daemon *d, struct jsonl *j, const struct engine_note *n);
};

static const struct shape shapes[] = {
	[NOTE_ROLE] = { .event = "role", .put = put_role },
	[NOTE_PEER_UP] = { .event = "peer-up", .put = put_peer_up },
	[NOTE_PEER_DOWN] = { "peer-down", "heard_ms", NULL, NULL },
	[NOTE_PEER_BYE] = { .event = "peer-bye" },
	[NOTE_LINK_DOWN] = { .event = "link-down", .put = put_link },
	[NOTE_LINK_UP] = { .event = "link-up", .put = put_link },
	[NOTE_FORGOTTEN] = { .event = "peer-forgotten" },
	[NOTE_RESYNC] = { "resync", "missing", NULL, NULL },
	[NOTE_SYNCED] = { "synced", "version", NULL, NULL },
	[NOTE_DEBT] = { "debt", "version", NULL, NULL },
	[NOTE_DEBT_PAID] = { .event = "debt-paid" },
	[NOTE_DIVERGENCE] = { "divergence", "bucket", "repaired", NULL },
	[NOTE_FLIP] = { "flip", "bucket", "doubtful", NULL },
	[NOTE_OVERRUN] = { "overrun", "overruns", NULL, NULL },
	[NOTE_DUMP_END] = { "reread", "entries", "gone", NULL },
	[NOTE_REFUSED] = { .event = "refused", .put = put_refused },
	[NOTE_COMMIT_DONE] = { .event = "commit", .put = put_commit },
	[NOTE_OUTCOME] = { .event = "outcome", .put = put_outcome },
	[NOTE_LIMIT] = { .event = "limit", .put = put_limit },
	[NOTE_NAME_CLASH] = { .event = "name-clash" },
	[NOTE_TABLES] = { "other-tables", "taken", NULL, NULL },
	[NOTE_QUARANTINED] = { .event = "quarantined", .put = put_quarantined },
	[NOTE_INNOCENT] = { "innocent", "suspect", NULL, NULL },
	[NOTE_MUTE] = { "mute", "entries", NULL, NULL },
	[NOTE_FOUND] = { .event = "difference", .put = put_found },
	[NOTE_AUDIT] = { .event = "audit", .put = put_audit },
};

/* The table is read again every few seconds while there are mute entries: told is the one that
 * makes up for lost events, and one that found something gone. */
static bool is_news(struct daemon *d, const struct engine_note *n)
{
	if (n->type != NOTE_DUMP_END)
		return true;
	return d->overruns_at_dump > d->overruns_over || n->arg1 > 0;
}

void events_note(struct daemon *d, const struct engine_note *n)
{
	static const struct shape none = { "note", "arg0", "arg1", NULL }; /* a row is missing */
	bool known = n->type < ARRAY_LEN(shapes) && shapes[n->type].event;
	const struct shape *s = known ? &shapes[n->type] : &none;
	const char *event = s->event;
	struct jsonl j;

	if (n->type == NOTE_PEER_DOWN && n->arg1)
		event = "peer-one-way";
	if (!is_news(d, n) || !event_begin(d, &j, event))
		return;
	if (n->peer[0])
		jsonl_str(&j, "peer", n->peer);
	if (s->arg0)
		jsonl_num(&j, s->arg0, n->arg0);
	if (s->arg1)
		jsonl_num(&j, s->arg1, n->arg1);
	if (s->put)
		s->put(d, &j, n);
	publish(d->events, &j);
}

/* ---- Events of the daemon ---- */

static void put_ready(const struct daemon *d, struct jsonl *j)
{
	jsonl_bool(j, "ready", d->ready.ready);
	jsonl_str(j, "reason", d->ready.reason);
}

void events_ready(struct daemon *d)
{
	struct jsonl j;

	if (!event_begin(d, &j, "ready"))
		return;
	put_ready(d, &j);
	publish(d->events, &j);
}

void events_link(struct daemon *d, const struct link_stats *s)
{
	struct jsonl j;

	if (!event_begin(d, &j, "link"))
		return;
	jsonl_str(&j, "link", s->name);
	jsonl_bool(&j, "up", s->up);
	jsonl_num(&j, "mtu", s->mtu);
	publish(d->events, &j);
}

void events_notrack(struct daemon *d, bool tracked)
{
	struct jsonl j;

	if (!event_begin(d, &j, "sync-tracked"))
		return;
	jsonl_bool(&j, "tracked", tracked);
	publish(d->events, &j);
}

void events_stop(struct daemon *d)
{
	struct jsonl j;

	if (event_begin(d, &j, "stop"))
		publish(d->events, &j);
}

/* ---- The first line ---- */

static void put_peer(struct jsonl *j, const struct engine_peer_stats *p)
{
	jsonl_open(j, NULL, '{');
	jsonl_str(j, "node", p->node);
	jsonl_str(j, "state", verbs_state_name(p->state));
	jsonl_str(j, "role", verbs_role_name(p->primary));
	jsonl_bool(j, "hears_us", p->hears_us);
	jsonl_num(j, "missing", p->missing);
	jsonl_bool(j, "in_sync", p->in_sync);
	jsonl_num(j, "flows", p->flows);
	jsonl_close(j, '}');
}

static void put_state(struct daemon *d, struct jsonl *j)
{
	struct engine_stats s;

	engine_stats(d->engine, &s, d->now);
	jsonl_str(j, "version", PACKAGE_VERSION);
	jsonl_str(j, "role", verbs_role_name(s.role == ROLE_PRIMARY));
	jsonl_str(j, "standby", d->conf.hot ? "hot" : "cache");
	put_ready(d, j);
	jsonl_str(j, "seal", d->conf.sealed ? "sealed" : "none");
	jsonl_num(j, "local", s.local_flows);
	jsonl_num(j, "remote", s.remote_flows);
	jsonl_num(j, "overruns", s.count.overruns);
	jsonl_num(j, "refused", s.count.refused);
	jsonl_num(j, "divergences", s.count.divergences);
	jsonl_open(j, "peers", '[');
	for (unsigned int i = 0; i < s.peer_count; i++)
		put_peer(j, &s.peer[i]);
	jsonl_close(j, ']');
}

void events_subscribe(struct daemon *d, struct ctl_client *c)
{
	struct events *ev = d->events;
	const char *line;
	struct jsonl j;

	if (ev->count == EVENTS_CLIENTS_MAX) {
		ctl_put_err(c, "events: %u clients listen already, which is the limit",
			    EVENTS_CLIENTS_MAX);
		ctl_end(c, CTL_EXIT_FAILED);
		return;
	}
	ready_watch(d); /* the others hear of a change as an event, this one reads it at once */
	line_begin(ev, &j, "hello");
	put_state(d, &j);
	line = jsonl_end(&j);
	if (!line) {
		ctl_put_err(c, "events: the state does not fit a line");
		ctl_end(c, CTL_EXIT_FAILED);
		return;
	}
	ctl_put_line(c, line);
	ev->subs[ev->count++] = (struct sub){ .c = c };
	if (ev->count == 1)
		ev_timer_again(d->loop, &ev->alive);
}

/* ---- Life ---- */

static void on_alive(struct ev_loop *loop, ev_timer *t, int revents)
{
	struct events *ev = t->data;

	(void)loop;
	(void)revents;
	for (unsigned int i = 0; i < ev->count; i++) {
		struct sub *s = &ev->subs[i];

		if (s->missed && ctl_has_room(s->c))
			tell_missed(ev, s);
		else
			ctl_put_alive(s->c);
	}
}

void events_gone(struct daemon *d, struct ctl_client *c)
{
	struct events *ev = d->events;

	for (unsigned int i = 0; i < ev->count; i++)
		if (ev->subs[i].c == c) {
			ev->subs[i] = ev->subs[--ev->count];
			break;
		}
	if (!ev->count)
		ev_timer_stop(d->loop, &ev->alive);
}

int events_init(struct daemon *d)
{
	struct events *ev = calloc(1, sizeof(*ev));

	if (!ev)
		return -ENOMEM;
	ev->d = d;
	ev_timer_init(&ev->alive, on_alive, 0., EVENTS_ALIVE_MS / 1000.);
	ev->alive.data = ev;
	d->events = ev;
	return 0;
}

void events_fini(struct daemon *d)
{
	if (d->events)
		ev_timer_stop(d->loop, &d->events->alive);
	free(d->events);
	d->events = NULL;
}
