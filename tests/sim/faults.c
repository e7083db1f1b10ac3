/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What goes wrong, and who moves the address. A cluster manager is played here too: it moves the
 * address, promotes the node that gets it and demotes the others, and tells a daemon that comes
 * back what it is (unless the seed is a chaotic one, in which the roles need not match the
 * address).
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"
#include "taped.h"

enum { FAIL_PLANNED, FAIL_KILL, FAIL_REBOOT, FAIL_CUT, FAIL_PAUSE };

static void block(struct sim *s, int a, int b, int link, bool on)
{
	for (unsigned int l = 0; l < s->p.links; l++)
		if (link < 0 || (int)l == link)
			s->blocked[a][b][l] = on;
}

static int other_node(struct sim *s, int n)
{
	return (int)((unsigned int)n + 1 + rng_below(&s->rng, s->p.nodes - 1)) % (int)s->p.nodes;
}

static void heal_later(struct sim *s, usec_t most)
{
	world_act(s, ACT_HEAL, 0, 0, s->now + rng_range(&s->rng, 50 * USEC_PER_MS, most));
}

static bool runs(const struct sim *s, int n)
{
	return s->node[n].e && !s->node[n].paused;
}

static void verb(struct sim *s, int n, enum engine_cmd cmd, const char *name)
{
	if (!runs(s, n))
		return;
	sim_trace(s, "node %d: %s", n, name);
	engine_cmd(s->node[n].e, cmd, s->now);
	oracle_owner(s, n);
	world_kick(s, n);
}

static void power_off(struct sim *s, int n)
{
	struct node *node = &s->node[n];

	s->count.reboots++;
	sim_trace(s, "node %d: power off", n);
	world_stop(s, n, false);
	fk_reset(&node->k, &s->rng);
	node->off = true;
	node->paused = false;
	node->booted_before = false;
	node->role = ROLE_BACKUP;
	node->conf.kernel_id = rng_next(&s->rng) | 1;
}

static void restart(struct sim *s, int n, usec_t down)
{
	bool clean = rng_chance(&s->rng, 4000);

	s->count.restarts++;
	s->count.restarts_killed += !clean;
	world_stop(s, n, clean);
	world_act(s, ACT_START, n, 0, s->now + rng_below(&s->rng, down));
}

void faults_restart(struct sim *s, int n, usec_t down)
{
	if (runs(s, n))
		restart(s, n, down);
}

void faults_cut(struct sim *s, int n, usec_t most)
{
	int other = other_node(s, n);

	s->count.partitions++;
	block(s, n, other, -1, true);
	block(s, other, n, -1, true);
	sim_trace(s, "partition between nodes %d and %d", n, other);
	heal_later(s, most);
}

/* Does node n know node m, so that it keeps tombstones for it (R5)? */
static bool knows(const struct sim *s, int n, int m)
{
	struct peek_owner o;
	struct peek_peer p;

	peek_owner(s->node[m].e, &o);
	for (unsigned int k = 0; k < ENGINE_PEERS_MAX; k++)
		if (peek_peer(s->node[n].e, k, &p) && p.epoch == o.epoch)
			return true;
	return false;
}

/* The kernel ends the translated flows of an address that leaves, each with an event. */
static void forced(struct sim *s, int n, int to)
{
	struct failover_check *f = &s->node[to].failover;
	struct engine_stats st = { 0 };

	if (s->node[n].e)
		world_snapshot(s, n, &st);
	/* With few tombstones they may leave by a LIST, which says no more than "dead" (R19); nor
	 * does a sweep. So they may if the owner does not know `to`, whose epoch is new: it drops
	 * the tombstone when the peers that it knows have it, and nothing else tells FORCED from
	 * DEAD. And whoever lost events himself may believe that it is his own. */
	f->unheard |= s->node[n].conf.tombstones_max < s->p.keys || st.count.overruns ||
		      (s->node[n].e && !knows(s, n, to)) || s->now < s->node[to].unheard_to;
	f->swept |= st.mute || st.unclaimed;
	for (unsigned int i = 0; i < s->p.keys; i++) {
		struct kent *t = &s->node[n].k.ent[i];

		if (!t->present || !(t->f.status & 0x10))
			continue;
		s->count.forced++;
		f->forced[i] = true;
		f->forced[i + 1] |= i + 1 < s->p.keys && expect_is(s, i + 1);
		s->node[n].failover.expire_at[i] = 0; /* should it be under way to n still */
		sim_trace(s, "node %d: entry %u leaves with the address", n, i);
		fk_destroy(s, n, i, 0);
	}
}

static void fail_over(struct sim *s, int how)
{
	int from = s->carrier, to;
	usec_t promote_at;

	if (from < 0)
		return;
	to = other_node(s, from);
	if (!s->node[to].e || s->node[to].off)
		return;
	sim_trace(s, "address moves from node %d to node %d (%d)", from, to, how);
	own_arm_failover(s, from, to);
	claims_arm(s, from, to);
	s->carrier = -1;
	s->carrier_next = to;
	if (how == FAIL_PLANNED) {
		s->count.planned_failovers++;
		if (rng_chance(&s->rng, 5000))
			forced(s, from, to);
		if (rng_chance(&s->rng, 5000))
			verb(s, from, CMD_DEMOTE, "demote");
	} else {
		s->count.crash_failovers++;
	}
	if (how == FAIL_REBOOT) {
		power_off(s, from);
		world_act(s, ACT_START, from, 0,
			  s->now + rng_range(&s->rng, 500, 8000) * USEC_PER_MS);
	} else if (how == FAIL_KILL) {
		restart(s, from, 5 * USEC_PER_SEC);
	} else if (how == FAIL_CUT) {
		block(s, from, to, -1, true);
		block(s, to, from, -1, true);
		heal_later(s, 8 * USEC_PER_SEC);
	}
	promote_at = s->now + rng_below(&s->rng, 1500 * USEC_PER_MS);
	world_act(s, ACT_PROMOTE, to, 0, promote_at);
	rough_promote(s, to, promote_at);
}

void faults_move(struct sim *s)
{
	fail_over(s, FAIL_PLANNED);
}

static void partition(struct sim *s)
{
	int a = (int)rng_below(&s->rng, s->p.nodes), b = other_node(s, a);

	switch (s->p.storm ? 1 : rng_below(&s->rng, 3)) {
	case 0:
		s->count.partitions++;
		block(s, a, b, -1, true);
		block(s, b, a, -1, true);
		break;
	case 1:
		s->count.partitions_one_way++;
		block(s, a, b, -1, true);
		break;
	default:
		if (s->p.links < 2)
			return;
		s->count.link_downs++;
		block(s, a, b, (int)rng_below(&s->rng, 2), true);
	}
	sim_trace(s, "partition between nodes %d and %d", a, b);
	heal_later(s, rng_chance(&s->rng, 3000) ? 15 * USEC_PER_SEC : 3 * USEC_PER_SEC);
}

static void meddle(struct sim *s, int n)
{
	unsigned int i = (unsigned int)rng_below(&s->rng, s->p.keys);
	struct kent *t = &s->node[n].k.ent[i];
	struct flow msg;

	if (s->node[n].paused || !fk_alive(s, n, i))
		return;
	if (rng_chance(&s->rng, 5000)) {
		s->count.foreign_deletes++;
		for (unsigned int m = 0; m < s->p.nodes; m++)
			s->node[m].failover.expire_at[i] = 0;
		sim_trace(s, "node %d: another program deletes entry %u", n, i);
		fk_destroy(s, n, i, FOREIGN_PORT);
		return;
	}
	if (expect_is(s, i))
		return;
	s->count.foreign_updates++;
	for (unsigned int m = 0; s->policy_us && m < s->p.nodes; m++)
		s->node[m].failover.expire_at[i] = 0;
	t->f.mark ^= 1;
	s->node[n].k.meddled[i] = true;
	if (traffic_carrier(s, i) == n)
		s->conn[i].flow.mark = t->f.mark;
	sim_trace(s, "node %d: another program marks entry %u", n, i);
	if (t->mute)
		return;
	fk_snapshot(s, n, i, &msg);
	fk_event(s, n, KERN_UPDATE, &msg, msg.has, FOREIGN_PORT);
}

/* One node, one step: the new key as the second one, then as the first, then alone. No node goes
 * on before all have done the step before. Then the next exchange begins. */
static void rekey_step(struct sim *s)
{
	unsigned int phase = s->rekey_step / s->p.nodes, n = s->rekey_step % s->p.nodes;
	struct engine_conf *c = &s->node[n].conf;

	memset(c->key, 0, sizeof(c->key));
	memcpy(c->key[phase == 0], s->psk[1], sizeof(s->psk[1]));
	if (phase < 2)
		memcpy(c->key[phase == 1], s->psk[0], sizeof(s->psk[0]));
	c->key_count = phase < 2 ? 2 : 1;
	if (s->node[n].e)
		engine_reconf(s->node[n].e, c, s->now);
	sim_trace(s, "node %u: keys, step %u", n, phase + 1);
	if (++s->rekey_step < 3 * s->p.nodes)
		return;
	s->count.rekeys++;
	s->rekey_step = 0;
	memcpy(s->psk[0], s->psk[1], sizeof(s->psk[0]));
	for (unsigned int k = 0; k < 32; k++)
		s->psk[1][k] = (uint8_t)rng_next(&s->rng);
}

static void rekey(struct sim *s)
{
	if (!s->p.sealed)
		return;
	for (uint64_t steps = rng_below(&s->rng, 3 * s->p.nodes) + 1; steps; steps--)
		rekey_step(s);
}

void faults_resync(struct sim *s, int n)
{
	if (!runs(s, n))
		return;
	expect_forget(s);
	s->count.resyncs++;
	oracle_resync(s, n);
	verb(s, n, CMD_RESYNC, "resync");
}

/* The nonces of an epoch come to their end, at once or in the midst of what comes. */
static void wear(struct sim *s, int n)
{
	uint64_t left = rng_below(&s->rng, rng_below(&s->rng, 2) ? 3 : 300);
	struct peek_owner o;

	s->count.worn++;
	peek_owner(s->node[n].e, &o);
	s->node[n].conf.dgrams_max = o.counter + left + (o.counter < 1000 ? 1000 : 0);
	engine_reconf(s->node[n].e, &s->node[n].conf, s->now);
	world_kick(s, n);
}

static void operate(struct sim *s, int n)
{
	if (!s->node[n].e)
		return;
	expect_forget(s);
	switch (rng_below(&s->rng, 14)) {
	case 0:
		s->count.flushes++;
		for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
			s->view[n][i].lenient = true;
		oracle_resync(s, n);
		s->node[n].failover.armed = false; /* what it had covered goes */
		verb(s, n, CMD_FLUSH_REMOTE, "flush remote");
		break;
	case 1:
	case 2:
		s->count.commits++;
		verb(s, n, CMD_COMMIT, "commit");
		break;
	case 3:
		s->count.reconfs++;
		engine_reconf(s->node[n].e, &s->node[n].conf, s->now);
		break;
	case 4:
	case 5:
		rekey(s);
		break;
	case 6:
		wear(s, n);
		break;
	case 7:
		s->count.verifies++;
		verb(s, n, CMD_VERIFY, "verify");
		break;
	case 8:
	case 9:
		s->count.audits++;
		verb(s, n, CMD_AUDIT, "audit");
		break;
	default:
		faults_resync(s, n);
	}
}

static void lose_events(struct sim *s, int n)
{
	struct fakekern *k = &s->node[n].k;

	if (!k->listening || k->overrun)
		return;
	own_unheard(s, n);
	s->count.event_losses++;
	for (uint64_t lost = rng_below(&s->rng, k->ev_count + 1); lost; lost--) {
		int i = world_key(s, &k->ev[(k->ev_at + --k->ev_count) % EVENTS_MAX].f.key);

		if (i >= 0)
			k->unheard[i] = true;
	}
	k->overrun = true;
	world_kick(s, n);
}

static void stall(struct sim *s, int n)
{
	s->count.stalls++;
	s->node[n].stalled_to = s->now + rng_range(&s->rng, 20 * USEC_PER_MS, 6 * USEC_PER_SEC);
	sim_trace(s, "node %d: stalls for %llu ms", n,
		  (unsigned long long)((s->node[n].stalled_to - s->now) / USEC_PER_MS));
}

/* Mostly a moment; now and then for longer than flows live. */
static usec_t down_time(struct sim *s)
{
	static const usec_t down_s[8] = { 1, 1, 1, 1, 1, 10, 10, 90 };

	return down_s[rng_below(&s->rng, 8)] * USEC_PER_SEC;
}

void faults_step(struct sim *s)
{
	int n = (int)rng_below(&s->rng, s->p.nodes);

	switch (s->p.storm ? 0 : rng_below(&s->rng, 14)) {
	case 0:
	case 1:
		partition(s);
		break;
	case 2:
		if (!s->node[n].paused)
			stall(s, n);
		break;
	case 3:
	case 4:
		if (runs(s, n))
			restart(s, n, down_time(s));
		break;
	case 5:
		if (n == s->carrier) {
			fail_over(s, FAIL_REBOOT);
		} else if (s->node[n].e && n != s->carrier_next) {
			power_off(s, n);
			world_act(s, ACT_START, n, 0,
				  s->now + rng_below(&s->rng, 5 * USEC_PER_SEC));
		}
		break;
	case 6:
	case 7:
		fail_over(s, FAIL_PLANNED);
		break;
	case 8:
		fail_over(s, rng_chance(&s->rng, 5000) ? FAIL_KILL : FAIL_CUT);
		break;
	case 9:
		lose_events(s, n);
		break;
	case 10:
	case 11:
		if (runs(s, n))
			operate(s, n);
		break;
	case 12:
		if (s->p.chaos)
			verb(s, n, rng_chance(&s->rng, 5000) ? CMD_PROMOTE : CMD_DEMOTE,
			     "chaotic verb");
		break;
	default:
		meddle(s, n);
	}
}

/* The manager tells everybody what the address says. */
static void tell_roles(struct sim *s)
{
	int to = s->carrier;

	for (int n = 0; n < (int)s->p.nodes && to >= 0; n++) {
		struct peek_owner o;

		if (!s->node[n].e)
			continue;
		peek_owner(s->node[n].e, &o);
		if (n == to && o.role != ROLE_PRIMARY)
			verb(s, n, CMD_PROMOTE, "promote");
		else if (n != to && o.role != ROLE_BACKUP)
			verb(s, n, CMD_DEMOTE, "demote");
	}
}

/* A manager that makes sure: each time the patrol goes round at full speed. */
static void repeat(struct sim *s, int n)
{
	if (s->calm || !s->repeats || n != s->carrier)
		return;
	s->count.repeats++;
	verb(s, n, CMD_PROMOTE, "promote again");
	world_act(s, ACT_REPEAT, n, 0,
		  s->now + rng_range(&s->repeat_rng, 1000, 3000) * USEC_PER_MS);
}

static void promote(struct sim *s, int n)
{
	if (n != s->carrier_next)
		return;
	s->carrier = n;
	if (s->node[n].e && s->node[n].failover.armed)
		own_promote(s, n);
	verb(s, n, CMD_PROMOTE, "promote");
	truth_promote(s, n);
	claims_promote(s, n);
	if (s->repeats)
		world_act(s, ACT_REPEAT, n, 0, s->now + USEC_PER_SEC);
	if (s->node[n].e)
		s->node[n].failover.serial = engine_commit(s->node[n].e)->serial;
	if (!s->p.chaos || rng_chance(&s->rng, 5000))
		tell_roles(s);
}

void faults_pause_draw(struct sim *s)
{
	struct rng *r = &s->pause_rng;

	r->s = s->seed * 0xe7037ed1a0b428dbULL + 9;
	if (s->seed <= SEEDS_KEPT || s->seed % 15 != 3) /* none of those in seeds.txt */
		return;
	s->pause_us = rng_range(r, 4, 15) * USEC_PER_SEC;
	world_act(s, ACT_PAUSE, 0, 0, s->now + 6 * USEC_PER_SEC);
}

/* The machine of a node stands still, as a virtual one may: its kernel forwards, expires and
 * receives nothing. The clock has gone on when it does; nobody has told it what happened. */
static void stand_still(struct sim *s)
{
	struct rng *r = &s->pause_rng;
	int n = (int)rng_below(r, s->p.nodes);
	usec_t len = rng_range(r, 6000, rng_chance(r, 7000) ? 20000 : 120000) * USEC_PER_MS;

	world_act(s, ACT_PAUSE, 0, 0, s->now + rng_below(r, 2 * s->pause_us));
	if (!s->node[n].e || s->node[n].off || (s->carrier < 0 && n == s->carrier_next))
		return;
	if (n == s->carrier)
		fail_over(s, FAIL_PAUSE);
	if (n == s->carrier) /* there is nobody to take over */
		return;
	s->count.pauses++;
	s->node[n].off = s->node[n].paused = true;
	s->node[n].stalled_to = s->now + len;
	sim_trace(s, "node %d: stands still for %llu ms", n,
		  (unsigned long long)(len / USEC_PER_MS));
	world_act(s, ACT_RESUME, n, 0, s->now + len);
}

static void resume(struct sim *s, int n)
{
	if (!s->node[n].paused || s->now < s->node[n].stalled_to)
		return;
	sim_trace(s, "node %d: goes on", n);
	s->node[n].off = s->node[n].paused = false;
	world_kick(s, n);
	if (!s->p.chaos)
		tell_roles(s);
}

void faults_act(struct sim *s, const struct act *a)
{
	switch (a->type) {
	case ACT_PAUSE:
		if (!s->calm)
			stand_still(s);
		break;
	case ACT_RESUME:
		resume(s, a->node);
		break;
	case ACT_START:
		if (s->node[a->node].paused)
			break;
		s->node[a->node].off = false;
		if (s->node[a->node].e)
			break;
		world_start(s, a->node);
		if (!s->p.chaos)
			tell_roles(s);
		break;
	case ACT_HEAL:
		memset(s->blocked, 0, sizeof(s->blocked));
		sim_trace(s, "partitions heal");
		break;
	case ACT_FALSE_START:
		if (!s->calm)
			faults_restart(s, a->node, 50 * USEC_PER_MS);
		break;
	case ACT_COMMIT:
		if (a->node == s->carrier_next && s->carrier < 0)
			verb(s, a->node, CMD_COMMIT, "commit");
		break;
	case ACT_PROMOTE:
		promote(s, a->node);
		break;
	case ACT_REPEAT:
		repeat(s, a->node);
		break;
	default:
		break;
	}
}

void faults_heal(struct sim *s)
{
	sim_trace(s, "calm");
	memset(s->blocked, 0, sizeof(s->blocked));
	if (s->carrier < 0)
		promote(s, s->carrier_next);
	for (int n = 0; n < (int)s->p.nodes; n++) {
		s->node[n].off = s->node[n].paused = false;
		s->node[n].stalled_to = 0;
		if (!s->node[n].e)
			world_start(s, n);
		world_kick(s, n);
	}
	tell_roles(s);
}

/* What was promised of flow i, by or to node n, holds no longer. */
static void forget_flow(struct sim *s, int n, unsigned int i)
{
	for (unsigned int m = 0; m < s->p.nodes; m++)
		if ((int)m == n || s->node[m].failover.from == n)
			s->node[m].failover.expire_at[i] = 0;
}

/* A flow that kills a daemon: it starts again with that flow quarantined. Or another build of it
 * starts, which knows of none. */
void faults_poison(struct sim *s)
{
	int n = (int)rng_below(&s->poison_rng, s->p.nodes);
	unsigned int i = (unsigned int)rng_below(&s->poison_rng, s->p.keys);
	struct node *node = &s->node[n];

	if (!runs(s, n))
		return;
	world_stop(s, n, false);
	if (rng_chance(&s->poison_rng, 2500)) {
		memset(node->poison, 0, sizeof(node->poison));
		sim_trace(s, "node %d: another build", n);
	} else {
		node->poison[i] = true;
		s->count.poisoned++;
		sim_trace(s, "node %d: dies of flow %u", n, i);
	}
	forget_flow(s, n, i);
	world_act(s, ACT_START, n, 0, s->now + rng_below(&s->poison_rng, USEC_PER_SEC));
}

/* Memory flips. */
void faults_flip(struct sim *s)
{
	int n = (int)rng_below(&s->flip_rng, s->p.nodes);
	unsigned int table = (unsigned int)rng_below(&s->flip_rng, s->p.nodes);
	uint64_t chance = rng_next(&s->flip_rng);

	if (!s->node[n].e)
		return;
	taped_stop(s, n); /* a flip is no input: the tape ends before it */
	if (!peek_flip(s->node[n].e, table, chance))
		return;
	s->count.bit_flips++;
	s->flipped = true;
	sim_trace(s, "node %d: a bit flips in table %u", n, table);
}

/* Somebody on the link who holds no key: forges, damages, replays, reflects. */
void faults_attack(struct sim *s)
{
	struct packet p;
	uint8_t buf[WIRE_DGRAM_MAX];
	size_t len;

	if (!s->record_count)
		return;
	p = s->record[rng_below(&s->rng, s->record_count)];
	len = p.len;
	memcpy(buf, p.data, len);
	switch (rng_below(&s->rng, 4)) {
	case 0:
		p.kind = PKT_BAD;
		len = rng_below(&s->rng, len);
		s->count.truncated++;
		break;
	case 1:
		p.kind = PKT_BAD;
		for (size_t i = rng_chance(&s->rng, 5000) ? 0 : 28; i < len; i++)
			buf[i] = (uint8_t)rng_next(&s->rng);
		s->count.garbage++;
		break;
	case 2:
		p.kind = PKT_REPLAY;
		s->count.replayed++;
		break;
	default:
		p.kind = PKT_BAD;
		p.dst = p.src;
		s->count.reflected++;
	}
	net_push(s, &p, buf, len, s->now);
}
