# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the tests over the real kernel share: a network of four namespaces, two firewalls between clients and servers, the
# daemons on them, traffic, oracles, and the counting of checks. A script sources it, calls net_make, states what it
# expects with `check`, and ends with `finish`.
#
#      cl (clients, bridge br0)                sv (servers, bridge br0)
#      10.1.0.1..25, fd01::1..19              10.2.0.1, fd02::1
#         |            |                         |            |
#       lan0         lan0                      wan0         wan0
#        fw1 ========= fw2                      fw1          fw2      the addresses 10.1.0.254, fd01::fe (lan0) and
#          sync0: 192.168.100.1/2, fd99::1/2                          10.2.0.254, fd02::fe (wan0) are on the active one
#
# Everything has the pid of the script in its name and goes when the script ends, however it ends; what a killed script
# left is removed by the next one.

set -u

SELF=$(basename "$0" .sh)
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SRC=${CTSYNCD_SRC:-$(cd "$HERE/../.." && pwd)}
BUILD=${CTSYNCD_BUILD:-${BUILD:-$SRC/build}}
CTSYNCD=$BUILD/ctsyncd
CTSYNC=$BUILD/ctsync
NS_PREFIX=ctsyncd-test
P=$NS_PREFIX-$$
# shellcheck disable=SC2034 # CL and SV are used by the scripts
CL=$P-cl SV=$P-sv FW1=$P-fw1 FW2=$P-fw2
NAT=${NAT:-snat}
NAT6=${NAT6:-}

passed=0
failed=0
finished=
declare -A PIDS=() DAEMON=()

# A script that has to pass in both modes calls this first: without MODE it runs itself once for each.
both_modes() {
	local mode out line p f sum_p=0 sum_f=0
	[ -z "${MODE:-}" ] || return 0
	for mode in hot cache; do
		exec {out}< <(MODE=$mode exec "$0")
		line=
		while read -r -u "$out"; do
			[ -z "$line" ] || printf '%s\n' "$line"
			line=$REPLY
		done
		exec {out}<&-
		read -r p _ f _ <<<"$line"
		case $line in
		*' passed, '*' failed') sum_p=$((sum_p + p)) sum_f=$((sum_f + f)) ;;
		*) sum_f=$((sum_f + 1)) ;;
		esac
	done
	echo "$sum_p passed, $sum_f failed"
	[ $sum_f -eq 0 ] && [ $sum_p -gt 0 ]
	exit
}
TR_PID=

# ---- Reports ----

say() { printf '%s\n' "$*"; }
note() { printf '     %s\n' "$*"; }
pass() { passed=$((passed + 1)); say "ok   $SELF: $*"; }
fail() { failed=$((failed + 1)); say "FAIL $SELF: $*"; }

# The test cannot go on.
die() {
	fail "$*"
	finish
}

# check TEXT COMMAND...: the command must succeed; its output is shown when it does not.
check() {
	local text=$1 status
	shift
	"$@" >"$TMP/check.out" 2>&1 # in this shell: some commands wait for its children
	status=$?
	if [ $status -eq 0 ]; then pass "$text"; else
		fail "$text (exit status $status: $*)"
		tail -n 12 "$TMP/check.out" | sed 's/^/     | /'
	fi
	return $status
}

# check_that TEXT EXPRESSION: an arithmetic condition.
check_that() {
	if (($2)); then pass "$1"; else fail "$1 (not: $2)"; fi
}

not() { ! "$@"; }

# How much slower than alone a program runs here now, in tenths: wall time against CPU time of a loop. Deadlines of the
# tests are meant for a machine that has nothing else to do; on a busy one they grow by this, and the test says so.
SCALE=10
scale_measure() {
	local real user sys TIMEFORMAT='%3R %3U %3S'
	read -r real user sys < <({ time for ((i = 0; i < 300000; i++)); do :; done; } 2>&1)
	SCALE=$((10 * 10#${real/./} / (10#${user/./} + 10#${sys/./} + 1)))
	if [ $SCALE -lt 13 ]; then SCALE=10; else note "a busy machine: times count $((SCALE / 10)).$((SCALE % 10)) fold"; fi
}

scaled() { echo $(($1 * SCALE / 10)); }

# poll SECONDS COMMAND...: repeats the command until it succeeds; three looks at least. Its last output is shown if it
# never does.
poll() {
	local until=$((SECONDS + $(scaled "$1"))) out looks=0
	shift
	while ! out=$("$@" 2>&1); do
		looks=$((looks + 1))
		if [ $SECONDS -ge $until ] && [ $looks -ge 3 ]; then
			printf '%s\n' "$out"
			return 1
		fi
		for_time 0.05 # between two looks; the deadline decides
	done
	printf '%s\n' "$out"
}

# for_time SECONDS: lets time pass where the passing itself is what is tested (a timer must not do harm).
for_time() { read -r -t "$1" <> <(:) || :; }

now_ms() { echo $(($(date +%s%N) / 1000000)); }

finish() {
	if [ $failed -gt 0 ]; then
		for fw in "${!DAEMON[@]}"; do
			say "     the end of ${DAEMON[$fw]}:"
			tail -n 15 "${DAEMON[$fw]}" | sed 's/^/     | /'
		done
	fi
	finished=1
	cleanup
	trap - EXIT
	say "$passed passed, $failed failed"
	[ $failed -eq 0 ] && [ $passed -gt 0 ]
	exit
}

# ---- Cleaning up ----

# Removes namespaces with that prefix, and ends what still runs in them: the script that made them is gone.
ns_remove() {
	local ns pid
	for ns in $(ip netns list | awk '{ print $1 }' | grep "^$1" || :); do
		for pid in $(ip netns pids "$ns"); do kill -KILL "$pid" 2>/dev/null; done
		ip netns del "$ns"
	done
}

leftovers_remove() {
	local ns pid
	for ns in $(ip netns list | awk '{ print $1 }' | grep "^$NS_PREFIX-" || :); do
		pid=${ns#"$NS_PREFIX"-}
		pid=${pid%%-*}
		[ -d "/proc/$pid" ] || ns_remove "$NS_PREFIX-$pid-"
	done
}

cleanup_more() { :; } # a script that makes more than namespaces has its own

cleanup() {
	local pid
	for pid in "${PIDS[@]}" $TR_PID; do kill -KILL "$pid" 2>/dev/null; done
	wait 2>/dev/null
	ns_remove "$P-"
	[ -z "${SHARE_CG:-}" ] || rmdir "$SHARE_CG"
	cleanup_more
	max_restore
	[ -z "${TMP:-}" ] || [ -n "${KEEP_TMP:-}" ] || rm -rf "$TMP"
}

on_exit() {
	[ -n "$finished" ] && return
	cleanup
	say "FAIL $SELF: ended before its end"
	say "$passed passed, $((failed + 1)) failed"
	exit 1
}

# nf_conntrack_max and nf_conntrack_buckets belong to the whole machine: raised when needed, and put back unless somebody
# else changed them meanwhile.
MAX_WAS='' MAX_SET='' BUCKETS_WAS='' BUCKETS_SET=''
max_raise() {
	local now
	now=$(sysctl -n net.netfilter.nf_conntrack_max) || die "no conntrack in this kernel"
	[ "$now" -ge "$1" ] && return
	BUCKETS_WAS=$(sysctl -n net.netfilter.nf_conntrack_buckets) BUCKETS_SET=$1
	MAX_WAS=$now MAX_SET=$1
	if [ "$BUCKETS_WAS" -lt "$1" ]; then
		sysctl -qw net.netfilter.nf_conntrack_buckets="$1"
		BUCKETS_SET=$(sysctl -n net.netfilter.nf_conntrack_buckets) # the kernel rounds up
	else
		BUCKETS_SET=
	fi
	sysctl -qw net.netfilter.nf_conntrack_max="$1"
}

max_restore() {
	if [ -n "$BUCKETS_SET" ] && [ "$(sysctl -n net.netfilter.nf_conntrack_buckets)" = "$BUCKETS_SET" ]; then
		sysctl -qw net.netfilter.nf_conntrack_buckets="$BUCKETS_WAS"
	fi
	if [ -n "$MAX_SET" ] && [ "$(sysctl -n net.netfilter.nf_conntrack_max)" = "$MAX_SET" ]; then
		sysctl -qw net.netfilter.nf_conntrack_max="$MAX_WAS"
	fi
	MAX_SET='' BUCKETS_SET=''
}

# ---- The network ----

in_ns() { # namespace, command...
	local ns=$1
	shift
	ip netns exec "$ns" "$@"
}

fw_ns() { echo "$P-$1"; } # fw1 or fw2
other() { if [ "$1" = fw1 ]; then echo fw2; else echo fw1; fi; }

sysctl_in() { # namespace, key=value...
	local ns=$1
	shift
	in_ns "$ns" sysctl -qw "$@" || die "sysctl $* in $ns"
}

edge_make() { # cl or sv, its number: a bridge that both firewalls hang on, and 25 addresses
	local i
	# An address of its own: else it changes when a port goes, and the neighbours have to learn it.
	ip -n "$P-$1" link add name br0 address "02:00:00:00:00:0$2" type bridge mcast_snooping 0
	ip -n "$P-$1" link set br0 up
	for i in $(seq 1 25); do
		printf 'addr add 10.%d.0.%d/16 dev br0\naddr add fd0%d::%x/64 dev br0 nodad\n' "$2" "$i" "$2" "$i"
	done | ip -n "$P-$1" -batch -
}

port_make() { # cl or sv, firewall, the firewall's interface
	ip link add "$2" netns "$P-$1" type veth peer name "$3" netns "$P-$2"
	ip -n "$P-$1" link set "$2" master br0 up
	ip -n "$P-$2" link set "$3" up
}

sync_make() {
	local n
	ip link add sync0 netns "$FW1" type veth peer name sync0 netns "$FW2"
	for n in 1 2; do
		ip -n "$P-fw$n" addr add "192.168.100.$n/24" dev sync0
		ip -n "$P-fw$n" addr add "fd99::$n/64" dev sync0 nodad
		ip -n "$P-fw$n" link set sync0 up
	done
}

firewall_make() { # fw1 or fw2
	local ns
	ns=$(fw_ns "$1")
	ip netns add "$ns" || die "ip netns add"
	ip -n "$ns" link set lo up
	port_make cl "$1" lan0
	port_make sv "$1" wan0
	# The new owner of an address must not first ask whether anybody has it.
	sysctl_in "$ns" net.ipv6.conf.lan0.accept_dad=0 net.ipv6.conf.wan0.accept_dad=0
	sysctl_in "$ns" net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 \
		net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.lan0.rp_filter=0 net.ipv4.conf.wan0.rp_filter=0
	rules_load "$1"
}

# The machine reboots: its kernel forgets everything, and so does /run.
firewall_reboot() {
	ip netns del "$(fw_ns "$1")" || die "ip netns del"
	rm -rf "${TMP:?}/$1"
	poll 10 net_gone "$1" || die "the links of $1 stay"
	firewall_make "$1"
	sync_make
}

net_gone() { ! { ip -n "$CL" link show dev "$1" || ip -n "$(fw_ns "$(other "$1")")" link show dev sync0; } &>/dev/null; }

net_make() {
	[ -z "${MODE:-}" ] || SELF="$SELF($MODE)"
	MODE=${MODE:-hot}
	local ns
	[ "$(id -u)" = 0 ] || { say "it makes network namespaces: root is needed"; exit 77; }
	trap on_exit EXIT
	trap 'exit 130' INT TERM HUP
	leftovers_remove
	scale_measure
	TMP=$(mktemp -d "/tmp/$P.XXXXXX") || exit 2
	chmod 755 "$TMP"
	for ns in cl sv; do
		ip netns add "$P-$ns" || die "ip netns add"
		ip -n "$P-$ns" link set lo up
	done
	edge_make cl 1
	edge_make sv 2
	firewall_make fw1
	firewall_make fw2
	sync_make
	ip -n "$CL" route add default via 10.1.0.254
	ip -n "$CL" route add default via fd01::fe
	ip -n "$SV" route add 10.1.0.0/16 via 10.2.0.254
	ip -n "$SV" route add fd01::/64 via fd02::fe
	sysctl_in "$CL" net.ipv4.ping_group_range="0 2147483647"
	sysctl_in "$SV" net.ipv4.icmp_echo_ignore_all=1 net.ipv6.icmp.echo_ignore_all=1
	vip_add fw1
}

# Strict rules: what is INVALID goes, what has an entry passes, and new is only a TCP SYN, or no TCP at all. The sync link
# is not tracked. The firewall itself answers nothing: a RST from it, before the entries are there, would end flows.
# NAT: snat, masquerade or none; NAT6 likewise for IPv6.
rules_load() {
	local ns nat='' nat6=''
	ns=$(fw_ns "$1")
	case $NAT in
	snat) nat='oifname "wan0" meta nfproto ipv4 ip saddr 10.1.0.0/16 snat ip to 10.2.0.254' ;;
	masquerade) nat='oifname "wan0" meta nfproto ipv4 ip saddr 10.1.0.0/16 masquerade' ;;
	esac
	case $NAT6 in
	snat) nat6='oifname "wan0" meta nfproto ipv6 ip6 saddr fd01::/64 snat ip6 to fd02::fe' ;;
	masquerade) nat6='oifname "wan0" meta nfproto ipv6 ip6 saddr fd01::/64 masquerade' ;;
	esac
	in_ns "$ns" nft -f - <<-RULES || die "nft rules in $ns"
	table inet fw {
		chain sync_in { type filter hook prerouting priority raw; iifname "sync0" notrack; }
		chain sync_out { type filter hook output priority raw; oifname "sync0" notrack; }
		chain fresh {
			iifname "lan0" meta l4proto tcp tcp flags & (fin | syn | rst | ack) == syn accept
			iifname "lan0" meta l4proto != tcp accept
			iifname "wan0" ct status dnat meta l4proto tcp tcp flags & (fin | syn | rst | ack) == syn accept
		}
		chain input {
			type filter hook input priority filter; policy accept;
			iifname "sync0" accept
			icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
			ct state established,related accept
			iifname { "lan0", "wan0" } drop
		}
		chain forward {
			type filter hook forward priority filter; policy drop;
			meta l4proto icmpv6 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
			ct state invalid counter drop
			ct state established,related accept
			ct state new jump fresh
		}
	}
	table inet nat {
		chain pre {
			type nat hook prerouting priority dstnat;
			iifname "wan0" ip daddr 10.2.0.254 tcp dport 8080 dnat ip to 10.1.0.1:5000
		}
		chain post {
			type nat hook postrouting priority srcnat;
			$nat
			$nat6
		}
	}
	RULES
}

# From now on a packet passes by its entry alone, on both firewalls: whoever lost the entry lost the flow, whatever its
# protocol.
rules_lock() {
	in_ns "$FW1" nft flush chain inet fw fresh
	in_ns "$FW2" nft flush chain inet fw fresh
}

rules_unlock() {
	local n
	for n in "$FW1" "$FW2"; do in_ns "$n" nft delete table inet fw; in_ns "$n" nft delete table inet nat; done
	rules_load fw1
	rules_load fw2
}

vip_add() { # fw1 or fw2
	local ns
	ns=$(fw_ns "$1")
	printf '%s\n' "addr add 10.1.0.254/16 dev lan0" "addr add fd01::fe/64 dev lan0 nodad" \
		"addr add 10.2.0.254/16 dev wan0" "addr add fd02::fe/64 dev wan0 nodad" | ip -n "$ns" -batch - ||
		die "addresses on $1"
	# What gratuitous ARP and neighbour advertisements tell the neighbours.
	ip -n "$CL" neigh flush dev br0
	ip -n "$SV" neigh flush dev br0
}

vip_del() {
	local ns
	ns=$(fw_ns "$1")
	# IPv6 addresses have gone already if the link is down.
	printf '%s\n' "addr del 10.1.0.254/16 dev lan0" "addr del fd01::fe/64 dev lan0" \
		"addr del 10.2.0.254/16 dev wan0" "addr del fd02::fe/64 dev wan0" | ip -force -n "$ns" -batch - 2>/dev/null
	return 0
}

links_down() { # all links of a firewall at once, as when its power goes
	printf 'link set %s down\n' sync0 lan0 wan0 | ip -n "$(fw_ns "$1")" -batch -
}

links_up() { # the addresses come back without the virtual ones
	local ns
	ns=$(fw_ns "$1")
	vip_del "$1"
	printf 'link set %s up\n' sync0 lan0 wan0 | ip -n "$ns" -batch -
	ip -n "$ns" addr replace "fd99::${1#fw}/64" dev sync0 nodad
}

# Drops PERCENT of what arrives on the sync link of both firewalls; 100 is a partition.
sync_loss() {
	local n rule="numgen random mod 100 < $1 drop"
	[ "$1" -lt 100 ] || rule=drop
	for n in "$FW1" "$FW2"; do
		in_ns "$n" nft -f - <<-RULES || die "loss rules"
		table inet loss
		delete table inet loss
		table inet loss {
			chain in { type filter hook input priority -400; iifname "sync0" udp dport 3780 counter $rule; }
		}
		RULES
	done
}

sync_heal() {
	in_ns "$FW1" nft delete table inet loss
	in_ns "$FW2" nft delete table inet loss
}

# Sends every datagram of the sync link twice.
sync_double() {
	local n
	for n in 1 2; do
		in_ns "$P-fw$n" nft -f - <<-RULES || die "doubling rules"
		table ip double {
			chain out {
				type filter hook output priority 0;
				oifname "sync0" udp dport 3780 counter dup to 192.168.100.$((3 - n)) device "sync0"
			}
		}
		RULES
	done
}

# For tests that take longer than UDP and ICMP entries live without traffic, on a slow machine at least.
timeouts_long() {
	local ns
	for ns in "$FW1" "$FW2"; do
		sysctl_in "$ns" net.netfilter.nf_conntrack_{udp_timeout,udp_timeout_stream,icmp_timeout,icmpv6_timeout}=600
	done
}

# What the tests take for granted of the kernel: its defaults, strict TCP tracking included.  $1: nf_conntrack_events.
defaults_check() {
	local fw key want got
	for fw in "$FW1" "$FW2"; do
		for key in tcp_loose=1 tcp_be_liberal=0 tcp_timeout_established=432000 events="$1"; do
			want=${key#*=}
			got=$(in_ns "$fw" sysctl -n "net.netfilter.nf_conntrack_${key%=*}")
			check_that "${fw#"$P"-}: nf_conntrack_$key" "$got == $want"
		done
	done
}

invalid_count() { # conntrack -S of a firewall: packets found INVALID
	in_ns "$(fw_ns "$1")" conntrack -S | sed -n 's/.* invalid=\([0-9]*\).*/\1/p' | awk '{ n += $1 } END { print n + 0 }'
}

flow_count() { in_ns "$(fw_ns "$1")" sysctl -n net.netfilter.nf_conntrack_count; }

# ---- The daemon ----

sock() { echo "$TMP/$1/ctsyncd.sock"; }

# The links of node N whose peer is PEER; a script may have a function of its own in its place.
links_conf() { # N PEER
	local net=${SYNC_NET:-192.168.100.}
	echo "{ interface = \"sync0\"; local = \"$net$1\"; peers = [ \"$net$2\" ]; port = 3780; }"
}

# fw1 or fw2. SEAL: a line in place of the group's key. EXTRA_SYNC and EXTRA: more settings, whole lines. SYNC_NET: 192.168.100. unless told, fd99:: or the like.
config_write() {
	local n=${1#fw} peer key='key_files = [ "'$TMP'/key" ];' seal
	peer=$((3 - n))
	seal=${SEAL:-$key}
	mkdir -p "$TMP/$1"
	[ -e "$TMP/key" ] || "$CTSYNC" keygen "$TMP/key" >/dev/null || die "keygen"
	cat >"$TMP/$1/ctsyncd.conf" <<-CONF
	node = "$1";
	standby = "$MODE";
	sync = {
	  $seal
	  ${EXTRA_SYNC:-}
	  links = ( $(links_conf "$n" "$peer") );
	};
	control = { socket = "$(sock "$1")"; };
	${EXTRA:-}
	CONF
}

LAUNCH=() # words before the command
daemon_start() { # fw1 or fw2
	local ns
	ns=$(fw_ns "$1")
	config_write "$1"
	DAEMON[$1]=$TMP/$1/log
	# Not by in_ns: a function in the background is a shell of its own, and $! its pid.
	"${LAUNCH[@]}" ip netns exec "$ns" "$CTSYNCD" -c "$TMP/$1/ctsyncd.conf" >>"$TMP/$1/log" 2>&1 &
	PIDS[$1]=$!
	poll 10 ctsync "$1" status >/dev/null || die "$1: the daemon does not answer: $(tail -n 3 "$TMP/$1/log")"
}

daemons_start() {
	daemon_start fw1
	daemon_start fw2
	ctsync fw1 promote >/dev/null || die "fw1 does not take the role"
	poll 10 peers_known >/dev/null || die "the daemons do not find each other"
}

daemon_kill() { # SIGKILL
	kill -KILL "${PIDS[$1]}" 2>/dev/null
	wait "${PIDS[$1]}" 2>/dev/null
	unset "PIDS[$1]"
}

daemon_stop() { # SIGTERM; the exit status is the daemon's
	local status
	kill -TERM "${PIDS[$1]}"
	wait "${PIDS[$1]}"
	status=$?
	unset "PIDS[$1]"
	return $status
}

daemon_lives() { kill -0 "${PIDS[$1]}" 2>/dev/null; }

ctsync() { # fw1 or fw2, verb...
	local fw=$1
	shift
	"$CTSYNC" -s "$(sock "$fw")" "$@"
}

# status FW PATH: one value of `status --json`.
status() {
	ctsync "$1" --json status | python3 -c '
import json, sys
value = json.load(sys.stdin)
for word in sys.argv[1].split("."):
    value = value[int(word)] if isinstance(value, list) else value[word]
print(str(value).lower() if isinstance(value, bool) else value)' "$2"
}

# counter FW NAME: a counter of `stats`, in whatever group it stands.
counter() {
	ctsync "$1" --json stats | python3 -c '
import json, sys
def find(tree):
    if isinstance(tree, list):
        tree = dict(enumerate(tree))
    if not isinstance(tree, dict):
        return None
    if sys.argv[1] in tree:
        return tree[sys.argv[1]]
    return next((v for v in map(find, tree.values()) if v is not None), None)
value = find(json.load(sys.stdin))
sys.exit("no counter " + sys.argv[1]) if value is None else print(value)' "$2"
}

peer_up() { [ "$(status "$1" peers.0.state)" = up ]; }
peers_known() { [ "$(status fw1 peers.0.state)" != down ] && [ "$(status fw2 peers.0.state)" != down ]; }
peers_up() { peer_up fw1 && peer_up fw2; }
ready() { [ "$(status "$1" ready)" = true ]; }

# ---- A share of a core: a CPU cgroup of version 1 or 2 ----

SHARE_CG=
share_make() { # false: there is none that can be written
	local cg=
	if [ -e /sys/fs/cgroup/cpu/cpu.cfs_quota_us ]; then cg=/sys/fs/cgroup/cpu/$P
	elif grep -qw cpu /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null; then cg=/sys/fs/cgroup/$P; fi
	[ -n "$cg" ] && mkdir "$cg" 2>/dev/null && SHARE_CG=$cg
}

share_set() { # percent of a core: a millisecond, the least that the kernel gives, of so many
	local period=$((100000 / $1))
	if [ -e "$SHARE_CG/cpu.max" ]; then echo "1000 $period" >"$SHARE_CG/cpu.max"; else
		echo -1 >"$SHARE_CG/cpu.cfs_quota_us"
		echo $period >"$SHARE_CG/cpu.cfs_period_us" && echo 1000 >"$SHARE_CG/cpu.cfs_quota_us"
	fi
}

confine() { # a daemon, and its share in percent; none: all daemons are free again
	local pid
	while read -r pid; do echo "$pid" >"${SHARE_CG%/*}/cgroup.procs"; done <"$SHARE_CG/cgroup.procs"
	[ -n "${1:-}" ] || return 0
	{ share_set "$2" && echo "${PIDS[$1]}" >"$SHARE_CG/cgroup.procs"; } || die "$1 gets no share of a core"
}

# ---- Oracles ----

compare() { "$HERE/compare.py" "$@"; }

# Both kernels hold the same flows. SYN_SENT cannot be taken over and is not injected.
kernels_equal() { compare --skip-state SYN_SENT "kernel:$FW1" "kernel:$FW2"; }

cache_equal() { # OWNER: its kernel against its cache's local half, and against the remote half of the other
	local owner=$1 peer
	peer=$(other "$owner")
	ctsync "$owner" flows local >"$TMP/local.txt" || return 2
	ctsync "$peer" flows remote >"$TMP/remote.txt" || return 2
	compare "kernel:$(fw_ns "$owner")" "text:$TMP/local.txt" || return 1
	compare "kernel:$(fw_ns "$owner")" "text:$TMP/remote.txt"
}

# Large tables are compared as sorted text, which is fast: what conntrack(8) prints against what ctsync prints.
lines_sorted() { sed -E 's/^([^ ]+ +[0-9]+) [0-9]+/\1/; s/ use=[0-9]+$//' "$1" | LC_ALL=C sort; }

# Takes all tables now; the judgement comes later.
snapshot() { # OWNER
	local ns peer
	ns=$(fw_ns "$1")
	peer=$(other "$1")
	rm -f "$TMP"/snap.*
	in_ns "$ns" conntrack -L >"$TMP/snap.kernel" 2>/dev/null || return 2
	ctsync "$1" flows local >"$TMP/snap.local" || return 2
	ctsync "$peer" flows remote >"$TMP/snap.remote" || return 2
	[ "$MODE" != hot ] || in_ns "$(fw_ns "$peer")" conntrack -L >"$TMP/snap.copies" 2>/dev/null
}

snapshot_equal() {
	local table status=0
	lines_sorted "$TMP/snap.kernel" >"$TMP/sorted.kernel"
	for table in local remote copies; do
		[ -e "$TMP/snap.$table" ] || continue
		lines_sorted "$TMP/snap.$table" >"$TMP/sorted"
		if cmp -s "$TMP/sorted.kernel" "$TMP/sorted"; then
			echo "$table: equal, $(wc -l <"$TMP/sorted") flows"
			continue
		fi
		status=1
		LC_ALL=C comm -3 "$TMP/sorted.kernel" "$TMP/sorted" >"$TMP/differ"
		echo "$table: missing $(grep -vc $'^\t' "$TMP/differ"), too much $(grep -c $'^\t' "$TMP/differ")"
		head -n 3 "$TMP/differ"
	done
	return $status
}

# equal for large tables; the attributes that text does not show are left to kernels_equal.
quick_equal() { snapshot "$1" && snapshot_equal; }

remote_count() { status "$1" flows.remote; }

# count_is FW local|remote N
count_is() { [ "$(status "$1" "flows.$2")" = "$3" ]; }

flows_below() { [ "$(flow_count "$1")" -lt "$2" ]; }
flows_above() { [ "$(flow_count "$1")" -gt "$2" ]; }
count_below() { [ "$(remote_count "$1")" -lt "$2" ]; }

# equal OWNER: what equality means in this mode.
equal() {
	cache_equal "$1" || return 1
	[ "$MODE" != hot ] || kernels_equal
}

# ---- Traffic ----

TRAFFIC=$BUILD/tests/netns/traffic
FLOOD=$BUILD/tests/netns/flood

flood() { # fw1 or fw2, arguments
	local ns
	ns=$(fw_ns "$1")
	shift
	in_ns "$ns" "$FLOOD" "$@"
}

traffic_start() { # first source port of the clients, if not the usual one
	mkfifo "$TMP/tr.in" "$TMP/tr.out"
	"$TRAFFIC" "$CL" "$SV" "$@" <"$TMP/tr.in" >"$TMP/tr.out" 2>"$TMP/tr.err" &
	TR_PID=$!
	exec {TR_IN}>"$TMP/tr.in" {TR_OUT}<"$TMP/tr.out"
}

traffic_stop() {
	[ -n "$TR_PID" ] || return 0
	exec {TR_IN}>&- {TR_OUT}<&-
	wait "$TR_PID"
	TR_PID=
	rm -f "$TMP/tr.in" "$TMP/tr.out"
}

# Sends a command, leaves the answer in the array TR.
tr_do() {
	local line
	TR=()
	printf '%s\n' "$*" >&"$TR_IN"
	while read -r -t 60 -u "$TR_OUT" line; do
		[ "$line" = end ] && return 0
		TR+=("$line")
	done
	die "traffic does not answer to '$*': $(cat "$TMP/tr.err")"
}

# tr_open KIND COUNT ...
tr_open() {
	while [ $# -gt 1 ]; do
		tr_do open "$1" "$2"
		note "${TR[0]}"
		shift 2
	done
}

# traffic_alive MS TEXT: a round trip on every flow within MS, a check for each protocol.
traffic_alive() {
	local line w
	tr_do check "$1"
	for line in "${TR[@]}"; do
		read -r -a w <<<"$line"
		if [ "${w[3]}" = "${w[5]}" ] && [ "${w[12]}" = 0 ]; then pass "$2: ${line#check }"; else fail "$2: ${line#check }"; fi
	done
}

# traffic_lost MS TEXT: none may answer.
traffic_lost() {
	local line w
	tr_do check "$1"
	for line in "${TR[@]}"; do
		read -r -a w <<<"$line"
		if [ "${w[3]}" = 0 ]; then pass "$2: ${line#check }"; else fail "$2: ${line#check }"; fi
	done
}

gap_note() {
	tr_do gap
	note "$1: longest silence: $(printf '%s, ' "${TR[@]#gap }" | sed 's/, $//')"
}
