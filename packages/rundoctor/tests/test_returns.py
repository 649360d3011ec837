"""What is said of returns and lengths: whatever their scale, however few values they take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rundoctor.model import Report

from .columns import ROWS, STEP, Column, curve, found, judged, noise, serious, sound

EPISODES = 600


def successes(first: float, last: float, seed: int = 1, rows: int = EPISODES) -> np.ndarray:
    """1 for a success and 0 for a failure, at a probability that goes from the first to the last."""
    return (np.random.default_rng(seed).random(rows) < np.linspace(first, last, rows)).astype(float)


def sparse(reward: np.ndarray, **more: Column) -> dict[str, Column]:
    return {
        "episode": np.arange(1, len(reward) + 1),
        "reward": reward,
        "epsilon": np.full(len(reward), 0.05),
        **more,
    }


def rises(report: Report) -> bool | None:
    return next(c.passed for c in report.checklist if c.name == "the return rises")


def text(report: Report, rule: str) -> str:
    out = {r.id: r.reason for r in report.ruled_out}
    return out.get(rule, "") or next(f.evidence[0].text for f in report.findings if f.id == rule)


# --- successes of 0 and 1, of which the median is blind -----------------------------------------------


def test_successes_that_become_more_frequent_are_learning(tmp_path: Path) -> None:
    report = judged(tmp_path, sparse(successes(0.01, 0.48), epsilon=np.linspace(1, 0.05, EPISODES)))
    assert serious(report) == [] and rises(report) is True
    assert "means of the thirds 0.055, 0.3, 0.4" in text(report, "reward-degrading")


def test_successes_that_become_rarer_fall(tmp_path: Path) -> None:
    report = judged(tmp_path, sparse(successes(0.48, 0.01, seed=2)))
    assert report.findings[0].id == "reward-degrading" and rises(report) is False
    assert "mean 0.4 over the first third, 0.1 over the last (-73%)" in text(report, "reward-degrading")


def test_successes_that_are_learned_and_lost_fall(tmp_path: Path) -> None:
    both = np.concatenate([successes(0.05, 0.8, rows=400), successes(0.1, 0.05, rows=200)])
    assert report_of(tmp_path, both) == ["reward-degrading"]


def test_successes_that_stay_rare_are_not_learned(tmp_path: Path) -> None:
    exploring = np.linspace(1, 0.05, EPISODES)
    report = judged(tmp_path, sparse(successes(0.1, 0.1), epsilon=exploring))
    assert serious(report) == ["never-learns"]
    assert "means of the thirds" in text(report, "never-learns")


def report_of(folder: Path, reward: np.ndarray) -> list[str]:
    return serious(judged(folder, sparse(reward)))


def test_evaluations_that_fail_where_training_succeeds(tmp_path: Path) -> None:
    trained = successes(0.1, 0.95, rows=ROWS)
    evaluated = np.full(ROWS, np.nan)
    evaluated[9::10] = successes(0.05, 0.1, seed=4, rows=30)
    gap = judged(tmp_path / "gap", sound(episode_return=trained, eval_return=evaluated))
    assert "evaluation-gap" in serious(gap)
    evaluated[9::10] = successes(0.1, 0.95, seed=5, rows=30)
    even = judged(tmp_path / "even", sound(episode_return=trained, eval_return=evaluated))
    assert serious(even) == []


def test_successes_that_are_lost_at_a_restart(tmp_path: Path) -> None:
    trained = np.concatenate([successes(0.1, 0.95, rows=150), successes(0.1, 0.3, seed=3, rows=150)])
    updates = np.concatenate([np.arange(150.0), np.arange(150.0)]) * 100
    columns = {**sound(episode_return=trained), "agent/total_iterations": updates}
    assert "restart-collapse" in serious(judged(tmp_path, columns))


# --- flat returns ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_moving_mean_of_noise_is_not_learned(tmp_path: Path, seed: int) -> None:
    raw = np.random.default_rng(seed).normal(20, 15, 4 * ROWS + 100)
    report = judged(
        tmp_path,
        {
            "time/total_timesteps": STEP,
            "rollout/ep_rew_mean": np.convolve(raw, np.ones(100) / 100, "valid")[::4][:ROWS],
            "rollout/ep_len_mean": 200 + noise(1),
            "train/approx_kl": 0.01 + noise(2, 0.001),
            "train/value_loss": np.abs(curve(3, 1, 0.2)),
            "train/explained_variance": 0.3 + noise(3, 0.02),
            "train/entropy_loss": -np.abs(curve(1.4, 0.9, 0.01)),
        },
    )
    assert serious(report) == ["never-learns"] and rises(report) is False


@pytest.mark.parametrize("seed", range(4))
def test_noise_around_0_is_not_learned(tmp_path: Path, seed: int) -> None:
    report = judged(tmp_path, sound(episode_return=noise(seed, 0.05)))
    assert serious(report) == ["never-learns"] and rises(report) is False


def test_a_little_more_than_noise_is_learned(tmp_path: Path) -> None:
    report = judged(tmp_path, sound(episode_return=-200 + np.linspace(0, 2, ROWS) + noise(0)))
    assert serious(report) == [] and rises(report) is True


# --- what changes by design -------------------------------------------------------------------------------

LEVEL = np.arange(ROWS) // 60
WITHIN = np.arange(ROWS) % 60
HARDER = 900 - 170 * LEVEL + 1.5 * WITHIN + noise(0, 15)
"""Within each level the return rises, and falls at each new one by more."""


@pytest.mark.parametrize(
    "tag",
    ["curriculum_level", "Environment/Lesson Number/maze", "difficulty", "train/stage", "terrain_level"],
)
def test_a_task_that_becomes_harder_is_no_fall(tmp_path: Path, tag: str) -> None:
    report = judged(tmp_path, sound(episode_return=HARDER, **{tag: LEVEL}))
    assert serious(report) == [] and rises(report) is True
    assert f"since {tag} rose to 4 at step 241,000" in text(report, "reward-degrading")


def test_a_level_that_has_just_begun_is_a_note(tmp_path: Path) -> None:
    late = np.where(np.arange(ROWS) < 290, LEVEL, 5)
    report = judged(tmp_path, sound(episode_return=HARDER, curriculum_level=late))
    assert found(report)["reward-degrading"] == "info"


def test_a_fall_within_a_level_is_one(tmp_path: Path) -> None:
    fallen = np.where(LEVEL == 4, 900 - 14 * WITHIN + noise(1, 15), HARDER)
    report = judged(tmp_path, sound(episode_return=fallen, curriculum_level=LEVEL))
    assert serious(report) == ["reward-degrading"]


@pytest.mark.parametrize("level", [np.arange(ROWS), 5 - LEVEL, LEVEL + 0.5, np.zeros(ROWS)])
def test_what_is_no_level_excuses_no_fall(tmp_path: Path, level: np.ndarray) -> None:
    report = judged(tmp_path, sound(episode_return=HARDER, water_level=level))
    assert "reward-degrading" in serious(report)


def test_episodes_that_are_shorter_at_a_harder_level_do_not_collapse(tmp_path: Path) -> None:
    short = 1000 * 0.5**LEVEL + 2 * WITHIN + noise(3, 5)
    columns = sound(episode_return=HARDER, episode_length=short, curriculum_level=LEVEL)
    assert serious(judged(tmp_path, columns)) == []


def test_a_rating_stands_for_the_return_in_self_play(tmp_path: Path) -> None:
    columns = sound(episode_return=noise(0, 0.05), **{"Self-play/ELO": curve(1200, 1700, 5)})
    learns = judged(tmp_path / "learns", columns)
    assert serious(learns) == [] and rises(learns) is True
    columns["Self-play/ELO"] = 1200 + noise(1, 5)
    assert serious(judged(tmp_path / "flat", columns)) == ["never-learns"]


def test_shorter_episodes_with_better_evaluations_do_not_collapse(tmp_path: Path) -> None:
    columns = sound(episode_length=curve(1000, 80, 10), **{"eval/mean_reward": curve(-1000, -80, 10)})
    del columns["episode_return"]
    assert serious(judged(tmp_path / "goal", columns)) == []
    columns["eval/mean_reward"] = -300 + noise(1, 10)
    assert "episode-collapse" in serious(judged(tmp_path / "crash", columns))


@pytest.mark.parametrize("unit", ["step", "episode"])
def test_rewards_of_a_step_are_not_compared_with_those_of_an_episode(tmp_path: Path, unit: str) -> None:
    episode, step = curve(-1400, -160, 20), curve(-7, -0.8, 0.1)
    scaled = curve(100, 1340, 20), curve(1, 13.4, 0.2)
    trained, evaluated = (step, episode) if unit == "step" else scaled
    columns = sound(**{"train/reward": trained, "eval/reward": evaluated})
    del columns["episode_return"]
    report = judged(tmp_path, columns)
    assert "evaluation-gap" not in serious(report)
    line = next(c for c in report.checklist if c.name == "evaluation agrees with training")
    assert line.passed is None and "different units" in line.figures


def test_an_evaluation_that_fails_from_start_to_end_is_a_gap(tmp_path: Path) -> None:
    failing = judged(tmp_path / "flat", sound(episode_return=curve(90, 900, 20), eval_return=30 + noise(1)))
    assert "evaluation-gap" in serious(failing)
    worse = sound(episode_return=curve(-1400, -100, 20), eval_return=-1400 + noise(1, 20))
    assert "evaluation-gap" in serious(judged(tmp_path / "worse", worse))


@pytest.mark.parametrize(("episodes", "verdict"), [(150, []), (2000, ["never-learns"])])
def test_a_mean_over_100_episodes_of_which_few_hundred_ended_decides_nothing(
    tmp_path: Path, episodes: int, verdict: list[str]
) -> None:
    raw = np.random.default_rng(0).normal(20, 15, episodes + 100)
    rows = episodes // 4
    columns = {
        "time/total_timesteps": 800 * np.arange(1, rows + 1),
        "rollout/ep_rew_mean": np.convolve(raw, np.ones(100) / 100, "valid")[: 4 * rows : 4],
        "rollout/ep_len_mean": 200 + noise(1, rows=rows),
        "train/critic_loss": np.abs(curve(3, 1, 0.2, rows=rows)),
    }
    assert serious(judged(tmp_path, columns)) == verdict
