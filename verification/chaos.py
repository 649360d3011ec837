"""Trains while faults strike, and checks that the training goes on and that its data are right.

    python -m verification.chaos [--faults 200] [--steps 20000] [--seed 0] [--minutes 60] [--only KIND ...]

A small agent is trained on a simulator that writes down what it does (:mod:`verification.witness`).
From a seed, one fault after another strikes: simulator, worker and learner are killed, frozen, slowed and
crashed; streams stall, break off and are garbled; the server lies; ports are stolen, the disk fills, the
clock jumps.  After each the training has to go on by itself.  The report has the times to detection and to
recovery; the transitions of the replay that differ from what the simulator wrote down; processes, memory and
descriptors at the beginning and at the end.  The exit status is 1 when something is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import psutil

from av_td3.agent.replay import NOBODY, Replay
from av_td3.config import ACTION_SIZE, Config, load_config
from av_td3.driving.observation import SPEED_SCALE
from av_td3.training import checkpoint
from av_td3.training.agents import image_shape
from verification import witness

MARK = "AV_TD3_CHAOS"
"""Environment variable that every process of this trial inherits."""
SIZE = 36
TOY = {
    "env.camera.size": SIZE,
    "env.camera.width": SIZE,
    "env.camera.height": SIZE,
    "env.simulator.map": "loop",
    "env.simulator.client_timeout_s": 1.5,
    "env.simulator.step_deadline_s": 2.5,
    "env.simulator.reset_deadline_s": 15,
    "env.simulator.max_restarts_per_hour": 100_000,
    "env.termination.max_steps": 30,
    "agent.feature_size": 8,
    "agent.hidden": "[8]",
    "agent.batch_size": 4,
    "exploration.warmup_steps": 50,
    "replay.capacity": 50_000,
    "train.learning_starts": 50,
    "train.steps": 50_000,
    "train.threads": 1,
    "train.log_interval": 5,
    "train.checkpoint_interval": 20,
    "evaluation.interval": 1_000_000,
}


def toy_config(folder: Path) -> Config:
    """A run of tiny networks; its simulators are started by ``env.simulator.command``."""
    command = shlex.join([sys.executable, "-m", "verification.witness", "--log", str(folder), "--port"])
    overrides = [f"{key}={value}" for key, value in TOY.items()]
    config = load_config("debug", overrides=overrides)
    tree = config.model_dump()
    tree["env"]["simulator"]["command"] = f"{command} {{port}}"
    return Config.model_validate(tree)


# -------------------------------------------------------------------------- the learner


class Learner:
    """A training in a process of its own that this process may kill, and start again."""

    def __init__(self, folder: Path) -> None:
        self.run, self.folder = folder / "run", folder
        self.config = toy_config(folder)
        self.pid = 0
        self.lives = 0

    def start(self) -> None:
        """Start the training; if its run exists already, resume it."""
        self.lives += 1
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._train()

    def _train(self) -> None:
        """Train in the child; never returns.  It is a fork, so that torch is not imported again."""
        status = 1
        try:
            os.setsid()
            ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: dies with the trial
            log = os.open(self.folder / "learner.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            clock, jump = time.time, [0.0]
            time.time = lambda: clock() + jump[0]

            def leap(*_: object) -> None:
                jump[0] += random.choice([-1e6, -3600.0, 3600.0, 1e6])

            signal.signal(signal.SIGUSR2, leap)
            from av_td3.commands import train
            from av_td3.errors import UserError

            try:
                status = train.start(self.config, "debug", self.run)
            except UserError as error:
                print(f"error: {error}", flush=True)
                status = error.status
        finally:
            sys.stdout.flush()
            os._exit(status)

    def process(self) -> psutil.Process:
        """Its process."""
        return psutil.Process(self.pid)

    @property
    def alive(self) -> bool:
        """Whether it runs; one that has ended is reaped."""
        if self.pid and os.waitpid(self.pid, os.WNOHANG)[0]:
            self.pid = 0
        return self.pid > 0

    def end(self, number: int, within: float = 120.0) -> int | None:
        """Send it a signal; returns its exit status, negative for a signal, or None if it did not end."""
        os.kill(self.pid, number)
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        return None

    def step(self) -> int:
        """The last step in its status file."""
        return step_of(self.run)

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The lines of ``incidents.jsonl`` or ``recoveries.jsonl``."""
        return lines_of(self.run, name)

    def child(self, what: str) -> psutil.Process | None:
        """The ``server`` or the ``worker``."""
        module = {"server": "verification.witness", "worker": "av_td3.supervision.worker"}[what]
        with contextlib.suppress(psutil.Error):
            for process in self.process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if process.cmdline()[1:3] == ["-m", module]:
                        return process
        return None

    def port(self) -> int:
        """The server's port."""
        server = self.child("server")
        assert server is not None
        command = server.cmdline()
        return int(command[command.index("--port") + 1])


def step_of(run: Path) -> int:
    """The last step in a run's status file."""
    with contextlib.suppress(OSError, ValueError):
        return int(json.loads((run / "status.json").read_text()).get("step", 0))
    return 0


def lines_of(run: Path, name: str) -> list[dict[str, Any]]:
    """The lines of a run's ``incidents.jsonl`` or ``recoveries.jsonl``."""
    with contextlib.suppress(OSError):
        return [json.loads(line) for line in (run / "logs" / name).read_text().splitlines()]
    return []


def call(port: int, name: str, *arguments: object) -> None:
    """Call a remote procedure; wait at most a second for the answer."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as connection:
        connection.settimeout(1.0)
        connection.sendall(msgpack.packb([0, 1, name, [[0, True], *arguments]]))
        connection.recv(4096)


# -------------------------------------------------------------------------- the faults


def to_child(what: str, number: int) -> Callable[[Learner], None]:
    def strike(learner: Learner) -> None:
        child = learner.child(what)
        assert child is not None
        child.send_signal(number)

    return strike


def by_server(spec: str) -> Callable[[Learner], None]:
    return lambda learner: call(learner.port(), "minicarla.fault", spec)


def lie(what: str) -> Callable[[Learner], None]:
    def strike(learner: Learner) -> None:
        # Renamed into place: the server, which looks at every tick, must not find it while it is empty.
        draft = learner.folder / "lie.draft"
        draft.write_text(what)
        draft.rename(learner.folder / "lie")

    return strike


def kill_learner(learner: Learner) -> None:
    learner.end(signal.SIGKILL)


def steal_ports(learner: Learner) -> None:
    """Listen on the server's port as soon as it is free, so that the next server must take another one."""
    port = learner.port()
    to_child("server", signal.SIGKILL)(learner)
    thief = (
        "import socket, sys, time\nheld = []\nend = time.time() + 8\n"
        "while time.time() < end:\n"
        "    for port in range(int(sys.argv[1]), int(sys.argv[1]) + 6):\n"
        "        s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
        "        try: s.bind(('0.0.0.0', port)); s.listen(); held.append(s)\n"
        "        except OSError: s.close()\n"
        "    time.sleep(0.02)\n"
    )
    subprocess.Popen([sys.executable, "-SE", "-c", thief, str(port)])


def fill_disk(learner: Learner) -> None:
    """Fill the file system of the run for three seconds."""
    filler = learner.run / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    time.sleep(3.0)
    filler.unlink()


def jump_clock(learner: Learner) -> None:
    os.kill(learner.pid, signal.SIGUSR2)


def change_map(learner: Learner) -> None:
    call(learner.port(), "load_new_episode", "grid", True, 0xFFFF)


@dataclass(frozen=True)
class Kind:
    """A kind of fault; ``noticed``: it must be recorded as an incident."""

    strike: Callable[[Learner], None]
    noticed: bool = True


KINDS: dict[str, Kind] = {
    "server killed": Kind(to_child("server", signal.SIGKILL)),
    "server crashed": Kind(to_child("server", signal.SIGSEGV)),
    "server frozen": Kind(to_child("server", signal.SIGSTOP)),
    "server slow": Kind(by_server("delay@after=2,for=0.4"), noticed=False),
    "connections closed": Kind(by_server("hangup@after=2")),
    "call not answered": Kind(by_server("silence:tick_cue@after=2")),
    "call refused": Kind(by_server("error:tick_cue@after=2")),
    "world stalls": Kind(by_server("stall:world@after=2")),
    "camera stalls": Kind(by_server("stall:camera@after=2")),
    "picture lost": Kind(by_server(f"drop:camera@after=2,count={witness.PICTURES}")),
    "half a picture": Kind(by_server("half:camera@after=2")),
    "half a snapshot": Kind(by_server("half:world@after=2")),
    "picture of 2 GB": Kind(by_server("oversize:camera@after=2")),
    "garbled picture": Kind(lie("garbled-picture")),
    "short picture": Kind(lie("short-picture")),
    "picture of another size": Kind(lie("wrong-size")),
    "pose not a number": Kind(lie("nan-pose")),
    "frames go back": Kind(lie("frame-back")),
    "map changed": Kind(change_map),
    "worker killed": Kind(to_child("worker", signal.SIGKILL)),
    "worker crashed": Kind(to_child("worker", signal.SIGSEGV)),
    "worker aborted": Kind(to_child("worker", signal.SIGABRT)),
    "worker frozen": Kind(to_child("worker", signal.SIGSTOP)),
    "ports stolen": Kind(steal_ports),
    "learner killed": Kind(kill_learner, noticed=False),
    "disk full": Kind(fill_disk, noticed=False),
    "clock jumps": Kind(jump_clock, noticed=False),
}


# -------------------------------------------------------------------------- the trial


@dataclass
class Trial:
    """What one trial found."""

    struck: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    detected: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    recovered: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    problems: list[str] = field(default_factory=list)

    def table(self) -> Iterator[str]:
        yield f"{'fault':26} {'times':>5} {'detected s':>16} {'recovered s':>16}"
        for kind in KINDS:
            if self.struck[kind]:
                spans = [_span(times[kind]) for times in (self.detected, self.recovered)]
                yield f"{kind:26} {self.struck[kind]:5} {spans[0]:>16} {spans[1]:>16}"
        yield f"{'all (median, worst)':26} {sum(self.struck.values()):5}"


def _span(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f}, {max(seconds):.1f}" if seconds else "-"


def wait_until(condition: Callable[[], bool], within: float) -> float | None:
    """Seconds until a condition held; None when it did not hold in time."""
    started = time.monotonic()
    while time.monotonic() - started < within:
        if condition():
            return time.monotonic() - started
        time.sleep(0.02)
    return None


def strike(learner: Learner, kind: str, trial: Trial, patience: float) -> bool:
    """Inject one fault and watch what follows; False when the training did not go on."""
    complete = wait_until(lambda: bool(learner.child("server") and learner.child("worker")), patience)
    if complete is None or not learner.alive:
        trial.problems.append(f"before {kind}: the training has ended, or has no simulator")
        return False
    before = len(learner.lines("incidents.jsonl"))
    step = learner.step()
    trial.struck[kind] += 1
    started = time.monotonic()
    KINDS[kind].strike(learner)
    if kind == "learner killed":
        # The status file is still that of the killed process; the new one replaces it when it trains.
        (learner.run / "status.json").unlink(missing_ok=True)
        learner.start()
        wait_until(lambda: learner.step() > 0 or not learner.alive, patience)
        step = 0
    if KINDS[kind].noticed:
        if wait_until(lambda: len(learner.lines("incidents.jsonl")) > before, patience) is None:
            trial.problems.append(f"{kind}: not noticed within {patience:g} s")
        else:
            trial.detected[kind].append(time.monotonic() - started)
    goal = max(learner.step(), step)
    going_on = wait_until(lambda: learner.step() > goal or not learner.alive, patience)
    if going_on is None or not learner.alive:
        trial.problems.append(f"{kind}: training did not go on")
        return False
    trial.recovered[kind].append(time.monotonic() - started)
    return True


def wrong_transitions(config: Config, run: Path, folder: Path) -> tuple[int, list[str]]:
    """(number of transitions in the newest checkpoint's replay, those that differ from the simulators' logs).

    Args:
        config: of the run.
        run: its directory.
        folder: where the simulators wrote.
    """
    replay = Replay(
        config.replay.capacity,
        image_shape(config),
        config.env.vector_size,
        ACTION_SIZE,
        config.agent.gamma,
        envs=config.train.envs,
    )
    path, _, _ = checkpoint.newest_good(run / "checkpoints")
    checkpoint.load_replay(path, replay)
    frames, lives = witness.read_stamps(replay.frame)
    logs = {
        int(file.stem.removeprefix("ticks-")): np.fromfile(file, witness.TICK)
        for file in folder.glob("ticks-*.bin")
    }
    # A server that lies about its frame number uses numbers twice: either place in the log may be right.
    places: dict[tuple[int, int], list[int]] = defaultdict(list)
    for life, log in logs.items():
        for place, row in enumerate(log[:-1]):
            places[life, int(row["frame"]) & 0xFFFF].append(place)
    slots = np.flatnonzero(replay.driver[: len(replay)] != NOBODY)
    wrong: list[str] = []
    for slot in slots:
        life, frame = int(lives[slot]), int(frames[slot])
        pairs = [logs[life][place : place + 2] for place in places.get((life, frame), ())]
        after = slot + replay.envs
        same = lives[after] == life and frames[after] == frame + 1
        if not (same and any(_agrees(replay, int(slot), *pair) for pair in pairs)):
            speeds = replay.vector[[slot, after], 0] * SPEED_SCALE
            shown = [[tuple(row) for row in pair] for pair in pairs]
            wrong.append(
                f"slot {slot}: life {life}, frame {frame} to life {lives[after]}, frame {frames[after]}, "
                f"action {replay.action[slot]}, speeds {speeds}; the simulator: {shown}"
            )
    return len(slots), wrong


def _agrees(replay: Replay, slot: int, here: np.void, there: np.void) -> bool:
    """Whether a transition is what the simulator did between these two ticks."""
    steer, pedal = map(float, replay.action[slot])
    return bool(
        there["frame"] == here["frame"] + 1
        and abs(there["steer"] - steer) < 1e-6
        and abs(there["throttle"] - max(0.0, pedal)) < 1e-6
        and abs(there["brake"] - max(0.0, -pedal)) < 1e-6
        and abs(here["speed"] - replay.vector[slot, 0] * SPEED_SCALE) < 1e-3
        and abs(there["speed"] - replay.vector[slot + replay.envs, 0] * SPEED_SCALE) < 1e-3
    )


def marked() -> set[int]:
    """Processes of this trial, whatever their parents are."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == os.environ[MARK] and process.pid != os.getpid():
                found.add(process.pid)
    return found


def belongings(learner: Learner) -> dict[str, float]:
    """What the learner and its child processes hold."""
    while True:
        # One of them may end while they are asked: then all are asked again.
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [learner.process(), *learner.process().children(recursive=True)]
            return {
                "processes": len(family),
                "memory MiB": sum(p.memory_info().rss for p in family) / 2**20,
                "descriptors": sum(p.num_fds() for p in family),
                "sockets": sum(len(p.net_connections("all")) for p in family),
            }


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a file system of 200 MB on the folder; yields whether that was permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def trial(
    folder: Path, faults: int, steps: int, seed: int, minutes: float, only: list[str], patience: float
) -> int:
    """Run a trial and print the report; returns the exit status."""
    os.environ[MARK] = f"{os.getpid()}-{seed}"
    result, dice, end = Trial(), random.Random(seed), time.monotonic() + 60 * minutes
    learner = Learner(folder)
    kinds = only or list(KINDS)
    with small_disk(learner.run) as may_fill:
        if not may_fill:
            kinds = [kind for kind in kinds if kind != "disk full"]
        learner.start()
        # Wait for the first checkpoint: a run that is killed before it begins anew.
        if wait_until(lambda: learner.step() >= 60, 10 * patience) is None:
            print((folder / "learner.log").read_text())
            return 1
        start = belongings(learner)
        order: list[str] = []
        while (struck := sum(result.struck.values())) < faults and time.monotonic() < end:
            due = steps * struck // faults
            while learner.alive and learner.step() < due and time.monotonic() < end:
                time.sleep(0.1)
            order = order or dice.sample(kinds, len(kinds))  # every kind comes, in any order
            kind = order.pop()
            # A random moment, in an episode or between two.
            time.sleep(dice.uniform(0.0, 1.0))
            if not strike(learner, kind, result, patience) and not learner.alive:
                break
            print(f"{sum(result.struck.values()):4} {kind}", flush=True)
        finish = belongings(learner) if learner.alive else {}
        made, lives = learner.step(), learner.lives
        incidents = len(learner.lines("incidents.jsonl"))
        downtime = sum(line["seconds"] for line in learner.lines("recoveries.jsonl"))
        if learner.alive:
            status = learner.end(signal.SIGTERM)
            if status != 130:
                result.problems.append(f"SIGTERM ended the learner with {status}")
        time.sleep(8.0 if "ports stolen" in result.struck else 2.0)
        orphans = marked()
        if orphans:
            result.problems.append(f"orphans: {sorted(orphans)}")
        transitions, wrong = wrong_transitions(learner.config, learner.run, learner.folder)
        shutil.copytree(learner.run / "logs", folder / "logs", dirs_exist_ok=True)  # the small disk goes away
        if wrong:
            result.problems += [f"wrong: {transition}" for transition in wrong[:10]]
    print(*result.table(), sep="\n")
    print(f"steps {made}, learner's lives {lives}, incidents {incidents}, no simulator for {downtime:.0f} s")
    print(f"transitions in the replay {transitions}, wrong {len(wrong)}; orphans {len(orphans)}")
    for name, before in start.items():
        print(f"{name}: {before:.0f} at the start, {finish.get(name, float('nan')):.0f} at the end")
    if len(finish) and (finish["processes"] != start["processes"]):
        result.problems.append("the number of processes has changed")
    for problem in result.problems:
        print(f"PROBLEM: {problem}")
    if result.problems:
        print((folder / "learner.log").read_text()[-3000:])
    return 1 if result.problems else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--steps", type=int, default=0, help="spread the faults over so many steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--only", nargs="*", choices=list(KINDS), default=[], metavar="KIND")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for each fault's end")
    parser.add_argument("--out", type=Path, help="folder to keep; default: a temporary one")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos_")))
        folder.mkdir(parents=True, exist_ok=True)
        o = options
        return trial(folder, o.faults, o.steps, o.seed, o.minutes, o.only, o.patience)


if __name__ == "__main__":
    sys.exit(main())
