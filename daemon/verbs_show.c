/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Values of status, stats and peers. Names are a contract with scripts and monitoring: they are
 * added to, not changed. A figure that is not known is sent as unknown, never as 0; epochs are
 * random 64-bit numbers and go as text, because JSON's numbers do not hold them.
 */
#include "verbs_show.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define PATH_LEN 96

/* A path made of a format; all of them are ours and short. */
__attribute__((format(printf, 2, 3))) static const char *pathf(char buf[PATH_LEN], const char *fmt,
							       ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(buf, PATH_LEN, fmt, ap);
	va_end(ap);
	return buf;
}

/* A number for which UINT64_MAX means never. */
static void put_num_or_never(struct ctl_client *c, const char *path, uint64_t v)
{
	if (v == UINT64_MAX)
		ctl_put_null(c, path);
	else
		ctl_put_num(c, path, v);
}

/* A number that is negative when it is not known. */
static void put_known(struct ctl_client *c, const char *path, int64_t v)
{
	if (v < 0)
		ctl_put_null(c, path);
	else
		ctl_put_num(c, path, (unsigned long long)v);
}

static void put_epoch(struct ctl_client *c, const char *path, uint64_t epoch)
{
	char text[20];

	(void)snprintf(text, sizeof(text), "%016" PRIx64, epoch);
	ctl_put_str(c, path, text);
}

const char *verbs_role_name(bool primary)
{
	return primary ? "primary" : "backup";
}

const char *verbs_state_name(enum engine_peer_state state)
{
	switch (state) {
	case PEER_UP:
		return "up";
	case PEER_RESYNC:
		return "resync";
	case PEER_DOWN:
		break;
	}
	return "down";
}

/* ---- Peers ---- */

/* What status and peers both tell. */
static void put_peer(struct ctl_client *c, unsigned int i, const struct engine_peer_stats *p)
{
	char path[PATH_LEN];

	ctl_put_str(c, pathf(path, "peers.%u.node", i), p->node);
	ctl_put_str(c, pathf(path, "peers.%u.state", i), verbs_state_name(p->state));
	put_num_or_never(c, pathf(path, "peers.%u.heard_ms", i), p->heard_ms);
	ctl_put_num(c, pathf(path, "peers.%u.covered", i), p->covered);
	ctl_put_num(c, pathf(path, "peers.%u.head", i), p->head);
	ctl_put_num(c, pathf(path, "peers.%u.missing", i), p->missing);
	ctl_put_bool(c, pathf(path, "peers.%u.in_sync", i), p->in_sync);
	ctl_put_num(c, pathf(path, "peers.%u.verified", i), p->verified);
	put_num_or_never(c, pathf(path, "peers.%u.verified_age_ms", i), p->verified_age_ms);
	ctl_put_str(c, pathf(path, "peers.%u.role", i), verbs_role_name(p->primary));
	ctl_put_num(c, pathf(path, "peers.%u.flows", i), p->flows);
}

static void put_peer_more(struct ctl_client *c, unsigned int i, const struct engine_peer_stats *p)
{
	char path[PATH_LEN];

	ctl_put_bool(c, pathf(path, "peers.%u.hears_us", i), p->hears_us);
	ctl_put_bool(c, pathf(path, "peers.%u.known", i), p->known);
	put_epoch(c, pathf(path, "peers.%u.epoch", i), p->epoch);
	ctl_put_num(c, pathf(path, "peers.%u.acked", i), p->acked);
	ctl_put_num(c, pathf(path, "peers.%u.copies", i), p->copies);
	ctl_put_num(c, pathf(path, "peers.%u.backlog", i), p->backlog);
	ctl_put_num(c, pathf(path, "peers.%u.gaps", i), p->gaps);
	ctl_put_num(c, pathf(path, "peers.%u.debt", i), p->debt);
}

/* A peer by each link that it is heard by. */
static void put_peer_links(struct daemon *d, struct ctl_client *c, unsigned int i,
			   const struct engine_peer_stats *p)
{
	char path[PATH_LEN];

	ctl_put_num(c, pathf(path, "peers.%u.expected", i), p->expected);
	ctl_put_num(c, pathf(path, "peers.%u.lost", i), p->lost);
	if (p->path_count == 0)
		ctl_put_list(c, pathf(path, "peers.%u.links", i));
	for (unsigned int k = 0; k < p->path_count; k++) {
		const struct engine_path_stats *x = &p->path[k];

		ctl_put_str(c, pathf(path, "peers.%u.links.%u.link", i, k),
			    links_name(d->links, x->endpoint));
		ctl_put_bool(c, pathf(path, "peers.%u.links.%u.up", i, k), x->up);
		ctl_put_num(c, pathf(path, "peers.%u.links.%u.heard_ms", i, k), x->heard_ms);
		ctl_put_num(c, pathf(path, "peers.%u.links.%u.received", i, k), x->received);
		ctl_put_num(c, pathf(path, "peers.%u.links.%u.doubles", i, k), x->doubles);
		ctl_put_num(c, pathf(path, "peers.%u.links.%u.expected", i, k), x->expected);
		ctl_put_num(c, pathf(path, "peers.%u.links.%u.lost", i, k), x->lost);
	}
}

void verbs_show_peers(struct daemon *d, struct ctl_client *c)
{
	struct engine_stats s;

	engine_stats(d->engine, &s, d->now);
	if (s.peer_count == 0)
		ctl_put_list(c, "peers");
	for (unsigned int i = 0; i < s.peer_count; i++) {
		put_peer(c, i, &s.peer[i]);
		put_peer_more(c, i, &s.peer[i]);
		put_peer_links(d, c, i, &s.peer[i]);
	}
}

/* ---- Status ---- */

/* The state of our own end of each link. */
static void put_link_states(struct daemon *d, struct ctl_client *c)
{
	struct link_stats s[LINK_LINKS_MAX];
	unsigned int count = links_stats(d->links, s, LINK_LINKS_MAX);
	char path[PATH_LEN];

	if (count == 0)
		ctl_put_list(c, "links");
	for (unsigned int i = 0; i < count; i++) {
		ctl_put_str(c, pathf(path, "links.%u.link", i), s[i].name);
		ctl_put_bool(c, pathf(path, "links.%u.up", i), s[i].up);
		ctl_put_num(c, pathf(path, "links.%u.mtu", i), s[i].mtu);
	}
}

/* Of the last promote; nothing is known of it before it was told. */
static void put_outcome(struct daemon *d, struct ctl_client *c)
{
	bool pending;
	const struct engine_outcome *o = engine_outcome(d->engine, &pending);
	const char *name;
	char path[PATH_LEN];

	ctl_put_bool(c, "outcome.pending", pending);
	if (!o->serial) {
		ctl_put_null(c, "outcome.taken");
		return;
	}
	ctl_put_num(c, "outcome.taken", o->taken);
	ctl_put_num(c, "outcome.alive", o->alive);
	ctl_put_num(c, "outcome.ended", o->ended);
	ctl_put_num(c, "outcome.refused", o->refused);
	for (unsigned int i = 0; i < ENGINE_ERRNOS; i++) {
		name = strerrorname_np((int)i);
		if (!o->refused_by[i])
			continue;
		if (name)
			(void)pathf(path, "outcome.refused_by.%s", name);
		else
			(void)pathf(path, "outcome.refused_by.errno_%u", i);
		ctl_put_num(c, path, o->refused_by[i]);
	}
	put_known(c, "outcome.invalid", d->invalid);
	ctl_put_num(c, "outcome.ms", (o->told_at - o->begun_at) / USEC_PER_MS);
	ctl_put_num(c, "outcome.age_s", (d->now - o->told_at) / USEC_PER_SEC);
}

static void put_quarantine(struct daemon *d, struct ctl_client *c)
{
	char path[PATH_LEN];
	struct deaths_flow x;
	unsigned int i;

	for (i = 0; deaths_quarantined(d->deaths, i, &x); i++) {
		ctl_put_str(c, pathf(path, "quarantine.%u.flow", i), x.flow);
		ctl_put_str(c, pathf(path, "quarantine.%u.peer", i), x.peer);
		ctl_put_str(c, pathf(path, "quarantine.%u.work", i), x.work);
		ctl_put_num(c, pathf(path, "quarantine.%u.deaths", i), x.deaths);
	}
	if (!i)
		ctl_put_list(c, "quarantine");
}

void verbs_show_status(struct daemon *d, struct ctl_client *c)
{
	int64_t count, max, buckets;
	struct engine_stats s;
	struct ready r;

	engine_stats(d->engine, &s, d->now);
	ready_judge(d, &s, &r);
	kern_counts(&count, &max, &buckets);
	ctl_put_str(c, "node", d->conf.node);
	ctl_put_str(c, "role", verbs_role_name(s.role == ROLE_PRIMARY));
	ctl_put_bool(c, "role_saved", d->state_err == 0);
	ctl_put_str(c, "standby", d->conf.hot ? "hot" : "cache");
	ctl_put_bool(c, "ready", r.ready);
	ctl_put_str(c, "reason", r.reason);
	ctl_put_num(c, "flows.local", s.local_flows);
	ctl_put_num(c, "flows.remote", s.remote_flows);
	put_known(c, "flows.kernel", count);
	put_known(c, "flows.max", max);
	ctl_put_num(c, "expectations.local", s.local_expects);
	ctl_put_num(c, "expectations.remote", s.remote_expects);
	if (s.peer_count == 0)
		ctl_put_list(c, "peers");
	for (unsigned int i = 0; i < s.peer_count; i++) {
		put_peer(c, i, &s.peer[i]);
		put_peer_links(d, c, i, &s.peer[i]);
	}
	put_link_states(d, c);
	put_outcome(d, c);
	put_quarantine(d, c);
	if (d->notrack.tracked == KERN_TRACKING_UNKNOWN)
		ctl_put_null(c, "sync_tracked");
	else
		ctl_put_bool(c, "sync_tracked", d->notrack.tracked == KERN_TRACKING_ON);
	ctl_put_num(c, "overruns", s.count.overruns);
	ctl_put_str(c, "seal", d->conf.sealed ? "sealed" : "none");
	ctl_put_num(c, "backlog", s.backlog);
	ctl_put_num(c, "stale", s.stale);
	ctl_put_num(c, "unclaimed", s.unclaimed);
	ctl_put_num(c, "orphans", s.orphans);
	ctl_put_num(c, "mute", s.mute);
	ctl_put_num(c, "aside", s.aside);
	put_known(c, "events_sysctl", kern_events_sysctl());
	ctl_put_bool(c, "limited", s.limited);
	ctl_put_bool(c, "complete", s.complete);
	put_epoch(c, "epoch", s.epoch);
	ctl_put_num(c, "uptime_s", (d->now - d->started_at) / USEC_PER_SEC);
}

/* ---- Stats ---- */

void verbs_drop_name(unsigned int drop, char buf[VERBS_DROP_NAME_LEN])
{
	static const char *const names[DROP_COUNT] = { [DROP_NONE] = NULL,
#define SHOW_DROP(name, text) [DROP_##name] = #name,
						       ENGINE_DROPS(SHOW_DROP)
#undef SHOW_DROP
	};
	const char *name = drop < DROP_COUNT && names[drop] ? names[drop] : "?";

	(void)snprintf(buf, VERBS_DROP_NAME_LEN, "%s", name);
	for (char *p = buf; *p; p++)
		*p = (char)tolower((unsigned char)*p);
}

static void put_drops(struct ctl_client *c, const uint64_t *drops)
{
	char path[PATH_LEN], name[VERBS_DROP_NAME_LEN];

	for (unsigned int i = 1; i < DROP_COUNT; i++) {
		verbs_drop_name(i, name);
		ctl_put_num(c, pathf(path, "drops.%s", name), drops[i]);
	}
}

static void put_engine(struct ctl_client *c, const struct engine_stats *s)
{
	put_epoch(c, "epoch", s->epoch);
	ctl_put_num(c, "head", s->head);
	ctl_put_num(c, "sent", s->sent);
	ctl_put_num(c, "dropped", s->dropped);
	ctl_put_num(c, "flows.local", s->local_flows);
	ctl_put_num(c, "flows.remote", s->remote_flows);
	ctl_put_num(c, "unclaimed", s->unclaimed);
	ctl_put_num(c, "orphans", s->orphans);
	ctl_put_num(c, "copies", s->copies);
	ctl_put_num(c, "stale", s->stale);
	ctl_put_num(c, "mute", s->mute);
	ctl_put_num(c, "aside", s->aside);
	ctl_put_num(c, "tombstones", s->tombstones);
	ctl_put_num(c, "backlog", s->backlog);
#define SHOW_COUNTER(name, help) ctl_put_num(c, #name, s->count.name);
	ENGINE_COUNTERS(SHOW_COUNTER)
#undef SHOW_COUNTER
	put_drops(c, s->count.drops);
}

static void put_kern(struct daemon *d, struct ctl_client *c)
{
	int64_t count, max, buckets;
	struct kern_stats k;

	kern_stats(d->kern, &k);
	kern_counts(&count, &max, &buckets);
	ctl_put_num(c, "kernel.messages", k.messages);
	ctl_put_num(c, "kernel.parse_errors", k.parse_errors);
	ctl_put_num(c, "kernel.batches", k.batches);
	ctl_put_num(c, "kernel.batch_full", k.batch_full);
	ctl_put_num(c, "kernel.lingers", k.lingers);
	ctl_put_num(c, "kernel.enobufs", k.enobufs);
	ctl_put_num(c, "kernel.event_buffer_len", k.event_buffer_len);
	ctl_put_num(c, "kernel.no_helper", k.no_helper);
	ctl_put_num(c, "kernel.no_master", k.no_master);
	ctl_put_num(c, "kernel.no_labels", k.no_labels);
	put_known(c, "kernel.count", count);
	put_known(c, "kernel.max", max);
	put_known(c, "kernel.buckets", buckets);
	put_known(c, "kernel.events_sysctl", kern_events_sysctl());
}

struct link_loss {
	uint64_t doubles, expected, lost;
};

/* What all peers together lost by each link. */
static void add_loss(const struct daemon *d, const struct engine_stats *es,
		     struct link_loss sum[LINK_LINKS_MAX + 1])
{
	memset(sum, 0, (LINK_LINKS_MAX + 1) * sizeof(*sum));
	for (unsigned int i = 0; i < es->peer_count; i++)
		for (unsigned int k = 0; k < es->peer[i].path_count; k++) {
			const struct engine_path_stats *x = &es->peer[i].path[k];
			struct link_loss *to = &sum[links_of(d->links, x->endpoint)];

			to->doubles += x->doubles;
			to->expected += x->expected;
			to->lost += x->lost;
		}
}

static void put_links(struct daemon *d, struct ctl_client *c, const struct engine_stats *es)
{
	struct link_loss loss[LINK_LINKS_MAX + 1];
	struct link_stats s[LINK_LINKS_MAX];
	unsigned int count = links_stats(d->links, s, LINK_LINKS_MAX);
	char path[PATH_LEN];

	if (count == 0)
		ctl_put_list(c, "links");
	add_loss(d, es, loss);
	for (unsigned int i = 0; i < count; i++) {
		ctl_put_str(c, pathf(path, "links.%u.link", i), s[i].name);
		ctl_put_str(c, pathf(path, "links.%u.interface", i), s[i].interface);
		ctl_put_bool(c, pathf(path, "links.%u.up", i), s[i].up);
		ctl_put_num(c, pathf(path, "links.%u.mtu", i), s[i].mtu);
		ctl_put_num(c, pathf(path, "links.%u.sent", i), s[i].sent);
		ctl_put_num(c, pathf(path, "links.%u.received", i), s[i].received);
		ctl_put_num(c, pathf(path, "links.%u.bytes_sent", i), s[i].bytes_sent);
		ctl_put_num(c, pathf(path, "links.%u.bytes_received", i), s[i].bytes_received);
		ctl_put_num(c, pathf(path, "links.%u.send_errors", i), s[i].send_errors);
		ctl_put_num(c, pathf(path, "links.%u.unknown_source", i), s[i].unknown_source);
		ctl_put_num(c, pathf(path, "links.%u.socket_drops", i), s[i].socket_drops);
		ctl_put_num(c, pathf(path, "links.%u.doubles", i), loss[i].doubles);
		ctl_put_num(c, pathf(path, "links.%u.expected", i), loss[i].expected);
		ctl_put_num(c, pathf(path, "links.%u.lost", i), loss[i].lost);
	}
}

static void put_control(struct daemon *d, struct ctl_client *c)
{
	struct ctl_stats s;

	ctl_stats(d->ctl, &s);
	ctl_put_num(c, "control.clients", s.clients);
	ctl_put_num(c, "control.accepted", s.accepted);
	ctl_put_num(c, "control.requests", s.requests);
	ctl_put_num(c, "control.denied", s.denied);
	ctl_put_num(c, "control.refused", s.refused);
	ctl_put_num(c, "control.evicted", s.evicted);
	ctl_put_num(c, "control.timeouts", s.timeouts);
	ctl_put_num(c, "control.dropped", s.dropped);
}

/* Resident bytes of this process; -1 unknown. */
static int64_t resident_len(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	int64_t pages = -1;

	if (!f)
		return -1;
	if (fscanf(f, "%*d %" SCNd64, &pages) != 1)
		pages = -1;
	(void)fclose(f); /* was only read */
	return pages < 0 ? -1 : pages * sysconf(_SC_PAGESIZE);
}

static void put_process(struct daemon *d, struct ctl_client *c, uint64_t caches_len)
{
	struct rusage ru;

	ctl_put_num(c, "process.uptime_s", (d->now - d->started_at) / USEC_PER_SEC);
	if (getrusage(RUSAGE_SELF, &ru) == 0) {
		ctl_put_num(c, "process.cpu_user_ms",
			    (unsigned long long)ru.ru_utime.tv_sec * 1000 +
				    (unsigned long long)ru.ru_utime.tv_usec / 1000);
		ctl_put_num(c, "process.cpu_system_ms",
			    (unsigned long long)ru.ru_stime.tv_sec * 1000 +
				    (unsigned long long)ru.ru_stime.tv_usec / 1000);
	}
	ctl_put_num(c, "process.turns", d->turns);
	ctl_put_num(c, "process.turns_left_over", d->turns_left_over);
	ctl_put_num(c, "memory.caches", caches_len);
	put_known(c, "memory.resident", resident_len());
}

static void put_recorder(struct daemon *d, struct ctl_client *c)
{
	struct recorder_stats r;

	recorder_stats(d->recorder, &r);
	ctl_put_bool(c, "recorder.on", r.on);
	ctl_put_bool(c, "recorder.stopped", r.stopped);
	ctl_put_num(c, "recorder.segments", r.segments);
	ctl_put_num(c, "recorder.steps", r.steps);
	ctl_put_num(c, "recorder.state_bytes", r.state_len);
	ctl_put_num(c, "recorder.saved", r.saved);
}

void verbs_show_stats(struct daemon *d, struct ctl_client *c)
{
	struct engine_stats s;

	engine_stats(d->engine, &s, d->now);
	put_engine(c, &s);
	put_kern(d, c);
	put_links(d, c, &s);
	put_control(d, c);
	put_recorder(d, c);
	put_process(d, c, s.memory_len);
}
