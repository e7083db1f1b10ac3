/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine's doors: inputs are pushed, outputs are pulled, time is an argument. Here are the
 * receive ladder, the order in which things are sent and the timers; the work is done by hello.c,
 * stream.c, peer.c, own.c and patrol.c. No call goes outward, so any harness can drive it and the
 * same inputs give the same outputs.
 */
#include "engine_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tape.h"

void engine_conf_default(struct engine_conf *conf)
{
	*conf = (struct engine_conf){
		.hot = true,
		.dgrams_max = SEAL_COUNTER_MAX,
		.dgram_max = 1472,
		.window_len = 512 << 10,
		.flows_max = 8 << 20,
		.tombstones_max = 256 << 10,
		.deletions_max = DELETIONS_MAX,
		.hold_s = 600,
		.orphan_s = 60,
		.forced_wait_ms = 5000,
		.unclaimed_ms = 60000,
		.heartbeat_ms = 200,
		.dead_ms = 1000,
		.walk_rate = 20000,
		.scrub_s = SCRUB_S,
	};
	flow_timeouts_default(&conf->timeouts);
}

static uint64_t node_id(const char *name)
{
	static const uint8_t zero[DIGEST_KEY_LEN];

	return digest_hash(zero, name, strlen(name));
}

struct engine *engine_new(const struct engine_conf *conf, uint64_t epoch, const uint8_t seed[32],
			  usec_t now)
{
	struct engine *e = calloc(1, sizeof(*e));

	assert(epoch && conf->node[0]);
	if (!e)
		return NULL;
	e->conf = *conf;
	e->id = node_id(conf->node);
	e->epoch = epoch;
	e->role = conf->role;
	e->mark = &e->no_mark;
	e->syn_sent = conf->active_active;
	e->now = e->started_at = e->ticked_at = e->hello_at = now;
	memcpy(e->seed, seed, sizeof(e->seed));
	seal_init(&e->seal, conf->key, conf->key_count);
	e->local = cache_new(e->conf.pages, e->seal.group, e->seal.digest);
	e->strays = cache_new(e->conf.pages, e->seal.group, e->seal.digest);
	if (!e->local || !e->strays) {
		engine_free(e);
		return NULL;
	}
	e->dump.wanted = true;
	e->dump.at = now;
	e->patrol.round_s = 10;
	e->patrol.tokens_at = e->patrol.walked_at = e->scrub.at = now;
	return e;
}

void engine_free(struct engine *e)
{
	if (!e)
		return;
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used)
			cache_free(e->peers[i].mirror);
	if (e->local)
		cache_free(e->local);
	if (e->strays)
		cache_free(e->strays);
	if (e->audit.suspects)
		cache_free(e->audit.suspects);
	policy_free(e->policy);
	seal_fini(&e->seal);
	free(e);
}

void engine_reconf(struct engine *e, const struct engine_conf *conf, usec_t now)
{
	struct engine_conf old = e->conf;

	e->conf = *conf;
	memcpy(e->conf.node, old.node, sizeof(old.node));
	e->conf.hot = old.hot;
	e->conf.active_active = old.active_active;
	e->conf.kernel_id = old.kernel_id;
	e->conf.role = old.role;
	e->conf.origin = old.origin;
	e->conf.pages = old.pages;
	if (old.key_count != conf->key_count || memcmp(old.key, conf->key, sizeof(old.key)))
		seal_rekey(&e->seal, conf->key, conf->key_count);
	e->now = now;
	tape_reconf(e->tape, conf, &e->seal, now);
}

void note_put(struct engine *e, enum engine_note_type type, const struct peer *p, uint64_t arg0,
	      uint64_t arg1)
{
	struct engine_note *n;

	if (e->note_count == NOTES_MAX) { /* nobody reads: the oldest goes */
		e->note_at++;
		e->note_count--;
	}
	n = &e->notes[(e->note_at + e->note_count++) % NOTES_MAX];
	*n = (struct engine_note){ .type = type, .arg0 = arg0, .arg1 = arg1 };
	if (p)
		memcpy(n->peer, p->name, sizeof(n->peer));
}

bool engine_note(struct engine *e, struct engine_note *note)
{
	if (e->note_count)
		tape_put(e->tape, TAPE_NOTE, 0, e->now);
	if (!e->note_count)
		return false;
	*note = e->notes[e->note_at++ % NOTES_MAX];
	e->note_count--;
	tape_note(e->tape, note);
	return true;
}

/* Once until there is room again, and that is more than a moment's. */
void limit_reached(struct engine *e, bool *limited, const struct peer *p)
{
	if (!*limited)
		note_put(e, NOTE_LIMIT, p, DROP_FLOWS, 0);
	*limited = true;
	e->count.flows_limit++;
}

bool limit_over(const struct engine *e, const struct cache *c)
{
	return cache_flows(c) < e->conf.flows_max - e->conf.flows_max / LIMIT_ROOM;
}

bool peer_hears(const struct engine *e, const struct peer *p)
{
	return p->heard_at && !p->bye && e->now < p->heard_at + e->conf.dead_ms * USEC_PER_MS;
}

bool peer_is_up(const struct engine *e, const struct peer *p)
{
	/* Measured against the last word heard, not against now: when it falls silent, both ways
	 * are. */
	return peer_hears(e, p) && p->hears_us_at &&
	       p->heard_at < p->hears_us_at + e->conf.dead_ms * USEC_PER_MS;
}

/* ---- In: the kernel ---- */

void engine_kern(struct engine *e, enum engine_kern_event event, const struct flow *flow,
		 uint32_t portid, usec_t now)
{
	tape_put_more(e->tape,
		      &(struct tape_entry){ .door = TAPE_KERN,
					    .arg = (uint8_t)event,
					    .extra = portid,
					    .len = flow ? (uint32_t)flow_len(flow) : 0,
					    .now = now },
		      flow);
	e->now = now;
	if (flow && flow->key.expect && event != KERN_DUMP) /* a helper was at work */
		expect_event(e, flow, now);
	switch (event) {
	case KERN_NEW:
		e->count.events_new++;
		own_event(e, event, flow, portid, now);
		break;
	case KERN_UPDATE:
		e->count.events_update++;
		own_event(e, event, flow, portid, now);
		break;
	case KERN_DESTROY:
		e->count.events_destroy++;
		own_event(e, event, flow, portid, now);
		break;
	case KERN_DUMP:
		own_dump_flow(e, flow, now);
		break;
	case KERN_DUMP_END:
	case KERN_DUMP_FAIL:
		own_dump_end(e, event == KERN_DUMP_END, now);
		break;
	case KERN_OVERRUN:
		e->count.overruns++;
		note_put(e, NOTE_OVERRUN, NULL, e->count.overruns, 0);
		if (!e->dump.wanted)
			e->dump.at = now + OVERRUN_WAIT_MS * USEC_PER_MS;
		e->dump.wanted = e->dump.overran = true;
		audit_overrun(e);
		break;
	case KERN_DRAINED:
		e->dump.drain = false;
		audit_drained(e, now);
		break;
	}
}

bool engine_wants_drained(const struct engine *e, usec_t now)
{
	return e->dump.drain || audit_wants_drained(e, now);
}

/* ---- In: the network ---- */

static int recv_report(struct engine *e, struct peer *p, uint64_t counter, struct wire_buf *b,
		       usec_t now)
{
	struct wire_report m;

	wire_get_report(b, &m);
	if (b->err)
		return mirror_drop_of(b->err);
	if (m.owner == e->id && m.owner_epoch == e->epoch) {
		arrive_report(p, counter, m.sent);
		p->dgram_max = m.dgram_max;
	}
	stream_report(e, p, &m, now);
	return 0;
}

static int recv_ask(struct engine *e, struct peer *p, struct wire_buf *b)
{
	struct wire_ask m;

	wire_get_ask(b, &m);
	if (b->err)
		return mirror_drop_of(b->err);
	return stream_ask(e, p, &m);
}

/* b: behind type and flags. */
static int recv_message(struct engine *e, struct peer *p, uint64_t counter, struct wire_buf *b,
			usec_t now)
{
	uint8_t type = b->p[WIRE_HEAD_LEN], flags = b->p[WIRE_HEAD_LEN + 1];

	switch (type) {
	case WIRE_DATA:
		return peer_data(e, p, flags, b, now);
	case WIRE_REPORT:
		return recv_report(e, p, counter, b, now);
	case WIRE_LIST:
		return peer_list(e, p, b, now);
	case WIRE_VECTOR:
		return peer_vector(e, p, b, now);
	case WIRE_ASK:
		return recv_ask(e, p, b);
	case WIRE_AUDIT:
		return inquiry_recv_audit(e, p, b);
	case WIRE_FINDINGS:
		return inquiry_recv_findings(e, p, b, now);
	case WIRE_BYE:
		p->bye = true;
		p->up = false;
		note_put(e, NOTE_PEER_BYE, p, 0, 0);
		return 0;
	default:
		return -DROP_TYPE;
	}
}

/* newest: of all that came of this epoch; what comes late tells nothing of the role. */
static void peer_heard(struct engine *e, struct peer *p, uint8_t type, uint8_t flags, size_t len,
		       bool newest, usec_t now)
{
	p->heard_at = now;
	p->unreported_len += (uint32_t)len;
	if (type != WIRE_BYE)
		p->bye = false;
	if (type == WIRE_ASK || type == WIRE_BYE)
		return; /* carry no role */
	/* Never complete means: nothing is compared, no LIST is believed. */
	p->complete = (flags & WIRE_F_COMPLETE) && !p->other_tables;
	if (!newest)
		return;
	lead_heard(e, p, flags & WIRE_F_PRIMARY, now);
}

static int recv_body(struct engine *e, struct peer *p, const struct wire_head *h,
		     unsigned int endpoint, uint8_t *pkt, size_t len, usec_t now)
{
	struct wire_buf b;
	uint8_t type, flags;
	uint64_t covered;
	int rc;

	wire_init(&b, pkt, len);
	b.at = WIRE_HEAD_LEN;
	type = wire_get_u8(&b);
	flags = wire_get_u8(&b);
	if (b.err)
		return -DROP_SHORT;
	if (p && p->epoch == h->epoch) {
		rc = arrive_take(p, h->counter, endpoint, now);
		if (rc)
			return rc;
	}
	if (type == WIRE_HACK)
		return hello_hack(e, h, flags, &b, endpoint);
	if (!p || p->epoch != h->epoch) {
		rc = hello_unknown(e, endpoint, len, now);
		if (type != WIRE_HELLO)
			return rc;
		e->count.hellos_unknown++;
		return hello_recv(e, h, &b, 1U << endpoint);
	}
	peer_heard(e, p, type == WIRE_HELLO ? WIRE_BYE : type, flags, len,
		   h->counter == p->window.top, now);
	if (type == WIRE_HELLO)
		return hello_recv(e, h, &b, p->endpoints);
	covered = p->covered;
	rc = recv_message(e, p, h->counter, &b, now);
	if (p->covered != covered || p->covered == p->maxhead)
		p->progress_at = now;
	peer_tick(e, p, now);
	return rc;
}

/* Behind the seal. */
static int recv_opened(struct engine *e, const struct wire_head *h, unsigned int endpoint,
		       uint8_t *pkt, size_t len, usec_t now)
{
	if (h->sender == e->id) {
		if (h->epoch != e->epoch && e->now >= e->clash_at) {
			note_put(e, NOTE_NAME_CLASH, NULL, 0, 0);
			e->clash_at = e->now + CLASH_PAUSE_MS * USEC_PER_MS;
		}
		return -DROP_SELF;
	}
	return recv_body(e, peer_find(e, h->sender), h, endpoint, pkt, len, now);
}

static int recv_head(uint8_t *pkt, size_t len, struct wire_head *h)
{
	struct wire_buf b;
	int rc;

	wire_init(&b, pkt, len);
	rc = wire_get_head(&b, h);
	if (!rc)
		return 0;
	return rc == -WIRE_EMAGIC     ? -DROP_MAGIC
	       : rc == -WIRE_EVERSION ? -DROP_VERSION
				      : -DROP_SHORT;
}

static int recv_open(struct engine *e, struct wire_head *h, uint8_t *pkt, size_t len)
{
	int rc = recv_head(pkt, len, h);
	struct peer *p;

	if (rc)
		return rc;
	p = peer_find(e, h->sender);
	return seal_open(&e->seal, p && p->epoch == h->epoch ? &p->key : NULL, h, pkt, len);
}

static int recv_count(struct engine *e, size_t len, int rc)
{
	tape_mix_recv(e->tape, rc);
	if (rc < 0) {
		assert(-rc < DROP_COUNT);
		e->count.drops[-rc]++;
		return rc;
	}
	e->count.dgrams_received++;
	e->count.bytes_received += len;
	return 0;
}

int engine_recv(struct engine *e, unsigned int endpoint, uint8_t *pkt, size_t len, usec_t now)
{
	struct wire_head h;
	int opened;

	assert(endpoint < ENGINE_ENDPOINTS_MAX);
	e->now = now;
	opened = recv_open(e, &h, pkt, len);
	if (opened < 0) {
		tape_put(e->tape, TAPE_DROP, (unsigned int)-opened, now);
		return recv_count(e, len, opened);
	}
	tape_put_more(e->tape,
		      &(struct tape_entry){ .door = TAPE_RECV,
					    .arg = (uint8_t)endpoint,
					    .extra = (uint32_t)len,
					    .len = (uint32_t)opened,
					    .now = now },
		      pkt);
	return recv_count(e, len, recv_opened(e, &h, endpoint, pkt, (size_t)opened, now));
}

int engine_recv_opened(struct engine *e, unsigned int endpoint, uint8_t *pkt, size_t len,
		       size_t wire_len, usec_t now)
{
	struct wire_head h;
	int rc = recv_head(pkt, len, &h);

	e->now = now;
	return recv_count(e, wire_len, rc ? rc : recv_opened(e, &h, endpoint, pkt, len, now));
}

/* ---- In: time ---- */

/* Is anything in the kernel whose traffic or end no event may tell us of? Entries of unknown origin
 * count: plain packets make them ours, and only a dump shows those (R36). */
static bool may_be_mute(const struct engine *e)
{
	return e->mute || e->unclaimed;
}

/* By the size of the table, not by how long the last dump took: that may have been a machine that
 * stood still. */
static usec_t next_dump_at(const struct engine *e)
{
	return e->dump.ended_at +
	       max_u64(MUTE_DUMP_MS * USEC_PER_MS, e->dump.entries * MUTE_DUMP_EACH_US);
}

static void dump_schedule(struct engine *e, usec_t now)
{
	/* For what was not held for want of it. */
	bool room = e->limited && limit_over(e, e->local) && limit_over(e, e->strays);

	if (e->dump.wanted || e->dump.running || e->dump.sweeping || audit_is_active(e))
		return;
	if (!room && (!may_be_mute(e) || now < next_dump_at(e)))
		return;
	e->limited = e->limited && !room;
	e->dump.wanted = true;
	e->dump.at = now;
}

void engine_tick(struct engine *e, usec_t now)
{
	tape_put(e->tape, TAPE_TICK, 0, now);
	e->now = e->ticked_at = now;
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used)
			peer_tick(e, &e->peers[i], now);
	stream_trim(e);
	own_tick(e, now);
	dump_schedule(e, now);
	patrol_tick(e, now);
	outcome_tick(e, now);
	audit_tick(e, now);
	inquiry_tick(e, now);
	scrub_tick(e, now);
}

usec_t engine_deadline(const struct engine *e)
{
	usec_t at = min_u64(e->hello_at, patrol_deadline(e, e->now));

	at = min_u64(at, inquiry_deadline(e));
	if (e->hello_now || e->hello_to || e->note_count || stream_pending(e) || scrub_busy(e))
		return e->now;
	if (e->peer_count)
		at = min_u64(at, e->beat_at);
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		const struct peer *p = &e->peers[i];

		if (!p->used)
			continue;
		at = min_u64(at, peer_deadline(e, p));
		if (p->answer.at < p->answer.count || p->ask_count)
			return e->now;
	}
	if (!e->dump.wanted && !e->dump.running && !audit_is_active(e) && may_be_mute(e))
		at = min_u64(at, next_dump_at(e));
	return max_u64(at, e->now);
}

/* ---- In: verbs ---- */

static void role_set(struct engine *e, enum engine_role role)
{
	if (e->role != role)
		note_put(e, NOTE_ROLE, NULL, role, 0);
	e->role = role;
	e->beat_at = 0; /* tell the peers at once */
}

static void flush_local(struct engine *e, usec_t now)
{
	cache_clear(e->local);
	e->mute = 0;
	e->scrub.doubts = 0;
	outcome_forget(e);
	e->dropped = ++e->head; /* who held any of it compares buckets */
	e->tomb_at = e->head;
	e->complete = false;
	e->dump.wanted = true;
	e->dump.at = now;
}

static void each_peer(struct engine *e, void (*fn)(struct engine *, struct peer *, usec_t),
		      usec_t now)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used)
			fn(e, &e->peers[i], now);
}

/* It was primary before us. If it still is its next word says so; if it is dead, what it said of
 * flows is older than what we make of them. */
static void role_forget(struct engine *e, struct peer *p, usec_t now)
{
	(void)e;
	(void)now;
	p->primary = false;
}

void engine_cmd(struct engine *e, enum engine_cmd cmd, usec_t now)
{
	tape_put(e->tape, TAPE_CMD, cmd, now);
	e->now = now;
	switch (cmd) {
	case CMD_PROMOTE:
		if (e->role != ROLE_PRIMARY)
			outcome_begin(e, now);
		patrol_commit(e, true, now);
		role_set(e, ROLE_PRIMARY);
		each_peer(e, role_forget, now);
		break;
	case CMD_COMMIT:
		patrol_commit(e, false, now);
		break;
	case CMD_DEMOTE:
		role_set(e, ROLE_BACKUP);
		outcome_put_off(e);
		e->patrol.adopt_to = 0;
		own_claims(e);
		e->patrol.forget_to = e->patrol.urgent_to;
		break;
	case CMD_RESYNC:
		each_peer(e, peer_resync, now);
		break;
	case CMD_FLUSH_LOCAL:
		flush_local(e, now);
		break;
	case CMD_FLUSH_REMOTE:
		each_peer(e, peer_forget, now);
		break;
	case CMD_BYE:
		e->bye = true;
		break;
	case CMD_VERIFY:
		scrub_all(e);
		break;
	case CMD_AUDIT:
		audit_ask(e);
		break;
	case CMD_INQUIRE:
		inquiry_ask(e);
		break;
	}
}

/* ---- Out: the network ---- */

static bool put_bye(struct engine *e, struct wire_buf *b)
{
	if (!e->bye)
		return false;
	e->bye = false;
	e->gone = true;
	wire_put_u8(b, WIRE_BYE);
	wire_put_u8(b, 0);
	return true;
}

static bool put_peer(struct engine *e, struct wire_buf *b, uint32_t *to, usec_t now)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct peer *p = &e->peers[i];

		if (!p->used || !peer_send(e, p, b, now))
			continue;
		*to = p->endpoints;
		return true;
	}
	return false;
}

size_t engine_send(struct engine *e, uint8_t *pkt, uint32_t *to, usec_t now)
{
	struct wire_head h = { .version = WIRE_VERSION, .sender = e->id };
	struct wire_buf b, head;
	size_t len;

	tape_put(e->tape, TAPE_SEND, 0, now);
	e->now = now;
	if (e->gone)
		return 0;
	if (e->counter >= e->conf.dgrams_max)
		epoch_renew(e);
	*to = ENGINE_TO_ALL;
	wire_init(&b, pkt, stream_dgram_max(e) - seal_tag_len(&e->seal));
	b.at = WIRE_HEAD_LEN;
	if (put_bye(e, &b) || hello_put_hack(e, &b, to) || hello_put(e, &b, to, now) ||
	    put_peer(e, &b, to, now) || inquiry_put(e, &b, to, now))
		len = b.at;
	else
		len = stream_send(e, pkt, to, now);
	if (!len)
		return 0;
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		e->peers[i].sent_count += (e->peers[i].endpoints & *to) != 0;
	h.epoch = e->epoch;
	h.counter = ++e->counter;
	h.key_id = e->seal.count ? e->seal.id[0] : 0;
	wire_init(&head, pkt, WIRE_HEAD_LEN);
	wire_put_head(&head, &h);
	assert(!b.err && !head.err);
	tape_mix_sent(e->tape, pkt, len, *to);
	len = seal_close(&e->seal, &h, pkt, len);
	e->count.dgrams_sent++;
	e->count.bytes_sent += len;
	return len;
}

/* ---- Out: the kernel ---- */

bool engine_op(struct engine *e, struct engine_op *op, usec_t now)
{
	tape_put(e->tape, TAPE_OP, 0, now);
	e->now = now;
	if (!patrol_op(e, op, now))
		return false;
	tape_op(e->tape, op);
	if (!e->ops_out)
		e->ops_at = now;
	e->ops_out += op->type != OP_DUMP;
	if (e->conf.active_active)
		active_liberal(&op->flow);
	return true;
}

void engine_result(struct engine *e, const struct engine_op *op, int err, const struct flow *got,
		   usec_t now)
{
	tape_put_more(e->tape,
		      &(struct tape_entry){ .door = TAPE_RESULT,
					    .extra = (uint32_t)-err,
					    .len = got ? (uint32_t)flow_len(got) : 0,
					    .now = now },
		      got);
	e->now = now;
	assert(e->ops_out && op->type != OP_DUMP);
	e->ops_out--;
	if (now > e->ops_at + OPS_SLOW_MS * USEC_PER_MS)
		e->inexact_to_s = to_s(now) + INEXACT_S;
	answer_result(e, op, err, got, now);
}
