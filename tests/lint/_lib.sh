# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What the lint checks share; sourced by each. Runs in the top of the sources (CTSYNCD_SRC). A check calls bad for each
# violation, prefixed with file:line, and ends with finish.

set -u
export LC_ALL=C.UTF-8
cd "${CTSYNCD_SRC:-$(dirname "$0")/../..}" || exit 2
# shellcheck disable=SC2034 # the checks use it
build=${CTSYNCD_BUILD:-$PWD/build}
violations=0

# Files of the project that match the patterns (relative to the top): the tracked ones, or, in an unpacked
# distribution, all that there are.
files() { # patterns of git ls-files
	if git rev-parse --is-inside-work-tree >/dev/null 2>&1 && [ -e .git ]; then
		git ls-files -- "$@" | while read -r f; do [ -e "$f" ] && echo "$f"; done
	else
		local p
		for p in "$@"; do
			find . -path ./build -prune -o -path './build-*' -prune -o -path './_build*' -prune -o \
				-path ./_inst -prune -o -path ./build-aux -prune -o -path ./autom4te.cache -prune -o \
				-type f -path "./$p" -print | sed 's|^\./||' |
				grep -vxE 'configure|config\.(log|status)|aclocal\.m4|Makefile(\.in)?'
		done
	fi
}

c_files() {
	files '*.c' '*.h'
}

# Every shell script: by its name or by its first line.
scripts() {
	files '*' | while read -r f; do
		case $f in
		*.sh) echo "$f" ;;
		*.c | *.h | *.py | *.md) ;;
		*) head -n 1 "$f" 2>/dev/null | tr -d '\0' | grep -qE '^#!.*/(env )?(ba|da)?sh' && echo "$f" ;;
		esac
	done
}

bad() {
	violations=$((violations + 1))
	echo "$*"
}

# Counts lines on standard input as violations, and prints them.
bad_lines() {
	local line
	while IFS= read -r line; do bad "$line"; done
}

skip() {
	echo "$*"
	exit 77
}

finish() {
	[ "$violations" -eq 0 ] || echo "$violations violations"
	[ "$violations" -eq 0 ]
	exit
}
