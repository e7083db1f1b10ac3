#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# An administrator deletes or changes entries with conntrack(8) on the active node: the backup follows at once. Entries
# that the administrator deletes on the backup are only copies: the flow itself is untouched, and the copy returns.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
both_modes

remote_has() { ctsync fw2 flows remote | grep -q "$1"; }
kernel_has() { in_ns "$FW2" conntrack -L 2>/dev/null | grep -q "$1"; }
gone_on_fw2() { ! remote_has "$1" && { [ "$MODE" != hot ] || ! kernel_has "$1"; }; }
there_on_fw2() { remote_has "$1" && { [ "$MODE" != hot ] || kernel_has "$1"; }; }

net_make
daemons_start
check "fw1 gets 3,000 flows" flood fw1 create -n 1000
check "with IPv6" flood fw1 create -n 1000 -6
check "with source NAT" flood fw1 create -n 1000 -S -b 900000
check "both nodes hold the same" poll 10 equal fw1

check "the flow is on fw2" there_on_fw2 "src=10.64.0.1 .* sport=1500 "
start=$(now_ms)
check "conntrack -D on fw1" in_ns "$FW1" conntrack -D -p tcp -s 10.64.0.1 --sport 1500
check "it goes from fw2" poll 2 gone_on_fw2 "src=10.64.0.1 .* sport=1500 "
took=$(($(now_ms) - start))
note "gone after at most $took ms"
check_that "at once: no wait as for forced deletions" "$took < 2000"
check "both nodes hold the same" poll 5 equal fw1

check "conntrack -U changes a mark on fw1" in_ns "$FW1" conntrack -U -p tcp -s 10.64.0.1 --sport 1600 -m 77
check "so does another program, 1,000 of them" flood fw1 update -n 1000 -b 900000 -S -m 99
check "fw2 has the new marks" poll 5 equal fw1
check "flood deletes 1,000 on fw1" flood fw1 delete -n 1000 -6
check "they go from fw2" poll 5 equal fw1

if [ "$MODE" = hot ]; then
	check "conntrack -D of a copy on fw2" in_ns "$FW2" conntrack -D -p tcp -s 10.64.0.1 --sport 1600
	check "fw1 keeps the flow" in_ns "$FW1" conntrack -L -p tcp -s 10.64.0.1 --sport 1600
	check "fw2 gets its copy again" poll 5 equal fw1
	check "conntrack -F on fw2" in_ns "$FW2" conntrack -F
	check "fw2 gets all copies again" poll 15 equal fw1
fi
check "conntrack -F on fw1" in_ns "$FW1" conntrack -F
check "all are gone on both" poll 5 equal fw1
check_that "none is left on fw2" "$(remote_count fw2) == 0"
finish
