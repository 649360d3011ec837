"""Robust statistics: right on known cases, and linear in the number of points."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
import scipy.stats

from rundoctor.measures import first_crossing
from rundoctor.stats import (
    SAMPLE,
    coarse,
    level,
    median,
    parts,
    scatter,
    separation,
    settles_below,
    spread,
    thin,
    trend,
    uncertainty,
)


def test_trend_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    x = np.arange(100.0)
    y = 0.3 * x + rng.normal(0, 5, 100)
    mine = trend(x, y)
    tau, p = scipy.stats.kendalltau(x, y)
    assert mine.slope == pytest.approx(scipy.stats.theilslopes(y, x).slope, rel=1e-9)
    assert mine.tau == pytest.approx(tau, rel=1e-9)
    assert mine.p == pytest.approx(p, rel=0.2) or max(mine.p, p) < 1e-10
    assert mine.rising and not mine.falling


def test_trend_withstands_spikes_and_gaps() -> None:
    x = np.arange(1000.0)
    y = -x.copy()
    y[::17] = 1e9
    y[::23] = np.nan
    assert trend(x, y).falling
    assert trend(x, y).slope == pytest.approx(-1, rel=0.2)


def test_trend_finds_none_in_noise() -> None:
    rng = np.random.default_rng(1)
    found = [trend(np.arange(60.0), rng.normal(size=60)).p < 0.01 for _ in range(300)]
    assert np.mean(found) < 0.03


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [3.0] * 50])
def test_trend_of_next_to_nothing(values: list[float]) -> None:
    t = trend(np.arange(float(len(values))), np.array(values))
    assert t.slope == 0 and t.p == 1 and not t.rising


def test_separation_agrees_with_scipy() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(0, 1, 80), rng.normal(0.7, 1, 120)
    delta, p = separation(a, b)
    u = scipy.stats.mannwhitneyu(b, a)
    assert delta == pytest.approx(2 * u.statistic / (80 * 120) - 1)
    assert p == pytest.approx(u.pvalue, rel=0.05)


def test_successes_of_0_and_1_can_be_far_apart() -> None:
    """Cliff's delta of 48 % against 1 % is 0.47: most pairs are equal. Of those that differ it is 0.98."""
    rare, often = np.r_[1.0, np.zeros(99)], np.r_[np.ones(48), np.zeros(52)]
    effect, p = separation(rare, often)
    assert effect == pytest.approx((48 * 99 - 52) / (48 * 99 + 52)) and p < 1e-10
    assert separation(rare, rare) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("values", "expected", "typical"),
    [
        (np.r_[np.ones(48), np.zeros(52)], True, 0.48),
        (np.repeat([0.0, 1, 2, 3, 4], 8), True, 2.0),
        (np.r_[np.full(40, -200.0), np.linspace(-199, -100, 60)], True, -169.7),
        (np.linspace(0, 10, 101) ** 2, False, 25.0),
        (np.full(50, 0.1), False, 0.1),
        (np.array([0.0, 1.0, 5.0]), False, 1.0),
        (np.r_[np.arange(99.0), 1e12], False, 49.5),
    ],
)
def test_the_level_is_a_mean_where_a_median_is_blind(
    values: np.ndarray, expected: bool, typical: float
) -> None:
    assert coarse(values) is expected
    assert level(values) == pytest.approx(typical)
    assert scatter(values) == (np.std(values) if expected else spread(values))
    assert uncertainty(values) == scatter(values) / (np.sqrt(len(values)) if expected else 1)


def test_windows_are_treated_as_the_whole() -> None:
    whole = np.r_[np.zeros(60), np.linspace(0, 1, 40)]
    assert level(whole[60:], whole) == pytest.approx(whole[60:].mean())


def test_a_trend_of_successes_is_seen() -> None:
    made = (np.random.default_rng(0).random(600) < np.linspace(0.05, 0.5, 600)).astype(float)
    assert trend(np.arange(600.0), made).rising and trend(np.arange(600.0), -made).falling


def test_where_a_series_settles_below_a_line_is_found_at_a_cost_that_grows_with_the_points() -> None:
    def slowly(y: np.ndarray, line: float) -> int:
        """The definition, which costs the square of the points."""
        k = max(5, len(y) // 20)
        over = [i for i in range(len(y)) if level(y[max(0, i - k) : i + 1], y) > line]
        return min(over[-1] + 1, len(y) - 1) if over else 0

    rng = np.random.default_rng(0)
    for rows in (1, 7, 60, 500, 3000):
        falls = np.linspace(10, 0, rows) + rng.normal(0, 0.1, rows)
        for line in (-1.0, 5.0, 20.0):
            assert settles_below(falls, line) == slowly(falls, line)
    rarer = (rng.random(2000) < np.linspace(0.9, 0, 2000)).astype(float)
    assert settles_below(rarer, 0.45, mean=True) == pytest.approx(1050, abs=100)

    def cost(rows: int) -> float:
        y = np.linspace(10, 0, rows) + rng.normal(size=rows)
        began = time.process_time()
        settles_below(y, 5.0)
        return time.process_time() - began

    cost(1000)
    assert cost(160_000) < 100 * max(cost(10_000), 1e-4), "sixteen times the points, not 256 times the cost"


def test_cost_does_not_grow_with_the_square() -> None:
    """Both compare all pairs, so they have to do it with a sample of bounded size."""
    y = np.sin(np.arange(2_000_000.0))
    assert trend(np.arange(2_000_000.0), y).points == SAMPLE
    tracemalloc.start()
    separation(y[:1_000_000], y[1_000_000:])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * y.nbytes, "all pairs of a million by a million would be 8 TB"


def test_thin_keeps_order_and_is_not_led_by_spikes() -> None:
    x = np.arange(10_000.0)
    y = x.copy()
    y[::100] = 1e12
    xs, ys = thin(x, y)
    assert len(xs) == 256 and (np.diff(xs) > 0).all() and ys.max() < 10_001


def test_small_things() -> None:
    assert np.isnan(median(np.array([np.nan])))
    assert spread(np.array([])) == 0
    assert [len(p) for p in parts(np.arange(10.0), 4)] == [3, 3, 2, 2]


def test_the_first_lasting_crossing_is_found_at_a_cost_that_grows_with_the_points() -> None:
    def slowly(step: np.ndarray, above: np.ndarray) -> int | None:
        """The definition, which costs the square of the points."""
        for i in np.flatnonzero(above):
            if above[i:].mean() >= 0.8:
                return int(step[i])
        return int(step[int(np.argmax(above))]) if above.any() else None

    rng = np.random.default_rng(0)
    for n in (1, 2, 5, 40, 200):
        for share in (0.0, 0.3, 0.9):
            above = rng.random(n) < share
            assert first_crossing(np.arange(float(n)), above) == slowly(np.arange(float(n)), above)

    def cost(n: int) -> float:
        above = np.arange(n) % 2 == 0
        began = time.process_time()
        for _ in range(5):
            first_crossing(np.arange(float(n)), above)
        return time.process_time() - began

    cost(1000)
    assert cost(160_000) < 100 * max(cost(10_000), 1e-4), "sixteen times the points, not 256 times the cost"
