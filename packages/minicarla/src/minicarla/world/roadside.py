"""What the road tells a vehicle where it is: the speed limit, and the traffic light ahead of it.

Both are looked up for all vehicles at once in every tick, from tables made when the map is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minicarla.bodies import Bodies
from minicarla.maps import RoadMap
from minicarla.traffic.lights import TRIGGER, TrafficLights
from minicarla.wire.structs import TrafficLightState

Floats = NDArray[np.float64]

_CELL = 2.0  # metres
_MAX_CELLS = 1 << 24
_LIMITS_EVERY = 4  # ticks


class SpeedLimits:
    """The speed limit at a place, km/h; off the lanes a vehicle keeps the limit that it had."""

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

    def update(self, position: Floats, limits: Floats) -> None:
        """Write the limits at ``position`` (n, 3) into ``limits`` (n,), in place."""
        cells = np.floor((position[:, :2] - self._origin) / self._cell)
        inside = ((cells >= 0) & (cells < self._shape)).all(1)
        cells = np.where(inside[:, None], cells, 0.0).astype(np.int64)
        found = np.where(inside, self._table[cells[:, 0], cells[:, 1]], 0.0)
        np.copyto(limits, found, where=found > 0.0)


class LightZones:
    """Where a vehicle counts as being at a traffic light: a stretch of lane before its stop line.

    reach: metres before the stop line that belong to the zone.
    """

    PAST = 2.0
    """Metres beyond the stop line that still belong to the zone."""

    def __init__(self, roadmap: RoadMap, lights: TrafficLights, reach: float) -> None:
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

    light_ids: actor ids of the map's traffic lights, in their order.
    """

    def __init__(self, roadmap: RoadMap, lights: TrafficLights, light_ids: Sequence[int]) -> None:
        self._lights = lights
        self._limits = SpeedLimits(roadmap)
        self._zones = LightZones(roadmap, lights, TRIGGER)
        self._light_ids = np.array([0, *light_ids])  # by index + 1; 0: no light

    def update(self, bodies: Bodies, frame: int) -> None:
        """Write speed limit, traffic light and its state of every body."""
        if not len(bodies):
            return
        if frame % _LIMITS_EVERY == 0:
            self._limits.update(bodies.position, bodies.speed_limit)
        if len(self._light_ids) > 1:
            light = self._zones.find(bodies.position, bodies.rotation[:, 1]) + 1
            states = [TrafficLightState.GREEN, *(light.state for light in self._lights.lights)]
            bodies.light_id[:] = self._light_ids[light]
            bodies.light_state[:] = np.array(states, np.uint8)[light]
