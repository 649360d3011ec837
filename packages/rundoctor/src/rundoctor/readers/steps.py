"""Logs with a row for each step: their rewards are those of single steps, and belong together by episode."""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from ..aliases import resolve
from ..signals import EPISODE_NAMES, episodes, normalised
from ..signals.words import A_REWARD, reading
from ..stats import Floats
from ..store import Ints
from .source import Source

RETURN, LENGTH = "episode/return", "episode/length"
_LEAST_ROWS = 3
"""Rows of an episode from which they may be its steps; two may be training's and an evaluation's."""
_NEARLY_ALL = 0.99
"""Share of the rows that must agree; where a run was stopped and resumed, a few do not."""


def summed(source: Source, stated: Container[str] = ()) -> Source:
    """The same source; if its rows are steps, with each episode's return and length for the unnamed reward.

    The rows are steps where they carry an episode's number and a count that rises by 1 from row to row, over
    the run or within the episode.

    Args:
        stated: tags of which the user says what they are; they stay.
    """
    series = source.store.series
    tag = next((t for t in series if _is_reward(t) and t not in stated), None)
    first = _first_rows(source, tag) if tag is not None else None
    if tag is None or first is None:
        return source
    returns = resolve(series)[0].get(episodes.RETURN.name, [])
    if [m.tag for m in returns[:1]] != [tag]:
        return source  # another column holds the return
    rows = series[tag].rows()
    ends = first[1:] - 1  # the last episode may be unfinished
    sums = np.add.reduceat(rows[:, 2], first)[:-1]
    dropped = series.pop(tag)
    source.store.held -= dropped.held
    source.store.points -= dropped.count
    at, walls = rows[ends, 0].astype(np.int64), rows[ends, 1]
    source.store.append(RETURN, at, walls, sums)
    source.store.append(LENGTH, at, walls, np.diff(first).astype(np.float64))
    source.notes.append(
        f"{source.path.name}: each row is a step, so {tag!r} is summed over each episode "
        f"({len(sums):,}; the last one may be unfinished and is left out)"
    )
    return source


def _is_reward(tag: str) -> bool:
    read = reading(normalised(tag))
    return read is not None and read.note == A_REWARD


def _first_rows(source: Source, tag: str) -> Ints | None:
    """The first row of each episode; None unless the rows of a series are steps of numbered episodes."""
    series = source.store.series
    builder = series[tag]
    if builder.bucket > 1 or builder.count < 2 * _LEAST_ROWS:
        return None
    rows = builder.rows()
    beside = {t: b.rows()[:, 2] for t, b in series.items() if t != tag and b.count == builder.count}
    if source.axis == "episode":
        numbers: Floats | None = rows[:, 0]
    else:
        numbers = next((v for t, v in beside.items() if normalised(t) in EPISODE_NAMES), None)
    if numbers is None:
        return None
    begins = np.diff(numbers) != 0
    first = np.concatenate([[0], np.flatnonzero(begins) + 1])
    if len(first) < 2 or len(rows) < _LEAST_ROWS * len(first):
        return None
    counts = [rows[:, 0]] if source.axis == "step" else []
    for count in (*counts, *beside.values()):
        by_one = np.diff(count) == 1
        if float(by_one[~begins].mean()) >= _NEARLY_ALL and (
            float(by_one[begins].mean()) >= _NEARLY_ALL
            or float((np.diff(count)[begins] < 0).mean()) >= _NEARLY_ALL
        ):
            return first
    return None
