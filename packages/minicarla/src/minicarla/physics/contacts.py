"""Boxes that touch: who is near whom, where and along which normal they met, impulses.

Everything happens in the plane; of heights only that bodies overlap in them counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from minicarla.bodies import VEHICLE, WALKER, Bodies
from minicarla.physics import models

Floats = NDArray[np.float64]

RESTITUTION = 0.15  # car bodies crumple
SLOW = 1.0  # m/s; below it nothing bounces
FRICTION = 0.4  # metal on metal, on walls
_ROUNDS = 8  # of the impulse solver; more than a few are for bodies that touch several others
_CELL = 2.0  # metres
_MOST_CELLS = 2000  # a side; cells grow on larger maps
_REACHES = (4.5, 9.0)  # metres around a body's origin in which each grid promises every static box
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
    """The map's solid boxes, found by place."""

    def __init__(self, statics: Sequence[Any]) -> None:
        kept = [(i, box) for i, box in enumerate(statics) if box.solid]
        self.index = [i for i, _ in kept]
        self.centre = np.array([box.centre for _, box in kept], np.float64).reshape(-1, 3)
        self.extent = np.array([box.extent for _, box in kept], np.float64).reshape(-1, 3)
        self.yaw = np.radians(np.array([box.yaw for _, box in kept], np.float64))
        self.cos, self.sin = np.cos(self.yaw), np.sin(self.yaw)
        # A car in town, and what is long or fast; few boxes are within the reach of a car.
        self.grids = [Grid(self, reach) for reach in _REACHES] if kept else []

    def __len__(self) -> int:
        return len(self.index)


class Grid:
    """Square cells, each with the boxes that come within ``reach`` of any point in it.

    x0, y0: their corner.  cell: metres.  across, down: their number; cell (i, j) is number i * down + j.
    start: (cells + 1,) where each one's boxes begin among ``members``.
    """

    def __init__(self, solids: Solids, reach: float) -> None:
        radius = np.hypot(solids.extent[:, 0], solids.extent[:, 1])
        low = (solids.centre[:, :2] - radius[:, None]).min(axis=0) - reach
        high = (solids.centre[:, :2] + radius[:, None]).max(axis=0) + reach
        self.cell = cell = max(_CELL, float((high - low).max()) / _MOST_CELLS)
        # A border of empty cells stands for all that lies outside.
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


def meeting(a: Box, b: Box, vx: float, vy: float, within: float) -> tuple[float, float, float]:
    """How deep two rectangles that overlap do so, and along which normal (x, y), from a to b, they met.

    vx, vy: velocity of b relative to a.  Of the separating axes the one along which they came to overlap
    last is the one that they met along, if that was ``within`` the seconds that are past.  Where they
    did not just meet, it is the one along which they overlap least.
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
    """How all bodies are and move, (n,) each: metres, radians, m/s, rad/s.  Written to."""

    moves: NDArray[np.bool_]
    x: Floats
    y: Floats
    z: Floats
    yaw: Floats
    vx: Floats
    vy: Floats
    turn: Floats


class Hit(NamedTuple):
    """Two bodies that overlap: rows, or -1 - index into ``Solids`` for ``b``; depth; normal from a to b."""

    a: int
    b: int
    depth: float
    nx: float
    ny: float


@dataclass(slots=True)
class _Pair:
    """A hit as the solver needs it."""

    a: int
    b: int
    depth: float
    nx: float
    ny: float
    point: tuple[float, float, float]
    arm_a: tuple[float, float]  # from the middle of each to the point
    arm_b: tuple[float, float]
    ma: float  # 1/kg
    ia: float  # 1/(kg m^2)
    mb: float
    ib: float
    bounce: float = 0.0  # m/s at which they are to part
    along: float = 0.0  # N s so far, along the normal and across it
    across: float = 0.0


class Solver:
    """Exchanges impulses between bodies that overlap, and pushes them apart.

    Sequential impulses (Catto, Iterative Dynamics with Temporal Coherence, 2005) with restitution
    and Coulomb friction.  Momentum is kept, but for what does not move.
    """

    def __init__(self, bodies: Bodies, solids: Solids, motion: Motion) -> None:
        self.bodies, self.solids, self.motion = bodies, solids, motion

    def box(self, row: int) -> Box:
        """The rectangle of a body, or of the static box -1 - row."""
        if row < 0:
            solids, m = self.solids, -1 - row
            x, y = solids.centre[m, :2].tolist()
            return Box(x, y, float(solids.cos[m]), float(solids.sin[m]), *solids.extent[m, :2].tolist())
        bodies, motion = self.bodies, self.motion
        cos, sin = math.cos(motion.yaw[row]), math.sin(motion.yaw[row])
        dx, dy, _ = bodies.centre[row].tolist()
        x, y = float(motion.x[row]) + cos * dx - sin * dy, float(motion.y[row]) + sin * dx + cos * dy
        return Box(x, y, cos, sin, *bodies.extent[row, :2].tolist())

    def heights(self, row: int) -> tuple[float, float]:
        """Of the lower and the upper side of a body, or of the static box -1 - row."""
        if row < 0:
            middle, half = self.solids.centre[-1 - row, 2], self.solids.extent[-1 - row, 2]
        else:
            middle = self.motion.z[row] + self.bodies.centre[row, 2]
            half = self.bodies.extent[row, 2]
        return float(middle - half), float(middle + half)

    def hit(self, a: int, b: int, within: float) -> Hit | None:
        """The hit of two whose rectangles overlap, ``within`` seconds; None where one is above the other."""
        (low_a, high_a), (low_b, high_b) = self.heights(a), self.heights(b)
        if low_a >= high_b or low_b >= high_a:
            return None
        vx, vy = self.motion.vx, self.motion.vy
        theirs = (vx[b], vy[b]) if b >= 0 else (0.0, 0.0)
        apart = float(theirs[0] - vx[a]), float(theirs[1] - vy[a])
        return Hit(a, b, *meeting(self.box(a), self.box(b), *apart, within))

    def resolve(self, hits: Sequence[Hit], touched: dict[tuple[int, int], list[float]]) -> None:
        """Let all of them happen at once.

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
        # Bounce is decided by the speed at which they met.
        closing = self._closing(pair, hit.nx, hit.ny)
        pair.bounce = RESTITUTION * closing if closing > SLOW else 0.0
        return pair

    def _inverse_mass(self, row: int) -> tuple[float, float]:
        """1/kg and 1/(kg m^2); zeros for what does not move.

        A walker whose physics are off, as those of a client's crowd are, is no wall to a car either.
        """
        bodies = self.bodies
        if row < 0 or not (self.motion.moves[row] or bodies.kind[row] == WALKER):
            return 0.0, 0.0
        inverse = 1.0 / max(1.0, float(bodies.mass[row]))
        turning = inverse / models.gyration(int(bodies.model[row])) if bodies.kind[row] == VEHICLE else 0.0
        return inverse, turning

    def _closing(self, pair: _Pair, x: float, y: float) -> float:
        """m/s at which a's point moves towards b's along (x, y)."""
        vx, vy, turn = self.motion.vx, self.motion.vy, self.motion.turn
        a, b, (ax, ay), (bx, by) = pair.a, pair.b, pair.arm_a, pair.arm_b
        speed = (vx[a] - turn[a] * ay) * x + (vy[a] + turn[a] * ax) * y
        if b >= 0:
            speed -= (vx[b] - turn[b] * by) * x + (vy[b] + turn[b] * bx) * y
        return float(speed)

    @staticmethod
    def _resistance(pair: _Pair, x: float, y: float) -> float:
        """N s that change the closing speed along (x, y) by 1 m/s."""
        a = pair.arm_a[0] * y - pair.arm_a[1] * x
        b = pair.arm_b[0] * y - pair.arm_b[1] * x
        return 1.0 / (pair.ma + pair.mb + pair.ia * a * a + pair.ib * b * b)

    def _exchange(self, pair: _Pair, jx: float, jy: float) -> None:
        """Give an impulse to b, and its opposite to a."""
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
