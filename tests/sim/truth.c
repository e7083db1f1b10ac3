/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a node says and does of flows, held against the truth: the fake kernels know who wrote an
 * entry and what packets met it, and the logs of the streams (oracle.c) what was said of a flow.
 * How an own flow ended (R38); what a peer's word or silence allows (R41, R42, R45); whether an
 * entry is taken for untouched that packets met (R35).
 */
#include <string.h>

#include "sim.h"

#define LATE_US (60 * USEC_PER_SEC)   /* the kernel's word on an expiry may be so late (R38) */
#define NOTICED_S 2                   /* a timer that packets moved by less need not show (R35) */
#define SHORT_US (119 * USEC_PER_SEC) /* a timer that ends so soon is lifted ... */
#define LIFT_US (15 * USEC_PER_SEC)   /* ... in so long (R37) */
#define ORPHAN_US (2 * USEC_PER_SEC)  /* waits are counted in whole seconds */

void truth_start(struct sim *s, int n)
{
	s->node[n].truth = (struct truth){ 0 };
}

/* Does what node n knows of entry i fall short of its kernel for a reason: it has not read, or was
 * not told, what became of it, or has no room for it? */
static bool is_behind(const struct sim *s, int n, unsigned int i)
{
	const struct node *node = &s->node[n];
	const struct kent *t = &node->k.ent[i];

	return s->flipped || node->conf.flows_max < s->p.keys || s->now < node->unheard_to ||
	       node->k.overrun || t->raced || t->overtook || t->withheld || t->mute ||
	       node->poison[i] || expect_is(s, i) || fk_overtakes(s, n, i);
}

/* Is flow i node n's own, and the entry that lives in its kernel the one that it knows? */
static bool is_known(const struct sim *s, int n, unsigned int i)
{
	struct peek_rec r;

	return peek_local(s->node[n].e, &s->conn[i].key, &r) && !r.tomb && fk_alive(s, n, i) &&
	       r.id == s->node[n].k.ent[i].f.id;
}

/* An end may be read long after a dump or an answer showed the entry that came then. */
void truth_feed(struct sim *s, int n, const struct kev *ev)
{
	int i = world_key(s, &ev->f.key);
	bool known = ev->event == KERN_DESTROY && i >= 0 && !s->flipped &&
		     is_known(s, n, (unsigned int)i);

	expect_feed(s, n, ev);
	s->count.late_words += known;
	if (known && !is_known(s, n, (unsigned int)i))
		sim_fail(s, "node %d: the end of an earlier entry ends flow %d, which lives (R38)",
			 n, i);
}

/* ---- Words ---- */

void truth_told(struct sim *s, int n, unsigned int i, uint8_t how)
{
	const struct node *node = &s->node[n];
	struct kent *t = &s->node[n].k.ent[i];

	/* Not since the promote: a policy let go of it, and so of what we wrote. */
	if (s->policy_us)
		s->node[n].truth.ours[i] = false;
	t->let_go |= scope_excludes(s, n, &t->f);
	if (how == WIRE_REC_RELEASE || is_behind(s, n, i) || s->policy_us ||
	    scope_excludes(s, n, &t->f)) /* R63 */
		return;
	if (t->written_at == s->now &&
	    node->k.missed_at[i] == s->now) /* made since, by that batch */
		return;
	if (fk_alive(s, n, i))
		sim_fail(s, "node %d says that flow %u ended, which lives in its kernel (R38)", n,
			 i);
	else if (how == WIRE_REC_DEAD && !t->present && !t->ended_by && !t->packet_at &&
		 !s->p.active_active && /* a join tells of packets elsewhere */
		 t->written_at > node->up_at && s->now < t->expire_at + LATE_US)
		sim_fail(s,
			 "node %d says that flow %u died, which it wrote and no packet met (R38)",
			 n, i);
}

void truth_word(struct sim *s, int n, unsigned int i, bool young)
{
	struct truth *t = &s->node[n].truth;

	t->doomed[i] = young; /* the entry of the life before may go */
	t->orphan_to[i] = 0;
}

void truth_left(struct sim *s, int n, unsigned int i, bool dead)
{
	const struct node *node = &s->node[n];
	struct truth *t = &s->node[n].truth;
	struct peek_owner o;

	t->doomed[i] |= dead;
	if (dead)
		t->orphan_to[i] = 0;
	peek_owner(node->e, &o);
	if (!dead && !s->p.hot && o.role == ROLE_BACKUP && !is_behind(s, n, i) && !s->policy_us &&
	    (!node->k.ent[i].present || fk_alive(s, n, i))) /* else it has expired here */
		t->orphan_to[i] = s->now + node->conf.orphan_s * USEC_PER_SEC;
}

void truth_silent(struct sim *s, int n, int m, unsigned int i, uint32_t full_s)
{
	usec_t silent_us = s->now - s->node[n].heard_at[m];

	if (!s->flipped && silent_us <= full_s * USEC_PER_SEC)
		sim_fail(s,
			 "node %d: drops flow %u of node %d, silent for %llu s, which might live "
			 "for %u s (R45)",
			 n, i, m, (unsigned long long)(silent_us / USEC_PER_SEC), full_s);
}

/* ---- Strays ---- */

/* Is flow i kept by node n in some table? *waits: as an orphan, that nobody has claimed. */
static bool is_kept(const struct sim *s, int n, unsigned int i, bool *waits)
{
	const struct engine *e = s->node[n].e;
	const struct peek_key *key = &s->conn[i].key;
	struct peek_rec r;

	*waits = false;
	if (peek_local(e, key, &r) && !r.tomb)
		return true;
	for (unsigned int k = 0; k < s->p.nodes - 1; k++)
		if (peek_mirror(e, k, key, &r))
			return true;
	if (!peek_stray(e, key, &r) || r.tomb)
		return false;
	*waits = !r.in_kernel;
	return true;
}

void truth_orphans(struct sim *s, int n)
{
	struct truth *t = &s->node[n].truth;
	struct peek_owner o;

	peek_owner(s->node[n].e, &o);
	for (unsigned int i = 0; i < s->p.keys; i++) {
		bool kept, waits;

		if (!t->orphan_to[i])
			continue;
		kept = is_kept(s, n, i, &waits);
		if (!kept && o.role == ROLE_BACKUP && s->now + ORPHAN_US < t->orphan_to[i])
			sim_fail(s,
				 "node %d: flow %u, which nobody said was dead, is forgotten (R42)",
				 n, i);
		if (!kept || !waits || o.role != ROLE_BACKUP)
			t->orphan_to[i] = 0;
	}
}

/* ---- Entries ---- */

/* Entry i is read. What the node wrote of a copy it has forgotten when its policy let go of it. */
void truth_read(struct sim *s, int n, unsigned int i)
{
	struct peek_rec r;

	for (unsigned int k = 0; s->policy_us && k < s->p.nodes - 1; k++)
		s->node[n].k.ent[i].let_go |= peek_mirror(s->node[n].e, k, &s->conn[i].key, &r) &&
					      r.let_go;
}

/* The timer of a copy is about to be set anew, as of one that no packet met. */
void truth_refresh(struct sim *s, int n, unsigned int i)
{
	const struct kent *t = &s->node[n].k.ent[i];

	/* Else it cannot know. */
	bool known = t->written_at && t->written_at >= s->node[n].up_at && !t->let_go;

	if (!s->flipped && known && t->expire_at > t->wrote_to + NOTICED_S * USEC_PER_SEC)
		sim_fail(s, "node %d: refreshes entry %u, through which packets pass (R35)", n, i);
}

/* Does a mirror hold a life of it that is too young to be carried on? */
static bool is_young(const struct sim *s, int n, unsigned int i)
{
	struct peek_rec r;
	struct flow f;

	for (unsigned int k = 0; k < s->p.nodes - 1; k++)
		if (peek_mirror(s->node[n].e, k, &s->conn[i].key, &r) &&
		    !flow_unpack(r.body, r.len, &f) && !flow_is_injectable(&f))
			return true;
	return false;
}

void truth_delete(struct sim *s, int n, unsigned int i)
{
	struct node *node = &s->node[n];

	if (!node->truth.doomed[i] && !is_behind(s, n, i) && !is_young(s, n, i))
		sim_fail(s, "node %d: deletes entry %u, and nobody said that it was dead (R41)", n,
			 i);
	node->truth.doomed[i] = false;
}

void truth_promote(struct sim *s, int n)
{
	struct truth *t = &s->node[n].truth;
	struct peek_owner o = { 0 };

	if (s->node[n].e)
		peek_owner(s->node[n].e, &o);
	t->promoted_at = s->now;
	t->promoted_head = o.head;
	t->lifted = t->over = false;
}

static bool is_lifted(const struct sim *s, int n, unsigned int i)
{
	const struct kent *t = &s->node[n].k.ent[i];
	struct peek_rec r;
	usec_t full_us;

	if (!s->node[n].truth.ours[i] || !fk_alive(s, n, i) || !t->wrote || t->joined ||
	    t->written_at >= s->node[n].truth.promoted_at ||
	    t->written_at < s->node[n].up_at || /* by an earlier run: tests/unit/test_hold.c */
	    t->wrote_to > s->node[n].truth.promoted_at + SHORT_US ||
	    flow_timer(&t->f) != FLOW_TIMER_LIVE || is_behind(s, n, i) ||
	    !peek_local(s->node[n].e, &s->conn[i].key, &r) || r.tomb || r.mute)
		return true;
	full_us = flow_full_timeout(&s->node[n].conf.timeouts, &t->f) * USEC_PER_SEC;
	return t->wrote_to + NOTICED_S * USEC_PER_SEC >= t->written_at + full_us;
}

/* A while after a promote: no entry that it made ours, and no packet met, has a short timer. */
void truth_lifted(struct sim *s, int n)
{
	struct node *node = &s->node[n];
	struct truth *t = &node->truth;
	usec_t since = t->promoted_at > node->stalled_to ? t->promoted_at : node->stalled_to;
	struct peek_owner o;
	struct peek_rec r;

	if (!t->promoted_at || t->lifted)
		return;
	peek_owner(node->e, &o);
	if (o.role != ROLE_PRIMARY)
		t->lifted = true;
	if (o.role != ROLE_PRIMARY || engine_commit(node->e)->running)
		return;
	for (unsigned int i = 0; i < s->p.keys && !t->over; i++)
		t->ours[i] = peek_local(node->e, &s->conn[i].key, &r) && !r.tomb;
	t->over = true;
	if (s->now < since + LIFT_US + o.flows * USEC_PER_SEC / node->conf.walk_rate)
		return;
	for (unsigned int i = 0; i < s->p.keys; i++)
		if (!is_lifted(s, n, i))
			sim_fail(s,
				 "node %d: flow %u is ours since a promote, with the timer of a "
				 "copy (R37)",
				 n, i);
	t->lifted = true;
}
