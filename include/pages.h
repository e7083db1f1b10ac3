/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the memory of the engine's tables comes from: pages of 64 KiB. */
#ifndef CTSYNCD_PAGES_H
#define CTSYNCD_PAGES_H

#include <stddef.h>

#define PAGE_LEN ((size_t)64 << 10)

struct pages {
	/* Aligned to 64 bytes, content undefined; NULL when out of memory. */
	void *(*take)(void *source);
	void (*give)(void *source, void *page);
	void *source;
};

extern const struct pages pages_malloc;

#endif
