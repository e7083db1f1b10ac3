#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every source says its licence at its top: C in the first line, the rest in one of the first two.
. "$(dirname "$0")/_lib.sh"

tag='SPDX-License-Identifier: GPL-2.0-or-later'
for f in $(c_files); do
	[ "$(head -n 1 "$f")" = "/* $tag */" ] || bad "$f:1: the first line is not /* $tag */"
done
for f in $(scripts) $(files '*.py' '*.nft' '*.am' '*.ac' '*.in' 'conf/*' '*.[0-9]'); do
	[ "$f" != conf/ctsyncd.conf ] || continue # becomes the user's own file
	head -n 2 "$f" | grep -qF "$tag" || bad "$f:1: lacks $tag"
done
finish
