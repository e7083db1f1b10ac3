#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every tracked file is in the distribution, every source in a list of Makefile.am. Names made by configure aside.
. "$(dirname "$0")/_lib.sh"

[ -e .git ] || { echo "not a git tree: nothing to compare"; exit 0; }
[ -e "$build/Makefile" ] || { bad "$build/Makefile:1: not configured"; finish; }
listed=$(make -s --no-print-directory -C "$build" print-dist | tr ' ' '\n' | sed "s|^$PWD/||; s|^\.\./||" | sort -u)
for f in $(files '*'); do
	case $f in .gitignore | .ci/*) continue ;; esac
	hit=$f found=
	while [ "$hit" != . ]; do
		if grep -qxF -- "$hit" <<<"$listed"; then found=1; break; fi
		hit=$(dirname "$hit")
	done
	[ -n "$found" ] || bad "$f:1: is not distributed: no list of Makefile.am has it"
done
for f in $(files 'tests/unit/test_*.c'); do
	grep -qE "(^|[ 	])${f%.c}( |\$|	)" Makefile.am || bad "$f:1: is not in UNIT_TESTS of Makefile.am"
done
finish
