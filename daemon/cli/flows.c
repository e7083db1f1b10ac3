/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lines of packed flows: "l <hex>" one of the daemon's own, "r <hex>" another. What the daemon says
 * besides goes to standard error.
 */
#include "flows.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int take_line(const char *text, flows_take *take, void *arg)
{
	uint8_t body[FLOW_PACKED_MAX];
	size_t len;

	if ((text[0] != 'l' && text[0] != 'r') || text[1] != ' ' ||
	    sodium_hex2bin(body, sizeof(body), text + 2, strlen(text + 2), NULL, &len, NULL))
		return -EPROTO;
	return take(arg, body, len, text[0] == 'l');
}

int flows_read(struct cli *c, flows_take *take, void *arg)
{
	char *line;
	int ret, err;

	for (;;) {
		ret = cli_line(c, &line);
		if (ret <= 0)
			return ret < 0 ? ret : -EPIPE;
		if (line[0] == '.' && line[1] == ' ')
			return atoi(line + 2);
		if (line[0] == 'e' && line[1] == ' ')
			(void)fprintf(stderr, "ctsync: %s\n", line + 2);
		err = line[0] == 'l' && line[1] == ' ' ? take_line(line + 2, take, arg) : 0;
		if (err < 0)
			return err;
	}
}
