"""The state of a training run: everything that a checkpoint holds, saved and restored as a whole."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from av_td3.agent.exploration import Explorer
from av_td3.agent.td3 import Batch
from av_td3.config import ACTION_SIZE, Config
from av_td3.health.alerts import Bounds
from av_td3.health.metrics import Interval, Scalars
from av_td3.training import checkpoint, policies
from av_td3.training.agents import make_agent, make_replay, prepares_ahead
from av_td3.training.batches import Batches, to_batch
from av_td3.training.watch import Watch
from rundoctor.signals import evaluation

PAUSE_S = 60.0
"""A round of the loop that takes longer, and hardly computes, was a pause: the process was stopped (SIGSTOP)
or waited for a new simulator.  No step is waited for as long."""
HARDLY = 0.1
"""Share of a round below which its computing is hardly any: updates keep a core busy all the time."""


class TrainingState:
    """Agent, replay, random generators, counters, and what the watch remembers.

    A run that is restored from a checkpoint written while no environment was within an episode goes on
    exactly as if it had never stopped: the same weights, bit for bit.
    """

    def __init__(self, config: Config, alert_log: Path | None = None) -> None:
        """A run before its first step.

        Raises:
            ReplayMemoryError: the replay does not fit into memory.
        """
        self.config = config
        self.agent = make_agent(config)
        self.replay = make_replay(config, self.agent.device)
        seeds = np.random.SeedSequence(config.train.seed).spawn(1 + config.train.envs)
        self.replay_rng, *explore_rngs = (np.random.default_rng(s) for s in seeds)
        self.batches = Batches(self._draw_batch, prepares_ahead(config, self.agent.device))
        self.explorers = [Explorer(config.exploration, ACTION_SIZE, rng) for rng in explore_rngs]
        """One for each environment: its noise goes on from step to step."""
        self.watch = Watch(Bounds.of(config), alert_log, config.train.stop_on)

        self.interval = Interval()
        """What was collected since the last row of scalars."""
        self.step = 0
        """Environment steps so far."""
        self.episodes = [0] * config.train.envs
        """Episodes that have ended, by environment."""
        self.update_credit = 0.0
        """Updates that are due; a fraction is carried over to the next step."""
        self.replay_since = 0
        """Step at which the replay was empty: 0, or that of a checkpoint without its replay."""
        self.last_evaluation = 0
        """Step of the last evaluation."""
        self.evaluations: list[Scalars] = []
        self.checkpoint: Path | None = None
        """The newest checkpoint, and the step it was written at."""
        self.last_checkpoint = 0
        self._attempted = 0
        """Step at which a checkpoint was last begun; a failed one counts as if it had been earlier."""
        self._alert_log = alert_log
        self._writer: checkpoint.CheckpointWriter | None = None
        self.alerts_logged: int | None = None
        """Lines of the file of alerts when the checkpoint was written from which this run goes on."""
        self._minutes_before = 0.0
        self._started = time.monotonic()
        self._round = time.monotonic(), time.process_time()

    @property
    def episode(self) -> int:
        """Episodes that have ended, of all environments."""
        return sum(self.episodes)

    def episode_number(self, env: int) -> int:
        """Number of the environment's present episode; no other of the run has the same.

        The episodes of environment i of N are i, i + N, i + 2 N, ...
        """
        return self.episodes[env] * len(self.episodes) + env

    def demonstration_number(self, env: int) -> int:
        """Which of the levels of ``exploration.demonstration_noise`` it is the present episode's turn for.

        Every environment takes them in turn, whatever their number, and the environments take others.
        """
        return self.episodes[env] + env

    def _draw_batch(self) -> Batch:
        sample = self.replay.sample(self.config.agent.batch_size, self.replay_rng)
        return to_batch(sample, self.agent.device)

    @property
    def minutes(self) -> float:
        """Minutes of training so far, those before a resume included."""
        return self._minutes_before + (time.monotonic() - self._started) / 60

    def start_clock(self) -> None:
        """Training begins now: what came before is not counted as time trained."""
        self._started = time.monotonic()

    def leave_out(self, seconds: float) -> None:
        """So much of the time since then was not training: a benchmark measured something."""
        self._started += seconds

    def note_round(self, *, first: bool = False, idle: bool = False) -> None:
        """A round of the loop has been made.  If it was a pause, it was no time trained.

        Args:
            first: what was before was no round.
            idle: no environment has answered, so that any length is a pause.
        """
        since, computed = self._round
        self._round = time.monotonic(), time.process_time()
        seconds = self._round[0] - since
        pause = idle or seconds > PAUSE_S
        if pause and not first and self._round[1] - computed < HARDLY * seconds:
            self.leave_out(seconds)

    @property
    def finished(self) -> bool:
        """Whether the configured number of steps or minutes has been reached."""
        train = self.config.train
        out_of_time = train.max_minutes is not None and self.minutes >= train.max_minutes
        return self.step >= train.steps or out_of_time

    @property
    def learning_from(self) -> int:
        """Step from which the networks are updated, or updated again.

        A replay that is collected anew is as small as at the run's begin, and the networks would be fitted to
        its few transitions all the same: hundreds of updates on a single episode.
        """
        return self.replay_since + self.config.train.learning_starts

    @property
    def evaluation_due(self) -> bool:
        """Whether it is time to drive held-out routes.

        The end has an evaluation of its own, unless its policy is one of those that the best is chosen from.
        """
        if self.finished:
            return self.config.evaluation.keep_best and self.last_evaluation < self.step
        return self.step - self.last_evaluation >= self.config.evaluation.interval

    @property
    def checkpoint_due(self) -> bool:
        """Whether it is time for a checkpoint.

        The first one is due at once: whatever goes wrong when learning begins, there is a way back.
        None is due while an alert is about to end training: the checkpoint to go back to must be one
        from before the trouble.
        """
        since = self.step - self._attempted
        if self._attempted and since < self.config.train.checkpoint_interval:
            return False
        return not self.watch.about_to_stop

    def add_evaluation(self, row: Scalars, folder: Path) -> None:
        """Remember an evaluation, and keep the policy that it was made of; the best also as ``best``.

        Best is the highest route completion, and among equals the highest return.

        Args:
            row: the figures.
            folder: where the run keeps its checkpoints.

        Raises:
            CheckpointError: the disk is full or not writable.
        """
        best = max(map(_quality, self.evaluations), default=None)
        self.last_evaluation = self.step
        self.evaluations.append({"step": self.step, **row})
        policy = policies.freeze(self.agent, self.config.evaluation.averaged)
        is_best = best is None or _quality(row) > best
        policies.keep(policies.folder_of(folder), self.step, self.agent.updates, policy, row, is_best)

    def begin_checkpoint(self, folder: Path) -> None:
        """Start to write a checkpoint of this moment, beside the training.

        :meth:`settle` tells of its end.

        Raises:
            CheckpointError: the disk is full or not writable, or the one before could not be written.
        """
        self.batches.discard()
        state = {
            "episodes": self.episodes,
            "update_credit": self.update_credit,
            "replay_since": self.replay_since,
            "minutes": self.minutes,
            "last_evaluation": self.last_evaluation,
            "evaluations": self.evaluations,
            "explorers": [explorer.state() for explorer in self.explorers],
            "rng": {
                "explorers": [checkpoint.generator_state(explorer.rng) for explorer in self.explorers],
                "replay": checkpoint.generator_state(self.replay_rng),
                "torch": checkpoint.torch_rng_state(),
            },
            "watch": self.watch.state(),
            "interval": self.interval.state(),
            "alerts_logged": lines_of(self._alert_log),
        }
        replay = self.replay if self.config.train.checkpoint_replay else None
        self.settle(wait=True)
        self._attempted = self.step
        self._writing(folder).begin(self.step, self.agent, replay, state)

    def settle(self, wait: bool = False) -> None:
        """Note the end of the checkpoint that is being written, if there is one and it has ended.

        Args:
            wait: until it has ended.

        Raises:
            CheckpointError: it could not be written; the next one is due soon.  The older ones stay.
        """
        if self._writer is None:
            return
        try:
            path = self._writer.outcome(wait)
        except checkpoint.CheckpointError:
            interval = self.config.train.checkpoint_interval
            self._attempted -= interval - max(1, interval // 10)
            raise
        if path is not None:
            self.checkpoint, self.last_checkpoint = path, self._attempted

    def save(self, folder: Path) -> None:
        """Write a checkpoint of this moment, and wait until that is done.

        Raises:
            CheckpointError: the disk is full or not writable; nothing half-written remains.
        """
        self.begin_checkpoint(folder)
        self.settle(wait=True)

    def close(self) -> None:
        """End the threads: wait for the checkpoint that is being written."""
        self.batches.close()
        if self._writer is not None:
            self._writer.close()

    def _writing(self, folder: Path) -> checkpoint.CheckpointWriter:
        if self._writer is None:
            keep, averaged = self.config.train.keep_checkpoints, self.config.evaluation.averaged
            self._writer = checkpoint.CheckpointWriter(folder, keep, averaged)
        return self._writer

    def restore(self, folder: Path, replay: bool = True) -> list[str]:
        """Take over the newest whole checkpoint in ``folder``; returns what there is to tell about it.

        Args:
            folder: where the run keeps its checkpoints.
            replay: False leaves the replay out, which may then be damaged.

        Raises:
            CheckpointError: there is none that fits.
        """
        path, state, problems = checkpoint.newest_good(folder, replay)
        notes = [f"skipped a checkpoint: {problem}" for problem in problems]
        if "episodes" not in state:  # written by a version that had one environment
            state["episodes"], state["explorers"] = [state["episode"]], [state["explorer"]]
            state["rng"]["explorers"] = [state["rng"]["explore"]]
        if len(state["episodes"]) != len(self.episodes):
            raise checkpoint.CheckpointError(
                f"{path} is of a run with train.envs = {len(state['episodes'])}, not {len(self.episodes)}"
            )
        checkpoint.load_agent(path, self.agent)
        if replay and checkpoint.load_replay(path, self.replay):
            self._writing(folder).adopt(path, self.replay)
            self.replay_since = state.get("replay_since", 0)  # earlier versions knew of none but 0
        else:
            self.replay_since = state["step"]
            why = "the checkpoint holds no replay" if replay else "the checkpoint's replay is left out"
            notes.append(
                f"{why}: it is collected anew, and the networks are updated again from step "
                f"{self.learning_from:,}"
                + (": not before the run ends" if self.learning_from >= self.config.train.steps else "")
            )
        self.step, self.episodes = state["step"], list(state["episodes"])
        self.update_credit = state["update_credit"]
        self._minutes_before = state["minutes"]
        self.last_evaluation = state["last_evaluation"]
        self.evaluations = state["evaluations"]
        for explorer, noise, rng in zip(
            self.explorers, state["explorers"], state["rng"]["explorers"], strict=True
        ):
            explorer.restore(noise)
            checkpoint.restore_generator(explorer.rng, rng)
        checkpoint.restore_generator(self.replay_rng, state["rng"]["replay"])
        checkpoint.restore_torch_rng(state["rng"]["torch"])
        if "interval" in state:  # checkpoints of earlier versions have none
            self.interval.restore(state["interval"])
        if "watch" in state:  # checkpoints of earlier versions have none
            self.watch.restore(state["watch"])
        self.checkpoint, self.last_checkpoint = path, self.step
        self._attempted = self.step
        self.alerts_logged = state.get("alerts_logged")
        return [*notes, f"resumed from {path.name}: step {self.step}, {self.agent.updates} updates"]

    @property
    def best_evaluation(self) -> Scalars | None:
        """The best evaluation so far, with its ``step``; the earliest among equals."""
        return max(self.evaluations, key=_quality, default=None)


def lines_of(file: Path | None) -> int:
    """How many lines a file has; 0 where there is none."""
    try:
        return file.read_bytes().count(b"\n") if file is not None else 0
    except OSError:
        return 0


def _quality(row: Scalars) -> tuple[float, float]:
    completion = row.get(evaluation.ROUTE_COMPLETION.tag, float("-inf"))
    return completion, row.get(evaluation.RETURN.tag, float("-inf"))
