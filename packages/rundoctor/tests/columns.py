"""Tables made in a test: a column a series, judged as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rundoctor.engine import diagnose
from rundoctor.evidence import everything
from rundoctor.load import load
from rundoctor.model import INFO, Report

Column = Sequence[float] | np.ndarray
ROWS = 300
STEP = 1000 * np.arange(1, ROWS + 1)


def noise(seed: int, scale: float = 1.0, rows: int = ROWS) -> np.ndarray:
    return scale * np.random.default_rng(seed).normal(size=rows)


def curve(first: float, last: float, scatter: float, seed: int = 0, rows: int = ROWS) -> np.ndarray:
    """From the first to the last value, fast and then slowly, with normal noise."""
    progress = np.arange(1, rows + 1) / rows
    return first + (last - first) * (1 - np.exp(-4 * progress)) + noise(seed, scatter, rows)


def sound(**more: Column) -> dict[str, Column]:
    """A run that learns: steps, a critic's loss that falls and a return that rises."""
    return {
        "step": STEP,
        "critic_loss": np.abs(curve(3, 1, 0.2, seed=1)),
        "episode_return": curve(0, 850, 40, seed=2),
        **more,
    }


def judged(folder: Path, columns: Mapping[str, Column], name: str = "progress.csv") -> Report:
    folder.mkdir(parents=True, exist_ok=True)
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(f"{float(x):.10g}" for x in row) for row in rows)]
    (folder / name).write_text("\n".join(lines) + "\n")
    loaded = load([folder / name])
    assert len(loaded.runs) == 1
    return diagnose(loaded.runs[0])


def found(report: Report) -> dict[str, str]:
    """Ids of all findings, those that another one explains too, with their severity in words."""
    return {f.id: f.severity.name.lower() for f in everything(report.findings)}


def serious(report: Report) -> list[str]:
    return [f.id for f in everything(report.findings) if f.severity > INFO]
