#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes to a kernel's conntrack table behind a running daemon's back: no event of it reaches the daemon.

    behind.py PID delete|create|mark SOURCE FIRST_PORT LAST_PORT DESTINATION DPORT [MARK]

The daemon does not want to hear of its own writes, and tells them by the port of its socket. So this takes that very socket
out of the daemon (pidfd_getfd) and writes by it. The flows are TCP over IPv4, one for each source port,
established ones when they are created.
"""
import ctypes
import os
import re
import socket
import struct
import sys

NEW, DELETE = 1 << 8, 1 << 8 | 2
REQUEST, EXCL_CREATE = 1, 0x600
PIDFD_GETFD = 438
NESTED = 0x8000


def write_socket(pid):
    """Of the daemon's netfilter sockets without a multicast group the one that was opened first."""
    inodes = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        match = re.match(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{fd}"))
        if match:
            inodes[match[1]] = int(fd)
    found = []
    with open(f"/proc/{pid}/net/netlink", encoding="ascii") as table:
        for words in map(str.split, table):
            if words[1] == "12" and int(words[3], 16) == 0 and words[9] in inodes:
                found.append(inodes[words[9]])
    pidfd = os.pidfd_open(int(pid))
    fd = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, pidfd, min(found), 0)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return socket.socket(fileno=fd)


def attr(kind, data):
    return struct.pack("=HH", len(data) + 4, kind) + data + bytes(-len(data) % 4)


def tuple_attr(kind, src, sport, dst, dport):
    ip = attr(1, socket.inet_aton(src)) + attr(2, socket.inet_aton(dst))
    proto = attr(1, b"\6") + attr(2, struct.pack(">H", sport)) + attr(3, struct.pack(">H", dport))
    return attr(kind | NESTED, attr(1 | NESTED, ip) + attr(2 | NESTED, proto))


def message(what, src, sport, dst, dport, mark):
    body = tuple_attr(1, src, sport, dst, dport)
    kind, flags = (DELETE, REQUEST) if what == "delete" else (NEW, REQUEST)
    if what == "create":
        flags |= EXCL_CREATE
        tcp = attr(1, b"\3") + attr(2, b"\7") + attr(3, b"\7") + attr(4, b"\3\3") + attr(5, b"\3\3")
        body += tuple_attr(2, dst, dport, src, sport) + attr(3, struct.pack(">I", 0xE))
        body += attr(4 | NESTED, attr(1 | NESTED, tcp)) + attr(7, struct.pack(">I", 400000))
    elif what == "mark":
        body += attr(8, struct.pack(">I", mark))
    header = struct.pack("=IHHII", 20 + len(body), kind, flags, 1, 0) + struct.pack(">BBH", socket.AF_INET, 0, 0)
    return header + body


def main():
    pid, what, src, first, last, dst, dport = sys.argv[1:8]
    mark = int(sys.argv[8]) if len(sys.argv) > 8 else 0
    sock = write_socket(pid)
    for sport in range(int(first), int(last) + 1):
        sock.send(message(what, src, sport, dst, int(dport), mark))


if __name__ == "__main__":
    main()
