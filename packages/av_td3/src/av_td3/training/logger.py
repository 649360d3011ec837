"""What a run writes down: event files for TensorBoard, its status file, and the progress on the terminal."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import SummaryWriter

from av_td3.agent.td3 import ActorStep, Batch, CriticStep
from av_td3.config import Config
from av_td3.health import guards, metrics
from av_td3.health.alerts import Alert
from av_td3.health.metrics import Scalars
from av_td3.training import board
from av_td3.training.agents import Action
from av_td3.training.run_directory import RunDirectory, RunError, write_atomically
from av_td3.training.state import TrainingState
from av_td3.training.trackers import Trackers
from rundoctor.signals import (
    Signal,
    actor,
    critic,
    episodes,
    evaluation,
    gradients,
    machine,
    networks,
    replay,
)

DETAIL_EVERY = 10
"""Of so many updates one is logged in full; gradient norms are logged for every update."""


@dataclass
class Progress:
    """The few figures that matter, for the progress line."""

    step: int = 0
    episode: int = 0
    steps_per_s: float = 0.0
    updates_per_s: float = 0.0
    episode_return: float = float("nan")
    episode_length: int = 0
    route_completion: float = float("nan")
    q: float = float("nan")
    alerts: int = 0
    restarts: int = 0
    downtime_s: float = 0.0
    """For how long simulators were away after failures."""


class Display(Protocol):
    """Whoever shows the progress."""

    def update(self, progress: Progress) -> None: ...

    def message(self, text: str) -> None: ...

    def status(self, text: str) -> None: ...


def _interval(figure: str) -> list[Signal | str]:
    """A figure of the evaluations with the two ends of its confidence interval, as TensorBoard draws them."""
    own = {"success_rate": evaluation.SUCCESS, "route_completion": evaluation.ROUTE_COMPLETION}
    middle = own.get(figure, evaluation.RETURN)
    return [middle, evaluation.LOW.of(figure), evaluation.HIGH.of(figure)]


CURVES: dict[str, dict[str, list[Signal | str]]] = {
    "learning": {
        "return of an episode": [episodes.RETURN],
        "Q: of the data, of the policy, and the bound": [critic.Q1.mean, actor.Q.mean, critic.Q_BOUND],
        "critic loss": [critic.LOSS],
        "TD error / spread of the targets": [critic.TD_ERROR_RELATIVE],
        "exploration noise": [actor.NOISE],
    },
    "driving": {
        "route completion (held-out routes), 95 % interval": _interval("route_completion"),
        "success rate (held-out routes), 95 % interval": _interval("success_rate"),
        "return (held-out routes), 95 % interval": _interval("mean_reward"),
        "route completion (training)": [episodes.ROUTE_COMPLETION],
        "length of an episode": [episodes.LENGTH],
        "collisions, lane markings touched, a training episode": [
            episodes.COLLISIONS,
            episodes.LANE_INVASIONS,
        ],
        "speed": [episodes.SPEED],
    },
    "health": {
        "gradient norms before the clip": list(gradients.BEFORE.values()),
        "share of saturated actions": [actor.SATURATION],
        "|pre-tanh action|": [actor.PRE_TANH],
        "gap of the twin critics": [critic.TWIN_GAP],
        "gradient through the state input: 0 unless the code is wrong": [gradients.STATE_PATH],
    },
    "system": {
        "steps and updates a second": [machine.STEPS_PER_S, machine.UPDATES_PER_S],
        "memory, MB": [machine.RSS],
        "restarts of the simulator": [machine.RESTARTS],
        "transitions in the replay": [replay.SIZE],
    },
}
"""What TensorBoard shows under its tab CUSTOM SCALARS: pages, titles, the signals or tags of each diagram."""


class RunLogger:
    """Collects what happens between two rows of scalars, and writes the rows."""

    def __init__(
        self,
        config: Config,
        run: RunDirectory,
        display: Display,
        step: int,
        interval: metrics.Interval,
        trackers: Trackers,
    ) -> None:
        """``step`` is where the run stands: TensorBoard drops what an earlier process logged beyond it.

        ``interval``: what was collected since the last row.  ``trackers``: who gets the rows too.
        """
        self._trackers = trackers
        self.config, self.run, self.display = config, run, display
        self._events = _EventFiles(run.tensorboard, step, board.settings(config), self.message)
        self._interval = interval
        self._progress = Progress()
        self._returns = [0.0] * config.train.envs  # of the episodes that are being driven
        self._lengths = [0] * config.train.envs
        self._batch: Batch | None = None  # the last one, which a row's probes are measured on
        self._weights: metrics.UpdateToWeight | None = None

    def close(self) -> None:
        """Complete the event file."""
        self._events.close()

    def flush(self) -> None:
        """Put what was logged so far on the disk: a checkpoint of this moment is written."""
        self._events.flush()

    # ------------------------------------------------------------------ collecting

    def begin_episode(self, env: int = 0) -> None:
        """An episode of an environment begins."""
        self._returns[env], self._lengths[env] = 0.0, 0
        self._progress.episode_length = 0

    def environment_step(self, info: Mapping[str, Any], reward: float, action: Action, env: int = 0) -> None:
        """One step of an environment."""
        self._interval.steps += 1
        self._returns[env] += reward
        self._lengths[env] += 1
        self._progress.episode_length = self._lengths[env]
        self._add(metrics.step_scalars(info, reward, action))

    def before_update(self, state: TrainingState) -> None:
        """Once per row, on an update that moves both networks, remember the weights that it starts from."""
        update, agent = state.agent.updates + 1, self.config.agent
        both_move = update % agent.policy_delay == 0 and update > agent.critic_warmup
        due = both_move and state.step - self._interval.probed_at >= self.config.train.log_interval
        self._weights = metrics.UpdateToWeight(state.agent) if due else None

    def after_update(
        self, state: TrainingState, batch: Batch, critic_step: CriticStep, actor_step: ActorStep | None
    ) -> None:
        """What an update did: gradient norms of each, the rest of every tenth.

        Raises:
            NonFiniteError: one of the figures is not finite.
        """
        self._interval.updates += 1
        self._batch = batch
        row: Scalars = {}
        if self._weights is not None and actor_step is not None:
            row |= self._weights.scalars()
            self._interval.probed_at = state.step
        row |= metrics.gradient_scalars("critic", critic_step)
        if actor_step is not None:
            row |= metrics.gradient_scalars("actor", actor_step)
        if state.agent.updates % DETAIL_EVERY < self.config.agent.policy_delay:
            row |= metrics.critic_scalars(critic_step, batch)
            if actor_step is not None:
                row |= metrics.actor_scalars(actor_step)
        guards.check_scalars(row)
        self._add(row)

    def _add(self, row: Scalars) -> None:
        for tag, value in row.items():
            self._interval.add(tag, value)

    # ------------------------------------------------------------------ writing

    def row(self, state: TrainingState, restarts: int, incidents: int, downtime_s: float) -> None:
        """Write a row of scalars: means since the last one, and what is measured once per row.

        ``restarts``, ``incidents`` and ``downtime_s`` are the environments' counts so far.

        Raises:
            NonFiniteError: a figure or a weight is not finite.
        """
        row = self._interval.drain() | self._situation(state)
        row |= metrics.system_scalars(state.agent.device, restarts, downtime_s)
        row |= state.watch.scalars(state.step, incidents)
        row |= metrics.parameter_scalars(state.agent)
        if self._batch is not None:
            guards.check_weights(state.agent.networks())
            row |= metrics.probe_scalars(state.agent, self._batch)
        guards.check_scalars(row)  # alerts compare numbers
        for alert in state.watch.judge(state.step, row):
            self.alert(alert)
        self._write(state.step, row | state.watch.alerts.scalars())
        progress = self._progress
        progress.step, progress.episode = state.step, state.episode
        progress.restarts, progress.downtime_s = restarts, downtime_s
        progress.steps_per_s = row[machine.STEPS_PER_S.tag]
        progress.updates_per_s = row[machine.UPDATES_PER_S.tag]
        progress.q = row.get(critic.Q1.mean.tag, progress.q)
        progress.alerts = len(state.watch.alerts.active)
        self.display.update(progress)
        self.run.write_status("running", step=state.step, updates=state.agent.updates, minutes=state.minutes)

    def _situation(self, state: TrainingState) -> Scalars:
        return {
            actor.NOISE.tag: state.explorers[0].current_noise(state.step, state.demonstration_number(0)),
            replay.SIZE.tag: float(len(state.replay)),
            episodes.STEPS.tag: float(self._progress.episode_length),
            replay.UTILIZATION.tag: len(state.replay) / self.config.replay.capacity,
            networks.IS_TRAINING.tag: float(state.agent.updates > 0),
            critic.Q_BOUND.tag: state.watch.bounds.q,
        }

    def episode(
        self,
        state: TrainingState,
        info: Mapping[str, Any],
        flag_is_wrong: bool,
        env: int = 0,
        demonstrated: bool = False,
    ) -> None:
        """An episode's end; ``flag_is_wrong``: terminated and truncated were mixed up.

        ``demonstrated``: the classical driver drove.  Its return is not one of the agent's.
        """
        self._interval.add(replay.TERMINAL_FLAG_MISMATCH.tag, float(flag_is_wrong))
        self._progress.episode_return = self._returns[env]
        self._progress.route_completion = info["route_completion"]
        if demonstrated:
            self._write(
                state.step,
                {
                    episodes.DEMONSTRATION_RETURN.tag: self._returns[env],
                    episodes.DEMONSTRATION_COMPLETION.tag: info["route_completion"],
                },
            )
            return
        row = metrics.episode_scalars(
            {
                "return": self._returns[env],
                "length": self._lengths[env],
                "collisions": info["collisions"],
                "lane_invasions": info["lane_invasions"],
                "route_completion": info["route_completion"],
            }
        )
        row[episodes.TERMINATION.of(info["termination"])] = 1.0
        self._write(state.step, row)

    def evaluation(self, step: int, row: Scalars) -> None:
        """The figures of an evaluation on held-out routes."""
        self._write(step, {tag: value for tag, value in row.items() if tag.startswith(evaluation.PREFIX)})
        with self.warned_of(OSError):
            write_atomically(self.run.evaluations / f"step_{step:09d}.json", json.dumps(row, indent=1))
        routes = self.run.evaluations / f"step_{step:09d}.png"
        if routes.exists():
            with self.warned_of(OSError, ValueError):
                shown = Summary(value=[board.picture(board.ROUTES, routes)])
                self._events.write(lambda writer: writer._get_file_writer().add_summary(shown, step))
        completion = row.get(evaluation.ROUTE_COMPLETION.tag, float("nan"))
        self.message(
            f"step {step}: evaluation on held-out routes: route completion {100 * completion:.0f} %, "
            f"return {row[evaluation.RETURN.tag]:.1f}"
        )

    def alert(self, alert: Alert) -> None:
        """Tell of an alert whose level has changed."""
        self.message(f"step {alert.step}: {alert.level}: {alert.name}: {alert.text}")
        text = f"{alert.level}: {alert.name}: {alert.text}"
        self._events.write(lambda writer: writer.add_text("alerts", text, alert.step))

    def event(self, state: TrainingState, alert: Alert) -> None:
        """Tell of an alert that no row of scalars shows, and write its level at once."""
        self.alert(alert)
        self._progress.alerts = len(state.watch.alerts.active)
        self._write(state.step, state.watch.alerts.scalars())

    @contextlib.contextmanager
    def warned_of(self, *kinds: type[Exception]) -> Iterator[None]:
        """Errors of these kinds cost a warning, not the training."""
        try:
            yield
        except kinds as error:
            self.message(f"warning: {error}")

    def message(self, text: str) -> None:
        """A line for the user."""
        self.display.message(text)

    def _write(self, step: int, row: Scalars) -> None:
        guards.check_scalars(row)

        def add(writer: SummaryWriter) -> None:
            for tag, value in row.items():
                writer.add_scalar(tag, value, step)

        self._events.write(add)
        self._trackers.log(step, row)


def log_final_evaluation(
    run: RunDirectory, config: Config, step: int, row: Scalars, tell: Callable[[str], None]
) -> None:
    """Write the final evaluation to TensorBoard and the trackers too, so that the curves end with it.

    TensorBoard gets its table, picture and films as well.  All is appended to the newest event file: another
    file would look like another start of the run.  ``tell`` takes a line for the user.
    """
    row = {tag: value for tag, value in row.items() if tag.startswith(evaluation.PREFIX)}
    try:
        with Trackers(config, run, tell) as trackers:
            trackers.log(step, row)
            trackers.ending = "finished"
    except RunError as error:  # the run is over, and its figures are on the disk
        tell(f"warning: {error}")
    files = sorted(run.tensorboard.glob("events.out.tfevents.*"), key=lambda f: f.stat().st_mtime)
    if not files:
        return
    now = time.time()
    values = [*board.figures(row), *board.evaluated(run, tell), board.ending(now)]
    with files[-1].open("ab") as file:
        writer = RecordWriter(file)
        for value in values:
            event = Event(wall_time=now, step=step, summary=Summary(value=[value]))
            writer.write(event.SerializeToString())


def layout() -> dict[str, dict[str, list[Any]]]:
    """:data:`CURVES` as TensorBoard's layout: a line each, or a line within its interval."""
    return {
        page: {
            title: ["Margin" if "interval" in title else "Multiline", [_tag(signal) for signal in signals]]
            for title, signals in diagrams.items()
        }
        for page, diagrams in CURVES.items()
    }


def _tag(signal: Signal | str) -> str:
    return signal if isinstance(signal, str) else signal.tag


class _EventFiles:
    """TensorBoard's event files of a run.  A full disk costs figures, not the training."""

    RETRY_S = 60.0

    def __init__(
        self, folder: Path, step: int, first: list[Summary.Value], tell: Callable[[str], None]
    ) -> None:
        """``step`` is where the run stands; ``tell`` takes a line for the user.

        ``first`` is what each file begins with, at step 0, which no resume takes out.
        """
        self._folder, self._first, self._tell = folder, first, tell
        self._purge_step: int | None = step + 1
        """From which on readers are to forget what an earlier process logged: said in the first file alone.
        In a later one it would make them forget what this process has logged."""
        self._writer: SummaryWriter | None = None
        self._lost_at = -math.inf
        """When writing failed last; minus infinity while it succeeds."""
        threading.excepthook = _quiet_about_full_disks

    def write(self, write: Callable[[SummaryWriter], None]) -> None:
        """Write with the writer, if it can."""
        if self._writer is None and time.monotonic() - self._lost_at < self.RETRY_S:
            return
        try:
            if self._writer is None:
                self._writer = self._open()
            write(self._writer)
            if self._lost_at > -math.inf:
                self._writer.flush()  # another thread writes: only this tells whether there is room again
                self._lost_at = -math.inf
                self._tell("TensorBoard's figures are written again")
        except OSError as error:
            self._lose(error)

    def flush(self) -> None:
        """Put everything on the disk, if that can be."""
        try:
            if self._writer is not None:
                self._writer.flush()
        except OSError as error:
            self._lose(error)

    def close(self) -> None:
        """Complete the file."""
        with contextlib.suppress(OSError):
            if self._writer is not None:
                self._writer.close()

    def _open(self) -> SummaryWriter:
        writer = SummaryWriter(str(self._folder), purge_step=self._purge_step)
        writer.add_custom_scalars(layout())
        writer._get_file_writer().add_summary(Summary(value=self._first), 0)
        self._purge_step = None
        return writer

    def _lose(self, error: OSError) -> None:
        if self._lost_at == -math.inf:
            self._tell(f"warning: TensorBoard's figures are lost until there is room again: {error}")
        self.close()
        self._writer, self._lost_at = None, time.monotonic()


def _quiet_about_full_disks(arguments: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread, whose error comes up at the next write as well: once is enough."""
    name = type(arguments.thread).__name__
    if not (name == "_AsyncWriterThread" and issubclass(arguments.exc_type, OSError)):
        threading.__excepthook__(arguments)
