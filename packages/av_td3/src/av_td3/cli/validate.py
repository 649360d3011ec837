"""``av-td3 validate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from av_td3.cli.errors import user_errors
from av_td3.cli.options import Carla, ConfigFile, Map, Npc, Preset, PrintConfig, RunDir, Seed, Set
from av_td3.cli.settings import configuration, refuse_beside_resume


def validate(
    context: typer.Context,
    preset: Preset = "quick",
    config: ConfigFile = None,
    set_: Set = None,
    carla: Carla = None,
    map_: Map = None,
    npc: Npc = None,
    seed: Seed = None,
    until: Annotated[int, typer.Option(min=1, help="Steps at the end of the last stage.")] = 10_000,
    gates: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with your own criteria.  Without it, those of the bundled gates.yaml, and with "
            "--resume those of the validation.  Other criteria judge its stages again."
        ),
    ] = None,
    run_dir: RunDir = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Go on with the validation in this directory, after its last passed stage."
        ),
    ] = None,
    print_config: PrintConfig = False,
) -> None:
    """Train in stages of 500, 1K, 2K, 5K, 10K ... steps, and stop at the first that goes wrong.

    Each stage ends with criteria (the gates) on what was logged.  A run of a million steps must have
    passed the first 10,000 this way.
    """
    if resume is not None:
        refuse_beside_resume(context, {"resume", "until", "gates"})
    with user_errors():
        settings, _ = configuration(
            preset,
            config,
            set_,
            {
                "env.simulator.address": carla,
                "env.simulator.map": map_,
                "env.simulator.npc": npc,
                "train.seed": seed,
            },
        )
        if print_config:
            print(settings.to_yaml(), end="")
            return
        from av_td3.commands import validate as command

        if resume is not None:
            status = command.resume(resume, until, gates)
        else:
            status = command.start(settings, preset, run_dir, until, gates)
    raise typer.Exit(status)
