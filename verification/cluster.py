"""Trains on a Ray cluster of three nodes while one is killed and one frozen, and checks the replay.

    python -m verification.cluster [--patience 120] [--out FOLDER]

The nodes are groups of processes on this machine, on loopback.  A small agent is trained on three simulators
that write down what they do (:mod:`verification.witness`), one on each node.  All processes of one node are
killed, later all of another are stopped.  Each time the training has to go on by itself.  At the end the
stopped node is continued, and its simulators have to end by themselves.  The report has the incidents, the
transitions of the replay that differ from what the simulators wrote down, and the processes that are left.
The exit status is 1 when something is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

# As with `--ray local`, everything listens on loopback only.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's own spelling

from ray.cluster_utils import Cluster

from av_td3.config import Config
from verification import chaos
from verification.chaos import wait_until

WORKER = "av_td3.supervision.worker"
HEALTH = {
    "health_check_initial_delay_ms": 5000,
    "health_check_period_ms": 2000,
    "health_check_failure_threshold": 5,
}
"""The head counts a node as dead after 10 s without an answer."""


def toy_config(folder: Path) -> Config:
    """The run of :mod:`verification.chaos`, on three simulators."""
    tree = chaos.toy_config(folder).model_dump()
    tree["train"] |= {"envs": 3, "checkpoint_interval": 100}
    tree["env"]["simulator"] |= {"client_timeout_s": 4.0, "step_deadline_s": 5.0}
    return Config.model_validate(tree)


class Nodes:
    """Three nodes, the first of them the cluster's head."""

    def __init__(self) -> None:
        self.cluster: Any = Cluster()
        head: dict[str, Any] = {"include_dashboard": False, "_system_config": HEALTH}
        self.nodes = [
            self.cluster.add_node(num_cpus=cpus, object_store_memory=80 << 20, **more)
            for cpus, more in ((4, head), (2, {}), (2, {}))
        ]

    def family(self, number: int) -> list[psutil.Process]:
        """All processes of a node."""
        found = []
        for group in self.nodes[number].all_processes.values():
            for info in group:
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(info.process.pid)
                    found += [process, *process.children(recursive=True)]
        return found

    def workers(self, number: int) -> list[psutil.Process]:
        """The workers of the simulators on a node."""
        return [process for process in self.family(number) if WORKER in _command(process)]

    def signal(self, number: int, what: signal.Signals) -> None:
        """Send a signal to all processes of a node."""
        for process in self.family(number):
            with contextlib.suppress(psutil.Error):
                process.send_signal(what)


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return list(process.cmdline())
    return []


class Training:
    """``av-td3 train --ray`` in a process of its own."""

    def __init__(self, folder: Path, address: str) -> None:
        self.config, self.run, self.log = toy_config(folder), folder / "run", folder / "learner.log"
        file = folder / "config.yaml"
        file.write_text(self.config.to_yaml())
        command = [sys.executable, "-m", "av_td3", "train", "--preset", "debug", "--config", str(file)]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "--run-dir", str(self.run), "--ray", address], stdout=out, stderr=subprocess.STDOUT
            )

    @property
    def step(self) -> int:
        """The last step in its status file."""
        return chaos.step_of(self.run)

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The lines of ``incidents.jsonl`` or ``recoveries.jsonl``."""
        return chaos.lines_of(self.run, name)

    def goes_on(self, patience: float, by: int = 60) -> bool:
        """Whether it makes ``by`` more steps within ``patience`` seconds."""
        goal = self.step + by
        wait_until(lambda: self.step >= goal or self.process.poll() is not None, patience)
        return self.step >= goal


def trial(folder: Path, patience: float) -> int:
    """Run a trial and print the report; returns the exit status."""
    os.environ[chaos.MARK] = f"{os.getpid()}-cluster"
    problems: list[str] = []

    def expect(condition: bool, problem: str) -> None:
        if not condition:
            print(f"PROBLEM: {problem}", flush=True)
            problems.append(problem)

    with _nodes() as nodes:
        training = Training(folder, nodes.cluster.address)
        try:
            expect(training.goes_on(2 * patience), "the training did not begin")
            if not problems:
                expect(all(nodes.workers(n) for n in range(3)), "not every node has a simulator")
                strike(training, "killed", lambda: nodes.signal(1, signal.SIGKILL), patience, expect)
                strike(training, "frozen", lambda: nodes.signal(2, signal.SIGSTOP), patience, expect)
            frozen = nodes.family(2)
            training.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                training.process.wait(patience)
            expect(training.process.poll() == 130, f"SIGTERM ended it with {training.process.poll()}")
        finally:
            training.process.kill()
            training.process.wait()
        nodes.signal(2, signal.SIGCONT)
        left = [p for p in frozen if WORKER in _command(p) or "verification.witness" in _command(p)]
        ended = wait_until(lambda: not any(map(_runs, left)), patience)
        expect(ended is not None, "simulators of the node that was stopped go on after it was continued")
    orphans = chaos.marked()
    if orphans and wait_until(lambda: not chaos.marked(), 15.0) is None:
        orphans = chaos.marked()
        expect(False, f"orphans: {[(pid, _command(psutil.Process(pid))[:4]) for pid in orphans]}")
    transitions, wrong = chaos.wrong_transitions(training.config, training.run, folder)
    expect(not wrong, f"wrong: {wrong[:3]}")
    kinds = Counter(line["kind"] for line in training.lines("incidents.jsonl"))
    away = sum(line["seconds"] for line in training.lines("recoveries.jsonl"))
    print(f"steps {training.step}, incidents {dict(kinds)}, no simulator for {away:.0f} s")
    print(f"transitions in the replay {transitions}, wrong {len(wrong)}; orphans {len(chaos.marked())}")
    if problems:
        print(training.log.read_text()[-4000:])
    return 1 if problems else 0


def strike(
    training: Training,
    what: str,
    how: Callable[[], None],
    patience: float,
    expect: Callable[[bool, str], None],
) -> None:
    """Call ``how`` to break a node; the training has to notice it, recover and go on."""
    incidents, recoveries = (len(training.lines(f"{x}.jsonl")) for x in ("incidents", "recoveries"))
    began = time.monotonic()
    how()
    noticed = wait_until(lambda: len(training.lines("incidents.jsonl")) > incidents, patience)
    expect(noticed is not None, f"node {what}: not noticed")
    seen = "not" if noticed is None else f"after {noticed:.1f} s"
    recovered = wait_until(lambda: len(training.lines("recoveries.jsonl")) > recoveries, patience)
    expect(recovered is not None, f"node {what}: its environment did not come back")
    expect(training.goes_on(patience), f"node {what}: the training did not go on")
    print(f"node {what}: noticed {seen}, back after {time.monotonic() - began:.1f} s", flush=True)


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


@contextlib.contextmanager
def _nodes() -> Iterator[Nodes]:
    nodes = Nodes()
    try:
        yield nodes
    finally:
        for number in range(3):
            nodes.signal(number, signal.SIGCONT)
        nodes.cluster.shutdown()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patience", type=float, default=120.0, help="seconds to wait for each event")
    parser.add_argument("--out", type=Path, help="folder to keep; default: a temporary one")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster_")))
        folder.mkdir(parents=True, exist_ok=True)
        return trial(folder, options.patience)


if __name__ == "__main__":
    sys.exit(main())
