"""What a map consists of: lanes, strips of ground, painted lines.

Everything is in CARLA's frame, in metres and degrees, and a lane's points run in the direction of travel.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Lane:
    """One lane of one section, sampled along its centre."""

    id: int
    """Index into ``RoadMap.lanes``."""
    road_id: int
    lane_id: int
    """OpenDRIVE's lane number: positive to the left of the reference line."""
    section: int
    kind: str
    points: Array
    """(n, 3), in the direction of travel."""
    headings: Array
    """(n,) degrees."""
    s: Array
    """(n,) metres from the first point, along the centre."""
    width: float
    """Metres, at the middle of the lane."""
    speed_limit: float
    """m/s"""
    junction: int
    """The junction that the lane lies in, or -1."""
    road_s: Array = field(repr=False, default_factory=lambda: np.empty(0))
    """(n,) OpenDRIVE's s of each point."""
    successors: list[int] = field(default_factory=list)
    predecessors: list[int] = field(default_factory=list)

    @property
    def length(self) -> float:
        """Metres along the centre."""
        return float(self.s[-1])

    @property
    def forward(self) -> bool:
        """Whether one drives along the road's own direction, in which OpenDRIVE's s grows."""
        return bool(self.road_s[0] <= self.road_s[-1])

    def along(self, road_s: float) -> float:
        """Metres along the centre of the place at OpenDRIVE's ``road_s``."""
        order = slice(None) if self.forward else slice(None, None, -1)
        return float(np.interp(road_s, self.road_s[order], self.s[order]))

    def at(self, s: float) -> tuple[Array, float]:
        """Point (3,) and heading in degrees, ``s`` metres along the centre."""
        point = np.array([np.interp(s, self.s, self.points[:, k]) for k in range(3)])
        return point, float(np.interp(s, self.s, np.unwrap(self.headings, period=360.0)))


@dataclass(frozen=True)
class Surface:
    """A strip of ground between two polylines (n, 3)."""

    kind: str
    """"road", "shoulder", "sidewalk" or "verge"."""
    left: Array
    right: Array


@dataclass(frozen=True)
class Marking:
    """A painted line."""

    points: Array
    width: float
    colour: tuple[int, int, int]
    broken: bool
