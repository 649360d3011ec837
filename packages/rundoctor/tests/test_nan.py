"""Values that are no numbers: those that were not measured, and those that broke."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .columns import ROWS, Column, curve, found, judged, noise, sound

ROW = np.arange(ROWS)


def only(values: np.ndarray, keep: np.ndarray, blank: float = np.nan) -> np.ndarray:
    return np.where(keep, values, blank)


RETURN, LOSS = curve(0, 850, 40), -curve(0, 60, 1)
OFTEN = noise(5) > -0.5
"""Rows at random, about seven in ten."""

UNMEASURED: dict[str, dict[str, Column]] = {
    "between evaluations": sound(eval_return=only(RETURN, ROW % 10 == 9)),
    "after the only evaluation": sound(eval_return=only(RETURN, ROW == 140)),
    "where no episode ended": sound(episode_return=only(RETURN, OFTEN)),
    "a delayed policy": sound(actor_loss=only(LOSS, ROW % 2 == 1)),
    "a loss on three rows of four": sound(actor_loss=only(LOSS, ROW % 4 > 0)),
    "all losses on every fifth row": sound(
        actor_loss=only(LOSS, ROW % 5 == 0), critic_loss=only(sound()["critic_loss"], ROW % 5 == 0)
    ),
    "a best return": sound(best_return=only(np.maximum.accumulate(RETURN), ROW >= 10, -np.inf)),
    "a best loss": sound(min_loss=only(np.minimum.accumulate(np.abs(LOSS)), ROW >= 10, np.inf)),
}


@pytest.mark.parametrize("columns", UNMEASURED.values(), ids=UNMEASURED.keys())
def test_what_was_not_measured_is_no_fault(tmp_path: Path, columns: dict[str, Column]) -> None:
    report = judged(tmp_path, columns)
    assert "nan-or-inf" not in found(report)
    assert "nothing was measured" in {r.id: r.reason for r in report.ruled_out}["nan-or-inf"]


PASSED: dict[str, dict[str, Column]] = {
    "losses on some rows": sound(
        actor_loss=only(LOSS, OFTEN), critic_loss=only(sound()["critic_loss"], OFTEN)
    ),
    "one loss on one row": sound(actor_loss=only(LOSS, ROW != 100)),
}


@pytest.mark.parametrize("columns", PASSED.values(), ids=PASSED.keys())
def test_single_rows_are_noted(tmp_path: Path, columns: dict[str, Column]) -> None:
    assert found(judged(tmp_path, columns))["nan-or-inf"] == "info"


BROKEN: dict[str, dict[str, Column]] = {
    "a loss to the end": sound(actor_loss=only(LOSS, ROW < 200)),
    "a return to the end": sound(episode_return=only(RETURN, ROW < 299)),
    "evaluations after the losses": sound(
        eval_return=only(RETURN, (ROW % 10 == 9) & (ROW < 200)),
        critic_loss=only(sound()["critic_loss"], ROW < 200),
    ),
    "until a restart": sound(
        actor_loss=only(LOSS, (ROW < 90) | (ROW > 120)),
        critic_loss=only(sound()["critic_loss"], (ROW < 90) | (ROW > 120)),
    ),
    "an infinite loss": sound(actor_loss=only(LOSS, ROW != 100, np.inf)),
    "infinite first losses": sound(actor_loss=only(LOSS, ROW >= 10, np.inf)),
    "an infinity that goes both ways": sound(grad_norm=only(np.abs(LOSS), ROW >= 10, np.inf)),
}


@pytest.mark.parametrize("columns", BROKEN.values(), ids=BROKEN.keys())
def test_what_broke_is_critical(tmp_path: Path, columns: dict[str, Column]) -> None:
    assert found(judged(tmp_path, columns))["nan-or-inf"] == "critical"
