/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The filter of the event socket, private to kern*.c and its test. */
#ifndef CTSYNCD_KERN_FILTER_H
#define CTSYNCD_KERN_FILTER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy.h"

#define KERN_FILTER_MAX 2048 /* instructions */
#define KERN_FILTER_MIN 512  /* hold all but prefixes of some rules */

/* Writes the program, at most max instructions. policy NULL: only what own_port caused is dropped.
 * Returns how many. */
unsigned int kern_filter_build(struct sock_filter *code, unsigned int max, uint32_t own_port,
			       const struct policy_conf *policy);

/* Puts it on the socket in place of the one that is there. Returns 0 or -errno. */
int kern_filter_attach(int fd, uint32_t own_port, const struct policy_conf *policy);

#endif
