/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 *   golden DIR            checks the corpus: DIR/VERSION/NAME.txt
 *   golden -w DIR/VERSION writes that of this version
 *
 * Each file must decode to what it says, for ever; and the newest version's must be what this tree
 * writes, byte by byte: whoever changes the wire records the corpus of a new version (make golden)
 * and leaves the old ones alone. The last line is "N passed, N failed".
 */
#include "golden.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef GOLDEN_SEAL
#include "seal.h"
#endif

#define CHECK_LEN 8 /* of an unsealed datagram: at its end */
#define KEY_ID_AT 3
#define PATH_LEN 4096

struct bytes {
	uint8_t p[WIRE_DGRAM_MAX];
	size_t len;
};

static unsigned int passed, failed;
static char newest[PATH_LEN]; /* the folder of the last version */

static void result(bool ok, const char *path, const char *what)
{
	if (ok)
		passed++;
	else
		failed++;
	if (!ok)
		printf("FAIL %s: %s\n", path, what);
}

/* ---- Bytes ---- */

static void sample_make(const struct sample *s, struct bytes *out)
{
	struct wire_head h = sample_head();
	struct wire_buf b;

	wire_init(&b, out->p, sizeof(out->p));
	wire_put_head(&b, &h);
	s->put(&b);
	out->len = b.at;
	if (b.err)
		abort();
}

#ifdef GOLDEN_SEAL
static void seal_make(struct seal *s, bool sealed)
{
	uint8_t psk[1][32];

	for (unsigned int i = 0; i < 32; i++)
		psk[0][i] = (uint8_t)i;
	seal_init(s, psk, sealed);
}

static void close_up(struct bytes *x, bool sealed)
{
	struct wire_head h = sample_head();
	struct wire_buf b;
	struct seal s;

	seal_make(&s, sealed);
	h.key_id = sealed ? s.id[0] : 0;
	wire_init(&b, x->p, WIRE_HEAD_LEN);
	wire_put_head(&b, &h);
	x->len = seal_close(&s, &h, x->p, x->len);
	seal_fini(&s);
}

static bool open_up(struct bytes *x, bool sealed)
{
	struct wire_head h;
	struct wire_buf b;
	struct seal s;
	int rc;

	wire_init(&b, x->p, x->len);
	if (wire_get_head(&b, &h))
		return false;
	seal_make(&s, sealed);
	rc = seal_open(&s, NULL, &h, x->p, x->len);
	seal_fini(&s);
	x->len = rc > 0 ? (size_t)rc : 0;
	return rc > 0;
}
#else
static bool open_up(struct bytes *x, bool sealed)
{
	if (sealed || x->len < WIRE_HEAD_LEN + CHECK_LEN)
		return false;
	x->len -= CHECK_LEN; /* not checked */
	return true;
}
#endif

static char *show_text(uint8_t *p, size_t bytes)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		abort();
	show(out, p, bytes);
	(void)fclose(out);
	return text;
}

/* ---- Files ---- */

static bool unhex(const char *text, struct bytes *out)
{
	out->len = 0;
	for (; text[0] && text[0] != '\n'; text += 2) {
		unsigned int v;

		if (out->len == sizeof(out->p) || !text[1] || sscanf(text, "%2x", &v) != 1)
			return false;
		out->p[out->len++] = (uint8_t)v;
	}
	return out->len > 0;
}

/* The bytes behind a word, at the start of a line; the first line is a comment. */
static bool field(const char *file, const char *word, struct bytes *out)
{
	const char *at = strstr(file, word);

	return at && unhex(at + strlen(word), out);
}

static char *read_file(const char *path)
{
	FILE *f = fopen(path, "re");
	char *text = calloc(1, 1 << 16);

	if (!text)
		abort();
	if (f) {
		text[fread(text, 1, (1 << 16) - 1, f)] = '\0';
		(void)fclose(f);
	}
	return text;
}

/* A decoder reads no further than there is, whatever is cut off: a sanitizer sees it. */
static void cut_short(const struct bytes *x)
{
	for (size_t len = 1; len < x->len; len++) {
		uint8_t *cut = malloc(len);

		if (!cut)
			abort();
		memcpy(cut, x->p, len);
		free(show_text(cut, len));
		free(cut);
	}
}

static void check_file(const char *path)
{
	char *file = read_file(path), *text;
	const char *want = strstr(file, "\n----\n");
	struct bytes plain, sealed;

	result(want && field(file, "\nunsealed ", &plain) && open_up(&plain, false), path,
	       "no unsealed datagram that opens");
	if (!want) {
		free(file);
		return;
	}
	text = show_text(plain.p, plain.len);
	result(!strcmp(text, want + 6), path, "means something else now");
	if (strcmp(text, want + 6) != 0)
		printf("%s", text);
	free(text);
	cut_short(&plain);
#ifdef GOLDEN_SEAL
	if (field(file, "\nsealed ", &sealed) && open_up(&sealed, true))
		sealed.p[KEY_ID_AT] = plain.p[KEY_ID_AT];
	else
		sealed.len = 0;
	result(sealed.len == plain.len && !memcmp(sealed.p, plain.p, plain.len), path,
	       "the sealed datagram does not open, or to another one");
#else
	(void)sealed;
#endif
	free(file);
}

static int not_hidden(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static void each(const char *dir, void (*fn)(const char *path))
{
	struct dirent **list;
	int n = scandir(dir, &list, not_hidden, versionsort);

	if (n < 0) {
		result(false, dir, strerror(errno));
		return;
	}
	for (int i = 0; i < n; i++) {
		char *path = NULL;

		if (asprintf(&path, "%s/%s", dir, list[i]->d_name) < 0)
			abort();
		fn(path);
		free(path);
		free(list[i]);
	}
	free(list);
}

/* The newest corpus against what this tree makes. */
static void check_newest(void)
{
	for (size_t i = 0; i < sample_count; i++) {
		struct bytes made, plain = { .len = 0 };
		char path[PATH_LEN + 64], *file;

		(void)snprintf(path, sizeof(path), "%s/%s.txt", newest, samples[i].name);
		file = read_file(path);
		sample_make(&samples[i], &made);
		(void)(field(file, "\nunsealed ", &plain) && open_up(&plain, false));
		result(made.len == plain.len && !memcmp(made.p, plain.p, made.len), path,
		       "this tree writes other bytes: a change of the wire needs a new "
		       "version, and a corpus of its own (make golden)");
		free(file);
	}
}

static void check_version(const char *dir)
{
	(void)snprintf(newest, sizeof(newest), "%s", dir); /* the last one is */
	each(dir, check_file);
}

#ifdef GOLDEN_SEAL
static void put_hex(FILE *f, const char *word, const struct bytes *x)
{
	fputs(word, f);
	for (size_t i = 0; i < x->len; i++)
		fprintf(f, "%02x", x->p[i]);
	fputc('\n', f);
}

static int write_all(const char *dir)
{
	for (size_t i = 0; i < sample_count; i++) {
		struct bytes opened, x;
		char path[PATH_LEN], *text;
		FILE *f;

		(void)snprintf(path, sizeof(path), "%s/%s.txt", dir, samples[i].name);
		f = fopen(path, "wxe"); /* what was released is not written over */
		if (!f) {
			fprintf(stderr, "golden: %s: %s\n", path, strerror(errno));
			return 1;
		}
		sample_make(&samples[i], &opened);
		fprintf(f, "# %s\n", samples[i].about);
		x = opened;
		close_up(&x, false);
		put_hex(f, "unsealed ", &x);
		x = opened;
		close_up(&x, true);
		put_hex(f, "sealed ", &x);
		text = show_text(opened.p, opened.len);
		fprintf(f, "----\n%s", text);
		free(text);
		if (fclose(f))
			return 1;
	}
	return 0;
}
#else
static int write_all(const char *dir)
{
	fprintf(stderr, "golden: %s: built without sealing, writes nothing\n", dir);
	return 1;
}
#endif

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "-w"))
		return write_all(argv[2]);
	if (argc != 2) {
		fprintf(stderr, "usage: golden DIR | golden -w DIR/VERSION\n");
		return 2;
	}
	each(argv[1], check_version);
	check_newest();
	printf("%u passed, %u failed\n", passed, failed);
	return failed || !passed;
}
