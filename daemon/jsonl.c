/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON (RFC 8259) in one direction. Every byte goes through put(), which keeps the limit; an object
 * that passed it is given up as a whole, so that no half line ever leaves. Commas follow from the
 * last byte written. Keys are ours and are not escaped.
 */
#include "jsonl.h"

#include <stdio.h>
#include <string.h>

static void put(struct jsonl *j, const char *p, size_t len)
{
	if (j->full || len >= sizeof(j->text) - j->len) {
		j->full = true;
		return;
	}
	memcpy(j->text + j->len, p, len);
	j->len += len;
	j->text[j->len] = '\0';
}

static void put_text(struct jsonl *j, const char *text)
{
	put(j, text, strlen(text));
}

/* What stands before a value. */
static void put_key(struct jsonl *j, const char *key)
{
	char last = j->len ? j->text[j->len - 1] : '{';

	if (last != '{' && last != '[')
		put(j, ",", 1);
	if (!key)
		return;
	put(j, "\"", 1);
	put_text(j, key);
	put(j, "\":", 2);
}

void jsonl_begin(struct jsonl *j)
{
	j->len = 0;
	j->full = false;
	put(j, "{", 1);
}

void jsonl_str(struct jsonl *j, const char *key, const char *v)
{
	put_key(j, key);
	put(j, "\"", 1);
	for (; *v; v++) {
		if (*v == '"' || *v == '\\')
			put(j, "\\", 1);
		put(j, *v >= 0x20 && *v < 0x7f ? v : "?", 1);
	}
	put(j, "\"", 1);
}

void jsonl_num(struct jsonl *j, const char *key, unsigned long long v)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%llu", v);
	put_key(j, key);
	put_text(j, text);
}

void jsonl_bool(struct jsonl *j, const char *key, bool v)
{
	put_key(j, key);
	put_text(j, v ? "true" : "false");
}

void jsonl_null(struct jsonl *j, const char *key)
{
	put_key(j, key);
	put_text(j, "null");
}

void jsonl_open(struct jsonl *j, const char *key, char bracket)
{
	put_key(j, key);
	put(j, &bracket, 1);
}

void jsonl_close(struct jsonl *j, char bracket)
{
	put(j, &bracket, 1);
}

const char *jsonl_end(struct jsonl *j)
{
	put(j, "}", 1);
	return j->full ? NULL : j->text;
}
