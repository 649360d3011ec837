"""The command ``minicarla``."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from minicarla.viewer.source import Source

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
    maps: Annotated[
        str, typer.Option(metavar="FOLDER", help="OpenDRIVE files that clients may load by name.")
    ] = "",
    npc: Annotated[int, typer.Option(min=0, help="Vehicles of the server's own traffic.")] = 0,
    walkers: Annotated[int, typer.Option(min=0, help="Pedestrians that the server walks itself.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of traffic and noise.")] = 0,
    faults: Annotated[str, typer.Option(help="Faults to commit, see the documentation.")] = "",
    synchronous: Annotated[bool, typer.Option(help="Wait for tick() from the start.")] = False,
    parent_pid: Annotated[int, typer.Option(help="End when that process is gone.")] = 0,
) -> None:
    """Run a server until SIGTERM or Ctrl-C."""
    from minicarla import CARLA_VERSION
    from minicarla.server import CarlaServer

    try:
        server = CarlaServer(
            port,
            host=host,
            map=map,
            map_folder=maps,
            npc=npc,
            walkers=walkers,
            seed=seed,
            faults=faults,
            synchronous=synchronous,
        )
    except (OSError, ValueError) as error:
        _fail(error)
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
    from minicarla.wire.client import Caller, CallError

    try:
        Caller("127.0.0.1", port).call("minicarla.fault", spec)
    except (OSError, CallError, ValueError) as error:
        _fail(error)


@app.command()
def view(
    host: Annotated[str, typer.Option(help="Where the simulator is.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65534, help="The simulator's port.")] = 2000,
    http_host: Annotated[str, typer.Option(help="Address that the page is served on.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0: any.")] = 8080,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE.mp4", help="Make a film instead of serving a page.")
    ] = None,
    camera: Annotated[int | None, typer.Option(help="Film this camera; default: behind the ego.")] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="Of the film from behind the ego.")] = "640x360",
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Simulated seconds of film.")] = None,
    fps: Annotated[int, typer.Option(min=1, max=240, help="Frames a second; each is one tick.")] = 20,
) -> None:
    """Watch a running simulator: a page with map, actors and cameras, or a film of it."""
    from minicarla.viewer.film import FilmError
    from minicarla.viewer.film import record as film
    from minicarla.viewer.source import FAILURES, Source

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    source = Source(host, port)
    shape = re.fullmatch(r"(\d{2,4})x(\d{2,4})", size)
    width, height = (int(part) for part in shape.groups()) if shape else (0, 0)
    try:
        if record is not None and (record.suffix != ".mp4" or not record.parent.is_dir()):
            raise ValueError(f"cannot write {record}: give a file .mp4 in a folder that exists")
        if not (16 <= width <= 4096 and 16 <= height <= 4096):
            raise ValueError(f"{size} is no size of a film; give WIDTHxHEIGHT, 16x16 to 4096x4096")
    except ValueError as error:
        _fail(error)
    try:
        source.start()
    except FAILURES as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        _fail(ValueError(f"no simulator can be watched at {host}:{port}: {reason}"))
    try:
        if record is None:
            _serve_page(source, http_host, http_port, stopping)
            return
        frames, missing = film(
            source,
            record,
            camera=camera,
            size=(width, height),
            fps=fps,
            seconds=seconds,
            stopped=stopping.is_set,
        )
        left_out = f", {missing} ticks have no frame" if missing else ""
        print(f"{record}: {frames} frames{left_out}")
    except (FilmError, OSError) as error:
        _fail(error)
    finally:
        source.close()


def _serve_page(source: Source, host: str, port: int, stopping: threading.Event) -> None:
    from minicarla.viewer.web import Viewer

    try:
        page = Viewer(source, host, port)
    except OSError as error:
        raise OSError(f"port {port} of {host}: {error.strerror}") from None
    with page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        print(
            f"minicarla: watching {source.host}:{source.port} at http://{host}:{page.server_port}/",
            flush=True,
        )
        stopping.wait()
        page.shutdown()


def _fail(error: Exception) -> NoReturn:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    print(f"minicarla: {text}", file=sys.stderr)
    raise typer.Exit(2) from None


def main() -> None:
    """Entry point."""
    app()
