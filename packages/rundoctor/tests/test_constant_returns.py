"""Returns that are the same on all rows, and rewards of single steps, which often are."""

from __future__ import annotations

from pathlib import Path

import pytest

from rundoctor.model import CRITICAL, WARNING

from .own_tables import EPISODES, EPSILON, LOSS, STEPS, N, curve, judged, serious


def step_rows(episodes: int = 40) -> list[tuple[int, int, int]]:
    """(number of the episode, step within it, step of the run): episodes of 10, 11, ... steps."""
    rows = [(e, k) for e in range(1, episodes + 1) for k in range(9 + e)]
    return [(e, k, at) for at, (e, k) in enumerate(rows)]


@pytest.mark.parametrize("count", ["within the episode", "over the run"])
def test_rewards_of_steps_are_summed_over_each_episode(tmp_path: Path, count: str) -> None:
    rows = step_rows()
    columns = {
        "episode": [e for e, _, _ in rows],
        "step": [k if count == "within the episode" else at for _, k, at in rows],
        "reward": [1.0] * len(rows),
        "epsilon": [max(0.05, 1 - e / 30) for e, _, _ in rows],
    }
    report = judged(tmp_path / "log.csv", columns)
    returns, lengths = report.run.get("episode_return"), report.run.get("episode_length")
    assert returns is not None and returns.value.tolist() == [10.0 + k for k in range(39)]
    assert lengths is not None and lengths.value.tolist() == returns.value.tolist()
    assert serious(report) == []
    assert any("each row is a step" in note for note in report.run.notes)


def test_a_named_return_beside_the_rewards_of_steps_is_the_return(tmp_path: Path) -> None:
    rows = step_rows()
    columns = {
        "step": [at for _, _, at in rows],
        "episode": [e for e, _, _ in rows],
        "reward": [1.0] * len(rows),
        "episode_return": [9.0 + e for e, _, _ in rows],
    }
    run = judged(tmp_path / "log.csv", columns).run
    assert run.matches["episode_return"][0].tag == "episode_return" and "reward" in run.series


def test_rows_of_several_workers_in_one_episode_are_no_steps(tmp_path: Path) -> None:
    columns = {"episode": [k // 4 for k in range(N)], "reward": curve(0, 850), "loss": LOSS}
    returns = judged(tmp_path / "log.csv", columns).run.get("episode_return")
    assert returns is not None and len(returns) == N


@pytest.mark.parametrize(
    ("columns", "solved"),
    [
        ({"step": STEPS[:30], "eval_return": [1000.0] * 30, "critic_loss": LOSS[:30]}, True),
        ({"episode": EPISODES, "reward": [-200.0] * N, "loss": LOSS}, True),
        ({"episode": EPISODES, "reward": [-200.0] * N, "epsilon": EPSILON, "loss": LOSS}, False),
        ({"step": STEPS, "train/mean_return": [0.95] * N, "critic_loss": LOSS}, True),
    ],
)
def test_a_return_that_never_changes_may_be_solved_capped_or_frozen(tmp_path: Path, columns, solved) -> None:
    """With random actions at first it is not solved; without lengths it may run to the time limit."""
    report = judged(tmp_path / "log.csv", columns)
    assert serious(report) == ["policy-frozen"] and report.severity == WARNING
    assert "the log does not say which" in report.verdict.sentence
    assert ("solved" in report.verdict.sentence) is solved


def test_a_value_that_nobody_typed_is_that_of_a_frozen_policy(tmp_path: Path) -> None:
    columns = {"step": STEPS, "episode_return": [-123.4218] * N, "critic_loss": LOSS}
    assert judged(tmp_path / "log.csv", columns).severity == CRITICAL


@pytest.mark.parametrize("name", ["healthy_reward", "alive_reward", "reward_survive"])
def test_a_constant_component_of_the_reward_is_no_return(tmp_path: Path, name: str) -> None:
    columns = {"step": STEPS, name: [1.0] * N, "critic_loss": LOSS}
    assert serious(judged(tmp_path / "log.csv", columns)) == []
    assert serious(judged(tmp_path / "log.csv", columns | {"eval_return": curve(0, 900)})) == []
