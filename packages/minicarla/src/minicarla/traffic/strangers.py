"""Strangers: vehicles that the server does not drive, as they come through junctions.

A client or its Traffic Manager drives them.  The server's drivers settle among themselves who goes
first.  A stranger takes no part in that, so it has the right of way: a driver that would meet it waits
outside the junction, or stops short of where their ways meet.  Nobody knows where a stranger will turn,
so it is expected on every way that it may take.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicarla.bodies import Bodies
from minicarla.traffic.network import Network

Ints = NDArray[np.int64]

FORESIGHT = 5.0  # s before it enters a junction from which a stranger counts
NEAR = 5.0  # m before a junction at which it counts however slow it is
STANDING = 0.3  # m/s below which a stranger outside a junction is taken to wait there
READY = 1.0  # m/s by which it may soon be faster
STOPS = 5.0  # m/s^2 with which a stranger is trusted to stop at a closed light


class Stranger(NamedTuple):
    """A stranger on a lane of a junction: where along it its front and its rear are, and its speed in m/s."""

    nose: float
    tail: float
    speed: float

    def arrival(self, start: float, end: float) -> float:
        """Seconds until it comes to the part from ``start`` to ``end`` of the lane; inf if it never does."""
        if self.tail > end:
            return np.inf
        away = start - self.nose
        if away <= 0.0:
            return 0.0
        return np.inf if self.speed < STANDING else away / (self.speed + READY)


class Strangers:
    """All strangers near junctions.

    rows: of the strangers in ``bodies``.  closed: junction lanes whose light is not green.

    ``on`` has the strangers on each lane.  ``astray`` are the rows of those that follow no lane.
    """

    def __init__(self, network: Network, bodies: Bodies, rows: Ints, closed: dict[int, int]) -> None:
        self.on: dict[int, list[Stranger]] = {}
        self.astray: Ints = rows[:0]
        if not len(rows):
            return
        astray = []
        yaw = np.radians(bodies.rotation[rows, 1])
        dx, dy = np.cos(yaw), np.sin(yaw)
        speed = bodies.velocity[rows, 0] * dx + bodies.velocity[rows, 1] * dy
        for k, row in enumerate(rows.tolist()):
            x, y = bodies.position[row, :2].tolist()
            places = network.lanes_along(x, y, float(dx[k]), float(dy[k]))
            if not places or speed[k] < -STANDING:
                astray.append(row)
                continue
            half = float(bodies.extent[row, 0])
            for lane, s in places:
                self._follow(network, closed, lane, s, half, max(0.0, float(speed[k])))
        self.astray = np.array(astray, np.int64)

    def _follow(
        self, network: Network, closed: dict[int, int], lane: int, s: float, half: float, speed: float
    ) -> None:
        tracks = network.tracks
        if s < half and tracks[lane].junction < 0:  # its rear is still in the junction behind
            for before in tracks[lane].predecessors:
                if before in tracks and tracks[before].junction >= 0:
                    self._enter(before, s + tracks[before].length, half, speed)
        reach = speed * FORESIGHT + NEAR + half
        ways = [(lane, s)]
        while ways:
            lane, s = ways.pop()
            track = tracks[lane]
            if track.junction >= 0:
                self._enter(lane, s, half, speed)
            left = track.length - s
            if left > reach:
                continue
            for after in track.successors:
                if after in closed and left - half > speed * speed / (2.0 * STOPS):
                    continue
                ways.append((after, s - track.length))

    def _enter(self, lane: int, s: float, half: float, speed: float) -> None:
        self.on.setdefault(lane, []).append(Stranger(s + half, s - half, speed))
