"""Send a minicarla server hostile requests for a while and check that it neither dies, hangs nor grows.

    python -m verification.minicarla_fuzz [--seconds 600] [--seed 0]

A hostile client sends random bytes, requests with flipped bytes, and requests with arguments of random
shape, or of the right shape with extreme values.  It opens streams, does not read them, and closes some.
Once a second a well-behaved client must be able to tick within two seconds.

Prints from time to time what was sent and the server's resident memory.  The exit status is 1 when the server
died or hung, when it grew by more than 64 MiB after the first tenth, or when a request caused an internal
error.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, get_args, get_origin, get_type_hints

import msgpack

from minicarla.wire import commands, structs
from minicarla.world import blueprints
from minicarla.world.calls import PROCEDURES

# Left out: injected faults, which end or freeze the server, and what writes files.
_SPARED = ("minicarla.fault", "start_recorder", "replay_file")
_HEADERS = (
    b"\xdd\xff\xff\xff\xff",
    b"\xc6\x03\xff\xff\xff",
    b"\x91" * 2000,
    b"\x94\x00\x01\xa1x\xdc\xff\xff",
)
_WORDS = ("", "vehicle.tesla.model3", "sensor.camera.rgb", "walker.pedestrian.0001", "loop", "x" * 500)
_KINDS = ("vehicle.audi.tt", "sensor.lidar.ray_cast", "static.prop.bin")


class Foe:
    """A hostile client; everything that it sends follows from one seed."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.dice = random.Random(seed)
        self.names = [name for name in PROCEDURES if name not in _SPARED]
        self.sent: Counter[str] = Counter()
        self.kept: list[socket.socket] = []

    def turn(self) -> None:
        """Do one hostile thing."""
        kind: Callable[[], None] = self.dice.choice(
            [self.noise, self.flips, self.arguments, self.extremes, self.streams]
        )
        self.sent[kind.__name__] += 1
        with contextlib.suppress(OSError, ValueError):
            kind()

    def _connect(self, port: int) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port), timeout=1.0)
        sock.settimeout(0.02)
        return sock

    def _exchange(self, data: bytes) -> None:
        with self._connect(self.port) as sock:
            with contextlib.suppress(TimeoutError):
                sock.sendall(data)
            with contextlib.suppress(TimeoutError):
                while sock.recv(1 << 20) and self.dice.random() < 0.9:
                    pass

    def noise(self) -> None:
        """Send random bytes, or headers that announce impossible sizes."""
        body = self.dice.randbytes(self.dice.randrange(5000))
        self._exchange(self.dice.choice([b"", *_HEADERS]) + body)

    def flips(self) -> None:
        """Send valid requests with some bytes changed or missing."""
        data = bytearray(b"".join(self._request() for _ in range(20)))
        for _ in range(self.dice.randrange(1, 10)):
            data[self.dice.randrange(len(data))] = self.dice.randrange(256)
        self._exchange(bytes(data[: self.dice.randrange(len(data))]))

    def arguments(self) -> None:
        """Send valid requests with arguments of random shape."""
        self._exchange(b"".join(self._request() for _ in range(self.dice.randrange(100))))

    def extremes(self) -> None:
        """Send requests of the right shape with extreme values."""
        self._exchange(b"".join(self.plausible() for _ in range(self.dice.randrange(100))))

    def plausible(self) -> bytes:
        """A request whose arguments have the right shape."""
        name = self.dice.choice(self.names)
        handler = PROCEDURES[name].handler
        hints = list(get_type_hints(handler).items())[1:] if handler else []
        arguments = [self._of(hint) for key, hint in hints if key != "return"]
        if name == "apply_batch":
            arguments = [[self._command() for _ in range(self.dice.randrange(5))], self.dice.random() < 0.5]
        return msgpack.packb([0, self.dice.randrange(1 << 32), name, [[False], *arguments]])

    def _command(self) -> Any:
        index = self.dice.randrange(len(commands.TABLE))
        hints = get_type_hints(commands.TABLE[index])
        return [[index, [self._of(hint) for hint in hints.values()]]]

    def _of(self, hint: Any) -> Any:
        if hint is int:
            return self.dice.choice([0, 1, 2, 3, 5, 255, 2**32 - 1, -1, 2**63, self.dice.randrange(50)])
        if hint is float:
            return self.dice.choice(
                [0.0, 1.0, -1.0, 1e-300, 1e308, -1e30, float("nan"), self.dice.gauss(0, 50)]
            )
        if hint is bool:
            return self.dice.random() < 0.5
        if hint is str:
            return self.dice.choice([*_WORDS, *_KINDS])
        if hint is bytes:
            return self.dice.randbytes(self.dice.randrange(30))
        if hasattr(hint, "_fields"):
            if hint is structs.ActorDescription and self.dice.random() < 0.8:
                return [0, self.dice.choice([row.id for row in blueprints.definitions()]), []]
            return [self._of(part) for part in get_type_hints(hint).values()]
        if get_origin(hint) is list:
            return [self._of(get_args(hint)[0]) for _ in range(self.dice.randrange(4))]
        if get_origin(hint) is tuple:
            return [self._of(part) for part in get_args(hint)]
        if hint is Any:
            return self._value()
        (item,) = [part for part in get_args(hint) if part is not type(None)]
        return [True, self._of(item)] if self.dice.random() < 0.5 else [False]

    def streams(self) -> None:
        """Open streams and do not read them; close some."""
        sock = self._connect(self.port + 1)
        sock.sendall(
            struct.pack("<I", self.dice.choice([0, 1, 1, 2, 3, 2**32 - 1]))[: self.dice.randrange(5)]
        )
        self.kept.append(sock)
        if len(self.kept) > 50:
            self.kept.pop(self.dice.randrange(50)).close()

    def _request(self) -> bytes:
        arguments = [self._value() for _ in range(self.dice.randrange(6))]
        return msgpack.packb(
            [0, self.dice.randrange(1 << 32), self.dice.choice(self.names), [[False], *arguments]]
        )

    def _value(self, depth: int = 0) -> Any:
        kind = self.dice.randrange(12 if depth < 5 else 8)
        if kind < 4:
            return self.dice.choice([0, 1, 2, 3, 5, -1, 2**63, self.dice.randrange(100)])
        if kind < 6:
            return self.dice.choice([0.0, 1.5, float("nan"), float("inf"), 1e308, self.dice.gauss(0, 100)])
        if kind < 8:
            return self.dice.choice([True, False, None, b"\xff\x00", *_WORDS])
        if kind == 8:  # a pose
            return [[self.dice.gauss(0, 100) for _ in range(3)], [self.dice.gauss(0, 90) for _ in range(3)]]
        if kind == 9:  # a description
            return [0, self.dice.choice(_KINDS), []]
        return [self._value(depth + 1) for _ in range(self.dice.randrange(6))]


def resident(pid: int) -> float:
    """Resident memory of a process, MiB."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def friendly(port: int) -> float:
    """Seconds that a new client waits for its first tick."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=10.0) as sock:
        unpacker = msgpack.Unpacker(max_buffer_size=1 << 28)

        def call(name: str, *arguments: Any) -> Any:
            sock.sendall(msgpack.packb([0, 1, name, [[False], *arguments]]))
            while True:
                for reply in unpacker:
                    return reply[3]
                data = sock.recv(1 << 20)
                if not data:
                    raise ConnectionError("closed by the server")
                unpacker.feed(data)

        call("tick_cue")
        elapsed = time.monotonic() - start
        # The hostile client may fill the world with actors, which makes ticks slow: start a new episode.
        call("load_new_episode", "loop", True, 0)
        call("set_episode_settings", [True, False, [True, 0.05], True, 0.01, 10, 0.0, True, 3e3, 2e3, True])
    return elapsed


def main() -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    command = [sys.executable, "-m", "minicarla", "serve", "--port", "0", "--map", "loop", "--synchronous"]
    command += ["--parent-pid", str(os.getpid())]
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            verdict = _fight(server, options.seconds, options.seed)
        finally:
            server.terminate()
            server.wait()
        log.seek(0)
        errors = log.read()
    internal = Counter(line for line in errors.splitlines() if line.endswith(" failed"))
    if internal:
        print("internal errors:", dict(internal))
        kinds = {trace.splitlines()[-1]: trace for trace in _tracebacks(errors)}
        print(*kinds.values(), sep="\n")
        verdict = 1
    return verdict


def _tracebacks(text: str) -> list[str]:
    found, lines = [], text.splitlines()
    for index, line in enumerate(lines):
        if line.startswith("Traceback"):
            end = next(i for i in range(index + 1, len(lines)) if not lines[i].startswith(" "))
            found.append("\n".join(lines[end - 4 : end + 1]))
    return found


def _fight(server: subprocess.Popen[str], seconds: float, seed: int) -> int:
    assert server.stdout is not None
    port = int(server.stdout.readline().split(":")[1].split()[0])
    foe, begin, settled, slowest = Foe(port, seed), time.monotonic(), 0.0, 0.0
    last = reported = begin
    while (now := time.monotonic()) - begin < seconds:
        foe.turn()
        if server.poll() is not None:
            print(f"the server died: {server.returncode}")
            return 1
        if now - last > 1.0:
            last = now
            slowest = max(slowest, friendly(port))
            if not settled and now - begin > seconds / 10:
                settled = resident(server.pid)
        if now - reported > seconds / 10:
            reported = now
            print(f"{now - begin:5.0f} s {resident(server.pid):7.1f} MiB {dict(foe.sent)}", flush=True)
    grown = resident(server.pid) - settled
    print(f"slowest answer {slowest:.3f} s, grown by {grown:.1f} MiB")
    return int(slowest > 2.0 or grown > 64.0)


if __name__ == "__main__":
    sys.exit(main())
