/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon gives its kernel's table, announced or not, then the flows that a promote would make
 * entries of. Into a namespace with this node's rules and settings (scratch.c) goes first the
 * table, then the others, by the very code that the daemon writes with. Each is read back:
 * what the kernel took otherwise than it was asked to is a loss as well, if it did not refuse it.
 *
 * Children go after all others, and expectations last: they need their masters.
 */
#include "rehearse.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kern.h"
#include "../log.h"
#include "cli.h"
#include "engine.h"
#include "flow.h"
#include "flows.h"
#include "scratch.h"
#include "util.h"

#define LIVES_S 3600 /* entries outlast the rehearsal */
#define BUFFER_LEN 212992
#define ST_NAT 0x30 /* IPS_SRC_NAT | IPS_DST_NAT, linux/netfilter/nf_conntrack_common.h */

enum turn { TURN_FIRST, TURN_CHILDREN, TURN_EXPECTATIONS, TURNS };

/* A flow that waits for its turn. */
struct later {
	uint8_t body[FLOW_PACKED_MAX];
	uint16_t len;
	bool own;
};

struct rehearsal {
	struct kern *kern;
	json_t *problems; /* NULL: text */
	bool translated;  /* some of the flows are */
	uint64_t flows, taken, here, refused, altered, own_refused;

	struct later *later[TURNS];
	size_t later_count[TURNS];

	struct engine_op op[KERN_BATCH_MAX];
	struct kern_step step[KERN_BATCH_MAX]; /* of the creates */
	bool own[KERN_BATCH_MAX];
	size_t count;
};

/* ---- What is said ---- */

static const char *why_refused(int err, bool found)
{
	switch (-err) {
	case EEXIST:
		return found ? "another flow has its addresses"
			     : "another flow has the addresses of its reply direction";
	case ENOMEM:
		return "the table is full: net.netfilter.nf_conntrack_max";
	case ENOSPC:
		return "hash chains too long: net.netfilter.nf_conntrack_buckets";
	default:
		return strerror(-err);
	}
}

/* A problem of one flow. what: "refused" or "altered"; name: of the error, or NULL. */
static void problem(struct rehearsal *r, const struct flow *f, const char *what, const char *name,
		    const char *why)
{
	char line[CTL_LINE_MAX];

	if (kern_format(line, sizeof(line), f) <= 0)
		(void)snprintf(line, sizeof(line), "an expectation");
	if (!r->problems) {
		(void)printf("%s%s%s (%s): %s\n", what, name ? " " : "", name ? name : "", why,
			     line);
		return;
	}
	(void)json_array_append_new(r->problems,
				    json_pack("{s:s, s:s*, s:s, s:s}", "what", what, "errno", name,
					      "why", why, "flow", line));
}

static bool same_ext(const struct flow *a, const struct flow *b, uint32_t bit, size_t at,
		     size_t len)
{
	return !(a->has & bit) ||
	       ((b->has & bit) &&
		memcmp((const uint8_t *)&a->ext + at, (const uint8_t *)&b->ext + at, len) == 0);
}

/* How the entry that was made differs from the flow; NULL if it does not. */
static const char *difference(const struct flow *want, const struct flow *got)
{
#define SAME(bit, member)                                                                          \
	same_ext(want, got, FLOW_HAS_##bit, offsetof(struct flow_ext, member),                     \
		 sizeof(want->ext.member))
	if (want->key.expect)
		return NULL;
	if (memcmp(&want->reply, &got->reply, sizeof(want->reply)) != 0 ||
	    (want->status & ST_NAT) != (got->status & ST_NAT))
		return "it is translated to other addresses";
	if ((want->has & FLOW_HAS_TCP) && want->tcp.state != got->tcp.state)
		return "another TCP state";
	if ((want->has & FLOW_HAS_MARK) && want->mark != got->mark)
		return "another mark";
	if (!SAME(LABELS, labels))
		return "without its labels: no rule here uses labels";
	if (!SAME(HELPER, helper))
		return "without its helper: this kernel has none of that name";
	if (!SAME(MASTER, master))
		return "without its master, which is not here";
	if (!SAME(SEQADJ, seqadj))
		return "without the adjustment of its sequence numbers";
	if (!SAME(SCTP, sctp))
		return "another SCTP state";
	return NULL;
#undef SAME
}

/* ---- Writing ---- */

static void created(void *arg, const struct engine_op *op, const struct kern_step *step, usec_t now)
{
	struct rehearsal *r = arg;
	size_t i = (size_t)(op - r->op);

	(void)now;
	r->step[i].err = step->err;
	r->step[i].without = step->without;
}

/* Was it refused for being there already? */
static bool is_itself(const struct flow *want, int err, const struct kern_step *back)
{
	return err == -EEXIST && back->have &&
	       memcmp(&back->got.key, &want->key, sizeof(want->key)) == 0;
}

static void judge(struct rehearsal *r, const struct flow *want, int err,
		  const struct kern_step *back)
{
	const char *what;

	if (is_itself(want, err, back)) {
		r->here++;
		return;
	}
	if (err) {
		r->refused++;
		problem(r, want, "refused", strerrorname_np(-err), why_refused(err, back->have));
		return;
	}
	what = back->have ? difference(want, &back->got) : "it is gone at once";
	if (want->key.expect && !back->have)
		what = NULL; /* cannot be read one by one */
	if (what) {
		r->altered++;
		problem(r, want, "altered", NULL, what);
		return;
	}
	r->taken++;
}

static void read_back(void *arg, const struct engine_op *op, const struct kern_step *step,
		      usec_t now)
{
	struct rehearsal *r = arg;
	size_t i = (size_t)(op - r->op);

	(void)now;
	if (r->own[i]) /* a kernel whose hash is resized meanwhile shows some twice */
		r->own_refused += r->step[i].err && !is_itself(&op->flow, r->step[i].err, step);
	else
		judge(r, &op->flow, r->step[i].err, step);
}

static void batch_end(struct rehearsal *r)
{
	kern_carry_out(r->kern, r->op, r->count, 0, created, r);
	for (size_t i = 0; i < r->count; i++)
		r->op[i].type = OP_GET;
	kern_carry_out(r->kern, r->op, r->count, 0, read_back, r);
	r->count = 0;
}

static void batch_add(struct rehearsal *r, const struct flow *f, bool own)
{
	struct engine_op *op = &r->op[r->count];

	*op = (struct engine_op){ .type = OP_INJECT, .flow = *f };
	op->flow.has |= FLOW_HAS_TIMEOUT;
	op->flow.timeout_s = LIVES_S;
	r->own[r->count++] = own;
	if (r->count == KERN_BATCH_MAX)
		batch_end(r);
}

/* Returns 0 or -ENOMEM. */
static int wait_turn(struct rehearsal *r, enum turn turn, const struct flow *f, bool own)
{
	size_t count = r->later_count[turn];
	struct later *l = r->later[turn];

	if ((count & (count - 1)) == 0) { /* full: a power of two */
		l = reallocarray(l, count ? 2 * count : 1, sizeof(*l));
		if (!l)
			return -ENOMEM;
		r->later[turn] = l;
	}
	l[count].len = (uint16_t)flow_pack(f, l[count].body);
	l[count].own = own;
	r->later_count[turn]++;
	return 0;
}

/* One flow of the daemon's. Returns 0, -EPROTO or -ENOMEM. */
static int take(void *arg, const uint8_t *body, size_t len, bool own)
{
	struct rehearsal *r = arg;
	struct flow f;

	if (flow_unpack(body, len, &f) != 0)
		return -EPROTO;
	if (!flow_is_injectable(&f))
		return 0; /* nobody would write it */
	r->flows += !own;
	r->translated |= (f.status & ST_NAT) != 0;
	if (f.key.expect)
		return wait_turn(r, TURN_EXPECTATIONS, &f, own);
	if (f.has & FLOW_HAS_MASTER)
		return wait_turn(r, TURN_CHILDREN, &f, own);
	batch_add(r, &f, own);
	return 0;
}

/* ---- The daemon's flows ---- */

static void take_later(struct rehearsal *r)
{
	struct flow f;

	for (int turn = TURN_CHILDREN; turn < TURNS; turn++) {
		batch_end(r); /* the masters */
		for (size_t i = 0; i < r->later_count[turn]; i++) {
			const struct later *l = &r->later[turn][i];

			if (flow_unpack(l->body, l->len, &f) == 0)
				batch_add(r, &f, l->own);
		}
	}
	batch_end(r);
}

/* ---- The whole ---- */

/* What is wrong with the ruleset as a whole. Returns how many things. */
static unsigned int judge_rules(const struct rehearsal *r, bool has_nat, json_t *general)
{
	const char *what[2];
	struct kern_hooks hooks;
	unsigned int n = 0;

	kern_hooks(&hooks);
	if (hooks.tracking == KERN_TRACKING_OFF)
		what[n++] = "no rule here looks at connection states: packets would not be tracked";
	if (r->translated && !has_nat)
		what[n++] = "there are translated flows, and no nat chain here: their packets "
			    "would not be translated";
	for (unsigned int i = 0; i < n; i++) {
		if (general)
			(void)json_array_append_new(general, json_string(what[i]));
		else
			(void)printf("%s\n", what[i]);
	}
	return n;
}

static void say_sum(const struct rehearsal *r)
{
	(void)printf("%llu flows to take over: %llu taken, %llu are here already, %llu refused, "
		     "%llu altered\n",
		     (unsigned long long)r->flows, (unsigned long long)r->taken,
		     (unsigned long long)r->here, (unsigned long long)r->refused,
		     (unsigned long long)r->altered);
	if (r->own_refused)
		(void)printf("%llu of this node's own flows could not be copied: clashes with them "
			     "were not seen\n",
			     (unsigned long long)r->own_refused);
}

static enum ctl_exit report(struct rehearsal *r, bool has_nat)
{
	json_t *general = r->problems ? json_array() : NULL, *all;
	unsigned int n = judge_rules(r, has_nat, general);
	bool good = n == 0 && r->refused == 0 && r->altered == 0 && r->own_refused == 0;

	if (!r->problems) {
		say_sum(r);
		return good ? CTL_EXIT_DONE : CTL_EXIT_FAILED;
	}
	all = json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:O}", "good", good, "flows",
			(json_int_t)r->flows, "taken", (json_int_t)r->taken, "here",
			(json_int_t)r->here, "refused", (json_int_t)r->refused, "altered",
			(json_int_t)r->altered, "own_refused", (json_int_t)r->own_refused, "rules",
			general, "problems", r->problems);
	if (!all || json_dumpf(all, stdout, JSON_INDENT(2)) < 0)
		good = false;
	(void)fputs("\n", stdout);
	json_decref(all);
	return good ? CTL_EXIT_DONE : CTL_EXIT_FAILED;
}

static enum ctl_exit broke_off(const char *path, int err)
{
	(void)fprintf(stderr, "ctsync: rehearse: %s: %s\n", path, strerror(-err));
	return CTL_EXIT_FAILED;
}

/* In the namespace: everything from the first flow to the report. */
static enum ctl_exit perform(struct rehearsal *r, const char *path, int timeout_ms, bool has_nat)
{
	static char *const request[] = { "rehearse" };
	enum ctl_exit exit_status;
	struct cli c;
	int err = cli_open(&c, path, timeout_ms);

	if (err < 0)
		return cli_open_failed(path, err);
	err = cli_send(&c, 1, request);
	if (err == 0)
		err = flows_read(&c, take, r);
	cli_close(&c);
	if (err < 0)
		return broke_off(path, err);
	if (err > 0)
		return CTL_EXIT_FAILED; /* the daemon said why */
	take_later(r);
	exit_status = report(r, has_nat);
	return ferror(stdout) ? CTL_EXIT_FAILED : exit_status;
}

static int open_kernel(struct kern **kern, struct log **log)
{
	struct kern_conf conf = { .event_buffer_len = BUFFER_LEN };
	const char *text = "log";
	int err = -ENOMEM;

	*log = log_new("stderr", LOG_LVL_ERR);
	if (*log)
		err = kern_open(kern, &conf, *log, &text);
	if (err < 0)
		(void)fprintf(stderr, "ctsync: rehearse: %s: %s\n", text, strerror(-err));
	return err;
}

enum ctl_exit rehearse(const char *path, int timeout_ms, bool json)
{
	enum ctl_exit exit_status = CTL_EXIT_FAILED;
	struct rehearsal *r;
	struct log *log = NULL;
	bool has_nat;
	struct cli c;
	pid_t pid;
	int err = cli_open(&c, path, timeout_ms);

	if (err < 0)
		return cli_open_failed(path, err);
	pid = cli_peer(&c);
	cli_close(&c); /* a silent client is a burden */
	if (scratch_enter(pid, &has_nat) < 0)
		return CTL_EXIT_FAILED;
	r = calloc(1, sizeof(*r));
	if (r && json)
		r->problems = json_array();
	if (r && open_kernel(&r->kern, &log) == 0) {
		exit_status = perform(r, path, timeout_ms, has_nat);
		kern_close(r->kern);
	}
	log_free(log);
	if (r) {
		for (int i = 0; i < TURNS; i++)
			free(r->later[i]);
		json_decref(r->problems);
		free(r);
	}
	return exit_status;
}
