"""What ``av-td3 train`` and ``av-td3 evaluate`` do."""

from __future__ import annotations

import contextlib
import errno
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from av_td3.agent.replay import ReplayMemoryError
from av_td3.agent.td3 import TD3
from av_td3.config import Config, EnvConfig, TrainConfig
from av_td3.driving.errors import DrivingError, SetupError
from av_td3.errors import UserError
from av_td3.evaluation import report, rollout
from av_td3.evaluation.baselines import ClassicalDriver, RandomPolicy
from av_td3.evaluation.metrics import Comparison, compare, scalars
from av_td3.evaluation.video import VideoRecorder
from av_td3.health.catalogue import FAULTS, Fault, injected
from av_td3.supervision.supervised import SupervisedEnv
from av_td3.training import checkpoint, gates, provenance
from av_td3.training.checkpoint import CheckpointError
from av_td3.training.display import TerminalDisplay
from av_td3.training.memory import tune_allocator
from av_td3.training.run_directory import RunDirectory, RunError, default_path, write_atomically
from av_td3.training.signals import raise_if_received, terminable
from av_td3.training.trainer import Outcome, Trainer, make_agent, policy_of

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def start(config: Config, preset: str, path: Path | None, fault: Fault | None = None) -> int:
    """A new run, with a fault of the catalogue committed in it if given; returns the exit status."""
    path = path or default_path(preset, config.train.seed)
    errors = contextlib.nullcontext() if config.train.debug else _one_line_errors()
    with errors, terminable(), _new_run(path, config) as run:
        return _train(run, config, resumed=False, fault=fault)


@contextlib.contextmanager
def _new_run(path: Path, config: Config) -> Iterator[RunDirectory]:
    """A run directory; one that never saw a step is none, and nothing half-written stays behind."""
    run = RunDirectory.create(path, config, provenance.collect())
    try:
        yield run
    finally:
        # What an alert says of a first step that failed is all there is to learn from.
        seen = run.status().get("step") or run.alerts.exists()
        if not checkpoint.available(run.checkpoints) and not seen:
            shutil.rmtree(path, ignore_errors=True)


def find_fault(identity: str) -> Fault:
    """A fault of the catalogue.

    Raises:
        UserError: there is none of that id.
    """
    try:
        return FAULTS[identity]
    except KeyError:
        raise UserError(f"unknown fault {identity!r}; av-td3 faults list shows them", BAD_INPUT) from None


def resume(path: Path) -> int:
    """Go on with a run from its newest whole checkpoint; returns the exit status."""
    with _one_line_errors(), terminable():
        run = RunDirectory.open(path)
        config = run.config()
        run.append_provenance(provenance.collect())
        return _train(run, config, resumed=True)


def evaluate(
    path: Path,
    *,
    episodes: int | None = None,
    seed: int | None = None,
    npc: int | None = None,
    address: str | None = None,
    baselines: bool = True,
    video: bool = True,
    json_file: Path | None = None,
) -> int:
    """Drive the agent of a run on held-out routes; returns the exit status."""
    with _one_line_errors(), terminable():
        run = RunDirectory.open(path)
        config = run.config()
        changes = {"npc": npc, "address": address}
        simulator = config.env.simulator.model_copy(
            update={key: value for key, value in changes.items() if value is not None}
        )
        env_config = config.env.model_copy(update={"simulator": simulator})
        settings = config.evaluation
        agent = make_agent(config)
        newest, _, problems = checkpoint.newest_good(run.checkpoints)
        for problem in problems:
            Console(stderr=True).print(f"skipped a checkpoint: {problem}", highlight=False)
        checkpoint.load_agent(newest, agent, optimizers=False)
        console = Console()
        console.print(f"agent: {newest}", highlight=False, soft_wrap=True)
        comparison = final_evaluation(
            run,
            config,
            agent,
            console,
            env_config=env_config,
            episodes=episodes or settings.final_episodes,
            seed=settings.seed if seed is None else seed,
            baselines=baselines,
            video=video,
        )
        if json_file is not None:
            report.write_json(json_file, comparison)
        return OK


def validate(config: Config, preset: str, path: Path | None, until: int, gates_file: Path | None) -> int:
    """Train stage by stage, each continuing the last, as long as the gates are passed."""
    with _one_line_errors(), terminable():
        rules = gates.load_gates(gates_file)
        gates.check_judgeable(rules, config, until)
        config = config.model_copy(update={"train": _until(config, until)})
        with _new_run(path or default_path(f"validate-{preset}", config.train.seed), config) as run:
            return _validate(run, config, rules, until, [])


def resume_validation(path: Path, until: int, gates_file: Path | None) -> int:
    """Go on with a validation that was interrupted, or beyond the stages that it has passed."""
    with _one_line_errors(), terminable():
        rules = gates.load_gates(gates_file)
        run = RunDirectory.open(path)
        done = [stage for stage in gates.recorded(run) if stage.passed]
        if done and done[-1].steps >= until:
            raise UserError(f"{path} has passed {done[-1].steps:,} steps already: give a larger --until", 2)
        config = run.config()
        gates.check_judgeable(rules, config, until)
        run.append_provenance(provenance.collect())
        return _validate(run, config, rules, until, done)


def _validate(
    run: RunDirectory, config: Config, rules: gates.Gates, until: int, done: list[gates.Stage]
) -> int:
    tune_allocator()
    console = Console()
    console.print(f"run directory: {run.path}", highlight=False, soft_wrap=True)
    previous = done[-1].steps if done else 0
    for steps in [s for s in rules.stages if previous < s < until] + [until]:
        # The stages of 5K and 10K steps must have seen an evaluation, longer ones the preset's own.
        interval = min(config.evaluation.interval, max(2_000, steps // 5))
        evaluation = config.evaluation.model_copy(update={"interval": interval})
        staged = config.model_copy(update={"train": _until(config, steps), "evaluation": evaluation})
        display = TerminalDisplay(console, steps, None, previous)
        trainer = _make_trainer(run, staged, display)
        if checkpoint.available(run.checkpoints):
            trainer.restore()
        raise_if_received()
        with display:
            outcome = trainer.train()
        if outcome.state == "interrupted":
            console.print(
                f"interrupted; go on with: av-td3 validate --resume {run.path} --until {until}",
                highlight=False,
                soft_wrap=True,
            )
            return INTERRUPTED
        stage = gates.judge(rules, steps, previous, gates.read_series(run), trainer.bounds.q)
        if outcome.state != "finished":
            stage = gates.unfinished(stage, outcome.step, outcome.state)
        done.append(stage)
        gates.record(run, done, rules)
        _show_stage(console, stage)
        if not stage.passed:
            console.print(
                f"the gate at {steps:,} steps was not passed"
                + (f" ({outcome.state}: {outcome.reason})" if outcome.reason else ""),
                style="bold red",
                soft_wrap=True,
            )
            _write_diagnosis(run, console)
            return FAILED
        previous = steps
    console.print(f"all gates up to {previous:,} steps passed", style="bold green")
    return OK


def check_earned(config: Config, validated: Path | None) -> None:
    """A run of a million steps must have been earned.

    Raises:
        UserError: it was not; the message says how to earn it.
    """
    if config.train.steps < gates.LONG_RUN:
        return
    how = "run: av-td3 validate --until 10000, then give --validated DIR; or insist with --ungated"
    if validated is None:
        raise UserError(f"{config.train.steps:,} steps need a passed 10K gate; {how}", BAD_INPUT)
    with _one_line_errors():
        run = RunDirectory.open(validated)
        reason, own = gates.earned(run, config), gates.own_criteria(run)
    if reason:
        raise UserError(f"{reason}; {how}", BAD_INPUT)
    if own:
        Console().print(f"earned by criteria of its own: {run.path / 'gates.yaml'}", soft_wrap=True)


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
    """The diagnosis of a run that failed its gate, into the run directory."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "rundoctor", str(run.path)),
            *("--markdown", str(run.path / "diagnosis.md"), "--html", str(run.path / "diagnosis.html")),
        ],
        check=False,
    )
    if done.returncode <= 2:
        console.print(f"diagnosis: {run.path / 'diagnosis.html'}", highlight=False, soft_wrap=True)


def _train(run: RunDirectory, config: Config, resumed: bool, fault: Fault | None = None) -> int:
    tune_allocator()
    console = Console()
    display = TerminalDisplay(console, config.train.steps, config.train.max_minutes)
    trainer = _make_trainer(run, config, display)
    if resumed:
        trainer.restore()
    console.print(f"run directory: {run.path}", highlight=False, soft_wrap=True)
    console.print(
        f"replay: {trainer.replay.bytes_per_slot:,} bytes a transition, "
        f"{config.replay.capacity * trainer.replay.bytes_per_slot / 2**30:.2f} GiB when full",
        highlight=False,
    )
    if fault is not None:
        console.print(f"[bold red]injected fault:[/bold red] {fault.id}: {fault.what}", soft_wrap=True)
    raise_if_received()
    with display, injected(fault, trainer) if fault else contextlib.nullcontext():
        outcome = trainer.train()
    return _finish(run, config, trainer, outcome, console, faulty=fault is not None)


def _make_trainer(run: RunDirectory, config: Config, display: TerminalDisplay) -> Trainer:
    def make_env() -> SupervisedEnv:
        return SupervisedEnv(config.env, "train", log_dir=run.logs)

    def evaluate_agent(agent: TD3, step: int) -> dict[str, Any]:
        settings = config.evaluation
        with contextlib.closing(SupervisedEnv(config.env, "held_out", log_dir=run.logs)) as env:
            result = rollout.evaluate(env, _policy(agent), settings.episodes, settings.seed)
        return scalars(result)

    return Trainer(config, run, make_env, evaluate_agent, display)  # type: ignore[arg-type]


def _finish(
    run: RunDirectory,
    config: Config,
    trainer: Trainer,
    outcome: Outcome,
    console: Console,
    *,
    faulty: bool,
) -> int:
    console.print(
        f"{outcome.state} after {outcome.step} steps, {outcome.updates} updates, "
        f"{outcome.minutes:.1f} minutes" + (f": {outcome.reason}" if outcome.reason else ""),
        highlight=False,
        soft_wrap=True,
    )
    if outcome.state == "interrupted":
        if not faulty:  # resumed, it would go on without the fault
            console.print(f"go on with: av-td3 train --resume {run.path}", highlight=False, soft_wrap=True)
        return INTERRUPTED
    if outcome.state in ("failed", "stopped"):
        kept = outcome.checkpoint or "none: no episode had ended yet"
        console.print(f"last good checkpoint: {kept}", highlight=False, soft_wrap=True)
        console.print(f"find out why: av-td3 diagnose {run.path}", highlight=False, soft_wrap=True)
        return FAILED
    settings = config.evaluation
    if not faulty:
        final_evaluation(
            run, config, trainer.agent, console, episodes=settings.final_episodes, seed=settings.seed
        )
    console.print(f"results:     {run.path}", highlight=False, soft_wrap=True)
    console.print(f"TensorBoard: tensorboard --logdir {run.tensorboard}", highlight=False, soft_wrap=True)
    console.print(f"diagnosis:   av-td3 diagnose {run.path}", highlight=False, soft_wrap=True)
    return OK


def final_evaluation(
    run: RunDirectory,
    config: Config,
    agent: TD3,
    console: Console,
    *,
    episodes: int,
    seed: int,
    env_config: EnvConfig | None = None,
    baselines: bool = True,
    video: bool = True,
) -> Comparison:
    """The agent, and what to compare it with, on the same held-out routes; table, JSON, video."""
    env_config = env_config or config.env
    contenders: dict[str, rollout.Policy] = {"trained": _policy(agent)}
    if baselines:
        contenders |= {
            "untrained": _policy(make_agent(config)),
            "random": RandomPolicy(),
            "classical": ClassicalDriver(env_config),
        }
    results: dict[str, rollout.Evaluation] = {}
    render_mode = "rgb_array" if video else None
    camera = (
        VideoRecorder(run.videos / "final.mp4", title="trained", on_error=console.print) if video else None
    )
    with contextlib.closing(
        SupervisedEnv(env_config, "held_out", log_dir=run.logs, render_mode=render_mode)
    ) as env:
        for name, policy in contenders.items():
            with console.status(f"evaluating {name} on {episodes} held-out routes ..."):
                recorder = camera if name == "trained" else None
                results[name] = rollout.evaluate(env, policy, episodes, seed, record=recorder, name=name)
    comparison = compare(results)
    report.show(comparison, console)
    report.write_json(run.evaluations / "final.json", comparison)
    write_atomically(run.evaluations / "final.md", report.markdown(comparison))
    for film in camera.files if camera else ():
        console.print(f"video:       {film}", highlight=False, soft_wrap=True)
    return comparison


def _policy(agent: TD3) -> rollout.Policy:
    act: Callable[[dict[str, Any]], np.ndarray] = policy_of(agent)

    def policy(observation: Mapping[str, Any]) -> np.ndarray:
        return act(dict(observation))

    return policy


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn what a user can do something about into one line and an exit status."""
    try:
        yield
    except (SetupError, RunError, ReplayMemoryError) as error:
        raise UserError(str(error), BAD_INPUT) from None
    except (DrivingError, CheckpointError, rollout.EvaluationError) as error:
        raise UserError(str(error), FAILED) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"the disk is full ({error.filename or 'run directory'}): free space and --resume", FAILED
            ) from None
        if error.errno in (errno.EACCES, errno.EROFS):
            raise UserError(f"cannot write: {error}", FAILED) from None
        raise
