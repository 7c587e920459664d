#!/usr/bin/python3
"""Logs in to a broker by SCRAM-SHA-256 over MQTT 5's AUTH, twice on one connection: scram_client.py PORT NAME PASSWORD.

Prints the reason code of CONNACK and of the AUTH that ends the second time, and checks what the server proves.
"""
import base64
import hashlib
import hmac
import os
import socket
import struct
import sys

METHOD = b"SCRAM-SHA-256"
DEADLINE = 20  # seconds, of each wait


def string(data):
    return struct.pack(">H", len(data)) + data


def frame(first, body):
    assert len(body) < 16384
    length = bytes([len(body)]) if len(body) < 128 else bytes([len(body) & 127 | 128, len(body) >> 7])
    return bytes([first]) + length + body


def properties(data):
    body = b"\x15" + string(METHOD) + b"\x16" + string(data)
    assert len(body) < 16384
    length = bytes([len(body)]) if len(body) < 128 else bytes([len(body) & 127 | 128, len(body) >> 7])
    return length + body


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self.stream = self.socket.makefile("rb")

    def length(self, stream):
        value = shift = 0
        while True:
            byte = stream.read(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def receive(self):
        """Type, reason code and authentication data of the next packet."""
        kind = self.stream.read(1)[0] >> 4
        body = self.stream.read(self.length(self.stream))
        reason, rest = (body[1], body[2:]) if kind == 2 else (body[0], body[1:])
        at = rest.find(b"\x16") if rest else -1
        while at >= 0:  # the property's byte may also stand in another one
            size = struct.unpack(">H", rest[at + 1:at + 3])[0] if at + 3 <= len(rest) else 0
            data = rest[at + 3:at + 3 + size]
            if data[:2] in (b"r=", b"v="):
                return kind, reason, data
            at = rest.find(b"\x16", at + 1)
        return kind, reason, b""

    def login(self, name, password, first, again):
        """One exchange; `first` makes the packet that begins it of its data, `again` the others."""
        bare = b"n=" + name + b",r=" + base64.b64encode(os.urandom(18))
        self.socket.sendall(first(b"n,," + bare))
        kind, reason, question = self.receive()
        if (kind, reason) != (15, 0x18):
            return reason
        parts = dict(part.split(b"=", 1) for part in question.split(b","))
        salted = hashlib.pbkdf2_hmac("sha256", password, base64.b64decode(parts[b"s"]), int(parts[b"i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        without_proof = b"c=biws,r=" + parts[b"r"]
        text = bare + b"," + question + b"," + without_proof
        signature = hmac.digest(hashlib.sha256(client_key).digest(), text, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        self.socket.sendall(again(without_proof + b",p=" + base64.b64encode(proof)))
        kind, reason, answer = self.receive()
        if reason == 0:
            server_key = hmac.digest(salted, b"Server Key", "sha256")
            assert answer == b"v=" + base64.b64encode(hmac.digest(server_key, text, "sha256"))
        return reason


def connect(data):
    return frame(0x10, string(b"MQTT") + b"\x05\x02\x00\x3c" + properties(data) + string(b"scram"))


def main():
    port, name, password = int(sys.argv[1]), sys.argv[2].encode(), sys.argv[3].encode()
    connection = Connection(port)
    reason = connection.login(name, password, connect, lambda data: frame(0xf0, b"\x18" + properties(data)))
    print(reason)
    if reason == 0:
        print(connection.login(name, password, lambda data: frame(0xf0, b"\x19" + properties(data)),
                               lambda data: frame(0xf0, b"\x18" + properties(data))))


main()
