"""Robust statistics whose cost does not grow with the square of the points."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SAMPLE = 256
"""Statistics over all pairs use at most this many points, which make 32,640 pairs."""
LATE_ROWS = 20
"""With fewer rows the end cannot be judged separately."""


@dataclass(frozen=True)
class Trend:
    """A monotone trend: Theil-Sen slope and the Mann-Kendall test for it."""

    slope: float
    """Median of the slopes over all pairs, per unit of x."""
    tau: float
    """Kendall's rank correlation, -1 .. 1."""
    p: float
    """Two-sided p-value: the probability of such a tau where there is no trend (normal approximation)."""
    points: int

    @property
    def rising(self) -> bool:
        return self.slope > 0 and self.p < 0.01

    @property
    def falling(self) -> bool:
        return self.slope < 0 and self.p < 0.01


def thin(x: Floats, y: Floats, most: int = SAMPLE) -> tuple[Floats, Floats]:
    """At most ``most`` points: medians of consecutive groups of equal size, which ignore single spikes."""
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    if len(x) <= most:
        return x, y
    edges = np.linspace(0, len(x), most + 1).astype(int)
    xs = np.array([np.median(x[a:b]) for a, b in itertools.pairwise(edges)])
    ys = np.array([np.median(y[a:b]) for a, b in itertools.pairwise(edges)])
    return xs, ys


def trend(x: Floats, y: Floats) -> Trend:
    """Theil-Sen and Mann-Kendall (Sen 1968; Kendall 1975, with the correction for ties).

    Args:
        x, y: (n,); thinned to ``SAMPLE`` points first.
    """
    x, y = thin(np.asarray(x, float), np.asarray(y, float))
    n = len(x)
    if n < 3:
        return Trend(0.0, 0.0, 1.0, n)
    i, j = np.triu_indices(n, 1)
    dx, dy = x[j] - x[i], y[j] - y[i]
    some = dx != 0
    slope = float(np.median(dy[some] / dx[some])) if some.any() else 0.0
    s = float(np.sign(dy).sum())
    _, ties = np.unique(y, return_counts=True)
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    z = 0.0 if variance <= 0 or s == 0 else (s - math.copysign(1, s)) / math.sqrt(variance)
    return Trend(slope, s / (n * (n - 1) / 2), math.erfc(abs(z) / math.sqrt(2)), n)


def separation(a: Floats, b: Floats) -> tuple[float, float]:
    """Mann-Whitney: how far b lies above a.

    Returns:
        Cliff's delta, -1 (all of b below all of a) .. 1, and the two-sided p.
    """
    a, b = _sample(np.asarray(a, float)), _sample(np.asarray(b, float))
    n, m = len(a), len(b)
    if n == 0 or m == 0:
        return 0.0, 1.0
    delta = float(np.sign(b[:, None] - a[None, :]).mean())
    both = np.concatenate([a, b])
    _, ties = np.unique(both, return_counts=True)
    total = n + m
    tied = float((ties**3 - ties).sum()) / max(1, total * (total - 1))
    sigma = math.sqrt(max(n * m / 12 * (total + 1 - tied), 1e-12))
    z = abs(delta) * n * m / 2 / sigma
    return delta, math.erfc(z / math.sqrt(2))


def _sample(x: Floats, most: int = 512) -> Floats:
    x = x[np.isfinite(x)]
    if len(x) <= most:
        return x
    some: Floats = x[np.linspace(0, len(x) - 1, most).astype(int)]
    return some


def parts(y: Floats, count: int) -> list[Floats]:
    """Cut into ``count`` consecutive parts of nearly equal size."""
    return [np.asarray(p) for p in np.array_split(y, count)]


def spread(y: Floats) -> float:
    """Robust standard deviation: 1.4826 times the median absolute deviation."""
    y = y[np.isfinite(y)]
    if not len(y):
        return 0.0
    return float(1.4826 * np.median(np.abs(y - np.median(y))))


def settled_end(size: Floats) -> float:
    """The smallest of the last rows, a twentieth of all: what the series has reached and does not leave."""
    return float(np.min(size[-max(5, len(size) // 20) :])) if len(size) >= LATE_ROWS else 0.0


def median(y: Floats) -> float:
    """Median of the finite values; NaN when there are none."""
    y = y[np.isfinite(y)]
    return float(np.median(y)) if len(y) else math.nan
