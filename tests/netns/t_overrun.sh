#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# ENOBUFS: the event buffer is as small as it may be, and bursts run it over. It must be counted, and both nodes must be
# equal within seconds, for creates and for deletes.
# With reliable delivery the kernel tells every end, as soon as it is listened to.

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

# The backup loses events of its own kernel's: it is not ready before the table was read again.
check "fw2 is ready" poll 10 ready fw2
kill -STOP "${PIDS[fw2]}"
check "creates in fw2's kernel while the daemon sleeps" flood fw2 create -n 2000 -b 200000
ctsync fw2 ready >"$TMP/answer" 2>&1 &
asker=$!
for_time 0.3
kill -CONT "${PIDS[fw2]}"
wait "$asker"
check "asked as it wakes fw2 is not ready, and says why" grep -q '^not ready: the kernel lost events' "$TMP/answer"
check "soon it is again" poll 10 ready fw2
check "it has read what it was not told" poll 10 count_is fw2 local 2000
check "they go" flood fw2 delete -n 2000 -b 200000
check "from fw1, too" poll 10 count_is fw1 remote 0
daemon_stop fw1
daemon_stop fw2

# Reliable: the kernel keeps what ended until its end was told, and no end needs a dump.
EXTRA='kernel = { event_buffer = 65536; reliable_events = true; };'
daemons_start
told() { [ $(($(counter fw1 events_destroy) - before)) -ge 20000 ]; }
check "reliable: 20,000 flows" flood fw1 create -n 20000
check "reliable: equal" poll 10 quick_equal fw1
before=$(counter fw1 events_destroy)
kill -STOP "${PIDS[fw1]}"
check "reliable: deletes while the daemon sleeps" flood fw1 delete -n 20000
check_that "reliable: most wait to be told" "$(in_ns "$FW1" conntrack -C) > 10000"
kill -CONT "${PIDS[fw1]}"
check "reliable: every end was told" poll 15 told
check "reliable: none waits any more" poll 10 eval '[ "$(in_ns "$FW1" conntrack -C)" = 0 ]'
check "reliable: equal again" poll 10 quick_equal fw1
finish
