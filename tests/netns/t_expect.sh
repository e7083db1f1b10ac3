#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Expectations: FTP transfers in both directions over IPv4 (translated, the firewall rewrites the announcement) and IPv6, TFTP
# over both, the media of SIP calls over both, by UDP and by TCP, and a call to a SIP phone that registered are announced and
# not begun when the active firewall dies. Both kernels must expect the same, attribute by attribute, and what was announced
# must begin through the other firewall under rules that let nothing new pass. What was used before is expected nowhere; what
# was announced while a daemon was away is found.
#
# MODE=hot and MODE=cache; without it both, one after the other.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/ends.sh
. "$(dirname "$0")/ends.sh"
both_modes

expect_rules() { # on both
	local n
	for n in "$FW1" "$FW2"; do
		in_ns "$n" nft -f - <<-'RULES' || die "rules of the helpers in $n"
		table inet helpers {
			ct helper ftp4 { type "ftp" protocol tcp; l3proto ip; }
			ct helper ftp6 { type "ftp" protocol tcp; l3proto ip6; }
			ct helper tftp4 { type "tftp" protocol udp; l3proto ip; }
			ct helper tftp6 { type "tftp" protocol udp; l3proto ip6; }
			ct helper sip4 { type "sip" protocol udp; l3proto ip; }
			ct helper sip6 { type "sip" protocol udp; l3proto ip6; }
			ct helper sip4-tcp { type "sip" protocol tcp; l3proto ip; }
			ct helper sip6-tcp { type "sip" protocol tcp; l3proto ip6; }
			chain help {
				type filter hook prerouting priority filter
				meta nfproto ipv4 tcp dport 21 ct helper set "ftp4"
				meta nfproto ipv6 tcp dport 21 ct helper set "ftp6"
				meta nfproto ipv4 udp dport 69 ct helper set "tftp4"
				meta nfproto ipv6 udp dport 69 ct helper set "tftp6"
				meta nfproto ipv4 udp dport 5060 ct helper set "sip4"
				meta nfproto ipv6 udp dport 5060 ct helper set "sip6"
				meta nfproto ipv4 tcp dport 5060 ct helper set "sip4-tcp"
				meta nfproto ipv6 tcp dport 5060 ct helper set "sip6-tcp"
			}
		}
		RULES
	done
}

# A kernel's expectations, without the seconds that are left.
kernel_expects() {
	{
		in_ns "$1" conntrack -L expect
		in_ns "$1" conntrack -L expect -f ipv6
	} 2>/dev/null | sed -E 's/^[0-9]+ //' | LC_ALL=C sort -u
}

half_expects() { ctsync "$1" expect "$2" | sed -E 's/^[0-9]+ //' | LC_ALL=C sort; }

expects_are() { [ "$(kernel_expects "$FW1" | wc -l)" = "$1" ]; }
half_equal() { [ "$(half_expects "$1" "$2")" = "$3" ]; }
none_unclaimed() { [ "$(status "$1" unclaimed)" = 0 ]; }
kernel_equal() { [ "$(kernel_expects "$1")" = "$2" ]; }

# With what text does not show: NAT, function, flags, mask, class, as the kernels write them.
bytes_equal() { compare "expect:$FW1" "expect:$FW2"; }

# Seconds that are left, of all kinds, in the order of the lines.
lefts() {
	{
		in_ns "$1" conntrack -L expect
		in_ns "$1" conntrack -L expect -f ipv6
	} 2>/dev/null | sed -E 's/^([0-9]+) (.*)/\2 \1/' | LC_ALL=C sort -u | sed 's/.* //'
}

NAT6=
net_make
timeouts_long
expect_rules
daemons_start
check "both are up" poll 10 peers_known
ends_start expect.py
ends_do open "announced"
check "fw1's kernel expects them" poll 5 expects_are 15
want=$(kernel_expects "$FW1")
check "fw1 announces them" poll 5 half_equal fw1 local "$want"
check "fw2 has them" poll 5 half_equal fw2 remote "$want"
if [ "$MODE" = hot ]; then
	check "so does its kernel" poll 5 kernel_equal "$FW2" "$want"
	check "byte by byte" bytes_equal
fi
check_that "status tells" "$(status fw2 expectations.remote) == 15"
for fw in fw1 fw2; do
	daemon_kill $fw
	daemon_start $fw
done
check "fw1 finds them anew" poll 10 half_equal fw1 local "$want"
check "fw2 learns them anew" poll 10 half_equal fw2 remote "$want"
check "fw2 is ready" poll 15 ready fw2
check "fw2 knows again what its kernel holds" poll 10 none_unclaimed fw2
check_that "what the phone asked for sleeps" "$(grep -c INACTIVE <<<"$want") == 1"
ends_do check "before"
# The registrar agreed: no event tells that it woke, and how long it may wait now.
want=$(kernel_expects "$FW1")
check_that "it woke" "$(grep -c INACTIVE <<<"$want") == 0 && $(grep -c PERMANENT <<<"$want") == 1"
check "fw1 announces that" poll 15 half_equal fw1 local "$want"
check "fw2 learns that" poll 5 half_equal fw2 remote "$want"
rules_lock
if [ "$MODE" = hot ]; then
	check "fw2's kernel expects them" poll 5 kernel_equal "$FW2" "$want"
	check "byte by byte as well" bytes_equal
fi
check "a rehearsal takes all" ctsync fw2 rehearse
left1=$(lefts "$FW1")
check "fw1's dump is kept" compare --save --expect "$FW1" "$TMP/expected"
daemon_kill fw1
links_down fw1
vip_add fw2
# Packets may be faster than the verb: what is used by then was used.
[ "$MODE" = hot ] || check "promote" ctsync fw2 promote
check "fw2's kernel expects what fw1's did" poll 5 kernel_equal "$FW2" "$want"
left2=$(lefts "$FW2")
check "byte by byte what fw1's did" compare "expect-dump:$TMP/expected" "expect:$FW2"
check_that "and for as long" "$(paste <(echo "$left1") <(echo "$left2") | awk '{ d = $1 - $2; n += d < -2 || d > 8 } END { print n + 0 }') == 0"
ends_do check "after"
ends_do go "begun after"
[ "$MODE" != hot ] || check "promote" ctsync fw2 promote
ends_do again "goes on"
# What was used is gone; of the call the other stream may still come, to the phone other calls.
rest=$(echo "$want" | grep -e 'dport=200[0-3]1 ' -e PERMANENT)
check "fw2's kernel expects the rest" poll 5 kernel_equal "$FW2" "$rest"
check "fw2 announces the rest" poll 5 half_equal fw2 local "$rest"
in_ns "$FW2" conntrack -L 2>/dev/null | grep -v 'dport=\(21\|69\|5060\) ' >"$TMP/children"
check_that "every transfer has an entry" "$(grep -c . "$TMP/children") == 11"
check_that "and no helper reads it" "$(grep -c 'helper=' "$TMP/children") == 0"
check_that "nothing was left out for want of a helper" "$(counter fw2 no_helper) == 0"
check_that "or of a master" "$(counter fw2 no_master) == 0"
check_that "or was refused" "$(counter fw2 refused) == 0"
finish
