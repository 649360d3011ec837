"""``av-td3 reference``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from av_td3.cli.errors import fail, user_errors


def reference(
    env: Annotated[
        str, typer.Option(metavar="TASK", help="A Gymnasium task whose observation is a vector.")
    ] = "HalfCheetah-v5",
    seeds: Annotated[int, typer.Option(min=1, help="How many runs, each with a seed of its own.")] = 3,
    first_seed: Annotated[int, typer.Option(min=0, help="Seed of the first run.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each run.")] = 300_000,
    start_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of random actions before learning begins.  Without it, 25,000."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="sb3", help="Also train Stable-Baselines3's TD3, with the same settings."),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(min=1, help="Threads of torch.  Networks of this size gain little from a second."),
    ] = 1,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write settings and curves into this file too."),
    ] = None,
) -> None:
    """Check the agent on a task with published results: TD3 on the state alone, without pictures.

    Evaluations are 10 episodes every 5,000 steps, as in the paper.  MuJoCo's tasks need
    `pip install './packages/av_td3\\[mujoco]'`.
    """
    if baseline not in (None, "sb3"):
        fail(f"--baseline {baseline}: the only one is sb3")
    with user_errors():
        from av_td3.commands import reference as command

        status = command.run(
            env, seeds, first_seed, steps, start_steps, json_file, baseline == "sb3", threads
        )
    raise typer.Exit(status)
