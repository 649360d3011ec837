"""Child processes that end with their parent, log to files, and are stopped without touching others."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

# Runs in the child before the program: the kernel kills it when its parent dies, be it by SIGKILL.
_SHIM = (
    "import ctypes,os,sys\n"
    "if sys.argv[1]=='1': ctypes.CDLL(None).prctl(1,9,0,0,0)\n"  # PR_SET_PDEATHSIG, SIGKILL
    "os.getppid()==int(sys.argv[2]) or sys.exit(1)\n"
    "os.execv(sys.argv[3],sys.argv[3:])\n"
)


class Child:
    """One child process in its own process group.

    Args:
        command: program and arguments; the program is an absolute path.
        log: file that its output is appended to.
        pass_fds: descriptors it inherits; nothing else is.
        environment: variables added to the parent's.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        pass_fds: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        # The kernel's signal follows the thread that forked, not the process: a child made by a
        # thread that ends would die with it.  Such children watch for their parent themselves.
        tied = threading.current_thread() is threading.main_thread()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            self.log_start = out.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-SE", "-c", _SHIM, str(int(tied)), str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                pass_fds=tuple(pass_fds),
                start_new_session=True,  # Ctrl-C at the terminal is the parent's business
                env={**os.environ, **(environment or {})},
            )
        self.log = log
        self.pid = self._process.pid
        self.sentinel = os.pidfd_open(self.pid)
        """Descriptor that becomes readable when the process ends."""

    @property
    def exit_status(self) -> int | None:
        """As ``subprocess.Popen.poll``: None while it runs, -N when signal N ended it."""
        return self._process.poll()

    def describe_exit(self) -> str:
        """How it ended, for people."""
        status = self.exit_status
        if status is None:
            return "still running"
        if status < 0:
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(-status).name}"
        return f"exit status {status}"

    def output(self, last: int = 2000) -> str:
        """The end of what this process wrote."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self.log_start, size - last))
            return file.read().decode(errors="replace").strip()
        return ""

    def stop(self, grace_s: float = 0.0) -> None:
        """End it and its group: SIGTERM and ``grace_s`` to obey, then SIGKILL.  Reaps it."""
        if self.sentinel < 0:
            return
        if grace_s > 0 and self.exit_status is None:
            self._signal(signal.SIGTERM)
            deadline = time.monotonic() + grace_s
            while self.exit_status is None and time.monotonic() < deadline:
                time.sleep(0.01)
        self._signal(signal.SIGKILL)
        self._process.wait()
        os.close(self.sentinel)
        self.sentinel = -1

    def wait(self, timeout_s: float) -> bool:
        """Whether it ends by itself within the time."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _signal(self, number: int) -> None:
        # The group's id is the child's pid (start_new_session); it stays reserved until reaped or
        # as long as a member lives, so this cannot hit a stranger.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def die_with_parent(lifeline: int) -> None:
    """Called in a child: end this process once the other end of the pipe ``lifeline`` is closed.

    Works while the main thread is blocked in a C++ call, as long as that call lets go of the GIL.
    """

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(lifeline, 64):
                pass
        os._exit(3)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def set_process_name(name: str) -> None:
    """What ``ps`` and ``top`` show."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(15, name.encode()[:15], 0, 0, 0)  # PR_SET_NAME
