/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rights on the control socket: root, the daemon's own user and the members of one configured group
 * may change things, others may read if the configuration says so. The kernel vouches for the peer
 * (unix(7): SO_PEERCRED; SO_PEERGROUPS gives the supplementary groups), so no password, and no
 * trust in the mode of a file. What cannot be found out gives no rights.
 */
#include "ctl_rights.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void ctl_rights_set(struct ctl_rights *r, const char *group, bool read_all, struct log *log)
{
	const struct group *gr;

	*r = (struct ctl_rights){ .read_all = read_all };
	if (!group || group[0] == '\0')
		return;
	(void)snprintf(r->group, sizeof(r->group), "%s", group); /* for messages: may be cut */
	gr = getgrnam(group);
	if (!gr) {
		log_warn(log, "control.group: there is no group %s: only root may change anything",
			 group);
		return;
	}
	r->has_gid = true;
	r->gid = gr->gr_gid;
}

/* Is gid among the supplementary groups of the socket's peer? */
static bool peer_in_group(int fd, gid_t gid)
{
	socklen_t len = 0;
	gid_t *groups;
	bool found = false;

	/* The first call tells the size: the kernel answers ERANGE and the length that it needs. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0 || errno != ERANGE ||
	    len == 0)
		return false;
	groups = malloc(len);
	if (!groups)
		return false;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) == 0)
		for (size_t i = 0; i < len / sizeof(gid_t) && !found; i++)
			found = groups[i] == gid;
	free(groups);
	return found;
}

void ctl_rights_peer(const struct ctl_rights *r, int fd, struct ctl_peer *who)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	*who = (struct ctl_peer){ .uid = (uid_t)-1 };
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return;
	who->uid = cred.uid;
	who->pid = cred.pid;
	who->may_change = cred.uid == 0 || cred.uid == geteuid() ||
			  (r->has_gid && (cred.gid == r->gid || peer_in_group(fd, r->gid)));
	who->may_read = who->may_change || r->read_all;
}

void ctl_rights_text(const struct ctl_rights *r, char *buf, size_t len)
{
	if (r->has_gid)
		(void)snprintf(buf, len, "be root or a member of the group %s", r->group);
	else
		(void)snprintf(buf, len, "be root (there is no group in control.group)");
}

/* The file's mode is a first fence only. Where the file cannot be given to the group, it is open to
 * all, so that the group's members reach the check of their credentials. */
int ctl_rights_mode(const struct ctl_rights *r, const char *path)
{
	mode_t mode = r->read_all ? 0666 : 0600;

	if (!r->read_all && r->has_gid)
		mode = chown(path, (uid_t)-1, r->gid) == 0 ? 0660 : 0666;
	return chmod(path, mode) < 0 ? -errno : 0;
}
