"""Height and slope of the ground."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minicarla.maps import Lane, RoadMap

Floats = NDArray[np.float64]

_SPACING = 1.0  # metres between the sampled points of each lane
_STEEP = 3.0
"""How much more a metre of height counts than a metre on the plane: it tells bridges from roads below."""
_FAR = 20.0  # metres: further away from every lane the ground is taken to be where the body is


class Ground:
    """Height of the road under a body: that of the centre line of the nearest lane, on the nearest level.

    ``flat`` is True for maps whose lanes all lie at height 0, and for maps that offer no lanes.
    """

    def __init__(self, roadmap: RoadMap) -> None:
        lanes = [
            lane for lane in getattr(roadmap, "lanes", ()) if lane.kind == "driving" and lane.s[-1] > 0.0
        ]
        self.flat = not any(lane.points[:, 2].any() for lane in lanes)
        if self.flat:
            return
        from scipy.spatial import cKDTree  # takes a third of a server's start; flat maps do not need it

        parts = [_sampled(lane) for lane in lanes]
        self._points = np.concatenate([points for points, _ in parts])
        self._slope = np.concatenate([slope for _, slope in parts])
        self._tree = cKDTree(self._points * (1.0, 1.0, _STEEP))

    def under(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
        """(height, dz/dx, dz/dy) of the ground at bodies' places (n,), given their own heights z (n,)."""
        away, k = self._tree.query(np.stack([x, y, _STEEP * z], axis=1))
        near = away < _FAR
        east, south = np.ascontiguousarray((self._slope[k] * near[:, None]).T)
        dx, dy = x - self._points[k, 0], y - self._points[k, 1]
        height = np.where(near, self._points[k, 2] + east * dx + south * dy, z)
        return height, east, south


def _sampled(lane: Lane) -> tuple[Floats, Floats]:
    """Points (n, 3) along a lane, and the slope (n, 2) of the ground there, which is that along the lane."""
    s = np.linspace(0.0, lane.s[-1], max(2, round(lane.s[-1] / _SPACING) + 1))
    points = np.stack([np.interp(s, lane.s, lane.points[:, axis]) for axis in range(3)], axis=1)
    step = np.gradient(points, axis=0)
    level = np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-9)
    return points, step[:, :2] * (step[:, 2] / level**2)[:, None]
