#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The demo of bootstrap.sh: what a failover does to 200 TCP connections and some UDP, with ctsyncd and without.
#
#   demo.sh [BUILD_DIRECTORY]       as root; the default is ./build
#
# Two firewalls between clients and servers, all in network namespaces. They translate the clients' addresses (SNAT), drop
# what is INVALID, and let a new connection begin with a SYN only. Then the active one loses power: its links go down and
# its daemon is killed at the same moment. The addresses move to the other, which is told to take over.

[ $# -eq 0 ] || CTSYNCD_BUILD=$(realpath "$1")
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

declare -A ALIVE=() OF=() GAP=()
PROMOTE=

step() { printf '   %s\n' "$*"; }

answers_keep() { # with or without: keeps what `check` and `gap` said
	local line w
	for line in "${TR[@]}"; do
		read -r -a w <<<"$line"
		case ${w[0]} in
		check) ALIVE[$1,${w[1]}]=${w[3]} OF[$1,${w[1]}]=${w[5]} ;;
		gap) GAP[$1,${w[1]}]=${w[2]} ;;
		esac
	done
}

power_cut() {
	[ "$1" = without ] || daemon_kill fw1
	links_down fw1
	vip_add fw2
}

run() { # with or without
	local start
	net_make
	if [ "$1" = with ]; then
		step "starting ctsyncd on both firewalls, standby = \"hot\""
		daemons_start
	fi
	traffic_start
	step "opening 200 TCP connections and 20 UDP flows through fw1, source ports shared, so that NAT remaps them"
	tr_do open tcp4 200
	tr_do open udp4 20
	tr_do chat on
	tr_do check 5000
	if [ "$1" = with ]; then
		poll 10 equal fw1 >/dev/null || die "the firewalls do not agree"
		step "both kernels hold the same $(flow_count fw1) flows (compared attribute by attribute)"
	fi
	tr_do gap
	if [ "$1" = with ]; then
		step "fw1: links down, SIGKILL to its daemon; the addresses move to fw2; ctsync promote"
	else
		step "fw1: links down; the addresses move to fw2"
	fi
	power_cut "$1"
	if [ "$1" = with ]; then
		start=$(now_ms)
		ctsync fw2 promote >"$TMP/promote" 2>&1 || die "promote: $(cat "$TMP/promote")"
		PROMOTE=$(($(now_ms) - start))
	fi
	step "asking every connection for a round trip, both ways, payload verified"
	tr_do check 4000
	answers_keep "$1"
	tr_do gap
	answers_keep "$1"
	traffic_stop
	cleanup
	PIDS=() DAEMON=()
}

line() { printf '   | %-28s | %18s | %18s |\n' "$@"; }
rule() { printf '   +-%s-+-%s-+-%s-+\n' "$(printf -- '-%.0s' {1..28})" "$(printf -- '-%.0s' {1..18})" "$(printf -- '-%.0s' {1..18})"; }
survived() { echo "${ALIVE[$1]} of ${OF[$1]}"; }
silence() { if [ "${ALIVE[$1]}" = 0 ]; then echo "for ever"; else echo "${GAP[$1]} ms"; fi; }

printf '\nctsyncd: a firewall dies under 200 connections\n\n'
cat <<'PICTURE'
                  +------ fw1 (active) ------+
     25 clients --+        ||  sync          +-- server
                  +------ fw2 (backup) ------+

PICTURE
printf '1. With ctsyncd\n'
run with
printf '\n2. The same without it\n'
run without
printf '\n'
rule
line "" "with ctsyncd" "without"
rule
line "TCP connections survived" "$(survived with,tcp4)" "$(survived without,tcp4)"
line "UDP flows survived" "$(survived with,udp4)" "$(survived without,udp4)"
line "longest silence, TCP" "$(silence with,tcp4)" "$(silence without,tcp4)"
line "longest silence, UDP" "$(silence with,udp4)" "$(silence without,udp4)"
line "promote took" "$PROMOTE ms" "-"
rule
cat <<'WORDS'
   A flow survived if a round trip succeeds after the failover with no reconnect and the server still sees it
   come from the same address and port. UDP that the client starts again may pass as a new flow; behind NAT
   it is then another port, and what the server sends first is lost.

WORDS
finished=1
trap - EXIT
[ "${ALIVE[with,tcp4]}" = 200 ] && [ "${ALIVE[with,udp4]}" = 20 ] && [ "${ALIVE[without,tcp4]}" = 0 ]
