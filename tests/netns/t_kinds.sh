#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The rarer kinds of flows, made by real traffic where a client can: SCTP, GRE, a call of PPTP, UDP-Lite, protocols without
# ports, zones of both directions or one, labels, a handshake that the firewall answers for the server (SYNPROXY), hairpin
# NAT into a range of ports (IPv6 too), an FTP session that the firewall rewrites (helper, shifted sequence numbers) with
# its transfer (master), a fixed timer, TCP in each of its states. The active firewall dies; the other's kernel must hold the
# same, attribute by attribute, and every one of them must go on under rules that let nothing new pass (of PPTP the control
# connection). FTP without losing or doubling a byte; TCP with its windows checked, but where half of the handshake was seen.
# A helper that the other node lacks is left out, counted and told.
#
# MODE=hot and MODE=cache; without it both, one after the other.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/ends.sh
. "$(dirname "$0")/ends.sh"
both_modes

kinds_rules() { # on both: helper, labels, zones, hairpin
	local n
	for n in "$FW1" "$FW2"; do
		in_ns "$n" nft -f - <<-'RULES' || die "rules of the kinds in $n"
		table inet kinds {
			ct helper ftp-std { type "ftp" protocol tcp; l3proto ip; }
			ct helper pptp-std { type "pptp" protocol tcp; l3proto ip; }
			ct helper irc-std { type "irc" protocol tcp; l3proto ip; }
			chain zones {
				type filter hook prerouting priority raw
				udp dport 7005 ct zone set 5
				udp sport 7005 ct zone set 5
				udp dport 7006 ct original zone set 6
				udp dport 7008 ct reply zone set 8
				udp sport 7008 ct reply zone set 8
				tcp dport 7010 tcp flags & (fin | syn | rst | ack) == syn notrack
			}
			chain proxy {
				type filter hook forward priority -1
				tcp dport 7010 ct state invalid,untracked counter synproxy mss 1460 wscale 7 timestamp sack-perm
			}
			chain help {
				type filter hook prerouting priority filter
				tcp dport 21 ct helper set "ftp-std"
				tcp dport 1723 ct helper set "pptp-std"
				tcp dport 6667-6668 ct helper set "irc-std"
				udp dport 7007 ct label 77 counter
				udp dport 7007 ct label set 77
				udp dport 7014 ct mark 0x4d counter
				udp dport 7014 ct state new ct mark set 0x4d
			}
		}
		table ip hairpin {
			chain pre {
				type nat hook prerouting priority -110
				iifname lan0 udp dport 8081 dnat to 10.1.0.1:5001
			}
			chain post {
				type nat hook postrouting priority 90
				iifname lan0 oifname lan0 ip protocol udp snat to 10.1.0.254:4000-4099
			}
		}
		table ip6 ranges {
			chain post {
				type nat hook postrouting priority 90
				udp dport 7011 masquerade to :4200-4299
				tcp dport 7012 snat to [fd02::fe]:4300-4399
			}
		}
		RULES
	done
	for n in "$CL" "$SV"; do # of connections that kinds.py makes by hand the kernel shall say nothing
		in_ns "$n" nft -f - <<-'RULES' || die "rules of the kinds in $n"
		table ip ends {
			chain out {
				type filter hook output priority 0
				meta mark != 1 tcp sport 7020-7199 drop
			}
		}
		RULES
	done
}

# Packets that met a label before the rule set it.
labelled() { in_ns "$1" nft list chain inet kinds help | sed -n 's/.*ct label .*counter packets \([0-9]*\).*/\1/p'; }

# Packets that met a mark before the rule set it.
marked() { in_ns "$1" nft list chain inet kinds help | sed -n 's/.*ct mark .*counter packets \([0-9]*\).*/\1/p'; }

# Packets of handshakes that were answered by the proxy: SYN and ACK of each.
proxied() { in_ns "$1" nft list chain inet kinds proxy | sed -n 's/.*counter packets \([0-9]*\).*synproxy.*/\1/p'; }

has() { grep -q -- "$1" "$TMP/held.txt"; } # PATTERN: of a line of the owner's table

# Without those of the helper that fw2 lacks: they are unlike.
same_as_saved() { compare --skip-state SYN_SENT --skip-port 6667,6668 "dump:$TMP/owner" "kernel:$FW2"; }
owner_is_known() { compare --skip-state SYN_SENT --skip-port 6667,6668 "kernel:$FW1" "kernel:$FW2"; }
helped() { in_ns "$1" conntrack -L -p tcp 2>/dev/null | grep -c "dport=666[78] .*helper=irc"; }
helper_told() { grep -c "kernel: no helper irc here: its flows are written without it" "$TMP/fw2/log"; }

rehearsed() { # in hot mode all are there
	LD_PRELOAD="$BUILD/tests/netns/poison.so" ASAN_OPTIONS=verify_asan_link_order=0 LACKS_HELPER=irc \
		"$CTSYNC" -s "$(sock fw2)" rehearse >"$TMP/rehearsal"
	if [ "$MODE" = hot ]; then grep -q ' 0 taken, [1-9][0-9]* are here already, 0 refused, 0 altered' "$TMP/rehearsal"; else
		[ "$(grep -c '^altered (without its helper' "$TMP/rehearsal")" = 2 ] &&
			grep -q ' [1-9][0-9]* taken, 0 are here already, 0 refused, 2 altered' "$TMP/rehearsal"
	fi && ! grep 'own flows could not be copied' "$TMP/rehearsal" || ! cat "$TMP/rehearsal"
}
fixed_left() { in_ns "$1" conntrack -L -p udp -s 10.1.0.9 2>/dev/null | awk '/dport=2 / { print $3 }'; }
audited() { ctsync "$1" verify --kernel >"$TMP/audit" 2>&1 || ! cat "$TMP/audit"; }

NAT6=snat
net_make
timeouts_long
for ns in "$FW1" "$FW2"; do
	sysctl_in "$ns" net.netfilter.nf_conntrack_{gre_timeout,gre_timeout_stream}=600 \
		net.netfilter.nf_conntrack_tcp_timeout_{syn_recv,fin_wait,close_wait,last_ack,time_wait,close}=600
	sysctl_in "$ns" net.netfilter.nf_conntrack_sctp_timeout_shutdown_{sent,ack_sent}=600
	# The kernel here takes no UDP-Lite packet for valid by its checksum.
	sysctl_in "$ns" net.netfilter.nf_conntrack_checksum=0
	# The proxy has to see the end of a handshake that conntrack does not pick up.
	sysctl_in "$ns" net.netfilter.nf_conntrack_tcp_loose=0
done
kinds_rules
# The kernels of both firewalls are one, and so are its helpers: fw2's daemon is made to ask it in vain.
LAUNCH=(env ASAN_OPTIONS=verify_asan_link_order=0 LD_PRELOAD="$BUILD/tests/netns/poison.so" LACKS_HELPER=irc)
daemons_start
ends_start kinds.py
ends_do open "before"
# No packet makes a fixed timer.
in_ns "$FW1" conntrack -I -p udp -s 10.1.0.9 -d 10.2.0.9 --sport 1 --dport 2 -t 500 \
	-u SEEN_REPLY,ASSURED,FIXED_TIMEOUT >"$TMP/insert" 2>&1 || die "conntrack -I: $(cat "$TMP/insert")"
for_time 3 # UDP is a stream when it was seen for 2 s; its state is told then
ends_do check "before, again"

# What the test is about must be there, or it would prove nothing.
in_ns "$FW1" conntrack -L >"$TMP/held.txt" 2>/dev/null
in_ns "$FW1" conntrack -L -f ipv6 >>"$TMP/held.txt" 2>/dev/null
for what in '^sctp .*ESTABLISHED' '^sctp .*SHUTDOWN_SENT' '^udplite .*src=10.1' '^udplite .*src=fd01' '^gre' '^unknown  99' \
	'zone=5' 'zone-orig=6' 'zone-reply=8' 'helper=ftp' '^tcp .*dport=7010' 'helper=pptp' \
	'^gre .*srckey=0x1111 dstkey=0x2222' 'dport=40[0-9][0-9] ' '^udp .*fd02::fe .*dport=42[0-9][0-9] ' \
	'^tcp .*fd02::fe .*dport=43[0-9][0-9] ' 'mark=77' '^udp .*dport=7015 \[UNREPLIED\]' SYN_RECV FIN_WAIT CLOSE_WAIT LAST_ACK TIME_WAIT 'CLOSE '; do
	check "fw1 holds $what" has "$what"
done
check_that "fw1 proxied the handshake" "$(proxied "$FW1") == 2"
check_that "fw1 holds labels" "$(labelled "$FW1") > 0"
check "fw2 learns them" poll 15 ready fw2
[ "$MODE" != hot ] || check "both kernels hold the same, attribute by attribute" poll 15 owner_is_known
check "fw2's cache holds them" poll 15 cache_equal fw1
check "an audit of fw1 finds nothing" audited fw1
check "nor does one of fw2" audited fw2
check "a rehearsal takes every kind, but that one helper" rehearsed
check_that "fw1 could read all that its kernel said" "$(counter fw1 parse_errors) == 0"
rules_lock
compare --save "$FW1" "$TMP/owner"
left1=$(fixed_left "$FW1")
daemon_kill fw1
links_down fw1
vip_add fw2
check "promote" ctsync fw2 promote
check "fw2's kernel holds what fw1's held, attribute by attribute" poll 5 same_as_saved
left2=$(fixed_left "$FW2")
check_that "a fixed timer goes on: $left1 s, then $left2 s" "$left2 <= $left1 && $left2 > $left1 - 8"
ends_do check "after"
check_that "the first packets on fw2 met the labels" "$(labelled "$FW2") == 2"
check_that "the mark too" "$(marked "$FW2") > 0"
ends_do check "after, again" # an entry may end with its first packet
ends_do finish "to its end"
check_that "two flows had a helper that fw2 lacks" "$(helped "$FW1") == 2"
check_that "they went without" "$(helped "$FW2") == 0"
check_that "counted, and no other" "$(counter fw2 no_helper) == 2"
check_that "and told once" "$(helper_told) == 1"
check_that "every child has its master" "$(counter fw2 no_master) == 0"
check_that "every label has room" "$(counter fw2 no_labels) == 0"
finish
