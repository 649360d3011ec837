"""Which files are one run: nothing is mixed, and nothing is lost in silence."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from rundoctor.engine import diagnose
from rundoctor.load import load
from rundoctor.run import Run

from .synthetic import START, Points, write_events

CASES = Path(__file__).parent / "cases"
Walled = list[tuple[int, float, float]]


def ramp(first: int, last: int, by: int = 10, at: float = 0.0, value: float = 1.0) -> Walled:
    """Points from one step to another, a second each; written from ``START + at`` on."""
    return [(s, START + at + k, value) for k, s in enumerate(range(first, last + 1, by))]


def both(first: int, last: int, at: float = 0.0, value: float = 1.0) -> Points:
    points = ramp(first, last, at=at, value=value)
    return {"train/critic_loss": points, "train/episode_reward": points}


def event_file(folder: Path, points: Points, at: float = 0.0) -> Path:
    return write_events(folder / f"events.out.tfevents.{int(START + at)}.host.1.{int(at)}", points)


def read_all(path: Path) -> tuple[list[Run], list[str]]:
    loaded = load([path])
    assert loaded.unreadable == []
    return loaded.runs, loaded.problems


def steps(run: Run, tag: str = "train/critic_loss") -> list[int]:
    return run.series[tag].step.astype(int).tolist()


# --- event files of one folder ----------------------------------------------------------------


def test_a_second_start_is_a_run_of_its_own(tmp_path: Path) -> None:
    event_file(tmp_path, both(0, 490, value=0.0))
    event_file(tmp_path, both(0, 290, at=9000, value=1.0), at=9000)
    first, second = read_all(tmp_path)[0]
    assert (first.name, second.name) == (f"{tmp_path.name}, start 1", f"{tmp_path.name}, start 2")
    assert len(first.series["train/critic_loss"]) == 50 and len(second.series["train/critic_loss"]) == 30
    assert set(second.series["train/critic_loss"].value) == {1.0}
    assert [len(r.files) for r in (first, second)] == [1, 1]


def test_many_starts_are_many_runs_and_all_points_are_there(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    total = 0
    for k in range(37):
        ends = np.cumsum(rng.integers(180, 260, int(rng.integers(5, 12))))
        total += len(ends)
        points = [(int(s), START + 5000 * k + i, -11_739.0) for i, s in enumerate(ends)]
        event_file(tmp_path, {"charts/episodic_return": points}, at=5000.0 * k)
    runs, _ = read_all(tmp_path)
    assert len(runs) == 37
    assert sum(len(r.series["charts/episodic_return"]) for r in runs) == total


def test_a_start_of_one_row_beside_a_long_run_is_noted_and_erases_nothing() -> None:
    (run,), _ = read_all(CASES / "T5_stray_second_start")
    assert run.last_step == 300_000 and run.series["train/critic_loss"].count == 300
    assert any("another start of 1 row" in n and "1700090000" in n for n in run.notes)
    assert diagnose(run).findings[0].id == "q-explosion"


def test_a_stray_start_before_the_long_run_changes_nothing_either(tmp_path: Path) -> None:
    event_file(tmp_path, both(10, 10))
    event_file(tmp_path, both(10, 2000, at=500), at=500)
    (run,), _ = read_all(tmp_path)
    assert steps(run) == list(range(10, 2001, 10))
    assert any("another start of 1 row" in n for n in run.notes)


def test_a_resume_after_a_stray_start_goes_on_with_the_long_run(tmp_path: Path) -> None:
    event_file(tmp_path, both(0, 990))
    event_file(tmp_path, both(0, 290, at=2000), at=2000)
    event_file(tmp_path, both(900, 1990, at=4000), at=4000)
    long, stray = read_all(tmp_path)[0]
    assert steps(long) == list(range(0, 1991, 10)) and steps(stray) == list(range(0, 291, 10))
    assert long.resumed_at == [(990, 900)]


def test_a_resume_without_overlap_is_one_run_and_its_pause_is_no_stall() -> None:
    (run,), _ = read_all(CASES / "T6b_clean_resume_25min")
    assert run.last_step == 300_000 and run.resumed_at == []
    (pause,) = run.pauses
    assert (pause.before, pause.after) == (150_000, 151_000) and 1400 < pause.seconds < 1600
    assert any("resumed after 25 minutes" in n for n in run.notes)
    assert run.seconds == pytest.approx(2990, abs=20), "the pause is not time worked"
    report = diagnose(run)
    assert report.severity == 0 and "throughput-stall" not in {f.id for f in report.findings}


def test_two_processes_that_write_at_the_same_time_are_two_runs(tmp_path: Path) -> None:
    event_file(tmp_path, both(0, 1000, value=1.0))
    event_file(tmp_path, both(5, 1005, at=3.0, value=2.0), at=3)
    a, b = read_all(tmp_path)[0]
    assert set(a.series["train/critic_loss"].value) == {1.0}
    assert set(b.series["train/critic_loss"].value) == {2.0}


def test_files_with_other_tags_complete_a_run(tmp_path: Path) -> None:
    event_file(tmp_path, both(0, 1000))
    event_file(tmp_path, {"eval/mean_reward": ramp(100, 1000, 100, at=5)}, at=1)
    (run,), _ = read_all(tmp_path)
    assert {"eval/mean_reward", "train/critic_loss"} <= set(run.series)


def test_starts_within_one_event_file_are_told_apart(tmp_path: Path) -> None:
    """A script that trains three seeds, one after the other, with one writer."""
    points: Points = {"train/critic_loss": [], "train/episode_reward": []}
    for seed in range(3):
        for tag, more in both(0, 390 + 10 * seed, at=1000.0 * seed, value=float(seed)).items():
            points[tag] += more
    runs, _ = read_all(event_file(tmp_path, points))
    assert [len(r.series["train/critic_loss"]) for r in runs] == [40, 41, 42]
    assert [set(r.series["train/episode_reward"].value) for r in runs] == [{0.0}, {1.0}, {2.0}]


def test_rows_a_little_out_of_order_are_sorted_and_kept(tmp_path: Path) -> None:
    order = [*range(0, 500), 520, 510, 505, *range(530, 900), 910, 905, 908, 903, *range(920, 1500)]
    points = {"train/critic_loss": [(s, START + k, float(s)) for k, s in enumerate(order)]}
    (run,), _ = read_all(event_file(tmp_path, points))
    assert steps(run) == sorted(order) and run.resumed_at == []


# --- tables of one folder ----------------------------------------------------------------------


def test_train_and_eval_tables_are_one_run_whose_columns_do_not_meet() -> None:
    (run,), _ = read_all(CASES / "T2_drqv2")
    trained, evaluated = run.get("episode_return"), run.get("eval_return")
    assert trained is not None and evaluated is not None
    assert (trained.count, evaluated.count) == (400, 20)
    assert trained.value[-1] > 900 and evaluated.value[-1] < 40


def test_train_and_eval_tables_of_several_seeds(tmp_path: Path) -> None:
    for seed in range(2):
        for role, value in (("train", 10), ("eval", 5)):
            rows = "\n".join(f"{s},{value + seed}" for s in range(0, 500, 10))
            (tmp_path / f"seed{seed}_{role}.csv").write_text(f"step,episode_reward\n{rows}\n")
    a, b = read_all(tmp_path)[0]
    assert [r.get("episode_return").value[0] for r in (a, b)] == [10, 11]  # type: ignore[union-attr]
    assert [r.get("eval_return").value[0] for r in (a, b)] == [5, 6]  # type: ignore[union-attr]


def test_three_tables_are_three_runs() -> None:
    runs, _ = read_all(CASES / "T3_folder_of_csv_runs")
    assert [r.name for r in runs] == ["seed0", "seed1", "seed2"]
    assert all(r.last_step == 200_000 and r.get("episode_return").count == 200 for r in runs)  # type: ignore
    found = [{f.id for f in diagnose(r).findings if f.severity} for r in runs]
    assert found == [set(), {"reward-degrading"}, set()]


def monitor(path: Path, begun: float, episodes: int, length: int = 100, value: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "\n".join(f"{value},{length},{2.0 * (k + 1)}" for k in range(episodes))
    path.write_text(f'#{{"t_start": {begun}, "env_id": "Car-v0"}}\nr,l,t\n{rows}\n')


def test_monitors_of_environments_side_by_side_are_one_run(tmp_path: Path) -> None:
    for rank in range(16):
        monitor(tmp_path / f"{rank}.monitor.csv", START + 0.01 * rank, 50, value=float(rank))
    (run,), _ = read_all(tmp_path)
    returns = run.get("episode_return")
    assert returns is not None and returns.count == 16 * 50
    assert run.last_step == 16 * 50 * 100 and (np.diff(returns.step) > 0).all()
    assert any("16 environments" in n for n in run.notes)


def test_monitors_of_different_times_are_different_runs(tmp_path: Path) -> None:
    for k in range(3):
        monitor(tmp_path / f"s{k}.monitor.csv", START + 10_000 * k, 50)
    assert len(read_all(tmp_path)[0]) == 3


def test_a_monitor_that_a_second_process_went_on_with(tmp_path: Path) -> None:
    path = tmp_path / "monitor.csv"
    monitor(path, START, 10)
    first = path.read_text()
    monitor(path, START + 1000, 10)
    path.write_text(first + path.read_text())
    (run,), _ = read_all(path)
    s = run.get("episode_return")
    assert s is not None and s.count == 20
    assert s.wall[9] == START + 20 and s.wall[10] == START + 1002


def test_what_stable_baselines3_writes_beside_its_progress_completes_it(tmp_path: Path) -> None:
    rows = "\n".join(f"{s},{s / 10},0.5" for s in range(100, 3001, 100))
    header = "time/total_timesteps,rollout/ep_rew_mean,train/critic_loss"
    (tmp_path / "progress.csv").write_text(f"{header}\n{rows}\n")
    monitor(tmp_path / "monitor.csv", START, 30)
    steps_ = np.arange(500, 3001, 500)
    np.savez(
        tmp_path / "evaluations.npz",
        timesteps=steps_,
        results=np.ones((6, 5)) * steps_[:, None],
        ep_lengths=np.full((6, 5), 100),
    )
    (run,), problems = read_all(tmp_path)
    assert problems == []
    evaluated = run.get("eval_return")
    assert evaluated is not None and evaluated.value.tolist() == steps_.tolist()
    assert run.series["episode/return"].count == 30


def test_the_same_run_as_events_csv_and_json_is_read_once_and_said(tmp_path: Path) -> None:
    event_file(tmp_path, both(0, 1000))
    rows = "\n".join(f"{s},1.0,1.0" for s in range(0, 1001, 10))
    (tmp_path / "progress.csv").write_text(f"step,train/critic_loss,train/episode_reward\n{rows}\n")
    (run,), _ = read_all(tmp_path)
    assert any("progress.csv repeats" in n for n in run.notes)
    (tmp_path / "other.csv").write_text("step,episode_reward\n" + "\n".join(f"{s},7" for s in range(50)))
    assert len(read_all(tmp_path)[0]) == 2, "a table of another run is not lost"


def test_tables_that_are_no_logs_are_named_and_left_out(tmp_path: Path) -> None:
    event_file(tmp_path, both(0, 1000))
    (tmp_path / "routes.csv").write_text("x,y\n1,2\n3,4\n")
    runs, problems = read_all(tmp_path)
    assert len(runs) == 1 and any("routes.csv" in p for p in problems)


def test_tensorboard_downloads_of_one_run_belong_together(tmp_path: Path) -> None:
    for run in ("TD3_1", "TD3_2"):
        for tag in ("train_critic_loss", "rollout_ep_rew_mean"):
            rows = "\n".join(f"{START + s},{s},{s * 0.5}" for s in range(0, 1000, 10))
            (tmp_path / f"run-{run}-tag-{tag}.csv").write_text(f"Wall time,Step,Value\n{rows}\n")
    a, b = read_all(tmp_path)[0]
    assert {a.name, b.name} == {"TD3_1", "TD3_2"}
    for run_ in (a, b):
        assert run_.get("critic_loss") is not None and run_.get("episode_return") is not None
        assert run_.last_step == 990 and run_.wall_span[0] == START


def test_tensorboard_downloads_as_json(tmp_path: Path) -> None:
    path = tmp_path / "run-.-tag-losses_qf1_values.json"
    path.write_text(json.dumps([[START + s, s, 1.5] for s in range(0, 500, 10)]))
    (run,), _ = read_all(path)
    assert run.get("q1_mean") is not None and run.last_step == 490


# --- several runs in one table -----------------------------------------------------------------


def test_a_column_of_seeds_tells_runs_apart(tmp_path: Path) -> None:
    rows = [f"{seed},{s},{100 * seed}" for s in range(0, 500, 10) for seed in (1, 2, 3)]
    (tmp_path / "all.csv").write_text("seed,step,return\n" + "\n".join(rows) + "\n")
    runs, _ = read_all(tmp_path / "all.csv")
    assert [r.series["return"].value[0] for r in runs] == [100, 200, 300]
    assert all(len(r.series["return"]) == 50 for r in runs)


def test_columns_of_a_weights_and_biases_export(tmp_path: Path) -> None:
    head = '"Step","a - train/critic_loss","a - train/critic_loss__MIN","b - train/critic_loss"'
    rows = "\n".join(f'"{s}","1","0.5",""\n"{s}","","","2"' for s in range(0, 500, 10))
    (tmp_path / "wandb.csv").write_text(f"{head}\n{rows}\n")
    a, b = read_all(tmp_path / "wandb.csv")[0]
    assert set(a.series) == set(b.series) == {"train/critic_loss"}
    assert set(a.series["train/critic_loss"].value) == {1.0}


@pytest.mark.parametrize("header", ["", "step,critic_loss,episode_reward\n"])
def test_a_second_start_appended_to_a_table(tmp_path: Path, header: str) -> None:
    def rows(value: float, last: int) -> str:
        return "".join(f"{s},{value},{value}\n" for s in range(10, last + 1, 10))

    text = "step,critic_loss,episode_reward\n" + rows(1, 500) + header + rows(2, 300)
    (tmp_path / "log.csv").write_text(text)
    a, b = read_all(tmp_path / "log.csv")[0]
    assert len(a.series["critic_loss"]) == 50 and len(b.series["critic_loss"]) == 30
    assert set(b.series["critic_loss"].value) == {2.0}


def test_a_resume_appended_to_a_table(tmp_path: Path) -> None:
    rows = [f"{s},1" for s in range(10, 501, 10)] + [f"{s},2" for s in range(400, 1001, 10)]
    (tmp_path / "log.csv").write_text("step,critic_loss\n" + "\n".join(rows) + "\n")
    (run,), _ = read_all(tmp_path / "log.csv")
    assert steps(run, "critic_loss") == list(range(10, 1001, 10)) and run.resumed_at == [(500, 400)]


def test_compressed_files_are_read(tmp_path: Path) -> None:
    plain = event_file(tmp_path / "a", both(0, 500))
    (tmp_path / "events.out.tfevents.1.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (run,), _ = read_all(tmp_path / "events.out.tfevents.1.gz")
    assert run.last_step == 500
    text = "step,critic_loss\n" + "\n".join(f"{s},1" for s in range(100))
    (tmp_path / "progress.csv.gz").write_bytes(gzip.compress(text.encode()))
    (run,), _ = read_all(tmp_path / "progress.csv.gz")
    assert run.last_step == 99
    (tmp_path / "broken.csv.gz").write_bytes(gzip.compress(text.encode())[:-20])
    assert "broken.csv.gz" in load([tmp_path / "broken.csv.gz"]).unreadable[0]
