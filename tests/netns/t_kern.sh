#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# kern.c against the real kernel: kern_check in a namespace of its own, as root and as a user that has nothing but
# CAP_NET_ADMIN (which is how the daemon runs).

set -u

here=$(cd "$(dirname "$0")" && pwd)
build=${CTSYNCD_BUILD:-${BUILD:-$here/../../build}}
check=$build/tests/netns/kern_check
[ "$(id -u)" = 0 ] || { echo "t_kern: needs root"; exit 77; }
[ -x "$check" ] || { echo "FAIL t_kern: $check is not built"; echo "0 passed, 1 failed"; exit 1; }

ns=ctsyncd-kern-$$
copy=
cleanup() {
	[ -z "$copy" ] || rm -rf "$copy"
	ip netns del "$ns" 2>/dev/null
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

ip netns add "$ns" || exit 1
in_ns() { ip netns exec "$ns" "$@"; }
in_ns ip link set lo up
in_ns nft -f - <<RULES || exit 1
table inet t {
	chain track { type filter hook input priority 0; ct state invalid drop; tcp dport 7020 drop; tcp sport 7020 drop; }
	chain nat { type nat hook postrouting priority 100; }
}
RULES
in_ns sysctl -qw net.netfilter.nf_conntrack_events=1 net.netfilter.nf_conntrack_tcp_timeout_established=4321

passed=0 failed=0
run() { # NAME COMMAND...
	local name=$1 out line
	shift
	out=$(in_ns "$@" 2>&1)
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' <<<"$out" | tail -n 1)
	grep -vE '^[0-9]+ passed, [0-9]+ failed$' <<<"$out" | sed "s/^/$name: /" | grep -v ': $'
	if [ -z "$line" ]; then
		echo "FAIL $name: ended before its time"
		failed=$((failed + 1))
		return
	fi
	echo "$name: $line"
	passed=$((passed + ${line%% passed*}))
	line=${line#*passed, }
	failed=$((failed + ${line%% *}))
}

run root "$check" full
# The user may not reach the build tree.
copy=$(mktemp -d /tmp/ctsyncd-kern.XXXXXX) && chmod 755 "$copy" && cp "$check" "$copy/kern_check"
run unprivileged setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all,+net_admin \
	--ambient-caps=-all,+net_admin --bounding-set=-all,+net_admin "$copy/kern_check"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
