/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads the configuration file by the table of conf_table.c. libconfig only here and in
 * conf_policy.c.
 *
 * Every problem of a file is told in one run, each as a line "FILE:LINE: key: what is wrong; what
 * is allowed", because nobody wants to mend a file one error at a time. A configuration is complete
 * and checked, or it is not given to anybody: conf_load() fills *conf only when there was no error.
 * Unused bytes of a struct conf are zero, so fields compare by memcmp.
 */
#include "conf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "conf_parse.h"
#include "conf_table.h"
#include "util.h"

void conf_fail(struct parse *p, const config_setting_t *at, const char *path, const char *fmt, ...)
{
	const char *file = at ? config_setting_source_file(at) : NULL;
	va_list ap;

	p->errors++;
	(void)fprintf(p->err, "%s:", file ? file : p->file);
	if (at && config_setting_source_line(at))
		(void)fprintf(p->err, "%u:", config_setting_source_line(at));
	(void)fprintf(p->err, " %s: ", path);
	va_start(ap, fmt);
	(void)vfprintf(p->err, fmt, ap);
	va_end(ap);
	(void)fputc('\n', p->err);
}

static const char *last_name(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot ? dot + 1 : path;
}

/* Does path name a key right inside the group prefix ("" = the top)? */
static bool is_inside(const char *path, const char *prefix)
{
	size_t len = strlen(prefix);

	if (len && (strncmp(path, prefix, len) || path[len] != '.'))
		return false;
	return !strchr(path + (len ? len + 1 : 0), '.');
}

static bool is_section(const char *path)
{
	size_t len = strlen(path);
	const struct conf_key *k;

	for (size_t i = 0; (k = conf_table_at(i)); i++) {
		if (!strncmp(k->path, path, len) && k->path[len] == '.' && !conf_table_find(path))
			return true;
	}
	return false;
}

/* ---- one value ---- */

void conf_wrong_type(struct parse *p, const config_setting_t *s, const struct conf_key *k,
		     const char *text)
{
	char allowed[128];

	conf_table_allowed(k, allowed, sizeof(allowed));
	conf_fail(p, s, text, "wrong type; allowed: %s", allowed);
}

static void read_num(struct parse *p, config_setting_t *s, const struct conf_key *k,
		     const char *text, void *base)
{
	int type = config_setting_type(s);
	long long v;

	if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64) {
		conf_wrong_type(p, s, k, text);
		return;
	}
	v = config_setting_get_int64(s);
	if (v < (long long)k->min || v > (long long)k->max)
		conf_fail(p, s, text, "%lld is out of range; allowed: %u to %u", v, k->min, k->max);
	else
		conf_table_set(k, base, (uint32_t)v);
}

/* Returns the string if it is one of the right length, else NULL and the error is told. */
static const char *get_string(struct parse *p, config_setting_t *s, const char *text, size_t min,
			      size_t max)
{
	const char *v = config_setting_type(s) == CONFIG_TYPE_STRING ? config_setting_get_string(s)
								     : NULL;

	if (!v)
		conf_fail(p, s, text, "wrong type; allowed: a string of %zu to %zu characters", min,
			  max);
	else if (strlen(v) < min || strlen(v) > max)
		conf_fail(p, s, text, "has %zu characters; allowed: %zu to %zu", strlen(v), min,
			  max);
	else
		return v;
	return NULL;
}

static const struct conf_word *find_word(const struct conf_word *w, const char *name)
{
	for (; w->name; w++) {
		if (!strcmp(w->name, name))
			return w;
	}
	return NULL;
}

static void read_word(struct parse *p, config_setting_t *s, const struct conf_key *k,
		      const char *text, void *base)
{
	const char *v = config_setting_type(s) == CONFIG_TYPE_STRING ? config_setting_get_string(s)
								     : NULL;
	const struct conf_word *w;
	char allowed[128];

	if (!v) {
		conf_wrong_type(p, s, k, text);
		return;
	}
	w = find_word(k->words, v);
	if (!w) {
		conf_table_allowed(k, allowed, sizeof(allowed));
		conf_fail(p, s, text, "\"%s\" is not known; allowed: %s", v, allowed);
	} else if (k->type == CONF_WORD) {
		conf_table_set(k, base, (uint32_t)w->value);
	} else {
		(void)snprintf((char *)base + k->at, k->size, "%s", v);
	}
}

static void read_string(struct parse *p, config_setting_t *s, const struct conf_key *k,
			const char *text, void *base)
{
	const char *v;

	if (k->words) {
		read_word(p, s, k, text, base);
		return;
	}
	v = get_string(p, s, text, k->min, k->max);
	if (v)
		(void)snprintf((char *)base + k->at, k->size, "%s", v);
}

static void read_strings(struct parse *p, config_setting_t *s, const struct conf_key *k,
			 const char *text, void *base)
{
	unsigned int n = config_setting_is_array(s) || config_setting_is_list(s)
				 ? (unsigned int)config_setting_length(s)
				 : 0;

	if (n < k->min || n > k->max) {
		conf_wrong_type(p, s, k, text);
		return;
	}
	for (unsigned int i = 0; i < n; i++) {
		const char *v = get_string(p, config_setting_get_elem(s, i), text, 1, k->size - 1);

		if (v)
			(void)snprintf((char *)base + k->at + i * k->size, k->size, "%s", v);
	}
	memcpy((char *)base + k->count_at, &n, sizeof(n));
}

static void read_key(struct parse *p, config_setting_t *s, const struct conf_key *k,
		     const char *text, void *base)
{
	switch (k->type) {
	case CONF_NUM:
		read_num(p, s, k, text, base);
		break;
	case CONF_BOOL:
		if (config_setting_type(s) == CONFIG_TYPE_BOOL)
			conf_table_set(k, base, (uint32_t)config_setting_get_bool(s));
		else
			conf_wrong_type(p, s, k, text);
		break;
	case CONF_STR:
		read_string(p, s, k, text, base);
		break;
	case CONF_WORD:
		read_word(p, s, k, text, base);
		break;
	case CONF_STRS:
		read_strings(p, s, k, text, base);
		break;
	case CONF_LINKS:
	case CONF_RULES:
		break; /* read_links, conf_read_policy */
	}
}

/* ---- groups ---- */

static void unknown_key(struct parse *p, const config_setting_t *s, const struct scope *sc,
			const char *text)
{
	char known[512] = "";
	size_t at = 0;
	const struct conf_key *k;

	for (size_t i = 0; (k = conf_table_at(i)) && at < sizeof(known); i++) {
		if (is_inside(k->path, sc->table_path))
			at += (size_t)snprintf(known + at, sizeof(known) - at, "%s%s",
					       at ? ", " : "", last_name(k->path));
	}
	if (!*sc->table_path)
		conf_fail(
			p, s, text,
			"unknown key; allowed here: %s, sync, kernel, state, control, record, log",
			known);
	else
		conf_fail(p, s, text, "unknown key; allowed here: %s", known);
}

/* Names that the table does not have; sections that are no groups. */
static void check_names(struct parse *p, const struct scope *sc)
{
	for (int i = 0; sc->group && i < config_setting_length(sc->group); i++) {
		config_setting_t *s = config_setting_get_elem(sc->group, (unsigned int)i);
		char path[PATH_LEN], text[PATH_LEN];

		conf_join(path, sizeof(path), sc->table_path, config_setting_name(s));
		conf_join(text, sizeof(text), sc->text, config_setting_name(s));
		if (conf_table_find(path))
			continue;
		if (!is_section(path))
			unknown_key(p, s, sc, text);
		else if (!config_setting_is_group(s))
			conf_fail(p, s, text, "wrong type; allowed: a group { ... }");
	}
}

void conf_read_group(struct parse *p, const struct scope *sc)
{
	const struct conf_key *k;

	check_names(p, sc);
	for (size_t i = 0; (k = conf_table_at(i)); i++) {
		config_setting_t *s;
		char text[PATH_LEN];

		if (!is_inside(k->path, sc->table_path))
			continue;
		conf_join(text, sizeof(text), sc->text, last_name(k->path));
		s = sc->group ? config_setting_get_member(sc->group, last_name(k->path)) : NULL;
		if (s)
			read_key(p, s, k, text, sc->base);
		else if (k->required)
			conf_fail(p, sc->group && *sc->text ? sc->group : NULL, text,
				  "missing; write %s", k->example);
	}
}

/* ---- links ---- */

static bool addr_parse(const char *text, uint16_t port, struct sockaddr_storage *out)
{
	struct sockaddr_in *in4 = (void *)out;
	struct sockaddr_in6 *in6 = (void *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &in4->sin_addr) == 1) {
		in4->sin_family = AF_INET;
		in4->sin_port = htons(port);
		return true;
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		return true;
	}
	return false;
}

static bool addr_is_multicast(const struct sockaddr_storage *a)
{
	const struct sockaddr_in *in4 = (const void *)a;
	const struct sockaddr_in6 *in6 = (const void *)a;

	if (a->ss_family == AF_INET)
		return IN_MULTICAST(ntohl(in4->sin_addr.s_addr));
	return IN6_IS_ADDR_MULTICAST(&in6->sin6_addr);
}

static bool addr_is_any(const struct sockaddr_storage *a)
{
	const struct sockaddr_in *in4 = (const void *)a;
	const struct sockaddr_in6 *in6 = (const void *)a;

	if (a->ss_family == AF_INET)
		return in4->sin_addr.s_addr == htonl(INADDR_ANY) ||
		       in4->sin_addr.s_addr == htonl(INADDR_BROADCAST);
	return IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
}

/* Reads one address of a link. name: its key; wants a multicast group or a host's address of the
 * family of local. */
static void read_addr(struct parse *p, const struct scope *sc, const char *name, const char *text,
		      bool group, struct sockaddr_storage *out)
{
	const struct conf_link_text *t = sc->base;
	config_setting_t *s = member_or_group(sc, name);
	struct sockaddr_storage local;
	char path[PATH_LEN];

	conf_join(path, sizeof(path), sc->text, name);
	if (!addr_parse(text, (uint16_t)t->port, out))
		conf_fail(p, s, path,
			  "\"%s\" is no address; allowed: IPv4 or IPv6, no name, no %%scope", text);
	else if (group != addr_is_multicast(out))
		conf_fail(p, s, path, "\"%s\" is %s multicast address", text, group ? "no" : "a");
	else if (addr_is_any(out))
		conf_fail(p, s, path, "\"%s\" names no host", text);
	else if (addr_parse(t->local, (uint16_t)t->port, &local) &&
		 local.ss_family != out->ss_family)
		conf_fail(p, s, path, "\"%s\" and local are not of one family", text);
	else if (strcmp(name, "local") && !strcmp(text, t->local))
		conf_fail(p, s, path, "\"%s\" is the local address", text);
}

static bool needs_scope(const struct sockaddr_storage *a)
{
	const struct sockaddr_in6 *in6 = (const void *)a;

	return a->ss_family == AF_INET6 &&
	       (IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) || IN6_IS_ADDR_MULTICAST(&in6->sin6_addr));
}

static void resolve_group(struct parse *p, const struct scope *sc, struct link_conf *l)
{
	const struct conf_link_text *t = sc->base;

	if (t->peer_count)
		conf_fail(p, member_or_group(sc, "group"), sc->text,
			  "has both peers and group; allowed: one of them");
	read_addr(p, sc, "group", t->group, true, &l->group);
	l->ttl = t->ttl ? (uint8_t)t->ttl : 1;
}

static void resolve_peers(struct parse *p, const struct scope *sc, struct link_conf *l)
{
	const struct conf_link_text *t = sc->base;
	config_setting_t *s = member_or_group(sc, "peers");

	if (!t->peer_count)
		conf_fail(p, sc->group, sc->text,
			  "has neither peers nor group; write peers = [ \"192.168.100.2\" ];");
	if (t->ttl)
		conf_fail(p, member_or_group(sc, "ttl"), sc->text, "ttl is for a link with group");
	for (unsigned int i = 0; i < t->peer_count; i++) {
		read_addr(p, sc, "peers", t->peers[i], false, &l->peers[i]);
		for (unsigned int j = 0; j < i; j++) {
			if (!memcmp(&l->peers[i], &l->peers[j], sizeof(l->peers[i])))
				conf_fail(p, s, sc->text, "peers: \"%s\" is there twice",
					  t->peers[i]);
		}
	}
	l->peer_count = t->peer_count;
}

static void resolve_link(struct parse *p, const struct scope *sc, struct link_conf *l)
{
	const struct conf_link_text *t = sc->base;
	bool scope;

	memcpy(l->interface, t->interface, sizeof(l->interface));
	if (!*t->local)
		return; /* missing or malformed: told already */
	read_addr(p, sc, "local", t->local, false, &l->local);
	if (*t->group)
		resolve_group(p, sc, l);
	else
		resolve_peers(p, sc, l);
	scope = needs_scope(&l->local) || needs_scope(&l->group);
	for (unsigned int i = 0; i < l->peer_count; i++)
		scope |= needs_scope(&l->peers[i]);
	if (scope && !*t->interface)
		conf_fail(p, sc->group, sc->text,
			  "a link-local address or an IPv6 group needs the interface; write "
			  "interface = \"eth1\";");
}

static void read_links(struct parse *p, config_setting_t *list)
{
	const struct conf_key *k = conf_table_find("sync.links");
	unsigned int n = config_setting_is_list(list) ? (unsigned int)config_setting_length(list)
						      : 0;

	if (n < k->min || n > k->max) {
		conf_wrong_type(p, list, k, "sync.links");
		return;
	}
	for (unsigned int i = 0; i < n; i++) {
		char text[PATH_LEN];
		struct conf_link_text t = { 0 };
		struct scope sc = { .group = config_setting_get_elem(list, i),
				    .table_path = "sync.links",
				    .text = text,
				    .base = &t };
		struct link_conf *l = &p->conf.links[i];

		(void)snprintf(text, sizeof(text), "sync.links[%u]", i);
		if (!config_setting_is_group(sc.group)) {
			conf_fail(p, sc.group, text, "wrong type; allowed: a group { ... }");
			continue;
		}
		conf_table_defaults(&t, CONF_IN_LINK);
		conf_read_group(p, &sc);
		resolve_link(p, &sc, l);
		for (unsigned int j = 0; j < i; j++) {
			if (l->local.ss_family &&
			    !memcmp(&l->local, &p->conf.links[j].local, sizeof(l->local)) &&
			    !strcmp(l->interface, p->conf.links[j].interface))
				conf_fail(p, sc.group, text,
					  "has interface, local and port of sync.links[%u]", j);
		}
	}
	p->conf.link_count = n;
}

/* ---- the whole ---- */

static void check_node(struct parse *p, const config_t *c)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

	if (p->conf.node[strspn(p->conf.node, allowed)])
		conf_fail(p, config_lookup(c, "node"), "node",
			  "\"%s\"; allowed: letters, digits, dot, dash and underscore",
			  p->conf.node);
}

/* What no single row can say. */
static void check_whole(struct parse *p, const config_t *c)
{
	struct conf *conf = &p->conf;
	config_setting_t *seal = config_lookup(c, "sync.seal"),
			 *keys = config_lookup(c, "sync.key_files");

	check_node(p, c);
	if (seal && keys)
		conf_fail(p, seal, "sync.seal",
			  "is there together with key_files; allowed: one of them");
	if (!seal && !keys)
		conf_fail(p, NULL, "sync",
			  "neither key_files nor seal is given; make a key with: "
			  "ctsync keygen /etc/ctsyncd/sync.key, and write key_files = [ "
			  "\"/etc/ctsyncd/sync.key\" ]; or, to go without encryption and "
			  "authentication, seal = \"none\";");
	if (keys)
		(void)snprintf(conf->key_at, sizeof(conf->key_at),
			       "%s:%u: ", config_setting_source_file(keys),
			       config_setting_source_line(keys));
	for (unsigned int i = 0; i < conf->key_count; i++) {
		if (conf->key_files[i][0] != '/')
			conf_fail(p, keys, "sync.key_files",
				  "\"%s\"; allowed: a path that starts with /", conf->key_files[i]);
	}
	if (conf->key_count == 2 && !strcmp(conf->key_files[0], conf->key_files[1]))
		conf_fail(p, keys, "sync.key_files", "names one file twice");
	if (conf->dead_ms < 2 * conf->heartbeat_ms) {
		config_setting_t *dead = config_lookup(c, "sync.dead_ms");

		conf_fail(p, dead ? dead : config_lookup(c, "sync.heartbeat_ms"), "sync.dead_ms",
			  "%u is less than twice sync.heartbeat_ms (%u); allowed: %u or more",
			  conf->dead_ms, conf->heartbeat_ms, 2 * conf->heartbeat_ms);
	}
	if (conf->active_active && !conf->hot)
		conf_fail(p, config_lookup(c, "active_active"), "active_active",
			  "needs standby = \"hot\": flows have to be in every kernel at once");
	if (conf->socket[0] != '/')
		conf_fail(p, config_lookup(c, "control.socket"), "control.socket",
			  "\"%s\"; allowed: a path that starts with /", conf->socket);
}

static void read_all(struct parse *p, const config_t *c)
{
	static const char *const sections[] = { "",        "sync",   "kernel", "state",
						"control", "record", "log" };
	config_setting_t *links = config_lookup(c, "sync.links");

	for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
		struct scope sc = { .table_path = sections[i],
				    .text = sections[i],
				    .base = &p->conf };

		sc.group = *sections[i] ? config_lookup(c, sections[i]) : config_root_setting(c);
		if (sc.group && !config_setting_is_group(sc.group))
			continue; /* told at the top */
		conf_read_group(p, &sc);
	}
	if (links)
		read_links(p, links);
	if (config_lookup(c, "policy"))
		conf_read_policy(p, config_lookup(c, "policy"));
	check_whole(p, c);
}

/* libconfig's own message for a file that cannot be opened says nothing. */
static int check_readable(const char *path, FILE *err)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), e = 0;

	if (fd < 0 || fstat(fd, &st))
		e = errno;
	else if (!S_ISREG(st.st_mode))
		e = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	if (fd >= 0)
		(void)close(fd);
	if (e)
		(void)fprintf(err, "%s: cannot read: %s\n", path, strerror(e));
	return e ? -EX_CONFIG : 0;
}

int conf_load(struct conf *conf, const char *path, FILE *err)
{
	struct parse p = { .file = path, .err = err };
	char *dir = strdup(path);
	config_t c;

	if (!dir || check_readable(path, err)) {
		free(dir);
		return -EX_CONFIG;
	}
	config_init(&c);
	config_set_include_dir(&c, dirname(dir)); /* @include is relative to the file */
	conf_table_defaults(&p.conf, CONF_IN_FILE);
	if (config_read_file(&c, path) == CONFIG_TRUE) {
		read_all(&p, &c);
	} else {
		const char *file = config_error_file(&c);

		p.errors++;
		(void)fprintf(err, "%s:%d: %s\n", file ? file : path, config_error_line(&c),
			      config_error_text(&c));
	}
	p.conf.policy.syn_sent = p.conf.active_active; /* R70: the answer may come elsewhere */
	if (!p.errors)
		*conf = p.conf;
	config_destroy(&c);
	free(dir);
	return p.errors ? -EX_CONFIG : 0;
}

static uint16_t address_of(const struct sockaddr_storage *ss, uint8_t out[16])
{
	if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)ss;

		memcpy(out, &in6->sin6_addr, 16);
		return in6->sin6_port;
	}
	const struct sockaddr_in *in = (const void *)ss;

	memset(out, 0, 16);
	memcpy(out, &in->sin_addr, 4);
	return in->sin_port;
}

/* The links' own datagrams are tracked like any others, but are no flows of the group. */
static void ignore_link(struct engine_conf *out, const struct link_conf *link)
{
	bool group = link->group.ss_family != 0;
	unsigned int count = group ? 1 : link->peer_count;

	for (unsigned int i = 0; i < count && out->ignore_count < ENGINE_IGNORE_MAX; i++) {
		const struct sockaddr_storage *to = group ? &link->group : &link->peers[i];
		struct engine_ignore *g = &out->ignore[out->ignore_count++];

		g->l3 = to->ss_family == AF_INET6 ? 6 : 4;
		g->group = group;
		(void)address_of(&link->local, g->a);
		g->port = address_of(to, g->b);
	}
}

void conf_engine(const struct conf *conf, struct engine_conf *out)
{
	engine_conf_default(out);
	memcpy(out->node, conf->node, sizeof(out->node));
	out->hot = conf->hot;
	out->active_active = conf->active_active;
	out->heartbeat_ms = conf->heartbeat_ms;
	out->dead_ms = conf->dead_ms;
	out->hold_s = conf->hold_s;
	out->orphan_s = conf->orphan_s;
	out->forced_wait_ms = conf->forced_wait_ms;
	out->unclaimed_ms = conf->unclaimed_ms;
	out->flows_max = conf->flows_max;
	out->tombstones_max = conf->tombstones_max;
	out->scrub_s = conf->scrub_s;
	out->walk_rate = conf->walk_rate;
	for (unsigned int i = 0; i < conf->link_count; i++)
		ignore_link(out, &conf->links[i]);
}
