"""The streams: world snapshots and sensor data, each message sent whole or not at all.

A reader that falls behind loses whole messages, unless the ticks wait for it, see ``backlog``.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from weakref import WeakSet

from minicarla.faults import FaultInjector
from minicarla.server.connections import ClientConnection, Listener, SocketConnection
from minicarla.server.loop import EventLoop
from minicarla.wire import stream, token

log = logging.getLogger("minicarla")

MAX_UNSENT_MESSAGES = 32 << 20
"""Bytes of a stream that one reader has not taken yet, beyond which new messages for it are dropped."""
STUCK_SECONDS = 4.0
"""How long a tick waits for a reader that takes nothing.  CARLA's client gives up after 5 s by default."""
MAX_ANNOUNCED = 512
"""Streams that one client may be about to open; more are not waited for."""
SUBSCRIBING_SECONDS = 10.0
"""How long a connection may stay open without saying which stream it reads."""
OPENING_SECONDS = 2.0
"""How long a tick waits at most for streams that clients are opening.  Usually it takes milliseconds;
on a busy machine half a second was too short."""


class StreamConnection(SocketConnection):
    """A connection that reads one stream.  All that it ever sends is that stream's id."""

    def __init__(
        self,
        loop: EventLoop,
        sock: socket.socket,
        on_close: Callable[[SocketConnection], None],
        subscribed: Callable[[StreamConnection], None],
        taken: Callable[[StreamConnection], None],
    ) -> None:
        self.stream = 0  # until it has sent one
        self.owner: ClientConnection | None = None  # the client that asked for the stream
        self.dropped = 0  # messages
        self.progress = 0.0
        """``time.monotonic()`` when it took something last, or when there was something to take for it."""
        self._subscribed = subscribed
        self._taken = taken
        self._received = b""
        super().__init__(loop, sock, on_close)
        self._deadline = loop.call_at(time.monotonic() + SUBSCRIBING_SECONDS, self.close)

    def received(self, data: bytes) -> None:
        if self.stream:
            return  # the protocol ends with the id; anything else is ignored
        self._received += data[: stream.SUBSCRIPTION.size]
        if len(self._received) < stream.SUBSCRIPTION.size:
            return
        (self.stream,) = stream.SUBSCRIPTION.unpack_from(self._received)
        self._deadline.cancel()
        if self.stream:
            self._subscribed(self)
        else:
            self.close()

    def ready(self, events: int) -> None:
        unsent = self.unsent
        super().ready(events)
        if self.unsent < unsent:
            self.progress = time.monotonic()
            self._taken(self)

    @property
    def behind(self) -> bool:
        """Whether new messages are dropped."""
        return self.unsent > MAX_UNSENT_MESSAGES

    def publish(self, message: bytes) -> bool:
        """Send a message, or drop it when the reader has fallen too far behind; whether it was sent."""
        if self.behind:
            self.dropped += 1
            return False
        if not self.unsent:
            self.progress = time.monotonic()
        self.send(message)
        return True


class Streams:
    """Sends what a world publishes to those who read it (``world.outlet.Outlet``).

    port: where clients find the streams.
    faults: may withhold, drop or cut messages.
    sensor_type: blueprint id of the sensor that writes a stream; "" when there is none.
    """

    def __init__(self, faults: FaultInjector, sensor_type: Callable[[int], str]) -> None:
        self.port = 0
        self.readers: defaultdict[int, list[StreamConnection]] = defaultdict(list)
        self._faults = faults
        self._sensor_type = sensor_type
        self._announced: dict[ClientConnection, dict[int, float]] = {}
        """The streams that clients are about to open, and until when a tick waits for them."""
        self._unpunctual: WeakSet[ClientConnection] = WeakSet()
        """Clients that announced a stream and did not open it in time."""
        self._holding = False
        self._held: list[bytes] = []

    # ------------------------------------------------------------------ what the world uses

    def has_reader(self, stream_id: int) -> bool:
        """Whether anybody reads a stream."""
        return stream_id in self.readers

    def send(self, stream_id: int, *parts: bytes | memoryview) -> None:
        """Send one message, its parts joined, to all who read a stream."""
        if stream_id not in self.readers:
            return
        message = b"".join((stream.LENGTH.pack(sum(map(len, parts))), *parts))
        if self._holding and stream_id == stream.WORLD_STREAM:
            self._held.append(message)
        else:
            self._deliver(stream_id, message)

    def token(self, stream_id: int) -> bytes:
        """What tells a client where to read a stream."""
        return token.pack(stream_id, self.port)

    def _deliver(self, stream_id: int, message: bytes) -> None:
        if self._faults:
            fault = self._faults.on_message(self._names(stream_id), time.monotonic())
            if fault in ("stall", "drop"):
                return
            if fault == "half":
                message = message[: len(message) // 2]
            elif fault == "oversize":
                message = stream.LENGTH.pack(2**31 - 1) + message[stream.LENGTH.size :]
        for reader in tuple(self.readers.get(stream_id, ())):
            if not reader.publish(message) and reader.dropped == 1:
                log.warning(
                    "a client at %s reads stream %s (%s) too slowly and loses messages (this is logged once)",
                    *(reader.peer, *self._names(stream_id)),
                )

    def _names(self, stream_id: int) -> tuple[str, str]:
        named = "world" if stream_id == stream.WORLD_STREAM else self._sensor_type(stream_id)
        return str(stream_id), named

    @contextlib.contextmanager
    def snapshots_held(self) -> Iterator[None]:
        """Within the context snapshots are kept; they are sent at its end."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
            for message in self._held:
                self._deliver(stream.WORLD_STREAM, message)
            self._held.clear()

    # ------------------------------------------------------------------ readers that come and go

    def subscribed(self, reader: StreamConnection) -> None:
        """A connection has said which stream it reads."""
        self.readers[reader.stream].append(reader)
        for client, announced in self._announced.items():
            if announced.pop(reader.stream, None) is not None:
                reader.owner = client
                if not announced:
                    del self._announced[client]
                break

    def behind_until(self, client: ClientConnection) -> float:
        """Until when (``time.monotonic()``) a client's tick waits if its own readers take nothing meanwhile.

        0.0 when none of them is too far behind.
        """
        every = (reader for readers in self.readers.values() for reader in readers)
        behind = (reader.progress for reader in every if reader.behind and reader.owner is client)
        return max(behind, default=-STUCK_SECONDS) + STUCK_SECONDS

    def forget(self, connection: SocketConnection) -> None:
        """A reader, or a client that has announced streams, has gone."""
        if isinstance(connection, StreamConnection):
            readers = self.readers.get(connection.stream, [])
            if connection in readers:
                readers.remove(connection)
                if not readers:
                    del self.readers[connection.stream]
        elif isinstance(connection, ClientConnection):
            self._announced.pop(connection, None)

    def serves(self, stream_id: int) -> bool:
        """Whether there is anything that writes a stream."""
        return stream_id == stream.WORLD_STREAM or bool(self._sensor_type(stream_id))

    def announced(self, client: ClientConnection, stream_id: int) -> None:
        """A client has asked for a stream's token, so it will open the stream shortly."""
        announced = self._announced.setdefault(client, {})
        if len(announced) < MAX_ANNOUNCED:
            announced[stream_id] = time.monotonic() + OPENING_SECONDS

    def await_opening(
        self, client: ClientConnection, listener: Listener, connections: set[SocketConnection]
    ) -> None:
        """Wait for the streams that are being opened before a client's tick, :data:`OPENING_SECONDS` at most.

        CARLA's client opens its streams in a thread of its own.  What a tick sends to a stream that is not
        open yet is lost, and so is the snapshot which the client waits for after its first tick.

        A program may hold several clients, listen with one and tick with another.  So sensors' streams that
        other clients announced are waited for, too, unless the client has let a tick wait in vain before.
        """
        while opening := self._opening(client):
            left = max(opening.values()) - time.monotonic()
            if left <= 0.0:
                for late in opening:
                    del self._announced[late]
                    self._unpunctual.add(late)
                return
            with selectors.DefaultSelector() as selector:
                selector.register(listener.sock, selectors.EVENT_READ, listener.accept)
                for connection in connections:
                    if isinstance(connection, StreamConnection) and not connection.stream:
                        selector.register(connection.sock, selectors.EVENT_READ, connection.receive)
                for key, _ in selector.select(left):
                    key.data()

    def _opening(self, client: ClientConnection) -> dict[ClientConnection, float]:
        """The clients that a tick of ``client`` waits for, and until when (``time.monotonic()``)."""
        waits = {}
        for other, announced in self._announced.items():
            if other is client:
                waits[other] = max(announced.values())
            elif other not in self._unpunctual:
                sensors = [until for stream_id, until in announced.items() if self._sensor_type(stream_id)]
                if sensors:
                    waits[other] = max(sensors)
        return waits
