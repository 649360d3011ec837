"""``av-td3 evaluate``: whom it drives, under which conditions, and what it leaves behind."""

from __future__ import annotations

import errno
import json

import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from av_td3.cli import app
from av_td3.commands import evaluate
from av_td3.config import config_from_dict
from av_td3.training import shipped
from tools import ship_agent

from ..evaluation.fake_env import FakeDrivingEnv
from ..training.test_shipped import finished_run


class TenSteps(FakeDrivingEnv):
    """Ten steps an episode; no simulator."""

    made: list[TenSteps] = []

    def __init__(self, config, split, *, log_dir, name, render_mode, crews):
        super().__init__(config, length=10.0)
        self.render_mode, self.max_steps = render_mode, 10
        self.made.append(self)

    def close(self):
        pass


@pytest.fixture
def agents(tmp_path, monkeypatch):
    """A run and, made from it, the only agent of the package: tiny."""
    monkeypatch.setattr(evaluate, "SupervisedEnv", TenSteps)
    monkeypatch.setattr(shipped, "BUNDLED", tmp_path / "agents")
    monkeypatch.setattr(TenSteps, "made", [])
    run, _ = finished_run(tmp_path / "run")
    ship_agent.ship(run.path, tmp_path / "agents" / "tiny")
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return run


def invoke(*arguments):
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, ["evaluate", *map(str, arguments)])


def test_a_shipped_agent_by_its_name(agents, tmp_path):
    options = ["--episodes", 2, "--seed", 5, "--npc", 4, "--map", "grid", "--no-video", "--json", "x.json"]
    done = invoke("tiny", *options)
    assert done.exit_code == 0, done.output
    assert "agent of step 120" in done.stdout
    tables = done.stdout[done.stdout.index("2 held-out") : done.stdout.index("trained ended by")]
    assert max(map(len, tables.splitlines())) <= 80
    (folder,) = (tmp_path / "cwd" / "evaluations").iterdir()
    assert folder.name.endswith("-tiny")
    assert {p.name for p in folder.iterdir()} == {"evaluation.json", "evaluation.md", "evaluation.png"}
    document = json.loads((tmp_path / "cwd" / "x.json").read_text())
    assert list(document["agents"]) == ["trained", "untrained", "random", "classical"]
    assert document["agents"]["trained"]["summary"]["route_completion"]["n"] == 2
    conditions = document["conditions"]
    assert conditions["agent"] == "tiny" and conditions["run"] is None and conditions["picture"] == "camera"
    assert conditions["weather"] == "fixed"
    assert conditions["map"] == "grid" and conditions["traffic"]["wanted"] == 4 and conditions["seed"] == 5
    assert conditions["agent_sha256"] == shipped.find("tiny").figures["policy_sha256"]
    assert TenSteps.made[0].seeds == [5, 6] * 4


def test_other_pictures(agents, tmp_path):
    done = invoke(agents.path, "--episodes", 2, "--no-baselines", "--no-video", "--picture", "other")
    assert done.exit_code == 0, done.output
    seed = agents.config().evaluation.seed
    # One more episode, for the pictures of the first.
    assert TenSteps.made[0].seeds == [seed + 2, seed, seed + 1]
    (folder,) = (p for p in agents.evaluations.iterdir() if p.is_dir())
    document = json.loads((folder / "evaluation.json").read_text())
    assert list(document["agents"]) == ["trained"] and len(document["agents"]["trained"]["episodes"]) == 2
    assert document["conditions"]["picture"] == "other"
    assert "the agent saw the pictures of another episode" in (folder / "evaluation.md").read_text()


def test_other_weather_and_one_environment_whatever_the_run_had(agents, tmp_path):
    near = "env.simulator.npc_placement=near"
    options = ["--no-video", "--no-baselines", "--weather", "held_out", "--set", near]
    done = invoke(agents.path, "--episodes", 2, *options)
    assert done.exit_code == 0, done.output
    assert TenSteps.made[0].config.weather == "held_out"
    assert TenSteps.made[0].config.simulator.npc_placement == "near"
    (folder,) = (p for p in agents.evaluations.iterdir() if p.is_dir())
    assert json.loads((folder / "evaluation.json").read_text())["conditions"]["weather"] == "held_out"
    conditions = (folder / "evaluation.md").read_text()
    assert "other vehicles" in conditions and "near its start, weather held_out, agent of" in conditions
    tree = agents.config().model_dump()
    tree["env"]["simulator"]["address"] = None
    tree["train"] |= {"envs": 3, "maps": ["loop", "grid", "town"]}
    given = {"npc": None, "map_": None, "device": None, "weather": None}
    one = evaluate.changed(config_from_dict(tree), address="127.0.0.1:2000", **given)
    assert (one.train.envs, one.train.maps) == (1, [])


def test_a_server_that_a_command_starts_is_named_and_set_aside_for_one_that_runs(agents):
    command = "/opt/carla.sh -p {port}"
    options = ["--set", "env.simulator.address=null", "--set", f"env.simulator.command={command}"]
    done = invoke(agents.path, "--episodes", 2, "--no-baselines", "--no-video", *options)
    assert done.exit_code == 0, done.output
    (folder,) = (p for p in agents.evaluations.iterdir() if p.is_dir())
    named = f"the CARLA server that is started by: {command}"
    assert json.loads((folder / "evaluation.json").read_text())["conditions"]["simulator"] == named
    assert f"{named}." in (folder / "evaluation.md").read_text()
    tree = agents.config().model_dump()
    tree["env"]["simulator"] |= {"address": None, "command": command}
    simulator = evaluate.changed(config_from_dict(tree), address="127.0.0.1:2000").env.simulator
    assert (simulator.address, simulator.command) == ("127.0.0.1:2000", None)


def test_a_picture_that_cannot_be_written_costs_a_warning_and_no_figures(agents, tmp_path, monkeypatch):
    save = Figure.savefig

    def full_disk(self, file, **options):
        save(self, file, **options)
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    monkeypatch.setattr(Figure, "savefig", full_disk)
    done = invoke("tiny", "--episodes", 2, "--no-baselines", "--no-video")
    assert done.exit_code == 0, done.output
    (warning,) = done.stderr.splitlines()
    assert "picture is missing" in warning and "No space left" in warning
    (folder,) = (tmp_path / "cwd" / "evaluations").iterdir()
    assert {p.name for p in folder.iterdir()} == {"evaluation.json", "evaluation.md"}


def test_who_drives_by_sight_has_no_driver_beside_it_that_needs_the_route(agents, tmp_path):
    run, _ = finished_run(tmp_path / "sighted", vector="sight")
    done = invoke(run.path, "--episodes", 2, "--no-video", "--json", "x.json")
    assert done.exit_code == 0, done.output
    there = json.loads((tmp_path / "cwd" / "x.json").read_text())["agents"]
    assert list(there) == ["trained", "untrained", "random"]


def test_what_cannot_be_evaluated(agents, tmp_path):
    for arguments, words in (
        (["nobody"], "brings along: tiny"),
        (["tiny", "--checkpoint", "best"], "no checkpoints to choose"),
        (["tiny", "--map", "atlantis"], "atlantis"),
        (["tiny", "--json", "no/x.json"], "no folder"),
    ):
        done = invoke(*arguments)
        assert done.exit_code == 2 and words in done.output.replace("\n", " "), done.output
    assert invoke("tiny", "--picture", "green").exit_code == 2
    assert not list((tmp_path / "cwd").iterdir())
