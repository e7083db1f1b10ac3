/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One table of kernel operations and their results, which the real kernel and the simulator's both
 * have to pass: what the simulator proves holds as far as its kernel is like the real one. Run by
 * tests/netns/kern_check (kern.c on ctnetlink) and by `sim -k` (fakekern.c).
 */
#ifndef SIM_KERNOPS_H
#define SIM_KERNOPS_H

#include "engine.h"

#define KERNOPS_FLOWS 5 /* from 10.0.0.1 to this */

struct kernops { /* a kernel; it holds no entry at the start */
	void *arg;
	uint32_t (*now_s)(void *arg); /* monotonic, as limit_s is */
	/* Carries out one operation. Returns its result; *have: got is the entry. */
	int (*apply)(void *arg, const struct engine_op *op, struct flow *got, bool *have);
	int (*dump)(void *arg); /* how many entries a dump shows */
	void (*pass)(void *arg, unsigned int seconds);
	bool (*fill)(void *arg); /* no room for one entry more; false: not here */
};

/* The i-th flow of the table, 1 to KERNOPS_FLOWS. */
struct flow kernops_flow(unsigned int i);

/* Runs the table; a line for each step that went another way, told as of name. Returns how many
 * did; *passed: how many did not. */
unsigned int kernops_run(const struct kernops *k, const char *name, unsigned int *passed);

#endif
