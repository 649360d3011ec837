"""``av-td3 train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from av_td3.cli.errors import fail, user_errors
from av_td3.cli.options import Carla, ConfigFile, Map, Npc, Preset, PrintConfig, RayAddress, RunDir, Seed, Set
from av_td3.cli.settings import configuration, refuse_beside_resume
from av_td3.config import load_config
from av_td3.errors import OK


def train(
    context: typer.Context,
    preset: Preset = "quick",
    config: ConfigFile = None,
    set_: Set = None,
    carla: Carla = None,
    map_: Map = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Environment steps of the whole run.  A step is env.action_repeat ticks of 0.05 s: 0.1 s "
            "with the presets quick, sight and base.",
        ),
    ] = None,
    npc: Npc = None,
    envs: Annotated[
        int | None,
        typer.Option(min=1, help="Environments that are driven at once, each with a simulator of its own."),
    ] = None,
    eval_interval: Annotated[
        int | None, typer.Option(min=1, help="Steps between two evaluations on held-out routes.")
    ] = None,
    log_interval: Annotated[
        int | None, typer.Option(min=1, help="Steps between two rows of figures for TensorBoard.")
    ] = None,
    seed: Seed = None,
    inject: Annotated[
        str | None,
        typer.Option(
            metavar="FAULT",
            help="Train with a fault on purpose, to see whether it is noticed: `av-td3 faults` lists them.",
        ),
    ] = None,
    stop_on: Annotated[
        str | None,
        typer.Option(
            metavar="LEVEL", help="End training at an alert of this level: never, warning or critical."
        ),
    ] = None,
    validated: Annotated[
        Path | None,
        typer.Option(
            help="Run directory of a passed `av-td3 validate --until 10000` with the same settings.  A run "
            "of a million steps or more needs one."
        ),
    ] = None,
    ungated: Annotated[
        bool, typer.Option("--ungated", help="Start a run of a million steps or more without a validation.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks instead of one-line errors.")
    ] = False,
    ray: RayAddress = None,
    ray_needs: Annotated[
        str,
        typer.Option(
            metavar="NAME=AMOUNT,...",
            help="With --ray: what each simulator takes of its node, such as CPU=2,GPU=0.25.",
        ),
    ] = "CPU=1",
    run_dir: RunDir = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Go on with the run in this directory, with its own settings.  Only --steps may change.",
        ),
    ] = None,
    new_replay: Annotated[
        bool,
        typer.Option(
            "--new-replay",
            help="With --resume: leave out the replay of the checkpoint, which may be damaged, and collect a "
            "new one.",
        ),
    ] = False,
    print_config: PrintConfig = False,
) -> None:
    """Train an agent from camera images, evaluate it on held-out routes and film it."""
    if resume is not None:
        refuse_beside_resume(
            context, {"resume", "steps", "validated", "ungated", "ray", "ray_needs", "new_replay"}
        )
    elif new_replay:
        fail("--new-replay goes on with a run: give --resume RUN as well")
    with user_errors():
        settings, overrides = configuration(
            preset,
            config,
            set_,
            {
                "env.simulator.address": carla,
                "env.simulator.map": map_,
                "env.simulator.npc": npc,
                "train.steps": steps,
                "train.envs": envs,
                "train.seed": seed,
                "train.log_interval": log_interval,
                "evaluation.interval": eval_interval,
                "train.stop_on": stop_on,
                "train.debug": True if debug else None,
            },
        )
        if print_config:
            print(settings.to_yaml(), end="")
            return
        if resume is not None and steps is None:
            from av_td3.commands import finished

            if finished.said_so(resume):
                raise typer.Exit(OK)
        from av_td3.commands import train as command  # torch: only when the input is good
        from av_td3.commands.common import Ray

        cluster = None if ray is None else Ray(ray, ray_needs)
        if resume is not None:
            status = command.resume(resume, steps, validated, ungated, cluster, new_replay)
        else:
            fault = command.find_fault(inject) if inject is not None else None
            if fault is not None:
                settings = load_config(preset, config, [*fault.overrides, *overrides])
            if not ungated:
                settings = command.check_earned(settings, validated)
            status = command.start(settings, preset, run_dir, fault, cluster)
    raise typer.Exit(status)
