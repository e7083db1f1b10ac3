/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Nodes of a later version, in a part of the worlds, so that what this version promises to them is
 * kept (PROTOCOL.md, sections 4 and 5). What they send is opened, altered and sealed again:
 * capabilities that nobody knows, fields behind the last, optional records. All of that has to be
 * as if it were not there. Now and then a mandatory record or attribute, a message or a protocol
 * version of the future, or a field with a value that it must not have: that is refused by its
 * name, changes nothing, and is as good as lost.
 *
 * Optional attributes are part of a flow's body, hence of digests: they are what flow_pack adds for
 * some flows (the linker puts __wrap_flow_pack in its place), and flow_unpack passes over.
 *
 * Drawn from a sequence of its own; seeds that are kept for what they found stand for what they
 * were.
 */
#include <string.h>

#include "sim.h"

#define DATA_AT (WIRE_HEAD_LEN + 2 + 5 * 8) /* where the records begin */
#define LIST_AT (WIRE_HEAD_LEN + 2 + 2 * 4 + 2 * 8)
#define ATTR_MAX 4 /* bytes of an attribute of the future */

static struct sim *packs; /* the world whose flows have such attributes, NULL none */

size_t __real_flow_pack(const struct flow *f, uint8_t *out);
size_t __wrap_flow_pack(const struct flow *f, uint8_t *out);

/* The same for the same key, always. */
size_t __wrap_flow_pack(const struct flow *f, uint8_t *out)
{
	size_t len = __real_flow_pack(f, out), n = 1 + f->key.proto % ATTR_MAX;
	unsigned int which = f->key.orig.src[f->key.l3 == 4 ? 3 : 15];

	if (!packs || which % 3 || len + 2 + n > FLOW_PACKED_MAX)
		return len;
	packs->count.later_attributes++;
	out[flow_key_len(out, len)] |= FLOW_SHAPE_ATTRS;
	out[len++] = (uint8_t)(10 + which % 6);
	out[len++] = (uint8_t)n;
	memset(out + len, (int)which, n);
	return len + n;
}

void later_draw(struct sim *s)
{
	struct rng *r = &s->later_rng;

	r->s = s->seed * 0x9fb21c651e98df25ULL + 13;
	packs = NULL;
	if (s->seed <= SEEDS_KEPT || !rng_chance(r, 2500))
		return;
	s->later = (unsigned int)rng_range(r, 1, (1u << s->p.nodes) - 1);
	if (rng_chance(r, 5000))
		packs = s;
}

/* ---- What a datagram becomes ---- */

static void put_junk(struct rng *r, struct wire_buf *b, uint64_t max)
{
	for (uint64_t len = rng_range(r, 1, max); len; len--)
		wire_put_u8(b, (uint8_t)rng_next(r));
}

static void put_record(struct rng *r, struct wire_buf *b, uint8_t type)
{
	uint64_t len = rng_below(r, 12);

	wire_put_u8(b, type);
	wire_put_var(b, len);
	for (; len; len--)
		wire_put_u8(b, (uint8_t)rng_next(r));
}

/* The records of in, with others among them; in the calm each datagram has one, so that whoever
 * refuses them never settles. mandatory: one that must be understood, at the end. */
static void put_records(struct sim *s, struct wire_buf *out, struct wire_buf *in, bool mandatory)
{
	struct rng *r = &s->later_rng;
	bool more = s->calm;

	for (;;) {
		if (more || rng_chance(r, 1000)) {
			more = false;
			put_record(r, out,
				   (uint8_t)(WIRE_REC_OPTIONAL | rng_below(r, WIRE_REC_OPTIONAL)));
			s->count.later_records++;
		}
		if (!wire_left(in))
			break;
		size_t begin = in->at;

		(void)wire_get_u8(in);
		(void)wire_get_bytes(in, (size_t)wire_get_var(in));
		wire_put_bytes(out, in->p + begin, in->at - begin);
	}
	if (mandatory)
		put_record(r, out, (uint8_t)rng_range(r, 5, WIRE_REC_OPTIONAL - 1));
}

static void put_hello(struct sim *s, struct wire_buf *out, struct wire_buf *in, uint8_t flags)
{
	struct wire_hello m;

	wire_get_hello(in, &m);
	m.caps = (uint32_t)rng_next(&s->later_rng);
	wire_put_hello(out, flags, &m);
	s->count.later_caps++;
}

static void put_hack(struct sim *s, struct wire_buf *out, struct wire_buf *in, uint8_t flags)
{
	struct wire_hack m;

	wire_get_hack(in, &m);
	m.caps = (uint32_t)rng_next(&s->later_rng);
	wire_put_hack(out, flags, &m);
	s->count.later_caps++;
}

/* A field of the body becomes what it must not be. */
static void spoil(struct wire_buf *out, uint8_t type)
{
	static const struct {
		uint8_t at, len, value;
	} field[] = {
		[WIRE_DATA] = { 2, 8, 0xff },     /* from above to */
		[WIRE_REPORT] = { 42, 1, 0xff },  /* gaps */
		[WIRE_LIST] = { 18, 8, 0xff },    /* T above the version */
		[WIRE_VECTOR] = { 18, 2, 0xff },  /* the first bucket */
		[WIRE_ASK] = { 18, 1, 0xff },     /* a kind that there is not */
		[WIRE_AUDIT] = { 18, 8, 0 },      /* no ticket */
		[WIRE_FINDINGS] = { 26, 1, 0xff } /* a state that there is not */
	};

	memset(out->p + WIRE_HEAD_LEN + field[type].at, field[type].value, field[type].len);
}

/* May a datagram of the type be spoilt so? */
static bool has_values(uint8_t type)
{
	return type >= WIRE_DATA && type <= WIRE_FINDINGS && type != WIRE_BYE;
}

/* The body as a later version would say it. Returns whether it has to be refused. */
static bool put_body(struct sim *s, struct wire_buf *out, struct wire_buf *in)
{
	bool refused = !s->calm && rng_chance(&s->later_rng, 100);
	uint8_t type = wire_get_u8(in), flags = wire_get_u8(in);
	bool spoilt = refused && s->small && has_values(type) && rng_chance(&s->later_rng, 3000);
	size_t records = type == WIRE_DATA ? DATA_AT : type == WIRE_LIST ? LIST_AT : 0;

	if (records) {
		wire_put_bytes(out, in->p + WIRE_HEAD_LEN, records - WIRE_HEAD_LEN);
		in->at = records;
		put_records(s, out, in, refused && !spoilt);
		if (spoilt)
			spoil(out, type);
		return refused;
	}
	if (type == WIRE_HELLO)
		put_hello(s, out, in, flags);
	else if (type == WIRE_HACK)
		put_hack(s, out, in, flags);
	else
		wire_put_bytes(out, in->p + WIRE_HEAD_LEN, in->len - WIRE_HEAD_LEN);
	put_junk(&s->later_rng, out, 8);
	s->count.later_fields++;
	if (spoilt)
		spoil(out, type);
	else if (refused)
		out->p[WIRE_HEAD_LEN] = (uint8_t)rng_range(&s->later_rng, WIRE_FINDINGS + 1, 255);
	return refused;
}

/* What a later version knows to be the room of a datagram: all that listen can take it (R51). */
static size_t room_of(const struct sim *s)
{
	size_t room = WIRE_DGRAM_MAX;

	for (unsigned int n = 0; n < s->p.nodes; n++)
		if (s->node[n].conf.dgram_max < room)
			room = s->node[n].conf.dgram_max;
	return room;
}

enum packet_kind later_send(struct sim *s, int n, uint8_t *pkt, size_t *len)
{
	uint8_t buf[WIRE_DGRAM_MAX];
	struct wire_buf out, in;
	size_t opened;
	enum packet_kind kind = PKT_PLAIN;

	if (!(s->later & 1u << n))
		return PKT_PLAIN;
	opened = peek_open(s->node[n].e, pkt, *len);
	wire_init(&in, pkt, opened);
	wire_init(&out, buf, room_of(s) - (*len - opened));
	wire_put_bytes(&out, pkt, WIRE_HEAD_LEN);
	in.at = WIRE_HEAD_LEN;
	if (put_body(s, &out, &in))
		kind = PKT_LATER;
	if (out.err || in.err) { /* no room for more */
		out.at = opened;
		kind = PKT_PLAIN;
	} else {
		memcpy(pkt, buf, out.at);
	}
	*len = peek_close(s->node[n].e, pkt, out.at);
	if (kind != PKT_PLAIN || s->calm || !rng_chance(&s->later_rng, 50))
		return kind;
	pkt[2] = WIRE_VERSION + 1; /* looked at before the seal */
	return PKT_LATER;
}

void later_recv(struct sim *s, int n, int rc)
{
	s->count.later_refused += rc == -DROP_UNKNOWN;
	s->count.later_types += rc == -DROP_TYPE;
	s->count.later_values += rc == -DROP_VALUE;
	s->count.later_versions += rc == -DROP_VERSION;
	if (rc >= 0)
		sim_fail(s, "node %d took a datagram that it cannot understand", n);
}
