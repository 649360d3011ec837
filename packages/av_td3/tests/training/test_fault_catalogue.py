"""Each fault of the catalogue is really committed, and nothing of it is left afterwards."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
import torch

from av_td3.agent import td3
from av_td3.config import config_from_dict
from av_td3.health.alerts import EVENTS, RULES
from av_td3.training.fault_catalogue import FAULTS, injected
from av_td3.training.run_directory import RunDirectory
from av_td3.training.trainer import Trainer
from rundoctor.code import code_state, installed
from rundoctor.signals import gradients

from .fake import FakeEnv, SilentDisplay, fake_evaluation, small_config
from .test_trainer import scalars

PATCHED = [name for name, fault in FAULTS.items() if fault.patch is not None]


def run_with(name, tmp_path, steps=120):
    fault = FAULTS.get(name)
    tree = small_config(steps=steps).model_dump()
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
    run = RunDirectory.create(tmp_path / "run", config, {"code_sha256": code_state(installed()).sources})
    trainer = Trainer(config, run, lambda: FakeEnv(config), fake_evaluation, SilentDisplay())
    with injected(fault, trainer) if fault else nullcontext():
        outcome = trainer.train()
    return trainer, outcome, scalars(tmp_path / "run")


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def last(rows, tag):
    return rows[tag][-1][1]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_every_fault_is_reachable_by_configuration_or_patch():
    for fault in FAULTS.values():
        assert fault.patch is not None or fault.overrides, fault.id
        assert fault.what and fault.id not in fault.what


def test_every_fault_names_an_alert_that_exists():
    assert {fault.alert for fault in FAULTS.values()} <= {*RULES, *EVENTS}


def alerts_of(tmp_path):
    file = tmp_path / "run" / "alerts.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return {alert["name"] for alert in map(json.loads, lines) if alert["level"] != "ok"}


# The others need a simulator, or an environment that can touch markings.
@pytest.mark.parametrize("name", [n for n in PATCHED if n != "traffic-manager-port-taken"])
def test_each_fault_sets_off_its_alert(name, tmp_path):
    run_with(name, tmp_path, steps=700 if name == "nan-action" else 160)
    assert FAULTS[name].alert in alerts_of(tmp_path)


def test_a_healthy_run_sets_off_none(tmp_path):
    run_with("none", tmp_path, steps=300)
    assert alerts_of(tmp_path) == set()


def test_state_gradient_leak(tmp_path):
    _, _, rows = run_with("state-gradient-leak", tmp_path)
    assert last(rows, "gradients/actor_state_path_norm") > 0
    assert last(rows, "alerts/state_gradient_leak_critical") == 1.0


def test_target_encoders_missing(tmp_path):
    _, _, rows = run_with("target-encoders-missing", tmp_path)
    assert last(rows, "agent/target_drift_critic_encoder") == 0.0
    assert last(rows, "agent/target_drift_critic") > 0.0


def test_detached_actor(tmp_path):
    _, _, rows = run_with("detached-actor", tmp_path)
    assert {v for _, v in rows["gradients/actor_head_norm_before_clip"]} == {0.0}


def test_encoder_not_optimised(tmp_path):
    _, _, rows = run_with("encoder-not-optimised", tmp_path)
    assert len({v for _, v in rows["agent/critic_cnn_param_std"]}) == 1
    assert len({v for _, v in rows["agent/critic_param_std"]}) > 1


@pytest.mark.parametrize("name", ["encoder-not-clipped", "clip-after-step"])
def test_clips_that_do_not_hold(tmp_path, name):
    _, _, rows = run_with(name, tmp_path)
    after = [v for _, v in rows["gradients/critic_encoder_norm_after_clip"]]
    assert max(after) > 0.5


def test_summed_norms_exceed_the_clip(tmp_path):
    _, _, rows = run_with("summed-norms", tmp_path)
    total = [
        a + b
        for (_, a), (_, b) in zip(
            rows["gradients/critic_cnn_norm"], rows["gradients/critic_mlp_norm"], strict=True
        )
    ]
    assert max(total) > 0.5


def test_norm_after_zeroing(tmp_path):
    _, _, rows = run_with("norm-after-zeroing", tmp_path)
    assert {v for _, v in rows["gradients/critic_cnn_norm"]} == {0.0}
    assert len({v for _, v in rows["agent/critic_param_std"]}) > 1


def test_reward_scale(tmp_path):
    trainer, _, _ = run_with("reward-100x", tmp_path)
    assert abs(trainer.state.replay.reward).max() > 10


def test_ends_are_swapped(tmp_path):
    trainer, _, _ = run_with("terminated-as-truncated", tmp_path)
    assert not trainer.state.replay.terminated.any()
    other, _, _ = run_with("truncated-as-terminated", tmp_path / "b")
    replay = other.state.replay
    used = slice(0, len(replay))
    ends = ~replay.has_action[used]
    before_ends = [i - 1 for i in range(1, len(replay)) if ends[i]]
    assert all(replay.terminated[i] for i in before_ends[:-1])


def test_dead_alerts_are_silent_where_the_real_ones_speak(tmp_path):
    trainer, _, _ = run_with("dead-alerts", tmp_path)
    row = {"gradients/critic_cnn_norm": 10.0, "gradients/critic_clip_ratio": 1e6}
    assert [trainer.state.watch.alerts.observe(s, row) for s in range(5)] == [[]] * 5


def test_nan_action_is_stopped_by_the_guard(tmp_path):
    _, outcome, _ = run_with("nan-action", tmp_path, steps=700)
    assert outcome.state == "failed" and "action [nan, nan] is not finite" in outcome.reason


def test_stale_build_is_written_into_provenance(tmp_path):
    run_with("stale-build", tmp_path)
    assert set(json.loads((tmp_path / "run" / "provenance.json").read_text())["code_sha256"]) == {"0"}


def test_patches_are_gone_afterwards(tmp_path):
    clip = td3.clip_gradients
    run_with("summed-norms", tmp_path)
    assert td3.clip_gradients is clip
    assert gradients.OLD_NAMES["actor_encoder"] == "actor_cnn"
