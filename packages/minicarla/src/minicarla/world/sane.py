"""Checks of what clients send: values that are not finite, or absurdly large."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minicarla.geometry import Pose
from minicarla.world.outlet import CarlaError

LIMIT = 1e6
"""Metres from the origin.  Poses further away are refused: they only come from mistakes."""
FASTEST = 1e4
"""m/s and degrees/s; velocities are clipped to it."""


def finite(*values: float) -> bool:
    """Whether all values are finite."""
    return all(map(math.isfinite, values))


def bounded(value: float, low: float, high: float) -> float:
    """``value`` clipped to the range; NaN counts as 0."""
    if math.isnan(value):
        value = 0.0
    return min(max(value, low), high)


def sane_pose(pose: Pose) -> Pose:
    """The pose, with angles of more than two turns reduced.

    CarlaError when it is not finite, or further than :data:`LIMIT` from the origin.
    """
    if not finite(*pose) or max(map(abs, pose[:3])) > LIMIT:
        raise CarlaError("Responding error: the transform is not finite or out of range")
    if max(map(abs, pose[3:])) > 720.0:
        return Pose(*pose[:3], *(math.fmod(angle, 360.0) for angle in pose[3:]))
    return pose


def clipped(vector: Sequence[float] | NDArray[np.float64], limit: float) -> NDArray[np.float64] | None:
    """The vector (3,) with each component clipped to the limit; None when one is not finite."""
    return np.clip(np.asarray(vector, np.float64), -limit, limit) if finite(*vector) else None


def colour(text: str) -> tuple[int, int, int]:
    """(r, g, b) of CARLA's text "r,g,b"; grey when the text is something else."""
    try:
        r, g, b = (min(255, max(0, int(part))) for part in text.split(","))
    except ValueError:
        return 128, 128, 128
    return r, g, b
