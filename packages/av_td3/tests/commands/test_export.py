"""``av-td3 export``: the folder acts as the agent does, says how it came to be, and replaces nothing."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch
import yaml

from av_td3.commands import export as command
from av_td3.config import config_from_dict
from av_td3.errors import UserError
from av_td3.training import cards, checkpoint, shipped
from av_td3.training.sources import find_agent

from ..training.test_shipped import finished_run, observations, write_evaluation

HAS_ONNX = all(importlib.util.find_spec(package) for package in command.NEEDED)


@pytest.mark.parametrize("averaged", [False, True])
def test_the_exported_folder_acts_as_the_agent_and_says_how_it_came_to_be(tmp_path, averaged):
    run, trained = finished_run(tmp_path / "run", averaged)
    (run.videos / "final.mp4").write_bytes(b"film")
    folder = command.export(run.path, tmp_path / "out", onnx=False)
    assert {file.name for file in folder.iterdir()} == {
        "policy.safetensors",
        "config.yaml",
        "figures.json",
        "README.md",
        "film.mp4",
    }
    source = find_agent(folder)
    policy = source.policy(source.load())
    for observation in observations(source.config):
        image, vector = (torch.from_numpy(observation[key])[None] for key in ("image", "vector"))
        np.testing.assert_array_equal(policy(observation), trained.act(image, vector, averaged)[0].numpy())
    card = (folder / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    [result] = head["model-index"][0]["results"]
    assert {"type": "success_rate", "name": "success", "value": 90.0} in result["metrics"]
    assert "| success, % | 90 [70, -] |" in card and "av-td3 train --preset debug" in card
    assert "[film.mp4](film.mp4)" in card and "/home/me" not in card


def test_the_film_is_of_the_agent(tmp_path):
    """Of the checkpoint that is exported, and with the camera's pictures."""
    run, trained = finished_run(tmp_path / "run")
    (run.videos / "final.mp4").write_bytes(b"the last agent")
    writer = checkpoint.CheckpointWriter(run.checkpoints, 2, False)
    with torch.no_grad():
        next(trained.actor.parameters()).add_(0.1)
    writer.begin(60, trained, None, {})
    writer.outcome(wait=True)
    writer.close()

    def film(name, which):
        folder = command.export(run.path, tmp_path / name, which, onnx=False)
        return (folder / "film.mp4").read_bytes() if (folder / "film.mp4").exists() else None

    assert film("last", "120") == b"the last agent" and film("none", "60") is None
    sha256 = find_agent(run.path, "60").sha256
    for name, picture in (("1", "black"), ("2", "camera")):
        (run.evaluations / name).mkdir()
        write_evaluation(run.evaluations / name / "evaluation.json", sha256, picture=picture)
        (run.evaluations / name / "film.mp4").write_bytes(picture.encode())
    assert film("own", "60") == b"camera"
    assert "(evaluations/2/film.mp4)" in cards.write_run_card(run, find_agent(run.path, "60")).read_text()


@pytest.mark.parametrize(
    ("words", "preset"),
    [
        ("av-td3 train", "quick"),
        ("av-td3 train --preset base", "base"),
        ("/usr/bin/av-td3 train --npc=4 --preset=base --seed 1", "base"),
        ("av-td3 train --preset base --preset=sight", "sight"),
        ("av-td3 train --preset=base --config=mine.yaml", None),
        ("av-td3 train --config mine.yaml", None),
        ("av-td3 validate --preset=base", None),
        ("mine.py", None),
        ("", None),
    ],
)
def test_the_card_names_the_preset(tmp_path, words, preset):
    run, _ = finished_run(tmp_path / "run")
    (run.path / "provenance.json").write_text(json.dumps({"command": words.split()}))
    assert cards.training_of(find_agent(run.path), run)["preset"] == preset


@pytest.mark.parametrize("simulator", [{"address": "h:2000"}, {"command": "carla {port}"}, {}])
def test_what_pictures_it_has_seen(tmp_path, simulator):
    run, _ = finished_run(tmp_path / "run")
    tree = run.config().model_dump()
    tree["env"]["simulator"] |= {"address": None, **simulator}
    run.write_config(config_from_dict(tree))
    limits = cards.limits_of(find_agent(run.path))
    assert any("minicarla's pictures only" in limit for limit in limits) == (not simulator)


def test_an_agent_that_was_made_ready_is_exported_as_it_is(tmp_path):
    run, _ = finished_run(tmp_path / "run")
    first = command.export(run.path, tmp_path / "first", onnx=False)
    second = command.export(first, tmp_path / "second", onnx=False)
    assert {f.name: f.read_bytes() for f in first.iterdir()} == {
        f.name: f.read_bytes() for f in second.iterdir()
    }


def test_nothing_is_replaced_and_a_missing_package_is_named(tmp_path, monkeypatch):
    run, _ = finished_run(tmp_path / "run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UserError, match="is not empty: choose another"):
        command.export(run.path, tmp_path / "full")
    monkeypatch.setattr(command, "NEEDED", ("no_such_package",))
    with pytest.raises(UserError, match=r"pip install no_such_package, or .*--no-onnx"):
        command.export(run.path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_weights_that_act_otherwise_are_noticed(tmp_path, monkeypatch):
    run, _ = finished_run(tmp_path / "run")
    tensors = shipped.policy_tensors
    monkeypatch.setattr(shipped, "policy_tensors", lambda agent, averaged=False: tensors(agent, not averaged))
    with pytest.raises(UserError, match="gives other actions than the agent"):
        command.export(run.path, tmp_path / "out", onnx=False)


def test_a_finished_run_gets_a_card(tmp_path):
    run, _ = finished_run(tmp_path / "run")
    source = find_agent(run.path)
    write_evaluation(run.evaluations / "final.json", source.sha256)
    later = run.evaluations / "20260101-000000-step"
    later.mkdir()
    write_evaluation(later / "evaluation.json", "another agent's")
    (later.with_name("damaged")).mkdir()
    (later.with_name("damaged") / "evaluation.json").write_text("{")
    card = cards.write_run_card(run, source).read_text()
    assert card.startswith("---\n") and f"av-td3 evaluate {run.path}" in card
    assert card.count("| success, % |") == 1 and "videos/final.mp4" not in card
    assert len(cards.evaluations_of(run, source.sha256)) == 1


@pytest.mark.slow
@pytest.mark.skipif(not HAS_ONNX, reason="the extra av-td3[onnx] is not installed")
@pytest.mark.parametrize("encoder", ["separate", "none"])
def test_the_onnx_policy_acts_as_the_agent_for_any_batch(tmp_path, monkeypatch, encoder):
    run, _ = finished_run(tmp_path / "run", averaged=True, encoder=encoder)
    folder = command.export(run.path, tmp_path / "out")
    import onnx

    model = onnx.load(folder / "policy.onnx")
    onnx.checker.check_model(model)
    assert [output.name for output in model.graph.output] == ["action"]
    assert json.loads((folder / "figures.json").read_text())["averaged"] is True
    monkeypatch.setattr(command, "TOLERANCE", -1.0)
    source = find_agent(run.path)
    with pytest.raises(UserError, match="acts otherwise"):
        command.write_onnx(source.load(), source.config, True, tmp_path / "bad.onnx")
    assert not (tmp_path / "bad.onnx").exists()
