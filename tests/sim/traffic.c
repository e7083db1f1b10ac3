/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections and their packets. A connection's truth lives in conn[]; the kernel of the node that
 * carries it follows packet by packet, as the real one does: a first packet makes an entry, a
 * change of state is an event, any other packet refreshes a timer and says nothing. A packet in
 * mid-stream that meets no entry, or one with an old TCP window, ends the connection: that is what
 * a failover must not do to the flows that it promised to carry.
 */
#include <string.h>

#include "sim.h"

#define ST_EXPECTED 0x1u
#define ST_SEEN_REPLY 0x2u
#define ST_ASSURED 0x4u
#define ST_CONFIRMED 0x8u
#define ST_SNAT (0x10u | 0x80u)
#define LIBERAL 0x8u

enum {
	TCP_SYN_SENT = 1,
	TCP_SYN_RECV,
	TCP_ESTABLISHED,
	TCP_FIN_WAIT,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_TIME_WAIT,
	TCP_CLOSE
};

static void make_tuple(struct flow_key *key, unsigned int i)
{
	key->orig = (struct flow_tuple){ 0 };
	if (key->l3 == 6) {
		key->orig.src[0] = key->orig.dst[0] = 0xfd;
		key->orig.src[15] = (uint8_t)i;
		key->orig.dst[15] = 1;
	} else {
		key->orig.src[0] = 10;
		key->orig.src[3] = (uint8_t)i;
		key->orig.dst[0] = 192;
		key->orig.dst[3] = 1;
	}
	key->orig.sport = (uint16_t)(i * 3 + 1);
	key->orig.dport = key->proto == 1 ? 8 : 0x5000;
}

/* Another address until the key lies in a bucket of our choice. */
static void crowd(const uint8_t *tables, struct flow_key *key, unsigned int i)
{
	uint8_t *part = key->orig.src + (key->l3 == 4 ? 1 : 13);

	for (unsigned int n = 0; n <= UINT16_MAX; n++) {
		part[0] = (uint8_t)(n >> 8);
		part[1] = (uint8_t)n;
		if (peek_bucket(tables, key) == 3 + i % 2)
			return;
	}
}

void traffic_key(struct sim *s, unsigned int i)
{
	uint8_t tables[WIRE_TABLES_LEN];
	struct conn *c = &s->conn[i];

	make_tuple(&c->flow.key, i);
	peek_tables(&s->node[0].conf, tables);
	if (s->p.crowded)
		crowd(tables, &c->flow.key, i);
	flow_inverse(&c->flow.key, &c->flow.reply);
}

void traffic_init(struct sim *s)
{
	static const uint8_t protos[8] = { 6, 6, 6, 6, 6, 17, 17, 1 };

	s->carrier = 0;
	s->count.crowds += s->p.crowded;
	for (unsigned int i = 0; i < s->p.keys; i++) {
		struct conn *c = &s->conn[i];

		c->flow.key.proto = protos[i % 8];
		if (s->rough.tftp && expect_is_master(i))
			c->flow.key.proto = 17;
		c->flow.key.l3 = i % 5 == 4 && c->flow.key.proto != 1 ? 6 : 4;
		c->flow.key.zone = i % 16 == 9 ? 7 : 0;
		traffic_key(s, i);
		c->carrier = rng_chance(&s->rng, s->p.spread)
				     ? (int8_t)rng_below(&s->rng, s->p.nodes)
				     : -1;
		c->doubled = rng_chance(&s->rng, s->p.asym);
	}
}

/* The node that the next packet passes through, -1: none. */
int traffic_carrier(const struct sim *s, unsigned int i)
{
	int n = s->conn[i].carrier >= 0 ? s->conn[i].carrier : s->carrier;

	return n >= 0 && s->node[n].off ? -1 : n;
}

uint32_t traffic_timeout(const struct sim *s, unsigned int i)
{
	return flow_full_timeout(&s->node[0].conf.timeouts, &s->conn[i].flow);
}

static bool nat_port_free(const struct sim *s, int n, unsigned int i, uint16_t port)
{
	for (unsigned int j = 0; j < s->p.keys; j++) {
		const struct kent *t = &s->node[n].k.ent[j];

		if (j != i && t->present && (t->f.status & ST_SNAT) &&
		    t->f.key.proto == s->conn[i].flow.key.proto && t->f.reply.dport == port)
			return false;
	}
	return true;
}

/* A new incarnation: its addresses as this node would translate them, its state as of the first
 * packet. */
static bool fresh(struct sim *s, unsigned int i, int n)
{
	struct conn *c = &s->conn[i];
	struct flow *f = &c->flow;

	f->status = ST_CONFIRMED | (f->has & FLOW_HAS_MASTER ? ST_EXPECTED : 0);
	f->mark = rng_chance(&s->rng, 2000) ? (uint32_t)rng_below(&s->rng, 4) : 0;
	f->tcp = (struct flow_tcp){ 0 };
	flow_inverse(&f->key, &f->reply);
	if (f->key.proto == 6)
		f->tcp = (struct flow_tcp){ .state = TCP_SYN_SENT,
					    .wscale = { 7, 0 },
					    .flags = { 0x3, 0 } };
	if (i % 3 || f->key.l3 != 4 || f->key.proto == 1)
		return true;
	for (unsigned int tries = 0; tries < 8; tries++) {
		uint16_t port = (uint16_t)(2000 + rng_below(&s->rng, s->p.keys));

		if (!nat_port_free(s, n, i, port))
			continue;
		memset(f->reply.dst, 0, sizeof(f->reply.dst));
		f->reply.dst[0] = 203;
		f->reply.dst[3] = 1;
		f->reply.dport = port;
		f->status |= ST_SNAT;
		return true;
	}
	return false;
}

static void lost(struct sim *s, unsigned int i, int n, const char *why)
{
	sim_trace(s, "node %d: connection %u is lost: %s", n, i, why);
	s->conn[i].open = false;
}

/* What packets make of an entry's TCP state. A liberal entry stays so. */
static struct flow_tcp after_packet(const struct flow *entry, const struct flow *conn)
{
	struct flow_tcp tcp = conn->tcp;

	for (unsigned int d = 0; d < 2; d++)
		tcp.flags[d] |= entry->tcp.flags[d] & LIBERAL;
	return tcp;
}

static bool same_tcp(const struct flow *entry, const struct flow *conn)
{
	struct flow_tcp tcp = after_packet(entry, conn);

	return entry->key.proto != 6 || !memcmp(&entry->tcp, &tcp, sizeof(tcp));
}

/* Active-active: a packet of the handshake, or of what it opened, meets a node that has not heard
 * of it yet. It is INVALID there and dropped; the sender sends it again. */
static bool too_early(struct sim *s, unsigned int i, int n)
{
	const struct kent *t = &s->node[n].k.ent[i];
	const struct conn *c = &s->conn[i];
	bool handshake = c->flow.tcp.state == TCP_SYN_RECV ||
			 (c->flow.tcp.state == TCP_ESTABLISHED && c->young);

	if (!s->p.active_active || !c->doubled || c->flow.key.proto != 6)
		return false;
	if (t->present ? t->f.tcp.state != TCP_SYN_SENT || c->flow.tcp.state <= TCP_SYN_RECV
		       : !handshake)
		return false;
	s->count.too_early++;
	return true;
}

static void meet_entry(struct sim *s, unsigned int i, int n)
{
	struct kent *t = &s->node[n].k.ent[i];
	struct conn *c = &s->conn[i];
	bool tcp = !same_tcp(&t->f, &c->flow);
	bool changed = tcp || (c->flow.status & ~t->f.status) || t->f.mark != c->flow.mark;
	bool marked = t->f.mark != c->flow.mark || c->flow.mark;
	struct flow msg;

	t->f.status |= c->flow.status;
	t->f.mark = c->flow.mark;
	t->f.tcp = after_packet(&t->f, &c->flow);
	t->expire_at = s->now + flow_full_timeout(&s->node[n].conf.timeouts, &t->f) * USEC_PER_SEC;
	t->seq = ++c->seq;
	t->packet_at = s->now;
	t->wrote = false;
	sim_trace(s, "node %d: packet of connection %u%s", n, i, changed ? ", new state" : "");
	if (!changed) {
		s->count.touches++;
		return;
	}
	if (t->mute)
		return;
	fk_snapshot(s, n, i, &msg);
	if (!tcp)
		msg.has &= ~(uint32_t)FLOW_HAS_TCP;
	if (!marked)
		msg.has &= ~(uint32_t)FLOW_HAS_MARK;
	msg.has &= ~(uint32_t)FLOW_HAS_MASTER; /* only its first event names it */
	fk_event(s, n, KERN_UPDATE, &msg, msg.has, 0);
}

static void create(struct sim *s, unsigned int i, int n)
{
	struct kent *t = &s->node[n].k.ent[i];

	if (s->node[n].k.count >= s->p.table_max) {
		lost(s, i, n, "table full");
		return;
	}
	expect_early(s, i, n);
	fk_create(s, n, i, &s->conn[i].flow, traffic_timeout(s, i), 0);
	s->node[n].failover.opened++;
	t->seq = ++s->conn[i].seq;
	t->packet_at = s->now;
}

/* A packet of connection i passes through node n. Returns false if it came too early and was
 * dropped. */
bool traffic_packet(struct sim *s, unsigned int i, int n)
{
	struct kent *t = &s->node[n].k.ent[i];
	struct conn *c = &s->conn[i];

	if (t->present && t->expire_at <= s->now)
		fk_destroy(s, n, i, 0);
	if (too_early(s, i, n))
		return false;
	if (!t->present) {
		if (c->flow.key.proto == 6 && c->flow.tcp.state != TCP_SYN_SENT) {
			s->count.conns_lost++;
			lost(s, i, n, "no entry");
			return true;
		}
		if (!fresh(s, i, n)) {
			lost(s, i, n, "no port");
			return true;
		}
		create(s, i, n);
		return true;
	}
	if (memcmp(&t->f.reply, &c->flow.reply, sizeof(t->f.reply)) != 0) {
		s->count.conns_lost++;
		lost(s, i, n, "translated otherwise");
		return true;
	}
	if (c->flow.key.proto == 6 && !c->doubled && t->seq && t->seq != c->seq) {
		s->count.conns_stale++;
		lost(s, i, n, "old window");
		return true;
	}
	s->count.asymmetric += c->doubled;
	meet_entry(s, i, n);
	return true;
}

/* A connection of milliseconds ends: its node destroys the entry at once. */
void traffic_flash_end(struct sim *s, unsigned int i, int n)
{
	s->conn[i].open = false;
	if (!s->node[n].off && s->node[n].k.ent[i].present)
		fk_destroy(s, n, i, FOREIGN_PORT);
}

void traffic_open_child(struct sim *s, unsigned int i, int n)
{
	struct conn *c = &s->conn[i];

	c->open = fresh(s, i, n);
	c->opened_at = s->now;
	if (c->open)
		create(s, i, n);
}

static void open_conn(struct sim *s, unsigned int i)
{
	struct conn *c = &s->conn[i];
	int n = traffic_carrier(s, i);
	struct kent *t;
	bool older = false;

	if (n < 0)
		return;
	t = &s->node[n].k.ent[i];
	for (unsigned int m = 0; m < s->p.nodes; m++)
		older |= s->node[m].k.ent[i].present;
	if (older && rng_chance(&s->rng, 7000))
		return;
	if (t->present && (c->flow.key.proto == 6 || !fk_alive(s, n, i)))
		fk_destroy(s, n, i, 0);
	s->count.tuple_reuse += older;
	c->open = true;
	c->opened_at = s->now;
	sim_trace(s, "node %d: connection %u opens", n, i);
	if (t->present) { /* UDP, ICMP: the old entry goes on */
		c->flow = t->f;
		meet_entry(s, i, n);
	} else if (fresh(s, i, n)) {
		create(s, i, n);
	} else {
		c->open = false;
	}
	if (c->open && !s->calm && rng_chance(&s->rng, s->p.flash)) {
		s->count.flashes++;
		world_act(s, ACT_FLASH, n, i, s->now + rng_below(&s->rng, 60 * USEC_PER_MS));
	}
}

static void close_tcp(struct sim *s, struct conn *c)
{
	switch (c->flow.tcp.state) {
	case TCP_ESTABLISHED:
		c->flow.tcp.state = rng_chance(&s->rng, 2000) ? TCP_CLOSE : TCP_FIN_WAIT;
		break;
	case TCP_FIN_WAIT:
		c->flow.tcp.state = TCP_LAST_ACK;
		break;
	default:
		c->flow.tcp.state = TCP_TIME_WAIT;
	}
}

/* The connection's next change of state, as a packet through its node. */
static void advance(struct sim *s, unsigned int i, int n)
{
	struct conn *c = &s->conn[i];
	struct flow *f = &c->flow, was = *f;

	if (f->key.proto != 6) {
		if (!(f->status & ST_SEEN_REPLY))
			f->status |= ST_SEEN_REPLY;
		else if (!(f->status & ST_ASSURED) && f->key.proto == 17)
			f->status |= ST_ASSURED;
		else if (rng_chance(&s->rng, 5000))
			c->open = false;
	} else if (f->tcp.state == TCP_SYN_SENT) {
		f->tcp.state = TCP_SYN_RECV;
		f->tcp.wscale[1] = 7;
		f->tcp.flags[1] = 0x3;
		f->status |= ST_SEEN_REPLY;
	} else if (f->tcp.state == TCP_SYN_RECV) {
		f->tcp.state = TCP_ESTABLISHED;
		f->status |= ST_ASSURED;
		c->young = true;
	} else if (f->tcp.state == TCP_ESTABLISHED && rng_chance(&s->rng, 3000)) {
		f->mark = (uint32_t)rng_below(&s->rng, 4);
	} else {
		close_tcp(s, c);
	}
	if (c->open && !traffic_packet(s, i, n))
		*f = was;
	else if (was.tcp.state == TCP_SYN_RECV)
		s->count.active_active += s->p.active_active && c->doubled && c->open;
	if (was.tcp.state == TCP_ESTABLISHED)
		c->young = false;
	if (f->key.proto == 6 && f->tcp.state >= TCP_TIME_WAIT)
		c->open = false;
}

void traffic_step(struct sim *s)
{
	unsigned int i = (unsigned int)rng_below(&s->rng, s->p.keys);
	struct conn *c = &s->conn[i];
	int n = traffic_carrier(s, i);

	if (expect_is(s, i)) {
		expect_step(s, i);
		return;
	}
	if (!c->open) {
		if (!expect_is_child(s, i))
			open_conn(s, i);
		return;
	}
	if (n < 0)
		return;
	if (c->doubled && rng_chance(&s->rng, 5000)) {
		int other = (int)((unsigned int)(n + 1) % s->p.nodes);

		n = s->node[other].off ? n : other;
	}
	/* An unfinished handshake hurries; what is established stays so for long when the seed is a
	 * cold one. */
	if (c->flow.key.proto == 6 && c->flow.tcp.state != TCP_SYN_SENT &&
	    c->flow.tcp.state != TCP_SYN_RECV && rng_chance(&s->rng, s->p.cold))
		(void)traffic_packet(s, i, n);
	else
		advance(s, i, n);
}

/* Once a second: now and then a packet on what is established. A quarter of the connections is
 * silent. */
void traffic_keepalive(struct sim *s)
{
	for (unsigned int i = 0; i < s->p.keys; i++) {
		const struct conn *c = &s->conn[i];
		int n = traffic_carrier(s, i);

		if (!c->open || n < 0 || !(c->flow.status & ST_ASSURED) ||
		    !rng_chance(&s->rng, i % 4 ? 1500 : 100))
			continue;
		(void)traffic_packet(s, i, n); /* dropped or not: the next one comes */
	}
}
