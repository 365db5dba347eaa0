"""Becomes another program that ends when the process that started it does, and leaves Ctrl-C to that process.

Run as a script, by path: ``launch.py SIGNAL PARENT_PID PROGRAM ARGUMENT…``; imports nothing of the package.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    number, parent_pid = int(sys.argv[1]), int(sys.argv[2])
    prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)  # Linux
    if prctl is not None and prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent_pid:  # it died before it could be told of
        sys.exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.execv(sys.argv[3], sys.argv[3:])


if __name__ == "__main__":
    main()
