/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Expectations: what a helper has announced and what has not come yet (the data connection of an
 * FTP session, a call's media). They are records as flows are, and most rules do not tell them
 * apart; here is what differs (PROTOCOL.md, R83 to R88). An expectation hangs on its master: with
 * the master it is included or left out, and with the master the kernel deletes it. Packets never
 * move its timer, its first packet ends it.
 */
#include "engine_priv.h"

#include <string.h>

enum where { NOWHERE, OWN, STRAY, COPY, MIRROR };

/* f's master as we know it. Of a zone the kernel's word does not tell for which direction the
 * master is in it. */
static const struct rec *master_of(struct engine *e, struct flow f, enum where *where)
{
	const struct rec *r;
	struct peer *p;
	struct key k;

	do {
		master_key(e, &f, &k);
		*where = OWN;
		r = own_find(e, k.p, k.len, k.hash);
		if (!r) { /* beside an orphan a copy is what our kernel has */
			r = mirror_find(e, k.p, k.len, k.hash, false, &p);
			*where = COPY;
		}
		if (!r) {
			*where = STRAY;
			r = stray_find(e, k.p, k.len, k.hash);
		}
		if (!r) {
			r = mirror_find(e, k.p, k.len, k.hash, true, &p);
			*where = r ? MIRROR : NOWHERE;
		}
	} while (!r && f.key.zone && f.key.zone_dir++ < 2);
	return r;
}

static enum where master_at(struct engine *e, const struct rec *r, const struct rec **master)
{
	enum where where = NOWHERE;
	struct flow f;

	*master = flow_unpack(r->body, r->len, &f) ? NULL : master_of(e, f, &where);
	return where;
}

bool expect_has_master(struct engine *e, const struct flow *f)
{
	enum where where;

	return (f->has & FLOW_HAS_MASTER) && master_of(e, *f, &where);
}

bool expect_included(struct engine *e, const struct flow *f)
{
	enum where where;
	const struct rec *r = f->has & FLOW_HAS_MASTER ? master_of(e, *f, &where) : NULL;
	struct flow master;

	if (!r || !e->policy)
		return r;
	return !flow_unpack(r->body, r->len, &master) && policy_includes(e->policy, &master);
}

bool expect_is_ours(struct engine *e, const struct rec *r)
{
	const struct rec *master;

	return master_at(e, r, &master) == OWN;
}

static bool expect_is_included(struct engine *e, const struct rec *r)
{
	struct flow f;

	return !flow_unpack(r->body, r->len, &f) && expect_included(e, &f);
}

bool expect_follows(struct engine *e, const struct rec *r)
{
	if (!flow_is_expect(r->body) || !(r->flags & F_KERN) ||
	    (r->flags & (F_DOOM | F_CHECK | F_FLIGHT)))
		return false;
	e->patrol.short_holds = true; /* rounds are short while one waits */
	return expect_is_ours(e, r) && expect_is_included(e, r);
}

void expect_wait(struct engine *e, const uint8_t *body, size_t len, size_t keylen, uint32_t hash)
{
	struct rec *s = cache_put(e->strays, body, len, keylen, hash);

	if (!s)
		return;
	cache_list_del(e->strays, s);
	s->flags = F_KERN;
	s->written_s = s->expire_s = s->aux = 0;
	s->gen = e->dump.gen;
}

bool expect_fell(struct engine *e, const struct rec *r)
{
	const struct rec *master;
	enum where where = master_at(e, r, &master);

	if (where == STRAY)
		return !(master->flags & F_KERN);
	return where == NOWHERE || where == MIRROR;
}

/* What a helper does to its connection (it shifts sequence numbers where it rewrote an address)
 * sends no event but that of the expectation, and that a moment before the packet is changed: R61.
 */
void expect_event(struct engine *e, const struct flow *f, usec_t now)
{
	const struct rec *r;
	enum where where;

	r = f->has & FLOW_HAS_MASTER ? master_of(e, *f, &where) : NULL;
	if (r && where == OWN) /* else the patrol reads what has a helper */
		(void)reread_put(e, r, TAG_REREAD, now);
}

bool expect_visit(struct engine *e, struct rec *r)
{
	if (!flow_is_expect(r->body) || expect_is_included(e, r))
		return false;
	if (cache_hash(e->local, r->body, r->keylen) != r->hash)
		return false; /* memory flipped: the scrub's business */
	scope_withdraw(e, r);
	return true;
}

void expect_spend(struct engine *e, struct peer *p, struct rec *r)
{
	e->count.expects_spent += !(r->flags & F_SPENT);
	e->refused -= (r->flags & F_REFUSED) != 0;
	r->flags = (uint16_t)((r->flags & ~F_REFUSED) | F_SPENT);
	if (r->flags & F_KERN)
		cache_list_add(p->mirror, r, CACHE_LIST_WORK);
	else
		cache_list_del(p->mirror, r);
}

/* Does the peer's expectation r announce child? The kernel keeps one whose flags say so. */
static bool announces(const struct rec *r, const struct flow *child)
{
	struct flow f;

	return !flow_unpack(r->body, r->len, &f) && !(f.ext.expect.flags & FLOW_EXPECT_PERMANENT) &&
	       !memcmp(&f.ext.master, &child->ext.master, sizeof(f.ext.master));
}

/* Our own, if we wrote it: of a peer's word, between the packet that used it and its event. */
static void undo(struct engine *e, const struct key *k, const struct flow *child)
{
	struct rec *own = own_find(e, k->p, k->len, k->hash), *s;

	if (!own || !(own->flags & F_ADOPTED) || !announces(own, child))
		return;
	s = stray_put(e, own, F_KERN | F_DOOM, own->written_s);
	stream_ended(e, own, WIRE_REC_DEAD);
	if (s)
		cache_list_add(e->strays, s, CACHE_LIST_WORK);
}

/* In all mirrors that have the key, and what waits for a promote; of a child, if it announces that.
 */
static void spend_all(struct engine *e, const struct key *k, const struct flow *child)
{
	struct rec *s = stray_find(e, k->p, k->len, k->hash);

	if (s && !(s->flags & F_KERN) && (!child || announces(s, child)))
		stray_del(e, s);
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct peer *p = &e->peers[i];
		struct rec *r = p->used ? cache_find(p->mirror, k->p, k->len, k->hash) : NULL;

		if (r && !r->tomb && (!child || announces(r, child)))
			expect_spend(e, p, r);
	}
}

void expect_ended(struct engine *e, const uint8_t *key, size_t keylen, uint32_t hash)
{
	struct key k = { .len = keylen, .hash = hash };

	memcpy(k.p, key, keylen);
	spend_all(e, &k, NULL);
}

void expect_used(struct engine *e, const struct flow *child)
{
	enum { ANY_SRC = 1, ANY_SPORT = 2, ALL };

	for (unsigned int i = 0; i < ALL; i++) { /* as the masks of helpers are */
		struct flow_key key = child->key;
		struct key k;

		key.expect = 1;
		if (i & ANY_SRC)
			memset(key.orig.src, 0, sizeof(key.orig.src));
		if (i & ANY_SPORT)
			key.orig.sport = 0;
		key_pack(e, &key, &k);
		undo(e, &k, child);
		spend_all(e, &k, child);
	}
}
