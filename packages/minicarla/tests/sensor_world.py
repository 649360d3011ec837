"""A small world for the sensors' tests: a bent two-lane road, houses, trees, and bodies on demand."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from minicarla.bodies import Bodies
from minicarla.wire.structs import WeatherParameters


@dataclass
class Strip:
    kind: str
    left: np.ndarray
    right: np.ndarray


@dataclass
class Line:
    points: np.ndarray
    width: float = 0.15
    colour: tuple[int, int, int] = (235, 235, 235)
    broken: bool = False


@dataclass
class Static:
    kind: str
    centre: tuple[float, float, float]
    extent: tuple[float, float, float]
    yaw: float = 0.0
    colour: tuple[int, int, int] = (150, 140, 130)
    tag: int = 3
    solid: bool = True


def centre_line(length: float = 120.0, radius: float = 40.0) -> np.ndarray:
    """Straight along x from the origin, then a right-hand bend of 90 degrees, then straight along y."""
    x = np.arange(0.0, length, 2.0)
    straight = np.stack([x, np.zeros_like(x)], axis=1)
    a = np.linspace(0.0, np.pi / 2, 40)
    bend = np.stack([length + radius * np.sin(a), radius * (1 - np.cos(a))], axis=1)
    y = np.arange(2.0, length, 2.0)
    after = np.stack([np.full_like(y, length + radius), radius + y], axis=1)
    return np.concatenate([straight, bend, after])


def aside(line: np.ndarray, offset: float) -> np.ndarray:
    """The line shifted to the right by ``offset`` metres, with z = 0."""
    tangent = np.gradient(line, axis=0)
    tangent /= np.hypot(tangent[:, 0], tangent[:, 1])[:, None]
    shifted = line + np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) * offset
    return np.concatenate([shifted, np.zeros((len(line), 1))], axis=1)


class StandInMap:
    """As much of a road map as sensors use."""

    name = "standin"
    opendrive = ""
    data = SimpleNamespace(geo_reference="")
    whole = None

    def __init__(self, statics: list[Static] | None = None, town: bool = True) -> None:
        self.line = centre_line()
        self.bounds = (-60.0, -60.0, 220.0, 220.0)
        self.statics: list[Any] = list(statics or [])
        if town:
            self.statics += self._town()

    def surfaces(self) -> list[Strip]:
        line = self.line
        return [
            Strip("road", aside(line, -3.5), aside(line, 3.5)),
            Strip("sidewalk", aside(line, -5.5), aside(line, -3.5)),
            Strip("sidewalk", aside(line, 3.5), aside(line, 5.5)),
        ]

    def markings(self) -> list[Line]:
        line = self.line
        return [
            Line(aside(line, 0.0), broken=True, colour=(235, 190, 60)),
            Line(aside(line, -3.3)),
            Line(aside(line, 3.3)),
        ]

    def _town(self) -> list[Static]:
        rng = np.random.default_rng(3)
        out: list[Static] = []
        for side in (-1, 1):
            x = 4.0
            while x < 110.0:
                w, d, h = rng.uniform(4, 8), rng.uniform(4, 6), rng.uniform(3, 7)
                colour = tuple(int(v) for v in rng.integers(110, 220, 3))
                out.append(Static("building", (x + w, side * (9.0 + d), h), (w, d, h), 0.0, colour))
                x += 2 * w + rng.uniform(1, 5)
            for x in np.arange(0.0, 115.0, 14.0):
                y = side * 6.6
                out.append(Static("tree", (x, y, 1.3), (0.16, 0.16, 1.3), 0.0, (84, 66, 50), 9))
                out.append(Static("crown", (x, y, 4.2), (1.5, 1.5, 1.9), 20.0, (62, 110, 52), 9, False))
            for x in np.arange(7.0, 115.0, 28.0):
                out.append(Static("pole", (x, side * 5.9, 3.0), (0.08, 0.08, 3.0), 0.0, (120, 120, 120), 6))
        return out


CLEAR = WeatherParameters(
    cloudiness=10.0, sun_azimuth_angle=-60.0, sun_altitude_angle=55.0, fog_density=0.0, wetness=0.0
)


@dataclass
class View:
    """A ``WorldView`` made by hand."""

    roadmap: Any
    bodies: Bodies = field(default_factory=Bodies)
    weather: Any = CLEAR
    contacts: list[Any] = field(default_factory=list)
    fixtures: tuple[Any, ...] = ()
    frame: int = 1
    dt: float = 0.05
    time: float = 0.05
    imu_gravity: float = 9.81

    def actor_struct(self, actor_id: int) -> Any:
        return [
            actor_id,
            0,
            [actor_id, "vehicle.tesla.model3", []],
            [[0, 0, 0], [1, 1, 1], [0, 0, 0], actor_id],
            b"",
            b"",
        ]

    def static_actor_struct(self, kind: str) -> Any:
        return [0, 0, [0, f"static.{kind}", []], [[0, 0, 0], [0, 0, 0], [0, 0, 0], 0], b"", b""]


def add_car(bodies: Bodies, actor_id: int, x: float, y: float, yaw: float = 0.0, **values: Any) -> int:
    """A Model 3 on the ground."""
    defaults = {
        "position": (x, y, 0.0),
        "rotation": (0.0, yaw, 0.0),
        "extent": (2.396, 1.082, 0.744),
        "centre": (0.0, 0.0, 0.744),
        "colour": (180, 40, 40),
        "tag": 14,
    }
    return bodies.add(actor_id, **{**defaults, **values})


def traffic(bodies: Bodies, count: int, first: int = 100) -> None:
    """``count`` cars along both lanes of the straight."""
    rng = np.random.default_rng(1)
    for k in range(count):
        lane = k % 2
        colour = tuple(int(v) for v in rng.integers(30, 230, 3))
        add_car(
            bodies, first + k, 14.0 + 5.0 * k, 1.75 if lane else -1.75, 0.0 if lane else 180.0, colour=colour
        )
