"""Child processes that end with their parent, write to log files, and are stopped one by one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

# Runs in the child before the program.  It asks the kernel to kill the child when its parent dies.
_SHIM = (
    "import ctypes,os,sys\n"
    "ctypes.CDLL(None).prctl(1,9,0,0,0)\n"  # PR_SET_PDEATHSIG, SIGKILL
    "os.getppid()==int(sys.argv[1]) or sys.exit(1)\n"  # the parent died before that call
    "os.execv(sys.argv[2],sys.argv[2:])\n"
)


_Job = tuple[Future[subprocess.Popen[bytes]], dict[str, Any]]


class _Starter:
    """One thread that starts all child processes and never ends.

    PR_SET_PDEATHSIG refers to the thread that forked, not to its process.  If a short-lived thread
    started a child, the kernel would kill the child at the end of that thread.
    """

    def __init__(self) -> None:
        self._pid = -1
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()

    def popen(self, **arguments: Any) -> subprocess.Popen[bytes]:
        """``subprocess.Popen(**arguments)``, in that thread."""
        with self._lock:
            if self._pid != os.getpid():  # the first call, or the first after a fork
                self._pid, self._jobs = os.getpid(), queue.SimpleQueue()
                threading.Thread(target=self._run, args=(self._jobs,), name="starter", daemon=True).start()
        future: Future[subprocess.Popen[bytes]] = Future()
        self._jobs.put((future, arguments))
        return future.result()

    @staticmethod
    def _run(jobs: queue.SimpleQueue[_Job]) -> None:
        while True:
            future, arguments = jobs.get()
            try:
                future.set_result(cast("subprocess.Popen[bytes]", subprocess.Popen(**arguments)))
            except BaseException as error:
                future.set_exception(error)


_starter = _Starter()


class Child:
    """One child process in its own process group.

    Args:
        command: program and arguments; the program is an absolute path.
        log: file that its output is appended to.
        pass_fds: file descriptors that it inherits; it inherits no others.
        environment: variables added to the parent's.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        pass_fds: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            self.log_start = out.tell()
            self._process = _starter.popen(
                args=[sys.executable, "-SE", "-c", _SHIM, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                pass_fds=tuple(pass_fds),
                start_new_session=True,  # so Ctrl-C reaches only the parent
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
        """How the process ended, in words."""
        status = self.exit_status
        if status is None:
            return "still running"
        if status < 0:
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(-status).name}"
        return f"exit status {status}"

    def output(self, last: int = 2000) -> str:
        """The last lines of this process's output."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self.log_start, size - last))
            return file.read().decode(errors="replace").strip()
        return ""

    def stop(self, grace_s: float = 0.0) -> None:
        """End the process and its group, and reap it: SIGTERM, and after ``grace_s`` seconds SIGKILL."""
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

    def terminate(self) -> None:
        """SIGTERM to the process and its group; ``stop`` is still to be called."""
        if self.sentinel >= 0:
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the process and its group; ``stop`` is still to be called."""
        if self.sentinel >= 0:
            self._signal(signal.SIGKILL)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the process to end by itself; False when it has not ended within the time."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _signal(self, number: int) -> None:
        # The group's id is the child's pid (start_new_session).  The kernel does not give it to others
        # before the child is reaped and all members have ended, so no other process can be hit.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def set_process_name(name: str) -> None:
    """Set the name that ``ps`` and ``top`` show."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(15, name.encode()[:15], 0, 0, 0)  # PR_SET_NAME
