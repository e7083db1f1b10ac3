#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The policy on the real kernel: what it leaves out never reaches the daemon (the engine's counters of events stand still),
# a reload withdraws what is newly left out and sends what is newly let in, and nothing else; what the kernel cannot
# filter (marks) the daemon does.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
MODE=hot

reload() { # the new policy, on both nodes
	local fw
	for fw in fw1 fw2; do
		EXTRA=$1 config_write "$fw"
		kill -HUP "${PIDS[$fw]}"
	done
	for fw in fw1 fw2; do
		poll 5 in_force "$fw" "$1" || return 1
	done
}
squeezed() { tr -d ' \n\t'; }
# In the form in which the daemon prints it.
in_force() { # firewall, policy
	local printed
	printed=$(ctsync "$1" config | squeezed)
	if [ -n "$2" ]; then
		[[ $printed == *"$(squeezed <<<"$2" | sed 's/,\]/]/g')"* ]]
	else
		[[ $printed != *policy=* ]]
	fi
}
# Those that the probe of readiness causes on loopback, every few seconds, aside. In one reading.
events() {
	ctsync fw1 --json stats | python3 -c 'import json, sys; e = json.load(sys.stdin)
print(e["events_new"] + e["events_update"] + e["events_destroy"] - e["events_ignored"])'
}
udp_in() { in_ns "$(fw_ns "$1")" conntrack -L -p udp 2>/dev/null | grep -c '^udp' || :; }
remote_is() { [ "$(remote_count fw2)" = "$1" ]; }
copies_gone() { [ "$(udp_in fw2)" = 0 ]; }
remote_has() { ctsync fw2 flows remote | grep -q "$1"; }
not_remote() { ! remote_has "$1"; }

net_make
daemons_start
check "2,000 flows of TCP" flood fw1 create -n 2000
check "2,000 flows of UDP" flood fw1 create -U -n 2000 -b 500000
check "both nodes hold the same" poll 10 equal fw1

no_udp='policy = ( { class = "never"; protocol = "udp"; } );'
# What the peer asked for again counts apart.
sent_once() { echo $(($(counter fw1 records_sent) - $(counter fw1 records_repaired))); }
sent=$(sent_once)
check "reload: no UDP" reload "$no_udp"
check "it leaves fw2's memory" poll 10 remote_is 2000
check "and fw2's kernel" poll 10 copies_gone
check_that "fw1 keeps it" "$(udp_in fw1) == 2000"
check_that "nothing else was sent" "$(sent_once) - $sent == 2000"

before=$(events)
check "3,000 more flows of UDP" flood fw1 create -U -n 3000 -b 600000
check "some change" flood fw1 update -U -n 500 -b 600000 -m 5
check "some end" flood fw1 delete -U -n 1000 -b 600000
check "and one flow of TCP" flood fw1 create -n 1 -b 700000
check "that one is sent" poll 5 remote_is 2001
check_that "no event of UDP came to the daemon" "$(events) - $before == 1"

sent=$(sent_once)
check "reload: nothing new" reload "$no_udp"
for_time 1
check_that "nothing is sent" "$(sent_once) == $sent"

check "reload: without a policy" reload ''
check "both nodes hold the same" poll 15 equal fw1
check_that "4,000 flows of UDP came" "$(sent_once) - $sent == 4000"
check_that "on fw2 too" "$(udp_in fw2) == 4000"

check "reload: not what is marked 99, DNS only once assured" reload \
	'policy = ( { class = "assured"; protocol = "udp"; port = "53"; }, { class = "never"; mark = "0x63/0xff"; } );'
check "100 flows get the mark" flood fw1 update -n 100 -m 99
check "they are withdrawn" poll 5 remote_is 5901
check "another mark" flood fw1 update -n 100 -m 98
check "they come back" poll 5 remote_is 6001

before=$(events)
dns=(-p udp -s 192.0.2.77 -d 198.51.100.1 --sport 7777 --dport 53)
check "a question" in_ns "$FW1" conntrack -I "${dns[@]}" -t 100
check "it is assured" in_ns "$FW1" conntrack -U "${dns[@]}" -u SEEN_REPLY,ASSURED
check "it is sent" poll 5 remote_has 192.0.2.77
check "it ends" in_ns "$FW1" conntrack -D "${dns[@]}"
check "fw2 hears of it" poll 5 not_remote 192.0.2.77
check_that "the daemon saw that it was assured and that it ended" "$(events) - $before == 2"

before=$(counter fw1 events_new)
traffic_start
tr_open tcp4 50 tcp6 50
check "100 connections: both nodes hold the same" poll 10 kernels_equal
check_that "none told of its SYN" "$(counter fw1 events_new) - $before < 20"
traffic_stop

check "prefixes: 300 of IPv4, more than the kernel's filter holds for IPv6" reload \
	"policy = ( { class = \"never\"; source = [ $(for i in $(seq 300); do printf '"10.%d.%d.0/24", "2001:db8:%x::1/128", ' $((i % 60)) $((i % 250)) "$i"; done)\"10.64.0.0/10\" ]; } );"
check "fw2 loses what it leaves out" poll 10 not_remote ' src=10\.64\.'

# A dry run against the table that is there.
EXTRA='policy = ( { class = "never"; protocol = "udp"; }, { class = "assured"; protocol = "tcp"; } );' config_write fw2
dry() { ctsync fw1 --json policy test "$TMP/fw2/ctsyncd.conf" --seconds 2 >"$TMP/dry.json"; }
row() { python3 -c 'import json,sys; r=json.load(open(sys.argv[1])); print(int(eval("r" + sys.argv[2])))' "$TMP/dry.json" "$1"; }
in_ns "$FW1" python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9))'
check "a flow over loopback is there" eval 'in_ns "$FW1" conntrack -L -p udp -s 127.0.0.1 2>/dev/null | grep -q dport=9'
loop_in() { in_ns "$FW1" conntrack -L -p udp -s 127.0.0.1 2>/dev/null | grep -c '^udp'; }
sent=$(sent_once)
(for_time 1 && flood fw1 create -n 400 -b 800000 && flood fw1 create -U -n 300 -b 810000) &
check "a dry run of fw2's policy on fw1" dry
wait $!
check_that "it counts the flows of UDP but those of loopback, and announces none" \
	"$(row '["rules"][0]["flows"]') == $(udp_in fw1) - $(loop_in) && $(row '["rules"][0]["announced"]') == 0"
check_that "and those of TCP, which are assured" \
	"$(row '["rules"][1]["announced"]') == $(row '["rules"][1]["flows"]')"
check_that "400 records in 2 s" "$(row '["all"]["records_per_s"]') == 200"
bytes=$(row '["all"]["bytes_per_s"]')
check_that "of 20 to 40 bytes" "20 * 200 < $bytes && $bytes < 40 * 200"
check "as text too" ctsync fw1 policy test "$TMP/fw2/ctsyncd.conf" --seconds 1
check "a file that is not there is told" not ctsync fw1 policy test "$TMP/none.conf"
told() { "$CTSYNC" -s "$TMP/none.sock" policy test "$TMP/fw2/ctsyncd.conf" 2>&1 | grep -q 'no daemon at .*systemctl status'; }
check "a daemon that is not there too" told

# Each thing that a rule may look at: of two flows that differ in it alone one is sent. Marks tell which should be.
check "reload: by zone, state, prefixes of either family and side, protocol, mark" reload \
	'policy = ( { class = "never"; zone = 5; }, { class = "never"; tcp_states = [ "CLOSE_WAIT" ]; },
	{ class = "never"; destination = [ "2001:db8:1::/48" ]; }, { class = "always"; source = [ "198.51.100.200/32" ]; },
	{ class = "never"; address = [ "198.51.100.128/25" ]; }, { class = "never"; protocol = "icmp"; },
	{ class = "never"; mark = "0x10/0xf0"; } );'
of_mark() { ctsync fw2 flows remote | grep -c "mark=$1\( \|$\)"; }
is_sent() { [ "$(of_mark 4097)" = 7 ]; }
put() { # mark, words of conntrack -I
	local mark=$1
	shift
	check "conntrack -I $*" in_ns "$FW1" conntrack -I -t 600 -u SEEN_REPLY,ASSURED -m "$mark" "$@"
}
tcp=(-p tcp --sport 9 --dport 9 --state)
udp=(-p udp --sport 9 --dport 9)
before=$(events)
put 4098 "${udp[@]}" -s 192.0.2.1 -d 192.0.2.2 -w 5
put 4098 "${udp[@]}" -s 2001:db8:3::9 -d 2001:db8:1::9
put 4098 "${udp[@]}" -s 198.51.100.129 -d 192.0.2.2
put 4098 "${udp[@]}" -s 192.0.2.2 -d 198.51.100.130
put 4098 -p icmp -s 192.0.2.1 -d 192.0.2.2 --icmp-type 8 --icmp-code 0 --icmp-id 1
check_that "no event of these came to the daemon" "$(events) - $before == 0"
put 4098 "${tcp[@]}" CLOSE_WAIT -s 192.0.2.1 -d 192.0.2.2
put 4112 "${udp[@]}" -s 192.0.2.9 -d 192.0.2.2
put 4097 "${udp[@]}" -s 192.0.2.1 -d 192.0.2.2 -w 6
put 4097 "${udp[@]}" -s 2001:db8:1::9 -d 2001:db8:2::9
put 4097 "${udp[@]}" -s 198.51.100.200 -d 198.51.100.129
put 4097 "${udp[@]}" -s 198.51.100.127 -d 192.0.2.2
put 4097 -p udplite --sport 9 --dport 9 -s 192.0.2.1 -d 192.0.2.2
put 4097 "${tcp[@]}" ESTABLISHED -s 192.0.2.3 -d 192.0.2.2
put 4097 "${udp[@]}" -s 192.0.2.10 -d 192.0.2.2
check "those outside of it are sent" poll 5 is_sent
check_that "no other is" "$(of_mark 4098) + $(of_mark 4112) == 0"
check "one comes into a state that is left out" in_ns "$FW1" conntrack -U "${tcp[@]}" CLOSE_WAIT -s 192.0.2.3 -d 192.0.2.2
check "it is withdrawn" poll 5 not_remote 'src=192.0.2.3 .*mark=4097'

EXTRA='policy = ( { class = "sometimes"; } );' config_write fw1
kill -HUP "${PIDS[fw1]}"
told() { grep -q 'ctsyncd.conf:[0-9]*: policy\[0\].class: "sometimes" is not known; allowed: "always", "never" or "assured"' "$TMP/fw1/log"; }
check "a wrong class is told with its line and what is allowed" poll 5 told
finish
