#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""An attacker on the sync link, who has heard everything and has no key.

    attack.py record INTERFACE FILE SECONDS            what passes there, a line "in|out HEX" for each datagram
    attack.py replay FILE in|out TIMES FROM TO [MIN]   sends the datagrams of one direction again, from FROM to TO (port
                                                       3780 both), those of MIN bytes at least
    attack.py forge FILE WHAT TIMES FROM TO            sends them damaged: "tag", a bit of the tag; "key", another key id;
                                                       "sender", another node; "epoch", another epoch

Prints "sent COUNT BYTES", the bytes of the datagrams with their IP and UDP headers.
"""
import socket
import struct
import sys
import time

PORT = 3780
HEADERS = 28
KEY_AT, SENDER_AT, EPOCH_AT = 3, 4, 12  # PROTOCOL.md, "Header"


def record(interface, path, seconds):
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
    sniffer.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    sniffer.bind((interface, 0x0003))
    until = time.monotonic() + seconds
    with open(path, "w") as out:
        while (left := until - time.monotonic()) > 0:
            sniffer.settimeout(left)
            try:
                data, where = sniffer.recvfrom(65536)
            except TimeoutError:
                break
            head = (data[0] & 15) * 4
            if len(data) < HEADERS or data[9] != 17 or struct.unpack_from(">H", data, head + 2)[0] != PORT:
                continue
            outgoing = where[2] == socket.PACKET_OUTGOING
            out.write("%s %s\n" % ("out" if outgoing else "in", data[head + 8:].hex()))


def send_all(payloads, times, source, target):
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    raw.bind((source, 0))
    count = total = 0
    for _ in range(times):
        for payload in payloads:
            raw.sendto(struct.pack(">HHHH", PORT, PORT, 8 + len(payload), 0) + payload, (target, 0))
            count, total = count + 1, total + HEADERS + len(payload)
            if count % 64 == 0:
                time.sleep(0.001)  # else the receiver's socket drops them, which proves nothing
    print("sent", count, total)


def read(path, way):
    with open(path) as lines:
        return [bytes.fromhex(line.split()[1]) for line in lines if line.split()[0] == way]


def damaged(payload, what):
    at = {"tag": len(payload) - 1, "key": KEY_AT, "sender": SENDER_AT, "epoch": EPOCH_AT}[what]
    out = bytearray(payload)
    out[at] ^= 0x40
    return bytes(out)


if __name__ == "__main__":
    verb, args = sys.argv[1], sys.argv[2:]
    if verb == "record":
        record(args[0], args[1], float(args[2]))
    elif verb == "replay":
        least = int(args[5]) if len(args) > 5 else 0
        send_all([p for p in read(args[0], args[1]) if len(p) >= least], int(args[2]), args[3], args[4])
    else:
        send_all([damaged(p, args[1]) for p in read(args[0], "out")], int(args[2]), args[3], args[4])
