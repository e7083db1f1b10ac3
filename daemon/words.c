/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The grammar of requests. CTL_VERBS in include/ctl.h says for each verb what may follow it, in the
 * notation of a usage text: "local|remote|kernel [--count]". That text is the check: what the help
 * shows is what is accepted, and a new verb or word is one line in one place. The daemon trusts no
 * client and checks again what the CLI has checked for the sake of a quick answer.
 *
 * Pure functions over the caller's memory; nothing is kept.
 */
#include "words.h"

#include <stdio.h>
#include <string.h>

#include "util.h"

static const struct words_verb table[] = {
#define WORDS_ENTRY(name, changes, words, help) { #name, (changes) != 0, words, help },
	CTL_VERBS(WORDS_ENTRY)
#undef WORDS_ENTRY
};

const struct words_verb *words_at(size_t i)
{
	return i < ARRAY_LEN(table) ? &table[i] : NULL;
}

const struct words_verb *words_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (strcmp(table[i].name, name) == 0)
			return &table[i];
	return NULL;
}

/* Is word one of the alternatives in spec, len bytes of "a|b|c"? */
static bool is_one_of(const char *word, const char *spec, size_t len)
{
	size_t word_len = strlen(word);

	while (len > 0) {
		const char *bar = memchr(spec, '|', len);
		size_t alt_len = bar ? (size_t)(bar - spec) : len;

		if (alt_len == word_len && memcmp(spec, word, alt_len) == 0)
			return true;
		if (!bar)
			break;
		spec += alt_len + 1;
		len -= alt_len + 1;
	}
	return false;
}

/* The next token of a usage text: its inner part without brackets. Returns false at the end. */
static bool next_token(const char **at, const char **token, size_t *len, bool *optional)
{
	const char *p = *at;
	size_t n;

	while (*p == ' ')
		p++;
	if (*p == '\0')
		return false;
	n = strcspn(p, " ");
	*at = p + n;
	*optional = *p == '[' && p[n - 1] == ']';
	*token = *optional ? p + 1 : p;
	*len = *optional ? n - 2 : n;
	return true;
}

/* Finds an unused word that fits the token. */
static int find_word(int argc, char *const argv[], unsigned int used, const char *token, size_t len)
{
	for (int i = 1; i < argc; i++)
		if (!(used & (1U << i)) && is_one_of(argv[i], token, len))
			return i;
	return -1;
}

static int first_unused(int argc, unsigned int used)
{
	for (int i = 1; i < argc; i++)
		if (!(used & (1U << i)))
			return i;
	return -1;
}

int words_check(const struct words_verb *verb, int argc, char *const argv[], char *err, size_t len)
{
	const char *at = verb->words, *token;
	unsigned int used = 0;
	size_t token_len;
	bool optional;
	int i;

	if (argc > WORDS_MAX) {
		(void)snprintf(err, len, "%s: too many words", verb->name);
		return -1;
	}
	while (next_token(&at, &token, &token_len, &optional)) {
		i = find_word(argc, argv, used, token, token_len);
		if (i < 0 && optional)
			continue;
		if (i >= 0) {
			used |= 1U << i;
			continue;
		}
		i = first_unused(argc, used);
		if (i < 0)
			(void)snprintf(err, len, "%s: a word is missing: %.*s", verb->name,
				       (int)token_len, token);
		else
			(void)snprintf(err, len, "%s: '%.64s' is not one of %.*s", verb->name,
				       argv[i], (int)token_len, token);
		return -1;
	}
	i = first_unused(argc, used);
	if (i < 0)
		return 0;
	if (verb->words[0] == '\0')
		(void)snprintf(err, len, "%s: takes no words, not '%.64s'", verb->name, argv[i]);
	else
		(void)snprintf(err, len, "%s: what is '%.64s'? allowed: %s", verb->name, argv[i],
			       verb->words);
	return -1;
}

int words_split(char *line, char **argv, int max)
{
	int argc = 0;
	char *p = line;

	for (const char *q = line; *q; q++)
		if ((unsigned char)*q < 0x20 || (unsigned char)*q > 0x7e)
			return -1;
	for (;;) {
		size_t n = strcspn(p, " ");

		if (n == 0 || argc == max)
			return -1;
		argv[argc++] = p;
		if (p[n] == '\0')
			return argc;
		p[n] = '\0';
		p += n + 1;
	}
}
