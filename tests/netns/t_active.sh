#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Active-active: both firewalls carry every flow. What clients send passes through fw1, what servers send through fw2, under
# the same strict rules and the kernel's defaults, so that each kernel sees one direction only. Flows are opened that way,
# survive the death of either node, and end on both when they end. The nodes come to rest: records are counted. An entry
# that expires on one node, for want of packets in its direction, does not end the flow on the other.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

MODE=hot NAT=none
EXTRA='active_active = true;'

# Half an address pair: lan (clients' gateway) or wan (servers').
half_add() { # firewall, lan or wan
	local ns n=1
	ns=$(fw_ns "$1")
	[ "$2" = lan ] || n=2
	printf '%s\n' "addr replace 10.$n.0.254/16 dev ${2}0" "addr replace fd0$n::fe/64 dev ${2}0 nodad" | ip -n "$ns" -batch - ||
		die "addresses on $1"
	ip -n "$CL" neigh flush dev br0
	ip -n "$SV" neigh flush dev br0
}

# Each has addresses of its own on both sides, to reach what does not come to it.
own_addresses() {
	local n=${1#fw}
	printf '%s\n' "addr replace 10.1.0.25$n/16 dev lan0" "addr replace fd01::f$n/64 dev lan0 nodad" \
		"addr replace 10.2.0.25$n/16 dev wan0" "addr replace fd02::f$n/64 dev wan0 nodad" |
		ip -n "$(fw_ns "$1")" -batch - || die "own addresses of $1"
}

split() {
	vip_del fw1
	vip_del fw2
	own_addresses fw1
	own_addresses fw2
	half_add fw1 lan
	half_add fw2 wan
}

# Clients and servers are 5 ms away: what comes back sooner than the nodes have told each other is dropped once, and sent
# again a second later (ctsyncd(8)).
far() { # namespace, the firewalls' interface
	local fw
	for fw in fw1 fw2; do
		ip -n "$1" link add "near-$fw" type veth peer name "far-$fw"
		ip -n "$1" link set "$fw" nomaster
		ip -n "$1" link set "near-$fw" up
		ip -n "$1" link set "far-$fw" master br0 up
		in_ns "$1" "$HERE/delay.py" off "far-$fw"
		in_ns "$(fw_ns "$fw")" "$HERE/delay.py" off "$2"
	done
	ip netns exec "$1" "$HERE/delay.py" 5 fw1 near-fw1 fw2 near-fw2 >"$TMP/delay.$2" &
	PIDS[$2]=$!
	poll 10 grep -q ready "$TMP/delay.$2" >/dev/null || die "delay.py does not come up"
}

records_sent() { echo $(($(counter fw1 records_sent) + $(counter fw2 records_sent))); }
at_rest() { # no record for a second
	local before
	before=$(records_sent)
	for_time 1
	[ "$(records_sent)" = "$before" ]
}
none_established() {
	local fw
	for fw in fw1 fw2; do
		! in_ns "$(fw_ns "$fw")" conntrack -L -p tcp --state ESTABLISHED 2>/dev/null | grep . || return 1
	done
}
udp_entry() { in_ns "$(fw_ns "$1")" conntrack -L -p udp --dport 7000 2>/dev/null | grep -c dport=7000 | grep -qx 1; }
udp_gone_once() { [ "$(counter fw2 events_destroy)" -gt "$destroyed" ]; }

# A client that sends every 200 ms, a server that answers when it is told to.
one_way_start() {
	mkfifo "$TMP/say"
	ip netns exec "$SV" python3 -c '
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.2.0.1", 7000))
peer = s.recvfrom(100)[1]
for line in open(sys.argv[1]):
    s.sendto(line.encode(), peer)' "$TMP/say" &
	PIDS[server]=$!
	ip netns exec "$CL" python3 -c '
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.1.0.1", 7001))
s.connect(("10.2.0.1", 7000))
s.settimeout(0.2)
while True:
    s.send(b"x")
    try:
        print(s.recv(100).decode().strip(), file=open(sys.argv[1], "a"))
    except (socket.timeout, ConnectionError):
        pass' "$TMP/heard" &
	PIDS[client]=$!
	exec {SAY}>"$TMP/say"
}
heard() { grep -qx "$1" "$TMP/heard"; }

net_make
defaults_check 2
far "$CL" lan0
far "$SV" wan0
split
daemon_start fw1
daemon_start fw2
check "the peers are up" poll 10 peers_up
traffic_start
tr_open tcp4 100 tcp6 100 udp4 20 udp6 20 icmp4 10
tr_do chat on
traffic_alive 5000 "through both"
check_that "handshakes were joined" "$(counter fw1 joins) >= 200"
tr_do chat off
check "the nodes come to rest" poll 15 at_rest
# SYN_SENT, SYN_RECV and ESTABLISHED of each node for a connection, two or three for the rest: no echo of an echo.
records=$(records_sent)
note "records sent for 250 flows: $records"
check_that "no more than the states of each node" "$records <= 250 * 6"
tr_do chat on
rules_lock

note "INVALID: fw1 $(invalid_count fw1), fw2 $(invalid_count fw2)"
tr_do hold
tr_do gap
daemon_kill fw1
links_down fw1
half_add fw2 lan
check "fw2 takes the role" ctsync fw2 promote
traffic_alive 5000 "fw1 dies"
gap_note "fw1 dies"

links_up fw1
daemon_start fw1
check "the peers are up again" poll 15 peers_up
check "fw1 has the flows" poll 20 kernels_equal
split
traffic_alive 5000 "through both again"
audited() { ctsync "$1" verify --kernel >"$TMP/audit" 2>&1 || ! cat "$TMP/audit"; }
check "packets of each flow pass through both: an audit of fw1 finds nothing" audited fw1
check "nor does one of fw2" audited fw2
tr_do hold
tr_do gap
daemon_kill fw2
links_down fw2
half_add fw1 wan
check "fw1 takes the role" ctsync fw1 promote
traffic_alive 5000 "fw2 dies"
gap_note "fw2 dies"

links_up fw2
daemon_start fw2
check "the peers are up once more" poll 15 peers_up
check "fw2 has the flows" poll 20 kernels_equal
split
traffic_alive 5000 "through both once more"
tr_do bytes
note "payload verified: ${TR[0]}"
tr_do close tcp4
tr_do close tcp6
check "what ended is over on both" poll 15 none_established

# On fw2, which sees the server's direction alone, the entry may live for 2 s without a packet.
rules_unlock
sysctl_in "$FW2" net.netfilter.nf_conntrack_udp_timeout=2 net.netfilter.nf_conntrack_udp_timeout_stream=2
one_way_start
check "both have the flow" poll 10 udp_entry fw2
destroyed=$(counter fw2 events_destroy)
echo first >&"$SAY"
check "an answer through fw2" poll 5 heard first
rules_lock
check "the entry expires on fw2" poll 80 udp_gone_once
check "fw1 keeps the flow" udp_entry fw1
check "and fw2 has it again" poll 5 udp_entry fw2
echo second >&"$SAY"
check "an answer through fw2 again" poll 5 heard second
finish
