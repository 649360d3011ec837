"""The table of drivers: one row for each driver, and what the decision of one tick looks at."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from minicarla.bodies import VEHICLE, WALKER, Bodies
from minicarla.traffic.kernels import Paths

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

POINTS = 160
"""Points of path that are kept for each driver, about a metre apart."""

# (name, dtype, shape of one row, value in a new row)
_COLUMNS: tuple[tuple[str, DTypeLike, tuple[int, ...], float], ...] = (
    ("x", np.float64, (POINTS,), 0.0),  # of the path's points, metres
    ("y", np.float64, (POINTS,), 0.0),
    ("tx", np.float64, (POINTS,), 0.0),  # direction of the path
    ("ty", np.float64, (POINTS,), 0.0),
    ("s", np.float64, (POINTS,), 0.0),  # metres along the path
    ("allowed", np.float64, (POINTS,), 0.0),  # m/s, braking for what follows included
    ("cell", np.int64, (POINTS,), 0),  # of the occupancy grid
    ("at", np.int64, (), -1),  # number of the point where the driver is; -1: it has no path
    ("count", np.int64, (), 0),  # points planned
    ("stop", np.float64, (), np.inf),  # metres along the path that may not be passed
    ("entry", np.float64, (), np.inf),  # metres along the path of the next junction without a reservation
    ("exit", np.float64, (), np.inf),  # metres along the path where the oldest reservation ends
    ("pace", np.float64, (), 1.0),  # share of the speed limit at which it drives
    ("replan", np.float64, (), 0.0),  # s until a new path may be made
    ("blocked", np.float64, (), 0.0),  # s for which it has wanted to go and could not
    ("backing", np.float64, (), 0.0),  # s for which it will go on backing up
    ("astray", np.float64, (), 0.0),  # s for which it has been away from its path
)
_PATH = tuple(name for name, _, shape, _ in _COLUMNS if shape)


@dataclass
class Crossing:
    """The part of a path inside a junction."""

    lanes: tuple[int, ...]
    entry: float  # metres along the path
    exit: float


@dataclass
class TrafficDriver:
    """What a driver has besides its row in the columns."""

    actor_id: int
    random: random.Random
    """Draws the turns."""
    lanes: list[tuple[int, float, float]] = field(default_factory=list)
    """The lanes of the path: (lane id, path metres where it starts, path metres where it ends)."""
    planned: float = 0.0
    """Metres along the path where the last lane ends."""
    next_point: int = 0
    """The first point of the last lane that is not on the path yet."""
    ahead: Crossing | None = None
    """The next junction, not reserved yet."""
    held: list[Crossing] = field(default_factory=list)
    """Reserved junctions, the nearest first."""
    since: int = 0
    """The ticket of its claim on ``ahead``; lower ones are served first, 0 is none."""
    room: list[tuple[int, float, float]] = field(default_factory=list)
    """Room kept on stretches between junctions: (stretch, metres, path metres where the stretch ends)."""


class DriverTable:
    """All drivers.  ``drivers`` has their objects; everything else is columns with a row for each.

    Columns are views, valid until the next :meth:`add` or :meth:`remove`.
    """

    x: Floats
    y: Floats
    tx: Floats
    ty: Floats
    s: Floats
    allowed: Floats
    cell: Ints
    at: Ints
    count: Ints
    stop: Floats
    entry: Floats
    exit: Floats
    replan: Floats
    pace: Floats
    blocked: Floats
    backing: Floats
    astray: Floats
    paths: Paths
    """The columns of the paths, as the compiled loops take them."""

    def __init__(self, capacity: int = 16) -> None:
        self.drivers: list[TrafficDriver] = []
        self._store: dict[str, NDArray[Any]] = {
            name: np.empty((capacity, *shape), dtype) for name, dtype, shape, _ in _COLUMNS
        }
        self._expose()

    def __len__(self) -> int:
        return len(self.drivers)

    def __iter__(self) -> Iterator[TrafficDriver]:
        return iter(self.drivers)

    def add(self, driver: TrafficDriver, pace: float = 1.0) -> None:
        """Append a row for a driver that has no path yet; it drives at ``pace`` times the speed limit."""
        row = len(self.drivers)
        if row == len(self._store["at"]):
            for name, column in self._store.items():
                self._store[name] = np.concatenate([column, np.empty_like(column)])
        for name, _, _, value in _COLUMNS:
            self._store[name][row] = value
        self._store["pace"][row] = pace
        self.drivers.append(driver)
        self._expose()

    def remove(self, row: int) -> None:
        """Drop a row and close the gap; the others keep their order."""
        del self.drivers[row]
        n = len(self.drivers)
        for column in self._store.values():
            column[row:n] = column[row + 1 : n + 1]
        self._expose()

    def forget(self, row: int, points: int) -> None:
        """Drop the first points of a path."""
        left = int(self.count[row]) - points
        for name in _PATH:
            column = self._store[name]
            column[row, :left] = column[row, points : points + left]
        self.at[row] -= points
        self.count[row] -= points

    def _expose(self) -> None:
        for name, column in self._store.items():
            setattr(self, name, column[: len(self.drivers)])
        self.paths = Paths(self.x, self.y, self.tx, self.ty, self.s, self.cell)


class Situation:
    """The drivers' vehicles in one tick, and everybody else.  Arrays have a row for each driver (n,)."""

    def __init__(self, table: DriverTable, bodies: Bodies, dt: float) -> None:
        self.bodies, self.dt = bodies, dt
        self.n = len(table)
        self.rows = np.array([bodies.row(driver.actor_id) for driver in table])
        """Rows of the drivers' vehicles in ``bodies``."""
        rows = self.rows
        yaw = np.radians(bodies.rotation[:, 1])
        self.cos, self.sin = np.cos(yaw), np.sin(yaw)
        """Direction of every body, driven or not."""
        self.x, self.y = bodies.position[rows, 0], bodies.position[rows, 1]
        self.fx, self.fy = self.cos[rows], self.sin[rows]
        self.speed = bodies.velocity[rows, 0] * self.fx + bodies.velocity[rows, 1] * self.fy
        """m/s forwards."""
        self.half = bodies.extent[rows, 0]
        """Half the length of each vehicle, metres."""
        passed = bodies.sign_limit[rows]
        self.limit = np.where(passed > 0.0, table.pace * passed / 3.6, np.inf)
        """m/s that each vehicle allows itself after the speed limit sign that it passed last; inf before the
        first."""
        self.halt = np.full(self.n, np.inf)
        """Metres along the path that may not be passed in this tick."""
        self.away = self.s = np.zeros(self.n)
        """Metres from the path, and metres along it."""
        self.gap = self.leader_speed = np.full(self.n, np.inf)
        """Metres to the next body on the path, and its speed along the path in m/s."""
        self.leader = np.full(self.n, -1)
        """Row of that body in ``bodies``, -1 for none."""
        self._driver_of = dict(zip(rows.tolist(), table.drivers, strict=True))
        driven = np.zeros(len(bodies), np.bool_)
        driven[rows] = True
        self.strangers = np.flatnonzero(~driven & (bodies.kind == VEHICLE))
        """Rows of vehicles that the server does not drive."""
        self.walkers = np.flatnonzero(bodies.kind == WALKER)
        """Rows of pedestrians."""

    @property
    def nose(self) -> Floats:
        """Metres along the path of each vehicle's front."""
        return np.asarray(self.s + self.half)

    def driver_of(self, row: int) -> TrafficDriver | None:
        """The driver of the body in this row; None if the server does not drive it."""
        return self._driver_of.get(row)
