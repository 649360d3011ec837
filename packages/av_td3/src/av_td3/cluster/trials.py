"""The runs of a sweep on a Ray cluster.  Ray Tune says which starts where and when, and nothing else.

What there is to run, what is done and how it goes on stands in the sweep's own folder, as without Ray.
Nothing is ever restored from what Tune writes: such a restore could not change the list of runs, and reads
pickles.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

# Read by Ray when it is imported: no loggers of its own, no handlers of signals, no change of the folder.
os.environ.update(
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
    TUNE_DISABLE_SIGINT_HANDLER="1",
    RAY_CHDIR_TO_TRIAL_DIR="0",
    RAY_AIR_NEW_OUTPUT="0",
)

from ray import tune

from av_td3.cluster.link import Cluster, check_folder
from av_td3.supervision.launcher import last_line
from av_td3.supervision.process import Child

LOSSES = 5
"""How often a run is begun again because its node was lost; then it counts as failed."""
LOCK_S = 120.0
"""How long a run waits for its folder: on a node that has lost the cluster's head, it ends after a minute."""
POLL_S = 1.0
GRACE_S = 60.0
"""Seconds that a run has to save itself when the sweep is ended."""
ENDING = ".ending"
"""File in the sweep's folder whose presence ends all runs in good order."""
STATE = ".ray"
"""Folder in the sweep's folder for what Tune writes; removed at the end."""


class Trial(Protocol):
    """A run of a sweep."""

    @property
    def name(self) -> str:
        """Of the run, and of its folder."""

    def start(self, log: Path, patience_s: float) -> Child:
        """Start it, or go on with it; waits so long for another process that still has its folder."""

    def failure(self, child: Child) -> str:
        """Why it failed, after it has ended; empty when it did not."""


class SweepRun(tune.Trainable):
    """One run, in a process below that of a Ray actor.  Its state is in its folder alone."""

    def setup(
        self, config: dict[str, Any], trials: Mapping[str, Trial] | None = None, folder: str = ""
    ) -> None:
        """Start the run, unless the sweep is being ended."""
        assert trials is not None
        self._folder, self._trial = Path(folder), trials[config["trial"]]
        self._child: Child | None = None
        if not self._is_ending:
            self._child = self._trial.start(log_of(self._folder, self._trial.name), LOCK_S)

    @property
    def _is_ending(self) -> bool:
        return (self._folder / ENDING).exists()

    def step(self) -> dict[str, Any]:
        """Wait a while; whether the run has ended, and why it failed if it did."""
        child = self._child
        if child is None:
            return {"done": True, "reason": INTERRUPTED}
        until = time.monotonic() + 5 * POLL_S
        while time.monotonic() < until and not child.wait(POLL_S):
            if self._is_ending:
                child.terminate()
                child.wait(GRACE_S)
                child.stop()
                return {"done": True, "reason": INTERRUPTED}
        if child.exit_status is None:
            return {"done": False}
        reason = self._trial.failure(child)
        child.stop()
        return {"done": True, "reason": reason}

    def cleanup(self) -> None:
        """End the run, if it has not ended."""
        if self._child is not None:
            self._child.stop(grace_s=2.0)


INTERRUPTED = "interrupted"


def log_of(folder: Path, name: str) -> Path:
    """Where a run's output goes."""
    return folder / "logs" / f"{name}.log"


class Told(tune.Callback):
    """Says what becomes of the runs, a line each."""

    def __init__(self, tell: Callable[[str], None], count: int) -> None:
        self._tell, self._count, self._begun = tell, count, dict[str, float]()

    def __getstate__(self) -> dict[str, Any]:
        """Without the listener: Tune writes callbacks to a file, and a console cannot be pickled."""
        return {**vars(self), "_tell": None}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A run begins."""
        name = trial.config["trial"]
        again = name in self._begun
        self._begun.setdefault(name, time.monotonic())
        self._tell(f"{name} goes on" if again else f"[{len(self._begun)}/{self._count}] {name} starts")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """The node of a run was lost, too often."""
        self._tell(f"{trial.config['trial']} lost its node too often")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """The node of a run was lost."""
        self._tell(f"{trial.config['trial']} lost its node, and is begun again elsewhere")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A run has ended."""
        name, reason = trial.config["trial"], trial.last_result.get("reason", "")
        minutes = (time.monotonic() - self._begun[name]) / 60
        self._tell(f"{name} {'failed' if reason else 'is done'} after {minutes:.1f} minutes")


def run_all(
    cluster: Cluster,
    trials: Sequence[Trial],
    folder: Path,
    jobs: int | None,
    tell: Callable[[str], None],
) -> dict[str, str]:
    """Run the trials; returns why those that failed did, by name.

    Args:
        cluster: with room for one of them at least.
        folder: of the sweep: an absolute path, the same on all nodes.
        jobs: how many run at the same time; None for as many as there is room for.
        tell: takes a line about what happens.

    Raises:
        UserError: a node does not see the folder.
        KeyboardInterrupt: the sweep was ended; the runs have saved themselves.
    """
    check_folder(cluster, folder)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what it has to say is said in lines of our own
    (folder / ENDING).unlink(missing_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    trainable = tune.with_parameters(SweepRun, trials={t.name: t for t in trials}, folder=str(folder))
    tuner = tune.Tuner(
        tune.with_resources(trainable, dict(cluster.needs)),
        param_space={"trial": tune.grid_search([trial.name for trial in trials])},
        tune_config=tune.TuneConfig(max_concurrent_trials=jobs),
        run_config=tune.RunConfig(
            name=STATE,
            storage_path=str(folder),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=LOSSES),
            callbacks=[Told(tell, len(trials))],
            verbose=0,
        ),
    )
    try:
        with _ends_all(folder, tell) as ended:
            results = tuner.fit()
        if ended():
            raise KeyboardInterrupt
    finally:
        shutil.rmtree(folder / STATE, ignore_errors=True)
        (folder / ENDING).unlink(missing_ok=True)
    failed: dict[str, str] = {}
    for result in (results[index] for index in range(len(results))):
        name = (result.config or {})["trial"]
        reason = (result.metrics or {}).get("reason", "")
        if result.error is not None:
            reason = f"it was begun {LOSSES + 1} times and lost each time: {last_line(str(result.error))}"
        if reason:
            failed[name] = reason
    return failed


@contextlib.contextmanager
def _ends_all(folder: Path, tell: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Within the block a signal lets all runs save themselves and end; a second one is Ctrl-C."""
    received: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt
        (folder / ENDING).touch()
        tell("ending: the runs save themselves; once more ends them at once")

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
