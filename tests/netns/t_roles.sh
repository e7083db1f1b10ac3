#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Roles and exit statuses: verbs may be repeated and come in any order, the role outlives the daemon, nothing but a
# reboot makes a backup of a primary.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
both_modes

is() { [ "$(status "$1" "$2")" = "$3" ]; }
exits() { # STATUS COMMAND...
	local want=$1 got
	shift
	"$@" >"$TMP/out" 2>&1
	got=$?
	[ $got -eq "$want" ] || { cat "$TMP/out"; echo "exit status $got"; return 1; }
}

net_make
check "no daemon: exit 3" exits 3 ctsync fw1 status
daemon_start fw1
check "a boot starts as backup" is fw1 role backup
check "an unknown verb: exit 2" exits 2 ctsync fw1 nonsense
check "a wrong word: exit 2" exits 2 ctsync fw1 flows both
check "alone: promote takes the role" exits 0 ctsync fw1 promote
check "it is primary" is fw1 role primary
check "again" exits 0 ctsync fw1 promote
check "strict, nothing to refuse" exits 0 ctsync fw1 promote --strict
daemon_kill fw1
daemon_start fw1
check "killed and started: still primary" is fw1 role primary
check "SIGTERM ends it with 0" daemon_stop fw1
daemon_start fw1
check "stopped and started: still primary" is fw1 role primary
check "demote" exits 0 ctsync fw1 demote
check "demote again" exits 0 ctsync fw1 demote
check "it is backup" is fw1 role backup
daemon_kill fw1
daemon_start fw1
check "killed and started: still backup" is fw1 role backup

daemon_start fw2
check "fw1 promoted" exits 0 ctsync fw1 promote
check "the peers are up" poll 10 peers_up
check "2,000 flows" flood fw1 create -n 2000
check "equal" poll 10 equal fw1
check "fw2 is ready" poll 10 ready fw2
check "commit on the backup: exit 0" exits 0 ctsync fw2 commit
check "every flow is in its kernel" poll 5 kernels_equal
check "its role is unchanged" is fw2 role backup
check "resync" exits 0 ctsync fw2 resync
check "flush remote" exits 0 ctsync fw2 flush remote
check "flush local" exits 0 ctsync fw1 flush local
check "equal again" poll 15 equal fw1
check_that "2,000 flows" "$(remote_count fw2) == 2000"
check_that "flows --count says so" "$([[ $(ctsync fw2 flows remote --count) == *2000* ]] && echo 1 || echo 0)"
for verb in status stats peers config; do
	check "$verb" exits 0 ctsync fw1 $verb
	check "$verb --json is JSON" python3 -c 'import json, sys; json.load(open(sys.argv[1]))' \
		<(ctsync fw1 --json "$verb")
done
check "status has what the contract names" python3 - <(ctsync fw2 --json status) <<'PY'
import json, sys
s = json.load(open(sys.argv[1]))
for key in ("node", "role", "standby", "ready", "reason", "flows", "peers", "overruns", "seal"):
    assert key in s, key
assert set(("local", "remote", "kernel", "max")) <= set(s["flows"]), s["flows"]
assert isinstance(s["ready"], bool)
for key in ("node", "state", "heard_ms", "covered", "head", "missing"):
    assert key in s["peers"][0], key
assert s["peers"][0]["node"] == "fw1" and s["peers"][0]["state"] == "up", s["peers"]
PY
# A second daemon on the same socket must refuse to start, and leave the first alone.
check "a second daemon on the socket does not start" not in_ns "$FW1" timeout 5 "$CTSYNCD" -c "$TMP/fw1/ctsyncd.conf"
check "the first lives" exits 0 ctsync fw1 status

before=$(flow_count fw1)
check "both primary: promote fw2" exits 0 ctsync fw2 promote
check "demote fw1" exits 0 ctsync fw1 demote
check_that "demote removed nothing" "$(flow_count fw1) >= $before"
check "shutdown by the verb" exits 0 ctsync fw1 shutdown
stopped() { ! daemon_lives fw1; }
check "it stops" poll 5 stopped
check_that "the flows stay in its kernel" "$(flow_count fw1) >= $before"
finish
