/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the packed form share: flows that are compared, and checked every way round. */
#ifndef CTSYNCD_TEST_FLOW_BED_H
#define CTSYNCD_TEST_FLOW_BED_H

#include "codec.h"

#define UDP4 "00 11 0a000001 0a000002 0001 0002"

static inline int unpack_hex(const char *text, struct flow *f)
{
	uint8_t buf[HEX_MAX], *p;
	size_t len = unhex(text, buf);
	int err;

	p = exactly(buf, len);
	err = flow_unpack(p, len, f);
	free(p);
	return err;
}

/* The flow as its packed form knows it: complete, without what is this kernel's own. */
static inline struct flow expected(const struct flow *f)
{
	struct flow e = { .has = FLOW_HAS_REPLY | FLOW_HAS_STATUS | FLOW_HAS_MARK, .key = f->key };

	if (f->has & FLOW_HAS_REPLY)
		e.reply = f->reply;
	else
		flow_inverse(&f->key, &e.reply);
	if (f->has & FLOW_HAS_STATUS)
		e.status = f->status & FLOW_STATUS_MASK;
	if (f->has & FLOW_HAS_MARK)
		e.mark = f->mark;
	e.has |= f->has & FLOW_HAS_EXT;
	e.ext = f->ext;
	if (f->key.proto != IPPROTO_TCP)
		return e;
	e.has |= FLOW_HAS_TCP;
	if (f->has & FLOW_HAS_TCP)
		e.tcp = f->tcp;
	return e;
}

/* What stands in ext counts only where has says so. */
static inline void assert_ext_equal(const struct flow *a, const struct flow *b)
{
	const struct flow_ext *x = &a->ext, *y = &b->ext;

	if (a->has & FLOW_HAS_LABELS)
		assert_memory_equal(x->labels, y->labels, sizeof(x->labels));
	if (a->has & FLOW_HAS_HELPER)
		assert_string_equal(x->helper, y->helper);
	if (a->has & FLOW_HAS_MASTER) {
		assert_int_equal(x->master.proto, y->master.proto);
		assert_memory_equal(&x->master.orig, &y->master.orig, sizeof(x->master.orig));
	}
	if (a->has & FLOW_HAS_SEQADJ)
		assert_memory_equal(x->seqadj, y->seqadj, sizeof(x->seqadj));
	if (a->has & FLOW_HAS_SCTP) {
		assert_int_equal(x->sctp.state, y->sctp.state);
		assert_memory_equal(x->sctp.vtag, y->sctp.vtag, sizeof(x->sctp.vtag));
	}
	if (a->has & FLOW_HAS_SYNPROXY)
		assert_memory_equal(&x->synproxy, &y->synproxy, sizeof(x->synproxy));
	if (a->has & FLOW_HAS_EXPECT) {
		assert_int_equal(x->expect.class, y->expect.class);
		assert_int_equal(x->expect.flags, y->expect.flags);
		assert_memory_equal(x->expect.mask_src, y->expect.mask_src, 16);
		assert_int_equal(x->expect.mask_sport, y->expect.mask_sport);
	}
	if (a->has & FLOW_HAS_EXPECT_NAT) {
		assert_int_equal(x->expect.nat_dir, y->expect.nat_dir);
		assert_memory_equal(x->expect.nat_addr, y->expect.nat_addr, 16);
		assert_int_equal(x->expect.nat_port, y->expect.nat_port);
	}
	if (a->has & FLOW_HAS_EXPECT_FN)
		assert_string_equal(x->expect.fn, y->expect.fn);
}

static inline void assert_flow_equal(const struct flow *a, const struct flow *b)
{
	assert_int_equal(a->has, b->has);
	assert_memory_equal(&a->key, &b->key, sizeof(a->key));
	assert_memory_equal(&a->reply, &b->reply, sizeof(a->reply));
	assert_int_equal(a->status, b->status);
	assert_int_equal(a->timeout_s, b->timeout_s);
	assert_int_equal(a->mark, b->mark);
	assert_int_equal(a->id, b->id);
	assert_memory_equal(&a->tcp, &b->tcp, sizeof(a->tcp));
	assert_ext_equal(a, b);
}

/* Does an attribute end where the packed f is cut? Then it is a flow that has fewer. */
static inline bool is_attr_end(const struct flow *f, const uint8_t *out, size_t cut)
{
	uint8_t bare[FLOW_PACKED_MAX];
	struct flow g = *f;
	size_t at;

	g.has &= ~(uint32_t)FLOW_HAS_EXT;
	at = flow_pack(&g, bare);
	if (cut <= at)
		return false;
	while (at < cut)
		at += 2U + out[at + 1];
	return at == cut;
}

/* Pack, compare, unpack, compare, pack again, compare; every shorter length and one byte more are
 * refused. */
static inline void check(const struct flow *f, const char *golden)
{
	uint8_t out[FLOW_PACKED_MAX], again[FLOW_PACKED_MAX], key[FLOW_KEY_MAX];
	size_t len = flow_pack(f, out), key_len = flow_key_pack(&f->key, key);
	struct flow want = expected(f), got;

	if (golden)
		assert_golden(out, len, golden);
	assert_in_range(len, key_len + 3, FLOW_PACKED_MAX);
	assert_in_range(key_len, 14, FLOW_KEY_MAX);
	assert_memory_equal(out, key, key_len);
	assert_int_equal(flow_key_len(out, len), key_len);
	assert_int_equal(flow_unpack(out, len, &got), 0);
	assert_flow_equal(&got, &want);
	assert_int_equal(flow_pack(&got, again), len);
	assert_memory_equal(out, again, len);
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *p = exactly(out, cut);
		struct flow_key k;

		assert_int_equal(flow_unpack(p, cut, &got), is_attr_end(f, out, cut) ? 0 : -1);
		assert_int_equal(flow_key_len(p, cut), cut < key_len ? 0 : key_len);
		assert_int_equal(flow_key_unpack(p, cut, &k), cut < key_len ? 0 : key_len);
		free(p);
	}
	out[len] = 0;
	assert_int_equal(flow_unpack(out, len + 1, &got), -1);
}

#endif
