"""Room on the stretches between junctions, kept for those who are on them or on their way there.

A driver enters a junction only when there is room for it beyond, so that it never has to stop inside.
"""

from __future__ import annotations

import math

from minicarla.traffic.network import Network
from minicarla.traffic.table import TrafficDriver


class Room:
    """Metres that drivers keep on each stretch."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.taken: dict[int, float] = {}
        """Metres kept, by stretch."""

    def fits(self, lane: int, metres: float) -> bool:
        """Whether so much is free on the stretch that begins with ``lane``; an empty one is always enough."""
        stretch = self._network.stretch[lane]
        full = self.taken.get(stretch, 0.0)
        return full <= 0.0 or full + metres <= self._network.room[stretch]

    def keep(self, driver: TrafficDriver, lane: int, start: float, metres: float) -> None:
        """Keep room for a driver on the stretch that begins with ``lane``, at ``start`` of its path."""
        stretch = self._network.stretch[lane]
        driver.room.append((stretch, metres, start + self._network.room[stretch]))
        self.taken[stretch] = self.taken.get(stretch, 0.0) + metres

    def leave(self, driver: TrafficDriver, tail: float = math.inf) -> None:
        """Give back the stretches that end before ``tail`` metres of the driver's path."""
        while driver.room and driver.room[0][2] < tail:
            stretch, metres, _ = driver.room.pop(0)
            self.taken[stretch] -= metres

    def give_back(self, driver: TrafficDriver, beyond: float) -> None:
        """Give back what was kept last, if that lies beyond so many metres of the driver's path."""
        if driver.room and driver.room[-1][2] > beyond:
            stretch, metres, _ = driver.room.pop()
            self.taken[stretch] -= metres
