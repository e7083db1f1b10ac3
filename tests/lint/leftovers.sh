#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Nothing is left undone in the tree: no notes to oneself, no conflict marks, no code switched off. Inputs of fuzzers hold
# anything.
. "$(dirname "$0")/_lib.sh"

mapfile -t list < <(files '*' | grep -v '^tests/fuzz/corpus/')
bad_lines < <(grep -nIwE 'TO''DO|FIX''ME|X''XX' "${list[@]}" /dev/null | cut -c 1-160)
bad_lines < <(grep -nIE '^(<<<<<<<|>>>>>>>|#if 0)( |$)' "${list[@]}" /dev/null)
bad_lines < <(grep -nIE '[ 	]+$' "${list[@]}" /dev/null | grep -vE '\.(patch|hex|txt|json):' |
	sed 's/^\([^:]*:[0-9]*\):.*/\1: white space at the end of the line/')
finish
