#!/usr/bin/python3
"""Clients that do anything: chaos_clients.py PORT SEED COUNT

They connect, publish, subscribe, send half a packet, and go by a reset, an end or in order, some dozens of them at a
time, while hooks of theirs wait. Prints `some` after each fifty of them, `half` in the middle, `all` in the end; that
the broker has gone is no error.
"""
import random
import socket
import struct
import sys
import time

CONNECT_311, CONNECT_5 = 4, 5
AT_ONCE = 40


def packet(first, body):
    assert len(body) < 128
    return bytes([first, len(body)]) + body


def text(value):
    return struct.pack(">H", len(value)) + value.encode()


def connect(dice):
    version = dice.choice((CONNECT_311, CONNECT_5))
    name = dice.choice(("a", "b", "c", "d" + str(dice.randrange(1000))))
    will = dice.random() < 0.3
    body = text("MQTT") + bytes([version, 0x02 | (0x04 if will else 0), 0, 60])
    if version == CONNECT_5:
        body += b"\0"
    body += text(name)
    if will:
        body += (b"\0" if version == CONNECT_5 else b"") + text("x/will") + text("gone")
    return version, packet(0x10, body)


def requests(dice, version):
    properties = b"\0" if version == CONNECT_5 else b""
    one = {
        0: packet(0x30, text("x/1") + properties + b"zero"),
        1: packet(0x32, text("x/2") + b"\0\1" + properties + b"one"),
        2: packet(0x34, text("x/3") + b"\0\2" + properties + b"two") + packet(0x62, b"\0\2"),
        3: packet(0x82, b"\0\3" + properties + text("x/#") + bytes([dice.randrange(3)])),
        4: packet(0xa2, b"\0\4" + properties + text("x/#")),
        5: packet(0xc0, b""),
        6: packet(0xe0, b""),
        7: b"\x32\x20\0",
    }
    return b"".join(dice.choice(one) for _ in range(dice.randrange(6)))


def leave(dice, connection):
    how = dice.randrange(4)
    if how == 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif how == 1:
        connection.shutdown(socket.SHUT_WR)
    elif how == 2:
        connection.setblocking(False)
        connection.recv(65536)


def arrive(dice, port):
    connection = socket.create_connection(("127.0.0.1", port))
    version, first = connect(dice)
    data = first + requests(dice, version)
    connection.sendall(data[:dice.randrange(1, len(data) + 1)] if dice.random() < 0.1 else data)
    return connection


def part(dice, connection):
    try:
        leave(dice, connection)
    except OSError:
        pass  # there is nothing to read, or the broker was first
    connection.close()


def main():
    port, seed, count = map(int, sys.argv[1:])
    dice = random.Random(seed)
    there = []
    for number in range(1, count + 1):
        try:
            there.append(arrive(dice, port))
        except OSError:
            if number < count // 2:
                raise
            break
        if len(there) > AT_ONCE:
            part(dice, there.pop(dice.randrange(len(there))))
        if number % 10 == 0:
            time.sleep(0.005)  # so that hooks wait for each other's time, not for ours
        if number % 50 == 0:
            print("half" if number == count // 2 else "some", flush=True)
    for connection in there:
        part(dice, connection)
    print("all", flush=True)


main()
