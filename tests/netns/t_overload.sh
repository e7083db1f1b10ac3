#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# More than a core takes, on either side. A daemon that gets a tenth of a core is such a core, whatever machine this is.
# The order (PROTOCOL.md, R100): what is new, changed or over goes before what only renews a timer, what changes again before
# it was sent is sent once, and no quiet flow's timer runs out meanwhile, though the load lasts longer than a hold. The
# daemons say so while it lasts, stay peers, and are equal when it is over.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
MODE=hot
HOLD=20
QUIET=3000
EXTRA="state = { hold_s = $HOLD; }; kernel = { event_buffer = 16777216; };" # of 26,214 events

share_make || { echo "needs a CPU cgroup that can be written"; exit 77; }

events_of() { # fw
	echo $(($(counter "$1" events_new) + $(counter "$1" events_update) + $(counter "$1" events_destroy)))
}
writes_of() { echo $(($(counter "$1" injects) + $(counter "$1" updates) + $(counter "$1" deletes))); }
quiet_of() { in_ns "$(fw_ns "$1")" conntrack -L -m 77 2>/dev/null | wc -l; }
ready_says() { ctsync "$1" ready | grep -q -- "$2"; }
told() { grep -q -- "$2" "$TMP/$1/events"; }
logged() { grep -q -- "$2" "$TMP/$1/log"; }
in_sync() { [ "$(status fw1 peers.0.in_sync)" = true ] && [ "$(status fw2 peers.0.in_sync)" = true ]; }
taken() { [ "$(events_of fw1)" -ge "$1" ]; } # so many events in all
# Entries of one mark, and none of another, in fw2's kernel.
marked() { in_ns "$FW2" conntrack -L -m "$1" 2>/dev/null | wc -l; }
arrived() { [ "$(marked "$1")" = "$2" ]; }
listen() {
	ctsync "$1" events >"$TMP/$1/events" 2>&1 &
	PIDS[events$1]=$!
	poll 5 told "$1" '"event":"hello"' >/dev/null || die "no events of $1"
}

max_raise 400000
net_make
# It is stopped here for as long as a burst takes.
# shellcheck disable=SC2034 # lib.sh's
EXTRA_SYNC="dead_ms = $(scaled 3000);"
daemons_start
listen fw1
listen fw2
check "$QUIET quiet flows" flood fw1 create -n $QUIET -m 77 -t 36000
check "both hold the same" poll 10 quick_equal fw1

# ---- The standby is slow: its kernel takes less than its peer tells. ----

# Others come, change and go until the file stop is there.
churn() {
	local i=0 at
	while [ ! -e "$TMP/stop" ]; do
		at=$((100000 + i % 4 * 30000))
		flood fw1 create -n 30000 -b $at
		flood fw1 update -n 30000 -b $at -m $((100 + i))
		flood fw1 delete -n 30000 -b $at
		i=$((i + 1))
	done >/dev/null
}

confine fw2 10
refreshes=$(counter fw2 refreshes) writes=$(writes_of fw2)
churn &
PIDS[churn]=$!
check "it says that it is behind" poll 20 ready_says fw2 'kernel writes pending'
check "as an event too" poll 5 told fw2 '"event":"ready".*"ready":false.*kernel writes pending'
start=$SECONDS least=$QUIET
while [ $((SECONDS - start)) -lt $((2 * HOLD + 5)) ]; do
	now=$(quiet_of fw2)
	[ "$now" -ge "$least" ] || least=$now
	for_time 1
done
refreshes=$(($(counter fw2 refreshes) - refreshes)) writes=$(($(writes_of fw2) - writes))
note "$writes writes of what was told, $refreshes timers renewed, at least $least of $QUIET quiet flows there"
check_that "the load lasted: more than fits half a second of a whole core" "$writes > 50000"
check_that "renewals are half of the operations at most" "$refreshes <= $writes"
check_that "but there are enough of them: no quiet flow ran out" "$least == $QUIET && $refreshes > $QUIET"
: >"$TMP/stop"
wait "${PIDS[churn]}"
unset "PIDS[churn]"
check "it catches up, and is ready" poll 30 ready fw2
check "both hold the same" poll 20 quick_equal fw1
check "and are proven equal" poll 10 in_sync

# ---- The owner is slow: its kernel tells more than it takes. ----

# How many records a hundred events cost, of 200 flows that change again and again.
changes() { # times, first mark, per second
	flood fw1 update -n 200 -l "$1" -m "$2" ${3:+-r "$3"} >/dev/null
}
cost() { # as above; at once if no rate is told. Sets cost.
	local events records
	events=$(events_of fw1) records=$(counter fw1 records_sent)
	[ -n "${3:-}" ] || kill -STOP "${PIDS[fw1]}"
	changes "$@"
	kill -CONT "${PIDS[fw1]}"
	poll 20 taken $((events + $1 * 200)) >/dev/null || return 1
	poll 10 in_sync >/dev/null || return 1
	cost=$((100 * ($(counter fw1 records_sent) - records) / ($(events_of fw1) - events)))
}
check "flows change, slowly" cost 20 1000 2000
calm=$cost overruns=$(counter fw1 overruns)
confine fw1 10
check "they change faster than a tenth of a core takes" cost 60 2000
note "100 events cost $calm records in calm, $cost under load"
check_that "under load changes coalesce: less than a quarter is sent" "$cost * 4 < $calm"

# What only renews a timer is read, and costs nothing more; what is new or over among it arrives.
check "500 that will end" flood fw1 create -n 500 -b 50000 -m 5
check "are there" poll 10 arrived 5 500
events=$(events_of fw1) records=$(counter fw1 records_sent)
flood fw1 update -n $QUIET -m 77 -t 30000 >/dev/null # they have the mark of before again
poll 10 in_sync >/dev/null
events=$(events_of fw1) records=$(counter fw1 records_sent)
for i in 1 2 3 4; do
	flood fw1 update -n $QUIET -m 77 -t $((30000 + i)) >/dev/null
	[ $i = 3 ] && flood fw1 create -n 500 -b 60000 -m 6 >/dev/null && flood fw1 delete -n 500 -b 50000 >/dev/null
done
from=$(now_ms)
check "500 new flows behind $((3 * QUIET)) renewals arrive" poll 10 arrived 6 500
check "and 500 ends" poll 10 arrived 5 0
note "$(($(now_ms) - from)) ms after the last renewal"
check "all was read" poll 20 taken $((events + 4 * QUIET + 1000))
records=$(($(counter fw1 records_sent) - records))
check_that "renewals were not sent: $records records of $((4 * QUIET + 1000)) events" "$records >= 1000 && $records < 1200"

# More than the kernel's buffer holds: events are lost, that is said, and nothing is missing in the end.
reread() { sed -n '/"event":"overrun"/,$p' "$TMP/fw1/events" | grep -q '"event":"reread"'; }
overrun() { [ "$(counter fw1 overruns)" -gt $overruns ]; }
check "so far no event was lost" not overrun
kill -STOP "${PIDS[fw1]}"
check "30,000 come" flood fw1 create -n 30000 -b 100000
check "10,000 of them end" flood fw1 delete -n 10000 -b 100000
kill -CONT "${PIDS[fw1]}"
check "that runs its buffer over" poll 10 overrun
check "the log says it" poll 5 logged fw1 'events were lost, the table is read again'
check "an event does" poll 5 told fw1 '"event":"overrun"'
check "and status" eval 'ctsync fw1 status | grep -q "times the kernel lost events"'
check "the table was read again" poll 60 reread
check "both hold the same" poll 60 quick_equal fw1
check "and are proven equal" poll 10 in_sync
check_that "no quiet flow is missing" "$(quiet_of fw2) == $QUIET"
for fw in fw1 fw2; do check "$fw never took its peer for dead" not told $fw '"event":"peer-\(down\|one-way\)"'; done
confine
finish
