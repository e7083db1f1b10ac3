/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verbs that only show values: each puts them all; the caller ends the reply. */
#ifndef CTSYNCD_VERBS_SHOW_H
#define CTSYNCD_VERBS_SHOW_H

#include "daemon.h"

void verbs_show_status(struct daemon *d, struct ctl_client *c);
void verbs_show_stats(struct daemon *d, struct ctl_client *c);
void verbs_show_peers(struct daemon *d, struct ctl_client *c);

#endif
