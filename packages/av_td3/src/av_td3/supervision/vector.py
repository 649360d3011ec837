"""``DrivingVectorEnv``: N driving environments as one, for Gymnasium's vector interface."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from av_td3.config import ConfigError, EnvConfig, Split
from av_td3.driving.checks import environment_config
from av_td3.supervision.fleet import Fleet, Late, Lost, Observation, Started, Stepped, environment
from av_td3.supervision.memory import check_memory
from av_td3.supervision.supervised import SupervisedEnv

Observations: TypeAlias = dict[str, NDArray[Any]]
"""``{"image": uint8 (N, K, H, W), "vector": float32 (N, V)}``."""
Batch: TypeAlias = tuple[
    Observations, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]
]
"""Observations, rewards (N,), terminated (N,), truncated (N,), infos."""


class DrivingVectorEnv(VectorEnv[Observations, ArrayLike, NDArray[Any]]):
    """N driving environments that step at the same time, each with a worker and a simulator of its own.

    ``gymnasium.make_vec("av_td3/Driving-v0", num_envs=N)`` makes one.  A simulator that fails truncates its
    own episode, as in ``SupervisedEnv``; the others' episodes go on.

    Args:
        num_envs: N.
        config, split, preset, map, npc, address, log_dir, render_mode: as for ``SupervisedEnv``.  With an
            address N is 1: a CARLA server serves one environment at a time.
        autoreset_mode: when the next episode begins: ``NEXT_STEP`` (Gymnasium's default), with the step after
            the last one; ``SAME_STEP``, with the last one, whose observation and info are then in
            ``infos["final_obs"]`` and ``infos["final_info"]``; ``DISABLED``, with
            ``reset(options={"reset_mask": ...})``.

    Raises:
        ConfigError, TypeError, ValueError: what was asked for cannot be; nothing was started.
    """

    def __init__(
        self,
        num_envs: int = 1,
        config: EnvConfig | None = None,
        split: Split = "train",
        *,
        preset: str | None = None,
        map: str | None = None,
        npc: int | None = None,
        address: str | None = None,
        log_dir: Path | str | None = None,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        num_envs = operator.index(num_envs)
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}: there must be one environment at least")
        mode = AutoresetMode(autoreset_mode)
        self.config = environment_config(config, preset=preset, map=map, npc=npc, address=address)
        if num_envs > 1 and self.config.simulator.address is not None:
            raise ConfigError(
                f"the CARLA server at {self.config.simulator.address} serves one environment at a time: "
                f"{num_envs} need a server each, which is started for them when no address is given"
            )
        check_memory(self.config, num_envs)
        self.envs = [
            SupervisedEnv(
                environment(self.config, number),
                split,
                log_dir=log_dir,
                name=f"{split}-{number}" if num_envs > 1 else split,
                render_mode=render_mode,
            )
            for number in range(num_envs)
        ]
        self.num_envs, self.render_mode, self.autoreset_mode = num_envs, render_mode, mode
        self.metadata = {**self.envs[0].metadata, "autoreset_mode": mode}
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._fleet = Fleet(self.envs)
        self._observations: list[Observation] = []
        self._ended = np.zeros(num_envs, np.bool_)
        self._sent: list[int] | None = None
        """The environments that ``receive`` is to hear from; None before ``send``."""

    # ------------------------------------------------------------------ Gymnasium's interface

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin an episode in all environments, or in those of ``options["reset_mask"]``, bool (N,).

        Args:
            seed: of environment 0; environment i gets ``seed + i``.  Or a list with a seed for each.
            options: those of ``SupervisedEnv.reset``, for all environments alike.
        """
        self._check_open()
        if self._sent is not None:
            self.receive()
        seeds = [seed] * self.num_envs if seed is None else seed
        if isinstance(seeds, int):
            seeds = [seeds + number for number in range(self.num_envs)]
        if len(seeds) != self.num_envs:
            raise ValueError(f"there are {self.num_envs} environments and {len(seeds)} seeds")
        left = dict(options or {})
        mask = np.asarray(left.pop("reset_mask", np.ones(self.num_envs, np.bool_)))
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(f"reset_mask must be an array of {self.num_envs} bools, with a True among them")
        if not self._observations and not mask.all():
            raise gymnasium.error.ResetNeeded("the first reset is of all environments")
        chosen = [int(number) for number in np.flatnonzero(mask)]
        infos: dict[str, Any] = {}
        self._begin(chosen, infos, seeds, left or None)
        return self._stacked(), infos

    def step(self, actions: ArrayLike) -> Batch:
        """One step of all environments; ``actions`` is (N, 2)."""
        self.send(actions)
        return self.receive()

    def send(self, actions: ArrayLike) -> None:
        """First half of ``step``: hand the actions over and return at once.

        Raises:
            ValueError: the actions are not (N, 2), or not finite.
        """
        self._check_open()
        if not self._observations:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        if self._sent is not None:
            raise gymnasium.error.ResetNeeded("receive() has to come first")
        array = np.asarray(actions, np.float32)
        if array.shape != self.action_space.shape:
            raise ValueError(f"the actions have shape {array.shape}; {self.action_space.shape} is needed")
        if not np.isfinite(array).all():
            raise ValueError("an action is not finite")
        resets = self._ended if self.autoreset_mode is AutoresetMode.NEXT_STEP else np.zeros_like(self._ended)
        self._sent = list(range(self.num_envs))
        for number in self._sent:
            if resets[number]:
                self._fleet.begin(number)
            else:
                self._fleet.send(number, array[number])

    def receive(self) -> Batch:
        """Second half of ``step``: wait for all environments."""
        self._check_open()
        if self._sent is None:
            raise gymnasium.error.ResetNeeded("send() has to come first")
        sent, self._sent = self._sent, None
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), np.bool_)
        infos: dict[str, Any] = {}
        for number, event in self._gather(sent).items():
            self._observations[number] = event.observation
            last = False
            if isinstance(event, Stepped):
                rewards[number] = event.reward
                terminated[number], truncated[number] = event.terminated, event.truncated
                last = event.terminated or event.truncated
            if last and self.autoreset_mode is AutoresetMode.SAME_STEP:
                final = {"final_obs": event.observation, "final_info": event.info}
                infos = self._add_info(infos, final, number)
            else:
                infos = self._add_info(infos, event.info, number)
        self._ended = terminated | truncated
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self._ended.any():
            self._begin([int(number) for number in np.flatnonzero(self._ended)], infos)
        return self._stacked(), rewards, terminated, truncated, infos

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """The picture of each environment, as ``SupervisedEnv.render`` makes it."""
        pictures = [env.render() for env in self.envs]
        return None if self.render_mode is None else tuple(p for p in pictures if p is not None)

    def close_extras(self, **_: Any) -> None:
        """End all workers and simulators."""
        self._fleet.close()

    def call(self, name: str, *arguments: Any, **keywords: Any) -> tuple[Any, ...]:
        """Call a method of each environment; what each returns."""
        return tuple(getattr(env, name)(*arguments, **keywords) for env in self.envs)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of each environment."""
        return tuple(getattr(env, name) for env in self.envs)

    def set_attr(self, name: str, values: Sequence[Any]) -> None:
        """Set an attribute of each environment."""
        for env, value in zip(self.envs, values, strict=True):
            setattr(env, name, value)

    @property
    def restarts(self) -> int:
        """How often a simulator was replaced."""
        return self._fleet.restarts

    # ------------------------------------------------------------------ parts

    def _begin(
        self,
        numbers: Iterable[int],
        infos: dict[str, Any],
        seeds: Sequence[int | None] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin episodes; puts what they begin with into the observations and ``infos``."""
        chosen = list(numbers)
        for number in chosen:
            self._fleet.begin(number, None if seeds is None else seeds[number], options)
        begun = self._gather(chosen)
        if not self._observations:
            self._observations = [begun[number].observation for number in chosen]
        for number, event in begun.items():
            self._observations[number] = event.observation
            self._ended[number] = False
            infos.update(self._add_info(infos, event.info, number))

    def _gather(self, numbers: Iterable[int]) -> dict[int, Started | Stepped]:
        """Wait for these environments, however late."""
        missing, found = set(numbers), dict[int, Started | Stepped]()
        while missing:
            for number, event in self._fleet.collect().items():
                if isinstance(event, Lost):
                    raise event.error
                if not isinstance(event, Late):
                    missing.discard(number)
                    found[number] = event
        return dict(sorted(found.items()))

    def _stacked(self) -> Observations:
        return {
            key: np.stack([observation[key] for observation in self._observations])
            for key in self._observations[0]
        }

    def _check_open(self) -> None:
        if self.closed:
            raise gymnasium.error.ClosedEnvironmentError("the environments were closed")
