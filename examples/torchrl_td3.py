"""TD3 of TorchRL on the driving environment: its GymEnv, collector, replay buffer and loss.

pip install torchrl
python examples/torchrl_td3.py --frames 5000
"""

from __future__ import annotations

import argparse
import contextlib

import torch
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.envs import GymEnv, RewardSum, StepCounter, TransformedEnv
from torchrl.modules import AdditiveGaussianModule
from torchrl.objectives import SoftUpdate, TD3Loss

import av_td3  # noqa: F401  (registers av_td3/Driving-v0)


class Features(nn.Module):
    """Four stacked pictures (..., 4, 84, 84) uint8 and the vector (..., V) float32 -> (..., 50 + V)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(4, 16, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 9 * 9, 50),
            nn.Tanh(),
        )

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        batch = image.shape[:-3]  # one step while driving, (B,) in the loss
        features = self.net(image.reshape(-1, *image.shape[-3:]).float() / 255.0)
        return torch.cat([features.reshape(*batch, -1), vector], dim=-1)


class Actor(nn.Module):
    def __init__(self, vector: int, actions: int) -> None:
        super().__init__()
        self.features = Features()
        self.head = nn.Sequential(nn.Linear(50 + vector, 256), nn.ReLU(), nn.Linear(256, actions), nn.Tanh())

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        return self.head(self.features(image, vector))


class QValue(nn.Module):
    def __init__(self, vector: int, actions: int) -> None:
        super().__init__()
        self.features = Features()
        self.head = nn.Sequential(nn.Linear(50 + vector + actions, 256), nn.ReLU(), nn.Linear(256, 1))

    def forward(self, image: Tensor, vector: Tensor, action: Tensor) -> Tensor:
        return self.head(torch.cat([self.features(image, vector), action], dim=-1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=5_000, help="environment steps to train for")
    parser.add_argument("--warmup", type=int, default=1_000, help="steps of random actions before learning")
    parser.add_argument("--batch-size", type=int, default=64)
    args = parser.parse_args()
    torch.manual_seed(0)

    env = TransformedEnv(GymEnv("av_td3/Driving-v0", preset="quick"))
    env.append_transform(RewardSum())
    env.append_transform(StepCounter())
    vector, actions = env.observation_spec["vector"].shape[-1], env.action_spec.shape[-1]
    actor = TensorDictModule(Actor(vector, actions), in_keys=["image", "vector"], out_keys=["action"])
    critic = TensorDictModule(
        QValue(vector, actions), in_keys=["image", "vector", "action"], out_keys=["state_action_value"]
    )
    noise = AdditiveGaussianModule(env.action_spec, sigma_init=0.1, sigma_end=0.1)

    loss = TD3Loss(actor, critic, action_spec=env.action_spec, num_qvalue_nets=2, loss_function="l2")
    loss.make_value_estimator(gamma=0.99)
    targets = SoftUpdate(loss, tau=0.005)
    critics = torch.optim.Adam(loss.qvalue_network_params.flatten_keys().values(), lr=3e-4)
    policy = torch.optim.Adam(loss.actor_network_params.flatten_keys().values(), lr=3e-4)
    replay = TensorDictReplayBuffer(
        storage=LazyTensorStorage(max(1_000, args.frames)), batch_size=args.batch_size
    )

    per_batch = 20
    collector = Collector(
        env,
        TensorDictSequential(actor, noise),
        frames_per_batch=per_batch,
        total_frames=args.frames,
        init_random_frames=args.warmup,
        auto_register_policy_transforms=True,
    )
    updates = 0
    with contextlib.closing(env):
        for frames in collector:
            replay.extend(frames.exclude("collector"))
            ended = frames["next", "done"].squeeze(-1)
            for episode_return, steps in zip(
                frames["next", "episode_reward"][ended].flatten().tolist(),
                frames["next", "step_count"][ended].flatten().tolist(),
                strict=True,
            ):
                print(f"frame {len(replay)}: return {episode_return:.1f} in {steps} steps")
            if len(replay) < args.warmup:
                continue
            for _ in range(per_batch):
                batch = replay.sample()
                updates += 1
                losses = loss(batch)
                critics.zero_grad()
                losses["loss_qvalue"].backward()
                critics.step()
                if updates % 2 == 0:  # TD3's delay
                    losses = loss(batch)
                    policy.zero_grad()
                    losses["loss_actor"].backward()
                    policy.step()
                    targets.step()
    print(
        f"{len(replay)} transitions, {updates} updates, last loss of the critics "
        f"{losses['loss_qvalue'].item():.4f}"
    )


if __name__ == "__main__":
    main()
