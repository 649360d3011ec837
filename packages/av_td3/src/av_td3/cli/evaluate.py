"""``av-td3 evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from av_td3.cli.changes import takes_changes
from av_td3.cli.errors import user_errors
from av_td3.commands.changes import Changes
from av_td3.config import Pictures


@takes_changes()
def evaluate(
    agent: Annotated[
        str, typer.Argument(help="Run directory of a training, or the name of a shipped agent such as base.")
    ],
    *,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="WHICH",
            help="Which checkpoint to drive: `best` (by the evaluations during training), `last` (of the "
            "newest checkpoint), a step, or the path of one.  Without it, the newest checkpoint.",
        ),
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=2, help="Held-out episodes per agent.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the first episode.")] = None,
    changes: Changes,
    baselines: Annotated[
        bool,
        typer.Option(help="Also drive the untrained agent, random actions and a classical controller."),
    ] = True,
    video: Annotated[bool, typer.Option(help="Film the trained agent.")] = True,
    picture: Annotated[
        Pictures,
        typer.Option(
            help="What the agent sees: its camera; black; the episode's first picture, frozen; the episode's "
            "pictures, shuffled; those of another episode.  An agent that drives as well with any of them "
            "does not use its camera."
        ),
    ] = "camera",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures into this file too.")
    ] = None,
) -> None:
    """Drive a trained agent on held-out routes and say how well, with confidence intervals.

    Each call writes into a new folder below RUN/evaluations, or evaluations for a shipped agent.
    """
    with user_errors():
        from av_td3.commands import common
        from av_td3.commands import evaluate as command

        with common.one_line_errors():
            command.evaluate(
                agent,
                which=checkpoint,
                episodes=episodes,
                seed=seed,
                baselines=baselines,
                video=video,
                picture=picture,
                json_file=json_file,
                **changes,
            )
