/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bed of the fuzzers: engine, kernel, pens (bed.h says what for). It owns the engine. All
 * numbers that another node would have to know, epochs and ids, are constants, so that an input of
 * the corpus means the same for ever. bed_check.c holds the judgement.
 */
#include "bed.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "engine_priv.h"

#define EPOCH 0x0101010101010101
#define PEN_EPOCH 0x0200000000000000
#define START_AT (1000 * USEC_PER_SEC)
#define OWN_PORT 4711

uint8_t in_u8(struct fuzz_in *in)
{
	return in->at < in->len ? in->p[in->at++] : 0;
}

uint16_t in_u16(struct fuzz_in *in)
{
	uint16_t high = in_u8(in);

	return (uint16_t)(high << 8 | in_u8(in));
}

uint32_t in_u32(struct fuzz_in *in)
{
	uint32_t high = in_u16(in);

	return high << 16 | in_u16(in);
}

bool in_over(const struct fuzz_in *in)
{
	return in->at >= in->len;
}

/* ---- Keys and peers ---- */

static void set_keys(struct engine_conf *conf, enum bed_seal seal)
{
	uint8_t a = seal == BED_KEYS_BA ? 0xbb : 0xaa;

	memset(conf->key[0], a, sizeof(conf->key[0]));
	memset(conf->key[1], a ^ 0x11, sizeof(conf->key[1]));
	conf->key_count = seal == BED_UNSEALED ? 0 : seal == BED_KEY_A ? 1 : 2;
}

static void pens_init(struct bed *b)
{
	static const uint8_t zero[DIGEST_KEY_LEN];

	for (unsigned int i = 0; i < BED_PENS; i++) {
		struct pen *p = &b->pen[i];

		memcpy(p->name, "pen0", 5);
		p->name[3] = (char)('0' + i);
		p->head = (struct wire_head){ .version = WIRE_VERSION,
					      .sender = digest_hash(zero, p->name, 4),
					      .epoch = PEN_EPOCH + i };
		seal_init(&p->seal, b->conf.key, b->conf.key_count);
	}
}

void bed_init(struct bed *b, const uint8_t *data, size_t size, enum bed_seal seal, bool hot,
	      enum engine_role role)
{
	static const uint8_t seed[32] = { 1, 2, 3 };

	memset(b, 0, sizeof(*b));
	b->in = (struct fuzz_in){ .p = data, .len = size };
	engine_conf_default(&b->conf);
	memcpy(b->conf.node, "fuzz", 5);
	b->conf.kernel_id = 1;
	b->conf.hot = hot;
	b->conf.role = role;
	b->conf.origin = ORIGIN_RESTART;
	b->conf.flows_max = BED_FLOWS_MAX;
	b->conf.tombstones_max = 16;
	set_keys(&b->conf, seal);
	b->now = START_AT;
	b->e = engine_new(&b->conf, EPOCH, seed, b->now);
	assert(b->e);
	seal_init(&b->reader, b->conf.key, b->conf.key_count);
	pens_init(b);
}

void bed_fini(struct bed *b)
{
	engine_free(b->e);
}

void bed_head(struct bed *b, unsigned int i, struct wire_buf *w, uint8_t pkt[BED_PKT_MAX])
{
	struct pen *p = &b->pen[i];

	p->head.counter++;
	p->head.key_id = p->seal.count ? p->seal.id[0] : 0;
	wire_init(w, pkt, BED_PKT_MAX - WIRE_TAG_MAX);
	wire_put_head(w, &p->head);
}

int bed_give(struct bed *b, unsigned int i, struct wire_buf *w)
{
	struct pen *p = &b->pen[i];
	size_t len = seal_close(&p->seal, &p->head, w->p, w->at);
	uint8_t *copy = malloc(len);
	int rc;

	assert(copy);
	memcpy(copy, w->p, len);
	rc = engine_recv(b->e, i, copy, len, b->now);
	free(copy);
	return rc;
}

void bed_hack(struct bed *b, unsigned int i, uint64_t challenge)
{
	struct wire_hack m = {
		.your_epoch = EPOCH, .challenge = challenge, .head = 8, .kernel_id = 2 + i
	};
	uint8_t pkt[BED_PKT_MAX];
	struct wire_buf w;

	memcpy(m.name, b->pen[i].name, sizeof(m.name));
	seal_tables(&b->e->seal, m.tables);
	bed_head(b, i, &w, pkt);
	wire_put_hack(&w, 0, &m);
	(void)bed_give(b, i, &w); /* taken or not: the judgement is bed_check's */
}

/* Hears us, and has nothing. */
static void first_report(struct bed *b, unsigned int i)
{
	struct wire_report m = {
		.owner = b->e->id, .owner_epoch = EPOCH, .window_len = 1 << 16, .heard_ms = 1
	};
	uint8_t pkt[BED_PKT_MAX];
	struct wire_buf w;

	bed_head(b, i, &w, pkt);
	wire_put_report(&w, WIRE_F_COMPLETE, &m);
	(void)bed_give(b, i, &w);
}

void bed_meet(struct bed *b)
{
	bed_send(b, 1);
	for (unsigned int i = 0; i < 2; i++) {
		bed_hack(b, i, b->challenge);
		first_report(b, i);
	}
	bed_ops(b, 1);
	b->dumping = false;
	engine_kern(b->e, KERN_DUMP_END, NULL, 0, b->now);
}

/* ---- Flows ---- */

static void nat(struct flow *f)
{
	bool v6 = f->key.l3 == 6;

	f->reply.dst[v6 ? 15 : 3] ^= 0x40;
	f->status |= 0x90;
}

void bed_flow(unsigned int i, uint8_t variant, struct flow *f)
{
	static const uint8_t protos[] = { 6, 17, 6, 1, 6, 47, 6, 58 };

	memset(f, 0, sizeof(*f));
	f->has = FLOW_HAS_REPLY | FLOW_HAS_STATUS | FLOW_HAS_TIMEOUT | FLOW_HAS_MARK | FLOW_HAS_ID;
	f->key.l3 = i & 4 ? 6 : 4;
	f->key.proto = protos[i % 8];
	if (i & 8) {
		f->key.zone = (uint16_t)i;
		f->key.zone_dir = (uint8_t)(i % 3);
	}
	f->key.orig.src[0] = 10;
	f->key.orig.src[3] = (uint8_t)i;
	f->key.orig.dst[0] = 11;
	f->key.orig.sport = (uint16_t)(1000 + i);
	f->key.orig.dport = 80;
	flow_inverse(&f->key, &f->reply);
	f->status = variant & 1 ? 0xe : 0x8;
	if (variant & 2)
		nat(f);
	f->mark = variant & 4 ? 7 : 0;
	f->timeout_s = variant & 8 ? 100000 : 10;
	f->id = 100 + i;
	if (f->key.proto == 6) {
		f->has |= FLOW_HAS_TCP;
		f->tcp.state = (uint8_t)((variant >> 4) % 10);
		f->tcp.wscale[0] = variant & 1 ? 7 : 0;
	}
}

/* ---- The kernel ---- */

static struct bed_entry *entry_find(struct bed *b, const struct flow_key *key)
{
	for (unsigned int i = 0; i < BED_ENTRIES; i++) {
		struct bed_entry *t = &b->entry[i];

		if (t->present && !memcmp(&t->flow.key, key, sizeof(*key)))
			return t;
	}
	return NULL;
}

static struct bed_entry *entry_add(struct bed *b, const struct flow *f)
{
	for (unsigned int i = 0; i < BED_ENTRIES; i++) {
		struct bed_entry *t = &b->entry[i];

		if (t->present)
			continue;
		*t = (struct bed_entry){ true, *f, b->now + f->timeout_s * USEC_PER_SEC };
		t->flow.has |= FLOW_HAS_ID | FLOW_HAS_TIMEOUT;
		return t;
	}
	return NULL;
}

static void entry_read(const struct bed *b, const struct bed_entry *t, struct flow *f)
{
	*f = t->flow;
	f->timeout_s = t->expire_at > b->now ? (uint32_t)((t->expire_at - b->now) / USEC_PER_SEC)
					     : 0;
}

static void entry_time(struct bed *b, struct bed_entry *t, uint32_t timeout_s)
{
	t->expire_at = b->now + timeout_s * USEC_PER_SEC;
}

static int op_create(struct bed *b, const struct engine_op *op)
{
	struct bed_entry *t = entry_find(b, &op->flow.key);

	if (op->type == OP_REPLACE && t)
		t->present = false;
	else if (t)
		return -EEXIST;
	return entry_add(b, &op->flow) ? 0 : -ENOMEM;
}

static bool is_touched(const struct bed *b, const struct engine_op *op, const struct bed_entry *t)
{
	return op->limit_s != UINT32_MAX &&
	       t->expire_at / USEC_PER_SEC > (uint64_t)op->limit_s + 1 && t->expire_at > b->now;
}

/* The contract of engine.h. *got: what is there, when the answer carries it. */
static int op_carry_out(struct bed *b, const struct engine_op *op, const struct bed_entry **got)
{
	struct bed_entry *t = entry_find(b, &op->flow.key);

	if (op->type == OP_INJECT || (op->type == OP_REPLACE && !t))
		return op_create(b, op);
	if (!t)
		return -ENOENT;
	if (op->type == OP_GET || (op->type != OP_UPDATE && is_touched(b, op, t))) {
		*got = t;
		return op->type == OP_GET ? 0 : -EBUSY;
	}
	switch (op->type) {
	case OP_UPDATE:
		t->flow.status |= op->flow.status;
		t->flow.mark = op->flow.mark;
		t->flow.tcp = op->flow.tcp;
		entry_time(b, t, op->flow.timeout_s);
		return 0;
	case OP_DELETE:
		t->present = false;
		return 0;
	case OP_REPLACE:
		return op_create(b, op);
	default:
		entry_time(b, t, op->flow.timeout_s);
		return 0;
	}
}

/* Now and then the kernel refuses, as the input says. */
static int op_refused(struct bed *b)
{
	static const int err[] = {
		ENOMEM, EINVAL, ENOENT, EEXIST, EOPNOTSUPP, ENOBUFS, EIO, ENOSPC
	};
	uint8_t v = in_u8(&b->in);

	return (v & 0xf) == 0xf ? -err[(v >> 4) % ARRAY_LEN(err)] : 0;
}

static void answer(struct bed *b, const struct engine_op *ops, unsigned int count)
{
	const struct bed_entry *got[BED_OPS_MAX] = { NULL };
	int err[BED_OPS_MAX];
	struct flow f;

	for (unsigned int i = 0; i < count; i++) {
		err[i] = op_refused(b);
		if (!err[i])
			err[i] = op_carry_out(b, &ops[i], &got[i]);
	}
	for (unsigned int i = 0; i < count; i++) {
		if (got[i])
			entry_read(b, got[i], &f);
		engine_result(b->e, &ops[i], err[i], got[i] ? &f : NULL, b->now);
	}
}

void bed_ops(struct bed *b, unsigned int max)
{
	struct engine_op ops[BED_OPS_MAX];
	unsigned int count = 0;

	while (count < max && count < BED_OPS_MAX && engine_op(b->e, &ops[count], b->now)) {
		if (ops[count].type != OP_DUMP) {
			count++;
			continue;
		}
		assert(!b->dumping);
		b->dumping = true;
		b->dump_at = 0;
	}
	answer(b, ops, count);
}

static void dump_slice(struct bed *b, unsigned int max)
{
	struct flow f;

	for (; b->dumping && max && b->dump_at < BED_ENTRIES; b->dump_at++) {
		const struct bed_entry *t = &b->entry[b->dump_at];

		if (!t->present)
			continue;
		entry_read(b, t, &f);
		engine_kern(b->e, KERN_DUMP, &f, 0, b->now);
		max--;
	}
	if (!b->dumping || b->dump_at < BED_ENTRIES)
		return;
	b->dumping = false;
	engine_kern(b->e, KERN_DUMP_END, NULL, 0, b->now);
}

/* An event of key i; the entry follows it. */
static void kernel_event(struct bed *b, enum engine_kern_event event)
{
	uint8_t i = in_u8(&b->in), variant = in_u8(&b->in), less = in_u8(&b->in);
	struct bed_entry *t;
	struct flow f;

	bed_flow(i % BED_KEYS, variant, &f);
	f.id += i / BED_KEYS; /* another incarnation */
	t = entry_find(b, &f.key);
	if (t && event != KERN_UPDATE)
		t->present = false;
	if (event == KERN_NEW)
		(void)entry_add(b, &f); /* a full table: the event alone */
	else if (t && event == KERN_UPDATE)
		entry_time(b, t, f.timeout_s);
	f.has &= ~(less & (FLOW_HAS_STATUS | FLOW_HAS_TIMEOUT | FLOW_HAS_MARK | FLOW_HAS_TCP));
	engine_kern(b->e, event, &f, less & 0x80 ? 999 : 0, b->now);
}

void bed_kernel(struct bed *b)
{
	uint8_t what = in_u8(&b->in) % 8;

	switch (what) {
	case 0:
	case 1:
		kernel_event(b, KERN_NEW);
		break;
	case 2:
		kernel_event(b, KERN_UPDATE);
		break;
	case 3:
		kernel_event(b, KERN_DESTROY);
		break;
	case 4:
		engine_kern(b->e, KERN_OVERRUN, NULL, 0, b->now);
		break;
	case 5:
		if (!b->dumping)
			break;
		b->dumping = false;
		engine_kern(b->e, KERN_DUMP_FAIL, NULL, 0, b->now);
		break;
	case 6: /* packets that raise no event */
		what = in_u8(&b->in) % BED_ENTRIES;
		if (b->entry[what].present)
			entry_time(b, &b->entry[what], 400000);
		break;
	default:
		dump_slice(b, in_u8(&b->in) % 8u + 1);
		break;
	}
}

/* ---- Verbs, time, reload ---- */

void bed_verb(struct bed *b)
{
	static const enum engine_cmd cmds[] = { CMD_PROMOTE, CMD_COMMIT,      CMD_DEMOTE,
						CMD_RESYNC,  CMD_FLUSH_LOCAL, CMD_FLUSH_REMOTE,
						CMD_VERIFY,  CMD_BYE,         CMD_AUDIT,
						CMD_INQUIRE };

	engine_cmd(b->e, cmds[in_u8(&b->in) % ARRAY_LEN(cmds)], b->now);
}

/* The kernel forgets what expired, with events or without. */
static void entries_expire(struct bed *b, bool events)
{
	struct flow f;

	for (unsigned int i = 0; i < BED_ENTRIES; i++) {
		struct bed_entry *t = &b->entry[i];

		if (!t->present || t->expire_at > b->now)
			continue;
		entry_read(b, t, &f);
		t->present = false;
		if (events)
			engine_kern(b->e, KERN_DESTROY, &f, 0, b->now);
	}
}

void bed_time(struct bed *b)
{
	static const uint32_t step_ms[] = { 0,      1,      5,       20,       100,   200,
					    500,    1000,   2000,    6000,     15000, 61000,
					    200000, 700000, 4000000, 500000000 };
	uint8_t v = in_u8(&b->in);

	b->now += step_ms[v % 16] * USEC_PER_MS;
	entries_expire(b, !(v & 0x10));
	(void)engine_deadline(b->e);
	engine_tick(b->e, b->now);
}

void bed_reload(struct bed *b)
{
	uint8_t v = in_u8(&b->in);

	set_keys(&b->conf, (enum bed_seal)(v % 4));
	b->conf.dgram_max = v & 4 ? WIRE_DGRAM_MIN : 1472;
	b->conf.flows_max = v & 8 ? 8 : BED_FLOWS_MAX;
	b->conf.tombstones_max = v & 16 ? 0 : 16;
	b->conf.walk_rate = v & 32 ? 1 : 20000;
	engine_reconf(b->e, &b->conf, b->now);
	seal_rekey(&b->reader, b->conf.key, b->conf.key_count);
	for (unsigned int i = 0; i < BED_PENS; i++)
		seal_rekey(&b->pen[i].seal, b->conf.key, b->conf.key_count);
}

void bed_settle(struct bed *b)
{
	struct engine_stats stats;
	struct engine_note note;
	unsigned int idle = 0;

	for (unsigned int i = 0; idle < 3; i++) {
		uint64_t ops = b->e->count.injects + b->e->count.updates + b->e->count.deletes;
		uint64_t sent = b->e->count.dgrams_sent;

		assert(i < BED_OP_MAX / BED_OPS_MAX);
		engine_tick(b->e, b->now);
		bed_ops(b, BED_OPS_MAX);
		dump_slice(b, BED_ENTRIES);
		bed_send(b, BED_SEND_MAX);
		if (ops == b->e->count.injects + b->e->count.updates + b->e->count.deletes &&
		    sent == b->e->count.dgrams_sent)
			idle++;
	}
	while (engine_note(b->e, &note))
		assert(memchr(note.peer, 0, sizeof(note.peer)));
	engine_stats(b->e, &stats, b->now);
	assert(memchr(stats.reason, 0, sizeof(stats.reason)));
}
