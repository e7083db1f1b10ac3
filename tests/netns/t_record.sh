#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The flight recorder of two real daemons: what `ctsync record` writes plays to the same trace, after the ring has gone
# round as well; memory that is changed from outside is found by it and the flow named; a divergence leaves a recording
# behind, and so does a daemon that is killed.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
MODE=hot
REPLAY=$BUILD/tests/sim/replay

EXTRA='record = { size_mb = 24; };'

replay() { "$REPLAY" "$@" >"$TMP/replay.out" 2>&1; }
said() { grep -q -- "$1" "$TMP/replay.out"; }
record() { ctsync "$1" record "$2" >"$TMP/record.out" 2>&1; }
mode_of() { stat -c %a "$1"; }
there() { [ -s "$1" ]; }
counter_is() { [ "$(counter "$1" "$2")" = "$3" ]; }
logged() { grep -q -- "$2" "$TMP/$1/log"; }

net_make
# As in /run: the ring lies in memory, not on a disk.
rm -rf "$TMP"
TMP=$(mktemp -d "/dev/shm/$P.XXXXXX") || exit 2
chmod 755 "$TMP"
daemons_start
check "2,000 flows" flood fw1 create -n 2000
check "both nodes hold the same" poll 10 quick_equal fw1
check "fw1: a recording" record fw1 "$TMP/fw1.rec"
check_that "for its owner alone" "$(mode_of "$TMP/fw1.rec") == 600"
check "it plays to the same trace" replay "$TMP/fw1.rec"
check "and says so" said 'steps: as recorded$'
check "fw2: a recording" record fw2 "$TMP/fw2.rec"
check "it plays to the same trace" replay "$TMP/fw2.rec"
check "step by step" replay -v "$TMP/fw2.rec"
check "with the datagrams" said 'datagram DATA of'
check "and what became of them" said 'operation 0 on proto 6'
check "a file is not overwritten" not record fw2 "$TMP/fw2.rec"
check "and the daemon is not asked for that" grep -q 'not overwritten' "$TMP/record.out"

# Whoever is impatient leaves nothing behind.
beside() { compgen -G "$TMP/left.rec*" >/dev/null; }
begins() { find "/proc/$record/fd" -lname '*recording*' | grep -q .; }
kill -STOP "${PIDS[fw1]}"
"$CTSYNC" -s "$(sock fw1)" record "$TMP/left.rec" >/dev/null 2>&1 &
record=$!
check "a recording begins, and the daemon does not answer" poll 5 begins
kill -TERM $record
wait $record 2>/dev/null
check_that "it is ended by the signal" "$? == 128 + 15"
check "no part of it stays" not beside
kill -CONT "${PIDS[fw1]}"

# Round the ring: several times what it holds, however well the records are coalesced.
check "60,000 more" flood fw1 create -n 60000 -b 1000000
for round in 1 2; do
	check "they end, round $round" flood fw1 delete -n 60000 -b 1000000
	check "and are made anew" flood fw1 create -n 60000 -b 1000000
done
check "half of them end" flood fw1 delete -n 30000 -b 1000000
check "both nodes hold the same" poll 15 quick_equal fw1
for fw in fw1 fw2; do
	check "$fw: a recording" record $fw "$TMP/$fw.round"
	check "it plays to the same trace" replay "$TMP/$fw.round"
	check "of segments that are not the first" said 'segments \([2-9]\|[1-9][0-9]\+\) to'
	check "$fw still records" counter_is $fw stopped False
done

# What is no recording, or not a whole one, is told from one.
head -c 100000 "$TMP/fw1.rec" >"$TMP/cut.rec"
check "a cut one is refused" not replay "$TMP/cut.rec"
check "as such" said 'cut short'
cp "$TMP/fw1.rec" "$TMP/damaged.rec"
printf 'X' | dd of="$TMP/damaged.rec" bs=1 seek=300000 conv=notrunc status=none
check "a damaged one is refused" not replay "$TMP/damaged.rec"
check "as such" said 'damaged: its sum'
check "another file is refused" not replay "$HERE/lib.sh"
check "as such" said 'not a recording'

# Memory of fw2's mirror is changed: no input did that. A record with another port is found by no key.
flip() { "$HERE/flip.py" "${PIDS[$1]}" 10.64.0.1 "$2" 10.128.0.1 443 "$3"; }
check "memory of fw2 turns a bit of a flow's mark of states" flip fw2 1030 19
check "a recording" record fw2 "$TMP/flip.rec"
check "does not play to what the daemon has" not replay "$TMP/flip.rec"
check "the table is named" said 'mirror of fw1, bucket [0-9]*: proto 6 10.64.0.1:1030 > 10.128.0.1:443'
check "and the verdict" said 'its memory was changed from outside'

check "memory of fw2 turns a bit of a flow's port" flip fw2 1040 11
check "the flow ends on fw1" flood fw1 delete -n 1 -b 16
saved=$(sock fw2).divergence.1
check "fw2 finds the divergence, and keeps what led there" poll 10 there "$saved"
check "the log says where" poll 5 logged fw2 "what led to the divergence is in $saved"
check_that "for the daemon alone" "$(mode_of "$saved") == 600"
check "played, the engine comes to something else" not replay "$saved"
check "at a step that is told" said 'TRACE differs from the recorded one from step'
# The entry of a flow whose key is lost is deleted by nobody; it ages. Here the test does it.
in_ns "$FW2" conntrack -D -p tcp --sport 1040 --dport 443 >/dev/null 2>&1
check "fw1, which is right, has one that plays" record fw1 "$TMP/right.rec"
check "as recorded" replay "$TMP/right.rec"

# A run that is killed leaves its ring to the next one.
crash=$(sock fw2).crash
kill -ABRT "${PIDS[fw2]}"
wait "${PIDS[fw2]}" 2>/dev/null
unset "PIDS[fw2]"
check "fw2 starts again" daemon_start fw2
check "what the run before did is kept" logged fw2 "did not end by its own will; what it did is in $crash"
check "it can be played" not replay "$crash"
check "to where its memory was changed" said 'TRACE differs'
check "both nodes hold the same" poll 15 quick_equal fw1
daemon_kill fw2
rm -f "$crash"
check "killed again, it starts again" daemon_start fw2
check "what the run before did is kept" there "$crash"
check "and plays to its end" replay "$crash"
check "fw2 ends by its own will" daemon_stop fw2
check "and leaves no ring" not there "$(sock fw2).record.0"
rm -f "$crash"

# fw1 dies in the midst of a call, as an assertion would have it. Replayed, the engine dies at the very step.
BUG=(env ASAN_OPTIONS=verify_asan_link_order=0 "LD_PRELOAD=$BUILD/tests/netns/poison.so" POISON=event POISON_MARK=2badbad1)
crash=$(sock fw1).crash
aborted() { wait "${PIDS[$1]}"; [ $? = 134 ]; }
replay_bug() { "${BUG[@]}" "$REPLAY" -v "$crash" >"$TMP/replay.out" 2>&1; }
check "fw1 ends by its own will" daemon_stop fw1
LAUNCH=("${BUG[@]}")
check "fw1 with a bug in its engine" daemon_start fw1
flood fw1 create -n 1 -b 90000 -m $((0x2badbad1)) >/dev/null
check "dies of a flow" aborted fw1
LAUNCH=()
check "and starts again" daemon_start fw1
check "what the run before did is kept" logged fw1 "did not end by its own will; what it did is in $crash"
check "the engine dies of it in a replay too" not replay_bug
check "and the replay says where" said 'ABORTS: signal 6 at step [0-9]'
aborts_at=$(sed -n 's/^ABORTS.* at step \([0-9]*\),.*/\1/p' "$TMP/replay.out")
check "in the event of that flow" eval "grep -v ^ABORTS '$TMP/replay.out' | tail -n 1 | grep -q 'kernel NEW proto 6 10.64.0.4:1024 > 10.128.0.1:443'"
check "without the bug it plays to its end" replay "$crash"
steps=$(sed -n 's/^trace.* \([0-9]*\) steps: as recorded$/\1/p' "$TMP/replay.out")
check_that "which is that step" "${aborts_at:-0} == ${steps:--1}"
rm -f "$crash"

# A ring that is too small for the state says so and goes on replicating.
EXTRA='record = { size_mb = 6; };'
check "fw2 with a ring too small" daemon_start fw2
check "both nodes hold the same" poll 15 quick_equal fw1
check "32,000 flows more" flood fw1 create -n 32000 -b 2000000
check "and what was recorded ends" poll 15 counter_is fw2 stopped True
check "the log says what would do" logged fw2 'too much for record.size_mb'
check "both nodes hold the same" poll 15 quick_equal fw1
daemon_stop fw2
EXTRA=
check "without a recorder" daemon_start fw2
check "there is nothing to record" not record fw2 "$TMP/off.rec"
check "and it says so" grep -q 'the flight recorder is off' "$TMP/record.out"
check_that "no file is left" "$(find "$TMP/fw2" -name '*.record.*' | wc -l) == 0"
finish
