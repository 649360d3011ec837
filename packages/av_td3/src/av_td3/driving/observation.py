"""The observation: what the agent sees, how it is scaled, and how to read it back.

``image``: uint8 (frame_stack, size, size), grayscale, oldest picture first.

``vector``: float32, each entry about in [-1, 1] and clipped to [-2, 2].  Which entries there are is a
matter of ``env.observation``; they come in this order.  With the defaults these are the first four
rows, 3 + 2 N numbers, N = ``route.waypoints``.

| name | quantity | unit of 1.0 |
| --- | --- | --- |
| speed | speed | ``SPEED_SCALE`` m/s |
| lateral | lateral deviation, right positive | ``EnvConfig.lateral_unit_m`` metres |
| heading | heading error, positive right of the lane | pi radians |
| route | (x ahead, y right) of each of the N route points | ``(k + 1) * waypoint_spacing_m`` m |
| command | follow, left, straight, right (one of them 1), distance to the junction | ``COMMAND_RANGE`` m |
| previous_action | steer and pedal that are applied | 1 |
| light | distance to the stop line of the next traffic light, 1 at red and yellow | ``RANGE`` m, 1 |

The unit of a route point is its own distance along the route: the near points, which steer the
car, count as much as the far ones.

With ``observation.privileged`` the simulator's state follows, for the critic alone: those of the rows
above that are not there already, and

| name | quantity | unit of 1.0 |
| --- | --- | --- |
| motion | wanted speed, acceleration, standing | ``SPEED_SCALE`` m/s, 10 m/s^2, ``standing_unit_s`` s |
| lead | distance along the route to the next vehicle on it, its speed | ``RANGE`` m, ``SPEED_SCALE`` m/s |
| obstacle | distance straight ahead, speed of what is there | ``RANGE`` m, ``SPEED_SCALE`` m/s |
| neighbours | (x, y, relative velocity ahead, right) of the nearest | ``RANGE`` m, ``SPEED_SCALE`` m/s |

A vehicle that is not there stands at x = 2 (100 m) and moves as the car does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from av_td3.config import NEIGHBOURS, EnvConfig
from av_td3.driving.errors import InvalidActionError
from av_td3.driving.reward import wanted_speed
from av_td3.driving.route import COMMANDS, Command
from av_td3.driving.state import StepState

SPEED_SCALE = 15.0
"""m/s that read 1.0 in the vector."""
LIMIT = 2.0
"""Every entry of the vector is clipped to +-this."""
COMMAND_RANGE = 30.0
"""Metres before a junction at which its command takes the place of "follow"."""
RANGE = 50.0
"""Metres within which other vehicles are described."""
LANE_HALF_WIDTH = 1.8
"""Metres from the route's centre within which a vehicle stands on the route."""


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


@dataclass(frozen=True)
class Scene:
    """What the vector describes.  Map frame, SI units, radians."""

    state: StepState
    position: tuple[float, float]
    yaw: float
    waypoints: NDArray[np.float64]
    """(N, 2) route points ahead."""
    velocity: tuple[float, float] = (0.0, 0.0)
    previous_action: tuple[float, float] = (0.0, 0.0)
    command: Command = "follow"
    """What to do at the next junction, when it is within ``COMMAND_RANGE``."""
    junction_distance: float = math.inf
    """Metres to it; 0 inside."""
    others: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 4)))
    """(n, 4) x, y and velocity (x, y) of the other vehicles."""
    path: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    """(m, 2) the route ahead, a point each metre."""


def vector(config: EnvConfig, scene: Scene) -> NDArray[np.float32]:
    """The vector observation, (``config.vector_size``,).

    Raises:
        ValueError: the result is not finite.
    """
    parts = [_WRITERS[name](config, scene) for name in config.described]
    out = np.concatenate(parts).astype(np.float32)
    if not np.isfinite(out).all():
        raise ValueError("the simulator reported a pose or velocity that is not finite")
    return np.clip(out, -LIMIT, LIMIT)


def in_car_frame(offset: NDArray[np.float64], yaw: float) -> NDArray[np.float64]:
    """(n, 2) map-frame differences as (ahead, right) of a car with this yaw, radians."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.stack([cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0]], 1)


def _speed(_: EnvConfig, scene: Scene) -> list[float]:
    return [scene.state.speed / SPEED_SCALE]


def _lateral(config: EnvConfig, scene: Scene) -> list[float]:
    return [scene.state.lateral / config.lateral_unit_m]


def _heading(_: EnvConfig, scene: Scene) -> list[float]:
    return [scene.state.heading_error / math.pi]


def _route(config: EnvConfig, scene: Scene) -> NDArray[np.float64]:
    points = in_car_frame(scene.waypoints - np.asarray(scene.position), scene.yaw)
    distance = config.route.waypoint_spacing_m * np.arange(1, len(points) + 1)
    return (points / distance[:, None]).reshape(-1)


def _command(_: EnvConfig, scene: Scene) -> list[float]:
    near = scene.junction_distance < COMMAND_RANGE
    command = scene.command if near else "follow"
    distance = min(1.0, scene.junction_distance / COMMAND_RANGE)
    return [*(float(command == name) for name in COMMANDS), distance]


def _previous_action(_: EnvConfig, scene: Scene) -> tuple[float, float]:
    return scene.previous_action


def _motion(config: EnvConfig, scene: Scene) -> list[float]:
    state = scene.state
    standing = state.slow_seconds / config.standing_unit_s
    return [wanted_speed(state, config.reward) / SPEED_SCALE, state.acceleration / 10.0, standing]


def _obstacle(_: EnvConfig, scene: Scene) -> list[float]:
    return [min(LIMIT, scene.state.obstacle_distance / RANGE), scene.state.obstacle_speed / SPEED_SCALE]


def _light(_: EnvConfig, scene: Scene) -> list[float]:
    return [min(LIMIT, scene.state.light_distance / RANGE), float(scene.state.light in ("red", "yellow"))]


def _lead(_: EnvConfig, scene: Scene) -> list[float]:
    if not len(scene.others) or len(scene.path) < 2:
        return [LIMIT, 0.0]
    gaps = np.hypot(*(scene.others[:, None, :2] - scene.path[None]).transpose(2, 0, 1))  # (n, m)
    nearest = gaps.argmin(1)
    on_route = gaps.min(1) < LANE_HALF_WIDTH
    if not on_route.any():
        return [LIMIT, 0.0]
    first = int(np.flatnonzero(on_route)[nearest[on_route].argmin()])
    place = int(nearest[first])
    step = scene.path[min(place + 1, len(scene.path) - 1)] - scene.path[max(0, place - 1)]
    along = float(step @ scene.others[first, 2:] / max(1e-6, float(np.hypot(*step))))
    return [place / RANGE, along / SPEED_SCALE]


def _neighbours(_: EnvConfig, scene: Scene) -> NDArray[np.float64]:
    out = np.tile([LIMIT, 0.0, 0.0, 0.0], (NEIGHBOURS, 1))
    if len(scene.others):
        place = in_car_frame(scene.others[:, :2] - np.asarray(scene.position), scene.yaw)
        distance = np.hypot(*place.T)
        chosen = np.argsort(distance, kind="stable")[:NEIGHBOURS]
        chosen = chosen[distance[chosen] < RANGE]
        moving = in_car_frame(scene.others[chosen, 2:] - np.asarray(scene.velocity), scene.yaw)
        out[: len(chosen)] = np.concatenate([place[chosen] / RANGE, moving / SPEED_SCALE], 1)
    return out.reshape(-1)


_WRITERS: dict[str, Callable[[EnvConfig, Scene], ArrayLike]] = {
    "speed": _speed,
    "lateral": _lateral,
    "heading": _heading,
    "route": _route,
    "command": _command,
    "previous_action": _previous_action,
    "motion": _motion,
    "lead": _lead,
    "obstacle": _obstacle,
    "light": _light,
    "neighbours": _neighbours,
}
"""Name of some entries of the vector -> what writes them."""


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
    """Lane and route from a vector that holds them, privileged entries included; up to the clipping.

    Raises:
        ValueError: the vector holds no route.
    """
    found: dict[str, NDArray[np.float64]] = {}
    place = 0
    for name, count in config.described.items():
        found[name] = np.asarray(values[place : place + count], np.float64)
        place += count
    if "route" not in found:
        raise ValueError(
            "the vector holds no route: env.observation.vector is sight; set env.observation.privileged=true"
        )
    points = found["route"].reshape(-1, 2)
    distance = config.route.waypoint_spacing_m * np.arange(1, len(points) + 1)
    return VectorReading(
        float(found["speed"][0]) * SPEED_SCALE,
        float(found["lateral"][0]) * config.lateral_unit_m,
        float(found["heading"][0]) * math.pi,
        points * distance[:, None],
    )
