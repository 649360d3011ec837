"""Kills a training again and again, and compares it, bit for bit, with one that never stopped.

    python -m verification.resume [--kills 20] [--npc 0] [--envs 1] [--seed 0] [--steps N] [--prefetch]
                                  [--ray]

There are two runs with the same seed on minicarla.  One is left alone; the other is killed with SIGKILL at
random moments and goes on each time by the same command.  The comparison covers the weights, the replay, the
evaluations, the alerts, and all figures in the event files except those of time and machine.  With --ray the
second run has its simulators on a Ray cluster of this machine; with --kills 0 that is the only difference
between the two.  The exit status is 1 when anything differs.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from av_td3.config import Config, load_config
from av_td3.training import checkpoint

STEPS_PER_KILL = 40
TOY = {
    "env.camera.size": 36,
    "env.camera.width": 36,
    "env.camera.height": 36,
    "env.simulator.map": "loop",
    "env.termination.max_steps": 20,
    "agent.feature_size": 8,
    "agent.hidden": "[8]",
    "agent.batch_size": 4,
    "agent.critic_warmup": 2,
    "exploration.warmup_steps": 20,
    "train.learning_starts": 20,
    "train.threads": 1,
    "train.log_interval": 10,
    "train.checkpoint_interval": 20,
    "evaluation.interval": 200,
    "evaluation.final_episodes": 2,
}
"""Tiny networks and short episodes; every part of a training is used."""
TIMED = ("system/", "time/", "alerts/")
"""Prefixes of what depends on the machine.  Alerts are compared by their own file."""


def toy_config(steps: int, npc: int, envs: int, seed: int, prefetch: bool = False) -> Config:
    """The configuration of both runs."""
    values = TOY | {
        "train.steps": steps,
        "env.simulator.npc": npc,
        "train.seed": seed,
        "train.envs": envs,
        "replay.prefetch": prefetch,
        # A busy machine must not look like a failed simulator: runs with failures are not equal.
        "env.simulator.client_timeout_s": 60,
        "env.simulator.step_deadline_s": 60,
        "env.simulator.reset_deadline_s": 120,
    }
    return load_config("debug", overrides=[f"{key}={value}" for key, value in values.items()])


def start(config: Config, run: Path, through_ray: bool = False) -> int:
    """Start or resume a run in a process of its own; returns the process id.

    It is a fork, because importing torch takes longer than most runs last before they are killed.
    """
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        log = os.open(run.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        from av_td3.commands import train
        from av_td3.commands.common import Ray

        status = train.start(config, "debug", run, ray=Ray("local", "CPU=1") if through_ray else None)
    finally:
        sys.stdout.flush()
        os._exit(status)


def step_of(run: Path) -> int:
    """The last step in a run's status file."""
    try:
        return int(json.loads((run / "status.json").read_text())["step"])
    except (OSError, ValueError, KeyError):
        return 0


def train_with_kills(
    config: Config, run: Path, kills: int, seed: int, through_ray: bool = False
) -> list[int]:
    """Train to the end with ``kills`` kills on the way; returns the steps at which they came."""
    dice, moments = random.Random(seed), []
    goals = sorted(dice.sample(range(20, config.train.steps - 10), kills))
    for goal in goals:
        pid = start(config, run, through_ray)
        while step_of(run) < goal and os.waitpid(pid, os.WNOHANG) == (0, 0):
            time.sleep(0.005)
        time.sleep(dice.uniform(0.0, 0.2))  # also in the middle of a checkpoint, or of an evaluation
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        moments.append(step_of(run))
    status = os.waitstatus_to_exitcode(os.waitpid(start(config, run, through_ray), 0)[1])
    if status != 0:
        raise SystemExit(f"the run failed:\n{run.with_suffix('.log').read_text()[-3000:]}")
    return moments


def figures(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Every figure in the event files that does not depend on the machine: (step, value) pairs by tag."""
    events = EventAccumulator(str(run / "tb"), size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
        if not tag.startswith(TIMED)
    }


def state(run: Path) -> dict[str, np.ndarray]:
    """Weights, moments and replay of the newest checkpoint."""
    path, document, _ = checkpoint.newest_good(run / "checkpoints")
    files = [path / name for name in document["files"]]
    files += [path.parent / "replay" / name for name in document["replay"]["files"]]
    return {
        f"{file.name[:5] if file.parent.name == 'replay' else file.name}/{name}": array
        for file in files
        for name, array in safetensors.numpy.load_file(file).items()
    }


def documents(run: Path) -> dict[str, Any]:
    """Evaluations and alerts, without times."""
    found: dict[str, Any] = {
        file.name: json.loads(file.read_text()) for file in sorted((run / "evaluations").glob("step_*.json"))
    }
    alerts = run / "alerts.jsonl"
    lines = alerts.read_text().splitlines() if alerts.exists() else []
    found["alerts"] = [{k: v for k, v in json.loads(line).items() if k != "time"} for line in lines]
    for name in ("incidents.jsonl",):
        file = run / "logs" / name
        found[name] = len(file.read_text().splitlines()) if file.exists() else 0
    return found


def differences(one: Path, other: Path) -> tuple[int, list[str]]:
    """(how many values were compared, what differs) of two runs."""
    compared, different = 0, []
    ours, theirs = figures(one), figures(other)
    for tag in sorted(ours.keys() | theirs.keys()):
        compared += len(ours.get(tag, ()))
        if ours.get(tag) != theirs.get(tag):
            different.append(f"{tag}: {len(ours.get(tag, ()))} and {len(theirs.get(tag, ()))} values")
    mine, yours = state(one), state(other)
    for name in sorted(mine.keys() | yours.keys()):
        if name not in mine or name not in yours or not np.array_equal(mine[name], yours[name]):
            different.append(name)
        else:
            compared += mine[name].size
    said, told = documents(one), documents(other)
    different += [name for name in sorted(said.keys() | told.keys()) if said.get(name) != told.get(name)]
    return compared, different


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--npc", type=int, default=0)
    parser.add_argument("--envs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help=f"default: 60, and {STEPS_PER_KILL} for each kill")
    parser.add_argument("--prefetch", action="store_true", help="a thread prepares the batches of both runs")
    parser.add_argument("--ray", action="store_true", help="the second run's simulators through Ray")
    options = parser.parse_args(arguments)
    steps = options.steps or 60 + STEPS_PER_KILL * options.kills
    config = toy_config(steps, options.npc, options.envs, options.seed, options.prefetch)
    with tempfile.TemporaryDirectory(prefix="resume_") as name:
        whole, killed = Path(name) / "whole", Path(name) / "killed"
        train_with_kills(config, whole, 0, options.seed)
        moments = train_with_kills(config, killed, options.kills, options.seed, options.ray)
        compared, different = differences(whole, killed)
    print(f"{steps} steps, killed {len(moments)} times, at steps {', '.join(map(str, moments))}")
    print(f"{compared:,} values compared, {len(different)} series, arrays or files differ")
    for name in different:
        print(f"  {name}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
