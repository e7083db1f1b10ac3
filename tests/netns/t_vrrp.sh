#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# keepalived decides, and its notify script calls the verbs, as conf/keepalived has it: the virtual addresses move when a
# node dies and when keepalived is stopped, and flows go on. And the daemons starve nobody: under as many events as the
# machine can make, with the daemons' nice value of the unit file, VRRP adverts stay on time and no role changes.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

ADVERT_MS=500

keepalived_conf() { # fw1 or fw2, priority
	cat <<-CONF
	global_defs {
		router_id $1
		vrrp_version 3
		script_user root
	}
	vrrp_sync_group firewall {
		group {
			outside
			inside
		}
		notify "$TMP/$1/notify"
	}
	vrrp_instance outside {
		state BACKUP
		nopreempt
		interface wan0
		virtual_router_id 51
		priority $2
		advert_int 0.5
		virtual_ipaddress {
			10.2.0.254/16
		}
		virtual_ipaddress_excluded {
			fd02::fe/64
		}
	}
	vrrp_instance inside {
		state BACKUP
		nopreempt
		interface lan0
		virtual_router_id 52
		priority $2
		advert_int 0.5
		virtual_ipaddress {
			10.1.0.254/16
		}
		virtual_ipaddress_excluded {
			fd01::fe/64
		}
	}
	CONF
}

# What the package installs, with this test's socket; and a log of what keepalived said.
notify_write() { # fw1 or fw2
	cat >"$TMP/$1/notify" <<-SH
	#!/bin/sh
	echo "\$3" >>"$TMP/$1/states"
	PATH=$(dirname "$CTSYNC"):\$PATH CTSYNCD_SOCKET=$(sock "$1") exec "$SRC/conf/keepalived/ctsyncd-notify.sh" "\$@" >>"$TMP/$1/notify.log" 2>&1
	SH
	chmod 700 "$TMP/$1/notify"
}

keepalived_start() { # fw1 or fw2, priority
	local n=${1#fw} ns
	ns=$(fw_ns "$1")
	: >"$TMP/$1/states"
	keepalived_conf "$1" "$2" >"$TMP/$1/keepalived.conf"
	notify_write "$1"
	# Addresses of its own, which adverts come from.
	ip -n "$ns" addr replace "10.1.255.$n/16" dev lan0
	ip -n "$ns" addr replace "10.2.255.$n/16" dev wan0
	ip netns exec "$ns" keepalived -n -l -D -P -f "$TMP/$1/keepalived.conf" -p "$TMP/$1/keepalived.pid" \
		-r "$TMP/$1/vrrp.pid" >>"$TMP/$1/keepalived.log" 2>&1 &
	PIDS[keepalived$1]=$!
}

said() { [ "$(tail -n 1 "$TMP/$1/states")" = "$2" ]; }
role_is() { [ "$(status "$1" role)" = "$2" ]; }
power_off() { # fw1 or fw2
	local pid
	links_down "$1"
	for pid in $(ip netns pids "$(fw_ns "$1")"); do kill -KILL "$pid"; done
	wait "${PIDS[$1]}" "${PIDS[keepalived$1]}" 2>/dev/null
	unset "PIDS[$1]" "PIDS[keepalived$1]"
}
# Prints the longest time between two adverts, ms, after that of the seconds it listens.
adverts() { # namespace, interface, seconds
	in_ns "$1" python3 - "$2" "$3" <<-'PY'
	import socket, sys, time
	s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
	s.bind((sys.argv[1], 0))
	s.settimeout(0.1)
	end = time.monotonic() + float(sys.argv[2])
	last, longest, count = None, 0, 0
	while time.monotonic() < end:
	    try:
	        packet = s.recv(2048)
	    except TimeoutError:
	        continue
	    if packet[9] != 112:
	        continue
	    now = time.monotonic()
	    if last:
	        longest = max(longest, now - last)
	    last, count = now, count + 1
	print(int(longest * 1000), count)
	PY
}
hears() { # fw1 or fw2
	local ns longest lan wan
	ns=$(fw_ns "$1")
	read -r longest lan < <(adverts "$ns" lan0 1.2)
	read -r longest wan < <(adverts "$ns" wan0 1.2)
	[ "$lan" -gt 0 ] && [ "$wan" -gt 0 ]
}
# Creates and deletes without a pause until the file stop is there. Packets, which stand behind events in life, take no
# process's time, so the flood gives way to all others.
storm() {
	local i=0
	while [ ! -e "$TMP/stop" ]; do
		nice -n 10 ip netns exec "$FW1" "$FLOOD" create -n 30000 -b $((200000 + i % 4 * 30000)) >/dev/null
		nice -n 10 ip netns exec "$FW1" "$FLOOD" delete -n 30000 -b $((200000 + i % 4 * 30000)) >/dev/null
		i=$((i + 1))
	done
}

MODE=hot NAT=snat
max_raise 400000
net_make
vip_del fw1
for ns in "$FW1" "$FW2"; do in_ns "$ns" nft insert rule inet fw input meta l4proto vrrp accept; done
daemon_start fw1
daemon_start fw2
for fw in fw1 fw2; do renice -n -5 -p "${PIDS[$fw]}" >/dev/null || die "renice"; done
check "the peers are up" poll 10 peers_up
keepalived_start fw1 100
check "fw1 becomes MASTER" poll 15 said fw1 MASTER
keepalived_start fw2 90 # not before: who is first stays master (nopreempt)
check "fw2 becomes BACKUP" poll 15 said fw2 BACKUP
check "and primary" poll 5 role_is fw1 primary
traffic_start
tr_open tcp4 50 tcp6 50 udp4 10 icmp4 5
traffic_alive 5000 "through fw1"
rules_lock

events=$(counter fw1 events_new)
storm &
PIDS[storm]=$!
read -r longest count < <(adverts "$FW2" lan0 10)
: >"$TMP/stop"
wait "${PIDS[storm]}"
unset "PIDS[storm]"
note "$count adverts in 10 s, every $ADVERT_MS ms, the longest gap $longest ms; $((($(counter fw1 events_new) - events) * 2)) events"
check_that "there was a storm" "$(counter fw1 events_new) - $events > 100000"
check_that "adverts stay on time" "$count > 15 && $longest < 2 * $ADVERT_MS"
check "fw1 stayed MASTER" said fw1 MASTER
check "fw2 stayed BACKUP" said fw2 BACKUP
# Not all that fw1 holds is its own: fw2 speaks as well, and owns that.
check "the kernels are equal" poll 10 kernels_equal

tr_do hold
tr_do gap
power_off fw1
check "fw1 dies: fw2 becomes MASTER" poll 10 said fw2 MASTER
check "and primary" poll 5 role_is fw2 primary
traffic_alive 5000 "fw1 died"
gap_note "fw1 died"

links_up fw1
daemon_start fw1
# A bridge forwards on a port some time after its link came up; a keepalived that hears nobody takes over.
check "adverts reach fw1 again" poll 10 hears fw1
keepalived_start fw1 100
check "fw1 is back as BACKUP" poll 10 said fw1 BACKUP
check "fw1 is ready" poll 20 ready fw1
tr_do gap
kill -TERM "${PIDS[keepalivedfw2]}"
check "keepalived stops on fw2: fw1 becomes MASTER" poll 10 said fw1 MASTER
check "fw1 is primary" poll 5 role_is fw1 primary
check "fw2 is backup" poll 5 role_is fw2 backup
wait "${PIDS[keepalivedfw2]}"
unset "PIDS[keepalivedfw2]"
traffic_alive 5000 "fw2 gave way"
gap_note "fw2 gave way"
tr_do bytes
note "payload verified: ${TR[0]}"
[ "$failed" = 0 ] || tail -n 40 "$TMP"/fw?/keepalived.log "$TMP"/fw?/notify.log
finish
