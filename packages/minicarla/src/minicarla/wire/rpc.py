"""msgpack-rpc as CARLA's rpclib speaks it: bare msgpack objects on a TCP stream.

Request ``[0, id, name, [metadata, arguments...]]``, reply ``[1, id, nil, result]``.
CARLA wraps results: a function's value is ``[[1, value]]`` or ``[[0, [message]]]``,
a procedure's ``[[false]]`` or ``[[true, [message]]]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack

from minicarla.wire.schema import WireError

MAX_MESSAGE = 64 << 20
"""Bytes of the largest request: the text of a very large OpenDRIVE map."""

MAX_ITEMS = 1 << 16
"""Items of the longest array in a request.  msgpack reserves the room that an array header
announces before the items arrive, so this bounds what a few hostile bytes can cost."""

REQUEST = 0
REPLY = 1


class Request(NamedTuple):
    id: int
    name: str
    arguments: list[Any]
    waits: bool = True  # False: the client has gone on, and will discard the answer


class Requests:
    """Incremental parser of one connection's requests.

    Nesting is bounded by msgpack's own stack (1024 levels), size by
    :data:`MAX_MESSAGE` and :data:`MAX_ITEMS`.
    """

    def __init__(self) -> None:
        self._unpacker = msgpack.Unpacker(
            raw=False,
            strict_map_key=True,
            max_buffer_size=MAX_MESSAGE,
            max_array_len=MAX_ITEMS,
            max_map_len=0,
            max_ext_len=0,
            unicode_errors="strict",
        )
        self._fed = 0

    @property
    def pending(self) -> int:
        """Bytes held that have not become a request yet."""
        return self._fed - self._unpacker.tell()

    def feed(self, data: bytes) -> None:
        """Add received bytes; :class:`WireError` when more than a message's worth is waiting."""
        try:
            self._unpacker.feed(data)
        except msgpack.exceptions.BufferFull:
            raise WireError(f"a request of more than {MAX_MESSAGE} bytes") from None
        self._fed += len(data)

    def next(self) -> Request | None:
        """The next whole request, or None; :class:`WireError` when the stream is not msgpack-rpc."""
        try:
            message = self._unpacker.unpack()
        except msgpack.exceptions.OutOfData:
            return None
        except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
            raise WireError(f"not msgpack that CARLA sends: {error or type(error).__name__}") from None
        if (
            type(message) is not list
            or len(message) != 4
            or message[0] != REQUEST
            or type(message[1]) is not int
            or type(message[2]) is not str
            or type(message[3]) is not list
        ):
            raise WireError("not a request [0, id, name, [metadata, ...]]")
        parameters = message[3]
        return Request(message[1], message[2], parameters[1:], not parameters or parameters[0] != [True])


_pack: Callable[[Any], bytes] = msgpack.Packer(use_bin_type=True, autoreset=True).pack


def reply(request_id: int, result: Any) -> bytes:
    """Bytes of the answer to a request, ``result`` being wrapped already."""
    return _pack((REPLY, request_id, None, result))


def value(result: Any) -> Any:
    """A function's answer."""
    return ((1, result),)


def value_error(message: str) -> Any:
    """A function's failure: ``RuntimeError(message)`` at the client."""
    return ((0, (message,)),)


VOID: Any = ((False,),)
"""A procedure's answer."""


def void_error(message: str) -> Any:
    """A procedure's failure: ``RuntimeError(message)`` at the client, where it waits for the answer."""
    return ((True, (message,)),)
