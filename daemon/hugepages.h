/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages for the engine's tables, cut from regions of 2 MiB that the kernel is asked to back by one
 * huge page each: a look-up in a table of millions misses the caches of the processor, but not its
 * TLB as well.
 */
#ifndef CTSYNCD_HUGEPAGES_H
#define CTSYNCD_HUGEPAGES_H

#include "pages.h"

#define HUGEPAGE_LEN ((size_t)2 << 20)

/* A region goes back to the kernel with its last page. source is the result. NULL when out of
 * memory. */
struct pages *hugepages_new(void);

/* Every page was given back. */
void hugepages_free(struct pages *p);

#endif
