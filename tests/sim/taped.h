/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The simulator's flight recorder: an engine is saved, taped and played against itself. */
#ifndef SIM_TAPED_H
#define SIM_TAPED_H

struct sim;

/* At the end of a turn of node n: begins, or ends, a tape. */
void taped_turn(struct sim *s, int n);
/* Its engine is about to end, or to be changed by what is no input. */
void taped_stop(struct sim *s, int n);

#endif
