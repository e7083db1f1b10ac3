/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Flows that hang on others: the children of a connection that has a helper (an FTP transfer, a
 * call's media), and expectations. Their kernel entry names the master's, which has to be there
 * first, or the tie cannot be made: ctnetlink sets it at the entry's birth alone. So a child whose
 * master we hold and have not written yet waits behind it; one whose master we do not know waits
 * until the stream has told what there is. If there is none the child goes without (kern_op.c).
 * Rule R60 of PROTOCOL.md.
 */
#include "engine_priv.h"

#include <assert.h>
#include <string.h>

void master_key(const struct engine *e, const struct flow *f, struct key *k)
{
	struct flow_key key = f->key;

	key.expect = 0;
	key.proto = f->ext.master.proto;
	key.orig = f->ext.master.orig;
	key_pack(e, &key, k);
}

static bool is_known(struct engine *e, const struct key *k)
{
	struct peer *p;

	return own_find(e, k->p, k->len, k->hash) || stray_find(e, k->p, k->len, k->hash) ||
	       mirror_find(e, k->p, k->len, k->hash, true, &p);
}

/* Must r, whose flow f has a master, wait for news of that? It then stands on a list. A node that
 * takes over does not wait. */
static bool is_awaited(struct engine *e, struct rec *r, const struct flow *f, unsigned int table)
{
	const struct peer *p = table < ENGINE_PEERS_MAX ? &e->peers[table] : NULL;
	struct key k;

	if (!p || e->role == ROLE_PRIMARY || e->commit.running)
		return false;
	master_key(e, f, &k);
	if (is_known(e, &k))
		return false;
	if ((r->flags & F_AWAITED) && !p->resyncing && p->covered >= r->version)
		return false;
	r->flags |= F_AWAITED;
	r->aux = to_s(e->now);
	cache_list_add(p->mirror, r, CACHE_LIST_LATER);
	return true;
}

/* Could it be written? Not what is there, on its way, or has failed already. */
static bool is_waiting(const struct engine *e, const struct rec *m)
{
	struct flow f;

	return !(m->flags & (F_KERN | F_FLIGHT | F_REFUSED | F_CHECK | F_STALE)) &&
	       !flow_unpack(m->body, m->len, &f) && active_injectable(e, &f);
}

/* The record of f's master if it can be put into our kernel and is not there; *table becomes its
 * own. The child r then stands on the work list. NULL: none. */
static struct rec *first(struct engine *e, const struct flow *f, unsigned int *table, struct rec *r)
{
	struct cache *children = *table == TABLE_STRAYS ? e->strays : e->peers[*table].mirror;
	struct peer *p, *q;
	struct rec *m, *x;
	struct key k;

	master_key(e, f, &k);
	if (own_find(e, k.p, k.len, k.hash) || mirror_find(e, k.p, k.len, k.hash, false, &p))
		return NULL;
	m = stray_find(e, k.p, k.len, k.hash);
	if (m) {
		*table = TABLE_STRAYS;
	} else {
		m = mirror_find(e, k.p, k.len, k.hash, true, &p);
		x = m ? copy_before(e, p, m, &q) : NULL;
		if (x) {
			m = x;
			p = q;
		}
		if (m)
			*table = p->index;
	}
	if (!m || m == r || !is_waiting(e, m))
		return NULL;
	r->flags &= (uint16_t)~F_FLIGHT;
	cache_list_add(children, r, CACHE_LIST_WORK);
	cache_list_del(*table == TABLE_STRAYS ? e->strays : p->mirror, m);
	return m;
}

static bool inject_make(struct engine *e, struct rec *r, unsigned int table, struct engine_op *op)
{
	struct rec_timer t = rec_timer(e, r);
	bool backup = e->role == ROLE_BACKUP && table < ENGINE_PEERS_MAX;

	return visit_make(op, OP_INJECT, r, table, TAG_PLAIN, backup ? t.hold_s : t.write_s,
			  UINT32_MAX);
}

bool master_inject(struct engine *e, struct rec *r, unsigned int table, struct engine_op *op)
{
	if (!inject_make(e, r, table, op))
		return false;
	if (!(op->flow.has & FLOW_HAS_MASTER))
		return true;
	if (is_awaited(e, r, &op->flow, table)) {
		r->flags &= (uint16_t)~F_FLIGHT;
		return false;
	}
	for (unsigned int depth = 0; depth < MASTERS_MAX; depth++) {
		r = first(e, &op->flow, &table, r);
		if (!r)
			break;
		(void)inject_make(e, r, table, op); /* master_first() has unpacked it */
		if (!(op->flow.has & FLOW_HAS_MASTER))
			break;
	}
	return true;
}

void master_look(struct rec *r)
{
	struct flow f;

	/* An expectation too: SIP moves its timer, and wakes it, without an event (R86). */
	if (!flow_unpack(r->body, r->len, &f) && (f.key.expect || (f.has & FLOW_HAS_HELPER)))
		r->flags |= F_HELPED;
}

bool master_read_helped(struct engine *e, struct rec *r, struct engine_op *op)
{
	if (!(r->flags & F_HELPED))
		return false;
	e->patrol.short_holds = true;
	if (e->dump.running || !patrol_token(e))
		return false;
	return visit_make(op, OP_GET, r, TABLE_LOCAL, TAG_REREAD, 0, 0);
}
