/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Prints a configuration as a file that loads to the same, and the table of its keys as roff for
 * ctsyncd.conf(5). All it knows of a key it knows from the key's row (conf_table.c).
 */
#include "conf_table.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define STRS_IN_LINE 8 /* of an array: the control socket's lines are bounded */

void conf_addr_text(const struct sockaddr_storage *a, char *buf, size_t len)
{
	const struct sockaddr_in *in4 = (const void *)a;
	const struct sockaddr_in6 *in6 = (const void *)a;
	const void *addr = a->ss_family == AF_INET6 ? (const void *)&in6->sin6_addr
						    : (const void *)&in4->sin_addr;

	if (!inet_ntop(a->ss_family, addr, buf, (socklen_t)len))
		buf[0] = '\0';
}

static void link_text(const struct link_conf *l, struct conf_link_text *t)
{
	const struct sockaddr_in *in4 = (const void *)&l->local;
	const struct sockaddr_in6 *in6 = (const void *)&l->local;

	*t = (struct conf_link_text){ .peer_count = l->peer_count };
	memcpy(t->interface, l->interface, sizeof(t->interface));
	conf_addr_text(&l->local, t->local, sizeof(t->local));
	t->port = ntohs(l->local.ss_family == AF_INET6 ? in6->sin6_port : in4->sin_port);
	for (unsigned int i = 0; i < l->peer_count; i++)
		conf_addr_text(&l->peers[i], t->peers[i], sizeof(t->peers[i]));
	if (l->group.ss_family) {
		conf_addr_text(&l->group, t->group, sizeof(t->group));
		t->ttl = l->ttl;
	}
}

static void put_quoted(FILE *out, const char *s)
{
	(void)fputc('"', out);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			(void)fputc('\\', out);
		if ((unsigned char)*s < ' ')
			(void)fprintf(out, "\\x%02x", (unsigned char)*s);
		else
			(void)fputc(*s, out);
	}
	(void)fputc('"', out);
}

static const char *word_of(const struct conf_key *k, const void *base)
{
	uint32_t v = conf_table_get(k, base);

	for (size_t i = 0; k->words[i].name; i++) {
		if ((uint32_t)k->words[i].value == v)
			return k->words[i].name;
	}
	return NULL;
}

static bool is_empty(const struct conf_key *k, const void *base)
{
	switch (k->type) {
	case CONF_NUM:
		return conf_table_get(k, base) == k->num;
	case CONF_STR:
		return !*conf_field(k, base);
	case CONF_STRS:
		return conf_count(k, base) == 0;
	case CONF_WORD:
		return !word_of(k, base);
	default:
		return false;
	}
}

static const char *last_name(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot ? dot + 1 : path;
}

static void print_key(const struct conf_key *k, const void *base, FILE *out, const char *indent)
{
	if (k->omit_empty && is_empty(k, base))
		return;
	(void)fprintf(out, "%s%s = ", indent, last_name(k->path));
	switch (k->type) {
	case CONF_NUM:
		(void)fprintf(out, "%u", conf_table_get(k, base));
		break;
	case CONF_BOOL:
		(void)fputs(conf_table_get(k, base) ? "true" : "false", out);
		break;
	case CONF_STR:
		put_quoted(out, conf_field(k, base));
		break;
	case CONF_WORD:
		(void)fprintf(out, "\"%s\"", word_of(k, base) ?: "");
		break;
	case CONF_STRS:
		for (unsigned int i = 0; i < conf_count(k, base); i++) {
			(void)fputs(!i ? "[ " : i % STRS_IN_LINE ? ", " : ",\n\t\t\t", out);
			put_quoted(out, conf_field(k, base) + i * k->size);
		}
		(void)fputs(" ]", out);
		break;
	case CONF_LINKS:
	case CONF_RULES:
		break; /* print_links, print_rules */
	}
	(void)fputs(";\n", out);
}

static void print_group(enum conf_in in, const void *base, FILE *out, const char *indent)
{
	const struct conf_key *k;

	for (size_t i = 0; (k = conf_table_at(i)); i++)
		if (k->in == in)
			print_key(k, base, out, indent);
}

static void print_links(const struct conf *conf, FILE *out)
{
	(void)fputs("\tlinks = (", out);
	for (unsigned int i = 0; i < conf->link_count; i++) {
		struct conf_link_text t;

		link_text(&conf->links[i], &t);
		(void)fputs(i ? ", {\n" : " {\n", out);
		print_group(CONF_IN_LINK, &t, out, "\t\t");
		(void)fputs("\t}", out);
	}
	(void)fputs(" );\n", out);
}

static void print_rules(const struct conf *conf, FILE *out)
{
	struct conf_rule_text *t = calloc(1, sizeof(*t)); /* too large for the stack */

	if (!conf->policy.rule_count || !t) {
		free(t);
		return;
	}
	(void)fputs("policy = (", out);
	for (unsigned int i = 0; i < conf->policy.rule_count; i++) {
		conf_rule_text(&conf->policy, i, t);
		(void)fputs(i ? ", {\n" : " {\n", out);
		print_group(CONF_IN_RULE, t, out, "\t");
		(void)fputs("}", out);
	}
	(void)fputs(" );\n", out);
	free(t);
}

void conf_print(const struct conf *conf, FILE *out)
{
	const char *section = "";
	size_t section_len = 0;
	const struct conf_key *k;

	for (size_t i = 0; (k = conf_table_at(i)); i++) {
		const char *dot = strchr(k->path, '.');
		size_t len = dot ? (size_t)(dot - k->path) : 0;

		if (k->in)
			continue;
		if (len != section_len || strncmp(k->path, section, len)) {
			if (section_len)
				(void)fputs("};\n", out);
			if (len)
				(void)fprintf(out, "%.*s = {\n", (int)len, k->path);
			section = k->path;
			section_len = len;
		}
		if (k->type == CONF_LINKS)
			print_links(conf, out);
		else if (k->type == CONF_RULES)
			print_rules(conf, out);
		else
			print_key(k, conf, out, len ? "\t" : "");
	}
	if (section_len)
		(void)fputs("};\n", out);
}

static void roff_default(const struct conf_key *k, FILE *out)
{
	if (k->required)
		(void)fputs("; must be given", out);
	else if (k->omit_empty)
		(void)fputs("; optional", out);
	else if (k->type == CONF_NUM)
		(void)fprintf(out, "; default %u", k->num);
	else if (k->type == CONF_BOOL)
		(void)fprintf(out, "; default %s", k->num ? "true" : "false");
	else if (k->type == CONF_STR)
		(void)fprintf(out, "; default \"%s\"", k->str);
	else
		for (size_t i = 0; k->words[i].name; i++) {
			if ((uint32_t)k->words[i].value == k->num)
				(void)fprintf(out, "; default \"%s\"", k->words[i].name);
		}
}

void conf_print_keys(FILE *out)
{
	const struct conf_key *k;

	for (size_t i = 0; (k = conf_table_at(i)); i++) {
		char allowed[128];

		conf_table_allowed(k, allowed, sizeof(allowed));
		(void)fprintf(out, ".TP\n.B %s\n(%s", k->path, allowed);
		roff_default(k, out);
		(void)fprintf(out, "%s)\n%s\n", k->live ? "; live" : "", k->help);
	}
}
