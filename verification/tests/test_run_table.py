"""The table of runs: which runs it takes, what it says of their driving and of their training."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from av_td3.config import load_config
from av_td3.evaluation.rollout import EpisodeRecord, Evaluation
from av_td3.training.run_directory import RunDirectory
from benchmarks import run_table


def episodes(completion: float) -> Evaluation:
    numbers = dict.fromkeys(("collisions", "lane_invasions", "off_road_steps", "low_ttc_steps"), 0)
    means = dict.fromkeys(
        ("mean_speed_kmh", "mean_abs_jerk", "mean_abs_lateral_deviation_m", "mean_abs_steer_change"), 0.5
    )
    drives = tuple(
        EpisodeRecord(
            seed=k,
            route="0->1",
            route_length_m=100.0,
            route_completion=completion,
            success=completion == 1.0,
            episode_return=1.0,
            steps=10,
            distance_km=0.1,
            min_time_to_collision_s=None,
            termination="success",
            **numbers,
            **means,  # type: ignore[arg-type]
        )
        for k in range(8)
    )
    return Evaluation("trained", 0, drives)


def run_at(
    folder: Path,
    completion: float,
    *,
    saturation: float = 0.0,
    q: float = 10.0,
    others: Mapping[str, float] | None = None,
) -> Path:
    """A run directory with logs and a final evaluation, as a training leaves it."""
    run = RunDirectory.create(folder, load_config("quick"), {})
    agents = {"trained": completion, "classical": 1.0, **(others or {})}
    document = {
        "agents": {name: episodes(share).to_dict() for name, share in agents.items()},
        "conditions": {"map": "town"},
    }
    (run.evaluations / "final.json").write_text(json.dumps(document))
    with SummaryWriter(str(run.tensorboard)) as writer:
        for step in range(100, 2100, 100):
            wiggle = math.sin(step)
            row = {
                "train/critic_loss": 1.0 + 0.1 * wiggle,
                "train/q1_value": 5.0 + wiggle,
                "debug/q1_max": q,
                "debug/q1_min": -1.0,
                "debug/q_bound": 255.0,
                "agent/saturation": saturation,
                "train/episode_reward": step / 100,
            }
            for tag, value in row.items():
                writer.add_scalar(tag, value, step)
    run.write_status("finished", step=2000, updates=1000, minutes=1.5)
    return folder


def test_a_folder_stands_for_its_finished_runs_in_the_order_of_the_sweep(tmp_path: Path) -> None:
    for name in ("plain-s0", "other-s0", "plain-s1"):
        run_at(tmp_path / name, 1.0)
    RunDirectory.create(tmp_path / "begun-s0", load_config("quick"), {})
    (tmp_path / "logs").mkdir()
    found = run_table.expanded([str(tmp_path), "x=elsewhere"])
    assert found == [
        f"plain={tmp_path}/plain-s0",
        f"other={tmp_path}/other-s0",
        f"plain={tmp_path}/plain-s1",
        "x=elsewhere",
    ]


def test_the_rows_say_how_each_drives_and_whether_its_training_was_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_at(tmp_path / "good-s0", 1.0)
    run_at(tmp_path / "good-s1", 0.5, saturation=0.3)
    run_at(tmp_path / "bad-s0", 0.1, q=-300.0)
    file = tmp_path / "table.json"
    run_table.main([str(tmp_path), "--baselines", "--json", str(file)])
    head, _, *rows = capsys.readouterr().out.splitlines()
    names = [cell.strip() for cell in head.replace("\\|", "").split(" | ")]
    cells = {row.split(" | ")[0].strip("| "): row.strip("| ").split(" | ") for row in rows}
    good, bad = (dict(zip(names[1:], cells[n][1:], strict=True)) for n in ("good", "bad"))
    assert good["runs"] == "2" and good["steps"] == "2,000" and good["minutes"] == "1.5"
    assert good["done %"] == "75 [50, 100]"
    assert bad["done %"].startswith("10 [")
    assert "more than 20% of the actions at their bound (1 of 2)" in good["sound |"]
    assert "Q above the reward's bound (1 of 1)" in bad["sound |"] and "300 (255)" in cells["bad"]
    assert cells["classical"][-1] == "-"
    document = json.loads(file.read_text())
    assert document["routes"] == 8 and document["rows"][0]["method"] == "good"
    assert document["rows"][0]["health"][0]["critic_loss"] == pytest.approx(1.0, abs=0.1)


def test_a_folder_without_runs_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_table.main([str(tmp_path)])
    assert ended.value.code == 2 and "has no finished run" in capsys.readouterr().err
