/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The verbs of the control socket as a table, and the check of a request's words against it. The
 * daemon and the CLI share it, so that both judge a request alike; include/ctl.h (CTL_VERBS) is the
 * only place that lists verbs.
 */
#ifndef CTSYNCD_WORDS_H
#define CTSYNCD_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "../include/ctl.h"

#define WORDS_MAX 8 /* words of a request, the verb included */

struct words_verb {
	const char *name;
	bool changes;      /* needs more than the right to read */
	const char *words; /* what may follow: alternatives by |, optional in [] */
	const char *help;
};

/* The i-th verb, NULL behind the last. */
const struct words_verb *words_at(size_t i);

/* The verb called name, NULL if there is none. */
const struct words_verb *words_find(const char *name);

/* Checks the words behind the verb (argv[0] is the verb). Options may stand in any place. Returns
 * 0, or -1 with what is wrong and what is allowed in err. */
int words_check(const struct words_verb *verb, int argc, char *const argv[], char *err, size_t len);

/* Splits line in place at single spaces into at most max words. Returns how many; -1 when the line
 * is empty, holds bytes that are not printable ASCII, has empty words or too many. */
int words_split(char *line, char **argv, int max);

#endif
