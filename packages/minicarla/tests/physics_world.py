"""What the tests of dynamics share: an empty plain, and vehicles on it."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from minicarla.bodies import WALKER, Bodies
from minicarla.physics import MODELS, Physics, find

DT = 0.05
MODEL3 = "vehicle.tesla.model3"


@dataclass
class Box:
    """A static box."""

    centre: tuple[float, float, float]
    extent: tuple[float, float, float]
    yaw: float = 0.0
    kind: str = "wall"
    solid: bool = True
    tag: int = 3
    colour: tuple[int, int, int] = (0, 0, 0)


def plain(*statics: Box) -> Any:
    """A roadmap without roads: flat ground and these boxes."""
    return SimpleNamespace(statics=list(statics))


def add_vehicle(
    bodies: Bodies, actor_id: int, x: float, y: float, yaw: float = 0.0, model: str = MODEL3, **values: Any
) -> int:
    """A vehicle that stands on the ground; returns its row."""
    index = find(model)
    m = MODELS[index]
    defaults = {
        "model": index,
        "position": (x, y, 0.0),
        "rotation": (0.0, yaw, 0.0),
        "extent": m.extent,
        "centre": m.centre,
        "mass": m.mass,
    }
    return bodies.add(actor_id, **{**defaults, **values})


def add_walker(bodies: Bodies, actor_id: int, x: float, y: float, **values: Any) -> int:
    """A pedestrian; its origin is in the middle of its box, as CARLA's is."""
    defaults = {"kind": WALKER, "position": (x, y, 0.93), "extent": (0.19, 0.19, 0.93), "mass": 75.0}
    return bodies.add(actor_id, **{**defaults, **values})


class Track:
    """One vehicle on a plain."""

    def __init__(self, model: str = MODEL3, *statics: Box, **values: Any) -> None:
        self.bodies = Bodies()
        add_vehicle(self.bodies, 1, 0.0, 0.0, model=model, **values)
        self.physics = Physics(plain(*statics))
        self.time = 0.0
        self.contacts: list[Any] = []

    def drive(self, seconds: float, dt: float = DT, **controls: Any) -> None:
        for name, value in controls.items():
            getattr(self.bodies, name)[0] = value
        for _ in range(round(seconds / dt)):
            self.contacts += self.physics.step(self.bodies, dt)
            self.time += dt

    def roll(self, speed: float) -> None:
        """Give it a speed along its nose, m/s."""
        yaw = np.radians(self.bodies.rotation[0, 1])
        self.bodies.velocity[0] = speed * np.cos(yaw), speed * np.sin(yaw), 0.0

    @property
    def speed(self) -> float:
        return float(np.hypot(*self.bodies.velocity[0, :2]))

    @property
    def place(self) -> np.ndarray:
        return self.bodies.position[0].copy()
