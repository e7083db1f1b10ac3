#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Runs a suite of tests one after the other and counts them.
#
#   run.sh SUITE SECONDS COMMAND...
#
# COMMAND is a program, with its words in the same argument if it has any; each may take SECONDS. It runs in a process
# group of its own, and when its time is over that group alone is ended: nothing that the runner did not start.
#
# How tests are counted: cmocka's "[  PASSED  ] N test(s)." and "[  FAILED  ] N test(s)" lines; of a script the last
# line that is "N passed, N failed"; anything else is one test that its exit status judges. A program that fails without
# a failed test (it crashed, or ran out of time) is one failure more, and a success that ran no test is a failure.
# Exit status 77 means "cannot run here": skipped, but a failure where CI=true, so that nothing is lost unseen.
#
# Environment: LOG_DIR keeps each test's whole output. RESULTS names a file to which "SUITE PASSED FAILED SKIPPED" is
# appended, and with .failed behind it one for what failed. TEST_TIMEOUT_SCALE multiplies SECONDS (sanitizers, slow machines).

set -u

suite=${1:?suite} seconds=${2:?seconds}
shift 2
log_dir=${LOG_DIR:-/tmp/ctsyncd-tests.$$}/$suite
mkdir -p "$log_dir" || exit 2
seconds=$((seconds * ${TEST_TIMEOUT_SCALE:-1}))

passed=0 failed=0 skipped=0
pid=

stop() { # the runner itself is told to stop: its one child goes first
	if [ -n "$pid" ]; then kill -TERM "$pid" 2>/dev/null; wait "$pid"; fi
	exit 130
}
trap stop INT TERM HUP

# Sets ok and bad from the log of a test that ended.
count() { # log
	local line
	ok=$(sed -n 's/^\[ *PASSED *\] \([0-9]*\) test(s).*/\1/p' "$1" | awk '{ n += $1 } END { print n + 0 }')
	bad=$(sed -n 's/^\[ *FAILED *\] \([0-9]*\) test(s).*/\1/p' "$1" | awk '{ n += $1 } END { print n + 0 }')
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$1" | tail -n 1)
	if [ -n "$line" ]; then
		ok=$(echo "$line" | cut -d' ' -f1)
		bad=$(echo "$line" | cut -d' ' -f3)
	elif ! grep -qE '^\[ *(PASSED|FAILED) *\] [0-9]+ test' "$1"; then
		ok=1 bad=0
		[ "$2" -eq 0 ] || ok=0 bad=1
	fi
}

run_one() { # command
	local name log status started took why=
	name=$(basename "${1%% *}" .sh)
	case $1 in *' '*) name="$name ${1#* }" ;; esac
	log=$log_dir/$(echo "$name" | tr -c 'A-Za-z0-9_.\n-' '_').log
	started=$(date +%s%N)
	# shellcheck disable=SC2086 # the command's words
	timeout -k 10 "$seconds" $1 >"$log" 2>&1 </dev/null &
	pid=$!
	wait "$pid"
	status=$?
	pid=
	took=$((($(date +%s%N) - started) / 10000000))
	took=$((took / 100)).$(printf %02d $((took % 100)))

	if [ "$status" -eq 77 ]; then
		why=$(tail -n 1 "$log")
		if [ "${CI:-}" != true ]; then
			skipped=$((skipped + 1))
			echo "skip $suite/$name: $why"
			return
		fi
		ok=0 bad=1 why="cannot run, and CI=true: $why"
	else
		count "$log" "$status"
		if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
			why="not done after $seconds s"
		elif [ "$status" -ne 0 ]; then
			why="exit status $status"
		fi
		if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
		if [ "$status" -eq 0 ] && [ "$ok" -eq 0 ] && [ "$bad" -eq 0 ]; then
			bad=1 why="it ran no test"
		fi
	fi
	passed=$((passed + ok))
	failed=$((failed + bad))
	if [ "$bad" -eq 0 ]; then
		echo "ok   $suite/$name: $ok passed, $took s"
	else
		echo "FAIL $suite/$name: $ok passed, $bad failed, $took s${why:+ ($why)}; the end of $log:"
		tail -n 60 "$log" | sed 's/^/     | /'
		# Of long logs a reader may see a part: what failed comes once more at the end.
		[ -z "${RESULTS:-}" ] || {
			echo "$suite/$name: $bad failed${why:+ ($why)}"
			grep -E -A 6 '^FAIL |^\[  FAILED  \] [a-z]|ERROR: |^\[   LINE' "$log" | head -n 40 | sed 's/^/  | /'
		} >>"$RESULTS.failed"
	fi
}

for command in "$@"; do
	run_one "$command"
done
[ $# -gt 0 ] || { echo "FAIL $suite: no tests were named"; failed=1; }

skips=
[ "$skipped" -eq 0 ] || skips=", $skipped skipped"
echo "$suite: $passed passed, $failed failed$skips"
[ -z "${RESULTS:-}" ] || echo "$suite $passed $failed $skipped" >>"$RESULTS"
[ "$failed" -eq 0 ]
