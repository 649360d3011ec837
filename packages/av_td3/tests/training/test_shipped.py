"""Agents that can be passed on: what is in their folders, what is refused, who is found by which name."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml

from av_td3.commands.changes import changed
from av_td3.config import config_from_dict, load_config
from av_td3.training import checkpoint, policies, shipped
from av_td3.training.agents import make_agent, policy_of
from av_td3.training.run_directory import RunDirectory, RunError
from av_td3.training.shipped import ShippedAgentError
from av_td3.training.sources import find_agent
from tools import ship_agent

from .fake import small_config

INTERVAL = {"estimate": 0.9, "low": 0.7, "high": None, "n": 20, "method": "bca"}


def finished_run(path, averaged=False, keep_best=False, vector="route", **agent):
    """A run directory with a checkpoint and a final evaluation, as training leaves it."""
    tree = small_config(steps=120).model_dump()
    tree["evaluation"] |= {"averaged": averaged, "keep_best": keep_best}
    tree["agent"] |= agent
    tree["env"]["observation"]["vector"] = vector
    tree["env"]["simulator"] |= {"address": "10.0.0.1:2000", "npc": 3}
    config = type(small_config()).model_validate(tree)
    run = RunDirectory.create(path, config, {"command": ["av-td3", "train", "--preset", "debug"]})
    made = make_agent(config)
    with torch.no_grad():  # target and policy differ, as they do after training
        for parameter in made.actor.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    writer = checkpoint.CheckpointWriter(run.checkpoints, 2, averaged)
    writer.begin(120, made, None, {})
    found = writer.outcome(wait=True)
    writer.close()
    run.write_status("finished", step=120, minutes=1.5)
    write_evaluation(run.evaluations / "final.json", checkpoint.verify(found)["files"]["agent.safetensors"])
    return run, made


def write_evaluation(file, sha256, map_="/home/me/town.xodr", picture="camera", **more):
    conditions = {"agent_sha256": sha256, "map": map_, "traffic": {"wanted": 3}, "episodes": 20}
    conditions |= {"picture": picture, "run": "/home/me/run", "checkpoint": "/home/me/run/checkpoints/x"}
    conditions |= more
    one = {"summary": {"success_rate": INTERVAL}, "terminations": {"success": 18}, "episodes": []}
    document = {"schema": 1, "confidence": 0.95, "agents": {"trained": one}, "conditions": conditions}
    file.write_text(json.dumps(document))
    return file


def observations(config, count=5):
    rng = np.random.default_rng(0)
    size = config.env.camera.size
    for _ in range(count):
        yield {
            "image": rng.integers(0, 256, (4, size, size), dtype=np.uint8),
            "vector": rng.standard_normal(config.env.vector_size).astype(np.float32),
        }


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("encoder", ["separate", "shared", "none"])
def test_a_shipped_agent_acts_as_the_run_is_evaluated(tmp_path, averaged, encoder):
    run, trained = finished_run(tmp_path / "run", averaged, encoder=encoder)
    ship_agent.ship(run.path, tmp_path / "tiny")
    source = find_agent(tmp_path / "tiny")
    policy, original = source.policy(source.load()), policy_of(trained, averaged)
    other = policy_of(trained, not averaged)
    for observation in observations(source.config):
        np.testing.assert_array_equal(policy(observation), original(observation))
        assert np.abs(policy(observation) - other(observation)).max() > 1e-3
    tensors = {k.split("/")[0] for k in shipped.policy_tensors(source.load())}
    assert tensors == ({"actor"} if encoder == "none" else {"actor", "encoder"})


def test_the_folder_says_what_it_is_and_nothing_of_the_machine(tmp_path):
    run, _ = finished_run(tmp_path / "run")
    ship_agent.main(
        [str(run.path), "tiny", "--into", str(tmp_path), "--about", "It waves.", "--limit", "Rain."]
    )
    folder = tmp_path / "tiny"
    assert {p.name for p in folder.iterdir()} == {
        "policy.safetensors",
        "config.yaml",
        "figures.json",
        "README.md",
    }
    texts = [p.read_text() for p in folder.iterdir() if p.suffix != ".safetensors"]
    assert not any("/home/me" in text or "10.0.0.1" in text or str(tmp_path) in text for text in texts)
    card = (folder / "README.md").read_text()
    for words in (
        "It waves.",
        "Rain.",
        "90 [70, -]",
        "town, 3 vehicles",
        "120 steps",
        "in 2 minutes",
        "`debug`",
    ):
        assert words in card, words
    figures = shipped.read(folder).figures
    assert figures["training"]["npc"] == 3 and figures["training"]["checkpoint"] == "step_000000120"
    assert shipped.read(folder).config.env.simulator.address is None


def test_an_agent_brings_no_program_and_no_address_along(tmp_path):
    """Neither from the machine that it was trained on, nor in a folder that a stranger has written."""
    theirs = {"command": "sh -c 'touch /tmp/run' {port}", "faults": "crash:tick=1"}
    run, _ = finished_run(tmp_path / "run")
    tree = run.config().model_dump(mode="json")
    tree["env"]["simulator"] |= {"address": None, **theirs}
    tree["evaluation"]["env"] = {"simulator": dict(theirs)}
    tree["train"]["loggers"] = ["wandb"]
    run.write_config(config_from_dict(tree))
    write_evaluation(
        run.evaluations / "final.json",
        find_agent(run.path).sha256,
        simulator="the CARLA server that is started by: touch",
        settings=[f"env.simulator.command={theirs['command']}", "env.termination.stuck_s=9"],
    )
    folder = ship_agent.ship(run.path, tmp_path / "tiny").folder
    assert not any("touch" in (folder / name).read_text() for name in (shipped.CONFIG, shipped.FIGURES))
    (folder / shipped.CONFIG).write_text(yaml.safe_dump(tree))
    source = find_agent(folder)
    for config in (source.config, changed(source.config)):
        simulator = config.env.simulator
        assert (simulator.address, simulator.command, simulator.faults) == (None, None, None)
        assert config.train.loggers == ()
    [measured] = shipped.read(folder).figures["evaluations"]
    assert measured["conditions"]["simulator"] == "a CARLA server"
    assert measured["conditions"]["settings"] == ["env.termination.stuck_s=9"]


def test_the_best_policy_is_shipped_where_the_run_keeps_it(tmp_path):
    run, trained = finished_run(tmp_path / "run", keep_best=True)
    with torch.no_grad():
        for parameter in trained.actor.parameters():
            parameter.add_(0.1)
    policies.keep(run.policies, 90, 7, policies.freeze(trained), {}, best=True)
    best = policies.describe(run.policies / policies.BEST)["files"]["agent.safetensors"]
    write_evaluation(run.evaluations / "final.json", best)
    made = ship_agent.ship(run.path, tmp_path / "tiny")
    assert made.figures["training"]["steps"] == 90 and made.figures["training"]["updates"] == 7
    policy, expected = find_agent(made.folder), policy_of(trained)
    for observation in observations(made.config, 2):
        np.testing.assert_array_equal(policy.policy(policy.load())(observation), expected(observation))


def test_figures_are_of_the_agent_that_is_shipped(tmp_path, capsys):
    run, _ = finished_run(tmp_path / "run")
    other = write_evaluation(tmp_path / "other.json", "0" * 64)
    with pytest.raises(SystemExit) as ended:
        ship_agent.main([str(run.path), "tiny", "--into", str(tmp_path), "--evaluation", str(other)])
    assert ended.value.code == 2 and "another agent" in capsys.readouterr().err
    made = ship_agent.ship(run.path, tmp_path / "tiny")
    black = write_evaluation(tmp_path / "b.json", made.figures["policy_sha256"], "grid", "black")
    ship_agent.main([str(made.folder), "--add", "--evaluation", str(black)])
    assert "grid, 3 vehicles, picture black" in (made.folder / "README.md").read_text()
    with pytest.raises(ShippedAgentError, match="at least one"):
        ship_agent.give_figures(made, [])
    (tmp_path / "empty.json").write_text("{}")
    for file in (tmp_path / "empty.json", tmp_path / "missing.json"):
        with pytest.raises(ShippedAgentError, match=r"evaluation"):
            ship_agent.give_figures(made, [file])


def test_agents_that_are_not_shipped(tmp_path, monkeypatch):
    run, _ = finished_run(tmp_path / "run")
    monkeypatch.setattr(ship_agent, "LARGEST", 1000)
    with pytest.raises(ShippedAgentError, match=r"MB are shipped"):
        ship_agent.ship(run.path, tmp_path / "tiny")
    (run.path / "provenance.json").write_text('{"injected_fault": "nan-loss"}')
    with pytest.raises(ShippedAgentError, match="injected fault"):
        ship_agent.ship(run.path, tmp_path / "tiny")
    assert not (tmp_path / "tiny").exists()


def test_damage_is_noticed(tmp_path):
    run, _ = finished_run(tmp_path / "run")
    folder = ship_agent.ship(run.path, tmp_path / "tiny").folder
    good = {p: p.read_bytes() for p in folder.iterdir()}

    def refused(words):
        with pytest.raises(ShippedAgentError, match=words):
            find_agent(folder).load()
        for path, data in good.items():
            path.write_bytes(data)

    (folder / shipped.POLICY).write_bytes(good[folder / shipped.POLICY][:-1] + b"x")
    refused("damaged")
    (folder / shipped.FIGURES).write_text("{}")
    refused("not a readable agent")
    text = good[folder / shipped.FIGURES].decode()
    (folder / shipped.FIGURES).write_text(text.replace('"format": 1', '"format": 2'))
    refused("format 2")
    text = good[folder / shipped.CONFIG].decode()
    (folder / shipped.CONFIG).write_text(text.replace("feature_size: 16", "feature_size: 24"))
    refused("another architecture")
    (folder / shipped.CONFIG).write_text(text.replace("feature_size:", "feature_sizes:"))
    refused("feature_sizes")
    find_agent(folder).load()


def test_names(tmp_path, monkeypatch):
    run, _ = finished_run(tmp_path / "run")
    monkeypatch.setattr(shipped, "BUNDLED", tmp_path / "nowhere")
    with pytest.raises(ShippedAgentError, match=r"'base' is neither .* brings none along"):
        find_agent("base")
    monkeypatch.setattr(shipped, "BUNDLED", tmp_path / "agents")
    ship_agent.ship(run.path, tmp_path / "agents" / "tiny")
    ship_agent.ship(run.path, tmp_path / "agents" / "base")
    (tmp_path / "agents" / "README.md").write_text("not an agent")
    with pytest.raises(ShippedAgentError, match="brings along: base, tiny"):
        find_agent("bas")
    source = find_agent("base")
    assert (source.title, source.run, source.step) == ("base", None, 120)
    assert source.described()["agent_sha256"] == source.sha256 != find_agent(run.path).sha256
    with pytest.raises(RunError, match="no checkpoints to choose"):
        find_agent("base", "best")
    with pytest.raises(RunError, match=r"no run directory"):
        find_agent(tmp_path)
    # A run in the working directory that has the name of an agent is what its user means.
    monkeypatch.chdir(tmp_path)
    run.path.rename(tmp_path / "base")
    assert find_agent("base").run is not None


@pytest.mark.parametrize("name", shipped.names() or [None])
def test_every_bundled_agent_can_be_driven(name):
    """Every name that `av-td3 drive --agent` offers: its card, its size, its policy."""
    if name is None:
        pytest.skip("the package brings no agent along yet")
    source = find_agent(name)
    policy = source.policy(source.load())
    for observation in observations(source.config, 1):
        assert np.isfinite(policy(observation)).all()
    agent = shipped.find(name)
    assert shipped.card(agent) == (agent.folder / shipped.CARD).read_text()
    assert (agent.folder / shipped.POLICY).stat().st_size <= ship_agent.LARGEST
    assert agent.figures["evaluations"] and agent.figures["limits"]
    assert load_config(None, agent.folder / shipped.CONFIG) == agent.config
