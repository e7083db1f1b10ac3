#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Both ends of connections that announce another one, which begins later, through the firewalls of lib.sh.

    expect.py CLIENTS SERVERS      the two network namespaces

Reads commands from standard input, one a line, and answers as kinds.py does: `open` makes the connections and announces,
`check` sends something unique each way on the announcing connection, `go` makes what was announced and sends something
unique each way on it, `again` likewise on what is open.
"""
import os
import socket

from kinds import CL, CLIENT, SERVER, SV, V4, V6, await_bytes, enter, read_exactly, serve, token

OUTSIDE = {V4: "10.2.0.254", V6: "fd01::3"}  # what the server sees of the client: IPv4 is translated


def exchange(here, there):
    for a, b in ((here, there), (there, here)):
        t = token()
        a.sendall(t)
        read_exactly(b, t)


class Ftp:
    """A control connection, and a transfer that is announced by the client (active) or by the server (passive)."""

    def __init__(self, family, active, port):
        self.family, self.active, self.port = family, active, port

    def open(self):
        enter(SV)
        listener = socket.create_server((SERVER[self.family], 21), family=self.family)
        if not self.active:
            self.data = socket.create_server((SERVER[self.family], self.port), family=self.family)
        enter(CL)
        self.a = socket.create_connection((SERVER[self.family], 21), 3, (CLIENT[self.family], 0))
        if self.active:
            self.data = socket.create_server((CLIENT[self.family], self.port), family=self.family)
        self.b = listener.accept()[0]
        listener.close()
        self.line(self.a, "USER x", self.b)
        self.line(self.b, "331 go on", self.a)
        self.announce()

    @staticmethod
    def line(here, text, there, arrives=None):
        here.sendall(text.encode() + b"\r\n")
        read_exactly(there, (arrives or text).encode() + b"\r\n")

    def announce(self):
        octets = "%d,%d" % divmod(self.port, 256)
        if self.active and self.family == V4:
            self.line(self.a, "PORT 10,1,0,3," + octets, self.b, "PORT 10,2,0,254," + octets)
        elif self.active:
            self.line(self.a, "EPRT |2|%s|%d|" % (CLIENT[V6], self.port), self.b)
        elif self.family == V4:
            self.line(self.b, "227 Entering Passive Mode (10,2,0,3,%s)" % octets, self.a)
        else:
            self.line(self.b, "229 Entering Extended Passive Mode (|||%d|)" % self.port, self.a)

    def check(self):
        t = token().decode()
        self.line(self.a, "NOOP " + t, self.b)
        self.line(self.b, "200 " + t, self.a)

    def go(self):
        if self.active:
            enter(SV)
            self.d = socket.create_connection((OUTSIDE[self.family], self.port), 3, (SERVER[self.family], 20))
        else:
            enter(CL)
            self.d = socket.create_connection((SERVER[self.family], self.port), 3, (CLIENT[self.family], 0))
        self.data.settimeout(3)
        self.c = self.data.accept()[0]
        self.again()

    def again(self):
        exchange(self.c, self.d)
        self.check()


class FtpUsed(Ftp):
    """One whose transfer begins at once."""

    def open(self):
        super().open()
        super().go()

    def go(self):
        self.again()


class Tftp:
    """A request, and the transfer that the server begins from a port of its own."""

    def __init__(self, family):
        self.family = family

    def open(self):
        enter(CL)
        self.a = socket.socket(self.family, socket.SOCK_DGRAM)
        self.a.bind((CLIENT[self.family], 0))
        enter(SV)
        self.b = socket.socket(self.family, socket.SOCK_DGRAM)
        self.b.bind((SERVER[self.family], 69))
        t = token()
        self.a.sendto(b"\0\1" + t + b"\0octet\0", (SERVER[self.family], 69))
        self.peer = await_bytes(self.b, t)[1]

    def go(self):
        enter(SV)
        self.d = socket.socket(self.family, socket.SOCK_DGRAM)
        self.d.bind((SERVER[self.family], 0))
        self.again()

    def again(self):
        data, ack = token(), token()
        self.d.sendto(b"\0\3\0\1" + data, self.peer)
        peer = await_bytes(self.a, data)[1]
        self.a.sendto(b"\0\4\0\1" + ack, peer)
        await_bytes(self.d, ack)


class Sip:
    """A call whose media the server sends to where the invitation says: RFC 3261, RFC 4566."""
    VIA = "UDP"

    def __init__(self, family, media):
        self.family, self.media = family, media
        self.count = 0
        self.me, self.you = (("[%s]" if family == V6 else "%s") % end[family] for end in (CLIENT, SERVER))

    def connect(self):
        enter(CL)
        self.a = socket.socket(self.family, socket.SOCK_DGRAM)
        self.a.bind((CLIENT[self.family], 5060))
        enter(SV)
        self.b = socket.socket(self.family, socket.SOCK_DGRAM)
        self.b.bind((SERVER[self.family], 5060))

    def ask(self, text, mark):
        """To the server; returns it as it arrives."""
        self.a.sendto(text, (SERVER[self.family], 5060))
        data, self.peer = await_bytes(self.b, mark)
        return data

    def answer(self, text, mark):
        self.b.sendto(text, self.peer)
        await_bytes(self.a, mark)

    def open(self):
        self.connect()
        enter(CL)
        self.c = socket.socket(self.family, socket.SOCK_DGRAM)
        self.c.bind((CLIENT[self.family], self.media))
        body = "v=0\r\no=- 1 1 IN IP{0} {1}\r\ns=-\r\nc=IN IP{0} {1}\r\nt=0 0\r\nm=audio {2} RTP/AVP 0\r\n"
        body = body.format(6 if self.family == V6 else 4, CLIENT[self.family], self.media)
        got = self.request("INVITE", "Contact: <sip:a@%s:5060>\r\nContent-Type: application/sdp\r\n" % self.me, body)
        words = got.split()
        self.to = (words[words.index("c=IN") + 2], int(words[words.index("m=audio") + 1]))

    def request(self, method, more="", body=""):
        """Sends a request to the server; returns it as it arrives."""
        self.count += 1
        mark = token().decode()
        text = ("{method} sip:b@{you} SIP/2.0\r\nVia: SIP/2.0/{via} {me}:5060;branch=z9hG4bK{mark}\r\n"
                "From: <sip:a@{me}>;tag=1\r\nTo: <sip:b@{you}>\r\nCall-ID: 1@{me}\r\n"
                "CSeq: {count} {method}\r\n{more}Content-Length: {len}\r\n\r\n{body}")
        text = text.format(method=method, mark=mark, more=more, body=body, len=len(body), count=self.count,
                           via=self.VIA, me=self.me, you=self.you)
        return self.ask(text.encode(), mark.encode()).decode()

    def check(self):
        self.request("OPTIONS")
        t = token()
        self.answer(b"SIP/2.0 200 OK\r\nCSeq: %d OPTIONS\r\nX: %s\r\nContent-Length: 0\r\n\r\n" % (self.count, t), t)

    def go(self):
        enter(SV)
        self.d = socket.socket(self.family, socket.SOCK_DGRAM)
        self.d.bind((SERVER[self.family], self.media))
        self.again()

    def again(self):
        there, back = token(), token()
        self.d.sendto(there, self.to)
        peer = await_bytes(self.c, there)[1]
        self.c.sendto(back, peer)
        await_bytes(self.d, back)


class SipStream(Sip):
    """Over TCP: what the firewall rewrites shifts the stream."""
    VIA = "TCP"

    def connect(self):
        enter(SV)
        listener = socket.create_server((SERVER[self.family], 5060), family=self.family)
        enter(CL)
        self.a = socket.create_connection((SERVER[self.family], 5060), 3, (CLIENT[self.family], 0))
        listener.settimeout(3)
        self.b = listener.accept()[0]

    @staticmethod
    def pass_on(here, text, mark, there):
        """Returns the one message that arrives, whole by what it says of its length."""
        here.sendall(text)
        there.settimeout(3)
        got, want = b"", 1
        while want > 0:
            piece = there.recv(want)
            if not piece:
                raise ConnectionError("closed after %r" % got)
            got += piece
            head, end, body = got.partition(b"\r\n\r\n")
            want = int(head.split(b"Content-Length: ")[1]) - len(body) if end else 1
        if mark not in got:
            raise ValueError("read %r, without %r" % (got, mark))
        return got

    def ask(self, text, mark):
        return self.pass_on(self.a, text, mark, self.b)

    def answer(self, text, mark):
        self.pass_on(self.b, text, mark, self.a)


class SipRegister:
    """A phone that registers itself (RFC 3261, section 10): the call that comes in later is what it announces. Its expectation
    sleeps until the registrar agrees, and stays when it is used."""
    PHONE, REGISTRAR = ("10.1.0.4", 5060), ("10.2.0.4", 5060)
    FIELDS = ("Via: SIP/2.0/UDP 10.1.0.4:5060;branch=z9hG4bK%s\r\nFrom: <sip:a@10.2.0.4>;tag=2\r\nTo: <sip:a@10.2.0.4>\r\n"
              "Call-ID: 2@10.1.0.4\r\nCSeq: %d %s\r\n")

    def open(self):
        self.count = 0
        self.agreed = False
        enter(CL)
        self.a = socket.socket(V4, socket.SOCK_DGRAM)
        self.a.bind(self.PHONE)
        enter(SV)
        self.b = socket.socket(V4, socket.SOCK_DGRAM)
        self.b.bind(self.REGISTRAR)
        contact = self.request("REGISTER", "Contact: <sip:a@10.1.0.4:5060>\r\nExpires: 3000\r\n")
        host, port = contact.split("Contact: <sip:a@")[1].split(">")[0].split(":")
        self.contact = (host, int(port))

    def request(self, method, more=""):
        self.count += 1
        mark = token().decode()
        text = "%s sip:10.2.0.4 SIP/2.0\r\n" + self.FIELDS + "%sContent-Length: 0\r\n\r\n"
        self.a.sendto((text % (method, mark, self.count, method, more)).encode(), self.REGISTRAR)
        data, self.peer = await_bytes(self.b, mark.encode())
        return data.decode()

    def answer(self, method, more=""):
        mark = token().decode()
        text = "SIP/2.0 200 OK\r\n" + self.FIELDS + "%sContent-Length: 0\r\n\r\n"
        self.b.sendto((text % (mark, self.count, method, more)).encode(), self.peer)
        await_bytes(self.a, mark.encode())

    def check(self):
        if self.agreed:
            self.request("OPTIONS")
            self.answer("OPTIONS")
        else:
            self.answer("REGISTER", "Contact: <sip:a@%s:%d>;expires=1800\r\n" % self.contact)
            self.agreed = True

    def go(self):
        enter(SV)
        self.d = socket.socket(V4, socket.SOCK_DGRAM)
        self.d.bind((self.REGISTRAR[0], 5080))
        self.again()

    def again(self):
        there, back = token().decode(), token().decode()
        text = ("INVITE sip:a@%s:%d SIP/2.0\r\nVia: SIP/2.0/UDP 10.2.0.4:5080;branch=z9hG4bK%s\r\nFrom: <sip:c@10.2.0.4>;tag=3\r\n"
                "To: <sip:a@10.2.0.4>\r\nCall-ID: 3@10.2.0.4\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n")
        self.d.sendto((text % (*self.contact, there)).encode(), self.contact)
        peer = await_bytes(self.a, there.encode())[1]
        text = ("SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 10.2.0.4:5080;branch=z9hG4bK%s\r\nFrom: <sip:c@10.2.0.4>;tag=3\r\n"
                "To: <sip:a@10.2.0.4>;tag=4\r\nCall-ID: 3@10.2.0.4\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n")
        self.a.sendto((text % back).encode(), peer)
        await_bytes(self.d, back.encode())


if __name__ == "__main__":
    serve({
        "ftp, active": Ftp(V4, True, 51200), "ftp, passive": Ftp(V4, False, 41000),
        "ftp, used at once": FtpUsed(V4, False, 41002), "ftp6, active": Ftp(V6, True, 51201), "ftp6, passive": Ftp(V6, False, 41001),
        "tftp": Tftp(V4), "tftp6": Tftp(V6), "sip": Sip(V4, 20000), "sip6": Sip(V6, 20010), "sip over tcp": SipStream(V4, 20020),
        "sip6 over tcp": SipStream(V6, 20030), "sip, a phone that registered": SipRegister(),
    })
    os._exit(0)
