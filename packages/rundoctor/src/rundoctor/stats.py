"""Robust statistics whose cost does not grow with the square of the points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
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
        return self.tau > 0 and self.p < 0.01

    @property
    def falling(self) -> bool:
        return self.tau < 0 and self.p < 0.01


def thin(x: Floats, y: Floats, most: int = SAMPLE) -> tuple[Floats, Floats]:
    """At most ``most`` points: levels of consecutive groups of equal size, which ignore single spikes."""
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    if len(x) <= most:
        return x, y
    centre = np.mean if coarse(y) else np.median
    edges = np.linspace(0, len(x), most + 1).astype(int)
    xs = np.array([np.median(x[a:b]) for a, b in itertools.pairwise(edges)])
    ys = np.array([centre(y[a:b]) for a, b in itertools.pairwise(edges)])
    return xs, ys


def coarse(y: Floats) -> bool:
    """Whether so many values are equal that a median hides what changes.

    A success or a failure an episode is the extreme case: with 48 % successes the median is 0.  A median is
    blind to changes elsewhere if one value holds a quarter of the rows, and moves by a tenth of the range at
    once if there are no more than ten values.
    """
    y = _sample(y, 2048)
    values, counts = np.unique(y, return_counts=True)
    if len(values) < 2:
        return False
    return len(values) <= min(10, len(y) / 4) or bool(counts.max() >= max(4, len(y) / 4))


def level(y: Floats, like: Floats | None = None) -> float:
    """The typical value: the median, or the mean of coarse values; NaN where no value is finite.

    Args:
        y: values, of which only the finite ones count.
        like: the whole that ``y`` is a window of, so that all its windows are treated alike.
    """
    if not coarse(y if like is None else like):
        return median(y)
    y = y[np.isfinite(y)]
    return float(np.mean(y)) if len(y) else math.nan


def levels(windows: Sequence[Floats], like: Floats) -> list[float]:
    """The level of each window of a whole."""
    return [level(w, like) for w in windows]


def level_name(y: Floats) -> str:
    """What :func:`level` takes, for texts: ``"medians"`` or ``"means"``."""
    return "means" if coarse(y) else "medians"


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
        How much more often b is above a than below it, among all pairs that differ: -1 .. 1 (Goodman and
        Kruskal's gamma; Cliff's delta where no values are equal, which returns of 0 or 1 never let near 1).
        And the two-sided p.
    """
    a, b = _sample(np.asarray(a, float)), _sample(np.asarray(b, float))
    n, m = len(a), len(b)
    if n == 0 or m == 0:
        return 0.0, 1.0
    signs = np.sign(b[:, None] - a[None, :])
    more = float(signs.mean())
    differ = np.count_nonzero(signs) / signs.size
    both = np.concatenate([a, b])
    _, ties = np.unique(both, return_counts=True)
    total = n + m
    tied = float((ties**3 - ties).sum()) / max(1, total * (total - 1))
    sigma = math.sqrt(max(n * m / 12 * (total + 1 - tied), 1e-12))
    z = abs(more) * n * m / 2 / sigma
    return more / differ if differ else 0.0, math.erfc(z / math.sqrt(2))


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


def scatter(y: Floats) -> float:
    """Standard deviation of single values: the robust one, or the ordinary one of coarse values."""
    return float(np.std(y[np.isfinite(y)])) if coarse(y) else spread(y)


def uncertainty(y: Floats) -> float:
    """How far chance may move the level: the scatter, or the standard error where it is a mean.

    The scatter is a cautious figure for a median, since rows are often means or follow one another.  Beside
    that of single successes no difference of levels would ever show.
    """
    count = max(1, int(np.isfinite(y).sum()))
    return scatter(y) / math.sqrt(count) if coarse(y) else scatter(y)


def settled_end(size: Floats) -> float:
    """The smallest of the last rows, a twentieth of all: what the series has reached and does not leave."""
    return float(np.min(size[-max(5, len(size) // 20) :])) if len(size) >= LATE_ROWS else 0.0


def settles_below(y: Floats, line: float, least: int = 5, mean: bool = False) -> int:
    """Index from which the median (or mean) of the last rows, a twentieth of all, stays below a line.

    It is looked up at 512 places and then between two of them, so that the cost grows with the points alone.
    """
    count = len(y)
    width = max(least, count // 20)
    centre = np.mean if mean else np.median

    def above(i: int) -> bool:
        return bool(centre(y[max(0, i - width) : i + 1]) > line)

    places = np.unique(np.linspace(0, count - 1, min(count, 512)).astype(int))
    over = [i for i, place in enumerate(places) if above(int(place))]
    if not over:
        return 0
    if over[-1] + 1 == len(places):
        return count - 1
    low, high = int(places[over[-1]]), int(places[over[-1] + 1])
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if above(middle) else (low, middle)
    return high


def median(y: Floats) -> float:
    """Median of the finite values; NaN when there are none."""
    y = y[np.isfinite(y)]
    return float(np.median(y)) if len(y) else math.nan
