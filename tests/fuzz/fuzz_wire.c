/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Feeds a datagram, opened, to the decoders of the header, of its message and of its records and
 * flows. Beyond "no read past the end" it asserts that flows and keys have one form: what unpacks
 * packs to the same bytes, also by way of a merge. And whatever state a sender claims for a flow,
 * it has a timeout.
 *
 * Decoders: proto/flow.c proto/flow_attrs.c
 * Built of: proto/flow.c proto/flow_attrs.c proto/wire.c
 */
#include "fuzz.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "flow.h"
#include "wire.h"

#define ATTR_KNOWN_MAX 9 /* attributes above are passed over, so they do not come back */

/* Has the flow, whose shape is at p[at], an attribute of a type that nobody knows? They ascend, so
 * what is unknown is last. */
static bool has_unknown(const struct flow *f, const uint8_t *p, size_t at, size_t len)
{
	uint8_t body[FLOW_PACKED_MAX];
	size_t known = flow_pack(f, body);

	if (!(p[at] & FLOW_SHAPE_ATTRS) || known >= len)
		return false;
	return p[known > at + 3 ? known : at + 3] > ATTR_KNOWN_MAX ||
	       !(body[at] & FLOW_SHAPE_ATTRS);
}

/* What is merged into nothing is itself, and so is the kernel's whole word merged into anything. */
static void check_merge(const struct flow *f, const uint8_t *p, size_t len)
{
	uint8_t again[FLOW_PACKED_MAX];
	struct flow merged = { .key = f->key }, whole;

	flow_merge(&merged, f);
	assert(flow_pack(&merged, again) == len && !memcmp(p, again, len));
	flow_copy(&whole, f);
	whole.has |= FLOW_HAS_ALL;
	merged.status = merged.mark = ~0U;
	flow_merge(&merged, &whole);
	assert(flow_pack(&merged, again) == len && !memcmp(p, again, len));
}

static void check_timer(const struct flow *f)
{
	struct flow_timeouts t;

	flow_timeouts_default(&t);
	assert(flow_full_timeout(&t, f) > 0);
	if (f->key.expect)
		assert(flow_timer(f) == FLOW_TIMER_GIVEN && flow_is_injectable(f) &&
		       !flow_is_closing(f) && !flow_is_partial(f));
}

static void one_flow(const uint8_t *p, size_t len)
{
	uint8_t again[FLOW_PACKED_MAX];
	struct flow f;
	size_t at = flow_key_len(p, len);

	if (flow_unpack(p, len, &f))
		return;
	assert(at && at < len);
	if (has_unknown(&f, p, at, len))
		return;
	assert(flow_pack(&f, again) == len && !memcmp(p, again, len));
	check_merge(&f, p, len);
	check_timer(&f);
}

static void one_key(const uint8_t *p, size_t len)
{
	uint8_t again[FLOW_KEY_MAX];
	struct flow_key key;
	size_t key_len = flow_key_unpack(p, len, &key);

	assert(key_len <= len && key_len == flow_key_len(p, len));
	if (key_len)
		assert(flow_key_pack(&key, again) == key_len && !memcmp(p, again, key_len));
}

static void records(struct wire_buf *b)
{
	struct wire_rec r;

	while (wire_get_rec(b, &r)) {
		assert(r.body >= b->p && r.body + r.body_len <= b->p + b->len);
		one_flow(r.body, r.body_len);
		one_key(r.body, r.body_len);
	}
}

static void vector(struct wire_buf *b)
{
	struct wire_vector m;

	wire_get_vector(b, &m);
	for (unsigned int i = 0; !b->err && i < m.count; i++) {
		(void)wire_get_u64(b);
		(void)wire_get_u64(b);
		assert(!b->err);
	}
}

static void findings(struct wire_buf *b)
{
	struct wire_findings m;

	wire_get_findings(b, &m);
	for (unsigned int i = 0; i < m.count; i++)
		wire_get_finding(b, &(struct wire_finding){ 0 });
}

static void message(struct wire_buf *b)
{
	uint8_t type = wire_get_u8(b), flags = wire_get_u8(b);

	switch (type) {
	case WIRE_HELLO:
		wire_get_hello(b, &(struct wire_hello){ 0 });
		break;
	case WIRE_HACK:
		wire_get_hack(b, &(struct wire_hack){ 0 });
		break;
	case WIRE_DATA:
		wire_get_data(b, flags, &(struct wire_data){ 0 });
		records(b);
		break;
	case WIRE_REPORT:
		wire_get_report(b, &(struct wire_report){ 0 });
		break;
	case WIRE_LIST:
		wire_get_list(b, &(struct wire_list){ 0 });
		records(b);
		break;
	case WIRE_VECTOR:
		vector(b);
		break;
	case WIRE_ASK:
		wire_get_ask(b, &(struct wire_ask){ 0 });
		break;
	case WIRE_AUDIT:
		wire_get_audit(b, &(struct wire_audit){ 0 });
		break;
	case WIRE_FINDINGS:
		findings(b);
		break;
	default:
		break;
	}
	assert(b->at <= b->len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *p = malloc(size ? size : 1);
	struct wire_head h;
	struct wire_buf b;

	assert(p);
	memcpy(p, data, size);
	wire_init(&b, p, size);
	if (!wire_get_head(&b, &h))
		message(&b);
	free(p);
	return 0;
}
