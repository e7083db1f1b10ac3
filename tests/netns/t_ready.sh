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

daemon_kill fw1
fell_silent() { ready_exit fw2 0 && grep -q "fw1 fell silent" "$TMP/ready.out"; }
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
assert [turn["ready"] for turn in turns] == [False, True, False, True], turns
assert "not tracked" in turns[2]["reason"], turns[2]
commit = lines[kinds.index("commit")]
assert commit["verb"] == "promote" and commit["existed"] == 1000 and commit["refused"] == 0, commit
END
}
check "the stream tells all of it, in order" judge
finish
