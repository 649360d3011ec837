"""Collisions of boxes: where two of them met, along which normal, and the impulses between them.

Everything happens in the plane.  Of the heights only their overlap counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from minicarla.bodies import VEHICLE, WALKER, Bodies
from minicarla.maps import StaticBox
from minicarla.physics import models

Floats = NDArray[np.float64]

RESTITUTION = 0.15  # low, since car bodies crumple
SLOW = 1.0  # m/s below which nothing bounces
FRICTION = 0.4  # metal on metal and on walls
_ROUNDS = 8  # of the impulse solver; bodies that touch several others need more than a few
_CELL = 2.0  # metres
_MOST_CELLS = 2000  # on each side; on larger maps cells are larger
_REACHES = (4.5, 9.0)  # metres around a body's origin in which each of the grids lists every static box
_ROOM = 1e-4  # metres left between bodies that were pushed apart


class BodyContact(NamedTuple):
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
    """The solid boxes of the map, with grids to find them by place."""

    def __init__(self, statics: Sequence[StaticBox]) -> None:
        kept = [(i, box) for i, box in enumerate(statics) if box.solid]
        self.index = [i for i, _ in kept]
        self.centre = np.array([box.centre for _, box in kept], np.float64).reshape(-1, 3)
        self.extent = np.array([box.extent for _, box in kept], np.float64).reshape(-1, 3)
        self.yaw = np.radians(np.array([box.yaw for _, box in kept], np.float64))
        self.cos, self.sin = np.cos(self.yaw), np.sin(self.yaw)
        # The small reach is for a car in town, the large one for what is long or fast.
        self.grids = [Grid(self, reach) for reach in _REACHES] if kept else []

    def __len__(self) -> int:
        return len(self.index)


class Grid:
    """Square cells, each with the boxes that come within ``reach`` of any point in it.

    x0, y0: corner of the grid, metres.  cell: size of a cell, metres.
    across, down: number of cells along x and y; cell (i, j) has the number i * down + j.
    start: (cells + 1,) index into ``members`` where the boxes of each cell begin.
    """

    def __init__(self, solids: Solids, reach: float) -> None:
        radius = np.hypot(solids.extent[:, 0], solids.extent[:, 1])
        low = (solids.centre[:, :2] - radius[:, None]).min(axis=0) - reach
        high = (solids.centre[:, :2] + radius[:, None]).max(axis=0) + reach
        self.cell = cell = max(_CELL, float((high - low).max()) / _MOST_CELLS)
        # The empty cells at the border stand for everything outside.
        self.x0, self.y0 = (low - 2.0 * cell).tolist()
        self.across, self.down = (np.ceil((high - low) / cell).astype(int) + 4).tolist()
        margin = reach + cell * math.sqrt(0.5)
        where, which = [], []
        for m in range(len(solids)):
            x, y = solids.centre[m, 0] - self.x0, solids.centre[m, 1] - self.y0
            span = float(radius[m]) + margin
            i = np.arange(max(1, int((x - span) / cell)), min(self.across - 1, int((x + span) / cell) + 1))
            j = np.arange(max(1, int((y - span) / cell)), min(self.down - 1, int((y + span) / cell) + 1))
            dx, dy = ((i + 0.5) * cell - x)[:, None], (j + 0.5) * cell - y
            cos, sin = solids.cos[m], solids.sin[m]
            near = (np.abs(dx * cos + dy * sin) <= solids.extent[m, 0] + margin) & (
                np.abs(dy * cos - dx * sin) <= solids.extent[m, 1] + margin
            )
            cells = (i[:, None] * self.down + j)[near]
            where.append(cells)
            which.append(np.full(len(cells), m))
        cells = np.concatenate(where)
        order = np.argsort(cells, kind="stable")
        self.reach = reach
        self.members = np.concatenate(which)[order]
        self.start = np.searchsorted(cells[order], np.arange(self.across * self.down + 1))


class Rectangle(NamedTuple):
    """An oriented rectangle."""

    x: float
    y: float
    cos: float
    sin: float
    length: float  # half of it
    width: float  # half of it

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


def touching_point(a: Rectangle, b: Rectangle) -> tuple[float, float]:
    """Middle of the common part of two rectangles; the middle between them if they have none."""
    points = b.corners()
    for normal_x, normal_y, reach in (
        (a.cos, a.sin, a.length),
        (-a.cos, -a.sin, a.length),
        (-a.sin, a.cos, a.width),
        (a.sin, -a.cos, a.width),
    ):
        # Keep what lies on the inner side of each edge of a (Sutherland and Hodgman 1974).
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


def meeting(a: Rectangle, b: Rectangle, vx: float, vy: float, within: float) -> tuple[float, float, float]:
    """How deep two rectangles overlap, and the normal (x, y), from a to b, along which they met.

    vx, vy: velocity of b relative to a.  They met along the separating axis on which their overlap began
    last, if that was less than ``within`` seconds ago.  Otherwise it is the axis on which they overlap
    least.
    """
    c, s = abs(a.cos * b.cos + a.sin * b.sin), abs(b.sin * a.cos - b.cos * a.sin)
    axes = []
    for x, y, reach in (
        (a.cos, a.sin, a.length + b.length * c + b.width * s),
        (-a.sin, a.cos, a.width + b.length * s + b.width * c),
        (b.cos, b.sin, b.length + a.length * c + a.width * s),
        (-b.sin, b.cos, b.width + a.length * s + a.width * c),
    ):
        along = x * (b.x - a.x) + y * (b.y - a.y)
        sign = -1.0 if along < 0.0 else 1.0
        depth, closing = reach - abs(along), -sign * (x * vx + y * vy)
        axes.append((depth, depth / closing if closing > 0.0 else math.inf, sign * x, sign * y))
    met = min(axes, key=lambda axis: axis[1])
    depth, _, x, y = met if met[1] <= within else min(axes)
    return depth, x, y


class Motion(Protocol):
    """Position and motion of all bodies, (n,) each: metres, radians, m/s, rad/s.  The solver writes to it."""

    moves: NDArray[np.bool_]
    x: Floats
    y: Floats
    z: Floats
    yaw: Floats
    vx: Floats
    vy: Floats
    turn: Floats


class Hit(NamedTuple):
    """Two bodies that overlap: their rows, the depth in metres, and the normal from a to b.

    ``b`` is -1 - the index into ``Solids`` when it is a static box.
    """

    a: int
    b: int
    depth: float
    nx: float
    ny: float


@dataclass(slots=True)
class _Pair:
    """A hit with what the solver needs."""

    a: int
    b: int
    depth: float
    nx: float
    ny: float
    point: tuple[float, float, float]
    arm_a: tuple[float, float]  # from the origin of a to the point
    arm_b: tuple[float, float]
    ma: float  # 1/kg
    ia: float  # 1/(kg m^2)
    mb: float
    ib: float
    bounce: float = 0.0  # m/s at which they should part
    along: float = 0.0  # N s so far along the normal
    across: float = 0.0


class Solver:
    """Exchanges impulses between bodies that overlap, and pushes them apart.

    Sequential impulses (Catto, Iterative Dynamics with Temporal Coherence, 2005) with restitution
    and Coulomb friction.  Momentum is conserved, except where something cannot move.
    """

    def __init__(self, bodies: Bodies, solids: Solids, motion: Motion) -> None:
        self.bodies, self.solids, self.motion = bodies, solids, motion

    def box(self, row: int) -> Rectangle:
        """The rectangle of a body; below 0, of the static box -1 - row."""
        if row < 0:
            solids, m = self.solids, -1 - row
            x, y = solids.centre[m, :2].tolist()
            return Rectangle(x, y, float(solids.cos[m]), float(solids.sin[m]), *solids.extent[m, :2].tolist())
        bodies, motion = self.bodies, self.motion
        cos, sin = math.cos(motion.yaw[row]), math.sin(motion.yaw[row])
        dx, dy, _ = bodies.centre[row].tolist()
        x, y = float(motion.x[row]) + cos * dx - sin * dy, float(motion.y[row]) + sin * dx + cos * dy
        return Rectangle(x, y, cos, sin, *bodies.extent[row, :2].tolist())

    def heights(self, row: int) -> tuple[float, float]:
        """Heights of the lower and upper side of a body; below 0, of the static box -1 - row."""
        if row < 0:
            middle, half = self.solids.centre[-1 - row, 2], self.solids.extent[-1 - row, 2]
        else:
            middle = self.motion.z[row] + self.bodies.centre[row, 2]
            half = self.bodies.extent[row, 2]
        return float(middle - half), float(middle + half)

    def hit(self, a: int, b: int, within: float) -> Hit | None:
        """The hit of two whose rectangles overlap; None if one is above the other.

        within: see :func:`meeting`.
        """
        (low_a, high_a), (low_b, high_b) = self.heights(a), self.heights(b)
        if low_a >= high_b or low_b >= high_a:
            return None
        vx, vy = self.motion.vx, self.motion.vy
        theirs = (vx[b], vy[b]) if b >= 0 else (0.0, 0.0)
        apart = float(theirs[0] - vx[a]), float(theirs[1] - vy[a])
        return Hit(a, b, *meeting(self.box(a), self.box(b), *apart, within))

    def resolve(self, hits: Sequence[Hit], touched: dict[tuple[int, int], list[float]]) -> None:
        """Resolve all hits together.

        ``touched`` maps (a, b) to the impulse on a (x, y) and where (x, y, z); it is added to.
        """
        pairs = [pair for pair in map(self._pair, hits) if pair.ma + pair.mb > 0.0]
        for _ in range(_ROUNDS):
            for pair in pairs:
                nx, ny = pair.nx, pair.ny
                push = (self._closing(pair, nx, ny) + pair.bounce) * self._resistance(pair, nx, ny)
                push, pair.along = max(push, -pair.along), max(0.0, pair.along + push)
                rub = self._closing(pair, -ny, nx) * self._resistance(pair, -ny, nx)
                most = FRICTION * pair.along
                across = min(max(pair.across + rub, -most), most)
                rub, pair.across = across - pair.across, across
                self._exchange(pair, push * nx - rub * ny, push * ny + rub * nx)
        for pair in pairs:
            self._push_apart(pair)
            if pair.along or pair.across:
                entry = touched.setdefault((pair.a, pair.b), [0.0, 0.0, *pair.point])
                entry[0] -= pair.along * pair.nx - pair.across * pair.ny
                entry[1] -= pair.along * pair.ny + pair.across * pair.nx

    def _pair(self, hit: Hit) -> _Pair:
        motion = self.motion
        px, py = touching_point(self.box(hit.a), self.box(hit.b))
        (low_a, high_a), (low_b, high_b) = self.heights(hit.a), self.heights(hit.b)
        point = px, py, 0.5 * (max(low_a, low_b) + min(high_a, high_b))
        arm_a = px - float(motion.x[hit.a]), py - float(motion.y[hit.a])
        arm_b = (px - float(motion.x[hit.b]), py - float(motion.y[hit.b])) if hit.b >= 0 else (0.0, 0.0)
        pair = _Pair(*hit, point, arm_a, arm_b, *self._inverse_mass(hit.a), *self._inverse_mass(hit.b))
        # How they bounce depends on the speed at which they met.
        closing = self._closing(pair, hit.nx, hit.ny)
        pair.bounce = RESTITUTION * closing if closing > SLOW else 0.0
        return pair

    def _inverse_mass(self, row: int) -> tuple[float, float]:
        """Inverse of mass (1/kg) and of inertia (1/(kg m^2)); zeros for what does not move.

        A walker can be pushed even if its physics are off, as they are for a client's crowd.
        """
        bodies = self.bodies
        if row < 0 or not (self.motion.moves[row] or bodies.kind[row] == WALKER):
            return 0.0, 0.0
        inverse = 1.0 / max(1.0, float(bodies.mass[row]))
        turning = inverse / models.gyration(int(bodies.model[row])) if bodies.kind[row] == VEHICLE else 0.0
        return inverse, turning

    def _closing(self, pair: _Pair, x: float, y: float) -> float:
        """Speed in m/s at which the contact point of a moves towards that of b along (x, y)."""
        vx, vy, turn = self.motion.vx, self.motion.vy, self.motion.turn
        a, b, (ax, ay), (bx, by) = pair.a, pair.b, pair.arm_a, pair.arm_b
        speed = (vx[a] - turn[a] * ay) * x + (vy[a] + turn[a] * ax) * y
        if b >= 0:
            speed -= (vx[b] - turn[b] * by) * x + (vy[b] + turn[b] * bx) * y
        return float(speed)

    @staticmethod
    def _resistance(pair: _Pair, x: float, y: float) -> float:
        """Impulse in N s that changes the closing speed along (x, y) by 1 m/s."""
        a = pair.arm_a[0] * y - pair.arm_a[1] * x
        b = pair.arm_b[0] * y - pair.arm_b[1] * x
        return 1.0 / (pair.ma + pair.mb + pair.ia * a * a + pair.ib * b * b)

    def _exchange(self, pair: _Pair, jx: float, jy: float) -> None:
        """Apply an impulse to b and the opposite one to a."""
        vx, vy, turn = self.motion.vx, self.motion.vy, self.motion.turn
        for row, mass, inertia, (x, y), sign in (
            (pair.a, pair.ma, pair.ia, pair.arm_a, -1.0),
            (pair.b, pair.mb, pair.ib, pair.arm_b, 1.0),
        ):
            if row >= 0:
                vx[row] += sign * mass * jx
                vy[row] += sign * mass * jy
                turn[row] += sign * inertia * (x * jy - y * jx)

    def _push_apart(self, pair: _Pair) -> None:
        share = (pair.depth + _ROOM) / (pair.ma + pair.mb)
        for row, mass, sign in ((pair.a, pair.ma, -1.0), (pair.b, pair.mb, 1.0)):
            if row >= 0:
                self.motion.x[row] += sign * share * mass * pair.nx
                self.motion.y[row] += sign * share * mass * pair.ny
