"""What the road tells a vehicle where it is: the speed limit, and the traffic light ahead of it.

Both are looked up for all vehicles at once in every tick, from tables made when the map is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minicarla.bodies import VEHICLE, Bodies
from minicarla.maps import RoadMap, Sign
from minicarla.traffic.lights import TRIGGER, MapTrafficLights
from minicarla.wire.structs import TrafficLightState
from minicarla.world.placement import overlaps

Floats = NDArray[np.float64]

_CELL = 2.0  # metres
_MAX_CELLS = 1 << 24
_LIMITS_EVERY = 4  # ticks


class LaneLimits:
    """The limit that the map gives the lane at a place, km/h; off the lanes a vehicle keeps what it had."""

    def __init__(self, roadmap: RoadMap) -> None:
        lanes = [lane for lane in roadmap.lanes if lane.kind == "driving"]
        points = np.concatenate([lane.points[:, :2] for lane in lanes])
        limits = np.concatenate([np.full(len(lane.points), 3.6 * lane.speed_limit) for lane in lanes])
        self._origin = points.min(0)
        span = points.max(0) - self._origin
        self._cell = max(_CELL, float(np.sqrt(span.prod() / _MAX_CELLS)))
        cells = ((points - self._origin) / self._cell).astype(np.int64)
        self._shape = cells.max(0) + 1
        self._table = np.zeros(self._shape)
        # The lowest limit wins where lanes meet, whatever their order in the file.
        order = np.argsort(-limits, kind="stable")
        self._table[cells[order, 0], cells[order, 1]] = limits[order]

    def at(self, position: Floats) -> Floats:
        """The limits at ``position`` (n, 3); 0 off the lanes."""
        cells = np.floor((position[:, :2] - self._origin) / self._cell)
        inside = ((cells >= 0) & (cells < self._shape)).all(1)
        cells = np.where(inside[:, None], cells, 0.0).astype(np.int64)
        return np.where(inside, self._table[cells[:, 0], cells[:, 1]], 0.0)


class SignLimits:
    """The speed limit signs of a map: a vehicle has passed one when it comes into the sign's box.

    As in CARLA, the limit of the sign that a vehicle passed last holds for it until it passes another one.
    """

    def __init__(self, signs: Sequence[Sign]) -> None:
        boxes = [(box, float(sign.limit)) for sign in signs if sign.limit for box in sign.boxes]
        self._centre = np.array([box.centre for box, _ in boxes], np.float64).reshape(-1, 3)
        self._extent = np.array([box.extent for box, _ in boxes], np.float64).reshape(-1, 3)
        self._yaw = np.array([box.yaw for box, _ in boxes], np.float64)
        self._limit = [limit for _, limit in boxes]
        self._inside: set[tuple[int, int]] = set()

    def update(self, bodies: Bodies, dt: float) -> None:
        """Write ``sign_limit`` of the vehicles that came into a box during the last ``dt`` seconds."""
        if not self._limit:
            return
        # The ground that a vehicle has covered in this tick, so that it jumps over no box.
        middle = bodies.position - 0.5 * dt * bodies.velocity
        half = bodies.extent[:, 0] + 0.5 * dt * np.hypot(bodies.velocity[:, 0], bodies.velocity[:, 1])
        away = middle[:, None, :2] - self._centre[:, :2]
        reach = half + bodies.extent[:, 1] + 2.0 * float(self._extent[:, :2].max())
        near = (np.abs(away) < reach[:, None, None]).all(2) & (bodies.kind == VEHICLE)[:, None]
        inside: set[tuple[int, int]] = set()
        for row in np.flatnonzero(near.any(1)).tolist():
            actor_id, yaw = int(bodies.id[row]), float(bodies.rotation[row, 1])
            cover = half[row], bodies.extent[row, 1], bodies.extent[row, 2]
            touched = overlaps(middle[row], cover, yaw, self._centre, self._extent, self._yaw)
            ahead = self._centre[:, :2] @ (np.cos(np.radians(yaw)), np.sin(np.radians(yaw)))
            for box in sorted(np.flatnonzero(touched).tolist(), key=lambda k: float(ahead[k])):
                inside.add((actor_id, box))
                if (actor_id, box) not in self._inside:
                    bodies.sign_limit[row] = self._limit[box]
        self._inside = inside


class LightZones:
    """Where a vehicle counts as being at a traffic light: a stretch of lane before its stop line.

    reach: metres before the stop line that belong to the zone.
    """

    PAST = 2.0
    """Metres beyond the stop line that still belong to the zone."""

    def __init__(self, roadmap: RoadMap, lights: MapTrafficLights, reach: float) -> None:
        rows = []
        for light in lights.lights:
            for lane_id, s in light.stops:
                lane = roadmap.lanes[lane_id]
                point, heading = lane.at(s)
                rows.append((light.index, point[0], point[1], np.radians(heading), lane.width))
        table = np.array(rows, np.float64).reshape(-1, 5)
        self._light = table[:, 0].astype(np.int64)
        self._x, self._y = table[:, 1], table[:, 2]
        self._cos, self._sin = np.cos(table[:, 3]), np.sin(table[:, 3])
        self._half = 0.5 * table[:, 4]
        self._reach = reach

    def find(self, position: Floats, yaw: Floats) -> NDArray[np.int64]:
        """Index of the light that each of n vehicles is at, -1 for none."""
        if not len(self._light):
            return np.full(len(position), -1)
        dx = self._x - position[:, :1]
        dy = self._y - position[:, 1:2]
        ahead = dx * self._cos + dy * self._sin  # metres to the line
        aside = np.abs(dy * self._cos - dx * self._sin)
        turn = np.radians(yaw)[:, None]
        with_it = np.cos(turn) * self._cos + np.sin(turn) * self._sin > 0.5
        at = (ahead > -self.PAST) & (ahead < self._reach) & (aside < self._half) & with_it
        return np.where(at.any(1), self._light[at.argmax(1)], -1)


class Roadside:
    """Tells the vehicles their speed limit and their traffic light, in every tick.

    Until it passes its first speed limit sign a vehicle is told the limit of its lane.

    light_ids: actor ids of the map's traffic lights, in their order.
    """

    def __init__(
        self, roadmap: RoadMap, lights: MapTrafficLights, light_ids: Sequence[int], signs: Sequence[Sign]
    ) -> None:
        self._lights = lights
        self._lanes = LaneLimits(roadmap)
        self._signs = SignLimits(signs)
        self._zones = LightZones(roadmap, lights, TRIGGER)
        self._light_ids = np.array([0, *light_ids])  # by index + 1; 0: no light

    def update(self, bodies: Bodies, frame: int, dt: float) -> None:
        """Write speed limit, traffic light and its state of every body; ``dt`` seconds have passed."""
        if not len(bodies):
            return
        self._signs.update(bodies, dt)
        if frame % _LIMITS_EVERY == 0:
            limits = self._lanes.at(bodies.position)
            np.copyto(bodies.speed_limit, limits, where=limits > 0.0)
        np.copyto(bodies.speed_limit, bodies.sign_limit, where=bodies.sign_limit > 0.0)
        if len(self._light_ids) > 1:
            light = self._zones.find(bodies.position, bodies.rotation[:, 1]) + 1
            states = [TrafficLightState.GREEN, *(light.state for light in self._lights.lights)]
            bodies.light_id[:] = self._light_ids[light]
            bodies.light_state[:] = np.array(states, np.uint8)[light]
