"""Attacks by those who connect."""

import select
import socket
import struct
import time

import packets
from attacker import attack, ended, read_packet, reset, trickle, wait_for_end

CONNECT_TIMEOUT = ["engine.connect_timeout=2"]
HANDSHAKE_TIMEOUT = ["engine.handshake_timeout=2"]


def neighbour(i):
    """One of so many addresses that the limits of an address do not matter."""
    return f"127.0.1.{1 + i % 250}"


def all_closed(seen, grown):
    assert seen["closed"] == seen["opened"], f"{seen['opened'] - seen['closed']} connections were not closed"


@attack("connections that send nothing", settings=CONNECT_TIMEOUT, sizes=(10000, 500), growth_mib=24,
        counters={"connects_timed_out": lambda size: size}, answers=all_closed)
def half_open(attacker):
    sockets = [attacker.open(source=neighbour(i)) for i in range(attacker.size)]
    attacker.ready()
    return {"opened": len(sockets), "closed": wait_for_end(sockets)}


@attack("CONNECT, a byte a second", settings=CONNECT_TIMEOUT, sizes=(1000, 100),
        counters={"connects_timed_out": lambda size: size}, answers=all_closed)
def slow_connect(attacker):
    data = packets.connect("slow")
    sockets = [attacker.open(data[:1]) for _ in range(attacker.size)]
    attacker.ready()
    closed, left = 0, sockets
    for i in range(1, len(data)):
        before = len(left)
        left = [s for s in left if not ended(s)]
        closed += before - len(left)
        if not left:
            break
        for s in left:
            trickle(s, data[i:i + 1])
        time.sleep(1)
    return {"opened": len(sockets), "closed": closed}


@attack("wills to one topic, all sent at once", sizes=(5000, 300), growth_mib=32,
        counters={"messages_published": lambda size: size})
def will_storm(attacker):
    watcher = attacker.enter("watcher", packets.subscribe(1, ("will", 0)))
    watcher.settimeout(10)
    buffer, seen = bytearray(), {"wills": 0, "received": 0}
    attacker.ready()
    while not attacker.stopped():
        sockets = [attacker.open(packets.connect(f"w{i}", will=("will", b"x" * 100, 1)), source=neighbour(i))
                   for i in range(attacker.size)]
        for s in sockets:
            assert read_packet(s, bytearray(), packets.CONNACK) == b"\0\0"
        for s in sockets:
            reset(s)
        seen["wills"] += len(sockets)
        while seen["received"] < seen["wills"]:
            buffer += watcher.recv(65536)
            seen["received"] += sum(first >> 4 == packets.PUBLISH for first, _ in packets.split(buffer))
    return seen


@attack("more connections than an address may have", settings=["limits.connections_per_address=100"],
        sizes=(1000, 300), counters={"connections_refused_address": lambda size: size - 100})
def one_address(attacker):
    sockets = [attacker.open() for _ in range(attacker.size)]
    attacker.ready()
    closed = wait_for_end(sockets, attacker.size - 100)
    assert closed == attacker.size - 100, f"{closed} of {attacker.size} connections were closed"
    return {"opened": attacker.size, "closed": closed}


def connect_flood(attacker, data, source=None, listener="tcp", parallel=64):
    """Connects as fast as it goes, with some connections at a time, and tries `size` or more. Counts those that were
    let in or refused."""
    epoll, waiting, seen = select.epoll(), {}, {"tries": 0, "accepted": 0, "refused": 0, "closed": 0}
    attacker.ready()
    while not attacker.stopped() or seen["tries"] < attacker.size:
        while len(waiting) < parallel:
            s = socket.socket()
            s.setblocking(False)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if source:
                s.bind((source(seen["tries"]), 0))
            s.connect_ex(("127.0.0.1", attacker.ports[listener]))
            waiting[s.fileno()] = s
            epoll.register(s.fileno(), select.EPOLLOUT)
            seen["tries"] += 1
        for fd, events in epoll.poll(0.1):
            if events == select.EPOLLOUT:
                epoll.modify(fd, select.EPOLLIN)
                trickle(waiting[fd], data(seen["tries"]))
                continue
            s = waiting.pop(fd)
            epoll.unregister(fd)
            seen[verdict(s)] += 1
            s.close()
    for s in waiting.values():
        s.close()
    return seen


def verdict(s):
    try:
        answer = s.recv(64)
    except OSError:
        return "closed"
    if answer[:1] != b"\x20":
        return "closed"
    return "accepted" if answer[3] == 0 else "refused"


RATE = ["limits.connect_rate_per_address=100"]
TRIES = (2000, 2000)


@attack("CONNECTs of one address without end", settings=RATE, sizes=TRIES, counters={"connections_refused_rate": 1})
def connect_good(attacker):
    return connect_flood(attacker, lambda i: packets.connect(f"flood-{i}"))


@attack("CONNECTs of 250 addresses without end", settings=["limits.connect_rate=500"], sizes=TRIES,
        counters={"accepts_paused": 1})
def connect_many(attacker):
    return connect_flood(attacker, lambda i: packets.connect(f"flood-{i}"), neighbour)


def none_accepted(seen, grown):
    assert seen["accepted"] == 0, f"{seen['accepted']} were let in"


@attack("malformed CONNECTs without end", settings=RATE, sizes=TRIES, answers=none_accepted,
        counters={"malformed_packets": 1, "connections_refused_rate": 1})
def connect_bad(attacker):
    return connect_flood(attacker, lambda i: b"\x10\x0c\0\4HTTP\4\2\0\x3c\0\0")


@attack("wrong passwords without end", sizes=(70, 70), answers=none_accepted,
        settings=["credentials.admin=right", "anonymous=true"],
        counters={"logins_failed": 10, "logins_held": 1})
def connect_password(attacker):
    return connect_flood(attacker, lambda i: packets.connect(f"flood-{i}", user="admin", password=f"{i}"))
