"""Rules judge by the thresholds that av-td3's alerts and gates judge by."""

from __future__ import annotations

from pathlib import Path

import pytest

from rundoctor.engine import diagnose
from rundoctor.evidence import everything
from rundoctor.load import load
from rundoctor.model import CRITICAL, WARNING
from rundoctor.rules import all_rules
from rundoctor.signals import actor, conditions, gradients, replay, signal_of
from rundoctor.signals.conditions import BY_ID, CONDITIONS, Condition

from .synthetic import healthy, write_run

# Condition, the series that is set to a constant, a value beyond the threshold, one that is sound.
JUDGED = [
    (conditions.ACTOR_SATURATED, actor.SATURATION.tag, "critical", 1.01, 0.97),
    (conditions.GRADIENT_EXPLOSION, gradients.CLIP_RATIO["critic"].tag, "warning", 1.1, 0.9),
    (conditions.GRADIENT_EXPLOSION, gradients.CLIP_RATIO["actor"].tag, "critical", 1.1, 0.05),
    (conditions.NO_EXPLORATION, actor.NOISE.tag, "warning", 0.5, 2.0),
]


def found(folder: Path, tag: str, value: float) -> dict[str, int]:
    made = healthy(0)
    made.put(tag, lambda p: value)
    report = diagnose(load([write_run(folder, made)]).runs[0])
    return {f.id: f.severity for f in everything(report.findings)}


@pytest.mark.parametrize(("condition", "tag", "level", "beyond", "sound"), JUDGED)
def test_a_rule_turns_at_the_threshold_of_its_condition(
    tmp_path: Path, condition: Condition, tag: str, level: str, beyond: float, sound: float
) -> None:
    limit = condition.threshold(level)
    severity = CRITICAL if level == "critical" else WARNING
    assert found(tmp_path / "beyond", tag, beyond * limit).get(condition.id) == severity
    assert condition.id not in found(tmp_path / "sound", tag, sound * limit)


def test_terminal_flags_that_the_run_counts_itself_are_believed(tmp_path: Path) -> None:
    tag = replay.TERMINAL_FLAG_MISMATCH.tag
    assert "terminal-flag-wrong" not in found(tmp_path / "sound", tag, 0.0)
    assert found(tmp_path / "wrong", tag, 0.1)["terminal-flag-wrong"] == WARNING


def test_every_condition_is_one_of_the_diagnosis() -> None:
    rules = {rule.id for rule in all_rules()}
    assert {c.finding or c.id for c in CONDITIONS} <= rules
    assert len(BY_ID) == len(CONDITIONS)
    assert all(not s.tag or signal_of(s.tag) is s or "<" in s.tag for c in CONDITIONS for s in c.signals)


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda c: c.id)
def test_levels_are_in_order(condition: Condition) -> None:
    assert condition.title and condition.figure and condition.reason
    assert condition.warning is not None or condition.critical is not None
    if condition.warning is not None and condition.critical is not None:
        assert (condition.critical < condition.warning) is condition.below
        assert condition.level(condition.warning) == "warning"
        assert condition.level(condition.critical) == "critical"
        between = (condition.warning + condition.critical) / 2
        assert condition.level(between, 1.0) == "warning" and condition.level(10 * between, 10.0) == "warning"
