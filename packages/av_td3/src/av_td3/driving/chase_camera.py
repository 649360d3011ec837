"""The camera behind the car whose pictures ``render`` returns, and the planned route drawn into them."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

VIDEO_SIZE = (480, 270)
"""Width and height in pixels."""
FOV = 90.0
"""Horizontal field of view, degrees."""
POSE = (-6.5, 3.2, -14.0)
"""Where it is mounted: metres ahead of the car's origin, metres above it, pitch in degrees."""
FIRST, LAST = 6.0, 60.0
"""The route is drawn from this many metres ahead of the car, where its bonnet no longer hides the road."""
HALF_WIDTH = 0.35
"""Metres on either side of the lane's centre that the drawn route covers."""
COLOUR, OPACITY = (70, 220, 120), 0.45


def project(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2) pixels of (n, 2) points of the road, given in the car's frame: metres ahead, metres right.

    The road is taken to be the plane on which the car stands.  Points must lie ahead of the camera.
    """
    x, height, pitch = POSE
    sin, cos = math.sin(math.radians(pitch)), math.cos(math.radians(pitch))
    ahead, up = points[:, 0] - x, -height
    depth = ahead * cos + up * sin
    focal = VIDEO_SIZE[0] / 2 / math.tan(math.radians(FOV / 2))
    column = VIDEO_SIZE[0] / 2 + focal * points[:, 1] / depth
    row = VIDEO_SIZE[1] / 2 - focal * (up * cos - ahead * sin) / depth
    return np.stack([column, row], axis=1)


def draw_route(picture: NDArray[np.uint8], path: NDArray[np.float64]) -> None:
    """Draw the planned route into a (270, 480, 3) RGB picture, as a translucent band on the road.

    Args:
        path: (n, 2) points of the route in the car's frame, metres ahead and right, in driving order.
    """
    ahead = path[:, 0] > FIRST
    if not ahead.any():
        return
    start = int(np.argmax(ahead))
    # A route that turns back behind the camera cannot be projected: stop there.
    behind = np.flatnonzero(~(path[start:, 0] > 1.0))
    path = path[start : start + int(behind[0])] if len(behind) else path[start:]
    if len(path) < 2:
        return
    along = np.gradient(path, axis=0)
    side = np.stack([-along[:, 1], along[:, 0]], axis=1)
    side *= HALF_WIDTH / np.maximum(np.hypot(side[:, 0], side[:, 1]), 1e-6)[:, None]
    outline = project(np.concatenate([path - side, (path + side)[::-1]]))
    painted = picture.copy()
    fixed_point = np.round(np.clip(outline, -2000, 2000) * 16).astype(np.int32)
    cv2.fillPoly(painted, [fixed_point], COLOUR, cv2.LINE_AA, shift=4)
    cv2.addWeighted(painted, OPACITY, picture, 1 - OPACITY, 0, dst=picture)
