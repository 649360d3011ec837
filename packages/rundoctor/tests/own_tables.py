"""Small tables as people write them, with a row each 1,000 steps or each episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rundoctor.engine import diagnose
from rundoctor.load import load
from rundoctor.model import Report

N = 300
RNG = np.random.default_rng(0)
STEPS = [1000 * (k + 1) for k in range(N)]
EPISODES = list(range(1, N + 1))
LOSS = (3 + RNG.random(N)).round(3).tolist()
EPSILON = np.linspace(1, 0.05, N).tolist()


def curve(start: float, end: float, spread: float = 20.0, rows: int = N) -> list[float]:
    """From one level to another, most of the way in the first half, with noise."""
    x = np.linspace(0, 4, rows)
    return (end + (start - end) * np.exp(-x) + spread * RNG.normal(size=rows)).round(6).tolist()


def write(path: Path, columns: Mapping[str, Sequence[object]]) -> Path:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def judged(path: Path, columns: Mapping[str, Sequence[object]]) -> Report:
    """What is said of the one run in a table."""
    (run,) = load([write(path, columns)]).runs
    return diagnose(run)


def serious(report: Report) -> list[str]:
    return [f.id for f in report.findings if f.severity > 0]
