/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the readers of the configuration file share: conf.c and conf_policy.c. */
#ifndef CTSYNCD_CONF_PARSE_H
#define CTSYNCD_CONF_PARSE_H

#include <libconfig.h>

#include "conf_table.h"

#define PATH_LEN 96 /* text of a key's path, "sync.links[0].interface" */

struct parse {
	const char *file;
	FILE *err;
	unsigned int errors;
	struct conf conf;
};

/* One group being read: its setting (NULL = not in the file), where it stands, and where its fields
 * go. */
struct scope {
	config_setting_t *group;
	const char *table_path; /* prefix in the table: "", "sync", "sync.links" */
	const char *text;       /* prefix for people: "sync.links[0]" */
	void *base;
};

/* Tells one problem. at NULL: it has no line (something is missing). */
void conf_fail(struct parse *p, const config_setting_t *at, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void conf_wrong_type(struct parse *p, const config_setting_t *s, const struct conf_key *k,
		     const char *text);

/* Reads the keys right inside a group by the table. */
void conf_read_group(struct parse *p, const struct scope *sc);

/* Reads the list of rules into p->conf.policy. */
void conf_read_policy(struct parse *p, config_setting_t *list);

static inline void conf_join(char *buf, size_t len, const char *prefix, const char *name)
{
	(void)snprintf(buf, len, "%s%s%s", prefix, *prefix ? "." : "", name);
}

/* The setting of a key, or the group that lacks it. */
static inline config_setting_t *member_or_group(const struct scope *sc, const char *name)
{
	config_setting_t *s = config_setting_get_member(sc->group, name);

	return s ? s : sc->group;
}

#endif
