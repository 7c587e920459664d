"""A service manager's socket: manager.py PATH prints what it is told, a line a message, whose own lines "; " joins.

manager.py PATH TEXT tells it something.
"""
import socket
import sys

path, text = sys.argv[1], sys.argv[2:]
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
if text:
    manager.sendto(text[0].encode(), path)
    sys.exit()
manager.bind(path)
print("bound", flush=True)
while True:
    print(manager.recv(4096).decode().rstrip("\n").replace("\n", "; "), flush=True)
