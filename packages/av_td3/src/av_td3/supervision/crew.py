"""A worker process and the server that it drives on: started together, ended together."""

from __future__ import annotations

import abc
import contextlib
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from av_td3.config import EnvConfig, SimulatorConfig
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


class Server(Protocol):
    """A server that was started for an environment, here or on another machine."""

    @property
    def address(self) -> str:
        """``host:port``, seen from the worker."""

    @property
    def hours(self) -> float:
        """Its age."""

    @property
    def memory(self) -> int:
        """Bytes of memory that it and its descendants hold."""

    def answers(self, timeout_s: float) -> bool:
        """Whether it answers a remote procedure call."""

    def stop(self, grace_s: float = 0.0) -> None:
        """End it.  ``grace_s``: seconds to obey SIGTERM before SIGKILL."""


class CrewBase(abc.ABC):
    """A worker and its server, wherever they run, and the connection to the worker.

    What is common: requests and answers, with a deadline for every wait.
    """

    routes: int
    """How many routes the split has."""
    port: int
    """The Traffic Manager's port; another than ``wanted_port`` when that one was taken."""
    wanted_port: int
    start_took_s = map_took_s = 0.0
    """How long the server took to start, and the worker to connect and to load the map."""
    _connection: Connection | None = None

    # ------------------------------------------------------------------ where they run

    @property
    @abc.abstractmethod
    def server(self) -> Server | None:
        """The server that was started for the worker; None when it is somebody else's."""

    @abc.abstractmethod
    def observed(self, answer: Mapping[str, Any]) -> protocol.Slot:
        """The observation that an answer tells of.  It may be overwritten after the next answer."""

    @abc.abstractmethod
    def kill(self) -> None:
        """End both at once."""

    @abc.abstractmethod
    def abort(self) -> None:
        """Make another thread that waits for an answer fail at once; that thread cleans up."""

    @abc.abstractmethod
    def leave_server(self) -> Server | None:
        """End the worker alone; the server, which another worker may use."""

    @abc.abstractmethod
    def trim_logs(self) -> None:
        """Rotate the logs that have become too long."""

    @abc.abstractmethod
    def awaited(self) -> list[Any]:
        """What ``multiprocessing.connection.wait`` takes; one is ready at an answer or a failure."""

    @abc.abstractmethod
    def _late(self) -> CrewFailure:
        """The deadline has passed; with the end of the worker's log."""

    @abc.abstractmethod
    def _ended(self, ready: Sequence[Any] = ()) -> CrewFailure:
        """The connection is lost, or another of the ``awaited`` is ready: which process ended, and how."""

    @abc.abstractmethod
    def _server_ended(self) -> CrewFailure | None:
        """That the server has ended, if it has: a worker's error is only the consequence."""

    # ------------------------------------------------------------------ what is said

    def open(self, config: EnvConfig, split: str, render_mode: str | None) -> None:
        """Let the worker connect to the server at ``config.simulator.address`` and load the map."""
        self._opening = {
            "do": "open",
            "config": config.model_dump(mode="json"),
            "split": split,
            "render_mode": render_mode,
            "own_server": self.server is not None,
        }
        self.reopen(config.simulator.map_deadline_s)

    def reopen(self, deadline_s: float) -> None:
        """Let the worker begin anew: it connects with another client, which may take so many seconds."""
        self.ask(self._opening)
        asked = time.monotonic()
        self.routes = self.answer(asked + deadline_s)["routes"]
        self.map_took_s = time.monotonic() - asked

    def ask(self, request: dict[str, Any]) -> None:
        """Send a request; CrewFailure when the worker is gone."""
        assert self._connection is not None
        try:
            protocol.send(self._connection, request)
        except OSError:
            raise self._ended() from None

    def answer(self, deadline: float) -> dict[str, Any]:
        """Wait for the answer until ``deadline`` (``time.monotonic``).

        Raises:
            CrewFailure: a process ended, the deadline passed, or the worker reports a failure.
            SetupError, UsageError: the worker refuses the request.
        """
        assert self._connection is not None
        ready = wait(self.awaited(), max(0.0, deadline - time.monotonic()))
        if not ready:
            raise self._late()
        if self._connection not in ready:
            raise self._ended(ready)
        try:
            message = protocol.receive(self._connection)
        except (EOFError, OSError, ValueError):
            raise self._ended() from None
        if message["ok"]:
            return message
        kind, text = message["kind"], message["text"]
        if kind == "unreachable" and self.server is None:
            raise SimulatorUnreachableError(text)
        if kind in _REFUSALS:
            raise _REFUSALS[kind](text)
        ended = self._server_ended()
        if ended is not None:
            raise ended
        raise CrewFailure("error", text)

    def close(self) -> None:
        """Let the worker clean up, then end both."""
        self._say_goodbye()
        self.kill()

    def _say_goodbye(self) -> None:
        with contextlib.suppress(CrewFailure, DrivingError, ValueError):
            self.ask({"do": "close"})
            self.answer(time.monotonic() + CLOSE_DEADLINE_S)


class Crew(CrewBase):
    """A worker, the server if it was started for it, and the channels to the worker, on this machine.

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
        server: Server | None = None,
    ) -> None:
        assert server is None or isinstance(server, OwnServer)
        self._server = server
        self.worker: Child | None = None
        self.memory = protocol.ObservationMemory(config)
        simulator = config.simulator
        self._lease: PortLease | None = None
        self.wanted_port = wanted_port(simulator, split)
        try:
            self._start_worker(logs / f"{name}-worker.log")  # it imports while the server starts
            if simulator.address is None:
                started = time.monotonic()
                try:
                    if self._server is None:
                        self._server = start_server(simulator, logs / f"{name}-server.log")
                except LaunchError as error:
                    raise CrewFailure("server-died", str(error)) from None
                self.start_took_s = time.monotonic() - started
                known = {"address": self._server.address, "command": None}
                simulator = simulator.model_copy(update=known)
            self._lease = lease(self.wanted_port)
            self.port = self._lease.port
            simulator = simulator.model_copy(update={"traffic_manager_port": self.port})
            self.open(config.model_copy(update={"simulator": simulator}), split, render_mode)
        except BaseException:
            self.kill()
            raise

    @property
    def server(self) -> OwnServer | None:
        return self._server

    def awaited(self) -> list[Any]:
        assert self._connection is not None and self.worker is not None
        waited: list[Any] = [self._connection, self.worker.sentinel]
        if self._server is not None:
            waited.append(self._server.process.sentinel)
        return waited

    def observed(self, answer: Mapping[str, Any]) -> protocol.Slot:
        return self.memory.slots[answer["slot"]]

    def close(self) -> None:
        self._say_goodbye()
        if self.worker is not None:
            self.worker.wait(1.0)
        if self._server is not None:
            self._server.stop(grace_s=1.0)
        self.kill()

    def abort(self) -> None:
        if self._server is not None:
            self._server.process.kill()
        if self.worker is not None:
            self.worker.kill()

    def kill(self) -> None:
        if self.worker is not None:
            self.worker.stop()
        if self._server is not None:
            self._server.stop()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lease is not None:
            self._lease.release()

    def leave_server(self) -> OwnServer | None:
        server, self._server = self._server, None
        self.kill()
        return server

    def trim_logs(self) -> None:
        for child in (self.worker, None if self._server is None else self._server.process):
            if child is not None:
                child.trim_log()

    def _start_worker(self, log: Path) -> None:
        ours, theirs = socket.socketpair()
        descriptors = (theirs.fileno(), self.memory.fd)
        try:
            self.worker = Child([*WORKER, *map(str, descriptors)], log, pass_fds=descriptors)
        finally:
            theirs.close()
            self._connection = Connection(ours.detach())
            self.memory.close_fd()

    def _late(self) -> CrewFailure:
        output = "" if self.worker is None else self.worker.output()
        return CrewFailure("deadline", "no answer within the deadline", output)

    def _ended(self, ready: Sequence[Any] = ()) -> CrewFailure:
        assert self.worker is not None
        of_server = bool(ready) and self.worker.sentinel not in ready
        return death(self.worker if not of_server else None, self._server)

    def _server_ended(self) -> CrewFailure | None:
        if self._server is not None and self._server.process.wait(0.05):
            return death(None, self._server)
        return None


class CrewMaker(Protocol):
    """Starts a worker and its server, as :class:`Crew` does; the arguments are the same."""

    def __call__(
        self,
        config: EnvConfig,
        split: str,
        render_mode: str | None,
        logs: Path,
        name: str,
        server: Server | None = None,
        /,
    ) -> CrewBase: ...


def death(worker: Child | None, server: OwnServer | None) -> CrewFailure:
    """How the worker ended; the server, where no worker is given."""
    child = worker if worker is not None else server.process if server is not None else None
    assert child is not None
    who = "worker" if child is worker else "server"
    child.wait(1.0)  # its end closes the connection a moment before it can be reaped
    return CrewFailure(f"{who}-died", f"the {who} ended: {child.describe_exit()}", child.output())


def wanted_port(simulator: SimulatorConfig, split: str) -> int:
    """The Traffic Manager's: evaluation beside training has one, and so a port, of its own."""
    return simulator.traffic_manager_port + (split == "held_out")


def lease(first: int) -> PortLease:
    """A port for the Traffic Manager.

    Raises:
        CrewFailure: there is none.
    """
    try:
        return PortLease(first)
    except NoPortError as error:
        raise CrewFailure("port-taken", f"{error} for the Traffic Manager") from None
