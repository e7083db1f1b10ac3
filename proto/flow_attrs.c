/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The optional attributes of a packed flow: labels, helper, master, sequence adjustment, SCTP,
 * synproxy, and what makes an expectation. One table row each; a row knows how to write its
 * attribute and how to read it. As in flow.c there is one encoding for one value: what says nothing
 * (labels that are all zero, say) is not written, and refused when read. Attributes of types that
 * no row has are passed over. Specification: PROTOCOL.md, section 4. Pure functions, no state.
 */
#include "flow_attrs.h"

#include <assert.h>
#include <endian.h>
#include <netinet/in.h>

#include "util.h"

#define ATTR_MANDATORY 0x80
#define ATTR_HEAD_LEN 2
#define SEQADJ_LEN 24
#define SCTP_LEN 9
#define SCTP_STATES 9 /* linux/netfilter/nf_conntrack_sctp.h; the kernel takes no higher one */
#define SYNPROXY_LEN 12
#define NAT_DIR_MAX 1

static size_t addr_len(const struct flow *f)
{
	return f->key.l3 == 6 ? 16 : 4;
}

static uint8_t *put(uint8_t *p, const void *from, size_t len)
{
	memcpy(p, from, len);
	return p + len;
}

static uint8_t *put_u32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	return put(p, &v, sizeof(v));
}

static uint32_t get_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static bool is_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* ---- Names ---- */

/* Length of a name in room for max bytes, 0 if it is none that can travel. */
static size_t name_len(const char *name, size_t max)
{
	size_t len = 0;

	while (len < max && name[len] > ' ' && name[len] <= '~')
		len++;
	return len < max && !name[len] ? len : 0;
}

static bool get_name(const uint8_t *p, size_t len, char *name, size_t max)
{
	memset(name, 0, max);
	if (!len || len >= max)
		return false;
	memcpy(name, p, len);
	return name_len(name, max) == len;
}

/* ---- One attribute each ---- */

static uint8_t *labels_put(uint8_t *p, const struct flow *f)
{
	size_t len = FLOW_LABELS_LEN;

	while (len && !f->ext.labels[len - 1])
		len--;
	return put(p, f->ext.labels, len);
}

static bool labels_get(const uint8_t *p, size_t len, struct flow *f)
{
	memset(f->ext.labels, 0, sizeof(f->ext.labels));
	if (!len || len > FLOW_LABELS_LEN || !p[len - 1])
		return false;
	memcpy(f->ext.labels, p, len);
	return true;
}

static uint8_t *helper_put(uint8_t *p, const struct flow *f)
{
	return put(p, f->ext.helper, name_len(f->ext.helper, FLOW_NAME_LEN));
}

static bool helper_get(const uint8_t *p, size_t len, struct flow *f)
{
	return get_name(p, len, f->ext.helper, FLOW_NAME_LEN);
}

static uint8_t *master_put(uint8_t *p, const struct flow *f)
{
	const struct flow_master *m = &f->ext.master;

	*p++ = m->proto;
	p = put(p, m->orig.src, addr_len(f));
	p = put(p, m->orig.dst, addr_len(f));
	p = put(p, &m->orig.sport, sizeof(m->orig.sport));
	return put(p, &m->orig.dport, sizeof(m->orig.dport));
}

static bool master_get(const uint8_t *p, size_t len, struct flow *f)
{
	struct flow_master *m = &f->ext.master;
	size_t addr = addr_len(f);

	memset(m, 0, sizeof(*m));
	if (len != 1 + 2 * addr + 4)
		return false;
	m->proto = p[0];
	memcpy(m->orig.src, p + 1, addr);
	memcpy(m->orig.dst, p + 1 + addr, addr);
	memcpy(&m->orig.sport, p + 1 + 2 * addr, 2);
	memcpy(&m->orig.dport, p + 1 + 2 * addr + 2, 2);
	return true;
}

static uint8_t *seqadj_put(uint8_t *p, const struct flow *f)
{
	uint8_t *start = p;

	for (int i = 0; i < 2; i++) {
		p = put_u32(p, f->ext.seqadj[i].pos);
		p = put_u32(p, f->ext.seqadj[i].before);
		p = put_u32(p, f->ext.seqadj[i].after);
	}
	return is_zero(start, SEQADJ_LEN) ? start : p;
}

static bool seqadj_get(const uint8_t *p, size_t len, struct flow *f)
{
	if (len != SEQADJ_LEN || is_zero(p, len))
		return false;
	for (int i = 0; i < 2; i++, p += SEQADJ_LEN / 2)
		f->ext.seqadj[i] = (struct flow_seqadj){ .pos = get_u32(p),
							 .before = get_u32(p + 4),
							 .after = get_u32(p + 8) };
	return true;
}

/* A state that no kernel would take travels as NONE, as with TCP. */
static uint8_t *sctp_put(uint8_t *p, const struct flow *f)
{
	const struct flow_sctp *s = &f->ext.sctp;

	if (f->key.proto != IPPROTO_SCTP)
		return p;
	*p++ = s->state < SCTP_STATES ? s->state : 0;
	p = put_u32(p, s->vtag[0]);
	return put_u32(p, s->vtag[1]);
}

static bool sctp_get(const uint8_t *p, size_t len, struct flow *f)
{
	if (f->key.proto != IPPROTO_SCTP || len != SCTP_LEN || p[0] >= SCTP_STATES)
		return false;
	f->ext.sctp =
		(struct flow_sctp){ .state = p[0], .vtag = { get_u32(p + 1), get_u32(p + 5) } };
	return true;
}

static uint8_t *synproxy_put(uint8_t *p, const struct flow *f)
{
	const struct flow_synproxy *s = &f->ext.synproxy;

	if (!(s->isn | s->its | s->tsoff))
		return p;
	p = put_u32(p, s->isn);
	p = put_u32(p, s->its);
	return put_u32(p, s->tsoff);
}

static bool synproxy_get(const uint8_t *p, size_t len, struct flow *f)
{
	if (len != SYNPROXY_LEN || is_zero(p, len))
		return false;
	f->ext.synproxy = (struct flow_synproxy){ .isn = get_u32(p),
						  .its = get_u32(p + 4),
						  .tsoff = get_u32(p + 8) };
	return true;
}

static uint8_t *mask_put(uint8_t *p, const struct flow *f)
{
	p = put(p, f->ext.expect.mask_src, addr_len(f));
	return put(p, &f->ext.expect.mask_sport, 2);
}

static bool mask_get(const uint8_t *p, size_t len, struct flow *f)
{
	struct flow_expect *x = &f->ext.expect;
	size_t addr = addr_len(f);

	memset(x->mask_src, 0, sizeof(x->mask_src));
	if (len != addr + 2)
		return false;
	memcpy(x->mask_src, p, addr);
	memcpy(&x->mask_sport, p + addr, 2);
	return true;
}

static uint8_t *nat_put(uint8_t *p, const struct flow *f)
{
	const struct flow_expect *x = &f->ext.expect;

	if (is_zero(x->nat_addr, addr_len(f)) && !x->nat_port)
		return p;
	*p++ = x->nat_dir <= NAT_DIR_MAX ? x->nat_dir : 0;
	p = put(p, x->nat_addr, addr_len(f));
	return put(p, &x->nat_port, 2);
}

static bool nat_get(const uint8_t *p, size_t len, struct flow *f)
{
	struct flow_expect *x = &f->ext.expect;
	size_t addr = addr_len(f);

	memset(x->nat_addr, 0, sizeof(x->nat_addr));
	if (len != 1 + addr + 2 || p[0] > NAT_DIR_MAX || is_zero(p + 1, addr + 2))
		return false;
	x->nat_dir = p[0];
	memcpy(x->nat_addr, p + 1, addr);
	memcpy(&x->nat_port, p + 1 + addr, 2);
	return true;
}

static uint8_t *fn_put(uint8_t *p, const struct flow *f)
{
	return put(p, f->ext.expect.fn, name_len(f->ext.expect.fn, FLOW_FN_LEN));
}

static bool fn_get(const uint8_t *p, size_t len, struct flow *f)
{
	return get_name(p, len, f->ext.expect.fn, FLOW_FN_LEN);
}

/* ---- All of them ---- */

enum where { OF_FLOW = 1, OF_EXPECT = 2, OF_BOTH = 3 };

struct row {
	uint8_t type, of; /* enum where */
	uint32_t has;
	uint8_t *(*put)(uint8_t *p, const struct flow *f); /* nothing written: left out */
	bool (*get)(const uint8_t *p, size_t len, struct flow *f);
};

static const struct row rows[] = {
	{ 1, OF_FLOW, FLOW_HAS_LABELS, labels_put, labels_get },
	{ 2, OF_BOTH, FLOW_HAS_HELPER, helper_put, helper_get },
	{ 3, OF_BOTH, FLOW_HAS_MASTER, master_put, master_get },
	{ 4, OF_FLOW, FLOW_HAS_SEQADJ, seqadj_put, seqadj_get },
	{ 5, OF_FLOW, FLOW_HAS_SCTP, sctp_put, sctp_get },
	{ 6, OF_FLOW, FLOW_HAS_SYNPROXY, synproxy_put, synproxy_get },
	{ 7, OF_EXPECT, FLOW_HAS_EXPECT, mask_put, mask_get },
	{ 8, OF_EXPECT, FLOW_HAS_EXPECT_NAT, nat_put, nat_get },
	{ 9, OF_EXPECT, FLOW_HAS_EXPECT_FN, fn_put, fn_get },
};

static uint8_t of(const struct flow *f)
{
	return f->key.expect ? OF_EXPECT : OF_FLOW;
}

uint8_t *attrs_put(uint8_t *p, const struct flow *f)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];
		uint8_t *end;

		if (!(f->has & r->has) || !(r->of & of(f)))
			continue;
		end = r->put(p + ATTR_HEAD_LEN, f);
		if (end == p + ATTR_HEAD_LEN)
			continue;
		p[0] = r->type;
		p[1] = (uint8_t)(end - p - ATTR_HEAD_LEN);
		p = end;
	}
	return p;
}

/* One attribute of a type that may be known. */
static int attr_get(const uint8_t *p, struct flow *f)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];

		if (r->type != p[0])
			continue;
		flow_begin_ext(f);
		if (!(r->of & of(f)) || !r->get(p + ATTR_HEAD_LEN, p[1], f))
			return -1;
		f->has |= r->has;
	}
	return 0;
}

int attrs_get(const uint8_t *p, size_t len, struct flow *f)
{
	uint8_t last = 0;

	if (!len)
		return -1;
	while (len) {
		if (p[0] & ATTR_MANDATORY)
			return -2;
		if (len < ATTR_HEAD_LEN || p[0] <= last || len - ATTR_HEAD_LEN < p[1])
			return -1;
		if (attr_get(p, f))
			return -1;
		last = p[0];
		len -= (size_t)ATTR_HEAD_LEN + p[1];
		p += ATTR_HEAD_LEN + p[1];
	}
	return 0;
}

void attrs_merge(struct flow *f, const struct flow *d)
{
	const struct flow_ext *x = &d->ext;

	if (d->has & FLOW_HAS_ALL)
		f->has &= ~(uint32_t)FLOW_HAS_EXT;
	flow_begin_ext(f);
	if (d->has & FLOW_HAS_LABELS)
		memcpy(f->ext.labels, x->labels, sizeof(x->labels));
	if (d->has & FLOW_HAS_HELPER)
		memcpy(f->ext.helper, x->helper, sizeof(x->helper));
	if (d->has & FLOW_HAS_MASTER)
		f->ext.master = x->master;
	if (d->has & FLOW_HAS_SEQADJ)
		memcpy(f->ext.seqadj, x->seqadj, sizeof(x->seqadj));
	if (d->has & FLOW_HAS_SCTP)
		f->ext.sctp = x->sctp;
	if (d->has & FLOW_HAS_SYNPROXY)
		f->ext.synproxy = x->synproxy;
	if (d->has & (FLOW_HAS_EXPECT | FLOW_HAS_EXPECT_NAT | FLOW_HAS_EXPECT_FN))
		f->ext.expect = x->expect;
}
