/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Values of a reply to JSON or text. The tree is what the paths say and nothing else, so a daemon
 * that tells more than this client knows is shown in full in JSON, and where the text form of a
 * verb is a plain list. The text forms of status, peers and promote are for a person in a hurry:
 * what matters first, alarming things in capitals.
 */
#include "render.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PATH_PART_MAX 64
#define LIST_MAX 4096 /* items of a list: a reply that names more is not believed */

/* ---- Values ---- */

static json_t *parse_number(const char *text)
{
	unsigned long long v;
	char *end;

	if (*text < '0' || *text > '9')
		return NULL;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno || *end != '\0')
		return NULL;
	/* JSON libraries hold signed 64 bits: above, rather imprecise than negative. */
	return v > LLONG_MAX ? json_real((double)v) : json_integer((json_int_t)v);
}

static json_t *parse_value(char type, const char *text)
{
	switch (type) {
	case 'n':
		return parse_number(text);
	case 's': /* what is no UTF-8 cannot be in JSON */
		return json_string(text) ?: json_string("?");
	case 'b':
		if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
			return NULL;
		return json_boolean(text[0] == 't');
	case 'z':
		return json_null();
	case 'l':
		return json_array();
	default:
		return NULL;
	}
}

int render_value(json_t *flat, const char *text)
{
	char path[512];
	const char *p;
	json_t *value;
	size_t len;

	if (text[0] == '\0' || text[1] != ' ')
		return -1;
	p = text + 2;
	len = strcspn(p, " ");
	if (len == 0 || len >= sizeof(path))
		return -1;
	memcpy(path, p, len);
	path[len] = '\0';
	value = parse_value(text[0], p[len] == ' ' ? p + len + 1 : "");
	return value ? json_object_set_new(flat, path, value) : -1;
}

/* ---- The tree ---- */

/* Copies the next part of a path. Returns false when the path is over or a part is empty or too
 * long. */
static bool next_part(const char **path, char part[PATH_PART_MAX])
{
	size_t len = strcspn(*path, ".");

	if (len == 0 || len >= PATH_PART_MAX)
		return false;
	memcpy(part, *path, len);
	part[len] = '\0';
	*path += len + ((*path)[len] == '.');
	return true;
}

/* A list's index: digits only. */
static bool is_index(const char *part, size_t *index)
{
	size_t len = strspn(part, "0123456789");

	if (len == 0 || part[len] != '\0' || len > 6)
		return false;
	*index = strtoul(part, NULL, 10);
	return true;
}

/* The member of node called part, NULL if there is none. */
static json_t *child_get(json_t *node, const char *part)
{
	size_t index;

	if (json_is_object(node))
		return json_object_get(node, part);
	return is_index(part, &index) ? json_array_get(node, index) : NULL;
}

/* Adds value (taken over) to node as part. Lists grow item by item. */
static int child_set(json_t *node, const char *part, json_t *value)
{
	size_t index;

	if (json_is_object(node))
		return json_object_set_new(node, part, value);
	if (json_is_array(node) && is_index(part, &index) && index == json_array_size(node) &&
	    index < LIST_MAX)
		return json_array_append_new(node, value);
	json_decref(value);
	return -1;
}

static int tree_put(json_t *root, const char *path, json_t *value)
{
	char part[PATH_PART_MAX], next[PATH_PART_MAX];
	json_t *node = root;
	size_t index;

	if (!next_part(&path, part))
		return -1;
	while (*path) {
		json_t *child = child_get(node, part);

		if (!next_part(&path, next))
			return -1;
		if (!child) {
			child = is_index(next, &index) ? json_array() : json_object();
			if (child_set(node, part, child) < 0)
				return -1;
		}
		node = child;
		memcpy(part, next, sizeof(part));
	}
	if (child_get(node, part))
		return -1;
	return child_set(node, part, json_incref(value));
}

json_t *render_tree(json_t *flat)
{
	json_t *root = json_object();
	json_t *value;
	const char *path;

	json_object_foreach(flat, path, value)
	{
		if (root && tree_put(root, path, value) < 0) {
			json_decref(root);
			return NULL;
		}
	}
	return root;
}

/* ---- Text ---- */

static const char *get_str(const json_t *flat, const char *path)
{
	const char *s = json_string_value(json_object_get(flat, path));

	return s ?: "?";
}

static long long get_num(const json_t *flat, const char *path)
{
	return json_integer_value(json_object_get(flat, path)); /* 0 when it is not there */
}

static bool get_bool(const json_t *flat, const char *path)
{
	return json_is_true(json_object_get(flat, path));
}

/* A number as text, "unknown" where the daemon does not know it. */
static const char *num_text(const json_t *flat, const char *path, char buf[32])
{
	if (!json_is_integer(json_object_get(flat, path)))
		return "unknown";
	(void)snprintf(buf, 32, "%lld", get_num(flat, path));
	return buf;
}

/* An age in milliseconds for people. */
static const char *age_text(const json_t *flat, const char *path, char buf[32])
{
	long long ms = get_num(flat, path);

	if (!json_is_integer(json_object_get(flat, path)))
		return "never";
	if (ms < 1000)
		(void)snprintf(buf, 32, "%lld ms ago", ms);
	else if (ms < 120000)
		(void)snprintf(buf, 32, "%lld.%lld s ago", ms / 1000, ms / 100 % 10);
	else if (ms < 7200000)
		(void)snprintf(buf, 32, "%lld min ago", ms / 60000);
	else
		(void)snprintf(buf, 32, "%lld h ago", ms / 3600000);
	return buf;
}

/* One value of any type. */
static void put_any(const json_t *v, FILE *out)
{
	if (json_is_string(v))
		(void)fputs(json_string_value(v), out);
	else if (json_is_integer(v))
		(void)fprintf(out, "%lld", (long long)json_integer_value(v));
	else if (json_is_real(v))
		(void)fprintf(out, "%.0f", json_real_value(v));
	else if (json_is_boolean(v))
		(void)fputs(json_is_true(v) ? "yes" : "no", out);
	else
		(void)fputs(json_is_array(v) ? "none" : "unknown", out);
}

/* Path and value in two columns. */
static void text_plain(json_t *flat, FILE *out)
{
	size_t width = 0;
	const char *path;
	json_t *value;

	json_object_foreach(flat, path, value) if (strlen(path) > width) width = strlen(path);
	json_object_foreach(flat, path, value)
	{
		(void)fprintf(out, "%-*s  ", (int)width, path);
		put_any(value, out);
		(void)fputc('\n', out);
	}
}

/* The path of a peer's value. */
static const char *peer_path(char buf[64], unsigned int i, const char *name)
{
	(void)snprintf(buf, 64, "peers.%u.%s", i, name);
	return buf;
}

/* What is proven about the peer's flows here. */
static const char *sync_text(const json_t *flat, unsigned int i, char buf[64])
{
	char path[64], age[32];

	if (!get_bool(flat, peer_path(path, i, "in_sync")))
		return "no";
	(void)snprintf(buf, 64, "proven %s",
		       age_text(flat, peer_path(path, i, "verified_age_ms"), age));
	return buf;
}

/* The path of a value of a peer's link. */
static const char *link_path(char buf[64], unsigned int i, unsigned int k, const char *name)
{
	(void)snprintf(buf, 64, "peers.%u.links.%u.%s", i, k, name);
	return buf;
}

static void text_link(const json_t *flat, unsigned int i, unsigned int k, FILE *out)
{
	char p[64], buf[32];

	(void)fprintf(out, "%-16s ", get_str(flat, peer_path(p, i, "node")));
	(void)fprintf(out, "%-16s ", get_str(flat, link_path(p, i, k, "link")));
	(void)fprintf(out, "%-7s ", get_bool(flat, link_path(p, i, k, "up")) ? "up" : "SILENT");
	(void)fprintf(out, "%-12s ", age_text(flat, link_path(p, i, k, "heard_ms"), buf));
	(void)fprintf(out, "%12lld ", get_num(flat, link_path(p, i, k, "received")));
	(void)fprintf(out, "%12lld ", get_num(flat, link_path(p, i, k, "doubles")));
	(void)fprintf(out, "%10lld", get_num(flat, link_path(p, i, k, "lost")));
	(void)fprintf(out, " of %lld\n", get_num(flat, link_path(p, i, k, "expected")));
}

/* What comes from each peer by each link. */
static void text_links(const json_t *flat, FILE *out)
{
	char p[64];

	if (!json_object_get(flat, "peers.0.links.0.link"))
		return;
	(void)fprintf(out, "\n%-16s %-16s %-7s %-12s %12s %12s %10s\n", "PEER", "LINK", "STATE",
		      "HEARD", "RECEIVED", "DOUBLES", "LOST");
	for (unsigned int i = 0; json_object_get(flat, peer_path(p, i, "node")); i++)
		for (unsigned int k = 0; json_object_get(flat, link_path(p, i, k, "link")); k++)
			text_link(flat, i, k, out);
}

static void text_peers(const json_t *flat, FILE *out)
{
	char p[64], buf[32], sync[64];

	if (!json_object_get(flat, "peers.0.node")) {
		(void)fputs("no peer has been heard\n", out);
		return;
	}
	(void)fprintf(out, "%-16s %-7s %-8s %-12s %10s %10s %10s %8s  %s\n", "PEER", "STATE",
		      "ROLE", "HEARD", "FLOWS", "COVERED", "HEAD", "MISSING", "IN SYNC");
	for (unsigned int i = 0; json_object_get(flat, peer_path(p, i, "node")); i++) {
		(void)fprintf(out, "%-16s ", get_str(flat, p));
		(void)fprintf(out, "%-7s ", get_str(flat, peer_path(p, i, "state")));
		(void)fprintf(out, "%-8s ", get_str(flat, peer_path(p, i, "role")));
		(void)fprintf(out, "%-12s ", age_text(flat, peer_path(p, i, "heard_ms"), buf));
		(void)fprintf(out, "%10lld ", get_num(flat, peer_path(p, i, "flows")));
		(void)fprintf(out, "%10lld ", get_num(flat, peer_path(p, i, "covered")));
		(void)fprintf(out, "%10lld ", get_num(flat, peer_path(p, i, "head")));
		(void)fprintf(out, "%8lld  ", get_num(flat, peer_path(p, i, "missing")));
		(void)fprintf(out, "%s\n", sync_text(flat, i, sync));
	}
	text_links(flat, out);
}

/* Our own ends. */
static void text_links_down(const json_t *flat, FILE *out)
{
	char p[64];

	for (unsigned int i = 0;; i++) {
		(void)snprintf(p, sizeof(p), "links.%u.up", i);
		if (!json_object_get(flat, p))
			return;
		if (get_bool(flat, p))
			continue;
		(void)snprintf(p, sizeof(p), "links.%u.link", i);
		(void)fprintf(out, "%-10s %s is DOWN here\n", "link", get_str(flat, p));
	}
}

/* Flows over which the daemon died. */
static void text_quarantine(const json_t *flat, FILE *out)
{
	char p[64];

	for (unsigned int i = 0;; i++) {
		(void)snprintf(p, sizeof(p), "quarantine.%u.flow", i);
		if (!json_object_get(flat, p))
			return;
		(void)fprintf(out, "%-10s QUARANTINED, see ctsyncd(8): %s\n", "flow",
			      get_str(flat, p));
	}
}

/* Lines that only appear when there is something to say. */
static void text_status_extra(const json_t *flat, FILE *out)
{
	static const struct {
		const char *path, *label, *text;
	} extra[] = {
		{ "backlog", "backlog", "kernel writes are waiting" },
		{ "stale", "stale", "entries wait for replacement" },
		{ "unclaimed", "unclaimed",
		  "flows found at the start that no node has claimed yet" },
		{ "orphans", "orphans", "flows of a dead run of a peer are kept for a promote" },
		{ "mute", "mute",
		  "entries may send no events (net.netfilter.nf_conntrack_events)" },
		{ "overruns", "overruns",
		  "times the kernel lost events for us (a new dump made up for it)" },
	};

	for (size_t i = 0; i < sizeof(extra) / sizeof(extra[0]); i++)
		if (get_num(flat, extra[i].path) > 0)
			(void)fprintf(out, "%-10s %lld %s\n", extra[i].label,
				      get_num(flat, extra[i].path), extra[i].text);
}

/* What became of the last promote. */
static void text_outcome(const json_t *flat, FILE *out)
{
	char invalid[32];

	if (get_bool(flat, "outcome.pending"))
		(void)fprintf(out, "%-10s is looked at 10 s after it\n", "promote");
	if (!json_is_integer(json_object_get(flat, "outcome.taken")))
		return;
	(void)fprintf(out,
		      "%-10s %lld flows taken over, %lld of them seen alive since, %lld ended, "
		      "%lld refused by the kernel; %s packets INVALID (seen %lld s ago)\n",
		      "promote", get_num(flat, "outcome.taken"), get_num(flat, "outcome.alive"),
		      get_num(flat, "outcome.ended"), get_num(flat, "outcome.refused"),
		      num_text(flat, "outcome.invalid", invalid), get_num(flat, "outcome.age_s"));
}

static void text_status(const json_t *flat, FILE *out)
{
	char local[32], remote[32], kernel[32], max[32];

	(void)fprintf(out, "%-10s %s\n", "node", get_str(flat, "node"));
	(void)fprintf(out, "%-10s %s (standby mode %s)\n", "role", get_str(flat, "role"),
		      get_str(flat, "standby"));
	if (json_is_false(json_object_get(flat, "role_saved")))
		(void)fprintf(out, "%-10s NOT SAVED: a restart of the daemon forgets the role\n",
			      "");
	(void)fprintf(out, "%-10s %s: %s\n", "ready", get_bool(flat, "ready") ? "yes" : "NO",
		      get_str(flat, "reason"));
	(void)fprintf(out, "%-10s %s local, %s remote; %s of at most %s in the kernel\n", "flows",
		      num_text(flat, "flows.local", local), num_text(flat, "flows.remote", remote),
		      num_text(flat, "flows.kernel", kernel), num_text(flat, "flows.max", max));
	if (strcmp(get_str(flat, "seal"), "none") == 0)
		(void)fprintf(
			out, "%-10s NONE: whoever reaches the sync link can forge and read flows\n",
			"seal");
	else
		(void)fprintf(out, "%-10s %s\n", "seal", get_str(flat, "seal"));
	text_links_down(flat, out);
	if (get_bool(flat, "sync_tracked"))
		(void)fprintf(out,
			      "%-10s TRACKED: a full table would drop the sync traffic; load a "
			      "notrack rule, see ctsyncd(8)\n",
			      "sync");
	if (get_bool(flat, "limited"))
		(void)fprintf(out, "%-10s REACHED: some flows are not held, see state.flows_max\n",
			      "limit");
	text_outcome(flat, out);
	text_quarantine(flat, out);
	text_status_extra(flat, out);
	(void)fputc('\n', out);
	text_peers(flat, out);
}

/* The result of promote and commit. */
static void text_commit(json_t *flat, FILE *out)
{
	static const char prefix[] = "refused_by.";
	const char *path;
	json_t *value;

	if (json_object_get(flat, "role"))
		(void)fprintf(out, "%s: ", get_str(flat, "role"));
	(void)fprintf(out, "%lld flows committed, %lld already there, %lld refused, %lld ms\n",
		      get_num(flat, "committed"), get_num(flat, "existed"),
		      get_num(flat, "refused"), get_num(flat, "ms"));
	json_object_foreach(flat, path, value) if (strncmp(path, prefix, strlen(prefix)) == 0)(void)
		fprintf(out, "  refused with %s: %lld\n", path + strlen(prefix),
			(long long)json_integer_value(value));
}

static const char *found_path(char path[64], const char *at, unsigned int i, const char *name)
{
	(void)snprintf(path, 64, "%s.found.%u.%s", at, i, name);
	return path;
}

static long long figure(json_t *flat, const char *at, const char *name)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "%s.%s", at, name);
	return get_num(flat, path);
}

static void text_found(json_t *flat, const char *at, unsigned int i, FILE *out)
{
	char path[64];

	if (json_object_get(flat, found_path(path, at, i, "refused")))
		(void)fprintf(out, " (refused: %s)", get_str(flat, path));
	if (json_object_get(flat, found_path(path, at, i, "differs")))
		(void)fprintf(out, " in %s", get_str(flat, path));
	if (get_str(flat, found_path(path, at, i, "of"))[0] != '\0')
		(void)fprintf(out, ", of %s", get_str(flat, path));
	(void)fprintf(out, ": %s\n", get_str(flat, found_path(path, at, i, "flow")));
	if (json_object_get(flat, found_path(path, at, i, "cache")))
		(void)fprintf(out, "  the cache has: %s\n", get_str(flat, path));
}

/* node: whose kernel, "" for that of the node that was asked. */
static void text_audit(json_t *flat, const char *at, const char *node, FILE *out)
{
	const char *on = node[0] != '\0' ? "on " : "", *colon = node[0] != '\0' ? ": " : "";
	const char *of = node[0] != '\0' ? " of " : "";
	char path[64];

	for (unsigned int i = 0; json_object_get(flat, found_path(path, at, i, "what")); i++) {
		(void)fprintf(out, "%s%s%s%s", on, node, colon, get_str(flat, path));
		text_found(flat, at, i, out);
	}
	if (figure(flat, at, "more"))
		(void)fprintf(out, "%s%s%sand %lld more\n", on, node, colon,
			      figure(flat, at, "more"));
	(void)snprintf(path, sizeof(path), "%s.equal", at);
	(void)fprintf(out, "kernel%s%s: %s: %lld only there, %lld only in the cache, %lld differ",
		      of, node, get_bool(flat, path) ? "equal" : "NOT EQUAL",
		      figure(flat, at, "kernel_only"), figure(flat, at, "cache_only"),
		      figure(flat, at, "differing"));
	if (figure(flat, at, "unsettled"))
		(void)fprintf(out, "; %lld kept changing and were not judged",
			      figure(flat, at, "unsettled"));
	(void)fputc('\n', out);
}

static void text_peer_kernels(json_t *flat, FILE *out)
{
	char at[32], path[64];
	const char *node;

	for (unsigned int i = 0;; i++) {
		(void)snprintf(at, sizeof(at), "kernels.%u", i);
		(void)snprintf(path, sizeof(path), "%s.node", at);
		if (!json_object_get(flat, path))
			return;
		node = get_str(flat, path);
		(void)snprintf(path, sizeof(path), "%s.why", at);
		if (json_object_get(flat, path))
			(void)fprintf(out, "kernel of %s: not known: %s\n", node,
				      get_str(flat, path));
		else
			text_audit(flat, at, node, out);
	}
}

static void text_verify(json_t *flat, FILE *out)
{
	char path[64];

	if (json_object_get(flat, "kernel.equal"))
		text_audit(flat, "kernel", "", out);
	text_peer_kernels(flat, out);
	for (unsigned int i = 0;; i++) {
		(void)snprintf(path, sizeof(path), "peers.%u.node", i);
		if (!json_object_get(flat, path))
			break;
		(void)fprintf(out, "%s: ", get_str(flat, path));
		(void)snprintf(path, sizeof(path), "peers.%u.why", i);
		if (json_object_get(flat, path)) {
			(void)fprintf(out, "not proven: %s\n", get_str(flat, path));
			continue;
		}
		(void)snprintf(path, sizeof(path), "peers.%u.flows", i);
		(void)fprintf(out, "equal, %lld flows", get_num(flat, path));
		(void)snprintf(path, sizeof(path), "peers.%u.verified", i);
		(void)fprintf(out, " at version %lld\n", get_num(flat, path));
	}
	(void)fprintf(out, "%s: %lld flips of memory, %lld divergences found, %lld ms\n",
		      get_bool(flat, "equal") ? "equal" : "NOT EQUAL", get_num(flat, "flips"),
		      get_num(flat, "divergences"), get_num(flat, "ms"));
}

void render_text(const char *verb, json_t *flat, FILE *out)
{
	if (json_object_size(flat) == 0)
		return;
	if (strcmp(verb, "status") == 0)
		text_status(flat, out);
	else if (strcmp(verb, "peers") == 0)
		text_peers(flat, out);
	else if (json_object_get(flat, "committed"))
		text_commit(flat, out);
	else if (strcmp(verb, "ready") == 0)
		(void)fprintf(out, "%s: %s\n", get_bool(flat, "ready") ? "ready" : "not ready",
			      get_str(flat, "reason"));
	else if (strcmp(verb, "verify") == 0)
		text_verify(flat, out);
	else if (strcmp(verb, "flows") == 0) /* --count: the number alone, as conntrack -C does */
		(void)fprintf(out, "%lld\n", get_num(flat, "count"));
	else
		text_plain(flat, out);
}
