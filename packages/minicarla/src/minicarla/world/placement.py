"""Whether there is room for a box: boxes turned about the vertical axis, with their height."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minicarla.bodies import Bodies
from minicarla.geometry import Pose, rotation_matrix
from minicarla.maps import StaticBox

Floats = NDArray[np.float64]


def overlaps(
    centre: Sequence[float] | Floats,
    extent: Sequence[float] | Floats,
    yaw: float,
    centres: Floats,
    extents: Floats,
    yaws: Floats,
) -> NDArray[np.bool_]:
    """Which of the n boxes overlap the one box.

    ``centres`` and ``extents`` (half sizes) are (n, 3) metres, ``yaws`` (n,) degrees; pitch
    and roll are ignored.  Boxes that only touch do not overlap.  Separating axis test on the plane.
    """
    if not len(centres):
        return np.zeros(0, np.bool_)
    delta = centres[:, :2] - np.asarray(centre[:2])
    apart = np.abs(centres[:, 2] - centre[2]) >= extents[:, 2] + extent[2]
    own = math.radians(yaw)
    other = np.radians(yaws)
    cos, sin = np.abs(np.cos(other - own)), np.abs(np.sin(other - own))
    length, width = extents[:, 0], extents[:, 1]
    for axis_x, axis_y, reach in (
        (math.cos(own), math.sin(own), extent[0] + length * cos + width * sin),
        (-math.sin(own), math.cos(own), extent[1] + length * sin + width * cos),
        (np.cos(other), np.sin(other), length + extent[0] * cos + extent[1] * sin),
        (-np.sin(other), np.cos(other), width + extent[0] * sin + extent[1] * cos),
    ):
        apart |= np.abs(delta[:, 0] * axis_x + delta[:, 1] * axis_y) >= reach
    return ~apart


class FreeSpace:
    """Where in a world there is room for another box.

    bodies: what moves is in the way, and so are the solid boxes of the map, see :meth:`take`.
    """

    NEAR = 30.0
    """Metres, from centre to centre, within which bodies are looked at."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.take(())

    def take(self, statics: Sequence[StaticBox]) -> None:
        """From now on these are the boxes of the map."""
        solid = [box for box in statics if box.solid]
        self._solid = (
            np.array([box.centre for box in solid], np.float64).reshape(-1, 3),
            np.array([box.extent for box in solid], np.float64).reshape(-1, 3),
            np.array([box.yaw for box in solid], np.float64),
        )

    def fits(self, pose: Pose, centre: Sequence[float], extent: Sequence[float]) -> bool:
        """Whether a box at ``pose`` would overlap nothing that moves and nothing solid.

        centre: of the box in the frame of ``pose``.  extent: half sizes.  Metres.
        """
        middle = np.array(pose[:3]) + rotation_matrix(*pose[3:]) @ np.asarray(centre)
        bodies = self._bodies
        if len(bodies):
            near = (np.hypot(*(bodies.position[:, :2] - middle[:2]).T) < self.NEAR) & ~bodies.intangible
            yaws = bodies.rotation[near, 1]
            centres = bodies.position[near] + _turned(bodies.centre[near], yaws)
            if overlaps(middle, extent, pose.yaw, centres, bodies.extent[near], yaws).any():
                return False
        return not overlaps(middle, extent, pose.yaw, *self._solid).any()


def _turned(offsets: Floats, yaws: Floats) -> Floats:
    """(n, 3) offsets turned by (n,) yaws in degrees."""
    cos, sin = np.cos(np.radians(yaws)), np.sin(np.radians(yaws))
    x, y, z = offsets.T
    return np.stack([x * cos - y * sin, x * sin + y * cos, z], axis=1)
