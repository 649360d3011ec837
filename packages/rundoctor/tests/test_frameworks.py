"""Runs of other frameworks: no alarm on healthy ones, the right name for sick ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rundoctor.engine import diagnose
from rundoctor.evidence import everything
from rundoctor.load import load
from rundoctor.model import INFO, WARNING, Report

from .frameworks import HEALTHY, SICK_RUNS, Made
from .further_systems import ILL, MUTE, WELL


def judged(folder: Path, made: Made, seed: int = 0) -> Report:
    made.build(folder / made.name, np.random.default_rng(seed))
    loaded = load([folder / made.name])
    assert not loaded.problems and not loaded.unreadable
    assert len(loaded.runs) == 1
    return diagnose(loaded.runs[0])


def above_info(report: Report) -> list[str]:
    return [f"{f.id}: {f.sentence}" for f in report.findings if f.severity > INFO]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("made", (*HEALTHY, *WELL), ids=lambda m: m.name)
def test_a_healthy_run_raises_no_alarm(tmp_path: Path, made: Made, seed: int) -> None:
    report = judged(tmp_path, made, seed)
    assert above_info(report) == []
    assert not report.cannot_judge
    assert not [c.name for c in report.checklist if c.passed is False]


@pytest.mark.parametrize("made", (*SICK_RUNS, *ILL), ids=lambda m: m.name)
def test_a_sick_run_is_named(tmp_path: Path, made: Made) -> None:
    report = judged(tmp_path, made)
    assert report.findings[0].id in made.wanted, [f.id for f in everything(report.findings)]
    assert report.severity >= WARNING


@pytest.mark.parametrize("made", (*HEALTHY, *SICK_RUNS, *WELL, *ILL), ids=lambda m: m.name)
def test_the_algorithm_is_recognised(tmp_path: Path, made: Made) -> None:
    report = judged(tmp_path, made)
    assert report.run.algorithm.name == made.algorithm
    assert not [m for m in report.missing if "the rule failed" in m.reason]


@pytest.mark.parametrize("made", MUTE, ids=lambda m: m.name)
def test_nothing_is_said_of_logs_that_hold_no_signal_of_learning(tmp_path: Path, made: Made) -> None:
    assert judged(tmp_path, made).word == "CANNOT JUDGE"


def test_iterations_are_not_called_steps(tmp_path: Path) -> None:
    report = judged(tmp_path, next(m for m in WELL if m.name == "rsl-rl"))
    assert report.run.extent == "1,500 epochs (no steps are logged)"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sb3-td3-alive-without-learning", "the critic was untrained"),
        ("sb3-dqn-even", "nearly all actions were random"),
        ("sb3-ppo-trained-before", "an earlier run began it"),
    ],
)
def test_flat_returns_are_judged_by_how_the_run_began(tmp_path: Path, name: str, said: str) -> None:
    report = judged(tmp_path, next(m for m in (*WELL, *ILL) if m.name == name))
    finding = next(f for f in report.findings if f.id == "never-learns")
    assert any(said in e.text for e in finding.evidence)


def test_ppo_is_not_asked_for_q(tmp_path: Path) -> None:
    ppo = next(m for m in HEALTHY if m.name == "sb3-ppo-cartpole")
    report = judged(tmp_path, ppo)
    assert report.word == "HEALTHY", "no question of TD3's stays open"
    asked = " ".join(e.text for f in report.findings for e in f.evidence if f.id == "metric-missing")
    assert "Q of" not in asked and "saturated" not in asked
    assert not any("Q" in c.name for c in report.checklist)
    ruled_out = {r.id: r.reason for r in report.ruled_out}
    assert "PPO does not have" in ruled_out["state-gradient-leak"]
