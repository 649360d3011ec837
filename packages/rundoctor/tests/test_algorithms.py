"""Which algorithm a run is of, where names are common to several, and what its losses then are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rundoctor.algorithm import recognise

from .own_tables import LOSS, STEPS, N, curve, judged

GROWN = np.exp(np.linspace(0, 18, N))
LEVEL = curve(-200, -200)


@pytest.mark.parametrize(
    ("tags", "name", "algorithm"),
    [
        # a Q function excludes on-policy agents
        (["a_loss", "c_loss", "q_value"], "log.csv", "TD3 or DDPG"),
        (["a_loss", "c_loss", "q_value"], "ddpg.csv", "DDPG"),
        (["a_loss", "c_loss", "q_value"], "ppo.csv", "TD3 or DDPG"),
        (["value_loss", "q1_loss", "policy_loss"], "sac", "SAC"),
        (["clip_fraction", "mean_q"], "log.csv", "unknown"),
        # an entropy that belongs to nothing off-policy speaks for on-policy ones
        (["actor_loss", "critic_loss", "entropy"], "log.csv", "PPO or A2C"),
        (["actor_loss", "critic_loss", "entropy"], "ppo_cartpole", "PPO"),
        (["actor_loss", "critic_loss", "entropy", "alpha"], "log.csv", "SAC"),
        (["actor_loss", "critic_loss", "entropy", "buffer_size"], "log.csv", "TD3 or DDPG"),
        (["actor_loss", "critic_loss", "entropy"], "sac-run", "SAC"),
        # names that say nothing yield to one that is stated
        (["actor_loss", "critic_loss"], "ppo_cartpole", "PPO"),
        (["actor_loss", "critic_loss"], "log.csv", "TD3 or DDPG"),
        (["a_loss", "c_loss"], "a2c", "A2C"),
        (["actor_loss", "critic_loss"], "ppo_vs_sac", "TD3 or DDPG"),
        # names that decide do not
        (["losses/a_loss", "losses/c_loss"], "ddpg", "PPO"),
        (["approx_kl", "value_loss"], "sac", "PPO"),
        (["layers/0/q_proj/weight", "approx_kl"], "log.csv", "PPO"),
    ],
)
def test_the_evidence_is_weighed(tags: list[str], name: str, algorithm: str) -> None:
    assert recognise(dict.fromkeys(tags, 1.0), {}, [name], "unknown").name == algorithm


def test_a_large_loss_of_the_actor_is_minus_a_q() -> None:
    """SAC that logs its entropy and no coefficient; advantages of on-policy agents are of size 1."""
    sizes = {"actor_loss": 5e3, "critic_loss": 80.0, "entropy": 1.4}
    assert recognise(sizes, {}, ["log.csv"], "unknown").name == "TD3 or DDPG"
    assert recognise(sizes, {}, ["a2c"], "unknown").name == "A2C"


def test_an_exploding_q_is_seen_beside_a_loss_and_c_loss(tmp_path: Path) -> None:
    columns = {
        "step": STEPS,
        "episode_return": LEVEL,
        "a_loss": -GROWN,
        "c_loss": GROWN**1.5,
        "q_value": GROWN,
    }
    report = judged(tmp_path / "log.csv", columns)
    assert report.findings[0].id == "q-explosion" and report.run.matches["critic_loss"][0].tag == "c_loss"


@pytest.mark.parametrize("folder", ["ppo_cartpole", "mine"])
def test_actor_and_critic_loss_of_an_on_policy_agent(tmp_path: Path, folder: str) -> None:
    """Minus its actor's loss is no Q, and an entropy that is gone at once is a fault."""
    columns = {
        "step": STEPS,
        "episode_return": curve(20, 20, 5),
        "actor_loss": curve(0, 0, 0.01),
        "critic_loss": LOSS,
        "entropy": [0.69 * max(0.002, 1 - k / 20) for k in range(N)],
    }
    report = judged(tmp_path / folder / "log.csv", columns)
    assert report.findings[0].id == "entropy-collapse"
    assert report.run.policy_q is None and set(report.run.matches) >= {"surrogate_loss", "value_loss"}


@pytest.mark.parametrize(("name", "trains"), [("test.csv", True), ("eval.csv", False)])
def test_a_table_with_losses_is_of_training_whatever_its_name(
    tmp_path: Path, name: str, trains: bool
) -> None:
    columns = {"step": STEPS, "episode_return": LEVEL}
    if trains:
        columns |= {"critic_loss": GROWN**1.5, "q_value": GROWN}
    report = judged(tmp_path / name, columns)
    assert ("episode_return" in report.run.matches) is trains
    assert ("q-explosion" in {f.id for f in report.findings}) is trains
