/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A fuzz target is one file with LLVMFuzzerTestOneInput. For fuzzing: clang
 * -fsanitize=fuzzer,address,undefined. With FUZZ_REPLAY defined, any compiler makes a program of it
 * that feeds each file of the folders named on its command line once, so that the corpus is a test
 * everywhere. A target copies its input into a block of its own size, so that a sanitizer sees a
 * read past the end.
 */
#ifndef CTSYNCD_FUZZ_H
#define CTSYNCD_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#ifdef FUZZ_REPLAY

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#define FUZZ_INPUT_MAX 65536

static int replay_file(const char *dir, const char *name)
{
	uint8_t buf[FUZZ_INPUT_MAX];
	char path[4096];
	size_t len;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (!f) {
		perror(path);
		return -1;
	}
	printf("%s\n", path);
	(void)fflush(stdout); /* so that the last line names the input that crashes */
	len = fread(buf, 1, sizeof(buf), f);
	(void)fclose(f);
	(void)LLVMFuzzerTestOneInput(buf, len);
	return 0;
}

static int replay_dir(const char *dir)
{
	const struct dirent *entry;
	int count = 0;
	DIR *d = opendir(dir);

	if (!d)
		perror(dir);
	while (d && (entry = readdir(d)))
		if (entry->d_name[0] != '.' && !replay_file(dir, entry->d_name))
			count++;
	if (d)
		(void)closedir(d);
	return count;
}

int main(int argc, char **argv)
{
	int count = 0, empty = argc < 2;

	for (int i = 1; i < argc; i++) {
		int here = replay_dir(argv[i]);

		count += here;
		empty += !here; /* a corpus that is not found is no success */
	}
	printf("%d passed, %d failed\n", count, empty);
	return empty != 0;
}

#endif
#endif
