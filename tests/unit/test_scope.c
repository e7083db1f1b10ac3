/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A policy over two nodes: what it leaves out is not announced, whichever way it came; what a new
 * policy excludes leaves the peers, what it includes is found; and an entry that packets pass
 * through is not deleted for it (PROTOCOL.md, R62 to R66).
 */
#include "engine_bed.h"

#define UDP_FLOW 12

static const struct policy_conf all;

static struct policy_rule *rule(struct policy_conf *c, enum policy_class class, uint8_t proto)
{
	struct policy_rule *r = &c->rule[c->rule_count++];

	r->class = (uint8_t) class;
	r->has_proto = proto != 0;
	r->proto = proto;
	return r;
}

static void set(struct bed *b, unsigned int n, const struct policy_conf *c)
{
	assert_true(engine_policy(b->n[n].e, c, b->now));
	bed_run(b, 500);
}

static void set_both(struct bed *b, const struct policy_conf *c)
{
	assert_true(engine_policy(b->n[0].e, c, b->now));
	set(b, 1, c);
}

static struct bed *pair_with_udp(void)
{
	struct bed *b = bed_pair(true);

	bed_open(b, 0, UDP_FLOW);
	bed_run(b, 300);
	assert_non_null(bed_mirror(b, 1, 0, UDP_FLOW));
	assert_true(b->n[1].kern[UDP_FLOW].there);
	return b;
}

static void test_reload(void **state)
{
	static struct policy_conf c;
	struct bed *b = pair_with_udp();
	uint64_t head;

	(void)state;
	c = all;
	rule(&c, POLICY_NEVER, 17);
	set_both(b, &c);
	bed_assert_equal(b);
	assert_null(bed_own(b, 0, UDP_FLOW));
	assert_null(bed_mirror(b, 1, 0, UDP_FLOW));
	assert_true(b->n[0].kern[UDP_FLOW].there);
	assert_false(b->n[1].kern[UDP_FLOW].there); /* the copy is gone */
	assert_true(b->n[1].kern[1].there);
	assert_int_equal(bed_stats(b, 0).count.withdrawn, 1);
	bed_event(b, 0, KERN_UPDATE, UDP_FLOW, 0);
	bed_open(b, 0, 13);
	assert_null(bed_own(b, 0, UDP_FLOW));
	assert_null(bed_own(b, 0, 13));
	assert_true(bed_stats(b, 0).count.excluded >= 2);

	head = b->n[0].e->head;
	set_both(b, &c); /* the same again */
	assert_int_equal(b->n[0].e->head, head);

	set_both(b, &all);
	bed_assert_equal(b);
	assert_int_equal(b->n[0].e->head, head + 2); /* the two that are new, and no other */
	assert_non_null(bed_mirror(b, 1, 0, UDP_FLOW));
	assert_true(b->n[1].kern[UDP_FLOW].there && b->n[1].kern[13].there);
	bed_free(b);
}

static void test_syn_sent(void **state)
{
	static struct policy_conf c;
	struct bed *b = bed_pair(true);
	struct flow f = bed_flow(4);

	(void)state;
	f.tcp.state = TCP_SYN_SENT;
	f.status = 0x8;
	bed_put(b, 0, 4, &f);
	bed_event(b, 0, KERN_NEW, 4, 0);
	assert_null(bed_own(b, 0, 4));
	b->n[0].kern[4].f.status = 0x9; /* its NEW alone names the master */
	bed_event(b, 0, KERN_NEW, 4, 0);
	assert_non_null(bed_own(b, 0, 4));
	b->n[0].kern[4].f.status = 0x8;
	bed_end(b, 0, 4, 100, 0);
	assert_null(bed_own(b, 0, 4));

	bed_put(b, 0, 4, &f);
	bed_event(b, 0, KERN_NEW, 4, 0);
	b->n[0].kern[4].f.status = 0xa;
	bed_state(b, 0, 4, TCP_SYN_RECV);
	assert_non_null(bed_own(b, 0, 4));

	c = all;
	c.syn_sent = true;
	set_both(b, &c);
	f = bed_flow(5);
	f.tcp.state = TCP_SYN_SENT;
	f.status = 0x8;
	bed_put(b, 0, 5, &f);
	bed_event(b, 0, KERN_NEW, 5, 0);
	assert_non_null(bed_own(b, 0, 5));
	bed_free(b);
}

static void test_assured(void **state)
{
	static struct policy_conf c;
	struct bed *b = bed_pair(true);
	struct flow f = bed_flow(UDP_FLOW);

	(void)state;
	c = all;
	rule(&c, POLICY_ASSURED, 17);
	set_both(b, &c);
	f.status = 0xa;
	bed_put(b, 0, UDP_FLOW, &f);
	bed_event(b, 0, KERN_NEW, UDP_FLOW, 0);
	assert_null(bed_own(b, 0, UDP_FLOW));
	b->n[0].kern[UDP_FLOW].f.status = 0xe;
	bed_event(b, 0, KERN_UPDATE, UDP_FLOW, 0);
	bed_run(b, 300);
	assert_non_null(bed_mirror(b, 1, 0, UDP_FLOW));
	bed_end(b, 0, UDP_FLOW, 0, 0);
	bed_run(b, 300);
	bed_assert_equal(b);
	assert_null(bed_mirror(b, 1, 0, UDP_FLOW));
	assert_false(b->n[1].kern[UDP_FLOW].there);
	bed_free(b);
}

/* A mark or a state that excludes ends the flow for the peers, the next one brings it back. */
static void test_fluid(void **state)
{
	static struct policy_conf c;
	struct bed *b = bed_pair(true);
	struct policy_rule *r;

	(void)state;
	c = all;
	r = rule(&c, POLICY_NEVER, 0);
	r->mark = r->mark_mask = 0x10;
	rule(&c, POLICY_NEVER, 6)->tcp_states = 1 << TCP_FIN_WAIT;
	set_both(b, &c);
	assert_int_equal(bed_stats(b, 0).local_flows, 3);
	b->n[0].kern[1].f.mark = 0x11;
	bed_event(b, 0, KERN_UPDATE, 1, 0);
	bed_state(b, 0, 2, TCP_FIN_WAIT);
	bed_run(b, 300);
	bed_assert_equal(b);
	assert_null(bed_mirror(b, 1, 0, 1));
	assert_null(bed_mirror(b, 1, 0, 2));
	assert_false(b->n[1].kern[1].there || b->n[1].kern[2].there);
	b->n[0].kern[1].f.mark = 1;
	bed_event(b, 0, KERN_UPDATE, 1, 0);
	bed_run(b, 300);
	assert_non_null(bed_mirror(b, 1, 0, 1));
	assert_true(b->n[1].kern[1].there);
	bed_free(b);
}

/* The peer announces what our policy excludes: it is held and injected all the same; when packets
 * pass here it does not become ours, and its owner's word does not delete it. */
static void test_other_policy(void **state)
{
	static struct policy_conf c;
	struct bed *b = bed_pair(true);

	(void)state;
	c = all;
	rule(&c, POLICY_NEVER, 17);
	set(b, 1, &c);
	bed_open(b, 0, UDP_FLOW);
	bed_open(b, 0, 13);
	bed_run(b, 300);
	assert_true(b->n[1].kern[UDP_FLOW].there && b->n[1].kern[13].there);
	bed_event(b, 1, KERN_UPDATE, UDP_FLOW, 0);
	assert_null(bed_own(b, 1, UDP_FLOW));
	bed_run(b, 100);
	bed_end(b, 0, UDP_FLOW, 0, 0);
	b->n[1].kern[13].end_at -= 50 * USEC_PER_SEC; /* a packet shortened it, no event told */
	bed_end(b, 0, 13, 0, 0);
	bed_run(b, 300);
	bed_assert_equal(b);
	assert_null(bed_mirror(b, 1, 0, UDP_FLOW));
	assert_true(b->n[1].kern[UDP_FLOW].there && b->n[1].kern[13].there);
	bed_free(b);
}

/* A promote takes no flow over that the policy excludes, and loses none of its entries. */
static void test_promote(void **state)
{
	static struct policy_conf c;
	struct bed *b = pair_with_udp();

	(void)state;
	c = all;
	rule(&c, POLICY_NEVER, 17);
	set(b, 1, &c);
	bed_kill(b, 0);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 500);
	assert_non_null(bed_own(b, 1, 1));
	assert_null(bed_own(b, 1, UDP_FLOW));
	assert_true(b->n[1].kern[UDP_FLOW].there);
	set(b, 1, &all);
	assert_non_null(bed_own(b, 1, UDP_FLOW));
	bed_free(b);
}

/* What we wrote and nobody touched may live elsewhere: its withdrawal deletes nothing there. */
static void test_release(void **state)
{
	static struct policy_conf c;
	struct bed *b = pair_with_udp();

	(void)state;
	engine_cmd(b->n[0].e, CMD_DEMOTE, b->now);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 500);
	assert_non_null(bed_own(b, 1, UDP_FLOW));
	c = all;
	rule(&c, POLICY_NEVER, 17);
	set(b, 1, &c);
	assert_null(bed_own(b, 1, UDP_FLOW));
	assert_non_null(bed_own(b, 0, UDP_FLOW));
	assert_true(b->n[0].kern[UDP_FLOW].there && b->n[1].kern[UDP_FLOW].there);
	bed_free(b);
}

/* The filter of the policy before withheld what makes the new one include it: the entry is read
 * before the flow is withdrawn, not the record believed. */
static void test_withheld(void **state)
{
	static struct policy_conf c;
	struct bed *b = bed_pair(true);
	struct flow f = bed_flow(UDP_FLOW);

	(void)state;
	f.status = 0xa;
	bed_put(b, 0, UDP_FLOW, &f);
	bed_event(b, 0, KERN_NEW, UDP_FLOW, 0);
	bed_open(b, 0, 13);
	b->n[0].kern[UDP_FLOW].f.status = 0xe;
	c = all;
	rule(&c, POLICY_ASSURED, 17);
	set(b, 0, &c);
	assert_non_null(bed_own(b, 0, UDP_FLOW));
	assert_int_equal(bed_stats(b, 0).count.withdrawn, 0);
	b->n[0].kern[UDP_FLOW].f.mark = 0x10; /* and what it excludes */
	rule(&c, POLICY_NEVER, 17)->mark = 0x10;
	c.rule[1].mark_mask = 0x10;
	c.rule[0] = c.rule[1];
	c.rule_count = 1;
	set(b, 0, &c);
	assert_null(bed_own(b, 0, UDP_FLOW));
	assert_non_null(bed_own(b, 0, 13));
	assert_int_equal(bed_stats(b, 0).count.withdrawn, 1);
	bed_free(b);
}

/* An entry that packets made here, of a peer's flow that our policy excludes, ends, and no event
 * tells: the flow is injected when the patrol has been there. */
static void test_unheard_end(void **state)
{
	static struct policy_conf c;
	struct bed *b = pair_with_udp();

	(void)state;
	c = all;
	rule(&c, POLICY_NEVER, 17);
	set(b, 1, &c);
	bed_event(b, 1, KERN_UPDATE, UDP_FLOW, 0);
	b->n[1].kern[UDP_FLOW].there = false;
	bed_run(b, 65000);
	assert_true(b->n[1].kern[UDP_FLOW].there);
	assert_null(bed_own(b, 1, UDP_FLOW));
	bed_free(b);
}

/* A promote meets an entry that nobody told of and that the policy leaves out: it is there, which
 * is no refusal. */
static void test_found_excluded(void **state)
{
	static struct policy_conf c;
	struct bed *b = bed_pair(false);
	struct flow f = bed_flow(1);
	struct engine_stats s;

	(void)state;
	c = all;
	rule(&c, POLICY_ASSURED, 6);
	set(b, 1, &c);
	f.status &= ~0x4U; /* not ASSURED */
	bed_put(b, 1, 1, &f);
	engine_cmd(b->n[1].e, CMD_PROMOTE, b->now);
	bed_run(b, 3000);
	s = bed_stats(b, 1);
	assert_null(bed_own(b, 1, 1));
	assert_int_equal(s.commit.existed, 1);
	assert_int_equal(s.commit.refused, 0);
	assert_int_equal(bed_mirror(b, 1, 0, 1)->flags & F_REFUSED, 0);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reload),       cmocka_unit_test(test_syn_sent),
		cmocka_unit_test(test_assured),      cmocka_unit_test(test_fluid),
		cmocka_unit_test(test_other_policy), cmocka_unit_test(test_promote),
		cmocka_unit_test(test_release),      cmocka_unit_test(test_withheld),
		cmocka_unit_test(test_unheard_end),  cmocka_unit_test(test_found_excluded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
