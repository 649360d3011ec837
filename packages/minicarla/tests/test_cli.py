"""The command: one line when ready, one line when it cannot be, a clean end."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from minicarla import __version__
from minicarla.cli import app

from .conftest import Wire, until

SERVE = [sys.executable, "-m", "minicarla", "serve", "--map", "loop"]


def start(*options: str) -> tuple[subprocess.Popen[str], str]:
    child = subprocess.Popen([*SERVE, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    return child, child.stdout.readline()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_can_be_stopped_while_it_starts(number: signal.Signals) -> None:
    # As process 1 of a container it would ignore a signal for which it has no handler yet.
    program = (
        "import os, minicarla.server, minicarla.cli\n"
        f"minicarla.server.CarlaServer = lambda *a, **k: os.kill(os.getpid(), {int(number)})\n"
        "minicarla.cli.app(['serve'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_one_line_and_ends_cleanly(number: signal.Signals) -> None:
    child, line = start("--port", "0", "--npc", "2", "--seed", "1")
    match = re.fullmatch(
        r"minicarla 0\.9\.16 ready on 127\.0\.0\.1:(\d+) \(streams (\d+)\), map loop\n", line
    )
    assert match
    port = int(match[1])
    assert int(match[2]) == port + 1
    wire = Wire(port)
    assert wire.call("version") == "0.9.16"
    child.send_signal(number)
    out, err = child.communicate(timeout=20.0)
    assert (child.returncode, out, err) == (0, "", "")
    wire.close()


def test_a_start_loads_only_what_a_first_tick_needs() -> None:
    """What makes the start quick.  ``python -m verification.minicarla_proofs start`` measures the seconds."""
    code = """
import sys
import minicarla.cli
from minicarla.sensors.raster.ground import GroundPicture
from minicarla.server import CarlaServer
def drawn(*_):
    raise AssertionError("a ground is drawn that no camera looks at")
GroundPicture.__init__ = drawn
server = CarlaServer(0, map="loop", synchronous=True)
server.world.tick()
server.close()
unneeded = ("scipy", "rich", "asyncio", "ssl", "http", "imageio_ffmpeg", "minicarla.viewer")
print(*[name for name in unneeded if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60.0)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr


def refused(*options: str) -> str:
    """What the command says on stderr, in one line and with status 2, before it serves anything."""
    result = CliRunner().invoke(app, ["serve", "--map", "loop", *options])
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.strip().splitlines()) == 1
    return result.stderr


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", [[], ["serve"], ["rpcs"], ["fault"], ["view"]])
def test_every_command_explains_itself(command: list[str], option: str) -> None:
    result = CliRunner().invoke(app, [*command, option])
    assert result.exit_code == 0 and "Usage:" in result.output


def test_the_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    first, *details = result.output.splitlines()
    assert (result.exit_code, first) == (0, f"minicarla {__version__} (CARLA 0.9.16)")
    assert any("numpy" in line for line in details) and "missing" not in result.output


def test_a_fault_for_a_server_that_is_not_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        result = CliRunner().invoke(app, ["fault", "freeze", "--port", str(port)])
    assert result.exit_code == 2
    assert f"no server answers at 127.0.0.1:{port}: Connection refused" in result.stderr


def test_what_cannot_be_served(tmp_path: Path) -> None:
    assert "no map 'nowhere'" in refused("--port", "0", "--map", "nowhere")
    broken = tmp_path / "broken.xodr"
    broken.write_text("<OpenDRIVE><road")
    assert "minicarla:" in refused("--port", "0", "--map", str(broken))
    assert "no fault is called 'explode'" in refused("--port", "0", "--faults", "explode")
    assert "host" in refused("--port", "0", "--host", "no.such.host.invalid")


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([*SERVE, "--port", str(port)], capture_output=True, text=True, timeout=20.0)
        assert (done.returncode, done.stdout) == (2, "") and done.stderr == refused("--port", str(port))
        assert re.search(rf"port {port} of 127\.0\.0\.1: .*in use", refused("--port", str(port)))
        assert re.search(rf"port ({port}|{port - 1}) ", refused("--port", str(port - 1)))  # the streams' port


def test_it_does_not_outlive_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    child, line = start("--port", "0", "--parent-pid", str(parent.pid))
    assert "ready" in line
    assert child.poll() is None
    parent.communicate(b"\n")
    until(lambda: child.poll() is not None)
    assert child.returncode == 0
    child.communicate()
