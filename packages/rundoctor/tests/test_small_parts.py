"""Parts that larger tests pass by: the package, its command, hashes, comparisons, rarer evidence."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

import rundoctor
from rundoctor import engine
from rundoctor.code import code_state, in_tree
from rundoctor.compare import RunComparison, compare
from rundoctor.engine import diagnose
from rundoctor.evidence import count
from rundoctor.load import load
from rundoctor.model import Finding, Report
from rundoctor.readers.records import looks_like_records
from rundoctor.readers.text import looks_like_mlflow, looks_like_table

from .synthetic import Made, explain_no_targets, healthy, leak, poison, write_run


def judged(folder: Path, made: Made) -> Report:
    return diagnose(load([write_run(folder, made)]).runs[0])


def found(report: Report, name: str) -> Finding:
    return next(f for f in report.findings if f.id == name)


def test_the_package_offers_its_names_on_first_use() -> None:
    assert rundoctor.diagnose is engine.diagnose
    assert all(getattr(rundoctor, name) is not None for name in rundoctor.__all__)
    with pytest.raises(AttributeError, match="no attribute 'diagnoze'"):
        _ = rundoctor.diagnoze  # type: ignore[attr-defined]


def test_the_package_is_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["rundoctor", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("rundoctor", run_name="__main__")
    assert ended.value.code == 0 and "rundoctor" in capsys.readouterr().out


def test_sources_and_compiled_modules_are_hashed_apart(tmp_path: Path) -> None:
    for layout in ("packages/rundoctor/src/rundoctor", "rundoctor"):
        folder = tmp_path / layout.replace("/", "-") / layout
        folder.mkdir(parents=True)
        (folder / "a.py").write_text("x = 1\n")
        (folder / "a.so").write_bytes(b"one")
        (folder / "__pycache__").mkdir()
        root = tmp_path / layout.replace("/", "-")
        assert in_tree(root) == {"rundoctor": folder}
        before = code_state(in_tree(root))
        (folder / "a.so").write_bytes(b"two")
        (folder / "__pycache__" / "a.pyc").write_bytes(b"cache")
        after = code_state(in_tree(root))
        assert after.sources == before.sources and after.compiled != before.compiled
    assert in_tree(tmp_path / "nowhere") == {} and code_state({}).compiled == ""


# --- comparisons -----------------------------------------------------------------------------------------


def compared(folder: Path, *made: Made) -> RunComparison:
    return compare([judged(folder / f"run{i}", m) for i, m in enumerate(made)])


def test_runs_that_share_a_leak_are_told_apart_by_its_speed(tmp_path: Path) -> None:
    both = []
    for seed in (3, 4):
        made = healthy(seed)
        leak(made)
        both.append(made)
    said = " ".join(compared(tmp_path, *both).sentences)
    assert "In all 2 runs: policy gradient through the critic's state input" in said
    assert "The leak is in all of 2" in said and "run0" in said and "run1" in said


def test_what_only_one_of_two_runs_has_is_named(tmp_path: Path) -> None:
    sick = healthy(3)
    poison(sick)
    out = compared(tmp_path, sick, healthy(3))
    assert any(s.startswith("Only in run0: NaN or infinity") for s in out.sentences)
    rows = {row.name: row.cells for row in out.rows}
    assert rows["nan-or-inf"] == ("critical", None) and rows["verdict"][0] == "critical"
    text = json.dumps(out.to_json(), allow_nan=False)
    assert "run0" in text


def test_runs_of_which_nothing_can_be_said_are_not_called_sound(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("step,foo\n" + "".join(f"{i},{i}\n" for i in range(20)))
    reports = [diagnose(load([tmp_path / f"{name}.csv"]).runs[0]) for name in ("a", "b")]
    assert any("no signal of learning is recognised" in s for s in compare(reports).sentences)


def test_published_results_stand_beside_a_run_of_their_task(tmp_path: Path) -> None:
    out = compare([judged(tmp_path / name, healthy(3)) for name in ("Hopper-v4", "other")])
    assert any("published after 1,000,000 steps on Hopper" in s for s in out.sentences)
    assert any("Nothing wrong was found in either run" in s for s in out.sentences)


# --- rarer evidence --------------------------------------------------------------------------------------


def test_alerts_that_stand_in_their_file_alone(tmp_path: Path) -> None:
    made = healthy(3)
    made.drop("alerts/")
    run = load([write_run(tmp_path, made)]).runs[0]
    run.alerts = [{"step": 500, "text": "Q is too large"}, {"name": "actor_saturated"}]
    finding = found(diagnose(run), "alerts-raised")
    assert [(e.step, e.text) for e in finding.evidence] == [
        (500, "Q is too large"),
        (None, "actor_saturated"),
    ]


@pytest.mark.parametrize(("noise", "sick"), [(0.0, True), (0.1, False)])
def test_exploration_noise_that_is_only_stated(tmp_path: Path, noise: float, sick: bool) -> None:
    made = healthy(3)
    made.drop("train/exploration")
    run = load([write_run(tmp_path, made)], given={"exploration_noise": noise}).runs[0]
    assert ("no-exploration" in {f.id for f in diagnose(run).findings}) is sick


def test_shares_of_the_reward_without_its_components(tmp_path: Path) -> None:
    made = healthy(3)
    made.drop("rewards/")
    made.put("rewards/progress_percentage", lambda p: 97.0)
    made.put("rewards/safety_percentage", lambda p: 3.0)
    assert "progress component" in found(judged(tmp_path, made), "reward-imbalance").title


def test_rewards_beyond_what_is_documented(tmp_path: Path) -> None:
    made = healthy(3)
    made.put("debug/reward_bound", lambda p: 1.0)
    made.put("debug/reward_max", lambda p: 12.0)
    made.put("debug/reward_min", lambda p: -1.0)
    finding = found(judged(tmp_path, made), "reward-imbalance")
    assert "a reward of 12 where at most 1 is documented" in finding.evidence[0].text


def test_a_critic_that_explains_its_targets_badly_and_one_that_has_just_begun(tmp_path: Path) -> None:
    made = healthy(3)
    explain_no_targets(made)
    made.put("train/explained_variance", lambda p: 0.8)
    finding = found(judged(tmp_path / "mixed", made), "critic-not-learning")
    assert finding.severity == 0, "most of the variance is explained, whatever the error's mean"
    made.put("agent/total_iterations", lambda p: 500 * p)
    missing = {m.id: m.reason for m in judged(tmp_path / "begun", made).missing}
    assert "1,000 updates" in missing["critic-not-learning"]


# --- files that are looked into --------------------------------------------------------------------------


def test_json_files_that_hold_no_rows_are_passed_over(tmp_path: Path) -> None:
    for name, text, holds in (
        ("log.json", '{"a": 1}\n{"a": 2}\n{"a": 3}\n', True),
        ("config_log.json", '{"gamma": 0.99}', False),
        ("history.json", '{"loss": [1, 2, 3], "return": [3, 4, 5]}', True),
        ("train.json", "no json", False),
    ):
        (tmp_path / name).write_text(text)
        assert looks_like_records(tmp_path / name) is holds, name


def test_files_without_an_ending_are_mlflows_where_they_look_like_it(tmp_path: Path) -> None:
    for name, text, holds in (
        ("loss", "1700000000000 0.5 0\n1700000060000 0.4 1\n1700000120000 0.3 2\n", True),
        ("short", "1700000000000 0.5 0\n", False),
        ("words", "a b c\nd e f\ng h i\n", False),
        ("binary", "\0\0\0", False),
    ):
        (tmp_path / name).write_text(text)
        assert looks_like_mlflow(tmp_path / name) is holds, name
    assert not looks_like_table(tmp_path / "binary") and not looks_like_mlflow(tmp_path / "absent")


def test_two_columns_that_count_nothing_do_not_keep_each_other_busy(tmp_path: Path) -> None:
    """Neither the step nor the timestep counts: the rows are numbered."""
    rows = "".join(f"7,9,{i}\n" for i in range(30))
    (tmp_path / "log.csv").write_text("step,timestep,episode_reward\n" + rows)
    run = load([tmp_path / "log.csv"]).runs[0]
    assert run.axis == "row"
    assert sum("is no running count" in note for note in run.notes) == 2


def test_words_for_counts() -> None:
    assert [count(n, "row") for n in (0, 1, 2000)] == ["0 rows", "1 row", "2,000 rows"]
