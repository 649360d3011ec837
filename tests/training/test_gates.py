"""Gates judge what the run logged, stop what fails, and guard the long run."""

from __future__ import annotations

import json

import numpy as np
import pytest

from av_td3.config import Config, ConfigError, load_config
from av_td3.errors import UserError
from av_td3.training import command, gates
from av_td3.training.run_directory import RunDirectory
from av_td3.training.trainer import Trainer
from tests.training.fake import FakeEnv, SilentDisplay, small_config
from tests.training.test_trainer import fake_evaluation

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


LENIENT = (
    "stages: [40, 80]\nwindow: 1\ncriteria:\n"
    "- {name: rewards, tag: debug/reward_max, figure: max, most: 1000, from: 80}\n"
)


@pytest.fixture
def fake_trainers(monkeypatch):
    """Stages train on the fake environment; returns the highest step of each trainer made."""
    made = []

    def make(run, config, display):
        made.append(config.train.steps)
        return Trainer(config, run, lambda: FakeEnv(config), fake_evaluation, SilentDisplay())

    monkeypatch.setattr(command, "_make_trainer", make)
    return made


def test_validation_goes_on_where_it_stopped(tmp_path, fake_trainers):
    file, run = tmp_path / "gates.yaml", tmp_path / "run"
    file.write_text(LENIENT)
    assert command.validate(small_config(), "debug", run, 80, file) == command.OK
    assert [stage["steps"] for stage in json.loads((run / "gates.json").read_text())] == [40, 80]
    with pytest.raises(UserError, match="larger --until"):
        command.resume_validation(run, 80, file)
    assert command.resume_validation(run, 120, file) == command.OK
    assert fake_trainers == [40, 80, 120]
    assert [stage["steps"] for stage in json.loads((run / "gates.json").read_text())] == [40, 80, 120]
    status = json.loads((run / "status.json").read_text())
    assert status["step"] == 120 and status["updates"] == 100  # the third stage began at 80, not anew


def test_a_failed_gate_stops_and_writes_its_diagnosis(tmp_path, fake_trainers, capfd):
    file, run = tmp_path / "gates.yaml", tmp_path / "run"
    file.write_text(LENIENT.replace("most: 1000", "most: -5"))
    assert command.validate(small_config(), "debug", run, 120, file) == command.FAILED
    assert fake_trainers == [40, 80]
    assert (run / "diagnosis.html").exists()
    assert "the gate at 80 steps was not passed" in capfd.readouterr().out
    # With other gates the same training may go on.
    file.write_text(LENIENT)
    assert command.resume_validation(run, 120, file) == command.OK


def test_a_users_file_and_its_mistakes(tmp_path):
    file = tmp_path / "gates.yaml"
    file.write_text(
        "stages: [5, 10]\nwindow: 1\ncriteria:\n- {name: a, tag: t, figure: max, most: '0.5 bound'}\n"
    )
    mine = gates.load_gates(file)
    assert gates.judge(mine, 10, 5, {"t": (np.array([7.0]), np.array([6.0]))}, 10.0).passed is False
    for text in ("stages: [10, 5]\nwindow: 1\ncriteria: []\n", "nonsense: 1", "stages: [", "- 3"):
        file.write_text(text)
        with pytest.raises(ConfigError):
            gates.load_gates(file)


def test_a_million_steps_must_be_earned(tmp_path):
    config = load_config("paper")
    with pytest.raises(UserError, match="validate"):
        command.check_earned(config, None)
    command.check_earned(load_config("quick"), None)

    run = RunDirectory.create(tmp_path / "run", config, {})
    with pytest.raises(UserError, match=r"gates\.json"):
        command.check_earned(config, run.path)
    passed = gates.Stage(10_000, (gates.Check("a", "t", 1.0, "<= 2", True),))
    failed = gates.Stage(10_000, (gates.Check("a", "t", 3.0, "<= 2", False),))
    gates.record(run, [failed])
    with pytest.raises(UserError, match="did not pass"):
        command.check_earned(config, run.path)
    gates.record(run, [passed])
    command.check_earned(config, run.path)
    other = load_config("paper", overrides=["agent.gamma=0.9"])
    with pytest.raises(UserError, match="other settings in section 'agent'"):
        command.check_earned(other, run.path)
    assert json.loads((run.path / "gates.json").read_text())[0]["passed"] is True


def test_the_bundled_gates_name_tags_that_runs_log():
    text = " ".join(c.tag for c in gates.load_gates().criteria)
    assert "eval/" in text and "alerts/" in text
    assert isinstance(Config(), Config)
