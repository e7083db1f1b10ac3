#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A switchover, and the daemon that takes over is killed in the midst of its promote: in cache mode some of the flows are in
# its kernel, some were in its memory alone; another client is answered meanwhile. Started again it is primary still, learns
# from the peer what it lacks, writes it, and a promote that is given again finds all done. Nothing is lost, and both kernels
# are the same.
#
# MODE=hot and MODE=cache; without it both, one after the other.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
both_modes

flows=60000
net_make
timeouts_long
daemons_start
traffic_start
tr_open tcp4 20 tcp6 20 udp4 5
tr_do chat on
check "$flows flows" flood fw1 create -n $flows -S
check "fw2 has them" poll 15 cache_equal fw1
rules_lock # else UDP whose entry is still to come would begin anew, translated otherwise
check "demote fw1" ctsync fw1 demote
script -qefc "'$CTSYNC' -s '$(sock fw2)' promote" /dev/null </dev/null >"$TMP/promote" 2>&1 & # on a terminal
client=$!
check "fw2 has taken the role" poll 10 grep -q 'role: primary' "$TMP/fw2/log"
check "and writes" poll 10 flows_above fw2 500
[ "$MODE" = hot ] || check "its client draws how far it is" poll 5 grep -Eq $'\r\\[#* *\\] [0-9]+ of [0-9]+' "$TMP/promote"
start=$(now_ms)
ctsync fw2 status >/dev/null
took=$(($(now_ms) - start))
daemon_kill fw2
wait $client
note "its client: exit status $?, $(tr '\r' '\n' <"$TMP/promote" | tail -n 1)"
note "written: $(flow_count fw2)"
[ "$MODE" = hot ] || check_that "it was in the midst" "$(flow_count fw2) < $flows"
check_that "and answered another client in $took ms" "$took < $(scaled 100)"
vip_del fw1
vip_add fw2
daemon_start fw2
check_that "it is primary still" "$([ "$(status fw2 role)" = primary ] && echo 1) == 1"
check "promote again" ctsync fw2 promote
check "the daemons find each other" poll 15 peers_up
check "both kernels hold the same" poll 30 kernels_equal
check_that "all of it" "$(flow_count fw2) >= $flows + 45"
all_own() { [ "$(status fw2 flows.local)" -ge $((flows + 45)) ]; }
check "fw2 announces it" poll 15 all_own
traffic_alive 5000 "after"
check_that "nothing was refused" "$(counter fw2 refused) == 0"
finish
