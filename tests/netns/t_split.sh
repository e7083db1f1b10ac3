#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Split brain: both firewalls are primary, and the addresses go from one to the other while established connections
# carry on. The first was never told to step back, and what passed through the second made the windows of its entries old:
# all connections must go on when the addresses return, be it that the second steps back or that the first is promoted
# again. Then the second takes over in earnest.
#
# MODE=hot and MODE=cache; without it both, one after the other.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
both_modes

move() { # from, to
	tr_do hold
	vip_del "$1"
	vip_add "$2"
}
both_primary() { [ "$(status fw1 peers.0.role)" = primary ] && [ "$(status fw2 peers.0.role)" = primary ]; }

net_make
timeouts_long
daemons_start
traffic_start
tr_open tcp4 250 tcp6 100 dnat4 10 udp4 20 udp6 20 icmp4 10 icmp6 10
tr_do chat on
traffic_alive 5000 "before"
check "both nodes hold the same" poll 10 equal fw1
rules_lock

move fw1 fw2
check "fw2 is promoted, fw1 not demoted" ctsync fw2 promote
check "each knows of the other" poll 5 both_primary
traffic_alive 5000 "to fw2"
for_time 3 # windows move on
move fw2 fw1
check "fw1 is promoted again" ctsync fw1 promote
traffic_alive 5000 "back to fw1 by a promote"
for_time 3
move fw1 fw2
check "fw2 is promoted again" ctsync fw2 promote
traffic_alive 5000 "to fw2 again"
for_time 3
move fw2 fw1
check "fw2 is demoted" ctsync fw2 demote
traffic_alive 5000 "back to fw1, which is told nothing"
note "INVALID on fw1: $(invalid_count fw1), on fw2: $(invalid_count fw2)"

check "both kernels hold the same" poll 15 kernels_equal
check "fw2 is ready" poll 15 ready fw2
for_time 3
tr_do hold
daemon_kill fw1
links_down fw1
vip_add fw2
check "fw1 dies: fw2 is promoted" ctsync fw2 promote
traffic_alive 5000 "to fw2 for good"
finish
