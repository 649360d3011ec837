"""What the proofs share: findings, and servers and clients in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[2]
TOWN01 = ROOT.parent / "shared" / "maps" / "Town01.xodr"
"""CARLA's own Town01, which is not part of the project; proofs use it when it is there."""


class Finding(NamedTuple):
    """One promise, and whether it was kept."""

    promised: str
    found: str
    held: bool


class ServerProcess:
    """``minicarla serve`` in a process of its own; a context manager that ends it."""

    def __init__(
        self,
        map_name: str,
        *options: str,
        synchronous: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        command = [sys.executable, "-m", "minicarla", "serve", "--port", "0", "--map", map_name]
        command += ["--parent-pid", str(os.getpid()), *options, *["--synchronous"] * synchronous]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  read after the process ended
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.__exit__()
            raise RuntimeError(f"the server did not start: {self.errors()}")
        self.port = int(line.split(":")[1].split()[0])
        self.pid = self.process.pid

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def errors(self) -> str:
        """What the server wrote to stderr."""
        self._errors.seek(0)
        return self._errors.read().strip()

    def resident(self) -> float:
        """The server's resident memory, MB."""
        with open(f"/proc/{self.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) * 1024 / 1e6

    def processor_time(self) -> float:
        """Processor time of the server, seconds."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def threads(self) -> int:
        """Number of the server's threads."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def files(self) -> int:
        """Number of the server's open files and sockets."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class ClientProcess:
    """A program of :mod:`.clients` in a process of its own: CARLA's client aborts on malformed data.

    It and the proof exchange JSON values, one a line.  RuntimeError when a value is expected and the program
    ends or sends nothing for ``patience`` seconds.
    """

    def __init__(self, program: str, *arguments: Any, patience: float = 120.0, **environment: str) -> None:
        command = [sys.executable, "-m", f"{__package__}.clients", program, *map(str, arguments)]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  read after the process ended
        self.patience = patience
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        self._text = b""

    def __enter__(self) -> ClientProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def hear(self) -> Any:
        """The next value that the program sends."""
        assert self.process.stdout is not None
        while b"\n" not in self._text:
            ready, _, _ = select.select([self.process.stdout], [], [], self.patience)
            more = os.read(self.process.stdout.fileno(), 1 << 20) if ready else b""
            if not more:
                self._errors.seek(0)
                what = "ended" if ready else f"was silent for {self.patience:.0f} s"
                raise RuntimeError(f"a client {what}: {self._errors.read().strip()[-2000:]}")
            self._text += more
        line, self._text = self._text.split(b"\n", 1)
        return json.loads(line)

    def tell(self, value: Any) -> None:
        """Send the program a value."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(value).encode() + b"\n")
        self.process.stdin.flush()


def ask(program: str, *arguments: Any, patience: float = 120.0, **environment: str) -> Any:
    """Run a program of :mod:`.clients` that sends one value."""
    with ClientProcess(program, *arguments, patience=patience, **environment) as client:
        return client.hear()


@contextlib.contextmanager
def empty_home() -> Iterator[dict[str, str]]:
    """Environment with an empty home directory, so that CARLA's client finds nothing in its cache."""
    with tempfile.TemporaryDirectory() as folder:
        yield {"HOME": folder}


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of the straight line fitted by least squares."""
    return float(np.polyfit(np.asarray(x, float), np.asarray(y, float), 1)[0])
