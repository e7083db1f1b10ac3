#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The conntrack table is full, the backup's first: the kernel refuses copies with ENOMEM. That must be counted, said, visible in
# `ready`, retried without a verb when there is room, and leave everything else alone. nf_conntrack_max is one number for
# all namespaces of a machine, but it limits each one's own count: so the backup's table is filled with junk instead of
# making its limit smaller. (The size of the hash is the machine's too: a smaller one on the backup cannot be had here;
# the refusal that it brings, ENOSPC, takes the same path as ENOMEM.)
#
# The junk must not be announced, else the active's table fills as well: fw2 meets it as a restarted backup, which does
# not announce what nobody has claimed. Then the active's.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
MODE=hot

net_make
timeouts_long
max=$(sysctl -n net.netfilter.nf_conntrack_max)
daemons_start
check "1,000 flows" flood fw1 create -n 1000
check "both nodes hold the same" poll 10 equal fw1
daemon_stop fw2
junk=$((max - $(flow_count fw2) - 500))
check "$junk junk entries fill fw2's table up to 500 places" flood fw2 create -n "$junk" -b 5000000 -6

# In memory first, so that nothing is refused: it says beforehand that a promote would find no room.
MODE=cache daemon_start fw2
check "600 flows more on fw1" flood fw1 create -n 600 -b 50000
ready_says() { ctsync fw2 ready | grep -q -- "$1"; }
check "in cache mode fw2 is not ready, and says why" poll 20 ready_says \
	"^not ready: nf_conntrack_max of $max is too small: [0-9]* entries are there, 600 would come"
check "those go" flood fw1 delete -n 600 -b 50000
daemon_stop fw2

daemon_start fw2
check "fw2 is there again" poll 20 peers_up
check "it announces nothing of what it found" count_is fw2 local 0
traffic_start
tr_open tcp4 50 tcp6 50
tr_do chat on
check "3,000 flows more on fw1" flood fw1 create -n 3000 -b 100000
refusing() { [ "$(counter fw2 refused)" -gt 1000 ]; }
check "fw2 counts the refusals" poll 20 refusing
not_ready() { ! ready fw2; }
check "fw2 says that it is not ready" poll 5 not_ready
note "because: $(status fw2 reason)"
said() { grep -iqE 'refused|ENOMEM|memory|table' "$TMP/fw2/log"; }
check "its log says so" poll 5 said
check_that "without flooding the log" "$(wc -l <"$TMP/fw2/log") < 60"
check "the caches are equal nevertheless" poll 5 cache_equal fw1
check_that "fw1 has no junk" "$(flow_count fw1) < 10000"
# The 1,000 were in fw2's kernel at its start, and fw1's claim of them has to last for 2 s (PROTOCOL.md R38, R46): one that
# ends before leaves an entry that nobody announces.
settled() { [ "$(counter fw2 replaces)" -ge 1000 ]; }
check "fw1's claim of what fw2 found at its start is settled" poll 10 settled
check "deletes go through" flood fw1 delete -n 500
check "and are followed on a full table" poll 5 cache_equal fw1
traffic_alive 3000 "live flows"

check "room again: the junk goes" flood fw2 delete -n "$junk" -b 5000000 -6
start=$SECONDS
check "the refused are written without a verb" poll 130 kernels_equal # at most two rounds of the patrol
note "after $((SECONDS - start)) s"
check "fw2 is ready again" poll 20 ready fw2

# The active's own table is full, of flows that it announces: new ones are dropped before any rule, the others go on, and
# what the kernel did not track is known nowhere.
dropped() { in_ns "$FW1" conntrack -S | sed -n 's/.* drop=\([0-9]*\).*/\1/p' | awk '{ n += $1 } END { print n + 0 }'; }
fresh() { # 20 datagrams and a SYN from a port that nothing else uses; is the SYN answered, be it by a RST?
	in_ns "$CL" python3 -c '
import socket
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("10.1.0.25", 7777))
for i in range(20):
    udp.sendto(b"x", ("10.2.0.1", 7777))
try:
    socket.create_connection(("10.2.0.1", 7777), 1, ("10.1.0.25", 7777))
except ConnectionRefusedError:
    pass'
}
known() {
	{
		in_ns "$FW1" conntrack -L
		in_ns "$FW2" conntrack -L
		ctsync fw1 flows local
		ctsync fw2 flows remote
	} 2>/dev/null | grep -c 'src=10\.1\.0\.25 .* sport=7777 '
}
known_by_all() { [ "$(known)" = 4 ]; }
has_as_many() { [ "$(status fw2 flows.remote)" = "$(status fw1 flows.local)" ]; }
marked() { in_ns "$FW2" conntrack -L -m 7 2>/dev/null | grep -c mark=7 | grep -qx 200; }
junk=$((max - $(flow_count fw1)))
flood fw1 create -n $((junk + 500)) -b 5000000 -6 >"$TMP/fill"
check "fw1's table takes $junk more, and no 500 beyond" grep -q ' 500 Cannot allocate memory' "$TMP/fill"
before=$(dropped)
check "a SYN is not answered" not fresh
check_that "it was dropped for want of room, and so were 20 datagrams" "$(dropped) - $before >= 21"
check "fw2 has as many flows as fw1" poll 20 has_as_many
check_that "those are all that fw1's kernel holds" "$(status fw1 flows.local) == $max && $(flow_count fw1) == $max"
check_that "what was dropped is known nowhere" "$(known) == 0"
check "200 flows change" flood fw1 update -n 200 -b 100000 -m 7
check "fw2's kernel follows" poll 10 marked
traffic_alive 3000 "live flows through a full table"
check "the junk goes" flood fw1 delete -n "$junk" -b 5000000 -6
check "a SYN is answered" fresh
check "all know of the datagrams" poll 5 known_by_all
check "both nodes hold the same" poll 20 equal fw1
traffic_alive 3000 "live flows after that"
finish
