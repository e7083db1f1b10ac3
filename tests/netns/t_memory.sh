#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A flood, more than there is room for. Each daemon has a memory cgroup of its own and may hold 60,000 flows; 400,000 come
# while the peers are parted, all of them change, most of them end. Memory stays under the cgroup's limit and the kernel
# kills nobody, nothing that waits grows beyond its bound, no turn of the loop takes long, and the daemons say that the
# limit is reached. When there is room again and the link is back both hold the same without a verb, also the flows that
# there was no room for.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
MODE=hot
LIMIT_MB=32
HOLD=60000
TOMBS=20000
EXTRA="state = { flows_max = $HOLD; tombstones_max = $TOMBS; };"

# ---- Memory cgroups, of version 1 or 2 ----

if [ -e /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then
	CG=/sys/fs/cgroup/memory/$P CG_LIMIT=memory.limit_in_bytes CG_PEAK=memory.max_usage_in_bytes CG_KILLS=memory.oom_control
elif grep -qw memory /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null; then
	CG=/sys/fs/cgroup/$P CG_LIMIT=memory.max CG_PEAK=memory.peak CG_KILLS=memory.events
fi
nm "$CTSYNCD" 2>/dev/null | grep -q __asan_init && { echo "sanitizers take more memory than the limit"; exit 77; }
if [ -z "${CG:-}" ] || ! mkdir "$CG-fw1" "$CG-fw2" 2>/dev/null; then
	echo "needs a memory cgroup that can be written"
	exit 77
fi

# shellcheck disable=SC2317 # cleanup calls it
cleanup_more() { rmdir "$CG-fw1" "$CG-fw2"; }

daemons_confined() { # the next ones are
	local fw
	for fw in fw1 fw2; do echo $((LIMIT_MB << 20)) >"$CG-$fw/$CG_LIMIT" || die "$CG-$fw: no limit"; done
	# In front of ip-netns, which hides /sys: the last word is the path of a configuration.
	# shellcheck disable=SC2016,SC2034 # for the shell in there; daemon_start reads it
	LAUNCH=(bash -c 'echo $$ >"$0-$(basename "$(dirname "${!#}")")/cgroup.procs" && exec "$@"' "$CG")
}

peak_kb() { echo $(($(cat "$CG-$1/$CG_PEAK") / 1024)); }
kills() { sed -n 's/^oom_kill //p' "$CG-$1/$CG_KILLS"; }

# ----

logged() { grep -q -- "$2" "$TMP/$1/log"; }
status_is() { [ "$(status "$1" "$2")" = "$3" ]; }
ready_says() { ctsync "$1" ready | grep -q -- "$2"; }
slowest() { sed -n 's/.*loop: a turn took \([0-9]*\) ms.*/\1/p' "$TMP/$1/log" | sort -n | tail -n 1; }

bounds() { # when
	local fw slow
	for fw in fw1 fw2; do
		check_that "$1: $fw: $(peak_kb $fw) of $((LIMIT_MB * 1024)) KiB" "$(peak_kb $fw) < $LIMIT_MB * 1024"
		check_that "$1: $fw: the kernel killed nobody" "$(kills $fw) == 0"
		check_that "$1: $fw: flows" "$(status $fw flows.local) <= $HOLD && $(status $fw flows.remote) <= $HOLD"
		check_that "$1: $fw: tombstones" "$(counter $fw tombstones) <= $TOMBS + 256"
		check_that "$1: $fw: kernel writes that wait" "$(counter $fw backlog) <= $HOLD"
		slow=$(slowest $fw)
		check_that "$1: $fw: the longest turn of the loop${slow:+: $slow ms}" "${slow:-0} < $(scaled 1000)"
	done
}

net_make
timeouts_long
max_raise 1048576
scale_measure
daemons_confined
daemons_start
check "40,000 flows" flood fw1 create -n 40000
check "both nodes hold the same" poll 20 quick_equal fw1

sync_loss 100
check "parted: 400,000 more come" flood fw1 create -n 400000 -b 1000000
check "all change" flood fw1 update -n 400000 -b 1000000 -m 7
check "fw1 holds what it may" poll 10 count_is fw1 local $HOLD
check "its log says that the limit is reached" logged fw1 'the limit is reached.*state.flows_max'
check "its status does" status_is fw1 limited true
bounds "in the flood"
check "most end" flood fw1 delete -n 385000 -b 1000000
check "fw1 reads the table: what it did not hold is there too" poll 30 count_is fw1 local 55000
check "and says so" status_is fw1 limited false
sync_heal
healed=$(now_ms)
check "healed: both hold the same" poll 30 quick_equal fw1
note "$(($(now_ms) - healed)) ms after healing"
check "fw2 is ready" poll 20 ready fw2
bounds "after it"

# More of the peer's than may be held: fw2 alone is limited.
daemon_stop fw2
EXTRA="state = { flows_max = 30000; tombstones_max = $TOMBS; };"
daemon_start fw2
check "fw2 may hold 30,000: its log says so" poll 20 logged fw2 'the limit is reached.*state.flows_max'
check "its status does" status_is fw2 limited true
check "it is not ready, and says why" poll 10 ready_says fw2 'flows of fw1 are not held: more than state.flows_max'
check_that "it holds no more" "$(status fw2 flows.remote) <= 30000"
before=$(counter fw2 cpu_user_ms) start=$(now_ms)
for_time 3
check_that "at rest it costs less than half a core" \
	"($(counter fw2 cpu_user_ms) - $before) * 2 < $(now_ms) - $start"
check "fewer flows" flood fw1 delete -n 30000
check "both hold the same again" poll 60 quick_equal fw1
check "fw2 is ready" poll 20 ready fw2
check "and no longer limited" status_is fw2 limited false
bounds "in the end"
finish
