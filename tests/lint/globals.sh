#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# No state in globals or static locals: every object of the libraries has an empty .data and .bss. Constant tables with
# pointers (.data.rel.ro) are no state.
. "$(dirname "$0")/_lib.sh"

for lib in libctproto.a libctdaemon.a; do
	[ -e "$build/$lib" ] || { bad "$build/$lib:1: not built"; continue; }
	nm "$build/$lib" 2>/dev/null | grep -q '__asan_' && skip "built with sanitizers: the plain build tells"
	bad_lines < <(objdump -t "$build/$lib" | awk -v lib="$lib" '
		/file format/ { object = $1; sub(/:$/, "", object) }
		$0 ~ / O (\.data|\.bss|\.tdata|\.tbss|\.data\.rel|\.data\.rel\.local|\*COM\*)(\.[A-Za-z_].*)?[ \t]/ &&
		$0 !~ /\.data\.rel\.ro/ { print lib "(" object "):1: writable object with static storage: " $NF }')
done
finish
