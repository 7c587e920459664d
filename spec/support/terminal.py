"""Runs a program on a terminal of its own, and answers what it asks: `terminal.py ANSWER ... -- PROGRAM ...`.

Each answer is given when the program has written a prompt, which ends with ": ". What the terminal shows is
printed at the end; the exit status is the program's. The answer "^C" is that key.
"""
import os
import pty
import sys


def main():
    at = sys.argv.index("--")
    answers, words = sys.argv[1:at], sys.argv[at + 1:]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(words[0], words)
    shown, prompted = b"", 0
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the other end has gone
            break
        if not data:
            break
        shown += data
        if answers and shown.endswith(b": ") and len(shown) > prompted:
            prompted = len(shown)
            answer = answers.pop(0)
            os.write(terminal, b"\x03" if answer == "^C" else answer.encode() + b"\n")
    sys.stdout.write(shown.decode().replace("\r\n", "\n"))
    sys.stdout.flush()
    status = os.waitpid(pid, 0)[1]
    sys.exit(os.waitstatus_to_exitcode(status) % 256)


main()
