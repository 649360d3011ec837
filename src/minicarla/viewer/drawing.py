"""The map as the page draws it: outlines from above, x right and y down, in metres."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicarla.maps import RoadMap

SMALLEST = 0.6  # metres: boxes whose half sizes are both below are not drawn


def drawing(roadmap: RoadMap) -> dict[str, Any]:
    """JSON: strips of ground by kind, painted lines by colour, boxes, and the bounds."""
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
            turn = math.radians(static.yaw)
            axes = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
            corners = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * half @ axes + static.centre[:2]
            boxes.append({"kind": static.kind, "colour": list(static.colour), "outline": _flat(corners)})
    return {
        "name": roadmap.name,
        "bounds": list(roadmap.bounds),
        "ground": ground,
        "paint": paint,
        "boxes": boxes,
    }


def _flat(points: NDArray[np.float64]) -> list[float]:
    return np.round(np.asarray(points, dtype=np.float64), 2).ravel().tolist()
