"""``monitor.csv``: one row an episode, as the Monitor wrapper of Gym and Stable-Baselines3 writes it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..stats import Floats
from ..store import Point, Store
from .cells import number
from .source import ReadError, Source


def read_monitor(
    path: Path, header: list[str], rows: Iterator[list[str]], comments: list[str], budget: int
) -> Source:
    """Episodes with return, length and seconds since the start.

    The step of an episode is the sum of the lengths so far; it is worked out anew where several environments
    wrote files of their own (see :func:`merge_monitors`).
    """
    returns: list[float] = []
    lengths: list[float] = []
    walls: list[float] = []
    time = next((i for i, h in enumerate(header) if h.lower() == "t"), None)
    further: dict[int, list[float]] = {i: [] for i in range(2, len(header)) if header[i] and i != time}
    wanted = (0, 1) if time is None else (0, 1, time)
    left_out = 0
    seams: list[int] = []
    begun = _begin(comments)
    for row in rows:
        if [c.strip() for c in row] == header:
            begun = _begin(comments)  # another process went on writing the file
            seams.append(len(returns))
            continue
        numbers = [number(row[i]) if i < len(row) else None for i in wanted]
        known = [x for x in numbers if x is not None]
        if len(known) < len(wanted):
            left_out += bool(row)
            continue
        returns.append(known[0])
        lengths.append(known[1])
        walls.append(begun + known[2] if time is not None else math.nan)
        for i, values in further.items():
            value = number(row[i]) if i < len(row) else None
            values.append(math.nan if value is None else value)
    if not returns:
        raise ReadError("a monitor file without episodes")
    store = Store(budget)
    at = np.cumsum(lengths).astype(np.int64)
    clock_ = np.array(walls)
    store.append("episode/return", at, clock_, np.array(returns))
    store.append("episode/length", at, clock_, np.array(lengths))
    for i, values in further.items():
        column = np.array(values)
        if np.isfinite(column).any():
            name = "success" if header[i] in ("is_success", "success") else header[i]
            keep = np.isfinite(column)
            store.append(f"episode/{name}", at[keep], clock_[keep], column[keep])
    source = Source(path, "monitor", store, "step")
    ends = [Point(int(s), r, w) for s, w, r in zip(at, walls, returns, strict=True)]
    source.pauses = [(ends[i - 1], ends[i]) for i in seams if 0 < i < len(ends)]
    if left_out:
        source.notes.append(f"{path.name}: {left_out} rows that hold no episode were left out")
    return source


def _begin(comments: list[str]) -> float:
    """When the last process that wrote the file began: ``#{"t_start": 1700000000.0, ...}``."""
    for comment in reversed(comments):
        try:
            return float(json.loads(comment.lstrip("#"))["t_start"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0.0


def merge_monitors(sources: Sequence[Source]) -> Source:
    """One run out of the files of environments that ran side by side.

    Episodes are put in the order of time. The step of each is the sum of the lengths of all before it, as
    Stable-Baselines3's ``load_results`` counts.
    """
    columns: dict[str, list[Floats]] = {}
    for source in sources:
        for tag, builder in source.store.series.items():
            columns.setdefault(tag, []).append(builder.rows())
    lengths = np.concatenate(columns["episode/length"])
    order = np.argsort(lengths[:, 1], kind="stable")
    total = np.cumsum(lengths[order, 2])
    store = Store(sources[0].store.budget)
    for tag, pieces in columns.items():
        rows = np.concatenate(pieces)
        rows = rows[np.argsort(rows[:, 1], kind="stable")]
        steps = total[np.clip(np.searchsorted(lengths[order, 1], rows[:, 1], side="right") - 1, 0, None)]
        store.append(tag, steps.astype(np.int64), rows[:, 1], rows[:, 2])
    merged = Source(sources[0].path, "monitor", store, "step")
    merged.notes = [n for s in sources for n in s.notes]
    merged.notes.append(f"{len(sources)} environments wrote monitor files side by side; they are one run")
    return merged
