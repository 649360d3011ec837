"""Several environments for one learner: memory of each, and steps/s with the learner off and on.

    python -m benchmarks.many_simulators [--envs 1 2 4] [--steps 300] [--rounds 2] [--json FILE]

This is the training loop itself (``av_td3.training.loop.drive``) with the networks of a preset.  The
rounds are interleaved: each goes through all numbers of environments, without updates and with the preset's.
Each environment begins with a reset, which is part of the time.  Memory is the proportional set size: what
processes share is divided among them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from av_td3.config import Config, load_config
from av_td3.supervision.fleet import Fleet, environment
from av_td3.supervision.supervised import SupervisedEnv
from av_td3.training import loop
from av_td3.training.logger import RunLogger
from av_td3.training.memory import tune_allocator
from av_td3.training.run_directory import RunDirectory
from av_td3.training.signals import StopRequest
from av_td3.training.state import TrainingState
from av_td3.training.trackers import Trackers
from benchmarks import common


class Contender:
    """One number of environments, with the learner off or on."""

    def __init__(self, config: Config, envs: int, updates: bool, warm_up: int, folder: Path) -> None:
        self.envs, self.updates = envs, updates
        self.rates: list[float] = []
        train: dict[str, int | None] = {
            "envs": envs,
            "learning_starts": warm_up // 2 if updates else 10**9,
            "steps": 10**9,
        }
        train |= {"checkpoint_interval": 10**9, "max_minutes": None}
        self.config = config.model_copy(
            update={
                "train": config.train.model_copy(update=train),
                "evaluation": config.evaluation.model_copy(update={"interval": 10**9}),
                "exploration": config.exploration.model_copy(update={"warmup_steps": warm_up // 2}),
            }
        )
        self.state = TrainingState(self.config)
        self.state.checkpoint, self.state._attempted = folder, 1  # none is due
        self.run = RunDirectory.create(folder / f"{envs}-{updates}", self.config, {})
        self.fleet = Fleet(
            [
                SupervisedEnv(environment(config.env, number), log_dir=self.run.logs, name=f"train-{number}")
                for number in range(envs)
            ]
        )
        self.log = RunLogger(
            self.config,
            self.run,
            common.Silent(),
            0,
            self.state.interval,
            Trackers(self.config, self.run, print),
        )

    def drive(self, steps: float, seconds: float = math.inf) -> float:
        """Make so many steps, or as many as that time allows; how many a second."""
        stop, until, begin = StopRequest(), self.state.step + steps, time.perf_counter()
        row = self.log.environment_step

        def counted(*arguments: Any) -> None:
            row(*arguments)
            stop.requested = stop.requested or self.state.step >= until or late()

        self.log.environment_step = counted  # type: ignore[method-assign, assignment]

        def late() -> bool:
            return time.perf_counter() - begin >= seconds

        first = self.state.step
        loop.drive(self.config, self.state, self.fleet, self.log, stop)
        self.log.environment_step = row  # type: ignore[method-assign]
        return (self.state.step - first) / (time.perf_counter() - begin)

    def memory(self) -> tuple[float, float]:
        """Proportional set size of a simulator and of a worker, MiB, mean over the environments."""
        servers, workers = [], []
        for env in self.fleet.envs:
            assert isinstance(env, SupervisedEnv) and env._mine.crew is not None
            crew = env._mine.crew
            assert crew.server is not None and crew.worker is not None
            servers.append(_pss(crew.server.process.pid))
            workers.append(_pss(crew.worker.pid))
        return statistics.mean(servers), statistics.mean(workers)

    def close(self) -> None:
        """End the simulators."""
        self.fleet.close()
        self.log.close()


def _pss(pid: int) -> float:
    return float(psutil.Process(pid).memory_full_info().pss / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--envs", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument(
        "--steps", type=int, default=300, help="steps of each environment in each measurement"
    )
    parser.add_argument("--warm-up", type=int, default=200, help="steps before the clock starts")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    tune_allocator()
    config = load_config(options.preset, None, options.set)
    torch.set_num_threads(config.train.threads or torch.get_num_threads())
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        contenders = [
            stack.enter_context(contextlib.closing(Contender(config, envs, updates, options.warm_up, folder)))
            for envs in options.envs
            for updates in (False, True)
        ]
        for contender in contenders:
            contender.drive(options.warm_up)
        for _ in range(options.rounds):
            for contender in contenders:
                contender.rates.append(contender.drive(options.steps * contender.envs))
        rows = [describe(contender) for contender in contenders]
    off, on = (next(r["steps_per_s"] for r in rows if r["updates"] is u) for u in (False, True))
    print(f"map {config.env.simulator.map}, {os.cpu_count()} cores, preset {options.preset}, load {load()}")
    print("envs  updates  steps/s  ratio  simulator MiB  worker MiB")
    for row in rows:
        row["ratio"] = row["steps_per_s"] / (on if row["updates"] else off)
        print(
            f"{row['envs']:4d}  {'on' if row['updates'] else 'off':>7}  {row['steps_per_s']:7.1f}  "
            f"{row['ratio']:5.2f}  {row['simulator_mib']:13.0f}  {row['worker_mib']:10.0f}"
        )
    if options.json is not None:
        options.json.write_text(json.dumps({"rows": rows, "load": load()}, indent=1))


def describe(contender: Contender) -> dict[str, Any]:
    """A row of the table."""
    simulator, worker = contender.memory()
    return {
        "envs": contender.envs,
        "updates": contender.updates,
        "steps_per_s": statistics.median(contender.rates),
        "simulator_mib": simulator,
        "worker_mib": worker,
    }


def load() -> float:
    """Processes that wanted a core in the last minute, on average."""
    return os.getloadavg()[0]


if __name__ == "__main__":
    main()
