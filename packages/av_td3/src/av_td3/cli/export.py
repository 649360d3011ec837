"""``av-td3 export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from av_td3.cli.errors import user_errors


def export(
    agent: Annotated[
        str, typer.Argument(metavar="RUN_OR_AGENT", help="Run directory, or name or folder of an agent.")
    ],
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must not exist, or be empty.")],
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="WHICH",
            help="Which checkpoint of the run: `best`, a step or a path.  Without it, the one that the final "
            "evaluation drove.",
        ),
    ] = None,
    onnx: Annotated[
        bool, typer.Option(help="Also write the policy as ONNX (needs the extra `onnx`).")
    ] = True,
) -> None:
    """Write an agent for others: policy as safetensors and ONNX, configuration, model card, film.

    What was written is read again, and must give the same actions.
    """
    with user_errors():
        from av_td3.commands import common
        from av_td3.commands import export as command

        with common.one_line_errors():
            command.export(agent, folder, checkpoint, onnx)
