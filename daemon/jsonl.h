/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes one JSON object as one line of bounded length, member by member. For the daemon, which
 * makes few and simple objects and does without a library for it.
 */
#ifndef CTSYNCD_JSONL_H
#define CTSYNCD_JSONL_H

#include <stdbool.h>
#include <stddef.h>

#include "../include/ctl.h"

#define JSONL_MAX (CTL_LINE_MAX - 8) /* fits a line of the control socket whole */

struct jsonl {
	char text[JSONL_MAX];
	size_t len;
	bool full; /* something did not fit: the line is of no use */
};

void jsonl_begin(struct jsonl *j);
/* Members; key NULL for an item of a list. What is not printable ASCII in v becomes '?'. */
void jsonl_str(struct jsonl *j, const char *key, const char *v);
void jsonl_num(struct jsonl *j, const char *key, unsigned long long v);
void jsonl_bool(struct jsonl *j, const char *key, bool v);
void jsonl_null(struct jsonl *j, const char *key);
/* Opens and closes an object or a list inside: bracket '{' or '[', '}' or ']'. */
void jsonl_open(struct jsonl *j, const char *key, char bracket);
void jsonl_close(struct jsonl *j, char bracket);
/* Ends the object. Returns the line, without a newline and valid until j changes; NULL if it did
 * not fit. */
const char *jsonl_end(struct jsonl *j);

#endif
