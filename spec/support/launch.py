"""Starts a program as a service manager does that listens for it: python3 launch.py SOCKET ... -- PROGRAM ...

A socket is NAME=tcp:HOST:PORT, NAME=unix:PATH, NAME=bound:PORT (does not listen), NAME=udp:PORT or NAME=file:PATH.
"{NAME}" in the program's arguments becomes its address as bound. Without sockets nothing is passed.
"""
import os
import socket
import sys

FIRST = 3


def open_tcp(host, port):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    s.bind((host, int(port)))
    return s


def open_passed(kind, value):
    """The descriptor, and the address."""
    if kind == "file":
        return os.open(value, os.O_RDONLY), value
    if kind == "unix":
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.bind(value)
        os.chmod(value, 0o750)
    elif kind == "udp":
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("127.0.0.1", int(value)))
    elif kind == "bound":
        s = open_tcp("127.0.0.1", value)
    else:
        s = open_tcp(*value.rsplit(":", 1))
    if kind in ("tcp", "unix"):
        s.listen(16)
    name = s.getsockname()
    address = value if kind == "unix" else ("[%s]:%d" if ":" in name[0] else "%s:%d") % name[:2]
    return s.detach(), address


def main():
    at = sys.argv.index("--")
    words, names, opened = sys.argv[at + 1:], [], []
    for text in sys.argv[1:at]:
        name, passed = text.split("=", 1)
        fd, address = open_passed(*passed.split(":", 1))
        words = [word.replace("{%s}" % name, address) for word in words]
        names.append(name)
        opened.append(os.dup2(fd, FIRST + 100 + len(opened)))
    for i, fd in enumerate(opened):
        os.dup2(fd, FIRST + i)
        os.close(fd)
    os.closerange(FIRST + len(opened), FIRST + 200)
    if names:
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=":".join(names))
    os.execvp(words[0], words)


main()
