/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ctsync policy test: what would the policy of a file cost, on the table that is there? */
#ifndef CTSYNCD_CLI_POLICY_TEST_H
#define CTSYNCD_CLI_POLICY_TEST_H

#include <stdbool.h>

#include "ctl.h"

struct policy_test {
	const char *socket;
	int timeout_ms;
	bool json;
	const char *file;     /* a configuration; its policy alone is looked at */
	unsigned int seconds; /* from one look at the table to the other, 1 to 3600 */
};

enum ctl_exit policy_test(const struct policy_test *t);

#endif
