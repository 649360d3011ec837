"""Encoders and heads.

B is the batch size, V the length of the vector observation, A of the action.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTIONS = {
    "nature": ((32, 8, 4), (64, 4, 2), (64, 3, 1)),
    "small": ((16, 8, 4), (32, 3, 2), (32, 3, 2)),
    "tiny": ((16, 8, 6), (32, 3, 2), (32, 3, 1)),
}
"""Channels, kernel size and stride of the three convolutions, by ``agent.encoder_net``."""


class Encoder(nn.Module):
    """Three convolutions and a projection, as in Mnih et al. (2015), "Human-level control through deep RL".

    (B, C, H, W) uint8 -> (B, feature_size) float32.  ``net`` is a key of :data:`CONVOLUTIONS`.  What
    :meth:`pixels` has converted is taken as well; converting is quick with channels last in memory.
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
        self.project = Dense(flat, feature_size)
        self.norm: nn.Module | None = nn.LayerNorm(feature_size) if norm == "layernorm_tanh" else None
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def pixels(self, image: Tensor) -> Tensor:
        """The picture in the arithmetic and order of memory of the convolutions."""
        return image.to(self.conv_dtype, memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        hidden = self.project(self._convolve(image)).float()
        return F.relu(hidden) if self.norm is None else torch.tanh(self.norm(hidden))

    def _convolve(self, image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.conv_dtype == torch.bfloat16):
            # The division of the pixels by 255, done on 8,192 weights rather than on every image.
            x = F.conv2d(self.pixels(image), self.conv1.weight / 255.0, self.conv1.bias, self.conv1.stride)
            # In place: a convolution's gradient does not need its output.
            x = F.relu_(x)
            x = F.relu_(self.conv2(x))
            x = F.relu_(self.conv3(x))
        return x.flatten(1).float()


class NoEncoder(nn.Module):
    """Stands where a network sees no pictures: (B, C, H, W) -> (B, 0), no features."""

    def pixels(self, image: Tensor) -> Tensor:
        """The picture as it is."""
        return image

    def forward(self, image: Tensor) -> Tensor:
        return torch.empty(image.shape[0], 0, device=image.device)


class Dense(nn.Linear):
    """``nn.Linear``, with a ReLU if wanted, whose products are oneDNN's on a CPU, for a batch of float32.

    torch multiplies float32 matrices on a CPU with MKL, which is half as fast as oneDNN on AMD's processors
    (256 x 256 x 256 on one core of a Zen 5: 0.30 ms, and 0.15).  The results differ by rounding alone.
    """

    def __init__(self, inputs: int, outputs: int, relu: bool = False) -> None:
        super().__init__(inputs, outputs)
        self.relu = relu

    def forward(self, input: Tensor) -> Tensor:
        # An exported network must take batches of any size, and a compiled one has products of its own.
        exporting = torch.compiler.is_exporting() or torch.compiler.is_compiling()
        on_cpu = HAS_ONEDNN and input.device.type == "cpu" and input.dtype == torch.float32
        if not exporting and on_cpu and len(input) >= 32:
            return _linear(input, self.weight, self.bias, self.relu)
        output = super().forward(input)
        return F.relu(output) if self.relu else output


HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None, after: str = "none") -> Tensor:
    """(n, k), (m, k), (m,) -> (n, m): x @ weight.T + bias, and ``after`` it "relu" or "none"."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], "")


class _OneDnnLinear(torch.autograd.Function):
    """The operator has no gradient of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
        output = _product(x, weight, bias, "relu" if relu else "none")
        ctx.relu = relu
        ctx.save_for_backward(x, weight, output if relu else None)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, output = ctx.saved_tensors
        if ctx.relu:
            gradient = torch.ops.aten.threshold_backward(gradient, output, 0)
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if needs_x else None,
            _product(gradient.t(), x.t()) if needs_weight else None,
            gradient.sum(0) if needs_bias else None,
            None,
        )


_linear: Callable[[Tensor, Tensor, Tensor, bool], Tensor] = _OneDnnLinear.apply


Norm = Callable[[int], nn.Module]
"""Makes a normalisation layer of this width."""


def mlp(inputs: int, hidden: Sequence[int], outputs: int, norm: Norm | None = None) -> nn.Sequential:
    """Linear layers with ReLU between, optionally a normalisation before each ReLU."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    place = 0  # A ReLU that is part of its layer still counts as one: checkpoints have these names.
    for width in hidden:
        layers[str(place)] = Dense(inputs, width, relu=norm is None)
        if norm is not None:
            layers[str(place + 1)] = norm(width)
            layers[str(place + 2)] = nn.ReLU()
        place += 2 if norm is None else 3
        inputs = width
    layers[str(place)] = nn.Linear(inputs, outputs)
    return nn.Sequential(layers)


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
        self, features: int, vector: int, actions: int, hidden: Sequence[int], norm: Norm | None = None
    ) -> None:
        super().__init__()
        self.net1 = mlp(features + vector + actions, hidden, 1, norm)
        self.net2 = mlp(features + vector + actions, hidden, 1, norm)

    def forward(self, features: Tensor, vector: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([features, vector, action], 1)
        return self.net1(x).squeeze(1), self.net2(x).squeeze(1)

    def q1(self, features: Tensor, vector: Tensor, action: Tensor) -> Tensor:
        """The first value alone: the actor's step needs no second."""
        return self.net1(torch.cat([features, vector, action], 1)).squeeze(1)
