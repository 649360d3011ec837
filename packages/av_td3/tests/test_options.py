"""What is given on the command line arrives at the command; how the program as a whole ends."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import warnings
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from av_td3 import cli
from av_td3.errors import UserError

# command line -> (function, some of the arguments that it must get)
GIVEN = {
    "validate --until 500 --map grid --npc 3 --seed 4 --gates g.yaml --run-dir d": (
        "validate.start",
        {"preset": "quick", "path": Path("d"), "until": 500, "gates_file": Path("g.yaml")},
    ),
    "validate --resume d --until 500": (
        "validate.resume",
        {"path": Path("d"), "until": 500, "gates_file": None},
    ),
    "train --resume d --steps 50 --ungated": (
        "train.resume",
        {"path": Path("d"), "steps": 50, "validated": None, "ungated": True},
    ),
    "sweep f.yaml --into d --jobs 2 --ungated --list": (
        "sweep.sweep",
        {"file": Path("f.yaml"), "into": Path("d"), "jobs": 2, "ungated": True, "only_list": True},
    ),
    "doctor --carla h:2000": ("doctor.doctor", {"address": "h:2000"}),
    "compare a b --stratified --baselines --json j --figure f.png": (
        "compare.compare",
        {
            "inputs": ["a", "b"],
            "metric": "route_completion",
            "baselines": True,
            "resampling": "stratified",
            "json_file": Path("j"),
            "figure": Path("f.png"),
        },
    ),
    "reference --env Pendulum-v1 --seeds 2 --first-seed 3 --steps 9 --baseline sb3": (
        "reference.run",
        {"task": "Pendulum-v1", "seeds": 2, "first_seed": 3, "steps": 9, "with_sb3": True, "threads": 1},
    ),
    "export base d --checkpoint best --no-onnx": (
        "export.export",
        {"name": "base", "folder": Path("d"), "which": "best", "onnx": False},
    ),
    "drive --npc 2 --live --device cpu": (
        "drive.drive",
        {"name": "base", "npc": 2, "live": True, "device": "cpu", "episodes": None},
    ),
    "drive --map grid --carla h:2000 --weather all --set a.b=1 --set c=2": (
        "drive.drive",
        {"map_": "grid", "address": "h:2000", "weather": "all", "settings": ["a.b=1", "c=2"]},
    ),
    "evaluate a --picture black --no-baselines --no-video": (
        "evaluate.evaluate",
        {"path": "a", "picture": "black", "baselines": False, "video": False, "which": None},
    ),
}


@pytest.fixture
def invoke(monkeypatch):
    """Call the command line; what the function got that stands in place of the command's."""

    def call(line, function, result=0):
        module, name = function.split(".")
        command = importlib.import_module(f"av_td3.commands.{module}")
        signature, got = inspect.signature(getattr(command, name)), {}

        def stand_in(*arguments, **keywords):
            bound = signature.bind(*arguments, **keywords)
            bound.apply_defaults()
            got.update(bound.arguments | bound.arguments.get("changes", {}))
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(command, name, stand_in)
        return CliRunner().invoke(cli.app, line.split()), got

    return call


@pytest.mark.parametrize("line", GIVEN)
def test_options_arrive(line, invoke):
    function, wanted = GIVEN[line]
    done, got = invoke(line, function)
    assert done.exit_code == 0, done.output
    assert {key: got[key] for key in wanted} == wanted


@pytest.mark.parametrize("status", [0, 1, 130])
def test_the_status_is_the_commands(invoke, status):
    assert invoke("doctor", "doctor.doctor", status)[0].exit_code == status


def test_what_a_user_can_do_something_about_is_one_line(invoke):
    done, _ = invoke("doctor", "doctor.doctor", UserError("pull the [plug]", 2))
    assert done.exit_code == 2 and done.stderr == "error: pull the [plug]\n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("reference --baseline sb4", "the only one is sb3"),
        ("validate --resume d --npc 3", "take away --npc"),
        ("train --resume d --map loop --seed 1", "take away --map, --seed"),
        ("train --set train.steps", "section.key=value"),
    ],
)
def test_options_that_do_not_go_together(line, says):
    done = CliRunner().invoke(cli.app, line.split())
    assert done.exit_code == 2 and says in done.stderr


def commands(command, *path):
    """Every command with the words that call it."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *path, name)


def test_no_help_text_loses_brackets():
    """Brackets are markup to the printer of help texts: a word in them that is not escaped vanishes."""
    seen = set()
    for path, command in commands(typer.main.get_command(cli.app)):
        texts = [command.help or "", *(getattr(option, "help", None) or "" for option in command.params)]
        shown = CliRunner(env={"COLUMNS": "400"}).invoke(cli.app, [*path, "-h"]).stdout
        for text in texts:
            written = text.replace("\\[", "[")
            for word in re.findall(r"\S*\[[^\]]*\]\S*", written):
                assert word in shown, (path, word)
                seen.add(word)
    assert {"'./packages/av_td3[ray]'`;", "'./packages/av_td3[mujoco]'`."} <= seen


def test_the_faults_are_listed():
    listed = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["faults"])
    assert "state-gradient-leak" in listed.stdout
    assert listed.stdout == CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["faults", "list"]).stdout


def test_ctrl_c_ends_the_program_with_130(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back afterwards
    monkeypatch.setattr(cli, "app", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130


def test_a_warning_is_one_line_without_a_place_in_the_code(monkeypatch, capsys):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(cli, "app", lambda: warnings.warn("the map is [small]", stacklevel=1))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        cli.main()
        warnings.warn("of no interest to a user", FutureWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: the map is [small]\n"


def test_python_m_is_the_same_program(monkeypatch, capsys):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(sys, "argv", ["av-td3", "presets"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module("av_td3.__main__")
    assert ended.value.code == 0 and "quick" in capsys.readouterr().out.split()
