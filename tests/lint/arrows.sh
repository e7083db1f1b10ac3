#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Includes follow the arrows. proto/: engine -> peer, stream, own, patrol -> cache, wire, seal, digest -> flow; never
# upward, never the daemon. daemon/: siblings never include each other; main, pump, verbs and what belongs to them see
# all; everything may use log. Libraries have one door each.
. "$(dirname "$0")/_lib.sh"

# What a file may include with "": file pattern, then headers (both as patterns). The first line that
# matches counts; a file that none matches is main, or pump, verbs and note that belong to it.
rules() {
	cat <<-'END'
	include/wire.h          flow.h util.h
	include/engine.h        flow.h pages.h policy.h util.h wire.h
	include/*               flow.h util.h
	proto/flow*             flow*.h util.h
	proto/policy*           policy.h flow.h util.h
	proto/wire*             wire.h flow.h util.h
	proto/digest*           digest.h flow.h util.h
	proto/blob*             util.h
	proto/slab*             slab.h blob.h pages.h util.h
	proto/table*            table.h cache.h slab.h blob.h util.h
	proto/marks*            marks.h cache.h slab.h util.h
	proto/cache*            cache*.h pages.h blob.h slab.h table.h marks.h digest.h flow.h wire.h util.h
	proto/seal*             seal.h digest.h engine.h wire.h util.h
	proto/tape*             tape.h engine_priv.h engine.h seal.h
	proto/save*             blob.h build_id.h engine_priv.h
	proto/engine_priv.h     engine_state.h
	proto/engine.c          tape.h engine_priv.h
	proto/scope*            tape.h engine_priv.h
	proto/*                 engine_priv.h quarantine.h engine.h cache.h digest.h flow.h policy.h seal.h wire.h util.h
	daemon/log.*            log.h util.h
	daemon/words.*          words.h ctl.h util.h
	daemon/recorder.*       recorder.h recording.h engine.h log.h util.h
	daemon/deaths.*         deaths.h engine.h kern.h log.h util.h
	daemon/hugepages.*      hugepages.h pages.h
	daemon/notify.*         notify.h util.h
	daemon/kern*            kern*.h engine.h flow.h policy.h log.h util.h
	daemon/link*            link*.h engine.h log.h util.h wire.h
	daemon/ctl*             ctl*.h words.h log.h util.h
	daemon/conf*            conf*.h link.h log.h engine.h policy.h ctl.h wire.h util.h
	daemon/state.*          state.h conf.h engine.h util.h log.h
	daemon/jsonl.*          jsonl.h ctl.h util.h
	daemon/cli/policy_test.* policy_test.h flows.h cli.h conf.h policy.h flow.h ctl.h util.h
	daemon/cli/flows.*      flows.h cli.h flow.h
	daemon/cli/rehearse.*   rehearse.h scratch.h flows.h cli.h kern.h engine.h flow.h log.h ctl.h util.h
	daemon/cli/scratch.*    scratch.h util.h
	daemon/cli/*            cli.h conf.h keygen.h policy_test.h record.h rehearse.h render.h ctl.h words.h recording.h util.h
	END
}

allowed_for() { # file
	rules | while read -r pattern allowed; do
		# shellcheck disable=SC2254 # a pattern is meant
		case $1 in $pattern) echo "$allowed"; break ;; esac
	done
}

may() { # name of a header: is it among patterns?
	local pattern
	for pattern in "${patterns[@]}"; do
		# shellcheck disable=SC2254 # a pattern is meant
		case $1 in $pattern) return 0 ;; esac
	done
	return 1
}

for f in $(files 'include/*.h' 'proto/*.[ch]' 'daemon/*.[ch]' 'daemon/cli/*.[ch]'); do
	allowed=$(allowed_for "$f")
	[ -n "$allowed" ] || continue
	read -ra patterns <<<"$allowed"
	while IFS=: read -r line text; do
		name=$(sed 's/.*"\(.*\)".*/\1/; s|.*/||' <<<"$text")
		may "$name" || bad "$f:$line: may not include $name"
	done < <(grep -nE '^#include "' "$f")
done

# One door per library: header, files that may open it.
door() { # regex of the header, regex of files
	local hit list
	mapfile -t list < <(files 'include/*.h' 'proto/*.[ch]' 'daemon/*.[ch]' 'daemon/cli/*.[ch]')
	while IFS= read -r hit; do
		[[ ${hit%%:*} =~ $2 ]] || bad "$hit: this library has one door, $2"
	done < <(grep -nE "^#include <($1)" "${list[@]}" /dev/null)
}
door 'libmnl|libnetfilter_conntrack|linux/netfilter' '^daemon/kern'
door 'libconfig' '^daemon/conf'
door 'sodium' '^(proto/(seal|digest)|daemon/(main|conf|keys|state|verbs|cli/(keygen|record|flows|policy_test)))'
door 'jansson' '^daemon/cli/'
door 'ev\.h' '^daemon/(main|daemon|pump|loop|verbs|ctl|notify)'
finish
