"""Faults: the specification, and that each does what its row says."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from minicarla.faults import FaultError, FaultInjector, parse

from .conftest import PATIENCE, Running, Wire, until


def ticks_struck(spec: str, count: int) -> list[int]:
    faults = FaultInjector(spec)
    return [tick for tick in range(1, count + 1) if faults.strike(0.0, ticking=True)]


def test_triggers() -> None:
    assert ticks_struck("freeze@tick=3", 10) == [3]
    assert ticks_struck("freeze@every=4", 10) == [4, 8]
    assert ticks_struck("freeze", 10) == [1]
    faults = FaultInjector()
    for _ in range(5):
        faults.strike(0.0, ticking=True)
    faults.arm("freeze@after=2")
    assert [bool(faults.strike(0.0, ticking=True)) for _ in range(4)] == [False, True, False, False]


def test_chance_follows_its_seed() -> None:
    struck = ticks_struck("kill@random=0.1,seed=3", 2000)
    assert struck == ticks_struck("kill@random=0.1,seed=3", 2000)
    assert struck != ticks_struck("kill@random=0.1,seed=4", 2000)
    assert 140 < len(struck) < 260


def test_only_untimed_faults_strike_between_ticks() -> None:
    faults = FaultInjector("hangup@tick=1;freeze")
    assert [fault.kind for fault in faults.strike(0.0, ticking=False)] == ["freeze"]
    assert [fault.kind for fault in faults.strike(0.0, ticking=True)] == ["hangup"]


def test_calls_and_messages_are_counted_and_timed() -> None:
    faults = FaultInjector("error:spawn_actor@count=2;stall:camera@for=3;drop:world")
    faults.strike(10.0, ticking=False)
    answers = [faults.on_call(name, 10.0) for name in ("tick_cue", *3 * ["spawn_actor"])]
    assert answers == ["", "error", "error", ""]
    assert faults.on_message(("5", "sensor.camera.rgb"), 12.9) == "stall"
    assert faults.on_message(("5", "sensor.camera.rgb"), 13.1) == ""
    assert [faults.on_message(("1", "world"), 10.0) for _ in range(2)] == ["drop", ""]
    assert not faults


@pytest.mark.parametrize("kind", ["half", "oversize"])
def test_a_broken_message_is_the_last_of_its_stream(kind: str) -> None:
    faults = FaultInjector(f"{kind}:camera")
    faults.strike(0.0, ticking=False)
    rgb, depth = ("5", "sensor.camera.rgb"), ("6", "sensor.camera.depth")
    assert [faults.on_message(name, 0.0) for name in (rgb, depth, rgb)] == [kind, "", "stall"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("explode", "no fault is called 'explode'"),
        ("freeze:camera", "freeze has no target"),
        ("stall", "stall needs a stream"),
        ("error", "error needs a procedure"),
        ("freeze@200", "cannot read '200'"),
        ("freeze@when=3", "cannot read 'when=3'"),
        ("freeze@tick=x", "tick must be a number, not 'x'"),
        ("freeze@tick=1.5", "tick cannot be 1.5"),
        ("freeze@tick=0", "tick must be at least 1"),
        ("freeze@tick=-2", "tick cannot be -2"),
        ("freeze@tick=nan", "tick cannot be nan"),
        ("kill@random=2", "random=2 is not a probability"),
        ("kill@random=0.5,every=3", "one of random and every, not both"),
    ],
)
def test_a_bad_specification_says_why(spec: str, says: str) -> None:
    with pytest.raises(FaultError, match=says):
        parse(spec)


# ---------------------------------------------------------------------- in a server

Serve = Callable[..., Running]


def test_a_frozen_server_says_nothing_and_goes_on_afterwards(serve: Serve) -> None:
    wire = serve(synchronous=True, faults="freeze@tick=3,for=0.4").wire()
    wire.call("tick_cue")
    frame = wire.call("tick_cue")
    wire.post("tick_cue")
    wire.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        wire.answer()
    wire.sock.settimeout(PATIENCE)
    assert wire.answer()[3][0][1] == frame + 1
    assert wire.call("tick_cue") == frame + 2


def test_clearing_the_faults_thaws(serve: Serve) -> None:
    running = serve(synchronous=True, faults="freeze@tick=1")
    wire = running.wire()
    wire.post("tick_cue")
    wire.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        wire.answer()
    running.server.call(running.server.faults.clear)
    wire.sock.settimeout(PATIENCE)
    assert wire.answer()[3][0][0] == 1


def test_a_frozen_server_can_be_stopped(serve: Serve) -> None:
    running = serve(synchronous=True, faults="freeze@tick=1")
    running.wire().post("tick_cue")
    until(lambda: not running.server.faults)  # it has struck
    running.stop()


def test_errors_and_silence_on_calls(serve: Serve) -> None:
    wire = serve(synchronous=True, faults="error:tick_cue@tick=2;silence:version@tick=2").wire()
    wire.call("tick_cue")
    wire.call("tick_cue")
    with pytest.raises(RuntimeError, match="injected error"):
        wire.call("tick_cue")
    wire.call("tick_cue")
    unanswered = wire.post("version")
    answered = wire.post("version")
    assert wire.answer()[1] == answered != unanswered


def test_a_lost_and_a_halved_message(serve: Serve) -> None:
    running = serve(synchronous=True)
    wire = running.wire()
    world = wire.subscribe()
    until(lambda: running.server.streams.has_reader(1))
    frames = []
    for spec in ("", "drop:world", "", "half:world", ""):
        if spec:
            wire.call("minicarla.fault", spec)
        wire.call("tick_cue")
        with contextlib.suppress(TimeoutError):
            frames.append(int.from_bytes(world.next(timeout=0.2)[8:16], "little"))
    assert frames == [2, 4]


def test_a_message_that_announces_2_gb(serve: Serve) -> None:
    running = serve(synchronous=True)
    wire = running.wire()
    world = wire.subscribe()
    until(lambda: running.server.streams.has_reader(1))
    wire.call("minicarla.fault", "oversize:world")
    wire.call("tick_cue")
    assert int.from_bytes(world.exactly(4), "little") == 2**31 - 1
    assert len(world.exactly(16)) == 16  # the rest is a message of the usual length


def test_hangup_closes_every_connection(serve: Serve) -> None:
    running = serve(synchronous=True)
    wire, other = running.wire(), running.wire()
    assert other.call("version") == "0.9.16"
    wire.call("minicarla.fault", "hangup@after=1")
    wire.post("tick_cue")
    for client in (wire, other):
        with pytest.raises(ConnectionError):
            client.answer()
    assert running.wire().call("version") == "0.9.16"


def test_restart_comes_up_anew_on_the_same_port(serve: Serve) -> None:
    running = serve(synchronous=True, faults="restart@tick=5,for=0.2")
    wire = running.wire()
    frames = [wire.call("tick_cue") for _ in range(4)]
    wire.post("tick_cue")
    with pytest.raises(ConnectionError):
        wire.answer()

    def back() -> bool:
        with contextlib.suppress(OSError):
            running.wire()
            return True
        return False

    until(back)
    assert running.wire().call("tick_cue") == frames[0]


def test_faults_are_refused_with_their_reason(serve: Serve) -> None:
    wire = serve(synchronous=True).wire()
    with pytest.raises(RuntimeError, match="no fault is called 'nonsense'"):
        wire.call("minicarla.fault", "nonsense")


@pytest.fixture
def process() -> Iterator[Callable[..., tuple[subprocess.Popen[str], int]]]:
    """Starts ``minicarla serve`` in a process of its own; (process, port)."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, "-m", "minicarla", "serve", "--port", "0", "--map", "loop", *options]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        started.append(child)
        assert child.stdout is not None
        return child, int(child.stdout.readline().split(":")[1].split()[0])

    yield start
    for child in started:
        child.kill()
        child.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "status"), [("kill", -signal.SIGKILL), ("abort", -signal.SIGABRT)])
def test_the_server_can_kill_itself(process: Any, fault: str, status: int) -> None:
    child, port = process("--synchronous", "--faults", f"{fault}@tick=2")
    wire = Wire(port)
    wire.call("tick_cue")
    wire.post("tick_cue")
    with pytest.raises(ConnectionError):
        wire.answer()
    assert child.wait(PATIENCE) == status


@pytest.mark.slow
def test_faults_from_the_command_line_of_another_process(process: Any) -> None:
    child, port = process("--synchronous")
    command = [sys.executable, "-m", "minicarla", "fault", "--port", str(port)]
    refused = subprocess.run([*command, "freeze@tick=x"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "tick must be a number" in refused.stderr
    assert subprocess.run([*command, "kill"]).returncode == 0
    assert child.wait(PATIENCE) == -signal.SIGKILL
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = free.getsockname()[1]
        dead = subprocess.run([*command[:-1], str(nobody), "kill"], capture_output=True, text=True)
    assert dead.returncode == 2
    assert os.linesep not in dead.stderr.strip()
