"""Several environments for one learner: memory of each, and steps/s with the learner off and on.

    python -m benchmarks.many_simulators [--envs 1 2 4] [--steps 300] [--rounds 2] [--learner both] [--ray]
        [--json FILE]

This is the training loop itself (``av_td3.training.loop.drive``) with the networks of a preset.  Each round
goes through all numbers of environments, without updates and with the preset's; every other round goes
backwards.  With --ray each is measured twice, with the simulators started directly and through a Ray cluster
on this machine (extra ``av-td3[ray]``); the column "to direct" is the median of the rounds' ratios.  The time
includes the reset with which each environment begins.  Memory is the proportional set size: memory that
processes share is divided among them.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
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

from av_td3.cluster import link
from av_td3.cluster.link import Cluster
from av_td3.cluster.remote import RemoteCrew
from av_td3.config import Config, load_config
from av_td3.supervision.crew import Crew, CrewBase
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
    """A number of environments, with the learner off or on, with or without Ray."""

    def __init__(
        self,
        config: Config,
        envs: int,
        updates: bool,
        warm_up: int,
        folder: Path,
        cluster: Cluster | None = None,
    ) -> None:
        self.envs, self.updates, self.through_ray = envs, updates, cluster is not None
        self.rates: list[float] = []
        self.learner_ms: list[float] = []
        """Processor time of the learner's process for each step."""
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
        self.state.checkpoint, self.state._attempted = folder, 1  # no checkpoint is due
        self.run = RunDirectory.create(folder / f"{envs}-{updates}-{self.through_ray}", self.config, {})
        self.fleet = Fleet(
            [
                SupervisedEnv(
                    environment(config.env, number),
                    log_dir=self.run.logs,
                    name=f"train-{number}",
                    crews=None if cluster is None else cluster.crews(),
                )
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
        """Make so many steps, or as many as the time allows; returns steps a second."""
        stop, until, begin = StopRequest(), self.state.step + steps, time.perf_counter()
        row = self.log.environment_step

        def counted(*arguments: Any) -> None:
            row(*arguments)
            stop.requested = stop.requested or self.state.step >= until or late()

        self.log.environment_step = counted  # type: ignore[method-assign, assignment]

        def late() -> bool:
            return time.perf_counter() - begin >= seconds

        first, used = self.state.step, time.process_time()
        loop.drive(self.config, self.state, self.fleet, self.log, stop)
        self.log.environment_step = row  # type: ignore[method-assign]
        made = self.state.step - first
        self.learner_ms.append(1e3 * (time.process_time() - used) / made)
        return made / (time.perf_counter() - begin)

    def memory(self) -> tuple[float, float]:
        """Proportional set size of a simulator and of a worker, MiB, mean over the environments."""
        servers, workers = [], []
        for env in self.fleet.envs:
            assert isinstance(env, SupervisedEnv) and env._mine.crew is not None
            server, worker = pids(env._mine.crew)
            servers.append(_pss(server))
            workers.append(_pss(worker))
        return statistics.mean(servers), statistics.mean(workers)

    def close(self) -> None:
        """End the simulators."""
        self.fleet.close()
        self.log.close()


def pids(crew: CrewBase) -> tuple[int, int]:
    """Process ids of the server and of the worker, both on this machine."""
    if isinstance(crew, RemoteCrew):
        return crew.facts["server_pid"], crew.facts["worker_pid"]
    assert isinstance(crew, Crew) and crew.server is not None and crew.worker is not None
    return crew.server.process.pid, crew.worker.pid


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
    parser.add_argument("--learner", choices=["off", "on", "both"], default="both")
    parser.add_argument("--ray", action="store_true", help="also through a Ray cluster on this machine")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    tune_allocator()
    config = load_config(options.preset, None, options.set)
    torch.set_num_threads(config.train.threads or torch.get_num_threads())
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        clusters: list[Cluster | None] = [None]
        if options.ray:
            clusters.append(stack.enter_context(link.joined("local", 2 * sum(options.envs), {"CPU": 1.0})))
        contenders = [
            stack.enter_context(
                contextlib.closing(Contender(config, envs, updates, options.warm_up, folder, cluster))
            )
            for envs in options.envs
            for updates in (False, True)
            if options.learner in ("both", "on" if updates else "off")
            for cluster in clusters
        ]
        for contender in contenders:
            contender.drive(options.warm_up)
        for number in range(options.rounds):
            for contender in contenders[:: -1 if number % 2 else 1]:
                contender.rates.append(contender.drive(options.steps * contender.envs))
        rows = [describe(contender) for contender in contenders]
    base = {row["updates"]: row["steps_per_s"] for row in reversed(rows)}
    for direct, through in itertools.pairwise(contenders):
        if through.through_ray:
            ratios = [b / a for a, b in zip(direct.rates, through.rates, strict=True)]
            rows[contenders.index(through)]["ray_to_direct"] = statistics.median(ratios)
            rows[contenders.index(through)]["ray_to_direct_all"] = ratios
    print(f"map {config.env.simulator.map}, {os.cpu_count()} cores, preset {options.preset}, load {load()}")
    print("envs  updates  where   steps/s  ratio  simulator MiB  worker MiB  learner ms  to direct")
    for row in rows:
        row["ratio"] = row["steps_per_s"] / base[row["updates"]]
        print(
            f"{row['envs']:4d}  {'on' if row['updates'] else 'off':>7}  {row['where']:6}  "
            f"{row['steps_per_s']:7.1f}  {row['ratio']:5.2f}  {row['simulator_mib']:13.0f}  "
            f"{row['worker_mib']:10.0f}  {row['learner_ms']:10.2f}"
            + (f"  {row['ray_to_direct']:9.2f}" if "ray_to_direct" in row else "")
        )
    if options.json is not None:
        options.json.write_text(json.dumps({"rows": rows, "load": load()}, indent=1))


def describe(contender: Contender) -> dict[str, Any]:
    """A row of the table."""
    simulator, worker = contender.memory()
    return {
        "envs": contender.envs,
        "updates": contender.updates,
        "where": "ray" if contender.through_ray else "here",
        "rates": contender.rates,
        "learner_ms": statistics.median(contender.learner_ms[1:]),
        "steps_per_s": statistics.median(contender.rates),
        "simulator_mib": simulator,
        "worker_mib": worker,
    }


def load() -> float:
    """Load average of the last minute."""
    return os.getloadavg()[0]


if __name__ == "__main__":
    main()
