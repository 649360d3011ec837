"""Where along its reference line a road is sampled."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from minicarla.maps import opendrive as od
from minicarla.maps.curves import SHORTEST

Array = NDArray[np.float64]

SAG = 0.004
"""Metres that a curve may be away from the chord between two of its sampled points."""
LONGEST_CHORD = 2.0
LONGEST_STEP = 1.01 * LONGEST_CHORD
MAX_POINTS = 200_000
"""Sampled points of all roads together.  A town of CARLA has a few thousand."""


def stations(road: od.Road, section: od.LaneSection, most: int) -> Array:
    """Values of s so close together that chords stay within ``SAG`` of the road's lanes.

    Raises OpenDriveError when there would be more than ``most``.
    """
    end = section.s + section.length
    cuts = {section.s, end}
    for starts in (road.starts, road.elevation.starts, road.lane_offset.starts):
        first, last = np.searchsorted(starts, section.s, "right"), np.searchsorted(starts, end, "left")
        cuts.update(starts[first:last].tolist())
    for record in section.lanes.values():
        cuts.update(section.s + m.s_offset for m in record.marks if 0 < m.s_offset < section.length)
    edges = [section.s]
    for cut in sorted(cuts):
        if cut - edges[-1] >= SHORTEST and end - cut >= SHORTEST:
            edges.append(cut)
    edges.append(end)
    parts = []
    for a, b in itertools.pairwise(edges):
        # A piece ends where the next one begins, or SHORTEST after that at most.
        at_a = max(0, int(np.searchsorted(road.starts, a - SHORTEST, "right")) - 1)
        near = road.geometries[at_a : int(np.searchsorted(road.starts, b, "left"))]
        curvature = max((g.max_curvature for g in near if g.s + g.length > a), default=0.0)
        # A lane on the outside of a bend is longer than the reference line, so half the chord is taken.
        chord = (
            min(LONGEST_CHORD, max(0.1, 0.5 * math.sqrt(8 * SAG / curvature)))
            if curvature > 1e-6
            else LONGEST_CHORD
        )
        count = max(1, math.ceil((b - a) / chord))
        most -= count
        if most < 0:
            raise od.OpenDriveError(f"road {road.id!r}: the map is larger than can be held")
        parts.append(a + (b - a) * np.arange(count) / count)
    return np.concatenate([*parts, [end]])
