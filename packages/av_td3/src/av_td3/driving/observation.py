"""The observation: what the agent sees, how it is scaled, and how to read it back.

``image``: uint8 (frame_stack, size, size), grayscale, oldest picture first.

``vector``: float32 (3 + 2 N,), N = ``route.waypoints``, each entry about in [-1, 1] and
clipped to [-2, 2]:

| entry | quantity | unit of 1.0 |
| --- | --- | --- |
| 0 | speed | ``SPEED_SCALE`` m/s |
| 1 | lateral deviation, right positive | ``termination.off_road_m`` metres |
| 2 | heading error, positive right of the lane | pi radians |
| 3 + 2k | x (ahead) of route point k in the car's frame | ``(k + 1) * waypoint_spacing_m`` metres |
| 4 + 2k | y (right) of it | the same |

The unit of a route point is its own distance along the route: the near points, which steer the
car, count as much as the far ones.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from av_td3.config import EnvConfig
from av_td3.driving.errors import InvalidActionError

SPEED_SCALE = 15.0
"""m/s that read 1.0 in the vector."""
LIMIT = 2.0
"""Every entry of the vector is clipped to +-this."""


Observation = dict[str, NDArray[Any]]
"""``{"image": ..., "vector": ...}``, as described above."""


def empty(config: EnvConfig) -> Observation:
    """An observation whose arrays are yet to be written."""
    camera = config.camera
    return {
        "image": np.empty((camera.frame_stack, camera.size, camera.size), np.uint8),
        "vector": np.empty(config.vector_size, np.float32),
    }


def observation_space(config: EnvConfig) -> gymnasium.spaces.Dict:
    """The Dict space of ``image`` and ``vector``."""
    camera = config.camera
    return gymnasium.spaces.Dict(
        {
            "image": gymnasium.spaces.Box(0, 255, (camera.frame_stack, camera.size, camera.size), np.uint8),
            "vector": gymnasium.spaces.Box(-LIMIT, LIMIT, (config.vector_size,), np.float32),
        }
    )


def action_space() -> gymnasium.spaces.Box:
    """steer (positive right), then throttle (positive) or brake (negative); float32 in [-1, 1]."""
    return gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)


def check_action(action: ArrayLike) -> NDArray[np.float32]:
    """The action as (2,) float32, clipped to [-1, 1].

    This is the one place where actions are checked.  Whatever sends an action to a simulator calls
    it once: ``SupervisedEnv.send``, and ``CarlaDrivingEnv.step`` where that is used by itself.

    Raises:
        InvalidActionError: it has another shape, or is not finite.
    """
    values = np.asarray(action, dtype=np.float32)
    if values.shape != (2,):
        raise InvalidActionError(
            f"an action has shape (2,): steer, then throttle or brake; this one has shape {values.shape}"
        )
    if not np.isfinite(values).all():
        raise InvalidActionError(f"action {values.tolist()} is not finite; it was not sent to the simulator")
    return np.clip(values, -1.0, 1.0)


def grayscale(bgra: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(height, width, 4) BGRA picture as (size, size) luminance, shrunk by area."""
    gray = cv2.cvtColor(bgra, cv2.COLOR_BGRA2GRAY)
    if gray.shape != (size, size):
        gray = cv2.resize(gray, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(gray, np.uint8)


class FrameStack:
    """The last pictures; at an episode's start the first one repeated.

    A ring: a new picture overwrites the oldest, and nothing else is moved.
    """

    def __init__(self, count: int, size: int) -> None:
        self._ring: NDArray[np.uint8] = np.zeros((count, size, size), np.uint8)
        self._oldest = 0

    def reset(self, picture: NDArray[np.uint8]) -> None:
        """Begin an episode with this picture."""
        self._ring[:] = picture

    def push(self, picture: NDArray[np.uint8]) -> None:
        """Take the next picture, drop the oldest."""
        self._ring[self._oldest] = picture
        self._oldest = (self._oldest + 1) % len(self._ring)

    def write(self, stack: NDArray[np.uint8]) -> None:
        """Write the pictures, oldest first, into ``stack`` of shape (count, size, size)."""
        newer = len(self._ring) - self._oldest
        stack[:newer] = self._ring[self._oldest :]
        stack[newer:] = self._ring[: self._oldest]


def vector(
    config: EnvConfig,
    speed: float,
    lateral: float,
    heading_error: float,
    position: tuple[float, float],
    yaw: float,
    waypoints: NDArray[np.float64],
) -> NDArray[np.float32]:
    """The vector observation.

    Args:
        speed: m/s. lateral: metres. heading_error: radians.
        position, yaw: the car's, metres and radians in the map's frame.
        waypoints: (N, 2) points ahead, map frame.

    Raises:
        ValueError: the result is not finite.
    """
    spacing = config.route.waypoint_spacing_m
    offset = waypoints - np.asarray(position)
    cos, sin = math.cos(yaw), math.sin(yaw)
    distance = spacing * np.arange(1, len(waypoints) + 1)
    out = np.empty(3 + 2 * len(waypoints), np.float32)
    out[0] = speed / SPEED_SCALE
    out[1] = lateral / config.termination.off_road_m
    out[2] = heading_error / math.pi
    out[3::2] = (cos * offset[:, 0] + sin * offset[:, 1]) / distance
    out[4::2] = (cos * offset[:, 1] - sin * offset[:, 0]) / distance
    if not np.isfinite(out).all():
        raise ValueError("the simulator reported a pose or velocity that is not finite")
    return np.clip(out, -LIMIT, LIMIT)


class VectorReading(NamedTuple):
    """The vector observation in physical units."""

    speed: float
    """m/s"""
    lateral: float
    """metres, right positive"""
    heading_error: float
    """radians"""
    waypoints: NDArray[np.float64]
    """(N, 2) metres in the car's frame: ahead, right"""


def read_vector(config: EnvConfig, values: NDArray[np.float32]) -> VectorReading:
    """Inverse of :func:`vector`, up to its clipping."""
    points = np.asarray(values[3:], np.float64).reshape(-1, 2)
    distance = config.route.waypoint_spacing_m * np.arange(1, len(points) + 1)
    return VectorReading(
        float(values[0]) * SPEED_SCALE,
        float(values[1]) * config.termination.off_road_m,
        float(values[2]) * math.pi,
        points * distance[:, None],
    )
