#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A rehearsal tells what a promote would meet, and touches nothing: flows that are taken, one whose addresses another flow
# has, one whose labels find no room, a ruleset that would not track or translate. In hot mode all are here already.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

exits() { # STATUS COMMAND...
	local want=$1 got
	shift
	"$@" >"$TMP/out" 2>"$TMP/err"
	got=$?
	[ $got -eq "$want" ] || { cat "$TMP/out" "$TMP/err"; echo "exit status $got"; return 1; }
}
said() { grep -qE -- "$1" "$TMP/out" "$TMP/err"; }
figure() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$TMP/out" "$1"; }
insert() { # fw1 or fw2, words of conntrack -I
	local fw=$1
	shift
	in_ns "$(fw_ns "$fw")" conntrack -I "$@" >"$TMP/insert" 2>&1 || die "conntrack -I $*: $(cat "$TMP/insert")"
}
live() { in_ns "$FW2" conntrack -L 2>/dev/null | sed 's/ [0-9]* / /' | sort; in_ns "$FW2" nft list ruleset; in_ns "$FW2" ip -o link; }
labels_on() {
	in_ns "$(fw_ns "$1")" nft -f - <<-'RULES'
	table inet tagged { chain out {
		type filter hook output priority 0;
		ct label 77 counter
		udp dport 7007 ct label set 77
	}; }
	RULES
}
# fw2's rules, but written by iptables: nft or legacy. nft lists what the first wrote, and cannot read a CT target back.
ipt_do() { # nft|legacy, words
	local kind=$1
	shift
	in_ns "$FW2" "iptables-$kind" "$@" 2>"$TMP/ipt" || die "iptables-$kind $*: $(cat "$TMP/ipt")"
	in_ns "$FW2" "ip6tables-$kind" "$@" 2>"$TMP/ipt" || die "ip6tables-$kind $*: $(cat "$TMP/ipt")"
}
ipt_rules() { # nft|legacy
	ipt_do "$1" -t raw -A PREROUTING -i sync0 -j CT --notrack
	ipt_do "$1" -t raw -A OUTPUT -o sync0 -j CT --notrack
	ipt_do "$1" -t nat -A POSTROUTING -o wan0 -j MASQUERADE
	ipt_do "$1" -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
}
ipt_saved() { # nft|legacy: without times and counters
	local v
	for v in iptables ip6tables; do in_ns "$FW2" $v-"$1"-save 2>/dev/null; done | sed '/^#/d; s/ \[[0-9:]*\]$//'
	in_ns "$FW2" ip -o link
}
# A node that lost its rules: nothing is tracked, nothing translated.
no_rules() { in_ns "$FW2" nft flush ruleset; }

MODE=cache NAT=masquerade NAT6=masquerade
net_make
timeouts_long
check "no daemon: exit 3" exits 3 ctsync fw2 rehearse
daemons_start
check "nothing to take over: exit 0" exits 0 ctsync fw2 rehearse
traffic_start
tr_open tcp4 40 tcp6 40 udp4 10 udp6 10 icmp4 5
check "3,000 flows, translated" flood fw1 create -n 3000 -S
check "equal" poll 10 equal fw1
live >"$TMP/before"
check "all are taken: exit 0" exits 0 ctsync fw2 rehearse
note "$(tail -1 "$TMP/out")"
check_that "each" "$(sed -n 's/^\([0-9]*\) flows to take over: \1 taken, 0 are here.*/1/p' "$TMP/out") + 0 == 1"
live >"$TMP/after"
check "nothing live was touched" cmp "$TMP/before" "$TMP/after"

# The reply direction of a flow of fw2's own is that of the translated flow 10.64.0.0:* of fw1's.
flow=$(in_ns "$FW1" conntrack -L -p tcp -s 10.64.0.0/10 2>/dev/null | head -1)
sport=$(sed 's/.*\[ASSURED\]//; s/.* sport=\([0-9]*\) dport=443 .*/\1/' <<<"${flow%%src=10.128*}")
insert fw2 -p tcp -s 10.2.0.254 -d 10.128.0.1 --sport "$sport" --dport 443 --state ESTABLISHED -t 600 -u SEEN_REPLY,ASSURED
check "fw2 has it" poll 5 eval '[ "$(ctsync fw2 flows local | grep -c "src=10.2.0.254 dst=10.128.0.1")" = 1 ]'
check "a clash: exit 1" exits 1 ctsync fw2 rehearse
check "it is named" said "^refused EEXIST \(another flow has the addresses of its reply direction\): tcp .*src=10\.64\..* sport=$sport "
check "it is the only one" said ' 1 refused, 0 altered'
check "as JSON: exit 1" exits 1 ctsync fw2 --json rehearse
check_that "refused 1" "$(figure refused) == 1"
check_that "the rest taken" "$(figure taken) == $(figure flows) - 1"
# One that it announces to nobody is in the way all the same.
EXTRA='policy = ( { class = "never"; source = [ "10.2.0.254" ]; } );' config_write fw2
kill -HUP "${PIDS[fw2]}"
check "fw2 announces it no more" poll 10 eval '! ctsync fw2 flows local | grep "src=10.2.0.254 dst=10.128.0.1"'
check "a clash with what is not announced: exit 1" exits 1 ctsync fw2 rehearse
check "it is named" said "^refused EEXIST \(another flow has the addresses of its reply direction\): tcp .*src=10\.64\..* sport=$sport "
in_ns "$FW2" conntrack -D -p tcp -s 10.2.0.254 >/dev/null 2>&1
config_write fw2
kill -HUP "${PIDS[fw2]}"

# A helper that fw2 lacks. The kernels of both firewalls are one, so the rehearsal is made to ask for it in vain.
in_ns "$FW1" nft 'table ip helpers { ct helper tftp-std { type "tftp" protocol udp; }; chain out {
	type filter hook output priority 0; udp dport 69 ct helper set "tftp-std"; }; }'
in_ns "$FW1" python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("10.2.0.1", 69))'
check "a flow with a helper came" poll 5 eval 'ctsync fw2 flows remote | grep -q helper=tftp'
check "a helper that is here: exit 0" exits 0 ctsync fw2 rehearse
check "a helper that is not: exit 1" exits 1 env ASAN_OPTIONS=verify_asan_link_order=0 LACKS_HELPER=tftp \
	LD_PRELOAD="$BUILD/tests/netns/poison.so" "$CTSYNC" -s "$(sock fw2)" rehearse
check "it is named" said '^altered \(without its helper: this kernel has none of that name\): udp .*dport=69'

# The copy has fw2's settings, as its rules find when they are loaded.
mkdir "$TMP/bin"
cat >"$TMP/bin/nft" <<-SH
	#!/bin/sh
	[ "\$1" != -f ] || sysctl -n net.netfilter.nf_conntrack_generic_timeout >"$TMP/setting"
	exec $(command -v nft) "\$@"
SH
chmod 755 "$TMP/bin/nft"
sysctl_in "$FW2" net.netfilter.nf_conntrack_generic_timeout=4321
check "a node with a setting of its own: exit 0" exits 0 env PATH="$TMP/bin:$PATH" "$CTSYNC" -s "$(sock fw2)" rehearse
check "its copy has it" grep -qx 4321 "$TMP/setting"

# Labels: fw2 has no rule that uses them.
labels_on fw1
in_ns "$FW1" python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("10.2.0.1", 7007))'
check "a labelled flow came" poll 5 eval 'ctsync fw2 flows remote | grep -q dport=7007'
check "labels: exit 1" exits 1 ctsync fw2 rehearse
check "it is named" said '^altered \(without its labels: no rule here uses labels\): udp .*dport=7007'
labels_on fw2
check "with the same rules: exit 0" exits 0 ctsync fw2 rehearse

no_rules
check "no rules: exit 1" exits 1 ctsync fw2 rehearse
check "not tracked" said 'packets would not be tracked'
check "not translated" said 'no nat chain here'
check "they are not there now either" test -z "$(in_ns "$FW2" nft list ruleset)"
for kind in nft legacy; do
	ipt_rules $kind
	ipt_saved $kind >"$TMP/before"
	check "iptables-$kind, no rule with labels: exit 1" exits 1 ctsync fw2 rehearse
	check "iptables-$kind: labels are all that it names" said ' 0 refused, 1 altered'
	ipt_do $kind -t raw -A OUTPUT -m connlabel --label 77 --set
	check "iptables-$kind, with such a rule: exit 0" exits 0 ctsync fw2 rehearse
	ipt_do $kind -t raw -D OUTPUT -m connlabel --label 77 --set
	ipt_saved $kind >"$TMP/after"
	check "iptables-$kind: nothing live was touched" cmp "$TMP/before" "$TMP/after"
	for table in raw nat filter; do ipt_do $kind -t $table -F; done
	no_rules 2>/dev/null # it warns of tables that iptables keeps
done
rules_load fw2
labels_on fw2
in_ns "$FW2" conntrack -D -p udp --dport 3780 >/dev/null 2>&1 # tracked meanwhile

check "60,000 more" flood fw1 create -n 60000 -b 100000
check "equal" poll 10 equal fw1
check "killed in the middle" exits 137 timeout -s KILL 0.15 "$CTSYNC" -s "$(sock fw2)" rehearse
check "and again: exit 0" exits 0 ctsync fw2 rehearse
chmod 755 "$TMP" "$TMP/fw2"
check "not root: exit 1" exits 1 setpriv --reuid 65534 --clear-groups "$CTSYNC" -s "$(sock fw2)" rehearse
check "promote keeps the word" exits 0 ctsync fw2 promote --strict
check "demote" exits 0 ctsync fw2 demote
daemon_stop fw1
daemon_stop fw2

MODE=hot
daemons_start
check "equal" poll 10 kernels_equal
check "hot: exit 0" exits 0 ctsync fw2 rehearse
check "all are here already" said '^([1-9][0-9]*) flows to take over: 0 taken, \1 are here already, 0 refused, 0 altered'
finish
