"""Clients of good will, in a process of their own, so that no attacker slows down the clock that measures them.

Pairs of a publisher and a subscriber, half of them with QoS 0 and half with QoS 1, publish at a modest fixed rate. The
latency of a message is from before it is written to when it has been read. Newcomers connect, are let in and leave,
a few a second; their latency is from before they connect to their CONNACK. All of them come from 127.0.0.2.

`Probe(port)` starts it; `window(seconds)`, or `begin()` and `end()`, measure, and return what a Window says.
"""

import gc
import multiprocessing
import os
import select
import socket
import struct
import time
import traceback

import packets

ADDRESS = "127.0.0.2"
PAIRS = 8
RATE = 200  # messages a second, of all pairs
NEWCOMERS = 5  # a second
NEWCOMER_S = 5  # how long one waits for its CONNACK before it gives up
DRAIN_S = 20  # how long the last messages of a window may take
HEAD = struct.Struct("=Id")  # window, time; a time of 0 is the end of the window
LAST_ID = 65535  # packet id of that one


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else None


class Window:
    """What was measured between two moments."""

    def __init__(self, number):
        self.number, self.sent = number, [0, 0]  # of each QoS
        self.latencies = {0: [], 1: []}
        self.connects, self.turned_away = [], 0
        self.acknowledged = self.ends = 0

    def missing(self):
        """Messages of QoS 0, messages of QoS 1, acknowledgements."""
        return [self.sent[qos] - len(self.latencies[qos]) for qos in (0, 1)] + [self.sent[1] - self.acknowledged]

    def result(self):
        every = self.latencies[0] + self.latencies[1]
        return {
            "sent": sum(self.sent), "missing": self.missing(), "newcomers": len(self.connects),
            "newcomers_turned_away": self.turned_away,
            "latency_ms": {name: (percentile(values, share) or 0) * 1e3
                           for name, values, share in (("p50", every, 0.5), ("p99", every, 0.99), ("max", every, 1),
                                                       ("connect_p50", self.connects, 0.5),
                                                       ("connect_p99", self.connects, 0.99))},
        }


class Peer:
    """A connection whose packets go to a function."""

    def __init__(self, owner, port, handle):
        self.owner, self.handle, self.buffer = owner, handle, bytearray()
        self.socket = socket.socket()
        self.socket.bind((ADDRESS, 0))
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        owner.peers[self.socket.fileno()] = self
        owner.epoll.register(self.socket.fileno(), select.EPOLLIN)
        self.out = b""

    def send(self, data):
        """What the socket does not take waits: a probe never blocks."""
        self.out += data
        try:
            self.out = self.out[self.socket.send(self.out):]
        except BlockingIOError:
            pass

    def read(self):
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        now = time.perf_counter()
        if not data:
            self.close()
            self.handle(self, None, None, now)
            return
        self.buffer += data
        for first, body in packets.split(self.buffer):
            self.handle(self, first, body, now)

    def close(self):
        fd = self.socket.fileno()
        if fd in self.owner.peers:
            del self.owner.peers[fd]
            self.owner.epoll.unregister(fd)
        self.socket.close()


class Clients:
    """All of the probe's clients, and their loop."""

    def __init__(self, port, control):
        self.port, self.control = port, control
        self.peers, self.epoll = {}, select.epoll()
        self.window = None
        self.ready = 0
        self.publishers = []
        self.waiting = {}  # newcomers and when they began
        self.comes = 0

    def open_pairs(self):
        for i in range(PAIRS):
            subscriber = Peer(self, self.port, self.on_subscriber)
            subscriber.send(packets.connect(f"probe-s{i}") + packets.subscribe(1, (f"probe/{i}", 1)))
            publisher = Peer(self, self.port, self.on_publisher)
            publisher.send(packets.connect(f"probe-p{i}"))
            self.publishers.append(publisher)
        while self.ready < PAIRS:
            self.poll(1)

    def on_subscriber(self, peer, first, body, now):
        if first is None:
            raise ConnectionError("a subscriber of the probe was closed")
        kind = first >> 4
        if kind == packets.SUBACK:
            self.ready += 1
        elif kind == packets.PUBLISH:
            topic, packet_id, payload = packets.message(first, body)
            if packet_id:
                peer.send(packets.acknowledge(packets.PUBACK, packet_id))
            number, sent_at = HEAD.unpack(payload)
            if number != self.window.number:
                return
            if sent_at:
                self.window.latencies[1 if packet_id else 0].append(now - sent_at)
            else:
                self.window.ends += 1

    def on_publisher(self, _, first, body, now):
        if first is None:
            raise ConnectionError("a publisher of the probe was closed")
        if first >> 4 == packets.PUBACK:
            if body == LAST_ID.to_bytes(2, "big"):
                self.window.ends += 1
            else:
                self.window.acknowledged += 1

    def on_newcomer(self, peer, first, body, now):
        if peer not in self.waiting:
            return
        began = self.waiting.pop(peer)
        if first is not None and first >> 4 == packets.CONNACK and body[1] == 0:
            self.window.connects.append(now - began)
            peer.send(packets.DISCONNECT)
        else:
            self.window.turned_away += 1
        peer.close()

    def publish(self):
        number = sum(self.window.sent)
        i, qos = number % PAIRS, number % 2
        payload = HEAD.pack(self.window.number, time.perf_counter())
        self.publishers[i].send(packets.publish(f"probe/{i}", payload, qos, 1 + number % (LAST_ID - 1)))
        self.window.sent[qos] += 1

    def publish_ends(self):
        """When the last message of a publisher is there, and acknowledged, those before it are, or will never be."""
        for i, publisher in enumerate(self.publishers):
            publisher.send(packets.publish(f"probe/{i}", HEAD.pack(self.window.number, 0), 1, LAST_ID))

    def newcomer(self):
        began = time.perf_counter()
        self.comes += 1
        peer = Newcomer(self, self.port, self.on_newcomer)
        self.waiting[peer] = began
        peer.send(packets.connect(f"newcomer-{self.comes}"))

    def give_up(self, now):
        for peer, began in list(self.waiting.items()):
            if now - began > NEWCOMER_S:
                del self.waiting[peer]
                self.window.turned_away += 1
                peer.close()

    def poll(self, timeout):
        for fd, events in self.epoll.poll(timeout):
            peer = self.peers.get(fd)
            if peer is None:
                continue
            if events & select.EPOLLOUT:
                peer.writable()
            if events & ~select.EPOLLOUT:
                peer.read()

    def run(self, number):
        """Measures until the control says so; then waits for what is on its way."""
        self.window = Window(number)
        start = time.perf_counter()
        came = 0
        while not self.control.poll():
            now = time.perf_counter()
            while sum(self.window.sent) < (now - start) * RATE:
                self.publish()
            while came < (now - start) * NEWCOMERS:
                self.newcomer()
                came += 1
            self.give_up(now)
            self.poll(max(0, start + sum(self.window.sent) / RATE - time.perf_counter()))
        self.publish_ends()
        until = time.perf_counter() + DRAIN_S
        while (self.window.ends < 2 * PAIRS or self.waiting) and time.perf_counter() < until:
            self.give_up(time.perf_counter())
            self.poll(0.1)
        return self.window.result()


class Newcomer(Peer):
    """A peer whose connecting is measured, so it does not wait for it."""

    def __init__(self, owner, port, handle):
        self.owner, self.handle, self.buffer, self.out = owner, handle, bytearray(), b""
        self.socket = socket.socket()
        self.socket.bind((ADDRESS, 0))
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))
        owner.peers[self.socket.fileno()] = self
        owner.epoll.register(self.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def writable(self):
        self.owner.epoll.modify(self.socket.fileno(), select.EPOLLIN)
        self.send(b"")

    def send(self, data):
        try:
            super().send(data)
        except OSError:  # not connected yet, or refused: the loop will tell
            pass


def serve(port, control, core):
    try:
        if core is not None:
            os.sched_setaffinity(0, {core})
        gc.disable()
        clients = Clients(port, control)
        clients.open_pairs()
        control.send("ready")
        number = 0
        while control.recv() == "begin":
            number += 1
            result = clients.run(number)
            control.recv()
            control.send(result)
            gc.collect()
    except EOFError:  # no more windows are wanted
        pass
    except Exception:  # the one who waits for the result is to see it
        control.send(traceback.format_exc())


class Probe:
    def __init__(self, port, core=None):
        spawn = multiprocessing.get_context("spawn")  # the driver has threads
        self.control, theirs = spawn.Pipe()
        self.process = spawn.Process(target=serve, args=(port, theirs, core), daemon=True)
        self.process.start()
        theirs.close()
        self.expect(str)

    def expect(self, kind):
        answer = self.control.recv()
        if not isinstance(answer, kind) or isinstance(answer, str) and answer != "ready":
            raise RuntimeError(f"the probe failed:\n{answer}")
        return answer

    def begin(self):
        self.control.send("begin")

    def end(self):
        self.control.send("end")
        return self.expect(dict)

    def window(self, seconds):
        self.begin()
        time.sleep(seconds)
        return self.end()

    def close(self):
        self.control.close()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
