#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A planned switchover: both nodes live. The addresses move away first, and with masquerading that alone makes the old
# node's kernel destroy every masqueraded flow, with events: the daemon there sees 300 flows end. The promote must revive
# them, and they must still be there when the wait of forced deletions is long over. Then back again.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
both_modes

switch_to() { # node, text
	local old
	old=$(other "$1")
	tr_do hold
	tr_do gap
	vip_del "$old"
	vip_add "$1"
	check "$2: demote $old" ctsync "$old" demote
	check "$2: promote $1" ctsync "$1" promote
	traffic_alive 5000 "$2"
	gap_note "$2"
	note "INVALID on $1: $(invalid_count "$1")"
}

NAT=masquerade
NAT6=masquerade
net_make
defaults_check 2
daemons_start
traffic_start
tr_open tcp4 150 tcp6 150 dnat4 10 udp4 20 udp6 20 icmp4 10 icmp6 10
tr_do chat on
traffic_alive 5000 "before"
check "both nodes hold the same" poll 10 equal fw1
rules_lock

before=$(flow_count fw1)
switch_to fw2 "to fw2"
check_that "the kernel did destroy flows of the removed address" "$(counter fw1 events_destroy) > $before / 2"
for_time 7 # the forced deletions' 5 s
traffic_alive 5000 "7 s later"
check "fw1 holds what fw2 tracks" poll 15 equal fw2

switch_to fw1 "back to fw1"
for_time 7
traffic_alive 5000 "7 s later"
check "fw2 holds what fw1 tracks" poll 15 equal fw1
switch_to fw2 "to fw2 again"

# The same verbs again, and out of order, change nothing.
check "promote, repeated" ctsync fw2 promote
check "demote, repeated" ctsync fw1 demote
traffic_alive 5000 "repeated verbs"
finish
