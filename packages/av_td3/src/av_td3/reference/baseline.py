"""One run of Stable-Baselines3's TD3 with the same settings, evaluated in the same way."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from av_td3.config import ConfigError
from av_td3.reference.curve import SeedCurve
from av_td3.reference.learner import evaluate
from av_td3.reference.tasks import ReferenceSettings, make_task


def check_installed() -> None:
    """Raise a ConfigError where Stable-Baselines3 is missing."""
    try:
        import stable_baselines3  # noqa: F401
    except ImportError:
        raise ConfigError("--baseline sb3 needs Stable-Baselines3: pip install stable-baselines3") from None


def learn(
    task: str,
    seed: int,
    steps: int,
    settings: ReferenceSettings,
    evaluated: Callable[[SeedCurve], None] = lambda _: None,
) -> SeedCurve:
    """As :func:`av_td3.reference.learner.learn`.

    Raises:
        ConfigError: Stable-Baselines3 is not installed, or the task cannot be used.
    """
    check_installed()
    from stable_baselines3 import TD3
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.noise import NormalActionNoise

    env, evaluation_env = make_task(task), make_task(task)
    assert env.action_space.shape is not None
    action_size = env.action_space.shape[0]
    curve = SeedCurve("Stable-Baselines3", seed)

    def predict(observation: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(model.predict(observation, deterministic=True)[0], np.float32)

    class Evaluations(BaseCallback):
        """Evaluates, and takes the time that learning took."""

        since: float | None = None

        def _on_step(self) -> bool:
            now = time.perf_counter()
            if self.since is not None:
                curve.learning_s += now - self.since
                curve.updates = self.model._n_updates
            if self.num_timesteps % settings.eval_interval == 0 or self.num_timesteps == steps:
                point = evaluate(evaluation_env, predict, self.num_timesteps, settings.eval_episodes, seed)
                curve.points.append(point)
                evaluated(curve)
            if self.num_timesteps >= settings.start_steps:
                self.since = time.perf_counter()
            return self.num_timesteps < steps

    model = TD3(
        "MlpPolicy",
        env,
        learning_rate=settings.learning_rate,
        buffer_size=min(settings.capacity, steps + 1_000),
        learning_starts=settings.start_steps,
        batch_size=settings.batch_size,
        tau=settings.tau,
        gamma=settings.gamma,
        train_freq=1,
        gradient_steps=1,
        action_noise=NormalActionNoise(
            np.zeros(action_size), np.full(action_size, settings.exploration_noise)
        ),
        policy_delay=settings.policy_delay,
        target_policy_noise=settings.policy_noise,
        target_noise_clip=settings.noise_clip,
        policy_kwargs={"net_arch": list(settings.hidden)},
        seed=seed,
        device="cpu",
    )
    model.learn(steps, callback=Evaluations())
    env.close()
    evaluation_env.close()
    return curve
