"""Friction triggers: boxes in which the road is more or less slippery (``static.trigger.friction``)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from minicarla.bodies import VEHICLE, Bodies
from minicarla.geometry import Pose
from minicarla.physics.models import USUAL_FRICTION
from minicarla.wire import structs
from minicarla.wire.structs import AttachmentType
from minicarla.world import placement
from minicarla.world.actors import Actor
from minicarla.world.outlet import CarlaError

MAX_FRICTION = 1e4


class FrictionTrigger(Actor):
    """A box in which tyres have its friction instead of their own.

    CarlaError when friction or extent are not positive numbers.
    """

    def __init__(
        self,
        actor_id: int,
        description: structs.ActorDescription,
        pose: Pose,
        parent: Actor | None = None,
        attachment: AttachmentType = AttachmentType.RIGID,
    ) -> None:
        super().__init__(actor_id, description, pose, parent, attachment)
        self.friction = self._number("friction", 1.0)
        # Half sizes, in Unreal's centimetres, as CARLA takes them.
        x, y, z = (self._number(f"extent_{axis}", 0.01) for axis in "xyz")
        self.extent = (x, y, z)
        if self.friction > MAX_FRICTION:
            raise CarlaError(f"friction is {self.friction:g}; it must lie between 0 and {MAX_FRICTION:g}")
        self.box = structs.BoundingBox(extent=structs.Vector3D(*self.extent), actor_id=self.id)

    def _number(self, name: str, unit: float) -> float:
        text = self.attributes.get(name, "")
        try:
            value = float(text) * unit
        except ValueError:
            value = math.nan
        if not 0.0 <= value < 1e9:
            raise CarlaError(f"{name} of {self.type_id} is {text!r}; it must be a number, 0 or more")
        return value


class FrictionZones:
    """Applies the triggers of an episode to the vehicles inside them."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._triggers: Sequence[FrictionTrigger] = ()

    def lay_out(self, triggers: Sequence[FrictionTrigger]) -> None:
        """Take note of the triggers that there are now."""
        if self._triggers and not triggers:
            self._bodies.road_grip[:] = -1.0
        self._triggers = triggers

    def apply(self) -> None:
        """Put the triggers' friction under the vehicles that overlap them; the latest trigger wins."""
        if not self._triggers:
            return
        bodies = self._bodies
        bodies.road_grip[:] = -1.0
        for trigger in self._triggers:
            inside = placement.overlaps(
                trigger.pose[:3],
                trigger.extent,
                trigger.pose.yaw,
                bodies.position + bodies.centre,
                bodies.extent,
                bodies.rotation[:, 1],
            )
            bodies.road_grip[inside & (bodies.kind == VEHICLE)] = trigger.friction / USUAL_FRICTION
