"""From a configuration to an agent, and from an agent to a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from av_td3.agent.device_replay import DeviceReplay
from av_td3.agent.replay import Replay
from av_td3.agent.td3 import TD3
from av_td3.config import ACTION_SIZE, Config, ConfigError

Observation = Mapping[str, NDArray[Any]]
"""``{"image": uint8 (K, H, W), "vector": float32 (V,)}``."""
Action = NDArray[np.float32]
"""``(2,)``, each in [-1, 1]."""


def make_agent(config: Config) -> TD3:
    """A fresh agent.  The same seed gives the same weights."""
    torch.manual_seed(config.train.seed)
    return TD3(
        config.agent,
        image_shape(config),
        config.env.vector_size,
        ACTION_SIZE,
        resolve_device(config.train.device),
        config.env.visible_size,
        config.env.picture_size,
    )


def make_replay(config: Config, device: torch.device) -> Replay:
    """An empty replay for an agent on this device.

    Raises:
        ReplayMemoryError: it does not fit into memory.
    """
    sizes = (config.replay.capacity, image_shape(config), config.env.vector_size, ACTION_SIZE)
    more = (config.agent.gamma, config.replay.n_step, config.train.envs)
    wanted = config.replay.device
    if wanted == "train" or (wanted == "auto" and device.type == "cuda"):
        return DeviceReplay(*sizes, *more, device=device)
    return Replay(*sizes, *more)


def prepares_ahead(config: Config, device: torch.device) -> bool:
    """Whether a thread prepares the next batch while an update computes (``replay.prefetch``)."""
    wanted = config.replay.prefetch
    return device.type == "cuda" if wanted == "auto" else wanted


def image_shape(config: Config) -> tuple[int, int, int]:
    """Shape of the stacked pictures in an observation: (frames, height, width)."""
    camera = config.env.camera
    return camera.frame_stack, camera.size, camera.size


def resolve_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is the GPU where torch sees one, else the CPU.

    Raises:
        ConfigError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name not in there and not (name == "cuda" and len(there) > 1):
        known = ", ".join(there)
        raise ConfigError(f"train.device = {name!r}: torch has no such device here; there are auto, {known}")
    return torch.device(name)


def policy_of(agent: TD3, averaged: bool = False) -> Callable[[Observation], Action]:
    """The agent's deterministic policy, for one observation at a time."""

    def policy(observation: Observation) -> Action:
        return act(agent, [observation], averaged)[0]

    return policy


def act(agent: TD3, observations: Sequence[Observation], averaged: bool = False) -> NDArray[np.float32]:
    """The agent's actions, (B, 2), for B observations, in one forward pass."""
    image = torch.from_numpy(np.stack([observation["image"] for observation in observations]))
    vector = torch.from_numpy(np.stack([observation["vector"] for observation in observations]))
    return agent.act(image.to(agent.device), vector.to(agent.device), averaged).cpu().numpy()
