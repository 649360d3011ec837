"""What sensors get to see of the world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minicarla.sensors.view import Fixture
from minicarla.wire import structs
from minicarla.world.actors import Prop, TrafficLight

if TYPE_CHECKING:
    from minicarla.world.world import World


class View:
    """What sensors may see (``sensors.view.WorldView``)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.roadmap = world.roadmap
        self.bodies = world.bodies
        self.frame = 0
        self.dt = 0.0
        self.time = 0.0
        self.weather = world.weather
        self.contacts: Sequence[Any] = ()
        self._fixtures: tuple[Fixture, ...] = ()
        self._fixtures_frame = -1

    @property
    def imu_gravity(self) -> float:
        """m/s^2 that inertial sensors take for gravity."""
        return self._world.imu_gravity

    @property
    def fixtures(self) -> tuple[Fixture, ...]:
        """Traffic lights and attached props; the same object while nothing about them changes."""
        if self._fixtures_frame != self.frame:
            self._fixtures_frame = self.frame
            now = tuple(
                Fixture(actor.id, "traffic_light", actor.facing, None, actor.light.state)
                if isinstance(actor, TrafficLight)
                else Fixture(actor.id, actor.type_id, actor.pose, actor.box.extent)
                for actor in self._world.actors.values()
                if isinstance(actor, TrafficLight) or (isinstance(actor, Prop) and not actor.embodied)
            )
            if now != self._fixtures:
                self._fixtures = now
        return self._fixtures

    def actor_struct(self, actor_id: int) -> structs.Actor:
        """Wire form of an actor; an anonymous one when it is gone already."""
        actor = self._world.actors.get(actor_id)
        if actor is None:
            return self.static_actor_struct("unknown")
        return self._world.publish(actor)

    def static_actor_struct(self, kind: str) -> structs.Actor:
        """Wire form of a thing that is no actor."""
        return structs.Actor(
            0, 0, structs.ActorDescription(0, f"static.{kind}", []), structs.BoundingBox(), b"", b""
        )
