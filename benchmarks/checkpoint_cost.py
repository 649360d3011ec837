"""What a checkpoint costs the training: how long the learner stops, and how much slower its updates are.

    python -m benchmarks.checkpoint_cost [--frames 200000] [--interval 5000] [--preset quick]

The replay is filled with noise, which cannot be compressed.  Updates are timed with and without a checkpoint
being written, in turns.  The result is a share of the training time of one interval, at one update a step.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from av_td3.config import load_config
from av_td3.training.batches import to_batch
from av_td3.training.memory import tune_allocator
from av_td3.training.state import TrainingState


def fill(state: TrainingState, slots: int) -> None:
    """Add that many slots of noise to the replay, in episodes of 500."""
    rng = np.random.default_rng(state.step)
    size = state.config.env.camera.size
    vector = np.zeros(state.config.env.vector_size, np.float32)
    for slot in range(slots):
        frame = np.frombuffer(rng.bytes(size * size), np.uint8).reshape(1, size, size)
        observation: dict[str, NDArray[Any]] = {"image": frame, "vector": vector}
        if slot % 500 == 0:
            state.replay.begin(observation)
        else:
            end = slot % 500 == 499 or slot == slots - 1
            state.replay.add(np.zeros(2, np.float32), 0.0, False, end, observation)
    state.step += slots


def update(state: TrainingState) -> float:
    """Seconds that one update takes."""
    started = time.perf_counter()
    sample = state.replay.sample(state.config.agent.batch_size, state.replay_rng)
    state.agent.update(to_batch(sample, state.agent.device))
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--interval", type=int, default=5_000)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    tune_allocator()
    torch.set_num_threads(1)
    capacity = options.frames + options.interval
    config = load_config(options.preset, overrides=[f"replay.capacity={capacity}"])
    state = TrainingState(config)
    fill(state, options.frames)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        state.save(folder)
        print(
            f"the first checkpoint, with all {options.frames:,} frames: {time.perf_counter() - started:.1f} s"
        )
        for _ in range(10):
            update(state)
        stalls, writes, quiet, beside = [], [], [], []
        for _ in range(options.rounds):
            fill(state, options.interval)
            quiet += [update(state) for _ in range(40)]
            started = time.perf_counter()
            state.begin_checkpoint(folder)
            stalls.append(time.perf_counter() - started)
            while state.last_checkpoint != state.step:
                beside.append(update(state))
                state.settle()
            writes.append(time.perf_counter() - started - stalls[-1])
        used = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(f"two checkpoints on the disk: {used / 2**30:.2f} GiB")
    one, other = statistics.median(quiet), statistics.median(beside)
    interval = options.interval * one
    stall, write = statistics.median(stalls), statistics.median(writes)
    slower = write * max(0.0, 1 - one / other)
    print(f"an update: {1000 * one:.1f} ms; while a checkpoint is written: {1000 * other:.1f} ms")
    print(f"standing still: {1000 * stall:.0f} ms (worst {1000 * max(stalls):.0f}); writing: {write:.2f} s")
    share = 100 * stall / interval
    print(f"standing still takes {share:.2f} % of the {interval:.0f} s of {options.interval:,} steps")
    print(f"slower updates take {100 * slower / interval:.2f} % of them")


if __name__ == "__main__":
    main()
