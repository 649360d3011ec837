"""Remote procedure calls as CARLA's rpclib speaks them: msgpack objects, one after another, over TCP.

Request ``[0, id, name, [metadata, arguments...]]``, reply ``[1, id, nil, result]``.
CARLA wraps results.  A call with a value answers ``[[1, value]]``, or ``[[0, [message]]]`` when it fails.
A call without a value answers ``[[false]]``, or ``[[true, [message]]]`` when it fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack

from minicarla.wire.schema import WireError

MAX_MESSAGE = 64 << 20
"""Bytes of the largest request.  The largest that clients send hold the text of an OpenDRIVE map."""

MAX_ITEMS = 1 << 16
"""Items of the longest array in a request.

msgpack reserves memory for the items that an array header announces, before they arrive.  So this limits
how much memory a few hostile bytes can take.
"""

REQUEST = 0
REPLY = 1


class Request(NamedTuple):
    """A call of a remote procedure."""

    id: int
    name: str
    arguments: list[Any]
    waits: bool = True  # False: the client does not wait for the reply and ignores it


class Requests:
    """Parses the requests of one connection as their bytes arrive.

    Their size is limited by :data:`MAX_MESSAGE` and :data:`MAX_ITEMS`, their nesting by msgpack itself
    (1024 levels).
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
        """Bytes that have been received and are not part of a complete request yet."""
        return self._fed - int(self._unpacker.tell())

    def feed(self, data: bytes) -> None:
        """Add received bytes; :class:`WireError` when a request becomes larger than :data:`MAX_MESSAGE`."""
        try:
            self._unpacker.feed(data)
        except msgpack.exceptions.BufferFull:
            raise WireError(f"a request of more than {MAX_MESSAGE} bytes") from None
        self._fed += len(data)

    def next(self) -> Request | None:
        """The next complete request, or None; :class:`WireError` when the bytes are not a request."""
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


_pack: Callable[[object], bytes] = msgpack.Packer(use_bin_type=True, autoreset=True).pack


def reply(request_id: int, result: object) -> bytes:
    """The bytes of a reply.  ``result`` has been wrapped already."""
    return _pack((REPLY, request_id, None, result))


def value(result: object) -> object:
    """The wrapped result of a call with a value."""
    return ((1, result),)


def value_error(message: str) -> object:
    """The wrapped failure of a call with a value: the client raises ``RuntimeError(message)``."""
    return ((0, (message,)),)


VOID: object = ((False,),)
"""The wrapped result of a call without a value."""


def void_error(message: str) -> object:
    """The wrapped failure of a call without a value; a client that waits for it raises ``RuntimeError``."""
    return ((True, (message,)),)


def refusal(result: object) -> str | None:
    """The message of a wrapped failure; None for the result of a call that was carried out."""
    match result:
        case ((kind, (str(message),)),) if kind is True or (kind == 0 and kind is not False):
            return message
    return None
