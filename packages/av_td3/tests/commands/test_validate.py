"""``av-td3 validate``: stages, gates, and what a long run must have passed."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest

from av_td3.commands import common, train, validate
from av_td3.config import ConfigError, load_config
from av_td3.errors import FAILED, INTERRUPTED, OK, UserError
from av_td3.evaluation.rollout import NothingMeasuredError
from av_td3.training import checkpoint, gates
from av_td3.training.run_directory import RunDirectory
from av_td3.training.trainer import Trainer

from ..training.fake import FakeEnv, SilentDisplay, fake_evaluation, small_config


def test_gates_that_no_run_could_pass_are_refused_before_it_trains():
    late = load_config("paper", overrides=["train.learning_starts=25000"])
    with pytest.raises(ConfigError, match=r"first update comes at step 25,600.*learning_starts=1000"):
        validate.start(late, "paper", None, 10_000, None)
    gates.check_judgeable(gates.load_gates(), late, 1000)  # no gate asks for learning yet


@pytest.mark.slow
def test_a_stage_that_training_did_not_finish_is_not_passed(tmp_path, fake_trainers, monkeypatch):
    """Figures from before the failure must not earn anything."""
    file, run = tmp_path / "gates.yaml", tmp_path / "run"
    file.write_text(LENIENT)
    receive = FakeEnv.receive

    def poisoned(self):
        self.poison = {35: "reward"} if self.config.train.steps == 120 else {}
        return receive(self)

    monkeypatch.setattr(FakeEnv, "receive", poisoned)
    assert validate.start(small_config(), "debug", run, 120, file) == FAILED
    stages = json.loads((run / "gates.json").read_text())
    assert [s["passed"] for s in stages] == [True, True, False]
    assert stages[-1]["checks"][0]["note"] == "failed"


def test_what_a_first_step_that_failed_says_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(FakeEnv, "_observation", lambda self: {"vector": np.array([np.nan])})

    def make(run, config, display, crews=None):
        return Trainer(config, run, lambda: FakeEnv(config), fake_evaluation, SilentDisplay())

    monkeypatch.setattr(common, "make_trainer", make)
    assert train.start(small_config(), "debug", tmp_path / "run") == FAILED
    assert "nan_or_inf" in (tmp_path / "run" / "alerts.jsonl").read_text()
    assert "observation" in json.loads((tmp_path / "run" / "status.json").read_text())["reason"]


def test_a_run_with_a_fault_says_how_it_ended(tmp_path, fake_trainers, capfd):
    config = small_config(stop_on="critical")
    fault = train.find_fault("state-gradient-leak")
    assert train.start(config, "debug", tmp_path / "run", fault) == FAILED
    said = capfd.readouterr().out
    assert "stopped after" in said and "state_gradient_leak" in said and "av-td3 diagnose" in said


LENIENT = (
    "stages: [40, 80]\nwindow: 1\ncriteria:\n"
    "- {name: rewards, tag: debug/reward_max, figure: max, most: 1000, from: 80}\n"
)


@pytest.fixture
def fake_trainers(monkeypatch):
    """Stages train on the fake environment; returns the highest step of each trainer made."""
    made = []

    def make(run, config, display, crews=None):
        made.append(config.train.steps)
        return Trainer(config, run, lambda: FakeEnv(config), fake_evaluation, SilentDisplay())

    monkeypatch.setattr(common, "make_trainer", make)
    return made


@pytest.mark.slow
def test_validation_goes_on_where_it_stopped(tmp_path, fake_trainers):
    file, run = tmp_path / "gates.yaml", tmp_path / "run"
    file.write_text(LENIENT)
    assert validate.start(small_config(), "debug", run, 80, file) == OK
    assert [stage["steps"] for stage in json.loads((run / "gates.json").read_text())] == [40, 80]
    with pytest.raises(UserError, match="larger --until"):
        validate.resume(run, 80, file)
    assert validate.resume(run, 120, file) == OK
    assert fake_trainers == [40, 80, 120]
    assert [stage["steps"] for stage in json.loads((run / "gates.json").read_text())] == [40, 80, 120]
    status = json.loads((run / "status.json").read_text())
    assert status["step"] == 120 and status["updates"] == 100  # the third stage began at 80, not anew


@pytest.mark.parametrize("stage", [40, 120])
def test_an_interrupted_validation_goes_on_by_its_own_criteria(
    tmp_path, fake_trainers, monkeypatch, capfd, stage
):
    """In the first stage, or in a later one.  The bundled criteria would fail the fake environment."""
    file, run = tmp_path / "gates.yaml", RunDirectory(tmp_path / "run")
    file.write_text(LENIENT)
    receive, sent = FakeEnv.receive, []

    def interrupted(self):
        if not sent and self.config.train.steps == stage and self.total_steps == 25:
            sent.append(os.kill(os.getpid(), signal.SIGINT))
        return receive(self)

    monkeypatch.setattr(FakeEnv, "receive", interrupted)
    assert validate.start(small_config(), "debug", run.path, 120, file) == INTERRUPTED
    assert f"validate --resume {run.path} --until 120" in capfd.readouterr().out
    assert validate.resume(run.path, 120, None) == OK
    assert {stage.steps: stage.passed for stage in gates.recorded(run)} == {40: True, 80: True, 120: True}
    assert gates.kept(run) == gates.load_gates(file) and gates.own_criteria(run)


def test_other_criteria_judge_what_was_passed_again(tmp_path, fake_trainers, capfd):
    lenient, strict, run = tmp_path / "lenient.yaml", tmp_path / "strict.yaml", RunDirectory(tmp_path / "run")
    lenient.write_text(LENIENT)
    strict.write_text(
        LENIENT.replace("[40, 80]", "[60]").replace("most: 1000, from: 80", "most: -5, from: 60")
    )
    assert validate.start(small_config(), "debug", run.path, 80, lenient) == OK
    assert validate.resume(run.path, 120, strict) == FAILED
    assert [(stage.steps, stage.passed) for stage in gates.recorded(run)] == [(60, False)]
    assert gates.kept(run) == gates.load_gates(strict)
    said = capfd.readouterr().out
    assert "other criteria than before" in said and "the gate at 60 steps was not passed" in said
    assert fake_trainers == [40, 80], "nothing was trained for that"
    # By the first criteria it goes on; all stages are then judged by these.
    assert validate.resume(run.path, 80, lenient) == OK
    assert [(stage.steps, stage.passed) for stage in gates.recorded(run)] == [(40, True), (80, True)]
    # The same steps by stages of other lengths: nothing is left to train.
    lenient.write_text(LENIENT.replace("[40, 80]", "[20]"))
    made = len(fake_trainers)
    assert validate.resume(run.path, 80, lenient) == OK
    assert [stage.steps for stage in gates.recorded(run)] == [20, 80] and len(fake_trainers) == made


def test_a_final_evaluation_that_measures_nothing_keeps_the_training(tmp_path, fake_trainers, monkeypatch):
    def fails(*_, **__):
        raise NothingMeasuredError(15, 5)

    monkeypatch.setattr(train, "final_evaluation", fails)
    run = RunDirectory(tmp_path / "run")
    words = r"complete and kept at step 120.*final evaluation failed.*all 15 attempts.*train --resume"
    with pytest.raises(UserError, match=words) as raised:
        train.start(small_config(), "debug", run.path)
    assert raised.value.status == FAILED
    assert run.status()["state"] == "finished" and checkpoint.newest_good(run.checkpoints)[1]["step"] == 120
    # The same command makes the evaluation alone.
    with pytest.raises(UserError, match=words):
        train.resume(run.path)
    assert run.status()["updates"] == 100


def test_a_validation_that_ends_before_anything_is_logged_is_refused(tmp_path, fake_trainers):
    with pytest.raises(ConfigError, match=r"--until 9: .* before step 10"):
        validate.start(small_config(), "debug", tmp_path / "run", 9, None)
    assert fake_trainers == [] and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_failed_gate_stops_and_writes_its_diagnosis(tmp_path, fake_trainers, capfd):
    file, run = tmp_path / "gates.yaml", tmp_path / "run"
    file.write_text(LENIENT.replace("most: 1000", "most: -5"))
    assert validate.start(small_config(), "debug", run, 120, file) == FAILED
    assert fake_trainers == [40, 80]
    assert (run / "diagnosis.html").exists()
    assert "the gate at 80 steps was not passed" in capfd.readouterr().out
    # With other gates the same training may go on.
    file.write_text(LENIENT)
    assert validate.resume(run, 120, file) == OK


def test_a_million_steps_must_be_earned(tmp_path, capsys):
    config = load_config("paper")
    with pytest.raises(UserError, match="validate"):
        train.check_earned(config, None)
    train.check_earned(load_config("quick"), None)

    run = RunDirectory.create(tmp_path / "run", config, {})
    with pytest.raises(UserError, match=r"gates\.json"):
        train.check_earned(config, run.path)
    passed = gates.Stage(10_000, (gates.Check("a", "t", 1.0, "<= 2", True),))
    failed = gates.Stage(10_000, (gates.Check("a", "t", 3.0, "<= 2", False),))
    bundled = gates.load_gates()
    gates.record(run, [failed], bundled)
    with pytest.raises(UserError, match="did not pass"):
        train.check_earned(config, run.path)
    gates.record(run, [passed], bundled)
    train.check_earned(config, run.path)
    assert capsys.readouterr().out == ""
    train.check_earned(load_config("paper", overrides=["train.seed=3", "train.steps=2000000"]), run.path)
    faster = load_config("paper", overrides=["train.updates_per_step=4"])
    with pytest.raises(UserError, match=r"train\.updates_per_step"):
        train.check_earned(faster, run.path)
    other = load_config("paper", overrides=["agent.gamma=0.9"])
    with pytest.raises(UserError, match=r"agent\.gamma \(0\.99 there, 0\.9 here\)"):
        train.check_earned(other, run.path)
    assert json.loads((run.path / "gates.json").read_text())[0]["passed"] is True

    # What was measured there is what this run computes with, and a choice of its own is another setting.
    auto = load_config("paper", overrides=["agent.precision=auto", "train.threads=auto"])
    earned = train.check_earned(auto, run.path)
    assert (earned.agent.precision, earned.train.threads) == (config.agent.precision, 0)
    other = load_config("paper", overrides=["agent.precision=bfloat16"])
    with pytest.raises(UserError, match=r"agent\.precision \(float32 there, bfloat16 here\)"):
        train.check_earned(other, run.path)
    others = load_config("paper", overrides=["train.envs=2", "train.maps=[town,grid]"])
    with pytest.raises(UserError, match=r"train\.maps"):
        train.check_earned(others, run.path)

    lax = bundled.model_copy(update={"criteria": bundled.criteria[:1]})
    gates.record(run, [passed], lax)
    assert gates.load_gates(run.path / "gates.yaml") == lax
    train.check_earned(config, run.path)
    assert "validated with other criteria than the bundled ones" in capsys.readouterr().out
