"""``av-td3 reference``: the agent on tasks with published results."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from av_td3 import __version__
from av_td3.agent.gradients import NonFiniteGradientError
from av_td3.commands import common
from av_td3.commands.outputs import check_output
from av_td3.commands.terminal import say
from av_td3.errors import BAD_INPUT, FAILED, INTERRUPTED, OK, UserError
from av_td3.evaluation.statistics import ConfidenceInterval
from av_td3.reference import baseline, learner
from av_td3.reference.curve import SeedCurve, seed_interval, summary
from av_td3.reference.tasks import ReferenceSettings, make_task, published, settings_for
from av_td3.training.memory import tune_allocator

Curves = dict[str, list[SeedCurve]]
Learn = Callable[[str, int, int, ReferenceSettings, Callable[[SeedCurve], None]], SeedCurve]


def run(
    task: str,
    seeds: int,
    first_seed: int,
    steps: int,
    start_steps: int | None,
    json_file: Path | None,
    with_sb3: bool,
    threads: int,
) -> int:
    """Train each agent with each seed in turn, and say what came out; returns the exit status."""
    console = Console()
    with common.one_line_errors():
        make_task(task).close()
        settings = settings_for(task)
        if start_steps is not None:
            settings = replace(settings, start_steps=start_steps)
        if steps <= settings.start_steps:
            raise UserError(
                f"--steps {steps}: the first {settings.start_steps:,} steps are random and teach nothing; "
                "give more, or a smaller --start-steps",
                BAD_INPUT,
            )
        agents: list[tuple[str, Learn]] = [("av-td3", learner.learn)]
        if with_sb3:
            baseline.check_installed()
            agents.append(("Stable-Baselines3", baseline.learn))
        check_output("--json", json_file)
        if json_file is not None:
            try:  # before anything is trained
                _write(json_file, task, steps, settings, {})
            except OSError as error:
                raise UserError(f"--json {json_file}: {error.strerror}", BAD_INPUT) from None
        torch.set_num_threads(threads)
        tune_allocator()
        curves: Curves = {}
        try:
            for seed in range(first_seed, first_seed + seeds):
                for name, learn in agents:
                    _learn(console, name, learn, task, seed, steps, settings, json_file, curves)
        except KeyboardInterrupt:
            _show(console, task, steps, curves)
            kept = f"; {json_file} holds the evaluations up to here" if json_file is not None else ""
            say(console, f"interrupted{kept}")
            return INTERRUPTED
        _show(console, task, steps, curves)
        if json_file is not None:
            say(console, f"wrote {json_file}")
    return OK


def _learn(
    console: Console,
    name: str,
    learn: Learn,
    task: str,
    seed: int,
    steps: int,
    settings: ReferenceSettings,
    json_file: Path | None,
    curves: Curves,
) -> None:
    own: list[SeedCurve] = curves.setdefault(name, [])

    def evaluated(curve: SeedCurve) -> None:
        if curve not in own:
            own.append(curve)
        point, rate = curve.points[-1], curve.updates_per_second
        speed = f"{rate:5.0f} updates/s" if rate else "random actions"
        say(console, f"{name}, seed {seed}, step {point.step:9,}: return {point.mean:8.1f}   {speed}")
        if json_file is not None:
            _write(json_file, task, steps, settings, curves)

    try:
        learn(task, seed, steps, settings, evaluated)
    except NonFiniteGradientError as error:
        raise UserError(f"{name}, seed {seed} has diverged: {error}", FAILED) from None


def _write(file: Path, task: str, steps: int, settings: ReferenceSettings, curves: Curves) -> None:
    tree: dict[str, Any] = {
        "task": task,
        "steps": steps,
        "version": __version__,
        "torch": torch.__version__,
        "settings": asdict(settings),
        "agents": {name: summary(runs) for name, runs in curves.items()},
        "published": [asdict(result) for result in published(task)],
    }
    partial = file.with_name(file.name + ".partial")
    partial.write_text(json.dumps(tree, indent=1) + "\n")
    os.replace(partial, file)


def _show(console: Console, task: str, steps: int, curves: Curves) -> None:
    known = {name: [run for run in runs if run.points] for name, runs in curves.items()}
    table = Table(title=f"{task}, {steps:,} steps", title_justify="left", pad_edge=False)
    table.add_column("agent", no_wrap=True)
    for name in ("seeds", "maximum [95 %]", "final [95 %]", "updates/s"):
        table.add_column(name, justify="right")
    for name, runs in known.items():
        if runs:
            rates = [run.updates_per_second for run in runs if run.updates_per_second]
            table.add_row(
                name,
                str(len(runs)),
                _interval(seed_interval([run.maximum for run in runs])),
                _interval(seed_interval([run.final for run in runs])),
                f"{sum(rates) / len(rates):.0f}" if rates else "-",
            )
    console.print(table)
    results = published(task)
    if results:
        table = Table(title="published (+- standard deviation)", title_justify="left", pad_edge=False)
        table.add_column("by", no_wrap=True)
        table.add_column("steps", justify="right")
        table.add_column("return", justify="right")
        table.add_column("of")
        for result in results:
            value = f"{result.mean:,.0f} +- {result.spread:,.0f}"
            table.add_row(result.who, f"{result.steps:,}", value, result.kind)
        console.print(table)


def _interval(interval: ConfidenceInterval) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.estimate:,.0f}"
    return f"{interval.estimate:,.0f} [{interval.low:,.0f}, {interval.high:,.0f}]"
