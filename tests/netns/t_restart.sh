#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Either daemon goes in the middle of a bulk of 300,000 flows, by SIGTERM and by SIGKILL, and starts again: afterwards
# both hold the same, and at no moment did the backup's kernel lose a flow that it had (hot).

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
both_modes

N=300000
between() { # the bulk is under way: fw2 holds some and not all
	local n
	n=$(remote_count fw2)
	[ "$n" -gt 3000 ] || return 1
	[ "$n" -lt $((N - 3000)) ] || note "the bulk was over before it could be disturbed"
}

# Ends a daemon while fw2 receives everything anew, starts it, and judges.
disturb() { # node, kill or stop, text
	daemon_stop fw2
	in_ns "$FW2" conntrack -F 2>/dev/null
	daemon_start fw2
	poll 10 between >/dev/null || fail "$3: no bulk started"
	note "$3: at $(remote_count fw2) flows"
	held=$(flow_count fw2)
	"daemon_$2" "$1"
	daemon_start "$1"
	if [ "$MODE" = hot ]; then
		check_that "$3: fw2's kernel lost none ($held before, $(flow_count fw2) now)" "$(flow_count fw2) >= $held"
	fi
	check "$3: all flows are on fw2" poll 20 count_is fw2 remote $N
	check "$3: equal" poll 20 quick_equal fw1
}

net_make
max_raise 1048576
daemons_start
check "300,000 flows" flood fw1 create -n $N
check "both nodes hold them" poll 30 quick_equal fw1
disturb fw2 kill "backup killed"
disturb fw1 kill "active killed"
disturb fw2 stop "backup stopped"
disturb fw1 stop "active stopped"
check_that "fw1 still has its role" "$([ "$(status fw1 role)" = primary ] && echo 1 || echo 0)"

# A restart of the active with a full, cold backup: the copies must stay all the time.
before=$(flow_count fw2)
lowest=$before
daemon_kill fw1
daemon_start fw1
for _ in $(seq 1 40); do
	now=$(flow_count fw2)
	[ "$now" -ge "$lowest" ] || lowest=$now
	for_time 0.1
done
check_that "restart of the active: fw2's kernel had never less than before ($before, lowest $lowest)" "$lowest >= $before"
check "equal" poll 20 quick_equal fw1

[ "$MODE" = cache ] || check "attribute by attribute" kernels_equal

# Flows end while the active's daemon is away.
daemon_kill fw1
check "20,000 flows end with no daemon" flood fw1 delete -n 20000
daemon_start fw1
check "fw2 learns it" poll 20 count_is fw2 remote $((N - 20000))
check "equal" poll 70 quick_equal fw1
finish
