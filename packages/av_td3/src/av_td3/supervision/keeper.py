"""Runs a program and ends whatever descends from it: ``python -IS keeper.py PARENT GRACE PROGRAM [ARG...]``.

It stands between av-td3 and a program that may start others (CARLA's is a shell script, docker a client).
Whatever descends from it has this process for its last parent (``PR_SET_CHILD_SUBREAPER``), also what has
become a daemon, so it can end them all.  It does so

* when the program ends, and takes over its exit status,
* on SIGTERM, and when the process PARENT is gone: the program gets SIGTERM and GRACE seconds,
* on SIGUSR1: at once.

``Child(..., kept=True)`` (:mod:`av_td3.supervision.process`) starts it by its path.  It imports the standard
library alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from typing import NoReturn

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
NOT_STARTED = 127
"""Exit status when the program cannot be started, as a shell's."""


def main(parent: int, grace_s: float, command: list[str]) -> NoReturn:
    """Run the program; ends with its exit status, 128 + N when signal N ended it, 0 when it was stopped."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        watch = os.pidfd_open(parent)
    except OSError:
        sys.exit(1)
    if os.getppid() != parent:  # it is gone, and another process has its number
        sys.exit(1)
    wake = _signals_to_a_pipe()
    program = _start(libc, command)
    status: int | None = None
    deadline: float | None = None
    while status is None:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready = select.select([watch, wake] if deadline is None else [wake], [], [], left)[0]
        received = os.read(wake, 4096) if wake in ready else b""
        status = _reap(program)
        if signal.SIGUSR1 in received or (deadline is not None and time.monotonic() >= deadline):
            break
        if deadline is None and (watch in ready or signal.SIGTERM in received):
            deadline = time.monotonic() + grace_s
            _kill_children(signal.SIGTERM)
    _end(0 if status is None else status if status >= 0 else 128 - status)


def _signals_to_a_pipe() -> int:
    """A descriptor from which the numbers of the signals that arrive can be read."""
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(waker)
    return wake


def _start(libc: ctypes.CDLL, command: list[str]) -> int:
    """Start the program in a child that the kernel kills when this process ends; its process id."""
    mine = os.getpid()
    child = os.fork()
    if child:
        return child
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != mine:
        os._exit(1)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", flush=True)
        os._exit(NOT_STARTED)


def _reap(program: int) -> int | None:
    """Take in all children that have ended; the exit status of the program if it is among them."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, code = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == program:
                status = os.waitstatus_to_exitcode(code)
    return status


def _kill_children(number: int) -> None:
    for pid in _children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _children() -> list[int]:
    mine, found = os.getpid(), []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat") as file:
            # The name of the program stands in brackets and may hold anything, so what follows it is read.
            if int(file.read().rpartition(")")[2].split()[1]) == mine:
                found.append(int(name))
    return found


def _end(status: int) -> NoReturn:
    """Kill what is left, again and again: the children of what dies become children of this process."""
    while True:
        _kill_children(signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            os._exit(status)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
