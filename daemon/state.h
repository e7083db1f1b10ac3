/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a run leaves behind for the next one, beside the control socket: SOCKET.lock (held by flock,
 * so that a stale file never stops a start) and SOCKET.state (role and boot id). Both live under
 * /run: a reboot forgets them, as it should (PROTOCOL.md, R46). Also here: the runtime directory
 * and giving up root, because both decide who may write these files.
 */
#ifndef CTSYNCD_STATE_H
#define CTSYNCD_STATE_H

#include <stdbool.h>
#include <sys/types.h>

#include "conf.h"
#include "engine.h"

#define STATE_PATH_MAX (CONF_PATH_MAX + 16)
#define STATE_BOOT_ID_LEN 36

struct state {
	int lock_fd;
	char lock_path[STATE_PATH_MAX];
	char path[STATE_PATH_MAX];
	char boot_id[STATE_BOOT_ID_LEN + 1];
};

/* Makes the directory of the socket if it is missing and gives it to user (when root and user
 * exists). Returns 0 or -errno. */
int state_dir(const char *socket, const char *user);

/* Takes the lock. Returns 0; -EWOULDBLOCK with *holder = the pid of who holds it (0 unknown); or
 * another -errno. */
int state_lock(struct state *s, const char *socket, pid_t *holder);
void state_unlock(struct state *s);

/* Reads the state file: ORIGIN_BOOT and ROLE_BACKUP when there is none of this boot, else
 * ORIGIN_RESTART and the role kept. Returns 0, or -errno if the file is there but cannot be read:
 * then ROLE_BACKUP and ORIGIN_RESTART, because there was an earlier run. */
int state_load(const struct state *s, enum engine_role *role, enum engine_origin *origin);

/* Writes the role, atomically (a new file, synced, renamed over the old). Returns 0 or -errno. */
int state_save(const struct state *s, enum engine_role role);

/* Gives lock and state file to user. Returns 0 or -errno. */
int state_give(const struct state *s, uid_t uid, gid_t gid);

/* Becomes user for good, keeping CAP_NET_ADMIN alone. Returns 0 (user may be root: then nothing
 * changed); -ENOENT, no such user, or -EACCES, it could not write beside the socket: nothing
 * changed either; or another -errno: the process must not go on. */
int state_drop(struct state *s, const char *user);

#endif
