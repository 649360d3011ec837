"""Names that people make up: which words make a return, and what is said where none is recognised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rundoctor.aliases import guesses, resolve
from rundoctor.report.terminal import unknown_lines

from .own_tables import LOSS, STEPS, N, curve, judged


def name_of(tag: str) -> str:
    found, _ = resolve([tag])
    return next(iter(found), "")


@pytest.mark.parametrize(
    "tag",
    [
        *(
            "return",
            "Return",
            "train/return",
            "total_return",
            "avg_return",
            "mean_return",
            "AvgReturn",
            "ret",
        ),
        *("avg_reward", "average_reward", "running_reward", "mean_reward", "rewards/mean", "rew", "ep_rew"),
        *("avg_score", "mean_score", "average_score", "mean_episode_reward", "avg_episode_reward", "returns"),
        *(
            "mean_episode_return",
            "episode/reward",
            "meanEpisodeReward",
            "last_100_mean_reward",
            "Sum of Rewards",
        ),
    ],
)
def test_names_of_the_return_are_put_together_from_words(tag: str) -> None:
    assert name_of(tag) == "episode_return"


@pytest.mark.parametrize(
    "tag",
    [
        *(
            "eval_episode_return",
            "eval_episode_reward",
            "eval_mean_reward",
            "eval_avg_reward",
            "eval_returns",
        ),
        *("eval_mean_return", "eval_avg_return", "evaluation/mean_reward", "eval_score", "test_score"),
        *("rewardEval", "val/return", "mean_test_return", "agent0/eval/episode_reward"),
    ],
)
def test_a_word_for_evaluations_makes_it_one_of_evaluations(tag: str) -> None:
    assert name_of(tag) == "eval_return"


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("eval_success_rate", "eval_success"),
        ("train/success", "success"),
        ("episode_len", "episode_length"),
        ("eval_mean_ep_len", "eval_length"),
        ("eval_critic_loss", ""),
    ],
)
def test_lengths_and_successes(tag: str, name: str) -> None:
    assert name_of(tag) == name


@pytest.mark.parametrize(
    "tag",
    [
        *(
            "best_return",
            "max_return",
            "discounted_return",
            "reward_loss",
            "reward_1",
            "rew_dof_vel",
            "q_val",
        ),
        *(
            "target_net/episode_return",
            "eval/episode_reward_std",
            "batch/reward",
            "zeta/mean_reward",
            "eval/loss",
        ),
    ],
)
def test_any_other_word_makes_it_something_else(tag: str) -> None:
    assert name_of(tag) == ""


def test_of_several_names_the_surest_comes_first() -> None:
    found, _ = resolve(["reward", "running_reward", "avg_return", "episode/reward"])
    assert [m.tag for m in found["episode_return"]] == [
        "episode/reward",
        "avg_return",
        "reward",
        "running_reward",
    ]


def test_dreamers_reward_of_imagined_steps_is_no_return() -> None:
    found, _ = resolve(["train/loss/dyn", "train/rew", "train/ret"])
    assert "episode_return" not in found


def test_a_return_of_ones_own_name_that_falls_is_seen(tmp_path: Path) -> None:
    columns = {
        "step": STEPS,
        "return": curve(850, 0),
        "critic_loss": LOSS,
        "eval_episode_return": curve(900, 0),
    }
    report = judged(tmp_path / "log.csv", columns)
    assert report.findings[0].id == "reward-degrading" and report.exit_status == 1
    assert "evaluation-missing" not in {f.id for f in report.findings}


def test_a_run_without_a_return_is_not_called_sound(tmp_path: Path) -> None:
    columns = {"step": STEPS, "mean_reward_of_cars": curve(850, 0), "critic_loss": LOSS}
    report = judged(tmp_path / "log.csv", columns)
    assert (report.word, report.exit_status) == ("CANNOT JUDGE", 4)
    assert report.verdict.sentence.startswith("No return is recognised")
    assert '--map "mean_reward_of_cars=episode_return" (a guess)' in report.verdict.action
    assert any("mean_reward_of_cars (perhaps episode_return)" in line for line in unknown_lines(report))


def test_evaluations_of_unknown_names_are_not_said_to_be_missing(tmp_path: Path) -> None:
    columns = {"step": STEPS, "episode_return": curve(0, 850), "eval/goals_per_hour": curve(0, 9, 0.1)}
    report = judged(tmp_path / "log.csv", columns)
    assert "evaluation-missing" not in {f.id for f in report.findings}
    (missing,) = (m for m in report.missing if m.id == "evaluation-missing")
    assert "eval/goals_per_hour" in missing.reason and "eval/goals_per_hour=eval_return" in missing.how


@pytest.mark.parametrize("dqn", [False, True])
def test_a_loss_of_many_rows_is_not_said_to_have_few(tmp_path: Path, dqn: bool) -> None:
    columns = {"step": STEPS, "episode_return": curve(0, 850), "loss": LOSS}
    if dqn:
        columns["epsilon"] = np.linspace(1, 0.05, N).tolist()
    report = judged(tmp_path / "log.csv", columns)
    text = " ".join(unknown_lines(report))
    assert "fewer than" not in text
    assert ("the critic's loss" in text) is not dqn, "DQN has one loss"


def test_guesses_are_quick(tmp_path: Path) -> None:
    """A log may hold thousands of tags."""
    columns = {"step": [1, 2, 3]} | {f"net/part{k}/some_loss_of_q": [0, 0, 0] for k in range(2000)}
    report = judged(tmp_path / "log.csv", columns)
    assert 0 < len(report.run.guesses) <= 300
    assert guesses("stats/mean_episode_return_100")[0] == "episode_return"


@pytest.mark.parametrize(("name", "explodes"), [("mean_reward", False), ("mean_return", True)])
def test_a_mean_of_rewards_may_be_one_over_steps_when_q_is_bounded(
    tmp_path: Path, name: str, explodes: bool
) -> None:
    """With a reward of 50 a step and gamma = 0.99, Q is 5,000."""
    columns = {"step": STEPS, name: curve(10, 50, 1), "q_value": curve(50, 4750, 25), "critic_loss": LOSS}
    assert ("q-explosion" in {f.id for f in judged(tmp_path / "log.csv", columns).findings}) is explodes


def test_a_mean_of_rewards_may_be_one_over_steps_beside_evaluations(tmp_path: Path) -> None:
    columns = {"step": STEPS, "mean_reward": curve(-7, -0.8, 0.1), "eval_mean_reward": curve(-1400, -160)}
    report = judged(tmp_path / "log.csv", columns)
    assert "evaluation-gap" not in {f.id for f in report.findings}
