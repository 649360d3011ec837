"""The configuration of a new run, from the options of ``train`` and ``validate``."""

from __future__ import annotations

from pathlib import Path

import typer

from av_td3.cli.errors import fail
from av_td3.config import Config, load_config


def configuration(
    preset: str, config: Path | None, set_: list[str] | None, flags: dict[str, object]
) -> tuple[Config, list[str]]:
    """The configuration of a new run, and the ``section.key=value`` that the options stand for."""
    implied = []
    if flags["env.simulator.map"] is not None or flags["env.simulator.address"] is not None:
        implied.append("train.maps=[]")  # one map was asked for, not the several of the preset
    if flags["env.simulator.address"] is not None:
        implied.append("train.envs=1")
    given = [f"{key}={value}" for key, value in flags.items() if value is not None]
    overrides = [*implied, *(set_ or []), *given]
    return load_config(preset, config, overrides), overrides


def refuse_beside_resume(context: typer.Context, allowed: set[str]) -> None:
    """End with an error when options are given that --resume does not go with."""
    given = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name not in allowed and source is not None and source.name != "DEFAULT":
            given.append(parameter.opts[0])
    if given:
        fail(f"--resume goes on with the run's own configuration; take away {', '.join(given)}")
