"""N driving environments for Stable-Baselines3: ``DrivingVecEnv(num_envs=N, preset="quick")``.

Importing this module needs ``stable-baselines3``; nothing else of av-td3 does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from av_td3.supervision.vector import DrivingVectorEnv


class DrivingVecEnv(VecEnv):
    """``DrivingVectorEnv`` under the interface that Stable-Baselines3 wants.

    Args:
        arguments: those of ``DrivingVectorEnv``, but for ``autoreset_mode``.
    """

    def __init__(self, num_envs: int = 1, **arguments: Any) -> None:
        self.envs = DrivingVectorEnv(num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **arguments)
        super().__init__(num_envs, self.envs.single_observation_space, self.envs.single_action_space)

    def reset(self) -> VecEnvObs:
        """Begin an episode in each environment."""
        options = self._options[0] or None
        if any(other != self._options[0] for other in self._options):
            raise ValueError("the environments take the same reset options")
        observations, infos = self.envs.reset(seed=self._seeds, options=options)
        self.reset_infos = self._apart(infos)
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Hand the actions over."""
        self.envs.send(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for all environments; an episode that has ended is followed by the next at once."""
        observations, rewards, terminated, truncated, infos = self.envs.receive()
        final_obs, final_info = infos.pop("final_obs", None), infos.pop("final_info", {})
        ended = terminated | truncated
        apart, finals = self._apart(infos), self._apart(final_info)
        for number in range(self.num_envs):
            if ended[number]:
                self.reset_infos[number] = apart[number]
                apart[number] = {**finals[number], "terminal_observation": final_obs[number]}
            apart[number]["TimeLimit.truncated"] = bool(truncated[number] and not terminated[number])
        return observations, rewards.astype(np.float32), ended, apart

    def close(self) -> None:
        """End all workers and simulators."""
        self.envs.close()

    def get_images(self) -> Sequence[NDArray[Any] | None]:
        """The picture of each environment."""
        return self.envs.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the environments."""
        return [getattr(self.envs.envs[number], attr_name) for number in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the environments."""
        for number in self._get_indices(indices):
            setattr(self.envs.envs[number], attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the environments."""
        methods = self.get_attr(method_name, indices)
        return [method(*method_args, **method_kwargs) for method in methods]

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """No: the environments have no wrappers."""
        return [False for _ in self._get_indices(indices)]

    def _apart(self, infos: dict[str, Any]) -> list[dict[str, Any]]:
        """Gymnasium's info of arrays as one dictionary for each environment."""
        return [_of(infos, number) for number in range(self.num_envs)]


def _of(infos: dict[str, Any], number: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in infos.items():
        if f"_{key}" in infos and infos[f"_{key}"][number]:
            found[key] = _of(value, number) if isinstance(value, dict) else value[number]
    return found
