#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `ready` and `events` of a backup, as a cluster manager and a monitor would use them: in sync, without its ruleset, with
# its entries deleted behind the daemon's back, after the active fell silent, promoted. Every change of readiness is in
# the stream, which is complete and valid JSON to its last line.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
MODE=hot

ready_exit() { # FW 0|1: the verb's exit status, and the same from status
	local said
	ctsync "$1" ready >"$TMP/ready.out"
	[ $? = "$2" ] || return 1
	said=$(status "$1" ready)
	[ "$said" = "$([ "$2" = 0 ] && echo true || echo false)" ]
}
because() { # FW REGEX: not ready, for that reason
	ready_exit "$1" 1 && grep -qE "^not ready: .*$2" "$TMP/ready.out"
}

for_ready_a_while() { # FW: at each look of 12 s, which is longer than the pause between two probes
	local i
	for i in {1..12}; do
		ready_exit "$1" 0 || return 1
		for_time 1
	done
}

net_make
timeouts_long
daemon_start fw2
check "alone, it is not ready" because fw2 "no peer"
"$CTSYNC" -s "$(sock fw2)" events >"$TMP/events" 2>"$TMP/events.err" &
events=$!
daemon_start fw1
check "fw1 takes the role" ctsync fw1 promote
check "and is ready, as a primary is" ready_exit fw1 0
check "1,000 flows" flood fw1 create -n 1000
check "both nodes hold the same" poll 10 equal fw1
check "fw2 is ready" poll 10 ready_exit fw2 0

in_ns "$FW2" nft delete table inet fw
in_ns "$FW2" nft delete table inet nat
check "without a ruleset it is not" poll 15 because fw2 "not tracked"
rules_load fw2
check "with it, it is" poll 15 ready_exit fw2 0
check_that "the probe leaves no entry" "$(in_ns "$FW2" conntrack -L 2>/dev/null | grep -c 127.0.0.1) == 0"

# Translated flows need the kernel's translation here, too.
check "fw1 gets 100 flows with source NAT" flood fw1 create -n 100 -b 100000 -S
check "fw2 has them" poll 10 count_is fw2 remote 1100
check "fw2 is ready" poll 10 ready_exit fw2 0
in_ns "$FW2" nft delete table inet nat
check "without a nat chain it is not" poll 15 because fw2 "no nat base chain here for IPv4"
in_ns "$FW2" nft 'table ip nat { chain post { type nat hook postrouting priority 100; }; }'
check "an empty one will do" poll 15 ready_exit fw2 0
in_ns "$FW2" nft 'table inet lo { chain out { type filter hook output priority raw; oifname lo notrack; }; }'
in_ns "$FW2" ip link add nowhere type veth peer name nobody
in_ns "$FW2" ip link set nobody up
in_ns "$FW2" ip addr add 10.99.0.1/24 dev nowhere
in_ns "$FW2" ip link set nowhere up
organic() { in_ns "$FW2" bash -c 'echo x >/dev/udp/10.99.0.2/9' && ready_exit fw2 0; }
check "loopback is left alone: the probe sees nothing" poll 15 because fw2 "not tracked"
check "fw2's own packets tell of tracking, and nf_tables of the chain" poll 15 organic
check "for longer than a probe's word" for_ready_a_while fw2
in_ns "$FW2" nft delete table ip nat
check "without it, nothing is known" poll 15 because fw2 "nat base chain for IPv4 cannot be seen"
in_ns "$FW2" nft delete table inet lo
in_ns "$FW2" nft delete table inet fw
rules_load fw2
check "with the ruleset, it is ready" poll 15 ready_exit fw2 0

# Entries that vanish unheard are missed at once: the kernel counts them, and every end was told.
check "30 entries vanish behind the back of fw2" "$HERE/behind.py" "${PIDS[fw2]}" delete 10.64.0.1 1030 1059 10.128.0.1 443
check "it is not ready" poll 5 because fw2 "[0-9]+ entries of 1[0-9]+ are not in the kernel"
check "an audit finds them" not ctsync fw2 verify --kernel >/dev/null
check "and makes them again: ready" poll 5 ready_exit fw2 0

daemon_kill fw1
fell_silent() { ready_exit fw2 0 && grep -qE "in sync as of [0-9]+\.[0-9] s before fw1 fell silent, " "$TMP/ready.out"; }
check "the active falls silent: still ready, and it says so" poll 10 fell_silent
check "promote" ctsync fw2 promote
check "a primary is ready" ready_exit fw2 0
check "SIGTERM ends fw2 with 0" daemon_stop fw2
wait $events
check_that "the stream ends with the daemon" "$? == 1"
check "which is said" grep -q "the daemon stops" "$TMP/events.err"

judge() {
	python3 - "$TMP/events" <<'END'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
assert lines[0]["event"] == "hello" and lines[0]["ready"] is False, lines[0]
assert lines[-1]["event"] == "stop", lines[-1]
assert all(line["node"] == "fw2" and line["time"].endswith("Z") for line in lines)
numbers = [line["seq"] for line in lines]
assert numbers == list(range(numbers[0], numbers[0] + len(lines))), numbers
kinds = [line["event"] for line in lines]
for kind in "peer-up", "synced", "role", "commit":
    assert kind in kinds, (kind, kinds)
# In its last moment the one that dies may be heard while it hears no more.
assert "peer-down" in kinds or "peer-one-way" in kinds, kinds
turns = [lines[0]]
for line in lines:
    if line["event"] != "ready" or "does not hear us" in line["reason"]:
        continue
    if line["ready"] != turns[-1]["ready"]:
        turns.append(line)
assert [turn["ready"] for turn in turns] == [False, True] + 5 * [False, True], turns
for turn, why in zip(turns[2::2], ("not tracked", "no nat base", "not tracked", "cannot be seen", "are not in the kernel")):
    assert why in turn["reason"], turn
commit = lines[kinds.index("commit")]
assert commit["verb"] == "promote" and commit["existed"] == 1100 and commit["refused"] == 0, commit
END
}
check "the stream tells all of it, in order" judge
finish
