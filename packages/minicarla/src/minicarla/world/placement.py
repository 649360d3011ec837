"""Whether there is room for a box: oriented boxes on the ground plane, with their height."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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
    and roll are left aside.  Touching does not count.  Separating axes on the plane.
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
