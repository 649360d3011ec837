"""The points of one run in bounded memory.

Points are kept as they are until the whole store holds ``budget`` of them. Then the longest series are
folded: two neighbouring points become one bucket, which keeps their mean, minimum and maximum. The first,
the last, the lowest, the highest and the first non-finite point of every series are kept apart and stay
exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from .stats import Floats

Ints = npt.NDArray[np.int64]

BUDGET = 4_000_000
"""Points held by one store before folding starts: about 100 MB."""
FOLDED = 8_192
"""Buckets a folded series keeps at least."""
MAX_TAGS = 10_000


@dataclass(frozen=True)
class Point:
    """One logged value."""

    step: int
    value: float
    wall: float


@dataclass(frozen=True)
class Rewind:
    """A place where the steps of a series jump back."""

    position: int
    """How many points of the series come before it."""
    before: int
    after: int
    """Last step before the jump, first step after it."""
    wall: float
    seam: bool = False
    """Whether one file ends there and the next begins."""


@dataclass
class Builder:
    """A series while it is being read."""

    tag: str
    count: int = 0
    lowest_step: int = 0
    highest_step: int = 0
    nonfinite: int = 0
    nan: int = 0
    first: Point | None = None
    last: Point | None = None
    lowest: Point | None = None
    highest: Point | None = None
    first_nonfinite: Point | None = None
    rewinds: list[Rewind] = field(default_factory=list)
    rewind_count: int = 0
    bucket: int = 1
    pieces: list[npt.NDArray[np.float64]] = field(default_factory=list)
    held: int = 0

    def append(self, step: Ints, wall: Floats, value: Floats) -> None:
        """Add at least one point, in the order in which they were logged."""
        finite = np.isfinite(value)
        self._note(step, wall, value, finite)
        rows = np.empty((len(step), 6))
        rows[:, 0] = step
        rows[:, 1] = wall
        rows[:, 2] = value
        rows[:, 3] = value
        rows[:, 4] = value
        rows[:, 5] = 1
        self.pieces.append(rows)
        self.held += len(rows)
        self.count += len(step)

    def _note(self, step: Ints, wall: Floats, value: Floats, finite: npt.NDArray[np.bool_]) -> None:
        def point(i: int) -> Point:
            return Point(int(step[i]), float(value[i]), float(wall[i]))

        previous = self.last.step if self.last is not None else int(step[0])
        back = np.flatnonzero(np.diff(step, prepend=previous) < 0)
        self.rewind_count += len(back)
        for i in back[: max(0, 1000 - len(self.rewinds))]:
            before = int(step[i - 1]) if i else previous
            self.rewinds.append(Rewind(self.count + int(i), before, int(step[i]), float(wall[i])))
        bottom, top = int(step.min()), int(step.max())
        if self.first is None:
            self.first = point(0)
            self.lowest_step, self.highest_step = bottom, top
        self.lowest_step, self.highest_step = min(self.lowest_step, bottom), max(self.highest_step, top)
        self.last = point(-1)
        bad = int(len(value) - finite.sum())
        if bad:
            self.nonfinite += bad
            self.nan += int(np.isnan(value).sum())
            if self.first_nonfinite is None:
                self.first_nonfinite = point(int(np.argmin(finite)))
        if bad < len(value):
            masked = np.where(finite, value, np.nan)
            low, high = int(np.nanargmin(masked)), int(np.nanargmax(masked))
            if self.lowest is None or value[low] < self.lowest.value:
                self.lowest = point(low)
            if self.highest is None or value[high] > self.highest.value:
                self.highest = point(high)

    def extend(self, other: Builder) -> None:
        """Append a series that was read from a later file of the same run."""
        if other.first is None or other.last is None:
            return
        if self.last is not None and other.first.step < self.last.step:
            here = Rewind(self.count, self.last.step, other.first.step, other.first.wall, seam=True)
            self.rewinds.append(here)
            self.rewind_count += 1
        self.rewinds += [replace(r, position=r.position + self.count) for r in other.rewinds]
        self.rewind_count += other.rewind_count
        if self.first is None:
            self.first, self.lowest_step, self.highest_step = (
                other.first,
                other.lowest_step,
                other.highest_step,
            )
        self.lowest_step = min(self.lowest_step, other.lowest_step)
        self.highest_step = max(self.highest_step, other.highest_step)
        self.last = other.last
        self.first_nonfinite = self.first_nonfinite or other.first_nonfinite
        if other.lowest is not None and (self.lowest is None or other.lowest.value < self.lowest.value):
            self.lowest = other.lowest
        if other.highest is not None and (self.highest is None or other.highest.value > self.highest.value):
            self.highest = other.highest
        self.nonfinite += other.nonfinite
        self.nan += other.nan
        self.bucket = max(self.bucket, other.bucket)
        self.pieces += other.pieces
        self.held += other.held
        self.count += other.count

    @property
    def gap(self) -> float:
        """Usual distance of two points in steps; 0 where there are not two."""
        distance = np.diff(self.rows()[:, 0])
        distance = distance[distance > 0]
        return float(np.median(distance)) if len(distance) else 0.0

    def rows(self) -> npt.NDArray[np.float64]:
        """(n, 6): step, wall, mean, min, max, points; in the order of arrival."""
        if not self.pieces:
            return np.empty((0, 6))
        if len(self.pieces) > 1:
            self.pieces = [np.concatenate(self.pieces)]
        return self.pieces[0]

    def scale(self, factor: float) -> None:
        """Multiply all values by a positive factor."""
        rows = self.rows()
        rows[:, 2:5] *= factor
        for name in ("first", "last", "lowest", "highest", "first_nonfinite"):
            point = getattr(self, name)
            if point is not None:
                setattr(self, name, replace(point, value=point.value * factor))

    def fold(self, keep: int) -> None:
        """Halve the number of rows until at most ``2 * keep`` are left."""
        rows = self.rows()
        while len(rows) > 2 * keep:
            rows = _halve(rows)
            self.bucket *= 2
        self.pieces = [rows]
        self.held = len(rows)


def _halve(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    even = len(rows) // 2 * 2
    a, b = rows[0:even:2], rows[1:even:2]
    out = np.empty_like(a)
    out[:, 0] = b[:, 0]
    out[:, 1] = b[:, 1]
    wa, wb = a[:, 5], b[:, 5]
    fa, fb = np.isfinite(a[:, 2]), np.isfinite(b[:, 2])
    with np.errstate(invalid="ignore", over="ignore"):
        mean = (a[:, 2] * wa + b[:, 2] * wb) / (wa + wb)
    out[:, 2] = np.where(fa & fb, mean, np.where(fa, a[:, 2], b[:, 2]))
    out[:, 3] = np.fmin(a[:, 3], b[:, 3])
    out[:, 4] = np.fmax(a[:, 4], b[:, 4])
    out[:, 5] = wa + wb
    return np.concatenate([out, rows[even:]])


class Store:
    """All series of one file, or of one run."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = budget
        self.series: dict[str, Builder] = {}
        self.held = 0
        self.points = 0
        self.dropped_tags = 0

    def append(self, tag: str, step: Ints, wall: Floats, value: Floats) -> None:
        """Add points to a series in the order in which they were logged.

        Args:
            tag: name of the series.
            step: (n,) int64.
            wall: (n,) seconds since the epoch; NaN where unknown.
            value: (n,); non-finite values are counted and kept.
        """
        if not len(step):
            return
        builder = self.series.get(tag)
        if builder is None:
            if len(self.series) >= MAX_TAGS:
                self.dropped_tags += 1
                return
            builder = self.series[tag] = Builder(tag)
        builder.append(step, wall, value)
        self.held += len(step)
        self.points += len(step)
        if self.held > self.budget:
            self._fold()

    def join(self, other: Store) -> None:
        """Append what was read from a later file of the same run; ``other`` must not be used any more."""
        for tag, builder in other.series.items():
            if tag not in self.series and len(self.series) >= MAX_TAGS:
                self.dropped_tags += 1
                continue
            self.series.setdefault(tag, Builder(tag)).extend(builder)
        self.dropped_tags += other.dropped_tags
        self.points += other.points
        self.held = sum(b.held for b in self.series.values())
        if self.held > self.budget:
            self._fold()

    @property
    def longest(self) -> int:
        """Points of the longest series."""
        return max((b.count for b in self.series.values()), default=0)

    def _fold(self) -> None:
        longest = sorted(self.series.values(), key=lambda b: -b.held)
        keep = max(64, min(FOLDED, self.budget // (4 * max(1, len(longest)))))
        for builder in longest:
            if builder.held > 2 * keep:
                builder.fold(keep)
        self.held = sum(b.held for b in self.series.values())
