/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The checks of claims (R38): whose word takes the place of an entry that a node owns, or of whose
 * origin it knows nothing; never that of an entry which packets met since; and after a time of two
 * primaries the one that gets the address back has no old windows.
 */
#include <string.h>

#include "sim.h"

#define BLIND_US (3 * USEC_PER_SEC) /* as owncheck.c has it */
#define DEAD_US USEC_PER_SEC        /* who is not heard for so long is silent */
#define TOLD_US USEC_PER_SEC        /* of being heard as primary: its claims are known then */
#define SETTLED_US (2 * USEC_PER_SEC)
#define SLACK_US (3 * USEC_PER_SEC) /* timers and dates are in whole seconds */

static bool owns(const struct sim *s, int n, unsigned int i)
{
	struct peek_rec r;

	return s->node[n].e && peek_local(s->node[n].e, &s->conn[i].key, &r) && !r.tomb;
}

/* A primary is about to replace entry i, its own, through which a connection's last packet passed,
 * by what a peer said of it: never by another life's translation, nor by an earlier state of it
 * (R38), but by a promote, which settles what was claimed before. */
static void check_life(struct sim *s, int n, unsigned int i, const struct engine_op *op)
{
	const struct kent *t = &s->node[n].k.ent[i];
	const struct conn *c = &s->conn[i];
	struct peek_owner o;

	if (!owns(s, n, i))
		return;
	peek_owner(s->node[n].e, &o);
	if (o.role != ROLE_PRIMARY || engine_commit(s->node[n].e)->running || s->flipped ||
	    s->now < s->node[n].unheard_to || !s->node[n].truth.promoted_at ||
	    t->packet_at < s->node[n].truth.promoted_at || !t->present || t->expire_at <= s->now ||
	    !c->open || t->seq != c->seq || s->now < t->packet_at + BLIND_US || expect_is(s, i))
		return;
	if (memcmp(&op->flow.reply, &t->f.reply, sizeof(t->f.reply)) != 0)
		sim_fail(s, "node %d: replaces flow %u by one with another translation (R38)", n,
			 i);
	if (t->f.key.proto == 6 && t->f.tcp.state == 3 && op->flow.tcp.state != 3)
		sim_fail(s,
			 "node %d: replaces flow %u, which is established, by one in state %u "
			 "(R38)",
			 n, i, op->flow.tcp.state);
}

/* Which node is the k-th peer of node n? -1: none. */
static int node_of(struct sim *s, int n, unsigned int k, struct peek_peer *p)
{
	const struct stream *st;

	if (!peek_peer(s->node[n].e, k, p))
		return -1;
	st = oracle_stream(s, p->epoch);
	return st ? st->node : -1;
}

/* The claim that is about to replace entry i dates from no later than when its node was last
 * heard; no packet may have met the entry since. */
static void check_untouched(struct sim *s, int n, unsigned int i, const struct peek_rec *ours,
			    const struct peek_rec *claim, int from)
{
	const struct kent *t = &s->node[n].k.ent[i];
	usec_t since = claim->since * USEC_PER_SEC, end_at = t->wrote_to;
	usec_t heard_to = s->node[n].took_at[from] + DEAD_US;
	struct flow f;

	if (t->wrote || flow_unpack(ours->body, ours->len, &f) || flow_timer(&f) != FLOW_TIMER_LIVE)
		return;
	if (since > heard_to)
		since = heard_to;
	since += flow_full_timeout(&s->node[n].conf.timeouts, ours->heir ? &t->f : &f) *
		 USEC_PER_SEC;
	if (t->expire_at > (since > end_at ? since : end_at) + SLACK_US)
		sim_fail(s,
			 "node %d: replaces flow %u by what node %d claims, and packets met it "
			 "since (last %llu ms ago) (R38)",
			 n, i, from, (unsigned long long)((s->now - t->packet_at) / USEC_PER_MS));
}

/* Else it may have said BYE. */
static bool runs_on(const struct sim *s, int n, uint64_t epoch)
{
	struct peek_owner o;

	if (!s->node[n].e)
		return false;
	peek_owner(s->node[n].e, &o);
	return o.epoch == epoch;
}

/* Of several claims the one counts for a backup whose node is primary, or was the last to be heard
 * so; to a primary it is a rival's. That one may have been found a moment ago. */
static void check_counts(struct sim *s, int n, unsigned int i, unsigned int by)
{
	struct peek_peer p, q;
	struct peek_owner o;
	struct peek_rec x;
	struct flow f;

	peek_owner(s->node[n].e, &o);
	if (node_of(s, n, by, &p) < 0 || p.led || o.role != ROLE_BACKUP)
		return;
	for (unsigned int k = 0; k < ENGINE_PEERS_MAX; k++) {
		int m = k != by ? node_of(s, n, k, &q) : -1;

		if (m < 0 || !q.led || !q.primary ||
		    s->now > s->node[n].heard_at[m] + DEAD_US / 2 ||
		    !peek_mirror(s->node[n].e, k, &s->conn[i].key, &x) || !x.claims ||
		    !runs_on(s, m, q.epoch) || s->now < (x.since + 1) * USEC_PER_SEC ||
		    flow_unpack(x.body, x.len, &f) || !flow_is_injectable(&f))
			continue;
		sim_fail(s,
			 "node %d: replaces flow %u by the word of a backup, and node %d, which is "
			 "primary, claims it (R38)",
			 n, i, m);
	}
}

void claims_check_replacement(struct sim *s, int n, unsigned int i, const struct engine_op *op)
{
	const struct engine *e = s->node[n].e;
	const struct peek_key *key = &s->conn[i].key;
	struct peek_rec ours, claim;
	struct peek_peer p;
	int from;

	check_life(s, n, i, op);
	if (!e || s->flipped || op->peer >= ENGINE_PEERS_MAX || expect_is(s, i) ||
	    !fk_alive(s, n, i) || !peek_mirror(e, op->peer, key, &claim) || claim.in_kernel)
		return;
	if ((!peek_local(e, key, &ours) || ours.tomb) &&
	    (!peek_stray(e, key, &ours) || ours.tomb || !ours.in_kernel))
		return;
	from = node_of(s, n, op->peer, &p);
	if (from < 0)
		return;
	check_untouched(s, n, i, &ours, &claim, from);
	check_counts(s, n, i, op->peer);
}

/* ---- Two primaries ---- */

/* Has a mute entry come to a state with a longer timer than the one that the node knows of? It
 * looks as if packets had met it since, until the next dump. */
static bool is_beyond(const struct sim *s, int n, unsigned int i)
{
	const struct flow_timeouts *t = &s->node[n].conf.timeouts;
	struct peek_rec r;
	struct flow f;

	return s->node[n].k.ent[i].mute && peek_local(s->node[n].e, &s->conn[i].key, &r) &&
	       !flow_unpack(r.body, r.len, &f) &&
	       flow_full_timeout(t, &f) < flow_full_timeout(t, &s->node[n].k.ent[i].f);
}

/* Has node `to`, which owns flow i and is primary, been told by `from`, since that one became
 * primary, that its packets may pass there? And did they? */
static bool is_rivalled(struct sim *s, int from, int to, unsigned int i, const struct peek_peer *p)
{
	uint64_t told = oracle_stream(s, p->epoch)->cur[i];
	const struct kent *t = &s->node[to].k.ent[i];
	const struct conn *c = &s->conn[i];
	struct peek_rec r;
	struct flow f;

	if (!owns(s, to, i) || !fk_alive(s, to, i) || c->flow.key.proto != 6 || !c->open ||
	    c->doubled || c->carrier >= 0 || expect_is(s, i) || s->node[to].poison[i] || !t->seq ||
	    t->seq == c->seq || t->packet_at > s->node[from].truth.promoted_at ||
	    is_beyond(s, to, i))
		return false;
	return told > s->node[from].truth.promoted_head && oracle_covered(p, told) &&
	       peek_mirror(s->node[to].e, p->index, &c->key, &r) && r.version == told &&
	       !flow_unpack(r.body, r.len, &f) && flow_is_injectable(&f);
}

/* Is a third node primary too? Of several claims the one counts whose word does (R36). */
static bool is_third(const struct sim *s, int from, int to)
{
	for (int n = 0; n < (int)s->p.nodes; n++)
		if (n != from && n != to && s->node[n].role == ROLE_PRIMARY)
			return true;
	return false;
}

/* The address leaves `from` for `to`, and both are primaries. */
void claims_arm(struct sim *s, int from, int to)
{
	const struct node *a = &s->node[from], *b = &s->node[to];
	struct rivals_check *c = &s->node[to].rivals;
	usec_t since = a->truth.promoted_at;
	struct peek_peer p;

	*c = (struct rivals_check){ .armed_at = s->now };
	if (s->flipped || s->policy_us || s->p.active_active || !a->e || !b->e ||
	    a->role != ROLE_PRIMARY || b->role != ROLE_PRIMARY || is_third(s, from, to) || !since ||
	    b->led_since >= since || a->led_since > since + TOLD_US || /* a backup between */
	    b->came_at[from] < since + TOLD_US)
		return;
	for (unsigned int k = 0; k < ENGINE_PEERS_MAX; k++) {
		if (node_of(s, to, k, &p) != from || !p.primary)
			continue;
		for (unsigned int i = 0; i < s->p.keys; i++)
			c->told[i] = is_rivalled(s, from, to, i, &p);
	}
}

void claims_promote(struct sim *s, int n)
{
	s->node[n].rivals.due = s->now + SETTLED_US;
}

void claims_check(struct sim *s, int n)
{
	struct node *node = &s->node[n];
	struct rivals_check *c = &node->rivals;

	if (!c->due)
		return;
	if (c->due < node->stalled_to + SETTLED_US)
		c->due = node->stalled_to + SETTLED_US;
	if (node->role != ROLE_PRIMARY || s->carrier != n ||
	    node->up_at > c->armed_at) /* another run, to which the other may be primary no more */
		c->due = 0;
	if (!c->due || s->now < c->due || engine_commit(node->e)->running)
		return;
	c->due = 0;
	for (unsigned int i = 0; i < s->p.keys; i++) {
		const struct kent *t = &node->k.ent[i];

		if (!c->told[i] || node->failover.forced[i]) /* released, perhaps (R38) */
			continue;
		s->count.rivals++;
		if (owns(s, n, i) && fk_alive(s, n, i) && !t->raced && s->conn[i].open && t->seq &&
		    t->seq != s->conn[i].seq && s->now >= node->unheard_to)
			sim_fail(s,
				 "node %d: stays primary, and flow %u, whose packets passed "
				 "elsewhere, has an old window (R38)",
				 n, i);
	}
}
