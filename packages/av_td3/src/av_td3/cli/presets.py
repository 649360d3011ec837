"""``av-td3 presets``."""

from __future__ import annotations

from typing import Annotated

import typer

from av_td3.cli.errors import user_errors
from av_td3.config import preset_names, preset_summary, preset_text

app = typer.Typer(
    help="List the bundled presets, or show one.", invoke_without_command=True, no_args_is_help=False
)


@app.callback()
def presets(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        for name in preset_names():
            print(f"{name:8}{preset_summary(name)}")


@app.command("show")
def show_preset(name: Annotated[str, typer.Argument(help="One of `av-td3 presets`.")]) -> None:
    """Print a preset: what it changes, with its reasons.  `train --print-config` shows every setting."""
    with user_errors():
        print(preset_text(name), end="")
