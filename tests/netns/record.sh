#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Makes tests/unit/data/ctnetlink.bin anew: real traffic through a router of namespaces that translates in every way,
# recorded by record.c. Not a test: run it when the recording shall hold more, and commit what it wrote.
#
#   record.sh RECORDER OUTPUT        RECORDER is tests/netns/record of the build tree

set -eu
[ $# = 2 ] || { sed -n '4,8s/^# \{0,1\}//p' "$0"; exit 2; }
recorder=$1 output=$2
here=$(cd "$(dirname "$0")" && pwd)
p=ctsyncd-record-$$
pids=()
cleanup() {
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || :; done
	for ns in c r s; do ip netns del "$p-$ns" 2>/dev/null || :; done
	rm -f "$output.log"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

in_c() { ip netns exec "$p-c" "$@"; }
in_r() { ip netns exec "$p-r" "$@"; }

for ns in c r s; do
	ip netns add "$p-$ns"
	ip -n "$p-$ns" link set lo up
done
ip -n "$p-r" link add c0 type veth peer name r0 netns "$p-c"
ip -n "$p-r" link add s0 type veth peer name r0 netns "$p-s"
addr() { # NS DEV ADDR...
	local ns=$1 dev=$2
	shift 2
	ip -n "$p-$ns" link set "$dev" up
	for a in "$@"; do
		case $a in *:*) ip -n "$p-$ns" addr add "$a" dev "$dev" nodad ;;
		*) ip -n "$p-$ns" addr add "$a" dev "$dev" ;; esac
	done
}
addr r c0 10.9.1.1/24 fd09:1::1/64
addr r s0 10.9.2.1/24 10.9.2.9/24 fd09:2::1/64 fd09:2::9/64
addr c r0 10.9.1.2/24 10.9.1.3/24 fd09:1::2/64 fd09:1::3/64
addr s r0 10.9.2.2/24 fd09:2::2/64
for ns in c:1 s:2; do
	ip -n "$p-${ns%:*}" route add default via "10.9.${ns#*:}.1"
	ip -n "$p-${ns%:*}" -6 route add default via "fd09:${ns#*:}::1"
done
in_r sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.netfilter.nf_conntrack_events=1 \
	net.netfilter.nf_conntrack_acct=1 net.netfilter.nf_conntrack_timestamp=1
in_r nft -f - <<'RULES'
table inet raw {
	chain pre {
		type filter hook prerouting priority raw
		tcp dport 84 ct zone set 5
		tcp sport 84 ct zone set 5
		tcp dport 85 ct original zone set 6
		tcp sport 86 ct reply zone set 7
	}
}
table inet f {
	chain marks {
		type filter hook forward priority filter
		tcp dport 80 ct mark set 0x77
	}
}
table ip nat {
	chain pre {
		type nat hook prerouting priority dstnat
		tcp dport 81 dnat to 10.9.2.2:80
		tcp dport 82 redirect to :8080
		udp dport 5301 dnat to 10.9.2.2:53
		ip daddr 10.9.1.1 icmp type echo-request dnat to 10.9.2.2
	}
	chain post {
		type nat hook postrouting priority srcnat
		oifname s0 tcp dport 83 snat to 10.9.2.9:5000-5100
		oifname s0 udp dport 53 masquerade
		oifname s0 meta l4proto icmp masquerade
	}
}
table ip6 nat {
	chain pre {
		type nat hook prerouting priority dstnat
		tcp dport 81 dnat to [fd09:2::2]:80
		tcp dport 82 redirect to :8080
		udp dport 5301 dnat to [fd09:2::2]:53
	}
	chain post {
		type nat hook postrouting priority srcnat
		oifname s0 tcp dport 83 snat to [fd09:2::9]:5000-5100
		oifname s0 udp dport 53 masquerade
		oifname s0 icmpv6 type echo-request masquerade
	}
}
RULES

wait_word() { # FILE WORD
	local until=$((SECONDS + 10))
	until grep -q "$2" "$1"; do
		[ $SECONDS -lt $until ] || { echo "no $2 in $1" >&2; exit 1; }
	done
}
ip netns exec "$p-s" python3 "$here/record_traffic.py" server >"$output.log" & pids+=($!)
wait_word "$output.log" ready
ip netns exec "$p-r" python3 "$here/record_traffic.py" server >"$output.log" & pids+=($!)
wait_word "$output.log" ready
: >"$output.log"
ip netns exec "$p-r" "$recorder" >"$output" 2>"$output.log" & rec=$! && pids+=("$rec")
wait_word "$output.log" ready

in_c python3 "$here/record_traffic.py" client
in_r conntrack -D -p tcp --dport 83 >/dev/null 2>&1
in_r conntrack -D -p icmp >/dev/null 2>&1
kill -TERM "$rec"
wait "$rec"
