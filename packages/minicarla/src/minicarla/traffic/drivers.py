"""Drivers of the server's own traffic.

Each driver plans a path: lanes one after the other, turns drawn at random, as points a
metre apart.  It steers along it by pure pursuit (Coulter 1992), keeps its distance by the
intelligent driver model (Treiber, Hennecke, Helbing 2000) from whatever body stands on the
path (other drivers, clients' vehicles, pedestrians), slows down for bends, and enters a
junction when it has reserved its way across: first come, first served, only with room on
the far side, and only at a light that is not closed.  Vehicles that nobody here drives, and
pedestrians, reserve nothing and always go first.

What every driver does every tick is done for all of them at once, in arrays with a row a
driver; what happens now and then (a junction ahead, more path) one by one.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicarla.bodies import VEHICLE, WALKER, Bodies
from minicarla.physics import models
from minicarla.physics.pedals import pedals, steering
from minicarla.traffic.kernels import Occupancy, Paths
from minicarla.traffic.lights import TrafficLights
from minicarla.traffic.network import Network
from minicarla.traffic.strangers import Strangers

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

POINTS = 160
"""Points of path that are kept for each driver."""
SIGHT = 64
"""Points ahead in which a driver looks for others."""
BEHIND = 8  # points kept behind the driver
WINDOW = 6  # points in which it looks for its own place on the path

ACCELERATION = 1.8  # m/s^2; IDM's a
BRAKING = 2.5  # m/s^2, comfortable; IDM's b
FIRM = 3.5  # m/s^2 with which one stops at a light that turns yellow
HARDEST = 8.0  # m/s^2
HEADWAY = 1.3  # s; IDM's T
STANDING_GAP = 2.5  # m; IDM's s0
LATERAL = 2.2  # m/s^2 in bends
STOP_LINE = 1.5  # m kept before a junction that may not be entered
CLAIM = 12.0  # m before a junction, beyond the braking distance, at which it is claimed
ROOM = 3.0  # m beyond its own length that a driver wants free behind a junction
BESIDE = 0.3  # m between the sides of a driver and of what it does not stop for
LOST = 6.0  # m from its path at which a driver makes a new one
ASTRAY, GIVE_UP = 2.0, 30.0  # m from its path, and for how many s, at which it is put back
CLEAR = 9.0  # m around that are free when it is
PATIENCE, BACKING = 3.0, 2.5  # s that a driver pushes against what holds it, s that it backs up then
MARGIN = 1.0  # s between a driver's leaving a place in a junction and a stranger's coming there
SHORT = 1.0  # m before such a place at which it stops
CROSSING = 4.0  # m/s that it counts on in a junction at the least
FACE_TO_FACE, BACKWARDS = 4.0, 3.5  # m between two that stand so; m free behind of one that backs up
IN_SIGHT = 50.0  # m around clients' vehicles in which nobody is put back on the road
# How long, s, others' straight or evenly bent motion is foreseen, and how near, m, it may come.
ASTRAY_AHEAD, ON_FOOT_AHEAD = (3.0, 2.6), (1.5, 1.6)


@dataclass
class Crossing:
    """The part of a path inside a junction."""

    lanes: tuple[int, ...]
    entry: float  # metres along the path
    exit: float


@dataclass
class Driver:
    """What is not in arrays."""

    actor_id: int
    random: random.Random
    lanes: list[tuple[int, float, float]] = field(default_factory=list)  # lane id, path metres
    planned: float = 0.0  # metres along the path where the last lane ends
    next_point: int = 0  # of the last lane, to be planned
    ahead: Crossing | None = None  # the next junction, not reserved yet
    held: list[Crossing] = field(default_factory=list)  # reserved
    since: int = 0  # ticket of the claim, 0: none
    takes: list[tuple[int, float, float]] = field(default_factory=list)
    """Room kept on stretches between junctions: (stretch, metres, path metres where it ends)."""


class Traffic:
    """The server's own drivers.

    Args:
        roadmap: ``lanes``, ``locate`` and ``bounds`` are used.
        seed: of the turns that drivers take.

    ``lights`` are the map's traffic lights, None where the map's signals are not known.
    """

    def __init__(self, roadmap: Any, seed: int) -> None:
        self.lights = TrafficLights(roadmap) if hasattr(roadmap, "data") else None
        self._seed = seed
        self._network = Network(roadmap)
        self._occupancy = Occupancy(roadmap.bounds)
        self._drivers: list[Driver] = []
        self._new: list[int] = []
        self._tickets = 0
        self._taken: dict[int, float] = {}  # metres kept on each stretch between junctions
        self._allocate(16)

    def __len__(self) -> int:
        return len(self._drivers) + len(self._new)

    def add(self, actor_id: int) -> None:
        """Drive this vehicle from the next :meth:`decide` on."""
        self._new.append(actor_id)

    def remove(self, actor_id: int) -> None:
        """Stop driving it; nothing happens when it was not driven."""
        if actor_id in self._new:
            self._new.remove(actor_id)
        for index, driver in enumerate(self._drivers):
            if driver.actor_id == actor_id:
                self._leave(driver, math.inf)
                del self._drivers[index]
                n = len(self._drivers)
                for column in self._columns():
                    column[index:n] = column[index + 1 : n + 1]
                break

    def decide(self, bodies: Bodies, dt: float) -> None:
        """Set throttle, brake and steer of the driven vehicles for the ``dt`` seconds to come.

        Vehicles whose ``simulate_physics`` is off are driven all the same: it has no effect.
        """
        if not self._drivers and not self._new:
            return
        for actor_id in self._new:
            self._admit(actor_id)
        self._new.clear()
        rows = np.array([bodies.row(driver.actor_id) for driver in self._drivers])
        _Decision(self, bodies, rows, dt).make()

    def _keep(self, driver: Driver, lane: int, start: float, metres: float) -> None:
        """Keep room for a driver on the stretch that begins with ``lane`` at ``start`` of its path."""
        stretch = self._network.stretch[lane]
        driver.takes.append((stretch, metres, start + self._network.room[stretch]))
        self._taken[stretch] = self._taken.get(stretch, 0.0) + metres

    def _leave(self, driver: Driver, tail: float) -> None:
        """Give back the stretches that end before ``tail`` metres of the path."""
        while driver.takes and driver.takes[0][2] < tail:
            stretch, metres, _ = driver.takes.pop(0)
            self._taken[stretch] -= metres

    # ------------------------------------------------------------------ storage

    def _allocate(self, capacity: int) -> None:
        self._x = np.zeros((capacity, POINTS))
        self._y = np.zeros((capacity, POINTS))
        self._tx = np.zeros((capacity, POINTS))  # direction
        self._ty = np.zeros((capacity, POINTS))
        self._s = np.zeros((capacity, POINTS))  # metres along the path
        self._allowed = np.zeros((capacity, POINTS))  # m/s, with braking for what follows
        self._cell = np.zeros((capacity, POINTS), np.int64)
        self._at = np.full(capacity, -1, np.int64)  # the point where the driver is; -1: no path
        self._count = np.zeros(capacity, np.int64)  # points planned
        self._stop = np.full(capacity, np.inf)  # metres along the path that may not be passed
        self._entry = np.full(capacity, np.inf)  # metres along the path of the next unreserved junction
        self._exit = np.full(capacity, np.inf)  # metres along the path where the oldest reservation ends
        self._replan = np.zeros(capacity)  # s until a new path may be made
        self._blocked = np.zeros(capacity)  # s that it has wanted to go and did not
        self._backing = np.zeros(capacity)  # s that it will go on backing up
        self._astray = np.zeros(capacity)  # s that it has been away from its path
        self._paths = Paths(self._x, self._y, self._tx, self._ty, self._s, self._cell)

    def _columns(self) -> list[Any]:
        return [
            self._x, self._y, self._tx, self._ty, self._s, self._allowed, self._cell,
            self._at, self._count, self._stop, self._entry, self._exit,
            self._replan, self._blocked, self._backing, self._astray,
        ]  # fmt: skip

    def _admit(self, actor_id: int) -> None:
        n = len(self._drivers)
        if n == len(self._at):
            old = self._columns()
            self._allocate(2 * n)
            for column, values in zip(self._columns(), old, strict=True):
                column[:n] = values
        # Seeded by place in the row, not by actor id: after all were removed, the same
        # vehicles spawned again take the same turns.
        self._drivers.append(Driver(actor_id, random.Random(self._seed * 1_000_003 + n)))
        self._at[n], self._count[n] = -1, 0
        self._stop[n] = self._entry[n] = self._exit[n] = np.inf
        self._replan[n] = self._blocked[n] = self._backing[n] = self._astray[n] = 0.0


class _Decision:
    """One tick of all drivers."""

    def __init__(self, traffic: Traffic, bodies: Bodies, rows: Ints, dt: float) -> None:
        self.t, self.bodies, self.rows, self.dt = traffic, bodies, rows, dt
        self.n = len(rows)
        yaw = np.radians(bodies.rotation[:, 1])
        self.cos, self.sin = np.cos(yaw), np.sin(yaw)
        self.x, self.y = bodies.position[rows, 0], bodies.position[rows, 1]
        self.fx, self.fy = self.cos[rows], self.sin[rows]
        self.speed = bodies.velocity[rows, 0] * self.fx + bodies.velocity[rows, 1] * self.fy
        self.length = bodies.extent[rows, 0]
        self.index = np.arange(self.n)
        self.halt = np.full(self.n, np.inf)  # metres along the path that may not be passed now

    def make(self) -> None:
        t, bodies, rows = self.t, self.bodies, self.rows
        self._find_place()
        t._occupancy.paint(bodies.position, bodies.extent, self.cos, self.sin)
        at, count = t._at[: self.n], t._count[: self.n]
        gap, their_speed, self.leader = t._occupancy.look_ahead(
            t._paths, bodies, rows, at, count, self.s, self.cos, self.sin, SIGHT, BESIDE
        )
        self._junctions(gap, their_speed)
        parameters = models.parameters(bodies, rows)
        acceleration = self._accelerate(gap, their_speed)
        v = np.maximum(self.speed, 0.0)
        throttle, brake = pedals(parameters, v, acceleration)
        steer = self._steer(parameters, v)
        stand = (v < 0.3) & (acceleration <= 0.05)
        lost = t._at[: self.n] < 0
        stand |= lost
        throttle, brake = np.where(stand, 0.0, throttle), np.where(stand, 0.7, brake)
        back = self._back_up((~stand & (acceleration > 0.3)) | self._face_to_face(gap))
        if back is not None:
            throttle, brake = np.where(back, 0.3, throttle), np.where(back, 0.0, brake)
            steer = np.where(back, -steer, steer)
        bodies.throttle[rows], bodies.brake[rows], bodies.steer[rows] = throttle, brake, steer
        bodies.hand_brake[rows] = False
        bodies.reverse[rows] = False if back is None else back

    def _face_to_face(self, gap: Floats) -> NDArray[np.bool_]:
        """Who stands in a junction before a stranger that comes the other way, with room to back up."""
        t, bodies = self.t, self.bodies
        close = (gap < FACE_TO_FACE) & np.isfinite(t._exit[: self.n])
        if not np.count_nonzero(close):
            return close
        for k in np.flatnonzero(close).tolist():
            row, other = self.rows[k], int(self.leader[k])
            facing = self.cos[other] * self.fx[k] + self.sin[other] * self.fy[k] < 0.5
            if not facing or bodies.kind[other] != VEHICLE or self._driver_of(other) is not None:
                close[k] = False
                continue
            dx, dy = (bodies.position[:, :2] - bodies.position[row, :2]).T
            behind, beside = -dx * self.fx[k] - dy * self.fy[k], np.abs(dy * self.fx[k] - dx * self.fy[k])
            near = (behind > 0.0) & (behind < 2.0 * self.length[k] + BACKWARDS) & (beside < 2.5)
            close[k] = np.count_nonzero(near) == 0
        return close

    def _back_up(self, willing: Any) -> NDArray[np.bool_] | None:
        """Who backs up now, because something held it for long that stays where it is."""
        t, n, dt = self.t, self.n, self.dt
        blocked, backing = t._blocked[:n], t._backing[:n]
        held = willing & (np.abs(self.speed) < 0.5)
        blocked += dt
        blocked *= held
        backing -= dt
        start = blocked > PATIENCE
        if np.count_nonzero(start):
            backing[start], blocked[start] = BACKING, 0.0
        back = backing > 0.0
        return back if np.count_nonzero(back) else None

    # ------------------------------------------------------------------ where am I

    def _find_place(self) -> None:
        """Move each driver along its path; make or lengthen paths where needed."""
        t, n = self.t, self.n
        t._replan[:n] -= self.dt
        due = t._replan[:n] <= 0.0
        for k in np.flatnonzero((t._at[:n] < 0) & due).tolist():
            self._new_path(k)
        if self._advance():
            for k in np.flatnonzero((self.away > LOST) & due).tolist():
                self._new_path(k)
            self._advance()
        t._astray[:n] = (t._astray[:n] + self.dt) * (self.away > ASTRAY)
        for k in np.flatnonzero(t._astray[:n] > GIVE_UP).tolist():
            self._put_back(k)
        at = t._at[:n]
        short = (t._count[:n] - at < SIGHT + BEHIND) & (at > BEHIND)
        for k in np.flatnonzero(short).tolist():
            self._lengthen(k)

    def _advance(self) -> bool:
        """Nearest point in the window for each; True when somebody is far from its path."""
        t, n = self.t, self.n
        self.away, self.s = t._paths.advance(t._at[:n], t._count[:n], self.x, self.y, WINDOW)
        return bool((self.away > LOST).any())

    def _put_back(self, k: int) -> None:
        """Put a vehicle that does not get out of where it was knocked back on its path, once that is free.

        CARLA's Traffic Manager takes vehicles away that are stuck for long.
        """
        t, bodies, row = self.t, self.bodies, self.rows[k]
        at = int(t._at[k])
        x, y = t._x[k, at], t._y[k, at]
        away = np.hypot(bodies.position[:, 0] - x, bodies.position[:, 1] - y)
        away[row] = np.inf
        if away.min() < CLEAR:
            return
        for watcher in bodies.position[self._others(), :2]:
            if min(np.hypot(*(watcher - place)) for place in ((x, y), bodies.position[row, :2])) < IN_SIGHT:
                return
        yaw = math.degrees(math.atan2(t._ty[k, at], t._tx[k, at]))
        bodies.position[row, :2] = x, y
        bodies.rotation[row] = 0.0, yaw, 0.0
        bodies.velocity[row] = bodies.angular_velocity[row] = 0.0
        t._astray[k] = t._blocked[k] = t._backing[k] = 0.0

    def _new_path(self, k: int) -> None:
        """A path from where the vehicle is; none when there is no lane."""
        t, driver = self.t, self.t._drivers[k]
        t._at[k], t._count[k] = -1, 0
        t._replan[k] = 2.0
        t._stop[k] = t._entry[k] = t._exit[k] = np.inf
        t._leave(driver, math.inf)
        driver.lanes.clear()
        driver.held.clear()
        driver.ahead, driver.since, driver.planned = None, 0, 0.0
        row = self.rows[k]
        place = t._network.place(float(self.x[k]), float(self.y[k]), float(self.bodies.rotation[row, 1]))
        if place is None:
            return
        lane, s = place
        track = t._network.tracks[lane]
        driver.lanes.append((lane, 0.0, track.length))
        driver.planned = track.length
        driver.next_point = max(0, int(np.searchsorted(track.s, s)) - BEHIND)
        self._extend(k)
        t._at[k] = max(0, int(np.searchsorted(t._s[k, : t._count[k]], s)) - 1)
        inside = track.junction >= 0
        if not inside:
            t._keep(driver, lane, 0.0, self._need(k))
        self._next_junction(k, s)
        if inside and driver.ahead is not None:  # no choice: it is in there already
            driver.held.append(driver.ahead)
            self._next_junction(k, driver.ahead.exit)
            t._exit[k] = driver.held[0].exit

    def _extend(self, k: int) -> None:
        """Add points while there is room, drawing a turn wherever a lane ends, and set the speeds."""
        t, driver = self.t, self.t._drivers[k]
        while (a := int(t._count[k])) < POINTS:
            lane, start, _ = driver.lanes[-1]
            track = t._network.tracks[lane]
            part = slice(driver.next_point, driver.next_point + POINTS - a)
            b = a + len(track.s[part])
            if a == b:
                if not track.successors:
                    t._stop[k] = driver.planned - 1.0  # a dead end
                    break
                lane = driver.random.choice(track.successors)
                length = t._network.tracks[lane].length
                driver.lanes.append((lane, driver.planned, driver.planned + length))
                driver.planned += length
                driver.next_point = 0
                continue
            t._x[k, a:b], t._y[k, a:b] = track.x[part], track.y[part]
            t._tx[k, a:b], t._ty[k, a:b] = track.tx[part], track.ty[part]
            t._s[k, a:b] = track.s[part] + start
            t._allowed[k, a:b] = track.limit[part]
            t._cell[k, a:b] = t._occupancy.cells(track.x[part], track.y[part])
            t._count[k] = b
            driver.next_point += b - a
        self._speeds(k)

    def _lengthen(self, k: int) -> None:
        """Forget the path behind and plan more."""
        t, driver = self.t, self.t._drivers[k]
        drop = int(t._at[k]) - BEHIND
        a, b = drop, int(t._count[k])
        for column in (t._x, t._y, t._tx, t._ty, t._s, t._allowed, t._cell):
            column[k, : b - a] = column[k, a:b]
        t._at[k] -= drop
        t._count[k] -= drop
        first = float(t._s[k, 0])
        driver.lanes = [lane for lane in driver.lanes if lane[2] > first]
        self._extend(k)
        if driver.ahead is None:
            self._next_junction(k, driver.held[-1].exit if driver.held else float(self.s[k]))

    def _speeds(self, k: int) -> None:
        """Speeds along the path: the limit, bends, and braking for what comes."""
        t = self.t
        m = int(t._count[k])
        yaw = np.unwrap(np.arctan2(t._ty[k, :m], t._tx[k, :m]))
        s = t._s[k, :m]
        if m < 6:
            return
        bend = np.abs(yaw[4:] - yaw[:-4]) / (s[4:] - s[:-4])
        square = t._allowed[k, :m] ** 2
        square[2:-2] = np.minimum(square[2:-2], LATERAL / np.maximum(bend, 1e-3))
        if np.isfinite(t._stop[k]):
            square[-1] = 0.0
        ahead = square + 2.0 * BRAKING * s
        ahead = np.minimum.accumulate(ahead[::-1])[::-1]
        t._allowed[k, :m] = np.sqrt(np.maximum(ahead - 2.0 * BRAKING * s, 0.0))

    # ------------------------------------------------------------------ junctions

    def _next_junction(self, k: int, after: float) -> None:
        """Find the first junction on the path beyond ``after`` metres."""
        t, driver = self.t, self.t._drivers[k]
        tracks = t._network.tracks
        driver.ahead, driver.since = None, 0
        t._entry[k] = np.inf
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
            t._entry[k] = entry

    def _junctions(self, gap: Floats, their_speed: Floats) -> None:
        """Give back what was crossed, claim what comes."""
        t, n = self.t, self.n
        for k in np.flatnonzero(self.s - self.length > t._exit[:n] + 0.5).tolist():
            driver = t._drivers[k]
            while driver.held and self.s[k] - self.length[k] > driver.held[0].exit + 0.5:
                driver.held.pop(0)
            t._leave(driver, float(self.s[k] - self.length[k]))
            t._exit[k] = driver.held[0].exit if driver.held else np.inf
        nose = self.s + self.length
        closed = t.lights.closed() if t.lights is not None else {}
        if closed:
            self._obey(closed, nose)
        strangers = Strangers(t._network, self.bodies, self._others(), closed)
        if strangers.on:
            self._give_way(strangers, nose)
        far = t._entry[:n] - nose
        reach = self.speed**2 / (2.0 * BRAKING) + CLAIM
        claims = np.flatnonzero((far < reach) & (t._at[:n] >= 0)).tolist()
        if not claims:
            return
        for k in claims:
            if not t._drivers[k].since:
                t._tickets += 1
                t._drivers[k].since = t._tickets
        claims.sort(key=lambda k: t._drivers[k].since)
        taken: set[int] = set()
        for driver in t._drivers:
            for crossing in driver.held:
                taken.update(crossing.lanes)
        # Somebody who came earlier and could go, were it not for others, is waited for.
        for k in claims:
            driver = t._drivers[k]
            claimed = driver.ahead
            if claimed is None or not self._able(k, claimed, gap, their_speed, far, closed):
                continue
            after = self._exit_lane(k, claimed)
            need = self._need(k)
            if after is not None:
                stretch = t._network.stretch[after[0]]
                full = t._taken.get(stretch, 0.0)
                if full > 0.0 and full + need > t._network.room[stretch]:
                    continue  # no room on the far side: never stand in a junction
            conflicts = set().union(*(t._network.conflicts[lane] for lane in claimed.lanes))
            free = (
                not (conflicts & taken)
                and self._meets(k, claimed, strangers) is None
                and not self._crossed(k, claimed, strangers.astray, *ASTRAY_AHEAD)
                and not self._crossed(k, claimed, self._on_foot(), *ON_FOOT_AHEAD)
            )
            taken.update(claimed.lanes)
            if free:
                driver.held.append(claimed)
                t._exit[k] = driver.held[0].exit
                if after is not None:
                    t._keep(driver, *after, need)
                self._next_junction(k, claimed.exit)

    def _obey(self, closed: dict[int, int], nose: Floats) -> None:
        """Give up what was reserved behind a light that closed, where one can still stop."""
        for k in np.flatnonzero(np.isfinite(self.t._exit[: self.n])).tolist():
            crossing = self.t._drivers[k].held[-1]
            if not closed.keys().isdisjoint(crossing.lanes) and self._stops_before(k, crossing, nose):
                self._give_back(k)
                self.t._drivers[k].since = 0

    def _stops_before(self, k: int, crossing: Crossing, nose: Floats) -> bool:
        return crossing.entry - float(nose[k]) > float(self.speed[k]) ** 2 / (2.0 * FIRM) + 0.5

    def _give_back(self, k: int) -> None:
        """Give up the latest reservation; its place in the queue remains."""
        t, driver = self.t, self.t._drivers[k]
        crossing = driver.held.pop()
        if driver.takes and driver.takes[-1][2] > crossing.exit:
            stretch, metres, _ = driver.takes.pop()
            t._taken[stretch] -= metres
        t._exit[k] = driver.held[0].exit if driver.held else np.inf
        driver.ahead = crossing
        t._entry[k] = crossing.entry

    def _give_way(self, strangers: Strangers, nose: Floats) -> None:
        """Let strangers go first: stay out of the junction, or stop short of where the ways meet."""
        t = self.t
        for k in np.flatnonzero(np.isfinite(t._exit[: self.n])).tolist():
            held = t._drivers[k].held
            for crossing in held:
                place = self._meets(k, crossing, strangers)
                if place is None:
                    continue
                if crossing is held[-1] and self._stops_before(k, crossing, nose):
                    self._give_back(k)
                elif place - nose[k] > self.speed[k] ** 2 / (2.0 * HARDEST):
                    self.halt[k] = min(self.halt[k], place - SHORT)
                break

    def _meets(self, k: int, crossing: Crossing, strangers: Strangers) -> float | None:
        """Metres along the path before which k has to wait for a stranger in this junction; None: nowhere."""
        network, on = self.t._network, strangers.on
        start, meetings = crossing.entry, []
        nose = self.s[k] + self.length[k]
        for lane in crossing.lanes:
            for other in network.conflicts[lane] & on.keys():
                begin, end, their_begin, their_end = network.meeting(lane, other)
                if start + begin >= nose:  # else there already
                    arrival = min(stranger.arrival(their_begin, their_end) for stranger in on[other])
                    meetings.append((float(start + begin), float(start + end), arrival))
            start += network.tracks[lane].length
        pace = max(float(self.speed[k]), CROSSING)
        wait: float | None = None
        for begin, end, arrival in sorted(meetings, reverse=True):
            gone = (end + self.length[k] - self.s[k]) / pace
            # Who waits further on would stand in the way here, with its tail at the least.
            stands = wait is not None and wait - SHORT - 2.0 * self.length[k] < end
            if arrival < (math.inf if stands else gone + MARGIN):
                wait = begin
        return wait

    def _need(self, k: int) -> float:
        """Metres of road that a standing vehicle takes up."""
        return 2.0 * float(self.length[k]) + STANDING_GAP + 0.7

    def _able(
        self, k: int, crossing: Crossing, gap: Floats, speed: Floats, far: Floats, closed: dict[int, int]
    ) -> bool:
        """Whether nothing but other drivers' reservations keeps this one from entering."""
        t = self.t
        if not closed.keys().isdisjoint(crossing.lanes):
            return False
        leader = self._driver_of(int(self.leader[k]))
        if gap[k] < far[k]:
            # Behind somebody: only if that one is on its way through as well.
            if leader is None or not leader.held:
                return False
            junctions = {t._network.tracks[lane].junction for lane in crossing.lanes}
            return any(t._network.tracks[i].junction in junctions for c in leader.held for i in c.lanes)
        beyond = crossing.exit - crossing.entry + far[k] + 2.0 * self.length[k] + ROOM
        return bool(gap[k] >= beyond or (leader is not None and speed[k] > 2.0))

    def _exit_lane(self, k: int, crossing: Crossing) -> tuple[int, float] | None:
        """(lane, path metres) on which a driver leaves a junction; None while that is not planned."""
        for lane, start, _ in self.t._drivers[k].lanes:
            if start >= crossing.exit - 1e-6:
                return (lane, start) if self.t._network.tracks[lane].junction < 0 else None
        return None

    def _driver_of(self, row: int) -> Driver | None:
        """Who drives the body in this row; None when nobody here does."""
        if not hasattr(self, "_by_row"):
            self._by_row = dict(zip(self.rows.tolist(), self.t._drivers, strict=True))
        return self._by_row.get(row)

    def _crossed(self, k: int, crossing: Crossing, rows: Ints, ahead: float, near: float) -> bool:
        """Whether one of these bodies comes ``near`` this way through the junction, in ``ahead`` seconds."""
        t, bodies = self.t, self.bodies
        if not len(rows):
            return False
        px = np.concatenate([t._network.tracks[lane].x for lane in crossing.lanes])
        py = np.concatenate([t._network.tracks[lane].y for lane in crossing.lanes])
        x, y = bodies.position[rows, 0], bodies.position[rows, 1]
        vx, vy = bodies.velocity[rows, 0], bodies.velocity[rows, 1]
        # Behind on one's own way is no crossing.
        keep = (
            (np.hypot(vx, vy) > 0.5)
            & (np.hypot(x - px.mean(), y - py.mean()) < 60.0)
            & ((x - self.x[k]) * self.fx[k] + (y - self.y[k]) * self.fy[k] > 0.0)
        )
        if not np.count_nonzero(keep):
            return False
        x, y, vx, vy = x[keep], y[keep], vx[keep], vy[keep]
        turn = np.radians(bodies.angular_velocity[rows[keep], 2])
        for time in np.arange(0.0, ahead + 0.1, 0.5):
            c, s = np.cos(0.5 * turn * time), np.sin(0.5 * turn * time)
            qx, qy = x + (vx * c - vy * s) * time, y + (vx * s + vy * c) * time
            if (np.hypot(px[:, None] - qx, py[:, None] - qy) < near).any():
                return True
        return False

    def _others(self) -> Ints:
        """Rows of vehicles that nobody here drives."""
        if not hasattr(self, "_other_rows"):
            mine = np.zeros(len(self.bodies), bool)
            mine[self.rows] = True
            self._other_rows = np.flatnonzero(~mine & (self.bodies.kind == VEHICLE))
        return self._other_rows

    def _on_foot(self) -> Ints:
        """Rows of pedestrians."""
        if not hasattr(self, "_walker_rows"):
            self._walker_rows = np.flatnonzero(self.bodies.kind == WALKER)
        return self._walker_rows

    # ------------------------------------------------------------------ controls

    def _accelerate(self, gap: Floats, their_speed: Floats) -> Floats:
        """Wanted acceleration in m/s^2."""
        t, n = self.t, self.n
        v = np.maximum(self.speed, 0.0)
        at = np.maximum(t._at[:n], 0)
        lead = np.minimum(at + 1 + (0.4 * v).astype(np.int64), np.maximum(t._count[:n] - 1, 0))
        wanted = t._allowed[self.index, lead]
        limit = np.minimum(np.minimum(t._entry[:n] - STOP_LINE, t._stop[:n]), self.halt)
        room = limit - self.s - self.length
        wanted = np.minimum(wanted, np.sqrt(2.0 * BRAKING * np.maximum(room - 0.3 * v, 0.0)))
        free = (1.6 * (wanted - v)).clip(-HARDEST, ACCELERATION)
        # Approaching a speed lags behind; whoever would come to stand too late brakes as it takes.
        needed = np.minimum(v * v / (2.0 * np.maximum(room, 0.1)), HARDEST)
        free = np.where(needed > BRAKING, np.minimum(free, -needed), free)
        closing = v * (v - their_speed) / (2.0 * math.sqrt(ACCELERATION * BRAKING))
        safe = STANDING_GAP + np.maximum(0.0, v * HEADWAY + closing)
        follow = ACCELERATION * (1.0 - (safe / np.maximum(gap, 0.1)) ** 2)
        return np.minimum(free, np.maximum(follow, -HARDEST))

    def _steer(self, parameters: Floats, v: Floats) -> Floats:
        """Pure pursuit from the rear axle."""
        t, n = self.t, self.n
        at = np.maximum(t._at[:n], 0)
        reach = (0.45 * v).clip(3.0, 12.0)
        point = np.minimum(at + np.rint(reach).astype(np.int64), np.maximum(t._count[:n] - 1, 0))
        rear = parameters[models.REAR]
        dx = t._x[self.index, point] - self.x + rear * self.fx
        dy = t._y[self.index, point] - self.y + rear * self.fy
        side = dy * self.fx - dx * self.fy
        curvature = 2.0 * side / np.maximum(dx * dx + dy * dy, 1.0)
        return steering(parameters, v, curvature)
