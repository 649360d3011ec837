"""What the tests of minicarla share: servers in a thread, the real client in a child process."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest

from minicarla.server import CarlaServer
from minicarla.wire import stream

PATIENCE = 30.0
"""Seconds that a test waits at most for what has to happen; how long it takes is never asserted."""

_PRELUDE = """
import os, queue, sys, time
import carla
PORT = {port}
client = carla.Client("127.0.0.1", PORT)
client.set_timeout({timeout})
def synchronous(dt=0.05):
    world = client.get_world()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, dt
    world.apply_settings(settings)
    return world
def message(queue_, frame, seconds=30.0):
    while True:
        data = queue_.get(timeout=seconds)
        if data.frame >= frame:
            assert data.frame == frame, (data.frame, frame)
            return data
"""


# Without the client's destructors: with a sensor that listens they abort one exit in ten.
_END = """
sys.stdout.flush()
os._exit(0)
"""


def need_client() -> None:
    """Skip the test on a Python for which CARLA's client does not exist: 0.9.16 has it for 3.10 to 3.12."""
    if sys.version_info >= (3, 13) and importlib.util.find_spec("carla") is None:
        pytest.skip("the carla client does not exist for this Python")


def run_client(port: int, script: str, *, timeout: float = PATIENCE, limit: float = 60.0) -> str:
    """Run a script with the real client in a child process, which malformed data would abort.

    ``client``, ``synchronous()`` and ``message(queue, frame)`` are at hand.  Returns what it
    printed; fails when it does not end with status 0.
    """
    need_client()
    done = subprocess.run(
        [sys.executable, "-c", _PRELUDE.format(port=port, timeout=timeout) + script + _END],
        capture_output=True,
        text=True,
        timeout=limit,
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Wire:
    """A client without CARLA: raw calls and streams, for what the real one cannot be made to do."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unpacker = msgpack.Unpacker(max_buffer_size=1 << 28)
        self._id = 0

    def post(self, name: str, *arguments: Any) -> int:
        """Send a request; returns its id."""
        self._id += 1
        self.sock.sendall(msgpack.packb([0, self._id, name, [[False], *arguments]]))
        return self._id

    def answer(self) -> Any:
        """The next reply [1, id, nil, result]; ConnectionError at the end of the stream."""
        while True:
            for reply in self._unpacker:
                return reply
            data = self.sock.recv(1 << 18)
            if not data:
                raise ConnectionError("closed by the server")
            self._unpacker.feed(data)

    def call(self, name: str, *arguments: Any) -> Any:
        """Value of a call; RuntimeError with CARLA's message when it is refused."""
        number = self.post(name, *arguments)
        reply = self.answer()
        assert reply[:3] == [1, number, None]
        result = reply[3]
        if name == "apply_batch":
            return result
        (first,) = result
        if first[0] is False:
            return None
        if first[0] is True or first[0] == 0:
            raise RuntimeError(first[1][0])
        return first[1]

    def subscribe(self, stream_id: int = stream.WORLD_STREAM) -> Messages:
        """Open a stream."""
        return Messages(self.port + 1, stream_id)

    def close(self) -> None:
        self.sock.close()


class Messages:
    """One stream's messages."""

    def __init__(self, port: int, stream_id: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.sock.sendall(stream.SUBSCRIPTION.pack(stream_id))

    def next(self, timeout: float = PATIENCE) -> bytes:
        """Next message without its length; TimeoutError, ConnectionError."""
        self.sock.settimeout(timeout)
        (size,) = stream.LENGTH.unpack(self.exactly(4))
        return self.exactly(size)

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                raise ConnectionError("closed by the server")
            data += more
        return data

    def close(self) -> None:
        self.sock.close()


class Running:
    """A server in a thread."""

    def __init__(self, **options: Any) -> None:
        self.server = CarlaServer(0, **options)
        self.port = self.server.port
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        self._wires: list[Wire] = []

    def wire(self) -> Wire:
        """A raw client, closed with the server."""
        self._wires.append(Wire(self.port))
        return self._wires[-1]

    def client(self, script: str, **options: Any) -> str:
        """Run a script with the real client, see :func:`run_client`."""
        return run_client(self.port, script, **options)

    def stop(self) -> None:
        for wire in self._wires:
            wire.close()
        self.server.stop()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "the server does not stop"


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """A function that starts servers (options of ``CarlaServer``), stopped at the end of the test."""
    servers: list[Running] = []

    def start(**options: Any) -> Running:
        servers.append(Running(**{"map": "loop", **options}))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for something that another thread brings about; fails when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)
