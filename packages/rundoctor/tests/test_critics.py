"""Critics whose figures look wrong and are not, each beside one that is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .columns import ROWS, STEP, Column, curve, found, judged, noise, serious

PROGRESS = np.arange(1, ROWS + 1) / ROWS


def mountain_car(loss_at_the_end: float, **more: Column) -> dict[str, Column]:
    """DQN: -1 a step, at most 200 of them; all episodes fail at first, and end sooner later."""
    returns = np.clip(-200 + 90 / (1 + np.exp(-(PROGRESS * 300 - 170) / 20)) + noise(0, 8), -200, -85)
    returns[:110] = -200
    ends = np.log([0.1, 0.01, 0.015, loss_at_the_end])
    return {
        "step": STEP,
        "episode_return": returns,
        "critic_loss": np.exp(np.interp(PROGRESS, [0, 0.2, 0.37, 1], ends) + noise(1, 0.2)),
        "epsilon": np.linspace(1, 0.05, ROWS),
        **more,
    }


Q = -np.interp(PROGRESS, [0, 1 / 3, 1], [0, 55, 60]) + noise(2)


@pytest.mark.parametrize("more", [{}, {"q_value": Q}], ids=["returns alone", "with Q"])
def test_an_error_grows_with_the_variety_of_returns_that_shrink(
    tmp_path: Path, more: dict[str, Column]
) -> None:
    assert serious(judged(tmp_path / "sound", mountain_car(0.5, **more))) == []
    assert "critic-divergence" in serious(judged(tmp_path / "diverging", mountain_car(1e4, **more)))


def test_an_error_below_one_reward_is_no_divergence(tmp_path: Path) -> None:
    columns = {
        "step": STEP,
        "episode_return": curve(100, 110, 5),
        "critic_loss": np.geomspace(1e-6, 0.5, ROWS),
        "reward_mean": 1 + noise(1, 0.1),
    }
    renamed = {("debug/reward_mean" if k == "reward_mean" else k): v for k, v in columns.items()}
    assert "critic-divergence" not in found(judged(tmp_path / "rewards", renamed))
    del renamed["debug/reward_mean"]
    assert "critic-divergence" in serious(judged(tmp_path / "unknown", renamed))


def sac(policy: np.ndarray, data: np.ndarray, **more: Column) -> dict[str, Column]:
    return {
        "step": STEP,
        "episode_return": (np.random.default_rng(0).random(ROWS) < 0.9 * PROGRESS).astype(float),
        "qf1_values": data,
        "actor_loss": -policy,
        "qf_loss": np.abs(curve(0.01, 0.002, 0.0005)),
        "alpha": np.full(ROWS, 0.2),
        **more,
    }


SMALL = np.linspace(0.001, 0.08, ROWS)
BONUS = {"unknown": {}, "log pi": {"LogPi": np.full(ROWS, -6.0)}, "entropy": {"entropy": np.full(ROWS, 6.0)}}


@pytest.mark.parametrize("more", BONUS.values(), ids=BONUS.keys())
def test_the_entropy_bonus_in_the_actors_loss_is_no_leak(tmp_path: Path, more: dict[str, Column]) -> None:
    sound = sac(SMALL + 0.2 * 6, SMALL + noise(1, 0.002), **more)
    assert serious(judged(tmp_path / "sound", sound)) == []
    leaking = sac(np.geomspace(0.1, 1e4, ROWS) + 0.2 * 6, SMALL + noise(1, 0.002), **more)
    assert "state-gradient-leak" in serious(judged(tmp_path / "leaking", leaking))


def test_a_loss_with_another_term_is_no_leak(tmp_path: Path) -> None:
    """TD3+BC divides Q by its own mean size and multiplies it by 2.5 (Fujimoto and Gu 2021)."""
    columns = {
        "step": STEP,
        "eval_return": np.clip(curve(0, 0.6, 0.05), 0, 1),
        "train/q1_value": curve(0.001, 0.12, 0.002),
        "actor_loss": -(2.5 - np.abs(curve(0.5, 0.1, 0.01))),
        "critic_loss": np.abs(curve(0.02, 0.005, 0.0005)),
    }
    report = judged(tmp_path, columns)
    assert serious(report) == []
    assert "another term" in {r.id: r.reason for r in report.ruled_out}["state-gradient-leak"]
