/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What one datagram may do to a receiver: it is taken once, by whatever links and however late it
 * comes (R53, I8); a LIST leaves of its range what the owner had at its version (R19), and what it
 * has ended it keeps away (R20); a VECTOR calls no bucket unequal of which changes are still on
 * their way (R28); and a total that agrees is believed (R7, R29). The oracle of mirrors (oracle.c)
 * sees none of this in the tables alone: it has to know what was said.
 */
#include <string.h>

#include "sim.h"

static uint64_t be64(const uint8_t *p)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

/* The peer whose present epoch the clear header names. */
static bool sender(const struct sim *s, int n, const struct packet *p, struct peek_peer *out)
{
	for (unsigned int k = 0; k < ENGINE_PEERS_MAX; k++)
		if (peek_peer(s->node[n].e, k, out) && out->id == be64(p->data + 4) &&
		    out->epoch == be64(p->data + 12))
			return true;
	return false;
}

/* Is the bucket of connection i among those whose LIST is wanted? */
static bool is_wanted(const struct sim *s, int n, unsigned int k, unsigned int i)
{
	return peek_list_wanted(s->node[n].e, k, peek_hash(s->node[n].e, &s->conn[i].key));
}

void recv_look(struct sim *s, int n, const struct packet *p, struct recv_look *l)
{
	l->known = p->len >= WIRE_HEAD_LEN && sender(s, n, p, &l->peer);
	l->len = 0;
	if (!l->known || p->kind != PKT_PLAIN || s->flipped)
		return;
	memcpy(l->pkt, p->data, p->len);
	l->len = peek_open(s->node[n].e, l->pkt, p->len);
	for (unsigned int i = 0; i < s->p.keys && l->len && l->pkt[WIRE_HEAD_LEN] == WIRE_VECTOR;
	     i++)
		l->wanted[i] = is_wanted(s, n, l->peer.index, i);
}

static void check_list(struct sim *s, int n, const struct recv_look *l, struct stream *st,
		       struct wire_buf *b)
{
	struct view *v = &s->view[n][l->peer.index];
	struct wire_list m;

	wire_get_list(b, &m);
	for (unsigned int i = 0; i < s->p.keys && !s->failed; i++) {
		uint32_t hash = peek_hash(s->node[n].e, &s->conn[i].key);
		struct peek_rec r;
		bool held = peek_mirror(s->node[n].e, l->peer.index, &s->conn[i].key, &r);

		if (hash < m.lo || hash > m.hi_incl)
			continue;
		if ((v->held[i] || v->old[i]) && !held && m.version > l->peer.covered)
			v->gone[i] = m.version;
		if (held && r.version <= m.version &&
		    (!r.current || r.version != oracle_alive_at(st, i, m.version)))
			sim_fail(s,
				 "node %d: flow %u of node %d is held at version %llu after a LIST "
				 "of version %llu, which has it not (R19)",
				 n, i, st->node, (unsigned long long)r.version,
				 (unsigned long long)m.version);
	}
}

static void check_vector(struct sim *s, int n, const struct recv_look *l, struct stream *st,
			 struct wire_buf *b)
{
	struct wire_vector m;

	wire_get_vector(b, &m);
	for (unsigned int i = 0; i < s->p.keys; i++) {
		uint64_t last = oracle_word_at(st, i, m.version);

		if (l->wanted[i] || last <= l->peer.covered || !is_wanted(s, n, l->peer.index, i))
			continue;
		sim_fail(s,
			 "node %d asks node %d for the bucket of flow %u, which changed at version "
			 "%llu, and has covered %llu (R28)",
			 n, st->node, i, (unsigned long long)last,
			 (unsigned long long)l->peer.covered);
	}
}

static void check_total(struct sim *s, int n, const struct recv_look *l, struct stream *st,
			struct wire_buf *b, uint8_t flags)
{
	struct wire_data m;
	struct peek_peer p;

	wire_get_data(b, flags, &m);
	if (!(flags & WIRE_F_DIGEST) || !peek_peer(s->node[n].e, l->peer.index, &p) || p.in_sync ||
	    !p.complete || p.covered != m.head || p.maxhead != m.head ||
	    peek_total(s->node[n].e, p.index) != m.digest)
		return;
	sim_fail(s, "node %d equals node %d at version %llu, and does not say it (R29)", n,
		 st->node, (unsigned long long)m.head);
}

static void check_twice(struct sim *s, int n, const struct packet *p, bool known)
{
	uint64_t *slot = &s->node[n].taken[p->id % TAKEN_MAX];
	struct peek_peer now;

	if (known && *slot == p->id)
		sim_fail(s, "node %d takes a datagram of node %u twice (R53, I8)", n, p->src);
	if (known || sender(s, n, p, &now))
		*slot = p->id;
}

static void note_heard(struct sim *s, int n, const struct packet *p)
{
	s->node[n].took_at[p->src] = s->now;
	if (p->kind != PKT_PLAIN || p->data[WIRE_HEAD_LEN] < WIRE_DATA)
		return;
	s->node[n].heard_at[p->src] = s->now;
	s->node[n].came_at[p->src] = p->at;
}

/* p->data was opened in place, but for its clear header. */
void recv_check(struct sim *s, int n, const struct packet *p, struct recv_look *l, int rc)
{
	struct stream *st = l->known ? oracle_stream(s, l->peer.epoch) : NULL;
	struct wire_buf b;
	uint8_t type, flags;

	if (!rc)
		note_heard(s, n, p);
	if (rc < 0 || s->failed)
		return;
	if (p->len >= WIRE_HEAD_LEN)
		check_twice(s, n, p, l->known);
	if (!st || !l->len || s->failed)
		return;
	wire_init(&b, l->pkt, l->len);
	b.at = WIRE_HEAD_LEN;
	type = wire_get_u8(&b);
	flags = wire_get_u8(&b);
	if (type == WIRE_LIST)
		check_list(s, n, l, st, &b);
	else if (type == WIRE_VECTOR)
		check_vector(s, n, l, st, &b);
	else if (type == WIRE_DATA)
		check_total(s, n, l, st, &b, flags);
}
