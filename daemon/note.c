/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happened, told to people: the engine's notes as log lines (object first, what it means, what
 * to do), the role into the state file, and the one line of status that systemctl shows.
 *
 * The role is saved here and before any verb is answered: a daemon that is killed right after
 * "promote: done" comes back as primary.
 */
#include "daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "events.h"

#define NOTES_MAX 1024 /* of one turn; more wait for the next */

static const char *role_name(uint64_t role)
{
	return role == ROLE_PRIMARY ? "primary" : "backup";
}

void role_save(struct daemon *d, enum engine_role role)
{
	int before = d->state_err;

	d->state_err = state_save(&d->state, role);
	if (d->state_err && d->state_err != before)
		log_err(d->log,
			"%s: cannot save the role: %s; a restart would not know it; tried again "
			"every second",
			d->state.path, strerror(-d->state_err));
	else if (!d->state_err && before)
		log_info(d->log, "%s: the role is saved now", d->state.path);
}

static void note_role(struct daemon *d, const struct engine_note *n)
{
	if (n->arg0 == ROLE_PRIMARY)
		d->invalid_before = kern_invalid();
	log_info(d->log, "role: %s", role_name(n->arg0));
	role_save(d, (enum engine_role)n->arg0);
}

static void note_peer_down(struct daemon *d, const struct engine_note *n)
{
	if (n->arg1)
		log_warn(d->log,
			 "peer %s: down, we hear it but it does not hear us; look at the way to it",
			 n->peer);
	else
		log_warn(d->log, "peer %s: down, nothing heard for %" PRIu64 " ms", n->peer,
			 n->arg0);
}

static void note_refused(struct daemon *d, const struct engine_note *n)
{
	const char *hint = "";

	if (n->arg0 == ENOMEM)
		hint = "; nf_conntrack_max may be reached";
	else if (n->arg0 == ENOSPC)
		hint = "; nf_conntrack_buckets may be too small";
	else if (n->arg0 == EOPNOTSUPP)
		hint = "; a module or helper may be missing";
	else if (n->arg0 == EPERM)
		hint = "; CAP_NET_ADMIN is missing";
	log_warn(d->log, "kernel: refused %" PRIu64 " writes: %s%s; they are tried again", n->arg1,
		 strerror((int)n->arg0), hint);
}

static void note_commit(struct daemon *d)
{
	const struct engine_commit *c = engine_commit(d->engine);
	const char *what = c->promote ? "promote" : "commit";
	uint64_t ms = (c->ended_at - c->started_at) / USEC_PER_MS;

	if (c->refused)
		log_warn(d->log,
			 "%s: done in %" PRIu64 " ms: %" PRIu64 " flows committed, %" PRIu64
			 " already there, %" PRIu64 " refused by the kernel",
			 what, ms, c->committed, c->existed, c->refused);
	else
		log_info(d->log,
			 "%s: done in %" PRIu64 " ms: %" PRIu64 " flows committed, %" PRIu64
			 " already there",
			 what, ms, c->committed, c->existed);
}

/* What the promote is worth: packets pass, or do not. */
static void note_outcome(struct daemon *d)
{
	bool pending;
	const struct engine_outcome *o = engine_outcome(d->engine, &pending);
	int64_t invalid = kern_invalid();
	char text[32] = "an unknown number of";

	d->invalid = d->invalid_before < 0 || invalid < 0
			     ? -1
			     : (int64_t)(uint32_t)(invalid - d->invalid_before);
	d->invalid_before = invalid;
	if (d->invalid >= 0)
		(void)snprintf(text, sizeof(text), "%" PRId64, d->invalid);
	log_msg(d->log, o->refused ? LOG_LVL_WARN : LOG_LVL_INFO,
		"promote: after %" PRIu64 " s: %" PRIu64 " flows taken over, %" PRIu64
		" of them seen alive since, %" PRIu64 " ended, %" PRIu64
		" still refused by the kernel; %s packets INVALID",
		(uint64_t)((o->told_at - o->begun_at) / USEC_PER_SEC), o->taken, o->alive, o->ended,
		o->refused, text);
}

static void note_limit(struct daemon *d, const struct engine_note *n)
{
	static const char *const drop_text[DROP_COUNT] = {
#define DROP_TEXT(name, text) [DROP_##name] = text,
		ENGINE_DROPS(DROP_TEXT)
#undef DROP_TEXT
	};

	if (n->arg0 == DROP_FLOWS)
		log_warn(d->log,
			 "flows: the limit is reached, some are not held; see state.flows_max");
	else if (n->arg0 && n->arg0 < DROP_COUNT)
		log_warn(d->log, "peer %s: datagrams dropped: %s", *n->peer ? n->peer : "(new)",
			 drop_text[n->arg0]);
	else
		log_warn(d->log,
			 "flows: a limit is reached, some are not held; see state.flows_max");
}

static void note_peer(struct daemon *d, const struct engine_note *n)
{
	switch (n->type) {
	case NOTE_PEER_UP:
		log_info(d->log, "peer %s: up%s", n->peer, n->arg0 ? ", new or started anew" : "");
		break;
	case NOTE_PEER_DOWN:
		note_peer_down(d, n);
		break;
	case NOTE_PEER_BYE:
		log_info(d->log, "peer %s: stopped, its flows are kept", n->peer);
		break;
	case NOTE_LINK_DOWN:
		log_warn(d->log,
			 "peer %s: link %s: nothing came by it for %" PRIu64
			 " ms, other links carry on",
			 n->peer, links_name(d->links, (unsigned int)n->arg0), n->arg1);
		break;
	case NOTE_LINK_UP:
		log_info(d->log, "peer %s: link %s: carries again", n->peer,
			 links_name(d->links, (unsigned int)n->arg0));
		break;
	case NOTE_FORGOTTEN:
		log_info(d->log, "peer %s: forgotten, a new peer takes its place", n->peer);
		break;
	case NOTE_RESYNC:
		log_info(d->log, "peer %s: resync, %" PRIu64 " versions are missing", n->peer,
			 n->arg0);
		break;
	case NOTE_SYNCED:
		log_info(d->log, "peer %s: synced up to version %" PRIu64, n->peer, n->arg0);
		break;
	case NOTE_DEBT:
		log_warn(d->log,
			 "peer %s: deletions up to version %" PRIu64 " are lost, comparing tables",
			 n->peer, n->arg0);
		break;
	case NOTE_DEBT_PAID:
		log_info(d->log, "peer %s: tables compared and equal again", n->peer);
		break;
	case NOTE_DIVERGENCE:
		recorder_diverged(d->recorder, d->now);
		log_warn(d->log,
			 "peer %s: bucket %" PRIu64 " differed at rest, %" PRIu64 " flows repaired",
			 n->peer, n->arg0, n->arg1);
		break;
	case NOTE_NAME_CLASH:
		log_err(d->log,
			"peer: another node is named %s like this one (give each its own name), "
			"or what this node sent in an earlier run is played back",
			*n->peer ? n->peer : d->conf.node);
		break;
	case NOTE_TABLES:
		if (n->arg0)
			log_info(d->log, "peer %s: its hash keys of the tables taken over",
				 n->peer);
		else
			log_warn(d->log,
				 "peer %s: its tables are hashed with other keys and cannot be "
				 "compared; it should take over ours",
				 n->peer);
		break;
	default:
		break;
	}
}

/* Which memory it was nobody can tell; twice is a machine to be looked at. */
static void note_flip(struct daemon *d, const struct engine_note *n)
{
	recorder_diverged(d->recorder, d->now);
	if (*n->peer)
		log_err(d->log,
			"peer %s: memory flipped in bucket %" PRIu64
			" of what is held of it; the bucket is fetched again; check this machine's "
			"memory",
			n->peer, n->arg0);
	else
		log_err(d->log,
			"flows: memory flipped in bucket %" PRIu64 "; %" PRIu64
			" flows are read again from the kernel; check this machine's memory",
			n->arg0, n->arg1);
}

/* Where the sysctl is right there is nothing to mend: entries from before this run may speak or
 * not.
 */
static void note_mute(struct daemon *d, const struct engine_note *n)
{
	if (kern_events_sysctl() == 1)
		log_info(d->log,
			 "kernel: %" PRIu64
			 " entries are older than this run and may never tell of "
			 "their end; the table is read again now and then",
			 n->arg0);
	else
		log_warn(d->log,
			 "kernel: %" PRIu64 " entries may never tell of their end; set "
			 "net.netfilter.nf_conntrack_events = 1. "
			 "The table is read again now and then",
			 n->arg0);
}

static void note_found(struct daemon *d, const struct engine_note *n)
{
	const struct engine_found *f = &engine_audit(d->engine)->found[n->arg0];
	char line[CTL_LINE_MAX], names[VERIFY_DIFFERS_LEN];

	(void)kern_format(line, sizeof(line), f->what == FOUND_CACHE_ONLY ? &f->held : &f->kernel);
	if (f->what == FOUND_KERNEL_ONLY)
		log_warn(d->log, "kernel: audit: only in the kernel, taken in: %s", line);
	else if (f->what == FOUND_CACHE_ONLY && f->refused)
		log_warn(d->log, "kernel: audit: not in the kernel, which refuses it (%s): %s",
			 strerror(f->refused), line);
	else if (f->what == FOUND_CACHE_ONLY)
		log_warn(d->log, "kernel: audit: not in the kernel, %s: %s",
			 f->peer[0] ? "written again" : "ended", line);
	else {
		verify_differs(f, names, sizeof(names));
		log_warn(d->log, "kernel: audit: %s differs, %s: %s", names,
			 f->peer[0] ? "written again" : "the kernel's is taken", line);
	}
}

static void note_audit(struct daemon *d, const struct engine_note *n)
{
	if (n->arg0)
		log_warn(d->log,
			 "kernel: audit: %" PRIu64
			 " flows differed from what is held and are healed; "
			 "another program may write to the table with events off",
			 n->arg0);
	else
		log_info(d->log, "kernel: audit: the table is what is held");
}

static void note_quarantined(struct daemon *d, const struct engine_note *n)
{
	struct deaths_flow x;

	if (!deaths_quarantined(d->deaths, n->arg0, &x))
		return;
	log_err(d->log,
		"flow %s: quarantined: what %s says of it is set aside, the daemon died over it "
		"before",
		x.flow, *n->peer ? n->peer : "the kernel");
}

static void note_one(struct daemon *d, const struct engine_note *n)
{
	switch (n->type) {
	case NOTE_ROLE:
		note_role(d, n);
		break;
	case NOTE_OVERRUN:
		log_warn(d->log, "kernel: events were lost, the table is read again; "
				 "kernel.event_buffer may be too small");
		break;
	case NOTE_DUMP_END:
		/* While mute entries are there the table is read every few seconds: not worth an
		 * operator's line. */
		log_debug(d->log, "kernel: table read, %" PRIu64 " entries, %" PRIu64 " found gone",
			  n->arg0, n->arg1);
		break;
	case NOTE_REFUSED:
		note_refused(d, n);
		break;
	case NOTE_COMMIT_DONE:
		note_commit(d);
		break;
	case NOTE_OUTCOME:
		note_outcome(d);
		break;
	case NOTE_LIMIT:
		note_limit(d, n);
		break;
	case NOTE_FLIP:
		note_flip(d, n);
		break;
	case NOTE_QUARANTINED:
		note_quarantined(d, n);
		break;
	case NOTE_INNOCENT:
		deaths_innocent(d->deaths, n->arg0);
		break;
	case NOTE_MUTE:
		note_mute(d, n);
		break;
	case NOTE_FOUND:
		note_found(d, n);
		break;
	case NOTE_AUDIT:
		note_audit(d, n);
		break;
	default:
		note_peer(d, n);
	}
}

void notes_drain(struct daemon *d)
{
	struct engine_note n;

	for (unsigned int i = 0; i < NOTES_MAX && engine_note(d->engine, &n); i++) {
		note_one(d, &n);
		events_note(d, &n);
		if (n.type == NOTE_DUMP_END)
			d->overruns_over = d->overruns_at_dump;
		d->ready_due = true;
	}
}

void status_line(const struct daemon *d, char *buf, size_t len)
{
	struct engine_stats s;
	unsigned int up = 0;
	struct ready r;

	engine_stats(d->engine, &s, d->now);
	ready_judge(d, &s, &r);
	for (unsigned int i = 0; i < s.peer_count; i++)
		up += s.peer[i].state != PEER_DOWN;
	(void)snprintf(buf, len,
		       "%s, %s%s%s; %u peer%s up; %" PRIu64 " local, %" PRIu64 " remote flows%s",
		       role_name(s.role), r.ready ? "ready" : "not ready", r.ready ? "" : ": ",
		       r.ready ? "" : r.reason, up, up == 1 ? "" : "s", s.local_flows,
		       s.remote_flows, d->conf.sealed ? "" : "; UNSEALED");
}
