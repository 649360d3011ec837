"""How the cross-section of a road is divided: sidewalks, the road between them, and where crossings are."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from minicarla.maps import opendrive as od
from minicarla.maps.navmesh.file import WALKER_RADIUS, Area
from minicarla.maps.roadmap import SURFACE_KINDS

Array = NDArray[np.float64]

CROSSING_WIDTH = 3.0
STRIP_WIDTH = 1.5
"""Metres: width of the strip that takes the place of a missing sidewalk."""
NARROWEST = 0.25  # metres: width of a sidewalk less a walker's radius on both sides
_BETWEEN = 40.0  # metres: a longer street without junctions has a crossing in its middle


def bands_of(road: od.Road, section: od.LaneSection, s: Array, walks: bool) -> tuple[list[Area], list[Array]]:
    """The areas of a section from left to right, and the lines between them.

    The lines are metres to the left of the reference line at each s; there is one more than areas.
    walks: whether any road of the map has a sidewalk.
    """
    ids = sorted((i for i in section.lanes if i != 0), reverse=True)
    ds = s - section.s
    widths = {i: np.maximum(section.lanes[i].widths(ds), 0.0) for i in ids}
    base = road.lane_offset(s)
    left = [base]
    for i in sorted(i for i in ids if i > 0):
        left.append(left[-1] + widths[i])
    right = [base]
    for i in sorted((i for i in ids if i < 0), reverse=True):
        right.append(right[-1] - widths[i])
    edges = [*reversed(left), *right[1:]]
    kinds = [SURFACE_KINDS.get(section.lanes[i].kind, "verge") for i in ids]
    if not walks:
        kinds, edges = _beside(kinds, edges)
    if "sidewalk" not in kinds:
        return [], []
    # Neighbouring lanes of one kind form one band.  What lies between sidewalks is road or grass.
    areas: list[Area] = []
    lines: list[Array] = []
    for is_walk, run in itertools.groupby(range(len(kinds)), lambda k: kinds[k] == "sidewalk"):
        lanes = list(run)
        area = Area.SIDEWALK
        if not is_walk:
            driven = [k for k in lanes if kinds[k] in ("road", "shoulder")]
            area = Area.ROAD if driven else Area.GRASS
            # At the outer edge of the road only as far as it is paved.
            if lanes[0] == 0:
                lanes = lanes[driven[0] :] if driven else []
            elif lanes[-1] == len(kinds) - 1:
                lanes = list(range(lanes[0], driven[-1] + 1)) if driven else []
        if lanes:
            areas.append(area)
            lines = lines or [edges[lanes[0]]]
            lines.append(edges[lanes[-1] + 1])
    # The middle of a walker stays one radius away from the kerb.
    moved = list(lines)
    for k, area in enumerate(areas):
        if area is Area.SIDEWALK:
            margin = np.minimum(WALKER_RADIUS, 0.25 * (lines[k] - lines[k + 1]))
            moved[k], moved[k + 1] = lines[k] - margin, lines[k + 1] + margin
    return areas, moved


def crossings_of(length: float, before: bool, after: bool) -> list[tuple[float, float]]:
    """Crossings of a street, each from an s to an s.

    before, after: whether there is a junction at the start and at the end of the street.
    """
    width = CROSSING_WIDTH
    if length < 2.0 * width:
        return [(0.0, length)] if before or after else []
    found = []
    if before:
        found.append((0.0, width))
    if after and (not before or length > 6.0 * width):
        found.append((length - width, length))
    if not found and length > _BETWEEN:
        found.append((0.5 * (length - width), 0.5 * (length + width)))
    return found


def _beside(kinds: list[str], edges: list[Array]) -> tuple[list[str], list[Array]]:
    """The lanes of a road without sidewalks, with one added on each side: the shoulder, or a strip."""
    driven = [k for k, kind in enumerate(kinds) if kind == "road"]
    if not driven:
        return kinds, edges
    kinds, edges = list(kinds), list(edges)
    first, last = driven[0], driven[-1]

    def wide(k: int) -> bool:
        width = edges[k] - edges[k + 1]
        return kinds[k] == "shoulder" and float(width.min()) >= 2.0 * WALKER_RADIUS + NARROWEST

    at_right = next((k for k in range(last + 1, len(kinds)) if wide(k)), None)
    if at_right is not None:
        kinds[at_right] = "sidewalk"
    else:
        kinds, edges = [*kinds, "sidewalk"], [*edges, edges[-1] - STRIP_WIDTH]
    at_left = next((k for k in range(first - 1, -1, -1) if wide(k)), None)
    if at_left is not None:
        kinds[at_left] = "sidewalk"
    else:
        kinds, edges = ["sidewalk", *kinds], [edges[0] + STRIP_WIDTH, *edges]
    return kinds, edges
