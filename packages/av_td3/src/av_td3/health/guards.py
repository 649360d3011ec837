"""Nothing non-finite passes: not into the simulator, the replay, the weights or the logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn


class NonFiniteError(RuntimeError):
    """A NaN or an infinity, and where it was found."""

    def __init__(self, where: str, detail: str = "") -> None:
        self.where = where
        super().__init__(f"non-finite {where}" + (f": {detail}" if detail else ""))


def check_observation(observation: Mapping[str, Any]) -> None:
    """Raises NonFiniteError; the image is uint8 and cannot be non-finite."""
    vector = observation["vector"]
    if not np.isfinite(vector).all():
        bad = np.flatnonzero(~np.isfinite(vector))
        raise NonFiniteError("observation", f"vector entries {bad[:8].tolist()}")


def check_reward(reward: float, components: Mapping[str, float]) -> None:
    """Raises NonFiniteError, naming the components at fault."""
    if not np.isfinite(reward):
        bad = [name for name, value in components.items() if not np.isfinite(value)]
        raise NonFiniteError("reward", f"components {bad}" if bad else "")


def check_scalars(row: Mapping[str, float]) -> None:
    """Raises NonFiniteError for the first tag of a row of scalars that is not finite."""
    for tag, value in row.items():
        if not np.isfinite(value):
            raise NonFiniteError("metric", tag)


def check_weights(networks: Mapping[str, nn.Module]) -> None:
    """Raises NonFiniteError, naming the network."""
    for name, network in networks.items():
        if not all_finite(p.detach() for p in network.parameters()):
            raise NonFiniteError("weights", name)


def all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether every entry is finite, with one transfer: a sum of squares is finite or not."""
    norms = torch._foreach_norm(list(tensors))
    return bool(torch.isfinite(torch.stack(norms)).all())
