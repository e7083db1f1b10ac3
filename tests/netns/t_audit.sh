#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `ctsync verify --kernel`: entries that vanish from a kernel, appear in it or change in it with no event, on the owner and
# on a hot backup, and memory that flips: each is found, named by its line and healed, on the node that is asked and on its
# peer; flows that come and go are no differences, and a peer that is silent is not taken for equal.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
MODE=hot

audit() { ctsync "$1" verify --kernel >"$TMP/audit.out" 2>"$TMP/audit.err"; }
unequal() { # FW: exit 1, and says so
	audit "$1"
	[ $? = 1 ] && grep -q '^kernel: NOT EQUAL' "$TMP/audit.out"
}
named() { # FROM TO REGEX: each flow of these ports has a line
	local port
	for ((port = $1; port <= $2; port++)); do
		grep -qE "^$3: tcp .*src=10.64.0.1 dst=10.128.0.1 sport=$port dport=443 " "$TMP/audit.out" || return 1
	done
}
counts() { grep -qE "^kernel: NOT EQUAL: $1 only there, $2 only in the cache, $3 differ$" "$TMP/audit.out"; }
of_peer() { # FW TEXT: fw's audit fails for what it says of the other's kernel, not for its own
	audit "$1"
	[ $? = 1 ] && grep -q '^kernel: equal' "$TMP/audit.out" && grep -qE "^kernel of $(other "$1"): $2$" "$TMP/audit.out"
}
behind() { # FW VERB FROM TO [MARK]
	"$HERE/behind.py" "${PIDS[$1]}" "$2" 10.64.0.1 "$3" "$4" 10.128.0.1 443 ${5:+"$5"}
}
# What was learnt by looking may never tell of its end: the table is read every few seconds for it, which would find first
# what the next audit is to find.
end() { # FW FROM TO
	local port
	for ((port = $2; port <= $3; port++)); do
		in_ns "$(fw_ns "$1")" conntrack -D -p tcp -s 10.64.0.1 --sport "$port" >/dev/null 2>&1 || return 1
	done
	poll 5 eval "[ \"\$(status $1 mute)\" = 0 ]"
}
flip() { "$HERE/flip.py" "${PIDS[$1]}" 10.64.0.1 "$2" 10.128.0.1 443 "$3" >"$TMP/flip.out"; }
healed() { # FW
	check "$1: the next audit finds nothing" poll 10 audit "$1"
	check "nor does one of $(other "$1")" poll 10 audit "$(other "$1")"
	check "both nodes hold the same" poll 10 equal fw1
}

net_make
timeouts_long
daemon_start fw2
daemon_start fw1
check "fw1 takes the role" ctsync fw1 promote
check "2,000 flows" flood fw1 create -n 2000
check "both nodes hold the same" poll 10 equal fw1
check "fw1's kernel is what it holds" audit fw1
check "so is fw2's" audit fw2
check "and it says so" grep -q '^kernel: equal: 0 only there, 0 only in the cache, 0 differ$' "$TMP/audit.out"
check_that "in JSON" "$(ctsync fw2 --json verify --kernel | python3 -c 'import json, sys; v = json.load(sys.stdin); print(int(v["kernel"]["equal"] and v["equal"] and v["kernel"]["found"] == []))') == 1"
ctsync fw1 events >"$TMP/events" &
events=$!

check "the owner: 5 entries vanish" behind fw1 delete 1030 1034
check_that "fw1 has not heard of it" "$(status fw1 flows.local) == 2000"
check "found" unequal fw1
check "all of them" counts 0 5 0
check "named" named 1030 1034 'only in the cache'
check_that "fw1 has 1,995 flows" "$(status fw1 flows.local) == 1995"
healed fw1

check "the owner: 5 strangers appear" behind fw1 create 1030 1034
check "found" unequal fw1
check "all of them" counts 5 0 0
check "named" named 1030 1034 'only in the kernel'
healed fw1
check "they end" end fw1 1030 1034

check "the owner: 5 entries get a mark" behind fw1 mark 1040 1044 7
check "found" unequal fw1
check "all of them" counts 0 0 5
check "named" named 1040 1044 'differs in mark'
healed fw1

check "the backup: 5 copies vanish" behind fw2 delete 1050 1054
check "found" unequal fw2
check "all of them" counts 0 5 0
check "named" named 1050 1054 'only in the cache, of fw1'
healed fw2

check "the backup: 5 copies get a mark" behind fw2 mark 1050 1054 9
check "found" unequal fw2
check "all of them" counts 0 0 5
check "named" named 1050 1054 'differs in mark, of fw1'
healed fw2

check "the backup: 5 strangers appear" behind fw2 create 30000 30004
check "found" unequal fw2
check "all of them" counts 5 0 0
check "named" named 30000 30004 'only in the kernel'
check "they are fw2's now, and fw1 has them too" poll 5 kernels_equal
check "fw2: the next audit finds nothing" poll 10 audit fw2
check "they end" end fw2 30000 30004
healed fw2

# Asked at one node, found in the kernel of the other.
for fw in fw1 fw2; do
	peer=$(other "$fw")
	check "nothing is mute" poll 10 eval "[ \"\$(status $peer mute)\" = 0 ]"
	check "$peer: 3 strangers appear" behind "$peer" create 31000 31002
	check "$fw finds them" of_peer "$fw" 'NOT EQUAL: 3 only there, 0 only in the cache, 0 differ'
	check "and names them" named 31000 31002 "on $peer: only in the kernel"
	check "$peer tells them too" grep -qE 'audit: only in the kernel, taken in: tcp .* sport=31000 ' "$TMP/$peer/log"
	check "they end" end "$peer" 31000 31002
	healed "$fw"
done
check "fw2: 3 copies get a mark" behind fw2 mark 1055 1057 9
check "fw1 finds them" of_peer fw1 'NOT EQUAL: 0 only there, 0 only in the cache, 3 differ'
check "and names them" named 1055 1057 'on fw2: differs in mark, of fw1'
healed fw1
check "fw2: 100 copies vanish" behind fw2 delete 1200 1299
check "fw1 finds them" of_peer fw1 'NOT EQUAL: 0 only there, 100 only in the cache, 0 differ'
check "8 are named" eval "[ \$(grep -c '^on fw2: only in the cache, of fw1: ' '$TMP/audit.out') = 8 ]"
check "the rest is counted" grep -q '^on fw2: and 92 more$' "$TMP/audit.out"
healed fw1
check "in JSON, both kernels" eval "ctsync fw1 --json verify --kernel | python3 -c 'import json, sys; v = json.load(sys.stdin); k = v[\"kernels\"]; sys.exit(not (v[\"equal\"] and len(k) == 1 and k[0][\"node\"] == \"fw2\" and k[0][\"equal\"] and k[0][\"entries\"] >= 1900))'"

# 19: the flags of a direction, state, which no kernel tells of; 18: window scales; 11: a port, key.
for what in "fw1 1060 18 differs.in.tcp" "fw2 1061 18 differs.in.tcp,.of.fw1" "fw1 1062 11 only.in.the.kernel" \
	"fw2 1063 11 only.in.the.kernel"; do
	read -r fw port at text <<<"$what"
	check "nothing is mute" poll 10 eval "[ \"\$(status $fw mute)\" = 0 ]"
	check "memory of $fw turns a bit at $at" flip "$fw" "$port" "$at"
	check "$fw finds it" unequal "$fw"
	check "and names it" named "$port" "$port" "$text"
	healed "$fw"
	[ "$fw" = fw2 ] || check "it ends" end fw1 "$port" "$port"
done

check "nothing is mute" poll 10 eval "[ \"\$(status fw1 mute)\" = 0 ]"
check "the owner: 100 entries vanish" behind fw1 delete 1100 1199
check "found" unequal fw1
check "all of them" counts 0 100 0
check_that "64 are named" "$(grep -c '^only in the cache' "$TMP/audit.out") == 64"
check "the rest is counted" grep -q '^and 36 more$' "$TMP/audit.out"
healed fw1

check_that "each told by an event, too" "$(grep -c '"event": *"difference"' "$TMP/events") >= 64"
check "with the flow" grep -qE '"event": *"difference".*"what": *"cache-only".*sport=1030 ' "$TMP/events"
check "and what came of it" grep -qE '"event": *"audit".*"cache_only": *100' "$TMP/events"
check_that "counted" "$(counter fw1 audit_cache_only) == 105"
check "logged" grep -qE 'audit: only in the kernel, taken in: tcp .* sport=1030 ' "$TMP/fw1/log"
kill "$events"

flood fw1 create -n 60000 -b 100000 >/dev/null &
churn=$!
check "60,000 flows are being made: fw1's kernel is what it holds" audit fw1
check "so is fw2's" audit fw2
check "they were made" wait "$churn"
flood fw1 delete -n 60000 -b 100000 >/dev/null &
churn=$!
check "60,000 flows are being deleted: the same" audit fw1
check "of fw2" audit fw2
check "they were deleted" wait "$churn"
healed fw1

daemon_kill fw2
check "fw2 is gone: of its kernel nothing is known" of_peer fw1 'not known: it is silent'
check "its return is enough" daemon_start fw2
healed fw1
finish
