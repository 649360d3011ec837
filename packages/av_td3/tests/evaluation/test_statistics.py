"""Intervals against theory, against scipy, and where a bootstrap has nothing to resample."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from av_td3.evaluation import statistics
from av_td3.evaluation.statistics import (
    ConfidenceInterval,
    mean_interval,
    overlap,
    paired,
    proportion_interval,
    ratio_interval,
)

floats = st.floats(-1e6, 1e6)


def test_bca_equals_scipys():
    x = np.random.default_rng(0).beta(0.6, 2.0, 15)
    mine = mean_interval(x)
    theirs = scipy.stats.bootstrap((x,), np.mean, method="BCa", n_resamples=20_000, random_state=1)
    width = mine.high - mine.low
    assert mine.method == "bca"
    assert mine.low == pytest.approx(theirs.confidence_interval.low, abs=0.05 * width)
    assert mine.high == pytest.approx(theirs.confidence_interval.high, abs=0.05 * width)


def test_ratio_equals_scipys_with_pairs_resampled_together():
    rng = np.random.default_rng(3)
    km = rng.uniform(0.02, 0.2, 25)
    events = rng.poisson(8 * km).astype(float)

    def ratio(a, b, axis):
        return a.sum(axis) / b.sum(axis)

    mine = ratio_interval(events, km)
    theirs = scipy.stats.bootstrap(
        (events, km), ratio, paired=True, method="BCa", n_resamples=20_000, random_state=1
    )
    width = mine.high - mine.low
    assert mine.estimate == pytest.approx(events.sum() / km.sum())
    assert mine.low == pytest.approx(theirs.confidence_interval.low, abs=0.05 * width)
    assert mine.high == pytest.approx(theirs.confidence_interval.high, abs=0.05 * width)


@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda rng, n: rng.beta(2.0, 5.0, n), 2 / 7),
        (lambda rng, n: np.where(rng.random(n) < 0.3, 1.0, rng.beta(1.0, 3.0, n)), 0.3 + 0.7 / 4),
    ],
    ids=["beta", "completes-or-not"],
)
def test_coverage_of_the_mean_at_twenty_episodes(draw, truth, monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 999)
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        interval = mean_interval(draw(rng, 20))
        hits += interval.low <= truth <= interval.high
    assert 0.91 <= hits / 400 <= 0.985  # 95 % nominal, standard error 1.1 %


def test_coverage_of_an_event_rate(monkeypatch):
    """Constant hazard of 5 collisions per km on routes of 170 m, each ended by its collision."""
    monkeypatch.setattr(statistics, "RESAMPLES", 999)
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        until = rng.exponential(1 / 5, 20)
        interval = ratio_interval(until < 0.17, np.minimum(until, 0.17), events=True)
        hits += interval.low <= 5 <= interval.high
    assert 0.91 <= hits / 400 <= 0.985


def test_the_ratio_weighs_episodes_by_their_exposure():
    # One collision after 10 m and none on 990 m: 1 per km, not the mean 50 of 100 and 0.
    assert ratio_interval([1, 0], [0.01, 0.99], events=True).estimate == pytest.approx(1.0)


def test_no_event_is_not_certainty():
    interval = ratio_interval(np.zeros(10), np.full(10, 0.17), events=True)
    # Garwood's bound: P(no event | rate) = exp(-1.7 rate) = 2.5 %.
    assert (interval.estimate, interval.low) == (0.0, 0.0)
    assert math.exp(-1.7 * interval.high) == pytest.approx(0.025)


def test_no_exposure_has_no_rate():
    assert ratio_interval([0, 0], [0, 0], events=True) == ConfidenceInterval(None, None, None, 2, "none")


def test_mostly_without_exposure_has_a_rate_but_no_interval():
    interval = ratio_interval([0, 0, 0, 1], [0, 0, 0, 0.1], events=True)
    assert interval.estimate == pytest.approx(10.0)
    assert interval.low is None and interval.high is None


def test_events_without_exposure_leave_the_upper_end_open():
    interval = ratio_interval([1, 1, 1, 0, 1], [0, 0, 0, 0.1, 0], events=True)
    assert interval.high is None and interval.estimate == pytest.approx(40.0)


def test_success_in_all_episodes_is_wilsons_interval():
    interval = proportion_interval([True] * 10)
    theirs = scipy.stats.binomtest(10, 10).proportion_ci(method="wilson")
    assert interval.low == pytest.approx(theirs.low) and interval.high == 1.0
    assert proportion_interval([False] * 10).high == pytest.approx(1 - theirs.low)


@settings(deadline=None)
@given(st.integers(1, 60), st.data())
def test_wilson_equals_scipys(n, data):
    k = data.draw(st.integers(0, n))
    interval = proportion_interval([i < k for i in range(n)])
    theirs = scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
    assert interval.low == pytest.approx(theirs.low, abs=1e-9)
    assert interval.high == pytest.approx(theirs.high, abs=1e-9)


def test_a_constant_bounded_sample_admits_what_it_did_not_see():
    interval = mean_interval([1.0] * 20, bounds=(0, 1))
    assert interval.low == pytest.approx(0.05 ** (1 / 20)) and interval.high == 1.0
    assert interval.method == "bounded"


def test_a_constant_unbounded_sample_has_no_interval():
    assert mean_interval([3.0] * 20) == ConfidenceInterval(3.0, None, None, 20, "none")
    assert mean_interval([3.0]) == ConfidenceInterval(3.0, None, None, 1, "none")


def test_empty_samples_have_nothing():
    assert mean_interval([]).estimate is None
    assert proportion_interval([]).estimate is None
    assert ratio_interval([], []).estimate is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_an_interval_stays_in_the_bounds(values):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 199)
        interval = mean_interval(values, bounds=(0, 1))
    if interval.low is not None:
        assert 0 <= interval.low <= interval.high <= 1


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.floats(-100, 100), min_size=3, max_size=10), st.floats(0.1, 10), st.floats(-50, 50))
def test_an_interval_moves_and_stretches_with_its_sample(values, scale, shift):
    if np.ptp(values) < 1e-3:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 199)
        a, b = mean_interval(values), mean_interval(np.array(values) * scale + shift)
    assert b.low == pytest.approx(a.low * scale + shift, abs=1e-3)
    assert b.high == pytest.approx(a.high * scale + shift, abs=1e-3)


def test_the_same_seed_gives_the_same_interval():
    x = np.random.default_rng(0).random(12)
    assert mean_interval(x, seed=5) == mean_interval(x, seed=5)
    assert mean_interval(x, seed=5) != mean_interval(x, seed=6)


@pytest.mark.parametrize("bad", [[1.0, math.nan], [math.inf]])
def test_a_sample_that_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="not finite"):
        mean_interval(bad)


def test_pairing_sees_what_two_intervals_hide():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 10, 20)
    better, worse = difficulty + 1 + rng.normal(0, 0.5, 20), difficulty
    assert overlap(mean_interval(better), mean_interval(worse))
    result = paired(better, worse)
    assert result.significant and 0.5 < result.difference.low < 1 < result.difference.high < 1.5
    assert result.improvement.estimate == (result.wins + result.ties / 2) / 20


def test_ties_count_half_and_lower_can_be_better():
    result = paired([1, 2, 3, 3], [2, 2, 1, 4], higher_is_better=False)
    assert (result.wins, result.losses, result.ties) == (2, 1, 1)
    assert result.improvement.estimate == pytest.approx(0.625)
    assert result.difference.estimate == pytest.approx(0.0) and not result.significant


def test_tiny_differences_do_not_underflow():
    interval = mean_interval([0.0, 0.0, 1e-235, 2e-235], bounds=(0, 1))
    assert 0 <= interval.low < interval.estimate < interval.high <= 2e-235


def test_equal_agents_are_not_significantly_different():
    result = paired([0.5] * 8, [0.5] * 8, bounds=(0, 1))
    assert not result.significant and result.improvement.estimate == 0.5


@settings(deadline=None)
@given(st.tuples(floats, floats).map(sorted), st.tuples(floats, floats).map(sorted))
def test_overlap_is_symmetric_and_means_a_common_point(a, b):
    first, second = ConfidenceInterval(a[0], *a, 5, "bca"), ConfidenceInterval(b[0], *b, 5, "bca")
    assert overlap(first, second) == overlap(second, first) == (max(a[0], b[0]) <= min(a[1], b[1]))


def test_an_interval_without_ends_overlaps_everything():
    assert overlap(
        ConfidenceInterval(1.0, None, None, 3, "none"), ConfidenceInterval(9.0, 8.0, 10.0, 3, "bca")
    )
