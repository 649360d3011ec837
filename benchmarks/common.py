"""What the benchmarks share: the option ``--json``, and contenders that take turns."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from av_td3.agent.td3 import Batch
from av_td3.config import ACTION_SIZE, Config
from av_td3.training import agents
from av_td3.training.batches import to_batch
from av_td3.training.logger import Progress

ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
"""Environment variables that keep torch's libraries from using newer instructions."""


def options(doc: str | None) -> argparse.ArgumentParser:
    """A parser that shows ``doc`` unchanged and has the option ``--json FILE``."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    return parser


def write_json(path: Path | None, document: dict[str, Any]) -> None:
    """Write the figures and the machine that they were measured on; without a path do nothing."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**document, "machine": machine()}, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """Processor, cores and limits of this machine, and the command that ran."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        processor = names[0] if names else processor
    return {
        "command": " ".join(["python", "-m", *sys.orig_argv[2:]]),
        "processor": processor,
        "cores": os.cpu_count(),
        "limits": {name: os.environ[name] for name in ISA_LIMITS if name in os.environ},
        "python": platform.python_version(),
    }


def sampling(config: Config, device: torch.device, place: str) -> Callable[[], Batch]:
    """A function that samples a batch from a full replay onto the device, as the training loop does.

    Args:
        config: has the batch's size and the shapes.
        device: where updates are computed.
        place: where the frames are: a value of ``replay.device``.
    """
    slots = {"capacity": max(2_000, config.agent.batch_size * 4), "device": place}
    config = config.model_copy(update={"replay": config.replay.model_copy(update=slots)})
    replay, rng = agents.make_replay(config, device), np.random.default_rng(0)
    image = rng.integers(0, 256, agents.image_shape(config), dtype=np.uint8)

    def seen() -> dict[str, np.ndarray]:
        return {"image": image, "vector": rng.normal(size=config.env.vector_size).astype(np.float32)}

    replay.begin(seen())
    for _ in range(config.replay.capacity):
        action = rng.uniform(-1.0, 1.0, ACTION_SIZE).astype(np.float32)
        replay.add(action, float(rng.normal()), False, False, seen())
    return lambda: to_batch(replay.sample(config.agent.batch_size, rng), device)


class Silent:
    """A display that shows nothing."""

    def update(self, progress: Progress) -> None:
        """Show nothing."""

    def message(self, text: str) -> None:
        """Show nothing."""

    def status(self, text: str) -> None:
        """Show nothing."""


class Contender:
    """A process that does one kind of work for a while each time it is told to.

    In processes of their own, contenders cannot by accident share settings of torch, of the memory allocator
    or of the processor's caches.
    """

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        """``arguments``: for a Python that runs :func:`serve_turns`."""
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.turns: list[dict[str, float]] = []

    def turn(self, seconds: float) -> None:
        """Let it work for so many seconds; with 0 only wait until it is ready."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(f"{seconds}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its message is on stderr, and the empty answer below ends the benchmark
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} ended with status {self._process.wait()}")
        if seconds > 0:
            self.turns.append(json.loads(answer))

    def median(self, key: str) -> float:
        """Median of one figure over the turns."""
        return float(np.median([turn[key] for turn in self.turns]))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve_turns(work: Callable[[], int]) -> None:
    """Be a contender: read seconds from a line of stdin, work that long, answer with a line of JSON.

    ``work`` does a small part and returns how many units of work that was.
    """
    work()
    for line in sys.stdin:
        seconds, done = float(line), 0
        start, processor = time.perf_counter(), time.process_time()
        while time.perf_counter() - start < seconds:
            done += work()
        wall, spent = time.perf_counter() - start, time.process_time() - processor
        turn = {"per_s": done / wall, "per_cpu_s": done / max(spent, 1e-9)} if done else {}
        print(json.dumps(turn), flush=True)


@contextmanager
def contenders(commands: dict[str, Sequence[str]]) -> Iterator[list[Contender]]:
    """Start a contender for each name and its arguments, one after the other."""
    started: list[Contender] = []
    try:
        for name, arguments in commands.items():
            started.append(Contender(name, arguments))
            started[-1].turn(0)
        yield started
    finally:
        for contender in started:
            contender.close()


def take_turns(runners: Sequence[Contender], seconds: float, rounds: int) -> None:
    """Give each a turn, ``rounds`` times: other work on the machine then affects all alike."""
    for number in range(rounds):
        # Each round begins with another one, so that none always follows the same one.
        for shift in range(len(runners)):
            runners[(number + shift) % len(runners)].turn(seconds)
