/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Own flows that are read again, one by one, because an event said less than is to be known: what a
 * helper does to its connection sends no event but that of the expectation (master.c), and a
 * DESTROY may speak of an earlier incarnation than the one we know (own.c). A ring in the order of
 * asking; who asks when it is full has to have another way.
 */
#include "engine_priv.h"

#include <string.h>

#define REREAD_MS 10 /* an expectation is announced a moment before its packet is changed */

static struct reread *at(struct engine *e, unsigned int i)
{
	return &e->rereads[(e->reread_at + i) % REREADS_MAX];
}

bool reread_put(struct engine *e, const struct rec *r, enum op_tag tag, usec_t now)
{
	struct reread *last = e->reread_count ? at(e, e->reread_count - 1) : NULL;

	if (last && last->hash == r->hash && last->tag == tag && last->due > now) {
		last->due = now + REREAD_MS * USEC_PER_MS;
		return true;
	}
	if (e->reread_count == REREADS_MAX)
		return false;
	last = at(e, e->reread_count++);
	*last = (struct reread){ .due = now + REREAD_MS * USEC_PER_MS,
				 .hash = r->hash,
				 .tag = (uint8_t)tag,
				 .keylen = r->keylen };
	memcpy(last->key, r->body, r->keylen);
	return true;
}

/* Is it asked for anew, to be read later? */
static bool waits_again(struct engine *e, const struct reread *d)
{
	for (unsigned int i = 0; i < e->reread_count; i++)
		if (at(e, i)->hash == d->hash && at(e, i)->tag == d->tag)
			return true;
	return false;
}

bool reread_op(struct engine *e, struct engine_op *op, usec_t now)
{
	while (e->reread_count && at(e, 0)->due <= now) {
		struct reread d = *at(e, 0);
		struct rec *r = own_find(e, d.key, d.keylen, d.hash);
		unsigned int table = TABLE_LOCAL;
		struct peer *p;

		e->reread_at = (e->reread_at + 1) % REREADS_MAX;
		e->reread_count--;
		if (!r && d.tag == TAG_SWEEP &&
		    (r = mirror_find(e, d.key, d.keylen, d.hash, false, &p)))
			table = p->index;
		if (r && !(r->flags & F_FLIGHT))
			return visit_make(op, OP_GET, r, table, d.tag, 0, 0);
		if (d.tag == TAG_PARTIAL) {
			if (waits_again(e, &d)) /* of the life before: its master comes later */
				continue;
			r = stray_find(e, d.key, d.keylen, d.hash);
			if (r && (r->flags & F_CHECK))
				return visit_make(op, OP_GET, r, TABLE_STRAYS, d.tag, 0, 0);
			continue;
		}
		if (r) /* after the operation that is under way */
			(void)reread_put(e, r, d.tag, now);
	}
	return false;
}

void reread_rehash(struct engine *e)
{
	for (unsigned int i = 0; i < e->reread_count; i++)
		at(e, i)->hash = cache_hash(e->local, at(e, i)->key, at(e, i)->keylen);
}

usec_t reread_deadline(const struct engine *e)
{
	return e->reread_count ? e->rereads[e->reread_at].due : UINT64_MAX;
}
