"""What attacks are made of, and the process that one runs in.

An attack is a function of an Attacker that returns a dict of what it has seen. It calls `ready()` once it stands, and
goes on at least until `stopped()`: a burst is not over in a moment, it comes again and again. What it asserts does not
hang on how fast it was. `@attack(...)` states what the broker has to be like for it, and what may happen:

    settings    of the broker, as "section.name=value"; all others have their defaults
    listener    that the attack needs beside the one of plain TCP: tls, ws or proxy
    sizes       what `attacker.size` is in the full and in the short form
    growth_mib  of the broker's resident memory, at most, while it lasts
    left_mib    of that growth, at most, soon after the attackers have gone
    late_ms     what a documented wait adds to the latency of others
    counters    what counters of the broker have to grow by at least; a number, or a function of the size
    answers     is given what the attack returned and how all counters have grown; asserts what peers are told
"""

import dataclasses
import multiprocessing
import os
import select
import socket
import struct
import time
import traceback

import packets

ATTACKS = []


@dataclasses.dataclass
class Attack:
    name: str
    title: str
    run: object
    settings: list
    listener: str
    sizes: tuple
    growth_mib: int
    left_mib: int
    late_ms: int
    counters: dict
    answers: object

    @property
    def has_little_memory(self):
        return any(setting.startswith("limits.memory_limit=") for setting in self.settings)


def attack(title, *, settings=(), listener=None, sizes=(1, 1), growth_mib=16, left_mib=8, late_ms=0, counters=None,
           answers=None):
    def add(run):
        ATTACKS.append(Attack(run.__name__, title, run, list(settings), listener, sizes, growth_mib, left_mib, late_ms,
                              counters or {}, answers))
        return run

    return add


class Attacker:
    def __init__(self, ports, size, seconds, control):
        self.ports, self.size, self.seconds, self.control = ports, size, seconds, control
        self.until = None

    def ready(self):
        self.until = time.monotonic() + self.seconds

    def stopped(self):
        return time.monotonic() > self.until

    def open(self, first=b"", source="127.0.0.1", receive_buffer=None, listener="tcp"):
        """A blocking connection that has sent the first bytes."""
        s = socket.socket()
        if receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        s.bind((source, 0))
        s.settimeout(30)
        s.connect(("127.0.0.1", self.ports[listener]))
        if first:
            s.sendall(first)
        return s

    def enter(self, client_id, *more, **options):
        """A connection that has been let in, and has sent more packets."""
        s = self.open(packets.connect(client_id), **options)
        read_packet(s, bytearray(), packets.CONNACK)
        s.sendall(b"".join(more))
        return s


def read_packet(s, buffer, kind):
    """Reads up to a packet of this kind; the others are passed over. None at the end of the connection."""
    while True:
        for first, body in packets.split(buffer):
            if first >> 4 == kind:
                return body
        try:
            data = s.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            return None
        buffer += data


def reset(s):
    """Ends a connection without a word: the peer gets a RST."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def ended(s):
    """Whether the broker has ended this connection."""
    s.setblocking(False)
    try:
        return s.recv(4096) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def trickle(s, byte):
    try:
        s.send(byte)
    except ConnectionError:
        pass


def wait_for_end(sockets, count=None, seconds=30):
    """Waits until the broker has ended so many of the connections, or all. How many of them it has ended in time."""
    count = len(sockets) if count is None else count
    epoll, left = select.epoll(), {s.fileno(): s for s in sockets}
    for fd in left:
        epoll.register(fd, select.EPOLLIN | select.EPOLLRDHUP)
    until = time.monotonic() + seconds
    while len(sockets) - len(left) < count and time.monotonic() < until:
        for fd, _ in epoll.poll(max(0, until - time.monotonic())):
            try:
                data = left[fd].recv(65536)
            except OSError:
                data = b""
            if not data:
                epoll.unregister(fd)
                del left[fd]
    return len(sockets) - len(left)


def flood(attacker, s, data, least=0):
    """Sends the same bytes again and again, `least` or more, until it is stopped or thrown out, and reads nothing. The
    number of bytes sent."""
    s.settimeout(0.2)
    sent, at = 0, 0
    while not attacker.stopped() or sent < least:
        try:
            n = s.send(memoryview(data)[at:])
        except TimeoutError:
            continue
        except ConnectionError:
            break
        sent, at = sent + n, (at + n) % len(data)
    return sent


def serve(run, ports, size, seconds, core, yielding, control):
    try:
        if core is not None:
            os.sched_setaffinity(0, {core})
        if yielding:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # the probe on this core is always first
        control.send(run(Attacker(ports, size, seconds, control)))
    except Exception:  # the driver is to see it
        control.send(traceback.format_exc())


def start(run, ports, size, seconds, core, yielding):
    """Runs an attack in a process of its own; `finish` returns what it has seen."""
    spawn = multiprocessing.get_context("spawn")  # the driver has threads
    control, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(run, ports, size, seconds, core, yielding, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, control


def finish(process, control, deadline_s):
    try:
        if not control.poll(deadline_s):
            raise RuntimeError(f"the attack did not end within {deadline_s} s")
        seen = control.recv()
    finally:
        process.kill()
        process.join()
    if isinstance(seen, str):
        raise RuntimeError(f"the attack failed:\n{seen}")
    return seen
