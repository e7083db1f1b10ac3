#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# proto/ is pure: libctproto.a may call nothing outside itself but memory, strings, assertions and libsodium's
# computations. A clock, a socket, a file, a log line or a random number fails here. Assertions must be in.
. "$(dirname "$0")/_lib.sh"

lib=$build/libctproto.a
[ -e "$lib" ] || { bad "$lib:1: not built"; finish; }
nm "$lib" 2>/dev/null | grep -q '__[au][sb]*san_' && skip "built with sanitizers: the plain build tells"

allowed='^(mem[a-z0-9]*|str(n?len|n?cmp|n?cpy|chr|rchr|nstr)|(m|c|re)alloc|reallocarray|free|aligned_alloc
|__mem[a-z0-9]*_chk|__str[a-z0-9]*_chk|explicit_bzero|__explicit_bzero_chk
|__assert_fail|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_
|sodium_(memzero|memcmp|increment|is_zero|add|sub)
|crypto_(generichash|shorthash|aead|kdf|verify)_?[a-z0-9_]*|crypto_(generichash|shorthash))$'
allowed=$(echo "$allowed" | tr -d '\n')

defined=$(nm --defined-only "$lib" | awk 'NF == 3 { print $3 }' | sort -u)
object=
while read -r line; do
	case $line in
	*.o:) object=${line%:} ;;
	'U '*)
		symbol=${line#U }
		grep -qxF -- "$symbol" <<<"$defined" && continue
		[[ $symbol =~ $allowed ]] || bad "proto/${object#libctproto_a-}:1: calls $symbol"
		;;
	esac
done < <(nm -u "$lib" | sed 's/^ *//')
case $(c_files) in
*proto/engine.c*)
	nm -u "$lib" | grep -q __assert_fail || bad "libctproto.a:1: no assertion is in it: built with NDEBUG?"
	;;
esac

# crypto_*_keygen and randombytes draw random numbers.
bad_lines < <(nm -u "$lib" | grep -E 'keygen|random' | sed 's/^/libctproto.a:1: draws random numbers:/')
finish
