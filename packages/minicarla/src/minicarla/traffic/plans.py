"""Plans: the path of each driver, its speeds, and the next junction on it.

A path is lanes one after the other, with turns drawn at random, as points a metre apart.
"""

from __future__ import annotations

import numpy as np

from minicarla.traffic.kernels import Occupancy
from minicarla.traffic.network import Network
from minicarla.traffic.room import Room
from minicarla.traffic.table import POINTS, Crossing, DriverTable, Situation

SIGHT = 64
"""Points ahead in which a driver looks for others."""
BEHIND = 8  # points kept behind the driver
WINDOW = 6  # points in which a driver looks for its own place on the path

BRAKING = 2.5  # m/s^2, comfortable
LATERAL = 2.2  # m/s^2 in bends
LOST = 6.0  # m from its path at which a driver makes a new one
REPLANNING = 2.0  # s between two new paths
DEAD_END = 1.0  # m kept before the end of a lane that leads nowhere
STANDING_GAP = 2.5  # m between two vehicles at rest
_ROUNDING = 0.7  # m added to a vehicle's length and gap
_BEND = 2  # points before and behind over which a bend is measured


def room_needed(situation: Situation, k: int) -> float:
    """Metres of road that the vehicle of driver ``k`` takes up when it stands."""
    return 2.0 * float(situation.half[k]) + STANDING_GAP + _ROUNDING


class Planner:
    """Makes the drivers' paths and lengthens them."""

    def __init__(self, table: DriverTable, network: Network, occupancy: Occupancy, room: Room) -> None:
        self._table, self._network, self._occupancy, self._room = table, network, occupancy, room

    def update(self, situation: Situation) -> None:
        """Move each driver along its path; make and lengthen paths where that is needed."""
        t = self._table
        t.replan -= situation.dt
        due = t.replan <= 0.0
        for k in np.flatnonzero((t.at < 0) & due).tolist():
            self._new_path(situation, k)
        if self._advance(situation):
            for k in np.flatnonzero((situation.away > LOST) & due).tolist():
                self._new_path(situation, k)
            self._advance(situation)

    def lengthen(self, situation: Situation) -> None:
        """Lengthen the paths whose ends have come into the drivers' sight."""
        t = self._table
        short = (t.count - t.at < SIGHT + BEHIND) & (t.at > BEHIND)
        for k in np.flatnonzero(short).tolist():
            driver = t.drivers[k]
            t.forget(k, int(t.at[k]) - BEHIND)
            first = float(t.s[k, 0])
            driver.lanes = [lane for lane in driver.lanes if lane[2] > first]
            self._extend(k)
            if driver.ahead is None:
                self.next_junction(k, driver.held[-1].exit if driver.held else float(situation.s[k]))

    def next_junction(self, k: int, after: float) -> None:
        """Find the first junction on the path beyond ``after`` metres."""
        t, driver = self._table, self._table.drivers[k]
        tracks = self._network.tracks
        driver.ahead, driver.since = None, 0
        t.entry[k] = np.inf
        lanes: list[int] = []
        entry = end = 0.0
        for lane, start, stop in driver.lanes:
            if stop <= after + 1e-6:
                continue
            if tracks[lane].junction < 0:
                if lanes:
                    break
                continue
            if not lanes:
                entry = start
            lanes.append(lane)
            end = stop
        else:
            # The path ends inside: how far the junction goes is known when more is planned.
            if lanes and tracks[lanes[-1]].successors:
                return
        if lanes:
            driver.ahead = Crossing(tuple(lanes), entry, end)
            t.entry[k] = entry

    def _advance(self, situation: Situation) -> bool:
        """Find each driver's place on its path; True when somebody is far from its own."""
        t = self._table
        situation.away, situation.s = t.paths.advance(t.at, t.count, situation.x, situation.y, WINDOW)
        return bool((situation.away > LOST).any())

    def _new_path(self, situation: Situation, k: int) -> None:
        """A path from where the vehicle is; none when there is no lane."""
        t, driver = self._table, self._table.drivers[k]
        t.at[k], t.count[k] = -1, 0
        t.replan[k] = REPLANNING
        t.stop[k] = t.entry[k] = t.exit[k] = np.inf
        self._room.leave(driver)
        driver.lanes.clear()
        driver.held.clear()
        driver.ahead, driver.since, driver.planned = None, 0, 0.0
        yaw = situation.bodies.rotation[situation.rows[k], 1]
        place = self._network.place(float(situation.x[k]), float(situation.y[k]), float(yaw))
        if place is None:
            return
        lane, s = place
        track = self._network.tracks[lane]
        driver.lanes.append((lane, 0.0, track.length))
        driver.planned = track.length
        driver.next_point = max(0, int(np.searchsorted(track.s, s)) - BEHIND)
        self._extend(k)
        t.at[k] = max(0, int(np.searchsorted(t.s[k, : t.count[k]], s)) - 1)
        inside = track.junction >= 0
        if not inside:
            self._room.keep(driver, lane, 0.0, room_needed(situation, k))
        self.next_junction(k, s)
        if inside and driver.ahead is not None:  # it is in there already and needs no leave
            driver.held.append(driver.ahead)
            self.next_junction(k, driver.ahead.exit)
            t.exit[k] = driver.held[0].exit

    def _extend(self, k: int) -> None:
        """Add points while there is space for more, drawing a turn wherever a lane ends; set the speeds."""
        t, driver = self._table, self._table.drivers[k]
        while (a := int(t.count[k])) < POINTS:
            lane, start, _ = driver.lanes[-1]
            track = self._network.tracks[lane]
            part = slice(driver.next_point, driver.next_point + POINTS - a)
            b = a + len(track.s[part])
            if a == b:
                if not track.successors:
                    t.stop[k] = driver.planned - DEAD_END
                    break
                lane = driver.random.choice(track.successors)
                length = self._network.tracks[lane].length
                driver.lanes.append((lane, driver.planned, driver.planned + length))
                driver.planned += length
                driver.next_point = 0
                continue
            t.x[k, a:b], t.y[k, a:b] = track.x[part], track.y[part]
            t.tx[k, a:b], t.ty[k, a:b] = track.tx[part], track.ty[part]
            t.s[k, a:b] = track.s[part] + start
            t.allowed[k, a:b] = t.pace[k] * track.limit[part]
            t.cell[k, a:b] = self._occupancy.cells(track.x[part], track.y[part])
            t.count[k] = b
            driver.next_point += b - a
        self._set_speeds(k)

    def _set_speeds(self, k: int) -> None:
        """Speeds along the path: the limit, what bends allow, and braking in time for what follows."""
        t = self._table
        m = int(t.count[k])
        if m < 2 * _BEND + 2:
            return
        yaw = np.unwrap(np.arctan2(t.ty[k, :m], t.tx[k, :m]))
        s = t.s[k, :m]
        bend = np.abs(yaw[2 * _BEND :] - yaw[: -2 * _BEND]) / (s[2 * _BEND :] - s[: -2 * _BEND])
        square = t.allowed[k, :m] ** 2
        square[_BEND:-_BEND] = np.minimum(square[_BEND:-_BEND], LATERAL / np.maximum(bend, 1e-3))
        if np.isfinite(t.stop[k]):
            square[-1] = 0.0
        ahead = square + 2.0 * BRAKING * s
        ahead = np.minimum.accumulate(ahead[::-1])[::-1]
        t.allowed[k, :m] = np.sqrt(np.maximum(ahead - 2.0 * BRAKING * s, 0.0))
