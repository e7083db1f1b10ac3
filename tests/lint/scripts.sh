#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Checks every shell script with shellcheck, Python programs with its parser; what has #! is executable.
. "$(dirname "$0")/_lib.sh"

command -v shellcheck >/dev/null || skip "needs shellcheck"
mapfile -t list < <(scripts)
bad_lines < <(printf "%s\0" "${list[@]}" |
	xargs -0 -n 4 -P "$(nproc)" shellcheck -S warning -f gcc -x -P SCRIPTDIR -e SC1090,SC1091)
for f in $(files '*.py'); do
	out=$(python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$f" 2>&1) ||
		bad "$f:1: $(tail -n 1 <<<"$out")"
done
for f in $(files '*'); do
	if head -c 2 "$f" | tr -d '\0' | grep -q '^#!'; then
		[ -x "$f" ] || bad "$f:1: starts with #! and is not executable"
	elif [ -x "$f" ]; then
		bad "$f:1: is executable and does not start with #!"
	fi
done
finish
