/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The configuration. One table drives parse, defaults, check, print and the
 * man page. */
#ifndef CTSYNCD_CONF_H
#define CTSYNCD_CONF_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "../include/ctl.h"
#include "engine.h"
#include "link.h"
#include "log.h"
#include "policy.h"

#define CONF_PATH_DEFAULT "/etc/ctsyncd/ctsyncd.conf"
#define CONF_PATH_MAX 108

struct conf {
	char node[WIRE_NAME_MAX + 1];
	bool hot;
	bool active_active; /* needs hot */
	/* sync */
	bool sealed; /* key_files given */
	char key_files[ENGINE_KEYS_MAX][256];
	unsigned int key_count;
	char key_at[320]; /* file:line of key_files, for messages */
	struct link_conf links[LINK_LINKS_MAX];
	unsigned int link_count;
	uint32_t heartbeat_ms, dead_ms;
	uint32_t socket_buffer_len; /* receive buffer of a link's socket, bytes */
	struct policy_conf policy;
	/* kernel */
	uint32_t event_buffer_len;
	bool reliable_events;
	/* state */
	uint32_t hold_s, orphan_s, forced_wait_ms, unclaimed_ms;
	uint32_t flows_max, tombstones_max, scrub_s, walk_rate;
	/* control */
	char socket[CONF_PATH_MAX];
	char group[32]; /* may change things besides root; empty = root alone */
	bool read_all;  /* others may read */
	/* record */
	uint32_t record_size_mb; /* flight recorder's ring; 0 = off */
	/* log */
	char log_target[16];
	enum log_level log_level;
	char user[32]; /* to drop to when started by root; default "ctsyncd" */
};

/* Reads path. Returns 0, or -EX_CONFIG with "file:line: what is wrong; what is allowed" on err
 * (each problem a line). */
int conf_load(struct conf *conf, const char *path, FILE *err);

/* Prints conf as a configuration file that loads to the same. */
void conf_print(const struct conf *conf, FILE *out);

/* Fills what comes from the file; not kernel_id, role, origin, dgram_max, window_len, timeouts,
 * keys. */
void conf_engine(const struct conf *conf, struct engine_conf *out);

/* Reads the key files into keys. Returns 0 or -errno with a message on err (readable by others,
 * wrong length, missing). */
int conf_keys(const struct conf *conf, uint8_t keys[ENGINE_KEYS_MAX][32], FILE *err);

/* Names of the keys that differ between two configurations but need a restart, comma separated;
 * empty if none. */
void conf_restart_keys(const struct conf *a, const struct conf *b, char *out, size_t len);

/* Copies the keys that are live from src to dst, leaves the others. */
void conf_copy_live(struct conf *dst, const struct conf *src);

/* Prints the table of keys as roff for ctsyncd.conf(5); a test compares it with the page. */
void conf_print_keys(FILE *out);

#endif
