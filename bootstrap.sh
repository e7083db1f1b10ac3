#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# One command from a fresh clone to a result, on Debian or Ubuntu.
#
#   ./bootstrap.sh build    install the build's packages if some are missing, leave a configured, built tree in build/
#   ./bootstrap.sh check    every test; the last line is "N passed, N failed", the exit status says the same
#   ./bootstrap.sh demo     as root: a failover of 200 connections in namespaces, with ctsyncd and without
#
# Packagers do not need it: autoreconf -fi && ./configure && make && make check && make install DESTDIR=...
# The trees it makes: build/, and build-asan/ (check: all but lint and the real kernel once more, under ASan and UBSan).
# Environment: CONFIGURE_ARGS, JOBS, CI=true (a test that cannot run here is a failure).

set -u
cd "$(dirname "$0")" || exit 1
top=$PWD
jobs=${JOBS:-$(nproc)}

build_packages="gcc libc6-dev make autoconf automake pkg-config libmnl-dev libnetfilter-conntrack-dev libev-dev
	libconfig-dev libsodium-dev libjansson-dev"
check_packages="libcmocka-dev shellcheck binutils man-db groff iproute2 nftables conntrack iputils-ping procps kmod
	util-linux python3 systemd systemd-container dbus keepalived iptables"
demo_packages="iproute2 nftables conntrack procps util-linux python3"

die() {
	echo "bootstrap.sh: $*" >&2
	exit 1
}

# Installs what is missing of the named packages; the package lists are fetched only then, and once.
packages() {
	local p missing=() sudo=()
	command -v dpkg-query >/dev/null || return 0 # not Debian: configure will say what it lacks
	for p in "$@"; do
		dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q ' installed$' || missing+=("$p")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] || sudo=(sudo)
	echo "installing: ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	"${sudo[@]}" apt-get update -q || die "apt-get update failed"
	"${sudo[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}" ||
		die "could not install: ${missing[*]}"
}

configure_in() { # directory, arguments for configure
	local dir=$1
	shift
	mkdir -p "$dir" || exit 1
	if [ ! -x configure ] || [ configure.ac -nt configure ] || [ Makefile.am -nt Makefile.in ]; then
		autoreconf -fi || die "autoreconf failed"
	fi
	[ -e "$dir/Makefile" ] && [ "$dir/Makefile" -nt configure ] && return
	# shellcheck disable=SC2086 # words of CONFIGURE_ARGS
	(cd "$dir" && "$top/configure" -q --prefix=/usr --sysconfdir=/etc --localstatedir=/var "$@" \
		${CONFIGURE_ARGS:-}) || die "configure failed in $dir"
}

build() {
	# shellcheck disable=SC2086 # a list of words
	packages $build_packages
	configure_in build
	make -C build -j "$jobs" "$@" || die "the build failed"
}

# Runs one make target of a suite, goes on after failures: the figures are in $results.
suite() { # label, make arguments
	local label=$1 before
	shift
	echo "== $label"
	before=$(wc -l <"$results")
	if ! make --no-print-directory "$@" RESULTS="$results" && [ "$(wc -l <"$results")" = "$before" ]; then
		echo "FAIL $label: make $* did not get as far as its tests"
		echo "${label// /-} 0 1 0" >>"$results"
	fi
}

check() {
	# shellcheck disable=SC2086 # a list of words
	packages $build_packages $check_packages
	(packages clang-format-14) || echo "no clang-format 14 here: the lint test of the format cannot run"
	# A tree that was configured before cmocka came has to look again.
	grep -qs '"HAVE_CMOCKA_TRUE"]="#"' build/config.status && rm -f build/Makefile
	build WERROR_CFLAGS=-Werror
	results=$top/build/test-results
	: >"$results"
	rm -f "$results.failed"
	suite "build of the tests" -C build -j "$jobs" WERROR_CFLAGS=-Werror check-build
	suite "unit tests" -C build check-unit
	suite "corpora of the fuzzers" -C build check-fuzz
	suite "simulator" -C build check-sim
	suite "lint" -C build check-lint
	configure_in build-asan --enable-sanitizers CFLAGS='-g -O1'
	suite "build with sanitizers" -C build-asan -j "$jobs" check-build
	suite "unit tests under ASan and UBSan" -C build-asan check-unit
	suite "corpora of the fuzzers under ASan and UBSan" -C build-asan check-fuzz
	suite "simulator under ASan and UBSan" -C build-asan check-sim
	suite "real kernel" -C build check-netns
	[ ! -e "$results.failed" ] || { echo "== failed"; cat "$results.failed"; }
	echo "== sum"
	awk '{ printf "%-12s %5d passed %5d failed %5d skipped\n", $1, $2, $3, $4 }' "$results"
	awk '{ p += $2; f += $3 } END { printf "%d passed, %d failed\n", p, f; exit f > 0 || p == 0 }' "$results"
}

demo() {
	[ "$(id -u)" = 0 ] || die "the demo needs root (it makes network namespaces)"
	# shellcheck disable=SC2086 # a list of words
	packages $build_packages $demo_packages
	build all check-build >/dev/null
	CTSYNCD_SRC=$top CTSYNCD_BUILD=$top/build exec tests/netns/demo.sh
}

case ${1:-} in
build) build ;;
check) check ;;
demo) demo ;;
*)
	sed -n '3,/^$/s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac
