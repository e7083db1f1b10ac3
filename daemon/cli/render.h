/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What becomes of a reply's values: a tree for JSON, or text for people. Values are gathered flat:
 * a JSON object that maps each path ("peers.0.node") to its value, in the order of the reply.
 */
#ifndef CTSYNCD_CLI_RENDER_H
#define CTSYNCD_CLI_RENDER_H

#include <jansson.h>
#include <stdio.h>

/* Adds the text of a `v` line ("n flows.local 12") to flat. Returns 0, or -1 when it is malformed.
 */
int render_value(json_t *flat, const char *text);

/* Builds the tree. The caller frees it by json_decref. NULL when the paths contradict each other.
 */
json_t *render_tree(json_t *flat);

/* Writes the values as text, in the form that suits the verb. */
void render_text(const char *verb, json_t *flat, FILE *out);

#endif
