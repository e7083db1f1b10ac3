#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The sync link loses 20 % of all datagrams in both directions and doubles the rest, under creates, changes and
# deletes. Equality must come within 5 s of the last change, while the link goes on losing; live flows must not suffer.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
both_modes

net_make
timeouts_long
daemons_start
traffic_start
tr_open tcp4 50 tcp6 50 udp4 10 icmp4 5
tr_do chat on
check "20,000 cold flows" flood fw1 create -n 20000 -b 1000000
check "both nodes hold the same" poll 10 quick_equal fw1
sync_loss 20
sync_double
check "creates at full speed" flood fw1 create -n 60000
check "changes" flood fw1 update -n 20000 -m 5
check "deletes" flood fw1 delete -n 30000
check "creates with NAT" flood fw1 create -n 20000 -S -b 2000000
check "equal within 5 s, the link still losing" poll 5 quick_equal fw1
dropped=$(in_ns "$FW2" nft list table inet loss | sed -n 's/.*counter packets \([0-9]*\) .*/\1/p')
note "fw2's rule saw $dropped datagrams; repaired records: $(counter fw1 records_repaired)"
check_that "the loss was real" "$dropped > 100"
check_that "something was repaired" "$(counter fw1 records_repaired) > 0"
check "deletes of all" flood fw1 delete -n 30000 -b 30000
check "equal again within 5 s" poll 5 quick_equal fw1
traffic_alive 5000 "live flows"
sync_heal
check "equal after the loss" poll 5 quick_equal fw1
[ "$MODE" = cache ] || check "attribute by attribute" poll 5 kernels_equal
check "no divergence was found at rest" test "$(counter fw2 divergences)" = 0
finish
