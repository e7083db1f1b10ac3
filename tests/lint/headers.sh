#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every header compiles alone, under the warnings of the project, and is the first include of its own .c file (or
# its private one is: x_priv.h opens with x.h).
. "$(dirname "$0")/_lib.sh"

flags=(-std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Wshadow -Wstrict-prototypes -Wundef -Werror -fsyntax-only
	-Iinclude -Iproto)

for h in $(files '*.h'); do
	dir=$(dirname "$h")
	extra=(-I"$dir")
	case $h in include/* | proto/*) ;; *) extra+=(-Idaemon) ;; esac
	# The guard is left aside by including it twice, so that a header without one is found as well.
	if ! out=$(printf '#include "%s"\n#include "%s"\n' "$h" "$h" |
		${CC:-cc} "${flags[@]}" "${extra[@]}" -I. -x c - 2>&1); then
		bad "$h:1: does not compile alone:"
		echo "$out" | head -n 5
	fi
done

for c in $(files '*.c'); do
	own=$(basename "$c" .c).h
	[ -e "$(dirname "$c")/$own" ] || [ -e "include/$own" ] || continue
	case $c in tests/*) [ -e "$(dirname "$c")/$own" ] || continue ;; esac
	case $c in daemon/cli/*) [ -e "daemon/cli/$own" ] || continue ;; esac
	first=$(grep -nm 1 '^#include' "$c")
	case $first in
	*"\"$own\""* | *"\"${own%.h}_priv.h\""*) ;;
	*) bad "$c:${first%%:*}: the first include is not \"$own\"" ;;
	esac
done
finish
