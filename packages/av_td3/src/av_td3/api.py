"""Training from Python; ``av_td3.train`` and ``av_td3.evaluate`` are what the command line uses."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from av_td3.commands import common
from av_td3.commands.evaluate import evaluate
from av_td3.config import Config
from av_td3.training.display import TerminalDisplay
from av_td3.training.memory import tune_allocator
from av_td3.training.run_directory import RunDirectory
from av_td3.training.signals import terminable
from av_td3.training.trainer import Outcome

__all__ = ["evaluate", "resume", "train"]


def train(config: Config, run_dir: str | Path) -> Outcome:
    """Train a new agent; call it from the main thread, since it handles SIGINT, SIGTERM and SIGHUP.

    Args:
        config: the whole configuration, such as ``av_td3.load_config("quick")``.
        run_dir: a folder that does not exist yet, or is empty.

    Returns:
        How training ended: ``finished``, ``interrupted`` by a signal, ``stopped`` by an alert, or
        ``failed`` at a value that is not finite; with the newest checkpoint and all evaluations.

    Raises:
        ConfigError: the device or the map does not exist, or the device has no graphs and they are asked for.
        RunError: the folder is not empty or cannot be written.
        ReplayMemoryError: the replay does not fit into memory.
        DrivingError: the simulator cannot serve this, or failed too often in a row.
        CheckpointError: a checkpoint could not be written.
    """
    common.check_before_start(config)
    config = common.measured(config, Console())
    with terminable(), common.new_run(Path(run_dir), config) as run:
        return _train(run, config, resumed=False)


def resume(run_dir: str | Path, new_replay: bool = False) -> Outcome:
    """Go on with a run from its newest whole checkpoint, as :func:`train` does with a new one.

    On minicarla and on a CPU, the run goes on exactly as if it had never stopped (docs/long-runs.md).

    Args:
        run_dir: of the run.
        new_replay: collect the replay anew; that of the checkpoints may be damaged.

    Raises:
        ConfigError: as for :func:`train`.
        RunError: there is no run in this folder, or another process trains in it.
        CheckpointError: no checkpoint is whole.
    """
    run = RunDirectory.open(Path(run_dir))
    config = run.config()
    common.check_before_start(config)
    with terminable(), run.lock():
        return _train(run, common.going_on(run, config, Console()), resumed=True, new_replay=new_replay)


def _train(run: RunDirectory, config: Config, resumed: bool, new_replay: bool = False) -> Outcome:
    tune_allocator()
    display = TerminalDisplay(Console(), config.train.steps, config.train.max_minutes)
    trainer = common.make_trainer(run, config, display)
    if resumed:
        trainer.restore(new_replay)
    with display:
        return trainer.train()
