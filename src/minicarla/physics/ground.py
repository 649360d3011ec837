"""Height and slope of the ground."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Ground:
    """Height of the road under a point: that of the nearest lane's centre, the last known one beyond.

    ``flat`` is True for maps whose lanes all lie at height 0, and for maps that offer no lanes.
    """

    def __init__(self, roadmap: Any) -> None:
        lanes = getattr(roadmap, "driving", None) or []
        self.flat = not lanes or not hasattr(roadmap, "locate_many") or bool(getattr(roadmap, "flat", False))
        if self.flat:
            return
        self._roadmap = roadmap
        # One table for all lanes: lane ids are made part of the abscissa.
        self._stride = 1.0 + max(lane.length for lane in lanes)
        lanes = sorted(lanes, key=lambda lane: lane.id)
        self._at = np.concatenate([lane.s + lane.id * self._stride for lane in lanes])
        self._height = np.concatenate([lane.points[:, 2] for lane in lanes])
        grades = [
            np.gradient(lane.points[:, 2], np.maximum.accumulate(lane.s + _ramp(lane))) for lane in lanes
        ]
        yaws = [np.radians(lane.headings) for lane in lanes]
        self._east = np.concatenate([g * np.cos(a) for g, a in zip(grades, yaws, strict=True)])
        self._south = np.concatenate([g * np.sin(a) for g, a in zip(grades, yaws, strict=True)])

    def under(self, x: Floats, y: Floats, fallback: Floats) -> tuple[Floats, Floats, Floats]:
        """(height, dz/dx, dz/dy) at each point; ``fallback`` heights, no slope, off the map."""
        lane, s, _ = self._roadmap.locate_many(np.stack([x, y], axis=1))
        found = lane >= 0
        key = lane * self._stride + s
        height = np.where(found, np.interp(key, self._at, self._height), fallback)
        east = np.where(found, np.interp(key, self._at, self._east), 0.0)
        south = np.where(found, np.interp(key, self._at, self._south), 0.0)
        return height, east, south


def _ramp(lane: Any) -> Floats:
    """A hair's breadth a point, so that doubled points do not divide by zero."""
    return 1e-9 * np.arange(len(lane.s), dtype=np.float64)
