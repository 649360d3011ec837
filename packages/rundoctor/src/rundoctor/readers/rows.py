"""Rows of tables put into stores: one for each run, and a new one where a run starts again."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..stats import Floats
from ..store import Store
from .cells import Column
from .placement import RowAxis, filled, steps_of, walls_of
from .source import Source


@dataclass
class _Part:
    """Rows of one run: its points, and the step at which the last row stands."""

    store: Store
    first: float = math.nan
    last: float = math.nan
    rows: int = 0
    gap: float = math.nan
    walls: bool = True


class TableWriter:
    """Puts rows into stores: one for each run, and a new one where a run starts again."""

    def __init__(
        self,
        budget: int,
        axis: RowAxis,
        tags: dict[int, str],
        columns: dict[int, Column],
        delimiter: str,
    ) -> None:
        self.budget, self.axis, self.tags, self.columns = budget, axis, tags, columns
        self.parts: dict[str, list[_Part]] = {}
        self.without_step = 0
        self.sorted = False

    def write(self, label: str, rows: list[list[str]], again: bool) -> None:
        parts = self.parts.setdefault(label, [_Part(Store(self.budget))])
        part = parts[-1]
        if self.axis.column is None:
            steps = np.arange(part.rows, part.rows + len(rows), dtype=np.float64)
        else:
            raw = steps_of(rows, self.axis.column, self.columns[self.axis.column])
            self.without_step += int((~np.isfinite(raw)).sum())
            steps = filled(raw, part.last)
        walls = walls_of(rows, self.axis, self.columns)
        countable = self.axis.column is not None and not self.axis.unordered
        starts = self._starts(part, steps, again) if countable else []
        cells = list(itertools.zip_longest(*rows, fillvalue=""))
        edges = [0, *starts, len(rows)]
        converted = {i: self.columns[i].convert(cells[i]) for i in self.tags if i < len(cells)}
        for k, (a, b) in enumerate(itertools.pairwise(edges)):
            if k:
                part = _Part(Store(self.budget))
                parts.append(part)
            if a == b:
                continue
            for i, (where, values) in converted.items():
                if where is None:
                    part.store.append(self.tags[i], steps[a:b].astype(np.int64), walls[a:b], values[a:b])
                else:
                    mine = (where >= a) & (where < b)
                    at = where[mine]
                    part.store.append(self.tags[i], steps[at].astype(np.int64), walls[at], values[mine])
            if math.isnan(part.first):
                part.first = float(steps[a])
                distance = np.diff(steps[a:b])
                distance = distance[distance > 0]
                part.gap = float(np.median(distance)) if len(distance) else 0.0
            part.last = float(steps[b - 1])
            part.rows += b - a

    def _starts(self, part: _Part, steps: Floats, again: bool) -> list[int]:
        """Rows at which a run begins anew: the steps fall back to where they once began."""
        before = part.last if math.isfinite(part.last) else float(steps[0])
        first = part.first if math.isfinite(part.first) else float(steps[0])
        back = np.flatnonzero(np.diff(steps, prepend=before) < 0)
        if not len(back) and not (again and part.rows and steps[0] <= first):
            return []
        distance = np.diff(steps)
        distance = distance[distance > 0]
        gap = float(np.median(distance)) if len(distance) else part.gap
        top = np.maximum.accumulate(np.concatenate([[before], steps]))
        starts = [
            int(i)
            for i in back
            if steps[i] < first + max(gap, 1)
            # a single row that is out of place is followed by where the others were
            and (i + 1 == len(steps) or steps[i + 1] < top[i])
        ]
        if again and part.rows and steps[0] < first + max(gap, 1) and 0 not in starts:
            starts.insert(0, 0)
        return starts

    def notes(self, name: str) -> list[str]:
        out = []
        if self.without_step:
            out.append(
                f"{name}: {self.without_step:,} rows hold no step and are placed at that of the row before"
            )
        return out

    def sources(self, path: Path, axis: RowAxis, axis_columns: tuple[str, ...]) -> list[Source]:
        out = []
        for label, parts in self.parts.items():
            full = [p for p in parts if p.store.series]
            for k, part in enumerate(full):
                name = label if len(full) == 1 else f"{label} start {k + 1}".strip()
                store = sorted_by_step(part.store) if axis.unordered else part.store
                out.append(Source(path, "csv", store, axis.kind, name, axis_columns=axis_columns))
        return out


def sorted_by_step(store: Store) -> Store:
    """The same points in the order of their steps."""
    out = Store(store.budget)
    for tag, builder in store.series.items():
        rows = builder.rows()
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        out.append(tag, rows[:, 0].astype(np.int64), rows[:, 1], rows[:, 2])
    return out
