"""Remote procedure calls as CARLA's rpclib speaks them: msgpack objects, one after another, over TCP.

Request ``[0, id, name, [metadata, arguments...]]``, reply ``[1, id, nil, result]``.
CARLA wraps results.  A call with a value answers ``[[1, value]]``, or ``[[0, [message]]]`` when it fails.
A call without a value answers ``[[false]]``, or ``[[true, [message]]]`` when it fails.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack

from minicarla.wire.schema import WireError

MAX_MESSAGE = 64 << 20
"""Bytes of the largest request.  The largest that clients send hold the text of an OpenDRIVE map."""

MAX_ITEMS = 1 << 16
"""Items of the longest list in arguments that are decoded.

It limits how long one request keeps the others waiting: a batch of so many commands takes 0.1 to 0.4 s.
"""

REQUEST = 0
REPLY = 1

_PARTS = 4
_SMALL = {"max_str_len": 256, "max_bin_len": 0, "max_array_len": 8, "max_map_len": 0, "max_ext_len": 0}
"""Limits of the parts that every request has."""
_ARRAY = struct.Struct(">BI")
_ARRAY_32 = 0xDD  # msgpack's type of an array whose length has 32 bits
_UNREADABLE = (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException)


class Request(NamedTuple):
    """A call of a remote procedure."""

    id: int
    name: str
    packed: bytes  # its arguments, a msgpack array
    waits: bool = True  # False: the client does not wait for the reply and ignores it

    def arguments(self) -> list[Any]:
        """Decode the arguments; :class:`WireError` when they are too long, or not what CARLA sends."""
        try:
            arguments: list[Any] = msgpack.unpackb(
                self.packed, max_array_len=MAX_ITEMS, max_map_len=0, max_ext_len=0
            )
        except _UNREADABLE as error:
            what = str(error) or type(error).__name__
            raise WireError(f"the arguments cannot be read: {what}") from None
        return arguments


class Requests:
    """Parses the requests of one connection as their bytes arrive.

    Their size is limited by :data:`MAX_MESSAGE`, their nesting by msgpack itself (1024 levels).

    The arguments are only searched for their end.  Procedures that minicarla does not have never decode them:
    a texture has millions of items.  And a call whose arguments cannot be decoded still has an id, so that it
    is answered.  If its connection were closed instead, CARLA's client would never connect again.
    """

    def __init__(self) -> None:
        self._scanner = msgpack.Unpacker(max_buffer_size=MAX_MESSAGE)
        """Finds where requests end, and keeps nothing of them."""
        self._reader = msgpack.Unpacker(max_buffer_size=MAX_MESSAGE, **_SMALL)
        """Stands at the next request."""
        self._fed = 0
        self._begun = False  # whether its header has been read

    @property
    def pending(self) -> int:
        """Bytes that have been received and are not part of a request that was taken."""
        return self._fed - int(self._reader.tell())

    def feed(self, data: bytes) -> None:
        """Add received bytes; :class:`WireError` when a request becomes larger than :data:`MAX_MESSAGE`."""
        try:
            self._scanner.feed(data)
            self._reader.feed(data)
        except msgpack.exceptions.BufferFull:
            raise WireError(f"a request of more than {MAX_MESSAGE} bytes") from None
        self._fed += len(data)

    def next(self) -> Request | None:
        """The next complete request, or None; :class:`WireError` when the bytes are not a request."""
        try:
            if not self._begun:
                size = self._reader.read_array_header()
                if size != _PARTS:
                    raise ValueError(f"{size} parts")
                self._begun = True
            self._scanner.skip()
            self._begun = False
            return self._read()
        except msgpack.exceptions.OutOfData:
            return None
        except _UNREADABLE as error:
            what = str(error) or type(error).__name__
            raise WireError(f"not a request [0, id, name, [metadata, ...]]: {what}") from None

    def _read(self) -> Request:
        reader = self._reader
        kind, number, name = reader.unpack(), reader.unpack(), reader.unpack()
        if kind != REQUEST or type(number) is not int or type(name) is not str:
            raise ValueError(f"{kind!r}, {number!r}, {name!r}")
        count = reader.read_array_header()
        waits = not count or reader.unpack() != [True]
        packed = reader.read_bytes(self._scanner.tell() - reader.tell())
        return Request(number, name, _ARRAY.pack(_ARRAY_32, max(0, count - 1)) + packed, waits)


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
