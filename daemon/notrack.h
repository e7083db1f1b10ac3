/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Does the kernel track our own datagrams? It should not: a full table would drop them. */
#ifndef CTSYNCD_NOTRACK_H
#define CTSYNCD_NOTRACK_H

#include "kern.h"
#include "util.h"

struct daemon;

struct notrack {
	enum kern_tracking tracked; /* as last seen */
	usec_t looked_at;           /* 0 = never */
	bool warned;
};

/* Looks every few seconds; warns once, and tells when it is mended. */
void notrack_watch(struct daemon *d);

#endif
