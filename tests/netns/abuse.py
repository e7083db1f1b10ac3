#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad company for a daemon.

    abuse.py control SOCKET                        100 clients that are silent, half silent, or never read; stays until killed
    abuse.py datagrams INTERFACE FROM TO PORT      noise to a sync port, from the address and port of its peer

The datagrams are random bytes of every length up to 200, then real datagrams that were seen to leave by INTERFACE: cut off
at every length, and with single bits turned. The numbers come from a fixed seed.
"""
import random
import socket
import struct
import sys
import threading
import time


def control(path):
    held = []
    for i in range(100):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(path)
        if i % 4 == 0:
            client.send(b"flows local\n")  # and never reads
        elif i % 4 == 1:
            client.send(b"stat")  # never ends its line
        held.append(client)
    for words in (b"\0\1\2\n", b"\n", b"x" * 5000, b"status " * 30 + b"\n", b"flows local --nonsense\n"):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(path)
        try:
            client.send(words)
        except OSError:
            pass  # closed on us: that is its right
        held.append(client)
    print("ready", flush=True)

    def refill():  # whoever was thrown out comes back and is silent again
        while True:
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                client.connect(path)
            except OSError:
                pass
            held.append(client)
            del held[:-400]
            time.sleep(0.02)  # a pace: 50 a second

    threading.Thread(target=refill, daemon=True).start()
    threading.Event().wait()


def seen(interface, port, count):
    """Payloads of UDP datagrams that leave by the interface."""
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
    sniffer.bind((interface, 0x0003))
    sniffer.settimeout(10)
    out = []
    while len(out) < count:
        data, where = sniffer.recvfrom(65536)
        if where[2] != socket.PACKET_OUTGOING or len(data) < 28 or data[9] != 17:
            continue
        head = (data[0] & 15) * 4
        if struct.unpack_from(">H", data, head + 2)[0] == port:
            out.append(data[head + 8:])
    return out


def datagrams(interface, source, target, port):
    rng = random.Random(20)
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    raw.bind((source, 0))

    def send(payload):
        raw.sendto(struct.pack(">HHHH", port, port, 8 + len(payload), 0) + payload, (target, 0))

    sent = 0
    for length in range(0, 201):
        for _ in range(3):
            send(rng.randbytes(length))
            sent += 1
    for payload in seen(interface, port, 12):
        for length in range(len(payload)):
            send(payload[:length])
            sent += 1
        for _ in range(200):
            damaged = bytearray(payload)
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            send(bytes(damaged))
            sent += 1
        send(payload)  # a copy of what was said already: a replay
        send(payload + rng.randbytes(5))
        sent += 2
    print("sent", sent)


if __name__ == "__main__":
    if sys.argv[1] == "control":
        control(sys.argv[2])
    else:
        datagrams(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
