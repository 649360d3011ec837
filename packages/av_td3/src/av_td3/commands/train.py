"""``av-td3 train``: a new run, or one that goes on."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

from rich.console import Console

from av_td3.commands import common, finished
from av_td3.commands.common import Crews, Ray
from av_td3.commands.evaluate import final_evaluation
from av_td3.commands.terminal import own_command, say
from av_td3.config import Config, differences, with_measured
from av_td3.driving.errors import DrivingError
from av_td3.errors import BAD_INPUT, FAILED, INTERRUPTED, OK, UserError
from av_td3.evaluation import metrics
from av_td3.evaluation.rollout import EvaluationError
from av_td3.training import cards, checkpoint, gates, policies
from av_td3.training.display import TerminalDisplay
from av_td3.training.fault_catalogue import FAULTS, InjectedFault, injected
from av_td3.training.logger import log_final_evaluation
from av_td3.training.memory import tune_allocator
from av_td3.training.run_directory import RunDirectory, default_path
from av_td3.training.signals import raise_if_received, terminable
from av_td3.training.trainer import Outcome


def start(
    config: Config,
    preset: str,
    path: Path | None,
    fault: InjectedFault | None = None,
    ray: Ray | None = None,
) -> int:
    """A new run, or the one that the path holds already; returns the exit status.

    Args:
        fault: of the catalogue, to be injected.
        ray: the cluster that its simulators run on; None for this machine.
    """
    if fault is not None and config.agent.execution == "graphs":
        # The faults replace networks and losses, which a recorded update would not notice.
        raise UserError(
            "--inject: a fault cannot be put into a recorded update; set agent.execution=eager", BAD_INPUT
        )
    path = path or default_path(preset, config.train.seed)
    errors = contextlib.nullcontext() if config.train.debug else common.one_line_errors()
    with errors, terminable():
        common.check_before_start(config, ray)
        if RunDirectory.is_run(path):
            run = RunDirectory(path)
            with run.lock():
                return _go_on_as_told(run, config, fault, ray)
        with common.crews_on(ray, config, Console()) as crews:
            config = common.measured(config, Console())
            with common.new_run(path, config, fault) as run:
                return _train(run, config, fault, crews)


def resume(
    path: Path,
    steps: int | None = None,
    validated: Path | None = None,
    ungated: bool = False,
    ray: Ray | None = None,
    new_replay: bool = False,
) -> int:
    """Go on with a run from its newest whole checkpoint; returns the exit status.

    Args:
        path: the run directory.
        steps: new length of the whole run; None keeps it.  A time limit of the run is then lifted.
        validated, ungated: as for a new run, where ``steps`` makes this a long one.
        ray: the cluster that its simulators run on from now on; None for this machine.
        new_replay: collect the replay anew; that of the checkpoints may be damaged.
    """
    with common.one_line_errors(), terminable():
        run = RunDirectory.open(path)
        config = run.config()
        common.check_before_start(config, ray)
        with run.lock():
            fault = _fault_of(run)
            if steps is not None:
                config = _longer(run, config, steps)
                if not ungated:
                    config = check_earned(config, validated)
            return _go_on(run, config, fault, steps is not None, ray, new_replay)


def _go_on_as_told(run: RunDirectory, wanted: Config, fault: InjectedFault | None, ray: Ray | None) -> int:
    """Go on with a run whose settings are given once more; ``train.steps`` may be larger."""
    stored = run.config()
    wanted = with_measured(wanted, stored)  # what was chosen then stays
    extended = wanted.train.steps > stored.train.steps
    if extended or stored.train.max_minutes is None:  # a longer run has no time limit, and keeps none
        wanted = wanted.model_copy(update={"train": wanted.train.model_copy(update={"max_minutes": None})})
    injected_then, injected_now = run.injected_fault() or "none", fault.id if fault else "none"
    differing = differences(stored, wanted, "train.max_minutes" if extended else "", *MAY_DIFFER)
    if extended:
        differing.pop("train.steps")
    if injected_then != injected_now:
        differing["--inject"] = injected_then, injected_now
    if differing:
        shown = [f"{key} is {then} there and {now} here" for key, (then, now) in differing.items()]
        more = f", and {len(shown) - 5} more" if len(shown) > 5 else ""
        raise UserError(
            f"{run.path} holds a run with other settings: {', '.join(shown[:5])}{more}. Choose another "
            f"--run-dir, or go on with that run's own settings: {_resume_command(run)}",
            BAD_INPUT,
        )
    longer = _longer(run, wanted, wanted.train.steps) if extended else wanted
    return _go_on(run, longer, fault, extended, ray)


MAY_DIFFER = (
    "env.simulator.address",
    "train.device",
    "train.threads",
    "train.loggers",
    "train.debug",
    "replay.device",
    "agent.execution",
)
"""Settings that say where a run computes, and who is told.  They may change when it goes on, on another
machine say."""


def _go_on(
    run: RunDirectory,
    config: Config,
    fault: InjectedFault | None,
    extended: bool,
    ray: Ray | None,
    new_replay: bool = False,
) -> int:
    """Go on with a run that this process holds; ``extended``: it has become longer."""
    if not extended and finished.is_complete(run):
        finished.say_so(run)
        return OK
    with common.crews_on(ray, config, Console()) as crews:
        config = common.going_on(run, config, Console())
        if extended:
            run.set_final_aside()
        return _train(run, config, fault, crews, resumed=True, new_replay=new_replay)


def find_fault(identity: str) -> InjectedFault:
    """A fault of the catalogue.

    Raises:
        UserError: there is none of that id.
    """
    try:
        return FAULTS[identity]
    except KeyError:
        raise UserError(
            f"there is no fault {identity!r}: `av-td3 faults list` shows them all", BAD_INPUT
        ) from None


def check_earned(config: Config, validated: Path | None) -> Config:
    """Refuse a run of a million steps that no validation has shown to be worth its time.

    Returns:
        The configuration to train with: where it says ``agent.precision: auto``, the arithmetic that the
        validation has chosen.  It holds for no other.

    Raises:
        UserError: the message says how to validate it.
    """
    if config.train.steps < gates.LONG_RUN:
        return config
    how = "run `av-td3 validate --until 10000`, then give --validated DIR; or insist with --ungated"
    if validated is None:
        raise UserError(
            f"a run of {config.train.steps:,} steps takes days and needs a passed validation first: {how}",
            BAD_INPUT,
        )
    with common.one_line_errors():
        run = RunDirectory.open(validated)
        theirs, reason, own = run.config(), gates.earned(run, config), gates.own_criteria(run)
    if reason:
        raise UserError(f"{reason}; {how}", BAD_INPUT)
    if own:
        say(
            Console(),
            f"note: {run.path} was validated with other criteria than the bundled ones; they are in "
            f"{run.path / 'gates.yaml'}",
        )
    return config.model_copy(update={"agent": with_measured(config, theirs).agent})


def _fault_of(run: RunDirectory) -> InjectedFault | None:
    identity = run.injected_fault()
    return find_fault(identity) if identity else None


def _longer(run: RunDirectory, config: Config, steps: int) -> Config:
    _, state, _ = checkpoint.newest_good(run.checkpoints, replay=False)
    if steps <= state["step"]:
        raise UserError(
            f"{run.path} has made {state['step']:,} steps already: give a larger --steps", BAD_INPUT
        )
    return config.model_copy(
        update={"train": config.train.model_copy(update={"steps": steps, "max_minutes": None})}
    )


def _train(
    run: RunDirectory,
    config: Config,
    fault: InjectedFault | None,
    crews: Crews,
    resumed: bool = False,
    new_replay: bool = False,
) -> int:
    tune_allocator()
    console = Console()
    display = TerminalDisplay(console, config.train.steps, config.train.max_minutes)
    trainer = common.make_trainer(run, config, display, crews)
    if resumed:
        trainer.restore(new_replay)
    say(console, f"run directory: {run.path}")
    slot = trainer.state.replay.bytes_per_slot
    say(
        console,
        f"replay: {slot:,} bytes a transition, {config.replay.capacity * slot / 2**30:.2f} GiB when full",
    )
    if config.train.envs > 1:
        say(console, f"environments: {config.train.envs}, each with a simulator of its own")
    if config.train.learning_starts >= config.train.steps:
        say(
            console,
            f"note: train.learning_starts ({config.train.learning_starts:,}) is not below train.steps "
            f"({config.train.steps:,}): the networks will not be updated at all",
        )
    if fault is not None:
        say(console, f"injected fault: {fault.id}: {fault.what}", style="bold red")
    raise_if_received()
    try:
        with display, injected(fault, trainer) if fault else contextlib.nullcontext():
            outcome = trainer.train()
    except DrivingError as error:
        if trainer.state.checkpoint is None:
            raise
        raise UserError(
            f"{error} The run is kept at step {trainer.state.step}; go on with: {_resume_command(run)}",
            FAILED,
        ) from None
    return _finish(run, config, outcome, console, crews, faulty=fault is not None)


def _resume_command(run: RunDirectory) -> str:
    return f"{own_command()} train --resume {run.path}"


def _finish(
    run: RunDirectory, config: Config, outcome: Outcome, console: Console, crews: Crews, *, faulty: bool
) -> int:
    say(
        console,
        f"{outcome.state} after {outcome.step} steps, {outcome.updates} updates, "
        f"{outcome.minutes:.1f} minutes" + (f": {outcome.reason}" if outcome.reason else ""),
    )
    failures, seconds = run.simulator_failures()
    if failures:
        say(
            console,
            f"the simulator failed {failures} times, and was away for {seconds:.0f} s: "
            f"{run.logs / 'incidents.jsonl'}",
        )
    diagnose = f"{own_command()} diagnose {run.path}"
    if outcome.state == "interrupted":
        say(console, f"go on with: {_resume_command(run)}")
        return INTERRUPTED
    if outcome.state in ("failed", "stopped"):
        say(console, f"last good checkpoint: {outcome.checkpoint or 'none: no episode had ended yet'}")
        say(console, f"find out why: {diagnose}")
        return FAILED
    if not faulty:
        try:
            comparison = final_evaluation(run, config, console, crews())
        except (DrivingError, EvaluationError) as error:
            raise UserError(
                f"the training is complete and kept at step {outcome.step}, and its final evaluation failed: "
                f"{error}. Make it again with: {_resume_command(run)}",
                FAILED,
            ) from error
        row = metrics.scalars(comparison.evaluations["trained"])
        log_final_evaluation(run, config, outcome.step, row, partial(say, console))
        say(console, f"model card:  {cards.write_run_card(run, cards.final_agent(run.path))}")
    say(console, f"results:     {run.path}")
    if (run.policies / policies.BEST).is_file():
        say(console, f"best agent:  {run.policies / policies.BEST}")
    say(console, f"TensorBoard: tensorboard --logdir {run.tensorboard}")
    say(console, f"diagnosis:   {diagnose}")
    return OK
