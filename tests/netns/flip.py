#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Turns one bit of a flow in the memory of a running daemon.

    flip.py PID SOURCE SPORT DESTINATION DPORT [OFFSET]

The flow is TCP over IPv4. It is found by its packed key, which lies 43 bytes into a cell that is aligned to 64; OFFSET is
that of the byte from the start of the key (20, the flags of the reply direction, when not given). Prints how many
records were changed; exits with 1 when there was none.
"""
import socket
import struct
import sys

BODY_AT = 43
CELL = 64
REGION_MAX = 1 << 30  # sanitizers reserve terabytes for their own ends


def regions(pid):
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            words = line.split()
            if words[1].startswith("rw") and (len(words) < 6 or words[5] == "[heap]"):
                start, end = (int(x, 16) for x in words[0].split("-"))
                if end - start < REGION_MAX:
                    yield start, end


def main():
    pid, src, sport, dst, dport = sys.argv[1:6]
    offset = int(sys.argv[6]) if len(sys.argv) > 6 else 20
    key = b"\0\6" + socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack(">HH", int(sport), int(dport))
    found = 0
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        for start, end in regions(pid):
            memory.seek(start)
            try:
                data = memory.read(end - start)
            except OSError:
                continue  # reserved, not there
            at = data.find(key)
            while at >= 0:
                if (start + at - BODY_AT) % CELL == 0:
                    memory.seek(start + at + offset)
                    memory.write(bytes([data[at + offset] ^ 1]))
                    found += 1
                at = data.find(key, at + 1)
    print(found)
    return found == 0


if __name__ == "__main__":
    sys.exit(main())
