"""The benchmarks measure what they say: counts are checked by hand, and the table has its rows."""

from __future__ import annotations

import json
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from av_td3.agent.td3 import TD3, Batch
from av_td3.commands import compare
from av_td3.config import AgentConfig, load_config
from benchmarks import gpu, multiply_adds, sb3_baseline, update_speed


@pytest.mark.parametrize("b", [6, 32])
def test_multiply_adds_of_an_update_equal_those_counted_by_hand(b: int) -> None:
    """One hidden layer of 8, no encoder, 5 numbers in, 2 out, the actor every second time."""
    config = AgentConfig(encoder="none", hidden=(8,), critic_warmup=0, policy_delay=2)
    agent = TD3(config, (4, 36, 36), 5, 2)
    image, vector = torch.zeros(b, 4, 36, 36, dtype=torch.uint8), torch.randn(b, 5)
    flags = torch.zeros(b, dtype=torch.bool)
    batch = Batch(image, vector, torch.rand(b, 2), vector[:, 0], vector[:, 1], image, vector, flags)
    operations = multiply_adds.count(agent, batch)
    found = {"target": 0.0, "critic": 0.0, "actor": 0.0}
    for operation, calls in operations:
        found[operation.part] += operation.flop * calls / 2
    actor, critic = 5 * 8 + 8 * 2, 7 * 8 + 8 * 1
    assert found["target"] == b * (actor + 2 * critic)
    # Backward: the gradient of every weight, and of the hidden layer.
    assert found["critic"] == b * 2 * (critic + critic + 8 * 1)
    # Forward through both, backward through the critic to its action, and through the actor.
    through = 8 * 1 + 7 * 8
    assert found["actor"] == b * 0.5 * (actor + critic + through + actor + 8 * 2)
    assert agent.updates == 2 and "_bellman" not in vars(agent)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_table_of_updates_has_the_rows_that_readers_expect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "speed.json"
    words = ["--batch", "2", "--seconds", "0.1", "--rounds", "1", "--json", str(file)]
    words += ["--only", "quick", "--only", "quick, prefetch"]
    monkeypatch.setattr("sys.argv", ["update_speed", *words])
    update_speed.main()
    rows = json.loads(file.read_text())["rows"]
    assert [row["name"] for row in rows] == ["Stable-Baselines3", "quick", "quick, prefetch"]
    assert update_speed.NAMES[:3] == ("Stable-Baselines3", "same networks", "quick")
    first, quick, _ = (row["updates_per_s"] for row in rows)
    assert first > 0 and rows[0]["ratio"] == 1.0
    assert rows[1]["ratio"] == pytest.approx(quick / first)


# ---------------------------------------------------------------- time to 90 % beside Stable-Baselines3


def contest(name: str, *points: tuple[float, float], trained: float) -> sb3_baseline.Contest:
    made = sb3_baseline.Contest(name, load_config("debug"), 1)
    made.curve = [{"minutes": m, "step": 1, "route_completion": c} for m, c in points]
    made.trained = trained
    return made


@pytest.mark.parametrize(
    ("theirs", "line"),
    [
        (((10.0, 0.3), (40.0, 0.9)), "ratio: 0.100"),
        (((10.0, 0.3), (40.0, 0.8)), "ratio: below 0.080, because SB3 TD3 did not reach it"),
    ],
)
def test_times_to_the_goal_and_their_ratio(theirs: tuple[tuple[float, float], ...], line: str) -> None:
    both = [
        contest(sb3_baseline.OURS, (2.0, 0.5), (4.0, 0.95), (6.0, 0.4), trained=8.0),
        contest("SB3 TD3", *theirs, trained=50.0),
    ]
    times = {c.name: c.minutes_to_goal for c in both}
    assert times[sb3_baseline.OURS] == 4.0  # the first time, whatever came after
    assert sb3_baseline.verdict(times, {c.name: c for c in both})[-1] == line
    none = {**times, sb3_baseline.OURS: None}
    assert not any("ratio" in text for text in sb3_baseline.verdict(none, {c.name: c for c in both}))


def test_the_clock_stands_still_during_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    made = contest("SB3 TD3", trained=0.0)
    monkeypatch.setattr(sb3_baseline, "drive", lambda *_: time.sleep(0.3))
    monkeypatch.setattr(sb3_baseline, "scalars", lambda _: {"eval/route_completion": 0.5})
    made.start()
    begin = time.monotonic()
    made.evaluate(lambda _: np.zeros(2, np.float32), 10)
    assert made.minutes * 60 <= time.monotonic() - begin - 0.3
    assert made.curve[0]["route_completion"] == 0.5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_both_learn_and_are_evaluated_and_compare_shows_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "sb3.json"
    small = ["env.termination.max_steps=30", "train.learning_starts=40", "exploration.warmup_steps=40"]
    small += ["env.camera.size=40", "agent.batch_size=8"]
    words = [
        "--preset",
        "debug",
        "--networks",
        "preset",
        "--minutes",
        "2",
        "--steps",
        "90",
        "--interval",
        "45",
    ]
    words += ["--episodes", "1", "--final-episodes", "2", "--json", str(file)]
    sb3_baseline.main([*words, *(part for key in small for part in ("--set", key))])
    document = json.loads(file.read_text())
    assert set(document["agents"]) == {"av-td3", "SB3 TD3"} == set(document["curves"])
    for name, agent in document["agents"].items():
        assert 0 <= agent["summary"]["route_completion"]["estimate"] <= 1
        assert document["curves"][name] and document["conditions"]["trained"][name]["minutes"] > 0
    compare.compare([f"SB3={file}:SB3 TD3", f"ours={file}:av-td3"])
    assert "ours" in capsys.readouterr().out


# ---------------------------------------------------------------- a GPU, or what stands in for it


SHORT = ["--device", "cpu", "--batches", "8", "--seconds", "0.1", "--no-compile", "--preset", "debug"]
SHORT += ["--set", "env.camera.size=40", "--set", "train.threads=1"]


def test_the_benchmark_of_a_gpu_leaves_out_what_cannot_be_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here is no GPU and, for this test, no carla."""
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(gpu, "SIMULATION", ("no_such_module", "a", "b", "minicarla.physics.kernels"))
    file = tmp_path / "gpu.json"
    assert gpu.main([*SHORT, "--envs", "2", "--json", str(file)]) == 0
    document = json.loads(file.read_text())
    rows = {(row["part"], row["what"]): row["value"] for row in document["rows"]}
    assert {part for part, _ in rows} == {"machine", "check", "update", "replay", "acting"}
    assert rows["check", "eager, beside the CPU"] < 1e-3
    assert all(rows["replay", f"batch 8, frames on the {place}"] > 0 for place in ("device", "host"))
    assert document["left_out"] == ["simulators and training: missing no_such_module, a, b"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_benchmark_of_a_gpu_runs_whole_in_its_short_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    file = tmp_path / "gpu.json"
    words = ["--envs", "1", "--minutes", "8", "--train-seconds", "2", "--json", str(file)]
    assert gpu.main([*SHORT, *words]) == 0
    document = json.loads(file.read_text())
    assert document["left_out"] == []
    values = {(row["part"], row["unit"]): row["value"] for row in document["rows"]}
    steps_per_s = values["training", "steps/s"]
    assert steps_per_s > 0 and values["simulators", "steps/s"] > 0
    assert values["training", "minutes"] == pytest.approx(1e6 / steps_per_s / 60)


@pytest.mark.slow
def test_packages_come_from_a_folder_of_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr("sys.path", [*sys.path])
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "brought_along-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("brought_along.py", "HERE = True")
        info = "brought_along-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: brought_along\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    (wheels / "torch-2.11-py3-none-any.whl").write_bytes(b"not to be touched")
    (wheels / "broken-1.0-py3-none-any.whl").write_bytes(b"no wheel")
    monkeypatch.setattr(gpu, "NEEDED", ("brought_along",))
    with pytest.raises(SystemExit, match="missing: brought_along"):
        gpu.prepare(None)
    told = gpu.prepare(wheels)
    assert len(told) == 1 and "broken-1.0" in told[0]
    assert not gpu.missing(("brought_along",))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--minutes", "0"], "must be above 0"),
        (["--wheels", "/nowhere"], "no folder /nowhere"),
        (["--device", "cuda:99"], "no such device here"),
    ],
)
def test_what_the_benchmark_of_a_gpu_cannot_do_is_said(
    words: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(SystemExit) as caught:
        gpu.main(words)
    assert says in f"{caught.value} {capsys.readouterr().err}"


def test_a_budget_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        sb3_baseline.main(["--minutes", "0"])
    assert caught.value.code == 2
    assert "0 is not above 0" in capsys.readouterr().err
