/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes what a promote would write into a copy of this firewall, and tells what that refuses. */
#ifndef CTSYNCD_CLI_REHEARSE_H
#define CTSYNCD_CLI_REHEARSE_H

#include <stdbool.h>

#include "../../include/ctl.h"

/* Asks the daemon at path for its flows. Reports on standard output, as JSON if asked to. DONE:
 * every flow was taken as it is. Nothing that is live is touched; this process is in another
 * namespace afterwards. */
enum ctl_exit rehearse(const char *path, int timeout_ms, bool json);

#endif
