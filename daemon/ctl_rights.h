/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who is at the other end of the control socket, and what may they do? */
#ifndef CTSYNCD_CTL_RIGHTS_H
#define CTSYNCD_CTL_RIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "log.h"

struct ctl_rights {
	bool read_all; /* everybody may read */
	bool has_gid;  /* members of gid may change */
	gid_t gid;
	char group[64];
};

struct ctl_peer {
	uid_t uid; /* -1 when the kernel did not tell */
	pid_t pid;
	bool may_read, may_change;
};

/* group: a name, NULL or empty for none. One that does not exist gives rights to nobody, and a
 * warning. */
void ctl_rights_set(struct ctl_rights *r, const char *group, bool read_all, struct log *log);

/* Fills who for the peer of the connected unix socket fd, by its credentials at the time of its
 * connect. */
void ctl_rights_peer(const struct ctl_rights *r, int fd, struct ctl_peer *who);

/* Who may change something, as advice: "be root or a member of the group x". */
void ctl_rights_text(const struct ctl_rights *r, char *buf, size_t len);

/* Sets group and mode of the socket file at path. Returns 0 or -errno. */
int ctl_rights_mode(const struct ctl_rights *r, const char *path);

#endif
