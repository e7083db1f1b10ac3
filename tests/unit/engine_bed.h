/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two to four engines on perfect links with a small kernel each, for scripts that a person can
 * read. Time goes on in steps of a millisecond; every datagram arrives in the step in which it was
 * sent unless its link is cut. Random faults are the simulator's business (tests/sim).
 */
#ifndef CTSYNCD_TEST_ENGINE_BED_H
#define CTSYNCD_TEST_ENGINE_BED_H

#include "codec.h"

#include <errno.h>

#include "engine_priv.h"

#define BED_NODES 4
#define BED_LINKS 2
#define BED_FLOWS 16
#define BED_START (1000 * USEC_PER_SEC)
#define BED_OWN_PORT 77
#define BED_OTHER_PORT 99

enum { TCP_SYN_SENT = 1, TCP_SYN_RECV, TCP_ESTABLISHED, TCP_FIN_WAIT, TCP_CLOSE = 8 };

struct bed_entry {
	bool there;
	struct flow f;
	usec_t end_at; /* when it expires; nothing here expires by itself */
};

struct bed_node {
	struct engine *e;
	struct engine_conf conf;
	struct bed_entry kern[BED_FLOWS];
	unsigned int ops[OP_DUMP + 1]; /* operations that succeeded */
	unsigned int notes[NOTE_AUDIT + 1];
	bool new_run;           /* of the last NOTE_PEER_UP */
	int refuse;             /* errno of creates, 0 = none */
	bool deaf;              /* datagrams to it are lost */
	bool undrained;         /* events wait, as far as it knows */
	bool cut[BED_LINKS];    /* those that come by that link */
	unsigned int dgram_max; /* larger ones are lost; 0 = none is */
	uint32_t next_id;
};

struct bed {
	struct bed_node n[BED_NODES];
	unsigned int count, links;
	bool multicast; /* one datagram reaches all, all come from one endpoint a link */
	usec_t now;
	uint64_t epochs;
};

/* Flow i: TCP, but 10 and above UDP; established unless said otherwise. */
static inline struct flow bed_flow(unsigned int i)
{
	struct flow f = { .has = FLOW_HAS_REPLY | FLOW_HAS_STATUS | FLOW_HAS_TIMEOUT |
				 FLOW_HAS_MARK,
			  .status = 0xe,
			  .timeout_s = 432000 };

	f.key.l3 = 4;
	f.key.proto = i < 10 ? 6 : 17;
	f.key.orig.src[0] = 10;
	f.key.orig.src[3] = (uint8_t)i;
	f.key.orig.dst[0] = 192;
	f.key.orig.sport = 0x1234;
	f.key.orig.dport = 0x5000;
	flow_inverse(&f.key, &f.reply);
	if (i < 10) {
		f.has |= FLOW_HAS_TCP;
		f.tcp = (struct flow_tcp){ .state = TCP_ESTABLISHED,
					   .wscale = { 7, 7 },
					   .flags = { 3, 3 } };
	} else {
		f.timeout_s = 120;
	}
	return f;
}

static inline void bed_start(struct bed *b, unsigned int n, enum engine_role role,
			     enum engine_origin origin)
{
	static const uint8_t seed[32] = { 1, 2, 3 };
	struct bed_node *node = &b->n[n];

	node->conf.role = role;
	node->conf.origin = origin;
	node->e = engine_new(&node->conf, ++b->epochs * 1000003, seed, b->now);
	assert_non_null(node->e);
	memset(node->ops, 0, sizeof(node->ops));
	memset(node->notes, 0, sizeof(node->notes));
}

static inline void bed_kill(struct bed *b, unsigned int n)
{
	engine_free(b->n[n].e);
	b->n[n].e = NULL;
}

/* count nodes, the first one primary; none is started. */
static inline struct bed *bed_new(unsigned int count, bool hot)
{
	struct bed *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	b->count = count;
	b->links = 1;
	b->now = BED_START;
	for (unsigned int n = 0; n < count; n++) {
		struct engine_conf *c = &b->n[n].conf;

		engine_conf_default(c);
		c->node[0] = 'a';
		c->node[1] = (char)('0' + n);
		c->kernel_id = n + 1;
		c->hot = hot;
	}
	return b;
}

static inline void bed_free(struct bed *b)
{
	for (unsigned int n = 0; n < b->count; n++)
		engine_free(b->n[n].e);
	free(b);
}

/* ---- The kernel ---- */

static inline struct flow bed_shown(const struct bed *b, unsigned int n, unsigned int i)
{
	const struct bed_entry *t = &b->n[n].kern[i];
	struct flow f = t->f;

	f.has |= FLOW_HAS_TIMEOUT | FLOW_HAS_ID;
	f.timeout_s = t->end_at > b->now ? (uint32_t)((t->end_at - b->now) / USEC_PER_SEC) : 0;
	return f;
}

static inline void bed_event(struct bed *b, unsigned int n, enum engine_kern_event event,
			     unsigned int i, uint32_t portid)
{
	struct flow f = bed_shown(b, n, i);

	if (b->n[n].e)
		engine_kern(b->n[n].e, event, &f, portid, b->now);
}

static inline void bed_put(struct bed *b, unsigned int n, unsigned int i, const struct flow *f)
{
	struct bed_entry *t = &b->n[n].kern[i];

	*t = (struct bed_entry){ .there = true, .f = *f };
	t->f.id = 100 * (n + 1) + ++b->n[n].next_id;
	t->end_at = b->now + f->timeout_s * USEC_PER_SEC;
}

/* A connection through node n: the entry appears, and an event says so. */
static inline void bed_open(struct bed *b, unsigned int n, unsigned int i)
{
	struct flow f = bed_flow(i);

	bed_put(b, n, i, &f);
	bed_event(b, n, KERN_NEW, i, 0);
}

/* Its state changes. */
static inline void bed_state(struct bed *b, unsigned int n, unsigned int i, uint8_t state)
{
	b->n[n].kern[i].f.tcp.state = state;
	bed_event(b, n, KERN_UPDATE, i, 0);
}

/* The entry ends with left seconds to go. */
static inline void bed_end(struct bed *b, unsigned int n, unsigned int i, uint32_t left_s,
			   uint32_t portid)
{
	b->n[n].kern[i].end_at = b->now + left_s * USEC_PER_SEC;
	bed_event(b, n, KERN_DESTROY, i, portid);
	b->n[n].kern[i].there = false;
}

/* A packet passes: the timer is fresh, no event. */
static inline void bed_touch(struct bed *b, unsigned int n, unsigned int i)
{
	b->n[n].kern[i].end_at = b->now + 432000 * USEC_PER_SEC;
}

static inline int bed_create(struct bed *b, unsigned int n, unsigned int i, const struct flow *f)
{
	if (b->n[n].kern[i].there)
		return -EEXIST;
	if (b->n[n].refuse)
		return -b->n[n].refuse;
	bed_put(b, n, i, f);
	return 0;
}

static inline int bed_write(struct bed *b, unsigned int n, unsigned int i,
			    const struct engine_op *op)
{
	struct bed_entry *t = &b->n[n].kern[i];
	usec_t end_at = b->now + op->flow.timeout_s * USEC_PER_SEC;

	if (op->type == OP_UPDATE) {
		t->f.tcp = op->flow.tcp;
		t->f.mark = op->flow.mark;
		t->f.status |= op->flow.status;
		t->end_at = end_at;
	} else if (op->type == OP_REFRESH && end_at > t->end_at) {
		t->end_at = end_at;
	} else if (op->type == OP_DELETE || op->type == OP_REPLACE) {
		t->there = false;
	}
	return op->type == OP_REPLACE ? bed_create(b, n, i, &op->flow) : 0;
}

/* As daemon/kern_op.c has it. */
static inline bool bed_touched(const struct bed *b, const struct flow *got,
			       const struct engine_op *op)
{
	usec_t end_at = b->now + got->timeout_s * USEC_PER_SEC;

	if (op->type == OP_GET || op->limit_s == UINT32_MAX)
		return false;
	return end_at > (op->limit_s + 1ULL) * USEC_PER_SEC ||
	       (op->exact && end_at + ENGINE_EXACT_S * USEC_PER_SEC < op->limit_s * USEC_PER_SEC);
}

static inline void bed_op(struct bed *b, unsigned int n, const struct engine_op *op)
{
	unsigned int i = op->flow.key.orig.src[3];
	struct bed_node *node = &b->n[n];
	struct flow got = bed_shown(b, n, i);
	bool show = op->type == OP_GET || op->type == OP_REFRESH;
	int err;

	assert_true(i < BED_FLOWS);
	if (op->type == OP_INJECT || (op->type == OP_REPLACE && !node->kern[i].there))
		err = bed_create(b, n, i, &op->flow);
	else if (!node->kern[i].there)
		err = -ENOENT;
	else if (bed_touched(b, &got, op))
		err = -EBUSY;
	else
		err = bed_write(b, n, i, op);
	node->ops[op->type] += err == 0;
	engine_result(node->e, op, err, err == -EBUSY || (show && !err) ? &got : NULL, b->now);
}

static inline void bed_dump(struct bed *b, unsigned int n)
{
	for (unsigned int i = 0; i < BED_FLOWS; i++)
		if (b->n[n].kern[i].there)
			bed_event(b, n, KERN_DUMP, i, 0);
	engine_kern(b->n[n].e, KERN_DUMP_END, NULL, 0, b->now);
	b->n[n].ops[OP_DUMP]++;
}

/* ---- Time ---- */

/* Of node n, as any other node sees it. */
static inline unsigned int bed_endpoint(const struct bed *b, unsigned int n, unsigned int link)
{
	return b->multicast ? link : link * BED_NODES + n;
}

static inline void bed_arrive(struct bed *b, unsigned int n, unsigned int m, unsigned int link,
			      const uint8_t *pkt, size_t len)
{
	struct bed_node *node = &b->n[m];
	uint8_t copy[WIRE_DGRAM_MAX];

	if (!node->e || node->deaf || node->cut[link] || (node->dgram_max && len > node->dgram_max))
		return;
	memcpy(copy, pkt, len);
	(void)engine_recv(node->e, bed_endpoint(b, n, link), copy, len, b->now); /* counted there */
}

static inline void bed_send(struct bed *b, unsigned int n, const uint8_t *pkt, size_t len,
			    uint32_t to)
{
	for (unsigned int link = 0; link < b->links; link++)
		for (unsigned int m = 0; m < b->count; m++)
			if (m != n && to & 1U << bed_endpoint(b, m, link))
				bed_arrive(b, n, m, link, pkt, len);
}

static inline void bed_pump(struct bed *b, unsigned int n)
{
	struct bed_node *node = &b->n[n];
	uint8_t pkt[WIRE_DGRAM_MAX];
	struct engine_note note;
	struct engine_op op;
	uint32_t to;
	size_t len;

	if (!node->undrained && engine_wants_drained(node->e, b->now))
		engine_kern(node->e, KERN_DRAINED, NULL, 0, b->now);
	if (engine_deadline(node->e) <= b->now)
		engine_tick(node->e, b->now);
	while (engine_op(node->e, &op, b->now)) {
		if (op.type == OP_DUMP)
			bed_dump(b, n);
		else
			bed_op(b, n, &op);
	}
	while ((len = engine_send(node->e, pkt, &to, b->now)) > 0)
		bed_send(b, n, pkt, len, to);
	while (engine_note(node->e, &note)) {
		node->notes[note.type]++;
		if (note.type == NOTE_PEER_UP)
			node->new_run = note.arg0;
	}
}

static inline void bed_run(struct bed *b, unsigned int ms)
{
	while (ms--) {
		b->now += USEC_PER_MS;
		for (unsigned int n = 0; n < b->count; n++)
			if (b->n[n].e)
				bed_pump(b, n);
	}
}

/* ---- What came of it ---- */

static inline struct engine_stats bed_stats(const struct bed *b, unsigned int n)
{
	struct engine_stats s;

	engine_stats(b->n[n].e, &s, b->now);
	return s;
}

/* Node n's mirror of node m; fails when it has none. */
static inline struct peer *bed_peer(const struct bed *b, unsigned int n, unsigned int m)
{
	struct peer *p = peer_find(b->n[n].e, b->n[m].e->id);

	assert_non_null(p);
	return p;
}

static inline struct rec *bed_find(const struct bed *b, struct cache *c, unsigned int i)
{
	struct flow f = bed_flow(i);
	uint8_t key[FLOW_KEY_MAX];
	size_t len = flow_key_pack(&f.key, key);
	struct rec *r = cache_find(c, key, len, cache_hash(c, key, len));

	(void)b;
	return r && !r->tomb ? r : NULL;
}

static inline struct rec *bed_own(const struct bed *b, unsigned int n, unsigned int i)
{
	return bed_find(b, b->n[n].e->local, i);
}

static inline struct rec *bed_mirror(const struct bed *b, unsigned int n, unsigned int m,
				     unsigned int i)
{
	return bed_find(b, bed_peer(b, n, m)->mirror, i);
}

/* All mirrors of all nodes that run equal their owners' tables, and say so. */
static inline void bed_assert_equal(const struct bed *b)
{
	for (unsigned int n = 0; n < b->count; n++)
		for (unsigned int m = 0; m < b->count; m++) {
			struct peer *p;

			if (m == n || !b->n[n].e || !b->n[m].e)
				continue;
			p = bed_peer(b, n, m);
			assert_int_equal(p->covered, b->n[m].e->head);
			assert_int_equal(cache_digest(p->mirror), cache_digest(b->n[m].e->local));
			assert_true(p->in_sync);
			assert_int_equal(p->debt, 0);
		}
}

/* Two nodes that know each other, flow 1 to 3 open through node 0. */
static inline struct bed *bed_pair(bool hot)
{
	struct bed *b = bed_new(2, hot);

	bed_start(b, 0, ROLE_PRIMARY, ORIGIN_BOOT);
	bed_start(b, 1, ROLE_BACKUP, ORIGIN_BOOT);
	bed_run(b, 50);
	for (unsigned int i = 1; i <= 3; i++)
		bed_open(b, 0, i);
	bed_run(b, 500);
	bed_assert_equal(b);
	return b;
}

#endif
