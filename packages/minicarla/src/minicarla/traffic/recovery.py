"""Recovery: drivers that are stuck back up; vehicles that were knocked off their path are put back on it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from minicarla.bodies import VEHICLE
from minicarla.traffic.table import DriverTable, Situation

Flags = NDArray[np.bool_]

PATIENCE = 3.0  # s for which a driver pushes against what holds it
BACKING = 2.5  # s for which it then backs up
HELD = 0.5  # m/s below which a driver that wants to go counts as held
FACE_TO_FACE = 4.0  # m between two that stand before each other
BACKWARDS, BESIDE_TAIL = 3.5, 2.5  # m that are free behind, to either side, of a driver that backs up
ASTRAY = 2.0  # m from its path at which a driver is astray
GIVE_UP = 30.0  # s for which it may be so before it is put back
CLEAR = 9.0  # m around that are free where it is put
IN_SIGHT = 50.0  # m around clients' vehicles within which no vehicle is put back


class Recovery:
    """Gets drivers out of where they are stuck."""

    def __init__(self, table: DriverTable) -> None:
        self._table = table

    def put_back(self, situation: Situation) -> None:
        """Put vehicles that have been away from their path for long back on it.

        CARLA's Traffic Manager takes vehicles off the map that are stuck for long.
        """
        t = self._table
        t.astray[:] = (t.astray + situation.dt) * (situation.away > ASTRAY)
        for k in np.flatnonzero(t.astray > GIVE_UP).tolist():
            self._put_back(situation, k)

    def _put_back(self, situation: Situation, k: int) -> None:
        """Put one vehicle back, unless its place is taken or a client's vehicle would see it jump."""
        t, bodies, row = self._table, situation.bodies, situation.rows[k]
        at = int(t.at[k])
        x, y = t.x[k, at], t.y[k, at]
        away = np.hypot(bodies.position[:, 0] - x, bodies.position[:, 1] - y)
        away[row] = np.inf
        if away.min() < CLEAR:
            return
        for watcher in bodies.position[situation.strangers, :2]:
            if min(np.hypot(*(watcher - place)) for place in ((x, y), bodies.position[row, :2])) < IN_SIGHT:
                return
        yaw = math.degrees(math.atan2(t.ty[k, at], t.tx[k, at]))
        bodies.position[row, :2] = x, y
        bodies.rotation[row] = 0.0, yaw, 0.0
        bodies.velocity[row] = bodies.angular_velocity[row] = 0.0
        t.astray[k] = t.blocked[k] = t.backing[k] = 0.0

    def backing_up(self, situation: Situation, willing: Flags) -> Flags | None:
        """Which drivers back up now (n,), because something has held them for long; None when nobody does.

        willing: (n,) whether a driver would drive on if it could.
        """
        t = self._table
        held = (willing | self._face_to_face(situation)) & (np.abs(situation.speed) < HELD)
        t.blocked += situation.dt
        t.blocked *= held
        t.backing -= situation.dt
        start = t.blocked > PATIENCE
        if np.count_nonzero(start):
            t.backing[start], t.blocked[start] = BACKING, 0.0
        back = t.backing > 0.0
        return back if np.count_nonzero(back) else None

    def _face_to_face(self, situation: Situation) -> Flags:
        """Which drivers stand in a junction before an oncoming stranger, with room to back up (n,)."""
        bodies = situation.bodies
        close = (situation.gap < FACE_TO_FACE) & np.isfinite(self._table.exit)
        if not np.count_nonzero(close):
            return close
        for k in np.flatnonzero(close).tolist():
            row, other = situation.rows[k], int(situation.leader[k])
            fx, fy = situation.fx[k], situation.fy[k]
            facing = situation.cos[other] * fx + situation.sin[other] * fy < 0.5
            if not facing or bodies.kind[other] != VEHICLE or situation.driver_of(other) is not None:
                close[k] = False
                continue
            dx, dy = (bodies.position[:, :2] - bodies.position[row, :2]).T
            behind, beside = -dx * fx - dy * fy, np.abs(dy * fx - dx * fy)
            reach = 2.0 * situation.half[k] + BACKWARDS
            near = (behind > 0.0) & (behind < reach) & (beside < BESIDE_TAIL)
            close[k] = np.count_nonzero(near) == 0
        return close
