"""Each alert fires on its fault and is silent on healthy figures; none is bounded away."""

from __future__ import annotations

import json

import pytest

from av_td3.health.alerts import PATIENCE, RULES, AlertMonitor, Bounds

BOUNDS = Bounds(q=110.0, actor_clip=1.0, critic_clip=10.0)
HEALTHY = {
    "gradients/actor_state_path_norm": 0.0,
    "debug/policy_q_mean": 26.0,
    "train/q1_value": 22.0,
    "train/q2_value": 22.3,
    "debug/q1_std": 9.0,
    "debug/target_q_mean": 21.8,
    "gradients/actor_clip_ratio": 0.4,
    "gradients/critic_clip_ratio": 7.0,
    "agent/saturation": 0.09,
    "debug/td_error_q1": 1.1,
    "debug/td_error_q2": 1.2,
    "debug/twin_gap": 0.8,
}
FAULTS = {
    "state_gradient_leak": {"gradients/actor_state_path_norm": 1e-9},
    "policy_q_gap": {"debug/policy_q_mean": 349.0, "train/q1_value": 10.9},  # day20-run1's last row
    "q_above_bound": {"train/q1_value": 230.0, "train/q2_value": 230.0, "debug/policy_q_mean": 230.0},
    "gradient_explosion": {"gradients/actor_clip_ratio": 2e4},
    "actor_saturated": {"agent/saturation": 0.99},
    "critic_divergence": {"debug/td_error_q1": 150.0},
    "twin_disagreement": {"debug/twin_gap": 80.0},
}


def test_every_rule_has_a_fault_here():
    assert set(FAULTS) == set(RULES)


def test_healthy_rows_raise_nothing():
    monitor = AlertMonitor(BOUNDS)
    assert [a for step in range(50) for a in monitor.observe(step, HEALTHY)] == []
    row = monitor.scalars()
    assert {row[f"alerts/{name}_{level}"] for name in RULES for level in ("warning", "critical")} == {0.0}
    assert all(row[f"alerts/{name}_value"] <= row[f"alerts/{name}_limit"] for name in RULES)


def test_a_run_that_has_not_updated_yet_is_not_judged():
    assert AlertMonitor(BOUNDS).observe(1, {"progress/speed_kmh": 3.0}) == []


@pytest.mark.parametrize("name", RULES)
def test_each_fault_becomes_critical_and_speaks_once(name, tmp_path):
    monitor = AlertMonitor(BOUNDS, tmp_path / "alerts.jsonl")
    row = HEALTHY | FAULTS[name]
    spoken = [a for step in range(20) for a in monitor.observe(step, row) if a.name == name]
    assert [a.level for a in spoken] == ["critical"]
    assert spoken[0].step <= PATIENCE
    assert monitor.scalars()[f"alerts/{name}_critical"] == 1.0
    lines = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    logged = next(line for line in lines if line["name"] == name)
    assert logged["value"] == spoken[0].value and logged["text"]
    recovered = [a for step in range(20) for a in monitor.observe(step, HEALTHY) if a.name == name]
    assert [a.level for a in recovered] == ["ok"]


def test_a_single_spike_is_no_alert():
    monitor = AlertMonitor(BOUNDS)
    for step in range(30):
        row = HEALTHY | (FAULTS["critic_divergence"] if step % 5 == 0 else {})
        assert monitor.observe(step, row) == []


def test_the_recorded_systems_alert_could_not_fire_and_this_one_does():
    """A clip of 10 bounds the norm after it; the alert watches the norm before."""
    monitor = AlertMonitor(BOUNDS)
    row = HEALTHY | {"gradients/critic_cnn_norm": 10.0, "gradients/critic_clip_ratio": 1500.0}
    spoken = [a for step in range(5) for a in monitor.observe(step, row)]
    assert [(a.name, a.level) for a in spoken] == [("gradient_explosion", "critical")]
