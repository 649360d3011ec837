"""Readers and writers of wire data, made from type hints.

A structure on the wire is a msgpack array of its fields in order.  In Python it is a ``NamedTuple``,
which msgpack packs as an array.  :func:`reader` makes a function from a type hint: it checks decoded
msgpack data and converts it to that type.

A hint is one of ``float int bool str bytes``, ``list[T]``, ``tuple[A, B, C]``, ``T | None`` (CARLA's
optional, on the wire ``[false]`` or ``[true, value]``), ``Any`` (not checked), or a NamedTuple of these.
As with CARLA's own library, an array may be longer than the structure: the rest is ignored.  It may be
shorter where the missing fields have defaults.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

Read = Callable[[object], Any]
Write = Callable[[Any], Any]


class WireError(ValueError):
    """Data that does not have the shape which the protocol prescribes."""


def _mismatch(expected: str, value: object) -> WireError:
    return WireError(f"expected {expected}, got {type(value).__name__}")


_FLOAT32_MAX = 3.4028234663852886e38
"""CARLA's client sends float32, so it cannot send a larger finite number."""


def _read_float(value: object) -> float:
    if type(value) is not float and type(value) is not int:
        raise _mismatch("a number", value)
    number = float(value)
    if _FLOAT32_MAX < abs(number) < math.inf:
        raise WireError(f"{number:g} is out of range")
    return number


def _read_int(value: object) -> int:
    if type(value) is int:
        return value
    raise _mismatch("an integer", value)


def _read_bool(value: object) -> bool:
    if type(value) is bool:
        return value
    raise _mismatch("a boolean", value)


def _read_str(value: object) -> str:
    if type(value) is str:
        return value
    raise _mismatch("a string", value)


def _read_bytes(value: object) -> bytes:
    if type(value) is bytes:
        return value
    raise _mismatch("bytes", value)


_SCALARS: dict[Any, Read] = {
    float: _read_float,
    int: _read_int,
    bool: _read_bool,
    str: _read_str,
    bytes: _read_bytes,
}


def _optional_item(hint: Any) -> Any | None:
    """``T`` when the hint is ``T | None``, else None."""
    if get_origin(hint) in (Union, types.UnionType):
        items = [item for item in get_args(hint) if item is not type(None)]
        if len(items) == 1:
            return items[0]
    return None


def _is_struct(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields")


@cache
def reader(hint: Any) -> Read:
    """A function that converts decoded msgpack data to the type of a hint.

    It raises :class:`WireError` when the data has another shape, and so says which field is wrong.
    """
    if hint is Any:
        return lambda value: value
    if hint in _SCALARS:
        return _SCALARS[hint]
    item = _optional_item(hint)
    if item is not None:
        return _optional_reader(reader(item))
    origin = get_origin(hint)
    if origin is list:
        return _list_reader(reader(get_args(hint)[0]))
    if origin is tuple:
        return _tuple_reader([reader(part) for part in get_args(hint)])
    if _is_struct(hint):
        return _struct_reader(hint)
    raise TypeError(f"no wire form for {hint!r}")


def _optional_reader(read: Read) -> Read:
    def read_optional(value: object) -> Any:
        if type(value) is list and value:
            if value[0] is False:
                return None
            if value[0] is True and len(value) == 2:
                return read(value[1])
        raise _mismatch("an optional value", value)

    return read_optional


def _list_reader(read: Read) -> Read:
    def read_list(value: object) -> list[Any]:
        if type(value) is not list:
            raise _mismatch("an array", value)
        return [read(item) for item in value]

    return read_list


def _tuple_reader(reads: list[Read]) -> Read:
    def read_tuple(value: object) -> tuple[Any, ...]:
        if type(value) is not list or len(value) < len(reads):
            raise _mismatch(f"an array of {len(reads)}", value)
        return tuple([read(item) for read, item in zip(reads, value, strict=False)])

    return read_tuple


def _struct_reader(struct: Any) -> Read:
    hints = get_type_hints(struct)
    names = struct._fields
    reads = [reader(hints[name]) for name in names]
    needed = len(names) - len(struct._field_defaults)

    def read_struct(value: object) -> Any:
        if type(value) is not list:
            raise _mismatch(f"{struct.__name__} as an array", value)
        if len(value) < needed:
            raise WireError(f"{struct.__name__} has {needed} fields, got {len(value)}")
        try:
            return struct(*[read(item) for read, item in zip(reads, value, strict=False)])
        except WireError as error:
            for name, read, item in zip(names, reads, value, strict=False):
                try:
                    read(item)
                except WireError:
                    raise WireError(f"{struct.__name__}.{name}: {error}") from None
            raise

    return read_struct


@cache
def writer(hint: Any) -> Write | None:
    """A function that converts a value of a hint's type to what msgpack packs; None: pack it as it is."""
    item = _optional_item(hint)
    if item is not None:
        write = writer(item)
        if write is None:
            return lambda value: (False,) if value is None else (True, value)
        inner = write
        return lambda value: (False,) if value is None else (True, inner(value))
    if get_origin(hint) is list:
        each = writer(get_args(hint)[0])
        return None if each is None else lambda value: [each(item) for item in value]
    if _is_struct(hint):
        hints = get_type_hints(hint)
        writes = [writer(hints[name]) for name in typing.cast(Any, hint)._fields]
        if any(writes):
            return lambda value: [
                part if write is None else write(part) for part, write in zip(value, writes, strict=True)
            ]
    return None
