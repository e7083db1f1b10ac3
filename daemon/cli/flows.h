/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The daemon's flows for a verb of the CLI that works on them: packed, as the wire has them. */
#ifndef CTSYNCD_CLI_FLOWS_H
#define CTSYNCD_CLI_FLOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli.h"
#include "flow.h"

/* own: of the daemon's own table. Returns 0 to go on, or -errno. */
typedef int flows_take(void *arg, const uint8_t *body, size_t len, bool own);

/* Reads the answer to its end and hands over each flow. Returns the daemon's exit status, or -errno
 * (-EPROTO: a line that is no flow). */
int flows_read(struct cli *c, flows_take *take, void *arg);

#endif
