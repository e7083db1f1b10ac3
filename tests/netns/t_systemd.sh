#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# ctsyncd under a real systemd. A container boots from this machine's /usr (read-only, with the build laid over it as
# `make install` lays it) and an empty /etc and /var, so that users, sysctls and units come from what we install. A
# second node runs in a network namespace at the other end of a veth pair. Checked: installed, started, READY, the
# status line, the unprivileged user with its one capability, events received, flows injected, reload, an instance of
# the template, the watchdog's kill and a SIGKILL with the role kept, stop, and that a wrong configuration is not
# tried again.

set -u
src=${CTSYNCD_SRC:-$(cd "$(dirname "$0")/../.." && pwd)}
build=${CTSYNCD_BUILD:-$src/build}
tag=ctsd-sd-$$
tmp=$(mktemp -d /tmp/$tag.XXXXXX)
dest=$tmp/dest
peer_ns=$tag
nspawn='' leader='' peer_pid=''
passed=0 failed=0

cannot() {
	rm -rf "$tmp"
	echo "$*"
	exit 77
}

[ "$(id -u)" = 0 ] || cannot "needs root"
for tool in systemd-nspawn nsenter nft conntrack ip python3; do
	command -v $tool >/dev/null || cannot "needs $tool"
done
grep -qw overlay /proc/filesystems || cannot "needs overlayfs"
[ -x "$build/ctsyncd" ] || { echo "$build/ctsyncd is not built"; exit 1; }
nm "$build/ctsyncd" 2>/dev/null | grep -q __asan_init && cannot "sanitizers do not live under the unit's filter"

# --- Bookkeeping -------------------------------------------------------------------------------------------------

ok() { passed=$((passed + 1)); echo "ok   $*"; }
not_ok() { failed=$((failed + 1)); echo "FAIL $*"; }

check() { # text, command...
	local text=$1
	shift
	if "$@" >/dev/null; then ok "$text"; else not_ok "$text ($*)"; fi
}

same() { # text, want, got
	if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1: want '$2', got '$3'"; fi
}

# Polls a command until it succeeds; a deadline, never a fixed pause.
within() { # seconds, command...
	local end=$(($(date +%s) + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -lt "$end" ] || return 1
		sleep 0.1
	done
}

in_box() { nsenter -t "$leader" -a -- "$@"; }
unit() { in_box systemctl show ctsyncd -p "$1" --value; }
unit_is() { [ "$(unit "$1")" = "$2" ]; }
main_pid() { # as the host numbers it
	local inner p
	inner=$(unit MainPID)
	for p in $(pgrep -x ctsyncd); do
		[ "$(awk '/^NSpid:/ { print $NF }' "/proc/$p/status" 2>/dev/null)" = "$inner" ] || continue
		[ "$(readlink "/proc/$p/ns/pid")" = "$(readlink "/proc/$leader/ns/pid")" ] && echo "$p" && return
	done
	return 1
}
proc_status() { awk -v k="$1:" '$1 == k { print $2 }' "/proc/$(main_pid)/status"; }

# A value out of `ctsync status --json` of the node in the box, by a Python expression over s.
status() {
	in_box ctsync --json status |
		python3 -c 'import json, sys; s = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"
}
status_is() { [ "$(status "$1")" = "$2" ]; }
status_text_has() { unit StatusText | grep -qi -- "$1"; }

# shellcheck disable=SC2317 # the trap calls it
cleanup() {
	local end
	if [ "$failed" -gt 0 ] && [ -n "$leader" ] && [ -e "/proc/$leader" ]; then
		echo "--- the unit's journal"
		in_box journalctl -u ctsyncd --no-pager -o short-precise -n 60
		in_box systemctl status ctsyncd --no-pager
		[ ! -e "$tmp/peer.log" ] || { echo "--- the other node"; tail -n 20 "$tmp/peer.log"; }
	fi
	if [ -n "$peer_pid" ]; then kill "$peer_pid" 2>/dev/null; wait "$peer_pid"; fi
	if [ -n "$nspawn" ]; then
		[ -z "$leader" ] || in_box systemctl poweroff >/dev/null 2>&1
		end=$(($(date +%s) + 20))
		while kill -0 "$nspawn" 2>/dev/null && [ "$(date +%s)" -lt "$end" ]; do sleep 0.1; done
		kill -KILL "$nspawn" 2>/dev/null
		wait "$nspawn" 2>/dev/null
	fi
	ip netns del "$peer_ns" 2>/dev/null
	rm -rf "$tmp"
	echo "$passed passed, $failed failed"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
	exit
}
trap cleanup EXIT
trap 'failed=$((failed + 1)); exit' INT TERM HUP

give_up() {
	not_ok "$*"
	exit
}

# --- Boot --------------------------------------------------------------------------------------------------------

if ! make -s -C "$build" install DESTDIR="$dest" >"$tmp/install.log" 2>&1; then
	cat "$tmp/install.log"
	give_up "make install"
fi
conf=$(sed -n 's/^ExecStart=.* -c \([^ ]*\).*/\1/p' "$(find "$dest" -name ctsyncd.service)")
mkdir -p "$dest/usr" "$dest$(dirname "$conf")"

write_conf() { # node, own address, peer's address, control socket, key file, file
	cat >"$6" <<-END
	node = "$1";
	standby = "hot";
	sync = {
	  key_files = [ "$5" ];
	  links = ( { interface = "sync0"; local = "$2"; peers = [ "$3" ]; port = 3780; } );
	};
	control = { socket = "$4"; };
	END
}
key=/etc/ctsyncd/sync.key
(umask 077 && head -c 32 /dev/urandom >"$tmp/sync.key")
write_conf box 10.99.0.1 10.99.0.2 /run/ctsyncd/ctsyncd.sock $key "$dest$conf"
write_conf outer 10.99.0.2 10.99.0.1 "$tmp/peer.sock" "$tmp/sync.key" "$tmp/peer.conf"

systemd-nspawn -q -D / --volatile=yes -b --register=no --keep-unit --private-network --machine="$tag" \
	--overlay-ro="/usr:$dest/usr:/usr" --console=pipe --kill-signal=SIGRTMIN+4 \
	systemd.firstboot=off systemd.unit=basic.target systemd.show_status=no </dev/null >"$tmp/boot.log" 2>&1 &
nspawn=$!
# shellcheck disable=SC2317 # within calls it
leader_is_there() {
	leader=$(pgrep -P "$nspawn" -x systemd) &&
		[ "$(readlink "/proc/$leader/ns/pid")" != "$(readlink /proc/self/ns/pid)" ]
}
within 30 leader_is_there || { cat "$tmp/boot.log"; give_up "systemd-nspawn made no container"; }
within 60 in_box systemctl is-active basic.target || { cat "$tmp/boot.log"; give_up "systemd did not come up"; }
ok "systemd $(in_box systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p') booted"

# --- Installed ---------------------------------------------------------------------------------------------------

check "sysusers made the user" in_box getent passwd ctsyncd
same "the unit is found" loaded "$(unit LoadState)"
check "sysctl.d is installed" in_box grep -q nf_conntrack_events "$(cd "$dest" && find . -path '*sysctl.d*' -type f |
	sed 's/^\.//')"
in_box mkdir -p "$(dirname "$conf")" 2>/dev/null
case $conf in /usr/*) ;; *) cp "$dest$conf" "/proc/$leader/root$conf" ;; esac
in_box chmod 644 "$conf" 2>/dev/null
# As README.md says: root's file, which the daemon's group may read.
in_box mkdir -p /etc/ctsyncd
cp "$tmp/sync.key" "/proc/$leader/root$key"
in_box sh -c "chgrp ctsyncd $key && chmod 640 $key"
check "the configuration is good" in_box ctsyncd -t -c "$conf"

# --- The other node, and a network -------------------------------------------------------------------------------

ip netns add "$peer_ns" || give_up "ip netns add"
ip link add sync0 netns "$peer_ns" type veth peer name sync0 netns "$leader" || give_up "veth"
in_peer() { ip netns exec "$peer_ns" "$@"; }
in_net() { nsenter -t "$leader" -n -- "$@"; } # the host's programs in the box's network
for side in "in_net 10.99.0.1 10.66.0.1" "in_peer 10.99.0.2 10.77.0.1"; do
	# shellcheck disable=SC2086 # three words
	set -- $side
	$1 ip addr add "$2/24" dev sync0
	$1 ip link add lan0 type veth peer name lan0far
	$1 ip addr add "$3/24" dev lan0
	for dev in lo sync0 lan0far lan0; do $1 ip link set "$dev" up; done
	# Tracking is on where a rule asks for it; the replication itself is not tracked.
	$1 nft -f - <<-'END'
	table inet t {
		chain raw_in { type filter hook prerouting priority raw; udp dport 3780 notrack; }
		chain raw_out { type filter hook output priority raw; udp dport 3780 notrack; }
		chain out { type filter hook output priority filter; ct state invalid drop; }
	}
	END
done
in_net sysctl -qw net.netfilter.nf_conntrack_events=1
in_peer sysctl -qw net.netfilter.nf_conntrack_events=1
# Not by in_peer: a function in the background is a shell of its own, and $! its pid.
ip netns exec "$peer_ns" "$build/ctsyncd" -c "$tmp/peer.conf" >"$tmp/peer.log" 2>&1 &
peer_pid=$!

# --- Started -----------------------------------------------------------------------------------------------------

check "systemctl start returns with READY" in_box timeout 30 systemctl start ctsyncd
same "active" active "$(unit ActiveState)"
check "the status line is told to systemd" within 5 status_text_has backup
check "what it works on stands in /run" in_box test -s /run/ctsyncd/ctsyncd.sock.deaths
same "there is no limit of restarts" "always 0" "$(unit Restart) $(unit StartLimitIntervalUSec)"
pid=$(main_pid) || give_up "no main process"
same "runs as its own user" "$(in_box id -u ctsyncd)" "$(proc_status Uid)"
same "CAP_NET_ADMIN and nothing else" 0000000000001000 "$(proc_status CapEff)"
same "nothing else can be had" 0000000000001000 "$(proc_status CapBnd)"
same "no new privileges" 1 "$(proc_status NoNewPrivs)"
same "system calls are filtered" 2 "$(proc_status Seccomp)"
same "nice" -5 "$(ps -o ni= -p "$pid" | tr -d ' ')"
if in_box capsh --has-p=cap_sys_resource 2>/dev/null; then
	same "the memory killer spares it" -900 "$(cat "/proc/$pid/oom_score_adj")"
fi

# --- Works as that user ------------------------------------------------------------------------------------------

check "the other node is up" within 20 status_is "[p['state'] for p in s['peers']]" "['up']"

# 20 UDP flows out of the given side, to the network of its lan0.
flows() { # side, prefix
	$1 bash -c 'for i in {1..20}; do echo x >/dev/udp/'"$2"'.$((i + 1))/5000; done'
}
# shellcheck disable=SC2317 # within calls it
held() { [ "$($1 conntrack -L -p udp 2>/dev/null | grep -c "src=$2\.1 dst=$2\.")" -eq 20 ]; }
# shellcheck disable=SC2317 # within calls it
events_seen() { [ "$(in_box ctsync flows local | grep -c 'dst=10\.66\.0\.')" -ge 20 ]; }
flows in_net 10.66.0
check "events of 20 new flows are received" within 10 events_seen
check "and the other node's kernel has them" within 10 held in_peer 10.66.0
flows in_peer 10.77.0
check "20 flows of the other node are injected here" within 10 held in_net 10.77.0

# keepalived's way to say so.
notify=$(cd "$dest" && find . -name ctsyncd-notify.sh | sed 's/^\.//')
check "keepalived's script: MASTER promotes" in_box "$notify" INSTANCE outside MASTER 100
check "the role follows" within 5 status_is "s['role']" primary
check "keepalived's script: BACKUP demotes" in_box "$notify" INSTANCE outside BACKUP 100
check "the role follows again" within 5 status_is "s['role']" backup
check "keepalived's script refuses an unknown state" in_box sh -c "! $notify INSTANCE outside ASLEEP 100"
check "promote" in_box ctsync promote
check "the status line follows, with readiness" within 5 status_text_has 'primary, ready; '
check "systemctl reload" in_box systemctl reload ctsyncd
check "still primary after it" status_is "s['role']" primary
same "the same process" "$pid" "$(main_pid)"

# --- An instance of the template, in a namespace of the box --------------------------------------------------------

# shellcheck disable=SC2317 # within calls it
instance_answers() { in_box ctsync -s /run/ctsyncd-inner/ctsyncd.sock status | grep -q inner; }
write_conf inner 10.98.0.1 10.98.0.2 /run/ctsyncd-inner/ctsyncd.sock $key "/proc/$leader/root/etc/ctsyncd/inner.conf"
case $conf in
/etc/ctsyncd/*)
	in_box ip netns add inner
	check "ctsyncd@inner starts beside it" in_box timeout 30 systemctl start ctsyncd@inner
	check "and answers on a socket of its own" within 5 instance_answers
	same "in the namespace of that name" "$(in_box stat -L -c %i /run/netns/inner)" "$(in_box sh -c \
		'stat -L -c %i /proc/$(systemctl show ctsyncd@inner -p MainPID --value)/ns/net')"
	check "and stops alone" in_box timeout 20 systemctl stop ctsyncd@inner
	same "the first one runs on" active "$(unit ActiveState)"
	;;
esac

# --- Falls and rises ---------------------------------------------------------------------------------------------

# shellcheck disable=SC2317 # within calls it
risen() { # restarts wanted
	[ "$(unit NRestarts)" = "$1" ] && unit_is ActiveState active && [ "$(unit StatusText)" != "" ]
}
kill -STOP "$pid"
check "a stopped daemon is killed by the watchdog and restarted" within 60 risen 1
check "the journal says watchdog" in_box sh -c 'journalctl -u ctsyncd --no-pager | grep -qi watchdog'
check "it is primary still" within 5 status_is "s['role']" primary
check "the other node is up again" within 20 status_is "[p['state'] for p in s['peers']]" "['up']"
pid=$(main_pid) && kill -KILL "$pid"
check "after a SIGKILL it is restarted" within 20 risen 2
check "it is primary still, again" within 5 status_is "s['role']" primary
# More often than systemd lets a unit start by default: five times in ten seconds.
for n in 3 4 5 6 7 8; do
	pid=$(main_pid) && kill -KILL "$pid"
	within 20 risen $n || break
done
check "killed six times in a row it is restarted each time" risen 8
check "it is primary still, for all that" within 5 status_is "s['role']" primary

# --- Stop, and a start that must fail ----------------------------------------------------------------------------

check "systemctl stop" in_box timeout 20 systemctl stop ctsyncd
same "stopped cleanly" "success 0" "$(unit Result) $(unit ExecMainStatus)"
same "inactive" inactive "$(unit ActiveState)"
check "the runtime directory is kept" in_box test -d /run/ctsyncd
check "the role is kept in it" in_box sh -c 'grep -rqs primary /run/ctsyncd/'
same "no call was refused by the filter" "" "$(in_box journalctl -u ctsyncd --no-pager | grep -i 'not permitted')"
case $conf in
/usr/*) ;;
*)
	echo 'nonsense = 1;' >>"/proc/$leader/root$conf"
	if in_box timeout 30 systemctl start ctsyncd 2>/dev/null; then
		not_ok "it started with an unknown key in its configuration"
	else
		ok "a wrong configuration does not start"
	fi
	same "exit status is EX_CONFIG" 78 "$(unit ExecMainStatus)"
	same "and is not tried again" failed "$(unit ActiveState)"
	;;
esac
