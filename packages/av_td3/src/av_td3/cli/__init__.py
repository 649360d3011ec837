"""``av-td3``: the command line.  Each command's options stand in a file of its name.

Exit status: 0 done; 1 failed while running; 2 bad input; 130 interrupted.  ``diagnose`` has its
own, see docs/diagnosis.md.

What a command does is in ``av_td3.commands``, which imports torch: a command imports it once its options
have been read.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import Annotated

import typer

from av_td3 import __version__
from av_td3.cli import (
    compare,
    doctor,
    drive,
    evaluate,
    export,
    faults,
    presets,
    reference,
    sweep,
    train,
    validate,
)
from av_td3.cli.errors import show_warning
from av_td3.errors import INTERRUPTED, OK
from rundoctor.cli import diagnose

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="End-to-end visual driving with TD3 on CARLA, with training that can be trusted.",
)
for _command in (
    diagnose,
    train.train,
    validate.validate,
    evaluate.evaluate,
    drive.drive,
    compare.compare,
    sweep.sweep,
    doctor.doctor,
    reference.reference,
    export.export,
):
    app.command()(_command)
app.add_typer(presets.app, name="presets")
app.add_typer(faults.app, name="faults")


def main() -> None:
    """Entry point of the ``av-td3`` command."""
    # Read when torch loads its OpenMP: threads that wait sleep instead of spinning.  Spinning
    # beside one busy neighbour on two cores cost a factor of ten in updates per second.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.showwarning = show_warning
    if os.getpid() == 1:  # of a container without an init: the kernel drops signals that it does not handle
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _version(value: bool) -> None:
    if value:
        from av_td3.training.versions import build_details

        print(f"av-td3 {__version__}", *(f"  {line}" for line in build_details()), sep="\n")
        raise typer.Exit(OK)


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_version,
            is_eager=True,
            help="Print the version and what it was built from.",
        ),
    ] = False,
) -> None:
    pass
