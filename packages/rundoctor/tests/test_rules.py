"""The rules: silent on sound runs, each first to name its own sickness, one file each."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from pathlib import Path

import numpy as np
import pytest

from rundoctor import rules as rules_package
from rundoctor.engine import diagnose
from rundoctor.load import load
from rundoctor.measures import action_columns
from rundoctor.model import INFO, WARNING, Clear, Finding, Report, Rule, Skipped
from rundoctor.rules import all_rules
from rundoctor.rules.agent_standstill import speed_of
from rundoctor.rules.memory_growth import memories
from rundoctor.run import Run

from .synthetic import SICK, Made, Sickness, healthy, indexed_by_episode, leak, renamed, write_run

VOCABULARY = (
    "policy-step-too-large",
    "entropy-collapse",
    "value-unexplained",
    "state-gradient-leak",
    "actor-saturated",
    "head-starved",
    "grad-norm-summed",
    "clip-not-applied",
    "clip-always-active",
    "alert-unreachable",
    "q-explosion",
    "q-above-reward-bound",
    "critic-divergence",
    "twin-disagreement",
    "reward-degrading",
    "episode-collapse",
    "single-cause-termination",
    "no-exploration",
    "run-interrupted",
    "run-frozen",
    "throughput-stall",
    "nan-or-inf",
    "never-learns",
    "policy-frozen",
    "evaluation-gap",
    "restart-collapse",
    "memory-growth",
    "axis-mixed",
    "metric-missing",
    "hyperparameter-off-reference",
    "evaluation-missing",
    "reward-imbalance",
    "target-clamp-active",
    "stale-build",
)


def judge(folder: Path, made: Made) -> Report:
    write_run(folder, made)
    if made.config:
        (folder / "config.yaml").write_text(made.config)
    return diagnose(load([folder]).runs[0])


def above_info(report: Report) -> list[str]:
    return [f"{f.id}: {f.evidence[0].text}" for f in report.findings if f.severity > INFO]


@pytest.mark.parametrize("seed", range(24))
def test_a_sound_run_raises_nothing(tmp_path: Path, seed: int) -> None:
    report = judge(tmp_path, healthy(seed))
    assert above_info(report) == []
    assert not [m for m in report.missing if "the rule failed" in m.reason]
    assert report.to_json()["verdict"]["severity"] == "info"


@pytest.mark.parametrize("seed", range(30, 36))
@pytest.mark.parametrize("system", ["indexed by episode", "sb3", "cleanrl", "torchrl"])
def test_a_sound_run_of_another_system_raises_nothing(tmp_path: Path, system: str, seed: int) -> None:
    made = healthy(seed)
    made = indexed_by_episode(made) if system == "indexed by episode" else renamed(made, system)
    assert above_info(judge(tmp_path, made)) == []


# What may stand beside a sickness because it is true of that run as well.
BESIDE = {
    "state-gradient-leak": {"alert-unreachable"},
    "head-starved": {"clip-always-active"},
    "episode-collapse": {"reward-degrading"},
    "q-explosion": {"critic-divergence"},
}


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize(
    ("wanted", "sickness"),
    [pytest.param(k, f, id=f"{k}-{f.__name__}") for k, fs in SICK.items() for f in fs],
)
def test_every_sickness_is_named_first(tmp_path: Path, wanted: str, sickness: Sickness, seed: int) -> None:
    made = healthy(seed)
    assert len(made.points["train/episode_length"]) >= 30
    sickness(made)
    report = judge(tmp_path, made)
    assert report.findings and report.findings[0].id == wanted
    others = {f.id for f in report.findings[1:] if f.severity > INFO}
    assert others <= BESIDE.get(wanted, set())


def test_every_finding_of_the_vocabulary_has_a_rule_and_a_sickness() -> None:
    ids = {r.id for r in all_rules()}
    assert set(VOCABULARY) <= ids
    assert set(VOCABULARY) <= set(SICK)


@pytest.mark.parametrize("rule", all_rules(), ids=lambda r: r.id)
def test_rules_are_complete(rule: Rule) -> None:
    assert rule.title and len(rule.statement) > 40
    known = {r.id for r in all_rules()}
    assert set(rule.explains) <= known and rule.id not in rule.explains
    module = rules_package.__name__ + "." + rule.id.replace("-", "_")
    assert rule.check.__module__ == module, "one file a rule, named after it"


@pytest.mark.slow
def test_findings_carry_evidence_cause_and_fix(tmp_path: Path) -> None:
    for i, (wanted, sicknesses) in enumerate(SICK.items()):
        made = healthy(12)
        sicknesses[0](made)
        for f in judge(tmp_path / str(i), made).findings:
            assert f.evidence and f.cause and f.fix and 0 < f.confidence <= 1, f"{wanted}: {f.id}"
            assert all(e.text and e.tag for e in f.evidence)


@pytest.mark.slow
def test_the_check_list_and_the_verdict_never_disagree(tmp_path: Path) -> None:
    for i, (wanted, sicknesses) in enumerate(SICK.items()):
        made = healthy(12)
        sicknesses[-1](made)
        report = judge(tmp_path / str(i), made)
        failed = [c.name for c in report.checklist if c.passed is False]
        assert not failed or report.severity >= WARNING, f"{wanted}: {failed} fail and the verdict is info"


def test_a_missing_metric_makes_a_rule_say_which(tmp_path: Path) -> None:
    made = healthy(0)
    made.points = {"train/episode_length": made.points["train/episode_length"]}
    report = judge(tmp_path, made)
    missing = {m.id: m for m in report.missing}
    assert "train/q1_value" in missing["state-gradient-leak"].tags
    assert "agent/saturation" in missing["actor-saturated"].tags
    assert all(m.reason for m in report.missing)
    assert all(m.how or m.tags for m in report.missing)
    assert report.missing[0].id == "state-gradient-leak", "what decides most comes first"


def test_a_rule_that_fails_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    def broken(run: Run) -> Clear:
        raise ZeroDivisionError("oh")

    write_run(tmp_path, healthy(0))
    rule = Rule(id="broken", title="Broken", statement="x", check=broken)
    report = diagnose(load([tmp_path]).runs[0], [rule, *all_rules()])
    assert [m.reason for m in report.missing if m.id == "broken"] == [
        "the rule failed: ZeroDivisionError: oh"
    ]
    assert len(report.ruled_out) > 10


def test_adding_a_rule_is_adding_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "always.py").write_text(
        textwrap.dedent(
            """
            from rundoctor.model import INFO, Evidence, Finding, Rule

            def check(run):
                return Finding("always", INFO, "Always", [Evidence("a", 1, 1.0, "b")], "c", "f", 1.0)

            RULE = Rule(id="always", title="Always", statement="always true", check=check)
            """
        )
    )
    monkeypatch.setattr(rules_package, "__path__", [*rules_package.__path__, str(tmp_path)])
    all_rules.cache_clear()
    try:
        write_run(tmp_path / "run", healthy(0))
        assert "always" in [f.id for f in diagnose(load([tmp_path / "run"]).runs[0]).findings]
    finally:
        monkeypatch.undo()
        all_rules.cache_clear()


def test_a_symptom_is_reported_under_its_cause_once(tmp_path: Path) -> None:
    made = healthy(2)
    leak(made)
    report = judge(tmp_path, made)
    assert report.findings[0].id == "state-gradient-leak"
    symptoms = {s.id for s in report.findings[0].symptoms}
    assert {"q-explosion", "q-above-reward-bound"} <= symptoms
    assert not symptoms & {f.id for f in report.findings}
    assert "This explains the rest" in report.verdict.sentence


def test_what_came_before_is_not_a_symptom_of_what_came_after(tmp_path: Path) -> None:
    def finding(id_: str, onset: int) -> Rule:
        f = Finding(id_, WARNING, id_, [], "c", "f", 1.0, onset=onset)
        return Rule(id=id_, title=id_, statement="s", check=lambda run: dataclasses.replace(f, symptoms=[]))

    write_run(tmp_path, healthy(0))
    run = load([tmp_path]).runs[0]
    late = dataclasses.replace(finding("late", 50_000), explains=("early",))
    assert [f.id for f in diagnose(run, [late, finding("early", 100)]).findings] == ["late", "early"]
    soon = dataclasses.replace(finding("late", 50), explains=("early",))
    report = diagnose(run, [soon, finding("early", 100)])
    assert [f.id for f in report.findings] == ["late"]
    assert [s.id for s in report.findings[0].symptoms] == ["early"]


# --- boundaries that the four recorded runs do not touch ----------------------------------------------


def test_a_large_q_for_large_rewards_is_no_explosion(tmp_path: Path) -> None:
    made = healthy(4)
    for tag in list(made.points):
        if tag.startswith(
            ("debug/q", "debug/target_q", "debug/actor_q", "debug/reward", "train/q", "train/episode_reward")
        ):
            made.change(tag, lambda p, v: v * 1000)
    made.points["train/actor_loss"] = [(s, w, -v) for s, w, v in made.points["debug/actor_q_mean"]]
    report = judge(tmp_path, made)
    assert not {"q-explosion", "q-above-reward-bound", "state-gradient-leak"} & {
        f.id for f in report.findings
    }


def test_a_q_that_crosses_zero_is_no_leak(tmp_path: Path) -> None:
    made = healthy(6)
    for tag in ("debug/actor_q_mean", "train/q1_value", "train/q2_value", "debug/target_q_mean"):
        made.change(tag, lambda p, v: v - abs(v) * 2 * p)
    made.points["train/actor_loss"] = [(s, w, -v) for s, w, v in made.points["debug/actor_q_mean"]]
    made.drop("debug/q1_", "debug/target_q_std", "debug/reward")
    assert "state-gradient-leak" not in {f.id for f in judge(tmp_path, made).findings}


def test_a_short_leak_is_seen_before_it_is_huge(tmp_path: Path) -> None:
    """Some hundred updates: the ratio is only 5, but grows like the recorded ones did."""
    made = healthy(0)
    rows = made.rows()[:8]
    q = [2.3, 5, 12, 25, 40, 60, 80, 105]
    made.points = {
        "train/q1_value": [(s, made.wall(s), 16.0 + k % 3) for k, s in enumerate(rows)],
        "debug/q1_std": [(s, made.wall(s), 12.0) for s in rows],
        "debug/actor_q_mean": [(s, made.wall(s), float(v)) for s, v in zip(rows, q, strict=True)],
    }
    report = judge(tmp_path, made)
    assert report.findings[0].id == "state-gradient-leak" and report.findings[0].severity >= WARNING


def test_a_critic_that_follows_is_no_leak_even_when_it_explodes(tmp_path: Path) -> None:
    made = healthy(0)
    SICK["q-explosion"][0](made)
    assert "state-gradient-leak" not in {f.id for f in judge(tmp_path, made).findings}


def test_bang_bang_policies_that_learn_are_not_saturated(tmp_path: Path) -> None:
    made = healthy(0)
    made.put("agent/saturation", lambda p: 0.77)
    assert "actor-saturated" not in {f.id for f in judge(tmp_path, made).findings}


def test_shorter_episodes_with_better_returns_are_no_collapse(tmp_path: Path) -> None:
    made = healthy(0)
    n = len(made.points["train/episode_length"])
    made.points["train/episode_length"] = [
        (s, w, 300 * 0.2 ** (i / n)) for i, (s, w, _) in enumerate(made.points["train/episode_length"])
    ]
    made.points["train/episode_reward"] = [(s, w, -v) for s, w, v in made.points["train/episode_length"]]
    assert above_info(judge(tmp_path, made)) == []


def test_reaching_the_goal_every_time_is_no_single_cause(tmp_path: Path) -> None:
    made = healthy(0)
    n = len(made.points["train/episode_length"])
    made.drop("train/termination")
    made.points["train/termination_success"] = [(made.steps, made.wall(made.steps), float(n))]
    assert above_info(judge(tmp_path, made)) == []


def test_failing_in_one_way_at_first_is_a_note_and_for_good_a_warning(tmp_path: Path) -> None:
    made = healthy(0)
    episodes = made.points["train/episode_length"]
    assert len(episodes) > 100
    made.drop("train/termination", "eval/success")
    made.points["train/termination_off_road"] = [(s, w, 1.0) for s, w, _ in episodes]
    learning = judge(tmp_path / "a", made)
    assert {f.id: f.severity for f in learning.findings}["single-cause-termination"] == INFO
    for tag in ("train/episode_length", "train/episode_reward"):
        made.points[tag] = [(s, w, 40.0 + i % 7) for i, (s, w, _) in enumerate(episodes)]
    stuck = judge(tmp_path / "b", made)
    assert {f.id: f.severity for f in stuck.findings}["single-cause-termination"] == WARNING


def test_an_offence_that_ends_most_episodes_is_found_and_a_failure_that_does_is_not(tmp_path: Path) -> None:
    for cause, found in (("lane_invasion", True), ("off_road", False)):
        made = healthy(0)
        episodes = made.points["train/episode_length"]
        made.drop("train/termination")
        for name, remainder in ((cause, (0, 1, 2, 3)), ("stuck", (4,))):
            made.points[f"train/termination_{name}"] = [
                (s, w, 1.0) for i, (s, w, _) in enumerate(episodes) if i % 5 in remainder
            ]
        ids = {f.id for f in judge(tmp_path / cause, made).findings}
        assert ("single-cause-termination" in ids) is found


def test_a_network_that_stands_still_is_not_a_missing_target(tmp_path: Path) -> None:
    made = healthy(0)
    SICK["gradient-missing"][0](made)
    made.put("agent/target_drift_actor", lambda p: 0.0)
    assert "target-encoders-missing" not in {f.id for f in judge(tmp_path, made).findings}


def test_nan_before_the_first_episode_is_padding_later_it_is_not(tmp_path: Path) -> None:
    made = renamed(healthy(0), "sb3")
    points = made.points["rollout/ep_rew_mean"]
    first = points[0]
    made.points["rollout/ep_rew_mean"] = [(1, first[1] - 5, math.nan), *points]
    assert "nan-or-inf" not in {f.id for f in judge(tmp_path / "a", made).findings}
    made.points["rollout/ep_rew_mean"] = [*points, (points[-1][0] + 1, points[-1][1] + 1, math.nan)]
    assert judge(tmp_path / "b", made).findings[0].id == "nan-or-inf"


def test_a_terminal_reward_that_repeats_is_no_clamp(tmp_path: Path) -> None:
    made = healthy(0)
    for tag in ("debug/target_q_max", "debug/reward_max"):
        made.put(tag, lambda p: 100.0 if p > 0.1 else 7.0)
    assert "target-clamp-active" not in {f.id for f in judge(tmp_path, made).findings}


def test_an_evaluation_is_no_stall(tmp_path: Path) -> None:
    made = healthy(0)
    when = sorted(s for s, _, _ in made.points["eval/mean_reward"])
    pause = 20 * made.row / made.rate + 100

    def later(step: float) -> float:
        return pause * sum(step > s for s in when)

    made.points = {
        t: [(s, w + later(s) + (pause if t.startswith("eval") else 0), v) for s, w, v in p]
        for t, p in made.points.items()
    }
    assert above_info(judge(tmp_path, made)) == []


def test_a_finished_run_that_drives_nowhere_is_not_healthy(tmp_path: Path) -> None:
    """2.4 % of the route, and a return that falls a little: the verdict says what the check-list says."""
    made = healthy(0)
    episodes = made.points["train/episode_reward"]
    n = len(episodes)
    made.drop("eval/", "train/termination")
    made.points["train/episode_reward"] = [
        (s, w, 20 - 4 * i / n + 6 * float(made.rng.normal())) for i, (s, w, _) in enumerate(episodes)
    ]
    made.points["eval/route_completion"] = [(s, made.wall(s), 0.024) for s in (made.steps // 2, made.steps)]
    made.points["eval/success_rate"] = [(s, made.wall(s), 0.0) for s in (made.steps // 2, made.steps)]
    (tmp_path / "status.json").write_text('{"state": "finished"}')
    made.config = f"train:\n  steps: {made.steps}\n"
    report = judge(tmp_path, made)
    assert report.word == "WARNING" and "2.4%" in report.verdict.sentence
    assert report.findings[0].id == "never-learns"
    assert [c.name for c in report.checklist if c.passed is False] == ["the return rises"]


def test_an_unfinished_run_without_a_plan_is_a_note_and_with_one_a_warning(tmp_path: Path) -> None:
    made = healthy(0)
    made.points = {t: [x for x in p if x[0] <= 17 * made.row] for t, p in made.points.items()}
    made.points = {t: p for t, p in made.points.items() if p}
    write_run(tmp_path, made)
    alone = diagnose(load([tmp_path]).runs[0])
    assert {f.id: f.severity for f in alone.findings}.get("run-interrupted", INFO) == INFO
    planned = diagnose(load([tmp_path], given={"steps": 10 * made.steps}).runs[0])
    assert {f.id: f.severity for f in planned.findings}["run-interrupted"] == WARNING


def test_a_mostly_silent_head_with_a_live_clip_is_not_called_a_violation(tmp_path: Path) -> None:
    """Norms of eight tensors that were clipped to 1 together add up to between 1 and 2.83."""
    made = indexed_by_episode(healthy(0))
    rng = np.random.default_rng(0)
    made.put("gradients/actor_cnn_norm", lambda p: float(rng.uniform(1.05, 2.8)))
    made.put("gradients/critic_cnn_norm", lambda p: float(rng.uniform(10.5, 28.0)))
    ids = {f.id for f in judge(tmp_path, made).findings}
    assert "grad-norm-summed" in ids and "clip-not-applied" not in ids


@pytest.mark.parametrize(
    ("tag", "what"),
    [
        *(
            (t, "memory")
            for t in ("system/rss_mb", "RAM (GB)", "MemUsage", "perf/ram_util_percent", "gpu_mem")
        ),
        *((t, "") for t in ("replay/memory_size", "memory_size", "buffer/memory")),
        *(
            (t, "speed")
            for t in ("custom/avg_speed", "speedX", "Speed [m/s]", "train/avg_speed", "ego/velocity")
        ),
        *(
            (t, "")
            for t in ("speed_limit", "target_speed", "training_speed", "angular_velocity", "time/speed")
        ),
        *(
            (t, "action")
            for t in ("Steer", "action_0", "Action[0]", "actions/steer", "steering_angle", "gas")
        ),
        *((t, "") for t in ("action_std", "brake_count", "action_noise", "steer_reward", "eval/action_0")),
    ],
)
def test_quantities_are_known_by_the_names_that_people_give_them(tmp_path: Path, tag: str, what: str) -> None:
    values = [0.02] * 12 + [0.5] * 12
    (tmp_path / "log.csv").write_text(
        f'step,"{tag}",loss\n' + "\n".join(f"{i * 1000},{v},1" for i, v in enumerate(values))
    )
    run = load([tmp_path]).runs[0]
    found = {
        "memory": [s.tag for s, _ in memories(run)],
        "speed": [s.tag for s in [speed_of(run)] if s is not None],
        "action": [s.tag for s in action_columns(run)],
    }
    assert {name for name, tags in found.items() if tags} == ({what} if what else set())


def test_skipped_and_clear_are_told_apart(tmp_path: Path) -> None:
    assert Skipped("x").reason == "x"
    report = judge(tmp_path, healthy(0))
    assert not {r.id for r in report.ruled_out} & {
        m.id for m in report.missing if m.id != "hyperparameter-off-reference"
    }


def test_the_documentation_lists_every_rule() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "diagnosis.md").read_text()
    assert [r.id for r in all_rules() if f"`{r.id}`" not in text] == []


def test_a_critic_that_does_not_teach_the_actor(tmp_path: Path) -> None:
    for value, found in ((1e-9, False), (0.0, True)):
        made = healthy(0)
        made.put("gradients/actor_action_path_norm", lambda p, value=value: value)
        ids = {f.id for f in judge(tmp_path / str(value), made).findings}
        assert ("gradient-missing" in ids) is found


@pytest.mark.parametrize("encoder", ["none", "asymmetric"])
def test_an_agent_without_an_encoder_of_its_critic_lacks_no_gradient(tmp_path: Path, encoder: str) -> None:
    made = healthy(3)
    for when in ("before", "after"):
        made.put(f"gradients/critic_encoder_norm_{when}_clip", lambda p: 0.0)
    made.drop("agent/critic_cnn_param")
    run = load([write_run(tmp_path, made)]).runs[0]
    assert "gradient-missing" in {f.id for f in diagnose(run).findings}
    run.config["agent.encoder"] = encoder
    assert "gradient-missing" not in {f.id for f in diagnose(run).findings}
