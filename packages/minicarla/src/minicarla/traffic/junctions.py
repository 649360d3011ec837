"""Junctions: a driver enters one when it has reserved its way across.

First come, first served; only with room on the far side, and only at a light that is open.  Pedestrians and
vehicles that the server does not drive reserve nothing and always go first.
"""

from __future__ import annotations

import math

import numpy as np

from minicarla.traffic.following import HARDEST
from minicarla.traffic.lights import MapTrafficLights
from minicarla.traffic.network import Network
from minicarla.traffic.plans import BRAKING, Planner, room_needed
from minicarla.traffic.room import Room
from minicarla.traffic.strangers import Strangers
from minicarla.traffic.table import Crossing, DriverTable, Floats, Ints, Situation, TrafficDriver

FIRM = 3.5  # m/s^2 with which one stops at a light that turns yellow
CLAIM = 12.0  # m before a junction, beyond the braking distance, at which it is claimed
ROOM = 3.0  # m beyond its own length that a driver wants free behind a junction
ROLLING = 2.0  # m/s from which the vehicle ahead is expected to make room
LEFT = 0.5  # m beyond a junction at which one has left it
MARGIN = 1.0  # s between a driver's leaving a place in a junction and a stranger's coming there
SHORT = 1.0  # m before such a place at which it stops
CROSSING = 4.0  # m/s that it counts on in a junction at the least
MOVING = 0.5  # m/s from which a body counts as moving
NEARBY = 60.0  # m around a junction in which bodies are looked at
# For how long (s) the motion of others, straight or evenly bent, is foreseen, and how near (m) it may come.
ASTRAY_AHEAD, ON_FOOT_AHEAD = (3.0, 2.6), (1.5, 1.6)


class Junctions:
    """Who may enter which junction."""

    def __init__(
        self,
        table: DriverTable,
        network: Network,
        lights: MapTrafficLights,
        planner: Planner,
        room: Room,
    ) -> None:
        self._table, self._network, self._lights = table, network, lights
        self._planner, self._room = planner, room
        self._tickets = 0

    def decide(self, situation: Situation) -> None:
        """Give back what was crossed, give up what cannot be crossed now, and claim what comes."""
        t = self._table
        self._leave(situation)
        closed = self._lights.closed()
        if closed:
            self._obey(situation, closed)
        strangers = Strangers(self._network, situation.bodies, situation.strangers, closed)
        if strangers.on:
            self._give_way(situation, strangers)
        far = t.entry - situation.nose
        reach = situation.speed**2 / (2.0 * BRAKING) + CLAIM
        claims = np.flatnonzero((far < reach) & (t.at >= 0)).tolist()
        if claims:
            self._serve(situation, claims, far, closed, strangers)

    # ------------------------------------------------------------------ giving up

    def _leave(self, situation: Situation) -> None:
        """Give back the junctions and the stretches that lie behind."""
        t = self._table
        for k in np.flatnonzero(situation.s - situation.half > t.exit + LEFT).tolist():
            driver, tail = t.drivers[k], situation.s[k] - situation.half[k]
            while driver.held and tail > driver.held[0].exit + LEFT:
                driver.held.pop(0)
            self._room.leave(driver, float(tail))
            t.exit[k] = driver.held[0].exit if driver.held else np.inf

    def _obey(self, situation: Situation, closed: dict[int, int]) -> None:
        """Give up reservations behind a light that has closed, if the driver can still stop."""
        nose = situation.nose
        for k in np.flatnonzero(np.isfinite(self._table.exit)).tolist():
            crossing = self._table.drivers[k].held[-1]
            if not closed.keys().isdisjoint(crossing.lanes) and self._can_stop(situation, k, crossing, nose):
                self._give_back(k)
                self._table.drivers[k].since = 0

    def _give_way(self, situation: Situation, strangers: Strangers) -> None:
        """Let strangers go first: stay out of the junction, or stop short of where the ways meet."""
        nose = situation.nose
        for k in np.flatnonzero(np.isfinite(self._table.exit)).tolist():
            held = self._table.drivers[k].held
            for crossing in held:
                place = self._meets(situation, k, crossing, strangers)
                if place is None:
                    continue
                if crossing is held[-1] and self._can_stop(situation, k, crossing, nose):
                    self._give_back(k)
                elif place - nose[k] > situation.speed[k] ** 2 / (2.0 * HARDEST):
                    situation.halt[k] = min(situation.halt[k], place - SHORT)
                break

    def _can_stop(self, situation: Situation, k: int, crossing: Crossing, nose: Floats) -> bool:
        """Whether a driver can still stop before a junction without braking hard."""
        return crossing.entry - float(nose[k]) > float(situation.speed[k]) ** 2 / (2.0 * FIRM) + 0.5

    def _give_back(self, k: int) -> None:
        """Give up the latest reservation; the driver keeps its place in the queue."""
        t, driver = self._table, self._table.drivers[k]
        crossing = driver.held.pop()
        self._room.give_back(driver, crossing.exit)
        t.exit[k] = driver.held[0].exit if driver.held else np.inf
        driver.ahead = crossing
        t.entry[k] = crossing.entry

    # ------------------------------------------------------------------ claiming

    def _serve(
        self,
        situation: Situation,
        claims: list[int],
        far: Floats,
        closed: dict[int, int],
        strangers: Strangers,
    ) -> None:
        """Reserve junctions for drivers whose way is free, first come, first served."""
        t, network = self._table, self._network
        for k in claims:
            if not t.drivers[k].since:
                self._tickets += 1
                t.drivers[k].since = self._tickets
        claims.sort(key=lambda k: t.drivers[k].since)
        taken = {lane for driver in t for crossing in driver.held for lane in crossing.lanes}
        for k in claims:
            driver = t.drivers[k]
            claimed = driver.ahead
            if claimed is None or not self._able(situation, k, claimed, far, closed):
                continue
            after = self._exit_lane(driver, claimed)
            need = room_needed(situation, k)
            if after is not None and not self._room.fits(after[0], need):
                continue
            conflicts = set().union(*(network.conflicts[lane] for lane in claimed.lanes))
            free = (
                not (conflicts & taken)
                and self._meets(situation, k, claimed, strangers) is None
                and not self._crossed(situation, k, claimed, strangers.astray, *ASTRAY_AHEAD)
                and not self._crossed(situation, k, claimed, situation.walkers, *ON_FOOT_AHEAD)
            )
            # Drivers behind wait for one that came earlier and waits only for others.
            taken.update(claimed.lanes)
            if free:
                driver.held.append(claimed)
                t.exit[k] = driver.held[0].exit
                if after is not None:
                    self._room.keep(driver, *after, need)
                self._planner.next_junction(k, claimed.exit)

    def _able(
        self, situation: Situation, k: int, crossing: Crossing, far: Floats, closed: dict[int, int]
    ) -> bool:
        """Whether nothing but other drivers' reservations keeps this one from entering."""
        if not closed.keys().isdisjoint(crossing.lanes):
            return False
        tracks = self._network.tracks
        gap = situation.gap[k]
        leader = situation.driver_of(int(situation.leader[k]))
        if gap < far[k]:
            # Behind somebody: only if that one is on its way through the same junction.
            if leader is None or not leader.held:
                return False
            junctions = {tracks[lane].junction for lane in crossing.lanes}
            return any(tracks[lane].junction in junctions for held in leader.held for lane in held.lanes)
        beyond = crossing.exit - crossing.entry + far[k] + 2.0 * situation.half[k] + ROOM
        return bool(gap >= beyond or (leader is not None and situation.leader_speed[k] > ROLLING))

    def _exit_lane(self, driver: TrafficDriver, crossing: Crossing) -> tuple[int, float] | None:
        """(lane, path metres) on which a driver leaves a junction; None while that is not planned."""
        for lane, start, _ in driver.lanes:
            if start >= crossing.exit - 1e-6:
                return (lane, start) if self._network.tracks[lane].junction < 0 else None
        return None

    # ------------------------------------------------------------------ others' ways

    def _meets(self, situation: Situation, k: int, crossing: Crossing, strangers: Strangers) -> float | None:
        """Metres along the path before which ``k`` has to wait for a stranger; None where it need not."""
        network, on = self._network, strangers.on
        start, meetings = crossing.entry, []
        half = situation.half[k]
        nose = situation.s[k] + half
        for lane in crossing.lanes:
            for other in network.conflicts[lane] & on.keys():
                begin, end, their_begin, their_end = network.meeting(lane, other)
                if start + begin >= nose:  # otherwise it is there already
                    arrival = min(stranger.arrival(their_begin, their_end) for stranger in on[other])
                    meetings.append((float(start + begin), float(start + end), arrival))
            start += network.tracks[lane].length
        pace = max(float(situation.speed[k]), CROSSING)
        wait: float | None = None
        for begin, end, arrival in sorted(meetings, reverse=True):
            gone = (end + half - situation.s[k]) / pace
            # If it waits further on, its tail may stand in the way here.
            stands = wait is not None and wait - SHORT - 2.0 * half < end
            if arrival < (math.inf if stands else gone + MARGIN):
                wait = begin
        return wait

    def _crossed(
        self, situation: Situation, k: int, crossing: Crossing, rows: Ints, ahead: float, near: float
    ) -> bool:
        """Whether one of these bodies comes ``near`` this way through a junction within ``ahead`` seconds."""
        bodies = situation.bodies
        if not len(rows):
            return False
        px = np.concatenate([self._network.tracks[lane].x for lane in crossing.lanes])
        py = np.concatenate([self._network.tracks[lane].y for lane in crossing.lanes])
        x, y = bodies.position[rows, 0], bodies.position[rows, 1]
        vx, vy = bodies.velocity[rows, 0], bodies.velocity[rows, 1]
        # Somebody behind on one's own way does not cross it.
        keep = (
            (np.hypot(vx, vy) > MOVING)
            & (np.hypot(x - px.mean(), y - py.mean()) < NEARBY)
            & ((x - situation.x[k]) * situation.fx[k] + (y - situation.y[k]) * situation.fy[k] > 0.0)
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
