"""Making sense of what clients send: numbers that are none, or beyond reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicarla.geometry import Transform
from minicarla.world.outlet import CarlaError

LIMIT = 1e6  # metres; poses further out are refused, they only come from mistakes
FASTEST = 1e4  # m/s, deg/s; more is clipped


def finite(*values: float) -> bool:
    """Whether all are finite."""
    return all(map(math.isfinite, values))


def bounded(value: float, low: float, high: float) -> float:
    """``value`` clipped; 0 (or the nearest bound) when it is no number."""
    if math.isnan(value):
        value = 0.0
    return min(max(value, low), high)


def sane_pose(pose: Transform) -> Transform:
    """The pose with its angles folded where they are many turns; CarlaError when it is not finite,
    or absurdly far out."""
    if not finite(*pose) or max(map(abs, pose[:3])) > LIMIT:
        raise CarlaError("Responding error: the transform is not finite or out of range")
    if max(map(abs, pose[3:])) > 720.0:
        return Transform(*pose[:3], *(math.fmod(angle, 360.0) for angle in pose[3:]))
    return pose


def clipped(vector: Sequence[float], limit: float) -> Any:
    """The vector (3,) with each part within the limit; None when a part is no number."""
    return np.clip(vector, -limit, limit) if finite(*vector) else None


def colour(text: str) -> tuple[int, int, int]:
    """(r, g, b) of CARLA's "r,g,b"; grey when it is none."""
    try:
        r, g, b = (min(255, max(0, int(part))) for part in text.split(","))
    except ValueError:
        return 128, 128, 128
    return r, g, b
