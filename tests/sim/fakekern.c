/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A conntrack table as a daemon sees it through ctnetlink, with what makes the real one awkward:
 * events are lost when their buffer is full; entries expire in crowds, long after their time;
 * packets refresh timers without an event; entries made while nobody listened are mute for ever; a
 * dump is read in slices, each as old as the read of the one before it; writes are refused. Facts
 * from the kernel's sources and from experiments on 6.18.
 *
 * It owns struct fakekern. Entries are indexed by the number of their connection (conn[]), which
 * the key holds.
 */
#include <errno.h>
#include <string.h>

#include "sim.h"

#define STATUS_CONFIRMED 0x8u

void fk_reset(struct fakekern *k, struct rng *r)
{
	*k = (struct fakekern){ 0 };
	k->next_id = (uint32_t)rng_range(r, 1, 1u << 30);
}

bool fk_alive(const struct sim *s, int n, unsigned int i)
{
	const struct kent *t = &s->node[n].k.ent[i];

	return t->present && t->expire_at > s->now;
}

/* The entry as a dump would carry it now. */
void fk_snapshot(const struct sim *s, int n, unsigned int i, struct flow *f)
{
	const struct kent *t = &s->node[n].k.ent[i];

	*f = t->f;
	f->has &= FLOW_HAS_EXT;
	f->has |= FLOW_HAS_TIMEOUT | FLOW_HAS_ID;
	if (!f->key.expect)
		f->has |= FLOW_HAS_REPLY | FLOW_HAS_STATUS | FLOW_HAS_MARK;
	if (f->key.proto == 6 && !f->key.expect)
		f->has |= FLOW_HAS_TCP;
	f->timeout_s = t->expire_at > s->now ? (uint32_t)((t->expire_at - s->now) / USEC_PER_SEC)
					     : 0;
}

void fk_event(struct sim *s, int n, enum engine_kern_event event, const struct flow *f,
	      uint32_t has, uint32_t portid)
{
	struct node *node = &s->node[n];
	struct fakekern *k = &node->k;
	struct kev *ev;

	if (!k->listening || portid == OWN_PORT)
		return;
	if (scope_withholds(s, n, event, f, portid)) {
		k->unheard[world_key(s, &f->key)] = true;
		k->ent[world_key(s, &f->key)].withheld = true;
		return;
	}
	if (k->overrun || k->ev_count >= s->p.events_cap) {
		if (!k->overrun)
			s->count.event_losses++;
		own_unheard(s, n);
		if (world_key(s, &f->key) >= 0)
			k->unheard[world_key(s, &f->key)] = true;
		k->overrun = true;
		world_kick(s, n);
		return;
	}
	ev = &k->ev[(k->ev_at + k->ev_count++) % EVENTS_MAX];
	*ev = (struct kev){ .event = event, .f = *f, .portid = portid };
	ev->f.has = has;
	world_kick(s, n);
}

static uint32_t has_all(const struct flow *f)
{
	if (f->has & FLOW_HAS_EXT)
		return f->has;
	return FLOW_HAS_REPLY | FLOW_HAS_STATUS | FLOW_HAS_TIMEOUT | FLOW_HAS_ID |
	       (f->mark ? (uint32_t)FLOW_HAS_MARK : 0) |
	       (f->key.proto == 6 ? (uint32_t)FLOW_HAS_TCP : 0);
}

void fk_create(struct sim *s, int n, unsigned int i, const struct flow *f, uint32_t timeout_s,
	       uint32_t portid)
{
	struct fakekern *k = &s->node[n].k;
	struct kent *t = &k->ent[i];
	struct flow msg;

	*t = (struct kent){ .present = true, .f = *f };
	t->f.id = k->next_id++;
	t->f.status |= STATUS_CONFIRMED;
	t->expire_at = s->now + timeout_s * USEC_PER_SEC;
	t->mute = s->p.events_mode == 2 && !k->listening;
	if (t->mute)
		s->count.mute_entries++;
	k->count += !f->key.expect;
	if (portid == OWN_PORT) {
		t->written_at = s->now;
		t->wrote_to = t->expire_at;
		t->wrote = true;
		t->joined = t->let_go = false;
	}
	if (t->mute)
		return;
	fk_snapshot(s, n, i, &msg);
	fk_event(s, n, KERN_NEW, &msg, has_all(&msg), portid);
}

void fk_destroy(struct sim *s, int n, unsigned int i, uint32_t portid)
{
	struct fakekern *k = &s->node[n].k;
	struct kent *t = &k->ent[i];
	struct flow msg;

	if (!t->present)
		return;
	fk_snapshot(s, n, i, &msg);
	t->present = false;
	t->ended_by = portid;
	k->count -= !t->f.key.expect;
	if (!t->mute)
		fk_event(s, n, KERN_DESTROY, &msg, has_all(&msg), portid);
	expect_master_ended(s, n, i);
}

/* The garbage collector: all that expired since it last ran, at once. */
void fk_gc(struct sim *s, int n)
{
	struct fakekern *k = &s->node[n].k;
	unsigned int crowd = 0;

	for (unsigned int i = 0; i < s->p.keys; i++) {
		if (!k->ent[i].present || k->ent[i].expire_at > s->now)
			continue;
		sim_trace(s, "node %d: kernel entry %u expired", n, i);
		fk_destroy(s, n, i, 0);
		crowd++;
	}
	if (crowd > 1)
		s->count.late_expiries += crowd;
}

/* Who holds this reply tuple? A lookup that meets an expired entry ends it. */
static bool reply_taken(struct sim *s, int n, unsigned int i, const struct flow *f)
{
	for (unsigned int j = 0; j < s->p.keys; j++) {
		const struct kent *t = &s->node[n].k.ent[j];

		if (j == i || !t->present || t->f.key.expect || f->key.expect ||
		    t->f.key.l3 != f->key.l3 || t->f.key.proto != f->key.proto ||
		    memcmp(&t->f.reply, &f->reply, sizeof(f->reply)) != 0)
			continue;
		if (t->expire_at > s->now)
			return true;
		fk_destroy(s, n, j, 0);
	}
	return false;
}

static int op_create(struct sim *s, int n, unsigned int i, const struct engine_op *op)
{
	struct fakekern *k = &s->node[n].k;

	if (k->ent[i].present && !fk_alive(s, n, i))
		fk_destroy(s, n, i, 0);
	if (k->ent[i].present)
		return -EEXIST;
	if (op->flow.key.expect && !expect_master_lives(s, n, i))
		return -ENOENT;
	if (op->flow.key.expect)
		expect_check(s, n, i);
	if (reply_taken(s, n, i, &op->flow)) {
		s->count.reply_clash++;
		return -EEXIST;
	}
	if (k->count >= s->p.table_max && !op->flow.key.expect) {
		s->count.table_full++;
		return -ENOMEM;
	}
	if (!s->calm && op->type != OP_REPLACE && rng_chance(&s->rng, s->p.refuse)) {
		s->count.refusals++;
		return -ENOMEM;
	}
	/* kern.c writes no timer of 0, with which the entry would be gone at once */
	fk_create(s, n, i, &op->flow, op->flow.timeout_s ? op->flow.timeout_s : 1, OWN_PORT);
	return 0;
}

/* Do events of entry i wait to be read, or will one? A replacement overtakes them, and no id tells
 * older from newer: what they say stands against the new entry until the next dump. A known limit,
 * excused in owncheck.c and claimcheck.c. */
bool fk_overtakes(const struct sim *s, int n, unsigned int i)
{
	const struct fakekern *k = &s->node[n].k;

	for (unsigned int j = 0; j < k->ev_count; j++)
		if (world_key(s, &k->ev[(k->ev_at + j) % EVENTS_MAX].f.key) == (int)i)
			return true;
	return false;
}

/* Deletes and creates in one breath. A connection that goes on through the new entry is none the
 * worse. */
static int op_replace(struct sim *s, int n, unsigned int i, const struct engine_op *op)
{
	bool expired = s->node[n].k.ent[i].present && !fk_alive(s, n, i);
	bool raced = fk_overtakes(s, n, i) || expired;
	int err;

	claims_check_replacement(s, n, i, op);
	fk_destroy(s, n, i, expired ? 0 : OWN_PORT);
	err = op_create(s, n, i, op);
	s->node[n].k.ent[i].raced = raced;
	return err;
}

static void set_timer(struct sim *s, struct kent *t, uint32_t timeout_s)
{
	t->expire_at = s->now + timeout_s * USEC_PER_SEC;
	t->written_at = s->now;
	t->wrote_to = t->expire_at;
	t->wrote = true;
	t->joined = t->let_go = false;
}

static int op_update(struct sim *s, int n, unsigned int i, const struct engine_op *op)
{
	struct kent *t = &s->node[n].k.ent[i];

	if (op->flow.key.expect)
		return -EINVAL; /* nothing but its timer can be changed */
	if (!fk_alive(s, n, i))
		return -ENOENT;
	t->overtook |= fk_overtakes(s, n, i);
	t->f.status |= op->flow.status & FLOW_STATUS_MASK;
	t->f.mark = op->flow.mark;
	if (t->f.key.proto == 6)
		t->f.tcp = op->flow.tcp;
	if (op->flow.timeout_s)
		set_timer(s, t, op->flow.timeout_s);
	return 0;
}

/* What flow_join() finds new in theirs; *got is the entry as it is then. */
static int op_join(struct sim *s, int n, unsigned int i, const struct flow *theirs,
		   struct flow *got)
{
	struct kent *t = &s->node[n].k.ent[i];
	struct flow joined;

	if (!flow_join(got, theirs, &joined))
		return 0;
	t->f.status |= joined.status & FLOW_STATUS_MASK;
	t->f.tcp = joined.tcp;
	if (joined.has & FLOW_HAS_TIMEOUT)
		set_timer(s, t, joined.timeout_s);
	else
		t->joined = true;
	fk_snapshot(s, n, i, got);
	got->has |= FLOW_HAS_ALL;
	return 0;
}

static bool untouched(const struct sim *s, int n, unsigned int i, const struct engine_op *op)
{
	struct flow f;
	usec_t end_at;

	fk_snapshot(s, n, i, &f);
	end_at = s->now + f.timeout_s * USEC_PER_SEC;
	if (op->limit_s == UINT32_MAX)
		return true;
	if (op->exact && end_at + ENGINE_EXACT_S * USEC_PER_SEC < op->limit_s * USEC_PER_SEC)
		return false;
	return end_at <= ((uint64_t)op->limit_s + 1) * USEC_PER_SEC;
}

int fk_op(struct sim *s, int n, const struct engine_op *op, struct flow *got, bool *has_got)
{
	int i = world_key(s, &op->flow.key);
	struct flow f;

	if (i < 0 && s->flipped) /* a key that flipped; none of its kind can be made here */
		return op->type == OP_INJECT || op->type == OP_REPLACE ? -EINVAL : -ENOENT;
	if (i < 0) {
		sim_fail(s, "node %d: kernel operation %d on a flow that never was", n, op->type);
		return -EINVAL;
	}
	if (op->type == OP_INJECT) {
		int err = op_create(s, n, (unsigned int)i, op);

		s->node[n].k.ent[i].overtook |= !err && fk_overtakes(s, n, (unsigned int)i);
		return err;
	}
	if (op->type == OP_REPLACE && op->limit_s == UINT32_MAX)
		return op_replace(s, n, (unsigned int)i, op);
	if (!fk_alive(s, n, (unsigned int)i) && op->type == OP_REPLACE)
		return op_replace(s, n, (unsigned int)i, op);
	if (!fk_alive(s, n, (unsigned int)i)) {
		fk_destroy(s, n, (unsigned int)i, 0); /* the look-up ends what has expired */
		s->node[n].k.missed_at[i] = s->now;
		return -ENOENT;
	}
	fk_snapshot(s, n, (unsigned int)i, &f);
	if (op->type == OP_UPDATE)
		return op_update(s, n, (unsigned int)i, op);
	*got = f;
	got->has |= FLOW_HAS_ALL;
	*has_got = op->type == OP_GET || op->type == OP_REFRESH || op->type == OP_JOIN;
	if (op->type == OP_JOIN)
		return op_join(s, n, (unsigned int)i, &op->flow, got);
	if (op->type == OP_GET) {
		truth_read(s, n, (unsigned int)i);
		return 0;
	}
	if (!untouched(s, n, (unsigned int)i, op)) {
		*has_got = true;
		return -EBUSY;
	}
	switch (op->type) {
	case OP_REFRESH:
		truth_refresh(s, n, (unsigned int)i);
		if (op->flow.timeout_s > f.timeout_s)
			set_timer(s, &s->node[n].k.ent[i], op->flow.timeout_s);
		return 0;
	case OP_DELETE:
		/* Else its timer alone tells, and may lie. */
		if (!scope_excludes(s, n, &op->flow) && !s->node[n].k.ent[i].withheld)
			own_check_removal(s, n, (unsigned int)i, "delete");
		truth_delete(s, n, (unsigned int)i);
		fk_destroy(s, n, (unsigned int)i, OWN_PORT);
		return 0;
	case OP_REPLACE:
		return op_replace(s, n, (unsigned int)i, op);
	default:
		sim_fail(s, "node %d: unknown kernel operation %d", n, op->type);
		return -EINVAL;
	}
}

static bool is_own(const struct sim *s, int n, int i)
{
	struct peek_rec r;

	return i >= 0 && peek_local(s->node[n].e, &s->conn[i].key, &r) && !r.tomb;
}

/* What is written for a peer becomes our own by a packet, a promote or a commit, never by that it
 * was written (R36). */
static void answer(struct sim *s, int n, const struct engine_op *op, int err,
		   const struct flow *got)
{
	struct engine *e = s->node[n].e;
	int i = world_key(s, &op->flow.key);
	bool copy = op->type == OP_INJECT && !err && op->peer < ENGINE_PEERS_MAX &&
		    !engine_commit(e)->running && !is_own(s, n, i);

	engine_result(e, op, err, got, s->now);
	if (copy && is_own(s, n, i))
		sim_fail(s, "node %d: flow %d is its own because it wrote it for a peer (R36)", n,
			 i);
}

/* One batch: all is written before the first answer is given. */
void fk_apply(struct sim *s, int n, const struct engine_op *ops, const unsigned int count)
{
	static const char *const names[] = { "inject",  "update", "refresh", "delete",
					     "replace", "join",   "get",     "dump" };
	int err[OPS_BATCH] = { 0 };
	struct flow got[OPS_BATCH];
	bool has_got[OPS_BATCH] = { false };

	for (unsigned int k = 0; k < count; k++) {
		err[k] = fk_op(s, n, &ops[k], &got[k], &has_got[k]);
		sim_trace(s, "node %d: %s flow %d tag %u timeout %u limit %d: %d", n,
			  names[ops[k].type], world_key(s, &ops[k].flow.key), ops[k].tag,
			  ops[k].flow.timeout_s, (int)(ops[k].limit_s - s->now / USEC_PER_SEC),
			  err[k]);
		world_mix(s, ops[k].type, (uint64_t)(uint32_t)err[k] << 32 | ops[k].flow.timeout_s);
	}
	for (unsigned int k = 0; k < count && !s->failed; k++)
		answer(s, n, &ops[k], err[k], has_got[k] ? &got[k] : NULL);
}

/* Reads one slice into the socket's buffer: from here on it ages. */
static void read_slice(struct sim *s, int n)
{
	struct fakekern *k = &s->node[n].k;
	unsigned int want = (unsigned int)rng_range(&s->rng, 1, 32);

	k->slice_count = 0;
	while (k->dump_seen < 2 * s->p.keys && k->slice_count < want) {
		bool expects = k->dump_seen >= s->p.keys; /* behind the flows */
		unsigned int i = k->dump_at;

		k->dump_at = (k->dump_at + k->dump_step) % s->p.keys;
		k->dump_seen++;
		if (expects == expect_is(s, i) && fk_alive(s, n, i)) {
			struct flow *f = &k->slice[k->slice_count++];

			fk_snapshot(s, n, i, f);
			truth_read(s, n, i);
			f->has |= FLOW_HAS_ALL;
		}
	}
	k->slice_ready = true;
}

static unsigned int gcd(unsigned int a, unsigned int b)
{
	while (b) {
		unsigned int t = a % b;

		a = b;
		b = t;
	}
	return a;
}

void fk_dump_start(struct sim *s, int n)
{
	struct fakekern *k = &s->node[n].k;
	struct peek_owner o;

	if (k->dumping) {
		sim_fail(s, "node %d: a dump was started while one runs", n);
		return;
	}
	peek_owner(s->node[n].e, &o);
	k->dumping = true;
	k->dump_head = o.head;
	k->dump_seen = 0;
	k->dump_at = (unsigned int)rng_below(&s->rng, s->p.keys);
	do
		k->dump_step = (unsigned int)rng_range(&s->rng, 1, s->p.keys);
	while (gcd(k->dump_step, s->p.keys) != 1);
	read_slice(s, n);
}

/* What ended since the dump began is not brought back by a message of it, which is older. */
static void dump_message(struct sim *s, int n, const struct flow *f)
{
	int i = world_key(s, &f->key);
	struct peek_rec was = { 0 }, r;
	bool ended = i >= 0 && peek_local(s->node[n].e, &s->conn[i].key, &was) && was.tomb &&
		     was.version > s->node[n].k.dump_head;

	engine_kern(s->node[n].e, KERN_DUMP, f, 0, s->now);
	if (ended && !s->flipped && peek_local(s->node[n].e, &s->conn[i].key, &r) && !r.tomb)
		sim_fail(s, "node %d: flow %u ended at version %llu, and a dump revives it", n, i,
			 (unsigned long long)was.version);
}

bool fk_dump_slice(struct sim *s, int n)
{
	struct fakekern *k = &s->node[n].k;
	struct flow slice[32];
	unsigned int count = k->slice_count;
	bool end = k->dump_seen == 2 * s->p.keys;

	if (!k->dumping)
		return false;
	if (!s->calm && rng_chance(&s->rng, 50)) {
		s->count.dump_fails++;
		k->dumping = false;
		engine_kern(s->node[n].e, KERN_DUMP_FAIL, NULL, 0, s->now);
		return true;
	}
	memcpy(slice, k->slice, count * sizeof(slice[0]));
	if (!end)
		read_slice(s,
			   n); /* a recv frees the buffer, and the kernel fills it again at once */
	for (unsigned int i = 0; i < count; i++)
		dump_message(s, n, &slice[i]);
	if (end) {
		k->dumping = false;
		if (!s->node[n].dumped_at)
			s->node[n].dumped_at = s->now;
		engine_kern(s->node[n].e, KERN_DUMP_END, NULL, 0, s->now);
	}
	return true;
}
