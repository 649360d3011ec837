"""How often the 95 % intervals of an evaluation contain the true value, for samples as evaluations give them.

    python verification/interval_coverage.py

Each line: a distribution, the number of episodes, and the share of 1,000 samples whose interval (percentile
bootstrap, BCa bootstrap, Student's t) contains the true value.  docs/evaluation.md quotes it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.stats

from av_td3.evaluation import statistics

SAMPLES = 1000
statistics.RESAMPLES = 999

Draw = Callable[[np.random.Generator, int], np.ndarray]
"""Draws that many episodes."""


def percentile(
    numerators: np.ndarray, denominators: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    index = rng.integers(0, len(numerators), (statistics.RESAMPLES, len(numerators)))
    draws = numerators[index].sum(1) / denominators[index].sum(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def student(values: np.ndarray) -> tuple[float, float]:
    half = values.std(ddof=1) / np.sqrt(len(values)) * scipy.stats.t.ppf(0.975, len(values) - 1)
    return values.mean() - half, values.mean() + half


def completion_of(success: float, a: float, b: float) -> tuple[Draw, float]:
    """Routes are completed with a probability, otherwise up to a beta-distributed share.

    Returns what draws such shares, and their true mean.
    """

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return np.where(rng.random(n) < success, 1.0, rng.beta(a, b, n))

    return draw, success + (1 - success) * a / (a + b)


def main() -> None:
    rng = np.random.default_rng(0)
    cases = {
        "completion, 30 % success": completion_of(0.3, 1, 3),
        "completion, no success": completion_of(0.0, 0.5, 5),
        "completion, 85 % success": completion_of(0.85, 1, 1),
    }
    print(f"{'':34}{'n':>4}{'percentile':>12}{'BCa':>8}{'t':>8}")
    for name, (draw, truth) in cases.items():
        for n in (5, 10, 20, 40):
            hits = np.zeros(3)
            for _ in range(SAMPLES):
                x = draw(rng, n)
                bca = statistics.mean_interval(x, bounds=(0, 1), seed=int(rng.integers(1 << 30)))
                intervals = [percentile(x, np.ones(n), rng), (bca.low, bca.high), student(x)]
                hits += [
                    low is not None and high is not None and low <= truth <= high for low, high in intervals
                ]
            print(f"{name:34}{n:4}{hits[0] / SAMPLES:12.3f}{hits[1] / SAMPLES:8.3f}{hits[2] / SAMPLES:8.3f}")
    for rate in (1, 5, 15):
        for n in (5, 10, 20, 40):
            hits = np.zeros(2)
            for _ in range(SAMPLES):
                until = rng.exponential(1 / rate, n)  # km to the collision, on routes of 170 m
                events, km = (until < 0.17).astype(float), np.minimum(until, 0.17)
                bca = statistics.ratio_interval(events, km, events=True, seed=int(rng.integers(1 << 30)))
                for k, (low, high) in enumerate([percentile(events, km, rng), (bca.low, bca.high)]):
                    hits[k] += (low or 0.0) <= rate <= (np.inf if high is None else high)
            name = f"collisions, {rate} per km"
            print(f"{name:34}{n:4}{hits[0] / SAMPLES:12.3f}{hits[1] / SAMPLES:8.3f}{'':>8}")


if __name__ == "__main__":
    main()
