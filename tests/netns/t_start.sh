#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The daemons start on a node with 300,000 flows under churn: what changes between subscription and dump must not be lost.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
both_modes

net_make
max_raise 1048576
# Entries made now must speak later, whoever listens.
sysctl_in "$FW1" net.netfilter.nf_conntrack_events=1
check "300,000 flows" flood fw1 create -n 300000
churn() {
	local i
	for i in 0 1 2 3 4 5 6 7; do
		flood fw1 create -n 10000 -b $((1000000 + i * 10000)) -r 40000
		flood fw1 delete -n 10000 -b $((i * 10000)) -r 40000
		flood fw1 update -n 10000 -b $((200000 + i * 10000)) -m $((i + 1)) -r 40000
	done
}
churn >"$TMP/churn" 2>&1 &
churner=$!
daemons_start
check "the churn" wait $churner
check "it had no errors" not grep -E 'exists|No such' "$TMP/churn"
check "equal within 5 s" poll 5 quick_equal fw1
check_that "300,000 flows" "$(remote_count fw2) == 300000"
[ "$MODE" = cache ] || check "attribute by attribute" kernels_equal
finish
