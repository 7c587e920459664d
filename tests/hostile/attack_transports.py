"""Attacks on what comes before MQTT: TLS, WebSocket and the PROXY protocol."""

import os
import ssl
import time

import packets
from attack_connections import HANDSHAKE_TIMEOUT, RATE, TRIES, all_closed, connect_flood, none_accepted
from attacker import attack, ended, flood, trickle, wait_for_end

UPGRADE = (b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")


def client_hello():
    """The first bytes of a handshake."""
    out, context = ssl.MemoryBIO(), ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tls = context.wrap_bio(ssl.MemoryBIO(), out)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


@attack("TLS handshakes that stop", listener="tls", settings=HANDSHAKE_TIMEOUT, sizes=(2000, 200), growth_mib=160,
        left_mib=24, counters={"handshakes_failed": lambda size: size}, answers=all_closed)
def tls_stall(attacker):
    """A third of them send nothing, a third half a ClientHello, and a third all of it."""
    hello = client_hello()
    starts = (b"", hello[:len(hello) // 2], hello)
    sockets = [attacker.open(starts[i % 3], listener="tls") for i in range(attacker.size)]
    attacker.ready()
    return {"opened": len(sockets), "closed": wait_for_end(sockets)}


@attack("noise to a TLS listener without end", listener="tls", settings=RATE, sizes=TRIES,
        counters={"handshakes_failed": 1, "connections_refused_rate": 1}, answers=none_accepted)
def tls_noise(attacker):
    noise = os.urandom(4096)
    return connect_flood(attacker, lambda i: noise[i % 64:][:200], listener="tls")


@attack("TLS handshakes without end", listener="tls", settings=["limits.connect_rate_per_address=50"],
        counters={"connections_refused_rate": 1})
def tls_handshakes(attacker):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    seen = {"handshakes": 0, "refused": 0}
    attacker.ready()
    while not attacker.stopped() or not seen["refused"]:
        s = attacker.open(listener="tls")
        try:
            context.wrap_socket(s).close()
            seen["handshakes"] += 1
        except OSError:
            seen["refused"] += 1
            s.close()
    return seen


@attack("a WebSocket upgrade, a byte a second", listener="ws", settings=HANDSHAKE_TIMEOUT, sizes=(1000, 100),
        counters={"handshakes_failed": lambda size: size}, answers=all_closed)
def ws_slow(attacker):
    sockets = left = [attacker.open(UPGRADE[:1], listener="ws") for _ in range(attacker.size)]
    attacker.ready()
    for at in range(1, 20):
        left = [s for s in left if not ended(s)]
        if not left:
            break
        for s in left:
            trickle(s, UPGRADE[at:at + 1])
        time.sleep(1)
    return {"opened": len(sockets), "closed": len(sockets) - len(left)}


def answered(status):
    def check(seen, grown):
        assert seen["answers"] == [status], f"answered with {seen['answers']}, not with {status}"

    return check


@attack("HTTP headers without end", listener="ws", sizes=(500, 50), counters={"handshakes_failed": lambda size: size},
        answers=answered(431))
def ws_header(attacker):
    start = UPGRADE[:-2] + b"X-Long: "
    answers = set()
    attacker.ready()
    for _ in range(attacker.size):
        s = attacker.open(start, listener="ws")
        try:
            s.sendall(b"x" * 65536)
        except ConnectionError:
            pass
        answers.add(status_of(s))
        s.close()
    while not attacker.stopped():
        time.sleep(0.01)
    return {"answers": sorted(answers)}


def status_of(s):
    try:
        head = s.recv(4096)
    except ConnectionError:
        return 0
    return int(head[9:12]) if head.startswith(b"HTTP/1.1 ") else 0


def upgraded(attacker, **options):
    s = attacker.open(UPGRADE, listener="ws", **options)
    head = b""
    while b"\r\n\r\n" not in head:
        data = s.recv(4096)
        assert data, "the upgrade was refused"
        head += data
    assert head.startswith(b"HTTP/1.1 101 "), head
    return s


@attack("WebSocket frames that claim 2^63 bytes and more", listener="ws", sizes=(500, 50), answers=all_closed)
def ws_huge_frame(attacker):
    attacker.ready()
    sockets = []
    for i in range(attacker.size):
        s = upgraded(attacker)
        size = (1 << 63) + i if i % 2 else (1 << 63) - 1
        s.sendall(b"\x82\xff" + size.to_bytes(8, "big") + b"\0\0\0\0" + packets.connect("huge") + b"\xff" * 100)
        sockets.append(s)
    closed = wait_for_end(sockets)
    while not attacker.stopped():
        time.sleep(0.01)
    return {"opened": len(sockets), "closed": closed}


def frame(opcode, payload):
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + b"\0\0\0\0" + payload


@attack("WebSocket frames of a byte, and empty ones", listener="ws", counters={"messages_published": 100})
def ws_tiny_frames(attacker):
    s = upgraded(attacker)
    s.sendall(frame(2, packets.connect("tiny")))
    attacker.ready()
    publish = packets.publish("tiny", b"x")
    data = b"".join(frame(2, bytes([byte])) + frame(2, b"") for byte in publish)
    return {"bytes": flood(attacker, s, data * 100, 1 << 20)}


@attack("WebSocket pings whose pongs are never read", listener="ws")
def ws_pings(attacker):
    s = upgraded(attacker, receive_buffer=4096)
    s.sendall(frame(2, packets.connect("pings")))
    attacker.ready()
    return {"bytes": flood(attacker, s, frame(9, b"x" * 125) * 100)}


@attack("PROXY headers that are none", listener="proxy", settings=RATE, sizes=TRIES,
        counters={"handshakes_failed": 1}, answers=none_accepted)
def proxy_noise(attacker):
    starts = [b"PROXY TCP4 999.1.1.1 1.1.1.1 1 1\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", b"PROXY " + b"x" * 200,
              os.urandom(100), packets.connect("direct")]
    return connect_flood(attacker, lambda i: starts[i % len(starts)], listener="proxy")


@attack("PROXY headers that stop", listener="proxy", settings=HANDSHAKE_TIMEOUT, sizes=(1000, 100),
        counters={"handshakes_failed": lambda size: size}, answers=all_closed)
def proxy_stall(attacker):
    starts = [b"", b"PROXY TCP4 1.1", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\1\0"]
    sockets = [attacker.open(starts[i % 3], listener="proxy") for i in range(attacker.size)]
    attacker.ready()
    return {"opened": len(sockets), "closed": wait_for_end(sockets)}
