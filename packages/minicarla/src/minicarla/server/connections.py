"""Sockets that never block: listening ones, connections, and the connections of clients that call."""

from __future__ import annotations

import errno
import ipaddress
import logging
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from minicarla.server.loop import EventLoop
from minicarla.wire import rpc
from minicarla.wire.schema import WireError

log = logging.getLogger("minicarla")

READ_BYTES = 1 << 18
MAX_UNSENT_REPLIES = 1 << 20
"""Bytes of unsent replies beyond which no further request of that client is read."""
MAX_PENDING_REQUESTS = 256 << 20
"""Bytes of unfinished requests, over all clients, beyond which their sender is disconnected."""
REQUESTS_PER_TURN = 256
"""Requests of one client that are answered before the other clients get their turn."""
UNAWAITED_REPLY_DELAY = 0.01
"""Seconds that a reply is held back when its client does not wait for it."""
NO_DESCRIPTOR_PAUSE = 1.0
"""Seconds in which nothing is accepted after the process had no file descriptor left.  What waits to be
accepted would wake the loop again at once."""


class SocketConnection:
    """A non-blocking connection with a queue of what has still to be written.

    on_close: called once, when the connection is closed by either side.
    """

    def __init__(
        self, loop: EventLoop, sock: socket.socket, on_close: Callable[[SocketConnection], None]
    ) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.loop = loop
        self.sock = sock
        self.peer: str = sock.getpeername()[0]
        self.closed = False
        self.unsent = 0  # bytes
        self._queue: deque[memoryview] = deque()
        self._on_close = on_close
        self._events = selectors.EVENT_READ
        loop.register(sock, self._events, self.ready)

    def ready(self, events: int) -> None:
        """Read and write what is possible now; ``events`` as the selector gives them."""
        if events & selectors.EVENT_WRITE:
            self._flush()
        if events & selectors.EVENT_READ and not self.closed:
            self.receive()

    def send(self, data: bytes | memoryview) -> None:
        """Write what fits now and queue the rest.  ``data`` must not change afterwards."""
        if self.closed:
            return
        if not self._queue:
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close()
                return
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        self._queue.append(memoryview(data))
        self.unsent += len(data)
        self._watch()

    def _flush(self) -> None:
        while self._queue:
            data = self._queue[0]
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            self.unsent -= sent
            if sent < len(data):
                self._queue[0] = data[sent:]
                return
            self._queue.popleft()
        self._watch()
        self.flushed()

    def _watch(self) -> None:
        events = selectors.EVENT_READ if self.wants_input() else 0
        if self._queue:
            events |= selectors.EVENT_WRITE
        if events != self._events and not self.closed:
            self._events = events
            self.loop.modify(self.sock, events, self.ready)

    def receive(self) -> None:
        """Read what has arrived."""
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.received(data)
        else:
            self.close()

    def wants_input(self) -> bool:
        """Whether to read on."""
        return True

    def received(self, data: bytes) -> None:
        """Take bytes that came in."""
        raise NotImplementedError

    def flushed(self) -> None:
        """Everything has been written."""

    def close(self) -> None:
        """Close the socket and forget what was to be written."""
        if self.closed:
            return
        self.closed = True
        self._queue.clear()
        self.unsent = 0
        self.loop.unregister(self.sock)
        self.sock.close()
        self._on_close(self)


class RequestHandler(Protocol):
    """What serves the requests of client connections: the server."""

    def handle(self, client: ClientConnection, request: rpc.Request) -> None:
        """Answer a request, now or later."""

    def announced(self, client: ClientConnection, stream_id: int) -> None:
        """The client is about to open a stream."""

    def inject_faults(self, spec: str) -> None:
        """Arm faults, see :mod:`minicarla.faults`; "" removes all."""

    def pending_bytes(self) -> int:
        """Bytes of unfinished requests over all clients."""


class ClientConnection(SocketConnection):
    """A connection over which a client calls remote procedures (``world.calls.registry.ClientSession``)."""

    def __init__(
        self,
        loop: EventLoop,
        sock: socket.socket,
        on_close: Callable[[SocketConnection], None],
        handler: RequestHandler,
    ) -> None:
        self.requests = rpc.Requests()
        self.seen = 0
        self._handler = handler
        self._unawaited = bytearray()
        super().__init__(loop, sock, on_close)

    def wants_input(self) -> bool:
        return self.unsent <= MAX_UNSENT_REPLIES

    def received(self, data: bytes) -> None:
        try:
            self.requests.feed(data)
            if self._handler.pending_bytes() > MAX_PENDING_REQUESTS:
                raise WireError("all clients together have sent too many unfinished requests")
        except WireError as error:
            self._refuse(error)
            return
        self.serve()

    def flushed(self) -> None:
        self.serve()

    def serve(self) -> None:
        """Answer the requests that have arrived, at most :data:`REQUESTS_PER_TURN` in one go."""
        for _ in range(REQUESTS_PER_TURN):
            if self.closed or not self.wants_input():
                return
            try:
                request = self.requests.next()
            except WireError as error:
                self._refuse(error)
                return
            if request is None:
                return
            self._handler.handle(self, request)
        self.loop.call_soon(self.serve)

    def _refuse(self, error: WireError) -> None:
        log.warning("closing a client's connection: %s", error)
        self.close()

    def reply(self, data: bytes, awaited: bool) -> None:
        """Send a reply.

        awaited: False when the client has gone on without waiting.  It has to get the reply all the same,
            or it would remember the call for ever, but it need not be woken for it.  Such a reply is sent
            together with the next awaited one, or after :data:`UNAWAITED_REPLY_DELAY`.
        """
        if awaited:
            if self._unawaited:
                data = bytes(self._unawaited) + data
                self._unawaited.clear()
            self.send(data)
            return
        if not self._unawaited:
            self.loop.call_at(time.monotonic() + UNAWAITED_REPLY_DELAY, self._send_unawaited)
        self._unawaited += data
        if len(self._unawaited) > MAX_UNSENT_REPLIES:
            self._send_unawaited()

    def _send_unawaited(self) -> None:
        if self._unawaited:
            self.send(bytes(self._unawaited))
            self._unawaited.clear()

    def announce(self, stream_id: int) -> None:
        self._handler.announced(self, stream_id)

    def inject_faults(self, spec: str) -> None:
        """Arm faults, "" to remove all; PermissionError for a client on another machine."""
        if not ipaddress.ip_address(self.peer).is_loopback:
            raise PermissionError("faults are accepted from clients on this machine only")
        self._handler.inject_faults(spec)


class Listener:
    """A listening socket that adds the connections it accepts to a set.

    full: why no further connection can be accepted now, "" if one can.
    """

    def __init__(
        self,
        loop: EventLoop,
        sock: socket.socket,
        connections: set[SocketConnection],
        connect: Callable[[socket.socket], SocketConnection],
        full: Callable[[], str],
    ) -> None:
        self.sock = sock
        self._loop = loop
        self._connections = connections
        self._connect = connect
        self._full = full
        self._said: set[str] = set()
        self._pausing = False
        sock.setblocking(False)
        sock.listen(128)
        self._watch()

    def _watch(self) -> None:
        self._pausing = False
        if self.sock.fileno() >= 0:
            self._loop.register(self.sock, selectors.EVENT_READ, lambda events: self.accept())

    def accept(self) -> None:
        """Accept one connection, if there is one."""
        try:
            sock, _ = self.sock.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._pause()
            return
        reason = self._full()
        if reason:
            self._say(f"connections are refused: {reason}")
            sock.close()
            return
        try:
            self._connections.add(self._connect(sock))
        except OSError:  # closed again by the other side
            sock.close()

    def _pause(self) -> None:
        self._say("connections wait to be accepted: this process can open no more files")
        if not self._pausing:  # a tick that waits for streams accepts, too
            self._pausing = True
            self._loop.unregister(self.sock)
            self._loop.call_at(time.monotonic() + NO_DESCRIPTOR_PAUSE, self._watch)

    def _say(self, text: str) -> None:
        """Log something once; a client that is refused may try again thousands of times a second."""
        if text not in self._said:
            self._said.add(text)
            log.warning("%s (this is logged once)", text)

    def close(self) -> None:
        """Stop listening; connections stay open."""
        self._loop.unregister(self.sock)
        self.sock.close()


def bind_pair(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Two sockets bound to a port and the next one; port 0 picks a free pair.

    Raises:
        OSError: a port is taken; the message names it.
    """
    for _ in range(64):
        try:
            first = _bind(host, port)
        except OSError as error:
            raise OSError(error.errno, f"port {port} of {host}: {error.strerror}") from None
        chosen = first.getsockname()[1]
        try:
            return first, _bind(host, chosen + 1)
        except (OSError, OverflowError) as error:
            first.close()
            if port == 0:
                continue
            reason = getattr(error, "strerror", None) or str(error)
            raise OSError(errno.EADDRINUSE, f"port {chosen + 1} of {host}: {reason}") from None
    raise OSError(errno.EADDRINUSE, f"no free pair of ports on {host}")


def _bind(host: str, port: int) -> socket.socket:
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock
