#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A node of another make, written from proto/PROTOCOL.md alone, with no line of ctsyncd's: what a node is told there is enough
to live with ctsyncd, or this one fails.

    stranger.py LOCAL PEER [KEYFILE]

Announces UDP flows by their number, holds what the peer announces, and obeys on standard input: "new N", "end N", "restart N" (a
new epoch, in which flow N is not announced), "compare" (asks for the digests of all buckets and the flows of one). Prints what
has changed: "held N at V equal 0|1", the peer's flows and whether its total is ours; "acked V"; "compared BUCKETS LISTED".
"""
import hashlib
import os
import select
import socket
import struct
import sys
import time

MASK = (1 << 64) - 1
PORT, MAGIC, TABLES_LEN = 3780, 0xC75D, 32
HELLO, HACK, DATA, REPORT, LIST, VECTOR, ASK, BYE = range(1, 9)
PRIMARY, COMPLETE, DIGEST, LAST = 1, 2, 4, 8
FLOW, DEAD = 1, 2
DGRAM = 1400


def rotl(x, b, bits=64):
    return (x << b | x >> (bits - b)) & ((1 << bits) - 1)


def siphash(key, data):
    """SipHash-2-4."""
    k = struct.unpack("<QQ", key)
    v = [k[i & 1] ^ c for i, c in enumerate((0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573))]

    def rounds(n):
        for _ in range(n):
            for a, b, s, t in ((0, 1, 13, 32), (2, 3, 16, 0), (0, 3, 21, 0), (2, 1, 17, 32)):
                v[a] = (v[a] + v[b]) & MASK
                v[b] = rotl(v[b], s) ^ v[a]
                v[a] = rotl(v[a], t) if t else v[a]

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 255])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 255
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def chacha_block(key, counter, nonce):
    start = struct.unpack("<4I", b"expand 32-byte k") + struct.unpack("<8I", key) + (counter,) + struct.unpack("<3I", nonce)
    x = list(start)
    for i in range(20):
        for q in range(4):
            a, b, c, d = (q, 4 + (q + i % 2) % 4, 8 + (q + i % 2 * 2) % 4, 12 + (q + i % 2 * 3) % 4)
            for to, by, into, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                x[to] = (x[to] + x[by]) & 0xFFFFFFFF
                x[into] = rotl(x[into] ^ x[to], bits, 32)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(x, start)))


def chacha(key, nonce, data):
    out = bytearray()
    for i in range(0, len(data), 64):
        out += bytes(a ^ b for a, b in zip(data[i:i + 64], chacha_block(key, 1 + i // 64, nonce)))
    return bytes(out)


def poly_tag(key, nonce, head, text):
    one_time = chacha_block(key, 0, nonce)
    r = int.from_bytes(one_time[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    data = head + bytes(-len(head) % 16) + text + bytes(-len(text) % 16) + struct.pack("<QQ", len(head), len(text))
    acc = 0
    for i in range(0, len(data), 16):
        acc = (acc + int.from_bytes(data[i:i + 16] + b"\1", "little")) * r % ((1 << 130) - 5)
    return ((acc + int.from_bytes(one_time[16:32], "little")) & ((1 << 128) - 1)).to_bytes(16, "little")


def blake(message, key, length):
    return hashlib.blake2b(message, key=key, digest_size=length).digest()


def put_var(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def get_var(data, at):
    n = shift = 0
    while True:
        n |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if not data[at - 1] & 128:
            return n, at


def record(kind, delta, body):
    rest = put_var(delta) + (put_var(120) if kind == FLOW else b"") + body
    return bytes([kind]) + put_var(len(rest)) + rest


def records(data, at):
    """Yields kind, delta, body."""
    while at < len(data):
        kind = data[at]
        length, at = get_var(data, at + 1)
        end = at + length
        delta, at = get_var(data, at)
        if kind == FLOW:
            _, at = get_var(data, at)
        yield kind, delta, data[at:end]
        at = end


def key_of(body):
    shape = body[0]
    return body[:2 + (36 if shape & 1 else 12) + (3 if shape & 2 else 0)]


def flow(n):
    """A UDP flow that has seen replies and is assured: key, packed flow."""
    key = struct.pack(">BB4B4BHH", 0, 17, 10, 77, 0, n, 192, 0, 2, 9, 1000 + n, 53)
    return key, key + struct.pack(">BH", 0, 0xE)


class Stranger:
    name = b"stranger"

    def __init__(self, local, peer, key_file):
        self.psk = open(key_file, "rb").read() if key_file else None
        psk = self.psk or bytes(32)
        self.group, self.digest_key = blake(b"ctsyncd v1 table", psk, 16), blake(b"ctsyncd v1 digest", psk, 16)
        self.check_key = blake(b"ctsyncd v1 check", bytes(32), 16)
        self.key_id = 1 + blake(b"ctsyncd key id", psk, 8)[0] % 255 if self.psk else 0
        self.id = siphash(bytes(16), self.name)
        self.challenge = int.from_bytes(os.urandom(8), "big") | 1
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((local, PORT))
        self.to = (peer, PORT)
        self.peer = self.peer_epoch = None
        self.held, self.covered, self.maxhead, self.heard_at = {}, 0, 0, 0
        self.told, self.acked, self.vector, self.listed = None, None, None, None
        self.begin([])

    def begin(self, numbers):
        self.epoch = int.from_bytes(os.urandom(8), "big") | 1
        self.counter = self.head = self.sent = 0
        self.own, self.ended, self.last = {}, [], [0] * 1024
        for n in numbers:
            self.new(n)
        self.hello_at = self.beat_at = self.report_at = 0

    # Our own flows

    def hash(self, key):
        return siphash(self.group, key) >> 32

    def stamp(self, n):
        self.head += 1
        self.last[self.hash(flow(n)[0]) >> 22] = self.head

    def new(self, n):
        self.stamp(n)
        self.own[n] = self.head
        self.ended = [(v, m) for v, m in self.ended if m != n]

    def end(self, n):
        self.stamp(n)
        del self.own[n]
        self.ended.append((self.head, n))

    def items(self, flows, bucket=None):
        return sum(siphash(self.digest_key, struct.pack(">Q", v) + body) for v, body in flows
                   if bucket is None or self.hash(key_of(body)) >> 22 == bucket) & MASK

    def own_flows(self):
        return [(v, flow(n)[1]) for n, v in self.own.items()]

    # Out

    def crypt_key(self, sender, epoch):
        return blake(b"ctsyncd v1 seal" + struct.pack(">QQ", sender, epoch), self.psk, 32)

    def send(self, kind, flags, body):
        self.counter += 1
        self.sent += 1
        head = struct.pack(">HBBQQQ", MAGIC, 1, self.key_id, self.id, self.epoch, self.counter)
        body = bytes([kind, flags]) + body
        if self.psk:
            key, nonce = self.crypt_key(self.id, self.epoch), struct.pack(">IQ", 0, self.counter)
            body = chacha(key, nonce, body)
            tag = poly_tag(key, nonce, head, body)
        else:
            tag = struct.pack("<Q", siphash(self.check_key, head + body))
        self.socket.sendto(head + body + tag, self.to)

    def names(self):
        return bytes([len(self.name)]) + self.name

    def hello(self):
        body = struct.pack(">QQI", self.challenge, 77, 0) + self.names()
        self.send(HELLO, 0, body + bytes(158 - len(body)))

    def data(self, first, to, flags=0):
        lines = [(v, FLOW, body) for v, body in self.own_flows()] + [(v, DEAD, flow(n)[0]) for v, n in self.ended]
        out, at = b"", first
        for version, kind, body in sorted(lines):
            if first < version <= to:
                out += record(kind, version - at, body)
                at = version
        whole = to == self.head
        self.send(DATA, flags | PRIMARY | COMPLETE | (DIGEST if whole else 0), struct.pack(
            ">QQQQQ", first, to, self.head, 0, self.items(self.own_flows()) if whole else 0) + out)

    def report(self):
        gaps = [(self.covered, self.maxhead)] if self.covered < self.maxhead else []
        self.send(REPORT, PRIMARY | COMPLETE, struct.pack(
            ">QQQQIIB", self.peer, self.peer_epoch, self.covered, self.maxhead, 100000,
            int((time.monotonic() - self.heard_at) * 1000), len(gaps)) + b"".join(
                struct.pack(">QQ", *gap) for gap in gaps) + struct.pack(">QH", self.sent + 1, DGRAM))

    def ask(self, kind, lo, hi):
        self.send(ASK, 0, struct.pack(">QQBII", self.peer, self.peer_epoch, kind, lo, hi))

    def answer_list(self, lo, hi):
        out = b"".join(record(FLOW, self.head - v, body) for v, body in self.own_flows() if lo <= self.hash(key_of(body)) <= hi)
        self.send(LIST, PRIMARY | COMPLETE, struct.pack(">IIQQ", lo, hi, self.head, 0) + out)

    def answer_vector(self, lo, hi):
        room = (DGRAM - 28 - 22 - 16) // 16
        for first in range(lo, hi + 1, room):
            some = range(first, min(first + room, hi + 1))
            self.send(VECTOR, PRIMARY | COMPLETE, struct.pack(">QQHH", self.head, 0, first, len(some)) + b"".join(
                struct.pack(">QQ", self.items(self.own_flows(), i), self.last[i]) for i in some))

    # In

    def open(self, pkt):
        """The body, None if it is no datagram for us."""
        magic, version, key_id, sender, epoch, counter = struct.unpack_from(">HBBQQQ", pkt)
        if (magic, version, key_id) != (MAGIC, 1, self.key_id):
            return None, sender, epoch
        head = pkt[:28]
        if not self.psk:
            good = struct.unpack("<Q", pkt[-8:])[0] == siphash(self.check_key, pkt[:-8])
            return pkt[28:-8] if good else None, sender, epoch
        key, nonce = self.crypt_key(sender, epoch), struct.pack(">IQ", 0, counter)
        good = pkt[-16:] == poly_tag(key, nonce, head, pkt[28:-16])
        return chacha(key, nonce, pkt[28:-16]) if good else None, sender, epoch

    def take(self, pkt):
        body, sender, epoch = self.open(pkt)
        if body is None:
            sys.exit("a datagram that cannot be opened")
        kind, flags = body[0], body[1]
        if kind == HELLO:
            (challenge,) = struct.unpack_from(">Q", body, 2)
            self.send(HACK, 0, struct.pack(">QQQQQI", epoch, challenge, self.head, 0, 77, 0) + self.names() + self.group + self.digest_key)
        elif kind == HACK:
            self.take_hack(body, sender, epoch)
        elif epoch == self.peer_epoch:
            self.heard_at = time.monotonic()
            taker = {DATA: self.take_data, REPORT: self.take_report, ASK: self.take_ask, VECTOR: self.take_vector, LIST: self.take_list}
            if kind in taker:
                taker[kind](body, flags)

    def take_hack(self, body, sender, epoch):
        mine, challenge, head = struct.unpack_from(">QQQ", body, 2)
        name = body[47:47 + body[46]]
        if (mine, challenge) != (self.epoch, self.challenge):
            return
        if sender != siphash(bytes(16), name) or body[47 + body[46]:][:TABLES_LEN] != self.group + self.digest_key:
            sys.exit("another node id or other tables than PROTOCOL.md has")
        self.heard_at = time.monotonic()
        if epoch != self.peer_epoch:
            self.peer, self.peer_epoch, self.held, self.covered, self.maxhead = sender, epoch, {}, 0, head

    def take_data(self, body, flags):
        first, to, head, _, digest = struct.unpack_from(">QQQQQ", body, 2)
        self.maxhead = max(self.maxhead, head)
        if first > self.covered:
            return
        version = first
        for kind, delta, what in records(body, 42):
            version += delta
            if version <= self.covered:
                continue
            if kind == FLOW:
                self.held[key_of(what)] = (version, what)
            else:
                self.held.pop(what, None)
        self.covered = max(self.covered, to)
        if flags & DIGEST and self.covered == head == self.maxhead:
            self.tell("held %d at %d equal %d" % (len(self.held), head, self.items(self.held.values()) == digest))
        if flags & LAST:
            self.report_at = 0

    def take_report(self, body, _flags):
        owner, epoch, covered, _, _, _, count = struct.unpack_from(">QQQQIIB", body, 2)
        if (owner, epoch) != (self.id, self.epoch):
            return
        if covered != self.acked:
            print("acked %d" % covered, flush=True)
        self.acked = covered
        for i in range(count):
            gap = struct.unpack_from(">QQ", body, 43 + 16 * i)
            self.data(gap[0], min(gap[1], self.head), LAST if i == count - 1 else 0)

    def take_ask(self, body, _flags):
        owner, epoch, kind, lo, hi = struct.unpack_from(">QQBII", body, 2)
        if (owner, epoch) == (self.id, self.epoch):
            (self.answer_list if kind == 1 else self.answer_vector)(lo, hi)

    def take_vector(self, body, _flags):
        _, _, first, count = struct.unpack_from(">QQHH", body, 2)
        for i in range(count if self.vector is not None else 0):
            self.vector[first + i] = struct.unpack_from(">Q", body, 22 + 16 * i)[0]
        self.compared()

    def take_list(self, body, _flags):
        lo, hi, version, _ = struct.unpack_from(">IIQQ", body, 2)
        told = {key_of(what): (version - delta, what) for _, delta, what in records(body, 26)}
        ours = {key: held for key, held in self.held.items() if lo <= self.hash(key) <= hi}
        self.listed = len(told) if told == ours else -1
        self.compared()

    def compared(self):
        if self.vector is None or len(self.vector) < 1024 or self.listed is None:
            return
        held = self.held.values()
        print("compared %d %d" % (sum(self.vector[i] == self.items(held, i) for i in range(1024)), self.listed), flush=True)
        self.vector = self.listed = None

    def tell(self, text):
        if text != self.told:
            print(text, flush=True)
        self.told = text

    # Time

    def obey(self, verb, n=0):
        n = int(n)
        if verb == "compare":
            self.vector, self.listed = {}, None
            self.ask(2, 0, 1023)
            bucket = self.hash(next(iter(self.held))) >> 22
            self.ask(1, bucket << 22, bucket << 22 | 0x3FFFFF)
        elif verb == "restart":
            self.begin([m for m in self.own if m != n])
        else:
            (self.new if verb == "new" else self.end)(n)
            if self.peer:
                self.data(self.head - 1, self.head)

    def due(self):
        now = time.monotonic()
        if now >= self.hello_at:
            self.hello()
            self.hello_at = now + 1
        if self.peer and now >= self.beat_at:
            self.data(self.head, self.head)
            self.beat_at = now + 0.2
        if self.peer and now >= self.report_at:
            self.report()
            self.report_at = now + 0.1

    def live(self):
        while True:
            self.due()
            for ready in select.select([self.socket, 0], [], [], 0.05)[0]:
                if ready is self.socket:
                    self.take(self.socket.recv(9000))
                    continue
                lines = os.read(0, 4096)  # whole lines: who writes them is a shell
                if not lines:
                    self.send(BYE, 0, b"")
                    return
                for line in lines.decode().splitlines():
                    self.obey(*line.split())


Stranger(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None).live()
