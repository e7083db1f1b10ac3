/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A namespace of our own that treats flows as another one would: same rules, same settings. */
#ifndef CTSYNCD_CLI_SCRATCH_H
#define CTSYNCD_CLI_SCRATCH_H

#include <stdbool.h>
#include <sys/types.h>

/* Moves this process into a new network namespace with the rules, interface names and conntrack
 * settings of that of the process pid. It ends with this process. Returns 0, or -1 after it told
 * on standard error what failed and what to do. *has_nat: it has a nat chain, without which nobody
 * translates the packets of translated flows. */
int scratch_enter(pid_t pid, bool *has_nat);

#endif
