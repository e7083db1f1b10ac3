/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The optional attributes of a packed flow (PROTOCOL.md, section 4): what few flows have. Private
 * to flow.c.
 */
#ifndef CTSYNCD_FLOW_ATTRS_H
#define CTSYNCD_FLOW_ATTRS_H

#include "flow.h"
#include "util.h"

/* Most bytes that the attributes of one flow, or of one expectation, take. */
#define ATTRS_FLOW_MAX 125
#define ATTRS_EXPECT_MAX 130

/* Writes the attributes that f has, in their one canonical form, at p. Returns what follows; p if
 * there are none (an attribute that says nothing is left out). */
COLD uint8_t *attrs_put(uint8_t *p, const struct flow *f);

/* Reads exactly len bytes of attributes into f->ext and sets their bits in f->has; f->key is there.
 * Returns 0, -1 if they are malformed or not canonical, -2 if one is mandatory and unknown. */
COLD int attrs_get(const uint8_t *p, size_t len, struct flow *f);

/* flow_merge, for ext. */
COLD void attrs_merge(struct flow *f, const struct flow *d);

#endif
