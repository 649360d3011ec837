"""Drawings of CARLA's ``world.debug``, on the wire ``[[index, fields], colour, life_time, persistent]``."""

from __future__ import annotations

from typing import Any, NamedTuple

from minicarla.wire.schema import WireError, reader
from minicarla.wire.structs import BoundingBox, DebugShape, Rotation, Vector3D


class DebugPoint(NamedTuple):
    location: Vector3D
    size: float


class DebugLine(NamedTuple):
    begin: Vector3D
    end: Vector3D
    thickness: float


class DebugArrow(NamedTuple):
    line: DebugLine
    head: float


class DebugBox(NamedTuple):
    box: BoundingBox
    rotation: Rotation
    thickness: float


class DebugString(NamedTuple):
    location: Vector3D
    text: str
    shadow: bool


Primitive = DebugPoint | DebugLine | DebugArrow | DebugBox | DebugString
_SHAPES = (DebugPoint, DebugLine, DebugArrow, DebugBox)
TABLE: tuple[type, ...] = (*_SHAPES, DebugString, *_SHAPES)
"""The fields of a drawing by its index on the wire.  The last four are those of ``draw_hud_*``."""


def read(shape: object) -> DebugShape:
    """A drawing from decoded msgpack, with a primitive of ``TABLE``; :class:`WireError` if malformed."""
    drawn: DebugShape = reader(DebugShape)(shape)
    variant = drawn.primitive
    if type(variant) is not list or len(variant) != 2 or type(variant[0]) is not int:
        raise WireError("expected a drawing [index, fields]")
    if not 0 <= variant[0] < len(TABLE):
        raise WireError(f"no drawing has the index {variant[0]}")
    return drawn._replace(primitive=reader(TABLE[variant[0]])(variant[1]))


def write(shape: DebugShape) -> list[Any]:
    """A drawing as :func:`read` reads it."""
    return [[TABLE.index(type(shape.primitive)), shape.primitive], *shape[1:]]
