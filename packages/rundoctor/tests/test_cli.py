"""The command: exit status, what it writes, what it survives, how little it loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rundoctor.cli import app

from .synthetic import START, Made, healthy, leak, sum_norms, write_events, write_run

runner = CliRunner()


def invoke(*arguments: Any) -> Any:
    result = runner.invoke(app, [str(a) for a in arguments], env={"COLUMNS": "80", "TERM": "dumb"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Path]:
    made = {"healthy": healthy(12), "warned": healthy(12), "sick": healthy(12)}
    sum_norms(made["warned"])
    leak(made["sick"])
    return {name: write_run(tmp_path / name, m) for name, m in made.items()}


@pytest.mark.parametrize(("name", "status"), [("healthy", 0), ("warned", 1), ("sick", 2)])
def test_exit_status_says_how_bad(runs: dict[str, Path], name: str, status: int) -> None:
    assert invoke(runs[name]).exit_code == status


def test_exit_status_of_several_runs_is_the_worst(runs: dict[str, Path]) -> None:
    result = invoke(runs["healthy"], runs["sick"])
    assert result.exit_code == 2
    assert "the runs beside each other" in result.stdout
    assert "Only in sick" in result.stdout


def test_what_cannot_be_read_is_status_3_and_said(runs: dict[str, Path], tmp_path: Path) -> None:
    missing = invoke(tmp_path / "nowhere")
    assert missing.exit_code == 3 and "no such file" in missing.stderr
    (tmp_path / "text.txt").write_text("hello")
    foreign = invoke(tmp_path / "text.txt")
    assert foreign.exit_code == 3 and "text.txt" in foreign.stderr
    (tmp_path / "bare").mkdir()
    assert invoke(tmp_path / "bare").exit_code == 3
    both = invoke(runs["healthy"], tmp_path / "nowhere")
    assert both.exit_code == 3 and "HEALTHY" in both.stdout, "the rest is still diagnosed"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_said(runs: dict[str, Path]) -> None:
    file = next(runs["healthy"].iterdir())
    file.chmod(0)
    assert invoke(runs["healthy"]).exit_code == 3


def test_json_has_the_documented_shape(runs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out.json"
    assert invoke(runs["sick"], "--json", out).exit_code == 2
    document = json.loads(out.read_text())
    assert {"run", "findings", "ruled_out", "missing", "verdict", "checklist", "references"} <= set(document)
    assert document["run"]["steps"] > 0
    for finding in document["findings"]:
        assert {"id", "severity", "title", "evidence", "cause", "fix", "confidence"} <= set(finding)
        assert finding["severity"] in ("critical", "warning", "info")
        for evidence in finding["evidence"]:
            assert set(evidence) == {"tag", "step", "value", "text"}
    order = ["info", "warning", "critical"]
    ranks = [order.index(f["severity"]) for f in document["findings"]]
    assert ranks == sorted(ranks, reverse=True)


def test_json_to_standard_output_is_alone_there(runs: dict[str, Path]) -> None:
    result = invoke(runs["healthy"], "--json", "-")
    assert json.loads(result.stdout)["findings"] == [] or json.loads(result.stdout)["run"]


def test_json_of_several_runs(runs: dict[str, Path], tmp_path: Path) -> None:
    invoke(tmp_path, "--json", tmp_path / "out.json")
    document = json.loads((tmp_path / "out.json").read_text())
    assert sorted(r["run"]["name"] for r in document["runs"]) == ["healthy", "sick", "warned"]
    assert document["comparison"]["runs"] == ["healthy", "sick", "warned"]


@pytest.mark.slow
def test_everything_at_once(runs: dict[str, Path], tmp_path: Path) -> None:
    result = invoke(
        *(
            runs["sick"],
            "--html",
            tmp_path / "r.html",
            "--markdown",
            tmp_path / "r.md",
            "--csv",
            tmp_path / "csv",
        ),
        *("--figures", tmp_path / "png", "--json", tmp_path / "r.json", "--full"),
    )
    assert result.exit_code == 2
    assert "ruled out" in result.stdout and "why:" in result.stdout
    assert (tmp_path / "r.html").stat().st_size > 1e6
    assert "](png/sick-overview.png)" in (tmp_path / "r.md").read_text()
    assert (tmp_path / "png" / "sick-state-gradient-leak.png").stat().st_size > 5000
    assert len(list((tmp_path / "csv").glob("*.csv"))) > 50


def test_where_nothing_can_be_written_is_said(runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = invoke(runs["healthy"], "--json", tmp_path / "file" / "out.json")
    assert result.exit_code == 3 and "cannot write" in result.stderr


def test_assumptions_are_checked_and_used(runs: dict[str, Path]) -> None:
    assert "37" not in invoke(runs["healthy"], "-q").stdout
    planned = invoke(runs["healthy"], "--assume", "steps=10_000_000")
    assert planned.exit_code == 1 and "10,000,000" in planned.stdout
    assert invoke(runs["healthy"], "--assume", "stepps=1").exit_code == 2
    assert "there are: gamma" in invoke(runs["healthy"], "--assume", "stepps=1").stderr.replace("\n", " ")
    assert invoke(runs["healthy"], "--assume", "gamma").exit_code == 2


def test_the_answer_comes_first_and_fits_eighty_columns(runs: dict[str, Path]) -> None:
    out = invoke(runs["sick"]).stdout
    top = "\n".join(out.splitlines()[:12])
    assert "CRITICAL" in top and "state input" in top and "Do: Let the critic judge" in top
    assert max(len(line) for line in out.splitlines()) <= 80


def test_hostile_names_do_not_act(tmp_path: Path) -> None:
    made = healthy(12)
    made.points["[red]x[/nothing]</script><b>`|"] = made.points["train/critic_loss"]
    folder = write_run(tmp_path / "[bold]run", made)
    result = invoke(
        folder,
        "--html",
        tmp_path / "r.html",
        "--markdown",
        tmp_path / "r.md",
        "--csv",
        tmp_path / "c",
        "--full",
    )
    assert result.exit_code == 0 and "[bold]run" in result.stdout
    page = (tmp_path / "r.html").read_text()
    assert "</script><b>" not in page
    assert all(p.resolve().parent == (tmp_path / "c").resolve() for p in (tmp_path / "c").iterdir())


def test_runs_as_a_module_without_torch_carla_or_plotting(runs: dict[str, Path]) -> None:
    script = (
        "import sys, runpy\nsys.argv = ['diagnose', sys.argv[1], '-q']\n"
        "try:\n    runpy.run_module('rundoctor', run_name='__main__')\n"
        "except SystemExit as end:\n    code = end.code\n"
        "heavy = {'torch', 'carla', 'plotly', 'matplotlib', 'tensorboard', 'tensorflow', 'scipy', 'pandas'}\n"
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(runs["sick"])],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "2 []"


def test_importing_the_command_is_light() -> None:
    script = (
        "import sys\nimport rundoctor.cli\n"
        "print(sorted({'plotly', 'matplotlib', 'torch', 'yaml', 'rundoctor.engine'} & "
        "set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


# --- what cannot be judged ------------------------------------------------------------------


def foreign(folder: Path, tags: dict[str, str]) -> Path:
    """A sound run whose tags nobody knows."""
    made = healthy(12)
    points = {new: made.points[old] for old, new in tags.items()}
    return write_run(folder, Made(points, steps=made.steps))


FOREIGN = {
    "train/episode_reward": "zeta/mean_reward_of_cars",
    "train/critic_loss": "zeta/critic_mse_x",
    "train/q1_value": "zeta/Q of data",
    "progress/speed_kmh": "zeta/omega",
}


def test_a_run_without_known_signals_is_not_called_healthy(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "run", FOREIGN)
    result = invoke(folder, "--json", tmp_path / "out.json")
    assert result.exit_code == 4
    assert "CANNOT JUDGE" in result.stdout and "HEALTHY" not in result.stdout
    assert "unknown tag: zeta/omega" in result.stdout
    assert "unknown tag: zeta/critic_mse_x (perhaps critic_loss)" in result.stdout
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["verdict"]["word"] == "CANNOT JUDGE"
    assert document["run"]["guesses"]["zeta/Q of data"][0] == "q1_mean"
    assert document["run"]["not_recognised"] == ["the return", "the critic's loss", "Q"]
    quiet = invoke(folder, "-q")
    assert quiet.exit_code == 4 and quiet.stdout.startswith("CANNOT JUDGE")


def test_comparing_runs_without_known_signals_says_so(tmp_path: Path) -> None:
    a, b = (foreign(tmp_path / name, FOREIGN) for name in "ab")
    result = invoke(a, b)
    assert result.exit_code == 4
    assert "healthy" not in result.stdout.lower() and "Nothing wrong" not in result.stdout
    assert "Nothing can be said about a and b" in result.stdout
    mixed = invoke(a, write_run(tmp_path / "sound", healthy(12)))
    assert mixed.exit_code == 4, "one of two was not judged"


def test_what_the_user_states_makes_a_run_judgeable(tmp_path: Path) -> None:
    made = healthy(12)
    leak(made)
    tags = {**FOREIGN, "debug/actor_q_mean": "zeta/Q of actor"}
    points = {new: made.points[old] for old, new in tags.items()}
    folder = write_run(tmp_path / "run", Made(points))
    assert invoke(folder).exit_code == 4
    stated = ["zeta/Q of data=q1_mean", "zeta/Q of actor=policy_q_mean"]
    result = invoke(folder, *(x for s in stated for x in ("--map", s)))
    assert result.exit_code == 2 and "state input" in result.stdout
    file = tmp_path / "names.txt"
    file.write_text("# what our tags are\n\n" + "\n".join(stated) + "\n")
    assert invoke(folder, "--map-file", file).exit_code == 2
    partly = invoke(folder, "--map", "zeta/critic_mse_x=critic_loss")
    assert partly.exit_code == 4 and "not recognised: the return, Q" in partly.stdout


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("Av. Q", "TAG=NAME"),
        ("=q1_mean", "TAG=NAME"),
        ("zeta/omega=q1_meen", "similar: q1_mean"),
        ("zeta/nothing=q1_mean", "no run has a tag"),
    ],
)
def test_a_statement_that_cannot_be_used_is_an_error(tmp_path: Path, statement: str, says: str) -> None:
    folder = foreign(tmp_path, FOREIGN)
    result = invoke(folder, "--map", statement)
    assert result.exit_code == 2 and says in result.stderr.replace("\n", " ").replace("│ ", "")
    assert "zeta" not in result.stdout, "nothing is judged before"


def test_a_statement_outweighs_what_a_tag_is_known_as(tmp_path: Path) -> None:
    points = {"train/critic_loss": [(s, START + s, 10.0 + s % 7) for s in range(100)]}
    file = write_events(tmp_path / "x.tfevents.1", points)
    invoke(file, "--map", "train/critic_loss=episode_return", "--json", tmp_path / "out.json")
    aliases = json.loads((tmp_path / "out.json").read_text())["run"]["aliases"]
    assert aliases["episode_return"]["tag"] == "train/critic_loss" and "critic_loss" not in aliases


def test_a_run_of_one_row_is_too_short_to_judge(tmp_path: Path) -> None:
    points = {"rollout/ep_rew_mean": [(1000, START, 5.0)], "train/critic_loss": [(1000, START, 1.0)]}
    result = invoke(write_events(tmp_path / "x.tfevents.1", points))
    assert result.exit_code == 4 and "too few to judge" in result.stdout.replace("\n", " ").replace("│ │", "")


def test_an_address_is_named_as_it_was_typed() -> None:
    result = invoke("https://example.org/run/events")
    assert result.exit_code == 3 and "https://example.org/run/events" in result.stderr


def test_help_version_and_names() -> None:
    assert "Exit status" in invoke("-h").stdout
    assert invoke("--version").stdout.startswith("rundoctor ")
    assert "q1_mean" in invoke("--names").stdout
