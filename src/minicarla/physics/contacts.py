"""Boxes that touch: broad phase, separating axes, impulses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RESTITUTION = 0.15  # car bodies crumple
SLOW = 1.0  # m/s; below it nothing bounces
FRICTION = 0.4  # metal on metal, on walls
_ROUNDS = 4  # of the impulse solver, for bodies that touch several others
_CELL = 4.0  # metres
_REACH = 7.0  # metres around a body's origin in which the grid promises every static box
_ROOM = 1e-4  # metres left between bodies that were pushed apart


class Contact(NamedTuple):
    """Two things that touched during a tick."""

    a: int
    """Actor id."""
    b: int
    """Actor id, or -1 for a static box."""
    static: int
    """Index into ``roadmap.statics``, or -1."""
    impulse: tuple[float, float, float]
    """N*s on ``a``, world frame."""
    point: tuple[float, float, float]
    """Where, world frame, metres."""


class Solids:
    """The map's solid boxes, found by place.

    A grid of square cells; each lists the boxes that come within ``_REACH`` of any
    point in it.
    """

    def __init__(self, statics: Sequence[Any]) -> None:
        kept = [(i, box) for i, box in enumerate(statics) if box.solid]
        self.index = [i for i, _ in kept]
        self.centre = np.array([box.centre for _, box in kept], np.float64).reshape(-1, 3)
        self.extent = np.array([box.extent for _, box in kept], np.float64).reshape(-1, 3)
        self.yaw = np.radians(np.array([box.yaw for _, box in kept], np.float64))
        self._grid()

    def __len__(self) -> int:
        return len(self.index)

    def _grid(self) -> None:
        if not len(self):
            return
        radius = np.hypot(self.extent[:, 0], self.extent[:, 1])[:, None]
        pad = _REACH + _CELL
        self.low = (self.centre[:, :2] - radius).min(axis=0) - pad
        high = (self.centre[:, :2] + radius).max(axis=0) + pad
        self.shape = np.ceil((high - self.low) / _CELL).astype(np.int64)
        cells: list[Ints] = []
        margin = _REACH + _CELL * math.sqrt(0.5)
        for (x, y, _), (ex, ey, _), yaw, r in zip(
            self.centre, self.extent, self.yaw, radius[:, 0], strict=True
        ):
            i0, j0 = np.floor((np.array([x, y]) - r - margin - self.low) / _CELL).astype(int).clip(0)
            i1, j1 = np.ceil((np.array([x, y]) + r + margin - self.low) / _CELL).astype(int)
            i, j = np.meshgrid(
                np.arange(i0, min(i1, self.shape[0])), np.arange(j0, min(j1, self.shape[1])), indexing="ij"
            )
            dx = self.low[0] + (i + 0.5) * _CELL - x
            dy = self.low[1] + (j + 0.5) * _CELL - y
            along = np.abs(dx * math.cos(yaw) + dy * math.sin(yaw))
            across = np.abs(dy * math.cos(yaw) - dx * math.sin(yaw))
            near = (along <= ex + margin) & (across <= ey + margin)
            cells.append((i[near] * self.shape[1] + j[near]).astype(np.int64))
        where = np.concatenate(cells)
        which = np.repeat(np.arange(len(self)), [len(c) for c in cells])
        order = np.argsort(where, kind="stable")
        self.members = which[order]
        self.start = np.searchsorted(where[order], np.arange(int(np.prod(self.shape)) + 1))

    def near(self, x: Floats, y: Floats, reach: Floats) -> tuple[Ints, Ints]:
        """Pairs (body, box) that may touch when bodies reach as far as ``reach``."""
        none = np.zeros(0, np.int64)
        if not len(self):
            return none, none
        i = ((x - self.low[0]) * (1.0 / _CELL)).astype(np.int64)
        j = ((y - self.low[1]) * (1.0 / _CELL)).astype(np.int64)
        inside = (x > self.low[0]) & (y > self.low[1]) & (i < self.shape[0]) & (j < self.shape[1])
        cell = np.where(inside, i * self.shape[1] + j, 0)
        first = self.start[cell]
        count = np.where(inside, self.start[cell + 1] - first, 0)
        far = reach > _REACH
        if far.any():  # long or fast: the grid does not promise enough
            count[far] = 0
        total = int(count.sum())
        body = np.repeat(np.arange(len(x)), count)
        box = self.members[np.arange(total) + np.repeat(first - (np.cumsum(count) - count), count)]
        if far.any():
            rows = np.flatnonzero(far)
            body = np.concatenate([body, np.repeat(rows, len(self))])
            box = np.concatenate([box, np.tile(np.arange(len(self)), len(rows))])
        if not len(body):
            return none, none
        dx, dy = x[body] - self.centre[box, 0], y[body] - self.centre[box, 1]
        cos, sin = np.cos(self.yaw[box]), np.sin(self.yaw[box])
        r = reach[body]
        close = (np.abs(dx * cos + dy * sin) < self.extent[box, 0] + r) & (
            np.abs(dy * cos - dx * sin) < self.extent[box, 1] + r
        )
        return body[close], box[close]


def near_pairs(x: Floats, y: Floats, reach: Floats) -> tuple[Ints, Ints]:
    """Pairs (i, j) of discs of radius ``reach`` that overlap: sort and sweep along x."""
    n = len(x)
    none = np.zeros(0, np.int64)
    if n < 2:
        return none, none
    order = np.argsort(x, kind="stable")
    xs = x[order]
    count = np.searchsorted(xs, xs + 2.0 * reach.max()) - np.arange(n) - 1
    total = int(count.sum())
    if not total:
        return none, none
    first = np.repeat(np.arange(n), count)
    second = first + 1 + np.arange(total) - np.repeat(np.cumsum(count) - count, count)
    i, j = order[first], order[second]
    close = (x[i] - x[j]) ** 2 + (y[i] - y[j]) ** 2 < (reach[i] + reach[j]) ** 2
    i, j = i[close], j[close]
    return np.minimum(i, j), np.maximum(i, j)


def penetration(
    dx: Floats, dy: Floats, yaw_a: Floats, yaw_b: Floats, extent_a: Floats, extent_b: Floats
) -> tuple[Floats, Floats, Floats]:
    """How deep boxes overlap: (depth, nx, ny), the normal from a to b; depth <= 0 where apart.

    dx, dy: from a's centre to b's.  Separating axes of two rectangles.
    """
    ca, sa, cb, sb = np.cos(yaw_a), np.sin(yaw_a), np.cos(yaw_b), np.sin(yaw_b)
    c, s = np.abs(ca * cb + sa * sb), np.abs(sb * ca - cb * sa)
    al, aw, bl, bw = extent_a[:, 0], extent_a[:, 1], extent_b[:, 0], extent_b[:, 1]
    ax = np.stack([ca, -sa, cb, -sb])
    ay = np.stack([sa, ca, sb, cb])
    along = ax * dx + ay * dy
    depth = np.stack([al + bl * c + bw * s, aw + bl * s + bw * c, bl + al * c + aw * s, bw + al * s + aw * c])
    depth -= np.abs(along)
    best = depth.argmin(axis=0)
    pick = np.arange(len(dx))
    sign = np.where(along[best, pick] < 0.0, -1.0, 1.0)
    return depth[best, pick], ax[best, pick] * sign, ay[best, pick] * sign


class Box(NamedTuple):
    """An oriented rectangle."""

    x: float
    y: float
    cos: float
    sin: float
    length: float  # half
    width: float  # half

    def corners(self) -> list[tuple[float, float]]:
        """The four corners, in order."""
        lx, ly = self.length * self.cos, self.length * self.sin
        wx, wy = -self.width * self.sin, self.width * self.cos
        x, y = self.x, self.y
        return [
            (x + lx + wx, y + ly + wy),
            (x + lx - wx, y + ly - wy),
            (x - lx - wx, y - ly - wy),
            (x - lx + wx, y - ly + wy),
        ]


def touching_point(a: Box, b: Box) -> tuple[float, float]:
    """Middle of what two rectangles have in common (the middle between them, if nothing)."""
    points = b.corners()
    for normal_x, normal_y, reach in (
        (a.cos, a.sin, a.length),
        (-a.cos, -a.sin, a.length),
        (-a.sin, a.cos, a.width),
        (a.sin, -a.cos, a.width),
    ):
        # Sutherland and Hodgman 1974: keep what lies on the inner side of each edge of a.
        inside = [reach - (x - a.x) * normal_x - (y - a.y) * normal_y for x, y in points]
        kept: list[tuple[float, float]] = []
        for k, (x, y) in enumerate(points):
            before = inside[k - 1]
            if (before > 0.0) != (inside[k] > 0.0):
                t = before / (before - inside[k])
                x0, y0 = points[k - 1]
                kept.append((x0 + t * (x - x0), y0 + t * (y - y0)))
            if inside[k] > 0.0:
                kept.append((x, y))
        points = kept
    if not points:
        return 0.5 * (a.x + b.x), 0.5 * (a.y + b.y)
    return sum(p[0] for p in points) / len(points), sum(p[1] for p in points) / len(points)
