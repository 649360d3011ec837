"""On the learner's machine: a crew whose worker and server run on another node.

``SupervisedEnv`` uses it as it uses one on its own machine, so deadlines, back-off, budgets, incidents and
the check that a step is one tick are the same.  What is added is a third thing that can fail: the host, a
process on the node that holds worker and server.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from av_td3.cluster.host import ACCEPT_S, Endpoint, Failed, Manned
from av_td3.config import EnvConfig
from av_td3.driving.errors import SetupError
from av_td3.supervision import protocol
from av_td3.supervision.crew import CrewBase, CrewFailure, Server, wanted_port

ANSWER_S = 5.0
"""How long a host may take to say something that takes no time."""
RESTART_S = 10.0
"""How long Ray may take to start a host again; that of a node that was lost is started elsewhere after it."""
PLACE_S = 60.0
"""How long a host may take to start, at least; a deadline for the server's start that is longer holds."""
SILENCE_S = 5.0
"""After which a worker that has begun a message and does not end it counts as gone."""
STARTS_PER_MINUTE = 30
"""How many hosts are started within a minute, for all environments together; further ones wait."""


class HostFailure(Exception):  # noqa: N818 - an outcome that is expected, not a mistake
    """A host ended (``host-died``) or does not answer (``host-silent``)."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text


class Host(Protocol):
    """A :class:`av_td3.cluster.host.SimulatorHost` on some node, as the learner calls it."""

    @property
    def where(self) -> str:
        """The node, in words."""

    def call(self, method: str, *arguments: Any, timeout_s: float) -> Any:
        """What the method returns.

        Raises:
            HostFailure: it ended, or did not answer in time.  The call may have been carried out; it is
                never repeated.
        """

    def tell(self, method: str, *arguments: Any) -> None:
        """Call the method and wait for nothing."""

    def is_back(self, within_s: float) -> bool:
        """After it has ended: whether it was started again within this time, here or on another node."""

    def drop(self, avoid: bool = False) -> None:
        """End it, now or when it can be reached again, and wait for nothing.

        Args:
            avoid: start no other on its node for a while.
        """


class Pace:
    """Lets at most so many starts begin within a minute; further ones wait."""

    def __init__(
        self,
        per_minute: int = STARTS_PER_MINUTE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._per_minute, self._clock, self._sleep = per_minute, clock, sleep
        self._recent: deque[float] = deque()

    def wait(self) -> None:
        """Wait until another start may begin, and count it."""
        while True:
            now = self._clock()
            while self._recent and self._recent[0] <= now - 60.0:
                self._recent.popleft()
            if len(self._recent) < self._per_minute:
                self._recent.append(now)
                return
            self._sleep(self._recent[0] + 60.0 - now)


class RemoteCrews:
    """Makes the crews of one environment, one after the other: on the same host while that is sound.

    Args:
        start: starts another host; given the folder and the prefix of the logs, and the deadline in seconds.
    """

    def __init__(self, start: Callable[[Path, str, float], Host]) -> None:
        self._start = start
        self._host: Host | None = None
        self._ended = False
        """Whether the host has ended, and is to be started again by Ray."""

    def __call__(
        self,
        config: EnvConfig,
        split: str,
        render_mode: str | None,
        logs: Path,
        name: str,
        server: Server | None = None,
        /,
    ) -> RemoteCrew:
        limit = max(PLACE_S, config.simulator.start_deadline_s)
        if self._host is not None and self._ended and not self._host.is_back(RESTART_S):
            self.drop(avoid=True)
        self._ended = False
        try:
            if self._host is None:
                self._host = self._start(logs, name, limit)
            return RemoteCrew(self, self._host, config, split, render_mode, limit)
        except HostFailure as failure:
            raise self.failure(failure) from None

    def failure(self, failure: HostFailure) -> CrewFailure:
        """What a host's failure means for its crew.

        One that is silent is given up; one that ended is started again by Ray, unless its node has ended too.
        """
        where = "" if self._host is None else f"{self._host.where}: "
        self._ended = failure.kind == "host-died"
        if not self._ended:
            self.drop(avoid=True)
        return CrewFailure(failure.kind, where + failure.text)

    def drop(self, avoid: bool = False) -> None:
        """Give the host up, and avoid its node for a while."""
        host, self._host = self._host, None
        if host is not None:
            host.drop(avoid)


class RemoteServer:
    """The server of a remote crew."""

    def __init__(self, crews: RemoteCrews, host: Host, address: str) -> None:
        self._crews, self._host = crews, host
        self.address, self._started = address, time.monotonic()

    @property
    def hours(self) -> float:
        """Its age."""
        return (time.monotonic() - self._started) / 3600

    @property
    def memory(self) -> int:
        """Bytes of memory that it holds; 0 when nobody says."""
        with contextlib.suppress(HostFailure):
            return int(self._host.call("server_memory", timeout_s=ANSWER_S))
        return 0

    def answers(self, timeout_s: float) -> bool:
        """Whether it answers a remote procedure call."""
        with contextlib.suppress(HostFailure):
            return bool(self._host.call("server_answers", timeout_s, timeout_s=timeout_s + ANSWER_S))
        return False

    def stop(self, grace_s: float = 0.0) -> None:
        """End it, with its host: nothing that it has started is left."""
        self._crews.drop()


class RemoteCrew(CrewBase):
    """A worker and its server on a host.

    Args:
        crews: which makes it.
        host: of the worker, and of the server; it may have one from the crew before.
        config, split, render_mode: of the environment.
        limit_s: how long the server may take to start.

    Raises:
        CrewFailure, SetupError: as from ``Crew``.
        HostFailure: the host ended, or does not answer.
    """

    def __init__(
        self,
        crews: RemoteCrews,
        host: Host,
        config: EnvConfig,
        split: str,
        render_mode: str | None,
        limit_s: float,
    ) -> None:
        self._crews, self._host = crews, host
        self._server: RemoteServer | None = None
        self._memory = protocol.ObservationMemory(config)
        self._memory.close_fd()
        self._slot = 0
        self.wanted_port = wanted_port(config.simulator, split)
        try:
            endpoint: Endpoint = host.call("listen", timeout_s=limit_s)
            self._connection = connected(endpoint)
            wanted = config.simulator.model_dump(mode="json")
            manned: Manned | Failed = host.call("man", wanted, split, timeout_s=limit_s + ACCEPT_S)
            if "kind" in manned:
                raise refusal(manned)
            self.facts = manned
            self.start_took_s, self.port = self.facts["start_took_s"], self.facts["port"]
            self._server = RemoteServer(crews, host, self.facts["server"])
            known = {"address": self._server.address, "command": None, "traffic_manager_port": self.port}
            there = config.simulator.model_copy(update=known)
            self.open(config.model_copy(update={"simulator": there}), split, render_mode)
        except BaseException:
            self.kill()
            raise

    @property
    def server(self) -> RemoteServer | None:
        return self._server

    @property
    def where(self) -> str:
        """The node, in words."""
        return self._host.where

    def awaited(self) -> list[Any]:
        return [self._connection]

    def observed(self, answer: Mapping[str, Any]) -> protocol.Slot:
        return self._memory.slots[answer["slot"]]

    def answer(self, deadline: float) -> dict[str, Any]:
        message = super().answer(deadline)
        if "image" not in message:
            return message
        # The last whole observation stays, should this one be none.
        slot = (self._slot + 1) % len(self._memory.slots)
        try:
            protocol.unpack(message, self._memory.slots[slot])
        except ValueError as error:
            raise CrewFailure("error", str(error)) from None
        self._slot = slot
        return {**message, "slot": slot}

    def close(self) -> None:
        self._say_goodbye()
        self._hang_up()
        with contextlib.suppress(HostFailure):
            self._host.call("close", timeout_s=ANSWER_S)
        self._crews.drop()

    def kill(self) -> None:
        self._hang_up()
        self._host.tell("dismiss")

    def leave_server(self) -> RemoteServer | None:
        self._hang_up()
        self._host.tell("dismiss", True)
        return self._server

    def abort(self) -> None:
        self._crews.drop()
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as end:
                end.shutdown(socket.SHUT_RDWR)

    def trim_logs(self) -> None:
        self._host.tell("trim_logs")

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _late(self) -> CrewFailure:
        try:
            output = self._host.call("output", timeout_s=ANSWER_S)
        except HostFailure as failure:
            return self._crews.failure(failure)
        return CrewFailure("deadline", "no answer within the deadline", output)

    def _ended(self, ready: Sequence[Any] = ()) -> CrewFailure:
        try:
            return refusal(self._host.call("post_mortem", timeout_s=ANSWER_S))
        except HostFailure as failure:
            return self._crews.failure(failure)

    def _server_ended(self) -> CrewFailure | None:
        try:
            ended: Failed | None = self._host.call("server_ended", timeout_s=ANSWER_S)
        except HostFailure as failure:
            return self._crews.failure(failure)
        return None if ended is None else refusal(ended)


def refusal(failed: Any) -> CrewFailure:
    """What a host's report of a failure means.

    Raises:
        SetupError: another try would end in the same way.
    """
    if failed["kind"] == "setup":
        raise SetupError(failed["text"])
    return CrewFailure(failed["kind"], failed["text"], failed["output"])


def connected(endpoint: Endpoint) -> Connection:
    """A connection to the worker that the host will start.

    Raises:
        CrewFailure: the node does not accept it.
    """
    try:
        end = socket.create_connection((endpoint["address"], endpoint["port"]), ANSWER_S)
        end.sendall(endpoint["token"])
    except OSError as error:
        where = f"{endpoint['address']}:{endpoint['port']}"
        raise CrewFailure("error", f"cannot connect to the worker at {where}: {error}") from None
    end.settimeout(None)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # it is read only when there is something
        end.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(SILENCE_S), 0))
    return Connection(end.detach())
