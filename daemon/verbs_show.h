/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verbs that only show values: each puts them all; the caller ends the reply. */
#ifndef CTSYNCD_VERBS_SHOW_H
#define CTSYNCD_VERBS_SHOW_H

#include "daemon.h"

#define VERBS_DROP_NAME_LEN 16

/* Names that status, stats and events share. */
const char *verbs_role_name(bool primary);
const char *verbs_state_name(enum engine_peer_state state);
/* The name of an enum engine_drop in lower case; "?" if there is no such. */
void verbs_drop_name(unsigned int drop, char buf[VERBS_DROP_NAME_LEN]);

void verbs_show_status(struct daemon *d, struct ctl_client *c);
void verbs_show_stats(struct daemon *d, struct ctl_client *c);
void verbs_show_peers(struct daemon *d, struct ctl_client *c);

#endif
