"""The training loop of TD3.

One step of the simulator and one update of the networks happen at the same time: the action is
sent, the update runs while the simulator works, then the transition is received.  Checkpoints are
written between episodes, where the simulator's state is no part of the run's.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any, Literal, Protocol

import numpy as np
import torch

from av_td3.agent.replay import Sample
from av_td3.agent.td3 import Batch
from av_td3.config import Config
from av_td3.driving.termination import SIMULATOR_FAULT, TRUNCATIONS
from av_td3.evaluation.baselines import ClassicalDriver
from av_td3.health import guards
from av_td3.health.metrics import Scalars
from av_td3.training.agents import Action, Observation, policy_of
from av_td3.training.logger import RunLogger
from av_td3.training.run_directory import RunDirectory
from av_td3.training.signals import StopRequest
from av_td3.training.state import TrainingState

End = Literal["finished", "interrupted", "stopped"]
Policy = Callable[[Observation], Action]
Evaluate = Callable[[Policy, int], Scalars]
"""``evaluate(policy, step)`` drives held-out routes and returns scalars ``eval/...``."""


class DrivingEnv(Protocol):
    """What the loop needs of an environment; ``SupervisedEnv`` has it."""

    @property
    def restarts(self) -> int:
        """How often the simulator was replaced."""

    @property
    def incidents(self) -> Sized:
        """Failures that were survived, and ports that had to be changed."""

    def reset(self, *, seed: int | None = None) -> tuple[Observation, dict[str, Any]]: ...

    def send(self, action: Action) -> None: ...

    def receive(self) -> tuple[Observation, float, bool, bool, dict[str, Any]]: ...

    def close(self) -> None: ...


def train(
    config: Config,
    run: RunDirectory,
    state: TrainingState,
    env: DrivingEnv,
    evaluate: Evaluate,
    log: RunLogger,
    stop: StopRequest,
) -> End:
    """Train to the configured number of steps or minutes, or until an alert or a signal ends it.

    Raises:
        NonFiniteError, NonFiniteGradientError, InvalidActionError: a value is NaN or infinite.
        StopRequested: a signal came, and an update or an evaluation was left off.
        DrivingError: the simulator failed too often in a row.
        CheckpointError: the disk is full or not writable.
    """
    while not state.finished:
        drive_episode(config, state, env, log, stop)
        if stop.requested:
            return "interrupted"
        if state.watch.stop_reason:
            return "stopped"
        if state.evaluation_due:
            row = evaluate(stop.obeyed_by(policy_of(state.agent, config.evaluation.averaged)), state.step)
            log.evaluation(state.step, row)
            state.add_evaluation(row, run.checkpoints)
        if state.checkpoint_due:
            guards.check_weights(state.agent.networks())
            state.save(run.checkpoints)
            state.watch.compare_code(run.code_sha256())
    return "finished"


def drive_episode(
    config: Config, state: TrainingState, env: DrivingEnv, log: RunLogger, stop: StopRequest
) -> None:
    """Drive one episode and learn from it."""
    policy = policy_of(state.agent)
    seed = episode_seed(config.train.seed, state.episode, below=config.evaluation.seed)
    demonstrator = ClassicalDriver(config.env) if config.exploration.warmup_driver == "classical" else None
    observation, info = env.reset(seed=seed)
    guards.check_observation(observation)
    state.replay.begin(observation)
    state.explorer.begin_episode()
    log.begin_episode()
    while True:
        demonstrated = False
        if state.step >= config.exploration.warmup_steps:
            action = state.explorer.disturb(policy(observation), state.step)
        elif demonstrator is not None:
            demonstrator.watch(info)
            action = state.explorer.demonstrate(demonstrator(observation), state.episode)
            demonstrated = True
        else:
            action = state.explorer.random_action()

        env.send(action)  # the simulator works ...
        learn(config, state, log, stop)  # ... while the networks are updated
        next_observation, reward, terminated, truncated, info = env.receive()

        if info.get("termination") == SIMULATOR_FAULT:
            state.replay.break_off()  # no transition is made up for a step that failed
            state.episode += 1
            log.message(f"step {state.step}: {info.get('fault', 'the simulator failed')}; training goes on")
            return
        guards.check_observation(next_observation)
        guards.check_reward(reward, info["reward_components"])
        state.replay.add(action, reward, terminated, truncated, next_observation, demonstrated)
        observation = next_observation
        state.step += 1

        log.environment_step(info, reward, action)
        if state.step % config.train.log_interval == 0:
            log.row(state, env.restarts, len(env.incidents))
        if terminated or truncated:
            state.episode += 1
            cause = info["termination"]
            state.watch.episode_ended(cause)
            # What ended the episode says which of the two flags the replay must hold.
            log.episode(state, info, flag_is_wrong=terminated != (cause not in TRUNCATIONS))
            return
        if state.finished or stop.requested or state.watch.stop_reason:
            state.replay.break_off()
            return


def learn(config: Config, state: TrainingState, log: RunLogger, stop: StopRequest) -> None:
    """The updates that are due after a step of the environment."""
    if state.step < config.train.learning_starts or not state.replay.can_sample():
        return
    state.update_credit += config.train.updates_per_step
    while state.update_credit >= 1.0 and not stop.requested:
        state.update_credit -= 1.0
        sample = state.replay.sample(config.agent.batch_size, state.replay_rng)
        batch = to_batch(sample, state.agent.device)
        log.before_update(state)
        with stop.may_leave_off():
            critic_step, actor_step = state.agent.update(batch)
        log.after_update(state, batch, critic_step, actor_step)


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
        move(sample.demonstrated),
    )


def episode_seed(run_seed: int, episode: int, below: int) -> int:
    """The environment's seed of a training episode: reproducible, and below evaluation's seeds."""
    return int(np.random.SeedSequence([run_seed, episode]).generate_state(1, np.uint64)[0] % below)
