"""Files as people bring them: archives, texts, columns of their own."""

from __future__ import annotations

import json
import math
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from rundoctor.discover import is_table
from rundoctor.engine import diagnose
from rundoctor.load import load
from rundoctor.model import Finding, Report
from rundoctor.signals import x_axis

from .synthetic import START, write_events


def _write(
    path: Path,
    columns: Mapping[str, Sequence[object]],
    delimiter: str = ",",
    encoding: str = "utf-8",
    newline: str = "\n",
) -> None:
    lines = [delimiter.join(columns)]
    lines += [delimiter.join(str(c) for c in row) for row in zip(*columns.values(), strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((newline.join(lines) + newline).encode(encoding))


def _only(path: Path) -> Report:
    loaded = load([path])
    assert loaded.unreadable == []
    assert len(loaded.runs) == 1
    return diagnose(loaded.runs[0])


def _serious(report: Report) -> list[str]:
    return [f.id for f in report.findings if f.severity > 0]


def _finding(report: Report, name: str) -> Finding:
    return next(f for f in report.findings if f.id == name)


def _learning(rows: int = 200) -> dict[str, Sequence[object]]:
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, rows)
    returns = -200 + 500 / (1 + np.exp(-12 * (x - 0.4))) + rng.normal(0, 15, rows)
    return {
        "timestep": [1000 * (i + 1) for i in range(rows)],
        "episode_reward": returns.round(3).tolist(),
        "critic_loss": (2 + rng.random(rows)).round(4).tolist(),
    }


def _exploding(rows: int = 200) -> dict[str, Sequence[object]]:
    rng = np.random.default_rng(1)
    return {
        "total_timesteps": [1000 * (i + 1) for i in range(rows)],
        "rollout/ep_rew_mean": rng.normal(-150, 10, rows).tolist(),
        "train/critic_loss": [math.exp(18 * i / rows) for i in range(rows)],
        "train/actor_loss": [math.exp(12 * i / rows) for i in range(rows)],
    }


# --- where the files are --------------------------------------------------------------------


def test_zip_of_a_run_is_read(tmp_path: Path) -> None:
    _write(tmp_path / "made" / "progress.csv", _exploding())
    with zipfile.ZipFile(tmp_path / "logs.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "made" / "progress.csv", "TD3_1/progress.csv")
        archive.writestr("TD3_1/model.pth", b"\0" * 100)
    report = _only(tmp_path / "logs.zip")
    assert "q-explosion" in _serious(report)
    assert report.run.path == tmp_path / "logs.zip" / "TD3_1"
    assert report.run.files[0]["path"] == str(tmp_path / "logs.zip" / "TD3_1" / "progress.csv")


def test_tar_of_a_run_in_a_folder_is_read(tmp_path: Path) -> None:
    _write(tmp_path / "made" / "progress.csv", _exploding())
    (tmp_path / "given").mkdir()
    with tarfile.open(tmp_path / "given" / "logs.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "made" / "progress.csv", "run/progress.csv")
    assert "q-explosion" in _serious(_only(tmp_path / "given"))


def test_archives_write_nothing_outside_their_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../../escaped.csv", "step,loss\n1,2\n")
        archive.writestr("/escaped.csv", "step,loss\n1,2\n")
    loaded = load([tmp_path / "bad.zip"])
    assert loaded.runs == []
    assert loaded.unreadable == [f"{tmp_path / 'bad.zip'}: holds no event file and no table"]
    assert not (tmp_path.parent / "escaped.csv").exists()


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "logs.zip").write_bytes(b"PK\x03\x04 and then nothing")
    loaded = load([tmp_path / "logs.zip"])
    assert len(loaded.unreadable) == 1
    assert "not an archive that can be unpacked" in loaded.unreadable[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_with_a_table_is_found_in_a_folder(tmp_path: Path, encoding: str) -> None:
    _write(tmp_path / "log.txt", _learning(), "\t", encoding, "\r\n")
    (tmp_path / "requirements.txt").write_text("numpy==2.0\ntorch==2.5\ngymnasium\n")
    (tmp_path / "notes.txt").write_text("the first try\nwith a lower rate\nand without noise\n")
    report = _only(tmp_path)
    assert _serious(report) == []
    assert report.run.last_step == 200_000


def test_text_that_is_no_table_is_passed_over(tmp_path: Path) -> None:
    for name, text in {
        "names.txt": "one two\nthree four\nfive six\n",
        "train.log": "[INFO] epoch 1, loss 0.2\n[INFO] epoch 2, loss 0.1\n[INFO] epoch 3, loss 0.1\n",
        "numbers.txt": "1 2\n3 4\n5 6\n",
        "empty.txt": "",
    }.items():
        (tmp_path / name).write_text(text)
        assert not is_table(tmp_path / name), name


def test_columns_between_bars(tmp_path: Path) -> None:
    _write(tmp_path / "train.csv", _learning(), "|")
    report = _only(tmp_path / "train.csv")
    assert _serious(report) == []
    assert report.run.last_step == 200_000


# --- what the columns count -----------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["total_step", "Total Env Steps", "global_env_step", "num_frames_total", "train/total_env_steps"]
)
def test_names_of_the_step_column_are_put_together_from_words(name: str) -> None:
    axis = x_axis(["episode", name, "reward"])
    assert axis is not None
    assert (axis.index, axis.axis) == (1, "step")


@pytest.mark.parametrize("name", ["steps_per_second", "episode_steps", "eval/num_steps", "train_steps_left"])
def test_other_counts_of_steps_are_no_step_column(name: str) -> None:
    axis = x_axis(["episode", name, "reward"])
    assert axis is not None
    assert (axis.index, axis.axis) == (0, "episode")


def test_column_of_steps_with_one_value_counts_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    _write(
        tmp_path / "rewards.csv",
        {
            "episode": range(200),
            "reward": (np.arange(200) + rng.normal(0, 5, 200)).tolist(),
            "steps": [200] * 200,
        },
    )
    report = _only(tmp_path)
    assert report.run.axis == "episode"
    assert report.run.extent == "200 episodes (no steps are logged)"
    lengths = report.run.get("episode_length")
    assert lengths is not None
    assert lengths.tag == "steps"


def test_nothing_speaks_of_0_steps_where_episodes_are_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    _write(
        tmp_path / "log.csv",
        {
            "episode": range(300),
            "total_reward": (np.linspace(5, 30, 300) + rng.normal(0, 2, 300)).tolist(),
            "steps": rng.integers(20, 40, 300).tolist(),
        },
    )
    report = _only(tmp_path)
    assert _serious(report) == []
    assert "axis-mixed" not in [f.id for f in report.findings]
    assert _finding(report, "evaluation-missing").evidence[0].text == "no evaluation in 300 episodes"
    said = [e.text for f in report.findings for e in f.evidence] + [c.figures for c in report.checklist]
    assert not any(text.startswith("0 steps") or " 0 steps" in text for text in said)


def test_rows_within_an_episode_are_not_counted_as_episodes(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    _write(
        tmp_path / "log.csv",
        {
            "step": range(3000),
            "episode": [i // 200 for i in range(3000)],
            "reward": (np.linspace(0, 1, 3000) + rng.normal(0, 0.2, 3000)).tolist(),
        },
    )
    assert _only(tmp_path).run.episodes == 14


def test_means_over_an_epoch_are_not_counted_as_episodes(tmp_path: Path) -> None:
    _write(
        tmp_path / "progress.csv",
        {
            "exploration/num steps total": [1000 * (i + 1) for i in range(50)],
            "exploration/Returns Mean": [float(i) for i in range(50)],
        },
    )
    assert _only(tmp_path).run.episodes is None


def test_drl_robot_navigation_counts_episodes(tmp_path: Path) -> None:
    x = range(1, 201)
    write_events(
        tmp_path / f"events.out.tfevents.{int(START)}.box",
        {
            "loss": [(i, START + 5 * i, 40.0 + i % 7) for i in x],
            "Av. Q": [(i, START + 5 * i, 0.2 * i) for i in x],
            "Max. Q": [(i, START + 5 * i, 60 + 0.2 * i) for i in x],
        },
    )
    report = _only(tmp_path)
    assert report.run.extent == "200 episodes (no steps are logged)"
    assert _serious(report) == []


# --- what is said ---------------------------------------------------------------------------


def test_memory_of_the_machine_in_rllibs_results(tmp_path: Path) -> None:
    with (tmp_path / "result.json").open("w") as file:
        for i in range(120):
            row = {
                "timesteps_total": 4000 * (i + 1),
                "episode_reward_mean": 2.0 * i,
                "perf": {"cpu_util_percent": 40.0, "ram_util_percent": 20 + 0.63 * i},
            }
            file.write(json.dumps(row) + "\n")
    assert "memory-growth" in _serious(_only(tmp_path))


def test_ppo_is_not_advised_to_look_at_q(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    returns = np.concatenate([np.linspace(-150, 200, 50), np.linspace(200, -180, 20), np.full(50, -190)])
    _write(
        tmp_path / "progress.csv",
        {
            "time/total_timesteps": [2048 * (i + 1) for i in range(120)],
            "rollout/ep_rew_mean": (returns + rng.normal(0, 8, 120)).tolist(),
            "train/approx_kl": np.geomspace(0.01, 1.5, 120).tolist(),
            "train/value_loss": rng.normal(40, 5, 120).tolist(),
        },
    )
    report = _only(tmp_path)
    finding = _finding(report, "reward-degrading")
    assert "KL divergence" in finding.fix
    assert "Q(" not in finding.fix
    asked = [e.text for e in _finding(report, "metric-missing").evidence]
    assert not any("critic" in text for text in asked)
    assert not any("critic" in c.name for c in report.checklist)


def test_many_short_starts_are_one_note(tmp_path: Path) -> None:
    for k in range(12):
        rows = range(1, 201 if k == 5 else 3)
        write_events(
            tmp_path / f"events.out.tfevents.{int(START) + 5000 * k}.box",
            {"rollout/ep_rew_mean": [(500 * i, START + 5000 * k + i, float(i)) for i in rows]},
        )
    notes = [n for n in _only(tmp_path).run.notes if "too short to judge" in n]
    assert len(notes) == 1
    assert notes[0].startswith("11 other starts of at most 2 rows, up to step 1,000, are too short to judge")
    assert notes[0].endswith("and 8 more)")


def test_explosion_in_the_last_tenth_is_seen(tmp_path: Path) -> None:
    columns = _learning()
    x = np.linspace(0, 1, 200)
    grown = np.where(x > 0.9, np.exp((x - 0.9) * 170), 1.0)
    columns["critic_loss"] = (3 * grown).tolist()
    columns["q1_value"] = (50 * x + np.sqrt(grown)).tolist()
    _write(tmp_path / "log.csv", columns)
    report = _only(tmp_path)
    assert set(_serious(report)) & {"q-explosion", "critic-divergence"}
    del columns["q1_value"]
    _write(tmp_path / "log.csv", columns)
    report = _only(tmp_path)
    assert _serious(report) == ["critic-divergence"]
    assert "on the last rows" in _finding(report, "critic-divergence").evidence[0].text


def test_single_peaks_at_the_end_are_no_explosion(tmp_path: Path) -> None:
    columns = _learning()
    columns["critic_loss"] = [900.0 if i in (185, 190, 195, 199) else 3.0 for i in range(200)]
    _write(tmp_path / "log.csv", columns)
    assert _serious(_only(tmp_path)) == []


def test_agent_that_never_learns_in_a_table_of_episodes_with_lengths(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    _write(
        tmp_path / "log.csv",
        {
            "Episode": range(500),
            "Reward": rng.normal(-9, 1.5, 500).tolist(),
            "Episode Length": rng.integers(8, 14, 500).tolist(),
        },
    )
    assert _serious(_only(tmp_path)) == ["never-learns"]


def test_monitor_that_a_second_process_went_on_writing_did_not_stall(tmp_path: Path) -> None:
    lines = []
    for k, begin in enumerate((START, START + 5000)):
        lines += [f'#{{"t_start": {begin}, "env_id": "Car-v0"}}', "r,l,t"]
        lines += [f"{2.0 * (100 * k + i)},400,{7.0 * (i + 1)}" for i in range(100)]
    (tmp_path / "monitor.csv").write_text("\n".join(lines) + "\n")
    report = _only(tmp_path)
    assert _serious(report) == []
    assert len(report.run.pauses) == 1
    assert report.run.seconds == pytest.approx(2 * 7 * 99)


def test_on_policy_losses_without_returns_are_not_judged(tmp_path: Path) -> None:
    with (tmp_path / "result.json").open("w") as file:
        for i in range(100):
            learner = {"vf_loss": 5.0, "policy_loss": -0.01, "kl": 0.01, "entropy": 1.0, "total_loss": 5.0}
            row = {
                "timesteps_total": 4000 * (i + 1),
                "episode_reward_mean": math.nan,
                "info": {"learner": {"default_policy": {"learner_stats": learner}}},
            }
            file.write(json.dumps(row) + "\n")
    report = _only(tmp_path)
    assert report.run.algorithm.name == "PPO"
    assert report.exit_status == 4
    assert report.verdict.sentence.startswith("episode_reward_mean holds no number, only NaN")


def test_small_but_certain_rise_on_a_large_constant_cost_is_learning(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    rise = 50 / (1 + np.exp(-20 * (np.linspace(0, 1, 300) - 0.2)))
    columns = {
        "timestep": [1000 * (i + 1) for i in range(300)],
        "episode_reward": (-1500 + rise + rng.normal(0, 4, 300)).tolist(),
    }
    _write(tmp_path / "log.csv", columns)
    assert _serious(_only(tmp_path)) == []
    columns["episode_reward"] = (-1500 + 0.01 * rise + rng.normal(0, 4, 300)).tolist()
    _write(tmp_path / "log.csv", columns)
    assert _serious(_only(tmp_path)) == ["never-learns"]
