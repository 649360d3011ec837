"""What sensors get to see of the world (``sensors.view.WorldView``)."""

from __future__ import annotations

from collections.abc import Sequence

from minicarla.maps import RoadMap
from minicarla.physics import BodyContact
from minicarla.sensors.things import SIGN_EXTENT
from minicarla.sensors.view import Fixture
from minicarla.wire import structs
from minicarla.world.actors import Prop, TrafficLight, TrafficSign
from minicarla.world.props import PROPS
from minicarla.world.table import ActorTable


class View:
    """One tick of an episode, read-only for sensors; the world calls :meth:`update` in every tick."""

    def __init__(self, actors: ActorTable, roadmap: RoadMap, weather: structs.WeatherParameters) -> None:
        self._actors = actors
        self.roadmap = roadmap
        self.bodies = actors.bodies
        self.frame = 0
        self.dt = 0.0
        self.time = 0.0
        self.weather = weather
        self.imu_gravity = 9.81
        self.contacts: Sequence[BodyContact] = ()
        self.hidden: frozenset[int] = frozenset()
        """Ids of traffic lights and signs that are switched off, so that no sensor sees them."""
        self._fixtures: tuple[Fixture, ...] = ()
        self._fixtures_frame = -1

    def update(
        self,
        frame: int,
        dt: float,
        time: float,
        weather: structs.WeatherParameters,
        imu_gravity: float,
        contacts: Sequence[BodyContact],
    ) -> None:
        """Show the next tick: its number, its length and time in simulated seconds, and what touched."""
        self.frame, self.dt, self.time = frame, dt, time
        self.weather, self.imu_gravity, self.contacts = weather, imu_gravity, contacts

    @property
    def fixtures(self) -> tuple[Fixture, ...]:
        """Traffic lights, signs and attached props; the same object as long as nothing about them changes."""
        if self._fixtures_frame != self.frame:
            self._fixtures_frame = self.frame
            now = tuple(
                _fixture(actor)
                for actor in self._actors.values()
                if (isinstance(actor, TrafficLight | TrafficSign) and actor.id not in self.hidden)
                or (isinstance(actor, Prop) and not actor.embodied)
            )
            if now != self._fixtures:
                self._fixtures = now
        return self._fixtures

    def actor_struct(self, actor_id: int) -> structs.ActorRecord:
        """Wire form of an actor; an anonymous one when it was destroyed meanwhile."""
        actor = self._actors.get(actor_id)
        if actor is None:
            return self.static_actor_struct("unknown")
        return self._actors.publish(actor)

    def static_actor_struct(self, kind: str) -> structs.ActorRecord:
        """Wire form of a thing of the map; its type id is ``static.<kind>``."""
        return structs.ActorRecord(
            0, 0, structs.ActorDescription(0, f"static.{kind}", []), structs.BoundingBox(), b"", b""
        )


def _fixture(actor: TrafficLight | TrafficSign | Prop) -> Fixture:
    if isinstance(actor, TrafficLight):
        return Fixture(actor.id, "traffic_light", actor.facing, None, actor.light.state)
    if isinstance(actor, TrafficSign):
        return Fixture(actor.id, "traffic_sign", actor.facing, SIGN_EXTENT, colour=actor.colour)
    return Fixture(actor.id, actor.type_id, actor.pose, actor.box.extent, colour=PROPS[actor.type_id].colour)
