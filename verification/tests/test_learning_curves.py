"""Learning curves: which runs they take, and what a point of a curve is."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from av_td3.config import load_config
from av_td3.training.run_directory import RunDirectory
from benchmarks import learning_curves

TAG = "train/route_completion"


def run_at(folder: Path, values: dict[int, float]) -> Path:
    run = RunDirectory.create(folder, load_config("quick"), {})
    with SummaryWriter(str(run.tensorboard)) as writer:
        for step, value in values.items():
            writer.add_scalar(TAG, value, step)
    return folder


def test_a_point_is_the_mean_of_the_episodes_in_the_window_before_it(tmp_path: Path) -> None:
    run = run_at(tmp_path / "a-s0", {100: 0.2, 200: 0.4, 450: 1.0})
    drawn = learning_curves.curve(run, TAG, np.array([200.0, 300.0, 400.0, 500.0]), 200.0)
    np.testing.assert_allclose(drawn, [0.3, 0.4, np.nan, 1.0], rtol=1e-6)


def test_runs_of_a_folder_are_seeds_of_their_methods_and_the_picture_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, end in {"a-s0": 0.5, "a-s1": 0.7, "b-s0": 1.0}.items():
        run_at(tmp_path / name, {900: 0.1, 1900: end})
    picture = tmp_path / "curves.png"
    monkeypatch.setattr(sys, "argv", ["curves", str(tmp_path), "--png", str(picture), "--steps", "2000"])
    learning_curves.main()
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "a: last 1000 steps: 0.5, 0.7\nb: last 1000 steps: 1\n" in capsys.readouterr().out


def test_a_folder_without_runs_and_a_tag_that_no_run_has_are_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="none of these is a run"):
        learning_curves.methods([str(tmp_path)])
    run = run_at(tmp_path / "a-s0", {1: 0.0})
    with pytest.raises(SystemExit, match="has no eval/missing"):
        learning_curves.curve(run, "eval/missing", np.array([1.0]), 1.0)
