"""The training loop.

One step of the simulator and one update of the networks happen at the same time: the
action is sent, the update runs while the simulator works, the transition is received.
Checkpoints are written between episodes, where the simulator's state is no part of the
run's; a run that is resumed there equals one that was never interrupted.
"""

from __future__ import annotations

import json
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from av_td3.agent.exploration import Explorer
from av_td3.agent.gradients import NonFiniteGradientError
from av_td3.agent.replay import Replay, Sample
from av_td3.agent.td3 import TD3, Batch
from av_td3.config import Config
from av_td3.driving.termination import TRUNCATIONS
from av_td3.health import guards, metrics
from av_td3.health.alerts import Alert, AlertMonitor, Bounds
from av_td3.training import checkpoint
from av_td3.training.run_directory import RunDirectory
from av_td3.training.signals import raise_if_received
from rundoctor.code import code_state, installed
from rundoctor.signals import conditions

ACTION_SIZE = 2


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
    message: str = ""


class Display(Protocol):
    """Whoever shows the progress."""

    def update(self, progress: Progress) -> None: ...

    def message(self, text: str) -> None: ...


class DrivingEnv(Protocol):
    """What the trainer needs of an environment; ``SupervisedEnv`` has it."""

    restarts: int
    incidents: Sized
    """Failures that were survived, and ports that had to be changed."""

    def reset(self, *, seed: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]: ...

    def send(self, action: np.ndarray) -> None: ...

    def receive(self) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]: ...

    def close(self) -> None: ...


@dataclass
class Outcome:
    """How training ended."""

    state: str  # finished | interrupted | stopped (by an alert) | failed
    step: int
    updates: int
    minutes: float
    reason: str = ""
    checkpoint: str | None = None
    evaluations: list[dict[str, Any]] = field(default_factory=list)


def make_agent(config: Config) -> TD3:
    """A fresh agent; the same seed gives the same weights."""
    torch.manual_seed(config.train.seed)
    camera = config.env.camera
    return TD3(
        config.agent,
        (camera.frame_stack, camera.size, camera.size),
        config.env.vector_size,
        ACTION_SIZE,
        resolve_device(config.train.device),
    )


def resolve_device(name: str) -> torch.device:
    """``auto`` is the GPU when torch sees one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def policy_of(agent: TD3) -> Callable[[dict[str, Any]], np.ndarray]:
    """The agent's deterministic policy on one observation at a time."""

    def policy(observation: dict[str, Any]) -> np.ndarray:
        image = torch.from_numpy(np.ascontiguousarray(observation["image"]))[None].to(agent.device)
        vector = torch.from_numpy(np.ascontiguousarray(observation["vector"]))[None].to(agent.device)
        return agent.act(image, vector)[0].cpu().numpy()

    return policy


def to_batch(sample: Sample, device: torch.device) -> Batch:
    """Numpy to torch, on the device; images stay uint8."""

    def move(array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)

    return Batch(
        move(sample.image),
        move(sample.vector),
        move(sample.action),
        move(sample.reward),
        move(sample.discount),
        move(sample.next_image),
        move(sample.next_vector),
    )


def episode_seed(run_seed: int, episode: int, below: int) -> int:
    """The environment's seed of a training episode: reproducible, below evaluation's seeds."""
    return int(np.random.SeedSequence([run_seed, episode]).generate_state(1, np.uint64)[0] % below)


class Trainer:
    """Trains one agent in one run directory."""

    def __init__(
        self,
        config: Config,
        run: RunDirectory,
        make_env: Callable[[], DrivingEnv],
        evaluate: Callable[[TD3, int], dict[str, Any]],
        display: Display,
    ) -> None:
        """``evaluate(agent, step)`` drives held-out routes and returns scalars ``eval/...``."""
        self.config, self.run, self.display = config, run, display
        self._make_env, self._evaluate = make_env, evaluate
        if config.train.threads:
            torch.set_num_threads(config.train.threads)
        self.agent = make_agent(config)
        camera = config.env.camera
        self.replay = Replay(
            config.replay.capacity,
            (camera.frame_stack, camera.size, camera.size),
            config.env.vector_size,
            ACTION_SIZE,
            config.agent.gamma,
            config.replay.n_step,
        )
        seeds = np.random.SeedSequence(config.train.seed).spawn(2)
        self.replay_rng, explore_rng = (np.random.default_rng(s) for s in seeds)
        self.explorer = Explorer(config.exploration, ACTION_SIZE, explore_rng)
        self.bounds = Bounds.of(config)
        self.alerts = AlertMonitor(self.bounds, run.alerts)

        self.step = 0
        self.episode = 0
        self.update_credit = 0.0
        self.minutes_before = 0.0
        self.last_checkpoint = 0
        self.last_evaluation = 0
        self.evaluations: list[dict[str, Any]] = []
        self._checkpoint_path: str | None = None
        self._stop_signal: int | None = None
        self._stop_reason = ""  # the alert that ended training
        self._interval = metrics.Interval()
        self._last_batch: Batch | None = None
        self._probed_at = 0  # step of the last update-to-weight measurement
        self._progress = Progress()
        self._ends: deque[str] = deque(maxlen=_EPISODES)  # what ended the last episodes
        self._incident_steps: deque[int] = deque()
        self._incidents_seen = 0
        self._code_changed: bool | None = None  # None: not known

    # ------------------------------------------------------------------ resuming

    def restore(self) -> None:
        """Take over the newest whole checkpoint of the run directory.

        Raises:
            CheckpointError: there is none that fits.
        """
        path, state, problems = checkpoint.newest_good(self.run.checkpoints)
        for problem in problems:
            self.display.message(f"skipped a checkpoint: {problem}")
        checkpoint.load_agent(path, self.agent)
        if not checkpoint.load_replay(path, self.replay):
            self.display.message("the checkpoint holds no replay: it is collected anew")
        self.step, self.episode = state["step"], state["episode"]
        self.update_credit = state["update_credit"]
        self.minutes_before = state["minutes"]
        self.last_checkpoint = self.step
        self.last_evaluation = state["last_evaluation"]
        self.evaluations = state["evaluations"]
        self.explorer.restore(state["explorer"])
        checkpoint.restore_generator(self.explorer.rng, state["rng"]["explore"])
        checkpoint.restore_generator(self.replay_rng, state["rng"]["replay"])
        checkpoint.restore_torch_rng(state["rng"]["torch"])
        if "watch" in state:  # checkpoints of earlier versions have none
            watch = state["watch"]
            self.alerts.restore(watch["alerts"])
            self._ends.extend(watch["ends"])
            self._incident_steps.extend(watch["incident_steps"])
        self._checkpoint_path = str(path)
        self.display.message(f"resumed from {path.name}: step {self.step}, {self.agent.updates} updates")

    def save(self) -> None:
        """Write a checkpoint of this moment and drop the oldest ones."""
        state = {
            "episode": self.episode,
            "update_credit": self.update_credit,
            "minutes": self._minutes(),
            "last_evaluation": self.last_evaluation,
            "evaluations": self.evaluations,
            "explorer": self.explorer.state(),
            "rng": {
                "explore": checkpoint.generator_state(self.explorer.rng),
                "replay": checkpoint.generator_state(self.replay_rng),
                "torch": checkpoint.torch_rng_state(),
            },
            "watch": {
                "alerts": self.alerts.state(),
                "ends": list(self._ends),
                "incident_steps": list(self._incident_steps),
            },
        }
        replay = self.replay if self.config.train.checkpoint_replay else None
        path = checkpoint.save(self.run.checkpoints, self.step, self.agent, replay, state)
        checkpoint.prune(self.run.checkpoints, self.config.train.keep_checkpoints)
        self.last_checkpoint, self._checkpoint_path = self.step, str(path)

    # ------------------------------------------------------------------ the loop

    def train(self) -> Outcome:
        """Train to the configured number of steps or minutes, or until told to stop.

        Ctrl-C and SIGTERM end the current step, write a checkpoint and return an outcome
        ``interrupted``.  A non-finite value ends training with the last good state saved.
        """
        self._started = time.monotonic()
        self.run.write_status("running", step=self.step)
        env = self._make_env()
        # TensorBoard drops what an earlier process logged beyond the step that is resumed.
        self.writer = SummaryWriter(str(self.run.tensorboard), purge_step=self.step + 1)
        reason = ""
        try:
            with self._stop_on_signals():
                try:
                    self._test_alerts()
                    self._compare_code()
                    state = self._loop(env)
                    reason = self._stop_reason
                except (guards.NonFiniteError, NonFiniteGradientError) as error:
                    state, reason = "failed", f"{error} at step {self.step}"
                    self._raise_alert(conditions.NAN_OR_INF.alert, 1.0, 0.0, str(error))
            self.replay.break_off()
            # Stopped by an alert, the checkpoint to keep is the one from before the trouble.
            if state != "stopped" and self.last_checkpoint != self.step:
                self._save_if_sound()
        except BaseException as error:
            self.run.write_status("failed", step=self.step, reason=f"{type(error).__name__}: {error}")
            raise
        finally:
            env.close()
            self.writer.close()
        outcome = Outcome(
            state,
            self.step,
            self.agent.updates,
            self._minutes(),
            reason,
            self._checkpoint_path,
            self.evaluations,
        )
        self.run.write_status(
            state, step=self.step, updates=outcome.updates, minutes=outcome.minutes, reason=reason
        )
        return outcome

    def _loop(self, env: DrivingEnv) -> str:
        config = self.config
        while not self._finished():
            self._run_episode(env)
            if self._stop_signal is not None:
                return "interrupted"
            if self._stop_reason:
                return "stopped"
            if self.step - self.last_evaluation >= config.evaluation.interval and not self._finished():
                self._run_evaluation()
            if self._checkpoint_due():
                guards.check_weights(self.agent.networks())
                self.save()
                self._compare_code()
        return "finished"

    def _checkpoint_due(self) -> bool:
        # The first one at once: whatever goes wrong when learning begins, there is a way back.
        since = self.step - self.last_checkpoint
        if self._checkpoint_path is not None and since < self.config.train.checkpoint_interval:
            return False
        # What an alert is about to stop must not become the checkpoint to go back to.
        return not (self.config.train.stop_on != "never" and self.alerts.rising)

    def _run_episode(self, env: DrivingEnv) -> None:
        limit = self.config.evaluation.seed
        observation, _ = env.reset(seed=episode_seed(self.config.train.seed, self.episode, limit))
        guards.check_observation(observation)
        self.replay.begin(observation)
        self.explorer.begin_episode()
        total, length, ended, fault = 0.0, 0, False, False
        info: dict[str, Any] = {}
        while not ended:
            action = self._choose(observation)
            guards.check_action(action)
            env.send(action)
            self._learn()
            following, reward, terminated, truncated, info = env.receive()
            if info.get("termination") == "simulator_fault":
                self.replay.break_off()  # no transition is made up for a step that failed
                fault = True
                break
            guards.check_observation(following)
            guards.check_reward(reward, info["reward_components"])
            self.replay.add(action, reward, terminated, truncated, following)
            observation = following
            self.step += 1
            self._interval.steps += 1
            total, length = total + reward, length + 1
            for tag, value in metrics.step_scalars(info, reward, action).items():
                self._interval.add(tag, value)
            self._progress.episode_length = length
            if self.step % self.config.train.log_interval == 0:
                self._log(env)
            ended = terminated or truncated
            if not ended and (self._finished() or self._stop_signal is not None or self._stop_reason):
                self.replay.break_off()
                return
        self.episode += 1
        if not fault:
            # What ended the episode says which flag it must carry into the Bellman target.
            wrong = terminated != (info["termination"] not in TRUNCATIONS)
            self._interval.add("debug/terminal_flag_mismatch", float(wrong))
            self._log_episode(total, length, info)
        else:
            self.display.message(f"step {self.step}: {info.get('fault', 'the simulator failed')}; going on")

    def _choose(self, observation: dict[str, Any]) -> np.ndarray:
        if self.step < self.config.exploration.warmup_steps:
            return self.explorer.random_action()
        return self.explorer.disturb(policy_of(self.agent)(observation), self.step)

    def _learn(self) -> None:
        train = self.config.train
        if self.step < train.learning_starts or not self.replay.can_sample():
            return
        self.update_credit += train.updates_per_step
        while self.update_credit >= 1.0:
            self.update_credit -= 1.0
            sample = self.replay.sample(self.config.agent.batch_size, self.replay_rng)
            self._last_batch = batch = to_batch(sample, self.agent.device)
            probe = metrics.UpdateToWeight(self.agent) if self._probe_due() else None
            critic_step, actor_step = self.agent.update(batch)
            if probe is not None and actor_step is not None:
                self._add(probe.scalars())
                self._probed_at = self.step
            self._interval.updates += 1
            # Norms of every update; the rest of what an update tells, of a sample of them.
            self._add(metrics.gradient_scalars("critic", critic_step))
            if actor_step is not None:
                self._add(metrics.gradient_scalars("actor", actor_step))
            if self.agent.updates % _DETAIL_EVERY < self.config.agent.policy_delay:
                self._add(metrics.critic_scalars(critic_step, batch))
                if actor_step is not None:
                    self._add(metrics.actor_scalars(actor_step))

    def _probe_due(self) -> bool:
        """Once per row of scalars, on an update in which the actor moves too."""
        update = self.agent.updates + 1
        agent = self.config.agent
        moves = update % agent.policy_delay == 0 and update > agent.critic_warmup
        return moves and self.step - self._probed_at >= self.config.train.log_interval

    def _add(self, row: metrics.Scalars) -> None:
        guards.check_scalars(row)
        for tag, value in row.items():
            self._interval.add(tag, value)

    def _run_evaluation(self) -> None:
        row = self._evaluate(self.agent, self.step)
        self.last_evaluation = self.step
        self.evaluations.append({"step": self.step, **row})
        self._write({tag: value for tag, value in row.items() if tag.startswith("eval/")})
        file = self.run.evaluations / f"step_{self.step:09d}.json"
        file.write_text(json.dumps(row, indent=1))
        completion = row.get("eval/route_completion", float("nan"))
        self.display.message(
            f"step {self.step}: evaluation on held-out routes: route completion {100 * completion:.0f} %, "
            f"return {row['eval/mean_reward']:.1f}"
        )

    # ------------------------------------------------------------------ logging

    def _log(self, env: DrivingEnv) -> None:
        row = self._interval.drain()
        row |= {
            "train/exploration_noise": self.explorer.noise_scale(self.step)
            if self.step >= self.config.exploration.warmup_steps
            else self.config.exploration.warmup_noise,
            "progress/buffer_size": float(len(self.replay)),
            "progress/episode_steps": float(self._progress.episode_length),
            "agent/buffer_utilization": len(self.replay) / self.config.replay.capacity,
            "agent/is_training": float(self.agent.updates > 0),
        }
        row |= metrics.system_scalars(self.agent.device, env.restarts)
        row |= self._circumstances(env)
        row |= metrics.parameter_scalars(self.agent)
        if self.agent.updates and self._last_batch is not None:
            guards.check_weights(self.agent.networks())
            row |= metrics.probe_scalars(self.agent, self._last_batch)
        row |= {"debug/q_bound": self.bounds.q}
        guards.check_scalars(row)  # alerts compare numbers
        self._judge(row)
        self._write(row | self.alerts.scalars())
        progress = self._progress
        progress.step, progress.episode, progress.restarts = self.step, self.episode, env.restarts
        progress.steps_per_s = row["system/steps_per_s"]
        progress.updates_per_s = row["system/updates_per_s"]
        progress.q = row.get("train/q1_value", progress.q)
        self.display.update(progress)
        self.run.write_status("running", step=self.step, updates=self.agent.updates, minutes=self._minutes())

    def _circumstances(self, env: DrivingEnv) -> metrics.Scalars:
        """What happened around the learner lately."""
        new = len(env.incidents) - self._incidents_seen
        self._incidents_seen += new
        self._incident_steps.extend([self.step] * new)
        while self._incident_steps and self._incident_steps[0] <= self.step - _RECENT_STEPS:
            self._incident_steps.popleft()
        row = {"system/incidents_recent": float(len(self._incident_steps))}
        if len(self._ends) == _EPISODES:
            row["progress/rule_ended_share"] = self._ends.count("lane_invasion") / _EPISODES
        if self._code_changed is not None:
            row["system/code_changed"] = float(self._code_changed)
        return row

    def _compare_code(self) -> None:
        """Does the disk still hold the code that this run says it was made with?"""
        recorded = self.run.code_sha256()
        self._code_changed = recorded != code_state(installed()).sources if recorded else None

    def _judge(self, row: metrics.Scalars) -> None:
        """Let the alerts see a row; end training when one reaches the configured level."""
        for alert in self.alerts.observe(self.step, row):
            self._announce(alert)
        self._progress.alerts = len(self.alerts.active)

    def _announce(self, alert: Alert) -> None:
        self.display.message(f"step {self.step}: {alert.level}: {alert.name}: {alert.text}")
        self.writer.add_text("alerts", f"{alert.level}: {alert.name}: {alert.text}", self.step)
        stop_on = self.config.train.stop_on
        if (alert.level == "critical" and stop_on != "never") or alert.level == stop_on:
            self._stop_reason = f"alert {alert.name} ({alert.level}): {alert.text}"

    def _raise_alert(self, name: str, value: float, limit: float, text: str) -> None:
        """An alert that no row shows."""
        self._announce(self.alerts.raise_event(name, self.step, value, limit, text))
        self._progress.alerts = len(self.alerts.active)
        self._write(self.alerts.scalars())

    def _test_alerts(self) -> None:
        """An alarm that stays silent in its own drill would give a false sense of safety."""
        dead = self.alerts.test()
        if dead:
            text = f"cannot fire: {', '.join(dead)}"
            self._raise_alert(conditions.ALERT_UNREACHABLE.alert, float(len(dead)), 0.0, text)

    def _log_episode(self, total: float, length: int, info: dict[str, Any]) -> None:
        row = metrics.episode_scalars(
            {
                "return": total,
                "length": length,
                "collisions": info["collisions"],
                "lane_invasions": info["lane_invasions"],
                "route_completion": info["route_completion"],
            }
        )
        row[f"train/termination_{info['termination']}"] = 1.0
        self._ends.append(info["termination"])
        self._write(row)
        progress = self._progress
        progress.episode_return, progress.route_completion = total, info["route_completion"]

    def _write(self, row: metrics.Scalars) -> None:
        guards.check_scalars(row)
        for tag, value in row.items():
            self.writer.add_scalar(tag, value, self.step)

    # ------------------------------------------------------------------ ending

    def _finished(self) -> bool:
        limit = self.config.train.max_minutes
        return self.step >= self.config.train.steps or (limit is not None and self._minutes() >= limit)

    def _minutes(self) -> float:
        return self.minutes_before + (time.monotonic() - self._started) / 60

    def _save_if_sound(self) -> None:
        """The last state that is worth going on from: never one with non-finite weights."""
        try:
            guards.check_weights(self.agent.networks())
        except guards.NonFiniteError:
            self.display.message(f"the weights are damaged; the last good state is {self._checkpoint_path}")
            return
        self.save()

    @contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        """First Ctrl-C or SIGTERM: stop after this step.  Second: at once."""

        def handle(number: int, _frame: FrameType | None) -> None:
            if self._stop_signal is not None:
                raise KeyboardInterrupt
            self._stop_signal = number

        old = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            raise_if_received()  # while the environment was made
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


_DETAIL_EVERY = 10  # updates between two of which everything is logged
_EPISODES = 20  # that are looked back on
_RECENT_STEPS = 1000
