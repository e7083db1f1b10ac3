/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The fake kernel under the table of operations that the real one passes (kernops.h). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernops.h"
#include "sim.h"

static uint32_t now_s(void *arg)
{
	const struct sim *s = arg;

	return (uint32_t)(s->now / USEC_PER_SEC);
}

static int apply(void *arg, const struct engine_op *op, struct flow *got, bool *have)
{
	int err = fk_op(arg, 0, op, got, have);

	/* As kern.c: what it read it gives with these alone. */
	*have = *have && (!err || err == -EBUSY);
	return err;
}

static int dump(void *arg)
{
	struct sim *s = arg;
	int n = 0;

	for (unsigned int i = 0; i < s->p.keys; i++)
		n += fk_alive(s, 0, i);
	return n;
}

static void pass(void *arg, unsigned int seconds)
{
	struct sim *s = arg;

	s->now += seconds * USEC_PER_SEC;
}

static bool fill(void *arg)
{
	struct sim *s = arg;

	s->p.table_max = s->node[0].k.count;
	return true;
}

int fk_check(void)
{
	struct sim *s = calloc(1, sizeof(*s));
	struct kernops k = { s, now_s, apply, dump, pass, fill };
	unsigned int passed, failed;

	if (!s)
		abort();
	s->now = START_AT;
	s->calm = true;
	s->p.nodes = 1;
	s->p.keys = KERNOPS_FLOWS + 1;
	s->p.table_max = KEYS_MAX;
	s->p.events_mode = 1;
	s->p.events_cap = EVENTS_MAX;
	fk_reset(&s->node[0].k, &s->rng);
	for (unsigned int i = 1; i <= KERNOPS_FLOWS; i++)
		s->conn[i].flow = kernops_flow(i);
	failed = kernops_run(&k, "fake kernel", &passed);
	failed += s->failed;
	free(s);
	printf("%u passed, %u failed\n", passed, failed);
	return failed || !passed;
}
