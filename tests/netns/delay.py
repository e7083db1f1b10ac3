#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A cable with length: frames between pairs of interfaces, each way, MS milliseconds late.

    delay.py MS IF IF [IF IF ...]
    delay.py off IF [IF ...]

In the namespace of its caller. Offloads of the interfaces are switched off, so that frames leave as they would on a wire;
"off" does that alone, for the far ends of veth pairs. Says "ready" when it listens; runs until it is ended.
"""
import collections
import ctypes
import fcntl
import select
import socket
import struct
import sys
import time

SIOCETHTOOL = 0x8946
OFFLOADS_OFF = 0x15, 0x17, 0x19, 0x1F, 0x24, 0x2C  # RXCSUM, TXCSUM, SG, TSO, GSO, GRO: linux/ethtool.h
PACKET_OUTGOING = 4


def offloads_off(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for command in OFFLOADS_OFF:
            value = bytearray(struct.pack("II", command, 0))
            pointer = ctypes.addressof(ctypes.c_char.from_buffer(value))
            try:
                fcntl.ioctl(s, SIOCETHTOOL, struct.pack("16sP", name.encode(), pointer))
            except OSError:
                pass  # what it has not it does not do


def listen(name):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.bind((name, 0))
    s.setblocking(False)
    return s


def main():
    names = sys.argv[2:]
    for name in names:
        offloads_off(name)
    if sys.argv[1] == "off":
        return
    delay = float(sys.argv[1]) / 1000
    ends = [listen(name) for name in names]
    other = {s: ends[i ^ 1] for i, s in enumerate(ends)}
    waiting = collections.deque()
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, to, frame = waiting.popleft()
            try:
                to.send(frame)
            except OSError:
                pass  # the interface is down: a cable that nobody holds
        left = max(0, waiting[0][0] - now) if waiting else None
        for s in select.select(ends, [], [], left)[0]:
            try:
                frame, origin = s.recvfrom(65536)
            except OSError:
                continue
            if origin[2] != PACKET_OUTGOING:
                waiting.append((time.monotonic() + delay, other[s], frame))


main()
