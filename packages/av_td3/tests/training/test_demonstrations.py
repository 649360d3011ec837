"""Demonstrations: the classical driver drives the warm-up, and the replay knows whose actions they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from av_td3.agent.replay import AGENT, DEMONSTRATOR
from av_td3.config import Config, config_from_dict
from av_td3.evaluation.baselines import ClassicalDriver
from av_td3.evaluation.rollout import Policy
from av_td3.health.metrics import Scalars
from av_td3.training.run_directory import RunDirectory
from av_td3.training.trainer import Trainer
from rundoctor.signals import episodes

from .fake import FakeEnv, SilentDisplay, fake_evaluation, scalars, small_config


def trained(path: Path, **exploration: object) -> tuple[Trainer, Config]:
    tree = small_config(steps=60).model_dump(mode="json")
    tree["exploration"] |= exploration
    config = config_from_dict(tree)
    run = RunDirectory.create(path, config, {})
    trainer = Trainer(config, run, lambda: FakeEnv(config), fake_evaluation, SilentDisplay())
    assert trainer.train().state == "finished"
    return trainer, config


def test_the_classical_driver_drives_the_warm_up_and_no_further(tmp_path: Path) -> None:
    trainer, config = trained(tmp_path / "run", warmup_driver="classical", demonstration_noise=(0.0,))
    replay = trainer.state.replay
    slots = np.flatnonzero(replay.has_action)
    warmup = config.exploration.warmup_steps
    assert (replay.driver[slots[:warmup]] == DEMONSTRATOR).all()
    assert (replay.driver[slots[warmup:]] == AGENT).all()
    driver = ClassicalDriver(config.env)
    for slot in slots[:5]:  # without noise they are the driver's actions, bit for bit
        expected = driver({"vector": replay.vector[slot]})
        np.testing.assert_array_equal(replay.action[slot], expected)
    assert replay.at(slots[:1]).demonstrated.all() and not replay.at(slots[-1:]).demonstrated.any()


def test_the_noise_on_demonstrations_changes_from_episode_to_episode(tmp_path: Path) -> None:
    trainer, _ = trained(tmp_path / "run", warmup_driver="classical", demonstration_noise=(0.0, 0.5))
    explorer = trainer.state.explorers[0]
    still = np.zeros(2, np.float32)
    assert np.array_equal(explorer.demonstrate(still, episode=2), still)
    assert not np.array_equal(explorer.demonstrate(still, episode=3), still)
    assert explorer.current_noise(step=0, episode=3) == 0.5


@pytest.mark.slow
def test_evaluations_drive_the_averaged_policy_when_asked(tmp_path: Path) -> None:
    def evaluated(averaged: bool) -> np.ndarray:
        tree = small_config(steps=60).model_dump(mode="json")
        tree["evaluation"] |= {"interval": 40, "averaged": averaged}
        config = config_from_dict(tree)
        run = RunDirectory.create(tmp_path / str(averaged), config, {})
        seen: list[np.ndarray] = []
        probe = {"image": np.zeros((4, 36, 36), np.uint8), "vector": np.ones(7, np.float32)}

        def evaluate(policy: Policy, step: int) -> Scalars:
            seen.append(policy(probe))
            return fake_evaluation(policy, step)

        trainer = Trainer(config, run, lambda: FakeEnv(config), evaluate, SilentDisplay())
        trainer.train()
        return seen[0]

    # The two runs are equal but for the policy that was evaluated.
    assert not np.array_equal(evaluated(False), evaluated(True))


def test_without_demonstrations_nothing_is_one(tmp_path: Path) -> None:
    trainer, _ = trained(tmp_path / "run")
    assert not (trainer.state.replay.driver == DEMONSTRATOR).any()


def test_the_returns_of_demonstrations_are_not_logged_as_the_agents(tmp_path: Path) -> None:
    trained(tmp_path / "run", warmup_driver="classical")
    rows = scalars(tmp_path / "run")
    warmup = small_config(steps=60).exploration.warmup_steps
    shown = [step for step, _ in rows[episodes.DEMONSTRATION_RETURN.tag]]
    own = [step for step, _ in rows[episodes.RETURN.tag]]
    assert shown and own and max(shown) <= warmup < min(own)
