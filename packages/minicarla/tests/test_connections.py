"""Limits of connections: who is refused, who is not, and that it is logged."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from minicarla.server import connections, limits
from minicarla.server.loop import EventLoop
from minicarla.wire import stream

from .conftest import PATIENCE, Running, until

Serve = Callable[..., Running]


def test_streams_that_a_client_leaves_behind_shut_nobody_out(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CARLA's client cannot close a sensor's stream after reload_world.  Here only two cars may have them."""
    monkeypatch.setattr(limits, "MAX_READERS", 10)
    serve(synchronous=True).client(
        """
import threading
world, kept = synchronous(), []
for episode in range(6):
    library = world.get_blueprint_library()
    car = world.spawn_actor(library.find("vehicle.tesla.model3"), world.get_map().get_spawn_points()[0])
    got = queue.Queue()
    for number in range(5):
        kept.append(world.spawn_actor(library.find("sensor.other.imu"), carla.Transform(), car))
        kept[-1].listen(got.put)
    for tick in range(3):
        frame = world.tick()
        assert [got.get(timeout=20.0).frame for _ in range(5)] == 5 * [frame]
    world = client.reload_world(False)
assert carla.Client("127.0.0.1", PORT).get_server_version() == "0.9.16"
"""
    )


def test_clients_and_readers_have_limits_of_their_own(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "MAX_CLIENTS", 3)
    monkeypatch.setattr(limits, "MAX_READERS", 4)
    monkeypatch.setattr(limits, "MAX_STREAM_CONNECTIONS", 7)
    running = serve(synchronous=True)
    wire = running.wire()
    live = [wire.subscribe() for _ in range(4)]
    until(lambda: len(running.server.streams.readers[stream.WORLD_STREAM]) == 4)
    for _ in range(3):
        with pytest.raises(ConnectionError):  # one too many
            wire.subscribe().exactly(1)
    assert wire.call("version") == "0.9.16", "readers leave room for clients"
    live.pop().close()
    until(lambda: len(running.server.streams.readers[stream.WORLD_STREAM]) == 3)
    gone = []
    for number in range(1000, 1003):  # of sensors that there are not
        gone.append(wire.subscribe(number))
        until(lambda number=number: number in running.server.streams.readers)
    live.append(wire.subscribe())
    until(lambda: len(running.server.streams.readers[stream.WORLD_STREAM]) == 4)
    wire.call("tick_cue")
    assert live[-1].next(), "they leave room for other readers"
    with pytest.raises(ConnectionError):
        wire.subscribe(2000).exactly(1)
    clients = [running.wire() for _ in range(2)]
    for client in clients:
        assert client.call("version") == "0.9.16"
    for _ in range(3):
        with pytest.raises(ConnectionError):
            running.wire().call("version")
    reasons = [
        *("4 streams are being read", "7 streams are being read, some perhaps of sensors that are gone"),
        "3 clients are connected",
    ]
    assert [record.getMessage() for record in caplog.records] == [
        f"connections are refused: {reason} (this is logged once)" for reason in reasons
    ]
    for reader in [*live, *gone]:
        reader.close()


def test_without_file_descriptors_the_server_waits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It neither turns in circles nor stops listening."""

    class Scarce(socket.socket):
        asked = 0

        def accept(self) -> Any:
            self.asked += 1
            if self.asked < 4:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    monkeypatch.setattr(connections, "NO_DESCRIPTOR_PAUSE", 0.05)
    loop, accepted, sock = EventLoop(), list[socket.socket](), Scarce()
    sock.bind(("127.0.0.1", 0))

    def connect(one: socket.socket) -> Any:
        accepted.append(one)
        return one

    listener = connections.Listener(loop, sock, set(), connect, lambda: "")
    with socket.create_connection(sock.getsockname()):
        turns = 0
        for _ in range(2):  # as in a tick that waits for a stream to be opened
            listener.accept()
        while not accepted:
            loop.turn(PATIENCE, poll=False)
            turns += 1
    assert sock.asked == 4 and turns <= 8, "a turn for each try and each pause"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    for one in (*accepted, listener, loop):
        one.close()
