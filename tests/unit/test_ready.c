/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Readiness: what the daemon adds to the engine's judgement, condition by condition, and which
 * changes of a reason are news. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "../../daemon/ready.h"

/* A backup in good order: 1,000 flows of its peer, all of them written. */
static void good(struct engine_stats *s, struct ready_facts *f)
{
	*s = (struct engine_stats){
		.role = ROLE_BACKUP, .ready = true, .remote_flows = 1000, .copies = 1000
	};
	(void)snprintf(s->reason, sizeof(s->reason), "in sync");
	*f = (struct ready_facts){
		.count = 1000,
		.max = 262144,
		.buckets = 65536,
		.tracking = KERN_TRACKING_ON,
		.nat = { KERN_TRACKING_OFF, KERN_TRACKING_UNKNOWN },
	};
}

static void expect(const struct engine_stats *s, const struct ready_facts *f, bool ready,
		   const char *reason)
{
	struct ready r;

	memset(&r, 0xff, sizeof(r));
	ready_of(s, f, &r);
	if (r.ready != ready || !strstr(r.reason, reason))
		fail_msg("%d '%s'; wanted %d, '%s'", r.ready, r.reason, ready, reason);
}

static void test_good(void **state)
{
	struct engine_stats s;
	struct ready_facts f;

	(void)state;
	good(&s, &f);
	expect(&s, &f, true, "in sync");
	f.max = 0; /* no limit */
	expect(&s, &f, true, "in sync");
}

static void test_engine_says_no(void **state)
{
	struct engine_stats s;
	struct ready_facts f;

	(void)state;
	good(&s, &f);
	s.ready = false;
	(void)snprintf(s.reason, sizeof(s.reason), "no peer was ever heard");
	expect(&s, &f, false, "no peer was ever heard");
	f.count = -1; /* the engine's reason comes first */
	expect(&s, &f, false, "no peer was ever heard");
}

static void test_primary(void **state)
{
	struct engine_stats s;
	struct ready_facts f;

	(void)state;
	good(&s, &f);
	s.role = ROLE_PRIMARY;
	f = (struct ready_facts){ .count = -1, .max = 1, .buckets = 0, .rereading = true };
	expect(&s, &f, true, "in sync");
	f.active_active = true; /* its peers' flows are to be taken over, too */
	expect(&s, &f, false, "the kernel lost events, its table is being read again");
}

static void test_unknown(void **state)
{
	struct engine_stats s;
	struct ready_facts f;

	(void)state;
	good(&s, &f);
	f.count = -1;
	expect(&s, &f, false, "cannot be seen");
	good(&s, &f);
	f.max = -1;
	expect(&s, &f, false, "cannot be seen");
	good(&s, &f);
	f.buckets = -1;
	expect(&s, &f, false, "cannot be seen");
}

static void test_lost_events(void **state)
{
	struct engine_stats s;
	struct ready_facts f;

	(void)state;
	good(&s, &f);
	f.rereading = true;
	expect(&s, &f, false, "lost events");
}

static void test_table(void **state)
{
	struct engine_stats s;
	struct ready_facts f;

	(void)state;
	good(&s, &f);
	s.copies = 0;
	s.absent = 1024;
	f.count = 100;
	f.max = 1124; /* what a promote would write just fits */
	expect(&s, &f, true, "in sync");
	f.max = 1123;
	expect(&s, &f, false,
	       "nf_conntrack_max of 1123 is too small: 100 entries are there, 1024 would come");
	s.absent = 0;
	s.copies = 1000;
	f.count = 1000;
	f.max = 1000;
	expect(&s, &f, true, "in sync");
	s.copies = 2000; /* also of flows that the mirrors no longer have */
	f.count = 2000;
	f.max = 2000;
	expect(&s, &f, true, "in sync");
}

/* A nat base chain is asked for only where flows are translated, for each family. */
static void test_nat(void **state)
{
	static const char *const no[2] = { "no nat base chain here for IPv4",
					   "no nat base chain here for IPv6" };
	struct engine_stats s;
	struct ready_facts f;

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		good(&s, &f);
		s.translated[i] = true;
		f.nat[i] = KERN_TRACKING_OFF;
		expect(&s, &f, false, no[i]);
		f.nat[i] = KERN_TRACKING_UNKNOWN;
		expect(&s, &f, false, "cannot be seen");
		f.nat[i] = KERN_TRACKING_ON;
		expect(&s, &f, true, "in sync");
	}
}

static void test_hash(void **state)
{
	struct engine_stats s;
	struct ready_facts f;

	(void)state;
	good(&s, &f);
	s.remote_flows = 500000;
	s.copies = 0;
	s.absent = 500000;
	f.max = 1000000;
	f.buckets = 65536;
	expect(&s, &f, true, "in sync");
	f.buckets = 8192; /* measured: 38 of 100 are refused */
	expect(&s, &f, false,
	       "nf_conntrack_buckets of 8192 is too small: 1000 entries are there, "
	       "500000 would come");
}

static void test_missing(void **state)
{
	struct engine_stats s;
	struct ready_facts f;

	(void)state;
	good(&s, &f);
	s.in_kernel = 1000;
	f.missing = 1;
	expect(&s, &f, false, "1 entries of 1000 are not in the kernel");
}

static void test_tracking(void **state)
{
	struct engine_stats s;
	struct ready_facts f;

	(void)state;
	good(&s, &f);
	f.tracking = KERN_TRACKING_OFF;
	expect(&s, &f, false, "packets are not tracked here");
	f.tracking = KERN_TRACKING_UNKNOWN;
	expect(&s, &f, false, "cannot be seen");
}

static void track(struct ready_tracking *t, enum kern_tracking tracking,
		  const struct engine_counters *c, usec_t now)
{
	const struct kern_hooks hooks = { .tracking = tracking };

	ready_track(t, &hooks, c, now);
}

/* What a sequence of probes and counters leads to believe. */
static void test_track(void **state)
{
	struct engine_counters c = { .events_new = 10, .events_ignored = 3 };
	struct ready_tracking t = { 0 };
	usec_t now = 1000 * USEC_PER_SEC;

	(void)state;
	assert_int_equal(ready_tracks(&t, now), KERN_TRACKING_UNKNOWN);
	track(&t, KERN_TRACKING_ON, &c, now);
	assert_int_equal(ready_tracks(&t, now), KERN_TRACKING_ON);
	/* the ruleset goes: what happened before it went proves nothing */
	c.events_new = 20;
	track(&t, KERN_TRACKING_OFF, &c, now);
	assert_int_equal(ready_tracks(&t, now), KERN_TRACKING_OFF);
	/* nor do loopback, our own links, and other programs */
	c.events_new = 30;
	c.events_ignored += 5;
	c.events_foreign += 5;
	track(&t, KERN_TRACKING_OFF, &c, now);
	assert_int_equal(ready_tracks(&t, now), KERN_TRACKING_OFF);
	/* but packets that the probe does not see do: loopback is left alone */
	c.events_update++;
	track(&t, KERN_TRACKING_OFF, &c, now);
	assert_int_equal(ready_tracks(&t, now), KERN_TRACKING_ON);
	track(&t, KERN_TRACKING_OFF, &c, now + 10 * USEC_PER_SEC);
	assert_int_equal(ready_tracks(&t, now + 599 * USEC_PER_SEC), KERN_TRACKING_ON);
	/* not for ever */
	assert_int_equal(ready_tracks(&t, now + 600 * USEC_PER_SEC), KERN_TRACKING_OFF);
	/* and not when the probe has seen something meanwhile */
	track(&t, KERN_TRACKING_ON, &c, now);
	track(&t, KERN_TRACKING_OFF, &c, now);
	assert_int_equal(ready_tracks(&t, now), KERN_TRACKING_OFF);
}

static void test_same_reason(void **state)
{
	(void)state;
	assert_true(ready_same_reason("in sync", "in sync"));
	assert_true(ready_same_reason("resync with fw2 at 4 %", "resync with fw2 at 100 %"));
	assert_true(ready_same_reason("12 flows refused", "9 flows refused"));
	assert_false(ready_same_reason("resync with fw2 at 4 %", "resync with fw3 at 4 %"));
	assert_true(ready_same_reason("as of 0.2 s before fw1 fell silent, 9.9 s ago",
				      "as of 0.2 s before fw1 fell silent, 10.0 s ago"));
	assert_false(ready_same_reason("in sync", "in sync as of 0.2 s before fw2 fell silent"));
	assert_false(ready_same_reason("at 4.", "at 4"));
	assert_false(ready_same_reason("in sync", ""));
	assert_false(ready_same_reason("at 4", "at "));
	assert_true(ready_same_reason("", ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),        cmocka_unit_test(test_engine_says_no),
		cmocka_unit_test(test_primary),     cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_lost_events), cmocka_unit_test(test_table),
		cmocka_unit_test(test_nat),         cmocka_unit_test(test_hash),
		cmocka_unit_test(test_missing),     cmocka_unit_test(test_tracking),
		cmocka_unit_test(test_track),       cmocka_unit_test(test_same_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
