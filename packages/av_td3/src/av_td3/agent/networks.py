"""Encoders and heads.

B is the batch size, V the length of the vector observation, A of the action.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTIONS = {
    "nature": ((32, 8, 4), (64, 4, 2), (64, 3, 1)),
    "small": ((16, 8, 4), (32, 3, 2), (32, 3, 2)),
}
"""Channels, kernel size and stride of the three convolutions, by ``agent.encoder_net``."""


class Encoder(nn.Module):
    """Three convolutions and a projection, as in Mnih et al. (2015), "Human-level control through deep RL".

    (B, C, H, W) uint8 -> (B, feature_size) float32.  ``net`` is a key of :data:`CONVOLUTIONS`.
    ``norm="layernorm_tanh"`` bounds every feature to (-1, 1), as the trunk of DrQ-v2 does (Yarats et al.
    2021); ``"none"`` is a plain ReLU.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        feature_size: int,
        norm: str,
        conv_dtype: torch.dtype = torch.float32,
        net: str = "nature",
    ) -> None:
        super().__init__()
        self.conv_dtype = conv_dtype
        first, second, third = CONVOLUTIONS[net]
        self.conv1 = nn.Conv2d(channels, *first)
        self.conv2 = nn.Conv2d(first[0], *second)
        self.conv3 = nn.Conv2d(second[0], *third)
        with torch.no_grad():
            flat = self._convolve(torch.zeros(1, channels, size, size, dtype=torch.uint8)).shape[1]
        self.project = nn.Linear(flat, feature_size)
        self.norm: nn.Module | None = nn.LayerNorm(feature_size) if norm == "layernorm_tanh" else None
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor) -> Tensor:
        hidden = self.project(self._convolve(image)).float()
        return F.relu(hidden) if self.norm is None else torch.tanh(self.norm(hidden))

    def _convolve(self, image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.conv_dtype == torch.bfloat16):
            x = image.to(self.conv_dtype, memory_format=torch.channels_last)
            # The division of the pixels by 255, done on 8,192 weights rather than on every image.
            x = F.conv2d(x, self.conv1.weight / 255.0, self.conv1.bias, self.conv1.stride)
            x = F.relu(x)
            x = F.relu(self.conv2(x))
            x = F.relu(self.conv3(x))
        return x.flatten(1).float()


class NoEncoder(nn.Module):
    """Stands where a network sees no pictures: (B, C, H, W) -> (B, 0), no features."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.empty(image.shape[0], 0, device=image.device)


def mlp(inputs: int, hidden: Sequence[int], outputs: int, layer_norm: bool = False) -> nn.Sequential:
    """Linear layers with ReLU between, optionally LayerNorm before each ReLU (Ball et al. 2023)."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers.append(nn.Linear(inputs, width))
        if layer_norm:
            layers.append(nn.LayerNorm(width))
        layers.append(nn.ReLU())
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class ActorHead(nn.Module):
    """pi: (B, F) features and (B, V) vector -> (B, A) action in (-1, 1), and its pre-tanh value.

    ``vector``: how many entries it sees, the first ones.  What a vector holds beyond them is for the critic.
    """

    def __init__(
        self, features: int, vector: int, actions: int, hidden: Sequence[int], final_init: float
    ) -> None:
        super().__init__()
        self.visible = vector
        self.net = mlp(features + vector, hidden, actions)
        last = self.net[-1]
        assert isinstance(last, nn.Linear)
        # A small last layer starts the policy at the centre of tanh (Lillicrap et al. 2016, 7).
        nn.init.uniform_(last.weight, -final_init, final_init)
        nn.init.zeros_(last.bias)

    def forward(self, features: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        pre_tanh = self.net(torch.cat([features, vector[:, : self.visible]], 1))
        return torch.tanh(pre_tanh), pre_tanh


class TwinCriticHead(nn.Module):
    """Q1 and Q2: (B, F) features, (B, V) vector, (B, A) action -> two (B,) values."""

    def __init__(
        self, features: int, vector: int, actions: int, hidden: Sequence[int], layer_norm: bool
    ) -> None:
        super().__init__()
        self.net1 = mlp(features + vector + actions, hidden, 1, layer_norm)
        self.net2 = mlp(features + vector + actions, hidden, 1, layer_norm)

    def forward(self, features: Tensor, vector: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([features, vector, action], 1)
        return self.net1(x).squeeze(1), self.net2(x).squeeze(1)

    def q1(self, features: Tensor, vector: Tensor, action: Tensor) -> Tensor:
        """The first value alone: the actor's step needs no second."""
        return self.net1(torch.cat([features, vector, action], 1)).squeeze(1)
