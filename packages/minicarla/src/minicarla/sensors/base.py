"""What every sensor is: a blueprint id, a wire type, a table of attributes, and ``measure``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import numpy as np

from minicarla.geometry import Pose
from minicarla.maps import RoadMap
from minicarla.sensors.view import WorldView
from minicarla.wire.stream import SensorType
from minicarla.wire.structs import AttributeType

BOOL, INT, FLOAT, STRING = AttributeType.BOOL, AttributeType.INT, AttributeType.FLOAT, AttributeType.STRING


class Attribute(NamedTuple):
    """One row of a blueprint's table of attributes (``carla.ActorAttribute``)."""

    id: str
    type: AttributeType
    default: str
    recommended: tuple[str, ...] = ()  # empty: only the default
    restrict: bool = False  # True: no other values are allowed


ROLE_NAME = Attribute(
    "role_name",
    STRING,
    "front",
    ("front", "back", "left", "right", "front_left", "front_right", "back_left", "back_right"),
)
ROLE_NAME_ANY = Attribute("role_name", STRING, "default")
SENSOR_TICK = Attribute("sensor_tick", FLOAT, "0.0")


class Sensor:
    """Base of all sensors.

    attributes: values as the client sent them, by attribute id.  A value that is missing, or that is not
        a number where one belongs, is replaced by the default.
    seed: of this sensor's noise, if its ``noise_seed`` is not set.
    """

    blueprint: ClassVar[str]
    wire_type: ClassVar[SensorType]
    attributes: ClassVar[tuple[Attribute, ...]] = (ROLE_NAME, SENSOR_TICK)
    unused: ClassVar[frozenset[str]] = frozenset()
    """Attributes that change nothing."""
    event: ClassVar[bool] = False
    """True: it reports when something happens, and ``sensor_tick`` does not apply."""
    streams: ClassVar[bool] = True
    """False: the client computes the data itself (lane invasion), and the server sends nothing."""

    def __init__(self, attributes: Mapping[str, str] = {}, seed: int = 0) -> None:
        self._values = {row.id: attributes.get(row.id, row.default) for row in type(self).attributes}
        self._defaults = {row.id: row.default for row in type(self).attributes}
        chosen = self.number("noise_seed") if "noise_seed" in self._values else 0
        self.random = np.random.default_rng([int(abs(chosen)), 0] if chosen else [abs(seed), 1])
        self.period = max(0.0, self.number("sensor_tick")) if "sensor_tick" in self._values else 0.0
        """Simulated seconds between measurements; 0: every tick."""

    def without_effect(self) -> list[str]:
        """The attributes that were set and change nothing."""
        return [
            name for name, value in self._values.items() if name in self.unused and self._set(name, value)
        ]

    def _set(self, name: str, value: str) -> bool:
        try:
            return float(value) != float(self._defaults[name])
        except ValueError:
            return value != self._defaults[name]

    def number(self, name: str) -> float:
        """Attribute ``name`` as a finite number."""
        for text in (self._values[name], self._defaults[name]):
            try:
                value = float(text)
            except ValueError:
                continue
            if np.isfinite(value):
                return value
        raise AssertionError(f"the default of {name} is not a number")

    def flag(self, name: str) -> bool:
        """Attribute ``name`` as a truth value, read as CARLA reads it."""
        return self._values[name].strip().lower() in ("true", "1", "yes", "on")

    def text(self, name: str) -> str:
        """Attribute ``name`` as a text."""
        return self._values[name]

    def prepare(self, roadmap: RoadMap) -> None:
        """Compute what this sensor needs of a map, once for each map, when the sensor is spawned.

        Otherwise the first measurement would come late: the ground of a map takes up to half a second.
        """

    def measure(self, view: WorldView, pose: Pose, parent_id: int) -> bytes | None:
        """Body of the message for this tick, or None when there is nothing to send.

        pose: of the sensor, world frame.  parent_id: actor it is attached to, 0 for none.
        """
        raise NotImplementedError

    def measure_all(self, view: WorldView, pose: Pose, parent_id: int) -> list[bytes]:
        """Bodies of all messages of this tick; more than one only for event sensors."""
        body = self.measure(view, pose, parent_id)
        return [] if body is None else [body]
