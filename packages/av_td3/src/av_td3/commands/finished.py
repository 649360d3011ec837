"""A run with nothing left to do.  Looking at it loads no torch, which takes seconds."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from av_td3.commands.terminal import own_command, say
from av_td3.errors import BAD_INPUT, UserError
from av_td3.training.run_directory import RunDirectory, RunError


def is_complete(run: RunDirectory) -> bool:
    """Whether a run is trained to its end and evaluated (one with an injected fault is not evaluated)."""
    evaluated = (run.evaluations / "final.json").exists() or run.injected_fault() is not None
    return run.status().get("state") == "finished" and evaluated


def say_so(run: RunDirectory) -> None:
    """Print that a run is finished, and what can be done with it."""
    own = own_command()
    say(
        Console(),
        f"{run.path} is finished: nothing is left to do.  Train it further with: {own} train --resume "
        f"{run.path} --steps N; evaluate it again with: {own} evaluate {run.path}",
    )


def said_so(path: Path) -> bool:
    """Whether the run in this folder is finished; then that is printed.

    Raises:
        UserError: there is no run, or its configuration cannot be used.
    """
    try:
        run = RunDirectory.open(path)
        run.config()
    except RunError as error:
        raise UserError(str(error), BAD_INPUT) from None
    if not is_complete(run):
        return False
    say_so(run)
    return True
