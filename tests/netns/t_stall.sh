#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A daemon stalls for seconds in the middle of its work, as under memory pressure or in a virtual machine that was paused:
# it must not take the time that it slept for traffic on the copies (rule 36) and claim them, for then flows that end at
# their owner would come back to it.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
MODE=hot

N=60000
stall() { # node, three times for 2.5 s
	local i
	for i in 1 2 3; do
		for_time 0.1
		kill -STOP "${PIDS[$1]}"
		for_time 2.5
		kill -CONT "${PIDS[$1]}"
	done
}

net_make
daemons_start
for node in fw2 fw1; do
	flood fw1 create -n $N -r 20000 >"$TMP/flood.out" &
	flooder=$!
	stall $node
	check "$node stalls while $N flows come" wait $flooder
	check "$node stalled: equal" poll 15 quick_equal fw1
	stall $node
	check "$node stalled at rest: fw2 claims none of them" count_is fw2 local 0
	check "conntrack -F on fw1" in_ns "$FW1" conntrack -F
	check "$node stalled: they go from fw2" poll 15 flows_below fw2 10
	check "$node stalled: none comes back to fw1" test "$(flow_count fw1)" -lt 10
	check "$node stalled: equal" poll 10 quick_equal fw1
done
note "fw2: touched $(counter fw2 touched), adopted $(counter fw2 adopted)"
finish
