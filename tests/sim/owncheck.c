/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The checks of ownership: an entry through which a live connection's packets pass is never removed
 * by an operation of ours; what a node had covered when its peer died is in its kernel after the
 * promote (I6); and when faults have stopped, every mirror equals its owner's table, every own flow
 * its kernel's entry, and every node says so (I1).
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../../daemon/ready.h"
#include "sim.h"

#define BLIND_US                                                                                   \
	(3 *                                                                                       \
	 USEC_PER_SEC) /* packets this soon after a write of ours cannot be told from the write */
#define MOVED_US                                                                                   \
	(70 * USEC_PER_SEC) /* the owner reads its expectations in each round: until then no peer  \
			       knows of a timer that was moved */
#define CLAIMED_US USEC_PER_SEC /* of being heard as primary: claims are known then */
#define YIELDED_US (4 * USEC_PER_SEC)
#define NEAR_US                                                                                    \
	(8 * USEC_PER_SEC) /* what ends so near to its time has expired, for all that a peer can   \
			      tell */

/* An operation is about to take entry i out of node n's kernel, for good. */
void own_check_removal(struct sim *s, int n, unsigned int i, const char *how)
{
	const struct kent *t = &s->node[n].k.ent[i];
	const struct conn *c = &s->conn[i];

	if (s->now < s->node[n].unheard_to)
		return; /* events were lost, and the dump that makes up for them has not been read
			 */
	if (s->p.chaos)
		return; /* a backup that carries: its idle entries go once the primary claims them
			 */
	if (!t->present || !c->open || !t->packet_at || t->expire_at <= s->now)
		return;
	if (t->written_at && t->packet_at < t->written_at + BLIND_US)
		return;
	if (traffic_carrier(s, i) != n || t->seq != c->seq)
		return; /* its packets pass elsewhere by now */
	sim_fail(s,
		 "node %d: %s of flow %u, whose packets pass here (last %llu ms ago) (ownership)",
		 n, how, i, (unsigned long long)((s->now - t->packet_at) / USEC_PER_MS));
}

static bool owns(struct sim *s, int n, unsigned int i)
{
	struct peek_rec r;

	return s->node[n].e && peek_local(s->node[n].e, &s->conn[i].key, &r) && !r.tomb;
}

/* A key is own, a copy or a stray, never two of them (own.c). */
/* What a promote would write is counted, not found by looking. */
static void check_absent(struct sim *s, int n)
{
	struct engine_stats st;
	uint64_t absent = 0;
	struct peek_rec r;

	world_snapshot(s, n, &st);
	for (unsigned int i = 0; i < s->p.keys; i++) {
		const struct peek_key *key = &s->conn[i].key;

		if (expect_is(s, i))
			continue;
		absent += peek_stray(s->node[n].e, key, &r) && !r.tomb && !r.in_kernel;
		for (unsigned int k = 0; k < ENGINE_PEERS_MAX; k++)
			absent += peek_mirror(s->node[n].e, k, key, &r) && !r.tomb && !r.in_kernel;
	}
	if (st.unclaimed && st.role == ROLE_PRIMARY && !st.commit.running && !s->p.active_active &&
	    !s->flipped)
		sim_fail(s,
			 "node %d: primary, and of %llu entries it knows not whose they are (R46)",
			 n, (unsigned long long)st.unclaimed);
	if (absent != st.absent && !s->flipped)
		sim_fail(s, "node %d: %llu flows are not in its kernel, it counts %llu", n,
			 (unsigned long long)absent, (unsigned long long)st.absent);
}

void own_check_kinds(struct sim *s, int n)
{
	uint64_t print = peek_kinds_print(s->node[n].e);
	struct peek_owner o;

	peek_owner(s->node[n].e, &o);
	if (o.role == ROLE_PRIMARY)
		s->node[n].led_at = s->now;
	if (print == s->node[n].kinds_print)
		return;
	s->node[n].kinds_print = print;
	check_absent(s, n);
	truth_orphans(s, n);
	for (unsigned int i = 0; i < s->p.keys && !s->failed; i++)
		if (peek_kinds(s->node[n].e, &s->conn[i].key) > 1)
			sim_fail(s, "node %d: flow %u is own and copy, or a copy twice", n, i);
}

/* Has node n another entry that holds the reply tuple of f, which is flow i? Then its kernel
 * refuses flow i, rightly. */
static bool reply_held(const struct sim *s, const struct flow *f, unsigned int i, int n)
{
	for (unsigned int j = 0; j < s->p.keys; j++) {
		const struct kent *t = &s->node[n].k.ent[j];

		if (i != j && t->present && !t->f.key.expect && !f->key.expect &&
		    t->f.key.proto == f->key.proto &&
		    !memcmp(&t->f.reply, &f->reply, sizeof(f->reply)))
			return true;
	}
	return false;
}

/* Do two flows that node n should hold want one reply tuple? */
static bool clashes(const struct sim *s, int n)
{
	for (unsigned int m = 0; m < s->p.nodes; m++)
		for (unsigned int i = 0; i < s->p.keys; i++)
			if ((int)m != n && s->node[m].k.ent[i].present &&
			    reply_held(s, &s->node[m].k.ent[i].f, i, n))
				return true;
	return false;
}

/* A third node whose own the flow is too. */
static int rival_of(struct sim *s, int from, int to, unsigned int i)
{
	for (int n = 0; n < NODES_MAX; n++)
		if (n != from && n != to && owns(s, n, i))
			return n;
	return -1;
}

/* Was a third node primary a moment ago, so that it may be heard to claim flows that it has yet to
 * yield? */
static bool is_contested(const struct sim *s, int from, int to)
{
	for (int n = 0; n < (int)s->p.nodes; n++)
		if (n != from && n != to && s->node[n].led_at &&
		    s->now < s->node[n].led_at + YIELDED_US)
			return true;
	return false;
}

/* Has a third node begun since then with the role that it had before the address left it? */
static bool is_misled(const struct sim *s, int from, int to, usec_t since)
{
	for (int n = 0; n < (int)s->p.nodes; n++)
		if (n != from && n != to && s->node[n].up_at >= since &&
		    s->node[n].led_at >= s->node[n].up_at)
			return true;
	return false;
}

/* Is the entry as the last packet of connection i left it? */
static bool is_current(const struct sim *s, const struct flow *entry, unsigned int i)
{
	const struct flow *f = &s->conn[i].flow;

	return !memcmp(&f->reply, &entry->reply, sizeof(f->reply)) &&
	       f->tcp.state == entry->tcp.state && f->mark == entry->mark &&
	       !(f->status & ~entry->status);
}

/* Notes what `to` must have in its kernel once it is promoted: all that it has covered of `from`'s
 * living flows. */
void own_arm_failover(struct sim *s, int from, int to)
{
	struct failover_check *f = &s->node[to].failover;
	struct peek_owner o;
	struct peek_peer p;
	struct stream *st;
	unsigned int k;

	*f = (struct failover_check){ 0 };
	if (s->flipped)
		return;
	if (!s->node[from].e || !s->node[to].e)
		return;
	peek_owner(s->node[to].e, &o);
	if (o.role == ROLE_PRIMARY)
		return; /* two primaries: what it believes its own it takes for granted */
	peek_owner(s->node[from].e, &o);
	st = oracle_stream(s, o.epoch);
	for (k = 0; k < ENGINE_PEERS_MAX; k++)
		if (peek_peer(s->node[to].e, k, &p) && p.epoch == o.epoch)
			break;
	if (k == ENGINE_PEERS_MAX || !st)
		return;
	for (unsigned int i = 0; i < s->p.keys; i++) {
		const struct kent *t = &s->node[from].k.ent[i];
		struct peek_rec r;
		struct flow now;

		if (peek_local(s->node[to].e, &s->conn[i].key, &r) && !r.tomb && r.mute)
			continue; /* its own by an older word, to be known better by its next dump
				   */
		fk_snapshot(s, from, i, &now);
		if (!s->conn[i].open || t->expire_at < s->now + NEAR_US || !t->present ||
		    !flow_is_injectable(&t->f) || flow_is_closing(&t->f) ||
		    traffic_carrier(s, i) != from || s->conn[i].carrier >= 0)
			continue;
		if (expect_is(s, i) &&
		    (s->now < s->conn[i].moved_at + MOVED_US || !expect_master_lives(s, from, i)))
			continue;
		if (scope_excludes(s, from, &now))
			continue; /* about to be withdrawn, by a daemon that stands still */
		if ((!s->alike && scope_excludes(s, to, &now)) || s->node[to].poison[i])
			continue; /* a filter may keep the end of its copy from it (R66) */
		if (!st->cur[i] || st->log[st->cur[i]].dead || !oracle_covered(&p, st->cur[i]) ||
		    !peek_mirror(s->node[to].e, k, &s->conn[i].key, &r) ||
		    r.version != st->cur[i] || peek_sum(&r) != peek_flow_sum(&now))
			continue;
		f->expire_at[i] = t->expire_at;
		f->told[i] = now;
		f->version[i] = r.version;
		f->seq[i] = is_current(s, &now, i) ? s->conn[i].seq : UINT64_MAX;
		f->own[i] = peek_local(s->node[to].e, &s->conn[i].key, &r) && !r.tomb;
		f->rival[i] = rival_of(s, from, to, i);
	}
	f->armed = true;
	f->armed_at = s->now;
	f->claimed = s->node[from].truth.promoted_at &&
		     s->node[to].came_at[from] > s->node[from].truth.promoted_at + CLAIMED_US;
	f->heard = s->node[to].came_at[from] >= s->node[from].truth.promoted_at + CLAIMED_US;
	f->from = from;
	f->serial = UINT64_MAX;
}

/* What node n thinks of flow i, as far as it fits. */
static const char *describe(struct sim *s, int n, unsigned int i)
{
	const struct peek_key *key = &s->conn[i].key;
	FILE *out = fmemopen(s->what, sizeof(s->what), "w");
	struct peek_rec r;

	s->what[0] = '\0';
	if (!out)
		return s->what;
	if (peek_local(s->node[n].e, key, &r))
		fprintf(out, "own tomb %u flags %x; ", r.tomb, r.flags);
	if (peek_stray(s->node[n].e, key, &r))
		fprintf(out, "stray tomb %u flags %x; ", r.tomb, r.flags);
	for (unsigned int k = 0; k < s->p.nodes - 1; k++)
		if (peek_mirror(s->node[n].e, k, key, &r))
			fprintf(out, "mirror %u flags %x; ", k, r.flags);
	(void)fclose(out);
	s->what[sizeof(s->what) - 1] = '\0';
	return s->what;
}

void own_unheard(struct sim *s, int n)
{
	s->node[n].unheard_to = (s->now > s->node[n].stalled_to ? s->now : s->node[n].stalled_to) +
				3 * USEC_PER_SEC;
	s->node[n].failover.unheard = true; /* it may believe that what was forced is its own */
	own_untold(s, n);
}

void own_untold(struct sim *s, int n)
{
	for (unsigned int i = 0; i < s->p.nodes; i++)
		if (s->node[i].failover.armed && s->node[i].failover.from == n)
			s->node[i].failover.unheard = true;
}

/* Has node n still to carry out an operation for flow i? */
static bool work_waits(const struct sim *s, int n, unsigned int i)
{
	struct peek_rec r;

	for (unsigned int k = 0; k < s->p.nodes - 1; k++)
		if (peek_mirror(s->node[n].e, k, &s->conn[i].key, &r) && r.work)
			return true;
	return false;
}

/* The daemon's whole judgement of node n, with what the fake kernel tells of itself. */
static bool is_ready(struct sim *s, int n)
{
	const struct node *node = &s->node[n];
	struct ready_facts f = { .count = node->k.count,
				 .max = s->p.table_max,
				 .buckets = KEYS_MAX,
				 .active_active = s->p.active_active,
				 .tracking = KERN_TRACKING_ON,
				 .nat = { KERN_TRACKING_ON, KERN_TRACKING_ON } };
	struct engine_stats st;
	struct ready r;

	world_snapshot(s, n, &st);
	if (!node->k.ev_count && st.in_kernel > node->k.count)
		f.missing = st.in_kernel - node->k.count;
	f.rereading = node->k.overrun || st.count.overruns > node->overruns_over;
	ready_of(&st, &f, &r);
	sim_trace(s, "node %d: %s: %s", n, r.ready ? "ready" : "not ready", r.reason);
	return r.ready && st.role == ROLE_BACKUP; /* a primary is by its role */
}

/* Has a peer told node n of flow i? *in_kernel: and n takes it to be in its kernel. */
static bool is_held(const struct sim *s, int n, unsigned int i, bool *in_kernel)
{
	bool held = false;
	struct peek_rec r;

	*in_kernel = false;
	for (unsigned int k = 0; k < s->p.nodes - 1; k++) {
		if (!peek_mirror(s->node[n].e, k, &s->conn[i].key, &r) || r.tomb)
			continue;
		held = true;
		*in_kernel |= r.in_kernel;
	}
	return held;
}

/* A promote begins at node n: was it ready, and for what? */
void own_promote(struct sim *s, int n)
{
	struct failover_check *f = &s->node[n].failover;

	f->ready = is_ready(s, n);
	f->opened = 0;
	f->unread = false;
	for (unsigned int i = 0; i < s->p.keys; i++) {
		bool in_kernel;

		f->held[i] = is_held(s, n, i, &in_kernel);
		f->unread |= in_kernel && !s->node[n].k.ent[i].present;
	}
	s->count.ready_promotes += f->ready;
	s->count.unready_promotes += !f->ready;
}

/* Was the node told of more flows since? It had no room for them to promise. */
static bool told_more(const struct sim *s, int n)
{
	bool in_kernel;

	for (unsigned int i = 0; i < s->p.keys; i++)
		if (!s->node[n].failover.held[i] && is_held(s, n, i, &in_kernel))
			return true;
	return false;
}

/* Could a promote have been refused what it had to write? Not for want of room, if the node said
 * that it was ready and had read all ends, and since then no packet has made an entry here and no
 * peer told of a flow. */
static bool may_refuse(const struct sim *s, int n)
{
	const struct failover_check *f = &s->node[n].failover;

	return s->p.refuse || clashes(s, n) ||
	       (s->p.table_max < KEYS_MAX &&
		(!f->ready || f->opened || f->unread || told_more(s, n)));
}

/* Is its entry as it was before its packets passed elsewhere, so that TCP would drop them here? */
static bool is_stale(const struct sim *s, int n, unsigned int i)
{
	const struct failover_check *f = &s->node[n].failover;
	const struct kent *t = &s->node[n].k.ent[i];
	const struct conn *c = &s->conn[i];

	if (!f->claimed || !f->own[i] || f->forced[i] || s->p.chaos || s->p.active_active ||
	    s->now < s->node[n].unheard_to || scope_excludes(s, n, &t->f))
		return false;
	return fk_alive(s, n, i) && !t->raced && c->open && !c->doubled && !expect_is(s, i) &&
	       c->opened_at <= f->armed_at && c->flow.key.proto == 6 && t->seq && t->seq != c->seq;
}

/* Has another program ever changed its mark? */
static bool is_meddled(const struct sim *s, unsigned int i)
{
	for (unsigned int n = 0; n < s->p.nodes; n++)
		if (s->node[n].k.meddled[i])
			return true;
	return false;
}

/* Has its owner told anything new of flow i since, or nothing any more? */
static bool is_retold(const struct sim *s, int n, unsigned int i)
{
	struct peek_rec r;

	for (unsigned int k = 0; k < ENGINE_PEERS_MAX; k++)
		if (peek_mirror(s->node[n].e, k, &s->conn[i].key, &r) &&
		    r.version == s->node[n].failover.version[i])
			return false;
	return true;
}

/* Is its entry another than the one that was covered, though no packet has met it since? */
static bool is_other(const struct sim *s, int n, unsigned int i)
{
	const struct failover_check *f = &s->node[n].failover;
	const struct kent *t = &s->node[n].k.ent[i];
	const struct flow *x = &f->told[i];

	if ((f->own[i] && !f->claimed) || !f->heard || f->forced[i] ||
	    is_contested(s, f->from, n) || s->p.chaos || s->p.active_active ||
	    s->now < s->node[n].unheard_to || scope_excludes(s, n, &t->f) || expect_is(s, i) ||
	    !fk_alive(s, n, i) || t->raced || !s->conn[i].open || s->conn[i].doubled ||
	    s->conn[i].seq != f->seq[i] || is_retold(s, n, i) || reply_held(s, x, i, n))
		return false;
	return memcmp(&t->f.reply, &x->reply, sizeof(x->reply)) != 0 || t->f.status != x->status ||
	       memcmp(&t->f.tcp, &x->tcp, sizeof(x->tcp)) != 0 ||
	       (t->f.mark != x->mark && !is_meddled(s, i));
}

/* Is flow i in the kernel of node n, as far as it can know, and not its own? */
static bool is_missed(const struct sim *s, int n, unsigned int i)
{
	const struct kent *t = &s->node[n].k.ent[i];
	struct peek_rec own;

	return !s->p.active_active && fk_alive(s, n, i) && !t->raced &&
	       s->now >= s->node[n].unheard_to && !scope_excludes(s, n, &t->f) &&
	       !fk_overtakes(s, n, i) && !scope_is_fluid(s, n) &&
	       !peek_local(s->node[n].e, &s->conn[i].key, &own);
}

/* May a promoted node n be without flow i? */
static bool may_lack(struct sim *s, int n, unsigned int i)
{
	const struct failover_check *f = &s->node[n].failover;

	if ((s->p.chaos || f->forced[i]) && s->node[n].k.ent[i].present)
		return true; /* its own, expired, not collected yet, and its owner not primary: a
				claim that does not count */
	if (expect_is(s, i) && !expect_master_lives(s, n, i))
		return true;
	return f->expire_at[i] <= s->now || fk_alive(s, n, i) || !s->conn[i].open ||
	       s->conn[i].opened_at > f->armed_at || is_misled(s, f->from, n, f->armed_at) ||
	       (f->forced[i] && (f->unheard || (f->swept && s->conn[i].flow.key.proto != 6) ||
				 (f->rival[i] >= 0 && !owns(s, f->rival[i], i)))) ||
	       reply_held(s, &s->conn[i].flow, i, n) ||
	       reply_held(s, &s->node[f->from].k.ent[i].f, i, n);
}

/* What is wrong with flow i, of those that node n had covered; NULL: nothing. *again: not yet. */
static const char *failover_wrong(struct sim *s, int n, unsigned int i, bool *again)
{
	struct peek_owner o;
	bool in_kernel;

	s->count.failover_flows++;
	if (is_missed(s, n, i)) {
		peek_owner(s->node[n].e, &o);
		/* its policy left it out until lately; the dump finds it (R64) */
		*again = s->policy_us && o.reads;
		return *again ? NULL : "is in its kernel, and not its own (R36)";
	}
	if (is_stale(s, n, i))
		return "has an old window (R38)";
	if (is_other(s, n, i))
		return "is not the one that was covered (I6)";
	if (may_lack(s, n, i))
		return NULL;
	if (s->now < s->node[n].unheard_to && is_held(s, n, i, &in_kernel) && in_kernel) {
		*again = true; /* the end of a copy was not heard: the next dump tells of it */
		return NULL;
	}
	return s->node[n].k.ent[i].present ? "was covered, and has expired (I6)"
					   : "was covered, and is not in its kernel (I6)";
}

/* After each turn of a daemon: is its promote done, and is all there? What an event has undone
 * since (the end of an earlier life, read late) is looked at when it is done again. */
void own_check_failover(struct sim *s, int n)
{
	struct failover_check *f = &s->node[n].failover;
	const struct engine_commit *c = engine_commit(s->node[n].e);
	struct peek_owner o;

	if (!f->armed || f->serial == UINT64_MAX || c->serial < f->serial || c->running)
		return;
	f->armed = false;
	peek_owner(s->node[n].e, &o);
	if (o.role != ROLE_PRIMARY || s->flipped)
		return; /* demoted again before it could be done */
	if (c->serial != f->serial || s->failed || s->node[n].conf.flows_max < s->p.keys)
		return;
	if (c->refused_by[ENOMEM] && f->ready && !may_refuse(s, n))
		sim_fail(s, "node %d: was ready, and its promote was refused %llu flows", n,
			 (unsigned long long)c->refused_by[ENOMEM]);
	if (c->refused || may_refuse(s, n))
		return;
	for (unsigned int i = 0; i < s->p.keys; i++) {
		struct peek_rec own;
		const char *wrong;
		bool again = false;

		if (!f->expire_at[i] || (peek_local(s->node[n].e, &s->conn[i].key, &own) &&
					 !own.tomb && (own.mute || s->now < s->node[n].unheard_to)))
			continue; /* an entry that never spoke, or was not heard: only the next dump
				     tells that it is gone */
		if (work_waits(s, n, i)) {
			f->armed = true;
			return;
		}
		wrong = failover_wrong(s, n, i, &again);
		f->armed |= again;
		if (!wrong)
			continue;
		sim_fail(s, "node %d: promoted, and flow %u %s; %s", n, i, wrong,
			 describe(s, n, i));
		return;
	}
}

/* ---- The end ---- */

__attribute__((format(printf, 2, 3))) static const char *say(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(s->left, sizeof(s->left), fmt, ap);
	va_end(ap);
	return s->left;
}

static const char *mirror_settled(struct sim *s, int n, int m)
{
	struct peek_owner o;
	struct peek_peer p;
	struct peek_rec a, b;
	unsigned int k;

	peek_owner(s->node[m].e, &o);
	for (k = 0; k < ENGINE_PEERS_MAX; k++)
		if (peek_peer(s->node[n].e, k, &p) && p.id == o.id)
			break;
	if (k == ENGINE_PEERS_MAX || p.epoch != o.epoch)
		return say(s, "node %d does not know node %d", n, m);
	if (p.covered != o.head || p.debt || p.flows != o.flows)
		return say(
			s,
			"node %d covers %llu of %llu of node %d, holds %u of %u flows, debt %llu",
			n, (unsigned long long)p.covered, (unsigned long long)o.head, m, p.flows,
			o.flows, (unsigned long long)p.debt);
	for (unsigned int i = 0; i < s->p.keys; i++) {
		bool own = peek_local(s->node[m].e, &s->conn[i].key, &a) && !a.tomb;
		bool held = peek_mirror(s->node[n].e, k, &s->conn[i].key, &b);

		if (own != held ||
		    (own && (a.version != b.version || peek_sum(&a) != peek_sum(&b))))
			return say(s, "node %d: flow %u of node %d differs", n, i, m);
	}
	return NULL;
}

static const char *claims_settled(struct sim *s, int n)
{
	struct engine_stats st;

	world_snapshot(s, n, &st);
	if (st.peer_count != s->p.nodes - 1)
		return say(s, "node %d has %u peers", n, st.peer_count);
	for (unsigned int i = 0; i < st.peer_count; i++)
		if (st.peer[i].state != PEER_UP || !st.peer[i].in_sync)
			return say(s, "node %d: peer %s in state %d, in sync %d", n,
				   st.peer[i].node, st.peer[i].state, st.peer[i].in_sync);
	if (st.commit.running)
		return say(s, "node %d: a commit runs for ever", n);
	if (n != s->carrier && !s->p.refuse && !s->p.spread && !s->p.asym &&
	    s->p.table_max == KEYS_MAX && !st.ready && !st.aside && !clashes(s, n))
		return say(s, "node %d is not ready: %s", n, st.reason);
	return NULL;
}

/* What a node announces must be in its kernel, as it is there; what passes through it must be
 * announced. */
static const char *local_settled(struct sim *s, int n)
{
	for (unsigned int i = 0; i < s->p.keys; i++) {
		const struct kent *t = &s->node[n].k.ent[i];
		struct peek_rec r;
		bool own = peek_local(s->node[n].e, &s->conn[i].key, &r) && !r.tomb;
		struct flow f;

		fk_snapshot(s, n, i, &f);
		if (t->raced)
			continue;
		if (own && !t->present)
			return say(s, "node %d announces flow %u, which its kernel does not have",
				   n, i);
		if (own && !t->mute && peek_sum(&r) != peek_flow_sum(&f))
			return say(
				s,
				"node %d announces flow %u in a state that its kernel has not; %s",
				n, i, describe(s, n, i));
		if (own && !t->mute && !r.mute && scope_excludes(s, n, &f))
			return say(s, "node %d announces flow %u, which its policy excludes", n, i);
		if (expect_is(s, i) && !own && fk_alive(s, n, i) && !t->mute && !t->written_at &&
		    !scope_excludes(s, n, &f) &&
		    peek_local(s->node[n].e, &s->conn[i - 1].key, &r) && !r.tomb)
			return say(s, "node %d: expectation %u of an own flow is not announced; %s",
				   n, i, describe(s, n, i));
		if (!own && fk_alive(s, n, i) && !t->written_at && !(t->mute && s->policy_us) &&
		    !scope_excludes(s, n, &f) && t->packet_at > s->node[n].dumped_at + BLIND_US)
			return say(s,
				   "node %d: flow %u, made by packets here, is not announced; %s",
				   n, i, describe(s, n, i));
	}
	return NULL;
}

static bool is_spent(const struct sim *s, int n, unsigned int i)
{
	struct peek_rec r;

	for (unsigned int k = 0; k < s->p.nodes - 1; k++)
		if (peek_mirror(s->node[n].e, k, &s->conn[i].key, &r) && r.spent)
			return true;
	return false;
}

/* Hot: what others announce is in this kernel too. */
static const char *copies_settled(struct sim *s, int n)
{
	for (unsigned int m = 0; m < s->p.nodes; m++)
		for (unsigned int i = 0; i < s->p.keys; i++) {
			const struct kent *t = &s->node[m].k.ent[i];
			struct peek_rec r;

			if ((int)m == n || !peek_local(s->node[m].e, &s->conn[i].key, &r) ||
			    r.tomb || t->raced || !flow_is_injectable(&t->f) ||
			    s->node[n].k.ent[i].present || scope_excludes(s, n, &t->f))
				continue;
			if (expect_is(s, i) && (!expect_master_lives(s, n, i) || is_spent(s, n, i)))
				continue;
			return say(s, "node %d: flow %u of node %u is not in the kernel", n, i, m);
		}
	return NULL;
}

/* What flipped was found. */
static const char *memory_settled(struct sim *s, int n)
{
	const char *wrong = peek_check(s->node[n].e);

	return wrong ? say(s, "node %d: memory flipped and was not mended: %s", n, wrong) : NULL;
}

const char *own_settled(struct sim *s)
{
	const char *what = NULL;

	for (int n = 0; n < (int)s->p.nodes; n++)
		if (!s->node[n].e)
			return say(s, "node %d does not run", n);
	for (int n = 0; n < (int)s->p.nodes && !what; n++) {
		if (s->node[n].conf.flows_max < s->p.keys)
			return NULL;
		for (int m = 0; m < (int)s->p.nodes && !what; m++)
			if (m != n)
				what = mirror_settled(s, n, m);
		if (!what)
			what = claims_settled(s, n);
		if (!what && s->flipped)
			what = memory_settled(s, n);
		if (!what)
			what = local_settled(s, n);
		if (!what && s->p.hot && !s->p.refuse && s->p.table_max == KEYS_MAX &&
		    !clashes(s, n))
			what = copies_settled(s, n);
	}
	return what;
}
