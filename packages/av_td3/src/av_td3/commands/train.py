"""``av-td3 train``: a new run, or one that goes on."""

from __future__ import annotations

import contextlib
from pathlib import Path

from rich.console import Console

from av_td3.commands import common
from av_td3.commands.common import BAD_INPUT, FAILED, INTERRUPTED, OK, say
from av_td3.commands.evaluate import final_evaluation
from av_td3.config import Config
from av_td3.errors import UserError
from av_td3.training import gates, provenance
from av_td3.training.display import TerminalDisplay
from av_td3.training.fault_catalogue import FAULTS, InjectedFault, injected
from av_td3.training.memory import tune_allocator
from av_td3.training.run_directory import RunDirectory, default_path
from av_td3.training.signals import raise_if_received, terminable
from av_td3.training.trainer import Outcome, Trainer


def start(config: Config, preset: str, path: Path | None, fault: InjectedFault | None = None) -> int:
    """A new run, with a fault of the catalogue injected if one is given; returns the exit status."""
    path = path or default_path(preset, config.train.seed)
    errors = contextlib.nullcontext() if config.train.debug else common.one_line_errors()
    with errors, terminable(), common.new_run(path, config) as run:
        return _train(run, config, resumed=False, fault=fault)


def resume(path: Path) -> int:
    """Go on with a run from its newest whole checkpoint; returns the exit status."""
    with common.one_line_errors(), terminable():
        run = RunDirectory.open(path)
        config = run.config()
        run.append_provenance(provenance.collect())
        return _train(run, config, resumed=True)


def find_fault(identity: str) -> InjectedFault:
    """A fault of the catalogue.

    Raises:
        UserError: there is none of that id.
    """
    try:
        return FAULTS[identity]
    except KeyError:
        raise UserError(f"unknown fault {identity!r}; av-td3 faults list shows them", BAD_INPUT) from None


def check_earned(config: Config, validated: Path | None) -> None:
    """Refuse a run of a million steps that no validation has shown to be worth its time.

    Raises:
        UserError: the message says how to validate it.
    """
    if config.train.steps < gates.LONG_RUN:
        return
    how = "run: av-td3 validate --until 10000, then give --validated DIR; or insist with --ungated"
    if validated is None:
        raise UserError(f"{config.train.steps:,} steps need a passed 10K gate; {how}", BAD_INPUT)
    with common.one_line_errors():
        run = RunDirectory.open(validated)
        reason, own = gates.earned(run, config), gates.own_criteria(run)
    if reason:
        raise UserError(f"{reason}; {how}", BAD_INPUT)
    if own:
        say(Console(), f"earned by criteria of its own: {run.path / 'gates.yaml'}")


def _train(run: RunDirectory, config: Config, resumed: bool, fault: InjectedFault | None = None) -> int:
    tune_allocator()
    console = Console()
    display = TerminalDisplay(console, config.train.steps, config.train.max_minutes)
    trainer = common.make_trainer(run, config, display)
    if resumed:
        trainer.restore()
    say(console, f"run directory: {run.path}")
    slot = trainer.state.replay.bytes_per_slot
    say(
        console,
        f"replay: {slot:,} bytes a transition, {config.replay.capacity * slot / 2**30:.2f} GiB when full",
    )
    if fault is not None:
        say(console, f"injected fault: {fault.id}: {fault.what}", style="bold red")
    raise_if_received()
    with display, injected(fault, trainer) if fault else contextlib.nullcontext():
        outcome = trainer.train()
    return _finish(run, config, trainer, outcome, console, faulty=fault is not None)


def _finish(
    run: RunDirectory,
    config: Config,
    trainer: Trainer,
    outcome: Outcome,
    console: Console,
    *,
    faulty: bool,
) -> int:
    say(
        console,
        f"{outcome.state} after {outcome.step} steps, {outcome.updates} updates, "
        f"{outcome.minutes:.1f} minutes" + (f": {outcome.reason}" if outcome.reason else ""),
    )
    if outcome.state == "interrupted":
        if not faulty:  # resumed, it would go on without the fault
            say(console, f"go on with: av-td3 train --resume {run.path}")
        return INTERRUPTED
    if outcome.state in ("failed", "stopped"):
        say(console, f"last good checkpoint: {outcome.checkpoint or 'none: no episode had ended yet'}")
        say(console, f"find out why: av-td3 diagnose {run.path}")
        return FAILED
    if not faulty:
        settings = config.evaluation
        final_evaluation(
            run,
            config,
            trainer.state.agent,
            console,
            episodes=settings.final_episodes,
            seed=settings.seed,
        )
    say(console, f"results:     {run.path}")
    say(console, f"TensorBoard: tensorboard --logdir {run.tensorboard}")
    say(console, f"diagnosis:   av-td3 diagnose {run.path}")
    return OK
