#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A flow that kills whoever applies it. The daemon on fw2 dies as it writes such a flow of its peer into the kernel; what
# restarts it (a loop here, as the unit's Restart=always) starts it again and again, and the third run lives: the flow is
# named and set aside, all others are there, the pair is proven equal. The same as it applies the datagram that tells of
# such a flow; then on fw1, over an event of its own kernel. The bug is a preloaded library's (poison.c).

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
MODE=hot
BAD=2badbad1

# A daemon that is restarted for ever. Its end is a line of the file "ends".
daemon_forever() { # fw1 or fw2, POISON
	local ns
	ns=$(fw_ns "$1")
	rm -f "$TMP/$1/ends"
	(
		ulimit -c 0
		trap 'kill -KILL $child 2>/dev/null; exit' TERM
		while :; do
			ip netns exec "$ns" env ASAN_OPTIONS=verify_asan_link_order=0 LD_PRELOAD="$BUILD/tests/netns/poison.so" \
				POISON="$2" POISON_MARK=$BAD POISON_DEATHS="$(sock "$1").deaths" \
				"$CTSYNCD" -c "$TMP/$1/ctsyncd.conf" >>"$TMP/$1/log" 2>&1 &
			child=$!
			wait $child
			echo $? >>"$TMP/$1/ends"
		done
	) 2>/dev/null &
	PIDS[$1]=$!
	poll 10 ctsync "$1" status >/dev/null || die "$1: the daemon does not answer"
}

forever_end() { # as if it were killed
	kill -TERM "${PIDS[$1]}"
	wait "${PIDS[$1]}" 2>/dev/null
	unset "PIDS[$1]"
}

ends() { cat "$TMP/$1/ends" 2>/dev/null; }
lives() { [ "$(ends "$1" | wc -l)" = 2 ] && ctsync "$1" status >/dev/null; }
logged() { grep -q -- "$2" "$TMP/$1/log"; }
status_is() { [ "$(status "$1" "$2")" = "$3" ]; }
ready_says() { ctsync "$1" ready | grep -q -- "$2"; }
counter_is() { [ "$(counter "$1" "$2")" = "$3" ]; }
in_sync() { status_is fw1 peers.0.in_sync true && status_is fw2 peers.0.in_sync true; }
holds() { in_ns "$(fw_ns "$1")" conntrack -L -m 0x$BAD 2>/dev/null | grep -q .; }
# With the flow that kills: it is the last of FLOWS.
kernel_has() { [ "$(flow_count "$1")" -ge "$2" ]; }

net_make
timeouts_long
daemons_start
check "2,000 flows" flood fw1 create -n 2000
check "both nodes hold the same" poll 10 quick_equal fw1
daemon_kill fw2
daemon_forever fw2 write
check "fw2 again" poll 10 peers_up

# In the midst of others.
flood fw1 create -n 200 -b 5000 && flood fw1 create -n 1 -b 5200 -m $((0x$BAD)) && flood fw1 create -n 200 -b 5201
check "fw2 dies of one flow twice, and lives" poll 20 lives fw2
check_that "of an abort" "$(ends fw2 | sort -u) == 134"
check "the log names the flow" logged fw2 "flow tcp .* src=10.64.0.1 .* sport=.*: quarantined, the daemon died 2 times over it"
check "status does" status_is fw2 quarantine.0.deaths 2
check "in text too" eval 'ctsync fw2 status | grep -q "QUARANTINED, see ctsyncd(8): tcp"'
check "all others are in its kernel" poll 20 kernel_has fw2 2400
check "that one is not" not holds fw2
check "and held" poll 10 count_is fw2 remote 2400
check "one is set aside" status_is fw2 aside 1
check "the pair is proven equal" poll 10 in_sync
check "it is not ready, and says why" ready_says fw2 'NO\|not ready\|1 flows quarantined'
check "nor did it find a divergence" counter_is fw2 divergences 0
lists=$(counter fw2 lists_applied)
check "more flows" flood fw1 create -n 500 -b 6000
check "arrive" poll 10 kernel_has fw2 2900
flood fw1 update -n 1 -b 5200 -m $((0x$BAD)) -t 500
check "a change of that one is set aside too" poll 10 in_sync
check "it did not die again" lives fw2
check_that "nothing is asked for again and again" "$(counter fw2 lists_applied) == $lists"

check "the flow ends" flood fw1 delete -n 1 -b 5200
check "nothing is set aside" poll 10 status_is fw2 aside 0
check "it is ready" poll 10 ready fw2
forever_end fw2

# The way out.
flood fw1 create -n 1 -b 5200 -m $((0x$BAD))
daemon_kill fw1
daemon_forever fw2 none
ctsync fw2 events >"$TMP/events" 2>&1 &
client=$!
check "the stream of events begins" poll 5 grep -q '"event":"hello"' "$TMP/events"
daemon_start fw1
check "a run later it is still quarantined" poll 10 status_is fw2 aside 1
check "as an event tells" grep -q '"event":"quarantined","peer":"fw1","flow":"tcp .*"deaths":2' "$TMP/events"
forever_end fw2
wait $client
rm "$(sock fw2).deaths"
daemon_start fw2
check "without the file it is not" poll 10 holds fw2
check "it is ready" poll 10 ready fw2
check "and the same" poll 10 quick_equal fw1
check "the flow ends" flood fw1 delete -n 1 -b 5200

# It dies as it applies what the peer says of it, before any write.
check "in both kernels" poll 10 not holds fw2
daemon_kill fw2
rm -f "$(sock fw2).deaths"
daemon_forever fw2 record
check "fw2 again" poll 10 peers_up
flood fw1 create -n 100 -b 8000 && flood fw1 create -n 1 -b 8100 -m $((0x$BAD)) && flood fw1 create -n 100 -b 8101
check "fw2 dies of a record twice, and lives" poll 20 lives fw2
check_that "of an abort" "$(ends fw2 | sort -u) == 134"
check "the log says over what" logged fw2 "flow tcp .*quarantined, the daemon died 2 times over it (a record of a peer, fw1)"
check "status names the flow" eval 'ctsync fw2 status | grep -q "QUARANTINED, see ctsyncd(8): tcp"'
check "all others are in its kernel" poll 20 kernel_has fw2 3100
check "that one is not" not holds fw2
check "and held" poll 10 count_is fw2 remote 3100
check "one is set aside" status_is fw2 aside 1
check "the pair is proven equal" poll 10 in_sync
check "it is not ready" not ready fw2
flood fw1 update -n 1 -b 8100 -m $((0x$BAD)) -t 500
flood fw1 update -n 100 -b 8101 -m 7
check "changes of it and of others arrive" poll 10 in_sync
check "it did not die again" lives fw2
check "the flow ends" flood fw1 delete -n 1 -b 8100
check "nothing is set aside" poll 10 status_is fw2 aside 0
check "it is ready" poll 10 ready fw2
forever_end fw2
rm "$(sock fw2).deaths"
daemon_start fw2
check "and the same" poll 10 quick_equal fw1

# The owner's own kernel tells of it.
daemon_kill fw1
daemon_forever fw1 event
check "fw1 is primary still" status_is fw1 role primary
check "and its peer is there" poll 10 peers_up
flood fw1 create -n 1 -b 7000 -m $((0x$BAD))
flood fw1 create -n 300 -b 7001
check "fw1 dies of a flow of its own twice, and lives" poll 20 lives fw1
check "the log says over what" logged fw1 "quarantined, the daemon died 2 times over it (an event of the kernel)"
check "it announces all others" poll 20 count_is fw1 local 3400
check "which are in the peer's kernel" poll 20 kernel_has fw2 3400
check "that one is not" not holds fw2
check "the pair is proven equal" poll 10 in_sync
check "and the peer ready" poll 10 ready fw2
check "its own kernel keeps it" holds fw1
check "it did not die again" lives fw1
forever_end fw1
finish
