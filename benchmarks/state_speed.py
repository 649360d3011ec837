"""Updates per second on the state alone, of this TD3 and of Stable-Baselines3's, which take turns.

    python -m benchmarks.state_speed [--batch 256] [--threads 1] [--seconds 0.3] [--rounds 31]

The sizes of HalfCheetah: 17 numbers of state, 6 of action; heads 256-256, policy delay 2.
Both draw each batch from their replay.  No environment is stepped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import torch

from av_td3.agent import networks
from av_td3.agent.replay import Replay
from av_td3.agent.td3 import TD3
from av_td3.reference.learner import NO_IMAGE
from av_td3.reference.tasks import ReferenceSettings
from av_td3.training.batches import to_batch
from av_td3.training.memory import tune_allocator

STATE, ACTION, FILLED = 17, 6, 20_000


def ours(batch: int) -> Callable[[], None]:
    agent = TD3(ReferenceSettings(batch_size=batch).agent(), NO_IMAGE, STATE, ACTION)
    replay = Replay(FILLED + 10, NO_IMAGE, STATE, ACTION, gamma=0.99)
    rng = np.random.default_rng(0)

    def observation() -> dict[str, np.ndarray]:
        return {"image": np.empty(NO_IMAGE, np.uint8), "vector": rng.standard_normal(STATE)}

    replay.begin(observation())
    for _ in range(FILLED):
        replay.add(rng.uniform(-1, 1, ACTION).astype(np.float32), 1.0, False, False, observation())

    def two_updates() -> None:
        for _ in range(2):
            agent.update(to_batch(replay.sample(batch, rng), agent.device))

    return two_updates


def stable_baselines(batch: int) -> Callable[[], None]:
    from stable_baselines3 import TD3 as SB3

    class Fake(gym.Env):
        observation_space = gym.spaces.Box(-np.inf, np.inf, (STATE,), np.float32)
        action_space = gym.spaces.Box(-1, 1, (ACTION,), np.float32)

        def reset(self, **_: object) -> tuple[np.ndarray, dict[str, object]]:
            return np.zeros(STATE, np.float32), {}

    model = SB3(
        "MlpPolicy",
        Fake(),
        buffer_size=FILLED + 10,
        batch_size=batch,
        policy_kwargs={"net_arch": [256, 256]},
        device="cpu",
    )
    model._setup_learn(10)
    assert model.replay_buffer is not None
    rng = np.random.default_rng(0)
    for _ in range(FILLED):
        state = rng.standard_normal((1, STATE)).astype(np.float32)
        action = rng.uniform(-1, 1, (1, ACTION)).astype(np.float32)
        model.replay_buffer.add(state, state, action, np.zeros(1), np.zeros(1), [{}])
    return lambda: model.train(gradient_steps=2, batch_size=batch)


def with_mkl(update: Callable[[], None]) -> Callable[[], None]:
    """The same update with torch's own matrix products instead of oneDNN's."""

    def slower() -> None:
        networks.HAS_ONEDNN = False
        update()
        networks.HAS_ONEDNN = True

    return slower


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--rounds", type=int, default=31)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tune_allocator()
    contenders = {
        "Stable-Baselines3": stable_baselines(arguments.batch),
        "av-td3": ours(arguments.batch),
        "av-td3 with torch's own products": with_mkl(ours(arguments.batch)),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for update in contenders.values():
        update()
    for _ in range(arguments.rounds):  # in turns: other work on the machine affects all alike
        for name, update in contenders.items():
            start, done = time.perf_counter(), 0
            while time.perf_counter() - start < arguments.seconds:
                update()
                done += 2
            rates[name].append(done / (time.perf_counter() - start))
    print(f"batch {arguments.batch}, {arguments.threads} threads")
    reference = np.array(rates["Stable-Baselines3"])
    for name, values in rates.items():
        ratio = np.median(np.array(values) / reference)
        print(f"{name:34s} {np.median(values):6.1f} updates/s, best {max(values):6.1f}  x{ratio:.2f}")


if __name__ == "__main__":
    main()
