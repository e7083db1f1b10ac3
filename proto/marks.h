/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bookmarks in the version list of a cache: they make seeking a version a binary search and a walk
 * of at most MARKS_GAP records, however old and uneven the list has become.
 */
#ifndef CTSYNCD_MARKS_H
#define CTSYNCD_MARKS_H

#include <stddef.h>
#include <stdint.h>

#include "cache.h"
#include "slab.h"

#define MARKS_GAP 256 /* steps from one bookmark to the next, at most */

struct mark {
	uint64_t version;
	uint32_t at; /* the record; SLAB_NONE = vacant */
};

struct marks {
	struct mark *mark; /* ascending by version; the last one is never vacant */
	uint32_t count, capacity, vacant;
	uint32_t tail_count; /* records behind the last bookmark; all of the list when there is none
			      */
	uint32_t probe;      /* where thinning goes on */
};

void marks_init(struct marks *m);
void marks_fini(struct marks *m);

/* Record `at` was appended to the list, which now has `count` records. */
void marks_append(struct marks *m, const struct slab *s, uint32_t at, uint32_t count);

/* Record r is about to leave the list: still linked, version still as it was. */
void marks_leave(struct marks *m, const struct slab *s, struct rec *r);

/* Record r, which bears a bookmark, will be found at `at` from now on. */
void marks_move(struct marks *m, const struct rec *r, uint32_t at);

/* The version that the bookmark at record `at` was made with; 0 if there is none. For a record
 * whose memory is in doubt. Costs a walk over all bookmarks. */
uint64_t marks_version_of(const struct marks *m, uint32_t at);

/* First record with a version > v, SLAB_NONE if there is none, in the list from first to last. */
uint32_t marks_seek(const struct marks *m, const struct slab *s, uint32_t first, uint32_t last,
		    uint64_t v);

#endif
