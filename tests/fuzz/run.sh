#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds the fuzz targets, fuzz_NAME.c with the sources that its line "Built of:" names, and runs them.
#
#   run.sh          with clang, each for FUZZ_SECONDS (60), from corpus/NAME; finds go to BUILD/fuzz
#   run.sh replay   with CC and sanitizers: feeds each input of the corpora once
#
# An input that crashed belongs into corpus/NAME before its cause is mended.

set -u
cd "${CTSYNCD_SRC:-$(dirname "$0")/../..}" || exit 2
out=${CTSYNCD_BUILD:-$PWD/build}/fuzz
mode=${1:-fuzz}
passed=0 failed=0

build() { # target, compiler and flags...
	local src=tests/fuzz/$1.c parts
	shift
	parts=$(sed -n 's/^ \* Built of: //p' "$src")
	[ -n "$parts" ] || { echo "$src:1: no line \"Built of:\""; return 1; }
	# shellcheck disable=SC2086 # the parts are words
	"$@" -std=gnu17 -D_GNU_SOURCE -g -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all \
		-Iinclude -Iproto -Idaemon -Itests/fuzz "$src" $parts -lsodium
}

replay() { # target, corpus
	local line
	# shellcheck disable=SC2086 # CC may be several words
	build "$1" ${CC:-cc} -DFUZZ_REPLAY -fsanitize=address,undefined -o "$out/$1.replay" || return 1
	"$out/$1.replay" "$2" >"$out/$1.log" 2>&1
	line=$(tail -n 1 "$out/$1.log")
	case $line in
	*' passed, 0 failed') passed=$((passed + ${line%% *})) ;;
	*) tail -n 40 "$out/$1.log"; return 1 ;;
	esac
}

fuzz() { # target, corpus
	build "$1" clang -fsanitize=fuzzer,address,undefined -o "$out/$1" || return 1
	mkdir -p "$out/$1.found"
	"$out/$1" -max_total_time="${FUZZ_SECONDS:-60}" -max_len=2000 -print_final_stats=1 -verbosity=0 \
		-artifact_prefix="$out/$1." "$out/$1.found" "$2" 2>&1 | grep -v "# Uses: " | tail -n 40
	[ "${PIPESTATUS[0]}" -eq 0 ] && passed=$((passed + 1))
}

case $mode in fuzz | replay) ;; *) echo "usage: run.sh [replay]" >&2; exit 2 ;; esac
mkdir -p "$out" || exit 2
for src in tests/fuzz/fuzz_*.c; do
	target=$(basename "$src" .c)
	"$mode" "$target" "tests/fuzz/corpus/${target#fuzz_}" || { failed=$((failed + 1)); echo "$target failed"; }
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
