"""Several runs in one table: told apart by a column, or side by side in columns of their own."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace

import numpy as np

from ..signals.systems import normalised
from ..stats import Floats
from ..store import Store
from .source import Source

_COLUMNS = (
    *("run", "run_id", "run_name", "seed", "experiment", "experiment_id", "exp", "exp_name", "trial"),
    *("trial_id", "trial_name", "algo", "algorithm", "method", "env", "env_name", "env_id", "environment"),
)
"""Columns that tell the runs of one table apart, where they hold more than one value."""
_WORKERS = ("env", "env_id", "environment")
"""Those of them that may also be the number of one of the environments that run side by side."""
_MOST_RUNS = 64


def grouping_columns(header: list[str], others: Container[int | None]) -> list[int]:
    """Columns that name a run, a seed, an algorithm or an environment; ``others`` have another use."""
    return [i for i, name in enumerate(header) if normalised(name) in _COLUMNS and i not in others]


def columns_of_runs(
    header: list[str], grouping: list[int], rows: list[list[str]], steps: Floats | None
) -> list[int]:
    """Those of the grouping columns that tell runs apart: a few values, each of many rows.

    Args:
        rows: the first rows of the table.
        steps: where they stand; None without a column of steps.
    """
    out = []
    for i in grouping:
        cells = [row[i] if i < len(row) else "" for row in rows]
        counts = Counter(cells)
        if not 1 < len(counts) <= _MOST_RUNS or min(counts.values()) < 2:
            continue
        if normalised(header[i]) not in _WORKERS or not _are_workers(cells, counts, steps):
            out.append(i)
    return out


def _are_workers(cells: list[str], counts: Mapping[str, int], steps: Floats | None) -> bool:
    """Whether numbers are those of environments side by side: they take turns while one count of steps rises.

    The rows of several runs follow each other instead, or each run counts its own steps.
    """
    if steps is None or not all(cell.strip().removesuffix(".0").isdigit() for cell in counts):
        return False
    known = steps[np.isfinite(steps)]
    turns = sum(a != b for a, b in itertools.pairwise(cells))
    return bool((np.diff(known) >= 0).all()) and turns >= 2 * len(counts)


def rows_by_run(block: list[list[str]], columns: list[int]) -> Iterator[tuple[str, list[list[str]]]]:
    """The rows of each run in a block; the label is made of the cells that tell them apart."""
    if not columns:
        yield "", block
        return
    parts: dict[str, list[list[str]]] = {}
    for row in block:
        parts.setdefault(run_of(row, columns), []).append(row)
    yield from parts.items()


def run_of(row: list[str], columns: list[int]) -> str:
    """The label of the run that a row belongs to."""
    return "-".join(row[i].strip() if i < len(row) else "" for i in columns) or "unnamed"


def runs_side_by_side(sources: list[Source]) -> list[Source]:
    """Weights & Biases exports several runs side by side, in columns named ``RUN - TAG``."""
    (source,) = sources
    tags = list(source.store.series)
    if not tags or not all(" - " in t for t in tags):
        return sources
    runs: dict[str, Store] = {}
    for tag, builder in source.store.series.items():
        run, name = tag.rsplit(" - ", 1)
        if name.endswith(("__MIN", "__MAX")):
            continue  # the extremes of a smoothed curve, not what was logged
        store = runs.setdefault(run, Store(source.store.budget))
        builder.tag = name
        store.series[name] = builder
        store.points += builder.count
        store.held += builder.held
    one = len(runs) == 1
    return [
        replace(source, store=store, label="" if one else run, notes=list(source.notes))
        for run, store in runs.items()
    ]
