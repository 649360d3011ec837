"""Speed of the environment: python -m benchmarks.env_speed [--npc N] [--seconds S] [--json FILE]

Steps a second of ``SupervisedEnv`` on a minicarla of its own, with a driver that stays in its lane.
``--unsupervised`` also drives the environment without supervision, in this process; both take turns.
``--profile`` runs the worker's side in this process instead and shows where its time goes.
"""

from __future__ import annotations

import contextlib
import cProfile
import pstats
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from av_td3.config import EnvConfig
from av_td3.driving.observation import read_vector
from benchmarks import common


def steer(config: EnvConfig, observation: dict[str, Any]) -> np.ndarray:
    """Steer towards the third route point, at 6 m/s."""
    reading = read_vector(config, observation["vector"])
    x, y = reading.waypoints[2]
    return np.clip([5.0 * y / (x * x + y * y), 0.5 * (6.0 - reading.speed)], -1, 1).astype(np.float32)


def measure(env: Any, config: EnvConfig, seconds: float) -> tuple[float, np.ndarray, float]:
    """(steps/s without resets, milliseconds of each step, seconds of a reset)."""
    observation, _ = env.reset(seed=0)
    times, resets = [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        action = steer(config, observation)
        begin = time.perf_counter()
        observation, _, terminated, truncated, _ = env.step(action)
        times.append(time.perf_counter() - begin)
        if terminated or truncated:
            begin = time.perf_counter()
            observation, _ = env.reset()
            resets.append(time.perf_counter() - begin)
    return len(times) / sum(times), 1e3 * np.array(times), float(np.mean(resets)) if resets else np.nan


def main() -> None:
    parser = common.options(__doc__)
    parser.add_argument("--npc", type=int, nargs="*", default=[0, 20])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--unsupervised", action="store_true")
    parser.add_argument("--rounds", type=int, default=11, help="with --unsupervised: turns of each")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    rows = []
    for npc in options.npc:
        config = EnvConfig.model_validate({"simulator": {"npc": npc}})
        if options.profile:
            profile(config, options.seconds)
            continue
        if options.unsupervised:
            rows.append({"npc": npc, **beside_unsupervised(config, options.seconds, options.rounds)})
            continue
        from av_td3.supervision.supervised import SupervisedEnv

        with SupervisedEnv(config) as env:
            speed, times, reset = measure(env, config, options.seconds)
        p50, p99 = np.percentile(times, [50, 99])
        rows.append({"npc": npc, "steps_per_s": speed, "p50_ms": p50, "p99_ms": p99, "reset_ms": 1e3 * reset})
        print(
            f"{npc:3d} NPC: {speed:6.0f} steps/s, step {p50:.2f} ms (median) {p99:.2f} ms (99 %), "
            f"reset {1e3 * reset:.0f} ms"
        )
    common.write_json(options.json, {"rows": rows})


@contextlib.contextmanager
def unsupervised(config: EnvConfig) -> Iterator[Any]:
    """The environment in this process, on a minicarla of its own."""
    from av_td3.driving.env import CarlaDrivingEnv
    from av_td3.supervision.launcher import MinicarlaProcess

    server = MinicarlaProcess(config.simulator, Path(tempfile.mkdtemp()) / "server.log", 60.0)
    try:
        simulator = config.simulator.model_copy(update={"address": server.address})
        with contextlib.closing(CarlaDrivingEnv(config.model_copy(update={"simulator": simulator}))) as env:
            yield env
    finally:
        server.stop()


def beside_unsupervised(config: EnvConfig, seconds: float, rounds: int) -> dict[str, float]:
    """Steps per second of both, medians over turns, and the median of the ratios of neighbouring turns."""
    from av_td3.supervision.supervised import SupervisedEnv

    with unsupervised(config) as plain, SupervisedEnv(config) as watched:
        turns = np.array(
            [[measure(env, config, seconds / rounds)[0] for env in (plain, watched)] for _ in range(rounds)]
        )
    ratio = float(np.median(turns[:, 1] / turns[:, 0]))
    direct, supervised = map(float, np.median(turns, axis=0))
    npc = config.simulator.npc
    print(
        f"{npc:3d} NPC: unsupervised {direct:6.0f} steps/s, supervised {supervised:6.0f}, ratio {ratio:.3f}"
    )
    return {"unsupervised": direct, "supervised": supervised, "ratio": ratio}


def profile(config: EnvConfig, seconds: float) -> None:
    """Print the time of the worker's side, function by function."""
    with unsupervised(config) as env:
        env.reset(seed=0)
        profiler = cProfile.Profile()
        profiler.runcall(measure, env, config, seconds)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(22)


if __name__ == "__main__":
    main()
