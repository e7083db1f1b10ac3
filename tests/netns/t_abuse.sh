#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Bad company: clients of the control socket that say nothing, never read, or come by the hundred; datagrams at the sync port
# that are noise, cut off, or damaged, from the peer's own address and port. Replication goes on, only counters move.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
MODE=hot

quick() { # a command must succeed within a second
	local start
	start=$(now_ms)
	"$@" >/dev/null || return 1
	[ $(($(now_ms) - start)) -lt "$(scaled 1000)" ]
}

net_make
max_raise 524288
daemons_start
check "100,000 flows" flood fw1 create -n 100000
check "both nodes hold the same" poll 15 quick_equal fw1
epoch=$(status fw2 peers.0.covered)

# The company: on both daemons, for the whole of what follows.
for fw in fw1 fw2; do
	python3 "$HERE/abuse.py" control "$(sock $fw)" >"$TMP/abuse.$fw" 2>&1 &
	PIDS["abuse_$fw"]=$!
	check "$fw: a silent client, one that never reads, 100 at once" poll 10 grep -q ready "$TMP/abuse.$fw"
done
check "status answers within a second" quick ctsync fw1 status
check "on the backup too" quick ctsync fw2 status
check "changes go on" flood fw1 create -n 20000 -b 1000000
check "and arrive" poll 5 quick_equal fw1
check "a long list is served meanwhile" test "$(ctsync fw2 flows remote | wc -l)" = 120000
check "the daemons live" daemon_lives fw1
check "both" daemon_lives fw2

# Noise. What a damaged datagram may do is be counted.
drops() { VERB=stats ctsync fw2 --json stats | python3 -c '
import json, sys
def walk(v):
    if isinstance(v, dict):
        return sum(sum(x for x in w.values() if isinstance(x, int)) if k == "drops" else walk(w) for k, w in v.items())
    return sum(map(walk, v)) if isinstance(v, list) else 0
print(walk(json.load(sys.stdin)))'; }
before=$(drops)
check "garbage, truncated and damaged datagrams from the peer's address" \
	in_ns "$FW1" python3 "$HERE/abuse.py" datagrams sync0 192.168.100.1 192.168.100.2 3780
counted() { [ "$(drops)" -gt $((before + 1000)) ]; }
check "they are counted" poll 5 counted
note "dropped: $(($(drops) - before))"
check "the daemon lives" daemon_lives fw2
check "the peer is up" peer_up fw2
check_that "its stream was not rolled back" "$(status fw2 peers.0.covered) >= $epoch"
check "nothing changed" poll 5 quick_equal fw1
check "changes go on" flood fw1 delete -n 50000
check "and arrive" poll 5 quick_equal fw1
check "attribute by attribute" kernels_equal
check "no divergence" test "$(counter fw2 divergences)" = 0
finish
