"""Starting and stopping a minicarla of our own; free ports."""

from __future__ import annotations

import re
import socket
import sys
import time
from pathlib import Path

from av_td3.config import SimulatorConfig
from av_td3.driving.errors import SetupError
from av_td3.supervision.process import Child

_READY = re.compile(r"^minicarla \S+ ready on (\S+):(\d+) ", re.M)


class LaunchError(RuntimeError):
    """The server did not start; the message holds the end of its output."""


class MinicarlaProcess:
    """A minicarla that belongs to this process, on ports of its own choice."""

    def __init__(self, config: SimulatorConfig, log: Path, deadline_s: float) -> None:
        command = [sys.executable, "-m", "minicarla", "serve", "--port", "0", "--map", config.map]
        command += ["--synchronous"]  # nothing moves before the worker says so
        if config.faults is not None:
            command += ["--faults", config.faults]
        self.process = Child(command, log)
        try:
            self.address = self._wait_until_ready(time.monotonic() + deadline_s, deadline_s)
        except BaseException:
            self.process.stop()
            raise

    def _wait_until_ready(self, deadline: float, deadline_s: float) -> str:
        while True:
            match = _READY.search(self.process.output())
            if match:
                return f"{match[1]}:{match[2]}"
            if self.process.exit_status is not None:
                if self.process.exit_status == 2:  # it was asked for something that cannot be
                    raise SetupError(self.process.output(800))
                why = last_line(self.process.output())
                raise LaunchError(f"minicarla did not start ({self.process.describe_exit()}): {why}")
            if time.monotonic() > deadline:
                raise LaunchError(
                    f"minicarla was not ready within {deadline_s:g} s: {last_line(self.process.output())}"
                )
            time.sleep(0.01)

    def stop(self, grace_s: float = 0.0) -> None:
        """End it; only it."""
        self.process.stop(grace_s)


def last_line(output: str) -> str:
    """Where a failed program says why: errors and tracebacks both end with it."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def free_port(first: int, tries: int = 200) -> int:
    """The first port from ``first`` on that nothing listens on (as the Traffic Manager will bind it).

    The client answers a port that is taken with an error after ten seconds.
    """
    for port in range(first, min(first + tries, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    raise LaunchError(f"no free port from {first} to {first + tries - 1} for the Traffic Manager")
