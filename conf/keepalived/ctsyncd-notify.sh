#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tells ctsyncd what keepalived decided. keepalived calls it as
#	ctsyncd-notify.sh INSTANCE|GROUP NAME MASTER|BACKUP|FAULT|STOP PRIORITY
# (notify of a vrrp_sync_group or vrrp_instance). Verbs may be repeated and come in any order, so nothing is remembered
# here. CTSYNCD_SOCKET names another control socket.

PATH=$PATH:/usr/local/bin:/usr/bin:/bin
what=$1 name=$2 state=$3

say() { # priority, text
	logger -t ctsyncd-notify -p "daemon.$1" -- "$what $name: $2" || echo "$what $name: $2" >&2
}

verb() {
	if text=$(ctsync ${CTSYNCD_SOCKET:+-s "$CTSYNCD_SOCKET"} "$1" 2>&1); then
		say info "$state: $1: $(echo "$text" | tr '\n' ' ')"
	else
		status=$?
		say err "$state: ctsync $1 failed with status $status: $(echo "$text" | tr '\n' ' ')"
		exit "$status"
	fi
}

case $state in
MASTER) verb promote ;;
BACKUP | FAULT | STOP) verb demote ;;
*)
	say err "unknown state '$state': want MASTER, BACKUP, FAULT or STOP"
	exit 2
	;;
esac
