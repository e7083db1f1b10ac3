/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Plays a tape (player.h). The engine is the daemon's own object; what it hands out goes nowhere,
 * and what it is told comes from the tape. Each entry holds the trace as it was before its call, so
 * the first step after which the engine said something else is known exactly.
 */
#include "player.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>

void player_init(struct player *p, struct engine *e, uint64_t hash, usec_t start_at)
{
	*p = (struct player){ .e = e, .start_at = start_at };
	p->trace = (struct engine_tape){ .hash = hash, .full = 2 };
	engine_record(e, &p->trace);
}

const struct tape_entry *player_next(const struct engine_tape *t, uint64_t *at)
{
	const struct tape_entry *en = (const void *)((const uint8_t *)(t + 1) + *at);

	if (t->used - *at < sizeof(*en) || tape_room(en->len) > t->used - *at ||
	    en->check != tape_check(en) || !en->door || en->door >= TAPE_DOORS)
		return NULL;
	*at += tape_room(en->len);
	return en;
}

/* ---- Text ---- */

/* A flow is recorded without the part that it does not use. */
static bool is_flow_len(uint32_t len)
{
	return len == FLOW_PLAIN_LEN || len == sizeof(struct flow);
}

static void tuple_text(char *buf, size_t len, uint8_t l3, const struct flow_tuple *t)
{
	char src[INET6_ADDRSTRLEN] = "", dst[INET6_ADDRSTRLEN] = "";
	int family = l3 == 6 ? AF_INET6 : AF_INET;

	(void)inet_ntop(family, t->src, src, sizeof(src));
	(void)inet_ntop(family, t->dst, dst, sizeof(dst));
	(void)snprintf(buf, len, "%s:%u > %s:%u", src, ntohs(t->sport), dst, ntohs(t->dport));
}

static void flow_text(char *buf, size_t len, const struct flow *f)
{
	char tuple[160];

	tuple_text(tuple, sizeof(tuple), f->key.l3, &f->key.orig);
	(void)snprintf(buf, len, "proto %u %s status %#x tcp %u mark %u", f->key.proto, tuple,
		       f->status, f->tcp.state, f->mark);
}

void player_flow(char *buf, size_t len, const uint8_t *body, size_t body_len)
{
	struct flow f = { 0 };
	char tuple[160];

	if (!flow_unpack(body, body_len, &f)) {
		flow_text(buf, len, &f);
	} else if (flow_key_unpack(body, body_len, &f.key)) {
		tuple_text(tuple, sizeof(tuple), f.key.l3, &f.key.orig);
		(void)snprintf(buf, len, "proto %u %s", f.key.proto, tuple);
	} else {
		(void)snprintf(buf, len, "a flow that cannot be unpacked");
	}
}

static const char *const door_names[TAPE_DOORS] = {
	[TAPE_KERN] = "kernel",    [TAPE_RECV] = "datagram", [TAPE_DROP] = "unopened",
	[TAPE_TICK] = "tick",      [TAPE_CMD] = "command",   [TAPE_RECONF] = "configuration",
	[TAPE_SEND] = "send",      [TAPE_OP] = "operate",    [TAPE_RESULT] = "result",
	[TAPE_NOTE] = "read note", [TAPE_POLICY] = "policy"
};

static const char *const message_names[] = { "?",      "HELLO", "HACK", "DATA",  "REPORT",  "LIST",
					     "VECTOR", "ASK",   "BYE",  "AUDIT", "FINDINGS" };

static const char *message_name(const uint8_t *pkt, size_t len)
{
	uint8_t type = len > WIRE_HEAD_LEN ? pkt[WIRE_HEAD_LEN] : 0;

	return type < ARRAY_LEN(message_names) ? message_names[type] : "?";
}

void player_print(FILE *f, const struct tape_entry *en, uint64_t step, usec_t start_at)
{
	const uint8_t *payload = (const void *)(en + 1);
	static const char *const events[] = { "NEW",      "UPDATE",    "DESTROY", "DUMP",
					      "DUMP_END", "DUMP_FAIL", "OVERRUN" };
	char text[320];

	fprintf(f, "%8" PRIu64 " %12.6f %s", step,
		(double)(en->now - start_at) / (double)USEC_PER_SEC, door_names[en->door]);
	if (en->door == TAPE_KERN && en->arg < ARRAY_LEN(events))
		fprintf(f, " %s", events[en->arg]);
	if (is_flow_len(en->len) && (en->door == TAPE_KERN || en->door == TAPE_RESULT)) {
		struct flow flow;

		memcpy(&flow, payload, en->len);
		flow_text(text, sizeof(text), &flow);
		fprintf(f, " %s", text);
	}
	if (en->door == TAPE_RECV)
		fprintf(f, " %s of %u bytes", message_name(payload, en->len), en->len);
	else if (en->door == TAPE_RESULT)
		fprintf(f, " errno %u", en->extra);
	else if (en->door == TAPE_DROP || en->door == TAPE_CMD)
		fprintf(f, " %u", en->arg);
	fputc('\n', f);
}

/* ---- Calls ---- */

static void play_recv(struct player *p, const struct tape_entry *en)
{
	uint8_t pkt[WIRE_DGRAM_MAX + 64];
	int rc;

	memcpy(pkt, en + 1, en->len);
	rc = engine_recv_opened(p->e, en->arg, pkt, en->len, en->extra, en->now);
	if (p->out && rc)
		fprintf(p->out, "         dropped, reason %d\n", -rc);
}

static void play_drop(struct player *p, const struct tape_entry *en)
{
	p->e->now = en->now;
	p->e->count.drops[en->arg]++;
	tape_mix_recv(&p->trace, -(int)en->arg);
}

static void play_reconf(struct player *p, const struct tape_entry *en)
{
	struct tape_conf more;

	memcpy(&more, en + 1, sizeof(more));
	engine_reconf(p->e, &more.conf, en->now);
	p->e->seal = more.seal;
}

static bool play_policy(struct player *p, const struct tape_entry *en)
{
	struct policy_conf *conf = calloc(1, sizeof(*conf));
	bool ok = conf && policy_conf_ok(en + 1, en->len);

	if (ok)
		memcpy(conf, en + 1, en->len);
	ok = ok && engine_policy(p->e, conf, en->now);
	free(conf);
	return ok;
}

static void play_send(struct player *p, const struct tape_entry *en)
{
	uint8_t pkt[WIRE_DGRAM_MAX];
	uint32_t to;
	size_t len = engine_send(p->e, pkt, &to, en->now);

	if (p->out && len)
		fprintf(p->out, "         sent %zu bytes\n", len);
}

static bool play_op(struct player *p, const struct tape_entry *en)
{
	struct engine_op op;
	char text[320];

	if (!engine_op(p->e, &op, en->now) || op.type == OP_DUMP)
		return true;
	if (p->op_count == PLAYER_OPS_MAX)
		return false;
	p->ops[(p->op_at + p->op_count++) % PLAYER_OPS_MAX] = op;
	if (!p->out)
		return true;
	flow_text(text, sizeof(text), &op.flow);
	fprintf(p->out, "         operation %d on %s\n", op.type, text);
	return true;
}

static bool play_result(struct player *p, const struct tape_entry *en)
{
	struct flow got;

	if (!p->op_count)
		return false;
	if (en->len)
		memcpy(&got, en + 1, en->len);
	engine_result(p->e, &p->ops[p->op_at % PLAYER_OPS_MAX], -(int)en->extra,
		      en->len ? &got : NULL, en->now);
	p->op_at++;
	p->op_count--;
	return true;
}

static void play_note(struct player *p)
{
	struct engine_note n;

	if (engine_note(p->e, &n) && p->out)
		fprintf(p->out, "         note %d %s %" PRIu64 " %" PRIu64 "\n", n.type, n.peer,
			n.arg0, n.arg1);
}

static void play_kern(struct player *p, const struct tape_entry *en)
{
	struct flow f;

	if (en->len)
		memcpy(&f, en + 1, en->len);
	engine_kern(p->e, en->arg, en->len ? &f : NULL, en->extra, en->now);
}

/* Could the recorder have written it? Sizes and ranges that the doors assert. */
static bool well_formed(const struct tape_entry *en)
{
	switch (en->door) {
	case TAPE_KERN:
		return en->arg <= KERN_DRAINED &&
		       (en->arg <= KERN_DUMP ? is_flow_len(en->len) : en->len == 0);
	case TAPE_RECV:
		return en->len >= WIRE_HEAD_LEN && en->len <= WIRE_DGRAM_MAX &&
		       en->arg < ENGINE_ENDPOINTS_MAX;
	case TAPE_DROP:
		return en->arg < DROP_COUNT;
	case TAPE_RECONF:
		return en->len == sizeof(struct tape_conf);
	case TAPE_POLICY:
		return en->len <= sizeof(struct policy_conf);
	case TAPE_RESULT:
		return en->len == 0 || is_flow_len(en->len);
	default:
		return en->len == 0;
	}
}

enum player_end player_step(struct player *p, const struct tape_entry *en)
{
	bool ok = well_formed(en);

	if (en->hash != p->trace.hash)
		return PLAYER_DIFFERS;
	if (!ok)
		return PLAYER_BROKEN;
	p->step++;
	if (p->out)
		player_print(p->out, en, p->step, p->start_at);
	switch (en->door) {
	case TAPE_KERN:
		play_kern(p, en);
		break;
	case TAPE_RECV:
		play_recv(p, en);
		break;
	case TAPE_DROP:
		play_drop(p, en);
		break;
	case TAPE_TICK:
		engine_tick(p->e, en->now);
		break;
	case TAPE_CMD:
		engine_cmd(p->e, en->arg, en->now);
		break;
	case TAPE_RECONF:
		play_reconf(p, en);
		break;
	case TAPE_POLICY:
		ok = play_policy(p, en);
		break;
	case TAPE_SEND:
		play_send(p, en);
		break;
	case TAPE_OP:
		ok = play_op(p, en);
		break;
	case TAPE_RESULT:
		ok = play_result(p, en);
		break;
	case TAPE_NOTE:
		play_note(p);
		break;
	default:
		ok = false;
	}
	return ok ? PLAYER_DONE : PLAYER_BROKEN;
}

enum player_end player_run(struct player *p, const struct engine_tape *t)
{
	const struct tape_entry *en;
	uint64_t at = 0;
	enum player_end end;

	while ((en = player_next(t, &at))) {
		end = player_step(p, en);
		if (end != PLAYER_DONE)
			return end;
	}
	if (at != t->used)
		return PLAYER_BROKEN;
	return p->trace.hash == t->hash ? PLAYER_DONE : PLAYER_DIFFERS;
}

/* ---- What an entry is about ---- */

static bool records_touch(struct wire_buf *b, const uint8_t *key, size_t keylen)
{
	struct wire_rec w;

	while (wire_get_rec(b, &w))
		if (w.body_len >= keylen && !memcmp(w.body, key, keylen))
			return true;
	return false;
}

static bool datagram_touches(const struct tape_entry *en, const uint8_t *key, size_t keylen)
{
	uint8_t pkt[WIRE_DGRAM_MAX];
	struct wire_data data;
	struct wire_list list;
	struct wire_buf b;
	uint8_t type, flags;

	if (en->len > sizeof(pkt))
		return false;
	memcpy(pkt, en + 1, en->len);
	wire_init(&b, pkt, en->len);
	b.at = WIRE_HEAD_LEN;
	type = wire_get_u8(&b);
	flags = wire_get_u8(&b);
	if (type == WIRE_DATA)
		wire_get_data(&b, flags, &data);
	else if (type == WIRE_LIST)
		wire_get_list(&b, &list);
	else
		return false;
	return !b.err && records_touch(&b, key, keylen);
}

bool player_touches(const struct tape_entry *en, const uint8_t *key, size_t keylen)
{
	uint8_t packed[FLOW_KEY_MAX];
	struct flow f;

	if (en->door == TAPE_RECV)
		return datagram_touches(en, key, keylen);
	if (!is_flow_len(en->len) || (en->door != TAPE_KERN && en->door != TAPE_RESULT))
		return false;
	memcpy(&f, en + 1, en->len);
	return flow_key_pack(&f.key, packed) == keylen && !memcmp(packed, key, keylen);
}
