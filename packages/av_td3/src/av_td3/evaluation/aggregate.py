"""Several methods, each trained with several seeds: statistics after Agarwal et al. (2021).

"Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021: the interquartile
mean, the probability of improvement and performance profiles, each with bootstrap intervals.

Scores are arrays (R, T): R training runs of a method, each driving the same T routes.  The paper resamples
the runs of each task by themselves ("stratified"), because there every task has runs of its own.  Here one
run drives all routes: it is good or bad on all of them together.  So whole runs are resampled, and the
routes, which are a sample too ("crossed", the pigeonhole bootstrap of Owen 2007).  Intervals of this kind
are wider.  With a single run they cover the choice of routes only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from av_td3.evaluation.statistics import CONFIDENCE, ConfidenceInterval

Array = NDArray[np.float64]
Resampling = Literal["crossed", "stratified"]

RESAMPLES = 2000
"""As rliable takes for profiles.  Between seeds, an interval's ends move by about 2 % of its width."""
THRESHOLDS: Array = np.linspace(0.0, 1.0, 101)
"""Scores at which a performance profile is computed."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its percentile bootstrap interval; both ends are None where nothing can be resampled."""

    estimate: float
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, float | None]:
        return dict(self.__dict__)


@dataclass(frozen=True)
class Profile:
    """For each threshold the share of (run, route) pairs with a score above it, and a pointwise band."""

    thresholds: Array
    share: Array
    low: Array
    high: Array

    def to_dict(self) -> dict[str, list[float]]:
        return {name: [round(float(x), 6) for x in values] for name, values in self.__dict__.items()}


def interquartile_mean(scores: ArrayLike) -> float:
    """Mean of the middle half of all scores; robust as a median, efficient nearly as a mean.

    A quarter of the scores, rounded down, is left out at each end, as ``scipy.stats.trim_mean`` does.
    """
    return float(_iqm(np.asarray(scores, np.float64)[None])[0])


def probability_of_improvement(first: ArrayLike, second: ArrayLike) -> float:
    """P(X > Y): a random run of the first is better than one of the second on a random route.

    Args:
        first, second: (R1, T) and (R2, T).  Ties count half (the Mann-Whitney statistic, mean over routes).
    """
    x, y = scores_of(first), scores_of(second)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"{x.shape[1]} and {y.shape[1]} routes")
    return float(_improvement(x[None], y[None])[0])


def profile_of(scores: ArrayLike, thresholds: Array = THRESHOLDS) -> Array:
    """(n,): for each threshold the share of scores that are greater."""
    x = np.asarray(scores, np.float64).ravel()
    return np.asarray((x[:, None] > thresholds).mean(0))


def scores_of(values: ArrayLike) -> Array:
    """The scores as (R, T) float64.

    Raises:
        ValueError: another shape, no score, or one that is not finite.
    """
    x = np.asarray(values, np.float64)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"scores are (runs, routes), not of shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("a score is not finite")
    return x


@dataclass(frozen=True)
class Method:
    """What is said about one method."""

    scores: Array
    iqm: Estimate
    mean: Estimate
    profile: Profile

    @property
    def spread(self) -> tuple[float, float]:
        """Mean score of the worst and of the best run."""
        means = self.scores.mean(1)
        return float(means.min()), float(means.max())


@dataclass(frozen=True)
class Aggregate:
    """Several methods on the same routes; the first is compared with each other one."""

    methods: dict[str, Method]
    improvement: dict[str, Estimate]
    """By the name of the other: P(first > other)."""
    confidence: float
    resampling: Resampling

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "confidence": self.confidence,
            "resampling": self.resampling,
            "resamples": RESAMPLES,
            "methods": {
                name: {
                    "runs": len(m.scores),
                    "routes": m.scores.shape[1],
                    "iqm": m.iqm.to_dict(),
                    "mean": m.mean.to_dict(),
                    "run_means": [float(x) for x in m.scores.mean(1)],
                    "profile": m.profile.to_dict(),
                }
                for name, m in self.methods.items()
            },
            "probability_of_improvement": {name: p.to_dict() for name, p in self.improvement.items()},
        }


def aggregate(
    scores: Mapping[str, ArrayLike],
    *,
    resampling: Resampling = "crossed",
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Aggregate:
    """Statistics of every method, and of the first against each other.

    Args:
        scores: by method, (runs, routes), higher is better; the routes are the same for all.
        seed: of the resampling.

    Raises:
        ValueError: no method, scores that are no such arrays, or another number of routes.
    """
    arrays = {name: scores_of(values) for name, values in scores.items()}
    if not arrays:
        raise ValueError("nothing to aggregate")
    routes = {x.shape[1] for x in arrays.values()}
    if len(routes) > 1:
        raise ValueError(f"the methods drove {sorted(routes)} routes: they must drive the same ones")
    # The same routes are drawn for every method, so what is hard for all does not blur a comparison.
    draws: dict[str, list[Array]] = {name: [] for name in arrays}
    for chosen in _routes(routes.pop(), resampling, np.random.default_rng([seed, 0])):
        for k, (name, x) in enumerate(arrays.items()):
            rng = np.random.default_rng([seed, k + 1, len(draws[name])])
            draws[name].append(_resampled(x, chosen, resampling, rng))
    methods = {name: _method(x, draws[name], confidence) for name, x in arrays.items()}
    first = next(iter(arrays))
    improvement = {
        name: _estimate(
            probability_of_improvement(arrays[first], arrays[name]),
            np.concatenate([_improvement(a, b) for a, b in zip(draws[first], draws[name], strict=True)]),
            confidence,
        )
        for name in arrays
        if name != first
    }
    return Aggregate(methods, improvement, confidence, resampling)


def ratio_interval(
    values: ArrayLike,
    per: ArrayLike,
    *,
    resampling: Resampling = "crossed",
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> ConfidenceInterval:
    """Interval of sum(values) / sum(per), each (runs, routes): of events per kilometre, say.

    It has no ends where the resamples show no spread, or where too many have nothing to divide by.
    """
    x, y = scores_of(values), scores_of(per)
    rng = np.random.default_rng([seed, 0])
    draws = []
    for chosen in _routes(x.shape[1], resampling, rng):
        runs = _runs(len(x), chosen, resampling, rng)
        above, below = (a[runs, chosen[:, None, :]].sum((1, 2)) for a in (x, y))
        with np.errstate(divide="ignore", invalid="ignore"):
            draws.append(above / below)
    ratios = np.concatenate(draws)
    ratios = ratios[np.isfinite(ratios)]
    total = float(y.sum())
    estimate = float(x.sum()) / total if total else None
    if len(ratios) < 0.95 * RESAMPLES or np.ptp(ratios) == 0:
        return ConfidenceInterval(estimate, None, None, x.size, "none")
    low, high = np.quantile(ratios, _tails(confidence))
    return ConfidenceInterval(estimate, float(low), float(high), x.size, resampling)


_BLOCK = 250


def _routes(count: int, resampling: Resampling, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """(block, T) routes of each resample, in blocks that keep the arrays small."""
    for _ in range(RESAMPLES // _BLOCK):
        if resampling == "stratified":
            yield np.tile(np.arange(count), (_BLOCK, 1))
        else:
            yield rng.integers(0, count, (_BLOCK, count))


def _resampled(
    x: Array, routes: NDArray[np.int64], resampling: Resampling, rng: np.random.Generator
) -> Array:
    """(block, R, T) scores of resampled runs on these routes."""
    return x[_runs(len(x), routes, resampling, rng), routes[:, None, :]]


def _runs(
    count: int, routes: NDArray[np.int64], resampling: Resampling, rng: np.random.Generator
) -> NDArray[np.int64]:
    """(block, R, T) or (block, R, 1): runs drawn for each of these routes, or for all of them."""
    block, tasks = routes.shape
    return rng.integers(0, count, (block, count, tasks if resampling == "stratified" else 1))


def _method(x: Array, draws: list[Array], confidence: float) -> Method:
    iqms = np.concatenate([_iqm(d) for d in draws])
    means = np.concatenate([d.mean((1, 2)) for d in draws])
    shares = np.concatenate([_profiles(d) for d in draws])
    low, high = np.quantile(shares, _tails(confidence), axis=0)
    return Method(
        x,
        _estimate(interquartile_mean(x), iqms, confidence),
        _estimate(float(x.mean()), means, confidence),
        Profile(THRESHOLDS, profile_of(x), low, high),
    )


def _estimate(estimate: float, draws: Array, confidence: float) -> Estimate:
    if np.ptp(draws) == 0:
        return Estimate(estimate, None, None)  # no spread was seen: that is no certainty
    low, high = np.quantile(draws, _tails(confidence))
    return Estimate(estimate, float(low), float(high))


def _tails(confidence: float) -> tuple[float, float]:
    return (1 - confidence) / 2, (1 + confidence) / 2


def _iqm(scores: Array) -> Array:
    """(n, ...) -> (n,)."""
    flat = np.sort(scores.reshape(len(scores), -1), axis=1)
    cut = flat.shape[1] // 4
    return np.asarray(flat[:, cut : flat.shape[1] - cut].mean(1))


def _improvement(x: Array, y: Array) -> Array:
    """(n, R1, T) and (n, R2, T) -> (n,)."""
    difference = x[:, :, None, :] - y[:, None, :, :]
    return np.asarray((np.sign(difference) / 2 + 0.5).mean((1, 2, 3)))


def _profiles(scores: Array) -> Array:
    """(n, R, T) -> (n, thresholds)."""
    flat = np.sort(scores.reshape(len(scores), -1), axis=1)
    above = [1.0 - np.searchsorted(row, THRESHOLDS, side="right") / flat.shape[1] for row in flat]
    return np.array(above)
