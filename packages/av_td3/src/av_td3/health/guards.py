"""Checks that no NaN and no infinity reaches the simulator, the replay, the weights or the logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn


class NonFiniteError(RuntimeError):
    """A value is NaN or infinite.  ``where`` says what: action, observation, reward, metric or weights."""

    def __init__(self, where: str, detail: str = "") -> None:
        self.where = where
        super().__init__(f"non-finite {where}" + (f": {detail}" if detail else ""))


def check_observation(observation: Mapping[str, Any]) -> None:
    """Check an observation's vector.  Its image is uint8 and always finite.

    Raises:
        NonFiniteError: an entry is NaN or infinite; the message gives the indices of the first eight.
    """
    vector = observation["vector"]
    if not np.isfinite(vector).all():
        bad = np.flatnonzero(~np.isfinite(vector))
        raise NonFiniteError("observation", f"vector entries {bad[:8].tolist()}")


def check_reward(reward: float, components: Mapping[str, float]) -> None:
    """Check a reward and say which of its components are at fault.

    Raises:
        NonFiniteError: the reward is NaN or infinite.
    """
    if not np.isfinite(reward):
        bad = [name for name, value in components.items() if not np.isfinite(value)]
        raise NonFiniteError("reward", f"components {bad}" if bad else "")


def check_scalars(row: Mapping[str, float]) -> None:
    """Check a row of scalars.

    Raises:
        NonFiniteError: a value is NaN or infinite; the message gives its tag.
    """
    for tag, value in row.items():
        if not np.isfinite(value):
            raise NonFiniteError("metric", tag)


def check_weights(networks: Mapping[str, nn.Module]) -> None:
    """Check the weights of every network.

    Raises:
        NonFiniteError: a weight is NaN or infinite; the message gives the network.
    """
    for name, network in networks.items():
        if not all_finite(p.detach() for p in network.parameters()):
            raise NonFiniteError("weights", name)


def all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether every entry of every tensor is finite; on a GPU this takes a single transfer."""
    norms = torch._foreach_norm(list(tensors))
    return bool(torch.isfinite(torch.stack(norms)).all())
