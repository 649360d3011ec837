"""The four recorded runs, and generated ones of their shape: what is true of them is found, nothing else."""

from __future__ import annotations

from functools import cache

import pytest

from rundoctor.engine import diagnose
from rundoctor.load import load
from rundoctor.model import CRITICAL, WARNING, Finding, Report
from rundoctor.run import Run

from .recorded import write_recorded
from .statements import D18, D20A, D20B, D20C, RUNS, STATEMENTS, Statement, agrees, run_named

needs_files = pytest.mark.skipif(not RUNS.is_dir(), reason="the recorded runs are not here")
NAMES = (D18, D20A, D20B, D20C)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Generated runs of the same shape, which stand for the recorded ones where these are not at hand."""
    folder = tmp_path_factory.mktemp("made")
    return {name: load([write_recorded(folder, name)]).runs[0] for name in NAMES}


@pytest.fixture(
    params=[
        *(pytest.param(("made", name), id=f"made-{name}") for name in NAMES),
        *(pytest.param(("recorded", name), id=f"recorded-{name}", marks=needs_files) for name in NAMES),
    ]
)
def run(request: pytest.FixtureRequest, made: dict[str, Run]) -> Run:
    """Each recorded run, and each that was made in its shape."""
    source, name = request.param
    return made[name] if source == "made" else run_named(name)


@cache
def report(name: str) -> Report:
    return diagnose(run_named(name))


@pytest.fixture
def diagnosed(run: Run) -> Report:
    return diagnose(run)


def top(r: Report) -> dict[str, Finding]:
    return {f.id: f for f in r.findings}


def everything(r: Report) -> set[str]:
    return {g.id for f in r.findings for g in (f, *f.symptoms)}


@needs_files
@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda s: f"{s.document}-{s.run}-{s.quantity}")
def test_stated_figures(statement: Statement) -> None:
    found = statement.find(run_named(statement.run))
    assert agrees(statement, found) == statement.holds, f"{statement.stated} stated / {found} found"


def test_many_statements_of_every_document_are_checked_and_some_do_not_hold() -> None:
    for document in ("000", "001", "002", "003", "004"):
        mine = [s for s in STATEMENTS if s.document == document]
        assert len(mine) >= 14
        assert any(not s.holds for s in mine)
    assert all(s.why for s in STATEMENTS if not s.holds), "each that does not hold says what is true instead"


class TestEachRun:
    def test_the_leak_is_the_cause_and_saturation_stands_beside_it(self, diagnosed: Report) -> None:
        r = diagnosed
        assert r.findings[0].id == "state-gradient-leak"
        assert r.findings[0].severity == CRITICAL
        assert r.findings[1].id == "actor-saturated"
        assert r.severity == CRITICAL

    def test_norms_are_sums_and_the_clip_works_and_is_always_active(self, diagnosed: Report) -> None:
        found = top(diagnosed)
        assert found["grad-norm-summed"].severity == WARNING
        assert {e.tag for e in found["grad-norm-summed"].evidence} == {
            "gradients/actor_cnn_norm",
            "gradients/critic_cnn_norm",
        }
        assert "the actor and the critic" in found["clip-always-active"].title
        ruled_out = {x.id: x.reason for x in diagnosed.ruled_out}
        assert "the actor's clip held" in ruled_out["clip-not-applied"]
        assert "the critic's clip held" in ruled_out["clip-not-applied"]

    def test_alerts_could_not_fire(self, diagnosed: Report) -> None:
        assert "alert-unreachable" in top(diagnosed)
        # silence of alerts that cannot fire is no check passed
        assert next(c for c in diagnosed.checklist if c.name == "no alert fired").passed is None

    def test_episodes_end_by_lane_invasion(self, diagnosed: Report) -> None:
        f = top(diagnosed)["single-cause-termination"]
        assert "lane invasion" in f.title
        assert f.evidence[0].value is not None and f.evidence[0].value > 0.98

    def test_axes_are_told_apart(self, diagnosed: Report) -> None:
        run = diagnosed.run
        axes = {s.tag: s.axis for s in run.series.values()}
        assert axes["train/episode_reward"] == "episode"
        assert axes["train/critic_loss"] == axes["progress/buffer_size"] == "step"
        assert axes.get("rewards/safety_component", "episode") == "episode"
        assert axes.get("eval/mean_reward", "step") == "step"
        assert "axis-mixed" in top(diagnosed)

    def test_losses_are_found(self, diagnosed: Report) -> None:
        run = diagnosed.run
        assert run.get("critic_loss") is not None and run.get("actor_loss") is not None

    def test_nothing_false(self, diagnosed: Report) -> None:
        false = {
            "run-frozen",
            "clip-not-applied",
            "nan-or-inf",
            "twin-disagreement",
            "no-exploration",
            "stale-build",
            "target-clamp-active",
            "gradient-explosion",
            "reward-imbalance",
            "gradient-missing",
            "parameters-frozen",
            "gradient-measured-late",
            "terminal-flag-wrong",
            "run-resumed",
        }
        assert not everything(diagnosed) & false
        assert not [m for m in diagnosed.missing if "the rule failed" in m.reason]

    def test_a_symptom_is_reported_once(self, diagnosed: Report) -> None:
        r = diagnosed
        ids = [g.id for f in r.findings for g in (f, *f.symptoms)]
        assert len(ids) == len(set(ids))
        assert "q-explosion" not in top(r) and "head-starved" not in top(r)


@needs_files
@pytest.mark.parametrize(("name", "step", "speed"), [(D18, 1800, 8.2), (D20A, 1700, 5.9), (D20C, 3700, 5.1)])
def test_runs_cut_short(name: str, step: int, speed: float) -> None:
    f = top(report(name))["run-interrupted"]
    assert f"{step:,}" in f.title
    rate = next(e for e in f.evidence if e.tag == "wall time")
    assert rate.value == pytest.approx(speed, abs=0.1)


@needs_files
def test_the_complete_run_is_not_cut_short() -> None:
    assert "run-interrupted" not in everything(report(D20B))


@needs_files
def test_run_3_made_3700_steps_not_175() -> None:
    run = run_named(D20C)
    assert (run.last_step, run.episodes) == (3700, 176)
    planned = load([RUNS / D20C], given={"steps": 10_000}).runs[0]
    f = top(diagnose(planned))["run-interrupted"]
    assert "37% of 10,000" in f.title and f.severity == WARNING


@needs_files
@pytest.mark.parametrize(("name", "gamma"), [(D18, None), (D20A, 0.9), (D20B, 0.99), (D20C, 0.99)])
def test_gamma_is_worked_out_from_the_discount(name: str, gamma: float | None) -> None:
    known = run_named(name).gamma
    assert (known.value if known else None) == gamma


@needs_files
def test_rates_and_gamma_against_the_references() -> None:
    rows = {r.name: r for r in report(D20A).references}
    assert rows["gamma"].off == 2 and rows["tau"].value is None
    assert rows["actor_lr"].value == 3e-4 and rows["actor_lr"].off == 0
    assert rows["actor_encoder_lr"].value == 1e-5 and rows["actor_encoder_lr"].off == 1
    assert {r.name: r.value for r in report(D20C).references}["actor_lr"] == 1e-3
    assert any("tau" in m.reason for m in report(D20B).missing)


@needs_files
@pytest.mark.parametrize(("name", "ratio"), [(D18, 40), (D20A, 32), (D20B, 1.17e5), (D20C, 1.12e11)])
def test_the_ratio_of_the_policys_q_to_the_datas(name: str, ratio: float) -> None:
    run = run_named(name)
    q, data = run.policy_q, run.get("q1_mean")
    assert q is not None and data is not None
    assert q.value[-1] / data.value[-1] == pytest.approx(ratio, rel=0.02)


@needs_files
def test_run_2_stood_still_after_its_evaluation_and_then_slowed_down() -> None:
    found = top(report(D20B))
    assert found["agent-standstill"].onset == 3100
    assert any(e.step == 3001 for e in found["agent-standstill"].evidence)
    assert found["throughput-stall"].onset == 4000
    assert found["throughput-stall"].evidence[0].value == pytest.approx(0.59, abs=0.02)


@needs_files
def test_no_bound_is_claimed_where_rewards_are_not_logged() -> None:
    assert "q-above-reward-bound" in {m.id for m in report(D18).missing}
    assert "q-above-reward-bound" in {r.id for r in report(D20A).ruled_out}, "349 lies within 509"
    assert "q-above-reward-bound" in everything(report(D20B))


def test_a_made_run_that_was_cut_short_and_its_discount(made: dict[str, Run]) -> None:
    for name, steps, gamma in ((D18, 1800, None), (D20A, 1700, 0.9), (D20C, 3700, 0.99)):
        run = made[name]
        assert (run.last_step, run.gamma.value if run.gamma else None) == (steps, gamma)
        assert f"{steps:,}" in top(diagnose(run))["run-interrupted"].title
    assert made[D20C].episodes == 176
    assert "run-interrupted" not in everything(diagnose(made[D20B]))
