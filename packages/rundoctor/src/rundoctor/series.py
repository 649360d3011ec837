"""A series after reading: the form that rules and reports work with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .stats import Floats, Trend, median, trend
from .store import Builder, Point, Rewind


@dataclass
class Series:
    """One tag of one run, in the order of its steps.

    ``value`` is the logged value, or the mean of a bucket where the series was folded
    (``weight`` > 1); ``low`` and ``high`` are the extremes of the bucket.  ``lowest``,
    ``highest``, ``first``, ``last`` and ``count`` are exact in both cases.
    """

    tag: str
    step: Floats
    wall: Floats
    value: Floats
    low: Floats
    high: Floats
    weight: Floats
    count: int
    nonfinite: int
    first: Point
    last: Point
    lowest: Point | None
    highest: Point | None
    first_nonfinite: Point | None
    rewinds: list[Rewind] = field(default_factory=list)
    rewind_count: int = 0
    overridden: int = 0
    """Points dropped because a resumed run logged those steps again."""
    folded: bool = False
    axis: str = "step"
    """What the x-axis counts: step, episode, update or unknown."""

    def __len__(self) -> int:
        return len(self.step)

    @property
    def finite(self) -> Series:
        """The series without its NaN and infinite points."""
        keep = np.isfinite(self.value)
        if keep.all():
            return self
        return self.only(keep)

    def only(self, keep: npt.NDArray[np.bool_]) -> Series:
        """The points that a mask of shape (n,) keeps."""
        return Series(
            **{
                **self.__dict__,
                "step": self.step[keep],
                "wall": self.wall[keep],
                "value": self.value[keep],
                "low": self.low[keep],
                "high": self.high[keep],
                "weight": self.weight[keep],
            }
        )

    def equals(self, other: Series) -> bool:
        """Whether both hold the same points: a system may log one figure under two tags."""
        return np.array_equal(self.step, other.step) and np.array_equal(
            self.value, other.value, equal_nan=True
        )

    def tail(self, share: float = 0.25, least: int = 1) -> Series:
        """The last ``share`` of the points, at least ``least``."""
        n = len(self)
        k = min(n, max(least, round(n * share)))
        keep = np.zeros(n, bool)
        keep[n - k :] = True
        return self.only(keep)

    def head(self, share: float = 0.25, least: int = 1) -> Series:
        """The first ``share`` of the points, at least ``least``."""
        n = len(self)
        keep = np.zeros(n, bool)
        keep[: min(n, max(least, round(n * share)))] = True
        return self.only(keep)

    def median(self) -> float:
        return median(self.value)

    def trend(self) -> Trend:
        s = self.finite
        return trend(s.step, s.value)

    def at(self, steps: Floats) -> Floats:
        """Values at other steps: the last one logged at or before each; NaN before the first."""
        s = self.finite
        if not len(s):
            return np.full(len(steps), np.nan)
        where = np.searchsorted(s.step, steps, side="right") - 1
        return np.where(where >= 0, s.value[np.maximum(where, 0)], np.nan)


def finish(builder: Builder, continuations: Sequence[int] = ()) -> Series:
    """Turn what was read into a series that is ordered by step.

    Args:
        builder: the points in order of arrival; there is at least one.
        continuations: positions (points before it) at which a resumed run began to log some steps again.
            What it logged later replaces what was logged before for these steps.
    """
    rows = builder.rows()
    dropped = 0
    if continuations:
        keep = _last_written(rows, continuations)
        dropped = int(rows[~keep, 5].sum())
        rows = rows[keep]
    if builder.rewind_count:
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
    assert builder.first is not None and builder.last is not None
    series = Series(
        tag=builder.tag,
        step=rows[:, 0].copy(),
        wall=rows[:, 1].copy(),
        value=rows[:, 2].copy(),
        low=rows[:, 3].copy(),
        high=rows[:, 4].copy(),
        weight=rows[:, 5].copy(),
        count=builder.count - dropped,
        nonfinite=builder.nonfinite,
        first=builder.first,
        last=builder.last,
        lowest=builder.lowest,
        highest=builder.highest,
        first_nonfinite=builder.first_nonfinite,
        rewinds=builder.rewinds,
        rewind_count=builder.rewind_count,
        overridden=dropped,
        folded=builder.bucket > 1,
    )
    if (dropped or builder.rewind_count) and not series.folded:
        _recount(series)
    return series


def _last_written(rows: Floats, continuations: Sequence[int]) -> npt.NDArray[np.bool_]:
    """A mask of the rows that no later part of the run has logged again.

    Continuations cut a run into parts. A row is dropped when a later part begins at its step or before it.
    Equal steps within one part are several values of the same step; all of them are kept.
    """
    before = np.cumsum(rows[:, 5]) - rows[:, 5]
    part = np.searchsorted(np.sort(np.asarray(continuations, float)), before, side="right")
    floor = np.full(int(part.max()) + 2, np.inf)
    for k in range(int(part.max()), -1, -1):
        mine = rows[part == k, 0]
        floor[k] = min(floor[k + 1], float(mine.min()) if len(mine) else np.inf)
    return np.asarray(rows[:, 0] < floor[part + 1])


def _recount(series: Series) -> None:
    """Find the exact extremes again, after points were dropped or sorted."""
    if not len(series):
        return

    def point(i: int | np.intp) -> Point:
        return Point(int(series.step[i]), float(series.value[i]), float(series.wall[i]))

    finite = np.flatnonzero(np.isfinite(series.value))
    series.first, series.last = point(0), point(-1)
    series.nonfinite = len(series) - len(finite)
    series.lowest = point(finite[np.argmin(series.value[finite])]) if len(finite) else None
    series.highest = point(finite[np.argmax(series.value[finite])]) if len(finite) else None
    bad = np.flatnonzero(~np.isfinite(series.value))
    series.first_nonfinite = point(bad[0]) if len(bad) else None
