"""A training run from its first step to its outcome: what goes around the loop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch

from av_td3.agent.gradients import NonFiniteGradientError
from av_td3.config import Config
from av_td3.driving.errors import DrivingError, InvalidActionError
from av_td3.evaluation.rollout import PolicyFailedError
from av_td3.health import guards
from av_td3.health.metrics import Scalars
from av_td3.supervision.fleet import DrivingEnv, Fleet
from av_td3.training import checkpoint, loop
from av_td3.training.checkpoint import CheckpointError
from av_td3.training.logger import Display, RunLogger
from av_td3.training.run_directory import RunDirectory
from av_td3.training.signals import StopRequest, StopRequested
from av_td3.training.state import TrainingState
from av_td3.training.trackers import Trackers
from rundoctor.signals import conditions

Ending = Literal["finished", "interrupted", "stopped", "failed"]
"""``interrupted``: by a signal; ``stopped``: by an alert; ``failed``: by a value that is not finite."""


@dataclass
class Outcome:
    """How training ended."""

    state: Ending
    step: int
    updates: int
    minutes: float
    reason: str = ""
    checkpoint: str | None = None
    """The newest one."""
    evaluations: list[Scalars] = field(default_factory=list)


class Trainer:
    """Trains one agent in one run directory."""

    def __init__(
        self,
        config: Config,
        run: RunDirectory,
        make_env: Callable[[], DrivingEnv],
        evaluate: loop.Evaluate,
        display: Display,
    ) -> None:
        """Make the agent and its replay.

        ``make_env`` is called ``train.envs`` times and makes another environment each time.

        Raises:
            ReplayMemoryError: the replay does not fit into memory.
        """
        self.config, self.run, self.display = config, run, display
        self.make_env, self.evaluate = make_env, evaluate
        if config.train.threads:
            torch.set_num_threads(config.train.threads)
        self.state = TrainingState(config, run.alerts)

    def restore(self, new_replay: bool = False) -> None:
        """Go on from the newest whole checkpoint of the run directory.

        What was logged, evaluated and kept after it is removed, and checkpoints after it, which are damaged,
        are renamed.  A run that was ended before its first checkpoint begins anew.

        Args:
            new_replay: leave the checkpoint's replay out, and collect it anew.

        Raises:
            CheckpointError: there is none that fits.
            RunError: a file of the run cannot be changed.
        """
        state, run = self.state, self.run
        if not checkpoint.available(run.checkpoints) and not run.policies.exists():
            self.display.message("the run was ended before its first checkpoint: it begins anew")
            run.drop_later(0, 0, None)
            return
        for note in state.restore(self.run.checkpoints, replay=not new_replay):
            self.display.message(note)
        best = state.best_evaluation
        dropped = self.run.drop_later(state.step, state.alerts_logged, int(best["step"]) if best else None)
        for note in dropped:
            self.display.message(note)

    def train(self) -> Outcome:
        """Train to the configured number of steps or minutes, or until told to stop.

        A signal ends the present step, writes a checkpoint and gives the outcome ``interrupted``.  A
        value that is not finite ends training with the last good state saved.
        """
        state = self.state
        state.start_clock()
        self.run.write_status("running", step=state.step)
        try:
            with (
                contextlib.closing(state),
                Trackers(self.config, self.run, self.display.message) as trackers,
                contextlib.closing(Fleet([self.make_env() for _ in range(self.config.train.envs)])) as fleet,
                contextlib.closing(
                    RunLogger(self.config, self.run, self.display, state.step, state.interval, trackers)
                ) as log,
            ):
                try:
                    ending, reason = self._loop(fleet, log)
                    trackers.ending = ending
                except DrivingError:
                    with log.warned_of(CheckpointError):
                        state.settle(wait=True)
                    self._save_if_sound(log)  # there may be a simulator to go on with tomorrow
                    raise
                with log.warned_of(CheckpointError):
                    state.settle(wait=True)
                # Stopped by an alert, the checkpoint to keep is the one from before the trouble.
                if ending != "stopped":
                    self._save_if_sound(log)
        except BaseException as error:
            self.run.write_status("failed", step=state.step, reason=f"{type(error).__name__}: {error}")
            raise
        outcome = Outcome(
            ending,
            state.step,
            state.agent.updates,
            state.minutes,
            reason,
            str(state.checkpoint) if state.checkpoint else None,
            state.evaluations,
        )
        self.run.write_status(
            ending, step=state.step, updates=outcome.updates, minutes=outcome.minutes, reason=reason
        )
        return outcome

    def _loop(self, fleet: Fleet, log: RunLogger) -> tuple[Ending, str]:
        """Run the loop; how it ended, and why."""
        state, stop = self.state, StopRequest()
        with stop.on_signals():
            try:
                dead = state.watch.test_alerts(state.step)
                if dead is not None:
                    log.event(state, dead)
                state.watch.compare_code(self.run.code_sha256())
                evaluate = stop.leaves_off(self.evaluate)
                ending = loop.train(self.config, self.run, state, fleet, evaluate, log, stop)
                return ending, state.watch.stop_reason
            except StopRequested:
                return "interrupted", ""
            except (
                guards.NonFiniteError,
                NonFiniteGradientError,
                InvalidActionError,
                PolicyFailedError,
            ) as error:
                log.event(state, state.watch.event(conditions.NAN_OR_INF, state.step, 1.0, str(error)))
                return "failed", f"step {state.step}: {error}"

    def _save_if_sound(self, log: RunLogger) -> None:
        """Save the last state, unless it is saved already or has weights that are not finite."""
        self.state.replay.break_off()
        if self.state.last_checkpoint == self.state.step:
            return
        try:
            guards.check_weights(self.state.agent.networks())
        except guards.NonFiniteError:
            log.message(f"the weights are damaged; the last good state is {self.state.checkpoint}")
            return
        self.state.save(self.run.checkpoints)
