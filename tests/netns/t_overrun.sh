#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# ENOBUFS: the event buffer is as small as it may be, and bursts run it over. It must be counted, and both nodes must be
# equal within seconds, for creates and for deletes.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
both_modes

net_make
EXTRA='kernel = { event_buffer = 65536; };'
daemons_start
overran() { [ "$(counter fw1 overruns)" -gt "$1" ]; }
burst() {
	local i
	for i in 0 1 2 3; do flood fw1 "$1" -n 25000 -b $((i * 25000)) & done
	wait -n && wait -n && wait -n && wait -n
}
round=0
while [ "$(counter fw1 overruns)" = 0 ] && [ $round -lt 5 ]; do
	round=$((round + 1))
	# A stopped daemon reads nothing: the burst is sure to find the buffer full.
	kill -STOP "${PIDS[fw1]}"
	check "creates while the daemon sleeps" burst create
	kill -CONT "${PIDS[fw1]}"
	poll 3 overran 0 >/dev/null || check "deletes" burst delete
done
check_that "the buffer was run over: $(counter fw1 overruns) times" "$(counter fw1 overruns) > 0"
check "equal after the creates" poll 10 quick_equal fw1
before=$(counter fw1 overruns)
kill -STOP "${PIDS[fw1]}"
check "deletes while the daemon sleeps" burst delete
kill -CONT "${PIDS[fw1]}"
check "overrun again" poll 5 overran "$before"
check "all go from fw2" poll 20 count_is fw2 remote 0
check "equal after the deletes" poll 10 quick_equal fw1
finish
