/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flight recorder (tape.h). The engine is pure: its state is a function of a state before and
 * of the calls since, so a saved state (save.c) and a tape are enough to live through everything
 * again, at leisure and with a debugger. An entry is complete before the engine looks at its input,
 * so the call that kills the process is the last one on the tape.
 *
 * The memory is the caller's. When it is full the tape ends; it never stops the engine.
 */
#include "tape.h"

#include "engine_priv.h"

_Static_assert(sizeof(struct tape_entry) == 32, "no holes in an entry");
_Static_assert(sizeof(struct engine_tape) % 8 == 0, "entries are aligned");

uint32_t tape_check(const struct tape_entry *en)
{
	uint64_t h = en->now * 0x9e3779b97f4a7c15ULL;

	h ^= (uint64_t)en->len << 32 | (uint64_t)en->door << 24 | (uint64_t)en->arg << 16;
	h = (h ^ en->hash ^ en->extra) * 0x9e3779b97f4a7c15ULL;
	return (uint32_t)(h >> 32);
}

void tape_append(struct engine_tape *t, const struct tape_entry *en, const void *payload)
{
	size_t room = tape_room(en->len);
	struct tape_entry *to = (void *)((uint8_t *)(t + 1) + t->used);

	if (t->full)
		return;
	if (room > t->size - t->used) {
		t->full = 1;
		return;
	}
	*to = *en;
	to->hash = t->hash;
	to->check = tape_check(to);
	if (en->len)
		memcpy(to + 1, payload, en->len);
	t->steps++;
	t->used += room;
	__asm__ volatile(
		"" ::
			: "memory"); /* whole before the engine goes on, should it die there */
}

void tape_op(struct engine_tape *t, const struct engine_op *op)
{
	uint8_t body[FLOW_PACKED_MAX];
	size_t len;

	if (!t)
		return;
	tape_mix_num(t, (uint64_t)op->type << 32 | op->flow.timeout_s);
	if (op->type == OP_DUMP)
		return;
	len = flow_pack(&op->flow, body);
	tape_mix(t, body, len);
	tape_mix_num(t, (uint64_t)op->exact << 63 | (uint64_t)op->limit_s << 16 |
				(uint64_t)op->peer << 8 | op->tag);
}

void tape_note(struct engine_tape *t, const struct engine_note *n)
{
	if (!t)
		return;
	tape_mix_num(t, n->type);
	tape_mix(t, n->peer, strnlen(n->peer, sizeof(n->peer)));
	tape_mix_num(t, n->arg0);
	tape_mix_num(t, n->arg1);
}

void tape_reconf(struct engine_tape *t, const struct engine_conf *conf, const struct seal *seal,
		 usec_t now)
{
	struct tape_conf more;

	if (!t)
		return;
	memset(&more, 0, sizeof(more));
	more.conf = *conf;
	more.seal = *seal;
	memset(more.conf.key, 0, sizeof(more.conf.key));
	more.conf.pages = NULL;
	seal_hide(&more.seal);
	tape_append(t, &(struct tape_entry){ .door = TAPE_RECONF, .len = sizeof(more), .now = now },
		    &more);
}

void engine_record(struct engine *e, struct engine_tape *tape)
{
	e->tape = tape;
}
