/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The real kernel under the table of operations that the simulator's passes too (kernops.h). */
#include <poll.h>

#include "kern_bed.h"
#include "kernops.h"

struct under {
	struct kern *k;
	bool full; /* it may be filled */
};

static uint32_t ops_now_s(void *arg)
{
	(void)arg;
	return (uint32_t)(bed_now() / USEC_PER_SEC);
}

static int ops_apply(void *arg, const struct engine_op *op, struct flow *got, bool *have)
{
	const struct under *u = arg;

	bed_engine->result_count = 0;
	kern_apply(u->k, bed_engine, op, 1, bed_now());
	*have = bed_engine->result[0].have;
	*got = bed_engine->result[0].got;
	return bed_engine->result[0].err;
}

static int ops_dump(void *arg)
{
	const struct under *u = arg;

	return bed_dump(u->k);
}

static void ops_pass(void *arg, unsigned int seconds)
{
	(void)arg;
	(void)poll(NULL, 0, (int)seconds * 1000);
}

static bool ops_fill(void *arg)
{
	const struct under *u = arg;
	int64_t count, max, buckets;

	kern_counts(&count, &max, &buckets);
	if (!u->full || max > FULL_MAX)
		return false;
	bed_engine->keep = false;
	bed_flood(u->k, 0, (uint32_t)(max - count));
	bed_engine->keep = true;
	return true;
}

void check_table(struct kern *k, bool full)
{
	struct under u = { k, full };
	const struct kernops ops = { &u, ops_now_s, ops_apply, ops_dump, ops_pass, ops_fill };
	unsigned int passed, failed = kernops_run(&ops, "kernel", &passed);

	CHECK(failed == 0, "the table of operations: %u steps went another way", failed);
	CHECK(passed > 40, "the table of operations: %u steps", passed);
	bed_flush();
}
