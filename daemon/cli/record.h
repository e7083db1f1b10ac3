/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ctsync record FILE: the daemon's flight recorder into a file. */
#ifndef CTSYNCD_CLI_RECORD_H
#define CTSYNCD_CLI_RECORD_H

#include "../../include/ctl.h"
#include "cli.h"

/* Takes the answer to a request "record" from c and writes it to path, which must not exist. */
enum ctl_exit record(struct cli *c, const char *path);

/* May path be made? Asked before the daemon is. */
enum ctl_exit record_check(const char *path);

#endif
