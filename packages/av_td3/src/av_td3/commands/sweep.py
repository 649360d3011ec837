"""``av-td3 sweep``: settings and seeds, each combination a run of its own on this machine."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import math
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import starmap
from multiprocessing.connection import wait
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from rich.console import Console

from av_td3.commands import compare
from av_td3.commands.common import Ray, check_before_start
from av_td3.commands.terminal import own_command, say
from av_td3.commands.train import check_earned
from av_td3.config import Config, ConfigError, differences, load_config
from av_td3.errors import BAD_INPUT, FAILED, INTERRUPTED, OK, UserError
from av_td3.supervision.launcher import last_line
from av_td3.supervision.process import Child
from av_td3.training import checkpoint
from av_td3.training.run_directory import RunDirectory, RunError
from av_td3.training.signals import terminable

GRACE_S = 60.0
"""Seconds that runs have to save themselves when the sweep is ended."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._,+-]*")


class SweepFile(BaseModel):
    """The file: which settings, which seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str = "quick"
    """What every trial starts from."""
    config: Path | None = None
    """A YAML file of settings for all trials, relative to the sweep's own file."""
    set: dict[str, Any] = {}
    """Settings for all trials, by ``section.key``."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0]
    """Each trial is run once with each."""
    trials: dict[str, dict[str, Any] | None] = {}
    """Settings of each trial, by its name."""
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    """Values by ``section.key``: a trial for every combination."""

    @model_validator(mode="after")
    def _is_one_plan(self) -> SweepFile:
        if self.trials and self.grid:
            raise ValueError("give trials or grid, not both")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: one is there twice")
        for name in self.trials:
            if not _NAME.fullmatch(name):
                raise ValueError(f"trials: {name!r} names no folder: use letters, digits and ._,+-")
        if len(self.settings()) < math.prod(len(set(map(str, v))) for v in self.grid.values()):
            raise ValueError(
                "grid: two of its values have the same name: give trials, with names of their own"
            )
        if "train.seed" in {*self.set, *self.grid, *(key for t in self.trials.values() for key in t or {})}:
            raise ValueError("train.seed: list the seeds under `seeds`")
        return self

    def settings(self) -> dict[str, dict[str, Any]]:
        """The settings of every trial, by its name."""
        if self.grid:
            combinations = itertools.product(*self.grid.values())
            chosen = [dict(zip(self.grid, values, strict=True)) for values in combinations]
            return {",".join(starmap(_part, c.items())): c for c in chosen}
        return {name: dict(t or {}) for name, t in self.trials.items()} or {self.preset: {}}


def _part(key: str, value: Any) -> str:
    """A part of a grid trial's name: the last word of the key, and the value."""
    word = re.sub(r"[^A-Za-z0-9._+-]+", "_", str(value)).strip("_") or "none"
    return f"{key.rpartition('.')[2]}-{word}"


@dataclass(frozen=True)
class Trial:
    """One run of the sweep."""

    name: str
    method: str
    """Name without the seed."""
    path: Path
    config: Config
    options: tuple[str, ...]
    """Of ``av-td3 train``, for a run that is started."""

    def state(self) -> str:
        """``new``, ``begun`` or ``done``.

        Raises:
            UserError: the folder holds another run.
        """
        if not self.path.exists() or RunDirectory.is_half_made(self.path):
            return "new"
        try:
            run = RunDirectory.open(self.path)
            differing = differences(run.config(), self.config)
        except RunError as error:
            raise UserError(f"{error}: give another folder with --into", BAD_INPUT) from None
        if differing:
            key, (there, here) = next(iter(differing.items()))
            more = f", and {len(differing) - 1} more" if len(differing) > 1 else ""
            raise UserError(
                f"{self.path} holds a run with other settings: {key} is {there} there and {here} here{more}. "
                "Remove it, or give another folder with --into",
                BAD_INPUT,
            )
        if run.status().get("state") == "finished" and (run.evaluations / "final.json").is_file():
            return "done"
        return "begun" if checkpoint.available(run.checkpoints) else "new"

    def command(self) -> list[str]:
        """What starts it, or goes on with it.

        Raises:
            RunError: another process trains in the folder.
        """
        program = [sys.executable, "-m", "av_td3", "train"]  # of the machine that it runs on
        if self.state() == "begun":
            return [*program, "--resume", str(self.path)]
        if self.path.exists():  # it was ended before its first checkpoint: there is nothing to go on from
            if (self.path / "config.yaml").exists():
                with RunDirectory.open(self.path).lock():
                    pass
            shutil.rmtree(self.path)
        return [*program, *self.options, "--run-dir", str(self.path)]

    def start(self, log: Path, patience_s: float = 0.0) -> Child:
        """Start it, or go on with it; what it says goes into the log.

        Raises:
            RunError: another process trains in the folder, and still does after ``patience_s`` seconds.
        """
        deadline = time.monotonic() + patience_s
        while True:
            try:
                return Child(self.command(), log)
            except RunError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(1.0)

    def failure(self, child: Child) -> str:
        """Why it failed, after its process has ended; empty when it is done."""
        if child.exit_status:
            return f"{child.describe_exit()}: {last_line(child.output())}"
        try:
            return "" if self.state() == "done" else "it ended without a final evaluation"
        except UserError as error:  # of this run alone: the others go on
            return str(error)


def sweep(
    file: Path,
    *,
    into: Path | None = None,
    jobs: int | None = None,
    ray: Ray | None = None,
    ungated: bool = False,
    only_list: bool = False,
) -> int:
    """Train every trial that is not done, and compare them; returns the exit status.

    A trial is an ordinary run directory.  Called again, the sweep goes on where it was ended, however that
    happened; trials that failed are tried again.

    Args:
        file: see :class:`SweepFile`.
        into: folder of the runs; None for ``runs/`` and the file's name.
        jobs: how many run at the same time; None for one, and with Ray for as many as there is room for.
        ray: the cluster that they run on; None for this machine.
        ungated: also runs of a million steps, without a validation.
        only_list: say what would be done, and do nothing.

    Raises:
        UserError, ConfigError: the file cannot be used, or the folder holds other runs.
    """
    folder = (into or Path("runs") / file.stem).resolve()
    trials = plan(file, folder, ungated)
    states = {trial.name: trial.state() for trial in trials}
    console = Console()
    left = [trial for trial in trials if states[trial.name] != "done"]
    say(console, f"{len(trials)} runs below {folder}, {len(trials) - len(left)} done")
    if only_list:
        for trial in trials:
            say(console, f"{states[trial.name]:6}{trial.name}")
        return OK
    if not ungated:
        for trial in left:
            check_earned(trial.config, None)
    if jobs is not None and jobs > 1 and any(trial.config.train.threads is None for trial in left):
        say(console, "note: runs side by side are faster with train.threads: 1")
    with terminable(), _alone(folder):
        try:
            if ray is None:
                failed = _run_all(left, folder, jobs or 1, console)
            else:
                failed = _run_on(ray, left, folder, jobs, console)
        except KeyboardInterrupt:
            say(console, f"go on with: {own_command()} sweep {file}" + (f" --into {into}" if into else ""))
            return INTERRUPTED
    _compare([trial for trial in trials if trial.name not in failed], folder, console)
    for name, reason in failed.items():
        say(console, f"failed: {name}: {reason} (log: {_log(folder, name)})", style="bold red")
    return FAILED if failed else OK


def plan(file: Path, folder: Path, ungated: bool = False) -> list[Trial]:
    """Every run of a sweep's file, each checked: all trials with the first seed, then with the next.

    A sweep that is ended early has then as many seeds of each trial.

    Raises:
        UserError: the file cannot be read, or says what cannot be.
        ConfigError: settings that there are not, or that do not fit this machine.
    """
    try:
        tree = yaml.safe_load(file.read_text())
        asked = SweepFile.model_validate(tree if tree is not None else {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"cannot read the sweep {file}: {error}", BAD_INPUT) from None
    except ValidationError as error:
        raise UserError(f"{file}: {_explained(error)}", BAD_INPUT) from None
    base = None if asked.config is None else (file.parent / asked.config).resolve()
    trials = []
    for seed in asked.seeds:
        for method, settings in asked.settings().items():
            name = f"{method}-s{seed}"
            changes = {**asked.set, **settings, "train.seed": seed}
            overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
            try:
                config = load_config(asked.preset, base, overrides)
                check_before_start(config)
            except ConfigError as error:
                raise ConfigError(f"{file}: {name}: {error}") from None
            options = ["--preset", asked.preset, *(("--config", str(base)) if base is not None else ())]
            options += [part for override in overrides for part in ("--set", override)]
            options += ["--ungated"] if ungated else []
            trials.append(Trial(name, method, folder / name, config, tuple(options)))
    return trials


def _explained(error: ValidationError) -> str:
    parts = []
    for details in error.errors():
        key = ".".join(map(str, details["loc"]))
        text = details["msg"].removeprefix("Value error, ")
        if details["type"] == "extra_forbidden":
            text = f"unknown key; there are {', '.join(SweepFile.model_fields)}"
        parts.append(f"{key}: {text}" if key else text)
    return "; ".join(parts)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder: two sweeps in it would start the same runs.

    Raises:
        UserError: another sweep holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".sweep.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another sweep runs in {folder}: wait until it has ended", BAD_INPUT) from None
        yield


def _log(folder: Path, name: str) -> Path:
    return folder / "logs" / f"{name}.log"


def _run_all(trials: Sequence[Trial], folder: Path, jobs: int, console: Console) -> dict[str, str]:
    """Run the trials, ``jobs`` at a time; returns why those that failed did."""
    failed: dict[str, str] = {}
    running: dict[int, tuple[Trial, Child, float]] = {}
    waiting = list(trials)
    count = itertools.count(1)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                trial = waiting.pop(0)
                try:
                    how = "goes on" if trial.state() == "begun" else "starts"
                    child = trial.start(_log(folder, trial.name))
                except (RunError, UserError) as error:
                    failed[trial.name] = str(error)
                    continue
                say(console, f"[{next(count)}/{len(trials)}] {trial.name} {how}")
                running[child.sentinel] = (trial, child, time.monotonic())
            ended = wait(list(running))
            for sentinel in [each for each in running if each in ended]:
                trial, child, began = running.pop(sentinel)
                reason = trial.failure(child)
                child.stop()
                if reason:
                    failed[trial.name] = reason
                minutes = (time.monotonic() - began) / 60
                say(console, f"{trial.name} {'failed' if reason else 'is done'} after {minutes:.1f} minutes")
    finally:
        _end([child for _, child, _ in running.values()])
    return failed


def _run_on(
    ray: Ray, trials: Sequence[Trial], folder: Path, jobs: int | None, console: Console
) -> dict[str, str]:
    """Run the trials on a cluster; returns why those that failed did."""
    from av_td3.cluster import link

    if not trials:
        return {}
    with link.joined(ray.address, jobs or 1, link.parse_needs(ray.needs)) as cluster:
        from av_td3.cluster import trials as on_ray

        say(console, cluster.described())
        return on_ray.run_all(cluster, trials, folder, jobs, partial(say, console))


def _end(children: Sequence[Child]) -> None:
    """Let runs save themselves, all at the same time."""
    for child in children:
        child.terminate()
    deadline = time.monotonic() + GRACE_S
    for child in children:
        child.wait(max(0.0, deadline - time.monotonic()))
        child.stop()


def _compare(trials: Sequence[Trial], folder: Path, console: Console) -> None:
    if not trials:
        return
    compare.compare(
        [f"{trial.method}={trial.path}" for trial in trials],
        json_file=folder / "compare.json",
        figure=folder / "profiles.png",
        console=console,
    )
    say(console, f"figures:     {folder / 'compare.json'}, {folder / 'profiles.png'}")
