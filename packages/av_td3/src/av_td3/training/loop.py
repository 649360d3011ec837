"""The training loop of TD3.

The simulators and the update of the networks work at the same time.  A round: one forward pass chooses an
action for each environment, all actions are sent, the updates that are due run while the simulators work,
then the transitions are received and stored in the order of the environments.  Checkpoints are written
while no environment is within an episode, where the simulators' state is no part of the run's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from av_td3.config import Config
from av_td3.driving.termination import SIMULATOR_FAULT, TRUNCATIONS
from av_td3.evaluation.baselines import ClassicalDriver
from av_td3.evaluation.rollout import NothingMeasuredError
from av_td3.health import guards
from av_td3.health.metrics import Scalars
from av_td3.supervision.fleet import Fleet, Late, Started, Stepped
from av_td3.training.agents import Action, Observation, act, policy_of
from av_td3.training.checkpoint import CheckpointError
from av_td3.training.logger import RunLogger
from av_td3.training.run_directory import RunDirectory
from av_td3.training.signals import StopRequest
from av_td3.training.state import TrainingState
from rundoctor.signals import evaluation as signals

End = Literal["finished", "interrupted", "stopped"]
Policy = Callable[[Observation], Action]
Evaluate = Callable[[Policy, int], Scalars]
"""``evaluate(policy, step)`` drives held-out routes and returns scalars ``eval/...``.

NothingMeasuredError: the simulator failed in every attempt.  PolicyFailedError: an action is not finite.
"""


@dataclass
class Episode:
    """What one environment is driving."""

    observation: Observation
    info: dict[str, Any]
    demonstrator: ClassicalDriver | None
    action: Action | None = None
    """The one that was sent last."""
    demonstrated: bool = False
    """Whether the demonstrator chose it."""


def train(
    config: Config,
    run: RunDirectory,
    state: TrainingState,
    fleet: Fleet,
    evaluate: Evaluate,
    log: RunLogger,
    stop: StopRequest,
) -> End:
    """Train to the configured number of steps or minutes, or until an alert or a signal ends it.

    Raises:
        NonFiniteError, NonFiniteGradientError, InvalidActionError, PolicyFailedError: a value is NaN or
            infinite.
        StopRequested: a signal came, and an update or an evaluation was left off.
        DrivingError: the simulator failed too often in a row.
    """
    while not state.finished:
        drive(config, state, fleet, log, stop)
        if stop.requested:
            return "interrupted"
        if state.watch.stop_reason:
            return "stopped"
        if state.evaluation_due:
            evaluate_policy(config, run, state, evaluate, log, stop)
        with log.warned_of(CheckpointError):  # a full disk: the older checkpoint stays
            state.settle()
            if state.checkpoint_due:
                guards.check_weights(state.agent.networks())
                log.flush()
                state.begin_checkpoint(run.checkpoints)
                state.watch.compare_code(run.code_sha256())
    return "finished"


def evaluate_policy(
    config: Config,
    run: RunDirectory,
    state: TrainingState,
    evaluate: Evaluate,
    log: RunLogger,
    stop: StopRequest,
) -> None:
    """Drive held-out routes, and keep the policy with its figures.

    Where the simulator failed in every attempt nothing is known of the policy, and training goes on: the next
    evaluation comes when its turn is.
    """
    try:
        row = evaluate(stop.obeyed_by(policy_of(state.agent, config.evaluation.averaged)), state.step)
    except NothingMeasuredError as error:
        state.last_evaluation = state.step
        state.interval.add(signals.EPISODES.tag, 0.0)  # the next row of scalars says so
        state.interval.add(signals.SIMULATOR_FAULTS.tag, float(error.faults))
        log.message(f"warning: step {state.step}: evaluation on held-out routes: {error}; training goes on")
        return
    log.evaluation(state.step, row)
    with log.warned_of(CheckpointError):
        state.add_evaluation(row, run.checkpoints)


def drive(config: Config, state: TrainingState, fleet: Fleet, log: RunLogger, stop: StopRequest) -> None:
    """Drive episodes and learn from them, until an evaluation or a checkpoint is due, or training ends.

    From the moment when something is due no further episode begins, and those under way are driven to
    their ends.
    """
    episodes: dict[int, Episode] = {}
    due = False
    for env in range(len(fleet)):
        begin(config, state, fleet, env)
    state.note_round(first=True)
    while episodes or not due:
        actions = choose_actions(config, state, {e: x for e, x in episodes.items() if fleet.at_rest(e)})
        for env, action in actions.items():
            fleet.send(env, action)  # the simulators work ...
        learn(config, state, log, stop, len(actions))  # ... while the networks are updated
        events = fleet.collect()
        # before anybody asks whether the time is up
        state.note_round(idle=all(isinstance(event, Late) for event in events.values()))
        for env, event in events.items():
            if isinstance(event, Started):
                episodes[env] = start(config, state, env, event, log)
            elif isinstance(event, Stepped):
                if not take(config, state, fleet, env, episodes[env], event, log):
                    continue
                del episodes[env]
                with log.warned_of(CheckpointError):
                    state.settle()  # one that could not be written makes the next due soon
                due = due or state.evaluation_due or state.checkpoint_due
                if not (due or leaving(state, stop)):
                    begin(config, state, fleet, env)
            elif isinstance(event, Late):
                if len(fleet) > 1:  # else nobody goes on without it, and the run stays what it is
                    name = f"environment {env} has not answered for {event.seconds:g} s"
                    log.message(f"step {state.step}: {name}; the others go on")
            else:
                log.message(f"step {state.step}: training goes on without environment {env}: {event.error}")
                episodes.pop(env, None)
        if leaving(state, stop):
            state.replay.break_off()
            return


def leaving(state: TrainingState, stop: StopRequest) -> bool:
    """Whether training ends here, in the middle of episodes."""
    return state.finished or stop.requested or bool(state.watch.stop_reason)


def begin(config: Config, state: TrainingState, fleet: Fleet, env: int) -> None:
    """Let an environment begin its next episode, unless it does so already."""
    if fleet.at_rest(env):
        number = state.episode_number(env)
        fleet.begin(env, episode_seed(config.train.seed, number, config.evaluation.seed))


def start(config: Config, state: TrainingState, env: int, event: Started, log: RunLogger) -> Episode:
    """An episode has begun."""
    guards.check_observation(event.observation)
    state.replay.begin(event.observation, env)
    state.explorers[env].begin_episode()
    log.begin_episode(env)
    demonstrator = ClassicalDriver(config.env) if config.exploration.warmup_driver == "classical" else None
    return Episode(event.observation, event.info, demonstrator)


def choose_actions(config: Config, state: TrainingState, episodes: dict[int, Episode]) -> dict[int, Action]:
    """The next action of each of these environments; no more than the run still has steps."""
    envs = sorted(episodes)[: max(0, config.train.steps - state.step)]
    acting = state.step >= config.exploration.warmup_steps
    chosen = act(state.agent, [episodes[env].observation for env in envs]) if acting and envs else None
    actions: dict[int, Action] = {}
    for index, env in enumerate(envs):
        episode, explorer = episodes[env], state.explorers[env]
        episode.demonstrated = False
        if chosen is not None:
            action = explorer.disturb(chosen[index], state.step)
        elif episode.demonstrator is not None:
            episode.demonstrator.watch(episode.info)
            driven = episode.demonstrator(episode.observation)
            action = explorer.demonstrate(driven, state.demonstration_number(env))
            episode.demonstrated = True
        else:
            action = explorer.random_action()
        actions[env] = episode.action = action
    return actions


def take(
    config: Config,
    state: TrainingState,
    fleet: Fleet,
    env: int,
    episode: Episode,
    event: Stepped,
    log: RunLogger,
) -> bool:
    """Store the transition that an action has led to; True when it was the episode's last."""
    observation, reward, terminated, truncated, info = event
    if info.get("termination") == SIMULATOR_FAULT:
        state.replay.break_off(env)  # no transition is made up for a step that failed
        state.episodes[env] += 1
        log.message(f"step {state.step}: {info.get('fault', 'the simulator failed')}; training goes on")
        return True
    guards.check_observation(observation)
    guards.check_reward(reward, info["reward_components"])
    assert episode.action is not None
    state.replay.add(episode.action, reward, terminated, truncated, observation, episode.demonstrated, env)
    episode.observation, episode.info = observation, info
    state.step += 1

    log.environment_step(info, reward, episode.action, env)
    if state.step % config.train.log_interval == 0:
        log.row(state, fleet.restarts, fleet.incidents, fleet.downtime_s)
    if not (terminated or truncated):
        return False
    state.episodes[env] += 1
    cause = info["termination"]
    state.watch.episode_ended(cause)
    # What ended the episode says which of the two flags the replay must hold.
    log.episode(state, info, terminated != (cause not in TRUNCATIONS), env, episode.demonstrated)
    return True


def learn(config: Config, state: TrainingState, log: RunLogger, stop: StopRequest, steps: int) -> None:
    """The updates that are due for so many steps of the environments."""
    if not steps or state.step < state.learning_from or not state.replay.can_sample():
        return
    state.update_credit += config.train.updates_per_step * steps
    while state.update_credit >= 1.0 and not stop.requested:
        state.update_credit -= 1.0
        batch = state.batches.next()
        log.before_update(state)
        with state.batches.preparing_next(), stop.may_leave_off():
            critic_step, actor_step = state.agent.update(batch)
        log.after_update(state, batch, critic_step, actor_step)


ENOUGH_SEEDS = 1_000_000
"""Seeds below ``evaluation.seed`` that suffice for training; its default, by which runs are recorded.  Of
10,000 episodes about 50 have the seed of another one."""
FAR_SEEDS = 2**32
"""Where training's seeds begin, and how many there are, when fewer than that lie below.  Evaluations count on
from ``evaluation.seed``, one seed an episode, so none gets as far.  Nothing needs a seed to fit into 32 bits:
numpy takes any, and the simulator's own are drawn from its generator."""


def episode_seed(run_seed: int, episode: int, evaluation_seed: int) -> int:
    """The environment's seed of a training episode: reproducible, and of no episode of an evaluation.

    Args:
        run_seed: ``train.seed``.
        episode: its number within the run.
        evaluation_seed: ``evaluation.seed``, of the first episode of an evaluation.
    """
    drawn = int(np.random.SeedSequence([run_seed, episode]).generate_state(1, np.uint64)[0])
    if evaluation_seed >= ENOUGH_SEEDS:
        return drawn % evaluation_seed
    return FAR_SEEDS + drawn % FAR_SEEDS
