#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The control for t_failover: the same network, rules, flows and failure, but no daemon. Every protocol must lose its
# flows, else t_failover would prove nothing. And the converse: without the failure the same check finds all of them alive,
# so that what it measures is the failover.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

net_make
defaults_check 2
traffic_start
tr_open tcp4 250 tcp6 250 dnat4 10 udp4 20 udp6 20 icmp4 10 icmp6 10
rules_lock
tr_do chat on
traffic_alive 5000 "before the failover"
tr_do hold

links_down fw1
vip_add fw2
tr_do chat off
traffic_lost 4000 "no daemon"
note "INVALID on fw2: $(invalid_count fw2)"
finish
