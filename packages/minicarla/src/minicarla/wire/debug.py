"""Drawings of CARLA's ``world.debug``: ``[[index, fields], colour, life_time, persistent]``."""

from __future__ import annotations

from typing import Any, NamedTuple

from minicarla.wire.schema import WireError, reader
from minicarla.wire.structs import BoundingBox, DebugShape, Rotation, Vector3D


class Point(NamedTuple):
    location: Vector3D
    size: float


class Line(NamedTuple):
    begin: Vector3D
    end: Vector3D
    thickness: float


class Arrow(NamedTuple):
    line: Line
    head: float


class Box(NamedTuple):
    box: BoundingBox
    rotation: Rotation
    thickness: float


class String(NamedTuple):
    location: Vector3D
    text: str
    shadow: bool


TABLE: tuple[type, ...] = (Point, Line, Arrow, Box, String, Point, Line, Arrow, Box)
"""Index on the wire -> fields; the last four are those of ``draw_hud_*``."""


def read(shape: Any) -> DebugShape:
    """A drawing from decoded msgpack, its primitive one of ``TABLE``; :class:`WireError` when it is none."""
    drawn: DebugShape = reader(DebugShape)(shape)
    variant = drawn.primitive
    if type(variant) is not list or len(variant) != 2 or type(variant[0]) is not int:
        raise WireError("expected a drawing [index, fields]")
    if not 0 <= variant[0] < len(TABLE):
        raise WireError(f"no drawing has the index {variant[0]}")
    return drawn._replace(primitive=reader(TABLE[variant[0]])(variant[1]))


def write(shape: DebugShape) -> list[Any]:
    """What :func:`read` reads."""
    return [[TABLE.index(type(shape.primitive)), shape.primitive], *shape[1:]]
