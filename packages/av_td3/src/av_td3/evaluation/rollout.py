"""Driving held-out episodes and writing down what happened.

Every agent drives the same routes: episode ``i`` is reset with ``seed + i``.  An episode in which the
simulator failed is driven again, and the failure is counted; it is never scored as driving.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol, TypeAlias

import gymnasium
import numpy as np
from numpy.typing import NDArray

from av_td3.driving.errors import InvalidActionError

Observation = Mapping[str, NDArray[Any]]
Action = NDArray[np.float32]
DrivenEnv: TypeAlias = gymnasium.Env[Any, Any]
"""Any Gymnasium environment whose ``info`` has the keys of docs/architecture.md."""
Policy = Callable[[Observation], Action]
"""Anything callable.  Two optional methods are called when it has them: ``reset(seed)``
before each episode, and ``watch(info)`` with the ``info`` of each reset and step, for
baselines that may know more than the agent."""

SIMULATOR_FAULT = "simulator_fault"
LOW_TTC_S = 1.5
"""Time to collision under which a step counts as exposed (van der Horst 1991: 1.5 s)."""
STANDING_KMH = 3.6
"""km/h below which the time to collision does not count.  A car that stands cannot run into anything,
though the gap may close because an oncoming car passes through its obstacle sensor's line in a bend."""
TTC_CAP_S = 10.0
"""Seconds.  A longer time to collision is averaged as this: beyond it there is no risk to compare."""


class EvaluationError(RuntimeError):
    """An evaluation that could not be made; the message says why."""


class NothingMeasuredError(EvaluationError):
    """The simulator failed in every attempt: it says nothing about the policy."""

    def __init__(self, faults: int, episodes: int) -> None:
        self.faults = faults
        super().__init__(
            f"the simulator failed in all {faults} attempts at {episodes} episodes: nothing was measured"
        )


class PolicyFailedError(EvaluationError):
    """The policy's action has the wrong shape or is not finite."""


@dataclass(frozen=True)
class EpisodeRecord:
    """One scored episode.  Means are over its steps; nothing in it is infinite."""

    seed: int
    route: str
    """The environment's name of the route; empty when it has none."""
    route_length_m: float
    route_completion: float
    """0..1"""
    success: bool
    """The route's end was reached."""
    episode_return: float
    """Undiscounted sum of rewards."""
    steps: int
    distance_km: float
    collisions: int
    lane_invasions: int
    off_road_steps: int
    mean_speed_kmh: float
    mean_abs_jerk: float
    """m/s^3"""
    mean_abs_lateral_deviation_m: float
    min_time_to_collision_s: float | None
    """While moving; None: nothing was ever ahead and closing."""
    low_ttc_steps: int
    """Steps, while moving, with a time to collision under ``LOW_TTC_S``."""
    mean_abs_steer_change: float
    """Mean |steer - previous steer| of the policy's actions, 0..2."""
    termination: str
    red_lights_run: int = 0
    vehicle_collisions: int = 0
    walker_collisions: int = 0
    comfortable_share: float | None = None
    """Share of the time within the bounds of ``driving/comfort.py``; None: it was not measured."""
    ticks: int | None = None
    """Simulator ticks; None in records of older versions, where a step was one tick."""
    attempts: int = 1
    """How often it was driven: once, and once more for every failure of the simulator."""


@dataclass(frozen=True)
class Evaluation:
    """The episodes of one agent."""

    name: str
    seed: int
    episodes: tuple[EpisodeRecord, ...]
    simulator_faults: int = 0
    abandoned_seeds: tuple[int, ...] = ()
    """Seeds of the episodes in which the simulator failed at every attempt: they are missing, not failed."""
    wall_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; no infinities, no NaN."""
        return asdict(self) | {
            "episodes": [asdict(e) for e in self.episodes],
            "abandoned_seeds": list(self.abandoned_seeds),
        }

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Evaluation:
        """Inverse of :meth:`to_dict`.

        Raises:
            EvaluationError: keys are missing or unknown.
        """
        try:
            episodes = tuple(EpisodeRecord(**episode) for episode in tree["episodes"])
            known = {f.name for f in fields(cls)}
            rest = {key: value for key, value in tree.items() if key in known - {"episodes"}}
            return cls(**rest | {"episodes": episodes, "abandoned_seeds": tuple(tree["abandoned_seeds"])})
        except (KeyError, TypeError) as error:
            raise EvaluationError(f"not an evaluation: {error}") from None


class EpisodeRecorder(Protocol):
    """Sees every step, and whether the episode counted; ``video.VideoRecorder`` is one."""

    def wants(self, index: int) -> bool:
        """Whether ``env.render()`` will be called in this episode.

        An environment with a ``render_mode`` is told so by ``options={"record": ...}``, since pictures
        that nobody looks at cost simulator time.
        """
        ...

    def begin(self, index: int, env: DrivenEnv, observation: Observation) -> None: ...

    def step(
        self,
        env: DrivenEnv,
        observation: Observation,
        action: Action,
        reward: float,
        info: Mapping[str, Any],
    ) -> None: ...

    def end(self, record: EpisodeRecord | None) -> None:
        """The episode is over; ``record`` is None when the simulator broke it off."""
        ...

    def wants_again(self, episodes: Sequence[EpisodeRecord]) -> int | None:
        """After the evaluation: index of an episode to drive once more for the recorder alone."""
        ...


def evaluate(
    env: DrivenEnv,
    policy: Policy,
    episodes: int,
    seed: int,
    on_episode: Callable[[EpisodeRecord], None] | None = None,
    record: EpisodeRecorder | None = None,
    *,
    name: str = "agent",
    max_attempts: int = 3,
) -> Evaluation:
    """Drive ``episodes`` episodes, resetting ``env`` with seed, seed + 1, ...

    Args:
        env: ``SupervisedEnv(config, split="held_out")`` or any Gymnasium environment whose
            ``info`` has the keys of docs/architecture.md.  It is not closed.
        policy: called with each observation; used as it is, so pass the deterministic one.
        on_episode: called after each scored episode.
        record: sees every step, for a video.
        max_attempts: drives per seed before it is given up as abandoned.

    Raises:
        PolicyFailedError: the policy's action has the wrong shape or is not finite.
        NothingMeasuredError: the simulator failed in every episode.
    """
    if episodes < 1 or max_attempts < 1:
        raise ValueError("an evaluation needs at least one episode and one attempt")
    started = time.monotonic()
    done: list[EpisodeRecord] = []
    abandoned: list[int] = []
    faults = 0
    for index in range(episodes):
        for attempt in range(1, max_attempts + 1):
            result = _drive(env, policy, index, seed + index, attempt, record)
            if result is not None:
                done.append(result)
                if on_episode is not None:
                    on_episode(result)
                break
            faults += 1
        else:
            abandoned.append(seed + index)
    if not done:
        raise NothingMeasuredError(faults, episodes)
    if record is not None:
        _repeat(env, policy, max_attempts, record, done)
    return Evaluation(name, seed, tuple(done), faults, tuple(abandoned), time.monotonic() - started)


def _repeat(
    env: DrivenEnv,
    policy: Policy,
    attempts: int,
    record: EpisodeRecorder,
    done: Sequence[EpisodeRecord],
) -> None:
    """Drive the episode that the recorder asks for again, if it does; it is not scored a second time."""
    index = record.wants_again(done)
    if index is None:
        return
    for attempt in range(attempts):
        if _drive(env, policy, index, done[index].seed, attempt + 1, record) is not None:
            return


def _drive(
    env: DrivenEnv,
    policy: Policy,
    index: int,
    seed: int,
    attempt: int,
    record: EpisodeRecorder | None,
) -> EpisodeRecord | None:
    """One episode; None when the simulator failed in it."""
    reset, watch = getattr(policy, "reset", None), getattr(policy, "watch", None)
    if env.render_mode is None:
        observation, info = env.reset(seed=seed)
    else:
        filmed = record is not None and record.wants(index)
        observation, info = env.reset(seed=seed, options={"record": filmed})
    if reset is not None:
        reset(seed)
    if watch is not None:
        watch(info)
    result: EpisodeRecord | None = None
    if record is not None:
        record.begin(index, env, observation)
    try:
        tally = _Tally(seed)
        while True:
            action = np.asarray(policy(observation), np.float32)
            try:
                observation, reward, terminated, truncated, info = env.step(action)
            except InvalidActionError as error:
                raise PolicyFailedError(
                    f"the policy failed at step {tally.steps} of seed {seed}: {error}"
                ) from None
            cause = info.get("termination")
            if cause == SIMULATOR_FAULT:
                return None
            tally.add(action, float(reward), info)
            if watch is not None:
                watch(info)
            if record is not None:
                record.step(env, observation, action, float(reward), info)
            if terminated or truncated:
                # An outer time limit (gymnasium.wrappers.TimeLimit) truncates without a name.
                result = tally.finish(info, cause or ("time_limit" if truncated else "unnamed"), attempt)
                return result
    finally:
        if record is not None:
            record.end(result)


class _Tally:
    """Sums over the steps of one episode."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.steps = 0
        self.total = self.metres = self.speed = self.jerk = self.lateral = self.steer = 0.0
        self.nearest = math.inf
        self.exposed = 0
        self.comfortable: float | None = 0.0
        self._last_steer: float | None = None

    def add(self, action: Action, reward: float, info: Mapping[str, Any]) -> None:
        self.steps += 1
        self.total += reward
        self.metres += info["distance_m"]
        self.speed += info["speed_kmh"]
        self.jerk += abs(info["jerk"])
        self.lateral += abs(info["lateral_deviation_m"])
        ttc = info["time_to_collision_s"] if info["speed_kmh"] >= STANDING_KMH else math.inf
        self.nearest = min(self.nearest, ttc)
        self.exposed += ttc < LOW_TTC_S
        if self.comfortable is not None:
            share = info.get("comfortable")
            self.comfortable = None if share is None else self.comfortable + share
        steer = float(action[0])
        if self._last_steer is not None:
            self.steer += abs(steer - self._last_steer)
        self._last_steer = steer

    def finish(self, info: Mapping[str, Any], termination: str, attempts: int) -> EpisodeRecord:
        n = self.steps
        return EpisodeRecord(
            seed=self.seed,
            route=str(info.get("route", "")),
            route_length_m=float(info["route_length_m"]),
            # The goal counts as reached half a metre before it, and then the route as completed.
            route_completion=1.0 if termination == "success" else float(info["route_completion"]),
            success=termination == "success",
            episode_return=self.total,
            steps=n,
            distance_km=self.metres / 1000,
            collisions=int(info["collisions"]),
            lane_invasions=int(info["lane_invasions"]),
            off_road_steps=int(info["off_road_steps"]),
            mean_speed_kmh=self.speed / n,
            mean_abs_jerk=self.jerk / n,
            mean_abs_lateral_deviation_m=self.lateral / n,
            min_time_to_collision_s=self.nearest if math.isfinite(self.nearest) else None,
            low_ttc_steps=self.exposed,
            mean_abs_steer_change=self.steer / max(1, n - 1),
            termination=termination,
            red_lights_run=int(info.get("red_lights_run", 0)),
            vehicle_collisions=int(info.get("vehicle_collisions", 0)),
            walker_collisions=int(info.get("walker_collisions", 0)),
            comfortable_share=None if self.comfortable is None else self.comfortable / n,
            ticks=int(info["frame"]) if "frame" in info else None,
            attempts=attempts,
        )
