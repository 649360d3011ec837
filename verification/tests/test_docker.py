"""The container files: what they copy exists, versions are fixed, nobody is root, ports stay on loopback."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import typer.main
import yaml

import minicarla.cli
from av_td3.cli import app
from verification.docker_steps import Stage, ignored, instructions

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text("utf-8"))


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)
def test_an_image_is_built_from_what_is_there_and_does_not_run_as_root(file: Path) -> None:
    steps = instructions(file)
    for _, base in (step for step in steps if step[0] == "FROM"):
        assert re.match(r"[\w./-]+:\d+\.\d+\.\d+[\w.-]*( AS \w+)?$", base), f"{base}: fix the version"
    sources = [
        source
        for name, arguments in steps
        if name in ("COPY", "ADD") and "--from=" not in arguments
        for source in shlex.split(arguments)[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists() and not ignored(source), source
    last_stage = steps[max(i for i, step in enumerate(steps) if step[0] == "FROM") :]
    names = [name for name, _ in last_stage]
    assert [value for name, value in last_stage if name == "USER"] == ["driver"]
    assert names.index("USER") < names.index("ENTRYPOINT") and "HEALTHCHECK" in names
    for name, arguments in last_stage:
        if name in ("ENTRYPOINT", "CMD"):
            json.loads(arguments)  # the form that passes signals on
    for name, arguments in steps:
        if name == "RUN" and "apt-get install" in arguments:
            assert "--no-install-recommends" in arguments and "rm -rf /var/lib/apt/lists" in arguments
        if name == "RUN" and "pip install" in arguments:
            assert "--no-cache-dir" in arguments and "-c " in arguments


def test_the_commands_of_the_images_exist() -> None:
    programs = {"av-td3": app, "minicarla": minicarla.cli.app}
    for file in DOCKERFILES:
        steps = dict(instructions(file))
        [program] = json.loads(steps["ENTRYPOINT"])
        command, *rest = json.loads(steps["CMD"])
        check(typer.main.get_command(programs[program]), command, rest)
    for name, service in COMPOSE["services"].items():
        if name == "trainer":
            command, *rest = service["command"]
            check(typer.main.get_command(app), command, rest)


def check(group: object, command: str, rest: list[str]) -> None:
    """Whether the command takes these options."""
    found = group.commands[command]  # type: ignore[attr-defined] # click's, which typer brings along
    options = {name for parameter in found.params for name in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= options


def test_nothing_that_the_packages_need_is_kept_out_of_the_images() -> None:
    kept = [
        str(file.relative_to(ROOT))
        for file in (ROOT / "packages").rglob("*")
        if file.is_file() and file.suffix in (".py", ".pyx", ".pxd", ".toml", ".yaml", ".xodr", ".html")
    ]
    out = [f for f in kept if "/tests/" not in f and "/build/" not in f and ignored(f)]
    assert len(kept) > 100 and out == []
    assert ignored("runs/x/tb/events") and ignored(".git/config") and ignored("packages/minicarla/tests/a.py")


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)
def test_the_steps_can_be_followed_without_docker(file: Path, tmp_path: Path) -> None:
    # All but what needs root and a network; python -m verification.docker_steps follows the rest, too.
    stages: dict[str, Stage] = {}
    stage = Stage(tmp_path, {}, [])
    for name, arguments in instructions(file):
        if name == "FROM":
            label = arguments.partition(" AS ")[2] or "last"
            stage = stages[label] = Stage(tmp_path / label, {"IMAGE_BUILD": "abc"}, [])
        elif name != "RUN" and "--from=" not in arguments:
            stage.follow(name, arguments, stages)
    source = next((tmp_path / "build").rglob("packages/minicarla"))
    assert (source / "pyproject.toml").is_file() and not (source / "tests").exists()
    last = stages["last"]
    assert (last.user, last.folder) == ("driver", "/home/driver")
    assert last.env["PATH"].startswith("/opt/") and last.env["PATH"].endswith("/bin")
    assert last.env.get("AV_TD3_IMAGE_BUILD", "abc") == "abc"
    assert last.health and last.entry and last.command


def test_the_services_are_checked_bound_to_loopback_and_not_root() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"carla", "trainer", "minicarla"}
    for name, service in services.items():
        tag = service["image"].rpartition(":")[2]
        assert tag != "latest" and tag[0].isdigit(), name
        assert service["user"] not in ("root", "0", "0:0"), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name}: {port} is open to the network"
        if "build" in service:
            dockerfile = service["build"]["dockerfile"]
            assert (ROOT / dockerfile).is_file()
            assert (ROOT / "docker" / service["build"]["context"]).resolve() == ROOT
        volumes = [volume.split(":")[0] for volume in service.get("volumes", [])]
        assert set(volumes) <= set(COMPOSE["volumes"])
    assert services["carla"]["image"] == "carlasim/carla:0.9.16"
    assert services["trainer"]["depends_on"]["carla"]["condition"] == "service_healthy"
    assert "healthcheck" in services["carla"]
    for name in ("carla", "trainer"):
        [device] = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]
    image = (ROOT / "docker" / "trainer.Dockerfile").read_text("utf-8")
    assert "IMAGE_BUILD" in services["trainer"]["build"]["args"]
    assert re.search(r"^ENV .*AV_TD3_IMAGE_BUILD=\$\{IMAGE_BUILD\}", image, re.MULTILINE)
