"""How actions are disturbed, and chosen at random, to collect data.

At 20 steps a second white noise averages out before the car moves; the random driving of
the warm-up is therefore autocorrelated (a discrete Ornstein-Uhlenbeck process, as in
Lillicrap et al. 2016), with a mean throttle above zero because a car that stands still
shows nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from av_td3.config import ExplorationConfig

Action = NDArray[np.float32]


class Explorer:
    """Stateful: one for a training run; ``state()`` and ``restore()`` make it resumable."""

    def __init__(self, config: ExplorationConfig, action_size: int, rng: np.random.Generator) -> None:
        self.config = config
        self.rng = rng
        self._noise = np.zeros(action_size)
        self._mean = np.zeros(action_size)
        self._mean[1:] = config.warmup_throttle_mean

    def begin_episode(self) -> None:
        """Noise does not carry over from one episode to the next."""
        self._noise = self.rng.standard_normal(len(self._noise))

    def noise_scale(self, step: int) -> float:
        """Standard deviation of the noise at an environment step: linear decay, then constant."""
        config = self.config
        done = min(1.0, max(0, step - config.warmup_steps) / config.noise_decay_steps)
        return config.initial_noise + done * (config.noise - config.initial_noise)

    def random_action(self) -> Action:
        """Random driving, used before the policy takes over."""
        noise = self._advance(self.config.warmup_correlation)
        return np.clip(self._mean + self.config.warmup_noise * noise, -1, 1).astype(np.float32)

    def demonstrate(self, action: Action, episode: int) -> Action:
        """A demonstrator's action with the noise that is this episode's turn, still in [-1, 1]."""
        return self._add_noise(action, self._demonstration_noise(episode))

    def current_noise(self, step: int, episode: int) -> float:
        """Standard deviation of the noise on the actions of this step, whoever chooses them."""
        if step >= self.config.warmup_steps:
            return self.noise_scale(step)
        classical = self.config.warmup_driver == "classical"
        return self._demonstration_noise(episode) if classical else self.config.warmup_noise

    def _demonstration_noise(self, episode: int) -> float:
        levels = self.config.demonstration_noise
        return levels[episode % len(levels)]

    def disturb(self, action: Action, step: int) -> Action:
        """The policy's action with exploration noise, still in [-1, 1]."""
        return self._add_noise(action, self.noise_scale(step))

    def _add_noise(self, action: Action, scale: float) -> Action:
        noise = self._advance(self.config.noise_correlation)
        return np.clip(action + scale * noise, -1, 1).astype(np.float32)

    def _advance(self, correlation: float) -> NDArray[np.float64]:
        # Stationary with unit variance whatever the correlation.
        fresh = self.rng.standard_normal(len(self._noise))
        self._noise = correlation * self._noise + np.sqrt(1 - correlation**2) * fresh
        return self._noise

    def state(self) -> list[float]:
        return [float(x) for x in self._noise]

    def restore(self, state: list[float]) -> None:
        self._noise = np.asarray(state, np.float64)
