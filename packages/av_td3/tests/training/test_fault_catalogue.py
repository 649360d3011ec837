"""Each fault of the catalogue really takes effect, and nothing of it is left afterwards."""

from __future__ import annotations

import functools
import json
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import pytest

from av_td3.agent import td3
from av_td3.config import config_from_dict
from av_td3.health.alerts import EVENTS, RULES
from av_td3.training.fault_catalogue import FAULTS, injected
from av_td3.training.run_directory import RunDirectory
from av_td3.training.trainer import Outcome, Trainer
from rundoctor.code import code_state, installed
from rundoctor.signals import gradients

from .fake import FakeEnv, SilentDisplay, fake_evaluation, small_config
from .test_trainer import scalars

PATCHED = [name for name, fault in FAULTS.items() if fault.patch is not None]


SOUND_CLIP = td3.clip_gradients


class Run(NamedTuple):
    """A run on the fake environment, with a fault injected."""

    trainer: Trainer
    outcome: Outcome
    rows: dict[str, list[tuple[int, float]]]
    alerts: set[str]


@pytest.fixture(scope="module")
def run_with(tmp_path_factory):
    """``run_with(fault)``: each fault trains once, for all tests that look at it."""

    @functools.cache
    def run_with(name: str) -> Run:
        return _run(name, tmp_path_factory.mktemp(name) / "run")

    return run_with


def _run(name: str, path: Path) -> Run:
    fault = FAULTS.get(name)
    tree = small_config(**LENGTHS.get(name, {"steps": 160})).model_dump()
    tree["agent"]["action_change_penalty"] = 0.3  # as in the quick preset, on which the table is measured
    for override in fault.overrides if fault else ():
        key, value = override.split("=")
        *sections, last = key.split(".")
        branch = tree
        for section in sections:
            branch = branch[section]
        branch[last] = (
            {"true": True, "none": "none"}.get(value, value) if not _number(value) else float(value)
        )
    config = config_from_dict(tree)
    run = RunDirectory.create(path, config, {"code_sha256": code_state(installed()).sources})
    trainer = Trainer(config, run, lambda: FakeEnv(config), fake_evaluation, SilentDisplay())
    with injected(fault, trainer) if fault else nullcontext():
        outcome = trainer.train()
    lines = run.alerts.read_text().splitlines() if run.alerts.exists() else []
    alerts = {alert["name"] for alert in map(json.loads, lines) if alert["level"] != "ok"}
    return Run(trainer, outcome, scalars(path), alerts)


LENGTHS = {
    # The policy's 500th action is NaN, whether it has learned or not.
    "nan-action": {"steps": 700, "learning_starts": 10_000},
    "none": {"steps": 300},
}


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def last(rows, tag):
    return rows[tag][-1][1]


def test_every_fault_is_reachable_by_configuration_or_patch():
    for fault in FAULTS.values():
        assert fault.patch is not None or fault.overrides, fault.id
        assert fault.what and fault.id not in fault.what


def test_every_fault_names_an_alert_that_exists():
    assert {fault.alert for fault in FAULTS.values()} <= {*RULES, *EVENTS}


# The others need a simulator, or an environment that can touch markings.
@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in PATCHED if n != "traffic-manager-port-taken"])
def test_each_fault_sets_off_its_alert(name, run_with):
    assert FAULTS[name].alert in run_with(name).alerts


@pytest.mark.slow
def test_a_healthy_run_sets_off_none(run_with):
    assert run_with("none").alerts == set()


@pytest.mark.slow
def test_state_gradient_leak(run_with):
    rows = run_with("state-gradient-leak").rows
    assert last(rows, "gradients/actor_state_path_norm") > 0
    assert last(rows, "alerts/state_gradient_leak_critical") == 1.0


@pytest.mark.slow
def test_target_encoders_missing(run_with):
    rows = run_with("target-encoders-missing").rows
    assert last(rows, "agent/target_drift_critic_encoder") == 0.0
    assert last(rows, "agent/target_drift_critic") > 0.0


@pytest.mark.slow
def test_detached_actor(run_with):
    rows = run_with("detached-actor").rows
    assert {v for _, v in rows["gradients/actor_action_path_norm"]} == {0.0}
    assert last(rows, "gradients/actor_head_norm_before_clip") > 0.0  # of the penalties


@pytest.mark.slow
def test_encoder_not_optimised(run_with):
    rows = run_with("encoder-not-optimised").rows
    assert len({v for _, v in rows["agent/critic_cnn_param_std"]}) == 1
    assert len({v for _, v in rows["agent/critic_param_std"]}) > 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["encoder-not-clipped", "clip-after-step"])
def test_clips_that_do_not_hold(run_with, name):
    rows = run_with(name).rows
    after = [v for _, v in rows["gradients/critic_encoder_norm_after_clip"]]
    assert max(after) > 0.5


@pytest.mark.slow
def test_summed_norms_exceed_the_clip(run_with):
    rows = run_with("summed-norms").rows
    total = [
        a + b
        for (_, a), (_, b) in zip(
            rows["gradients/critic_cnn_norm"], rows["gradients/critic_mlp_norm"], strict=True
        )
    ]
    assert max(total) > 0.5


@pytest.mark.slow
def test_norm_after_zeroing(run_with):
    rows = run_with("norm-after-zeroing").rows
    assert {v for _, v in rows["gradients/critic_cnn_norm"]} == {0.0}
    assert len({v for _, v in rows["agent/critic_param_std"]}) > 1


@pytest.mark.slow
def test_reward_scale(run_with):
    trainer = run_with("reward-100x").trainer
    assert abs(trainer.state.replay.reward).max() > 10


@pytest.mark.slow
def test_ends_are_swapped(run_with):
    trainer = run_with("terminated-as-truncated").trainer
    assert not trainer.state.replay.terminated.any()
    other = run_with("truncated-as-terminated").trainer
    replay = other.state.replay
    used = slice(0, len(replay))
    ends = ~replay.has_action[used]
    before_ends = [i - 1 for i in range(1, len(replay)) if ends[i]]
    assert all(replay.terminated[i] for i in before_ends[:-1])


@pytest.mark.slow
def test_dead_alerts_are_silent_where_the_real_ones_speak(run_with):
    trainer = run_with("dead-alerts").trainer
    row = {"gradients/critic_cnn_norm": 10.0, "gradients/critic_clip_ratio": 1e6}
    assert [trainer.state.watch.alerts.observe(s, row) for s in range(5)] == [[]] * 5


def test_nan_action_is_stopped_by_the_guard(run_with):
    outcome = run_with("nan-action").outcome
    assert outcome.state == "failed" and "action [nan, nan] is not finite" in outcome.reason


@pytest.mark.slow
def test_stale_build_is_written_into_provenance(run_with):
    run = run_with("stale-build").trainer.run
    assert set(json.loads((run.path / "provenance.json").read_text())["code_sha256"]) == {"0"}


def test_patches_are_gone_afterwards(run_with):
    run_with("summed-norms")
    assert td3.clip_gradients is SOUND_CLIP
    assert gradients.OLD_NAMES["actor_encoder"] == "actor_cnn"
