"""From a table of fields to a checked reader and a writer.

A structure on the wire is a msgpack array of its fields in order.  Here it is a
``NamedTuple``: the class *is* the table, and since a tuple packs as an array,
writing costs nothing.  :func:`reader` compiles a type hint into a function that
turns what msgpack decoded into that type, or raises :class:`WireError`.

Hints understood: ``float int bool str bytes``, ``list[T]``, ``tuple[T, ...]`` of
fixed length, ``T | None`` (CARLA's optional: ``[false]`` or ``[true, value]``),
``Any`` (passed through) and NamedTuples of these.  As with CARLA's own library,
an array may be longer than the structure (the rest is ignored), or shorter where
the missing fields have defaults.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

Read = Callable[[Any], Any]
Write = Callable[[Any], Any]


class WireError(ValueError):
    """Data of another shape than the protocol's."""


def _mismatch(expected: str, value: Any) -> WireError:
    return WireError(f"expected {expected}, got {type(value).__name__}")


_FLOAT32_MAX = 3.4028234663852886e38
"""Numbers go back to clients as float32; larger ones cannot have come from a CARLA client."""


def _read_float(value: Any) -> float:
    if type(value) is int:
        value = float(value)
    elif type(value) is not float:
        raise _mismatch("a number", value)
    if _FLOAT32_MAX < abs(value) < math.inf:
        raise WireError(f"{value:g} is out of range")
    return value


def _read_int(value: Any) -> int:
    if type(value) is int:
        return value
    raise _mismatch("an integer", value)


def _read_bool(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise _mismatch("a boolean", value)


def _read_str(value: Any) -> str:
    if type(value) is str:
        return value
    raise _mismatch("a string", value)


def _read_bytes(value: Any) -> bytes:
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
    """A function from decoded msgpack to ``hint``'s type; it raises :class:`WireError`."""
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
    def read_optional(value: Any) -> Any:
        if type(value) is list and value:
            if value[0] is False:
                return None
            if value[0] is True and len(value) == 2:
                return read(value[1])
        raise _mismatch("an optional value", value)

    return read_optional


def _list_reader(read: Read) -> Read:
    def read_list(value: Any) -> list[Any]:
        if type(value) is not list:
            raise _mismatch("an array", value)
        return [read(item) for item in value]

    return read_list


def _tuple_reader(reads: list[Read]) -> Read:
    def read_tuple(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) < len(reads):
            raise _mismatch(f"an array of {len(reads)}", value)
        return tuple([read(item) for read, item in zip(reads, value, strict=False)])

    return read_tuple


def _struct_reader(struct: Any) -> Read:
    hints = get_type_hints(struct)
    names = struct._fields
    reads = [reader(hints[name]) for name in names]
    needed = len(names) - len(struct._field_defaults)

    def read_struct(value: Any) -> Any:
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
    """A function from ``hint``'s type to what msgpack packs; None where that is the value itself."""
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
