"""Gates judge what the run logged, stop what fails, and guard the long run."""

from __future__ import annotations

import fnmatch
import re

import numpy as np
import pytest

from av_td3.config import Config, ConfigError, load_config
from av_td3.training import gates
from rundoctor.signals import conditions

BOUND = 110.0


def healthy(steps: int) -> dict[str, gates.Series]:
    at = np.arange(100, steps + 1, 100, dtype=float)
    n = len(at)
    levels = {
        "debug/actor_q_mean": np.linspace(0, 30, n),
        "debug/actor_q_max": np.linspace(1, 60, n),
        "alerts/actor_saturated_warning": np.zeros(n),
        "alerts/actor_saturated_critical": np.zeros(n),
        "alerts/simulator_incidents_warning": np.full(n, 1.0),
        "alerts/simulator_incidents_critical": np.zeros(n),
        "gradients/actor_state_path_norm": np.zeros(n),
        "agent/saturation": np.full(n, 0.05),
        "debug/td_error_relative": np.linspace(0.3, 0.05, n),
        "train/explained_variance": np.full(n, 0.9),
        "train/episode_reward": np.linspace(-20, 80, n),
        "train/episode_length": np.linspace(40, 300, n),
        "eval/route_completion": np.full(n, 0.4),
    }
    return {tag: (at, values) for tag, values in levels.items()}


@pytest.mark.parametrize("steps, previous", [(500, 0), (1000, 500), (5000, 2000), (10_000, 5000)])
def test_a_healthy_run_passes_every_stage(steps, previous):
    stage = gates.judge(gates.load_gates(), steps, previous, healthy(steps), BOUND)
    assert stage.passed, [c for c in stage.checks if not c.passed]


@pytest.mark.parametrize(
    "tag, value",
    [
        ("debug/actor_q_mean", 349.0),
        ("debug/actor_q_max", 1e6),
        ("alerts/actor_saturated_critical", 1.0),
        ("gradients/actor_state_path_norm", 1e-6),
        ("agent/saturation", 0.99),
        ("debug/td_error_relative", 0.7),
        ("train/explained_variance", 0.1),
        ("alerts/actor_saturated_warning", 1.0),
        ("train/episode_length", 17.0),
        ("eval/route_completion", 0.01),
    ],
)
def test_each_criterion_fails_on_its_fault(tag, value):
    series = healthy(10_000)
    at, values = series[tag]
    series[tag] = at, np.full_like(values, value)
    stage = gates.judge(gates.load_gates(), 10_000, 5000, series, BOUND)
    assert not stage.passed
    assert {c.tag for c in stage.checks if not c.passed} == {tag.replace("actor_saturated", "*")}


def test_falling_returns_and_missing_evaluation_fail():
    series = healthy(10_000)
    at, values = series["train/episode_reward"]
    series["train/episode_reward"] = at, values[::-1].copy()
    del series["eval/route_completion"]
    stage = gates.judge(gates.load_gates(), 10_000, 5000, series, BOUND)
    failed = {c.name for c in stage.checks if not c.passed}
    assert failed == {
        "returns rise",
        "there was an evaluation",
        "the agent drives further than 10 % of held-out routes",
    }


def test_errors_that_grow_fail():
    series = healthy(10_000)
    at, _ = series["debug/td_error_relative"]
    series["debug/td_error_relative"] = at, 0.1 + 0.6 * (at / at[-1]) ** 4
    stage = gates.judge(gates.load_gates(), 10_000, 5000, series, BOUND)
    assert "the TD error does not grow beside the targets' spread" in {
        c.name for c in stage.checks if not c.passed
    }


def test_a_plateau_passes_the_late_gates_and_a_collapse_does_not():
    series = healthy(100_000)
    at, _ = series["train/episode_reward"]
    noise = np.random.default_rng(0).normal(0, 20, len(at))
    for returns, passed in ((300 + noise, True), (np.where(at < 80_000, 300.0, 100.0) + noise, False)):
        series["train/episode_reward"] = at, returns
        assert gates.judge(gates.load_gates(), 100_000, 50_000, series, BOUND).passed is passed


def test_a_critical_alert_fails_the_stage_whenever_it_was():
    series = healthy(5000)
    at, _ = series["alerts/actor_saturated_critical"]
    over = np.where((at > 2000) & (at < 3700), 1.0, 0.0)  # silent again in the last quarter
    series["alerts/actor_saturated_critical"] = at, over
    stage = gates.judge(gates.load_gates(), 5000, 2000, series, BOUND)
    assert [c.tag for c in stage.checks if not c.passed] == ["alerts/*_critical"]
    assert gates.judge(gates.load_gates(), 10_000, 5000, healthy(10_000), BOUND).passed


def test_episodes_longer_than_the_window_are_no_collapse():
    """An agent that drives well early ends few episodes: that must not fail it."""
    series = healthy(2000)
    at = np.array([300.0, 900.0, 1400.0])
    series["train/episode_length"] = at, np.array([40.0, 400.0, 500.0])
    series["train/episode_reward"] = at, np.array([-20.0, 10.0, 50.0])
    stage = gates.judge(gates.load_gates(), 2000, 1000, series, BOUND)
    assert stage.passed, [c for c in stage.checks if not c.passed]
    found = {c.tag: (c.value, c.note) for c in stage.checks}
    assert found["train/episode_length"] == (500.0, "")
    assert found["train/episode_reward"] == (None, "too few rows")


@pytest.mark.parametrize("tag", [c.tag for c in gates.load_gates().criteria])
def test_no_gate_is_passed_for_want_of_its_metric(tag):
    series = {t: v for t, v in healthy(10_000).items() if not fnmatch.fnmatch(t, tag)}
    stage = gates.judge(gates.load_gates(), 10_000, 5000, series, BOUND)
    assert tag in {c.tag for c in stage.checks if not c.passed and c.note == "not logged"}


def test_nan_fails_whatever_stands_beside_it():
    series = healthy(10_000)
    at, _ = series["agent/saturation"]
    series["alerts/a_critical"] = at, np.full(len(at), np.nan)
    stage = gates.judge(gates.load_gates(), 10_000, 5000, series, BOUND)
    assert {c.tag for c in stage.checks if not c.passed} == {"alerts/*_critical"}


@pytest.mark.parametrize("preset", ["quick", "paper", "debug"])
def test_every_preset_learns_before_the_gates_that_ask_for_it(preset):
    gates.check_judgeable(gates.load_gates(), load_config(preset), 10_000)


def test_a_users_file_and_its_mistakes(tmp_path):
    file = tmp_path / "gates.yaml"
    file.write_text(
        "stages: [5, 10]\nwindow: 1\ncriteria:\n"
        "- {name: a, tag: debug/q1_max, figure: max, most: '0.5 bound'}\n"
    )
    mine = gates.load_gates(file)
    series = {"debug/q1_max": (np.array([7.0]), np.array([6.0]))}
    assert gates.judge(mine, 10, 5, series, 10.0).passed is False
    for text in ("stages: [10, 5]\nwindow: 1\ncriteria: []\n", "nonsense: 1", "stages: [", "- 3"):
        file.write_text(text)
        with pytest.raises(ConfigError):
            gates.load_gates(file)


@pytest.mark.parametrize(
    ("criterion", "said"),
    [
        ("tag: debug/q1_mxa, most: 1", "debug/q1_max"),
        ("tag: alerts/*_catastrophic, most: 1", "no run logs"),
        ("tag: agent/saturation, judges: actor-sautrated, most: warning", "actor-saturated"),
        ("tag: agent/saturation, judges: actor-saturated, most: mild", "warning, critical"),
        ("tag: agent/saturation, most: warning", "neither a number"),
        ("tag: agent/saturation", "either most or least"),
        ("tag: agent/saturation, most: 1, least: 0", "either most or least"),
    ],
)
def test_a_misspelt_tag_or_threshold_of_a_gate_is_refused(tmp_path, criterion, said):
    file = tmp_path / "gates.yaml"
    file.write_text(f"stages: [5]\nwindow: 1\ncriteria:\n- {{name: a, figure: max, {criterion}}}\n")
    with pytest.raises(ConfigError, match=re.escape(said)):
        gates.load_gates(file)


def test_a_gate_may_name_a_threshold_of_a_condition(tmp_path):
    file = tmp_path / "gates.yaml"
    file.write_text(
        "stages: [5]\nwindow: 1\ncriteria:\n"
        "- {name: a, figure: max, tag: debug/td_error_q1, judges: critic-divergence, most: warning}\n"
        "- {name: b, figure: mean, tag: agent/saturation, judges: actor-saturated, most: critical}\n"
    )
    first, second = gates.load_gates(file).criteria
    assert first.most == f"{conditions.CRITIC_DIVERGENCE.warning:g} bound"
    assert second.most == conditions.ACTOR_SATURATED.critical


def test_the_bundled_gates_name_tags_that_runs_log():
    text = " ".join(c.tag for c in gates.load_gates().criteria)
    assert "eval/" in text and "alerts/" in text
    assert isinstance(Config(), Config)
