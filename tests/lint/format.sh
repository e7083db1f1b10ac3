#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# .clang-format decides how C looks. Version 14 only: others disagree with it.
. "$(dirname "$0")/_lib.sh"

tool=
for t in clang-format-14 clang-format; do
	"$t" --version 2>/dev/null | grep -q 'version 14\.' && tool=$t && break
done
[ -n "$tool" ] || skip "needs clang-format 14"

mapfile -t list < <(c_files)
[ ${#list[@]} -gt 0 ] || bad "no C files found"
bad_lines < <("$tool" --dry-run --ferror-limit=0 -Werror "${list[@]}" 2>&1 | grep -E '^[^ ]+:[0-9]+:[0-9]+: ')
finish
