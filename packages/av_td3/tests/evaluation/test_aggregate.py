"""Statistics over methods and training seeds, against values that are known otherwise."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, trim_mean

from av_td3.evaluation.aggregate import (
    aggregate,
    interquartile_mean,
    probability_of_improvement,
    profile_of,
    ratio_interval,
)

RNG = np.random.default_rng(0)


def test_the_interquartile_mean():
    assert interquartile_mean([[1, 2, 3, 100]]) == 2.5
    assert interquartile_mean([[0, 0, 1, 2], [3, 4, 5, 1000]]) == (1 + 2 + 3 + 4) / 4
    for shape in ((3, 7), (1, 5), (5, 50)):
        x = RNG.random(shape)
        assert interquartile_mean(x) == pytest.approx(trim_mean(x, 0.25, axis=None))


def test_the_probability_of_improvement_is_mann_whitneys():
    x, y = RNG.integers(0, 5, (4, 6)), RNG.integers(0, 5, (3, 6))
    expected = np.mean([mannwhitneyu(x[:, t], y[:, t]).statistic / 12 for t in range(6)])
    assert probability_of_improvement(x, y) == pytest.approx(expected)
    assert probability_of_improvement(y, x) == pytest.approx(1 - expected)
    assert probability_of_improvement([[1, 1]], [[0, 0]]) == 1.0
    assert probability_of_improvement([[1, 1]], [[1, 0]]) == 0.75


def test_a_profile_is_the_share_above():
    shares = profile_of([[0.0, 0.25], [0.5, 1.0]], np.array([0.0, 0.25, 0.3, 0.99, 1.0]))
    assert shares.tolist() == [0.75, 0.5, 0.5, 0.25, 0.0]
    result = aggregate({"a": [[0.0, 0.25], [0.5, 1.0]]}).methods["a"].profile
    assert (result.low <= result.share).all() and (result.share <= result.high).all()
    assert result.share[25] == 0.5 and result.high.max() == 1.0


def test_the_stratified_interval_is_the_papers():
    """Resampling the runs of each task by themselves: the mean's interval follows from its standard error."""
    x = RNG.normal(0.5, 0.1, (10, 40))
    found = aggregate({"a": x}, resampling="stratified").methods["a"].mean
    error = np.sqrt((x.var(0) / 10).sum()) / 40
    assert found.estimate == pytest.approx(x.mean())
    assert found.low == pytest.approx(x.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(x.mean() + 1.96 * error, abs=0.15 * error)


def test_a_run_that_is_good_on_all_routes_widens_the_crossed_interval_only():
    """Five runs at 0.3 ... 0.7 on each of 30 routes: the five are the sample, not the 150 drives."""
    x = np.linspace(0.3, 0.7, 5)[:, None] + RNG.normal(0, 0.01, (5, 30))
    crossed, stratified = (aggregate({"a": x}, resampling=r).methods["a"] for r in ("crossed", "stratified"))
    error = x.mean(1).std() / np.sqrt(5)
    width = crossed.mean.high - crossed.mean.low
    assert width == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert stratified.mean.high - stratified.mean.low < width / 4
    assert crossed.iqm.high - crossed.iqm.low > width / 2
    low, high = crossed.spread
    assert low == pytest.approx(0.3, abs=0.01) and high == pytest.approx(0.7, abs=0.01)


def test_one_run_is_judged_by_its_routes():
    x = RNG.random((1, 50))
    found = aggregate({"a": x}).methods["a"].mean
    error = x.std() / np.sqrt(50)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_a_ratio_is_of_sums_and_its_interval_knows_the_runs():
    kilometres = np.random.default_rng(1).uniform(0.1, 0.2, (4, 30))
    events = kilometres * np.array([[1.0], [2.0], [3.0], [4.0]])
    found = ratio_interval(events, kilometres)
    assert found.estimate == pytest.approx(events.sum() / kilometres.sum())
    # Runs of 1, 2, 3 and 4 a kilometre: the mean of four draws is below 1.25 once in 50 times.
    assert found.low == pytest.approx(1.4, abs=0.2) and found.high == pytest.approx(3.6, abs=0.2)
    narrow = ratio_interval(events, kilometres, resampling="stratified")
    assert narrow.high - narrow.low < (found.high - found.low) / 3
    assert ratio_interval(np.ones((2, 3)), np.ones((2, 3))).low is None  # no spread was seen
    assert ratio_interval(np.zeros((2, 3)), np.zeros((2, 3))).estimate is None


def test_routes_that_are_hard_for_both_do_not_blur_a_comparison():
    routes = RNG.random(40)
    better, worse = np.tile(routes + 0.01, (3, 1)), np.tile(routes, (3, 1))
    result = aggregate({"better": better, "worse": worse})
    certain = result.improvement["worse"]
    assert (certain.estimate, certain.low, certain.high) == (1.0, None, None)
    noisy = aggregate({"a": RNG.random((3, 40)), "b": RNG.random((3, 40))}).improvement["b"]
    assert noisy.low < 0.5 < noisy.high and noisy.low < noisy.estimate < noisy.high


def test_the_same_scores_give_the_same_intervals_and_json():
    scores = {"a": RNG.random((3, 20)), "b": RNG.random((2, 20))}
    once, again = (json.dumps(aggregate(scores).to_dict(), allow_nan=False) for _ in range(2))
    assert once == again
    tree = json.loads(once)
    assert tree["methods"]["a"]["runs"] == 3 and len(tree["methods"]["b"]["run_means"]) == 2
    assert list(tree["probability_of_improvement"]) == ["b"]


@pytest.mark.parametrize(
    "scores, words",
    [
        ({}, "nothing"),
        ({"a": [1.0, 2.0]}, "runs, routes"),
        ({"a": [[]]}, "runs, routes"),
        ({"a": [[np.nan]]}, "not finite"),
        ({"a": [[1.0]], "b": [[1.0, 2.0]]}, "same ones"),
    ],
)
def test_scores_that_cannot_be_compared(scores, words):
    with pytest.raises(ValueError, match=words):
        aggregate(scores)


def test_improvement_needs_the_same_routes():
    with pytest.raises(ValueError, match="1 and 2 routes"):
        probability_of_improvement([[1.0]], [[1.0, 2.0]])
