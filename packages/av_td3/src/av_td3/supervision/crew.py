"""A worker process and the server that it drives on: started together, ended together."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from av_td3.config import EnvConfig
from av_td3.driving.errors import (
    DrivingError,
    ServerTakenError,
    SetupError,
    SimulatorUnreachableError,
    UsageError,
)
from av_td3.supervision import protocol
from av_td3.supervision.launcher import LaunchError, OwnServer, start_server
from av_td3.supervision.ports import NoPortError, PortLease
from av_td3.supervision.process import Child

WORKER: Sequence[str] = (sys.executable, "-m", "av_td3.supervision.worker")
CLOSE_DEADLINE_S = 5.0
"""How long the worker may take to clean up when it is asked to."""

_REFUSALS: dict[str, type[DrivingError]] = {
    "setup": SetupError,
    "taken": ServerTakenError,
    "usage": UsageError,
}


class CrewFailure(Exception):  # noqa: N818 - an outcome that is expected, not a mistake
    """The worker or the server failed; ``kind`` as in :class:`av_td3.supervision.incidents.Incident`."""

    def __init__(self, kind: str, text: str, output: str = "") -> None:
        super().__init__(text)
        self.kind, self.text, self.output = kind, text, output


class Crew:
    """A worker, the server if it was started for it, and the channels to the worker.

    Args:
        config: of the environment; a ``simulator.address`` of None starts a minicarla.
        split, render_mode: of the environment.
        logs: folder for what the two processes write; ``name`` is the prefix of the files.
        server: one that runs already, and belongs to the crew from now on.

    Raises:
        CrewFailure: a process ended, did not answer in time, or reported a failure.
        SetupError: the simulator cannot serve this configuration.
    """

    def __init__(
        self,
        config: EnvConfig,
        split: str,
        render_mode: str | None,
        logs: Path,
        name: str,
        server: OwnServer | None = None,
    ) -> None:
        self.server = server
        self.worker: Child | None = None
        self.memory = protocol.ObservationMemory(config)
        self._connection: Connection | None = None
        simulator = config.simulator
        self._lease: PortLease | None = None
        self.start_took_s = self.map_took_s = 0.0
        """How long the server took to start, and the worker to connect and to load the map."""
        # Evaluation beside training has a Traffic Manager, and so a port, of its own.
        self.wanted_port = simulator.traffic_manager_port + (split == "held_out")
        try:
            self._start_worker(logs / f"{name}-worker.log")  # it imports while the server starts
            own_server = simulator.address is None
            if own_server:
                started = time.monotonic()
                try:
                    if self.server is None:
                        self.server = start_server(simulator, logs / f"{name}-server.log")
                except LaunchError as error:
                    raise CrewFailure("server-died", str(error)) from None
                self.start_took_s = time.monotonic() - started
                known = {"address": self.server.address, "command": None}
                simulator = simulator.model_copy(update=known)
            self._lease = _lease(self.wanted_port)
            self.port = self._lease.port
            """The Traffic Manager's port; another than ``wanted_port`` when that one was taken."""
            simulator = simulator.model_copy(update={"traffic_manager_port": self.port})
            self.ask(
                {
                    "do": "open",
                    "config": config.model_copy(update={"simulator": simulator}).model_dump(mode="json"),
                    "split": split,
                    "render_mode": render_mode,
                    "own_server": own_server,
                }
            )
            asked = time.monotonic()
            self.routes: int = self.answer(asked + simulator.map_deadline_s)["routes"]
            """How many routes the split has."""
            self.map_took_s = time.monotonic() - asked
        except BaseException:
            self.kill()
            raise

    def ask(self, request: dict[str, Any]) -> None:
        """Send a request; CrewFailure when the worker is gone."""
        assert self._connection is not None
        try:
            protocol.send(self._connection, request)
        except OSError:
            raise self._death("worker-died") from None

    def awaited(self) -> list[Any]:
        """What ``multiprocessing.connection.wait`` takes; one is ready at an answer or a failure."""
        assert self._connection is not None and self.worker is not None
        waited: list[Any] = [self._connection, self.worker.sentinel]
        if self.server is not None:
            waited.append(self.server.process.sentinel)
        return waited

    def answer(self, deadline: float) -> dict[str, Any]:
        """Wait for the answer until ``deadline`` (``time.monotonic``).

        Raises:
            CrewFailure: a process ended, the deadline passed, or the worker reports a failure.
            SetupError, UsageError: the worker refuses the request.
        """
        assert self._connection is not None and self.worker is not None
        ready = wait(self.awaited(), max(0.0, deadline - time.monotonic()))
        if not ready:
            raise CrewFailure("deadline", "no answer within the deadline", self.worker.output())
        if self._connection not in ready:
            raise self._death("worker-died" if self.worker.sentinel in ready else "server-died")
        try:
            message = protocol.receive(self._connection)
        except (EOFError, OSError, ValueError):
            self.worker.wait(1.0)  # its end closes the pipe a moment before it can be reaped
            raise self._death("worker-died") from None
        if message["ok"]:
            return message
        kind, text = message["kind"], message["text"]
        if kind == "unreachable" and self.server is None:
            raise SimulatorUnreachableError(text)
        if kind in _REFUSALS:
            raise _REFUSALS[kind](text)
        if self.server is not None and self.server.process.wait(0.05):
            raise self._death("server-died")  # the worker's error is only its consequence
        raise CrewFailure("error", text)

    def close(self) -> None:
        """Let the worker clean up, then end both."""
        with contextlib.suppress(CrewFailure, DrivingError, ValueError):
            self.ask({"do": "close"})
            self.answer(time.monotonic() + CLOSE_DEADLINE_S)
            if self.worker is not None:
                self.worker.wait(1.0)
        if self.server is not None:
            self.server.stop(grace_s=1.0)
        self.kill()

    def abort(self) -> None:
        """Make another thread that waits for an answer fail at once; that thread cleans up."""
        if self.server is not None:
            self.server.process.kill()
        if self.worker is not None:
            self.worker.kill()

    def kill(self) -> None:
        """End both at once."""
        if self.worker is not None:
            self.worker.stop()
        if self.server is not None:
            self.server.stop()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lease is not None:
            self._lease.release()

    def leave_server(self) -> OwnServer | None:
        """End the worker alone; the server, which another worker may use."""
        server, self.server = self.server, None
        self.kill()
        return server

    def _start_worker(self, log: Path) -> None:
        ours, theirs = socket.socketpair()
        descriptors = (theirs.fileno(), self.memory.fd)
        try:
            self.worker = Child([*WORKER, *map(str, descriptors)], log, pass_fds=descriptors)
        finally:
            theirs.close()
            self._connection = Connection(ours.detach())
            self.memory.close_fd()

    def _death(self, kind: str) -> CrewFailure:
        child = self.worker if kind == "worker-died" or self.server is None else self.server.process
        assert child is not None
        child.wait(1.0)
        return CrewFailure(kind, f"the {kind.split('-')[0]} ended: {child.describe_exit()}", child.output())


def _lease(first: int) -> PortLease:
    try:
        return PortLease(first)
    except NoPortError as error:
        raise CrewFailure("port-taken", f"{error} for the Traffic Manager") from None
