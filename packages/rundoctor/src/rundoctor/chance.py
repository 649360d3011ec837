"""Whether a series rose by more than chance.

A flat series of noise has windows above others, and a moving mean of noise has long stretches that climb.
Three things are asked of the rows, thinned to at most :data:`~rundoctor.stats.SAMPLE`:

1. Two neighbouring windows differ in their means or in their mean ranks (Welch's t, which on ranks is near
   Brunner and Munzel's test: returns are skewed, and successes are 0 or 1), or the rows up to the end of the
   later one are in a rising order (Kendall's tau).  Rows that follow one another count as one where they are
   alike: how many are is read off the variogram, half the mean squared difference of two values so many rows
   apart (Matheron 1963; von Neumann 1941 for one row), which a trend hardly changes.
2. The end of a stretch lies above its beginning by more than a random walk of such steps would reach.  No
   moving mean wanders further, and a smooth curve that was learned does.
3. The curve climbs, and hardly ever falls: its largest rise is many times its largest fall.  Noise rises and
   falls alike.  This is what tells a rise in few rows, or of a smooth curve.

The probabilities of 1 and 2 are multiplied by the number of tests (Bonferroni).
Measured on 120 seeds of each kind of noise (normal, Cauchy, successes at 2 % and 20 %, moving means over 25
to 100 rows, 8 to 1,000 rows): at most 6 of them rise; of moving means with fewer rows than their window, 13.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .signals.conditions import NEVER_LEARNS
from .stats import Floats, coarse, level, spread, thin, trend

LEAST = 8
"""Rows below which nothing is told from chance."""
CHANCE = NEVER_LEARNS.threshold("chance")
EFFECT = NEVER_LEARNS.threshold("effect")
CLIMB = NEVER_LEARNS.threshold("climb")
ENDS = (2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0)
"""Where the later window ends, as shares of the rows: what was learned may be lost again."""
BEGINS = (0.0, 1 / 6, 2 / 6, 3 / 6)
"""Where a stretch begins: a return may sink before it rises above its beginning."""
SPLITS = (0.03, 0.1, 0.25, 0.5, 0.75, 0.9)
"""Where the later window begins, as shares of the rows up to its end: at once, on the way, or late."""
SHORTEST = 3
"""Rows of a window."""
PLATEAU = 1.15
"""Rows are alike as long as the variogram grows by more than this when their distance doubles.

It is 1 for independent rows, and 2 within a moving mean."""
OUTLIER = 4.0
"""Spreads from the median at which a single value is cut off."""
SAME = 1e-6
"""Relative difference that float32 does not resolve."""
SMOOTHED = 12
"""The third question is asked of a moving mean over such a part of the rows."""


_Found = tuple[float, int, int]
"""Probability of the clearest rise in noise, and the rows where its later window starts and ends."""


@dataclass(frozen=True)
class Rise:
    """Two windows of a series, the later one above the earlier by more than chance."""

    before: float
    after: float
    p: float
    """Probability of such a rise in noise, over all windows that were tried; 0 for one that only climbs."""


def rise(values: Floats) -> Rise | None:
    """The clearest rise of a series; None where chance explains all of it.

    Args:
        values: (n,) in order of time.
    """
    values = values[np.isfinite(values)]
    if len(values) < LEAST or np.ptp(values) <= SAME * np.abs(values).max():
        return None
    rows = thin(np.arange(len(values), dtype=float), values)[1]
    single = not coarse(values)
    if single and (width := spread(rows)) > 0:
        middle = float(np.median(rows))
        rows = np.clip(rows, middle - OUTLIER * width, middle + OUTLIER * width)
    least = EFFECT * math.sqrt(_variogram(values, 1))
    p, start, end = min(_windows_apart(rows, least), _beyond_a_walk(rows, least))
    climbs = single and _climbs(rows)
    if p > CHANCE and not climbs:
        return None
    if p > CHANCE:
        p, start, end = 0.0, len(rows) // 2, len(rows)
    share = len(values) / len(rows)
    before, after = values[: round(start * share)], values[round(start * share) : round(end * share)]
    return Rise(level(before, values), level(after, values), p)


def fall(values: Floats) -> Rise | None:
    """The clearest fall of a series: a rise of its opposite."""
    found = rise(-values)
    return None if found is None else Rise(-found.before, -found.after, found.p)


def _windows_apart(rows: Floats, least: float) -> _Found:
    """Neighbouring windows, and all rows up to the end of the later one in their order."""
    count = len(rows)
    ends = sorted({end for e in ENDS if (end := round(count * e)) >= LEAST})
    ranks = _ranks(rows)
    alike = _memory(ranks)
    kinds = [(ranks, alike)] if coarse(rows) else [(ranks, alike), (rows, _memory(rows))]
    best = (0.0, count // 2, count)
    tried = 0
    for end in ends:
        for start in sorted({min(max(SHORTEST, round(share * end)), end - SHORTEST) for share in SPLITS}):
            tried += len(kinds)
            if float(rows[start:end].mean() - rows[:start].mean()) < least:
                continue
            for x, memory in kinds:
                best = max(best, (_welch(x[:start], x[start:end], memory, _variogram(x, memory)), start, end))
        tried += 1
        half = end // 2
        if float(rows[half:end].mean() - rows[:half].mean()) >= least:
            tau = trend(np.arange(end, dtype=float), rows[:end]).tau
            # Kendall 1975, without the correction for ties, which makes it cautious
            deviate = 3 * tau * math.sqrt(end * (end - 1) / (2 * (2 * end + 5)))
            best = max(best, (_normal(deviate, math.sqrt(alike), _freedom(end, alike)), half, end))
    return _corrected(best, tried)


def _beyond_a_walk(rows: Floats, least: float) -> _Found:
    """Ends of stretches; one that begins later must end above the beginning of the rows as well."""
    count = len(rows)
    step = _variogram(rows, 1)
    best = (0.0, count // 2, count)
    tried = 0
    for begin, end in ((round(count * b), round(count * e)) for b in BEGINS for e in ENDS):
        if end - begin < max(LEAST, count // 3):
            continue
        tried += 1
        tenth = max(SHORTEST, (end - begin) // 10)
        last = float(rows[end - tenth : end].mean())
        gain = last - float(rows[begin : begin + tenth].mean())
        if gain >= least and last >= float(rows[:tenth].mean()) + least:
            z = _normal(gain, math.sqrt(2 * step * (end - begin)), _freedom(count, 1))
            best = max(best, (z, (begin + end) // 2, end))
    return _corrected(best, tried)


def _corrected(best: tuple[float, int, int], tried: int) -> _Found:
    """The probability of a normal deviate, multiplied by the number of tests (Bonferroni)."""
    z, start, end = best
    return tried * math.erfc(z / math.sqrt(2)) / 2, start, end


def _welch(before: Floats, after: Floats, alike: int, noise: float) -> float:
    """Welch's t as a normal deviate; the variance of a window is never less than the noise of all rows."""
    windows = before, after
    error = sum(max(noise, float(w.var(ddof=1))) * min(1.0, alike / len(w)) for w in windows)
    freedom = _freedom(len(before) + len(after), alike)
    return _normal(float(after.mean() - before.mean()), math.sqrt(error), freedom)


def _freedom(count: int, alike: int) -> float:
    """Degrees of freedom: the variogram of n independent rows has about 2 n / 3."""
    return 2 / 3 * count / alike - 1


def _normal(gain: float, error: float, freedom: float) -> float:
    """A t-value as the normal deviate of the same probability (Wallace 1959)."""
    if gain <= 0 or freedom <= 0:
        return 0.0
    if error <= 0:
        return math.inf
    factor = (8 * freedom + 1) / (8 * freedom + 3)
    return factor * math.sqrt(freedom * math.log1p((gain / error) ** 2 / freedom))


def _ranks(rows: Floats) -> Floats:
    """Ranks from 0; equal values share the mean of theirs."""
    _, which, counts = np.unique(rows, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    return np.asarray((first + (counts - 1) / 2)[which], dtype=float)


def _variogram(rows: Floats, distance: int) -> float:
    """Half the mean squared difference of rows so far apart: the variance of what they do not share."""
    return float(np.mean((rows[distance:] - rows[:-distance]) ** 2)) / 2


def _memory(rows: Floats) -> int:
    """How many rows in succession are alike, so that together they count as one; a power of two."""
    alike = 1
    more = PLATEAU + 1 / math.sqrt(len(rows))  # the variogram of few rows is uncertain itself
    while 8 * alike <= len(rows) and _variogram(rows, 2 * alike) > more * _variogram(rows, alike):
        alike *= 2
    return alike


def _climbs(rows: Floats) -> bool:
    """Whether the largest rise of the smoothed curve is many times its largest fall."""
    width = max(2, len(rows) // SMOOTHED)
    sums = np.concatenate([[0.0], np.cumsum(rows - rows[0])])
    curve = (sums[width:] - sums[:-width]) / width
    up = float((np.maximum.accumulate(curve[::-1])[::-1] - curve).max())
    down = float((np.maximum.accumulate(curve) - curve).max())
    return up > 0 and up >= CLIMB * down
