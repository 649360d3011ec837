"""What sensors may see of the world: shapes only, so that the rooms stay apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from minicarla.bodies import Bodies
from minicarla.geometry import Transform

Array = NDArray[np.float64]


class SurfaceLike(Protocol):
    """A strip of ground between two polylines (n, 3)."""

    kind: str
    left: Array
    right: Array


class MarkingLike(Protocol):
    """A painted line; ``points`` (n, 3), ``width`` metres, ``colour`` (r, g, b)."""

    points: Array
    width: float
    colour: tuple[int, int, int]
    broken: bool


class StaticLike(Protocol):
    """A box that never moves; metres, degrees."""

    kind: str
    centre: Any  # (3,)
    extent: Any  # (3,) half sizes
    yaw: float
    colour: tuple[int, int, int]
    tag: int
    solid: bool


class RoadMapLike(Protocol):
    """The part of ``maps.RoadMap`` that sensors use."""

    name: str
    opendrive: str
    statics: list[Any]
    bounds: tuple[float, float, float, float]

    def surfaces(self) -> Sequence[Any]:
        """All strips of ground, see :class:`SurfaceLike`."""
        ...

    def markings(self) -> Sequence[Any]:
        """All painted lines, see :class:`MarkingLike`."""
        ...


class ContactLike(Protocol):
    """Two things that touched: ``impulse`` (3,) N*s on ``a``; ``b`` is -1 for static ``static``."""

    a: int
    b: int
    static: int
    impulse: Any
    point: Any


class Fixture(NamedTuple):
    """An actor that stands still: a traffic light or a prop.

    kind: "traffic_light", or the prop's id.  pose: of its foot; a light faces the traffic that it
    stops.  extent: half sizes, None for a light.  state: of a light, ``carla.TrafficLightState``.
    colour: (r, g, b) of a prop.
    """

    actor_id: int
    kind: str
    pose: Transform
    extent: tuple[float, float, float] | None = None
    state: int = 0
    colour: tuple[int, int, int] = (140, 140, 140)


class WorldView(Protocol):
    """One tick of the world, read-only."""

    frame: int
    dt: float
    time: float
    bodies: Bodies
    roadmap: Any
    weather: Any
    """CARLA's 14 weather fields by name (``wire.structs.WeatherParameters``)."""
    contacts: Sequence[Any]

    @property
    def imu_gravity(self) -> float:
        """m/s^2 that inertial sensors take for gravity; clients may change it."""
        ...

    @property
    def fixtures(self) -> tuple[Fixture, ...]:
        """Traffic lights and props; the same object as long as nothing about it changes."""
        ...

    def actor_struct(self, actor_id: int) -> Any:
        """Wire form (``wire.structs.Actor``) of an actor, for messages that carry actors."""
        ...

    def static_actor_struct(self, kind: str) -> Any:
        """Wire form of a thing that is no actor; its type id is ``static.<kind>``."""
        ...
