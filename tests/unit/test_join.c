/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flow_join(): only forward, to rest in a step, and never the end of an older life (PROTOCOL.md,
 * R72). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <string.h>

#include "flow.h"

static struct flow tcp(uint8_t state, uint8_t flags_orig, uint8_t flags_reply)
{
	struct flow f = { .has = FLOW_HAS_REPLY | FLOW_HAS_STATUS | FLOW_HAS_TCP | FLOW_HAS_MARK |
				 FLOW_HAS_TIMEOUT,
			  .key = { .l3 = 4, .proto = 6 },
			  .status = IPS_CONFIRMED,
			  .mark = 5,
			  .timeout_s = 77,
			  .tcp = { .state = state, .flags = { flags_orig, flags_reply } } };

	return f;
}

/* May theirs move ours? A handshake takes what carries it on, what is established takes its end. */
static bool moves(uint8_t ours, uint8_t theirs)
{
	if (ours == TCP_CONNTRACK_CLOSE || theirs > TCP_CONNTRACK_CLOSE || theirs <= ours)
		return false;
	return theirs <= TCP_CONNTRACK_ESTABLISHED || ours >= TCP_CONNTRACK_ESTABLISHED;
}

/* What is meant for one entry is not written to the next one of its tuple. */
static void another_entry(void **state)
{
	struct flow ours = tcp(TCP_CONNTRACK_ESTABLISHED, 0xb, 0xb);
	struct flow theirs = tcp(TCP_CONNTRACK_FIN_WAIT, 0xb, 0xb), out;

	(void)state;
	ours.has |= FLOW_HAS_ID;
	ours.id = 1;
	assert_true(flow_join(&ours, &theirs, &out));
	theirs.has |= FLOW_HAS_ID;
	theirs.id = 1;
	assert_true(flow_join(&ours, &theirs, &out));
	theirs.id = 2;
	assert_false(flow_join(&ours, &theirs, &out));
	assert_int_equal(out.tcp.state, TCP_CONNTRACK_ESTABLISHED);
}

static void every_state_by_every_state(void **state)
{
	(void)state;
	for (uint8_t a = TCP_CONNTRACK_SYN_SENT; a <= TCP_CONNTRACK_SYN_SENT2; a++)
		for (uint8_t b = TCP_CONNTRACK_SYN_SENT; b <= TCP_CONNTRACK_SYN_SENT2; b++) {
			struct flow ours = tcp(a, 0xb, 0xb), theirs = tcp(b, 0xb, 0xb), out;
			bool moved = moves(a, b) && a <= TCP_CONNTRACK_CLOSE;

			assert_int_equal(flow_join(&ours, &theirs, &out), moved);
			assert_int_equal(out.tcp.state, moved ? b : a);
			assert_int_equal(!!(out.has & FLOW_HAS_TIMEOUT), moved);
			assert_false(out.has & FLOW_HAS_MARK);
		}
}

static void two_nodes_come_to_rest(void **state)
{
	(void)state;
	for (uint8_t a = TCP_CONNTRACK_SYN_SENT; a <= TCP_CONNTRACK_CLOSE; a++)
		for (uint8_t b = TCP_CONNTRACK_SYN_SENT; b <= TCP_CONNTRACK_CLOSE; b++) {
			struct flow x = tcp(a, 0x3, 0), y = tcp(b, 0, 0x3), x1, y1, again;

			(void)flow_join(&x, &y, &x1);
			x1.has = x.has;
			(void)flow_join(&y, &x1, &y1);
			y1.has = y.has;
			assert_false(flow_join(&x1, &y1, &again));
			assert_false(flow_join(&y1, &x1, &again));
		}
}

static void a_direction_is_learnt_from_who_saw_its_syn(void **state)
{
	struct flow ours = tcp(TCP_CONNTRACK_SYN_SENT, 0x3, 0);
	struct flow theirs = tcp(TCP_CONNTRACK_SYN_RECV, 0x3, 0x1), out;

	(void)state;
	ours.tcp.wscale[0] = 7;
	theirs.tcp.wscale[0] = 2;
	theirs.tcp.wscale[1] = 9;
	assert_true(flow_join(&ours, &theirs, &out));
	assert_int_equal(out.tcp.wscale[0], 7);
	assert_int_equal(out.tcp.wscale[1], 9);
	assert_int_equal(out.tcp.flags[0], 0x3 | IP_CT_TCP_FLAG_BE_LIBERAL);
	assert_int_equal(out.tcp.flags[1], 0x1 | IP_CT_TCP_FLAG_BE_LIBERAL);
}

static void udp_joins_what_was_seen(void **state)
{
	struct flow ours = { .has = FLOW_HAS_STATUS, .key = { .l3 = 6, .proto = 17 } };
	struct flow theirs = ours, out;

	(void)state;
	ours.status = IPS_CONFIRMED;
	theirs.status = IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED | IPS_SRC_NAT;
	assert_true(flow_join(&ours, &theirs, &out));
	assert_int_equal(out.status, IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED);
	assert_false(flow_join(&out, &theirs, &ours));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_entry),
		cmocka_unit_test(every_state_by_every_state),
		cmocka_unit_test(two_nodes_come_to_rest),
		cmocka_unit_test(a_direction_is_learnt_from_who_saw_its_syn),
		cmocka_unit_test(udp_joins_what_was_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
