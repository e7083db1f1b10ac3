#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A daemon stalls for seconds in the middle of its work, as under memory pressure or in a virtual machine that was paused:
# it must not take the time that it slept for traffic on the copies (rule 36) and claim them, for then flows that end at
# their owner would come back to it. Nor may it answer as it wakes before it has heard what its peers said meanwhile.

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

# Who asks as it wakes is told what is so, not what was so before.
asked() { # VERB: waits for its answer until fw2 goes on
	ctsync fw2 "$1" >"$TMP/answer" 2>&1 &
	asker=$!
	for_time 0.5
	kill -CONT "${PIDS[fw2]}"
	wait "$asker"
}
check "fw2 is ready" poll 10 ready fw2
kill -STOP "${PIDS[fw2]}"
check "fw2 stalls, and 10,000 flows come" flood fw1 create -n 10000 -b 500000
check "asked as it wakes it is not ready" not asked ready
note "$(cat "$TMP/answer")"
check "soon it is equal" poll 10 quick_equal fw1
check "and ready" poll 10 ready fw2
kill -STOP "${PIDS[fw2]}"
check "fw2 stalls, and 2,000 flows go" flood fw1 delete -n 2000 -b 500000
check "which fw1 tells" poll 5 count_is fw1 local 8000
for_time 0.2
daemon_kill fw1
check "as it wakes it takes over" asked promote
all_of_them() { [ "$(flow_count fw2)" -eq 8000 ] && count_is fw2 local 8000; }
check "what there is, and nothing that ended meanwhile" poll 10 all_of_them
note "fw2: touched $(counter fw2 touched), adopted $(counter fw2 adopted)"
finish
