/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The codec of datagrams: the clear header, the bodies of the ten messages, the records of DATA
 * and LIST. Every read and write goes through a cursor that cannot leave its buffer and whose first
 * error stays, so that a message is read to its end and judged once. Encoder and decoder of a
 * message stand side by side. Decoders refuse what no encoder of this version would write; bytes
 * behind the last field are left alone, later versions may append fields.
 *
 * What a decoder cannot know is left to the engine: that versions of DATA ascend and stay within
 * (from, to], that bodies of records unpack. Specification: PROTOCOL.md, sections 2 and 5. Pure
 * functions, no state.
 */
#include "wire.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#define VAR_MAX 10 /* bytes of a 64-bit number in groups of 7 bits */
#define VECTOR_ITEM_LEN 16

static inline void fail(struct wire_buf *b, int err)
{
	if (!b->err)
		b->err = err;
}

/* Takes the next len bytes, for reading or writing; NULL if they are not there. */
static inline uint8_t *take(struct wire_buf *b, size_t len)
{
	if (b->err)
		return NULL;
	if (b->len - b->at < len) {
		b->err = WIRE_ESHORT;
		return NULL;
	}
	b->at += len;
	return b->p + b->at - len;
}

void wire_put_u8(struct wire_buf *b, uint8_t v)
{
	uint8_t *p = take(b, sizeof(v));

	if (p)
		*p = v;
}

uint8_t wire_get_u8(struct wire_buf *b)
{
	const uint8_t *p = take(b, sizeof(*p));

	return p ? *p : 0;
}

void wire_put_u16(struct wire_buf *b, uint16_t v)
{
	uint8_t *p = take(b, sizeof(v));

	v = htobe16(v);
	if (p)
		memcpy(p, &v, sizeof(v));
}

uint16_t wire_get_u16(struct wire_buf *b)
{
	uint16_t v = 0;
	const uint8_t *p = take(b, sizeof(v));

	if (p)
		memcpy(&v, p, sizeof(v));
	return be16toh(v);
}

void wire_put_u32(struct wire_buf *b, uint32_t v)
{
	uint8_t *p = take(b, sizeof(v));

	v = htobe32(v);
	if (p)
		memcpy(p, &v, sizeof(v));
}

uint32_t wire_get_u32(struct wire_buf *b)
{
	uint32_t v = 0;
	const uint8_t *p = take(b, sizeof(v));

	if (p)
		memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

void wire_put_u64(struct wire_buf *b, uint64_t v)
{
	uint8_t *p = take(b, sizeof(v));

	v = htobe64(v);
	if (p)
		memcpy(p, &v, sizeof(v));
}

uint64_t wire_get_u64(struct wire_buf *b)
{
	uint64_t v = 0;
	const uint8_t *p = take(b, sizeof(v));

	if (p)
		memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

void wire_put_bytes(struct wire_buf *b, const void *p, size_t len)
{
	uint8_t *to = take(b, len);

	if (to && len)
		memcpy(to, p, len);
}

const uint8_t *wire_get_bytes(struct wire_buf *b, size_t len)
{
	return take(b, len);
}

static inline size_t var_len(uint64_t v)
{
	size_t len = 1;

	while (v >>= 7)
		len++;
	return len;
}

/* The caller has seen to the room. Returns the first byte behind. */
static inline uint8_t *var_put(uint8_t *p, uint64_t v)
{
	for (; v > 0x7f; v >>= 7)
		*p++ = (uint8_t)(v | 0x80);
	*p++ = (uint8_t)v;
	return p;
}

void wire_put_var(struct wire_buf *b, uint64_t v)
{
	uint8_t *p = take(b, var_len(v));

	if (p)
		(void)var_put(p, v); /* its end is b->at already */
}

uint64_t wire_get_var(struct wire_buf *b)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < VAR_MAX; i++) {
		const uint8_t *p = take(b, sizeof(*p));

		if (!p)
			return 0;
		v |= (uint64_t)(*p & 0x7f) << (7 * i);
		if (*p & 0x80)
			continue;
		/* One number has one form: no zero group on top, and only one bit of the last group
		 * counts. */
		if ((i && !*p) || (i == VAR_MAX - 1 && *p > 1))
			break;
		return v;
	}
	fail(b, WIRE_EVALUE);
	return 0;
}

void wire_put_head(struct wire_buf *b, const struct wire_head *h)
{
	wire_put_u16(b, WIRE_MAGIC);
	wire_put_u8(b, h->version);
	wire_put_u8(b, h->key_id);
	wire_put_u64(b, h->sender);
	wire_put_u64(b, h->epoch);
	wire_put_u64(b, h->counter);
}

int wire_get_head(struct wire_buf *b, struct wire_head *h)
{
	uint16_t magic;

	if (wire_left(b) < WIRE_HEAD_LEN)
		fail(b, WIRE_ESHORT);
	magic = wire_get_u16(b);
	if (magic != WIRE_MAGIC)
		fail(b, WIRE_EMAGIC);
	h->version = wire_get_u8(b);
	if (h->version != WIRE_VERSION)
		fail(b, WIRE_EVERSION);
	h->key_id = wire_get_u8(b);
	h->sender = wire_get_u64(b);
	h->epoch = wire_get_u64(b);
	h->counter = wire_get_u64(b);
	return -b->err;
}

static void put_type(struct wire_buf *b, enum wire_type type, uint8_t flags)
{
	wire_put_u8(b, (uint8_t)type);
	wire_put_u8(b, flags);
}

static void put_name(struct wire_buf *b, const char name[WIRE_NAME_MAX + 1])
{
	size_t len = strnlen(name, WIRE_NAME_MAX + 1);

	assert(len && len <= WIRE_NAME_MAX);
	wire_put_u8(b, (uint8_t)len);
	wire_put_bytes(b, name, len);
}

/* Names end up in logs and on terminals: no control characters. */
static void get_name_if_any(struct wire_buf *b, char name[WIRE_NAME_MAX + 1])
{
	size_t len = wire_get_u8(b);
	const uint8_t *p;

	memset(name, 0, WIRE_NAME_MAX + 1);
	if (len > WIRE_NAME_MAX)
		fail(b, WIRE_EVALUE);
	p = wire_get_bytes(b, len);
	if (!p)
		return;
	for (size_t i = 0; i < len; i++)
		if (p[i] < 0x20 || p[i] == 0x7f)
			fail(b, WIRE_EVALUE);
	if (!b->err)
		memcpy(name, p, len);
}

static void get_name(struct wire_buf *b, char name[WIRE_NAME_MAX + 1])
{
	get_name_if_any(b, name);
	if (!name[0])
		fail(b, WIRE_EVALUE);
}

void wire_put_hello(struct wire_buf *b, uint8_t flags, const struct wire_hello *m)
{
	static const uint8_t zero[WIRE_HELLO_LEN];
	size_t start = b->at, len;

	put_type(b, WIRE_HELLO, flags);
	wire_put_u64(b, m->challenge);
	wire_put_u64(b, m->kernel_id);
	wire_put_u32(b, m->caps);
	put_name(b, m->name);
	len = b->at - start;
	wire_put_bytes(b, zero, len < WIRE_HELLO_LEN ? WIRE_HELLO_LEN - len : 0);
}

/* b stands behind type and flags. */
void wire_get_hello(struct wire_buf *b, struct wire_hello *m)
{
	if (wire_left(b) < WIRE_HELLO_LEN - 2)
		fail(b, WIRE_ESHORT);
	m->challenge = wire_get_u64(b);
	m->kernel_id = wire_get_u64(b);
	m->caps = wire_get_u32(b);
	get_name(b, m->name);
}

void wire_put_hack(struct wire_buf *b, uint8_t flags, const struct wire_hack *m)
{
	put_type(b, WIRE_HACK, flags);
	wire_put_u64(b, m->your_epoch);
	wire_put_u64(b, m->challenge);
	wire_put_u64(b, m->head);
	wire_put_u64(b, m->dropped);
	wire_put_u64(b, m->kernel_id);
	wire_put_u32(b, m->caps);
	put_name(b, m->name);
	wire_put_bytes(b, m->tables, sizeof(m->tables));
}

void wire_get_hack(struct wire_buf *b, struct wire_hack *m)
{
	const uint8_t *tables;

	m->your_epoch = wire_get_u64(b);
	m->challenge = wire_get_u64(b);
	m->head = wire_get_u64(b);
	m->dropped = wire_get_u64(b);
	m->kernel_id = wire_get_u64(b);
	m->caps = wire_get_u32(b);
	get_name(b, m->name);
	tables = wire_get_bytes(b, sizeof(m->tables));
	if (tables)
		memcpy(m->tables, tables, sizeof(m->tables));
	if (m->dropped > m->head)
		fail(b, WIRE_EVALUE);
}

void wire_put_data(struct wire_buf *b, uint8_t flags, const struct wire_data *m)
{
	put_type(b, WIRE_DATA, flags);
	wire_put_u64(b, m->from);
	wire_put_u64(b, m->to);
	wire_put_u64(b, m->head);
	wire_put_u64(b, m->dropped);
	wire_put_u64(b, flags & WIRE_F_DIGEST ? m->digest : 0);
}

void wire_get_data(struct wire_buf *b, uint8_t flags, struct wire_data *m)
{
	m->from = wire_get_u64(b);
	m->to = wire_get_u64(b);
	m->head = wire_get_u64(b);
	m->dropped = wire_get_u64(b);
	m->digest = wire_get_u64(b);
	if (m->to < m->from || m->head < m->to || m->dropped > m->head)
		fail(b, WIRE_EVALUE);
	if (flags & WIRE_F_DIGEST ? m->to != m->head : m->digest != 0)
		fail(b, WIRE_EVALUE);
}

void wire_put_report(struct wire_buf *b, uint8_t flags, const struct wire_report *m)
{
	assert(m->gap_count <= WIRE_GAPS_MAX);
	put_type(b, WIRE_REPORT, flags);
	wire_put_u64(b, m->owner);
	wire_put_u64(b, m->owner_epoch);
	wire_put_u64(b, m->covered);
	wire_put_u64(b, m->maxhead);
	wire_put_u32(b, m->window_len);
	wire_put_u32(b, m->heard_ms);
	wire_put_u8(b, m->gap_count);
	for (unsigned int i = 0; i < m->gap_count; i++) {
		wire_put_u64(b, m->gaps[i].from);
		wire_put_u64(b, m->gaps[i].to);
	}
	wire_put_u64(b, m->sent);
	wire_put_u16(b, m->dgram_max);
}

static void get_gaps(struct wire_buf *b, struct wire_report *m)
{
	uint64_t last = m->covered;

	for (unsigned int i = 0; i < m->gap_count; i++) {
		struct wire_gap *g = &m->gaps[i];

		g->from = wire_get_u64(b);
		g->to = wire_get_u64(b);
		if (g->from < last || g->to < g->from)
			fail(b, WIRE_EVALUE);
		last = g->to;
	}
}

void wire_get_report(struct wire_buf *b, struct wire_report *m)
{
	m->owner = wire_get_u64(b);
	m->owner_epoch = wire_get_u64(b);
	m->covered = wire_get_u64(b);
	m->maxhead = wire_get_u64(b);
	m->window_len = wire_get_u32(b);
	m->heard_ms = wire_get_u32(b);
	m->gap_count = wire_get_u8(b);
	if (m->gap_count > WIRE_GAPS_MAX) {
		fail(b, WIRE_EVALUE);
		m->gap_count = 0;
	}
	get_gaps(b, m);
	m->sent = 0;
	m->dgram_max = 0;
	if (!wire_left(b)) /* of a node that does not know them */
		return;
	m->sent = wire_get_u64(b);
	m->dgram_max = wire_get_u16(b);
}

void wire_put_list(struct wire_buf *b, uint8_t flags, const struct wire_list *m)
{
	put_type(b, WIRE_LIST, flags);
	wire_put_u32(b, m->lo);
	wire_put_u32(b, m->hi_incl);
	wire_put_u64(b, m->version);
	wire_put_u64(b, m->dropped);
}

void wire_get_list(struct wire_buf *b, struct wire_list *m)
{
	m->lo = wire_get_u32(b);
	m->hi_incl = wire_get_u32(b);
	m->version = wire_get_u64(b);
	m->dropped = wire_get_u64(b);
	if (m->lo > m->hi_incl || m->dropped > m->version)
		fail(b, WIRE_EVALUE);
}

void wire_put_vector(struct wire_buf *b, uint8_t flags, const struct wire_vector *m)
{
	put_type(b, WIRE_VECTOR, flags);
	wire_put_u64(b, m->version);
	wire_put_u64(b, m->dropped);
	wire_put_u16(b, m->first);
	wire_put_u16(b, m->count);
}

/* All pairs are there when this succeeds: a vector is compared whole or not at all. */
void wire_get_vector(struct wire_buf *b, struct wire_vector *m)
{
	m->version = wire_get_u64(b);
	m->dropped = wire_get_u64(b);
	m->first = wire_get_u16(b);
	m->count = wire_get_u16(b);
	if ((uint32_t)m->first + m->count > WIRE_BUCKETS || m->dropped > m->version)
		fail(b, WIRE_EVALUE);
	if (wire_left(b) < (size_t)m->count * VECTOR_ITEM_LEN)
		fail(b, WIRE_ESHORT);
}

void wire_put_ask(struct wire_buf *b, uint8_t flags, const struct wire_ask *m)
{
	put_type(b, WIRE_ASK, flags);
	wire_put_u64(b, m->owner);
	wire_put_u64(b, m->owner_epoch);
	wire_put_u8(b, m->kind);
	wire_put_u32(b, m->lo);
	wire_put_u32(b, m->hi_incl);
}

void wire_get_ask(struct wire_buf *b, struct wire_ask *m)
{
	m->owner = wire_get_u64(b);
	m->owner_epoch = wire_get_u64(b);
	m->kind = wire_get_u8(b);
	m->lo = wire_get_u32(b);
	m->hi_incl = wire_get_u32(b);
	if (m->kind != WIRE_ASK_LIST && m->kind != WIRE_ASK_VECTOR)
		fail(b, WIRE_EVALUE);
	if (m->lo > m->hi_incl || (m->kind == WIRE_ASK_VECTOR && m->hi_incl >= WIRE_BUCKETS))
		fail(b, WIRE_EVALUE);
}

void wire_put_audit(struct wire_buf *b, uint8_t flags, const struct wire_audit *m)
{
	put_type(b, WIRE_AUDIT, flags);
	wire_put_u64(b, m->node);
	wire_put_u64(b, m->node_epoch);
	wire_put_u64(b, m->ticket);
}

void wire_get_audit(struct wire_buf *b, struct wire_audit *m)
{
	m->node = wire_get_u64(b);
	m->node_epoch = wire_get_u64(b);
	m->ticket = wire_get_u64(b);
	if (!m->ticket)
		fail(b, WIRE_EVALUE);
}

void wire_put_findings(struct wire_buf *b, uint8_t flags, const struct wire_findings *m)
{
	put_type(b, WIRE_FINDINGS, flags);
	wire_put_u64(b, m->asker);
	wire_put_u64(b, m->asker_epoch);
	wire_put_u64(b, m->ticket);
	wire_put_u8(b, m->state);
	wire_put_u64(b, m->entries);
	for (unsigned int i = 0; i < 3; i++)
		wire_put_u64(b, m->by[i]);
	wire_put_u64(b, m->unsettled);
	wire_put_u8(b, m->count);
}

void wire_get_findings(struct wire_buf *b, struct wire_findings *m)
{
	uint64_t all = 0, count;

	m->asker = wire_get_u64(b);
	m->asker_epoch = wire_get_u64(b);
	m->ticket = wire_get_u64(b);
	m->state = wire_get_u8(b);
	m->entries = wire_get_u64(b);
	for (unsigned int i = 0; i < 3; i++) {
		m->by[i] = wire_get_u64(b);
		all |= m->by[i];
	}
	m->unsettled = wire_get_u64(b);
	m->count = wire_get_u8(b);
	if (!m->ticket || !m->state || m->state > WIRE_AUDIT_OVER || m->count > WIRE_FINDINGS_MAX)
		fail(b, WIRE_EVALUE);
	if (m->state != WIRE_AUDIT_OVER && (all | m->entries | m->unsettled | m->count))
		fail(b, WIRE_EVALUE);
	count = m->count;
	for (unsigned int i = 0; i < 3; i++) /* no sum, which may not fit */
		count -= m->by[i] < count ? m->by[i] : count;
	if (count)
		fail(b, WIRE_EVALUE);
}

bool wire_put_finding(struct wire_buf *b, const struct wire_finding *x)
{
	size_t name_len = strnlen(x->owner, WIRE_NAME_MAX);

	if (wire_left(b) < 10 + name_len + x->entry_len + x->record_len)
		return false;
	wire_put_u8(b, x->kind);
	wire_put_u32(b, x->differs);
	wire_put_u16(b, x->refused);
	wire_put_u8(b, (uint8_t)name_len);
	wire_put_bytes(b, x->owner, name_len);
	wire_put_u8(b, x->entry_len);
	wire_put_bytes(b, x->entry, x->entry_len);
	wire_put_u8(b, x->record_len);
	wire_put_bytes(b, x->record, x->record_len);
	return true;
}

void wire_get_finding(struct wire_buf *b, struct wire_finding *x)
{
	x->kind = wire_get_u8(b);
	x->differs = wire_get_u32(b);
	x->refused = wire_get_u16(b);
	get_name_if_any(b, x->owner);
	x->entry_len = wire_get_u8(b);
	x->entry = wire_get_bytes(b, x->entry_len);
	x->record_len = wire_get_u8(b);
	x->record = wire_get_bytes(b, x->record_len);
	if (!x->kind || x->kind > 3)
		fail(b, WIRE_EVALUE);
}

bool wire_put_rec(struct wire_buf *b, const struct wire_rec *r)
{
	bool flow = r->type == WIRE_REC_FLOW;
	size_t rest = var_len(r->delta) + (flow ? var_len(r->timeout_s) : 0) + r->body_len;
	size_t len = 1 + var_len(rest) + rest;
	uint8_t *p = b->p + b->at;

	if (wire_left(b) < len)
		return false;
	b->at += len;
	*p++ = r->type;
	p = var_put(p, rest);
	p = var_put(p, r->delta);
	if (flow)
		p = var_put(p, r->timeout_s);
	memcpy(p, r->body, r->body_len);
	return true;
}

/* The fields of a record that fills b. */
static void get_rec_fields(struct wire_buf *b, struct wire_rec *r)
{
	uint64_t timeout_s = 0;

	r->delta = wire_get_var(b);
	if (r->type == WIRE_REC_FLOW)
		timeout_s = wire_get_var(b);
	if (timeout_s > UINT32_MAX)
		fail(b, WIRE_EVALUE);
	r->timeout_s = (uint32_t)timeout_s;
	r->body_len = wire_left(b);
	r->body = wire_get_bytes(b, r->body_len);
}

bool wire_get_rec(struct wire_buf *b, struct wire_rec *r)
{
	while (wire_left(b)) {
		uint8_t type = wire_get_u8(b);
		uint64_t len = wire_get_var(b);
		struct wire_buf rest;

		if (len > wire_left(b))
			fail(b, WIRE_ESHORT);
		wire_init(&rest, take(b, (size_t)len), (size_t)len);
		if (b->err)
			return false;
		if (type >= WIRE_REC_FLOW && type <= WIRE_REC_RELEASE) {
			*r = (struct wire_rec){ .type = type };
			get_rec_fields(&rest, r);
			b->err = rest.err;
			return !b->err;
		}
		if (!(type & WIRE_REC_OPTIONAL))
			fail(b, WIRE_EUNKNOWN);
	}
	return false;
}
