"""``av-td3 doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from av_td3.cli.errors import user_errors


def doctor(
    carla: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Ask the CARLA server at this address as well.")
    ] = None,
) -> None:
    """Check the installation: is everything here that training needs?  (`diagnose` checks a run.)

    Exit status: 0 nothing failed, 1 something did.
    """
    with user_errors():
        from av_td3.commands import doctor as command

        status = command.doctor(carla)
    raise typer.Exit(status)
