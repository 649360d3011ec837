"""Several runs in one table: told apart by a column, or side by side in columns of their own."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import replace

from ..signals.systems import normalised
from ..store import Store
from .source import Source

_COLUMNS = (
    *("run", "run_id", "run_name", "seed", "experiment", "experiment_id", "exp", "exp_name", "trial"),
    *("trial_id", "trial_name", "algo", "algorithm", "method", "env", "env_name", "env_id", "environment"),
)
"""Columns that tell the runs of one table apart, where they hold more than one value."""
_MOST_RUNS = 64


def grouping_columns(header: list[str], others: Container[int | None]) -> list[int]:
    """Columns that name a run, a seed, an algorithm or an environment; ``others`` have another use."""
    return [i for i, name in enumerate(header) if normalised(name) in _COLUMNS and i not in others]


def columns_of_runs(header: list[str], grouping: list[int], blocks: Iterable[list[list[str]]]) -> list[int]:
    """Those of the grouping columns that tell runs apart: a few values, each of many rows."""
    out = []
    for i in grouping:
        counts: dict[str, int] = {}
        for block in blocks:
            for row in block:
                cell = row[i] if i < len(row) else ""
                counts[cell] = counts.get(cell, 0) + 1
        if 1 < len(counts) <= _MOST_RUNS and min(counts.values()) > 1:
            out.append(i)
    return out


def rows_by_run(block: list[list[str]], columns: list[int]) -> Iterator[tuple[str, list[list[str]]]]:
    """The rows of each run in a block; the label is made of the cells that tell them apart."""
    if not columns:
        yield "", block
        return
    parts: dict[str, list[list[str]]] = {}
    for row in block:
        label = "-".join(row[i].strip() if i < len(row) else "" for i in columns)
        parts.setdefault(label or "unnamed", []).append(row)
    yield from parts.items()


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
