"""The command ``minicarla``."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, help="A CARLA 0.9.16 server without a GPU.")


@app.callback()
def _commands() -> None:
    """Keep the name of the command even while there is only one."""


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port of the calls; streams use the next. 0: any free pair.")
    ] = 2000,
    map: Annotated[str, typer.Option(help="Bundled map, or an OpenDRIVE file.")] = "town",
    npc: Annotated[int, typer.Option(help="Vehicles of the server's own traffic.")] = 0,
    seed: Annotated[int, typer.Option(help="Of traffic and noise.")] = 0,
    faults: Annotated[str, typer.Option(help="Faults to commit, see the documentation.")] = "",
    synchronous: Annotated[bool, typer.Option(help="Wait for tick() from the start.")] = False,
) -> None:
    """Run a server until SIGTERM or Ctrl-C."""
    from minicarla import CARLA_VERSION
    from minicarla.server import Server

    try:
        server = Server(port, host=host, map=map, npc=npc, seed=seed, faults=faults, synchronous=synchronous)
    except (OSError, ValueError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        print(f"minicarla: {text}", file=sys.stderr)
        raise typer.Exit(2) from None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    print(
        f"minicarla {CARLA_VERSION} ready on {host}:{server.port} (streams {server.stream_port}), "
        f"map {server.world.roadmap.name}",
        flush=True,
    )
    server.run()


def main() -> None:
    """Entry point."""
    app()
