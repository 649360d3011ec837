"""Updates per second of this TD3 and of Stable-Baselines3's on the same networks, interleaved.

    python -m benchmarks.update_speed [--batch 64] [--seconds 5] [--rounds 3]

Nature CNN 4x84x84 -> 512, vector 53, heads 256-256, policy delay 2.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from av_td3.agent.td3 import TD3, Batch
from av_td3.config import AgentConfig
from av_td3.training.memory import tune_allocator

VECTOR = 53


def ours(batch: int, **settings: Any) -> Callable[[], None]:
    agent = TD3(AgentConfig(batch_size=batch, critic_warmup=0, **settings), (4, 84, 84), VECTOR, 2)

    def image() -> torch.Tensor:
        return torch.randint(0, 255, (batch, 4, 84, 84), dtype=torch.uint8)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape)

    b = Batch(
        image(),
        normal(batch, VECTOR),
        torch.rand(batch, 2),
        normal(batch),
        torch.full((batch,), 0.99),
        image(),
        normal(batch, VECTOR),
        torch.zeros(batch, dtype=torch.bool),
    )

    def two_updates() -> None:
        for _ in range(2):
            agent.update(b)

    return two_updates


def stable_baselines(batch: int) -> Callable[[], None]:
    from stable_baselines3 import TD3 as SB3

    class Fake(gym.Env):
        observation_space = gym.spaces.Dict(
            image=gym.spaces.Box(0, 255, (4, 84, 84), np.uint8),
            vector=gym.spaces.Box(-np.inf, np.inf, (VECTOR,), np.float32),
        )
        action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

        def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
            return self.observation_space.sample(), {}

        def step(self, _: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            return self.observation_space.sample(), 0.0, False, False, {}

    model = SB3(
        "MultiInputPolicy",
        Fake(),
        buffer_size=2 * batch + 300,
        batch_size=batch,
        learning_starts=0,
        policy_kwargs={"net_arch": [256, 256]},
        device="cpu",
    )
    model._setup_learn(10)
    for _ in range(batch + 200):
        obs = model.observation_space.sample()
        stacked: Any = {k: v[None] for k, v in obs.items()}  # SB3 declares arrays, and takes these
        assert model.replay_buffer is not None
        model.replay_buffer.add(
            stacked,
            stacked,
            model.action_space.sample()[None],
            np.zeros(1),
            np.zeros(1),
            [{}],
        )
    return lambda: model.train(gradient_steps=2, batch_size=batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    tune_allocator()
    contenders = {
        "Stable-Baselines3 (separate)": stable_baselines(arguments.batch),
        "separate float32": ours(arguments.batch, encoder="separate"),
        "separate bfloat16": ours(arguments.batch, encoder="separate", precision="bfloat16"),
        "shared float32": ours(arguments.batch, encoder="shared"),
        "shared bfloat16": ours(arguments.batch, encoder="shared", precision="bfloat16"),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for update in contenders.values():
        update()
    for _ in range(arguments.rounds):  # interleaved: the machine's mood is shared by all
        for name, update in contenders.items():
            start, done = time.perf_counter(), 0
            while time.perf_counter() - start < arguments.seconds:
                update()
                done += 2
            rates[name].append(done / (time.perf_counter() - start))
    reference = np.median(rates["Stable-Baselines3 (separate)"])
    print(f"batch {arguments.batch}, {torch.get_num_threads()} threads")
    for name, values in rates.items():
        print(f"{name:30s} {np.median(values):6.1f} updates/s  x{np.median(values) / reference:.2f}")


if __name__ == "__main__":
    main()
