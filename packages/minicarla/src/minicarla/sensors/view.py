"""What sensors may see of the world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from minicarla.bodies import Bodies
from minicarla.geometry import Pose
from minicarla.maps import RoadMap
from minicarla.physics import BodyContact
from minicarla.wire import structs


class Fixture(NamedTuple):
    """An actor that stands still: a traffic light, a traffic sign or a prop.

    kind: "traffic_light", "traffic_sign", or the prop's id.  pose: of its foot; lights and signs
    face the traffic that they are for.  extent: half sizes, None for a light.  state: of a light,
    ``carla.TrafficLightState``.  colour: (r, g, b) of a prop or of a sign's plate.
    """

    actor_id: int
    kind: str
    pose: Pose
    extent: tuple[float, float, float] | None = None
    state: int = 0
    colour: tuple[int, int, int] = (140, 140, 140)


class WorldView(Protocol):
    """One tick of the world, read-only."""

    frame: int
    dt: float
    time: float
    bodies: Bodies
    roadmap: RoadMap
    weather: structs.WeatherParameters
    contacts: Sequence[BodyContact]
    """Who touched whom in this tick."""

    @property
    def imu_gravity(self) -> float:
        """m/s^2 that inertial sensors take for gravity; clients may change it."""
        ...

    @property
    def fixtures(self) -> tuple[Fixture, ...]:
        """Traffic lights, signs and props; the same object as long as nothing about it changes."""
        ...

    def actor_struct(self, actor_id: int) -> structs.ActorRecord:
        """Wire form of an actor, for messages that carry actors."""
        ...

    def static_actor_struct(self, kind: str) -> structs.ActorRecord:
        """Wire form of a thing that is not an actor; its type id is ``static.<kind>``."""
        ...
