"""The ladder of probes: each is solved, and fails when the part that it is for is broken."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from av_td3.agent.replay import Replay
from av_td3.agent.td3 import TD3
from av_td3.reference import probes
from av_td3.reference.probes import BY_NAME, PROBES, solve


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("probe", PROBES, ids=lambda p: p.name)
def test_the_ladder_on_the_vector(probe):
    result = solve(probe)
    assert result.solved, str(result)


@pytest.mark.slow
@pytest.mark.parametrize("probe", PROBES, ids=lambda p: p.name)
def test_the_ladder_with_the_picture_as_the_only_input(probe):
    result = solve(probe, "separate")
    assert result.solved, str(result)


@pytest.mark.slow
@pytest.mark.parametrize("sees", ["shared", "asymmetric"])
def test_the_highest_rungs_with_the_other_encoders(sees):
    for name in ("observation and action", "two-step"):
        result = solve(BY_NAME[name], sees)
        assert result.solved, str(result)


class NoBootstrap(TD3):
    def _bellman(self, batch):
        return super()._bellman(replace(batch, discount=torch.zeros_like(batch.discount)))


class NoPolicyGradient(TD3):
    def policy_value(self, critic_features, vector, action):
        return super().policy_value(critic_features, vector, action.detach()) + 0.0 * action.sum(1)


class CriticIgnoresReward(TD3):
    def _bellman(self, batch):
        return super()._bellman(replace(batch, reward=torch.zeros_like(batch.reward)))


class OldTarget(TD3):
    def _update_targets(self):
        pass


FROZEN_CRITIC_ENCODER = {"critic_encoder_lr": 1e-60}
FROZEN_ACTOR_ENCODER = {"actor_encoder_lr": 1e-60}


def unsolved(names, sees="vector", **options):
    """Those of the probes that are not solved."""
    return {name for name in names if not solve(BY_NAME[name], sees, **options).solved}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "holds", "fails"),
    [
        (CriticIgnoresReward, (), ("constant",)),
        (NoBootstrap, ("constant",), ("two-step", "truncated", "delayed")),
        (OldTarget, ("constant",), ("two-step",)),
        (NoPolicyGradient, ("constant",), ("action", "observation and action")),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_broken_part_fails_its_probe_and_not_those_below(broken, holds, fails):
    assert unsolved((*holds, *fails), make=broken) == set(fails)


@pytest.mark.slow
def test_a_limit_of_time_that_counts_as_an_end_fails_the_probe_for_it(monkeypatch):
    add = Replay.add

    def wrong(self, action, reward, terminated, truncated, *rest, **more):
        return add(self, action, reward, terminated or truncated, truncated, *rest, **more)

    monkeypatch.setattr(Replay, "add", wrong)
    assert unsolved(("two-step", "truncated")) == {"truncated"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("frozen", "name"),
    [(FROZEN_CRITIC_ENCODER, "observation"), (FROZEN_ACTOR_ENCODER, "observation and action")],
    ids=["critic", "actor"],
)
def test_an_encoder_that_does_not_learn_fails(frozen, name):
    assert unsolved((name,), "separate", settings=frozen) == {name}


def test_a_failure_says_where_to_look():
    result = solve(BY_NAME["two-step"], updates=1)
    text = str(result)
    assert (
        text.startswith("two-step (vector): Q1 at observation -1 is ")
        and "Look at: the Bellman target" in text
    )
    assert all(probe.needs for probe in PROBES) and set(BY_NAME) == {probe.name for probe in probes.PROBES}
