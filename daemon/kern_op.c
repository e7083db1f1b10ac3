/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes into the kernel's table: carries out what engine_op asks for and reports each result, in
 * order.
 *
 * Many requests go in one sendmsg. The kernel works through all of them before that call returns,
 * and answers only errors, reads, and the last request (which alone asks for an ACK). So after the
 * call every answer lies in the receive queue, nothing waits, and silence means success. Answers
 * are matched by sequence number. Should the queue overflow all the same, what was not answered is
 * unknown, and reported so (-ENOBUFS).
 *
 * Conditional operations read their entries first, all in one batch, and write in a second one. An
 * operation whose key already occurs in the batch starts a new round, so that it reads what the
 * earlier one wrote.
 *
 * What this kernel cannot take is left out and the rest written: a flow without its helper, without
 * the tie to its master or without labels is better than none. That is counted, and told once.
 */
#include "kern.h"
#include "kern_msg.h"

#include <assert.h>
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>
#include <time.h>

#define SLACK_S 1 /* the kernel's remaining time comes in whole seconds */

/* ---- A batch ---- */

static void set_err(struct kern *k, const struct kern_sent *s, int err)
{
	struct kern_step *step = &k->step[s->op];

	if (err == 0 || (s->ignore_err && err == -ENOENT))
		return;
	if (step->err == 0)
		step->err = err;
}

/* One answer. Returns true if it is the last one of the batch. */
static bool handle_answer(struct kern *k, const struct nlmsghdr *h)
{
	struct kern_batch *b = &k->batch;
	uint32_t i = h->nlmsg_seq - b->first_seq;
	struct kern_sent *s;
	int err;

	if (i >= b->count)
		return false; /* of an earlier batch whose answers overflowed */
	s = &b->sent[i];
	s->answered = true;
	if (h->nlmsg_type == NLMSG_ERROR) {
		err = -EBADMSG;
		if (mnl_nlmsg_get_payload_len(h) >= sizeof(err))
			memcpy(&err, mnl_nlmsg_get_payload(h), sizeof(err));
		set_err(k, s, err);
		return i + 1 == b->count;
	}
	if (s->read && kern_parse(h, h->nlmsg_len, &k->step[s->op].got) == 0) {
		k->step[s->op].have = true;
		k->step[s->op].got.has |= FLOW_HAS_ALL;
	} else {
		k->stats.parse_errors++;
		set_err(k, s, -EBADMSG);
	}
	return false;
}

static bool handle_answers(struct kern *k, const struct mmsghdr *m)
{
	const struct nlmsghdr *h = m->msg_hdr.msg_iov->iov_base;
	int left = (int)m->msg_len;
	bool last = false;

	for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left))
		last = handle_answer(k, h) || last;
	return last;
}

/* Reads until the last request was answered. Returns false if answers were lost. */
static bool read_answers(struct kern *k)
{
	bool last = false, lost = false;
	int n;

	while (!last) {
		n = recvmmsg(k->write_fd, k->vec, KERN_SLOT_COUNT, MSG_DONTWAIT, NULL);
		if (n < 0 && errno == ENOBUFS) {
			lost = true;
			continue;
		}
		if (n < 0)
			return false;
		for (int i = 0; i < n; i++)
			last = handle_answers(k, &k->vec[i]) || last;
	}
	return !lost;
}

/* A read that brought nothing, or a write of unknown fate. */
static void settle(struct kern *k, bool all_answered)
{
	struct kern_batch *b = &k->batch;

	for (unsigned int i = 0; i < b->count; i++) {
		struct kern_sent *s = &b->sent[i];

		if (!s->answered && (s->read || !all_answered))
			set_err(k, s, -ENOBUFS);
	}
}

static void batch_send(struct kern *k)
{
	struct kern_batch *b = &k->batch;
	struct nlmsghdr *last = (void *)(b->buf + b->last_at);
	int err;

	if (b->count == 0)
		return;
	last->nlmsg_flags |= NLM_F_ACK;
	if (mnl_socket_sendto(k->write_nl, b->buf, b->len) < 0) {
		err = -errno;
		for (unsigned int i = 0; i < b->count; i++)
			set_err(k, &b->sent[i], err);
	} else {
		settle(k, read_answers(k));
	}
	k->seq += b->count;
	b->count = 0;
	b->len = 0;
}

/* Room for one more message; *seq is its number. */
static void *batch_room(struct kern *k, uint32_t *seq)
{
	struct kern_batch *b = &k->batch;

	if (b->count == KERN_BATCH_MAX)
		batch_send(k);
	if (b->count == 0)
		b->first_seq = k->seq + 1;
	*seq = b->first_seq + b->count;
	return b->buf + b->len;
}

/* Takes the message of len bytes that was built in that room; 0: it could not be built. */
static void batch_add(struct kern *k, struct kern_sent sent, size_t len)
{
	struct kern_batch *b = &k->batch;

	assert(len <= KERN_MSG_MAX);
	if (len == 0) {
		set_err(k, &sent, -EINVAL);
		return;
	}
	b->sent[b->count++] = sent;
	b->last_at = b->len;
	b->len += NLMSG_ALIGN(len);
}

/* ---- Operations ---- */

static void add_get(struct kern *k, uint8_t i, const struct flow_key *key)
{
	uint32_t seq;
	void *room = batch_room(k, &seq);

	batch_add(k, (struct kern_sent){ .op = i, .read = true },
		  kern_build_get(room, KERN_MSG_MAX, key, seq));
}

static void add_inject(struct kern *k, uint8_t i, const struct flow *f)
{
	uint32_t seq;
	void *room = batch_room(k, &seq);

	batch_add(k, (struct kern_sent){ .op = i }, kern_build_inject(room, KERN_MSG_MAX, f, seq));
}

static void add_update(struct kern *k, uint8_t i, const struct flow *f, uint32_t status)
{
	uint32_t seq;
	void *room = batch_room(k, &seq);

	batch_add(k, (struct kern_sent){ .op = i },
		  kern_build_update(room, KERN_MSG_MAX, f, status, seq));
}

static void add_timeout(struct kern *k, uint8_t i, const struct flow *f)
{
	uint32_t seq;
	void *room = batch_room(k, &seq);

	batch_add(k, (struct kern_sent){ .op = i },
		  f->key.expect
			  ? kern_build_expect_timeout(room, KERN_MSG_MAX, f, seq)
			  : kern_build_timeout(room, KERN_MSG_MAX, &f->key, f->timeout_s, seq));
}

/* Deletes the incarnation that was read, or without a read whatever has the key. */
static void add_delete(struct kern *k, uint8_t i, const struct flow_key *key, bool ignore_err)
{
	const struct kern_step *step = &k->step[i];
	const uint32_t *id = step->have ? &step->got.id : NULL;
	uint32_t seq;
	void *room = batch_room(k, &seq);

	batch_add(k, (struct kern_sent){ .op = i, .ignore_err = ignore_err },
		  kern_build_delete(room, KERN_MSG_MAX, key, id, seq));
}

static void add_replace(struct kern *k, uint8_t i, const struct flow *f)
{
	if (k->batch.count + 2 >
	    KERN_BATCH_MAX) /* both in one go: no packet shall find the gap between them */
		batch_send(k);
	add_delete(k, i, &f->key, true);
	add_inject(k, i, f);
}

/* What was read becomes what the entry is then. */
static void add_join(struct kern *k, uint8_t i, const struct flow *theirs)
{
	struct flow *got = &k->step[i].got, joined;

	if (!flow_join(got, theirs, &joined))
		return;
	add_update(k, i, &joined, kern_update_status(&joined, got->status));
	if (!(joined.has & FLOW_HAS_TIMEOUT)) {
		joined.timeout_s = got->timeout_s;
		joined.has |= got->has & FLOW_HAS_TIMEOUT;
	}
	joined.mark = got->mark;
	joined.has |= got->has & FLOW_HAS_MARK;
	*got = joined;
}

static bool has_condition(const struct engine_op *op)
{
	switch (op->type) {
	case OP_REFRESH:
	case OP_DELETE:
	case OP_REPLACE:
		return op->limit_s != UINT32_MAX;
	default:
		return false;
	}
}

/* A refresh always reads: it must not lower a timer. */
static bool reads_first(const struct engine_op *op)
{
	return op->type == OP_GET || op->type == OP_REFRESH || op->type == OP_JOIN ||
	       has_condition(op);
}

/* An entry without a timeout is offloaded to a flowtable: packets flow. */
static bool is_touched(const struct flow *got, const struct engine_op *op, usec_t now)
{
	usec_t end_at = now + got->timeout_s * USEC_PER_SEC;

	if ((got->has & FLOW_HAS_TIMEOUT) == 0)
		return true;
	return end_at > ((uint64_t)op->limit_s + SLACK_S) * USEC_PER_SEC ||
	       (op->exact && end_at + ENGINE_EXACT_S * USEC_PER_SEC < op->limit_s * USEC_PER_SEC);
}

static void write_op(struct kern *k, uint8_t i, const struct engine_op *op)
{
	const struct flow *f = &op->flow;

	switch (op->type) {
	case OP_INJECT:
		add_inject(k, i, f);
		break;
	case OP_UPDATE:
		add_update(k, i, f, (f->has & FLOW_HAS_STATUS) != 0 ? kern_update_status(f, 0) : 0);
		break;
	case OP_REFRESH:
		if (f->timeout_s > k->step[i].got.timeout_s)
			add_timeout(k, i, f);
		break;
	case OP_JOIN:
		add_join(k, i, f);
		break;
	case OP_DELETE:
		add_delete(k, i, &f->key, false);
		break;
	case OP_REPLACE:
		add_replace(k, i, f);
		break;
	case OP_GET:
	case OP_DUMP:
		break;
	}
}

/* After the reads: decides and writes. */
static void decide_op(struct kern *k, uint8_t i, const struct engine_op *op, usec_t now)
{
	struct kern_step *step = &k->step[i];

	if (op->type == OP_REPLACE && step->err == -ENOENT)
		step->err = 0; /* nothing in the way: create it */
	else if (step->err == 0 && has_condition(op) && is_touched(&step->got, op, now))
		step->err = -EBUSY;
	if (step->err == 0)
		write_op(k, i, op);
}

/* ---- What this kernel does not take ---- */

static void tell_helper(struct kern *k, const char *name)
{
	for (unsigned int i = 0; i < k->said_count; i++) {
		if (strcmp(k->said[i], name) == 0)
			return;
	}
	if (k->said_count == KERN_SAID_MAX)
		return;
	memcpy(k->said[k->said_count++], name, FLOW_NAME_LEN);
	log_warn(k->log, "kernel: no helper %s here: its flows are written without it", name);
}

static void tell_labels(struct kern *k)
{
	if (k->said_labels)
		return;
	k->said_labels = true;
	log_warn(k->log, "kernel: no rule here uses labels: flows are written without them");
}

static void count_without(struct kern *k, uint32_t what, const struct flow *f)
{
	switch (what) {
	case FLOW_HAS_HELPER:
		k->stats.no_helper++;
		tell_helper(k, f->ext.helper);
		break;
	case FLOW_HAS_MASTER:
		k->stats.no_master++;
		break;
	case FLOW_HAS_LABELS:
		k->stats.no_labels++;
		tell_labels(k);
		break;
	default:
		break;
	}
}

/* The attribute of a create that its error speaks of, 0 if none. */
static uint32_t refused_part(const struct engine_op *op, int err)
{
	uint32_t has = op->flow.has;

	if (op->type != OP_INJECT && op->type != OP_REPLACE)
		return 0;
	if (err == -EOPNOTSUPP)
		return has & FLOW_HAS_HELPER;
	if (err == -ENOENT && op->flow.key.expect == 0)
		return has & FLOW_HAS_MASTER;
	return 0;
}

static bool recreate(struct kern *k, uint8_t i, const struct engine_op *op)
{
	struct kern_step *step = &k->step[i];
	uint32_t part = refused_part(op, step->err) & ~step->without;
	struct flow f;

	if (part == 0)
		return false;
	count_without(k, part, &op->flow);
	step->without |= part;
	if (op->flow.key.expect != 0) /* without its helper it is nothing */
		return false;
	step->err = 0;
	flow_copy(&f, &op->flow);
	f.has &= ~step->without;
	add_inject(k, i, &f);
	return true;
}

/* Creates that were refused for a helper, then those that were for a master. */
static void retry_creates(struct kern *k, const struct engine_op *ops, unsigned int count)
{
	bool again = true;

	for (int tries = 0; again && tries < 2; tries++) {
		again = false;
		for (uint8_t i = 0; i < count; i++)
			again = recreate(k, i, &ops[i]) || again;
		batch_send(k);
	}
}

/* The kernel gives a new expectation its helper's timeout, whatever the create says. */
static void time_expectations(struct kern *k, const struct engine_op *ops, unsigned int count)
{
	for (uint8_t i = 0; i < count; i++) {
		bool made = ops[i].type == OP_INJECT || ops[i].type == OP_REPLACE;

		if (made && ops[i].flow.key.expect != 0 && k->step[i].err == 0)
			add_timeout(k, i, &ops[i].flow);
	}
	batch_send(k);
}

/* An update is refused if it lacks status bits that the entry has (-EBUSY), writes a fixed timer
 * (-EPERM), or has labels where the entry has no room for them (-ENOSPC). */
static bool wants_retry(const struct kern *k, unsigned int i, const struct engine_op *op)
{
	int err = k->step[i].err;

	return op->type == OP_UPDATE && (err == -EBUSY || err == -EPERM || err == -ENOSPC);
}

static void retry_update(struct kern *k, uint8_t i, const struct engine_op *op)
{
	const struct flow *got = &k->step[i].got;
	struct flow f;

	flow_copy(&f, &op->flow);
	f.has &= ~k->step[i].without;
	if ((got->status & IPS_FIXED_TIMEOUT) != 0)
		f.has &= ~(uint32_t)FLOW_HAS_TIMEOUT;
	add_update(k, i, &f, kern_update_status(&f, got->status));
}

/* Second try for refused updates: with the entry's own bits or-ed in. Most are accepted at once, so
 * none is read in advance. */
static void retry_updates(struct kern *k, const struct engine_op *ops, unsigned int count)
{
	bool again[KERN_BATCH_MAX] = { false };

	for (uint8_t i = 0; i < count; i++) {
		again[i] = wants_retry(k, i, &ops[i]);
		if (again[i]) {
			if (k->step[i].err == -ENOSPC) {
				count_without(k, FLOW_HAS_LABELS, &ops[i].flow);
				k->step[i].without |= FLOW_HAS_LABELS;
			}
			k->step[i].err = 0;
			add_get(k, i, &ops[i].flow.key);
		}
	}
	batch_send(k);
	for (uint8_t i = 0; i < count; i++) {
		if (again[i] && k->step[i].err == 0)
			retry_update(k, i, &ops[i]);
	}
	batch_send(k);
}

usec_t kern_clock_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail with this clock */
	return (usec_t)t.tv_sec * USEC_PER_SEC + (usec_t)t.tv_nsec / 1000;
}

/* begin_us: the clock at `now`. A machine that stalls in here must not make us take its sleep for
 * traffic: what is read is judged by the time before the read, and what is written ran from a time
 * before the one that the engine is told, so its deadline lies at or behind the kernel's. */
static void apply_round(struct kern *k, const struct engine_op *ops, unsigned int count, usec_t now,
			usec_t begin_us)
{
	usec_t read_at = now + (kern_clock_us() - begin_us);

	for (uint8_t i = 0; i < count; i++) {
		k->step[i].err = 0;
		k->step[i].have = false;
		k->step[i].without = 0;
		if (reads_first(&ops[i]))
			add_get(k, i, &ops[i].flow.key);
	}
	batch_send(k);
	for (uint8_t i = 0; i < count; i++)
		decide_op(k, i, &ops[i], read_at);
	batch_send(k);
	retry_creates(k, ops, count);
	time_expectations(k, ops, count);
	retry_updates(k, ops, count);
}

static uint32_t key_hash(const struct flow_key *key)
{
	uint64_t words[(sizeof(*key) + 7) / 8] = { 0 }, hash = 0;

	memcpy(words, key, sizeof(*key));
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		hash = (hash ^ words[i] ^ hash >> 29) * 0x9e3779b97f4a7c15ULL;
	return (uint32_t)(hash >> 32);
}

/* How many operations go into one round: up to the first whose key came before. */
static unsigned int round_len(const struct engine_op *ops, unsigned int count)
{
	uint32_t hash[KERN_BATCH_MAX];

	for (unsigned int i = 0; i < count; i++) {
		hash[i] = key_hash(&ops[i].flow.key);
		for (unsigned int j = 0; j < i; j++) {
			if (hash[i] == hash[j])
				return i; /* two keys of one hash only cost a round */
		}
	}
	return count;
}

void kern_carry_out(struct kern *k, const struct engine_op *ops, size_t count, usec_t now,
		    kern_step_fn fn, void *arg)
{
	usec_t begin_us = kern_clock_us(), wrote_at;
	unsigned int len;

	assert(count <= KERN_BATCH_MAX);
	while (count > 0) {
		len = round_len(ops, (unsigned int)count);
		apply_round(k, ops, len, now, begin_us);
		wrote_at = now + (kern_clock_us() - begin_us);
		for (unsigned int i = 0; i < len; i++)
			fn(arg, &ops[i], &k->step[i], wrote_at);
		ops += len;
		count -= len;
	}
}

static void report(void *arg, const struct engine_op *op, const struct kern_step *step, usec_t now)
{
	bool show = op->type == OP_GET || op->type == OP_REFRESH || op->type == OP_JOIN ||
		    step->err == -EBUSY;

	engine_result(arg, op, step->err, show && step->have ? &step->got : NULL, now);
}

void kern_apply(struct kern *k, struct engine *e, const struct engine_op *ops, size_t count,
		usec_t now)
{
	kern_carry_out(k, ops, count, now, report, e);
}
