#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Mute entries: made while nobody listened to events, they never send a DESTROY. The daemons start on 10,000 real
# connections of that kind; then these are closed, and must go on both nodes. nf_conntrack_events=0 makes them, because
# the default 2 asks whether anybody listens on the whole machine, whatever else runs on it; afterwards the default is put
# back. A second part has events=1 from the start: nothing is mute.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
both_modes

net_make
defaults_check 2
for ns in "$FW1" "$FW2"; do # closed connections must not stay for minutes in these tables
	sysctl_in "$ns" net.netfilter.nf_conntrack_tcp_timeout_{time_wait,fin_wait,last_ack,close,close_wait}=2
done
sysctl_in "$FW1" net.netfilter.nf_conntrack_events=0
traffic_start
tr_open tcp4 5000
exec {FIRST_IN}>&"$TR_IN" {FIRST_OUT}<&"$TR_OUT"
PIDS["first"]=$TR_PID
rm "$TMP/tr.in" "$TMP/tr.out"
traffic_start 30000
tr_open tcp4 5000
sysctl_in "$FW1" net.netfilter.nf_conntrack_events=2

daemons_start
check "10,000 flows that were there before are on both nodes" poll 20 equal fw1
check_that "all of them" "$(remote_count fw2) >= 10000"
check_that "they are counted as mute" "$(status fw1 mute) >= 10000"

# The sockets of half of them close: no event tells it.
start=$(now_ms)
tr_do close tcp4
check "the closed ones go from fw1's kernel" poll 30 flows_below fw1 5010
check "and from both nodes' tables" poll 60 count_below fw2 5010
note "after $(($(now_ms) - start)) ms"
check "what is left is equal" poll 30 equal fw1
TR_IN=$FIRST_IN TR_OUT=$FIRST_OUT
tr_do close tcp4
check "the others close: they go from fw1's kernel" poll 30 flows_below fw1 10
check "and from both nodes' tables" poll 60 count_below fw2 10
check "what is left is equal" poll 30 equal fw1

sysctl_in "$FW1" net.netfilter.nf_conntrack_events=1
sysctl_in "$FW2" net.netfilter.nf_conntrack_events=1
defaults_check 1
check "events=1: fw1 gets flows" flood fw1 create -n 2000
check "both nodes hold the same" poll 10 equal fw1
check_that "none is mute" "$(status fw1 mute) == 0"
finish
