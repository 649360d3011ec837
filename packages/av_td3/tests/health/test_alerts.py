"""Each alert fires on its fault and is silent on healthy figures; none is bounded away."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from av_td3.config import Config, config_from_dict
from av_td3.health.alerts import EVENTS, PATIENCE, RULES, AlertMonitor, AlertRule, Bounds, compare
from rundoctor.reference import judge
from rundoctor.rules import all_rules
from rundoctor.signals import conditions
from rundoctor.signals.settings import SETTINGS

BOUNDS = Bounds(q=110.0, actor_clip=1.0, critic_clip=10.0, reward=11.0)
HEALTHY = {
    "gradients/actor_state_path_norm": 0.0,
    "debug/actor_q_mean": 26.0,
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
    "debug/td_error_relative": 0.09,
    "agent/total_iterations": 5000.0,
    "debug/reward_min": -9.0,
    "debug/reward_max": 1.2,
    "gradients/actor_head_norm_before_clip": 0.4,
    "gradients/actor_head_norm_after_clip": 0.4,
    "gradients/critic_encoder_norm_before_clip": 66.0,
    "gradients/critic_encoder_norm_after_clip": 9.0,
    "gradients/critic_head_norm_before_clip": 24.0,
    "gradients/critic_head_norm_after_clip": 4.3,
    "agent/update_to_weight_ratio_actor_head": 1e-3,
    "agent/update_to_weight_ratio_critic_encoder": 1e-3,
    "agent/update_to_weight_ratio_critic_head": 1e-3,
    "agent/target_drift_actor": 0.02,
    "agent/target_drift_critic_encoder": 0.01,
    "agent/target_drift_critic": 0.03,
    "debug/terminal_flag_mismatch": 0.0,
    "agent/gamma": 0.99,
    "agent/tau": 0.005,
    "agent/actor_lr": 3e-4,
    "agent/critic_lr": 3e-4,
    "agent/actor_cnn_lr": 0.0,
    "progress/rule_ended_share": 0.1,
    "system/incidents_recent": 0.0,
    "system/code_changed": 0.0,
}
FAULTS = {
    "state_gradient_leak": {"gradients/actor_state_path_norm": 1e-9},
    "policy_q_gap": {"debug/actor_q_mean": 349.0, "train/q1_value": 10.9},  # day20-run1's last row
    "q_above_reward_bound": {"train/q1_value": 230.0, "train/q2_value": 230.0, "debug/actor_q_mean": 230.0},
    "gradient_explosion": {"gradients/actor_clip_ratio": 2e4},
    "actor_saturated": {"agent/saturation": 0.99},
    "critic_divergence": {"debug/td_error_q1": 150.0},
    "critic_not_learning": {"debug/td_error_relative": 1.3},
    "twin_disagreement": {"debug/twin_gap": 80.0},
    "reward_above_bound": {"debug/reward_max": 120.0},
    "clip_not_applied": {"gradients/critic_encoder_norm_after_clip": 23.0},
    "gradient_missing": {"gradients/actor_head_norm_before_clip": 0.0},
    "parameters_frozen": {"agent/update_to_weight_ratio_critic_encoder": 0.0},
    "target_encoders_missing": {"agent/target_drift_critic_encoder": 0.0},
    "terminal_flag_wrong": {"debug/terminal_flag_mismatch": 0.5},
    "hyperparameter_off_reference": {"agent/gamma": 0.9},
    "single_cause_termination": {"progress/rule_ended_share": 1.0},
    "simulator_incidents": {"system/incidents_recent": 5.0},
    "stale_build": {"system/code_changed": 1.0},
}
ONLY_WARNS = ("hyperparameter_off_reference", "stale_build")


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
    level = "warning" if name in ONLY_WARNS else "critical"
    monitor = AlertMonitor(BOUNDS, tmp_path / "alerts.jsonl")
    row = HEALTHY | FAULTS[name]
    spoken = [a for step in range(20) for a in monitor.observe(step, row) if a.name == name]
    assert [a.level for a in spoken] == [level]
    assert spoken[0].step <= PATIENCE
    assert monitor.scalars()[f"alerts/{name}_{level}"] == 1.0
    lines = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    logged = next(line for line in lines if line["name"] == name)
    assert logged["value"] == spoken[0].value and logged["text"]
    recovered = [a for step in range(20) for a in monitor.observe(step, HEALTHY) if a.name == name]
    assert [a.level for a in recovered] == ["ok"]


def test_a_critic_that_has_just_begun_is_given_time():
    monitor = AlertMonitor(BOUNDS)
    row = HEALTHY | FAULTS["critic_not_learning"] | {"agent/total_iterations": 900.0}
    assert [a for step in range(20) for a in monitor.observe(step, row)] == []


def test_a_single_spike_is_no_alert():
    monitor = AlertMonitor(BOUNDS)
    for step in range(30):
        row = HEALTHY | (FAULTS["critic_divergence"] if step % 5 == 0 else {})
        assert monitor.observe(step, row) == []


def test_figures_that_waver_between_warning_and_critical_raise_the_alert():
    monitor = AlertMonitor(BOUNDS)
    rows = [HEALTHY | {"agent/saturation": value} for value in (0.97, 0.93, 0.96, 0.92, 0.97)]
    spoken = [a for step, row in enumerate(rows) for a in monitor.observe(step, row)]
    assert [(a.level, a.value, a.limit, a.step) for a in spoken] == [("warning", 0.93, 0.5, 2)]
    # and one that was critical falls to what it wavers below
    spoken = [a for s in range(3) for a in monitor.observe(s, HEALTHY | FAULTS["actor_saturated"])]
    assert [a.level for a in spoken] == ["critical"]
    wavering = [HEALTHY | {"agent/saturation": 0.6 if s % 2 else 0.1} for s in range(6)]
    spoken = [a for s, row in enumerate(wavering) for a in monitor.observe(s, row)]
    assert [(a.level, a.value) for a in spoken] == [("warning", 0.6)]


def test_without_a_clip_nothing_is_said_of_the_norm_before_it():
    """The ratio has no unit then; a rule that compared 0 with 100 would always be content."""
    without = Bounds(q=110.0, actor_clip=None, critic_clip=None)
    assert RULES["gradient_explosion"].judge({"gradients/critic_clip_ratio": 0.0}, without) is None
    assert AlertMonitor(without).test() == []
    only_critic = Bounds(q=110.0, actor_clip=None, critic_clip=10.0)
    row = {"gradients/actor_clip_ratio": 0.0, "gradients/critic_clip_ratio": 2e3}
    judged = RULES["gradient_explosion"].judge(row, only_critic)
    assert judged is not None and judged.level == "critical"


def test_a_monitor_goes_on_from_its_state():
    whole, first = AlertMonitor(BOUNDS), AlertMonitor(BOUNDS)
    rows = [HEALTHY | FAULTS["actor_saturated"] | FAULTS["stale_build"]] * 4
    for step, row in enumerate(rows[:2]):
        whole.observe(step, row)
        first.observe(step, row)
    first.raise_event("nan_or_inf", 1, 1.0, 0.0, "a moment that is over")
    second = AlertMonitor(BOUNDS)
    second.restore(json.loads(json.dumps(first.state())))
    for step, row in enumerate(rows[2:], 2):
        said, expected = second.observe(step, row), whole.observe(step, row)
        assert [(a.name, a.level, a.step) for a in said] == [(a.name, a.level, a.step) for a in expected]
    assert second.active == whole.active == ["actor_saturated", "stale_build"]


def test_the_recorded_systems_alert_could_not_fire_and_this_one_does():
    """A clip of 10 bounds the norm after it; the alert watches the norm before."""
    monitor = AlertMonitor(BOUNDS)
    row = HEALTHY | {"gradients/critic_cnn_norm": 10.0, "gradients/critic_clip_ratio": 1500.0}
    spoken = [a for step in range(5) for a in monitor.observe(step, row)]
    assert [(a.name, a.level) for a in spoken] == [("gradient_explosion", "critical")]


def test_every_alarm_passes_its_own_drill():
    assert AlertMonitor(BOUNDS).test() == []
    assert AlertMonitor(Bounds.of(Config())).test() == []
    without = config_from_dict({"agent": {"actor_clip_norm": None, "critic_clip_norm": None, "tau": 1.0}})
    assert AlertMonitor(Bounds.of(without)).test() == []


def test_the_drill_finds_the_recorded_systems_dead_alert():
    condition = replace(conditions.GRADIENT_EXPLOSION, warning=10_000.0, critical=50_000.0)

    def norm_after_the_clip(row, bounds):
        return compare(condition, row["gradients/critic_cnn_norm"], "norm")

    assert AlertMonitor(BOUNDS, rules={"dead": AlertRule(condition, norm_after_the_clip)}).test() == ["dead"]


def test_summed_norms_do_not_pass_for_a_clip_that_held():
    monitor = AlertMonitor(BOUNDS)
    row = HEALTHY | {"gradients/critic_encoder_norm_after_clip": 10.0 * 8**0.5}
    spoken = [a for step in range(5) for a in monitor.observe(step, row)]
    assert [a.name for a in spoken] == ["clip_not_applied"]


def test_warm_up_of_the_critic_is_no_missing_actor_gradient():
    """Rows without an actor step say nothing of the actor."""
    row = {k: v for k, v in HEALTHY.items() if "actor" not in k and "policy" not in k}
    monitor = AlertMonitor(BOUNDS)
    assert [a for step in range(10) for a in monitor.observe(step, row)] == []


def test_a_shared_encoder_has_no_actor_encoder_to_miss():
    shared = Bounds.of(config_from_dict({"agent": {"encoder": "shared"}}))
    separate = Bounds.of(config_from_dict({"agent": {"encoder": "separate"}}))
    row = HEALTHY | {"gradients/actor_encoder_norm_before_clip": 0.0}
    assert RULES["gradient_missing"].judge(row, shared).level == "ok"
    assert RULES["gradient_missing"].judge(row, separate).level == "critical"


def test_penalties_do_not_hide_that_the_critic_does_not_teach_the_actor():
    rule = RULES["gradient_missing"]
    assert rule.judge(HEALTHY | {"gradients/actor_action_path_norm": 1e-9}, BOUNDS).level == "ok"
    found = rule.judge(HEALTHY | {"gradients/actor_action_path_norm": 0.0}, BOUNDS)
    assert found.level == "critical" and "through its action" in found.text


def test_events_are_alerts_too(tmp_path):
    monitor = AlertMonitor(BOUNDS, tmp_path / "alerts.jsonl")
    assert {monitor.scalars()[f"alerts/{name}_critical"] for name in EVENTS} == {0.0}
    monitor.raise_event("nan_or_inf", 7, 1.0, 0.0, "non-finite action")
    assert monitor.scalars()["alerts/nan_or_inf_critical"] == 1.0
    assert json.loads((tmp_path / "alerts.jsonl").read_text())["step"] == 7


def test_far_means_what_the_diagnosis_means_by_it():
    for setting in SETTINGS:
        if setting.signal is None:
            continue
        low, high = setting.known
        gamma = setting.name == "gamma"
        for value, off in (
            (low * 1.02, False),
            (0.9994 if gamma else high / 1.02, False),
            (low / 1.02, True),
            (0.9996 if gamma else high * 1.02, True),
        ):
            judged = RULES["hyperparameter_off_reference"].judge({setting.signal.tag: value}, BOUNDS)
            assert judged is not None and (judged.level == "warning") is off, (setting.name, value)
            assert (judge(setting, value)[0] == 2) is off, (setting.name, value)


def test_alerts_are_named_after_the_findings():
    assert {*RULES, *EVENTS} == {c.id.replace("-", "_") for c in conditions.ALERTS}
    assert {c.finding or c.id for c in conditions.ALERTS} <= {rule.id for rule in all_rules()}
