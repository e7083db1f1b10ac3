#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A sealed pair among enemies. On the link: datagrams with a bit of the tag, the key id, the sender or the epoch changed;
# what was said in this epoch, said again; a node's own words thrown back; a whole session of an earlier epoch, both sides
# of it; greetings without end; a peer with another key. Each is counted by its reason, as often as it was sent; nothing
# else moves, and what is sent in answer is less than what came. Then the key is exchanged under load, in three reloads a
# node, and back: not a datagram is refused, no peer goes down, no flow is lost.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
MODE=hot
A=192.168.100.1 B=192.168.100.2

attack() { # fw1 or fw2: whose place the attacker takes; arguments
	local ns
	ns=$(fw_ns "$1")
	shift
	in_ns "$ns" "$HERE/attack.py" "$@"
}

# NAME[+NAME...]: of fw2's drops; or a greeting of an epoch that nobody agreed on, which is answered with a challenge.
drops() {
	ctsync fw2 --json stats | python3 -c '
import json, sys
stats = json.load(sys.stdin)
print(sum(stats["drops"][n] if n in stats["drops"] else stats[n] for n in sys.argv[1].split("+")))' "$1"
}
link_out() { in_ns "$FW2" cat /sys/class/net/sync0/statistics/tx_bytes; }
dropped() { [ "$(drops "$1")" -ge "$2" ]; }

# under DROP TEXT ATTACK...: datagrams come from fw1's address, and are dropped for one of the reasons DROP, a counter.
under() {
	local reason=$1 text=$2 before sent bytes out
	shift 2
	before=$(drops "$reason")
	out=$(link_out)
	read -r _ sent bytes < <(attack fw1 "$@")
	check "$text: $sent datagrams, all counted as $reason" poll 5 dropped "$reason" $((before + sent))
	out=$(($(link_out) - out))
	check_that "$text: sent meanwhile $out of $bytes bytes" "$sent > 0 && $out < $bytes"
	unmoved "$text"
}

# Nothing has moved since mark_state.
state() { echo "$(status fw2 peers.0.state) $(counter fw2 epochs_adopted) $(counter fw2 divergences) $(counter fw2 tables_taken)"; }
unmoved() {
	check "$1: nothing moved" test "$(state)" = "$BEFORE"
	check "$1: the tables are equal" ctsync fw2 verify
}

keys() { # FW KEYS...: its key files, and a reload that takes them
	local fw=$1 k list='' from
	shift
	for k in "$@"; do list="$list${list:+, }\"$TMP/$k\""; done
	SEAL="key_files = [ $list ];" config_write "$fw"
	from=$(wc -l <"$TMP/$fw/log")
	kill -HUP "${PIDS[$fw]}"
	check "$fw: keys $*" poll 10 reloaded "$fw" "$from"
}
reloaded() { tail -n +$(($2 + 1)) "$TMP/$1/log" | grep -q ': reloaded$'; }

exchange() { # OLD NEW
	local fw
	for fw in fw2 fw1; do keys $fw "$1" "$2"; done
	for fw in fw1 fw2; do keys $fw "$2" "$1"; done
	for fw in fw2 fw1; do keys $fw "$2"; done
}

net_make
for k in key1 key2 other; do "$CTSYNC" keygen "$TMP/$k" >/dev/null || die "keygen"; done
check "keygen overwrites nothing" not "$CTSYNC" keygen "$TMP/key1"
SEAL="key_files = [ \"$TMP/key1\" ];"
daemons_start
check "the link is sealed" test "$(status fw1 seal)" = sealed
check "20,000 flows" flood fw1 create -n 20000
check "both nodes hold the same" poll 15 quick_equal fw1

# A session that begins and ends; then another. fw1 was there from its greeting on.
attack fw1 record sync0 "$TMP/session" 8 &
PIDS["record"]=$!
daemon_kill fw1
daemon_start fw1
check "fw2 agrees on the new epoch" poll 10 peers_up
check "changes" flood fw1 update -n 3000 -m 7
check "both nodes hold the same" poll 15 quick_equal fw1
wait "${PIDS[record]}"
unset "PIDS[record]"
check_that "a session was recorded" "$(grep -c ^out "$TMP/session") > 20 && $(grep -c ^in "$TMP/session") > 20"
head -n 400 "$TMP/session" >"$TMP/early"

BEFORE=$(state)
under replay "said again" replay "$TMP/session" out 3 $A $B
under auth "a bit of the tag" forge "$TMP/session" tag 2 $A $B
under key "another key id" forge "$TMP/session" key 2 $A $B
under auth "another sender" forge "$TMP/session" sender 2 $A $B
under auth "another epoch" forge "$TMP/session" epoch 2 $A $B
under self "its own words" replay "$TMP/session" in 3 $A $B

# fw1 itself, with another key: to fw2 it is a stranger, and fw2 to it. What fw2 holds stays.
before=$(drops key)
daemon_kill fw1
SEAL="key_files = [ \"$TMP/other\" ];" daemon_start fw1
check "another key: greetings are refused" poll 15 dropped key $((before + 3))
check "another key: fw2 does not hear fw1" poll 10 test "$(status fw2 peers.0.state)" = down
check_that "another key: nor fw1 it" "$(ctsync fw1 --json status | grep -c '"node": "fw2"') == 0"
check_that "another key: fw2 keeps what it holds" "$(remote_count fw2) == 20000"

# fw1 begins anew, with the right one: all that was recorded is of an epoch that is over, its greetings too.
daemon_kill fw1
daemon_start fw1
check "fw2 agrees on the third epoch" poll 10 peers_up
check "both nodes hold the same" poll 15 quick_equal fw1
BEFORE=$(state)
under epoch+challenge+hellos_unknown "a session of an earlier epoch" replay "$TMP/session" out 2 $A $B
under self "and the other side of it" replay "$TMP/session" in 2 $A $B
out=$(link_out)
read -r _ sent bytes < <(attack fw1 replay "$TMP/early" out 60 $A $B 190)
check_that "greetings without end: $sent, answered by $(($(link_out) - out)) of $bytes bytes" "$(link_out) - out < bytes && sent > 100"
unmoved "greetings without end"
check_that "fw1 took part in nothing" "$(counter fw1 divergences) == 0"

# The key is exchanged under load.
ctsync fw2 events >"$TMP/events" 2>/dev/null &
PIDS["events"]=$!
key=$(drops key) auth=$(drops auth)
flood fw1 create -b 100000 -n 60000 -r 6000 >"$TMP/load" 2>&1 &
PIDS["load"]=$!
exchange key1 key2
exchange key2 key1
check "the load was on all the time" daemon_lives load
wait "${PIDS[load]}"
unset "PIDS[load]"
check "80,000 flows on both nodes" poll 15 quick_equal fw1
check "and equal by every digest" ctsync fw2 verify
check_that "no datagram was refused: key" "$(drops key) == $key"
check_that "no datagram was refused: auth" "$(drops auth) == $auth"
check_that "no peer went down" "$(grep -c '"event":"peer-\(down\|one-way\)"' "$TMP/events") == 0"
check_that "nothing diverged" "$(counter fw2 divergences) == 0"
finish
