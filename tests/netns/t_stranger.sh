#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Does proto/PROTOCOL.md tell enough? A node that was written from it alone (stranger.py) lives with ctsyncd: handshake, streams
# both ways, tombstones, digests, a restart whose loss is found by VECTOR and LIST; without a seal and with one.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
MODE=hot

tell() { echo "$*" >&"$to_stranger"; }
says() { grep -qx "$1" "$TMP/stranger"; } # a regular expression
remote_is() { ctsync fw1 flows remote | sed -n 's/.*sport=\(10[0-9][0-9]\) dport=53 src=.*/\1/p' | sort | xargs | grep -qx "$*"; }
kernel_has() { in_ns "$FW1" conntrack -L -p udp --sport "$1" 2>/dev/null | grep -q ASSURED; }
entry() { in_ns "$FW1" conntrack "$1" -p tcp -s "10.9.0.$2" -d 10.9.1.1 --sport "500$2" --dport 80 "${@:3}" &>/dev/null; }

lives() { # how, key file
	local how=$1
	rm -f "$TMP/tell"
	mkfifo "$TMP/tell"
	: >"$TMP/stranger"
	ip netns exec "$FW2" python3 "$HERE/stranger.py" 192.168.100.2 192.168.100.1 ${2:+"$2"} <"$TMP/tell" >"$TMP/stranger" 2>&1 &
	PIDS[stranger]=$!
	exec {to_stranger}>"$TMP/tell"
	for n in 1 2 3 4 5; do tell new $n; done
	check "$how: its flows arrive" poll 10 remote_is 1001 1002 1003 1004 1005
	check "$how: in the kernel too" poll 5 kernel_has 1003
	check "$how: ctsyncd's arrive there, and its total is the one that they make" poll 10 says 'held 3 at [0-9]* equal 1'
	check "$how: ctsyncd proves it equal, once it is up" poll 5 ctsync fw1 verify
	tell end 2
	tell new 7
	check "$how: an end and a new one arrive" poll 5 remote_is 1001 1003 1004 1005 1007
	entry -D 1
	check "$how: an end of ctsyncd's arrives" poll 5 says 'held 2 at [0-9]* equal 1'
	tell compare
	check "$how: ctsyncd's VECTOR and LIST say what is held there" poll 5 says 'compared 1024 [1-9][0-9]*'
	tell restart 4
	check "$how: what it no longer announces after a restart is found and leaves" poll 10 remote_is 1001 1003 1005 1007
	check "$how: ctsyncd proves it equal again, once it is up" poll 5 ctsync fw1 verify
	check_that "$how: by a LIST" "$(counter fw1 lists_applied) > 0"
	check "$how: it stays to the end" kill -0 "${PIDS[stranger]}"
	exec {to_stranger}>&-
	check "$how: it ends" wait "${PIDS[stranger]}"
	unset "PIDS[stranger]"
	check "$how: its BYE is heard" poll 5 grep -q 'peer stranger: stopped' "$TMP/fw1/log"
}

net_make
for seal in none sealed; do
	[ $seal = sealed ] || SEAL='seal = "none";'
	daemon_start fw1
	for i in 1 2 3; do entry -I $i --state ESTABLISHED -t 300 -u ASSURED,SEEN_REPLY; done
	lives "$seal" "$([ $seal = none ] || echo "$TMP/key")"
	daemon_stop fw1
	rm "$TMP/fw1/log" "$(sock fw1)".state
	in_ns "$FW1" conntrack -F &>/dev/null
	unset SEAL
done
finish
