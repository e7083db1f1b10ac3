#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The lines that tests/sim/mutants.txt changes are there, so that its mutants are built when their time comes.

# shellcheck source=tests/lint/_lib.sh
. "$(dirname "$0")/_lib.sh"

bad_lines < <(python3 tests/sim/mutants.py -n)
finish
