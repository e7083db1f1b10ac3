# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Both ends of connections, in a Python program that reads a command a line and answers a line for each kind of connection:
# for scripts that have sourced lib.sh.

ends_start() { # PROGRAM
	mkfifo "$TMP/ends.in" "$TMP/ends.out"
	"$HERE/$1" "$CL" "$SV" <"$TMP/ends.in" >"$TMP/ends.out" 2>"$TMP/ends.err" &
	# shellcheck disable=SC2034 # lib.sh ends it
	PIDS["ends"]=$!
	exec {ENDS_IN}>"$TMP/ends.in" {ENDS_OUT}<"$TMP/ends.out"
}

ends_do() { # COMMAND TEXT: a check for each kind
	local line
	echo "$1" >&"$ENDS_IN"
	while read -r -t 120 -u "$ENDS_OUT" line; do
		[ "$line" != end ] || return 0
		case $line in ok*) pass "$2: ${line#ok }" ;; *) fail "$2: $line" ;; esac
	done
	die "the ends do not answer: $(cat "$TMP/ends.err")"
}
