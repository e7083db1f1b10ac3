#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Limits of size: a function under 70 lines, a file under 700, lines of 100 columns (tabs of 8), nesting 3.
. "$(dirname "$0")/_lib.sh"

for f in $(c_files); do
	lines=$(wc -l <"$f")
	[ "$lines" -lt 700 ] || bad "$f:$lines: $lines lines; a file has under 700"
	bad_lines < <(expand -t 8 "$f" | grep -nE '^.{101,}' | sed "s|^\([0-9]*\):.*|$f:\1: wider than 100 columns|")
	# Kernel style puts the braces of a function, and nothing else that holds code, into column one.
	bad_lines < <(awk -v f="$f" '
		/^\{/ { start = NR; code = 1 }
		/^\}/ && code {
			if (NR - start - 1 >= 70)
				print f ":" start ": a function of " NR - start - 1 " lines; it has under 70"
			code = 0
		}
		code && /^\t\t\t\t+(if|for|while|do|switch) ?[({]/ {
			print f ":" NR ": nested deeper than 3"
		}' "$f")
done
lines=$(wc -l <README.md)
[ "$lines" -lt 150 ] || bad "README.md:$lines: $lines lines; it has under 150"
finish
