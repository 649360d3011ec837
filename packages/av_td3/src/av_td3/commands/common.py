"""What the commands share: a run directory, a trainer, errors in one line, exit statuses."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from av_td3.agent.replay import ReplayMemoryError
from av_td3.agent.td3 import TD3
from av_td3.config import Config
from av_td3.driving.errors import DrivingError, SetupError
from av_td3.errors import UserError
from av_td3.evaluation import rollout
from av_td3.evaluation.metrics import scalars
from av_td3.supervision.supervised import SupervisedEnv
from av_td3.training import checkpoint, provenance
from av_td3.training.agents import policy_of
from av_td3.training.checkpoint import CheckpointError
from av_td3.training.display import TerminalDisplay
from av_td3.training.run_directory import RunDirectory, RunError
from av_td3.training.trainer import Trainer

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses of the commands."""


@contextlib.contextmanager
def new_run(path: Path, config: Config) -> Iterator[RunDirectory]:
    """Make a run directory, and remove it again if the run never makes a step.

    Raises:
        RunError: the path exists and is not empty, or cannot be written.
    """
    run = RunDirectory.create(path, config, provenance.collect())
    try:
        yield run
    finally:
        # The alert of a first step that failed is all there is to learn from: keep it.
        seen = run.status().get("step") or run.alerts.exists()
        if not checkpoint.available(run.checkpoints) and not seen:
            shutil.rmtree(path, ignore_errors=True)


def make_trainer(run: RunDirectory, config: Config, display: TerminalDisplay) -> Trainer:
    """A trainer whose simulator is supervised, and whose evaluations have a simulator of their own."""

    def make_env() -> SupervisedEnv:
        return SupervisedEnv(config.env, "train", log_dir=run.logs)

    def evaluate(agent: TD3, step: int) -> dict[str, float]:
        settings = config.evaluation
        with contextlib.closing(SupervisedEnv(config.env, "held_out", log_dir=run.logs)) as env:
            result = rollout.evaluate(env, policy_of(agent), settings.episodes, settings.seed)
        return scalars(result)

    return Trainer(config, run, make_env, evaluate, display)


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print text as it is: paths are not broken into lines, nothing in it is taken for markup."""
    console.print(text, style=style, highlight=False, soft_wrap=True, markup=False)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what a user can do something about into a UserError: one line and an exit status."""
    try:
        yield
    except (SetupError, RunError, ReplayMemoryError) as error:
        raise UserError(str(error), BAD_INPUT) from None
    except (DrivingError, CheckpointError, rollout.EvaluationError) as error:
        raise UserError(str(error), FAILED) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            place = error.filename or "run directory"
            raise UserError(f"the disk is full ({place}): free space and --resume", FAILED) from None
        if error.errno in (errno.EACCES, errno.EROFS):
            raise UserError(f"cannot write: {error}", FAILED) from None
        raise
