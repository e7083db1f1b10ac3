#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The file system of the control socket (/run, as a rule) is full. The role is kept all the same, a daemon that dies there
# comes back with it, and with its flows; one that starts there for the first time works, says what it could not write, and
# writes it when there is room. A recording that finds no room says so and leaves nothing behind.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
MODE=hot

cleanup_more() { umount -l "$TMP/fw1" "$TMP/small" 2>/dev/null; }
# The configuration lies elsewhere: it is not what is full.
config_there() { mkdir "$TMP/conf" && config_write fw1 && mv "$TMP/fw1/ctsyncd.conf" "$TMP/conf/fw1"; }
start() {
	DAEMON[fw1]=$TMP/conf/log
	ip netns exec "$FW1" "$CTSYNCD" -c "$TMP/conf/fw1" >>"$TMP/conf/log" 2>&1 &
	PIDS[fw1]=$!
	poll 5 ctsync fw1 status >/dev/null
}
fill() { dd if=/dev/zero of="$TMP/fw1/fill" bs=4k 2>/dev/null; [ $(($(df --output=avail "$TMP/fw1" | tail -n 1))) = 0 ]; }
said() { "$@" >"$TMP/said" 2>&1; }
kept() { sed -n 's/^role //p' "$(sock fw1).state"; }
saved() { [ "$(status fw1 role_saved)" = true ] && [ "$(kept)" = "$1" ]; }
role_is() { [ "$(status fw1 role)" = "$1" ]; }

net_make
# shellcheck disable=SC2034 # lib.sh's
EXTRA='user = "root"; record = { size_mb = 6; };'
config_there
mount -t tmpfs -o size=8m,mode=755 none "$TMP/fw1" || die "no tmpfs"
daemon_start fw2
check "it starts" start
check "promote" ctsync fw1 promote
check "the peers are up" poll 10 peers_up
check "flows" flood fw1 create -n 1000
check "equal" poll 10 quick_equal fw1

check "full" fill
check "demote: done" ctsync fw1 demote
check "and kept, though there is no room" saved backup
check "promote: done" ctsync fw1 promote
check "and kept" saved primary
daemon_kill fw1
check "killed, it starts where there is no room" start
check "as primary" role_is primary
check "equal" poll 10 quick_equal fw1

# The first start after a boot: nothing is there to be written over.
daemon_stop fw1
rm -f "$TMP"/fw1/*
check "full from the start" fill
check "it starts there, too" start
check "and says that the role is not kept" test "$(status fw1 role_saved)" = false
check "promote: the role is taken" said ctsync fw1 promote
check "which says so as well" grep -q "could not be saved" "$TMP/said"
check "equal" poll 10 quick_equal fw1
rm "$TMP/fw1/fill"
check "there is room: the role is kept without a verb" poll 5 saved primary
check "and the log says so" poll 2 grep -q "the role is saved now" "${DAEMON[fw1]}"

mkdir "$TMP/small"
mount -t tmpfs -o size=64k none "$TMP/small" || die "no tmpfs"
daemon_stop fw1
check "with room for a recorder" start
check "equal" poll 10 quick_equal fw1
check "a recording that finds no room fails" not said ctsync fw1 record "$TMP/small/r"
check "and says why" grep -q "No space left" "$TMP/said"
check "and leaves nothing" test -z "$(ls "$TMP/small")"
finish
