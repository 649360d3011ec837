"""The command ``minicarla``."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Annotated

import typer

app = typer.Typer(
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    help="A CARLA 0.9.16 server without a GPU.",
)


@app.callback()
def _commands() -> None:
    """Keep the name of the command even while there is only one."""


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65534, help="Port of the calls; streams use the next. 0: any free pair.")
    ] = 2000,
    map: Annotated[str, typer.Option(help="Bundled map, or an OpenDRIVE file.")] = "town",
    npc: Annotated[int, typer.Option(min=0, help="Vehicles of the server's own traffic.")] = 0,
    walkers: Annotated[int, typer.Option(min=0, help="Pedestrians that the server walks itself.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of traffic and noise.")] = 0,
    faults: Annotated[str, typer.Option(help="Faults to commit, see the documentation.")] = "",
    synchronous: Annotated[bool, typer.Option(help="Wait for tick() from the start.")] = False,
    parent_pid: Annotated[int, typer.Option(help="End when that process is gone.")] = 0,
) -> None:
    """Run a server until SIGTERM or Ctrl-C."""
    from minicarla import CARLA_VERSION
    from minicarla.server import Server

    try:
        server = Server(
            port,
            host=host,
            map=map,
            npc=npc,
            walkers=walkers,
            seed=seed,
            faults=faults,
            synchronous=synchronous,
        )
    except (OSError, ValueError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        print(f"minicarla: {text}", file=sys.stderr)
        raise typer.Exit(2) from None
    if parent_pid:
        _end_with(parent_pid, server.stop)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    print(
        f"minicarla {CARLA_VERSION} ready on {server.host}:{server.port} (streams {server.stream_port}), "
        f"map {server.world.roadmap.name}",
        flush=True,
    )
    server.run()


def _end_with(pid: int, stop: Callable[[], None]) -> None:
    """Call ``stop`` when a process is gone, and end at the latest two seconds later.

    A thread of its own, since the server may be frozen on purpose.
    """

    def alive() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return not child or os.getppid() == pid  # a dead parent may linger as a zombie

    def watch() -> None:
        while alive():
            time.sleep(0.25)
        stop()
        time.sleep(2.0)
        os._exit(1)

    child = os.getppid() == pid
    threading.Thread(target=watch, daemon=True).start()


@app.command()
def rpcs(
    markdown: Annotated[bool, typer.Option("--markdown", help="As the page of the documentation.")] = False,
) -> None:
    """List CARLA's remote procedures and how far each is there."""
    from minicarla.world.calls import document

    text = document.markdown() if markdown else document.plain()
    print(text, end="")


@app.command()
def fault(
    spec: Annotated[str, typer.Argument(help='Faults, e.g. "freeze@after=10"; "" forgets all.')],
    port: Annotated[int, typer.Option(help="Port of the server, on this machine.")] = 2000,
) -> None:
    """Make a running server commit faults."""
    import socket

    import msgpack

    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5.0) as sock:
            sock.sendall(msgpack.packb([0, 1, "minicarla.fault", [[False], spec]]))
            unpacker = msgpack.Unpacker()
            while True:
                data = sock.recv(65536)
                if not data:
                    raise ConnectionError("the server closed the connection")
                unpacker.feed(data)
                for reply in unpacker:
                    refused = reply[3][0]
                    if refused[0]:
                        raise ValueError(refused[1][0])
                    return
    except (OSError, ValueError) as error:
        print(f"minicarla: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


def main() -> None:
    """Entry point."""
    app()
