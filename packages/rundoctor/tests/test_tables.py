"""Tables, JSON and evaluations as other tools write them, and as a hostile user would."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rundoctor.engine import diagnose
from rundoctor.load import load
from rundoctor.readers.cells import number
from rundoctor.run import Run

N = 100


def read(path: Path, text: str | bytes | None = None, **options: Any) -> Run:
    if text is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    loaded = load([path], **options)
    assert loaded.unreadable == [] and loaded.problems == []
    (run,) = loaded.runs
    return run


def rows(header: str, row: str, order: list[int] | None = None) -> str:
    """A table; ``{i}`` in ``row`` is the number of the row, ``{s}`` a hundred times that."""
    numbers = list(range(N)) if order is None else order
    return header + "\n" + "".join(row.format(i=i, s=100 * i) + "\n" for i in numbers)


def values(run: Run, name: str) -> list[float]:
    s = run.get(name)
    assert s is not None, f"{name} is not found among {list(run.series)}"
    return [float(v) for v in s.value]


# --- the x-axis -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column",
    [
        "step",
        "total/steps",
        "timesteps_total",
        "TotalEnvInteracts",
        "exploration/num steps total",
        "time/total_timesteps",
        "Total steps",
        "_step",
    ],
)
def test_columns_that_count_steps(tmp_path: Path, column: str) -> None:
    run = read(tmp_path / "a.csv", rows(f"Epoch,{column},episode_reward,critic_loss", "{i},{s},{i},1"))
    assert run.axis == "step" and run.last_step == 9_900 and run.extent == "9,900 steps"


def test_the_number_of_a_row_is_no_number_of_steps(tmp_path: Path) -> None:
    run = read(tmp_path / "a.csv", rows("episode_reward,critic_loss", "{i},1"))
    assert run.axis == "row" and run.extent == "100 rows (no steps are logged)"
    report = diagnose(run)
    assert report.to_json()["run"]["steps"] is None and "100 rows" in report.verdict.sentence
    stated = read(tmp_path / "b.csv", rows("mine,episode_reward", "{s},{i}"), names={"mine": "step"})
    assert stated.last_step == 9_900 and stated.axis_columns == ("mine",)


def test_lengths_of_episodes_are_no_running_count(tmp_path: Path) -> None:
    lengths = random.Random(0).choices(range(20, 200), k=N)
    text = "episode,steps,reward\n" + "".join(f"{i},{n},{i}\n" for i, n in enumerate(lengths))
    run = read(tmp_path / "a.csv", text)
    assert run.axis == "episode" and run.series["steps"].count == N
    assert any("'steps' is no running count" in n for n in run.notes)


def test_steps_within_episodes_are_no_steps_of_the_run(tmp_path: Path) -> None:
    text = "step,reward,critic_loss\n" + "".join(f"{i % 20},{i},1\n" for i in range(400))
    run = read(tmp_path / "a.csv", text)
    assert run.axis == "row" and values(run, "critic_loss") == [1.0] * 400


@pytest.mark.parametrize("order", ["shuffled", "descending"])
def test_rows_out_of_order_are_sorted_and_none_is_lost(tmp_path: Path, order: str) -> None:
    numbers = list(range(N - 1, -1, -1))
    if order == "shuffled":
        random.Random(0).shuffle(numbers)
    run = read(tmp_path / "a.csv", rows("step,episode_reward,critic_loss", "{s},{i},1", numbers))
    assert values(run, "episode_return") == list(range(N)) and run.last_step == 9_900
    assert run.resumed_at == [] and any("not in the order of 'step'" in n for n in run.notes)


def test_rows_without_a_step_stand_at_the_row_before(tmp_path: Path) -> None:
    text = "step,episode_reward,critic_loss\n" + "".join(f"{s},1,\n,,2\n" for s in range(0, 1000, 100))
    run = read(tmp_path / "a.csv", text)
    loss = run.get("critic_loss")
    assert loss is not None and loss.step.tolist() == list(range(0, 1000, 100))
    assert any("10 rows hold no step" in n for n in run.notes)


def test_implausible_steps_are_no_steps(tmp_path: Path) -> None:
    one = rows("step,episode_reward", "{s},{i}").replace("\n5000,", "\n1e19,")
    run = read(tmp_path / "one.csv", one)
    assert run.last_step == 9_900 and len(values(run, "episode_return")) == N
    run = read(tmp_path / "all.csv", rows("step,episode_reward", "1e19,{i}"))
    assert run.axis == "row" and len(values(run, "episode_return")) == N


# --- cells ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1.5", 1.5),
        (" 2 ", 2.0),
        ("True", 1.0),
        ("85%", 0.85),
        ("tensor(0.25, device='cuda:0')", 0.25),
        ("np.float64(3.5)", 3.5),
        ("[4.0]", 4.0),
        ("-inf", -np.inf),
        ("", None),
        ("abc", None),
        ("None", None),
    ],
)
def test_numbers_in_cells(cell: str, value: float | None) -> None:
    assert number(cell) == value


def test_decimal_commas(tmp_path: Path) -> None:
    text = rows("Step;Reward;Critic Loss", "{s};{i},5;0,25")
    run = read(tmp_path / "a.csv", text)
    assert values(run, "episode_return") == [i + 0.5 for i in range(N)]
    assert set(values(run, "critic_loss")) == {0.25}


def test_thousands_separators(tmp_path: Path) -> None:
    text = "step,episode_reward\n" + "".join(f'"{i * 1000:,}","{i * 1000:,}.5"\n' for i in range(N))
    run = read(tmp_path / "a.csv", text)
    assert run.last_step == 99_000 and values(run, "episode_return")[-1] == 99_000.5


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    text = rows("step,episode_reward,größe", "{s},{i},1").replace("\n", "\r\n")
    assert len(values(read(tmp_path / "a.csv", text.encode(encoding)), "episode_return")) == N


def test_columns_of_the_same_name_stay_apart(tmp_path: Path) -> None:
    run = read(tmp_path / "a.csv", rows("step,loss,loss", "{i},1,2"))
    assert set(run.series["loss"].value) == {1.0} and set(run.series["loss (2)"].value) == {2.0}


def test_an_unfinished_last_line_is_left_out_and_said(tmp_path: Path) -> None:
    run = read(tmp_path / "a.csv", rows("step,episode_reward,critic_loss", "{s},{i},1") + "10000,0.")
    assert run.last_step == 9_900 and any("unfinished" in n for n in run.notes)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("space.txt", rows("step episode_reward critic_loss", "{s} {i} 1")),
        ("savetxt.csv", rows("# step,episode_reward,critic_loss", "{s},{i},1")),
        ("tabs.tsv", rows("step\tepisode_reward\tcritic_loss", "{s}\t{i}\t1")),
    ],
)
def test_other_shapes_of_tables(tmp_path: Path, name: str, text: str) -> None:
    run = read(tmp_path / name, text)
    assert run.last_step == 9_900 and values(run, "episode_return") == list(range(N))


# --- other tools ----------------------------------------------------------------------------


def test_spinning_ups_progress(tmp_path: Path) -> None:
    header = (
        "Epoch\tAverageEpRet\tAverageTestEpRet\tEpLen\tTotalEnvInteracts\tAverageQ1Vals\tLossPi\tLossQ\tTime"
    )
    read(tmp_path / "progress.txt", rows(header, "{i}\t{i}\t{i}\t200\t{s}\t2\t-2\t0.5\t{i}"))
    run = read(tmp_path)
    assert run.last_step == 9_900 and run.system == "Spinning Up"
    for name in ("episode_return", "eval_return", "q1_mean", "critic_loss", "actor_loss"):
        assert len(values(run, name)) == N


def rllib(i: int) -> dict[str, object]:
    stats = {"critic_loss": 1.0, "mean_q": 5.0, "actor_loss": -5.0}
    return {
        "episode_reward_mean": 10 + i,
        "timesteps_total": 4000 * (i + 1),
        "time_total_s": 12.5 * (i + 1),
        "config": {"gamma": 0.99},
        "info": {"learner": {"default_policy": {"learner_stats": stats}}},
        "hist_stats": {"episode_reward": [1, 2, 3]},
    }


def test_rllibs_results(tmp_path: Path) -> None:
    run = read(tmp_path / "result.json", "".join(json.dumps(rllib(i)) + "\n" for i in range(N)))
    assert run.last_step == 400_000 and run.system == "RLlib"
    assert values(run, "episode_return")[-1] == 109 and run.steps_per_second == pytest.approx(320)
    assert len(values(run, "critic_loss")) == N
    assert not any(t.startswith(("config", "hist_stats")) for t in run.series)


@pytest.mark.parametrize(
    "document",
    [
        [{"step": 100 * i, "episode_reward": i} for i in range(N)],
        {"step": [100 * i for i in range(N)], "episode_reward": list(range(N))},
    ],
)
def test_other_shapes_of_json(tmp_path: Path, document: object) -> None:
    run = read(tmp_path / "a.json", json.dumps(document))
    assert run.last_step == 9_900 and values(run, "episode_return") == list(range(N))


def test_evaluations_are_read_and_nothing_in_them_is_executed(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", timesteps=np.arange(0, 1000, 10), results=np.ones((100, 5)))
    run = read(tmp_path / "a.npz")
    assert run.last_step == 990 and values(run, "eval_return") == [1.0] * 100
    pickled = np.array([{}, []], dtype=object)
    np.savez(tmp_path / "bad.npz", timesteps=pickled, results=pickled)
    (problem,) = load([tmp_path / "bad.npz"]).unreadable
    assert "allow_pickle=False" in problem


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"{not json"),
        ("a.json", b"[" * 100_000),
        ("a.json", b"{}"),
        ("a.csv", b"step,critic_loss\n"),
        ("a.npz", b"PK\x03\x04garbage"),
        ("a.csv.gz", b"no gzip at all"),
    ],
)
def test_what_holds_no_series_is_refused_in_words(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    loaded = load([tmp_path / name])
    assert loaded.runs == [] and len(loaded.unreadable) == 1 and name in loaded.unreadable[0]


def test_a_long_cell_of_samples_is_passed_over(tmp_path: Path) -> None:
    """RLlib writes the returns of all episodes into one cell, longer than the csv module reads."""
    cells = "[" + ", ".join(["123.4567890123"] * 9000) + "]"
    header = "timesteps_total,episode_reward_mean,hist_stats/episode_reward,config/lr"
    run = read(tmp_path / "progress.csv", rows(header, f'{{s}},{{i}},"{cells}",0.001'))
    assert values(run, "episode_return") == list(range(N)) and list(run.series) == ["episode_reward_mean"]


def test_a_long_cell_of_another_column_does_not_cost_the_rest(tmp_path: Path) -> None:
    text = rows("step,episode_reward,text", '{s},{i},"' + "x" * 200_000 + '"')
    assert values(read(tmp_path / "log.csv", text), "episode_return") == list(range(N))
