"""Sidewalks that meet are joined; where none leads around a corner of a junction, a strip does."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np

from minicarla.maps.navmesh.file import Area
from minicarla.maps.navmesh.polygons import DisjointSets
from minicarla.maps.navmesh.sidewalks import Cell, Sidewalks, StripEnd

_JOIN = 1.5  # metres that the ends of two sidewalks may be apart and are still joined
_CORNER = 45.0  # metres: the longest strip around a corner of a junction
_MOST_TOGETHER = 64  # ends of sidewalks in one place; damaged maps may have more, which would take long


def meet(walks: Sidewalks, joined: DisjointSets) -> None:
    """Join the ends of sidewalks where one continues the other."""
    places: dict[tuple[int, int], list[int]] = defaultdict(list)
    middles = [walks.middle(end) for end in walks.ends]
    size = 2.0 * _JOIN
    for k, (x, y) in enumerate(middles):
        cell = places[math.floor(x / size), math.floor(y / size)]
        if len(cell) < _MOST_TOGETHER:
            cell.append(k)
    pairs = []
    for k, (x, y) in enumerate(middles):
        column, row = math.floor(x / size), math.floor(y / size)
        for dx, dy in itertools.product((-1, 0, 1), repeat=2):
            for other in places.get((column + dx, row + dy), ()):
                if other > k:
                    apart = _apart(walks, walks.ends[k], walks.ends[other])
                    if apart is not None:
                        pairs.append((apart, k, other))
    for _, a, b in sorted(pairs, key=lambda pair: (pair[0][0], *pair[1:])):
        one, two = walks.ends[a], walks.ends[b]
        if one.partner is None and two.partner is None:
            one.partner, two.partner = two, one
            crossed = _apart(walks, one, two)
            assert crossed is not None
            ours, theirs = (one.inner, one.outer), (two.inner, two.outer)
            for v, w in zip(ours, theirs[::-1] if crossed[1] else theirs, strict=True):
                joined.join(v, w)


def _apart(walks: Sidewalks, a: StripEnd, b: StripEnd) -> tuple[float, bool] | None:
    """Metres between two ends of which one can continue the other, and whether inner meets outer.

    None if they cannot be joined.
    """
    if a.strip is b.strip and len(a.strip) < 3:
        return None
    if a.away[0] * b.away[0] + a.away[1] * b.away[1] > -0.3:
        return None
    p, q, u, v = (np.array(walks.points[i]) for i in (a.inner, a.outer, b.inner, b.outer))
    straight = max(math.dist(p, u), math.dist(q, v))
    across = max(math.dist(p, v), math.dist(q, u))
    best = min(straight, across)
    return (best, across < straight) if best < _JOIN else None


def lead_around_corners(walks: Sidewalks) -> None:
    """Strips around the corners of junctions where no sidewalk leads around them."""
    open_ends: dict[str, list[StripEnd]] = defaultdict(list)
    for end in walks.ends:
        if end.junction and end.partner is None and len(open_ends[end.junction]) < _MOST_TOGETHER:
            open_ends[end.junction].append(end)
    for ends in open_ends.values():
        pairs = sorted(
            (math.dist(walks.middle(a), walks.middle(b)), i, j)
            for i, a in enumerate(ends)
            for j, b in enumerate(ends)
            if i < j and (a.street != b.street or len(ends) == 2)
        )
        for apart, i, j in pairs:
            a, b = ends[i], ends[j]
            if apart > _CORNER or a.partner is not None or b.partner is not None:
                continue
            a.partner, b.partner = b, a
            corners = (a.inner, a.outer, b.outer, b.inner)
            points = np.array([walks.points[v] for v in corners])
            share = np.linspace(0.1, 0.9, 9)[:, None]
            way = (1 - share) * 0.5 * (points[0] + points[1]) + share * 0.5 * (points[2] + points[3])
            area = Area.CROSSWALK if walks.driven_on(way).any() else Area.SIDEWALK
            walks.strips.append([Cell(corners, area)])
