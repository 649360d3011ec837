"""The configuration of a new run, from the options of ``train`` and ``validate``."""

from __future__ import annotations

import contextlib
from pathlib import Path

import typer
from rich.console import Console

from av_td3.cli.errors import fail
from av_td3.commands.terminal import say
from av_td3.config import Config, ConfigError, load_config

ADDRESS, MAP = "env.simulator.address", "env.simulator.map"


def configuration(
    preset: str, config: Path | None, set_: list[str] | None, flags: dict[str, object]
) -> tuple[Config, list[str]]:
    """The configuration of a new run, and the ``section.key=value`` that the options stand for.

    ``--carla`` and ``--map`` set the several environments and maps of a preset aside; a note then says so.
    """
    implied = []
    if flags[MAP] is not None or flags[ADDRESS] is not None:
        implied.append("train.maps=[]")  # one map was asked for, not the several of the preset
    if flags[ADDRESS] is not None:
        implied.append("train.envs=1")
    given = {key: f"{key}={value}" for key, value in flags.items() if value is not None}
    overrides = [*implied, *(set_ or []), *given.values()]
    settings = load_config(preset, config, overrides)
    if implied:
        given.pop(ADDRESS, None)  # with it, several environments are an error
        with contextlib.suppress(ConfigError):
            without = load_config(preset, config, [*(set_ or []), *given.values()])
            _say_what_is_not_used(without, settings)
    return settings, overrides


def _say_what_is_not_used(without: Config, settings: Config) -> None:
    """One line on standard error, if the options have taken environments or maps away."""
    unused = []
    if without.train.envs != settings.train.envs:
        unused.append(f"train.envs={without.train.envs}")
    if without.train.maps != settings.train.maps:
        unused.append(f"train.maps=[{', '.join(without.train.maps)}]")
    if unused:
        one = "--map is one map" if settings.env.simulator.address is None else "--carla is one server"
        verb = "is" if len(unused) == 1 else "are"
        say(Console(stderr=True), f"note: {one}: {' and '.join(unused)} {verb} not used")


def refuse_beside_resume(context: typer.Context, allowed: set[str]) -> None:
    """End with an error when options are given that --resume does not go with."""
    given = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name not in allowed and source is not None and source.name != "DEFAULT":
            given.append(parameter.opts[0])
    if given:
        fail(f"--resume goes on with the run's own configuration; take away {', '.join(given)}")
