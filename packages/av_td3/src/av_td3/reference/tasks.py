"""The tasks, the settings they are learned with, and what others have published for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from av_td3.config import AgentConfig, ConfigError, ExplorationConfig

Env = gym.Env[Any, Any]


@dataclass(frozen=True)
class ReferenceSettings:
    """How a task is learned.  The defaults are those of the code that TD3's authors published (sfujim/TD3).

    The runs of the paper (2018, appendix C) had networks of 400 and 300 units, batches of 100, learning rates
    of 1e-3, and 1,000 steps of random actions (10,000 for HalfCheetah and Ant).
    """

    hidden: tuple[int, ...] = (256, 256)
    learning_rate: float = 3e-4
    batch_size: int = 256
    gamma: float = 0.99
    tau: float = 0.005
    policy_delay: int = 2
    policy_noise: float = 0.2
    noise_clip: float = 0.5
    exploration_noise: float = 0.1
    start_steps: int = 25_000
    """Steps of uniformly random actions.  Learning begins after them."""
    capacity: int = 1_000_000
    eval_interval: int = 5_000
    eval_episodes: int = 10

    def agent(self) -> AgentConfig:
        """The agent's configuration.  What this project adds to TD3 for driving by sight is switched off."""
        return AgentConfig(
            encoder="none",
            hidden=self.hidden,
            gamma=self.gamma,
            tau=self.tau,
            batch_size=self.batch_size,
            actor_lr=self.learning_rate,
            critic_lr=self.learning_rate,
            policy_delay=self.policy_delay,
            policy_noise=self.policy_noise,
            noise_clip=self.noise_clip,
            actor_clip_norm=None,
            critic_clip_norm=None,
            pre_tanh_penalty=0.0,
            critic_warmup=0,
            actor_final_init=self.hidden[-1] ** -0.5,  # torch's own for a linear layer
        )

    def exploration(self) -> ExplorationConfig:
        noise = self.exploration_noise
        return ExplorationConfig(noise=noise, initial_noise=noise, warmup_steps=self.start_steps)


_OF_TASK: dict[str, ReferenceSettings] = {
    # rl-baselines3-zoo (hyperparams/td3.yml), but 1,000 random steps where it takes 10,000.
    "Pendulum-v1": ReferenceSettings(
        hidden=(400, 300),
        learning_rate=1e-3,
        gamma=0.98,
        start_steps=1_000,
        capacity=200_000,
        eval_interval=1_000,
    ),
}


def settings_for(task: str) -> ReferenceSettings:
    """The settings for a task of this name."""
    return _OF_TASK.get(task, ReferenceSettings())


@dataclass(frozen=True)
class PublishedResult:
    """A return that somebody has published for TD3."""

    who: str
    steps: int
    mean: float
    spread: float
    """Standard deviation over runs; the zoo's is over the episodes of its single run."""
    kind: str


def published(task: str) -> list[PublishedResult]:
    """What is published for this task in any version; empty where nothing is known here.

    Versions of a task differ: gains of a few per cent from v1 to v5 say nothing about an agent.
    """
    return list(_PUBLISHED.get(task.partition("-v")[0], ()))


def _of(
    table: tuple[float, float],
    tianshou: tuple[float, float],
    zoo: tuple[float, float],
    cleanrl: tuple[float, float] | None,
    curves: dict[int, tuple[float, float]],
) -> list[PublishedResult]:
    rows = [
        PublishedResult("TD3 paper, its curves", steps, *values, "v1, maximum, 10 seeds")
        for steps, values in curves.items()
    ]
    million = 1_000_000
    rows.append(PublishedResult("TD3 paper, table 1", million, *table, "v1, maximum, 10 seeds"))
    if cleanrl is not None:
        rows.append(PublishedResult("CleanRL", million, *cleanrl, "v4, return in training, 3 seeds"))
    rows.append(PublishedResult("Tianshou", million, *tianshou, "v3, maximum, 10 seeds"))
    rows.append(PublishedResult("SB3 zoo", million, *zoo, "v3, final, one run"))
    return rows


# Sources: Fujimoto et al. 2018, table 1, and the evaluations behind its curves (sfujim/TD3/learning_curves:
# mean and standard deviation over the 10 seeds of each one's maximum up to that step); cleanrl,
# docs/rl-algorithms/td3.md; tianshou, examples/mujoco/README.md; rl-baselines3-zoo, benchmark.md.  The rows
# were compared with the last three files; the first two of these quote the paper's table 1 alike.
_PUBLISHED = {
    "HalfCheetah": _of(
        (9_637.0, 859.1),
        (10_201.2, 772.8),
        (9_655.7, 969.9),
        (9_583.2, 126.1),
        {100_000: (5_685, 506), 200_000: (6_932, 768), 300_000: (7_812, 770), 500_000: (8_715, 916)},
    ),
    "Hopper": _of(
        (3_564.1, 114.7),
        (3_472.2, 116.8),
        (3_606.4, 4.0),
        (3_134.6, 360.2),
        {100_000: (931, 762), 200_000: (2_780, 660), 300_000: (3_168, 448), 500_000: (3_440, 154)},
    ),
    "Walker2d": _of(
        (4_682.8, 539.6),
        (3_982.4, 274.5),
        (4_717.8, 46.3),
        (4_057.6, 658.8),
        {100_000: (1_082, 713), 200_000: (2_807, 874), 300_000: (3_842, 634), 500_000: (4_447, 561)},
    ),
    "Ant": _of(
        (4_372.4, 1_000.3),
        (5_116.4, 799.9),
        (5_813.3, 589.8),
        None,
        {100_000: (987, 4), 200_000: (1_324, 438), 300_000: (2_252, 1_001), 500_000: (3_463, 916)},
    ),
    "Pendulum": [PublishedResult("SB3 zoo", 20_000, -151.9, 90.2, "v1, final, one run, 750 episodes")],
}


def make_task(name: str) -> Env:
    """A Gymnasium task with continuous actions and a vector as its observation.

    Raises:
        ConfigError: there is no such task, it needs a package that is not installed, or its observations or
            actions are of another kind.
    """
    try:
        env: Env = gym.make(name)
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        raise ConfigError(
            f"--env {name}: {error}; pip install './packages/av_td3[mujoco]' in the repository's folder"
        ) from None
    except gym.error.Error as error:
        raise ConfigError(f"--env {name}: {error}") from None
    observations, actions = env.observation_space, env.action_space
    if not isinstance(observations, gym.spaces.Box) or len(observations.shape) != 1:
        env.close()
        raise ConfigError(f"--env {name}: its observation is no vector ({observations})")
    if not isinstance(actions, gym.spaces.Box) or len(actions.shape) != 1:
        env.close()
        raise ConfigError(f"--env {name}: its action is no vector of numbers ({actions}), and TD3 needs one")
    if not (np.isfinite(actions.low).all() and np.isfinite(actions.high).all()):
        env.close()
        raise ConfigError(f"--env {name}: its actions have no bounds ({actions}), and TD3 needs them")
    # The agent's actions lie in [-1, 1].
    return gym.wrappers.RescaleAction(env, np.float32(-1.0), np.float32(1.0))
