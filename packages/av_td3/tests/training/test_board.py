"""What TensorBoard shows besides curves."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tensorboard.plugins.hparams import metadata

from av_td3.config import flat, load_config
from av_td3.evaluation.figure import draw_routes
from av_td3.evaluation.metrics import scalars
from av_td3.evaluation.rollout import EpisodeRecord, Evaluation
from av_td3.evaluation.video import VideoWriter
from av_td3.training import board
from av_td3.training.run_directory import RunDirectory


def episode(seed: int, termination: str = "success", route_completion: float = 0.5) -> EpisodeRecord:
    figures: dict[str, Any] = dict.fromkeys((f.name for f in fields(EpisodeRecord)), 1)
    figures |= {"seed": seed, "termination": termination, "route_completion": route_completion}
    return EpisodeRecord(**figures)


def test_the_settings_stand_in_the_tab_hparams() -> None:
    config = load_config("quick", None, ["train.seed=7"])
    experiment, start = (metadata.parse_experiment_plugin_data, metadata.parse_session_start_info_plugin_data)
    values = {value.tag: value.metadata.plugin_data.content for value in board.settings(config)}
    names = {info.name: info for info in experiment(values[metadata.EXPERIMENT_TAG]).hparam_infos}
    given = start(values[metadata.SESSION_START_INFO_TAG]).hparams
    assert names.keys() == given.keys() <= flat(config.model_dump()).keys()
    assert given["train.seed"].number_value == 7 and given["env.simulator.map"].string_value == "town"
    assert given["agent.critic_layer_norm"].bool_value is True
    assert {name for name, info in names.items() if info.differs} == set(board.FIRST)


def test_the_figures_of_the_tab_are_logged() -> None:
    moving = Evaluation("agent", 0, (episode(seed=0), episode(seed=1)))
    assert board.FIGURES.keys() <= scalars(moving).keys()


def test_the_final_evaluation_is_shown_as_far_as_its_files_are_there(tmp_path: Path) -> None:
    run, told = RunDirectory(tmp_path), list[str]()
    run.evaluations.mkdir()
    run.videos.mkdir()
    assert board.evaluated(run, told.append) == []
    (run.evaluations / "final.md").write_text("| agent |")
    drives = {
        name: Evaluation(name, 0, (episode(seed=0), episode(seed=1, termination="collision")))
        for name in ("trained", "random")
    }
    draw_routes(drives, run.evaluations / "final.png")
    with VideoWriter(run.videos / "final.mp4") as film:
        for brightness in range(0, 250, 10):
            film.add(np.full((236, 640, 3), brightness, np.uint8))
    (run.videos / "final-worst.mp4").write_text("no film")
    table, routes, shown = board.evaluated(run, told.append)
    assert table.tensor.string_val == [b"| agent |"]
    assert routes.tag == board.ROUTES and routes.image.encoded_image_string.startswith(b"\x89PNG")
    gif = shown.image.encoded_image_string
    assert gif.startswith(b"GIF89a") and (shown.image.width, shown.image.height) == (320, 118)
    assert gif.count(b"\x21\xf9\x04") == 10, "a second and a quarter, at 8 pictures a second"
    assert len(told) == 1 and "final-worst.mp4 is no film" in told[0]


def test_a_film_that_is_too_large_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "FILM_BYTES", 1000)
    noise = np.random.default_rng(0)
    with VideoWriter(tmp_path / "film.mp4") as film:
        for _ in range(3):
            film.add(noise.integers(0, 256, (64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="too large"):
        board.film("film", tmp_path / "film.mp4")


def test_every_end_of_a_drive_has_a_colour_of_its_own(tmp_path: Path) -> None:
    causes = ("success", "collision", "off_road", "wrong_way", "lane_invasion", "red_light", "stuck")
    episodes = tuple(
        episode(seed=seed, termination=cause, route_completion=1.0) for seed, cause in enumerate(causes)
    )
    draw_routes({"agent": Evaluation("agent", 0, episodes)}, tmp_path / "routes.png")
    pixels = cv2.imread(str(tmp_path / "routes.png"))
    colours = {tuple(row[row.shape[0] // 2]) for row in pixels}
    assert len(colours - {(255, 255, 255)}) >= len(causes)
