/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bytes one behind the other, written or read with a bound: how the engine's memory is saved and
 * restored (save.c). A sticky error, tested once at the end.
 */
#ifndef CTSYNCD_BLOB_H
#define CTSYNCD_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct blob {
	uint8_t *p; /* NULL: only counts */
	size_t at, len;
	bool err; /* did not fit, or was not there */
};

static inline void blob_put(struct blob *b, const void *from, size_t len)
{
	if (b->p) {
		b->err |= len > b->len - b->at;
		if (b->err)
			return;
		if (len)
			memcpy(b->p + b->at, from, len);
	}
	b->at += len;
}

/* What cannot be read is zero. */
static inline void blob_get(struct blob *b, void *to, size_t len)
{
	b->err |= len > b->len - b->at;
	if (!len)
		return;
	if (b->err) {
		memset(to, 0, len);
		return;
	}
	memcpy(to, b->p + b->at, len);
	b->at += len;
}

/* Are there len bytes more to read? Asked before memory is taken for them. */
static inline bool blob_has(struct blob *b, uint64_t len)
{
	b->err |= len > b->len - b->at;
	return !b->err;
}

#endif
