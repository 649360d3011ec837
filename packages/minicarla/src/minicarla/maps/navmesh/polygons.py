"""Geometry of a navigation mesh: simpler lines, convex polygons, sets of corners that are joined."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TOLERANCE = 0.06
"""Metres that an edge of the mesh may be away from the curve that it approximates."""
_LONGEST = 40.0  # metres: length of a polygon; paths are searched from edge to edge


class DisjointSets:
    """Union and find."""

    def __init__(self, count: int) -> None:
        self.parent = list(range(count))

    def find(self, a: int) -> int:
        parent = self.parent
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        return a

    def join(self, a: int, b: int) -> None:
        a, b = self.find(a), self.find(b)
        self.parent[max(a, b)] = min(a, b)


def simplify(lines: Array, wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Stations of lines (k, n, 3) to keep so that all lines stay near their chords (Douglas and Peucker).

    wanted: (n,) stations that are kept in any case.
    """
    kept: list[int] = [0]
    fixed = [0, *np.flatnonzero(wanted).tolist(), lines.shape[1] - 1]
    for start, stop in itertools.pairwise(sorted(set(fixed))):
        stack = [(start, stop)]
        while stack:
            a, b = stack.pop()
            if b - a > 1:
                chord = lines[:, b] - lines[:, a]  # (k, 3)
                length = np.linalg.norm(chord, axis=1)
                way = lines[:, a + 1 : b] - lines[:, a : a + 1]
                unit = (chord / np.maximum(length, 1e-9)[:, None])[:, None]
                away = np.linalg.norm(way - (way * unit).sum(2, keepdims=True) * unit, axis=2).max(0)
                worst = a + 1 + int(away.argmax())
                if away.max() > TOLERANCE or length.max() > _LONGEST:
                    if away.max() <= TOLERANCE:
                        worst = (a + b) // 2
                    stack += [(worst, b), (a, worst)]
                    continue
            kept.append(b)
    return np.array(kept)


def signed_area(points: Array) -> float:
    """Square metres; positive when the corners (n, 2 or more) go round in the direction from x to y."""
    x0, y0 = points[0, :2].tolist()
    # With plain floats, which are faster than arrays of three or four points.
    around = [(x - x0, y - y0) for x, y in points[:, :2].tolist()]
    return 0.5 * sum(x * v - u * y for (x, y), (u, v) in zip(around, [*around[1:], around[0]], strict=True))


def convex(corners: Sequence[int], points: Array) -> Iterable[tuple[int, ...]]:
    """A quadrilateral as convex polygons with Detour's direction; nothing if it has no area."""
    loop = [v for k, v in enumerate(corners) if v != corners[k - 1]]
    if len(set(loop)) != len(loop) or len(loop) < 3:
        return
    if signed_area(points[loop]) > 0.0:
        loop.reverse()
    n = len(loop)
    turns = [-signed_area(points[[loop[k - 1], loop[k], loop[(k + 1) % n]]]) for k in range(n)]
    if min(turns) > 1e-6:
        yield tuple(loop)
    elif n == 4:
        # Cut it from the corner that points inwards, or is flat.
        k = int(np.argmin(turns))
        a, b, c, d = (loop[(k + i) % 4] for i in range(4))
        for part in ((a, b, c), (a, c, d)):
            if -signed_area(points[list(part)]) > 1e-3:
                yield part
