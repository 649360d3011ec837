"""``av-td3 validate``: train stage by stage, each continuing the last, as long as the gates are passed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from av_td3.commands import common
from av_td3.commands.terminal import own_command, say
from av_td3.config import Config, TrainConfig
from av_td3.errors import BAD_INPUT, FAILED, INTERRUPTED, OK, UserError
from av_td3.health.alerts import Bounds
from av_td3.training import checkpoint, gates
from av_td3.training.display import TerminalDisplay
from av_td3.training.memory import tune_allocator
from av_td3.training.run_directory import RunDirectory, default_path
from av_td3.training.signals import raise_if_received, terminable


def start(config: Config, preset: str, path: Path | None, until: int, gates_file: Path | None) -> int:
    """A new validation up to ``until`` steps; returns the exit status."""
    with common.one_line_errors(), terminable():
        rules = gates.load_gates(gates_file)
        gates.check_judgeable(rules, config, until)
        common.check_before_start(config)
        config = config.model_copy(update={"train": _until(config, until)})
        path = path or default_path(f"validate-{preset}", config.train.seed)
        config = common.measured(config, Console())
        with common.new_run(path, config) as run:
            gates.record(run, [], rules)  # a resume of the first stage needs to know the criteria, too
            return _validate(run, config, rules, until, [])


def resume(path: Path, until: int, gates_file: Path | None) -> int:
    """Go on with a validation that was interrupted, or beyond the stages that it has passed.

    Without ``gates_file`` it goes by its own criteria.  With others, what it has passed is judged again by
    these: so all stages of a validation went by the criteria that it keeps.
    """
    with common.one_line_errors(), terminable():
        run = RunDirectory.open(path)
        kept = gates.kept(run)
        rules = kept if gates_file is None and kept is not None else gates.load_gates(gates_file)
        fault = run.injected_fault()
        if fault is not None:
            raise UserError(f"{path} has an injected fault ({fault}): it must pass no gate", BAD_INPUT)
        done = [stage for stage in gates.recorded(run) if stage.passed]
        others = kept is None or not gates.alike(kept, rules)
        if done and done[-1].steps >= until and not others:
            raise UserError(
                f"{path} has passed {done[-1].steps:,} steps already: give a larger --until", BAD_INPUT
            )
        config = run.config()
        gates.check_judgeable(rules, config, until)
        common.check_before_start(config)
        with run.lock():
            config = common.going_on(run, config, Console())
            if done and others:
                done = _judge_again(run, config, rules, done[-1].steps)
                if not done[-1].passed:
                    return FAILED
            return _validate(run, config, rules, until, done)


def _judge_again(run: RunDirectory, config: Config, rules: gates.Gates, steps: int) -> list[gates.Stage]:
    """Judge the stages that a validation has passed by other criteria than its own, which these replace."""
    console = Console()
    say(console, f"other criteria than before: what was trained up to {steps:,} steps is judged again")
    stages = gates.judge_again(rules, steps, gates.read_series(run), Bounds.of(config).q)
    gates.record(run, stages, rules)
    for stage in stages:
        _show_stage(console, stage)
    if not stages[-1].passed:
        say(console, f"the gate at {stages[-1].steps:,} steps was not passed", style="bold red")
    return stages


def _validate(
    run: RunDirectory, config: Config, rules: gates.Gates, until: int, done: list[gates.Stage]
) -> int:
    tune_allocator()
    console = Console()
    say(console, f"run directory: {run.path}")
    previous = done[-1].steps if done else 0
    for steps in sorted({s for s in (*rules.stages, until) if previous < s <= until}):
        # The stages of 5K and 10K steps must have seen an evaluation, longer ones the preset's own.
        interval = min(config.evaluation.interval, max(2_000, steps // 5))
        evaluation = config.evaluation.model_copy(update={"interval": interval})
        staged = config.model_copy(update={"train": _until(config, steps), "evaluation": evaluation})
        display = TerminalDisplay(console, steps, None, previous)
        trainer = common.make_trainer(run, staged, display)
        if checkpoint.available(run.checkpoints):
            trainer.restore()
        raise_if_received()
        with display:
            outcome = trainer.train()
        if outcome.state == "interrupted":
            go_on = f"{own_command()} validate --resume {run.path} --until {until}"
            say(console, f"interrupted; go on with: {go_on}")
            return INTERRUPTED
        bound = trainer.state.watch.bounds.q
        stage = gates.judge(rules, steps, previous, gates.read_series(run), bound)
        if outcome.state != "finished":
            stage = gates.unfinished(stage, outcome.step, outcome.state)
        done.append(stage)
        gates.record(run, done, rules)
        _show_stage(console, stage)
        if not stage.passed:
            why = f" ({outcome.state}: {outcome.reason})" if outcome.reason else ""
            say(console, f"the gate at {steps:,} steps was not passed{why}", style="bold red")
            _write_diagnosis(run, console)
            return FAILED
        previous = steps
    say(console, f"all gates up to {previous:,} steps passed", style="bold green")
    return OK


def _until(config: Config, steps: int) -> TrainConfig:
    return config.train.model_copy(update={"steps": steps, "max_minutes": None})


def _show_stage(console: Console, stage: gates.Stage) -> None:
    table = Table(
        title=f"gate at {stage.steps:,} steps: {'passed' if stage.passed else 'FAILED'}",
        title_justify="left",
        pad_edge=False,
    )
    table.add_column("criterion", overflow="fold")
    for column in ("found", "wanted", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for check in stage.checks:
        found = check.note if check.value is None else f"{check.value:.4g}"
        table.add_row(check.name, found, check.limit, "ok" if check.passed else "[red]fails[/red]")
    console.print(table)


def _write_diagnosis(run: RunDirectory, console: Console) -> None:
    """Write the diagnosis of a run that failed its gate into the run directory."""
    files = {"--markdown": run.path / "diagnosis.md", "--html": run.path / "diagnosis.html"}
    options = [str(part) for option in files.items() for part in option]
    done = subprocess.run([sys.executable, "-m", "rundoctor", str(run.path), *options], check=False)
    if done.returncode <= 2:
        say(console, f"diagnosis: {files['--html']}")
