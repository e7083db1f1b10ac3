#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Ways to link the nodes: IPv6, link-local IPv6, two links at once. Links that go down and come back, that lose datagrams,
# whose interface is deleted and made again and gets its address late, whose MTU shrinks on both sides or on one. And a
# sync link whose own packets are tracked because nobody wrote a notrack rule.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
MODE=hot

round() { # text
	daemons_start
	check "$1: 1,000 flows" flood fw1 create -n 1000
	check "$1: equal" poll 10 equal fw1
	check "$1: they go" flood fw1 delete -n 1000
	check "$1: equal" poll 10 equal fw1
}

net_make
SYNC_NET=fd99:: round "IPv6"
ip -n "$FW1" link set sync0 down
check "link down: the peer is down" poll 5 not peer_up fw2
check "flows while the link is down" flood fw1 create -n 1000 -S -b 50000
ip -n "$FW1" link set sync0 up
ip -n "$FW1" addr replace fd99::1/64 dev sync0 nodad
check "not tracked: seen" test "$(status fw1 sync_tracked)" = false
check "link up: the peers find each other" poll 10 peers_up
check "equal" poll 10 equal fw1
for n in 1 2; do ip -n "$P-fw$n" link set sync0 mtu 1280; done
check "a smaller MTU: 5,000 flows" flood fw1 create -n 5000 -6
check "equal" poll 10 equal fw1
for n in 1 2; do ip -n "$P-fw$n" link set sync0 mtu 9000; done
check "a larger MTU: they go" flood fw1 delete -n 5000 -6
check "equal" poll 10 equal fw1
daemon_stop fw1
daemon_stop fw2

for n in 1 2; do ip -n "$P-fw$n" addr add "fe80::$n/64" dev sync0 nodad; done
check "a clean table" in_ns "$FW1" conntrack -F
in_ns "$FW2" conntrack -F 2>/dev/null
SYNC_NET=fe80:: round "link-local"
daemon_stop fw1
daemon_stop fw2

# ---- Two links ----

sync1_make() {
	local n
	ip link add sync1 netns "$FW1" type veth peer name sync1 netns "$FW2"
	for n in 1 2; do
		ip -n "$P-fw$n" addr add "192.168.101.$n/24" dev sync1
		ip -n "$P-fw$n" link set sync1 up
		in_ns "$P-fw$n" nft -f - <<-RULES
		insert rule inet fw input iifname "sync1" accept
		insert rule inet fw sync_in iifname "sync1" notrack
		insert rule inet fw sync_out oifname "sync1" notrack
		RULES
	done
}
one_link_conf=$(declare -f links_conf)
both_links_conf() {
	local i
	for i in 0 1; do
		echo "{ interface = \"sync$i\"; local = \"192.168.10$i.$1\"; peers = [ \"192.168.10$i.$2\" ]; port = 3780; }"
		[ $i = 1 ] || echo ,
	done
}
# link FW LINK MEMBER: of the peer by that link.
link() {
	ctsync "$1" --json peers | python3 -c '
import json, sys
peer = json.load(sys.stdin)["peers"][0]
value = next(x for x in peer["links"] if x["link"] == sys.argv[1])[sys.argv[2]]
print(str(value).lower() if isinstance(value, bool) else value)' "$2" "$3"
}
link_is() { [ "$(link "$1" "$2" up)" = "$3" ]; }
links_up() { link_is fw1 sync0 true && link_is fw1 sync1 true && link_is fw2 sync0 true && link_is fw2 sync1 true; }
# end_is FW NUMBER true|false: our own end of a link.
end_is() { [ "$(status "$1" "links.$2.up")" = "$3" ]; }
# Both links have carried a few datagrams more since.
figures() { link fw2 "$1" expected; }
figures_beyond() { [ "$(figures sync0)" -gt "$1" ] && [ "$(figures sync1)" -gt "$1" ]; }

links_conf() { both_links_conf "$@"; }
log_at=$(wc -l <"${DAEMON[fw2]}")
fw2_says() { tail -n +$((log_at + 1)) "${DAEMON[fw2]}" | grep -q "$1"; }
told() { grep -q "$2" "$TMP/$1/events"; }
sync1_make
daemons_start
for fw in fw1 fw2; do
	ctsync $fw events >"$TMP/$fw/events" 2>&1 &
	PIDS[events$fw]=$!
	poll 5 told $fw '"event":"hello"' >/dev/null || die "no events of $fw"
done
check "two links: each node hears the other by both" poll 10 links_up
# What comes later than the HACK that began the epoch, and is older, counts as a replay; once both links are known none may.
declare -A REPLAYS=([fw1]=$(counter fw1 replay) [fw2]=$(counter fw2 replay))
check "two links: 20,000 flows" flood fw1 create -n 20000
check "two links: equal" poll 10 quick_equal fw1
for fw in fw1 fw2; do
	check_that "$fw: doubles were dropped as doubles" "$(counter $fw double) > 20"
	check_that "$fw: and none taken for a replay" "$(counter $fw replay) == ${REPLAYS[$fw]}"
done

in_ns "$FW2" nft -f - <<'RULES'
table inet loss { chain in { type filter hook input priority -400; iifname "sync1" udp dport 3780 numgen random mod 100 < 30 drop; }; }
RULES
before=$(figures sync0)
check "30 % lost on one of them: changes" flood fw1 update -n 20000 -m 7
check "equal" poll 10 quick_equal fw1
check "the figures have come" poll 10 figures_beyond $((before + 300))
note "sync0 lost $(link fw2 sync0 lost), sync1 $(link fw2 sync1 lost) of $(link fw2 sync1 expected); socket drops $(counter fw2 socket_drops)"
check_that "the link that loses is named" "$(link fw2 sync1 lost) * 10 > ($(figures sync1) - $before) * 2"
check_that "the other is not" "$(link fw2 sync0 lost) * 50 <= $(figures sync0)"
check_that "together they lost less than it alone" "$(status fw2 peers.0.lost) * 10 < $(link fw2 sync1 lost)"
in_ns "$FW2" nft delete table inet loss

flood fw1 create -n 60000 -b 100000 &
flood_pid=$!
poll 10 flows_above fw1 30000 >/dev/null
ip -n "$FW1" link set sync0 down
check "one link is cut while flows are made" wait $flood_pid
check "equal" poll 10 quick_equal fw1
check "its end is seen down" poll 5 end_is fw1 0 false
check "and reported silent" poll 5 link_is fw2 sync0 false
check "the other carries on" link_is fw2 sync1 true
check "the log says so" fw2_says 'peer fw1: link sync0: nothing came by it'
check "an event does" told fw2 '"event":"link-down","peer":"fw1","link":"sync0"'
check "and one of its own end" told fw1 '"event":"link","link":"sync0","up":false'
check "the peer was never down" not fw2_says 'peer fw1: down'
check "they go" flood fw1 delete -n 60000 -b 100000
check "equal" poll 10 quick_equal fw1

ip -n "$FW1" link del sync0
ip link add sync0 netns "$FW1" type veth peer name sync0 netns "$FW2"
for n in 1 2; do ip -n "$P-fw$n" link set sync0 up; done
check "the interface is made anew, without its address: not up" poll 5 end_is fw1 0 false
check "flows meanwhile" flood fw1 create -n 1000 -b 100000
for n in 1 2; do ip -n "$P-fw$n" addr add "192.168.100.$n/24" dev sync0; done
check "the address comes late: the link carries again" poll 10 links_up
check "as events tell" told fw2 '"event":"link-up","peer":"fw1","link":"sync0"'
check "of both" told fw1 '"event":"link","link":"sync0","up":true'
ip -n "$FW2" link set sync1 down
check "only the new one is left: they go" flood fw1 delete -n 1000 -b 100000
check "equal" poll 10 quick_equal fw1
check "the peer was never down" not fw2_says 'peer fw1: down'

ip -n "$FW2" link set sync0 mtu 1280
check "an MTU of 1280 on one side: 5,000 flows" flood fw1 create -n 5000 -6
check "equal" poll 10 quick_equal fw1
check "its end says so" test "$(status fw2 links.0.mtu)" = 1280
check "and an event" told fw2 '"event":"link","link":"sync0","up":true,"mtu":1280'
check "a full resync with it" ctsync fw2 resync
check "equal" poll 10 quick_equal fw1
check "all go" in_ns "$FW1" conntrack -F
check "equal" poll 10 quick_equal fw1
daemon_stop fw1
daemon_stop fw2
ip -n "$FW2" link set sync0 mtu 1500

# ---- Two links, by multicast each ----

links_conf() {
	local i
	for i in 0 1; do
		echo "{ interface = \"sync$i\"; local = \"192.168.10$i.$1\"; group = \"239.192.0.5$i\"; port = 3780; }"
		[ $i = 1 ] || echo ,
	done
}
ip -n "$FW2" link set sync1 up
round "two multicast links"
check "two multicast links: each node hears the other by both" poll 10 links_up
flood fw1 create -n 30000 -b 200000 &
flood_pid=$!
poll 10 flows_above fw1 10000 >/dev/null
ip -n "$FW1" link set sync1 down
check "two multicast links: one is cut while flows are made" wait $flood_pid
check "equal" poll 10 quick_equal fw1
check "and reported silent" poll 5 link_is fw2 sync1 false
check_that "none of their doubles is taken for a replay" "$(counter fw2 double) > 20 && $(counter fw2 replay) == 0"
check "all go" in_ns "$FW1" conntrack -F
check "equal" poll 10 quick_equal fw1
daemon_stop fw1
daemon_stop fw2
eval "$one_link_conf"

# ---- Tracked ----

for n in 1 2; do in_ns "$P-fw$n" nft 'delete chain inet fw sync_in; delete chain inet fw sync_out'; done
daemons_start
tracked_is() { [ "$(status "$1" sync_tracked)" = "$2" ]; }
check "tracked sync link: seen" poll 15 tracked_is fw1 true
check "tracked sync link: warned of" grep -q 'load a notrack rule' "${DAEMON[fw1]}"
check "tracked sync link: 1,000 flows" flood fw1 create -n 1000
# A daemon that leaves its multicast group says so by IGMP, and that is tracked by now, or not yet.
tracked_equal() { compare --proto 1,6,17,58 --skip-port 3780 "kernel:$FW1" "kernel:$FW2"; }
check "tracked sync link: equal" poll 10 tracked_equal
# Each kernel has the sync flow as it saw it first, and one of loopback; neither is anybody's to announce.
in_ns "$FW1" bash -c 'echo >/dev/udp/127.0.0.1/9'
in_ns "$FW2" bash -c 'echo >/dev/udp/::1/9'
in_kernel() { in_ns "$(fw_ns "$1")" conntrack -L -f "$2" -p udp --dport "$3" 2>/dev/null | grep -q '^udp'; }
announced() { ctsync "$1" flows local | grep -Eq 'dport=(3780|9) ' || ctsync "$1" flows remote | grep -Eq 'dport=(3780|9) '; }
for fw in fw1 fw2; do
	check "tracked sync link: $fw's kernel has it" in_kernel $fw ipv4 3780
	check "tracked sync link: it is no flow of either half of $fw" not announced $fw
done
check "fw1's kernel has a flow of loopback" in_kernel fw1 ipv4 9
check "fw2's kernel has one over IPv6" in_kernel fw2 ipv6 9
for fw in fw1 fw2; do
	check "tracked sync link: no difference for $fw's audit" ctsync $fw verify --kernel
done
sent=$(counter fw1 dgrams_sent)
for_time 3
check_that "tracked sync link: it does not feed itself" "$(counter fw1 dgrams_sent) - $sent < 200"
check "tracked sync link: warned of once" test "$(grep -c 'load a notrack rule' "${DAEMON[fw1]}")" = 1
sed 's/"eth1"/"sync0"/' "$SRC/conf/notrack.nft" >"$TMP/notrack.nft"
for n in 1 2; do
	check "the rules that are shipped load" in_ns "$P-fw$n" nft -f "$TMP/notrack.nft"
	check "and load again" in_ns "$P-fw$n" nft -f "$TMP/notrack.nft"
	for port in 3780 9; do
		for l3 in ipv4 ipv6; do in_ns "$P-fw$n" conntrack -D -f $l3 -p udp --dport $port >"$TMP/deleted" 2>&1; done
	done
	in_ns "$P-fw$n" conntrack -D -d 224.0.0.22 >"$TMP/deleted" 2>&1 # the groups of before were left
done
check "not tracked any more" poll 15 tracked_is fw1 false
check "equal" poll 10 equal fw1
finish
