"""``av-td3 sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from av_td3.cli.errors import user_errors
from av_td3.cli.options import RayAddress


def sweep(
    file: Annotated[
        Path,
        typer.Argument(help="YAML file with preset, set, seeds, and trials or grid; see docs/evaluation.md."),
    ],
    into: Annotated[
        Path | None, typer.Option(help="Folder of the runs.  Without it, runs/ and the file's name.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Runs at the same time.  Without it one, or with --ray as many as fit."),
    ] = None,
    ray: RayAddress = None,
    ray_needs: Annotated[
        str,
        typer.Option(
            metavar="NAME=AMOUNT,...",
            help="With --ray: what each run takes of its node, simulators included, such as CPU=4,GPU=1.",
        ),
    ] = "CPU=2",
    ungated: Annotated[
        bool, typer.Option("--ungated", help="Also runs of a million steps, without a validation.")
    ] = False,
    only_list: Annotated[
        bool, typer.Option("--list", help="Say what would be done, and do nothing.")
    ] = False,
) -> None:
    """Train with several settings and seeds, one run after the other, and compare them.

    Each run is an ordinary run directory.  The same command again goes on where it was ended.
    """
    with user_errors():
        from av_td3.commands import common
        from av_td3.commands import sweep as command

        with common.one_line_errors():
            status = command.sweep(
                file,
                into=into,
                jobs=jobs,
                ray=None if ray is None else common.Ray(ray, ray_needs),
                ungated=ungated,
                only_list=only_list,
            )
    raise typer.Exit(status)
