/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inquiry: an audit (audit.c) of every node's kernel, asked for at one of them. Rules R89 to
 * R91 of PROTOCOL.md. Here are both ends of it: who asks repeats the question until each peer has
 * said what it found or it is clear that it will not; who is asked keeps, for each peer, what the
 * audit found that began after its question. Nothing is believed on silence: an inquiry ends with a
 * reason for each peer of whose kernel nothing is known.
 */
#include "engine_priv.h"

#include <string.h>

#define RETRY_MS 200
#define GIVE_UP_MS 10000
#define AGAIN_MS 200 /* between two of one kind: what the first found is to be read */
#define REST 4       /* times what the last audit took, before one for a peer's sake */

_Static_assert(FOUND_KERNEL_ONLY == 1 && FOUND_CACHE_ONLY == 2 && FOUND_DIFFERS == 3,
	       "kinds of findings are on the wire");
_Static_assert(FLOW_HAS_REPLY == 1 && FLOW_HAS_STATUS == 2 && FLOW_HAS_MARK == 8 &&
		       FLOW_HAS_TCP == 16 && FLOW_HAS_LABELS == 64 && FLOW_HAS_SYNPROXY == 2048 &&
		       FLOW_HAS_EXPECT == 4096 && FLOW_HAS_ALL == 32768,
	       "and so is what differs");
_Static_assert(FLOW_PACKED_MAX <= UINT8_MAX, "a length is a byte");

/* ---- Who is asked ---- */

int inquiry_recv_audit(struct engine *e, struct peer *p, struct wire_buf *b)
{
	struct asked *a = &p->asked;
	struct wire_audit m;

	wire_get_audit(b, &m);
	if (b->err)
		return mirror_drop_of(b->err);
	if (m.node != e->id || m.node_epoch != e->epoch)
		return 0;
	if (m.ticket > a->ticket) {
		a->ticket = m.ticket;
		a->found = (struct engine_findings){ .state = ASKED_WAITS };
	}
	a->due |= m.ticket == a->ticket;
	return 0;
}

/* Does a peer wait for an audit to begin? */
static bool is_wanted(const struct engine *e)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used && e->peers[i].asked.found.state == ASKED_WAITS)
			return true;
	return false;
}

static bool is_due(const struct engine *e)
{
	return e->audit.state == AUDIT_IDLE && is_wanted(e);
}

/* For a peer's sake: not too often (R91). */
static void serve(struct engine *e, usec_t now)
{
	if (now < e->inquiry.rest_to || !is_due(e))
		return;
	e->audit.state = AUDIT_WANTED;
	e->audit.at = now;
	e->count.audits_asked++;
}

void inquiry_begun(struct engine *e, usec_t now)
{
	e->inquiry.begun_at = now;
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].asked.found.state == ASKED_WAITS)
			e->peers[i].asked.found.state = ASKED_RUNS;
}

void inquiry_over(struct engine *e, usec_t now)
{
	const struct engine_audit *t = &e->audit.told;
	struct inquiry *q = &e->inquiry;

	q->rest_to = now + max_u64(AGAIN_MS * USEC_PER_MS, REST * (now - q->begun_at));
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct engine_findings *f = &e->peers[i].asked.found;

		if (f->state != ASKED_RUNS)
			continue;
		f->state = ASKED_OVER;
		f->entries = t->entries;
		f->unsettled = t->unsettled;
		memcpy(f->found_by, t->found_by, sizeof(f->found_by));
		f->found_count = (unsigned int)min_u64(t->found_count, WIRE_FINDINGS_MAX);
		memcpy(f->found, t->found, f->found_count * sizeof(f->found[0]));
	}
}

/* Returns the length; 0 if there is no flow, or none that could be read again. */
static uint8_t pack(const struct flow *f, uint8_t body[FLOW_PACKED_MAX])
{
	struct flow again;
	size_t len;

	if (!f->key.l3)
		return 0;
	len = flow_pack(f, body);
	return flow_unpack(body, len, &again) ? 0 : (uint8_t)len;
}

static bool put_found(struct wire_buf *b, const struct engine_found *f)
{
	uint8_t entry[FLOW_PACKED_MAX], record[FLOW_PACKED_MAX];
	struct wire_finding x = { .kind = (uint8_t)f->what,
				  .differs = f->differs,
				  .refused = (uint16_t)f->refused,
				  .entry = entry,
				  .record = record };

	memcpy(x.owner, f->peer, sizeof(x.owner));
	if (f->what != FOUND_CACHE_ONLY)
		x.entry_len = pack(&f->kernel, entry);
	if (f->what != FOUND_KERNEL_ONLY)
		x.record_len = pack(&f->held, record);
	return wire_put_finding(b, &x);
}

static void put_findings(struct engine *e, const struct peer *p, struct wire_buf *b)
{
	const struct engine_findings *f = &p->asked.found;
	struct wire_findings m = { .asker = p->id,
				   .asker_epoch = p->epoch,
				   .ticket = p->asked.ticket,
				   .state = f->state == ASKED_OVER   ? WIRE_AUDIT_OVER
					    : f->state == ASKED_RUNS ? WIRE_AUDIT_RUNS
								     : WIRE_AUDIT_WAITS,
				   .entries = f->entries,
				   .unsettled = f->unsettled };
	struct wire_buf head = *b;

	memcpy(m.by, &f->found_by[FOUND_KERNEL_ONLY], sizeof(m.by));
	wire_put_findings(b, stream_flags(e), &m);
	while (m.count < f->found_count && put_found(b, &f->found[m.count]))
		m.count++;
	wire_put_findings(&head, stream_flags(e), &m);
}

/* ---- Who asks ---- */

static struct engine_findings *findings_of(struct engine *e, const struct peer *p)
{
	return &e->inquiry.told.of[p->index];
}

static bool is_open(enum engine_asked state)
{
	return state == ASKED_OPEN || state == ASKED_WAITS || state == ASKED_RUNS;
}

static void begin(struct engine *e)
{
	struct inquiry *q = &e->inquiry;

	q->open = true;
	q->again = false;
	q->ticket++;
	q->epoch = e->epoch;
	memset(q->of, 0, sizeof(q->of));
	memset(q->told.of, 0, sizeof(q->told.of));
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		const struct peer *p = &e->peers[i];

		if (!p->used)
			continue;
		q->of[i].epoch = p->epoch;
		q->of[i].heard_at = e->now;
		q->told.of[i].state = ASKED_OPEN;
		memcpy(q->told.of[i].node, p->name, sizeof(p->name));
	}
}

void inquiry_ask(struct engine *e)
{
	struct inquiry *q = &e->inquiry;

	q->told.due = q->told.serial + (q->open ? 2 : 1);
	if (q->open)
		q->again = true;
	else
		begin(e);
}

/* Is there a reason to ask this peer no longer? */
static enum engine_asked state_of(const struct engine *e, unsigned int i, usec_t now)
{
	const struct inquiry *q = &e->inquiry;
	const struct peer *p = &e->peers[i];

	if (!p->used || p->epoch != q->of[i].epoch || e->epoch != q->epoch)
		return ASKED_BROKEN;
	if (!(p->caps & WIRE_CAP_AUDIT))
		return ASKED_OLD;
	if (!peer_hears(e, p))
		return ASKED_SILENT;
	if (now >= q->of[i].heard_at + GIVE_UP_MS * USEC_PER_MS)
		return ASKED_UNANSWERED;
	return q->told.of[i].state;
}

void inquiry_tick(struct engine *e, usec_t now)
{
	struct inquiry *q = &e->inquiry;
	bool open = false;

	serve(e, now);
	if (!q->open && q->again && now >= q->at)
		begin(e);
	if (!q->open)
		return;
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct engine_findings *f = &q->told.of[i];

		if (is_open(f->state))
			f->state = state_of(e, i, now);
		open |= is_open(f->state);
	}
	q->open = open;
	q->told.serial += !open;
	q->at = now + AGAIN_MS * USEC_PER_MS;
}

usec_t inquiry_deadline(const struct engine *e)
{
	const struct inquiry *q = &e->inquiry;
	usec_t at = UINT64_MAX;

	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		if (e->peers[i].asked.due)
			return e->now;
		if (q->open && is_open(q->told.of[i].state))
			at = min_u64(at, q->of[i].asked_at + RETRY_MS * USEC_PER_MS);
	}
	if (q->open && at == UINT64_MAX)
		return e->now; /* it is over */
	if (is_due(e))
		at = min_u64(at, max_u64(q->rest_to, e->now));
	return q->again && !q->open ? min_u64(q->at, at) : at;
}

static bool may_ask(const struct engine *e, unsigned int i, usec_t now)
{
	const struct inquiry *q = &e->inquiry;

	return q->open && is_open(q->told.of[i].state) && is_open(state_of(e, i, now)) &&
	       now >= q->of[i].asked_at + RETRY_MS * USEC_PER_MS;
}

/* A question, or an answer. */
bool inquiry_put(struct engine *e, struct wire_buf *b, uint32_t *to, usec_t now)
{
	struct inquiry *q = &e->inquiry;

	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct peer *p = &e->peers[i];

		if (!p->used)
			continue;
		*to = p->endpoints;
		if (p->asked.due) {
			p->asked.due = false;
			put_findings(e, p, b);
			return true;
		}
		if (!may_ask(e, i, now))
			continue;
		q->of[i].asked_at = now;
		wire_put_audit(b, stream_flags(e),
			       &(struct wire_audit){ p->id, p->epoch, q->ticket });
		return true;
	}
	return false;
}

/* A packed flow of a finding; none if len is 0. Returns 0 or -DROP_x. */
static int unpack(const uint8_t *body, uint8_t len, struct flow *f)
{
	int rc = len ? flow_unpack(body, len, f) : 0;

	return rc == -2 ? -DROP_UNKNOWN : rc ? -DROP_SHORT : 0;
}

static int get_found(struct wire_buf *b, struct engine_found *f)
{
	struct wire_finding x;
	int rc;

	wire_get_finding(b, &x);
	if (b->err)
		return mirror_drop_of(b->err);
	f->what = (enum engine_found_what)x.kind;
	f->differs = x.differs;
	f->refused = x.refused;
	memcpy(f->peer, x.owner, sizeof(f->peer));
	rc = unpack(x.entry, x.entry_len, &f->kernel);
	return rc ? rc : unpack(x.record, x.record_len, &f->held);
}

int inquiry_recv_findings(struct engine *e, struct peer *p, struct wire_buf *b, usec_t now)
{
	struct engine_findings f = { .state = ASKED_OVER };
	struct inquiry *q = &e->inquiry;
	struct wire_findings m;
	int rc = 0;

	wire_get_findings(b, &m);
	if (b->err)
		return mirror_drop_of(b->err);
	for (f.found_count = 0; f.found_count < m.count && !rc; f.found_count++)
		rc = get_found(b, &f.found[f.found_count]);
	if (rc)
		return rc;
	if (m.asker != e->id || m.asker_epoch != e->epoch || m.ticket != q->ticket || !q->open ||
	    p->epoch != q->of[p->index].epoch || !is_open(findings_of(e, p)->state))
		return 0;
	q->of[p->index].heard_at = now;
	f.state = m.state == WIRE_AUDIT_OVER   ? ASKED_OVER
		  : m.state == WIRE_AUDIT_RUNS ? ASKED_RUNS
					       : ASKED_WAITS;
	f.entries = m.entries;
	f.unsettled = m.unsettled;
	memcpy(&f.found_by[FOUND_KERNEL_ONLY], m.by, sizeof(m.by));
	memcpy(f.node, findings_of(e, p)->node, sizeof(f.node));
	*findings_of(e, p) = f;
	return 0;
}

const struct engine_inquiry *engine_inquiry(const struct engine *e)
{
	return &e->inquiry.told;
}
