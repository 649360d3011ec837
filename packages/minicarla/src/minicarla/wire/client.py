"""A small client for minicarla's own tools.  Programs use CARLA's client.

It speaks the protocols of :mod:`minicarla.wire.rpc` and :mod:`minicarla.wire.stream`.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgpack

from minicarla.wire import rpc, stream, structs, token
from minicarla.wire.schema import reader

T = TypeVar("T")

MAX_MESSAGE = 256 << 20
"""Bytes of the longest message that is read from a stream."""


class CallError(RuntimeError):
    """The server refused a call.  The message is the server's."""


class Caller:
    """Calls remote procedures over one connection.  Threads that share it call one after the other.

    timeout: seconds to wait for the connection, and for every reply.

    Raises:
        OSError: there is no server at this address.
    """

    def __init__(self, host: str, port: int, timeout: float = 5.0) -> None:
        self.host = host
        self._sock = socket.create_connection((host, port), timeout=timeout)
        self._unpacker = msgpack.Unpacker(max_buffer_size=MAX_MESSAGE)
        self._lock = threading.Lock()
        self._id = 0

    @overload
    def call(self, name: str, *arguments: object) -> Any: ...

    @overload
    def call(self, name: str, *arguments: object, result: type[T]) -> T: ...

    def call(self, name: str, *arguments: object, result: Any = Any) -> Any:
        """Call a remote procedure and return its value; None when it has none.

        result: type of the value, see ``schema.reader``.  Without it the value is not checked.

        Raises:
            CallError: the server refused.
            OSError: the connection is lost, or there was no reply in time.
            WireError: the value has another type.
        """
        with self._lock:
            self._id += 1
            request = [rpc.REQUEST, self._id, name, [[False], *arguments]]
            self._sock.sendall(msgpack.packb(request, use_bin_type=True))
            answer = self._answer(self._id)
        kind, *rest = answer[0]
        if (kind is True) or (kind is not False and kind == 0):  # a procedure's, or a function's failure
            raise CallError(str(rest[0][0]))
        return reader(result)(rest[0]) if rest else None

    def _answer(self, wanted: int) -> Any:
        while True:
            for message in self._unpacker:
                if message[1] == wanted:
                    return message[3]
            data = self._sock.recv(1 << 18)
            if not data:
                raise ConnectionError("the server closed the connection")
            self._unpacker.feed(data)

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()


class Subscription:
    """Reads one stream in a thread of its own.

    taken: called with every message, header and body.
    ended: called once, when the stream is over.

    Raises:
        OSError, CallError: there is no such stream.
    """

    def __init__(
        self,
        caller: Caller,
        stream_id: int,
        taken: Callable[[bytes], None],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        # CARLA's client asks again before it opens any stream: another server may hold it.
        answer = caller.call("get_sensor_token", stream_id, result=structs.Token)
        stream_id, host, port = token.unpack(answer.data)
        self._taken, self._ended = taken, ended
        self._sock = socket.create_connection((host or caller.host, port), timeout=5.0)
        self._sock.sendall(stream.SUBSCRIPTION.pack(stream_id))
        self._sock.settimeout(None)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError, EOFError, struct.error, ValueError):
            while True:
                (length,) = stream.LENGTH.unpack(self._read(stream.LENGTH.size))
                if not stream.HEADER_SIZE <= length <= MAX_MESSAGE:
                    raise ValueError("impossible length of a message")
                self._taken(self._read(length))
        self._ended()

    def _read(self, count: int) -> bytes:
        data = bytearray(count)
        view, got = memoryview(data), 0
        while got < count:
            received = self._sock.recv_into(view[got:])
            if not received:
                raise EOFError
            got += received
        return bytes(data)

    def close(self) -> None:
        """Stop reading."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
