"""What ``av-td3 train`` and ``av-td3 evaluate`` do."""

from __future__ import annotations

import contextlib
import errno
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from av_td3.agent.replay import ReplayMemoryError
from av_td3.agent.td3 import TD3
from av_td3.config import Config, EnvConfig
from av_td3.driving.errors import DrivingError, SetupError
from av_td3.errors import UserError
from av_td3.evaluation import report, rollout
from av_td3.evaluation.baselines import ClassicalDriver, RandomPolicy
from av_td3.evaluation.metrics import Comparison, compare, scalars
from av_td3.evaluation.video import VideoRecorder
from av_td3.health.catalogue import FAULTS, Fault, injected
from av_td3.supervision.supervised import SupervisedEnv
from av_td3.training import checkpoint, provenance
from av_td3.training.checkpoint import CheckpointError
from av_td3.training.display import TerminalDisplay
from av_td3.training.memory import tune_allocator
from av_td3.training.run_directory import RunDirectory, RunError, default_path, write_atomically
from av_td3.training.trainer import Outcome, Trainer, make_agent, policy_of

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def start(config: Config, preset: str, path: Path | None, fault: Fault | None = None) -> int:
    """A new run, with a fault of the catalogue committed in it if given; returns the exit status."""
    with _one_line_errors():
        path = path or default_path(preset, config.train.seed)
        run = RunDirectory.create(path, config, provenance.collect())
        try:
            with _terminable():
                return _train(run, config, resumed=False, fault=fault)
        finally:
            # A run that never made a step is none: nothing half-written stays behind.
            if not checkpoint.available(run.checkpoints) and not run.status().get("step"):
                shutil.rmtree(path, ignore_errors=True)


def find_fault(identity: str) -> Fault:
    """A fault of the catalogue.

    Raises:
        UserError: there is none of that id.
    """
    try:
        return FAULTS[identity]
    except KeyError:
        raise UserError(f"unknown fault {identity!r}; av-td3 faults lists them", BAD_INPUT) from None


def resume(path: Path) -> int:
    """Go on with a run from its newest whole checkpoint; returns the exit status."""
    with _one_line_errors(), _terminable():
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
    with _one_line_errors(), _terminable():
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


def _train(run: RunDirectory, config: Config, resumed: bool, fault: Fault | None = None) -> int:
    tune_allocator()
    console = Console()
    display = TerminalDisplay(console, config.train.steps, config.train.max_minutes)

    def make_env() -> SupervisedEnv:
        return SupervisedEnv(config.env, "train", log_dir=run.logs)

    def evaluate_agent(agent: TD3, step: int) -> dict[str, Any]:
        settings = config.evaluation
        with contextlib.closing(SupervisedEnv(config.env, "held_out", log_dir=run.logs)) as env:
            result = rollout.evaluate(env, _policy(agent), settings.episodes, settings.seed)
        return scalars(result)

    trainer = Trainer(config, run, make_env, evaluate_agent, display)  # type: ignore[arg-type]
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
    with display, injected(fault, trainer) if fault else contextlib.nullcontext():
        outcome = trainer.train()
    if fault is not None:
        return OK if outcome.state == "finished" else FAILED
    return _finish(run, config, trainer, outcome, console)


def _finish(run: RunDirectory, config: Config, trainer: Trainer, outcome: Outcome, console: Console) -> int:
    console.print(
        f"{outcome.state} after {outcome.step} steps, {outcome.updates} updates, "
        f"{outcome.minutes:.1f} minutes" + (f": {outcome.reason}" if outcome.reason else ""),
        highlight=False,
        soft_wrap=True,
    )
    if outcome.state == "interrupted":
        console.print(f"go on with: av-td3 train --resume {run.path}", highlight=False, soft_wrap=True)
        return INTERRUPTED
    if outcome.state in ("failed", "stopped"):
        console.print(f"last good checkpoint: {outcome.checkpoint}", highlight=False, soft_wrap=True)
        console.print(f"find out why: av-td3 diagnose {run.path}", highlight=False, soft_wrap=True)
        return FAILED
    settings = config.evaluation
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
def _terminable() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that every child process is ended on the way out."""

    def handle(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


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
