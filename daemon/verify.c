/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The verb verify (PROTOCOL.md, R78 to R82): are this node's mirrors equal to their owners' halves,
 * now and by what is in memory, not by digests that were kept up? The engine computes every digest
 * anew; after that a peer's next total that agrees is the proof. Whoever does not say one in time
 * is not proven: silence is no proof. What was found and healed on the way is a difference too.
 *
 * With --kernel the engine audits the kernel's table before that, so that a flow whose memory
 * flipped is told by name, and what was healed is compared.
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
	uint64_t audit;               /* the serial that it waits for; 0: none, or over */
	usec_t begun_at, scrubbed_at; /* 0: not yet */
	uint64_t flips, divergences;  /* found before */
	bool differs;                 /* the kernel */
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
	return p->state == PEER_DOWN ? "it is silent"
	       : p->missing          ? "it says more than arrives"
				     : "its digest differs, or it said none";
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

static void put_found(const struct asker *a, unsigned int i, const struct engine_found *f)
{
	static const char *const what[FOUND_WHATS] = { [FOUND_KERNEL_ONLY] = "only in the kernel",
						       [FOUND_CACHE_ONLY] = "only in the cache",
						       [FOUND_DIFFERS] = "differs" };
	const struct flow *flow = f->what == FOUND_CACHE_ONLY ? &f->held : &f->kernel;
	char path[64], line[CTL_LINE_MAX];

	(void)snprintf(path, sizeof(path), "kernel.found.%u.what", i);
	ctl_put_str(a->c, path, what[f->what]);
	(void)snprintf(path, sizeof(path), "kernel.found.%u.of", i);
	ctl_put_str(a->c, path, f->peer);
	(void)snprintf(path, sizeof(path), "kernel.found.%u.flow", i);
	(void)kern_format(line, sizeof(line), flow);
	ctl_put_str(a->c, path, line);
	if (f->refused) {
		(void)snprintf(path, sizeof(path), "kernel.found.%u.refused", i);
		ctl_put_str(a->c, path, strerror(f->refused));
	}
	if (f->what != FOUND_DIFFERS)
		return;
	(void)snprintf(path, sizeof(path), "kernel.found.%u.cache", i);
	(void)kern_format(line, sizeof(line), &f->held);
	ctl_put_str(a->c, path, line);
	(void)snprintf(path, sizeof(path), "kernel.found.%u.differs", i);
	verify_differs(f, line, sizeof(line));
	ctl_put_str(a->c, path, line);
}

/* The audit is over: what it found, then the scrub. */
static void audited(struct daemon *d, struct asker *a)
{
	const struct engine_audit *m = engine_audit(d->engine);
	uint64_t all = m->found_by[FOUND_KERNEL_ONLY] + m->found_by[FOUND_CACHE_ONLY] +
		       m->found_by[FOUND_DIFFERS];

	a->audit = 0;
	a->differs = all > 0;
	ctl_put_bool(a->c, "kernel.equal", all == 0);
	ctl_put_num(a->c, "kernel.kernel_only", m->found_by[FOUND_KERNEL_ONLY]);
	ctl_put_num(a->c, "kernel.cache_only", m->found_by[FOUND_CACHE_ONLY]);
	ctl_put_num(a->c, "kernel.differing", m->found_by[FOUND_DIFFERS]);
	ctl_put_num(a->c, "kernel.unsettled", m->unsettled);
	ctl_put_num(a->c, "kernel.more", all - m->found_count);
	for (unsigned int i = 0; i < m->found_count; i++)
		put_found(a, i, &m->found[i]);
	if (m->found_count == 0)
		ctl_put_list(a->c, "kernel.found");
	engine_cmd(d->engine, CMD_VERIFY, d->now);
}

static void answer(const struct asker *a, const struct engine_stats *s, usec_t now)
{
	uint64_t flips = s->count.flips - a->flips;
	uint64_t divergences = s->count.divergences - a->divergences;
	bool found = flips || divergences || a->differs;
	bool equal = s->peer_count > 0 && a->scrubbed_at && !found;

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
						.flips = s.count.flips,
						.divergences = s.count.divergences };
	engine_cmd(d->engine, kernel ? CMD_AUDIT : CMD_VERIFY, d->now);
	v->askers[v->count - 1].audit = kernel ? engine_audit(d->engine)->due : 0;
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
	if (a->audit && engine_audit(d->engine)->serial >= a->audit)
		audited(d, a);
	else if (!a->audit && !a->scrubbed_at && !s->scrubbing)
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
