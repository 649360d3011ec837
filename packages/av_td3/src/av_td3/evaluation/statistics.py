"""Confidence intervals for a handful of episodes, and paired comparison of two agents.

Whole episodes (routes) are resampled, because the steps within an episode are far from
independent.  Intervals are BCa bootstraps (Efron 1987).  On skewed, bounded samples of this size
they cover better than percentile intervals (docs/evaluation.md has the measurement).  When all
episodes gave the same value, a bootstrap finds no spread, and an exact bound takes its place.
Success is a proportion, so it gets Wilson's interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

Array = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 9999
"""As in ``scipy.stats.bootstrap``.  Between seeds, an interval's ends move by about 1 % of its width."""
_WITHOUT_EXPOSURE = (
    0.05  # a rate has no interval when more than this share of the resamples has the denominator 0
)


@dataclass(frozen=True)
class ConfidenceInterval:
    """An estimate and its confidence interval; a value is None where it does not exist."""

    estimate: float | None
    low: float | None
    high: float | None
    n: int
    """Number of episodes."""
    method: str
    """bca | percentile | wilson | poisson | bounded | crossed | stratified | none"""

    def __str__(self) -> str:
        def text(x: float | None) -> str:
            return "-" if x is None else f"{x:.3g}"

        return f"{text(self.estimate)} [{text(self.low)}, {text(self.high)}]"

    def to_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


NOTHING = ConfidenceInterval(None, None, None, 0, "none")


def mean_interval(
    values: ArrayLike,
    *,
    bounds: tuple[float, float] | None = None,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> ConfidenceInterval:
    """Interval of the mean of one number per episode.

    Args:
        values: (n,) finite.
        bounds: least and greatest possible value.  With them, a sample of equal values has an interval too.
    """
    x = _sample(values)
    if len(x) == 0:
        return NOTHING
    if np.ptp(x) == 0:
        return _constant(float(x[0]), len(x), bounds, confidence)
    interval = _bootstrap(lambda a: a.mean(-1), (x,), confidence, seed)
    return _within(interval, bounds)


def proportion_interval(hits: ArrayLike, *, confidence: float = CONFIDENCE) -> ConfidenceInterval:
    """Interval of the share of true values: Wilson's score interval (Wilson 1927; Brown, Cai, DasGupta 2001).

    Unlike a bootstrap it does not collapse at 0 of n or n of n.
    """
    x = np.asarray(hits, bool)
    n = x.size
    if n == 0:
        return NOTHING
    z = float(norm.ppf(0.5 + confidence / 2))
    p = float(x.mean())
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At 0 and 1 an end of the interval is exactly the bound, which rounding must not change.
    low = 0.0 if p == 0 else max(0.0, centre - half)
    high = 1.0 if p == 1 else min(1.0, centre + half)
    return ConfidenceInterval(p, low, high, n, "wilson")


def ratio_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    events: bool = False,
    bounds: tuple[float, float] | None = None,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> ConfidenceInterval:
    """Interval of sum(numerators) / sum(denominators).  Episodes are resampled with both their numbers.

    Args:
        numerators, denominators: (n,), denominators >= 0: events and kilometres, say.
        events: the numerators count rare events; without any, the interval's upper end is
            the exact Poisson bound (Garwood 1936), about 3.7 / exposure at 95 %.
        bounds: least and greatest possible ratio.
    """
    num, den = _sample(numerators), _sample(denominators)
    if num.shape != den.shape:
        raise ValueError(f"{len(num)} numerators and {len(den)} denominators")
    if (den < 0).any():
        raise ValueError("a denominator is negative")
    n, exposure = len(num), float(den.sum())
    if n == 0 or exposure == 0:
        return ConfidenceInterval(None, None, None, n, "none")
    if events and not num.any():
        return ConfidenceInterval(0.0, 0.0, -math.log((1 - confidence) / 2) / exposure, n, "poisson")

    def ratio(a: Array, b: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(a.sum(-1) / b.sum(-1))

    return _within(_bootstrap(ratio, (num, den), confidence, seed), bounds)


def _sample(values: ArrayLike) -> Array:
    x = np.asarray(values, np.float64)
    if x.ndim != 1:
        raise ValueError(f"one number per episode, not an array of shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("a sample holds a value that is not finite")
    return x


def _constant(
    value: float, n: int, bounds: tuple[float, float] | None, confidence: float
) -> ConfidenceInterval:
    """Interval when all n episodes gave ``value``: resampling would give one of width 0.

    At least p = (1 - confidence)^(1/n) of all episodes give it, with that confidence
    (Clopper and Pearson 1934, one-sided), and the rest lies somewhere within the bounds.
    """
    if bounds is None:
        return ConfidenceInterval(value, None, None, n, "none")
    p = (1 - confidence) ** (1 / n)
    low, high = (p * value + (1 - p) * bound for bound in bounds)
    return ConfidenceInterval(value, low, high, n, "bounded")


def _within(interval: ConfidenceInterval, bounds: tuple[float, float] | None) -> ConfidenceInterval:
    # Resampled means lie within the sample's range and so within the bounds, except for rounding.
    if bounds is None or interval.low is None or interval.high is None:
        return interval
    low, high = max(bounds[0], interval.low), min(bounds[1], interval.high)
    return ConfidenceInterval(interval.estimate, low, high, interval.n, interval.method)


def _bootstrap(
    statistic: Callable[..., Array], samples: tuple[Array, ...], confidence: float, seed: int
) -> ConfidenceInterval:
    """BCa interval of ``statistic(*samples)``; percentile where the acceleration is undefined.

    ``scipy.stats.bootstrap`` gives the same (tested) but turns a single resample without
    exposure into an interval of NaN.
    """
    n = len(samples[0])
    rng = np.random.default_rng(seed)
    index = rng.integers(0, n, (RESAMPLES, n))
    draws = statistic(*(x[index] for x in samples))
    draws = np.sort(draws[~np.isnan(draws)])  # 0/0: a resample without exposure says nothing
    estimate = float(statistic(*samples))
    if len(draws) < (1 - _WITHOUT_EXPOSURE) * RESAMPLES:
        return ConfidenceInterval(estimate, None, None, n, "none")
    finite = draws[np.isfinite(draws)]
    rounding = 1e-12 * np.abs(finite).max(initial=0.0)
    if draws[-1] - draws[0] <= rounding:
        return ConfidenceInterval(estimate, None, None, n, "none")  # no spread was seen
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    method = "percentile"
    left_out = np.array([[j for j in range(n) if j != i] for i in range(n)])
    jackknife = statistic(*(x[left_out] for x in samples))
    # With few episodes, many resamples give exactly the estimate.  Each of them counts half.
    below = (np.mean(draws < estimate - rounding) + np.mean(draws <= estimate + rounding)) / 2
    if np.isfinite(jackknife).all() and np.ptp(jackknife) > 0 and 0 < below < 1:
        gap = jackknife.mean() - jackknife
        gap /= np.abs(gap).max()  # the scale does not matter, and cubes of small numbers would underflow
        acceleration = (gap**3).sum() / (6 * (gap**2).sum() ** 1.5)
        bias, z = norm.ppf(below), norm.ppf(tails)
        tails = norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))
        method = "bca"
    # No interpolation between draws, because a draw can be infinite (events without exposure).
    low, high = np.quantile(draws, tails, method="inverted_cdf")
    return ConfidenceInterval(estimate, _finite(low), _finite(high), n, method)


def _finite(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None


@dataclass(frozen=True)
class Paired:
    """Two agents on the same routes, first minus second."""

    difference: ConfidenceInterval
    """Interval of the mean difference per route."""
    improvement: ConfidenceInterval
    """Probability of improvement: the share of routes on which the first is better.  Ties count half."""
    wins: int
    losses: int
    ties: int

    @property
    def significant(self) -> bool:
        """Whether zero lies outside the interval of the difference."""
        d = self.difference
        return d.low is not None and d.high is not None and (d.low > 0 or d.high < 0)

    def to_dict(self) -> dict[str, Any]:
        return {
            "difference": self.difference.to_dict(),
            "improvement": self.improvement.to_dict(),
            "wins": self.wins,
            "losses": self.losses,
            "ties": self.ties,
            "significant": self.significant,
        }


def paired(
    first: Sequence[float],
    second: Sequence[float],
    *,
    higher_is_better: bool = True,
    bounds: tuple[float, float] | None = None,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Paired:
    """Compare two agents route by route; ``first[i]`` and ``second[i]`` are of the same route.

    Pairing removes the differences in difficulty between routes.  It can therefore show a difference
    between agents where their two separate intervals overlap.

    Args:
        bounds: least and greatest possible value; a difference then lies within +-(high - low).
    """
    a, b = _sample(first), _sample(second)
    if a.shape != b.shape:
        raise ValueError(f"{len(a)} and {len(b)} episodes are not pairs")
    span = None if bounds is None else (bounds[0] - bounds[1], bounds[1] - bounds[0])
    gap = a - b if higher_is_better else b - a
    score = np.where(gap > 0, 1.0, np.where(gap < 0, 0.0, 0.5))
    return Paired(
        mean_interval(a - b, bounds=span, confidence=confidence, seed=seed),
        mean_interval(score, bounds=(0.0, 1.0), confidence=confidence, seed=seed),
        int((gap > 0).sum()),
        int((gap < 0).sum()),
        int((gap == 0).sum()),
    )


def overlap(a: ConfidenceInterval, b: ConfidenceInterval) -> bool:
    """Whether two intervals share a point.  An interval without ends overlaps every other."""
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return True
    return a.low <= b.high and b.low <= a.high
