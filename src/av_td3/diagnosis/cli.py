"""``av-td3 diagnose``: what went wrong in a run, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

UNREADABLE = 3


def diagnose(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Run directories, event files, folders of them, CSV files."),
    ],
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the findings as JSON.")
    ] = None,
    assume: Annotated[
        list[str] | None,
        typer.Option(
            "--assume",
            metavar="NAME=VALUE",
            help="State what the files do not hold: steps (planned), gamma, tau, actor_clip_norm, ...",
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Every cause and fix, and all that was ruled out.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the verdicts.")] = False,
) -> None:
    """Say what is wrong with a training run, why, and what to do.

    Reads files only: this project's runs, TensorBoard event files of Stable-Baselines3, CleanRL,
    TorchRL and others, and CSV. Several runs are compared.

    Exit status: 0 nothing above info, 1 warnings, 2 critical, 3 the input could not be read.
    """
    from rich.console import Console

    from .engine import diagnose as judge
    from .load import load
    from .report.terminal import print_all, worst

    console = Console()
    loaded = load(paths, given=_assumptions(assume or []))
    reports = [judge(run) for run in loaded.runs]
    print_all(reports, console, full)
    error = Console(stderr=True)
    for problem in loaded.problems + loaded.unreadable:
        error.print(f"cannot use {problem}", style="yellow", highlight=False)
    if json_file is not None:
        document = reports[0].to_json() if len(reports) == 1 else {"runs": [r.to_json() for r in reports]}
        json_file.write_text(json.dumps(document, indent=1, allow_nan=False))
    if loaded.unreadable or not reports:
        raise typer.Exit(UNREADABLE)
    raise typer.Exit(int(worst(reports)))


def _assumptions(items: list[str]) -> dict[str, float]:
    out = {}
    for item in items:
        name, separator, value = item.partition("=")
        try:
            out[name.strip()] = float(value.replace("_", "").replace(",", ""))
        except ValueError:
            separator = ""
        if not separator or not name:
            raise typer.BadParameter(f"{item!r} is not of the form NAME=NUMBER", param_hint="--assume")
    return out
