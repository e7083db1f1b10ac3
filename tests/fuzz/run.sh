#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds the fuzz targets with clang, fuzz_NAME.c with what its line "Built of:" names and the flags of its line "Fuzzed
# with:", if it has one. Its line "Decoders:" names the sources of which 90 % of the lines shall be reached. Needs a build.
#
#   run.sh [NAME...]            runs each for FUZZ_SECONDS (60), from corpus/NAME; finds go to BUILD/fuzz
#   run.sh coverage [NAME...]   says which share of the lines corpus/NAME reaches, for each source and for the decoders;
#                               fails below 90 %
#   run.sh link [NAME...]       only builds them, with any compiler: do the lines still name all that is needed?
#   run.sh merge [NAME...]      makes of corpus/NAME and the finds the few inputs that reach the same code, in BUILD/fuzz
#
# An input that crashed belongs into corpus/NAME before its cause is mended. make check feeds every corpus once.

set -u
cd "${CTSYNCD_SRC:-$(dirname "$0")/../..}" || exit 2
out=${CTSYNCD_BUILD:-$PWD/build}/fuzz
mode=fuzz
case ${1:-} in fuzz | coverage | merge | link) mode=$1; shift ;; esac
passed=0 failed=0
# What is freed rests a while before it is used again, but not for so long that every input takes fresh pages.
export ASAN_OPTIONS=quarantine_size_mb=4:thread_local_quarantine_size_kb=64

line() { # file, what: the words behind " * What: "
	sed -n "s/^ \* $2: //p" "$1"
}

build() { # target, flags...
	local src=tests/fuzz/fuzz_$1.c parts with=
	shift
	parts=$(line "$src" "Built of")
	[ "$mode" = link ] || with=$(line "$src" "Fuzzed with")
	[ -n "$parts" ] || { echo "$src:1: no line \"Built of:\""; return 1; }
	# shellcheck disable=SC2086 # the parts are words, and patterns
	${cc:-clang} -std=gnu17 -D_GNU_SOURCE -g -O2 -fno-omit-frame-pointer -fno-sanitize-recover=all \
		-Iinclude -Iproto -Idaemon -Itests/fuzz -I"$out/../proto" "$@" $with "$src" $parts -lsodium
}

link() { # target
	local cc=${CC:-cc}
	build "$1" -O0 -DFUZZ_REPLAY -o "$out/$1.linked"
}

fuzz() { # target
	build "$1" -fsanitize=fuzzer,address,undefined -o "$out/$1" || return 1
	mkdir -p "$out/$1.found"
	"$out/$1" -max_total_time="${FUZZ_SECONDS:-60}" -max_len=2000 -print_final_stats=1 -verbosity=0 \
		-artifact_prefix="$out/$1." "$out/$1.found" "tests/fuzz/corpus/$1" 2>&1 |
		grep -v "# Uses: " | tail -n 40
	[ "${PIPESTATUS[0]}" -eq 0 ]
}

merge() { # target
	build "$1" -fsanitize=fuzzer,address,undefined -o "$out/$1" || return 1
	mkdir -p "$out/$1.merged"
	"$out/$1" -set_cover_merge=1 -use_counters=0 "$out/$1.merged" "tests/fuzz/corpus/$1" "$out/$1.found" 2>&1 | tail -n 1
	[ "${PIPESTATUS[0]}" -eq 0 ]
}

coverage() { # target
	build "$1" -fsanitize=fuzzer -fprofile-instr-generate -fcoverage-mapping -o "$out/$1.cov" || return 1
	# shellcheck disable=SC2046 # words
	set -- "$1" $(line "tests/fuzz/fuzz_$1.c" Decoders)
	LLVM_PROFILE_FILE="$out/$1.profraw" "$out/$1.cov" -runs=0 "tests/fuzz/corpus/$1" 2>"$out/$1.log" ||
		{ tail -n 20 "$out/$1.log"; return 1; }
	llvm-profdata merge -o "$out/$1.profdata" "$out/$1.profraw" &&
		llvm-cov export -summary-only -instr-profile="$out/$1.profdata" "$out/$1.cov" |
		python3 -c 'import json, os, sys
count = covered = 0
for f in json.load(sys.stdin)["data"][0]["files"]:
    lines, name = f["summary"]["lines"], os.path.relpath(f["filename"])
    if lines["count"]:
        print("%6.1f %% of %4d lines  %s" % (lines["percent"], lines["count"], name))
    if name in sys.argv[1:]:
        count, covered = count + lines["count"], covered + lines["covered"]
print("%6.1f %% of %4d lines  of the decoders" % (100 * covered / count, count))
sys.exit(covered < 0.9 * count)' "${@:2}"
}

mkdir -p "$out" || exit 2
[ $# -gt 0 ] || { set -- tests/fuzz/fuzz_*.c; set -- "${@#tests/fuzz/fuzz_}"; set -- "${@%.c}"; }
for target in "$@"; do
	echo "== $target"
	if "$mode" "$target"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "$target failed"
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
