"""TD3 on the driving environment in one file, in the style of CleanRL: read it from top to bottom.

    python examples/cleanrl_td3.py --total-timesteps 20000 --num-envs 2
    rundoctor runs/                                  # diagnose the run, which logs under CleanRL's tags

The algorithm is that of CleanRL's ``td3_continuous_action.py``, with an encoder for the picture before each
network.  ``av-td3 train`` is the same algorithm with checkpoints, evaluation and alerts, which this file does
not have.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, fields

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

import av_td3  # noqa: F401  (registers av_td3/Driving-v0)


@dataclass(frozen=True)
class Args:
    seed: int = 1
    total_timesteps: int = 20_000  # of all environments
    num_envs: int = 1  # each with a simulator of its own
    learning_rate: float = 3e-4
    buffer_size: int = 20_000  # 57 kB a transition: 1.1 GB
    gamma: float = 0.99
    tau: float = 0.005
    batch_size: int = 64
    policy_noise: float = 0.2
    noise_clip: float = 0.5
    exploration_noise: float = 0.1
    learning_starts: int = 1_000
    policy_frequency: int = 2  # updates of the critics for one of the actor


class Encoder(nn.Module):
    """Four stacked pictures (B, 4, 84, 84) uint8 and the vector (B, V) float32 -> (B, 50 + V)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(4, 16, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 9 * 9, 50),
            nn.LayerNorm(50),
            nn.Tanh(),
        )

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        return torch.cat([self.net(image.float() / 255.0), vector], dim=1)


def head(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, outputs)
    )


class QNetwork(nn.Module):
    def __init__(self, vector_size: int) -> None:
        super().__init__()
        self.encoder, self.q = Encoder(), head(50 + vector_size + 2, 1)

    def forward(self, image: Tensor, vector: Tensor, action: Tensor) -> Tensor:
        return self.q(torch.cat([self.encoder(image, vector), action], dim=1)).squeeze(1)


class Actor(nn.Module):
    def __init__(self, vector_size: int) -> None:
        super().__init__()
        self.encoder, self.mu = Encoder(), head(50 + vector_size, 2)

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        return torch.tanh(self.mu(self.encoder(image, vector)))


class ReplayBuffer:
    """The newest ``size`` transitions, each with both of its stacks of pictures."""

    def __init__(self, size: int, vector_size: int, generator: np.random.Generator) -> None:
        self.images = np.zeros((2, size, 4, 84, 84), np.uint8)  # before and after the step
        self.vectors = np.zeros((2, size, vector_size), np.float32)
        self.actions = np.zeros((size, 2), np.float32)
        self.rewards, self.terminated = np.zeros((2, size), np.float32)
        self.size, self.added, self.generator = size, 0, generator

    def add(
        self,
        before: dict[str, NDArray[np.generic]],
        after: dict[str, NDArray[np.generic]],
        action: NDArray[np.float32],
        reward: float,
        terminated: bool,
    ) -> None:
        slot = self.added % self.size
        for side, observation in enumerate((before, after)):
            self.images[side, slot], self.vectors[side, slot] = observation["image"], observation["vector"]
        self.actions[slot], self.rewards[slot], self.terminated[slot] = action, reward, terminated
        self.added += 1

    def sample(self, batch_size: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        slots = self.generator.integers(min(self.added, self.size), size=batch_size)
        parts = (self.images[:, slots], self.vectors[:, slots], self.actions[slots])
        image, vector, action = (torch.as_tensor(part) for part in parts)
        return (
            image,
            vector,
            action,
            torch.as_tensor(self.rewards[slots]),
            torch.as_tensor(self.terminated[slots]),
        )


def parse() -> Args:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for field in fields(Args):
        kind = type(field.default)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    return Args(**vars(parser.parse_args()))


def main() -> None:
    args = parse()
    writer = SummaryWriter(f"runs/driving__cleanrl_td3__{args.seed}__{int(time.time())}")
    generator = np.random.default_rng(args.seed)
    torch.manual_seed(args.seed)

    # SAME_STEP: the step that ends an episode also begins the next one.
    envs = gymnasium.make_vec(
        "av_td3/Driving-v0", num_envs=args.num_envs, preset="quick", autoreset_mode=AutoresetMode.SAME_STEP
    )
    vector_size = envs.single_observation_space["vector"].shape[0]  # type: ignore[index] # a Dict space

    actor, qf1, qf2 = Actor(vector_size), QNetwork(vector_size), QNetwork(vector_size)
    target_actor, qf1_target, qf2_target = Actor(vector_size), QNetwork(vector_size), QNetwork(vector_size)
    pairs = ((actor, target_actor), (qf1, qf1_target), (qf2, qf2_target))
    for network, target in pairs:
        target.load_state_dict(network.state_dict())
    q_optimizer = torch.optim.Adam([*qf1.parameters(), *qf2.parameters()], lr=args.learning_rate)
    actor_optimizer = torch.optim.Adam(actor.parameters(), lr=args.learning_rate)
    buffer = ReplayBuffer(args.buffer_size, vector_size, generator)

    start_time = time.time()
    try:
        obs, _ = envs.reset(seed=args.seed)
        returns, lengths = np.zeros(args.num_envs), np.zeros(args.num_envs, int)
        for global_step in range(0, args.total_timesteps, args.num_envs):
            # ALGO LOGIC: put action logic here
            if global_step < args.learning_starts:
                actions = generator.uniform(-1.0, 1.0, (args.num_envs, 2))
            else:
                with torch.no_grad():
                    policy = actor(torch.as_tensor(obs["image"]), torch.as_tensor(obs["vector"])).numpy()
                noise = generator.normal(0.0, args.exploration_noise, policy.shape)
                actions = np.clip(policy + noise, -1.0, 1.0)
            actions = actions.astype(np.float32)

            next_obs, rewards, terminations, truncations, infos = envs.step(actions)

            for i in range(args.num_envs):
                ended = bool(terminations[i] or truncations[i])
                if ended:  # next_obs belongs to the next episode
                    last, info = infos["final_obs"][i], infos["final_info"]
                    faulty = info["termination"][i] == "simulator_fault"
                else:
                    last, faulty = {key: value[i] for key, value in next_obs.items()}, False
                returns[i] += rewards[i]
                lengths[i] += 1
                if not faulty:  # a step in which the simulator failed says nothing about driving
                    before = {key: value[i] for key, value in obs.items()}
                    # A time limit is not terminal: the future has a value beyond it.
                    buffer.add(before, last, actions[i], float(rewards[i]), bool(terminations[i]))
                if ended:
                    print(f"global_step={global_step}, episodic_return={returns[i]:.1f}")
                    writer.add_scalar("charts/episodic_return", returns[i], global_step)
                    writer.add_scalar("charts/episodic_length", lengths[i], global_step)
                    returns[i], lengths[i] = 0.0, 0
            obs = next_obs

            # ALGO LOGIC: training.
            if global_step < args.learning_starts:
                continue
            for update in range(global_step, global_step + args.num_envs):
                image, vector, action, reward, terminated = buffer.sample(args.batch_size)
                with torch.no_grad():
                    noise_t = (torch.randn_like(action) * args.policy_noise).clamp(
                        -args.noise_clip, args.noise_clip
                    )
                    next_action = (target_actor(image[1], vector[1]) + noise_t).clamp(-1.0, 1.0)
                    next_q = torch.min(
                        qf1_target(image[1], vector[1], next_action),
                        qf2_target(image[1], vector[1], next_action),
                    )
                    target_q = reward + (1.0 - terminated) * args.gamma * next_q
                qf1_a_values, qf2_a_values = (qf(image[0], vector[0], action) for qf in (qf1, qf2))
                qf1_loss, qf2_loss = F.mse_loss(qf1_a_values, target_q), F.mse_loss(qf2_a_values, target_q)
                q_optimizer.zero_grad()
                (qf1_loss + qf2_loss).backward()
                q_optimizer.step()

                if update % args.policy_frequency == 0:
                    actor_loss = -qf1(image[0], vector[0], actor(image[0], vector[0])).mean()
                    actor_optimizer.zero_grad()
                    actor_loss.backward()
                    actor_optimizer.step()
                    with torch.no_grad():
                        for network, target in pairs:
                            for p, target_p in zip(network.parameters(), target.parameters(), strict=True):
                                target_p.lerp_(p, args.tau)

                if update % 100 == 0:
                    writer.add_scalar("losses/qf1_values", qf1_a_values.mean().item(), global_step)
                    writer.add_scalar("losses/qf2_values", qf2_a_values.mean().item(), global_step)
                    writer.add_scalar("losses/qf1_loss", qf1_loss.item(), global_step)
                    writer.add_scalar("losses/qf2_loss", qf2_loss.item(), global_step)
                    writer.add_scalar("losses/actor_loss", actor_loss.item(), global_step)
                    sps = int(global_step / (time.time() - start_time))
                    writer.add_scalar("charts/SPS", sps, global_step)
    finally:
        envs.close()
        writer.close()
    print(f"logged to {writer.log_dir}")


if __name__ == "__main__":
    main()
