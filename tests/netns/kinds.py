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


def await_bytes(sock, what, seconds=3.0, no=None):
    """Reads until something holds `what`; returns it and where it came from. no: what must not come before."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([sock], [], [], left)[0]:
            data, peer = sock.recvfrom(2048)
            if no is not None and no in data:
                raise ValueError("%r came" % no)
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
        self.peer = None

    def open(self):
        self.check()
        self.check()

    def check(self):
        there, back = token(), token()
        self.a.sendto(self.head + there, self.to)
        peer = await_bytes(self.b, there)[1]
        if self.peer not in (None, peer):
            raise ValueError("seen from %s, before from %s" % (peer, self.peer))
        self.peer = peer
        self.b.sendto(self.head + back, peer)
        await_bytes(self.a, back)


class Unanswered:
    """UDP in one direction, until the end: then comes the answer."""

    def __init__(self, port):
        self.to = (SERVER[V4], port)
        enter(CL)
        self.a = socket.socket(V4, socket.SOCK_DGRAM)
        self.a.bind((CLIENT[V4], 0))
        enter(SV)
        self.b = socket.socket(V4, socket.SOCK_DGRAM)
        self.b.bind(self.to)

    def open(self):
        t = token()
        self.a.sendto(t, self.to)
        self.peer = await_bytes(self.b, t)[1]

    def finish(self):
        t = token()
        self.b.sendto(t, self.peer)
        await_bytes(self.a, t)


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

    def __init__(self, family, port=7000):
        self.family, self.port = family, port
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

    def exchange(self, there, back, no=None):
        """there and back: (tag, chunk type, bytes before the token); None: nothing comes back. no: what must not come before."""
        t = token()
        self.a.sendto(self.packet(self.port, self.port + 1, there[0], there[1], there[2] + t), (SERVER[self.family], 0))
        data, peer = await_bytes(self.b, t, no=no)
        at = (data[0] & 15) * 4 if self.family == V4 else 0
        if back is None:
            return
        sport = struct.unpack_from("!H", data, at)[0]
        t = token()
        self.b.sendto(self.packet(self.port + 1, sport, back[0], back[1], back[2] + t), (peer[0], 0))
        await_bytes(self.a, t)

    def open(self):
        init = lambda tag: struct.pack("!IIHHI", tag, 65536, 1, 1, 1)
        self.exchange((0, 1, init(self.A)), (self.A, 2, init(self.B)))
        self.exchange((self.B, 10, b""), (self.A, 11, b""))
        Sctp.check(self)

    def check(self):
        data = struct.pack("!IHHI", 1, 0, 0, 0)
        self.exchange((self.B, 0, data), (self.A, 0, data))


class SctpEnding(Sctp):
    """An association that is being shut down: its last chunk counts by its tag alone."""

    def open(self):
        super().open()
        self.exchange((self.B, 7, bytes(4)), None)

    check = None  # it would change the state

    def finish(self):
        self.exchange((self.B, 7, bytes(4)), (self.A, 8, b""))
        t = token()
        self.a.sendto(self.packet(self.port, self.port + 1, 0x33333333, 14, t), (SERVER[self.family], 0))
        self.exchange((self.B, 14, b""), None, no=t)


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

    def __init__(self, port, family=V4):
        self.port, self.family = port, family

    def open(self):
        enter(SV)
        listener = socket.create_server((SERVER[self.family], self.port), family=self.family)
        enter(CL)
        self.a = socket.create_connection((SERVER[self.family], self.port), 3, (CLIENT[self.family], 0))
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


FIN, SYN, RST, ACK = 1, 2, 4, 16


class Segments:
    """A TCP connection by hand, up to a state and on from there: RFC 9293, 3.3.2. Steps are the flags of segments, by who
    sends them. What both kernels say of it t_kinds.sh drops: they know of no such connection."""
    ENDS = (("10.1.0.5", 7100), ("10.2.0.5", 7020))
    FLAGS = {"F": FIN, "S": SYN, "R": RST, "A": ACK}
    AHEAD = 0x20000000

    def __init__(self, number, before, after=()):
        self.before, self.after = before, after
        self.addr = [(addr, port + number) for addr, port in self.ENDS]
        self.seq = [0x10000000 + number, 0x50000000 + number]
        self.sock = []
        for ns, addr in zip((CL, SV), self.addr):
            enter(ns)
            sock = socket.socket(V4, socket.SOCK_RAW, socket.IPPROTO_TCP)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1)
            sock.bind((addr[0], 0))
            self.sock.append(sock)
        self.seen = list(self.addr)  # each end as the other sees it

    def send(self, side, flags, ahead=0):
        """Sends one segment, of so many bytes beyond the next; returns what it is known by."""
        here, there = self.addr[side], self.seen[1 - side]
        options = bytes.fromhex("020405b40103030704020101") if flags & SYN else b""
        data = b"" if flags & (SYN | RST) else b"some data"
        numbers = struct.pack("!II", self.seq[side] + ahead, self.seq[1 - side] if flags & ACK else 0)
        rest = struct.pack("!BBHHH", 20 + len(options) << 2, flags, 1000, 0, 0) + options + data
        body = struct.pack("!HH", here[1], there[1]) + numbers + rest
        pseudo = socket.inet_aton(here[0]) + socket.inet_aton(there[0]) + struct.pack("!HH", 6, len(body)) + body
        total = sum(struct.unpack("!%dH" % ((len(pseudo) + 1) // 2), pseudo + bytes(len(pseudo) % 2)))
        check = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
        self.sock[side].sendto(body[:16] + struct.pack("!H", check) + body[18:], (there[0], 0))
        if not ahead:
            self.seq[side] += len(data) + bool(flags & (SYN | FIN))
        return numbers

    def step(self, word):
        side = "><".index(word[0])
        flags = sum(self.FLAGS[letter] for letter in word[1:])
        data, peer = await_bytes(self.sock[1 - side], self.send(side, flags))
        self.seen[side] = (peer[0], struct.unpack_from("!H", data, (data[0] & 15) * 4)[0])

    def steps(self, words):
        for word in words:
            self.step(word)
            time.sleep(0.03)  # the other firewall shall learn of every state

    def open(self):
        self.steps(self.before)

    def finish(self):
        self.steps(self.after)

    def arrives(self, side, flags):
        """Does a segment that lies far beyond the window?"""
        try:
            await_bytes(self.sock[1 - side], self.send(side, flags, self.AHEAD), 0.1)
        except TimeoutError:
            return False
        return True


OPEN = (">S", "<SA", ">A", "<A")


class Strict(Segments):
    """The firewall checks its windows; one reset beyond them would end it."""

    def check(self):
        for _ in range(2):
            self.steps((">A", "<A"))
            for side, flags in ((0, ACK), (1, ACK), (0, RST), (1, RST)):
                if self.arrives(side, flags):
                    raise ValueError("a segment beyond the window arrives: side %d, flags %d" % (side, flags))


class Liberal(Segments):
    """Half of its handshake was seen elsewhere: no window is known."""

    def finish(self):
        super().finish()
        if not self.arrives(0, ACK) or not self.arrives(1, ACK):
            raise ValueError("the firewall checks windows that it cannot know")
        self.steps((">A", "<A"))


def serve(kinds):
    """Reads commands and answers them, of each kind that knows them, until its input ends."""
    for line in sys.stdin:
        verbs = {name: getattr(kind, line.strip(), None) for name, kind in kinds.items()}
        if not any(verbs.values()):
            print("lost: nobody knows " + line.strip())
        for name, verb in verbs.items():
            if verb is None:
                continue
            try:
                verb()
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
        "udp, mark": Datagrams(V4, 17, 7014), "udp, nobody answers": Unanswered(7015),
        "udp, hairpin": Datagrams(V4, 17, 8081, target="10.1.0.254", here="10.1.0.2"),
        "gre": Datagrams(V4, GRE, kind=socket.SOCK_RAW, head=gre),
        "gre6": Datagrams(V6, GRE, kind=socket.SOCK_RAW, head=gre),
        "protocol 99": Datagrams(V4, OTHER, kind=socket.SOCK_RAW),
        "protocol 99 over IPv6": Datagrams(V6, OTHER, kind=socket.SOCK_RAW),
        "udplite": Datagrams(V4, 136, 7013), "udplite6": Datagrams(V6, 136, 7013), "sctp": Sctp(V4), "sctp6": Sctp(V6), "sctp, SHUTDOWN_SENT": SctpEnding(V4, 7200), "ftp": Ftp(),
        "tcp, proxied": Tcp(7010), "pptp": Pptp(),
        "tcp, a helper of one node": Tcp(6667), "tcp, a helper of one node, another": Tcp(6668),
        "udp6, masqueraded into a range": Datagrams(V6, 17, 7011), "tcp6, translated into a range": Tcp(7012, V6),
        "tcp, windows": Strict(0, OPEN),
        "tcp, SYN_RECV": Liberal(1, OPEN[:2], (">A", "<A")),
        "tcp, FIN_WAIT": Segments(2, OPEN + (">FA",), ("<A", "<FA", ">A")),
        "tcp, CLOSE_WAIT": Segments(3, OPEN + (">FA", "<A"), ("<A", "<FA", ">A")),
        "tcp, LAST_ACK": Segments(4, OPEN + (">FA", "<FA"), (">A",)),
        "tcp, TIME_WAIT": Segments(5, OPEN + (">FA", "<FA", ">A"), (">A",)),
        "tcp, CLOSE": Segments(6, OPEN + (">RA",)),
    })


CL, SV = sys.argv[1:]
if __name__ == "__main__":
    main()
    os._exit(0)
