"""Files beside each other, and files without names: which runs they are, and what is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rundoctor.engine import diagnose
from rundoctor.load import load
from rundoctor.model import Report
from rundoctor.signals import evaluation

from .synthetic import Made, write_run

ROWS = 120


def logged(folder: Path, name: str, f, step: int = 500, tag: str = "episode_return") -> None:
    """An event file with one series; ``f`` gets the progress of the run."""
    made = Made(row=step, steps=500 * ROWS, rng=np.random.default_rng(0))
    made.put(tag, lambda p: f(p) + float(made.rng.normal()))
    write_run(folder / name, made)


def only(path: Path) -> Report:
    loaded = load([path])
    assert len(loaded.runs) == 1 and not loaded.unreadable, (loaded.runs, loaded.unreadable)
    return diagnose(loaded.runs[0])


def rising(p: float) -> float:
    return -200 + 500 * (1 - np.exp(-5 * p))


@pytest.mark.parametrize(("train", "test"), [("train", "eval"), ("tb_train", "evaluation"), ("train", "val")])
def test_folders_for_training_and_evaluation_are_one_run(tmp_path: Path, train: str, test: str) -> None:
    logged(tmp_path / "sick", train, rising)
    logged(tmp_path / "sick", test, lambda p: -200.0, step=5_000)
    logged(tmp_path / "well", train, rising)
    logged(tmp_path / "well", test, rising, step=5_000)
    sick, well = only(tmp_path / "sick"), only(tmp_path / "well")
    assert sick.findings[0].id == "evaluation-gap"
    assert well.severity == 0 and well.run.get(evaluation.RETURN) is not None


def test_a_folder_for_evaluations_below_the_runs_own_files_belongs_to_it(tmp_path: Path) -> None:
    logged(tmp_path, ".", rising)
    logged(tmp_path, "eval", lambda p: -200.0, step=5_000)
    assert only(tmp_path).findings[0].id == "evaluation-gap"


def test_two_runs_beside_each_other_stay_two(tmp_path: Path) -> None:
    for name in ("baseline", "test"):  # "test" is here the name of a run
        logged(tmp_path, name, rising)
    assert len(load([tmp_path]).runs) == 2


def test_each_seed_has_its_own_evaluations(tmp_path: Path) -> None:
    for seed in ("seed0", "seed1"):
        logged(tmp_path / seed, "train", rising)
        logged(tmp_path / seed, "eval", rising, step=5_000)
    runs = load([tmp_path]).runs
    assert [run.name for run in runs] == ["seed0", "seed1"]
    assert all(run.get(evaluation.RETURN) is not None for run in runs)


def test_curves_of_add_scalars_go_back_to_their_run(tmp_path: Path) -> None:
    logged(tmp_path, ".", rising)
    for name, value in (("losses_critic", 1.0), ("losses_actor", -1.0), ("returns_eval", 5.0)):
        logged(tmp_path, name, lambda p, v=value: v, tag=name.split("_")[0])
    run = only(tmp_path).run
    assert {"losses/critic", "losses/actor", "eval/returns"} <= set(run.series)


PRINTED = """Using cpu device
------------------------------------
| rollout/           |             |
|    ep_len_mean     | 200         |
|    ep_rew_mean     | {reward:<11.4g} |
| time/              |             |
|    fps             | 105         |
|    total_timesteps | {step:<11} |
| train/             |             |
|    critic_loss     | {loss:<11.3g} |
|    actor_loss      | 17.3        |
------------------------------------
"""


def printed(path: Path, f) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ((k, f(k / ROWS)) for k in range(ROWS))
    path.write_text(
        "".join(PRINTED.format(reward=r, step=8000 * k + 8000, loss=0.5 + k % 3) for k, r in rows)
    )


@pytest.mark.parametrize("name", ["log.txt", "train.out", "stdout.log"])
def test_tables_printed_on_the_terminal_are_read(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    printed(tmp_path / "well" / name, rising)
    printed(tmp_path / "flat" / name, lambda p: -1200 + 20 * rng.normal())
    report = only(tmp_path / "well")
    assert report.run.last_step == 8000 * ROWS and report.run.algorithm.name == "TD3 or DDPG"
    assert set(report.run.series) >= {"rollout/ep_rew_mean", "rollout/ep_len_mean", "train/critic_loss"}
    assert report.severity == 0
    assert only(tmp_path / "flat").findings[0].id == "never-learns"


def test_evaluations_between_printed_tables_are_read(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    printed(file, rising)
    lines = "".join(f"Eval num_timesteps={k}000, episode_reward={k}.5 +/- 3.1\n" for k in range(1, 6))
    file.write_text(file.read_text() + lines)
    series = only(tmp_path).run.get(evaluation.RETURN)
    assert series is not None
    assert series.step.tolist() == [1000, 2000, 3000, 4000, 5000] and series.value[0] == 1.5


def test_a_printed_log_beside_the_same_in_full_is_left_out_and_named(tmp_path: Path) -> None:
    printed(tmp_path / "log.txt", rising)
    rows = [f"{8000 * k + 8000},{rising(k / ROWS)},200,0.5,17.3,105" for k in range(ROWS)]
    head = (
        "time/total_timesteps,rollout/ep_rew_mean,rollout/ep_len_mean,train/critic_loss,"
        "train/actor_loss,time/fps"
    )
    (tmp_path / "progress.csv").write_text("\n".join([head, *rows]) + "\n")
    run = only(tmp_path).run
    assert run.series["rollout/ep_rew_mean"].count == ROWS
    assert any("log.txt prints what progress.csv holds" in note for note in run.notes)


def test_prose_with_a_table_of_settings_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("# settings\n\n| gamma | 0.99 |\n| tau | 0.005 |\n\nIt went well.\n")
    assert "no event file and no table" in load([tmp_path]).unreadable[0]


# --- arrays, and tables without names ------------------------------------------------------------


def test_the_curves_of_td3s_authors_are_evaluations(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, curve in {
        "well": 9_000 * (1 - np.exp(-np.linspace(0, 5, 201))) + 100 * rng.normal(size=201),
        "flat": 200 + 40 * rng.normal(size=201),
    }.items():
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "TD3_HalfCheetah-v2_0.npy", curve)
    well = only(tmp_path / "well")
    assert well.run.get(evaluation.RETURN) is not None and well.severity == 0
    assert any("TD3's authors" in note for note in well.run.notes)
    assert only(tmp_path / "flat").findings[0].id == "never-learns"


def test_an_array_with_a_column_of_steps(tmp_path: Path) -> None:
    np.save(tmp_path / "returns.npy", np.column_stack([np.arange(50) * 1000, np.arange(50.0)]))
    run = only(tmp_path / "returns.npy").run
    assert run.last_step == 49_000 and list(run.series) == ["returns"]
    np.save(tmp_path / "three.npy", np.column_stack([np.arange(50.0), -np.ones((50, 2))]))
    report = only(tmp_path / "three.npy")
    assert list(report.run.series) == ["column 2", "column 3"] and report.word == "CANNOT JUDGE"


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([{"a": 1}], object), "Python objects"),
        (np.zeros((4, 4, 4)), "is no curve"),
        (np.zeros((4, 400)), "is no curve"),
        (np.zeros(0), "is no curve"),
        (np.array(["a", "b"]), "plain numbers"),
        (np.array([1 + 2j]), "is no curve"),
    ],
)
def test_other_arrays_are_refused_with_the_reason(tmp_path: Path, array: np.ndarray, says: str) -> None:
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    (problem,) = load([tmp_path / "x.npy"]).unreadable
    assert says in problem


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"no array at all")
    assert "x.npy" in load([tmp_path / "x.npy"]).unreadable[0]


@pytest.mark.parametrize(
    ("name", "line", "tags"),
    [
        ("returns.csv", "{step},{value}", ["returns"]),
        ("rewards.txt", "{value}", ["rewards"]),
        ("log.csv", "{k},{step},{value}", ["column 1", "log"]),
        ("log.csv", "{value},{step},0.5", ["column 1", "column 3"]),
    ],
)
def test_columns_without_names_are_numbered(tmp_path: Path, name: str, line: str, tags) -> None:
    rows = [line.format(k=k, step=1000 * k, value=rising(k / ROWS)) for k in range(ROWS)]
    (tmp_path / name).write_text("\n".join(rows) + "\n")
    report = only(tmp_path)
    assert any("columns have no names" in note for note in report.run.notes)
    if name != "log.csv":
        assert list(report.run.series) == tags and report.exit_status == 0
        assert next(iter(report.run.series.values())).count == ROWS, "the first row was taken for names"
    else:
        assert report.word == "CANNOT JUDGE"
        assert report.run.last_step == 1000 * (ROWS - 1)


def test_a_stated_name_makes_columns_without_names_readable(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text("".join(f"{1000 * k},0.5,{rising(k / ROWS)}\n" for k in range(ROWS)))
    run = load([file], names={"column 3": "episode_return"}).runs[0]
    assert diagnose(run).exit_status == 0 and "episode_return" in run.matches


def test_a_monitor_file_without_a_clock_is_one_all_the_same(tmp_path: Path) -> None:
    rows = "".join(f"{rising(k / ROWS)},100,{k % 2}\n" for k in range(ROWS))
    (tmp_path / "monitor.csv").write_text('#{"t_start": 1700000000.0}\nr,l,crashed\n' + rows)
    run = only(tmp_path).run
    assert run.series["episode/return"].count == ROWS and run.last_step == 100 * ROWS
    assert run.series["episode/crashed"].value.mean() == 0.5
