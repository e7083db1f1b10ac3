/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The recorded corpus: datagrams of each released version, and what they mean, which must stay so
 * for ever. corpus/VERSION/NAME.txt holds one: its bytes, unsealed and sealed with a known key, and
 * behind a line of dashes the decoded text. sample.c makes those of the present version, show.c
 * decodes, golden.c compares. Without GOLDEN_SEAL nothing here needs libsodium.
 */
#ifndef CTSYNCD_GOLDEN_H
#define CTSYNCD_GOLDEN_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "wire.h"

struct sample {
	const char *name, *about;
	void (*put)(struct wire_buf *b); /* type, flags, fields */
};
extern const struct sample samples[];
extern const size_t sample_count;

/* The header that all of them have, but for the key id. */
struct wire_head sample_head(void);

/* Writes what an opened datagram says. p is len bytes. */
void show(FILE *out, uint8_t *p, size_t len);

#endif
