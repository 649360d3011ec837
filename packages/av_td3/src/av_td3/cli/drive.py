"""``av-td3 drive``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from av_td3.cli.changes import takes_changes
from av_td3.cli.errors import user_errors
from av_td3.commands.changes import Changes


@takes_changes(last=("device", "weather", "settings"))
def drive(
    *,
    agent: Annotated[
        str, typer.Option(help="Name of a shipped agent, or the run directory of a training.")
    ] = "base",
    changes: Changes,
    video: Annotated[
        Path | None, typer.Option(metavar="FILE.mp4", help="Film everything that is driven into this file.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Show the drive on a web page of this machine, in real time.")
    ] = False,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Routes to drive; without it 5, and with --live until Ctrl-C.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the first route.")] = None,
) -> None:
    """Watch a trained agent drive routes that it was not trained on.  Without options: the agent `base`."""
    with user_errors():
        from av_td3.commands import common
        from av_td3.commands import drive as command

        with common.one_line_errors():
            status = command.drive(
                agent,
                video=video,
                live=live,
                episodes=episodes,
                seed=seed,
                **changes,
            )
    raise typer.Exit(status)
