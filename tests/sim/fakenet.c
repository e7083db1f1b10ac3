/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links between the nodes: loss, duplication, delay, reordering, bit flips, partitions of each
 * direction and link. It owns the heap of datagrams under way, in order of arrival (equal instants:
 * in order of sending).
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static bool before(const struct packet *a, const struct packet *b)
{
	return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static void swap(struct packet *a, struct packet *b)
{
	struct packet t = *a;

	*a = *b;
	*b = t;
}

void net_push(struct sim *s, const struct packet *proto, const uint8_t *data, size_t len, usec_t at)
{
	size_t i;

	if (s->heap_count == s->heap_max) {
		s->heap_max = s->heap_max ? 2 * s->heap_max : 256;
		s->heap = realloc(s->heap, s->heap_max * sizeof(*s->heap));
		if (!s->heap)
			abort();
	}
	i = s->heap_count++;
	s->heap[i] = *proto;
	s->heap[i].at = at;
	s->heap[i].seq = s->seq++;
	s->heap[i].len = (uint16_t)len;
	s->heap[i].data = malloc(len ? len : 1);
	if (!s->heap[i].data)
		abort();
	memcpy(s->heap[i].data, data, len);
	for (; i && before(&s->heap[i], &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		swap(&s->heap[i], &s->heap[(i - 1) / 2]);
}

usec_t net_next(const struct sim *s)
{
	return s->heap_count ? s->heap[0].at : UINT64_MAX;
}

/* The caller frees out->data. */
bool net_pop_due(struct sim *s, struct packet *out)
{
	size_t i = 0;

	if (!s->heap_count || s->heap[0].at > s->now)
		return false;
	*out = s->heap[0];
	s->heap[0] = s->heap[--s->heap_count];
	for (;;) {
		size_t c = 2 * i + 1;

		if (c >= s->heap_count)
			return true;
		if (c + 1 < s->heap_count && before(&s->heap[c + 1], &s->heap[c]))
			c++;
		if (!before(&s->heap[c], &s->heap[i]))
			return true;
		swap(&s->heap[c], &s->heap[i]);
		i = c;
	}
}

void net_free(struct sim *s)
{
	for (size_t i = 0; i < s->heap_count; i++)
		free(s->heap[i].data);
	free(s->heap);
	s->heap = NULL;
	s->heap_count = s->heap_max = 0;
	for (unsigned int i = 0; i < s->record_count; i++)
		free(s->record[i].data);
	s->record_count = 0;
}

/* Endpoints of a node: (link, peer) in that order, or the links' groups. */
unsigned int net_endpoint(const struct sim *s, int at, int peer, unsigned int link)
{
	unsigned int slot = (unsigned int)(peer < at ? peer : peer - 1);

	if (s->p.multicast)
		return link;
	return link * (s->p.nodes - 1) + slot;
}

/* Keeps a datagram that was taken, as an attacker on the link would: to be replayed later it must
 * change nothing. */
/* Is it a datagram of node n, not of a guest (guest.c) in its place? */
static bool is_by(const struct sim *s, int n, const uint8_t *pkt, size_t len)
{
	uint8_t head[WIRE_HEAD_LEN];
	struct peek_owner o;
	struct wire_head h;
	struct wire_buf b;

	if (!s->node[n].e || len < sizeof(head))
		return false;
	memcpy(head, pkt, sizeof(head));
	wire_init(&b, head, sizeof(head));
	peek_owner(s->node[n].e, &o);
	return !wire_get_head(&b, &h) && h.sender == o.id;
}

void net_record(struct sim *s, const struct packet *p, const uint8_t *pkt, size_t len)
{
	unsigned int i;

	if (!is_by(s, p->src, pkt, len))
		return;
	i = s->record_count < 64 ? s->record_count++ : (unsigned int)rng_below(&s->rng, 64);
	free(s->record[i].data);
	s->record[i] = *p;
	s->record[i].len = (uint16_t)len;
	s->record[i].data = malloc(len);
	if (!s->record[i].data)
		abort();
	memcpy(s->record[i].data, pkt, len);
}

static usec_t delay(struct sim *s)
{
	usec_t d = s->p.delay_us + rng_below(&s->rng, s->p.jitter_us + 1);

	if (!s->calm && rng_chance(&s->rng, s->p.reorder)) {
		s->count.reordered++;
		d += rng_below(&s->rng, 20 * (s->p.delay_us + s->p.jitter_us) + 1);
	}
	return d;
}

static void send_one(struct sim *s, struct packet *p, const uint8_t *pkt, size_t len)
{
	uint8_t bad[WIRE_DGRAM_MAX];

	if (s->blocked[p->src][p->dst][p->link]) {
		s->count.blocked++;
		return;
	}
	if (s->node[p->dst].mtu && len > s->node[p->dst].mtu) {
		s->count.too_large++;
		return;
	}
	if (rough_loses(s, p->src) || (!s->calm && rng_chance(&s->rng, s->p.link_loss[p->link]))) {
		s->count.lost++;
		return;
	}
	if (!s->calm && rng_chance(&s->rng, s->p.flip)) {
		memcpy(bad, pkt, len);
		for (unsigned int i = (unsigned int)rng_range(&s->rng, 1, 3); i; i--)
			bad[rng_below(&s->rng, len)] ^= (uint8_t)(1u << rng_below(&s->rng, 8));
		s->count.flipped++;
		if (memcmp(bad, pkt, len) != 0)
			p->kind = PKT_BAD;
		net_push(s, p, bad, len, s->now + delay(s));
		return;
	}
	if (rough_is_late(s, p->src)) {
		s->count.late++;
		net_push(s, p, pkt, len, s->now + rough_delay(s));
		return;
	}
	net_push(s, p, pkt, len, s->now + delay(s));
	if (rough_is_late(s, p->src)) {
		s->count.late_copies++;
		net_push(s, p, pkt, len, s->now + rough_delay(s));
	}
	if (!s->calm && rng_chance(&s->rng, s->p.dup)) {
		s->count.duplicated++;
		net_push(s, p, pkt, len, s->now + delay(s));
	}
}

void net_send(struct sim *s, int src, uint32_t to, const uint8_t *pkt, size_t len,
	      enum packet_kind kind)
{
	s->count.multicasts += s->p.multicast;
	s->sent++;
	for (unsigned int link = 0; link < s->p.links; link++)
		for (int dst = 0; dst < (int)s->p.nodes; dst++) {
			struct packet p = { .id = s->sent,
					    .src = (uint8_t)src,
					    .dst = (uint8_t)dst,
					    .link = (uint8_t)link,
					    .kind = (uint8_t)kind };

			if (dst == src || !(to & 1u << net_endpoint(s, src, dst, link)))
				continue;
			send_one(s, &p, pkt, len);
		}
}
