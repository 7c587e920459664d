"""Logs in many clients at once, while another one is served: `many_logins.py PORT COUNT USER PASSWORD`.

Prints what happened, in order: `sent` when the CONNECTs of all are sent, then a line `pong` for each answer to a
PING of another client, which sends the next one at once, and `connack CODE` for each answer to a login.
"""
import selectors
import socket
import struct
import sys


def text(value):
    return struct.pack(">H", len(value)) + value


def connect(client_id, user=None, password=None):
    flags = 2 if user is None else 0xC2
    body = text(b"MQTT") + bytes([4, flags]) + struct.pack(">H", 0) + text(client_id)
    if user is not None:
        body += text(user) + text(password)
    return bytes([0x10, len(body)]) + body


def exactly(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError("closed by the broker")
        data += more
    return data


def open_connection(port):
    connection = socket.create_connection(("127.0.0.1", port), 60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def main():
    port, count = int(sys.argv[1]), int(sys.argv[2])
    user, password = sys.argv[3].encode(), sys.argv[4].encode()
    other = open_connection(port)
    other.sendall(connect(b"other"))
    assert exactly(other, 4)[3] == 0
    clients = [open_connection(port) for _ in range(count)]
    for number, client in enumerate(clients):
        client.sendall(connect(b"c%d" % number, user, password))
    print("sent")
    wait = selectors.DefaultSelector()
    for client in clients:
        wait.register(client, selectors.EVENT_READ)
    wait.register(other, selectors.EVENT_READ)
    other.sendall(b"\xc0\x00")
    while count:
        for key, _ in wait.select(60):
            if key.fileobj is other:
                assert exactly(other, 2) == b"\xd0\x00"
                print("pong")
                other.sendall(b"\xc0\x00")
            else:
                print("connack", exactly(key.fileobj, 4)[3])
                wait.unregister(key.fileobj)
                count -= 1


main()
