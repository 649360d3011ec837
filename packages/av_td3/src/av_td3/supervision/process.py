"""Child processes that end with their parent, write to log files, and are stopped one by one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import psutil

# Runs in the child before the program.  It asks the kernel to kill the child when its parent dies.
_SHIM = (
    "import ctypes,os,sys\n"
    "ctypes.CDLL(None).prctl(1,9,0,0,0)\n"  # PR_SET_PDEATHSIG, SIGKILL
    "os.getppid()==int(sys.argv[1]) or sys.exit(1)\n"  # the parent died before that call
    "os.execv(sys.argv[2],sys.argv[2:])\n"
)


_KEEPER = Path(__file__).with_name("keeper.py")
KEEPER_GRACE_S = 5.0
"""How long a kept program may take to end after SIGTERM, also when our own process is gone."""
LOG_LIMIT = 8 << 20
"""Bytes after which a process's log becomes the older one; two older ones are kept."""
OLDER_LOGS = 2


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
        kept: it may start others, which must end with it.  The program need not be an absolute path then.

    It ends when this process does, also by ``kill -9``, and also when it is stopped (SIGSTOP) itself.  While
    this process is stopped, it goes on.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        pass_fds: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        kept: bool = False,
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        rotate(log)
        self._kept = kept
        # -I and -S: nothing but the standard library, so that it starts in the time of a bare interpreter.
        if kept:
            starter = ["-IS", str(_KEEPER), str(os.getpid()), str(KEEPER_GRACE_S)]
        else:
            starter = ["-IS", "-c", _SHIM, str(os.getpid())]
        with log.open("ab") as out:
            self.log_start = out.tell()
            self._process = _starter.popen(
                args=[sys.executable, *starter, *command],
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
        if self._kept and self.exit_status is None:
            # The keeper ends all that descends from it; then there is nothing left to kill.
            self._keeper(signal.SIGTERM if grace_s > 0 else signal.SIGUSR1)
            self.wait(min(grace_s, KEEPER_GRACE_S) + 2.0)
        elif grace_s > 0 and self.exit_status is None:
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
        """SIGKILL to the process and its group, SIGTERM to what is kept; ``stop`` is still to be called."""
        if self.sentinel >= 0:
            if self._kept:
                self._keeper(signal.SIGTERM)
            else:
                self._signal(signal.SIGKILL)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the process to end by itself; False when it has not ended within the time."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def trim_log(self) -> None:
        """Rotate the log if it has become too long; the process goes on writing into it."""
        if rotate(self.log):
            self.log_start = 0

    @property
    def memory(self) -> int:
        """Bytes of memory that the process and its descendants hold (resident set size)."""
        total = 0
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            for member in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    total += member.memory_info().rss
        return total

    def _keeper(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _signal(self, number: int) -> None:
        # The group's id is the child's pid (start_new_session).  The kernel does not give it to others
        # before the child is reaped and all members have ended, so no other process can be hit.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def rotate(log: Path, limit: int | None = None) -> bool:
    """Move a log aside that is longer than ``limit`` (:data:`LOG_LIMIT`); whether it was.

    It is copied and emptied: whoever writes at its end goes on doing so.
    """
    try:
        if log.stat().st_size <= (LOG_LIMIT if limit is None else limit):
            return False
        for number in range(OLDER_LOGS, 1, -1):
            older = log.with_name(f"{log.name}.{number - 1}")
            if older.exists():
                older.replace(log.with_name(f"{log.name}.{number}"))
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)
    except OSError:
        return False
    return True


def set_process_name(name: str) -> None:
    """Set the name that ``ps`` and ``top`` show."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(15, name.encode()[:15], 0, 0, 0)  # PR_SET_NAME
