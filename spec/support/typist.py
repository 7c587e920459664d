#!/usr/bin/env python3
"""Runs a program on a terminal of its own: typist.py PROGRAM [ARGUMENT ...], with steps on standard input.

Each line of the steps is a text to wait for, a tab, and what is typed then, with Python's escapes; "EOF" is nothing
more. All that the program wrote is printed, without what only moves the cursor, and its exit status is ours.
"""
import os
import pty
import re
import select
import sys

DEADLINE = 20  # seconds without a byte

steps = [line.rstrip("\n").split("\t") for line in sys.stdin]
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execvp(sys.argv[1], sys.argv[1:])
output, seen = b"", 0
while True:
    while steps:
        at = output.find(steps[0][0].encode(), seen)
        if at < 0:
            break
        seen = at + len(steps[0][0].encode())
        os.write(fd, steps.pop(0)[1].encode().decode("unicode_escape").encode("latin-1"))
    if not select.select([fd], [], [], DEADLINE)[0]:
        print("nothing came for too long; left: %r" % steps, file=sys.stderr)
        os.kill(pid, 9)
        break
    try:
        data = os.read(fd, 65536)
    except OSError:
        break
    if not data:
        break
    output += data
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r|\x07", b"", output)
sys.stdout.buffer.write(text)
sys.exit(status)
