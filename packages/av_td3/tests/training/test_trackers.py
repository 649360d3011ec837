"""The trackers of ``train.loggers``, offline: what they are told, and what they may not break."""

from __future__ import annotations

import importlib.util
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from av_td3.commands.common import check_before_start
from av_td3.config import ConfigError, load_config
from av_td3.training import trackers
from av_td3.training.logger import log_final_evaluation
from av_td3.training.run_directory import RunDirectory, RunError
from av_td3.training.trainer import Trainer

from .fake import FakeEnv, SilentDisplay, fake_evaluation, scalars, small_config


def trained(folder: Path, *loggers: str, display: SilentDisplay | None = None) -> Trainer:
    """A run of seconds, trained to its end, with its final evaluation."""
    config = small_config(loggers=loggers)
    run = RunDirectory.create(folder / "run", config, {})
    shown = display or SilentDisplay()
    trainer = Trainer(config, run, lambda: FakeEnv(config), fake_evaluation, shown)
    assert trainer.train().state == "finished"
    log_final_evaluation(run, config, 120, {"eval/mean_reward": 7.0}, shown.message)
    return trainer


@pytest.mark.slow
def test_mlflow_holds_what_tensorboard_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    from mlflow.tracking import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    trainer = trained(tmp_path, "mlflow")
    identity = json.loads((trainer.run.path / "trackers.json").read_text())["mlflow"]
    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    found = client.get_run(identity)
    assert found.info.run_name == "run" and found.info.status == "FINISHED"
    assert found.data.params["train.steps"] == "120" and len(found.data.params) > 80
    events = scalars(trainer.run.path)
    for tag in ("train/critic_loss", "train/episode_reward", "eval/mean_reward"):
        kept = [(metric.step, metric.value) for metric in client.get_metric_history(identity, tag)]
        assert len(kept) == len(events[tag]) and dict(kept) == pytest.approx(dict(events[tag])), tag
    assert (120, 7.0) in kept  # the final evaluation went into the same run


@pytest.mark.slow
def test_wandb_holds_what_tensorboard_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    trainer = trained(tmp_path, "wandb")
    identity = json.loads((trainer.run.path / "trackers.json").read_text())["wandb"]
    # The folder of a second start within the same second ends in "-1".
    files = sorted((tmp_path / "wandb").glob(f"offline-run-*-{identity}*/run-{identity}.wandb"))
    rows = [row for file in files for row in written(file)]
    events = scalars(trainer.run.path)
    for tag in ("train/critic_loss", "train/episode_reward", "eval/mean_reward"):
        kept = [(row["step"], row[tag]) for row in rows if tag in row]
        assert len(kept) == len(events[tag]) and dict(kept) == pytest.approx(dict(events[tag])), tag
    assert (120, 7.0) in kept


def written(file: Path) -> list[dict[str, Any]]:
    """The rows of history in an offline file of Weights & Biases: LevelDB's log format, 7 bytes in."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, rows, message = file.read_bytes(), 7, [], b""
    while place + 7 < len(data):
        if 0 < (left := -place % 32_768) < 7:  # no header fits into the rest of this block
            place += left
            continue
        _crc, length, kind = struct.unpack_from("<IHB", data, place)
        message += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind not in (1, 4):  # the whole of a message, or its last piece
            continue
        record, message = Record.FromString(message), b""
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
    return rows


class Broken:
    """A tracker whose server goes away after the first row."""

    identity = "x1"

    def __init__(self, *_: object) -> None:
        self.rows = 0

    def log(self, step: int, row: Mapping[str, float]) -> None:
        self.rows += 1
        if self.rows > 1:
            raise ConnectionError("no route to host")

    def close(self, ending: str) -> None:
        raise AssertionError("a tracker that was lost is not closed")


@pytest.mark.slow
def test_a_tracker_that_fails_costs_its_figures_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(trackers.KINDS, "mlflow", Broken)
    display = SilentDisplay()
    said: list[str] = []
    monkeypatch.setattr(display, "message", said.append)
    config = small_config(loggers=("mlflow",))
    run = RunDirectory.create(tmp_path / "run", config, {})
    trainer = Trainer(config, run, lambda: FakeEnv(config), fake_evaluation, display)
    assert trainer.train().state == "finished"
    assert [line for line in said if "no route to host" in line] == [
        "warning: mlflow gets no more figures of this run: no route to host"
    ]
    assert len(scalars(run.path)["train/critic_loss"]) > 5


def test_a_tracker_that_cannot_begin_is_said_before_anything_is_driven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_account(*_: object) -> trackers.Tracker:
        raise RuntimeError("no account")

    monkeypatch.setitem(trackers.KINDS, "wandb", no_account)
    config = small_config(loggers=("wandb",))
    env = FakeEnv(config)
    run = RunDirectory.create(tmp_path / "run", config, {})
    with pytest.raises(RunError, match="wandb cannot begin: no account; WANDB_MODE=offline"):
        Trainer(config, run, lambda: env, fake_evaluation, SilentDisplay()).train()
    assert env.total_steps == 0


def test_a_package_that_is_missing_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("debug", overrides=["train.loggers=[mlflow]"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"pip install './packages/av_td3\[mlflow\]'"):
        check_before_start(config)
    with pytest.raises(ConfigError, match=r"train\.loggers"):
        load_config("debug", overrides=["train.loggers=[tensorboardx]"])
    assert load_config("quick").train.loggers == ()
