"""What rose by more than chance: noise of many kinds hardly ever, what was learned nearly always."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rundoctor.chance import fall, rise

Draw = Callable[[np.random.Generator], np.ndarray]
SEEDS = 60
WINDOW = 100
"""Episodes that Stable-Baselines3 takes the mean of."""


def smoothed(raw: np.ndarray, every: int = 4) -> np.ndarray:
    """A moving mean over 100 episodes, with a row every few of them."""
    return np.convolve(raw, np.ones(WINDOW) / WINDOW, "valid")[::every]


def learned(rows: int, gain: float) -> np.ndarray:
    """An S-shaped curve, in units of the scatter of one episode."""
    return gain / (1 + np.exp(-12 * (np.linspace(0, 1, rows) - 0.4)))


def share(draw: Draw, found: Callable[[np.ndarray], object] = rise, seeds: int = SEEDS) -> float:
    return sum(found(draw(np.random.default_rng(seed))) is not None for seed in range(seeds)) / seeds


NOISE: dict[str, Draw] = {
    **{
        f"N({mean}, {width}), {rows} rows": lambda r, m=mean, w=width, n=rows: r.normal(m, w, n)
        for mean, width in ((0, 1), (20, 15), (-200, 80))
        for rows in (8, 20, 60, 300, 1000)
    },
    **{f"Cauchy, {n} rows": lambda r, n=n: r.standard_cauchy(n) for n in (20, 300)},
    **{
        f"successes at {p:.0%}, {n} rows": lambda r, p=p, n=n: (r.random(n) < p).astype(float)
        for p in (0.02, 0.2, 0.5)
        for n in (20, 60, 600)
    },
    **{
        f"moving mean, {n} rows, every {every}": lambda r, n=n, every=every: smoothed(
            r.normal(20, 15, every * (n - 1) + WINDOW), every
        )
        for n, every in ((100, 4), (300, 4), (1000, 4), (300, 1))  # four windows at least
    },
    "follows itself": lambda r: np.convolve(r.normal(size=339), 0.8 ** np.arange(40), "valid"),
}


@pytest.mark.parametrize("draw", NOISE.values(), ids=NOISE.keys())
def test_noise_does_not_rise(draw: Draw) -> None:
    assert share(draw) <= 2 / SEEDS


LEARNED: dict[str, Draw] = {
    "a ramp of a scatter and a half": lambda r: np.linspace(0, 1.5, 300) + r.normal(size=300),
    "a third of a scatter, many rows": lambda r: np.linspace(0, 0.6, 5000) + r.normal(size=5000),
    "few rows": lambda r: learned(20, 10) + r.normal(size=20),
    "eight evaluations": lambda r: learned(8, 10) + r.normal(size=8),
    "at once": lambda r: np.where(np.arange(300) < 9, -3, 0) + r.normal(size=300),
    "late": lambda r: np.where(np.arange(300) < 255, 0, 1.5) + r.normal(size=300),
    "lost again": lambda r: 2 * np.exp(-(((np.arange(300) - 150) / 60) ** 2)) + r.normal(size=300),
    "skewed returns": lambda r: -np.exp(r.normal(size=200) - np.linspace(0, 1.5, 200)),
    "successes": lambda r: (r.random(300) < np.linspace(0.01, 0.5, 300)).astype(float),
    "a moving mean": lambda r: smoothed(learned(1300, 2) + r.normal(size=1300)),
    "a short moving mean": lambda r: smoothed(learned(500, 3) + r.normal(size=500)),
    "a moving mean, lost again": lambda r: smoothed(
        4 * np.exp(-(((np.arange(1300) - 650) / 260) ** 2)) + r.normal(size=1300)
    ),
    "a moving mean that sinks first": lambda r: smoothed(
        np.interp(np.arange(900), [0, 300, 900], [0, -0.3, 1.2]) + r.normal(size=900)
    ),
    "no scatter": lambda r: learned(60, 1) + 1000,
}


@pytest.mark.parametrize("draw", LEARNED.values(), ids=LEARNED.keys())
def test_what_is_learned_is_found(draw: Draw) -> None:
    assert share(draw, seeds=20) >= 0.9
    assert share(lambda r: -draw(r), fall, seeds=20) >= 0.9


@pytest.mark.parametrize("values", [[], [1.0] * 7, [0.1] * 50, [np.nan] * 20, [5.37, 5.37 + 1e-7] * 20])
def test_nothing_rises_where_nothing_changes(values: list[float]) -> None:
    assert rise(np.array(values)) is None and fall(np.array(values)) is None


def test_the_levels_of_both_windows_are_given_in_the_units_of_the_values() -> None:
    found = rise(np.r_[np.zeros(100), np.full(100, 7.0)] + np.random.default_rng(0).normal(0, 0.1, 200))
    assert found is not None
    assert found.before == pytest.approx(0, abs=0.2) and found.after == pytest.approx(7, abs=0.2)
    lost = fall(np.r_[np.full(100, 7.0), np.zeros(100)] + np.random.default_rng(0).normal(0, 0.1, 200))
    assert lost is not None
    assert lost.before == pytest.approx(7, abs=0.2) and lost.after == pytest.approx(0, abs=0.2)
