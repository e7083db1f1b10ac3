#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Manual pages are clean for man (and mandoc, where it is), and ctsync.8 has every verb.
. "$(dirname "$0")/_lib.sh"

command -v man >/dev/null && command -v groff >/dev/null || skip "needs man and groff"
pages=$(files '*.[0-9]')
[ -n "$pages" ] || bad "no manual pages"
for page in $pages; do
	bad_lines < <(MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null |
		sed "s|^|$page:1: |")
	if command -v mandoc >/dev/null; then
		bad_lines < <(mandoc -T lint -W warning "$page" 2>&1 | sed "s|^mandoc: ||")
	fi
	grep -qF "$page" Makefile.am || bad "Makefile.am:1: does not install $page"
done
for verb in $(sed -n 's/^\tX(\([a-z]*\), [01], .*/\1/p' include/ctl.h); do
	grep -qwE -- "$verb" daemon/cli/ctsync.8 2>/dev/null ||
		grep -qwE -- "$verb" daemon/ctsync.8 2>/dev/null || bad "ctsync.8:1: verb $verb is missing"
done
finish
