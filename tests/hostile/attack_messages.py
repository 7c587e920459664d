"""Attacks by those who have been let in."""

import select
import threading
import time

import packets
from attacker import attack, ended, flood, read_packet, reset, trickle

LITTLE_MEMORY = ["limits.memory_limit=67108864"]


@attack("PUBLISH, a byte a second", settings=["limits.packet_time=1"], sizes=(200, 20),
        counters={"packets_timed_out": lambda size: size})
def slow_publish(attacker):
    start = b"\x30" + packets.length(1000)
    sockets = [attacker.enter(f"slow{i}", start) for i in range(attacker.size)]
    attacker.ready()
    left, until = sockets, time.monotonic() + 20
    while left and time.monotonic() < until:
        for s in left:
            trickle(s, b"\0")
        time.sleep(1)
        left = [s for s in left if not ended(s)]
    assert not left, f"{len(left)} connections were not closed"
    return {"opened": len(sockets)}


@attack("packets of 7 MiB without their last byte", settings=LITTLE_MEMORY, sizes=(40, 20), growth_mib=80,
        counters={"unfinished_bytes_exceeded": 1})
def unfinished(attacker):
    data = b"\x30" + packets.length(7 << 20) + b"\0\1t" + b"x" * ((7 << 20) - 4)
    attacker.ready()
    sockets, refused = [], 0
    for i in range(attacker.size):
        s = attacker.open(packets.connect(f"large{i}"))
        s.settimeout(1)
        try:
            s.sendall(data)
            sockets.append(s)
        except (ConnectionError, TimeoutError):
            refused += 1
    while not attacker.stopped():
        time.sleep(0.05)
    return {"opened": attacker.size, "refused": refused}


@attack("queues of sessions that do not come back", settings=["limits.queued_bytes=16777216"], sizes=(100, 30),
        growth_mib=40, left_mib=24,  # the heap keeps up to 16 MiB at its end
        counters={"messages_dropped_queued_bytes": 1})
def hoarders(attacker):
    """The size is sessions, each with a queue of 25 MiB if it may."""
    for i in range(attacker.size):
        s = attacker.open(packets.connect(f"hoarder{i}", clean=False) + packets.subscribe(1, (f"hoard/{i}", 1)))
        assert read_packet(s, bytearray(), packets.SUBACK)
        reset(s)
    publisher, buffer = attacker.enter("giver"), bytearray()
    attacker.ready()
    sent = 0
    while not attacker.stopped() or sent < 5 * attacker.size:  # more than all queues may hold
        for i in range(attacker.size):
            publisher.sendall(packets.publish(f"hoard/{i}", b"x" * (1 << 18), 1))
            assert read_packet(publisher, buffer, packets.PUBACK)
            sent += 1
    for i in range(attacker.size):  # they do, so that the broker can be seen to give the memory back
        s = attacker.open(packets.connect(f"hoarder{i}"))
        assert read_packet(s, bytearray(), packets.CONNACK)
    return {"sent": sent}


@attack("subscribers to everything that never read", sizes=(1000, 50000), growth_mib=24, late_ms=100,  # full_queue_wait
        counters={"messages_dropped_queue_full": 1})
def deaf(attacker):
    """The size is messages a second, of 1 KiB."""
    kept = [attacker.enter(f"deaf{i}", packets.subscribe(1, ("#", i % 2)), receive_buffer=4096) for i in range(10)]
    publisher = attacker.enter("talker")
    data = packets.publish("talk", b"x" * 1024)
    attacker.ready()
    start, sent = time.monotonic(), 0
    while not attacker.stopped() or sent < 5000:  # more than sockets hold
        due = int((time.monotonic() - start) * attacker.size)
        if due > sent:
            publisher.sendall(data * (due - sent))
            sent = due
        time.sleep(0.002)
    return {"sent": sent, "deaf": len(kept)}


def subscription_limit(seen, grown):
    limit = 10000 * seen["clients"]  # the default of limits.subscriptions
    assert seen["granted"] == limit, f"{seen['granted']} subscriptions were granted, not {limit}"
    assert seen["refused"] == seen["sent"] - limit, f"{seen['refused']} of {seen['sent']} were refused"


@attack("subscriptions of one client", sizes=(1000000, 20000), growth_mib=24,
        counters={"subscribes_refused": lambda size: size - 10000}, answers=subscription_limit)
def subscriptions(attacker):
    seen, each = {"clients": 0, "sent": 0, "granted": 0, "refused": 0}, 100
    attacker.ready()
    while not attacker.stopped():
        s, buffer = attacker.enter("greedy"), bytearray()
        seen["clients"] += 1
        for at in range(0, attacker.size, each):
            s.sendall(packets.subscribe(1, *((f"some/{i}/+/where", 1) for i in range(at, at + each))))
            seen["sent"] += each
            codes = read_packet(s, buffer, packets.SUBACK)[2:]
            seen["refused"] += codes.count(0x80)
            seen["granted"] += len(codes) - codes.count(0x80)
        reset(s)
    return seen


def send_long_topics(attacker, endless):
    s = attacker.enter("long")
    attacker.ready()
    tail, sent = "x" * 65000, 0
    while sent < attacker.size or (endless and not attacker.stopped()):
        s.sendall(packets.publish(f"{sent}/{tail}", b"x", retain=True) + packets.subscribe(1, (f"{sent}/{tail}", 0)))
        sent += 1
    s.sendall(packets.PINGREQ)
    alive = read_packet(s, bytearray(), packets.PINGRESP) is not None
    return {"sent": sent, "alive": alive}


@attack("topics and filters of 64 KiB", sizes=(5000, 1000),
        counters={"messages_refused": lambda size: size, "subscribes_refused": lambda size: size})
def long_topics(attacker):
    return send_long_topics(attacker, True)


@attack("topics and filters of 64 KiB where they are allowed, with little memory",
        settings=[*LITTLE_MEMORY, "limits.topic_length=65535"], sizes=(5000, 1000), growth_mib=80, left_mib=80,
        counters={"memory_limit_near": 1})
def allowed_long_topics(attacker):
    return send_long_topics(attacker, False)


@attack("retained messages", settings=["backend.max_retained_messages=10000", "backend.max_retained_bytes=8388608"],
        sizes=(200000, 15000), growth_mib=24, left_mib=24, counters={"retained_refused": lambda size: size - 10000})
def retained(attacker):
    s = attacker.enter("keeper")
    sent = 0
    attacker.ready()
    while not attacker.stopped() or sent < attacker.size:
        s.sendall(b"".join(packets.publish(f"kept/{i}", b"x" * 200, retain=True) for i in range(sent, sent + 100)))
        sent += 100
    s.sendall(packets.PINGREQ)
    assert read_packet(s, bytearray(), packets.PINGRESP) is not None
    return {"sent": sent}


@attack("QoS 2 messages that are never released", settings=["backend.incoming_bytes=4194304"], sizes=(20, 2),
        growth_mib=24, counters={"incoming_bytes_exceeded": lambda size: size})
def unreleased(attacker):
    data = b"".join(packets.publish("t", b"x" * 100, 2, i) for i in range(1, 65536))
    closed = 0
    attacker.ready()
    while not attacker.stopped() or closed < attacker.size:
        s = attacker.enter(f"never{closed}")
        try:
            s.sendall(data)
            while s.recv(65536):
                pass
        except ConnectionError:
            pass
        closed += 1
    return {"closed": closed}


@attack("PUBLISHes of QoS 0 without end", sizes=(1, 1), counters={"messages_published": 10000})
def publish_flood(attacker):
    s = attacker.enter("loud")
    attacker.ready()
    sent = flood(attacker, s, packets.publish("loud/topic", b"x" * 16) * 2000, 1 << 20)
    return {"bytes": sent}


RATE = 1000


@attack("publishers above their rate", settings=[f"backend.publish_rate={RATE}"], sizes=(50, 5),
        counters={"publishes_throttled": lambda size: size})
def above_rate(attacker):
    """The size is publishers; each sends three seconds' worth more than it may, and what it has sent is not lost. The
    probe's stay below the rate."""
    sockets = {attacker.enter(f"eager{i}"): 0 for i in range(attacker.size)}
    data = packets.publish("eager", b"x" * 16) * RATE
    most = int(attacker.seconds + 3) * len(data)
    for s in sockets:
        s.setblocking(False)
    attacker.ready()
    while not attacker.stopped() or min(sockets.values()) < most:
        for s, sent in sockets.items():
            try:
                sockets[s] += s.send(memoryview(data)[sent % len(data):]) if sent < most else 0
            except BlockingIOError:
                pass
        time.sleep(0.01)
    return {"bytes": sum(sockets.values())}


@attack("large PUBLISHes to a thousand subscribers", sizes=(1000, 100), growth_mib=96)
def fan_out(attacker):
    """The size is subscribers, who read."""
    listeners = [attacker.enter(f"l{i}", packets.subscribe(1, ("loud", 0))) for i in range(attacker.size)]
    for s in listeners:
        assert read_packet(s, bytearray(), packets.SUBACK)
    stop = threading.Event()
    drain = threading.Thread(target=read_all, args=(listeners, stop))
    drain.start()
    s = attacker.enter("loud")
    attacker.ready()
    sent = flood(attacker, s, packets.publish("loud", b"x" * 10000))
    stop.set()
    drain.join()
    return {"bytes": sent}


def read_all(sockets, stop):
    epoll = select.epoll()
    by_fd = {s.fileno(): s for s in sockets}
    for fd in by_fd:
        epoll.register(fd, select.EPOLLIN)
    while not stop.is_set():
        for fd, _ in epoll.poll(0.1):
            by_fd[fd].recv(1 << 20)


@attack("requests whose answers are never read", growth_mib=16)
def unread_answers(attacker):
    s = attacker.enter("rude", receive_buffer=4096)
    attacker.ready()
    data = (packets.publish("rude", b"", 1) + packets.PINGREQ + packets.subscribe(2, ("a", 1))) * 500
    return {"bytes": flood(attacker, s, data)}


@attack("a filter list that matches one topic in thousands of ways", sizes=(1, 1), growth_mib=24)
def overlapping(attacker):
    levels = 12
    filters = []
    for bits in range(1 << levels):
        filters.append(("/".join("+" if bits >> i & 1 else "a" for i in range(levels)), 0))
    s = attacker.enter("maze")
    for at in range(0, len(filters), 64):
        s.sendall(packets.subscribe(1, *filters[at:at + 64]))
    publisher = attacker.enter("minotaur")
    attacker.ready()
    topics = ["/".join(["a"] * (levels - 1) + [f"{i}"]) for i in range(1000)]
    data = b"".join(packets.publish(topic, b"x") for topic in topics)
    return {"bytes": flood(attacker, publisher, data), "filters": len(filters)}
