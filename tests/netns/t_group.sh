#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Four nodes on one sync medium: over IPv4 multicast, IPv6 multicast and unicast, each with flows of its own. One joins late,
# one is stopped and then slow while the others work, one dies without a word and leaves its tombstones behind, and all lose
# datagrams. Nobody waits for anybody, nothing grows, and whoever comes back gets everything: the kernels decide.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck disable=SC2034 # lib.sh's
MODE=hot EXTRA='state = { tombstones_max = 2000; hold_s = 30; };'

# The medium: a bridge that all four hang on by grp0.
hub_make() {
	local n
	ip netns add "$P-hub" || die "ip netns add"
	ip -n "$P-hub" link add name br0 type bridge mcast_snooping 0
	ip -n "$P-hub" link set br0 up
	for n in 1 2 3 4; do
		ip link add "fw$n" netns "$P-hub" type veth peer name grp0 netns "$P-fw$n"
		ip -n "$P-hub" link set "fw$n" master br0 up
		ip -n "$P-fw$n" addr add "192.168.110.$n/24" dev grp0
		ip -n "$P-fw$n" addr add "fd98::$n/64" dev grp0 nodad
		ip -n "$P-fw$n" link set grp0 up
		in_ns "$P-fw$n" nft -f - <<-RULES || die "nft rules"
		insert rule inet fw input iifname "grp0" accept
		insert rule inet fw sync_in iifname "grp0" notrack
		insert rule inet fw sync_out oifname "grp0" notrack
		RULES
	done
}

links_conf() { # N, and a peer that does not matter here
	local m peers=
	case $FORM in
	multicast4) echo "{ interface = \"grp0\"; local = \"192.168.110.$1\"; group = \"239.192.0.50\"; port = 3780; }" ;;
	multicast6) echo "{ interface = \"grp0\"; local = \"fd98::$1\"; group = \"ff02::4:50\"; port = 3780; }" ;;
	unicast)
		for m in 1 2 3 4; do [ "$m" = "$1" ] || peers="$peers${peers:+, }\"192.168.110.$m\""; done
		echo "{ interface = \"grp0\"; local = \"192.168.110.$1\"; peers = [ $peers ]; port = 3780; }"
		;;
	esac
}

# loss PERCENT: of what arrives at each node but the first.
loss() {
	local n
	for n in 2 3 4; do
		in_ns "$P-fw$n" nft -f - <<-RULES || die "loss rules"
		table inet loss
		delete table inet loss
		table inet loss {
			chain in { type filter hook input priority -400; iifname "grp0" udp dport 3780 numgen random mod 100 < $1 drop; }
		}
		RULES
	done
}

# loss_of_all PERCENT: the first's datagrams get lost before they reach the medium, so that everybody lacks the same.
loss_of_all() {
	in_ns "$P-fw1" nft -f - <<-RULES || die "loss rules"
	table inet loss
	delete table inet loss
	table inet loss {
		chain out { type filter hook output priority 400; oifname "grp0" udp dport 3780 numgen random mod 100 < $1 drop; }
	}
	RULES
}

# up FW COUNT: it sees so many peers up.
up() { [ "$(ctsync "$1" --json status | grep -o '"state":"up"\|"state": "up"' | wc -l)" -ge "$2" ]; }
# alike FW...: their kernels hold what fw1's does.
alike() {
	local fw
	for fw; do compare --skip-state SYN_SENT "kernel:$FW1" "kernel:$(fw_ns "$fw")" || return 1; done
}
tombstones_below() { [ "$(counter fw1 tombstones)" -le "$1" ]; }
remote_is() { [ "$(remote_count "$1")" = "$2" ]; }
# announces FW COUNT: of its own, and each other node that runs knows them as its.
announces() {
	local fw
	[ "$(status "$1" flows.local)" = "$2" ] || return 1
	for fw in "${!PIDS[@]}"; do
		[ "$fw" = "$1" ] || ctsync "$fw" --json peers | python3 -c '
import json, sys
peers = [p for p in json.load(sys.stdin)["peers"] if p["node"] == sys.argv[1]]
sys.exit(not peers or peers[0]["flows"] != int(sys.argv[2]))' "$1" "$2" || return 1
	done
}
resident() { awk '/^VmRSS/ { print $2 }' "/proc/${PIDS[$1]}/status"; }

as_many() { local fw; for fw; do [ "$(flow_count "$fw")" = "$(flow_count fw1)" ] || return 1; done; }
# The third gets a hundredth of a core. It is heard, asks and reports, and takes what it can.
slow_test() {
	local before
	confine fw3 1
	before=$(resident fw1)
	check "$FORM: one is slow: 20,000 come" flood fw1 create -n 20000 -b 700000
	check "$FORM: the others have as many" poll 10 as_many fw2 fw4
	check_that "$FORM: it has not: it was slow" "$(flow_count fw3) < $(flow_count fw1)"
	check "$FORM: the others are alike" poll 10 alike fw2 fw4
	check "$FORM: they change, and most end" flood fw1 update -n 20000 -b 700000 -m 9
	check "$FORM: while it works on" flood fw1 delete -n 19000 -b 700000
	check "$FORM: the others are alike" poll 10 alike fw2 fw4
	check_that "$FORM: memory did not grow by more than flows (before: $before kB)" "$(resident fw1) < $before + 8000"
	confine
	check "$FORM: free again, it is alike" poll 20 alike fw3
	check "$FORM: those go" flood fw1 delete -n 1000 -b 719000
}

group_test() { # FORM
	local fw before debts
	FORM=$1
	for fw in fw1 fw2 fw3; do daemon_start $fw; done
	ctsync fw1 promote >/dev/null || die "fw1 does not take the role"
	for fw in fw1 fw2 fw3; do check "$FORM: $fw hears two" poll 10 up $fw 2; done
	check "$FORM: 3,000 flows" flood fw1 create -n 3000
	check "$FORM: 500 of the second" flood fw2 create -n 500 -b 400000
	check "$FORM: 500 of the third" flood fw3 create -n 500 -b 500000
	check "$FORM: three are alike" poll 10 alike fw2 fw3

	daemon_start fw4
	check "$FORM: the fourth comes late and gets everything" poll 10 alike fw4
	for fw in fw1 fw2 fw3 fw4; do check "$FORM: $fw hears three" poll 10 up $fw 3; done
	check "$FORM: 500 of its own" flood fw4 create -n 500 -b 600000
	check "$FORM: all are alike" poll 10 alike fw2 fw3 fw4
	check "$FORM: the first announces its 3,000" poll 5 announces fw1 3000
	for fw in fw2 fw3 fw4; do check "$FORM: $fw its 500" poll 5 announces $fw 500; done
	check "$FORM: the fourth's go" flood fw4 delete -n 500 -b 600000
	check "$FORM: everywhere" poll 10 alike fw2 fw3 fw4

	before=$(resident fw1)
	kill -STOP "${PIDS[fw3]}"
	check "$FORM: one is stopped: creates" flood fw1 create -n 3000 -b 100000
	check "$FORM: and deletes" flood fw1 delete -n 1000
	check "$FORM: the others are alike" poll 10 alike fw2 fw4
	check_that "$FORM: memory did not grow by what it did not take (before: $before kB)" "$(resident fw1) < $before + 3000"
	kill -CONT "${PIDS[fw3]}"
	check "$FORM: it goes on and is alike" poll 10 alike fw3
	[ -z "$SHARE_CG" ] || slow_test

	loss 10
	check "$FORM: all lose a tenth: changes" flood fw1 update -n 2000 -b 1000 -m 7
	check "$FORM: creates" flood fw1 create -n 3000 -b 200000
	check "$FORM: all are alike, the medium still losing" poll 10 alike fw2 fw3 fw4
	loss 0
	loss_of_all 10
	check "$FORM: a tenth reaches nobody: changes" flood fw1 update -n 2000 -b 200000 -m 8
	check "$FORM: all are alike, a tenth still lost" poll 10 alike fw2 fw3 fw4
	loss_of_all 0
	note "repaired $(counter fw1 records_repaired) records, merged $(counter fw1 repairs_merged) requests"
	check_that "$FORM: the loss was real" "$(status fw2 peers.0.lost) > 0"
	if [ "$FORM" = unicast ]; then
		check_that "$FORM: each has its own repair" "$(counter fw1 repairs_merged) == 0"
	else
		check_that "$FORM: repairs served several" "$(counter fw1 repairs_merged) > 0"
	fi

	debts=$(($(counter fw2 debts) + $(counter fw3 debts)))
	daemon_kill fw4
	before=$(resident fw1)
	check "$FORM: one dies: 4,000 flows go" flood fw1 delete -n 2000 -b 1000
	check "$FORM: and more" flood fw1 delete -n 3000 -b 200000
	check "$FORM: the others are alike" poll 10 alike fw2 fw3
	check "$FORM: tombstones stay under their limit" poll 5 tombstones_below 2000
	check_that "$FORM: some were dropped" "$(counter fw1 tombstones_dropped) > 0"
	check_that "$FORM: none that a live member needed" "$(counter fw2 debts) + $(counter fw3 debts) == $debts"
	check_that "$FORM: memory did not grow (before: $before kB)" "$(resident fw1) < $before + 4000"
	daemon_start fw4
	check "$FORM: it is back: the caches are alike" poll 15 remote_is fw4 "$(flow_count fw1)"
	check "$FORM: what it held of a dead run ages with its hold" poll 40 alike fw4

	check "$FORM: the second's go" flood fw2 delete -n 500 -b 400000
	check "$FORM: the third's go" flood fw3 delete -n 500 -b 500000
	check "$FORM: everywhere" poll 10 alike fw2 fw3 fw4
	check "$FORM: all go" in_ns "$FW1" conntrack -F
	check "$FORM: alike" poll 10 alike fw2 fw3 fw4
	for fw in fw1 fw2 fw3 fw4; do daemon_stop $fw; done
	for fw in fw2 fw3 fw4; do in_ns "$(fw_ns $fw)" conntrack -F 2>/dev/null; done
}

net_make
firewall_make fw3
firewall_make fw4
hub_make
share_make || note "no CPU cgroup that can be written: no member is made slow"
group_test multicast4
group_test multicast6
group_test unicast
finish
