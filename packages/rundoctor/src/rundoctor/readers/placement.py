"""Where the rows of a table stand: their steps and their times."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt

from ..signals import clock, normalised, x_axis
from ..signals.words import reading
from ..stats import Floats
from .cells import Column

LARGEST_STEP = float(2**53)
"""Larger counts are not exact in a float64, and no run makes so many steps."""
_FIRST_SECOND, _LAST_SECOND = 1e9, 4e9
"""Times since 1970, in seconds, of the years 2001 and 2096: no log was written outside."""
_MOST_STARTS = 8
"""A table whose steps restart more often than this counts steps within episodes."""


@dataclass
class RowAxis:
    """Where rows stand: columns by index, and what the x-axis counts."""

    column: int | None
    kind: str
    wall: int | None
    elapsed: int | None
    taken: set[int] = field(default_factory=set)
    unordered: bool = False
    """Whether the rows are out of order, so that a step that falls back says nothing."""


def axis_of(header: list[str], names: Mapping[str, str]) -> RowAxis:
    """The columns for the x-axis: those that ``--map`` states, else those that their names say."""
    stated = {tag: name for tag, name in names.items() if tag in header}
    step = next((header.index(t) for t, name in stated.items() if name == "step"), None)
    found = x_axis([("" if h in stated else h) for h in header])
    wall, elapsed = clock([("" if h in stated else h) for h in header])
    time = next((header.index(t) for t, name in stated.items() if name == "time"), None)
    if time is not None:
        wall, elapsed = time, None
    if step is not None:
        axis = RowAxis(step, "step", wall, elapsed)
    elif found is not None:
        axis = RowAxis(found.index, found.axis, wall, elapsed)
    else:
        axis = RowAxis(None, "row", wall, elapsed)
    axis.taken = {i for i in (axis.column, axis.wall, axis.elapsed) if i is not None}
    return axis


@dataclass(frozen=True)
class Head:
    """The first rows of a file, by which is checked what its columns are."""

    names: list[str]
    values: Callable[[int], Floats]
    """The numbers of a column, a row each; NaN where there is none."""
    stated: Container[str]
    """Columns that the user named; they are believed."""
    file: str
    notes: list[str]
    """What is found is added here."""

    def known(self, index: int) -> Floats:
        values = self.values(index)
        return values[np.isfinite(values)]

    def says(self, text: str) -> None:
        self.notes.append(f"{self.file}: {text}")


def checked_axis(head: Head, axis: RowAxis, tried: frozenset[int] = frozenset()) -> RowAxis:
    """The same axis if its column counts upwards, otherwise by the next column that does.

    Args:
        tried: columns that were found not to count upwards.
    """
    if axis.column is None or head.names[axis.column] in head.stated:
        return axis
    steps = head.known(axis.column)
    back = np.flatnonzero(np.diff(steps) < 0)
    sound = len(steps) >= 0.02 * len(head.values(axis.column)) and len(steps) > 0
    if len(steps) > 2 and steps.min() == steps.max():
        sound, back = True, np.arange(len(steps))  # one value on every row counts nothing
    name = head.names[axis.column]
    seconds = sound and normalised(name) == "t" and _is_seconds(steps, head)
    if sound and not seconds:
        if len(back) <= max(_MOST_STARTS, 0.01 * len(steps)):
            return axis
        if steps.min() < steps.max() and _only_unordered(steps, back, head, axis.column):
            head.says(f"the rows are not in the order of {name!r} and were sorted by it")
            axis.unordered = True
            return axis
    what = "is no running count" if sound else "holds no usable numbers"
    tried |= {axis.column}
    found = x_axis([("" if i in tried else h) for i, h in enumerate(head.names)])
    following = RowAxis(
        found.index if found is not None else None,
        found.axis if found is not None else "row",
        axis.wall,
        axis.column if seconds and axis.elapsed is None else axis.elapsed,
    )
    following.taken = {i for i in (following.column, following.wall, following.elapsed) if i is not None}
    by = f"{head.names[found.index]!r}" if found is not None else "the number of the row"
    head.says(f"the column {name!r} {what}; rows are placed by {by} instead")
    return checked_axis(head, following, tried)


def _is_seconds(times: Floats, head: Head) -> bool:
    """Whether a column ``t`` holds seconds: fractions, or less than half of the steps of all episodes."""
    if (times != np.round(times)).any():
        return True
    readings = [reading(normalised(name)) for name in head.names]
    lengths = next((i for i, r in enumerate(readings) if r is not None and r.name == "episode_length"), None)
    return lengths is not None and float(times.max()) < 0.5 * float(head.known(lengths).sum())


def checked_clock(head: Head, axis: RowAxis, runs: Sequence[str] = ()) -> RowAxis:
    """The same axis without a column of seconds that is no clock: how long each row took, for example.

    Args:
        runs: for each row the run that it belongs to; empty: all belong to one.
    """
    if axis.elapsed is None or head.names[axis.elapsed] in head.stated:
        return axis
    times = head.values(axis.elapsed)
    labels, of_row = np.unique(np.asarray(runs or [""] * len(times)), return_inverse=True)
    of_run = (times[(of_row == k) & np.isfinite(times)] for k in range(len(labels)))
    if any(map(_goes_on, of_run)):
        return axis
    head.says(f"{head.names[axis.elapsed]!r} falls again and again, so it is no clock")
    return replace(axis, elapsed=None, taken=axis.taken - {axis.elapsed})


def _goes_on(times: Floats) -> bool:
    """Whether seconds since the start go on; they may begin anew a few times, where a run was resumed."""
    falls = int((np.diff(times) < 0).sum())
    return falls <= max(1, 0.01 * len(times), min(_MOST_STARTS, 0.1 * len(times)))


def _only_unordered(steps: Floats, back: npt.NDArray[np.int64], head: Head, column: int) -> bool:
    """Steps that jump back to anywhere are out of order; such that jump back to the start count anew.

    So does a column that is no count at all, beside one that counts episodes upwards.
    """
    span = steps.max() - steps.min()
    if float(np.mean(steps[back + 1] <= steps.min() + 0.1 * span)) > 0.8 and len(back) < len(steps) / 2:
        return False
    if (np.diff(steps) <= 0).all():
        return True
    other = x_axis([("" if i == column else h) for i, h in enumerate(head.names)])
    if other is None:
        return True
    counted = head.known(other.index)
    return not (len(counted) > 1 and (np.diff(counted) >= 0).all() and counted[-1] > counted[0])


def steps_of(rows: Sequence[list[str]], index: int, column: Column) -> Floats:
    """The steps in one column; NaN where a cell holds none that is plausible."""
    cells = [row[index] if index < len(row) else "" for row in rows]
    where, values = Column(column.name, column.semicolons).convert(cells)
    out = np.full(len(rows), np.nan)
    if where is None:
        out = values
    else:
        out[where] = values
    with np.errstate(invalid="ignore"):
        out[~(np.abs(out) <= LARGEST_STEP)] = np.nan
    return out


def filled(steps: Floats, before: float = math.nan) -> Floats:
    """Give rows without a step the step of the row before; the first ones that of the row after."""
    known = np.isfinite(steps)
    if known.all():
        return steps
    if not known.any():
        return np.full(len(steps), before if math.isfinite(before) else 0.0)
    at = np.maximum.accumulate(np.where(known, np.arange(len(steps)), -1))
    first = before if math.isfinite(before) else steps[known][0]
    return np.where(at >= 0, steps[np.maximum(at, 0)], first)


def walls_of(rows: Sequence[list[str]], axis: RowAxis, columns: Mapping[int, Column]) -> Floats:
    """Seconds since the epoch, else since the start; NaN where there is no time."""
    for index in (axis.wall, axis.elapsed):
        if index is None:
            continue
        cells = [row[index] if index < len(row) else "" for row in rows]
        where, values = Column(columns[index].name, columns[index].semicolons).convert(cells)
        if where is not None and not len(values):
            dates = {cell: _date(cell) for cell in set(cells)}
            values, where = np.array([dates[c] for c in cells]), None
        out = np.full(len(rows), np.nan)
        if where is None:
            out = values
        else:
            out[where] = values
        if np.isfinite(out).any():
            return in_seconds(out) if index == axis.wall else out
    return np.full(len(rows), np.nan)


def is_time(value: float) -> bool:
    """Whether a number may be a time since 1970, in seconds or a smaller unit, and is no count of steps."""
    return any(_FIRST_SECOND * scale < value < _LAST_SECOND * scale for scale in (1.0, 1e3, 1e6, 1e9))


def in_seconds(times: Floats) -> Floats:
    """Times since 1970 in seconds, where they are logged in milli-, micro- or nanoseconds."""
    size = float(np.nanmedian(times))
    for scale in (1e9, 1e6, 1e3):
        if _FIRST_SECOND * scale < size < _LAST_SECOND * scale:
            return times / scale
    return times


def _date(cell: str) -> float:
    try:
        return datetime.fromisoformat(cell.strip()).timestamp()
    except ValueError:
        return math.nan
