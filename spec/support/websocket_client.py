#!/usr/bin/python3
"""A WebSocket client made by hand, one scenario a run: websocket_client.py PORT SCENARIO.

Prints nothing and exits with 0, or with a traceback of what was not as expected.
"""
import base64
import hashlib
import os
import socket
import struct
import sys

DEADLINE = 20  # seconds, of each wait

CONNECT = bytes.fromhex("100d 0004 4d515454 04 02 0000 0001 61")
CONNACK = bytes.fromhex("20020000")
PINGREQ, PINGRESP, DISCONNECT = b"\xc0\0", b"\xd0\0", b"\xe0\0"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self.unread = b""

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        """False at the end of the stream."""
        data = self.socket.recv(65536)
        self.unread += data
        return bool(data)

    def take(self, count):
        while len(self.unread) < count:
            assert self.more(), ("the end, after", self.unread)
        taken, self.unread = self.unread[:count], self.unread[count:]
        return taken

    def ask(self, *fields, line="GET /mqtt HTTP/1.1"):
        self.send("\r\n".join((line, "Host: 127.0.0.1") + fields + ("", "")).encode())

    def answer(self):
        """Status, fields by name in lower case, and the body."""
        while b"\r\n\r\n" not in self.unread:
            assert self.more(), ("the end, after", self.unread)
        head, self.unread = self.unread.split(b"\r\n\r\n", 1)
        line, *fields = head.decode().split("\r\n")
        fields = {name.lower(): value.strip() for name, value in (field.split(":", 1) for field in fields)}
        return int(line.split(" ")[1]), fields, self.take(int(fields.get("content-length", "0")))

    def upgrade(self, *fields):
        key = base64.b64encode(os.urandom(16)).decode()
        self.ask("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                 "Sec-WebSocket-Key: " + key, "Sec-WebSocket-Protocol: mqtt", *fields)
        status, fields, _ = self.answer()
        assert status == 101, (status, fields)
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        assert fields["sec-websocket-accept"] == base64.b64encode(digest).decode()
        assert fields["sec-websocket-protocol"] == "mqtt"

    def frame(self, opcode, payload=b"", fin=True):
        mask = os.urandom(4)
        length = len(payload)
        if length < 126:
            size = struct.pack("!B", 0x80 | length)
        elif length < 65536:
            size = struct.pack("!BH", 0x80 | 126, length)
        else:
            size = struct.pack("!BQ", 0x80 | 127, length)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        return bytes([(0x80 if fin else 0) | opcode]) + size + mask + masked

    def receive(self):
        """The next frame: its opcode and payload."""
        first, length = self.take(2)
        assert first & 0x70 == 0 and first & 0x80 and length < 128, (first, length)
        if length == 126:
            length, = struct.unpack("!H", self.take(2))
        elif length == 127:
            length, = struct.unpack("!Q", self.take(8))
        return first & 15, self.take(length)

    def ends(self):
        try:
            while self.more():
                pass
        except ConnectionResetError:
            pass
        assert self.unread == b"", self.unread

    def connect(self):
        self.upgrade()
        self.send(self.frame(BINARY, CONNECT))
        assert self.receive() == (BINARY, CONNACK)


def packets_in_frames(port):
    c = Client(port)
    c.upgrade()
    for byte in CONNECT:  # one packet over many frames
        c.send(c.frame(BINARY, bytes([byte])))
    assert c.receive() == (BINARY, CONNACK)
    c.send(c.frame(BINARY, PINGREQ * 3))  # many in one
    assert c.receive() == (BINARY, PINGRESP * 3)
    c.send(c.frame(BINARY, PINGREQ[:1], fin=False) + c.frame(PING, b"hello") + c.frame(0, PINGREQ[1:]))
    assert sorted((c.receive(), c.receive())) == [(BINARY, PINGRESP), (PONG, b"hello")]
    for byte in c.frame(BINARY, PINGREQ):
        c.send(bytes([byte]))
    assert c.receive() == (BINARY, PINGRESP)
    c.send(c.frame(BINARY, DISCONNECT))
    assert c.receive() == (CLOSE, struct.pack("!H", 1000))
    c.ends()


def large_messages(port):
    c = Client(port)
    c.connect()
    c.send(c.frame(BINARY, bytes.fromhex("82 06 0001 0001 61 00")))
    assert c.receive() == (BINARY, bytes.fromhex("90 03 0001 00"))
    payload = os.urandom(200000)
    packet = bytes.fromhex("30 c3 9a 0c 0001 61") + payload
    for start in range(0, len(packet), 30000):
        c.send(c.frame(BINARY, packet[start:start + 30000]))
    received = b""
    while len(received) < len(packet):
        opcode, part = c.receive()
        assert opcode == BINARY
        received += part
    assert received == packet
    c.send(c.frame(CLOSE, struct.pack("!H", 1001) + b"going away"))
    assert c.receive() == (CLOSE, struct.pack("!H", 1001))
    c.ends()


def faults(port):
    for frame, code in ((Client.frame(None, TEXT, b"hi"), 1003), (b"\x82\x01x", 1002),
                        (Client.frame(None, 0, b"x"), 1002), (Client.frame(None, 3, b"x"), 1002),
                        (Client.frame(None, CLOSE, b"\x03\xed"), 1002), (b"\xc2\x81\0\0\0\0x", 1002)):
        c = Client(port)
        c.connect()
        c.send(frame + c.frame(BINARY, PINGREQ))
        assert c.receive() == (CLOSE, struct.pack("!H", code)), (frame, code)
        c.ends()


def refusals(port):
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
               "Sec-WebSocket-Key: " + "A" * 22 + "==", "Sec-WebSocket-Protocol: mqtt")
    for fields, line, status in (((), "GET /favicon.ico HTTP/1.1", 426), (upgrade, "GET /x HTTP/1.1", 404),
                                 (upgrade[:-1], "GET /mqtt HTTP/1.1", 400),
                                 (upgrade + ("Origin: http://evil.example",), "GET /mqtt HTTP/1.1", 403),
                                 (("X: " + "x" * 9000,), "GET /mqtt HTTP/1.1", 431)):
        c = Client(port)
        c.ask(*fields, line=line)
        got, answer, body = c.answer()
        assert got == status, (got, status, answer, body)
        assert body and "close" in answer["connection"], answer
        c.ends()


def same_origin(port):
    c = Client(port)
    c.upgrade("Origin: http://127.0.0.1")
    c.send(c.frame(BINARY, CONNECT))
    assert c.receive() == (BINARY, CONNACK)


def forwarded(port):
    c = Client(port)
    c.upgrade("X-Forwarded-For: 198.51.100.1, 192.0.2.77")
    c.send(c.frame(BINARY, CONNECT))
    assert c.receive() == (BINARY, CONNACK)
    c.send(c.frame(BINARY, DISCONNECT))
    assert c.receive() == (CLOSE, struct.pack("!H", 1000))
    c.ends()


SCENARIOS = {f.__name__: f for f in (packets_in_frames, large_messages, faults, refusals, same_origin, forwarded)}

if __name__ == "__main__":
    SCENARIOS[sys.argv[2]](int(sys.argv[1]))
