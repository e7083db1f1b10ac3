#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Both ends of one connection of each rarer kind, through the firewalls of lib.sh.

    kinds.py CLIENTS SERVERS      the two network namespaces

Reads commands from standard input, one a line: `open` makes the connections, `check` sends something unique each way on
every one of them. Answers a line for each kind, "ok KIND" or "lost KIND: why", then "end".
"""
import ctypes
import os
import select
import socket
import struct
import sys
import time

GRE, SCTP, OTHER = 47, 132, 99
V4, V6 = socket.AF_INET, socket.AF_INET6
CLIENT, SERVER = {V4: "10.1.0.3", V6: "fd01::3"}, {V4: "10.2.0.3", V6: "fd02::3"}
serial = 0


def enter(name):
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/run/netns/" + name, "rb") as ns:
        if libc.setns(ns.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns " + name)


def token():
    global serial
    serial += 1
    return b"token-%08d" % serial


def await_bytes(sock, what, seconds=3.0):
    """Reads until something holds `what`; returns it and where it came from."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([sock], [], [], left)[0]:
            data, peer = sock.recvfrom(2048)
            if what in data:
                return data, peer
    raise TimeoutError("nothing came")


class Datagrams:
    """UDP and raw protocols: what one sends the other answers, to wherever it came from."""

    def __init__(self, family, proto, port=0, target=None, kind=socket.SOCK_DGRAM, head=b"", here=None):
        self.head, self.port = head, port
        self.to = (target or SERVER[family], port)
        enter(CL)
        self.a = socket.socket(family, kind, proto)
        self.a.bind((here or CLIENT[family], 0))
        enter(CL if target else SV)
        self.b = socket.socket(family, kind, proto)
        self.b.bind(("10.1.0.1" if target else SERVER[family], 5001 if target else port))

    def open(self):
        self.check()
        self.check()

    def check(self):
        there, back = token(), token()
        self.a.sendto(self.head + there, self.to)
        peer = await_bytes(self.b, there)[1]
        self.b.sendto(self.head + back, peer)
        await_bytes(self.a, back)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class Sctp:
    """An association by hand, for a kernel without SCTP: RFC 9260, 3.3."""
    A, B = 0x11111111, 0x22222222

    def __init__(self, family):
        self.family = family
        enter(CL)
        self.a = socket.socket(family, socket.SOCK_RAW, SCTP)
        self.a.bind((CLIENT[family], 0))
        enter(SV)
        self.b = socket.socket(family, socket.SOCK_RAW, SCTP)
        self.b.bind((SERVER[family], 0))

    def packet(self, sport, dport, vtag, kind, body):
        chunk = struct.pack("!BBH", kind, 3 if kind == 0 else 0, 4 + len(body)) + body
        chunk += bytes(-len(chunk) % 4)
        head = struct.pack("!HHI", sport, dport, vtag)
        return head + struct.pack("<I", crc32c(head + bytes(4) + chunk)) + chunk

    def exchange(self, there, back):
        """there and back: (tag, chunk type, bytes before the token)."""
        t = token()
        self.a.sendto(self.packet(7000, 7001, there[0], there[1], there[2] + t), (SERVER[self.family], 0))
        data, peer = await_bytes(self.b, t)
        at = (data[0] & 15) * 4 if self.family == V4 else 0
        sport = struct.unpack_from("!H", data, at)[0]
        t = token()
        self.b.sendto(self.packet(7001, sport, back[0], back[1], back[2] + t), (peer[0], 0))
        await_bytes(self.a, t)

    def open(self):
        init = lambda tag: struct.pack("!IIHHI", tag, 65536, 1, 1, 1)
        self.exchange((0, 1, init(self.A)), (self.A, 2, init(self.B)))
        self.exchange((self.B, 10, b""), (self.A, 11, b""))
        self.check()

    def check(self):
        data = struct.pack("!IHHI", 1, 0, 0, 0)
        self.exchange((self.B, 0, data), (self.A, 0, data))


def read_exactly(sock, want):
    got = b""
    sock.settimeout(3)
    while len(got) < len(want):
        piece = sock.recv(len(want) - len(got))
        if not piece:
            break
        got += piece
    if got != want:
        raise ValueError("read %r, not %r" % (got, want))


class Ftp:
    """A control connection whose PORT the firewall rewrites (its length changes), and the transfer that it opens."""

    def open(self):
        enter(SV)
        listener = socket.create_server((SERVER[V4], 21))
        enter(CL)
        self.a = socket.create_connection((SERVER[V4], 21), 3, (CLIENT[V4], 0))
        data = socket.create_server((CLIENT[V4], 51200))
        self.b = listener.accept()[0]
        self.command(b"USER x\r\n", b"331 go on\r\n")
        self.a.sendall(b"PORT 10,1,0,3,200,0\r\n")
        read_exactly(self.b, b"PORT 10,2,0,254,200,0\r\n")
        self.b.sendall(b"200 fine\r\n")
        read_exactly(self.a, b"200 fine\r\n")
        enter(SV)
        self.d = socket.create_connection(("10.2.0.254", 51200), 3, (SERVER[V4], 20))
        self.c = data.accept()[0]
        self.check()

    def command(self, there, back):
        self.a.sendall(there)
        read_exactly(self.b, there)
        self.b.sendall(back)
        read_exactly(self.a, back)

    def check(self):
        t = token()
        self.command(b"NOOP " + t + b"\r\n", b"200 " + t + b"\r\n")
        self.d.sendall(t)
        read_exactly(self.c, t)


class Tcp:
    """A plain connection: what is special about it is what the firewall does."""

    def __init__(self, port):
        self.port = port

    def open(self):
        enter(SV)
        listener = socket.create_server((SERVER[V4], self.port))
        enter(CL)
        self.a = socket.create_connection((SERVER[V4], self.port), 3, (CLIENT[V4], 0))
        listener.settimeout(3)
        self.b = listener.accept()[0]
        self.check()

    def check(self):
        for here, there in ((self.a, self.b), (self.b, self.a)):
            t = token()
            here.sendall(t)
            read_exactly(there, t)


class Pptp(Tcp):
    """A control connection with one call, and GRE whose keys are the call's ids: RFC 2637. The firewall rewrites the
    client's id. How ids belong together its helper alone knows, so the GRE part cannot outlive it: see ctsyncd(8)."""
    CLIENT_ID, SERVER_ID = 0x1111, 0x2222

    def __init__(self):
        super().__init__(1723)

    def tell(self, here, there, kind, body):
        """Sends a control message; returns what arrives."""
        here.sendall(struct.pack("!HHIHH", 12 + len(body), 1, 0x1A2B3C4D, kind, 0) + body)
        got = b""
        while len(got) < 12 + len(body):
            got += there.recv(12 + len(body) - len(got))
        return got

    def open(self):
        super().open()
        names = bytes(128)
        self.tell(self.a, self.b, 1, struct.pack("!HHIIHH", 0x100, 0, 3, 3, 1, 1) + names)
        self.tell(self.b, self.a, 2, struct.pack("!HBBIIHH", 0x100, 1, 0, 3, 3, 1, 1) + names)
        call = struct.pack("!HHIIIIHHHH", self.CLIENT_ID, 1, 300, 100000000, 3, 3, 64, 0, 0, 0)
        seen = struct.unpack_from("!H", self.tell(self.a, self.b, 7, call + names), 12)[0]
        reply = struct.pack("!HHBBHIHHI", self.SERVER_ID, seen, 1, 0, 0, 100000, 64, 0, 0)
        self.tell(self.b, self.a, 8, reply)
        enter(CL)
        a = socket.socket(V4, socket.SOCK_RAW, GRE)
        a.bind((CLIENT[V4], 0))
        enter(SV)
        b = socket.socket(V4, socket.SOCK_RAW, GRE)
        b.bind((SERVER[V4], 0))
        for here, to, there, key in ((a, SERVER[V4], b, self.SERVER_ID), (b, "10.2.0.254", a, seen)):
            t = token()
            here.sendto(struct.pack("!HHHHI", 0x3001, 0x880B, len(t), key, 1) + t, (to, 0))
            await_bytes(there, t)


def serve(kinds):
    """Reads commands and answers them, until its input ends."""
    for line in sys.stdin:
        for name, kind in kinds.items():
            try:
                getattr(kind, line.strip())()
                print("ok " + name)
            except (OSError, ValueError) as error:
                print("lost %s: %s" % (name, error))
        print("end", flush=True)


def main():
    gre = struct.pack("!HH", 0, 0x0800)
    serve({
        "udp, zone": Datagrams(V4, 17, 7005), "udp, zone of the original direction": Datagrams(V4, 17, 7006),
        "udp, zone of the reply direction": Datagrams(V4, 17, 7008),
        "udp, labels": Datagrams(V4, 17, 7007), "udp6, labels": Datagrams(V6, 17, 7007),
        "udp, hairpin": Datagrams(V4, 17, 8081, target="10.1.0.254", here="10.1.0.2"),
        "gre": Datagrams(V4, GRE, kind=socket.SOCK_RAW, head=gre),
        "gre6": Datagrams(V6, GRE, kind=socket.SOCK_RAW, head=gre),
        "protocol 99": Datagrams(V4, OTHER, kind=socket.SOCK_RAW),
        "protocol 99 over IPv6": Datagrams(V6, OTHER, kind=socket.SOCK_RAW),
        "sctp": Sctp(V4), "sctp6": Sctp(V6), "ftp": Ftp(),
        "tcp, proxied": Tcp(7010), "pptp": Pptp(),
    })


CL, SV = sys.argv[1:]
if __name__ == "__main__":
    main()
    os._exit(0)
