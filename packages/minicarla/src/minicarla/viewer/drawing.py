"""The map as the page draws it from above: x to the right, y down, in metres."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicarla.maps import RoadMap
from minicarla.wire import debug

SMALLEST = 0.6  # metres; boxes with smaller half sizes are not drawn


def drawing(roadmap: RoadMap) -> dict[str, Any]:
    """A map as JSON: strips of ground by kind, painted lines by colour, boxes, and bounds."""
    ground: dict[str, list[list[float]]] = {}
    for surface in roadmap.surfaces():
        outline = np.concatenate([surface.left[:, :2], surface.right[::-1, :2]])
        ground.setdefault(surface.kind, []).append(_flat(outline))
    paint: dict[str, list[list[float]]] = {}
    for marking in roadmap.markings():
        key = "#{:02x}{:02x}{:02x}".format(*marking.colour) + ("/" if marking.broken else "")
        paint.setdefault(key, []).append(_flat(marking.points[:, :2]))
    boxes = []
    for static in roadmap.statics:
        half = np.asarray(static.extent, dtype=np.float64)[:2]
        if max(half) >= SMALLEST:
            corners = _flat(_corners(half, static.yaw, np.asarray(static.centre[:2])))
            boxes.append({"kind": static.kind, "colour": list(static.colour), "outline": corners})
    return {
        "name": roadmap.name,
        "bounds": list(roadmap.bounds),
        "ground": ground,
        "paint": paint,
        "boxes": boxes,
    }


def drawn(shapes: list[Any]) -> list[dict[str, Any]]:
    """Drawings of ``world.debug`` as JSON, from what the procedure ``minicarla.drawings`` answers."""
    out = []
    for raw in shapes:
        shape = debug.read(raw)
        kind, points, size, text = _outline(shape.primitive)
        colour = list(shape.color)
        out.append({"kind": kind, "points": _flat(points), "size": size, "text": text, "colour": colour})
    return out


def _outline(primitive: debug.Primitive) -> tuple[str, NDArray[np.float64], float, str]:
    """Kind, points (n, 2), width in metres, and text of a drawing."""
    if isinstance(primitive, debug.DebugPoint):
        return "point", np.array([primitive.location[:2]]), primitive.size, ""
    if isinstance(primitive, debug.DebugString):
        return "text", np.array([primitive.location[:2]]), 0.0, primitive.text
    if isinstance(primitive, debug.DebugLine):
        return "line", np.array([primitive.begin[:2], primitive.end[:2]]), primitive.thickness, ""
    if isinstance(primitive, debug.DebugArrow):
        line = primitive.line
        return "arrow", np.array([line.begin[:2], line.end[:2]]), line.thickness, ""
    half, centre = primitive.box.extent[:2], primitive.box.location[:2]
    return "box", _corners(np.array(half), primitive.rotation.yaw, np.array(centre)), primitive.thickness, ""


def _corners(half: NDArray[np.float64], yaw: float, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, 2) corners of a rectangle turned by ``yaw`` degrees."""
    turn = math.radians(yaw)
    axes = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    corners: NDArray[np.float64] = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * half @ axes + centre
    return corners


def _flat(points: NDArray[np.float64]) -> list[float]:
    return np.round(np.asarray(points, dtype=np.float64), 2).ravel().tolist()
