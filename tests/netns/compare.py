#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Judges whether two tables hold the same flows in the same state.

    compare.py [options] A B        exit status 0: equal, 1: they differ, 2: could not tell
    compare.py --save NETNS FILE    takes a raw dump now, to be compared later; --expect: of the expectations

A and B each name a source:
    kernel:NETNS        a raw ctnetlink dump of that network namespace, taken and read here
    dump:FILE           a raw dump that --save took
    text:FILE           lines as `conntrack -L` and `ctsync flows` print them
    expect:NETNS        a raw dump of what that kernel expects
    expect-dump:FILE    what --save --expect took

Two kernels are compared attribute by attribute as the kernel wrote them, whatever the attribute means, so that an
attribute which nobody here has heard of counts too. Left out is what belongs to one kernel alone: timeout, counters,
id, use count, timestamps; of the status the bits that are a kernel's own bookkeeping, of the TCP flags those that are.
Of two expectations the seconds that are left and the id are left out, nothing else is.
Text against anything is compared as text: tuples, protocol state, assured and unreplied, mark, zone.

This file shares no code with ctsyncd. It knows the attribute numbers from linux/netfilter/nfnetlink_conntrack.h.

    --skip-state S[,S]   leave out TCP flows in these states, on both sides (names as conntrack prints them)
    --skip-port P[,P]    leave out flows with such a port in the original direction
    --proto P[,P]        only these protocols (numbers)
    --subset             A's flows must be in B; what else B holds does not matter
    --show N             print at most N differences (default 5)
"""
import argparse
import ctypes
import os
import socket
import struct
import sys

SYNPROXY = 24
# Every entry that came by netlink has this extension, others only when it is used: all zero means none.
SYNPROXY_NONE = b"".join(b"\x08\x00%c\x00\0\0\0\0" % i for i in (1, 2, 3))
TUPLE_ORIG, TUPLE_REPLY, STATUS, PROTOINFO, HELP, TIMEOUT, MARK = 1, 2, 3, 4, 5, 7, 8
COUNTERS_ORIG, COUNTERS_REPLY, USE, ID, ZONE, SECCTX, TIMESTAMP = 9, 10, 11, 12, 18, 19, 20
# enum ctattr_expect; their key is the tuple, the mask and the zone.
EXP_TUPLE, EXP_MASK, EXP_TIMEOUT, EXP_ID, EXP_ZONE = 2, 3, 4, 5, 7
EXP_NAMES = {1: "master", 2: "tuple", 3: "mask", 6: "helper", 7: "zone", 8: "flags", 9: "class", 10: "nat", 11: "function"}
CONNTRACK, EXPECTATIONS = 1, 2  # subsystems of nfnetlink
LEFT_OUT = {TIMEOUT, COUNTERS_ORIG, COUNTERS_REPLY, USE, ID, SECCTX, TIMESTAMP}
NAMES = {1: "orig", 2: "reply", 3: "status", 4: "protoinfo", 5: "help", 8: "mark", 13: "seqadj-orig",
         14: "seqadj-reply", 15: "seqadj", 16: "tuple-master", 18: "zone", 22: "labels", 24: "synproxy"}
# EXPECTED, SEEN_REPLY, ASSURED, CONFIRMED, SRC_NAT, DST_NAT, FIXED_TIMEOUT, HELPER. Not the NAT_DONE bits: a kernel sets
# them on a flow that met its NAT hooks and was left as it is, and lets nobody set them.
STATUS_MASK = 0x243F
# A GRE entry that came by netlink lives only if its timer is fixed: CTA_PROTO_NUM 47.
GRE_TUPLE, FIXED_TIMEOUT = b"\x05\x00\x01\x00\x2f", 0x400
# WINDOW_SCALE, SACK_PERM, CLOSE_INIT. The rest is a kernel's own view of the stream: BE_LIBERAL is what a copy needs to live.
TCP_FLAGS_MASK = 0x07
TCP_STATES = ["NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK",
              "TIME_WAIT", "CLOSE", "SYN_SENT2"]
SCTP_STATES = ["NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT", "SHUTDOWN_RECD",
               "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT"]
PROTO_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 58: "icmpv6", 132: "sctp", 136: "udplite"}


def attributes(data, start, end):
    """Yields (type, start, end of payload) of the netlink attributes in data[start:end]."""
    while start + 4 <= end:
        length, kind = struct.unpack_from("=HH", data, start)
        if length < 4 or start + length > end:
            raise ValueError("malformed netlink attribute")
        yield kind & 0x3FFF, start + 4, start + length
        start += (length + 3) & ~3


def enter_netns(name):
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/run/netns/" + name, "rb") as ns:
        if libc.setns(ns.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns " + name)


def raw_messages(netns, subsystem):
    """Yields what the kernel answers to a dump, as it comes."""
    enter_netns(netns)
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind((0, 0))
    # The GET of either subsystem is 1; with NLM_F_REQUEST | NLM_F_DUMP, any family.
    sock.send(struct.pack("=IHHIIBBH", 20, subsystem << 8 | 1, 0x301, 1, 0, 0, 0, 0))
    while True:
        data = sock.recv(1 << 17)
        yield data
        if struct.unpack_from("=IH", data)[1] == 3:
            return


def saved_messages(path):
    with open(path, "rb") as dump:
        while size := dump.read(4):
            yield dump.read(struct.unpack("=I", size)[0])


def save(netns, path, subsystem):
    with open(path, "wb") as dump:
        for data in raw_messages(netns, subsystem):
            dump.write(struct.pack("=I", len(data)) + data)
    return 0


def raw_dump(messages):
    """Yields (family, message, start of its attributes, end) for each entry of the table."""
    for data in messages:
        at = 0
        while at + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            if kind == 3:
                return
            if kind == 2:
                raise OSError(-struct.unpack_from("=i", data, at + 16)[0], "conntrack dump")
            yield data[at + 16], data, at + 20, at + length
            at += (length + 3) & ~3


def protoinfo(data, start, end):
    """The protocol's part as readable items; only TCP has kernel-private bits to mask."""
    out = []
    for kind, a, b in attributes(data, start, end):
        if kind != 1:
            out.append((kind, data[a:b]))
            continue
        for key, c, d in attributes(data, a, b):
            if key == 1:
                out.append(("state", data[c]))
            elif key in (2, 3):
                out.append(("wscale-" + "or"[key - 2], data[c]))
            elif key in (4, 5):
                out.append(("flags-" + "or"[key - 4], data[c] & TCP_FLAGS_MASK))
            else:
                out.append((key, data[c:d]))
    return tuple(sorted(out, key=str))


INFO_CACHE = {}


def raw_record(family, data, start, end):
    """Key (family, zone, original tuple) and the other attributes of one entry."""
    orig, rest, zone = None, [], b""
    for kind, a, b in attributes(data, start, end):
        value = data[a:b]
        if kind in LEFT_OUT:
            continue
        if kind == TUPLE_ORIG:
            orig = value
        elif kind == STATUS:
            rest.append((kind, struct.unpack(">I", value)[0] & STATUS_MASK))
        elif kind == PROTOINFO:
            info = INFO_CACHE.get(value)
            if info is None:
                info = INFO_CACHE[value] = protoinfo(value, 0, len(value))
            rest.append((kind, info))
        elif kind == ZONE:
            zone = value
        elif kind == MARK and value == b"\0\0\0\0":
            continue
        elif kind == SYNPROXY and value == SYNPROXY_NONE:
            continue
        else:
            rest.append((kind, value))
    if orig and GRE_TUPLE in orig:
        rest = [(k, v & ~FIXED_TIMEOUT) if k == STATUS else (k, v) for k, v in rest]
    return (family, zone, orig), tuple(rest)


def raw_expectation(family, data, start, end):
    """Key (family, zone, tuple, mask) and the other attributes of one expectation, byte by byte."""
    attrs = {kind: data[a:b] for kind, a, b in attributes(data, start, end)}
    key = (family, attrs.pop(EXP_ZONE, b""), attrs.pop(EXP_TUPLE), attrs.pop(EXP_MASK))
    return key, tuple((k, v) for k, v in attrs.items() if k not in (EXP_TIMEOUT, EXP_ID))


def tuple_of(data):
    """Protocol, addresses and the protocol's part of a raw tuple, and its zone if it has one."""
    addrs, proto, ports, zone = {}, 0, {}, None
    for kind, a, b in attributes(data, 0, len(data)):
        if kind == 1:
            for key, c, d in attributes(data, a, b):
                addrs[key] = socket.inet_ntop(socket.AF_INET if d - c == 4 else socket.AF_INET6, data[c:d])
        elif kind == 2:
            for key, c, d in attributes(data, a, b):
                if key == 1:
                    proto = data[c]
                else:
                    ports[key] = int.from_bytes(data[c:d], "big")
        elif kind == 3:
            zone = int.from_bytes(data[a:b], "big")
    return proto, addrs, ports, zone


def words_of(tup):
    proto, addrs, ports, zone = tup
    out = ["src=" + (addrs.get(1) or addrs.get(3)), "dst=" + (addrs.get(2) or addrs.get(4))]
    if zone is not None:
        out.append("tuple-zone=%d" % zone)
    if proto in (1, 58):
        first = 4 if proto == 1 else 7
        out += ["type=%d" % ports[first + 1], "code=%d" % ports[first + 2], "id=%d" % ports[first]]
    elif ports:
        names = ("srckey=0x%x", "dstkey=0x%x") if proto == 47 else ("sport=%d", "dport=%d")
        out += [names[0] % ports[2], names[1] % ports[3]]
    return out


def text_of(key, rest):
    """A raw record as the words that a line of `conntrack -L` would hold, in a canonical order."""
    attrs = dict(rest)
    orig, reply = tuple_of(key[2]), tuple_of(attrs[TUPLE_REPLY])
    words = [PROTO_NAMES.get(orig[0], "unknown"), str(orig[0])]
    info = dict(attrs.get(PROTOINFO, ()))
    if orig[0] == 6 and "state" in info:
        words.append(TCP_STATES[info["state"]])
    if orig[0] == 132 and 3 in info:
        words += [SCTP_STATES[info[3][a]] for kind, a, _ in attributes(info[3], 0, len(info[3])) if kind == 1]
    status = attrs.get(STATUS, 0)
    flags = [] if status & 2 else ["[UNREPLIED]"]
    if status & 4:
        flags.append("[ASSURED]")
    mark = int.from_bytes(attrs.get(MARK, b""), "big")
    zone = int.from_bytes(key[1], "big") if key[1] else 0
    return words, words_of(orig), words_of(reply), flags, mark, zone


def text_line(line):
    """The same of a line of text."""
    tokens = line.split()
    if len(tokens) < 5:
        raise ValueError("not a flow: " + line)
    head = tokens[:2] + [t for t in tokens[2:5] if t in TCP_STATES + SCTP_STATES]
    tuples, flags, mark, zone, this = [], [], 0, 0, None
    for token in tokens[2:]:
        name, equals, value = token.partition("=")
        if token in ("[UNREPLIED]", "[ASSURED]"):
            flags.append(token)
        elif name == "src":
            this = ["src=" + value]
            tuples.append(this)
        elif name == "mark":
            mark = int(value)
        elif name == "zone":
            zone = int(value)
        elif name in ("zone-orig", "zone-reply"):
            tuples[-1].insert(2, "tuple-zone=" + value)
        elif equals and this is not None and name in ("dst", "sport", "dport", "type", "code", "id", "srckey", "dstkey"):
            this.append(token)
    if len(tuples) != 2:
        raise ValueError("not two tuples: " + line)
    return head, tuples[0], tuples[1], sorted(flags, reverse=True), mark, zone


def freeze(text):
    head, orig, reply, flags, mark, zone = text
    key = " ".join(head[:2] + orig + ["zone=%d" % zone])
    return key, (" ".join(head[2:]), " ".join(reply), " ".join(flags), mark)


def wanted_words(text, opts):
    if opts.proto and int(text[0][1]) not in opts.proto:
        return False
    if opts.skip_state and len(text[0]) > 2 and text[0][2] in opts.skip_state:
        return False
    return not (opts.skip_port and any(w[6:] in opts.skip_port for w in text[1] if w[1:6] == "port="))


def load(source, as_text, opts):
    kind, _, name = source.partition(":")
    table = {}
    filters = opts.proto or opts.skip_state or opts.skip_port
    if kind in ("kernel", "dump"):
        messages = raw_messages(name, CONNTRACK) if kind == "kernel" else saved_messages(name)
        for family, data, start, end in raw_dump(messages):
            key, rest = raw_record(family, data, start, end)
            if as_text or filters:
                text = text_of(key, rest)
                if not wanted_words(text, opts):
                    continue
                if as_text:
                    key, rest = freeze(text)
            table[key] = rest
    elif kind in ("expect", "expect-dump"):
        for message in raw_dump(raw_messages(name, EXPECTATIONS) if kind == "expect" else saved_messages(name)):
            key, rest = raw_expectation(*message)
            if key in table:
                raise ValueError("expected twice in %s: %s" % (name, readable(key)))
            table[key] = rest
    elif kind == "text":
        with open(name, encoding="ascii") as lines:
            for line in lines:
                text = text_line(line)
                if not wanted_words(text, opts):
                    continue
                key, rest = freeze(text)
                if key in table:
                    raise ValueError("twice in %s: %s" % (name, key))
                table[key] = rest
    else:
        raise ValueError("unknown source " + source)
    return table


def readable(key):
    if isinstance(key, str):
        return key
    return " ".join([PROTO_NAMES.get(tuple_of(key[2])[0], "?")] + words_of(tuple_of(key[2])))


def difference(a, b, names):
    if not isinstance(a[0], tuple):
        return "%s | %s" % (a, b)
    x, y = dict(a), dict(b)
    out = []
    for kind in sorted(set(x) | set(y)):
        if x.get(kind) != y.get(kind):
            show = (lambda v: " ".join(words_of(tuple_of(v)))) if names.get(kind) == "reply" else str
            out.append("%s: %s | %s" % (names.get(kind, kind), *(show(t[kind]) if kind in t else "none" for t in (x, y))))
    return "; ".join(out)


def report(left, right, opts):
    only_a = [k for k in left if k not in right]
    only_b = [] if opts.subset else [k for k in right if k not in left]
    differ = [k for k in left if k in right and left[k] != right[k]]
    if not (only_a or only_b or differ):
        print("equal: %d entries" % len(left) + (" of %d" % len(right) if opts.subset else ""))
        return 0
    print("not equal: %d against %d, %d only in %s, %d only in %s, %d differ" %
          (len(left), len(right), len(only_a), opts.a, len(only_b), opts.b, len(differ)))
    for title, keys in (("only in " + opts.a, only_a), ("only in " + opts.b, only_b)):
        for key in keys[:opts.show]:
            print("  %s: %s" % (title, readable(key)))
    for key in differ[:opts.show]:
        print("  differs: %s -> %s" % (readable(key), difference(left[key], right[key], EXP_NAMES if len(key) == 4 else NAMES)))
    return 1


def main():
    parser = argparse.ArgumentParser(add_help=True)
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--skip-state", type=lambda s: set(s.split(",")), default=set())
    parser.add_argument("--skip-port", type=lambda s: set(s.split(",")), default=set())
    parser.add_argument("--proto", type=lambda s: {int(p) for p in s.split(",")}, default=set())
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--expect", action="store_true")
    parser.add_argument("--subset", action="store_true")
    parser.add_argument("--show", type=int, default=5)
    opts = parser.parse_args()
    as_text = opts.a.startswith("text:") or opts.b.startswith("text:")
    try:
        if opts.save:
            return save(opts.a, opts.b, EXPECTATIONS if opts.expect else CONNTRACK)
        return report(load(opts.a, as_text, opts), load(opts.b, as_text, opts), opts)
    except (OSError, ValueError) as error:
        print("compare.py: %s" % error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C")
    sys.exit(main())
