#!/usr/bin/python3
"""A server that says what it is told: scripted_server.py HEX...

Prints its port; waits for a packet and answers it with the bytes of the first argument, and so on; then prints all
packets that it got, in hex, a line each, when its one client has closed.
"""
import socket
import sys


def packets(connection):
    data = b""
    while True:
        length, at = 0, 1
        while at < len(data) and data[at] & 128:
            length |= (data[at] & 127) << 7 * (at - 1)
            at += 1
        if at < len(data):
            length |= data[at] << 7 * (at - 1)
            if len(data) > at + length:
                yield data[:at + 1 + length]
                data = data[at + 1 + length:]
                continue
        more = connection.recv(4096)
        if not more:
            return
        data += more


with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    connection, _ = listener.accept()
    answers = [bytes.fromhex(word) for word in sys.argv[1:]]
    got = []
    with connection:
        for packet in packets(connection):
            got.append(packet.hex())
            if answers:
                connection.sendall(answers.pop(0))
    print("\n".join(got), flush=True)
