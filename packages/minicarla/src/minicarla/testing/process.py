"""A minicarla in a process of its own, which ends with the process that started it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import IO

_READY = re.compile(r"^minicarla \S+ ready on (\S+):(\d+) ", re.M)
_POLL = 0.01  # s
_GRACE = 5.0
"""Seconds that a server has to end by itself before it is killed."""


class ServerError(RuntimeError):
    """The server did not start; the message has the reason that it gave."""


class ServerProcess:
    """A minicarla that listens on the loopback interface, on two free ports.

    It ends when :meth:`stop` is called, at the end of a ``with`` block, and by itself when the process that
    started it has ended in whatever way.

    map: a bundled map such as ``town``, the path of an .xodr file, or a name in ``maps``.
    maps: a folder whose .xodr files clients may load by name.
    npc, walkers: how many vehicles and pedestrians the server itself puts on the map.
    seed: of that traffic and of the sensors' noise.
    synchronous: start in synchronous mode.
    faults: failures to inject, see docs/minicarla.md.
    patience: seconds within which it must be ready.

    Raises:
        ServerError: it refused what it was asked for, or was not ready in time.
    """

    host: str
    port: int
    """For ``carla.Client``; sensor data uses the next one."""

    def __init__(
        self,
        map: str = "town",
        *,
        maps: str = "",
        npc: int = 0,
        walkers: int = 0,
        seed: int = 0,
        synchronous: bool = False,
        faults: str = "",
        patience: float = 120.0,
    ) -> None:
        self._command = [sys.executable, "-m", "minicarla", "serve", "--port", "0", "--map", map]
        for option, value in (("maps", maps), ("npc", npc), ("walkers", walkers), ("seed", seed)):
            if value:
                self._command += [f"--{option}", str(value)]
        if synchronous:
            self._command.append("--synchronous")
        if faults:
            self._command += ["--faults", faults]
        self._patience = patience
        self._start()

    @property
    def address(self) -> str:
        """``HOST:PORT``"""
        return f"{self.host}:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def status(self) -> int | None:
        """Exit status of the process, negative for a signal; None while it runs."""
        return self._process.poll()

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def output(self) -> str:
        """What the server has printed since it was started last."""
        return self._read()

    def stop(self) -> None:
        """End the process.  A server that does not react within five seconds is killed."""
        if self.alive:
            # A stopped process takes no other signal before it is continued.
            for number in (signal.SIGTERM, signal.SIGCONT):
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(number)
            try:
                self._process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self.kill()
        self._log.close()

    def kill(self) -> None:
        """End the process at once (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Start anew, on other ports, with the options that it was made with; ServerError."""
        self.stop()
        self._start()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start(self) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (stop() closes it)
        self._process = subprocess.Popen(
            [*self._command, "--parent-pid", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            # Ctrl-C goes to every process of the terminal's group; tests clean up before the server may end.
            start_new_session=True,
        )
        try:
            self.host, self.port = self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self) -> tuple[str, int]:
        deadline = time.monotonic() + self._patience
        while True:
            ended = not self.alive  # asked first: what it printed before its end is then complete
            ready = _READY.search(self._read())
            if ready:
                return ready[1], int(ready[2])
            if ended:
                lines = self._read().strip().splitlines() or [f"it ended with status {self.status}"]
                raise ServerError(f"no server could be started: {lines[-1].removeprefix('minicarla: ')}")
            if time.monotonic() > deadline:
                raise ServerError(f"the server was not ready within {self._patience:g} seconds")
            time.sleep(_POLL)

    def _read(self) -> str:
        if self._log.closed:
            return ""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")
