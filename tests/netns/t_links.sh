#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Other ways to link the nodes: IPv6, link-local IPv6, and a sync link whose own packets are tracked because nobody wrote a
# notrack rule. And a link that goes down and comes back, and one whose MTU shrinks.

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

for n in 1 2; do in_ns "$P-fw$n" nft 'delete chain inet fw sync_in; delete chain inet fw sync_out'; done
daemons_start
check "tracked sync link: 1,000 flows" flood fw1 create -n 1000
tracked_equal() { compare --skip-port 3780 "kernel:$FW1" "kernel:$FW2"; }
check "tracked sync link: equal" poll 10 tracked_equal
sent=$(counter fw1 dgrams_sent)
for_time 3
check_that "tracked sync link: it does not feed itself" "$(counter fw1 dgrams_sent) - $sent < 200"
finish
