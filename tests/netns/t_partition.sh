#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A partition of 10 s while the active node creates 300,000 flows and loses 300,000 others at full speed. No verb is
# called: 5 s after the link is back both must hold the same.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
both_modes

net_make
max_raise 1048576
daemons_start
check "320,000 flows" flood fw1 create -n 320000
check "both nodes hold them" poll 30 count_is fw2 remote 320000
[ "$MODE" = cache ] || check "fw2's kernel too" poll 30 flows_above fw2 319999

start=$SECONDS
sync_loss 100
flood fw1 create -n 300000 -b 1000000 >"$TMP/create" 2>&1 &
creator=$!
flood fw1 delete -n 300000 -b 20000 >"$TMP/delete" 2>&1 &
deleter=$!
check "creates: 300,000" wait $creator
check "deletes: 300,000" wait $deleter
note "$(cat "$TMP/create" "$TMP/delete")"
check "the peers are down" poll 5 not peer_up fw2
for_time $((10 - (SECONDS - start) > 0 ? 10 - (SECONDS - start) : 0)) # the rest of the 10 s
scale_measure
sync_heal
healed=$(now_ms)
for_time "$(scaled 4)"
check "snapshot" snapshot fw1
took=$(($(now_ms) - healed))
note "taken within $took ms of healing"
check "equal 5 s after healing: 0 missing, 0 stale" snapshot_equal
check_that "320,000 flows" "$(status fw1 flows.local) == 320000"
[ "$MODE" = cache ] || check "attribute by attribute" kernels_equal
note "debts: $(counter fw2 debts), tombstones dropped: $(counter fw1 tombstones_dropped)"
finish
