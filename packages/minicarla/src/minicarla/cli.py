"""The command ``minicarla``."""

from __future__ import annotations

import os
import platform
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from minicarla import CARLA_VERSION, __version__

if TYPE_CHECKING:
    from minicarla.viewer.source import WatchedSimulator

app = typer.Typer(
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A CARLA 0.9.16 server without a GPU. The unmodified carla Python client connects to it.",
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"minicarla {__version__} (CARLA {CARLA_VERSION})", *_build_details(), sep="\n  ")
        raise typer.Exit


def _build_details() -> list[str]:
    """What ``--version`` prints below the version: its folder, what was compiled, what it runs on."""
    compiled = ("physics", "sensors.raster", "traffic")
    missing = [part for part in compiled if not _origin(f"minicarla.{part}.kernels").endswith(".so")]
    packages = [f"{name} {metadata.version(name)}" for name in ("numpy", "scipy", "opencv-python-headless")]
    return [
        f"folder    {Path(__file__).parent}",
        f"compiled  {'missing: ' + ', '.join(missing) if missing else ', '.join(compiled)}",
        f"python    {platform.python_version()} on {platform.platform()}",
        f"packages  {', '.join(packages)}",
    ]


def _origin(module: str) -> str:
    spec = util.find_spec(module)
    return str(spec.origin) if spec is not None else ""


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Show the version and build, and exit."
        ),
    ] = False,
) -> None:
    """Options that stand before the command."""


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65534,
            help="Port that carla.Client connects to. Sensor data uses the next port. "
            "0 chooses two ports that are free.",
        ),
    ] = 2000,
    map: Annotated[
        str,
        typer.Option(
            help="Map to start with: town, loop, grid, suburb, village, random1, random2, random3, "
            "or the path of an .xodr file."
        ),
    ] = "town",
    maps: Annotated[
        str,
        typer.Option(
            metavar="FOLDER", help="Folder with .xodr files that clients may load by name, e.g. Town01."
        ),
    ] = "",
    npc: Annotated[int, typer.Option(min=0, help="Number of vehicles that the server itself drives.")] = 0,
    walkers: Annotated[
        int, typer.Option(min=0, help="Number of pedestrians that the server itself moves.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of traffic and of sensor noise.")] = 0,
    faults: Annotated[
        str,
        typer.Option(
            metavar="FAULTS",
            help='Failures to inject, e.g. "freeze@tick=200"; docs/minicarla.md lists them all.',
        ),
    ] = "",
    synchronous: Annotated[
        bool,
        typer.Option(help="Start in synchronous mode: time stands still until a client calls world.tick()."),
    ] = False,
    parent_pid: Annotated[
        int, typer.Option(metavar="PID", help="Stop when the process with this id has ended.")
    ] = 0,
) -> None:
    """Run a server until Ctrl-C or SIGTERM."""
    # From the first moment on: a container's first process that has no handler yet ignores the signal.
    stops = (signal.SIGTERM, signal.SIGINT)
    for number in stops:
        signal.signal(number, lambda *_: sys.exit(0))
    from minicarla.server import CarlaServer
    from minicarla.server.limits import allow_open_files

    allow_open_files()
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
    for number in stops:
        signal.signal(number, lambda *_: server.stop())
    print(
        f"minicarla {CARLA_VERSION} ready on {server.host}:{server.port} (streams {server.stream_port}), "
        f"map {server.world.roadmap.name}",
        flush=True,
    )
    server.run()


def _end_with(pid: int, stop: Callable[[], None]) -> None:
    """Call ``stop`` when a process has ended, and end this process two seconds later at the latest.

    A thread does this, because an injected fault may have frozen the server.
    """

    def alive() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return not child or os.getppid() == pid  # a parent that has ended may still exist as a zombie

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
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/minicarla-rpc.md.")] = False,
) -> None:
    """List CARLA's remote procedures: which are complete, partial or absent."""
    from minicarla.world.calls import document

    text = document.markdown() if markdown else document.plain()
    print(text, end="")


@app.command()
def fault(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="FAULTS",
            help='Failures to inject, e.g. "freeze@after=10"; "" removes all. docs/minicarla.md lists them.',
        ),
    ],
    port: Annotated[
        int, typer.Option(min=1, max=65534, help="Port of the server; it must run on this machine.")
    ] = 2000,
) -> None:
    """Inject failures into a running server: freeze it, drop messages, kill it, ..."""
    from minicarla.wire.client import Caller, CallError

    try:
        caller = Caller("127.0.0.1", port)
    except OSError as error:
        _fail(ValueError(f"no server answers at 127.0.0.1:{port}: {error.strerror or error}"))
    try:
        caller.call("minicarla.fault", spec)
    except (OSError, CallError, ValueError) as error:
        _fail(error)


@app.command()
def view(
    host: Annotated[str, typer.Option(help="Host of the simulator.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65534, help="Port of the simulator.")] = 2000,
    http_host: Annotated[
        str, typer.Option(help="Address to serve the web page on.  On any but loopback, others can reach it.")
    ] = "127.0.0.1",
    http_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the web page; 0 chooses a free one.")
    ] = 8080,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE.mp4", help="Record a film to this file instead of a page.")
    ] = None,
    camera: Annotated[
        int | None,
        typer.Option(
            metavar="ID", help="Actor id of the camera to film; default: a chase camera of the ego."
        ),
    ] = None,
    size: Annotated[
        str, typer.Option(metavar="WxH", help="Size in pixels of the chase camera's film.")
    ] = "640x360",
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Length in simulated seconds; default: until Ctrl-C.")
    ] = None,
    fps: Annotated[
        int, typer.Option(min=1, max=240, help="Frames per second of the film; a frame is one tick.")
    ] = 20,
) -> None:
    """Watch a running simulator on a web page with map, actors and cameras, or record a film of it."""
    from minicarla.viewer.film import FilmError
    from minicarla.viewer.film import record as film
    from minicarla.viewer.source import FAILURES, WatchedSimulator

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    source = WatchedSimulator(host, port)
    shape = re.fullmatch(r"(\d{2,4})x(\d{2,4})", size)
    width, height = (int(part) for part in shape.groups()) if shape else (0, 0)
    try:
        if record is not None and (record.suffix != ".mp4" or not record.parent.is_dir()):
            raise ValueError(f"cannot write {record}: give the name of an .mp4 file in a folder that exists")
        if not (16 <= width <= 4096 and 16 <= height <= 4096):
            raise ValueError(f"--size {size}: give WIDTHxHEIGHT in pixels, 16x16 to 4096x4096")
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
        left_out = f", {missing} ticks are missing" if missing else ""
        print(f"{record}: {frames} frames{left_out}")
    except (FilmError, OSError) as error:
        _fail(error)
    finally:
        source.close()


def _serve_page(source: WatchedSimulator, host: str, port: int, stopping: threading.Event) -> None:
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
