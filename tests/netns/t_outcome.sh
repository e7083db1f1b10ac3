#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Ten seconds after a promote the daemon tells what became of it, from a new reading of the kernel's table: how many flows
# it took over, through how many of them packets pass, what the kernel refuses, how many packets were INVALID. The promote
# here is met by clashes (EEXIST): an entry of fw2's own in which packets pass stays as it is, one that nobody uses gives
# way to the claim, and a flow whose reply direction is another's is refused and named. It is interrupted, taken back and
# repeated.
#
# MODE=hot and MODE=cache; without it both, one after the other.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
both_modes

insert() { # fw1 or fw2, words of conntrack -I
	local fw=$1
	shift
	in_ns "$(fw_ns "$fw")" conntrack -I -p tcp --state ESTABLISHED -u SEEN_REPLY,ASSURED "$@" >"$TMP/insert" 2>&1 ||
		die "conntrack -I $*: $(cat "$TMP/insert")"
}
held() { in_ns "$FW2" conntrack -L -p tcp "$@" 2>/dev/null; } # words of conntrack -L
told() { grep -q '"event":"outcome"' "$TMP/events"; }
member() { # NAME of the event
	python3 -c '
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1]) if "\"outcome\"" in line]
value = lines[-1]
for word in sys.argv[2].split("."):
    value = value.get(word, 0)
print(value)' "$TMP/events" "$1"
}
lines_told() { grep -c '"event":"outcome"' "$TMP/events"; }
# Too short for TCP: INVALID to whatever rules there are.
nonsense() {
	in_ns "$CL" python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
for i in range(25):
    s.sendto(b"nonsense", ("10.2.0.9", 0))'
}

net_make
timeouts_long
daemons_start
"$CTSYNC" -s "$(sock fw2)" events >"$TMP/events" &
PIDS[events]=$!
check_that "nothing is known before" "$([ "$(status fw2 outcome.taken)" = None ] && echo 1) == 1"
traffic_start
tr_open tcp4 20 tcp6 20 udp4 5 icmp4 5
tr_do chat on
check "20,000 flows that nobody uses" flood fw1 create -n 20000 -S
traffic_alive 5000 "before"
check "fw2 has them" poll 15 cache_equal fw1
# Without a word between them both come to have two flows; then packets pass through fw2's first (its timer is longer than
# any write's). And fw2 has one with the reply direction of a flow of fw1's.
sync_loss 100
for port in 1 2; do
	insert fw2 -s 10.1.0.9 -d 10.2.0.9 --sport 77 --dport $port -t 431990 -m 7
	insert fw1 -s 10.1.0.9 -d 10.2.0.9 --sport 77 --dport $port -t 431990 -m 8
done
in_ns "$FW2" conntrack -U -p tcp -s 10.1.0.9 -d 10.2.0.9 --sport 77 --dport 1 -t 500000 >"$TMP/insert" 2>&1 ||
	die "conntrack -U: $(cat "$TMP/insert")"
insert fw2 -s 10.1.0.10 -d 10.2.0.9 --sport 77 --dport 3 -t 600
insert fw1 -s 10.1.0.11 -d 10.2.0.9 -r 10.2.0.9 -q 10.1.0.10 --reply-port-src 3 --reply-port-dst 77 --sport 78 --dport 3 -t 600
sync_heal
clash_known() { ctsync fw2 flows remote | grep -q 'src=10.1.0.11'; }
check "they speak again" poll 10 clash_known
gives_way() { held -s 10.1.0.9 --dport 2 | grep -q mark=8 || [ "$MODE" = cache ]; }
check "what nobody uses gave way to the claim" poll 15 gives_way
check_that "what is used did not" "$(held -s 10.1.0.9 --dport 1 | grep -c mark=7) == 1"

rules_lock
check "fw2 has all that fw1 has" poll 10 ctsync fw2 verify
remote=$(remote_count fw2)
daemon_kill fw1
links_down fw1
vip_add fw2
timeout -s KILL 0.03 "$CTSYNC" -s "$(sock fw2)" promote >/dev/null 2>&1
note "a client that dies in the midst of it: exit status $?"
ctsync fw2 demote >/dev/null || fail "demote"
ctsync fw2 promote >"$TMP/promote1" 2>&1 &
first=$!
check "promote, twice at once" ctsync fw2 promote
check "both are answered" wait $first
start=$SECONDS
check_that "the outcome is pending" "$([ "$(status fw2 outcome.pending)" = true ] && echo 1) == 1"
check "promote again" ctsync fw2 promote
traffic_alive 5000 "after"
check_that "a live flow of our own was not rolled back" "$(held -s 10.1.0.9 --dport 1 | grep -c mark=7) == 1"
check_that "and the other is as the claim says" "$(held -s 10.1.0.9 --dport 2 | grep -c mark=8) == 1"
nonsense
for_time 4 # kernel timers are read in whole seconds: a packet of the first moments leaves no trace
traffic_alive 5000 "after, again"
check "the outcome is told" poll 20 told
note "$(tail -n 1 "$TMP/events")"
note "$(ctsync fw2 status | grep promote)"
check_that "not before 10 s" "$((SECONDS - start)) >= 9 && $(member ms) >= 10000"
check_that "taken over: all but what fw2 had and what was refused" "$(member taken) == $remote - 2"
check_that "alive: those with traffic, and those alone" "$(member alive) == 50"
check_that "none ended" "$(member ended) == 0"
check_that "refused: the clash, by its errno" "$(member refused) == 1 && $(member refused_by.EEXIST) == 1"
check_that "INVALID: the nonsense" "$(member invalid) >= 25 && $(member invalid) < 100"
for name in taken alive ended refused refused_by.EEXIST invalid; do
	check_that "status says so too: $name" "$(status fw2 outcome.$name) == $(member $name)"
done
check "the log does" grep -q 'promote: after .* 50 of them seen alive' "$TMP/fw2/log"
check "a promote of a primary" ctsync fw2 promote
for_time 12
check_that "has nothing to tell" "$(lines_told) == 1"
finish
