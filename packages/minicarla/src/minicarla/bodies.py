"""The table of everything that moves or can be bumped into: one row for each vehicle, walker or prop.

It is a structure of arrays, so that physics, traffic and rendering work on whole columns.  The world's
spawner adds and removes rows; physics and traffic write into columns; sensors only read.  Rows stay in
order of spawning, which makes a tick deterministic.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

VEHICLE, WALKER, PROP = 1, 2, 3

# (name, dtype, shape of one row, default).  CARLA's frame and units: metres,
# m/s, m/s^2, degrees, degrees/s, kg.
_COLUMNS: tuple[tuple[str, Any, tuple[int, ...], Any], ...] = (
    ("id", np.int64, (), 0),  # CARLA actor id
    ("kind", np.uint8, (), VEHICLE),
    ("model", np.int32, (), 0),  # index of the vehicle model (physics.models)
    (
        "position",
        np.float64,
        (3,),
        0.0,
    ),  # origin: a vehicle's is on the ground, a walker's at half its height
    ("rotation", np.float64, (3,), 0.0),  # pitch, yaw, roll
    ("velocity", np.float64, (3,), 0.0),  # world frame
    ("angular_velocity", np.float64, (3,), 0.0),
    ("acceleration", np.float64, (3,), 0.0),
    ("extent", np.float64, (3,), 1.0),  # half sizes of the bounding box
    ("centre", np.float64, (3,), 0.0),  # box centre in the body's frame
    ("mass", np.float64, (), 1500.0),
    ("simulate_physics", np.bool_, (), True),
    ("weightless", np.bool_, (), False),  # without gravity, so nothing presses the tyres on the road
    ("intangible", np.bool_, (), False),  # collides with nothing
    ("throttle", np.float64, (), 0.0),  # 0..1
    ("steer", np.float64, (), 0.0),  # -1..1, positive to the right
    ("brake", np.float64, (), 0.0),  # 0..1
    ("hand_brake", np.bool_, (), False),
    ("reverse", np.bool_, (), False),
    ("manual_gear", np.bool_, (), False),
    ("gear", np.int32, (), 0),
    (
        "road_grip",
        np.float64,
        (),
        -1.0,
    ),  # of a friction trigger, as a share of the usual grip; negative: outside of all
    ("wheel_angle", np.float64, (), 0.0),  # of the inner front wheel, degrees, positive to the right
    ("walk_direction", np.float64, (3,), 0.0),
    ("walk_speed", np.float64, (), 0.0),
    ("jump", np.bool_, (), False),
    (
        "speed_limit",
        np.float64,
        (),
        30.0,
    ),  # km/h, as the client is told; CARLA's value before the first limit
    ("sign_limit", np.float64, (), 0.0),  # km/h of the last speed limit sign that was passed, 0: none yet
    ("light_id", np.int64, (), 0),  # actor id of the traffic light ahead, 0: none
    ("light_state", np.uint8, (), 2),  # of that light (wire.structs.TrafficLightState); green without a light
    ("lamps", np.uint32, (), 0),  # bits of carla.VehicleLightState that are lit
    ("colour", np.uint8, (3,), 128),  # r, g, b
    ("tag", np.uint8, (), 14),  # CARLA semantic tag
)


class Bodies:
    """Dense structure of arrays; ``bodies.position`` is an (n, 3) view and so on.

    Views are valid until the next :meth:`add` or :meth:`remove`.
    """

    id: NDArray[np.int64]
    kind: NDArray[np.uint8]
    model: NDArray[np.int32]
    position: NDArray[np.float64]
    rotation: NDArray[np.float64]
    velocity: NDArray[np.float64]
    angular_velocity: NDArray[np.float64]
    acceleration: NDArray[np.float64]
    extent: NDArray[np.float64]
    centre: NDArray[np.float64]
    mass: NDArray[np.float64]
    simulate_physics: NDArray[np.bool_]
    weightless: NDArray[np.bool_]
    intangible: NDArray[np.bool_]
    throttle: NDArray[np.float64]
    steer: NDArray[np.float64]
    brake: NDArray[np.float64]
    hand_brake: NDArray[np.bool_]
    reverse: NDArray[np.bool_]
    manual_gear: NDArray[np.bool_]
    gear: NDArray[np.int32]
    road_grip: NDArray[np.float64]
    wheel_angle: NDArray[np.float64]
    walk_direction: NDArray[np.float64]
    walk_speed: NDArray[np.float64]
    jump: NDArray[np.bool_]
    speed_limit: NDArray[np.float64]
    sign_limit: NDArray[np.float64]
    light_id: NDArray[np.int64]
    light_state: NDArray[np.uint8]
    lamps: NDArray[np.uint32]
    colour: NDArray[np.uint8]
    tag: NDArray[np.uint8]

    handling: dict[int, Any]
    """``physics.handling.Handling`` of the vehicles whose physics control a client changed, by actor id."""

    def __init__(self, capacity: int = 64) -> None:
        self._count = 0
        self.handling = {}
        self._store = {name: np.empty((capacity, *shape), dtype) for name, dtype, shape, _ in _COLUMNS}
        self._rows: dict[int, int] = {}
        self._expose()

    def __len__(self) -> int:
        return self._count

    def __contains__(self, actor_id: object) -> bool:
        return actor_id in self._rows

    def __iter__(self) -> Iterator[int]:
        """Actor ids in order of spawning."""
        return iter(self._rows)

    def row(self, actor_id: int) -> int:
        """Row of an actor; KeyError when it has no row."""
        return self._rows[actor_id]

    def add(self, actor_id: int, **values: Any) -> int:
        """Append a row and return its number.  Columns that are not given have their default."""
        if actor_id in self._rows:
            raise ValueError(f"actor {actor_id} has a row already")
        row = self._count
        if row == len(self._store["id"]):
            for name, column in self._store.items():
                self._store[name] = np.concatenate([column, np.empty_like(column)])
        for name, _, _, default in _COLUMNS:
            self._store[name][row] = values.pop(name, default)
        if values:
            raise TypeError(f"no such columns: {sorted(values)}")
        self._store["id"][row] = actor_id
        self._rows[actor_id] = row
        self._count += 1
        self._expose()
        return row

    def remove(self, actor_id: int) -> None:
        """Remove a row; the others keep their order."""
        row = self._rows.pop(actor_id)
        self.handling.pop(actor_id, None)
        for column in self._store.values():
            column[row : self._count - 1] = column[row + 1 : self._count]
        self._count -= 1
        for other, index in self._rows.items():
            if index > row:
                self._rows[other] = index - 1
        self._expose()

    def clear(self) -> None:
        """Remove every row."""
        self._rows.clear()
        self.handling.clear()
        self._count = 0
        self._expose()

    def _expose(self) -> None:
        for name, column in self._store.items():
            setattr(self, name, column[: self._count])
