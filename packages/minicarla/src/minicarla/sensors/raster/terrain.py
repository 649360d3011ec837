"""Hills are flattened: cameras draw the ground as one level plane.

On a map that is not flat, the camera and everything that it sees are lowered by the height of the ground
under them and tilted by the slope there.  Near the camera, where the slope is the same, the picture is
right.  Beyond the crest of a hill the road goes on level instead of dropping out of sight.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from minicarla.bodies import Bodies
from minicarla.geometry import Pose
from minicarla.maps import RoadMap
from minicarla.sensors.cache import per_ground

Array = NDArray[np.float64]

_CELL = 4.0  # metres, at the least
_MOST_CELLS = 4_000_000
_LEVEL = 0.02  # metres: less is flat


class _Flattened:
    """Bodies with other positions and rotations; all other columns are those of the original."""

    def __init__(self, bodies: Bodies, position: Array, rotation: Array) -> None:
        self._bodies = bodies
        self.position, self.rotation = position, rotation

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bodies, name)

    def __len__(self) -> int:
        return len(self._bodies)


class Terrain:
    """Heights of the ground on a grid, from the points of the roads."""

    def __init__(self, roadmap: RoadMap) -> None:
        strips = [np.asarray(side) for s in roadmap.surfaces() for side in (s.left, s.right)]
        points = np.concatenate(strips) if strips else np.zeros((0, 3))
        self.flat = len(points) == 0 or float(np.abs(points[:, 2]).max()) < _LEVEL
        if self.flat:
            return
        x0, y0, x1, y1 = roadmap.bounds
        self._cell = max(_CELL, math.sqrt((x1 - x0) * (y1 - y0) / _MOST_CELLS))
        self._origin = np.array([x0, y0]) - 2 * self._cell
        shape = np.ceil((np.array([x1, y1]) - self._origin) / self._cell).astype(np.int64) + 3
        total = np.zeros(shape[::-1])
        count = np.zeros(shape[::-1])
        cell = np.rint((points[:, :2] - self._origin) / self._cell).astype(np.int64)
        np.add.at(total, (cell[:, 1], cell[:, 0]), points[:, 2])
        np.add.at(count, (cell[:, 1], cell[:, 0]), 1.0)
        known = count > 0
        # Other cells take the height of the nearest known cell.  Smoothing makes the slopes continuous.
        _, label = cv2.distanceTransformWithLabels(
            (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        heights = np.zeros(int(label.max()) + 1)
        heights[label[known]] = total[known] / count[known]
        self._height = cv2.GaussianBlur(heights[label], (0, 0), 1.0)

    def height(self, xy: Array) -> Array:
        """(n,) metres at ``xy`` (n, 2), bilinear."""
        if self.flat:
            return np.zeros(len(xy))
        at = (xy - self._origin) / self._cell
        limit = np.array(self._height.shape[::-1]) - 2
        low = np.clip(np.floor(at).astype(np.int64), 0, limit)
        f = np.clip(at - low, 0.0, 1.0)
        x, y = low.T
        grid = self._height
        top = grid[y, x] * (1 - f[:, 0]) + grid[y, x + 1] * f[:, 0]
        bottom = grid[y + 1, x] * (1 - f[:, 0]) + grid[y + 1, x + 1] * f[:, 0]
        mixed: Array = top * (1 - f[:, 1]) + bottom * f[:, 1]
        return mixed

    def flatten(self, bodies: Bodies, pose: Pose) -> tuple[Any, Pose]:
        """``bodies`` and ``pose`` as they are drawn.  On a flat map they are returned unchanged."""
        if self.flat:
            return bodies, pose
        where = np.concatenate([[[pose.x, pose.y, pose.z]], bodies.position])
        turn = np.concatenate([[[pose.pitch, pose.yaw, pose.roll]], bodies.rotation])
        yaw = np.deg2rad(turn[:, 1])
        ahead = np.stack([np.cos(yaw), np.sin(yaw)], axis=1) * 2.0
        aside = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)
        xy = where[:, :2]
        h = self.height(np.concatenate([xy, xy + ahead, xy - ahead, xy + aside, xy - aside])).reshape(5, -1)
        position, rotation = where.copy(), turn.copy()
        position[:, 2] -= h[0]
        rotation[:, 0] -= np.rad2deg(np.arctan((h[1] - h[2]) / 4.0))
        rotation[:, 2] += np.rad2deg(np.arctan((h[3] - h[4]) / 4.0))
        level = Pose(*position[0].tolist(), *rotation[0].tolist())
        return _Flattened(bodies, position[1:], rotation[1:]), level

    def flattened_statics(self, statics: list[Any]) -> Array:
        """(n, 3) centres of statics as they are drawn."""
        centre = np.array([s.centre for s in statics], dtype=np.float64).reshape(-1, 3)
        centre[:, 2] -= self.height(centre[:, :2])
        return centre


@per_ground
def terrain_of(roadmap: RoadMap) -> Terrain:
    """The map's terrain, measured once."""
    return Terrain(roadmap)
