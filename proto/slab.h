/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cells of a few sizes for the records of a cache, addressed by 32-bit numbers instead of pointers.
 * A number stays valid until slab_free; a pointer too (cells never move). One allocation per chunk
 * of cells, none per cell.
 */
#ifndef CTSYNCD_SLAB_H
#define CTSYNCD_SLAB_H

#include <stddef.h>
#include <stdint.h>

#include "blob.h"
#include "pages.h"

#define SLAB_NONE UINT32_MAX
#define SLAB_UNIT 64   /* cells are multiples of a cache line, and aligned to it */
#define SLAB_CLASSES 5 /* cells of 1 to 5 units */
#define SLAB_CELL_MAX (SLAB_UNIT * SLAB_CLASSES)
#define SLAB_CHUNK_BITS 10 /* units of a chunk: a cell's number is chunk << 10 | first unit */
#define SLAB_CHUNK_UNITS (1u << SLAB_CHUNK_BITS)
#define SLAB_CHUNK_LEN (SLAB_CHUNK_UNITS * SLAB_UNIT)
#define SLAB_CHUNKS_MAX (1u << 20) /* 64 GiB */

struct slab_chunk;

struct slab {
	const struct pages *pages;      /* where chunks come from */
	char **base;                    /* of each chunk; NULL = the number is free */
	struct slab_chunk *chunk;       /* the book-keeping of each chunk */
	uint32_t count, capacity;       /* chunk numbers ever used; room in the two arrays */
	uint32_t spare;                 /* list of free chunk numbers */
	uint32_t partial[SLAB_CLASSES]; /* lists of chunks with room */
	size_t memory;                  /* bytes held */
};

void slab_init(struct slab *s, const struct pages *pages);

/* Frees every cell at once; s is as after slab_init. */
void slab_fini(struct slab *s);

/* The class of cells that hold len bytes. len <= SLAB_CELL_MAX. */
static inline unsigned int slab_class(size_t len)
{
	return (unsigned int)((len - 1) / SLAB_UNIT);
}

/* A cell for len bytes, content undefined. SLAB_NONE when out of memory. */
uint32_t slab_alloc(struct slab *s, size_t len);
void slab_free(struct slab *s, uint32_t at);

/* The class of the cell `at`. */
unsigned int slab_class_of(const struct slab *s, uint32_t at);

/* Writes every cell as it is; reads them into s, which is as after slab_init. What cannot be sets
 * b->err, and s is fit for slab_fini alone. */
void slab_save(const struct slab *s, struct blob *b);
void slab_load(struct slab *s, struct blob *b);

static inline void *slab_at(const struct slab *s, uint32_t at)
{
	return s->base[at >> SLAB_CHUNK_BITS] + (size_t)(at & (SLAB_CHUNK_UNITS - 1)) * SLAB_UNIT;
}

#endif
