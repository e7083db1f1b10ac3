#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `ctsync verify`: a pair that is equal is proven so, at rest and under churn; memory that flipped on either node is found,
# told by the exit status, and healed; whoever is silent is not proven.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
MODE=hot

verify() { ctsync "$1" verify >"$TMP/verify.out" 2>"$TMP/verify.err"; }
unequal() { # FW REGEX: exit 1, and says so
	verify "$1"
	[ $? = 1 ] && grep -qE "$2" "$TMP/verify.out" "$TMP/verify.err"
}
flip() { "$HERE/flip.py" "${PIDS[$1]}" 10.64.0.1 "$2" 10.128.0.1 443 "$3" >"$TMP/flip.out"; }

net_make
timeouts_long
daemon_start fw2
check "alone, nothing is proven" unequal fw2 "no peer was ever heard"
daemon_start fw1
check "fw1 takes the role" ctsync fw1 promote
check "2,000 flows" flood fw1 create -n 2000
check "both nodes hold the same" poll 10 equal fw1
check "fw2 proves that it holds what fw1 has" verify fw2
check "and says so" grep -qE '^fw1: equal, 2000 flows at version [0-9]+$' "$TMP/verify.out"
check "fw1 likewise, of nothing" verify fw1
check_that "in JSON" "$(ctsync fw2 --json verify | python3 -c 'import json, sys; v = json.load(sys.stdin); print(v["equal"] is True and v["peers"][0]["flows"])') == 2000"

ctsync fw2 events >"$TMP/events" 2>&1 &
PIDS[events]=$!
check "the stream of events begins" poll 5 grep -q '"event":"hello"' "$TMP/events"

# 19: the flags of a direction, state; 11: a port, key.
for what in "fw2 1030 19" "fw1 1031 19" "fw2 1040 11"; do
	read -r fw port at <<<"$what"
	check "memory of $fw turns a bit at $at" flip "$fw" "$port" "$at"
	check "$fw finds it" unequal "$fw" '^NOT EQUAL: [1-9][0-9]* flips of memory'
	check "and heals it" poll 10 verify "$fw"
	check "the other node is proven equal too" poll 10 verify "$([ "$fw" = fw1 ] && echo fw2 || echo fw1)"
	check "the caches are equal" poll 10 cache_equal fw1
done
check "both kernels hold the same" poll 20 equal fw1
counted() { [ "$(counter fw2 divergences)" -ge 1 ]; }
check "fw2's is counted as a divergence" counted
check "logged, with its bucket and what was repaired" grep -qE 'peer fw1: bucket [0-9]+ differed at rest, 1 flows repaired' "$TMP/fw2/log"
check "told by an event, with the same" grep -qE '"event":"divergence","peer":"fw1","bucket":[0-9]+,"repaired":1' "$TMP/events"
check "and no resync was made for it" not grep -q '"event":"resync"' "$TMP/events"

# A divergence that cannot be mended: what fw2 asks for (ASK, the shortest of all datagrams) never arrives, all else does.
not_ready() { # reason
	! ctsync fw2 ready >"$TMP/ready.out" 2>&1 && grep -q "$1" "$TMP/ready.out"
}
check "fw2 is ready" poll 10 ctsync fw2 ready
in_ns "$FW2" nft 'table inet mute_ask { chain out { type filter hook output priority 0; oifname "sync0" udp dport 3780 udp length < 88 counter drop; }; }'
check "memory of fw2 turns a bit" flip fw2 1050 19
check "fw2 finds it" unequal fw2 '^NOT EQUAL: [1-9][0-9]* flips of memory'
check "it is not ready, and says why" poll 5 not_ready 'divergence: 1 of 1024 buckets differ from those of fw1'
check_that "what it asked for was kept from fw1" "$(in_ns "$FW2" nft list table inet mute_ask | grep -o 'packets [0-9]*' | cut -d' ' -f2) > 0"
check "both directions are alive all the same" grep -vq 'direction' "$TMP/ready.out"
in_ns "$FW2" nft delete table inet mute_ask
check "its question arrives: it is ready" poll 10 ctsync fw2 ready
check "and equal" poll 10 verify fw2

flood fw1 create -n 60000 -b 100000 >/dev/null &
churn=$!
check "60,000 flows are being made: proven all the same" verify fw2
check "they were made" wait "$churn"
check "and again" poll 10 verify fw2
in_ns "$FW2" nft 'table inet one_way { chain out { type filter hook output priority 0; oifname "sync0" udp dport 3780 drop; }; }'
unheard() { unequal fw2 '^fw1: not proven: it does not hear us$'; }
check "fw1 does not hear fw2: not proven, and why" poll 10 unheard
check "nor ready, and why" poll 5 not_ready 'fw1 does not hear us'
in_ns "$FW2" nft delete table inet one_way
check "it does again: equal" poll 10 verify fw2

# A restarted backup to which no records come, heartbeats do.
daemon_kill fw2
in_ns "$FW2" nft 'table inet no_records { chain in { type filter hook input priority 0; iifname "sync0" udp dport 3780 udp length > 400 drop; }; }'
daemon_start fw2
check "resyncing it is not ready, and says how far it is" poll 10 not_ready 'resync with fw1 at [0-9]* %'
in_ns "$FW2" nft delete table inet no_records
check "done it is ready" poll 20 ctsync fw2 ready
check "and equal" poll 10 verify fw2
daemon_kill fw1
silent() { unequal fw2 '^fw1: not proven: it is silent$'; }
check "fw1 is gone: not proven" poll 10 silent
finish
