/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The verb verify (PROTOCOL.md, R78 to R82): are this node's mirrors equal to their owners' halves,
 * now and by what is in memory, not by digests that were kept up? The engine computes every digest
 * anew; after that a peer's next total that agrees is the proof. Whoever does not say one in time
 * is not proven: silence is no proof. What was found and healed on the way is a difference too.
 *
 * With --kernel the engine audits the kernel's table before that, and has its peers audit theirs
 * (R89 to R91), so that a flow whose memory flipped is told by name, and what was healed is
 * compared.
 *
 * Several may ask at once: each waits for a scrub of its own, the last of which serves all.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "engine.h"

/* A peer says a total with each heartbeat at the latest; a repair takes some of them. */
#define ANSWER_US (10 * USEC_PER_SEC)
#define TICK_S 0.1

struct asker {
	struct ctl_client *c;
	uint64_t audit, inquiry;      /* the serials that it waits for; 0: none, or over */
	unsigned int asked;           /* peers, for their kernels */
	usec_t begun_at, scrubbed_at; /* 0: not yet */
	uint64_t flips, divergences;  /* found before */
	bool kernel;                  /* --kernel: */
	bool differs, unknown;        /* some kernel does; of some nothing is known */
	usec_t told_at;
};

struct verify {
	ev_timer tick; /* runs while somebody waits, so that turns go on */
	struct asker askers[CTL_CLIENTS_MAX];
	unsigned int count;
};

static bool is_proven(const struct asker *a, const struct engine_peer_stats *p, usec_t now)
{
	/* Whole milliseconds are cut off the age: one more, to be sure. */
	return p->state != PEER_DOWN && p->in_sync && !p->debt &&
	       (p->verified_age_ms + 1) * USEC_PER_MS < now - a->scrubbed_at;
}

static const char *why_not(const struct engine_peer_stats *p)
{
	if (p->state == PEER_DOWN)
		return p->heard ? "it does not hear us" : "it is silent";
	return p->missing ? "it says more than arrives" : "its digest differs, or it said none";
}

static bool all_proven(const struct asker *a, const struct engine_stats *s, usec_t now)
{
	for (unsigned int i = 0; i < s->peer_count; i++)
		if (s->peer[i].state != PEER_DOWN && !is_proven(a, &s->peer[i], now))
			return false;
	return true;
}

static bool put_peer(const struct asker *a, unsigned int i, const struct engine_peer_stats *p,
		     usec_t now)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "peers.%u.node", i);
	ctl_put_str(a->c, path, p->node);
	(void)snprintf(path, sizeof(path), "peers.%u.flows", i);
	ctl_put_num(a->c, path, p->flows);
	(void)snprintf(path, sizeof(path), "peers.%u.verified", i);
	ctl_put_num(a->c, path, p->verified);
	(void)snprintf(path, sizeof(path), "peers.%u.equal", i);
	ctl_put_bool(a->c, path, is_proven(a, p, now));
	if (is_proven(a, p, now))
		return true;
	(void)snprintf(path, sizeof(path), "peers.%u.why", i);
	ctl_put_str(a->c, path, why_not(p));
	return false;
}

void verify_differs(const struct engine_found *f, char *buf, size_t len)
{
	static const struct {
		uint32_t has;
		const char *name;
	} names[] = {
		{ FLOW_HAS_REPLY, "reply" },        { FLOW_HAS_STATUS, "status" },
		{ FLOW_HAS_MARK, "mark" },          { FLOW_HAS_TCP, "tcp" },
		{ FLOW_HAS_LABELS, "labels" },      { FLOW_HAS_HELPER, "helper" },
		{ FLOW_HAS_MASTER, "master" },      { FLOW_HAS_SEQADJ, "seqadj" },
		{ FLOW_HAS_SCTP, "sctp" },          { FLOW_HAS_SYNPROXY, "synproxy" },
		{ FLOW_HAS_EXPECT, "expectation" }, { FLOW_HAS_ALL, "memory that cannot be read" },
	};
	size_t at = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (f->differs & names[i].has && at < len)
			at += (size_t)snprintf(buf + at, len - at, "%s%s", at ? "," : "",
					       names[i].name);
}

/* What an audit found, of this kernel or a peer's; at: where in the answer. */
struct figures {
	const char *at;
	uint64_t entries, unsettled;
	const uint64_t *by;
	const struct engine_found *found;
	unsigned int count;
};

static const char *found_path(char path[64], const struct figures *g, unsigned int i,
			      const char *name)
{
	(void)snprintf(path, 64, "%s.found.%u.%s", g->at, i, name);
	return path;
}

static void put_found(struct ctl_client *c, const struct figures *g, unsigned int i)
{
	static const char *const what[FOUND_WHATS] = { [FOUND_KERNEL_ONLY] = "only in the kernel",
						       [FOUND_CACHE_ONLY] = "only in the cache",
						       [FOUND_DIFFERS] = "differs" };
	const struct engine_found *f = &g->found[i];
	char path[64], line[CTL_LINE_MAX];

	ctl_put_str(c, found_path(path, g, i, "what"), what[f->what]);
	ctl_put_str(c, found_path(path, g, i, "of"), f->peer);
	(void)kern_format(line, sizeof(line), f->what == FOUND_CACHE_ONLY ? &f->held : &f->kernel);
	ctl_put_str(c, found_path(path, g, i, "flow"), line);
	if (f->refused)
		ctl_put_str(c, found_path(path, g, i, "refused"), strerror(f->refused));
	if (f->what != FOUND_DIFFERS)
		return;
	(void)kern_format(line, sizeof(line), &f->held);
	ctl_put_str(c, found_path(path, g, i, "cache"), line);
	verify_differs(f, line, sizeof(line));
	ctl_put_str(c, found_path(path, g, i, "differs"), line);
}

static void put_figure(struct ctl_client *c, const struct figures *g, const char *name, uint64_t v)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "%s.%s", g->at, name);
	ctl_put_num(c, path, v);
}

/* Returns whether nothing differs. */
static bool put_figures(struct ctl_client *c, const struct figures *g)
{
	uint64_t all = g->by[FOUND_KERNEL_ONLY] + g->by[FOUND_CACHE_ONLY] + g->by[FOUND_DIFFERS];
	char path[64];

	(void)snprintf(path, sizeof(path), "%s.equal", g->at);
	ctl_put_bool(c, path, all == 0);
	put_figure(c, g, "entries", g->entries);
	put_figure(c, g, "kernel_only", g->by[FOUND_KERNEL_ONLY]);
	put_figure(c, g, "cache_only", g->by[FOUND_CACHE_ONLY]);
	put_figure(c, g, "differing", g->by[FOUND_DIFFERS]);
	put_figure(c, g, "unsettled", g->unsettled);
	put_figure(c, g, "more", all - g->count);
	for (unsigned int i = 0; i < g->count; i++)
		put_found(c, g, i);
	(void)snprintf(path, sizeof(path), "%s.found", g->at);
	if (g->count == 0)
		ctl_put_list(c, path);
	return all == 0;
}

static const char *unknown_why(const struct engine_findings *f)
{
	return f->state == ASKED_OLD          ? "its version does not answer"
	       : f->state == ASKED_SILENT     ? "it is silent"
	       : f->state == ASKED_UNANSWERED ? "it does not answer"
					      : "it, or this node, began anew meanwhile";
}

/* i: its place in the list. */
static void put_peer_kernel(struct asker *a, unsigned int i, const struct engine_findings *f)
{
	char at[32], path[64];
	struct figures g = { .at = at,
			     .entries = f->entries,
			     .unsettled = f->unsettled,
			     .by = f->found_by,
			     .found = f->found,
			     .count = f->found_count };

	(void)snprintf(at, sizeof(at), "kernels.%u", i);
	(void)snprintf(path, sizeof(path), "%s.node", at);
	ctl_put_str(a->c, path, f->node);
	if (f->state == ASKED_OVER) {
		a->differs |= !put_figures(a->c, &g);
		return;
	}
	a->unknown = true;
	(void)snprintf(path, sizeof(path), "%s.equal", at);
	ctl_put_bool(a->c, path, false);
	(void)snprintf(path, sizeof(path), "%s.why", at);
	ctl_put_str(a->c, path, unknown_why(f));
}

/* The peers' kernels: the answers are there. */
static void inquired(struct daemon *d, struct asker *a)
{
	const struct engine_inquiry *q = engine_inquiry(d->engine);
	unsigned int n = 0;

	a->inquiry = 0;
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (q->of[i].state != ASKED_NOT)
			put_peer_kernel(a, n++, &q->of[i]);
	if (n == 0)
		ctl_put_list(a->c, "kernels");
	a->asked = n;
}

/* This node's. */
static void audited(struct daemon *d, struct asker *a)
{
	const struct engine_audit *m = engine_audit(d->engine);
	struct figures g = { .at = "kernel",
			     .entries = m->entries,
			     .unsettled = m->unsettled,
			     .by = m->found_by,
			     .found = m->found,
			     .count = m->found_count };

	a->audit = 0;
	a->differs |= !put_figures(a->c, &g);
}

/* Once all audits are over the scrub begins. */
static void look_at_audits(struct daemon *d, struct asker *a)
{
	if (a->audit && engine_audit(d->engine)->serial >= a->audit)
		audited(d, a);
	if (a->inquiry && engine_inquiry(d->engine)->serial >= a->inquiry)
		inquired(d, a);
	if (!a->audit && !a->inquiry)
		engine_cmd(d->engine, CMD_VERIFY, d->now);
}

static void answer(const struct asker *a, const struct engine_stats *s, usec_t now)
{
	uint64_t flips = s->count.flips - a->flips;
	uint64_t divergences = s->count.divergences - a->divergences;
	bool found = flips || divergences || a->differs;
	/* Who was met since was not asked. */
	bool known = !a->kernel || (!a->unknown && a->asked == s->peer_count);
	bool equal = s->peer_count > 0 && a->scrubbed_at && !found && known;

	for (unsigned int i = 0; i < s->peer_count; i++)
		equal &= put_peer(a, i, &s->peer[i], now);
	ctl_put_bool(a->c, "equal", equal);
	ctl_put_num(a->c, "flips", flips);
	ctl_put_num(a->c, "divergences", divergences);
	ctl_put_num(a->c, "ms", (now - a->begun_at) / USEC_PER_MS);
	if (!s->peer_count)
		ctl_put_err(a->c, "no peer was ever heard: there is nothing to compare with");
	else if (found)
		ctl_put_err(a->c, "differences were found; the log names them, run verify again to "
				  "see that they are healed");
	ctl_end(a->c, equal ? CTL_EXIT_DONE : CTL_EXIT_FAILED);
}

void verify_begin(struct daemon *d, struct ctl_client *c, bool kernel)
{
	struct verify *v = d->verify;
	struct engine_stats s;

	engine_stats(d->engine, &s, d->now);
	v->askers[v->count++] = (struct asker){ .c = c, /* as many as clients: it fits */
						.begun_at = d->now,
						.told_at = d->now,
						.kernel = kernel,
						.flips = s.count.flips,
						.divergences = s.count.divergences };
	engine_cmd(d->engine, kernel ? CMD_AUDIT : CMD_VERIFY, d->now);
	if (kernel) {
		engine_cmd(d->engine, CMD_INQUIRE, d->now);
		v->askers[v->count - 1].audit = engine_audit(d->engine)->due;
		v->askers[v->count - 1].inquiry = engine_inquiry(d->engine)->due;
	}
	ev_timer_again(d->loop, &v->tick);
}

static void forget(struct daemon *d, unsigned int i)
{
	struct verify *v = d->verify;

	v->askers[i] = v->askers[--v->count];
	if (v->count == 0)
		ev_timer_stop(d->loop, &v->tick);
}

void verify_gone(struct daemon *d, const struct ctl_client *c)
{
	for (unsigned int i = 0; i < d->verify->count; i++)
		if (d->verify->askers[i].c == c) {
			forget(d, i);
			return;
		}
}

/* Answers when the time has come. Returns true if it did. */
static bool look(struct daemon *d, struct asker *a, const struct engine_stats *s, usec_t now)
{
	if (a->audit || a->inquiry)
		look_at_audits(d, a);
	else if (!a->scrubbed_at && !s->scrubbing)
		a->scrubbed_at = now;
	if (a->scrubbed_at && (all_proven(a, s, now) || now >= a->scrubbed_at + ANSWER_US)) {
		answer(a, s, now);
		return true;
	}
	if (now >= a->told_at + USEC_PER_SEC) {
		ctl_put_alive(a->c);
		a->told_at = now;
	}
	return false;
}

void verify_after_pump(struct daemon *d)
{
	struct verify *v = d->verify;
	struct engine_stats s;

	if (v->count == 0)
		return;
	engine_stats(d->engine, &s, d->now);
	for (unsigned int i = 0; i < v->count;) {
		if (look(d, &v->askers[i], &s, d->now))
			forget(d, i);
		else
			i++;
	}
}

static void on_tick(struct ev_loop *loop, ev_timer *t, int revents)
{
	(void)loop;
	(void)t;
	(void)revents;
}

int verify_init(struct daemon *d)
{
	d->verify = calloc(1, sizeof(*d->verify));
	if (!d->verify)
		return -ENOMEM;
	ev_timer_init(&d->verify->tick, on_tick, 0., TICK_S);
	return 0;
}

void verify_fini(struct daemon *d)
{
	if (d->verify)
		ev_timer_stop(d->loop, &d->verify->tick);
	free(d->verify);
	d->verify = NULL;
}
