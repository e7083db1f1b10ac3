/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A dry run of a policy. The daemon shows its kernel's table twice, some seconds apart; each flow
 * is judged by the rules of the file, and what came, changed or went between the two looks is what
 * would have been sent: a record each. Nothing is changed anywhere.
 *
 * What came and went between two looks is not seen, nor is more than one change of a flow: the
 * rates are lower bounds. Bytes are those of the records with their share of full datagrams.
 */
#include "policy_test.h"

#include <errno.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../conf.h"
#include "cli.h"
#include "flow.h"
#include "flows.h"
#include "policy.h"
#include "util.h"

#define ROWS (POLICY_RULES_MAX + 1) /* the last: what no rule matches */
#define RECORD_LEN 4                /* type, length, version, timeout in front of the flow */
#define SHARE_PERCENT 8             /* of Ethernet, IP, UDP, header and seal, in full datagrams */

/* One flow of a look. */
struct seen {
	uint64_t key, body; /* hashes */
	uint8_t row, len, keylen;
	bool in; /* the policy includes it */
};

struct look {
	struct seen *flow;
	size_t count, room;
	const struct tester *t;
};

struct row {
	uint64_t flows, in, records, bytes;
};

struct tester {
	const struct policy_test *opt;
	struct conf conf;
	struct policy *policy; /* NULL: no rules */
	uint8_t hash_key[crypto_shorthash_KEYBYTES];
	struct row row[ROWS];
};

static uint64_t hash(const struct tester *t, const uint8_t *p, size_t len)
{
	uint64_t h;

	(void)crypto_shorthash((uint8_t *)&h, p, len, t->hash_key);
	return h;
}

static bool judge(const struct tester *t, const struct flow *f, unsigned int *row)
{
	int match = t->policy ? policy_match(t->policy, f) : -1;

	*row = match < 0 ? ROWS - 1 : (unsigned int)match;
	if (policy_is_early(f) && !t->conf.policy.syn_sent)
		return false;
	return !t->policy || policy_includes(t->policy, f);
}

static int look_take(void *arg, const uint8_t *body, size_t len, bool own)
{
	uint8_t key[FLOW_KEY_MAX];
	struct look *l = arg;
	unsigned int row;
	struct seen *s;
	struct flow f;

	(void)own;
	if (flow_unpack(body, len, &f))
		return -EPROTO;
	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 4096;

		s = reallocarray(l->flow, room, sizeof(*s));
		if (!s)
			return -ENOMEM;
		l->flow = s;
		l->room = room;
	}
	s = &l->flow[l->count++];
	s->keylen = (uint8_t)flow_key_pack(&f.key, key);
	s->len = (uint8_t)len;
	s->key = hash(l->t, key, s->keylen);
	s->body = hash(l->t, body, len);
	s->in = judge(l->t, &f, &row);
	s->row = (uint8_t)row;
	return 0;
}

static int by_key(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

/* Returns CTL_EXIT_DONE or what went wrong, which was told. */
static enum ctl_exit look(const struct tester *t, struct look *l)
{
	char *words[] = { "policy", "test" };
	struct cli c;
	int ret;

	*l = (struct look){ .t = t };
	ret = cli_open(&c, t->opt->socket, t->opt->timeout_ms);
	if (ret < 0)
		return cli_open_failed(t->opt->socket, ret);
	ret = cli_send(&c, 2, words);
	if (ret == 0 || ret == -EPIPE)
		ret = flows_read(&c, look_take, l);
	cli_close(&c);
	if (ret < 0)
		(void)fprintf(stderr, "ctsync: policy: the table broke off: %s\n", strerror(-ret));
	if (l->count)
		qsort(l->flow, l->count, sizeof(l->flow[0]), by_key);
	return ret < 0 ? CTL_EXIT_FAILED : (enum ctl_exit)ret;
}

static void charge(struct tester *t, const struct seen *s, size_t len)
{
	t->row[s->row].records++;
	t->row[s->row].bytes += (RECORD_LEN + len) * (100 + SHARE_PERCENT) / 100;
}

/* The flow is there now; it was not before, or was otherwise. */
static void changed(struct tester *t, const struct seen *was, const struct seen *is)
{
	if (is->in && !(was && was->in && was->body == is->body))
		charge(t, is, is->len);
	else if (!is->in && was && was->in) /* withdrawn */
		charge(t, was, was->keylen);
}

static void compare(struct tester *t, const struct look *a, const struct look *b)
{
	size_t i = 0, k = 0;

	while (i < a->count || k < b->count) {
		const struct seen *was = i < a->count ? &a->flow[i] : NULL;
		const struct seen *is = k < b->count ? &b->flow[k] : NULL;

		if (!is || (was && was->key < is->key)) {
			if (was->in)
				charge(t, was, was->keylen);
			i++;
		} else if (!was || is->key < was->key) {
			changed(t, NULL, is);
			k++;
		} else {
			changed(t, was, is);
			i++;
			k++;
		}
	}
	for (k = 0; k < b->count; k++) {
		t->row[b->flow[k].row].flows++;
		t->row[b->flow[k].row].in += b->flow[k].in;
	}
}

/* ---- What is said ---- */

static const char *class_name(const struct tester *t, unsigned int row)
{
	static const char *const names[POLICY_CLASSES] = { "always", "never", "assured" };

	return row == ROWS - 1 ? names[POLICY_ALWAYS] : names[t->conf.policy.rule[row].class];
}

static bool row_shown(const struct tester *t, unsigned int row)
{
	return row < t->conf.policy.rule_count || row == ROWS - 1;
}

static void say_row(const struct tester *t, const char *name, const char *class,
		    const struct row *r)
{
	double s = t->opt->seconds;

	(void)printf("%-7s%-9s%10llu%12llu%12.1f%12.0f\n", name, class,
		     (unsigned long long)r->flows, (unsigned long long)r->in,
		     (double)r->records / s, (double)r->bytes / s);
}

static json_t *row_json(const struct tester *t, unsigned int row, const struct row *r)
{
	double s = t->opt->seconds;
	json_t *j = json_pack("{s:I, s:I, s:f, s:f}", "flows", (json_int_t)r->flows, "announced",
			      (json_int_t)r->in, "records_per_s", (double)r->records / s,
			      "bytes_per_s", (double)r->bytes / s);

	if (row < ROWS)
		(void)json_object_set_new(j, "class", json_string(class_name(t, row)));
	if (row < ROWS - 1)
		(void)json_object_set_new(j, "rule", json_integer(row + 1));
	return j;
}

static void sum_up(const struct tester *t, struct row *sum)
{
	for (unsigned int i = 0; i < ROWS; i++) {
		sum->flows += t->row[i].flows;
		sum->in += t->row[i].in;
		sum->records += t->row[i].records;
		sum->bytes += t->row[i].bytes;
	}
}

static void say_text(const struct tester *t, const struct row *sum)
{
	char name[16];

	(void)printf("%-7s%-9s%10s%12s%12s%12s\n", "rule", "class", "flows", "announced",
		     "records/s", "bytes/s");
	for (unsigned int i = 0; i < ROWS; i++) {
		if (!row_shown(t, i))
			continue;
		(void)snprintf(name, sizeof(name), i == ROWS - 1 ? "none" : "%u", i + 1);
		say_row(t, name, class_name(t, i), &t->row[i]);
	}
	say_row(t, "all", "", sum);
}

static void say_json(const struct tester *t, const struct row *sum)
{
	json_t *rules = json_array(), *all;

	for (unsigned int i = 0; i < ROWS; i++)
		if (row_shown(t, i))
			(void)json_array_append_new(rules, row_json(t, i, &t->row[i]));
	all = json_pack("{s:i, s:o, s:o}", "seconds", (int)t->opt->seconds, "rules", rules, "all",
			row_json(t, ROWS, sum));
	(void)json_dumpf(all, stdout, JSON_INDENT(2));
	(void)fputs("\n", stdout);
	json_decref(all);
}

static enum ctl_exit both_looks(struct tester *t)
{
	struct timespec pause = { .tv_sec = t->opt->seconds };
	struct look a, b = { .flow = NULL };
	struct row sum = { .flows = 0 };
	enum ctl_exit status = look(t, &a);

	if (status == CTL_EXIT_DONE) {
		(void)nanosleep(&pause, NULL); /* the interval that is measured */
		status = look(t, &b);
	}
	if (status == CTL_EXIT_DONE) {
		compare(t, &a, &b);
		sum_up(t, &sum);
		if (t->opt->json)
			say_json(t, &sum);
		else
			say_text(t, &sum);
	}
	free(a.flow);
	free(b.flow);
	return status;
}

enum ctl_exit policy_test(const struct policy_test *opt)
{
	struct tester *t = calloc(1, sizeof(*t));
	enum ctl_exit status = CTL_EXIT_FAILED;

	if (!t || sodium_init() < 0) {
		(void)fprintf(stderr, "ctsync: out of memory\n");
		free(t);
		return status;
	}
	t->opt = opt;
	crypto_shorthash_keygen(t->hash_key);
	if (conf_load(&t->conf, opt->file, stderr) == 0) {
		if (t->conf.policy.rule_count)
			t->policy = policy_new(&t->conf.policy);
		if (t->policy || !t->conf.policy.rule_count)
			status = both_looks(t);
		else
			(void)fprintf(stderr, "ctsync: out of memory\n");
	}
	policy_free(t->policy);
	free(t);
	return status;
}
