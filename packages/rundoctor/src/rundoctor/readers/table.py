"""Series out of CSV files: wide, long, TensorBoard downloads, SB3's progress and monitor files."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from ..store import Store

# Names of the step column, best first.
_STEPS = (
    "step",
    "steps",
    "global_step",
    "env_step",
    "env_steps",
    "timesteps",
    "total_timesteps",
    "time/total_timesteps",
    "frame",
    "frames",
    "_step",
)
_WALLS = ("wall_time", "wall time", "timestamp", "_timestamp", "time")
_TAGS = ("tag", "name", "metric", "series")
_VALUES = ("value", "values", "scalar")
_BLOCK = 50_000


class TableError(ValueError):
    """A file that is no table of numbers; the message says why."""


def read_table(path: Path, store: Store) -> int:
    """Read one CSV file into ``store`` and return the number of points.

    Understood: a wide table (a step column, one column a tag), a long one (tag, step, value), a
    single series as TensorBoard downloads it (``Wall time,Step,Value``; the tag is the
    file's name), and Stable-Baselines3's ``monitor.csv`` (``r,l,t``).  Empty cells are
    absent points, ``nan`` and ``inf`` are values.

    Raises:
        TableError: not a table with at least one column of numbers.
        OSError: the file cannot be read.
    """
    with path.open(newline="", encoding="utf-8-sig", errors="strict") as file:
        try:
            start = file.readline()
            while start and (start.startswith("#") or not start.strip()):
                start = file.readline()
            if not start:
                raise TableError("no table in it, only comments and empty lines")
            delimiter = max(",;\t", key=start.count)
            header = [h.strip() for h in next(csv.reader([start], delimiter=delimiter))]
            reader = csv.reader(file, delimiter=delimiter)
            return _read(reader, header, path, store)
        except (UnicodeDecodeError, csv.Error) as error:
            raise TableError(f"not a CSV file: {error}") from None


def _read(reader: object, header: list[str], path: Path, store: Store) -> int:
    lower = [h.lower() for h in header]

    def column(names: tuple[str, ...]) -> int | None:
        return next((lower.index(n) for n in names if n in lower), None)

    if len(header) < 2 and _number(header[0]) is None and not header[0].isprintable():
        raise TableError("not a CSV file")
    if lower[:3] == ["r", "l", "t"]:
        return _read_monitor(reader, store)
    tag, step, value, wall = column(_TAGS), column(_STEPS), column(_VALUES), column(_WALLS)
    if len(header) > 1 and all(_number(h) is not None for h in header):
        raise TableError("the first line holds numbers, not the names of columns")
    if tag is not None and value is not None:
        return _read_long(reader, tag, step, value, wall, store)
    return _read_wide(reader, header, step, wall, path, store)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _read_long(reader: object, tag: int, step: int | None, value: int, wall: int | None, store: Store) -> int:
    rows: dict[str, list[tuple[float, float, float]]] = {}
    counts: dict[str, int] = {}
    points = held = 0

    def flush() -> None:
        for name, items in rows.items():
            a = np.array(items)
            store.append(name, a[:, 0].astype(np.int64), a[:, 1], a[:, 2])
        rows.clear()

    for row in reader:  # type: ignore[attr-defined]
        if len(row) <= max(tag, value):
            continue
        v = _number(row[value])
        if v is None or not row[tag]:
            continue
        s = _number(row[step]) if step is not None and step < len(row) else None
        w = _number(row[wall]) if wall is not None and wall < len(row) else None
        n = counts[row[tag]] = counts.get(row[tag], -1) + 1
        if s is None or not math.isfinite(s):
            s = n
        rows.setdefault(row[tag], []).append((s, math.nan if w is None else w, v))
        points += 1
        held += 1
        if held >= _BLOCK:
            flush()
            held = 0
    flush()
    if not points:
        raise TableError("no row holds a tag and a number")
    return points


def _read_wide(
    reader: object,
    header: list[str],
    step: int | None,
    wall: int | None,
    path: Path,
    store: Store,
) -> int:
    columns = [i for i in range(len(header)) if i not in (step, wall)]
    single = len(columns) == 1 and header[columns[0]].lower() in _VALUES
    names = {i: header[i] or f"column {i + 1}" for i in columns}
    if single:
        names[columns[0]] = path.stem.replace("__", "/")
    cells: dict[int, list[tuple[float, float, float]]] = {i: [] for i in columns}
    points = 0

    def flush() -> None:
        for i, items in cells.items():
            if items:
                a = np.array(items)
                store.append(names[i], a[:, 0].astype(np.int64), a[:, 1], a[:, 2])
                items.clear()

    for n, row in enumerate(reader):  # type: ignore[arg-type, var-annotated]
        s = _number(row[step]) if step is not None and step < len(row) else None
        if s is None or not math.isfinite(s):
            if step is not None:
                continue
            s = n
        w = _number(row[wall]) if wall is not None and wall < len(row) else None
        for i in columns:
            v = _number(row[i]) if i < len(row) and row[i] else None
            if v is not None:
                cells[i].append((s, math.nan if w is None else w, v))
                points += 1
        if n % _BLOCK == _BLOCK - 1:
            flush()
    flush()
    if not points:
        raise TableError("no column holds numbers")
    return points


def _read_monitor(reader: object, store: Store) -> int:
    """Episodes with return, length and seconds since the start; the step is their running sum."""
    steps, returns, lengths, walls = [], [], [], []
    total = 0.0
    for row in reader:  # type: ignore[attr-defined]
        numbers = [_number(c) for c in row[:3]]
        if len(numbers) < 3 or any(x is None for x in numbers):
            continue
        r, length, t = (float(x) for x in numbers if x is not None)
        total += length
        steps.append(int(total))
        returns.append(r)
        lengths.append(length)
        walls.append(t)
    if not steps:
        raise TableError("a monitor file without episodes")
    at = np.array(steps, np.int64)
    clock = np.array(walls)
    store.append("episode/return", at, clock, np.array(returns))
    store.append("episode/length", at, clock, np.array(lengths))
    return 2 * len(steps)
