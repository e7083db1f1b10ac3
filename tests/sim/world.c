/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The world: nodes, time, and the loop. One step takes what is due first (a datagram's arrival, a
 * daemon's wake-up or deadline, an action of traffic or faults), lets the one node that it concerns
 * work as its daemon would, and has the oracle look. Nothing depends on anything but the seed;
 * `hash` folds in every output, so two runs can be compared.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"
#include "taped.h"

#define SPIN_MAX 2000   /* wake-ups of one daemon at one instant */
#define SENDS_MAX 20000 /* datagrams out of one wake-up */
#define OPS_MAX 20000
#define WALK_SHARE 8                   /* R100 */
#define RENEWED_MAX 5                  /* of 2 * WALK_SHARE operations as others waited, */
#define RENEWED_LATE_MAX 10            /* or so many while the patrol is late */
#define SETTLE_US (400 * USEC_PER_SEC) /* a dump for mute entries may be five minutes away */
#define CALM_POLL_US (100 * USEC_PER_MS)

void world_mix(struct sim *s, uint64_t a, uint64_t b)
{
	s->hash = (s->hash ^ a) * 0x100000001b3ULL;
	s->hash = (s->hash ^ b ^ (s->hash >> 31)) * 0x9e3779b97f4a7c15ULL;
}

void world_act(struct sim *s, enum act_type type, int node, unsigned int arg, usec_t at)
{
	if (s->act_count == ACTS_MAX) {
		sim_fail(s, "the simulator's own list of actions is full");
		return;
	}
	s->act[s->act_count++] =
		(struct act){ .at = at, .seq = s->seq++, .type = type, .node = node, .arg = arg };
}

static usec_t act_next(const struct sim *s, unsigned int *which)
{
	usec_t at = UINT64_MAX;
	uint64_t seq = UINT64_MAX;

	for (unsigned int i = 0; i < s->act_count; i++)
		if (s->act[i].at < at || (s->act[i].at == at && s->act[i].seq < seq)) {
			at = s->act[i].at;
			seq = s->act[i].seq;
			*which = i;
		}
	return at;
}

int world_key(const struct sim *s, const struct flow_key *key)
{
	unsigned int i = (unsigned int)key->orig.src[key->l3 == 4 ? 3 : 15];

	i -= key->expect; /* it has the address of its child (expect.c) */
	if (i >= s->p.keys || memcmp(key, &s->conn[i].flow.key, sizeof(*key)) != 0)
		return -1;
	return (int)i;
}

void world_kick(struct sim *s, int n)
{
	struct node *node = &s->node[n];
	usec_t at = s->now + rng_below(&s->rng, s->p.latency_us + 1);

	if (node->e && at < node->pump_at)
		node->pump_at = at;
}

/* engine_stats checked for sanity as it is read; too slow for every step. */
void world_snapshot(struct sim *s, int n, struct engine_stats *st)
{
	engine_stats(s->node[n].e, st, s->now);
	if (st->peer_count > ENGINE_PEERS_MAX)
		sim_fail(s, "node %d: %u peers", n, st->peer_count);
}

static void add_counters(struct sim *s, const struct engine_counters *c)
{
#define ADD(name, help) s->total.name += c->name;
	ENGINE_COUNTERS(ADD)
#undef ADD
	for (unsigned int i = 0; i < DROP_COUNT; i++)
		s->total.drops[i] += c->drops[i];
}

/* More of them than there is room for stay without. */
static void poison_start(struct sim *s, int n)
{
	struct node *node = &s->node[n];
	uint8_t key[FLOW_KEY_MAX];

	for (unsigned int i = 0; i < s->p.keys; i++)
		if (node->poison[i])
			node->poison[i] = engine_quarantine(
				node->e, key, flow_key_pack(&s->conn[i].flow.key, key));
}

void world_start(struct sim *s, int n)
{
	struct node *node = &s->node[n];
	uint8_t seed[32];
	uint64_t epoch = rng_next(&s->rng) | 1;

	expect_forget(s);
	memset(node->expect, 0, sizeof(node->expect));
	for (unsigned int i = 0; i < sizeof(seed); i++)
		seed[i] = (uint8_t)rng_next(&s->rng);
	node->conf.role = node->role;
	node->conf.origin = node->booted_before ? ORIGIN_RESTART : ORIGIN_BOOT;
	node->booted_before = true;
	node->e = engine_new(&node->conf, epoch, seed, s->now);
	if (!node->e)
		abort();
	poison_start(s, n);
	scope_start(s, n);
	inquiry_start(s, n);
	node->k.listening = true;
	node->k.ev_count = 0;
	node->k.overrun = false;
	node->k.dumping = false;
	node->pump_at = s->now;
	node->stalled_to = 0;
	node->up_at = node->led_since = s->now;
	node->rivals.due = 0;
	node->dumped_at = 0;
	node->overruns_at_dump = node->overruns_over = 0;
	node->last = (struct engine_counters){ 0 };
	truth_start(s, n);
	sim_trace(s, "node %d: daemon starts, epoch %llx, %s, origin %d", n,
		  (unsigned long long)epoch, node->role == ROLE_PRIMARY ? "primary" : "backup",
		  node->conf.origin);
	oracle_owner(s, n);
}

static void drain_sends(struct sim *s, int n)
{
	struct node *node = &s->node[n];
	enum packet_kind kind;
	uint8_t pkt[WIRE_DGRAM_MAX];
	uint32_t to;
	size_t len;
	unsigned int count = 0;

	while (!s->failed && (len = engine_send(node->e, pkt, &to, s->now)) > 0) {
		if (len > node->conf.dgram_max)
			sim_fail(s, "node %d: a datagram of %zu bytes, limit %u", n, len,
				 node->conf.dgram_max);
		if (++count > SENDS_MAX)
			sim_fail(s, "node %d: engine_send never ends", n);
		for (size_t i = 0; i < len; i += 8) {
			uint64_t w = 0;

			memcpy(&w, pkt + i, len - i < 8 ? len - i : 8);
			world_mix(s, w, len);
		}
		guest_hear(s, n, pkt, len);
		kind = later_send(s, n, pkt, &len);
		net_send(s, n, to, pkt, len, kind);
	}
}

void world_stop(struct sim *s, int n, bool clean)
{
	struct node *node = &s->node[n];
	struct engine_stats st;
	bool untold = false;

	if (!node->e)
		return;
	world_snapshot(s, n, &st);
	add_counters(s, &st.count);
	s->count.restarts_in_dump += node->k.dumping;
	s->count.restarts_in_commit += st.commit.running;
	for (unsigned int i = 0; i < st.peer_count; i++)
		s->count.restarts_in_resync += st.peer[i].state == PEER_RESYNC;
	for (unsigned int i = 0; i < st.peer_count; i++) /* what it had to say went with it */
		untold |= st.peer[i].acked < st.head;
	if (clean) {
		engine_cmd(node->e, CMD_BYE, s->now);
		drain_sends(s, n);
	}
	sim_trace(s, "node %d: daemon ends%s", n, clean ? " cleanly" : ", killed");
	taped_stop(s, n);
	engine_free(node->e);
	node->e = NULL;
	if (n == s->guest_to)
		guest_leave(s);                    /* the next daemon would have a place for it */
	if (node->k.ev_count || untold || st.mute) /* of mute entries only it could have told how */
		own_untold(s, n);
	node->k.listening = false;
	node->k.dumping = false;
	node->k.ev_count = 0;
	node->failover.armed = false;
	for (unsigned int i = 0; i < node->inbox_count; i++)
		free(node->inbox[i].data);
	node->inbox_count = 0;
	node->inbox_len = 0;
	oracle_died(s, n);
}

static void recv_one(struct sim *s, int n, struct packet *p)
{
	struct node *node = &s->node[n];
	uint8_t taped[WIRE_DGRAM_MAX];
	bool tape = s->p.attack_us && rng_chance(&s->rng, 800);
	uint64_t before = 0;
	struct recv_look look;
	int rc;

	if (tape)
		memcpy(taped, p->data, p->len);
	if (p->kind != PKT_PLAIN)
		before = peek_fingerprint(node->e);
	recv_look(s, n, p, &look);
	rc = engine_recv(node->e, net_endpoint(s, n, p->src == n ? (n ? 0 : 1) : p->src, p->link),
			 p->data, p->len, s->now);
	sim_trace(s, "node %d: datagram of %u from node %d kind %u: %d", n, p->len, p->src, p->kind,
		  rc);
	world_mix(s, (uint64_t)n, (uint64_t)(uint32_t)rc);
	if (tape && rc == 0 && p->kind == PKT_PLAIN)
		net_record(s, p, taped, p->len);
	if (p->kind == PKT_LATER)
		later_recv(s, n, rc);
	if (p->kind == PKT_BAD && rc >= 0)
		sim_fail(s, "node %d took a datagram that was damaged or forged (I8)", n);
	if (p->kind != PKT_PLAIN && peek_fingerprint(node->e) != before)
		sim_fail(s,
			 "node %d: a replayed or forged datagram changed its state, answer %d (I8)",
			 n, rc);
	recv_check(s, n, p, &look, rc);
	oracle_mirrors(s, n);
	oracle_owner(s, n);
}

/* Some of the datagrams that wait, in order. Returns whether more do. */
static bool read_inbox(struct sim *s, int n)
{
	struct node *node = &s->node[n];
	unsigned int batch = (unsigned int)rng_range(&s->rng, 1, 32), i;

	if (batch > node->inbox_count)
		batch = node->inbox_count;
	for (i = 0; i < batch && !s->failed; i++) {
		node->inbox_len -= node->inbox[i].len;
		recv_one(s, n, &node->inbox[i]);
		free(node->inbox[i].data);
	}
	memmove(node->inbox, node->inbox + i, (node->inbox_count - i) * sizeof(node->inbox[0]));
	node->inbox_count -= i;
	return node->inbox_count > 0;
}

/* An overrun is told when the queue was read empty, as kern.c does it: the kernel drops all until
 * then, and what is left in the queue is older than the loss. */
static bool read_events(struct sim *s, int n)
{
	struct fakekern *k = &s->node[n].k;
	unsigned int batch = (unsigned int)rng_range(&s->rng, 1, 64);

	while (k->ev_count && batch--) {
		struct kev *ev = &k->ev[k->ev_at];

		k->ev_at = (k->ev_at + 1) % EVENTS_MAX;
		k->ev_count--;
		sim_trace(s, "node %d: event %d flow %d state %u timeout %u port %u", n, ev->event,
			  world_key(s, &ev->f.key), ev->f.tcp.state, ev->f.timeout_s, ev->portid);
		truth_feed(s, n, ev);
		oracle_owner(s, n);
	}
	if (k->overrun && !k->ev_count) {
		k->overrun = false;
		sim_trace(s, "node %d: overrun", n);
		engine_kern(s->node[n].e, KERN_OVERRUN, NULL, 0, s->now);
	}
	return k->ev_count;
}

/* The next operation. As long as others wait one in WALK_SHARE renews a timer (R100), or half of
 * them while the patrol is late; a few more do as what waited turns out to need nothing. */
static bool next_op(struct sim *s, int n, struct engine_op *op)
{
	struct node *node = &s->node[n];
	struct peek_owner before, after;

	peek_owner(node->e, &before);
	if (!engine_op(node->e, op, s->now))
		return false;
	peek_owner(node->e, &after);
	if (!before.work || !after.work || node->waited_ops == 2 * WALK_SHARE) {
		node->waited_ops = node->renewed_ops = 0;
		node->waited_late = false;
	}
	if (!before.work || !after.work)
		return true;
	node->waited_ops++;
	node->waited_late |= before.late || after.late;
	node->renewed_ops += op->type == OP_REFRESH && !op->flow.key.expect;
	s->count.renewed_under_load += op->type == OP_REFRESH;
	if (node->renewed_ops > (node->waited_late ? RENEWED_LATE_MAX : RENEWED_MAX))
		sim_fail(s, "node %d: of %u operations %u renew timers, and %llu wait (R100)", n,
			 node->waited_ops, node->renewed_ops, (unsigned long long)after.work);
	return true;
}

/* Pulls one batch and carries it out. Returns true when more may wait. */
static bool do_batch(struct sim *s, int n)
{
	struct engine_op ops[OPS_BATCH];
	unsigned int count = 0;
	bool dump = false;

	while (count < s->rough.batch && !dump && next_op(s, n, &ops[count])) {
		dump = ops[count].type == OP_DUMP;
		count += !dump;
	}
	oracle_owner(s, n);
	fk_apply(s, n, ops, count);
	if (count)
		rough_busy(s, n);
	if (dump) {
		struct engine_stats st;

		world_snapshot(s, n, &st);
		s->node[n].overruns_at_dump = st.count.overruns;
		sim_trace(s, "node %d: dump starts", n);
		fk_dump_start(s, n);
	}
	oracle_owner(s, n);
	return dump || count == s->rough.batch;
}

static bool do_ops(struct sim *s, int n)
{
	for (unsigned int i = 0; do_batch(s, n) && !s->failed; i++) {
		if (i > OPS_MAX / s->rough.batch)
			sim_fail(s, "node %d: engine_op never ends", n);
		if (rng_chance(&s->rng, s->rough.pause))
			return true;
	}
	return false;
}

/* No flow is told twice, and none of which it was not told that it was taken over (R77). */
static void check_outcome(struct sim *s, int n)
{
	bool pending;
	const struct engine_outcome *o = engine_outcome(s->node[n].e, &pending);
	uint64_t by_errno = 0;

	for (unsigned int i = 0; i < ENGINE_ERRNOS; i++)
		by_errno += o->refused_by[i];
	s->count.outcomes++;
	if (s->flipped)
		return;
	if (o->alive > o->taken || o->ended > o->taken || by_errno != o->refused)
		sim_fail(s, "node %d: taken %llu, alive %llu, ended %llu, refused %llu (R77)", n,
			 (unsigned long long)o->taken, (unsigned long long)o->alive,
			 (unsigned long long)o->ended, (unsigned long long)o->refused);
}

/* What a node cannot know of, or has no room for, is a difference in truth: mute entries, and those
 * that took their place unheard; a full table of ours; events that a write overtook, another
 * program's mark on a copy, a copy that our own policy excludes, and one whose events were lost, or
 * withheld by a policy that was: of a copy a dump shows us the timer alone. */
static bool is_excused(const struct sim *s, int n, const struct engine_found *f, int i)
{
	const struct fakekern *k = &s->node[n].k;

	return s->p.events_mode == 2 || s->node[n].conf.flows_max < s->p.keys || k->ent[i].raced ||
	       k->ent[i].overtook ||
	       (f->what == FOUND_CACHE_ONLY && scope_excludes(s, n, &f->held)) ||
	       (f->what == FOUND_DIFFERS && f->peer[0] && k->unheard[i]) ||
	       (f->differs == FLOW_HAS_MARK && k->meddled[i]);
}

/* An audit names nothing that is merely under way (R80). */
static void check_found(struct sim *s, int n, const struct engine_note *note)
{
	const struct engine_found *f = &engine_audit(s->node[n].e)->found[note->arg0];
	const struct flow *flow = f->what == FOUND_CACHE_ONLY ? &f->held : &f->kernel;
	int i = world_key(s, &flow->key);

	s->count.audit_finds++;
	sim_trace(s, "node %d: audit: what %d flow %d differs %x refused %d", n, f->what, i,
		  f->differs, f->refused);
	if (s->flipped || f->refused || i < 0 || is_excused(s, n, f, i))
		return;
	sim_fail(s, "node %d: an audit calls flow %d a difference (what %d, differs %x) (R80)", n,
		 i, f->what, f->differs);
}

static void role_told(struct sim *s, int n, enum engine_role role)
{
	if (role == ROLE_PRIMARY && s->node[n].role != role)
		s->node[n].led_since = s->now;
	s->node[n].role = role;
}

static void read_notes(struct sim *s, int n)
{
	struct engine_note note;
	unsigned int count = 0;

	while (engine_note(s->node[n].e, &note)) {
		sim_trace(s, "node %d: note %d %s %llu %llu", n, note.type, note.peer,
			  (unsigned long long)note.arg0, (unsigned long long)note.arg1);
		world_mix(s, note.type, note.arg0);
		if (note.type == NOTE_ROLE)
			role_told(s, n, (enum engine_role)note.arg0);
		if (note.type == NOTE_DUMP_END)
			s->node[n].overruns_over = s->node[n].overruns_at_dump;
		if (note.type == NOTE_OUTCOME)
			check_outcome(s, n);
		if (note.type == NOTE_FOUND)
			check_found(s, n, &note);
		if (note.type == NOTE_AUDIT)
			inquiry_audited(s, n);
		s->count.audits_over += note.type == NOTE_AUDIT;
		if (++count > 10000)
			sim_fail(s, "node %d: engine_note never ends", n);
	}
}

/* One turn of a daemon's loop. */
static void pump(struct sim *s, int n)
{
	struct node *node = &s->node[n];
	bool more = false;
	usec_t deadline;

	node->pump_at = UINT64_MAX;
	if (rng_chance(&s->rng, 5000)) {
		more |= read_events(s, n);
		more |= read_inbox(s, n);
	} else {
		more |= read_inbox(s, n);
		more |= read_events(s, n);
	}
	if (node->k.dumping && rng_chance(&s->rng, 6000)) {
		(void)fk_dump_slice(s, n);
		oracle_owner(s, n);
	}
	more |= node->k.dumping;
	if (!node->k.ev_count && !node->k.overrun && engine_wants_drained(node->e, s->now))
		engine_kern(node->e, KERN_DRAINED, NULL, 0, s->now);
	if (engine_deadline(node->e) <= s->now) {
		engine_tick(node->e, s->now);
		oracle_owner(s, n);
		oracle_mirrors(s, n);
	}
	expect_watch(s, n);
	expect_check_all(s, n);
	more |= do_ops(s, n);
	drain_sends(s, n);
	read_notes(s, n);
	inquiry_watch(s, n);
	oracle_mirrors(s, n);
	own_check_failover(s, n);
	claims_check(s, n);
	own_check_kinds(s, n);
	truth_lifted(s, n);
	taped_turn(s, n);
	if (more)
		world_kick(s, n);
	deadline = engine_deadline(node->e);
	if (deadline < node->pump_at)
		node->pump_at = deadline < s->now ? s->now : deadline;
	node->spin = node->spin_at == s->now ? node->spin + 1 : 0;
	node->spin_at = s->now;
	if (node->spin > SPIN_MAX)
		sim_fail(s, "node %d: its deadline does not advance", n);
}

static void arrive(struct sim *s, struct packet *p)
{
	struct node *node = &s->node[p->dst];

	if (node->paused) {
		s->count.missed++;
		free(p->data);
		return;
	}
	if (!node->e || node->inbox_count == INBOX_MAX ||
	    node->inbox_len + p->len > s->p.inbox_len) {
		s->count.inbox_full += node->e != NULL;
		free(p->data);
		return;
	}
	node->inbox[node->inbox_count++] = *p;
	node->inbox_len += p->len;
	world_kick(s, p->dst);
}

static void do_act(struct sim *s, unsigned int which)
{
	struct act a = s->act[which];

	s->act[which] = s->act[--s->act_count];
	switch (a.type) {
	case ACT_TRAFFIC:
		if (s->calm)
			break;
		traffic_step(s);
		world_act(s, ACT_TRAFFIC, 0, 0, s->now + rng_below(&s->rng, 2 * s->p.traffic_us));
		break;
	case ACT_KEEPALIVE:
		traffic_keepalive(s);
		world_act(s, ACT_KEEPALIVE, 0, 0, s->now + USEC_PER_SEC);
		break;
	case ACT_FAULT:
		if (s->calm)
			break;
		faults_step(s);
		world_act(s, ACT_FAULT, 0, 0, s->now + rng_below(&s->rng, 2 * s->p.fault_us));
		break;
	case ACT_POLICY:
		if (!s->calm)
			scope_reload(s);
		break;
	case ACT_MTU:
		if (!s->calm)
			group_mtu(s);
		break;
	case ACT_FLASH:
		traffic_flash_end(s, a.arg, a.node);
		break;
	case ACT_GC:
		if (!s->node[a.node].paused)
			fk_gc(s, a.node);
		world_act(s, ACT_GC, a.node, 0,
			  s->now + rng_range(&s->rng, 1, s->calm ? 2 : 40) * USEC_PER_SEC);
		break;
	case ACT_FLIP:
		if (s->calm)
			break;
		faults_flip(s);
		world_act(s, ACT_FLIP, 0, 0, s->now + rng_below(&s->flip_rng, 2 * s->p.flip_us));
		break;
	case ACT_POISON:
		if (s->calm)
			break;
		faults_poison(s);
		world_act(s, ACT_POISON, 0, 0,
			  s->now + rng_below(&s->poison_rng, 2 * s->poison_us));
		break;
	case ACT_INQUIRE:
		inquiry_act(s);
		break;
	case ACT_GUEST:
		guest_act(s);
		break;
	case ACT_ROUGH:
		if (!s->calm)
			rough_step(s);
		break;
	case ACT_ATTACK:
		if (s->calm)
			break;
		faults_attack(s);
		world_act(s, ACT_ATTACK, 0, 0, s->now + rng_below(&s->rng, 2 * s->p.attack_us));
		break;
	default:
		faults_act(s, &a);
	}
}

/* Takes the next thing that happens. */
static void step(struct sim *s)
{
	unsigned int which = 0;
	usec_t at = act_next(s, &which), net = net_next(s), best = at < net ? at : net;
	int n = -1;

	for (int i = 0; i < (int)s->p.nodes; i++) {
		const struct node *node = &s->node[i];
		usec_t due = node->pump_at > node->stalled_to ? node->pump_at : node->stalled_to;

		if (node->e && due < best) {
			n = i;
			best = due;
		}
	}
	s->count.steps++;
	s->now = best > s->now ? best : s->now;
	if (n >= 0) {
		pump(s, n);
	} else if (net < at) {
		struct packet p;

		if (net_pop_due(s, &p))
			arrive(s, &p);
	} else {
		do_act(s, which);
	}
}

static void init(struct sim *s, uint64_t seed)
{
	s->seed = seed;
	s->rng.s = seed * 0x2545f4914f6cdd1dULL + 1;
	s->now = START_AT + rng_below(&s->rng, USEC_PER_SEC);
	params_draw(s);
	group_draw(s);
	later_draw(s);
	rough_draw(s);
	for (unsigned int i = 0; i < 2; i++)
		for (unsigned int k = 0; k < 32; k++)
			s->psk[i][k] = (uint8_t)rng_next(&s->rng);
	for (int n = 0; n < (int)s->p.nodes; n++) {
		fk_reset(&s->node[n].k, &s->rng);
		params_conf(s, n, &s->node[n].conf);
		s->node[n].conf.kernel_id = rng_next(&s->rng) | 1;
		s->node[n].role = n ? ROLE_BACKUP : ROLE_PRIMARY;
		s->node[n].pump_at = UINT64_MAX;
		world_act(s, ACT_GC, n, 0, s->now + rng_below(&s->rng, 10 * USEC_PER_SEC));
		world_act(s, ACT_START, n, 0, s->now + rng_below(&s->rng, 3 * USEC_PER_SEC));
	}
	s->count.fours = s->p.nodes == 4;
	group_init(s);
	traffic_init(s);
	expect_init(s);
	scope_init(s);
	inquiry_draw(s);
	guest_draw(s);
	faults_pause_draw(s);
	rough_init(s);
	world_act(s, ACT_TRAFFIC, 0, 0, s->now);
	world_act(s, ACT_KEEPALIVE, 0, 0, s->now + USEC_PER_SEC);
	world_act(s, ACT_FAULT, 0, 0, s->now + 2 * USEC_PER_SEC);
	if (s->p.flip_us)
		world_act(s, ACT_FLIP, 0, 0, s->now + 4 * USEC_PER_SEC);
	if (s->poison_us)
		world_act(s, ACT_POISON, 0, 0, s->now + 3 * USEC_PER_SEC);
	if (s->p.attack_us)
		world_act(s, ACT_ATTACK, 0, 0, s->now + 2 * USEC_PER_SEC);
}

static void settle(struct sim *s)
{
	usec_t end = s->now + SETTLE_US, next = 0;
	const char *what = NULL;

	s->calm = true;
	s->calm_at = s->now;
	faults_heal(s);
	while (!s->failed && s->now < end) {
		step(s);
		if (s->now < next)
			continue;
		what = own_settled(s);
		if (!what)
			what = inquiry_settled(s);
		if (!what)
			return;
		next = s->now + CALM_POLL_US;
	}
	if (!s->failed)
		sim_fail(s, "not settled %llu s after the faults stopped: %s (I1)",
			 (unsigned long long)(SETTLE_US / USEC_PER_SEC), s->left);
}

void world_run(struct sim *s, uint64_t seed, bool verbose)
{
	usec_t end;

	*s = (struct sim){ .verbose = verbose, .hash = 0xcbf29ce484222325ULL };
	init(s, seed);
	end = s->now + s->p.active_us;
	sim_trace(
		s,
		"seed %llu: %u nodes, %u links%s, %u keys, %s, %s, loss %u dup %u flip %u reord %u",
		(unsigned long long)seed, s->p.nodes, s->p.links,
		s->p.multicast ? " multicast" : "", s->p.keys, s->p.hot ? "hot" : "cache",
		s->p.sealed ? "sealed" : "unsealed", s->p.loss, s->p.dup, s->p.flip, s->p.reorder);
	while (!s->failed && s->now < end)
		step(s);
	if (!s->failed)
		settle(s);
}

void world_free(struct sim *s)
{
	bool failed = s->failed;

	for (int n = 0; n < (int)s->p.nodes; n++)
		world_stop(s, n, false);
	for (unsigned int i = 0; i < s->stream_count; i++)
		free(s->stream[i].log);
	net_free(s);
	guest_leave(s);
	s->failed = failed;
}
