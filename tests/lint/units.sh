#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# systemd-analyze verify over the units as they will be installed. The programs stand in the build tree, so the paths
# of ExecStart are set to them first; sysusers.d and sysctl.d are parsed by their own rules.
. "$(dirname "$0")/_lib.sh"

command -v systemd-analyze >/dev/null || skip "needs systemd-analyze"
[ -e "$build/conf/ctsyncd.service" ] || { bad "conf/ctsyncd.service.in:1: the unit is not built"; finish; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

for unit in "$build"/conf/*.service; do
	name=$(basename "$unit")
	grep -n '@[A-Za-z]*@' "$unit" && bad "conf/$name.in:1: a place holder was not filled in"
	sed "s#^\(Exec[A-Za-z]*=[-+!@:]*\)/[^ ]*/\(ctsyncd\|ctsync\)\>#\1$build/\2#" "$unit" >"$tmp/$name"
	verify=$name
	case $name in *@.service) verify=${name%@.service}@x.service ;; esac
	[ "$verify" = "$name" ] || cp "$tmp/$name" "$tmp/$verify"
	# Only what it says of ours: the machine's other units are not our business.
	bad_lines < <(systemd-analyze verify --man=no "$tmp/$verify" 2>&1 | grep -F ctsync | sed "s|^$tmp/||")
done
bad_lines < <(systemd-sysusers --dry-run --root="$tmp" "$PWD/conf/ctsyncd.sysusers" 2>&1 |
	grep -iE 'error|fail|unknown|invalid')
bad_lines < <(grep -nvE '^(#.*|;.*|-?[a-z0-9_./]+ = [0-9]+|)$' conf/90-ctsyncd.sysctl |
	sed 's|^|conf/90-ctsyncd.sysctl:|')
finish
