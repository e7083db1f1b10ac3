/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Makes a sealing key. The one thing that ctsync does without a daemon. */
#ifndef CTSYNCD_CLI_KEYGEN_H
#define CTSYNCD_CLI_KEYGEN_H

#include "../../include/ctl.h"

#define KEYGEN_GROUP "ctsyncd" /* of the daemon's user */

/* Makes the file path with a key of 32 random bytes, never over a file that is there. Says on
 * standard output what was made, on standard error what failed. */
enum ctl_exit keygen(const char *path);

#endif
