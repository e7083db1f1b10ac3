#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A node reboots: empty kernel, no state. It gets its flows back and harms nobody's. First the backup; then the active dies,
# the other takes over, and the dead one comes back empty; then the flows go back to it.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
both_modes

net_make
timeouts_long
daemons_start
traffic_start
tr_open tcp4 100 tcp6 100 dnat4 10 udp4 10 icmp4 5
tr_do chat on
check "5,000 cold flows" flood fw1 create -n 5000
check "both nodes hold the same" poll 10 equal fw1
check "fw2 is ready" poll 10 ready fw2

daemon_kill fw2
firewall_reboot fw2
timeouts_long
check_that "fw2 is empty" "$(flow_count fw2) < 10"
daemon_start fw2
check_that "fw2 is a backup" "$([ "$(status fw2 role)" = backup ] && echo 1 || echo 0)"
check "the rebooted backup gets the flows" poll 15 equal fw1
check "and is ready" poll 10 ready fw2
traffic_alive 3000 "backup rebooted"

rules_lock
tr_do hold
daemon_kill fw1
links_down fw1
vip_add fw2
check "promote fw2" ctsync fw2 promote
traffic_alive 5000 "active dead"
all=$(flow_count fw2)
firewall_reboot fw1
timeouts_long
rules_lock
daemon_start fw1
check "the rebooted node gets the flows" poll 15 equal fw2
check "and is ready" poll 10 ready fw1
check_that "fw2 lost none ($all before, $(flow_count fw2) now)" "$(flow_count fw2) >= $all"
traffic_alive 3000 "old active rebooted"

tr_do hold
daemon_kill fw2
links_down fw2
vip_add fw1
check "promote fw1" ctsync fw1 promote
traffic_alive 5000 "back on the rebooted node"
check_that "the cold flows are there" "$(flow_count fw1) >= 5000"
finish
