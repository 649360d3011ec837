"""Friction triggers: boxes in which the road is slippery, or sticky (``static.trigger.friction``)."""

from __future__ import annotations

import math
from typing import Any

from minicarla.bodies import VEHICLE, Bodies
from minicarla.physics.models import USUAL_FRICTION
from minicarla.wire import structs
from minicarla.world import placement
from minicarla.world.actors import Actor
from minicarla.world.outlet import CarlaError

MOST_FRICTION = 1e4


class FrictionTrigger(Actor):
    """A box in which tyres have its friction instead of their own.

    CarlaError when friction or extent are no numbers that can be.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.friction = self._number("friction", 1.0)
        # Unreal's centimetres, half sizes, as CARLA takes them.
        self.extent = tuple(self._number(f"extent_{axis}", 0.01) for axis in "xyz")
        if self.friction > MOST_FRICTION:
            raise CarlaError(f"friction is {self.friction:g}; it must lie between 0 and {MOST_FRICTION:g}")
        self.box = structs.BoundingBox(extent=structs.Vector3D(*self.extent), actor_id=self.id)

    def _number(self, name: str, unit: float) -> float:
        try:
            value = float(self.attributes[name]) * unit
        except (KeyError, ValueError):
            value = math.nan
        if not 0.0 <= value < 1e9:
            raise CarlaError(f"{name} of {self.type_id} is no number that can be")
        return value


def spread(triggers: list[FrictionTrigger], bodies: Bodies) -> None:
    """Put the triggers' friction under the vehicles that touch them; the latest trigger wins."""
    bodies.road_grip[:] = -1.0
    for trigger in triggers:
        inside = placement.overlaps(
            trigger.pose[:3],
            trigger.extent,
            trigger.pose.yaw,
            bodies.position + bodies.centre,
            bodies.extent,
            bodies.rotation[:, 1],
        )
        bodies.road_grip[inside & (bodies.kind == VEHICLE)] = trigger.friction / USUAL_FRICTION
