#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The two ends of the traffic that record.sh records: `server` answers, `client` asks once of each kind."""
import os
import select
import socket
import struct
import sys

TCP_PORTS = (80, 83, 84, 85, 86, 8080)


def server():
    socks = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for port in TCP_PORTS:
            s = socket.socket(family, socket.SOCK_STREAM)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            s.bind(("", port))
            s.listen()
            socks.append(s)
        u = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            u.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        u.bind(("", 53))
        socks.append(u)
    listening = set(socks)
    print("ready", flush=True)
    while True:
        for s in select.select(socks, [], [])[0]:
            if s.type == socket.SOCK_DGRAM:
                data, peer = s.recvfrom(100)
                s.sendto(data, peer)
            elif s in listening:
                socks.append(s.accept()[0])
            else:
                data = s.recv(100)
                if data:
                    s.send(data)
                else:
                    s.close()
                    socks.remove(s)


def tcp(family, addr, port, source, close=True):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(5)
    s.bind(("", source))
    s.connect((addr, port))
    s.send(b"x")
    assert s.recv(10) == b"x"
    if close:
        s.close()
    return s


def udp(family, addr, port, rounds, answer=True):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(5)
    for _ in range(rounds):
        s.sendto(b"x", (addr, port))
        if answer:
            assert s.recvfrom(10)[0] == b"x"


def echo(family, addr, ident, source=None):
    proto, kind = (socket.IPPROTO_ICMPV6, 128) if family == socket.AF_INET6 else (socket.IPPROTO_ICMP, 8)
    s = socket.socket(family, socket.SOCK_RAW, proto)
    s.settimeout(5)
    head = struct.pack("!BBHHH", kind, 0, 0, ident, 1)
    if family == socket.AF_INET:
        total = sum(struct.unpack("!4H", head))
        head = struct.pack("!BBHHH", kind, 0, ~(total + (total >> 16)) & 0xffff, ident, 1)
    if source:
        s.bind((source, 0))
    s.sendto(head, (addr, 0))
    s.recv(100)


def client():
    kept = []
    for family, there, here, other, source in ((socket.AF_INET, "10.9.2.2", "10.9.1.1", "10.9.1.3", 2000),
                                               (socket.AF_INET6, "fd09:2::2", "fd09:1::1", "fd09:1::3", 3000)):
        for i, port in enumerate((80, 83, 84, 85, 86)):
            tcp(family, there, port, source + i)
        tcp(family, here, 81, source + 10)
        tcp(family, here, 82, source + 11)
        for i, port in enumerate((80, 83, 84, 85, 86)):
            kept.append(tcp(family, there, port, source + 20 + i, close=False))
        udp(family, there, 53, 1)
        udp(family, there, 53, 4)
        udp(family, here, 5301, 2)
        udp(family, there, 9, 1, answer=False)
        echo(family, there, 7)
        echo(family, there, 7, other)  # masquerading must give it another id
    echo(socket.AF_INET, "10.9.1.1", 9)
    # A connection that nobody answers, and one that is refused.
    s = socket.socket()
    s.settimeout(1)
    refused = s.connect_ex(("10.9.2.2", 4444))
    assert refused != 0, os.strerror(refused)
    sys.stdout.flush()
    os._exit(0)  # the kept connections are reset, which the recording shall hold too


if __name__ == "__main__":
    server() if sys.argv[1:] == ["server"] else client()
