/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The handshake: HELLO carries a challenge, HACK answers it. Each direction is agreed for itself;
 * anybody is answered, and nothing but the answers that wait (a few, HACKS_MAX) is kept for it.
 * What an agreed epoch means for the mirror is peer.c's business. Rules R30, R31, R54 of
 * PROTOCOL.md.
 */
#include "engine_priv.h"
#include "quarantine.h"

#include <string.h>

#define HELLO_DGRAM_LEN (WIRE_HEAD_LEN + WIRE_HELLO_LEN) /* opened */

static uint64_t make_challenge(struct engine *e)
{
	uint8_t in[40];

	memcpy(in, e->seed, 32);
	e->challenge_count++;
	memcpy(in + 32, &e->challenge_count, 8);
	return digest_hash(e->seed, in, sizeof(in));
}

/* ---- In ---- */

/* The answer goes by every link that the question came by, and to a peer that is known by all of
 * its links: one may carry one way only. */
int hello_recv(struct engine *e, const struct wire_head *h, struct wire_buf *b, uint32_t endpoints)
{
	struct wire_hello m;

	wire_get_hello(b, &m);
	if (b->err)
		return mirror_drop_of(b->err);
	for (unsigned int i = 0; i < HACKS_MAX; i++) {
		struct hack *k = &e->hacks[i];

		if (k->due && k->epoch != h->epoch)
			continue;
		if (k->due && k->challenge == m.challenge)
			endpoints |= k->endpoints;
		*k = (struct hack){ true, endpoints, h->epoch, m.challenge };
		break;
	}
	return 0;
}

/* Was an epoch agreed on by the present challenge? It serves no other one of that peer. */
static bool challenge_used(const struct engine *e)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used && e->peers[i].challenged == e->challenge_count)
			return true;
	return false;
}

/* Datagrams of an epoch that was not agreed change nothing but the time of our next HELLO (R31).
 * They may be recorded ones: the HELLO goes where they came from, once they are as long as it. */
int hello_unknown(struct engine *e, unsigned int endpoint, size_t len, usec_t now)
{
	uint32_t *asked = &e->hello_asked[endpoint];

	*asked += (uint32_t)len;
	if (*asked < HELLO_DGRAM_LEN || now < e->hello_sent_at + HELLO_LIMIT_MS * USEC_PER_MS) {
		*asked = (uint32_t)min_u64(*asked, HELLO_DGRAM_LEN);
		return -DROP_EPOCH;
	}
	*asked = 0;
	e->hello_to |= 1U << endpoint;
	e->challenge_spent |= challenge_used(e);
	return -DROP_EPOCH;
}

/* One of the last two, and young: a peer that answered an older one may be forgotten by now, and
 * its answer would be taken again (R30, R52). */
static bool challenge_is_open(const struct engine *e, uint64_t challenge)
{
	bool last = challenge == e->challenge;
	usec_t made_at = last ? e->challenge_at : e->challenge_old_at;

	return challenge /* 0: none was made yet */ && (last || challenge == e->challenge_old) &&
	       e->now < made_at + 2 * CHALLENGE_MS * USEC_PER_MS;
}

int hello_hack(struct engine *e, const struct wire_head *h, uint8_t flags, struct wire_buf *b,
	       unsigned int endpoint)
{
	struct wire_hack m;
	int rc;

	wire_get_hack(b, &m);
	if (b->err)
		return mirror_drop_of(b->err);
	if (m.your_epoch != e->epoch)
		return 0; /* the answer to another node, or to an earlier run of ours */
	if (!challenge_is_open(e, m.challenge))
		return -DROP_CHALLENGE;
	rc = peer_hack(e, h, &m, endpoint, e->now);
	if (!rc)
		tables_look(e, peer_find(e, h->sender), &m, flags & WIRE_F_SETTLED);
	return rc;
}

/* ---- Out ---- */

bool hello_put_hack(struct engine *e, struct wire_buf *b, uint32_t *to)
{
	for (unsigned int i = 0; i < HACKS_MAX; i++) {
		struct hack *k = &e->hacks[i];
		struct wire_hack m;

		if (!k->due)
			continue;
		k->due = false;
		m = (struct wire_hack){ .your_epoch = k->epoch,
					.challenge = k->challenge,
					.head = e->head,
					.dropped = e->dropped,
					.kernel_id = quarantine_kernel_id(e),
					.caps = WIRE_CAP_AUDIT };
		memcpy(m.name, e->conf.node, sizeof(m.name));
		seal_tables(&e->seal, m.tables);
		wire_put_hack(b, tables_settled(e) ? WIRE_F_SETTLED : 0, &m);
		*to = k->endpoints;
		return true;
	}
	return false;
}

static bool peer_lacking(const struct engine *e)
{
	bool any = false;

	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		if (!e->peers[i].used)
			continue;
		any = true;
		if (!peer_is_up(e, &e->peers[i]) || e->peers[i].other_tables)
			return true;
	}
	return !any;
}

static void challenge_renew(struct engine *e, usec_t now)
{
	e->challenge_old = e->challenge;
	e->challenge_old_at = e->challenge_at;
	e->challenge = make_challenge(e);
	e->challenge_at = now;
	e->challenge_spent = false;
}

bool hello_put(struct engine *e, struct wire_buf *b, uint32_t *to, usec_t now)
{
	struct wire_hello m = { .kernel_id = quarantine_kernel_id(e), .caps = WIRE_CAP_AUDIT };
	bool to_all = e->hello_now || now >= e->hello_at;

	if (!to_all && !e->hello_to)
		return false;
	if (!e->challenge || e->challenge_spent ||
	    now >= e->challenge_at + CHALLENGE_MS * USEC_PER_MS)
		challenge_renew(e, now);
	m.challenge = e->challenge;
	memcpy(m.name, e->conf.node, sizeof(m.name));
	wire_put_hello(b, 0, &m);
	*to = to_all ? ENGINE_TO_ALL : e->hello_to;
	e->hello_to = 0;
	e->hello_sent_at = now;
	e->count.hellos_sent++;
	if (!to_all)
		return true;
	e->hello_now = false;
	e->hello_at = now + (peer_lacking(e) ? HELLO_FAST_MS : HELLO_SLOW_MS) * USEC_PER_MS;
	return true;
}
