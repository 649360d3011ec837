"""The other end of the wire: a small client for tools, which reads what a server sends.

It speaks what :mod:`minicarla.wire.rpc` and :mod:`minicarla.wire.stream` describe, and no
more; programs use CARLA's own client.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import msgpack

from minicarla.wire import rpc, stream, structs, token
from minicarla.wire.schema import reader

MAX_MESSAGE = 256 << 20
"""Bytes of the longest message that is taken from a stream."""


class CallError(RuntimeError):
    """The server refused a call; the message is its own."""


class Caller:
    """Calls procedures over one connection, one at a time, from any thread.

    Raises OSError when there is no server, or it does not answer within ``timeout`` seconds.
    """

    def __init__(self, host: str, port: int, timeout: float = 5.0) -> None:
        self.host = host
        self._sock = socket.create_connection((host, port), timeout=timeout)
        self._unpacker = msgpack.Unpacker(max_buffer_size=MAX_MESSAGE)
        self._lock = threading.Lock()
        self._id = 0

    def call(self, name: str, *arguments: Any, result: Any = Any) -> Any:
        """Call ``name``; ``result`` is the type hint of a function's value, see ``schema.reader``.

        Raises:
            CallError: the server refused.
            OSError: the connection is lost.
            WireError: the answer is not of that type.
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
    """Reads one stream in a thread of its own and hands every message to a function.

    ``taken(message)`` gets header and body; ``ended()`` is called once, when the stream is over.

    Raises OSError or CallError when there is no such stream.
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
                    raise ValueError("no message has this length")
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
