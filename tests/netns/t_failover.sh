#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The active firewall dies: SIGKILL to its daemon and all of its links down at the same moment. The addresses move, the
# other is promoted, and every flow goes on: chatty and silent ones, those on which the server speaks first, with the same
# address and port as the server saw. Then the dead node returns, and the same flows fail over and back three times: a
# node that comes back has stale entries, and the newcomer must learn what it missed.
#
# MODE=hot and MODE=cache; without it both, one after the other.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
both_modes

promote() {
	local out start
	start=$(now_ms)
	out=$(ctsync "$1" promote 2>&1)
	check_that "$2: promote takes the role" "$? == 0"
	note "$2: promote took $(($(now_ms) - start)) ms: $(tr '\n' ' ' <<<"$out")"
}

net_make
defaults_check 2
daemons_start
traffic_start
tr_open tcp4 250 tcp6 250 dnat4 10 udp4 20 udp6 20 icmp4 10 icmp6 10
tr_do chat on
traffic_alive 5000 "before"
# UDP must have been seen for 2 s in both directions to be a stream; the owner announces that then.
check "both nodes hold the same before" poll 10 equal fw1
rules_lock
tr_do hold
tr_do gap

daemon_kill fw1
links_down fw1
vip_add fw2
promote fw2 "power cut"
traffic_alive 5000 "power cut"
gap_note "power cut"
note "INVALID on fw2: $(invalid_count fw2)"

active=fw2
for round in 1 2 3 4 5; do
	back=$(other "$active")
	links_up "$back"
	daemon_start "$back"
	# Its role outlived it; what moves the addresses (keepalived, say) tells it that it is the backup now.
	check "round $round: demote $back" ctsync "$back" demote
	check "round $round: the peers are up" poll 15 peers_up
	check "round $round: $back learns the flows" poll 15 equal "$active"
	check "round $round: $back is ready" poll 15 ready "$back"
	tr_do hold
	tr_do gap
	daemon_kill "$active"
	links_down "$active"
	vip_add "$back"
	promote "$back" "round $round"
	traffic_alive 5000 "round $round: to $back"
	gap_note "round $round"
	note "INVALID on $back: $(invalid_count "$back")"
	active=$back
done
tr_do bytes
note "payload verified: ${TR[0]}"
finish
